"""Arrays of .npz files: damaged, crafted to fill memory, or with code inside."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from visavis.datasets.arrays import read_arrays
from visavis.errors import InputError


def packed(path: Path, member: bytes, name: str = "a.npy") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, member)
    return path


def npy(descr: str, shape: str, data: bytes = b"") -> bytes:
    header = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_numpy_wrote(tmp_path: Path, save: object) -> None:
    assert callable(save)
    save(tmp_path / "x.npz", a=np.arange(6).reshape(2, 3), b=np.array(["ada", "bob"]), c=np.array(0.5))
    found = read_arrays(tmp_path / "x.npz", ["a"], ["b", "missing"])
    assert found.keys() == {"a", "b"}
    np.testing.assert_array_equal(found["a"], [[0, 1, 2], [3, 4, 5]])
    assert found["b"].tolist() == ["ada", "bob"]
    with pytest.raises(InputError, match="no array 'd'"):
        read_arrays(tmp_path / "x.npz", ["d"])


def test_no_damage_raises_anything_else(tmp_path: Path) -> None:
    whole = io.BytesIO()
    np.savez_compressed(whole, a=np.random.default_rng(0).random((20, 20)))
    data = whole.getvalue()
    refused = 0
    for place in range(0, len(data), 7):
        (tmp_path / "x.npz").write_bytes(data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :])
        try:
            assert read_arrays(tmp_path / "x.npz", ["a"])["a"].shape
        except InputError:
            refused += 1
    assert refused > len(data) // 10


def test_what_is_crafted(tmp_path: Path) -> None:
    bomb = packed(tmp_path / "bomb.npz", npy("|u1", "(100000000,)", bytes(100_000_000)))
    assert bomb.stat().st_size < 200_000
    with pytest.raises(InputError, match="would unpack to 1000"):
        read_arrays(bomb, ["a"])
    for member in (
        npy("|O", "(1,)", b"cos\nsystem\n(S'true'\ntR."),
        npy("<f4", f"({10**30},)"),
        npy("<f4", f"({10**15},)"),
        npy("<f4", "(-1,)"),
        npy("<f4", "(" * 3000 + ")" * 3000),
        npy("<U0", f"({10**9},)"),
        npy("|V0", f"({10**9},)"),
        b"\x93NUMPY\x09\x00",
        b"",
    ):
        with pytest.raises(InputError):
            read_arrays(packed(tmp_path / "crafted.npz", member), ["a"])
    with pytest.raises(InputError, match="no such file"):
        read_arrays(tmp_path / "none.npz", ["a"])
    with pytest.raises(InputError):
        read_arrays(tmp_path, ["a"])

"""Embeddings kept as a file and brought from anywhere."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from visavis.errors import InputError, StorageError
from visavis.protocols.embedding import Embedded


def test_kept_and_read_again(tmp_path: Path) -> None:
    vectors = np.array([[0.6, 0.8], [0, 0], [1, 0]], np.float32)
    one = Embedded(("ada/1.jpg", "b", "王/1"), vectors, np.array([True, False, True]), "sface")
    one.save(tmp_path / "x.npz")
    back = Embedded.load(tmp_path / "x.npz")
    assert (back.names, back.model, back.found.tolist()) == (one.names, "sface", [True, False, True])
    np.testing.assert_allclose(back.vectors, vectors)
    if os.name == "posix":
        assert (tmp_path / "x.npz").stat().st_mode & 0o777 == 0o600
    with pytest.raises(StorageError, match="can't be written"):
        one.save(tmp_path / "none" / "x.npz")
    assert [file.name for file in tmp_path.iterdir()] == ["x.npz"]


@pytest.mark.parametrize(
    "arrays",
    [
        {"names": np.array(["a"])},
        {"names": np.array("a"), "vectors": np.ones((1, 2))},
        {"names": np.array(["a"]), "vectors": np.array(1.0)},
        {"names": np.array(["a"]), "vectors": np.ones(2)},
        {"names": np.array(["a"]), "vectors": np.ones((1, 2, 2))},
        {"names": np.array(["a"]), "vectors": np.array([["x", "y"]])},
        {"names": np.array(["a"]), "vectors": np.array([[np.nan, 1]])},
        {"names": np.array(["a"]), "vectors": np.ones((1, 2)), "found": np.array([True, False])},
        {"names": np.array(["a", "a"]), "vectors": np.ones((2, 2))},
        {"names": np.array([object()]), "vectors": np.ones((1, 2))},
    ],
)
def test_what_is_no_file_of_embeddings(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(InputError):
        Embedded.load(tmp_path / "x.npz")


def test_a_file_made_to_fill_memory(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "x.npz", names=np.array(["a"]), vectors=np.zeros((1, 25_000_000), np.float32))
    with pytest.raises(InputError, match="would unpack to"):
        Embedded.load(tmp_path / "x.npz")


def test_of_no_embeddings_none_is_there() -> None:
    none = Embedded((), np.empty((0, 4), np.float32), np.empty(0, bool), "own").at(["ada", "bob"])
    assert not none.found.any()
    assert none.vectors.tolist() == [[0] * 4] * 2

"""InsightFace's .bin files: every way they were ever pickled, and everything that is no list of photos."""

from __future__ import annotations

import os
import pickle
import struct
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import KFold

from tests.datasets.containers.conftest import picture
from visavis.datasets.containers import restricted_pickle
from visavis.datasets.containers.insightface_bin import BinPairs, read_bin, read_samples, write_bin, write_samples
from visavis.datasets.containers.samples import Sample
from visavis.errors import InputError

FIXTURES = Path(__file__).parent / "fixtures"
PHOTOS = [picture(shade) for shade in range(6)]
MATED = [True, False, True]
FORMS: dict[str, Any] = {
    "bytes": lambda data: data,
    "bytearray": bytearray,
    "array": lambda data: np.frombuffer(data, np.uint8),
    "own array": lambda data: np.frombuffer(data, np.uint8).copy(),
    "column": lambda data: np.frombuffer(data, np.uint8).reshape(-1, 1)[:, 0],
}
FLAGS: dict[str, Any] = {
    "list": MATED,
    "tuple": tuple(MATED),
    "ints": [1, 0, 1],
    "array": np.array(MATED),
    "scalars": [np.bool_(flag) for flag in MATED],
    "int scalars": list(np.array(MATED, np.int64)),
    "bytes array": np.array(MATED, np.uint8),
}


def saved(path: Path, content: Any, protocol: int = 4, old: bool = False) -> Path:
    data = pickle.dumps(content, protocol=protocol)
    if old and protocol < 4:  # as NumPy 1 named its modules; framed names have their length before them
        data = data.replace(b"numpy._core", b"numpy.core")
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("form", FORMS)
def test_reads_what_python_pickled(tmp_path: Path, protocol: int, form: str) -> None:
    photos = [FORMS[form](photo) for photo in PHOTOS]
    for flags in FLAGS.values():
        for old in (False, True):
            pairs = read_bin(saved(tmp_path / "set.bin", (photos, flags), protocol, old))
            assert list(pairs.images) == PHOTOS
            assert pairs.mated.tolist() == MATED


def python2(photos: list[bytes], flags: list[bool], protocol: int) -> bytes:
    """Return what Python 2's pickle wrote of lists of str and bool, laid out by hand from pickletools' descriptions."""
    if protocol == 0:
        strings = b"".join(
            b"S" + repr(photo)[1:].encode("latin-1") + b"\np%d\na" % (i + 2) for i, photo in enumerate(photos)
        )
        bools = b"".join(b"I0%d\na" % flag for flag in flags)
        return b"((lp1\n" + strings + b"(lp90\n" + bools + b"tp91\n."
    strings = b"".join(
        b"T" + struct.pack("<i", len(photo)) + photo + b"q" + bytes([i + 2]) for i, photo in enumerate(photos)
    )
    bools = b"".join(b"\x88" if flag else b"\x89" for flag in flags)
    return b"\x80\x02]q\x01(" + strings + b"e]q\x50(" + bools + b"e\x86q\x51."


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("*.bin")), ids=lambda path: path.stem)
def test_reads_what_python_2_and_numpy_1_wrote(path: Path) -> None:
    pairs = read_bin(path)
    assert list(pairs.images) == [b"\xff\xd8\xff" + bytes(range(n, n + 90)) for n in (0, 30, 100, 165)]
    assert pairs.mated.tolist() == [True, False]


@pytest.mark.parametrize("protocol", [0, 2])
def test_reads_what_python_2_pickled(tmp_path: Path, protocol: int) -> None:
    data = python2(PHOTOS, MATED, protocol)
    assert pickle.loads(data, encoding="bytes") == (PHOTOS, MATED), "the layout by hand is right"
    (tmp_path / "old.bin").write_bytes(data)
    pairs = read_bin(tmp_path / "old.bin")
    assert list(pairs.images) == PHOTOS
    assert pairs.mated.tolist() == MATED


@settings(max_examples=30)
@given(st.lists(st.tuples(st.binary(max_size=300), st.binary(max_size=300), st.booleans()), min_size=1, max_size=8))
def test_round_trip_by_insightface_rules(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    path = tmp_path_factory.mktemp("bin") / "made.bin"
    photos = [photo for a, b, _ in rows for photo in (a, b)]
    mated = [flag for _, _, flag in rows]
    write_bin(path, iter(photos), mated)
    with path.open("rb") as file:
        bins, issame = pickle.load(file, encoding="bytes")
    assert (bins, issame) == (photos, mated)
    with path.open("rb") as file:  # InsightFace tries this first
        assert pickle.load(file) == (photos, mated)
    assert list(read_bin(path).images) == photos


def test_many_photos_are_appended_in_batches(tmp_path: Path) -> None:
    photos = [b"%d" % i for i in range(4002)]
    write_bin(tmp_path / "many.bin", photos, np.zeros(2001, bool))
    assert pickle.loads((tmp_path / "many.bin").read_bytes())[0] == photos
    assert list(read_bin(tmp_path / "many.bin").images) == photos


def test_is_a_photo_set_with_insightface_folds(tmp_path: Path) -> None:
    count = 37
    write_bin(tmp_path / "set.bin", [picture(i) for i in range(2 * count)], np.arange(count) % 2 == 0)
    pairs = read_bin(tmp_path / "set.bin")
    assert len(pairs.photos) == len(set(pairs.photos)) == 2 * count
    assert pairs.people[0] == pairs.people[1]
    assert pairs.people[2] != pairs.people[3]
    assert pairs.read(5) == picture(5)
    found = pairs.pairs()
    folds = np.empty(count, int)
    for fold, (_, test) in enumerate(KFold(n_splits=10, shuffle=False).split(np.arange(count))):
        folds[test] = fold
    assert found.folds.tolist() == folds.tolist()
    assert found.photos.tolist() == [[2 * i, 2 * i + 1] for i in range(count)]
    with pytest.raises(InputError, match="37 pairs can't be divided into 38 folds"):
        pairs.pairs(38)
    assert list(pairs.images[2:4]) == [picture(2), picture(3)]
    with pytest.raises(InputError, match="pairs need two photos each"):
        BinPairs([b""], np.array([True]))


class Attack:
    """What a pickle runs when Python reads it."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call[0], self.call[1:]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("where", ["photo", "flag", "all"])
def test_runs_nothing(tmp_path: Path, protocol: int, where: str) -> None:
    mark = tmp_path / "ran"
    attack = Attack(os.system, f"touch {mark}")
    content = {"photo": ([*PHOTOS[:5], attack], MATED), "flag": (PHOTOS, [True, False, attack]), "all": attack}[where]
    path = saved(tmp_path / "bad.bin", content, protocol)
    with pytest.raises(InputError, match=rf"wants to run {os.system.__module__}\.system, .*nothing was run"):
        read_bin(path)
    assert not mark.exists()
    pickle.loads(path.read_bytes())
    assert mark.exists(), "it would have run"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (Attack(eval, "1"), "builtins.eval"),
        (Attack(getattr, b"", "hex"), "builtins.getattr"),
        (Attack(np.load, "x"), "numpy.*load"),
        (OrderedDict(), "collections.OrderedDict"),
        (([b"a", b"b"], {0: True}), "a dictionary"),
        (([b"a", b"b"], {True}), "a set"),
        (([b"a", b"b"], [1.0]), "a number with a fraction"),
        (([b"a", b"b"], [2]), "must be a boolean, not '2'"),
        (([b"a", b"b"], [None]), "must be a boolean, not 'None'"),
        (([b"a", b"b"], "yes"), "must be a list of booleans"),
        (([b"a", "b"], [True]), "photo 1 is a str"),
        (([b"a", 7], [True]), "photo 1 is a int"),
        (([b"a", np.zeros((2, 2), np.uint8)], [True]), "photo 1 is a Array"),
        (([np.array(["a"]), b""], [True]), "neither whole numbers nor booleans"),
        (([np.array([None, b"a"], object), b""], [True]), "neither whole numbers nor booleans"),
        (
            ([np.array([(1,)], [("a", "i4")]), b""], [True]),
            "neither whole numbers nor booleans|no known form|malformed",
        ),
        (([b"a", b"b", b"c"], [True]), "3 photos for 1 pairs"),
        (([b"a", b"b"], [True, False]), "2 photos for 2 pairs"),
        (([], []), "holds no pairs"),
        ([b"a"], "no verification set"),
        (b"a", "no verification set"),
        ((1, 2, 3), "no verification set"),
    ],
)
def test_refuses_other_contents(tmp_path: Path, content: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        read_bin(saved(tmp_path / "bad.bin", content))


LONG = b"\xff" * 8
BAD = {
    "empty": (b"", "is empty"),
    "text": (b"hello", "malformed"),
    "an image": (PHOTOS[0], "unknown opcode"),
    "no end": (b"\x80\x04]", "cut off"),
    "protocol 9": (b"\x80\x09.", "protocol 9"),
    "nothing": (b".", "malformed"),
    "a string of 2^64 bytes": (b"\x80\x04\x8e" + LONG + b"abc.", "announces 18446744073709551615 bytes"),
    "a bytearray of 2^64 bytes": (b"\x80\x05\x96" + LONG + b"abc.", "announces"),
    "text of 2^64 bytes": (b"\x80\x04\x8d" + LONG + b"abc.", "announces"),
    "a negative length": (b"\x80\x02T\xff\xff\xff\xffab.", "announces -1 bytes"),
    "a frame of 2^64 bytes": (b"\x80\x04\x95" + LONG + b".", "malformed"),
    "the last place of the memo": (b"\x80\x04]r\xff\xff\xff\xff0.", "malformed"),
    "a place of the memo that has nothing": (b"\x80\x04h\x05.", "malformed"),
    "no mark": (b"\x80\x04]e.", "malformed"),
    "tuple without mark": (b"\x80\x04t.", "malformed"),
    "a number of 2^31 bytes": (b"\x80\x04\x8b\xff\xff\xff\x7f.", "very long number"),
    "a number of 255 bytes": (b"\x80\x04\x8a\xff" + bytes(255) + b".", "number of 255 bytes"),
    "a number of a million digits": (b"I" + b"9" * 10**6 + b"\n.", "a line of more than 32 bytes"),
    "no digits": (b"Iabc\n.", "malformed"),
    "a string without quotes": (b"Sabc\n.", "without quotes"),
    "a call of a list": (b"\x80\x04])R.", "no function"),
    "state of a list": (b"\x80\x04])b.", "sets the state of a list"),
    "append to bytes": (b"\x80\x04C\x01aNa.", "appends to a bytes"),
    "a reference out of the file": (b"\x80\x04Q.", "reference out of the file"),
    "a buffer from elsewhere": (b"\x80\x05\x97.", "reference out of the file"),
    "an extension": (b"\x80\x04\x82\x01.", "an extension"),
    "an instance": (b"(ios\nsystem\n.", "an object of a class"),
    "an array made directly": (b"\x80\x04cnumpy\nndarray\n)R.", "no function"),
    "bytes in UTF-16": (
        b"\x80\x02c_codecs\nencode\nX\x01\0\0\0aX\x06\0\0\0utf-16\x86R.",
        "something else than Latin-1",
    ),
    "bytes of a list": (b"\x80\x02cbuiltins\nbytes\n]\x85R.", "makes bytes of a list"),
    "bytes of a number": (b"\x80\x02cbuiltins\nbytes\nJ\xff\xff\xff\x7f\x85R.", "makes bytes of a int"),
}


@pytest.mark.parametrize("name", BAD)
def test_refuses_crafted_bytes(tmp_path: Path, name: str) -> None:
    data, says = BAD[name]
    (tmp_path / "bad.bin").write_bytes(data)
    with pytest.raises(InputError, match=says):
        read_bin(tmp_path / "bad.bin")


def test_bombs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.bin"
    monkeypatch.setattr(restricted_pickle, "_MAX_STEPS", 1000)
    path.write_bytes(b"\x80\x04" + b"]" * 2000 + b".")
    with pytest.raises(InputError, match="more than 1,000 objects"):
        read_bin(path)
    # One text, made into bytes again and again.
    monkeypatch.setattr(restricted_pickle, "_MAX_MADE", 10_000)
    again = b"c_codecs\nencode\nh\x00h\x01\x86R0"
    path.write_bytes(b"\x80\x02X\xe8\x03\0\0" + b"a" * 1000 + b"q\x00X\x06\0\0\0latin1q\x01" + again * 50 + b".")
    with pytest.raises(InputError, match="makes more than 10000 bytes"):
        read_bin(path)
    # Tuples of tuples that would take for ever to hash or print.
    path.write_bytes(b"\x80\x04N" + b"2\x86" * 200 + b".")
    with pytest.raises(InputError, match="photo 0 is a tuple"):
        read_bin(path)
    # An array of a petabyte in no bytes, and one of no known size.
    for shape in (b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86", b"J\xff\xff\xff\xff\x85", b"]"):
        array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
        kind = b"cnumpy\ndtype\nX\x02\0\0\0u1K\x00K\x01\x87R"
        path.write_bytes(b"\x80\x04" + array + b"(K\x01" + shape + kind + b"\x89C\x00tb.")
        with pytest.raises(InputError, match=r"an array of (shape|no known form)"):
            read_bin(path)


@given(st.data())
def test_no_damage_gets_through_as_anything_else(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    whole = pickle.dumps((PHOTOS[:4], [np.bool_(True), False]), protocol=data.draw(st.integers(0, 5)))
    damaged = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    for _ in range(data.draw(st.integers(0, 3))):
        if damaged:
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("bin") / "damaged.bin"
    path.write_bytes(damaged)
    try:
        pairs = read_bin(path)
        assert all(isinstance(photo, bytes) for photo in pairs.images)
    except InputError:
        pass


def test_files_that_are_gone_or_shrink(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can't be read: no such file"):
        read_bin(tmp_path / "none.bin")
    with pytest.raises(InputError, match="can't be read"):
        read_bin(tmp_path)
    path = tmp_path / "set.bin"
    write_bin(path, PHOTOS, MATED)
    pairs = read_bin(path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(InputError, match="has become shorter"):
        pairs.read(5)


def test_refuses_to_write_halves(tmp_path: Path) -> None:
    for photos, mated in ((PHOTOS, [True]), (PHOTOS[:5], MATED), (PHOTOS, [1, 0, 1]), ([], [True])):
        with pytest.raises(InputError, match=r"photos for|must be booleans"):
            write_bin(tmp_path / "made.bin", photos, mated)
    assert not list(tmp_path.iterdir())
    write_bin(tmp_path / "made.bin", PHOTOS, MATED)
    with pytest.raises(InputError, match="is there already"):
        write_bin(tmp_path / "made.bin", PHOTOS, MATED)


def test_samples_keep_pairs(tmp_path: Path, pair_samples: list[Sample]) -> None:
    write_samples(tmp_path / "made.bin", pair_samples)
    assert list(read_samples(tmp_path / "made.bin")) == pair_samples
    with pytest.raises(InputError, match="'ada' says of none"):
        write_samples(tmp_path / "other.bin", [Sample("ada", b"")])
    without = pair_samples[:1] + pair_samples[2:5]
    with pytest.raises(InputError, match="000000-mated-a' is one photo of a pair"):
        write_samples(tmp_path / "other.bin", without)
    left_out: list[InputError] = []
    write_samples(tmp_path / "other.bin", without, bad=left_out.append)
    assert [sample.image for sample in read_samples(tmp_path / "other.bin")] == [s.image for s in pair_samples[2:4]]
    assert len(left_out) == 2

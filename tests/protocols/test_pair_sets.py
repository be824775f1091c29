"""Pairs from LFW's layout, from lists, and from files as InsightFace makes them."""

from __future__ import annotations

import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from visavis.errors import InputError
from visavis.protocols.pair_sets import open_pair_set

PHOTOS = {"Abel_Pacheco": (1, 2), "Al_Sharpton": (1, 2), "Ali_Naimi": (1, 2)}
PAIRS = "2\t1\nAbel_Pacheco\t1\t2\nAbel_Pacheco\t1\tAl_Sharpton\t1\nAl_Sharpton\t1\t2\nAl_Sharpton\t2\tAli_Naimi\t1\n"


@pytest.fixture
def folder(tmp_path: Path, lfw_photo: Callable[[str, int], bytes]) -> Path:
    """Return six photos and four pairs in LFW's layout."""
    root = tmp_path / "small"
    for name, numbers in PHOTOS.items():
        (root / name).mkdir(parents=True)
        for number in numbers:
            (root / name / f"{name}_{number:04d}.jpg").write_bytes(lfw_photo(name, number))
    (root / "pairs.txt").write_text(PAIRS)
    return root


def named(data: object) -> list[tuple[str, str, bool, int]]:
    """Return the pairs by name."""
    found = open_pair_set(data) if isinstance(data, Path) else data
    photos, pairs = found.photos.photos, found.pairs  # type: ignore[attr-defined]
    rows = zip(pairs.photos.tolist(), pairs.mated.tolist(), pairs.folds.tolist(), strict=True)
    return [(photos[a], photos[b], mated, fold) for (a, b), mated, fold in rows]


EXPECTED = [
    ("Abel_Pacheco_0001", "Abel_Pacheco_0002", True, 0),
    ("Abel_Pacheco_0001", "Al_Sharpton_0001", False, 0),
    ("Al_Sharpton_0001", "Al_Sharpton_0002", True, 1),
    ("Al_Sharpton_0002", "Ali_Naimi_0001", False, 1),
]


def test_view_2_of_the_real_file(lfw: zipfile.ZipFile) -> None:
    found = open_pair_set(Path(str(lfw.filename)))
    rows = [line.split("\t") for line in lfw.read("lfw-dev/pairs.txt").decode().splitlines()]
    folds, each = map(int, rows[0])
    assert len(found.pairs) == 2 * folds * each == len(rows) - 1
    assert np.bincount(found.pairs.folds).tolist() == [2 * each] * folds
    assert found.pairs.mated.tolist() == [len(row) == 3 for row in rows[1:]]
    assert (found.choose, found.view1, found.missing) == ("central", None, ())
    assert found.subjects is not None
    a, b = found.subjects[found.pairs.photos].T
    assert ((a == b) == found.pairs.mated).all()
    first, last = named(found)[0], named(found)[-1]
    assert first[:2] == (f"{rows[1][0]}_{int(rows[1][1]):04d}", f"{rows[1][0]}_{int(rows[1][2]):04d}")
    assert last[:2] == (f"{rows[-1][0]}_{int(rows[-1][1]):04d}", f"{rows[-1][2]}_{int(rows[-1][3]):04d}")


def test_folder_and_zip_are_alike(folder: Path, tmp_path: Path) -> None:
    assert named(folder) == EXPECTED
    packed = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path, "small"))
    assert named(packed) == EXPECTED
    assert open_pair_set(packed).files == (packed,)


def test_view_1(folder: Path) -> None:
    (folder / "pairsDevTrain.txt").write_text("1\nAli_Naimi\t1\t2\nAli_Naimi\t1\tAl_Sharpton\t2\n")
    assert open_pair_set(folder).view1 is None
    (folder / "pairsDevTest.txt").write_text("1\nAl_Sharpton\t1\t2\nAl_Sharpton\t1\tAbel_Pacheco\t2\n")
    found = open_pair_set(folder)
    assert found.view1 is not None
    train, test = found.view1
    photos = found.photos.photos
    assert [[photos[i] for i in pair] for pair in train.photos.tolist()][1] == ["Ali_Naimi_0001", "Al_Sharpton_0002"]
    assert test.mated.tolist() == [True, False]
    alone = open_pair_set(folder, folder / "pairsDevTest.txt")
    assert named(alone)[0][:3] == ("Al_Sharpton_0001", "Al_Sharpton_0002", True)


@pytest.mark.parametrize("separator", ["\t", " "])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_plain_list(folder: Path, tmp_path: Path, separator: str, mark: str) -> None:
    listing = tmp_path / "list.txt"
    lines = [separator.join([a, b, str(int(mated)), str(fold)]) for a, b, mated, fold in EXPECTED]
    listing.write_text(mark + "\r\n".join(lines) + "\r\n", encoding="utf-8")
    found = open_pair_set(folder, listing)
    assert named(found) == EXPECTED
    assert found.files == (listing,)


def test_a_plain_list_of_paths(folder: Path, tmp_path: Path) -> None:
    listing = tmp_path / "list.txt"
    lines = [f"{a[:-5]}/{a}.jpg {b[:-5]}/{b}.jpg {int(mated)} {fold}\n" for a, b, mated, fold in EXPECTED]
    listing.write_text("".join(lines))
    found = open_pair_set(folder, listing)
    assert (named(found), found.choose) == (EXPECTED, "central")
    listing.write_text("".join(lines) + "Nobody/Nobody_0001.jpg Ali_Naimi/Ali_Naimi_0001.jpg 0\n")
    with pytest.raises(InputError, match=r"1 photo that is not in .*: Nobody/Nobody_0001.jpg; "):
        open_pair_set(folder, listing)
    assert open_pair_set(folder, listing, skip_missing=True).missing == ("Nobody/Nobody_0001.jpg",)


def test_a_folder_without_order(folder: Path, tmp_path: Path) -> None:
    """Photos anywhere are named by their paths, also where some of them happen to be named as LFW's."""
    (folder / "loose one.jpg").write_bytes((folder / "Ali_Naimi" / "Ali_Naimi_0001.jpg").read_bytes())
    listing = tmp_path / "list.txt"
    listing.write_text(
        "loose one.jpg\tAli_Naimi/Ali_Naimi_0002.jpg\t1\nloose one.jpg\tAl_Sharpton/Al_Sharpton_0001.jpg\t0\n"
    )
    found = open_pair_set(folder, listing)
    assert [row[2] for row in named(found)] == [True, False]
    assert (found.choose, found.subjects) == ("largest", None)
    assert open_pair_set(folder, folder / "pairs.txt").choose == "central"
    listing.write_text("loose one.jpg Ali_Naimi/Ali_Naimi_0002.jpg 1\n")
    with pytest.raises(InputError, match="line 1 of the list is no pair"):
        open_pair_set(folder, listing)


def test_photos_that_are_not_there(folder: Path) -> None:
    (folder / "Abel_Pacheco" / "Abel_Pacheco_0001.jpg").unlink()
    with pytest.raises(InputError, match=r"1 photo that is not in .*small'?: Abel_Pacheco_0001; .*--skip-missing"):
        open_pair_set(folder)
    found = open_pair_set(folder, skip_missing=True)
    assert (named(found), found.missing) == (EXPECTED[2:], ("Abel_Pacheco_0001",))
    for photo in folder.rglob("*.jpg"):
        if photo.name != "Ali_Naimi_0001.jpg":
            photo.unlink()
    with pytest.raises(InputError, match="no pair whose photos are both there"):
        open_pair_set(folder, skip_missing=True)


def test_a_bin_as_insightface_writes_it(tmp_path: Path, lfw_photo: Callable[[str, int], bytes]) -> None:
    """Two encoded photos a pair, pickled as its tools do; ten folds of successive pairs."""
    photos = [lfw_photo("Abel_Pacheco", 1), lfw_photo("Al_Sharpton", 1)]
    mated = [True, False] * 11
    for protocol in (2, 4):
        path = tmp_path / f"set{protocol}.bin"
        path.write_bytes(pickle.dumps((photos * 22, mated), protocol=protocol))
        found = open_pair_set(path)
        assert found.pairs.mated.tolist() == mated
        assert found.pairs.photos.tolist() == np.arange(44).reshape(-1, 2).tolist()
        assert np.bincount(found.pairs.folds).tolist() == [3, 3, 2, 2, 2, 2, 2, 2, 2, 2]
        assert (found.choose, found.subjects) == ("aligned", None)
        assert found.photos.read(3) == photos[1]
    with pytest.raises(InputError, match="has its own pairs"):
        open_pair_set(path, tmp_path / "list.txt")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "list.txt'?: pairs.txt must begin"),
        ("Abel_Pacheco_0001 Abel_Pacheco_0002 yes\n", "line 1 of the list is no pair"),
        ("3 1\nAbel_Pacheco 1 2\n", "announces 3 folds"),
        ("1\nAbel_Pacheco 1 2\nAbel_Pacheco one two\n", "line 3"),
        ("../../secret.jpg Abel_Pacheco_0002 1\n", "secret.jpg', photos are named as 'Abel_Pacheco/Abel"),
    ],
)
def test_lists_that_are_none(folder: Path, tmp_path: Path, text: str, said: str) -> None:
    listing = tmp_path / "list.txt"
    listing.write_text(text)
    with pytest.raises(InputError, match=said):
        open_pair_set(folder, listing)


def test_what_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        open_pair_set(tmp_path / "nowhere")
    with pytest.raises(InputError, match="--all-pairs"):
        open_pair_set(tmp_path)
    (tmp_path / "list.txt").write_text("a.jpg b.jpg 1\n")
    with pytest.raises(InputError, match="LFW's layout"):
        open_pair_set(tmp_path, tmp_path / "list.txt")
    (tmp_path / "cut.bin").write_bytes(pickle.dumps(([b"x"], [True]))[:-3])
    with pytest.raises(InputError, match=r"cut\.bin"):
        open_pair_set(tmp_path / "cut.bin")

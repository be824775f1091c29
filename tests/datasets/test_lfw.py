"""LFW's layout: zip and folder alike, names found, and lists that lie refused."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import DATA

from visavis.datasets.lfw import Lfw, central, data_path, parse_pairs
from visavis.errors import InputError
from visavis.types import Faces

LIST = "2\t1\nAda\t1\t2\nAda\t1\tBob\t1\nBob\t1\t2\nBob\t2\tAda\t2\n"


@pytest.fixture
def folder(tmp_path: Path, lfw: zipfile.ZipFile) -> Path:
    root = tmp_path / "set"
    for person, source in (("Ada", "Al_Sharpton"), ("Bob", "Ali_Naimi")):
        (root / person).mkdir(parents=True)
        for number in (1, 2):
            data = lfw.read(f"lfw-dev/{source}/{source}_{number:04d}.jpg")
            (root / person / f"{person}_{number:04d}.jpg").write_bytes(data)
    (root / "cover.jpg").write_bytes(data)
    (root / "pairs.txt").write_text(LIST)
    return root


@pytest.fixture
def archive(folder: Path, tmp_path: Path) -> Path:
    path = tmp_path / "packed.zip"
    with zipfile.ZipFile(path, "w") as packed:
        for file in folder.rglob("*.*"):
            packed.write(file, Path("inner") / file.relative_to(folder))
    return path


@pytest.mark.parametrize("kind", ["folder", "archive"])
def test_zip_and_folder_are_alike(kind: str, request: pytest.FixtureRequest, folder: Path) -> None:
    found = Lfw.open(request.getfixturevalue(kind))
    assert found.photos == ["Ada_0001", "Ada_0002", "Bob_0001", "Bob_0002"]
    assert found.people == ["Ada", "Ada", "Bob", "Bob"]
    assert found.read(3) == (folder / "Bob" / "Bob_0002.jpg").read_bytes()
    photos, mated, folds = found.pairs()
    assert photos.tolist() == [[0, 1], [0, 2], [2, 3], [3, 1]]
    assert mated.tolist() == [True, False, True, False]
    assert folds.tolist() == [0, 0, 1, 1]


def test_lfw_dev_by_its_name(lfw: zipfile.ZipFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISAVIS_DATA", str(DATA))
    assert data_path("lfw-dev") == DATA / "lfw-dev.zip"
    found = Lfw.open("lfw-dev")
    assert (len(found.members), len(set(found.people))) == (6922, 2879)
    pairs = found.view2()
    assert len(pairs) == 3000
    assert pairs.mated.sum() == 1500
    people = np.array(found.people)[pairs.photos]
    assert ((people[:, 0] == people[:, 1]) == pairs.mated).all()


def test_a_sample_is_even_and_repeats(lfw: zipfile.ZipFile) -> None:
    pairs = Lfw.open(DATA / "lfw-dev.zip").view2()
    part = pairs.sample(200)
    assert len(part) == 200
    assert np.bincount(part.folds).tolist() == [20] * 10
    assert all(part.mated[part.folds == fold].sum() == 10 for fold in range(10))
    assert part.photos.tolist() == pairs.sample(200).photos.tolist()
    assert part.photos.tolist() != pairs.sample(200, seed=1).photos.tolist()
    assert len(pairs.sample(10**6)) == 3000
    with pytest.raises(InputError, match="at least 1"):
        pairs.sample(0)


def test_what_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISAVIS_DATA", str(tmp_path))
    with pytest.raises(InputError, match=r"no data set 'lfw-none'.*VISAVIS_DATA"):
        Lfw.open("lfw-none")
    monkeypatch.delenv("VISAVIS_DATA")
    with pytest.raises(InputError, match="set VISAVIS_DATA"):
        Lfw.open("lfw-dev")
    with pytest.raises(InputError, match="not LFW's layout"):
        Lfw.open(tmp_path)
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(InputError, match="no folder and no zip"):
        Lfw.open(tmp_path / "text.zip")


def test_damaged_archives(archive: Path, folder: Path) -> None:
    data = bytearray(archive.read_bytes())
    at = data.find(  # stored, not packed
        (folder / "Ada" / "Ada_0001.jpg").read_bytes()
    )
    data[at + 200 : at + 300] = bytes(100)
    archive.write_bytes(data)
    with pytest.raises(InputError, match=r"Ada_0001.jpg in .* can't be read"):
        Lfw.open(archive).read(0)
    (folder / "pairs.txt").unlink()
    with pytest.raises(InputError, match=r"no pairs\.txt"):
        Lfw.open(folder).view2()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must begin"),
        ("many 2\n", "must begin"),
        ("2 1\nAda 1 2\n", "announces 2 folds of 2 x 1 pairs, and has 1"),
        ("0 0\n", "announces 0 folds"),
        ("1000000000000 0\n", "announces 1000000000000 folds of 2 x 0"),
        ("1 1\nAda 1 2\nAda 1\n", "line 3 of pairs.txt is no pair"),
        ("1 1\nAda 1 2\nAda one Bob 1\n", "line 3 of pairs.txt is no pair"),
        ("1 1\nAda 1 2\nAda 1 Cid 1\n", r"line 3 .* not there: 'Cid_0001'"),
        ("1 1\nAda 1 2\nAda 1 Bob 1 9 9\n", "line 3 of pairs.txt is no pair"),
    ],
)
def test_lists_that_lie(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_pairs(text, ["Ada_0001", "Ada_0002", "Bob_0001"])


def test_the_central_face() -> None:
    boxes = [[0, 0, 40, 40], [100, 100, 140, 160], [200, 200, 250, 250]]
    faces = Faces(np.array(boxes), np.array([0.9, 0.8, 0.7]))
    assert central(faces).boxes.tolist() == [boxes[1]]
    assert central(faces, 60, 60).boxes.tolist() == [boxes[0]]
    assert len(central(Faces.empty())) == 0

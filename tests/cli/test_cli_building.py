"""``visavis datasets align``, ``clean``, ``split``, ``pairs`` and ``statistics`` as a user runs them."""

from __future__ import annotations

import csv
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]

PEOPLE = {"Abdullah": 4, "Aaron_Sorkin": 2, "Ahmed_Chalabi": 3, "Abel_Pacheco": 3, "AJ_Cook": 1, "Aaron_Pena": 1}


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory, lfw: zipfile.ZipFile) -> Path:
    folder = tmp_path_factory.mktemp("building") / "album"
    for person, number in PEOPLE.items():
        (folder / person).mkdir(parents=True)
        for name in sorted(n for n in lfw.namelist() if f"/{person}/" in n)[:number]:
            (folder / person / Path(name).name).write_bytes(lfw.read(name))
    return folder


def test_align(run: Run, album: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(album, photos)
    (photos / "bad.jpg").write_bytes(b"nothing")
    command = ("datasets", "align", photos, "--out", tmp_path / "crops", "--size", "112x96", "--threads", "1")
    result = run(*command, "--min-sharpness", "0.3", "--json")
    assert result.code == 1, "a photo could not be read"
    assert (result.json["photos"], result.json["kept"], result.json["skipped"]) == (15, 0, 1)
    assert result.json["crops"] == len(list((tmp_path / "crops").rglob("*.jpg"))) > 10
    assert result.json["unreadable"][0]["image"] == "bad.jpg"
    again = run(*command, "--min-sharpness", "0.3", "--json")
    assert again.json["kept"] == 14
    other = run(*command)
    assert other.code == 2
    assert "other settings (gate)" in other.err
    rows = run(*command[:4], tmp_path / "none", "--min-face", "9999", "--threads", "1").rows
    assert rows == [["the face is too small", "14"]]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--size", "big"], "HEIGHTxWIDTH"),
        (["--margin", "32"], "written 32px"),
        (["--way", "up"], "'points' or by the 'box'"),
        (["--face", "left"], "largest, central"),
        (["--format", "gif"], ".jpg or .png"),
        (["--detector", "nothing"], "nothing"),
    ],
)
def test_align_says_what_is_wrong(arguments: list[str], told: str, run: Run, album: Path, tmp_path: Path) -> None:
    result = run("datasets", "align", album, "--out", tmp_path / "out", *arguments)
    assert result.code == 2
    assert told in result.err
    assert len(result.err.splitlines()) == 1


def test_split(run: Run, album: Path, tmp_path: Path) -> None:
    result = run("datasets", "split", album, "--out", tmp_path / "out", "--parts", "train=2,test=1", "--json")
    assert result.code == 0, result.err
    parts = {part["part"]: part["photos"] for part in result.json["parts"]}
    placed = {part: {p.parent.name for p in (tmp_path / "out" / part).rglob("*.jpg")} for part in parts}
    assert sum(parts.values()) == 14
    assert not placed["train"] & placed["test"]
    assert json.loads((tmp_path / "out" / "split.json").read_text())["seed"] == 0
    lists = run("datasets", "split", album, "--out", tmp_path / "lists", "--parts", "train=2,test=1", "--lists")
    assert lists.code == 0, lists.err
    for part, names in placed.items():
        lines = (tmp_path / "lists" / f"{part}.txt").read_text().splitlines()
        assert {line.split("/")[0] for line in lines} == names
        assert all((album / line).is_file() for line in lines)


def test_split_keeps_one_person_together_and_says_so(run: Run, album: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(album, photos)
    (photos / "Sorkin Aaron").mkdir()
    shutil.move(photos / "Aaron_Sorkin" / "Aaron_Sorkin_0002.jpg", photos / "Sorkin Aaron" / "2.jpg")
    (photos / "the king").mkdir()
    shutil.move(photos / "Abdullah" / "Abdullah_0004.jpg", photos / "the king" / "4.jpg")
    result = run("datasets", "split", photos, "--out", tmp_path / "out", "--same-face", "1e-4")
    assert result.code == 0, result.err
    assert "kept together, as they may be one person: Aaron_Sorkin, Sorkin Aaron" in result.err
    assert "kept together, as they may be one person: Abdullah, the king" in result.err


@pytest.mark.parametrize("parts", ["train", "train=x", "train=0", "a=1,a=2", "../x=1,b=1", "", "a=1,b=nan"])
def test_split_says_what_is_wrong(parts: str, run: Run, album: Path, tmp_path: Path) -> None:
    result = run("datasets", "split", album, "--out", tmp_path / "out", "--parts", parts)
    assert result.code == 2
    assert not (tmp_path / "out").exists()


def test_pairs(run: Run, album: Path, tmp_path: Path) -> None:
    command = ("datasets", "pairs", album, "--out", tmp_path / "pairs.txt", "--folds", "2")
    result = run(*command, "--each", "3", "--json")
    assert result.code == 0, result.err
    assert (result.json["layout"], result.json["pairs"]) == ("lfw", 12)
    assert (tmp_path / "pairs.txt").read_text().startswith("2\t3\n")
    refused = run(*command, "--each", "900")
    assert refused.code == 2
    assert "6 people, 4 of them with two photos or more, give at most" in refused.err
    plain = run(*command, "--each", "3", "--layout", "list")
    assert plain.code == 0
    photo, other, mated, fold = (tmp_path / "pairs.txt").read_text().splitlines()[0].split("\t")
    assert (mated, fold) == ("1", "0")
    assert photo.rpartition("_")[0] == other.rpartition("_")[0]
    assert run(*command, "--layout", "csv").code == 2
    assert run(*command[:3], "--out", tmp_path / "none" / "pairs.txt", "--folds", "1", "--each", "1").code == 2


def test_clean(run: Run, album: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(album, photos)
    shutil.move(photos / "Ahmed_Chalabi" / "Ahmed_Chalabi_0001.jpg", photos / "Abdullah" / "x.jpg")
    shutil.copy(photos / "AJ_Cook" / "AJ_Cook_0001.jpg", photos / "AJ_Cook" / "copy.jpg")
    listing, page = tmp_path / "list.csv", tmp_path / "page.html"
    result = run(
        "datasets", "clean", photos, "--face", "central", "--list", listing, "--report", page, "--threads", "1"
    )
    assert result.code == 0, result.err
    with listing.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["suggestion"] != "look"]
    assert {(row["suggestion"], row["photo"], row["target"]) for row in rows} == {
        ("move", "Abdullah/x.jpg", "Ahmed_Chalabi"),
        ("remove", "AJ_Cook/copy.jpg", "AJ_Cook/AJ_Cook_0001.jpg"),
    }
    assert "Somebody else than the folder" in page.read_text("utf-8")
    assert page.with_suffix(".json").is_file()
    done = run("datasets", "clean", photos, "--apply", listing, "--out", tmp_path / "clean", "--json")
    assert (done.json["moved"], done.json["removed"]) == (1, 1)
    assert (tmp_path / "clean" / "Ahmed_Chalabi" / "x.jpg").is_file()
    assert (photos / "Abdullah" / "x.jpg").is_file()
    assert "go together" in run("datasets", "clean", photos, "--apply", listing).err
    assert "largest, central" in run("datasets", "clean", photos, "--face", "left").err


def test_statistics(run: Run, album: Path, tmp_path: Path) -> None:
    command = ("datasets", "statistics", album, "--threads", "1")
    result = run(*command, "--report", tmp_path / "page.html", "--json")
    assert result.code == 0, result.err
    assert (result.json["photos"], result.json["people"], result.json["duplicates"]) == (14, 6, 0)
    assert result.json["measures"]["sharpness"]["measured"] == 14
    assert "Average face" in (tmp_path / "page.html").read_text("utf-8")
    rows = dict(run(*command, "--no-duplicates").rows)
    assert rows["people"] == "6, 4 of them with two photos or more"
    assert rows["duplicates"] == "not looked"


def test_photos_of_nobody_are_told_of(run: Run, album: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(album, photos)
    (photos / "AJ_Cook" / "portrait.jpg").write_bytes((album / "AJ_Cook" / "AJ_Cook_0001.jpg").read_bytes())
    shutil.copy(photos / "AJ_Cook" / "portrait.jpg", photos / "loose.jpg")
    result = run("datasets", "pairs", photos, "--out", tmp_path / "pairs.txt", "--folds", "1", "--each", "5")
    assert result.code == 0
    assert "warning: 1 photo directly in" in result.err

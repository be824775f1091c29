"""``visavis datasets duplicates``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from visavis.image import load_image, resize, save_image

Run = Callable[..., Any]


@pytest.fixture
def album(photos: Path, tmp_path: Path) -> Path:
    """Return a folder: two photos, a copy of the first in a folder below, a smaller one of the second."""
    first, second = (photos / "probes" / f"{name}_2.jpg" for name in ("Al_Sharpton", "Ali_Naimi"))
    folder = tmp_path / "album"
    (folder / "相册 2").mkdir(parents=True)
    (folder / "first.jpg").write_bytes(first.read_bytes())
    (folder / "相册 2" / "copy.jpg").write_bytes(first.read_bytes())
    (folder / "second.jpg").write_bytes(second.read_bytes())
    save_image(folder / "second, small.jpg", resize(load_image(second), 160, 160))
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_groups(run: Run, album: Path) -> None:
    before = files(album)
    result = run("datasets", "duplicates", album, "--json", "--threads", "1")
    assert result.code == 0, result.err
    found = result.json
    assert (found["photos"], found["duplicates"], found["unreadable"]) == (4, 2, [])
    kept = {Path(group["keep"]["image"]).name: group["others"] for group in found["groups"]}
    assert kept["second.jpg"][0]["image"] == str(album / "second, small.jpg")
    assert kept["second.jpg"][0]["kind"] == "near"
    assert kept["second.jpg"][0]["width"] == 160
    (copy,) = kept["first.jpg"]
    assert (copy["kind"], copy["similarity"]) == ("same file", 1)
    assert found["duplicate_bytes"] == copy["bytes"] + kept["second.jpg"][0]["bytes"]
    assert files(album) == before, "nothing was touched"
    rows = run("datasets", "duplicates", album).rows
    assert [row[3] for row in rows] == ["keep", "same file", "keep", "near"]


def test_a_list_for_other_programs(run: Run, album: Path) -> None:
    listed = run("datasets", "duplicates", album, "--list").out.splitlines()
    assert sorted(listed) == sorted([str(album / "second, small.jpg"), str(album / "相册 2" / "copy.jpg")])
    zero = run("datasets", "duplicates", album, "--list", "--null").out
    assert sorted(zero.rstrip("\0").split("\0")) == sorted(listed)


@pytest.mark.skipif(sys.platform != "linux", reason="names that are no text")
def test_a_list_of_names_that_are_no_text(run: Run, album: Path) -> None:
    shutil.copy(album / "second, small.jpg", os.fsencode(album) + b"/third \xff.jpg")
    command = [sys.executable, "-m", "visavis", "datasets", "duplicates", str(album), "--list", "-0"]
    listed = subprocess.run(command, capture_output=True, check=True).stdout.split(b"\0")
    assert os.fsencode(album) + b"/third \xff.jpg" in listed


def test_unreadable_files_are_listed(run: Run, broken: Path) -> None:
    result = run("datasets", "duplicates", broken, "--json")
    assert result.code == 1
    assert {Path(item["image"]).name for item in result.json["unreadable"]} == {"zero.jpg", "text.jpg", "cut.jpg"}
    assert result.json["skipped"] == 3
    (found,) = result.json["groups"]
    assert found["others"][0]["kind"] == "same file"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--threshold", "2"], "--threshold is a structural similarity"),
        (["--null"], "--null goes with --list"),
        (["--list", "--json"], "two ways to print"),
    ],
)
def test_mistakes(run: Run, album: Path, arguments: list[str], message: str) -> None:
    result = run("datasets", "duplicates", album, *arguments)
    assert result.code == 2
    assert message in result.err
    assert result.err.count("\n") == 1


def test_an_empty_folder(run: Run, tmp_path: Path) -> None:
    result = run("datasets", "duplicates", tmp_path)
    assert result.code == 2
    assert "no image in" in result.err
    assert run("datasets", "duplicates", tmp_path / "none").code == 2

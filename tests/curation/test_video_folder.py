"""Videos to a folder of faces: by person, listed, gone on with, whole after being killed."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from films import film, moving
from hypothesis import given
from hypothesis import strategies as st

from visavis.curation.video_folder import COLUMNS, Recipe, VideoResult, folder_name, videos_to_folder
from visavis.errors import StorageError
from visavis.gallery import open_gallery
from visavis.image import load_image
from visavis.pipeline import Analyzer
from visavis.video.frames import turned

Photo = Callable[[str, int], bytes]
RECIPE = Recipe(every=0.2)


@pytest.fixture(scope="module")
def analyzer() -> Analyzer:
    return Analyzer(threads=1, precision="f32")


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory, lfw_photo: Photo) -> dict[str, Path]:
    """Return a film of each of two people, one of them lying on its side, and one of gray."""
    folder = tmp_path_factory.mktemp("films")
    pacheco = moving(load_image(lfw_photo("Abel_Pacheco", 1)), 6)
    sharpton = moving(load_image(lfw_photo("Al_Sharpton", 2)), 6)
    (folder / "other").mkdir()
    return {
        "pacheco": film(folder / "door.mp4", pacheco),
        "sharpton": film(folder / "other" / "door.mp4", [turned(frame, 90) for frame in sharpton]),
        "gray": film(folder / "gray.mp4", [np.full((120, 160, 3), 90, np.uint8)] * 4),
    }


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run(films: dict[str, Path], out: Path, analyzer: Analyzer, recipe: Recipe = RECIPE) -> list[VideoResult]:
    out.mkdir(exist_ok=True)
    return list(videos_to_folder(list(films.values()), out, analyzer, recipe))


def test_a_folder_a_track_and_a_manifest(films: dict[str, Path], tmp_path: Path, analyzer: Analyzer) -> None:
    results = run(films, tmp_path, analyzer, Recipe(every=0.2, whole=True, suffix=".png"))
    assert [len(result.faces) for result in results] == [1, 1, 0]
    assert [result.turned for result in results] == [0, 270, 0]
    assert [result.problem for result in results] == [None] * 3
    with (tmp_path / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    lines = [json.loads(line) for line in (tmp_path / "manifest.jsonl").read_text("utf-8").splitlines()]
    assert tuple(rows[0]) == COLUMNS
    assert [row["file"] for row in rows] == [line["file"] for line in lines]
    assert {row["video"] for row in rows} == {str(films["pacheco"]), str(films["sharpton"])}
    for row in lines:
        crop, picture = load_image(tmp_path / row["file"]), load_image(tmp_path / row["picture"])
        assert crop.shape == (112, 112, 3)
        assert picture.shape[:2] == (240, 320)  # upright
        assert 0 <= row["x1"] < row["x2"] <= 320
        assert row["time"] == pytest.approx(row["frame"] / 10, abs=2e-3)
        (found,) = analyzer.analyze([picture])
        assert np.abs(found.boxes[0] - [row["x1"], row["y1"], row["x2"], row["y2"]]).max() < 4
    # Both videos are called door.mp4.
    names = {Path(row["file"]).parts[0] for row in lines}
    assert len(names) == 2
    assert "door" in names


def test_sorted_by_the_people_of_a_gallery(
    films: dict[str, Path], tmp_path: Path, analyzer: Analyzer, lfw_photo: Photo
) -> None:
    with open_gallery(tmp_path / "people.db", analyzer=analyzer) as gallery:
        gallery.enroll("阿贝尔/Abel", lfw_photo("Abel_Pacheco", 2))
        out = tmp_path / "out"
        out.mkdir()
        results = list(videos_to_folder(list(films.values()), out, analyzer, RECIPE, gallery=gallery))
    known, unknown = results[0].faces[0], results[1].faces[0]
    assert known["person"] == "阿贝尔/Abel"
    assert known["similarity"] > 0.4
    assert known["file"].startswith("阿贝尔_Abel-")
    assert unknown["person"] is None
    assert unknown["file"].startswith("unknown/")
    assert (out / known["file"]).is_file()


def test_tracks_of_one_person_are_joined(tmp_path: Path, analyzer: Analyzer, lfw_photo: Photo) -> None:
    photos = [
        load_image(lfw_photo(name, n)) for name, n in (("Al_Sharpton", 2), ("Abel_Pacheco", 1), ("Al_Sharpton", 4))
    ]
    shown = [frame for photo in photos for frame in moving(photo, 5)]
    path = film(tmp_path / "cuts.mp4", shown)
    out = tmp_path / "out"
    out.mkdir()
    recipe = Recipe(every=0.1, rotate=0, gap=0.3, cluster=0.4)
    (result,) = videos_to_folder([path], out, analyzer, recipe)
    folders = [row["file"].rsplit("/", 1)[0] for row in result.faces]
    assert [row["track"] for row in result.faces] == [1, 2, 3]
    assert folders[0] == folders[2] == "cuts/person-001"
    assert folders[1] == "cuts/person-002"


def test_a_second_run_does_only_what_changed(films: dict[str, Path], tmp_path: Path, analyzer: Analyzer) -> None:
    first = run(films, tmp_path, analyzer)
    before = tree(tmp_path)
    again = run(films, tmp_path, analyzer)
    assert [result.done_before for result in again] == [True] * 3
    assert [result.faces for result in again] == [result.faces for result in first]
    assert tree(tmp_path) == before
    # With other settings it is done anew, and what the first run wrote is gone.
    other = run(films, tmp_path, analyzer, Recipe(every=0.2, suffix=".png"))
    assert [result.done_before for result in other] == [False] * 3
    crops = [name for name in tree(tmp_path) if "track-" in name]
    assert sorted(crops) == sorted(row["file"] for result in other for row in result.faces)
    assert all(name.endswith(".png") for name in crops)
    # A video that changed is done anew, the others are not.
    changed = dict(films, gray=tmp_path / "gray.mp4")
    changed["gray"].write_bytes(films["gray"].read_bytes())
    run(changed, tmp_path, analyzer)
    os.utime(changed["gray"], (1, 1))
    assert [result.done_before for result in run(changed, tmp_path, analyzer)] == [True, True, False]


def test_a_video_that_broke_is_listed_no_more(films: dict[str, Path], tmp_path: Path, analyzer: Analyzer) -> None:
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(films["pacheco"].read_bytes())
    out = tmp_path / "out"
    assert run({"copy": copy}, out, analyzer)[0].faces
    copy.write_bytes(b"broken")
    (result,) = run({"copy": copy}, out, analyzer)
    assert result.problem is not None
    assert result.faces == []
    assert sorted(tree(out)) == ["manifest.csv", "manifest.jsonl"]
    assert (out / "manifest.jsonl").read_bytes() == b""


def test_a_record_from_elsewhere_removes_nothing_outside(
    films: dict[str, Path], tmp_path: Path, analyzer: Analyzer
) -> None:
    out = tmp_path / "out"
    run({"pacheco": films["pacheco"]}, out, analyzer)
    (tmp_path / "precious.jpg").write_bytes(b"mine")
    record = out / "videos" / "door.json"
    found = json.loads(record.read_bytes())
    found["result"]["faces"][0] |= {"file": "../precious.jpg", "picture": str(tmp_path / "precious.jpg")}
    found["stamp"] = [0, 0]
    record.write_text(json.dumps(found), "utf-8")
    run({"pacheco": films["pacheco"]}, out, analyzer)
    assert (tmp_path / "precious.jpg").read_bytes() == b"mine"


def test_killed_half_way_another_run_ends_the_same(films: dict[str, Path], tmp_path: Path, analyzer: Analyzer) -> None:
    run(films, tmp_path / "whole", analyzer)
    command = [sys.executable, "-m", "visavis", "datasets", "videos", *map(str, films.values())]
    command += ["--out", str(tmp_path / "killed"), "--every", "0.2", "--threads", "1", "--precision", "f32"]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while not list((tmp_path / "killed").glob("videos/*.json")):
        assert time.monotonic() < until
        assert child.poll() is None
        time.sleep(0.01)
    child.kill()
    child.wait()
    assert not (tmp_path / "killed" / "manifest.csv").exists()
    done = run(films, tmp_path / "killed", analyzer)
    assert len(done) == 3
    whole, resumed = tree(tmp_path / "whole"), tree(tmp_path / "killed")
    pictures = {name: data for name, data in whole.items() if name.endswith(".jpg")}
    assert {name: data for name, data in resumed.items() if name.endswith(".jpg")} == pictures
    assert resumed["manifest.csv"] == whole["manifest.csv"]
    assert resumed["manifest.jsonl"] == whole["manifest.jsonl"]


@given(st.text(max_size=120), st.text(max_size=120))
def test_folder_names_stay_inside_and_apart(a: str, b: str) -> None:
    first, second = folder_name(a), folder_name(b)
    for name in (first, second):
        assert name == Path(name).name
        assert name not in ("", ".", "..")
        assert not set(name) & set('<>:"/\\|?*\x00\n')
        assert name[-1] not in ". "
    if a != b and folder_name(a) != a:
        assert first != second


@pytest.mark.parametrize("name", ["unknown", "Unknown", "con", "NUL.txt", "con.txt", "..", ".hidden", "a ", "a/b"])
def test_names_that_mean_something_else_are_changed(name: str) -> None:
    assert folder_name(name, ("unknown",)) != name
    assert not folder_name(name, ("unknown",)).startswith(".")
    assert folder_name(name).partition(".")[0].lower() not in ("con", "nul")


@pytest.mark.parametrize("name", ["王" * 80, "😀" * 60, "\udcff" * 240, "a" * 80])
def test_names_of_any_script_leave_room_for_a_frame(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{folder_name(name)}-123456_t003_f000120.jpg").write_bytes(b"")
    assert folder_name(name) == name or folder_name(name) != folder_name(name + "b")


def test_two_runs_never_write_one_folder(films: dict[str, Path], tmp_path: Path, analyzer: Analyzer) -> None:
    first = videos_to_folder([films["gray"], films["pacheco"]], tmp_path, analyzer, RECIPE)
    next(first)
    with pytest.raises(StorageError, match="another run is writing"):
        list(videos_to_folder([films["gray"]], tmp_path, analyzer, RECIPE))
    list(first)
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []
    assert len(list(videos_to_folder([films["gray"]], tmp_path, analyzer, RECIPE))) == 1


def test_names_that_a_spreadsheet_would_compute(films: dict[str, Path], tmp_path: Path, analyzer: Analyzer) -> None:
    formula = tmp_path / "=1+1.mp4"
    formula.write_bytes(films["pacheco"].read_bytes())
    out = tmp_path / "out"
    run({"formula": formula}, out, analyzer)
    with (out / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    listed = [json.loads(line) for line in (out / "manifest.jsonl").read_text("utf-8").splitlines()]
    assert rows
    assert [row["file"] for row in rows] == ["'" + row["file"] for row in listed]
    assert [float(row["yaw_deg"]) for row in rows] == [row["yaw_deg"] for row in listed]


def test_a_record_that_nests_too_deep_is_none(films: dict[str, Path], tmp_path: Path, analyzer: Analyzer) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "gray.json").write_text("[" * 200_000)
    (done,) = run({"gray": films["gray"]}, tmp_path, analyzer)
    assert not done.done_before

"""``visavis video``: annotate, timeline, faces and blur on films of real photos."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from films import film, moving

from cli.conftest import Run
from cli.test_cli_docs import ALWAYS, documented
from visavis.image import load_image
from visavis.pipeline import Analyzer
from visavis.video.frames import frames

Photo = Callable[[str, int], bytes]
QUICK = ("--min-face", "40")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, lfw_photo: Photo) -> Path:
    """Return a film of Al Sharpton, who is enrolled, beside a stranger."""
    sides = (
        moving(load_image(lfw_photo(*who)), 12, width=250, step=1) for who in (("Al_Sharpton", 2), ("Ahmed_Chalabi", 1))
    )
    pictures = [np.hstack(both) for both in zip(*sides, strict=True)]
    return film(tmp_path_factory.mktemp("film") / "two.mp4", pictures)


@pytest.fixture(scope="module")
def nobody(two: Path) -> Path:
    return film(two.with_name("nobody.mp4"), [np.full((120, 160, 3), 96, np.uint8)] * 4)


def fields(document: dict[str, object]) -> set[str]:
    names = set(document) - ALWAYS
    for value in document.values():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            names |= set(value[0])
    return names


def test_annotate(run: Run, two: Path, people: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.mp4"
    document = run("video", "annotate", two, "--out", out, "-g", people, *QUICK, "--json").json
    assert (document["frames"], document["width"], document["height"]) == (12, 500, 240)
    assert {person["subject"] for person in document["people"]} == {"Al Sharpton", None}
    assert [person["first_s"] for person in document["people"]] == [0.0, 0.0]
    assert fields(document) <= documented("video annotate")
    assert len(list(frames(out))) == 12
    again = run("video", "annotate", two, "--out", out, *QUICK)
    assert again.code == 2
    assert "--force" in again.err
    done = run("video", "annotate", two, "--out", out, "--force", *QUICK)
    assert done.code == 0
    assert "12 frames, 2 tracks" in done.out


def test_timeline_and_attendance(run: Run, two: Path, people: Path, nobody: Path, tmp_path: Path) -> None:
    common = ("video", "timeline", two, "-g", people, "--every", "0", *QUICK)
    rows = run(*common).rows
    assert [row[0] for row in rows] == ["Al Sharpton", "unknown 1"]
    assert rows[0][2] == "0:01"
    document = run(*common, "--start", "2026-05-01T08:00Z", "--json").json
    assert fields(document) <= documented("video timeline")
    stay = document["stays"][0]
    assert stay["to"].startswith("2026-05-01T08:00:01")
    assert stay["to_s"] == pytest.approx(1.1, abs=0.01)
    table, page = tmp_path / "a.csv", tmp_path / "a.html"
    options = ("--attendance", "--csv", table, "--report", page, "--json")
    listed = run(*common, nobody, "--start", "2026-05-01T08:00Z", "--start", "2026-05-01T09:00Z", *options).json
    assert fields(listed) <= documented("video timeline")
    assert [person["subject"] for person in listed["people"]] == ["Al Sharpton"]
    with table.open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["subject"] == "Al Sharpton"
    assert float(row["minutes"]) == pytest.approx(listed["people"][0]["minutes"])
    assert "Al Sharpton" in page.read_text("utf-8")
    results = json.loads(page.with_suffix(".json").read_text("utf-8"))["results"]
    assert [one["subject"] for one in results["stays"]] == ["Al Sharpton", None]


def test_of_several_videos_what_can_be_read_counts(run: Run, two: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    done = run("video", "timeline", two, tmp_path / "empty.mp4", *QUICK, "--json")
    assert done.code == 1
    assert "skipped" in done.err
    assert [one["problem"] is None for one in done.json["videos"]] == [True, False]
    assert len(done.json["stays"]) == 2
    assert run("video", "timeline", tmp_path / "empty.mp4").code == 2


def test_faces(run: Run, two: Path, people: Path, tmp_path: Path) -> None:
    document = run("video", "faces", two, "--out", tmp_path / "faces", "-g", people, *QUICK, "--json").json
    assert fields(document) <= documented("video faces")
    pictures = [Path(person["picture"]) for person in document["people"]]
    assert [load_image(picture).shape[2] for picture in pictures] == [3, 3]
    assert load_image(document["sheet"]).shape[1] > 400
    assert len(Analyzer(recognizer=None, threads=1).analyze(document["sheet"])) == 2
    assert run("video", "faces", two, "--out", tmp_path / "faces", *QUICK).code == 2
    rows = run("video", "faces", two, "--out", tmp_path / "sheet.jpg", *QUICK).rows
    assert [row[0] for row in rows] == ["unknown 1", "unknown 2"]
    assert (tmp_path / "sheet.jpg").is_file()


def test_blur(run: Run, two: Path, people: Path, tmp_path: Path) -> None:
    out = tmp_path / "b.mp4"

    def faces_left() -> int:
        found = Analyzer(recognizer=None, threads=1, score=0.7, min_face=40).analyze(next(frames(out)).image)
        return len(found)

    document = run("video", "blur", two, "--out", out, "--method", "solid", *QUICK, "--json").json
    assert (document["whom"], document["tracks"], document["covered_frames"], document["shown"]) == ("all", 2, 12, [])
    assert fields(document) <= documented("video blur")
    assert faces_left() == 0
    common = ("video", "blur", two, "--out", out, "-g", people, *QUICK, "--force", "--method", "solid")
    assert "1 track and" in run(*common, "--all-but", "Al Sharpton").out
    assert faces_left() == 1
    assert "1 track and" in run(*common, "--only", "Al Sharpton").out
    assert faces_left() == 1
    absent = run(*common, "--only", "Ali Naimi", "--json").json
    assert absent["tracks"] == 0
    assert "was not recognized" in absent["warnings"][0]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--unknown"], "give --gallery"),
        (["--unknown", "--all", "-g", "{people}"], "exclude each other"),
        (["--all-but", "Al Sharptn", "-g", "{people}"], "did you mean 'Al Sharpton'"),
        (["--method", "smear"], "pixelate, blur, solid"),
        (["--fpir", "0.1"], "goes with --gallery"),
        (["--rotate", "45"], "0, 90, 180, 270 or auto"),
        (["--out", "b.avi"], "must end in .mp4"),
        (["--out", "{film}"], "is the video itself"),
        (["--out", "{film}", "--force"], "is the video itself"),
        (["--out", "no/such/b.mp4"], "make it first"),
        (["--out", "{film.parent}"], "is a folder"),
    ],
)
def test_mistakes_are_told_before_the_work(
    run: Run, two: Path, people: Path, tmp_path: Path, options: list[str], says: str
) -> None:
    given = [option.format(people=people, film=two) for option in options]
    out = [] if "--out" in given else ["--out", tmp_path / "b.mp4"]
    done = run("video", "blur", two, *out, *given)
    assert done.code == 2
    assert says in done.err
    assert not (tmp_path / "b.mp4").exists()


@pytest.mark.parametrize("command", ["annotate", "timeline", "faces", "blur"])
def test_what_is_no_video(run: Run, two: Path, tmp_path: Path, lfw_photo: Photo, command: str) -> None:
    (tmp_path / "still.mp4").write_bytes(lfw_photo("Al_Sharpton", 1))
    (tmp_path / "text.mp4").write_text("no video", "utf-8")
    cases = {"still.mp4": "still picture", "text.mp4": "no video", "none.mp4": "check the path", ".": "folder"}
    out = [] if command == "timeline" else ["--out", tmp_path / ("out" if command == "faces" else "out.mp4")]
    for name, says in cases.items():
        done = run("video", command, tmp_path / name, *out)
        assert done.code == 2
        assert says in done.err
    assert not (tmp_path / "out.mp4").exists()


def test_nobody_in_it(run: Run, nobody: Path, tmp_path: Path) -> None:
    done = run("video", "blur", nobody, "--out", tmp_path / "b.mp4", "--json")
    assert done.code == 0
    assert "no face was found" in done.json["warnings"][0]
    assert len(list(frames(tmp_path / "b.mp4"))) == 4
    assert run("video", "timeline", nobody, "--json").json["stays"] == []
    done = run("video", "faces", nobody, "--out", tmp_path / "faces")
    assert done.code == 2
    assert "no face" in done.err


def test_a_video_cut_off_is_done_as_far_as_it_goes(run: Run, tmp_path: Path, lfw_photo: Photo) -> None:
    whole = film(tmp_path / "a.mkv", moving(load_image(lfw_photo("Al_Sharpton", 2)), 30), options={"g": "5"})
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    done = run("video", "blur", cut, "--out", tmp_path / "b.mp4", *QUICK, "--json")
    assert done.code == 1
    assert "cut off" in done.json["problem"]
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == done.json["frames"] > 5

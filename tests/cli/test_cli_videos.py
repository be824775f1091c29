"""``visavis datasets videos``, ``mesh`` and ``pack``: what they print, write and refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from films import film, moving

from cli.conftest import Run
from cli.test_cli_docs import ALWAYS, documented
from visavis.datasets.packed import PackedFaces
from visavis.image import load_image

Photo = Callable[[str, int], bytes]


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory, lfw_photo: Photo) -> Path:
    return film(tmp_path_factory.mktemp("film") / "door.mp4", moving(load_image(lfw_photo("Al_Sharpton", 2)), 5))


def test_videos_by_the_people_of_a_gallery(run: Run, door: Path, people: Path, tmp_path: Path) -> None:
    (door.parent / "text.mp4").write_text("no video", "utf-8")
    done = run("datasets", "videos", door.parent, "--out", tmp_path / "faces", "-g", people, "--every", "0.2")
    assert done.code == 1
    assert done.rows[0][1:4] == ["1", "1", ""]
    assert "skipped" in done.err
    assert "text.mp4" in done.err
    assert [path.parent.name for path in (tmp_path / "faces").glob("*/*.jpg")] == ["Al Sharpton"]
    document = run(
        "datasets", "videos", door, "--out", tmp_path / "faces", "-g", people, "--every", "0.2", "--json"
    ).json
    assert document["faces"] == 1
    assert document["videos"][0]["people"] == ["Al Sharpton"]
    assert document["videos"][0]["done_before"]
    assert set(document) - ALWAYS | set(document["videos"][0]) <= documented("datasets videos")


def test_a_gallery_that_grew_names_more(run: Run, door: Path, tmp_path: Path, lfw_photo: Photo) -> None:
    for name in ("Ali_Naimi", "Al_Sharpton"):
        (tmp_path / f"{name}.jpg").write_bytes(lfw_photo(name, 1))
    db, command = tmp_path / "p.db", ["datasets", "videos", door, "--out", tmp_path / "faces", "--every", "0.2"]
    run("enroll", "Ali", tmp_path / "Ali_Naimi.jpg", "-g", db)
    assert run(*command, "-g", db, "--json").json["videos"][0]["people"] == []
    assert len(list((tmp_path / "faces" / "unknown").iterdir())) == 1
    run("enroll", "Al", tmp_path / "Al_Sharpton.jpg", "-g", db)
    assert run(*command, "-g", db, "--json").json["videos"][0]["people"] == ["Al"]
    assert [path.parent.name for path in (tmp_path / "faces").glob("*/*.jpg")] == ["Al"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--every", "1", "--fps", "1"], "say the same"),
        (["--fps", "0"], "above 0"),
        (["--rotate", "45"], "auto, 0, 90, 180 or 270"),
        (["--fpir", "0.1"], "goes with --gallery"),
        (["--gallery", "people.db", "--cluster"], "without --gallery"),
        (["--gallery", "missing.db"], "no gallery"),
    ],
)
def test_mistakes_with_videos(run: Run, door: Path, tmp_path: Path, options: list[str], says: str) -> None:
    done = run("datasets", "videos", door, "--out", tmp_path / "faces", *options)
    assert done.code == 2
    assert says in done.err
    assert len(done.err.splitlines()) == 1


def test_no_video_at_all(run: Run, tmp_path: Path) -> None:
    assert "no such video" in run("datasets", "videos", tmp_path / "x.mp4", "--out", tmp_path / "o").err
    assert "no video in" in run("datasets", "videos", tmp_path, "--out", tmp_path / "o").err


def test_mesh(run: Run, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bad.jpg").write_text("no photo", "utf-8")
    for i, path in enumerate(sorted((photos / "probes").glob("*.jpg"))[:2]):
        (tmp_path / "in" / f"{i}.jpg").write_bytes(path.read_bytes())
    done = run(
        "datasets", "mesh", tmp_path / "in", "--out", tmp_path / "out", "--per-image", "2", "--json", "--threads", "1"
    )
    assert done.code == 1
    assert done.json["pairs"] == 4
    (good,) = (item for item in done.json["photos"] if item["image"] == "1.jpg")
    assert good["meshes"] == ["mesh/1-1.png", "mesh/1-2.png"]
    assert set(done.json) - ALWAYS | set(good) <= documented("datasets mesh")
    assert "goes" not in done.err
    refused = run("datasets", "mesh", tmp_path / "in", "--out", tmp_path / "in" / "out")
    assert refused.code == 2
    assert "must lie apart" in refused.err
    assert not (tmp_path / "in" / "out").exists()
    assert (
        "line, wave, guilloche" in run("datasets", "mesh", tmp_path / "in", "--out", tmp_path / "o", "--kind", "x").err
    )


def test_pack_any_format_that_is_read(run: Run, photos: Path, tmp_path: Path) -> None:
    assert run("datasets", "convert", photos, tmp_path / "set.rec").code == 0
    for source, target in ((photos, "a.pack"), (tmp_path / "set.rec", "b.pack")):
        assert run("datasets", "pack", source, "--out", tmp_path / target).code == 0
    a, b = (PackedFaces.open(tmp_path / name) for name in ("a.pack", "b.pack"))
    assert np.array_equal(a.images, b.images)
    assert [a.people[i] for i in a.labels] == [b.people[i] for i in b.labels]


def test_pack(run: Run, photos: Path, tmp_path: Path) -> None:
    done = run("datasets", "pack", photos, "--out", tmp_path / "a.pack", "--size", "112x96", "--json")
    assert done.code == 0
    assert done.json["size"] == [112, 96]
    assert set(done.json) - ALWAYS <= documented("datasets pack")
    faces = PackedFaces.open(tmp_path / "a.pack")
    assert faces.images.shape == (done.json["images"], 112, 96, 3)
    assert faces.sha256 == done.json["sha256"]
    assert set(faces.people) == {"people", "probes"}
    bad = tmp_path / "set" / "ada"
    bad.mkdir(parents=True)
    (bad / "1.jpg").write_bytes((photos / "probes" / "Al_Sharpton_2.jpg").read_bytes())
    (bad / "2.jpg").write_text("no photo", "utf-8")
    refused = run("datasets", "pack", tmp_path / "set", "--out", tmp_path / "b.pack")
    assert refused.code == 2
    assert "ada/2: " in refused.err
    assert not (tmp_path / "b.pack").exists()
    kept = run("datasets", "pack", tmp_path / "set", "--out", tmp_path / "b.pack", "--skip-bad", "--encoded")
    assert kept.code == 1
    assert np.array_equal(PackedFaces.open(tmp_path / "b.pack")[0][0], load_image(bad / "1.jpg"))
    assert json.loads(run("datasets", "pack", tmp_path / "none", "--out", tmp_path / "c", "--json").out)["error"]

"""``visavis detect``, ``verify`` and ``find`` on real photos, good and bad."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from visavis.cli.pictures import PictureFolder
from visavis.errors import InputError
from visavis.image import load_image, save_image
from visavis.models.store import Store
from visavis.pipeline import Analyzer

Run = Callable[..., Any]


def test_detect_tells_what_the_analyzer_finds(run: Run, photos: Path) -> None:
    photo = photos / "probes" / "Ali_Naimi_2.jpg"
    faces = Analyzer(recognizer=None).analyze(photo)
    document = run("detect", photo, "--json").json
    assert document["command"] == "detect"
    assert document["detector"] == "yunet"
    assert (document["read"], document["faces"], document["skipped"]) == (1, len(faces), 0)
    assert document["images"] == [{"image": str(photo), "faces": faces.to_dict()}]
    rows = run("detect", photo).rows
    assert len(rows) == len(faces)
    assert rows[0][:2] == [str(photo), "1"]
    assert np.allclose([float(v) for v in rows[0][4:]], faces.boxes[0], atol=0.06)


def test_files_folders_and_patterns(run: Run, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    probes = photos / "probes"
    everything = [item["image"] for item in run("detect", probes, "--json").json["images"]]
    assert everything == sorted(str(path) for path in probes.iterdir())
    monkeypatch.chdir(photos)
    some = run("detect", "probes/*_2.jpg", "people", "--json").json["images"]
    assert len(some) == 5 + 3


def test_broken_files_are_reported_and_skipped(outside: Run, broken: Path, tmp_path: Path) -> None:
    result = outside("detect", broken, "--json", "--out", tmp_path / "out")
    assert result.code == 1
    items = {Path(item["image"]).relative_to(broken).as_posix(): item for item in result.json["images"]}
    assert {name for name, item in items.items() if "error" in item} == {"zero.jpg", "text.jpg", "cut.jpg"}
    assert result.json["skipped"] == 3
    assert result.json["read"] == 2
    lines = result.err.splitlines()
    assert len(lines) == 4
    assert all(line.startswith("visavis: skipped: ") for line in lines[:3])
    assert lines[3] == "visavis: 3 of 5 files skipped"
    pictures = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.jpg"))
    assert pictures == ["good.faces.jpg", "照片 一/good.faces.jpg"]


@pytest.mark.parametrize("name", ["zero.jpg", "text.jpg", "cut.jpg"])
def test_nothing_that_can_be_read_is_an_error(name: str, run: Run, broken: Path) -> None:
    result = run("detect", broken / name)
    assert result.code == 2
    assert result.err.startswith("visavis: skipped: ")
    assert result.err.count("\n") == 1


def test_a_folder_without_images(run: Run, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing here", encoding="utf-8")
    result = run("detect", tmp_path)
    assert result.code == 2
    assert "no image in" in result.err


def test_a_photo_without_faces_is_a_result(run: Run, tmp_path: Path) -> None:
    save_image(tmp_path / "plain.png", np.full((200, 300, 3), 127, np.uint8))
    result = run("detect", tmp_path / "plain.png", "--json", "--out", tmp_path / "out")
    assert result.code == 0
    assert result.json["images"][0]["faces"] == []
    assert (tmp_path / "out" / "plain.faces.png").is_file()


def test_pictures_never_collide_nor_overwrite(run: Run, photos: Path, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder / "deep").mkdir(parents=True)
        shutil.copy(photos / "probes" / "Al_Sharpton_2.jpg", tmp_path / folder / "x.jpg")
        shutil.copy(photos / "probes" / "Al_Sharpton_4.jpg", tmp_path / folder / "deep" / "x.jpg")
    out = tmp_path / "out"
    out.mkdir()
    given = out / "x.faces.jpg"  # looks like a picture of ours, but was given
    shutil.copy(photos / "probes" / "Ali_Naimi_2.jpg", given)
    before = given.read_bytes()
    result = run("detect", tmp_path / "a", tmp_path / "b", given, "--out", out, "--json")
    assert result.code == 0
    pictures = [item["picture"] for item in result.json["images"]]
    assert len(set(pictures)) == 5
    assert all(Path(picture).is_file() for picture in pictures)
    assert given.read_bytes() == before
    drawn = load_image(pictures[1])
    original = load_image(tmp_path / "a" / "x.jpg")
    assert drawn.shape == original.shape
    assert np.abs(drawn.astype(int) - original).max() > 60
    again = run("detect", tmp_path / "a", tmp_path / "b", given, "--out", out, "--json")
    assert [item["picture"] for item in again.json["images"]] == pictures  # a second run replaces its own


def test_pictures_stay_out_of_what_is_searched(run: Run, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos)
    for out in ("probes", "probes/annotated"):
        result = run("detect", "probes", "--out", out)
        assert result.code == 2
        assert "choose a folder outside of it" in result.err
    assert not (photos / "probes" / "annotated").exists()
    with pytest.raises(InputError):
        PictureFolder(Path("probes/x"), ["probes/**/*.jpg"])
    with pytest.raises(InputError):
        PictureFolder(Path("probes"), ["probes/*.jpg"])
    with pytest.raises(InputError):
        PictureFolder(Path("probes/x"), ["*/x/*.jpg"])


def test_a_pattern_reaches_as_deep_as_it_says(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(photos / "probes" / "Al_Sharpton_2.jpg", tmp_path / "a.jpg")
    folder = PictureFolder(Path("out"), ["*.jpg"])
    assert folder.path_for("a.jpg") == Path("out/a.faces.jpg")


def test_out_that_can_not_be_written(run: Run, photos: Path, tmp_path: Path) -> None:
    photo = photos / "probes" / "Al_Sharpton_2.jpg"
    (tmp_path / "file").write_bytes(b"mine")
    result = run("detect", photo, "--out", tmp_path / "file")
    assert (result.code, result.err) == (2, f"visavis: --out {tmp_path / 'file'} is a file; give a folder\n")
    assert (tmp_path / "file").read_bytes() == b"mine"


def test_a_read_only_out_folder(run: Run, photos: Path, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(0o555)
    if os.access(locked, os.W_OK):  # root may write anywhere but there
        locked = Path("/proc/visavis")
        if not Path("/proc/self").exists():
            pytest.skip("no folder here that root may not write")
    result = run("detect", photos / "probes", "--out", locked)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"visavis: --out {locked} can't be written: ")
    assert result.err.count("\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has /dev/full")
def test_a_full_disk_under_the_output_is_one_line(photos: Path) -> None:
    command = [sys.executable, "-m", "visavis", "detect", str(photos / "probes"), "--json"]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert "space" in done.stderr.lower()
    assert "Traceback" not in done.stderr


# ---- verify ----------------------------------------------------------------------------------------------------


def test_verify_says_yes_no_or_error(run: Run, photos: Path, broken: Path) -> None:
    a, b = photos / "probes" / "Al_Sharpton_2.jpg", photos / "probes" / "Al_Sharpton_4.jpg"
    other = photos / "probes" / "Ahmed_Chalabi_2.jpg"
    yes = run("verify", a, b)
    assert yes.code == 0
    facts = dict(line.split("\t") for line in yes.out.splitlines()[1:])
    assert yes.out.startswith("match: the same person\n")
    assert set(facts) == {"similarity", "threshold", "FMR of threshold", "FMR at similarity", "model"}
    assert facts["FMR of threshold"].startswith("1e-4: 1 in 10,000 pairs of different people, on ")
    assert facts["FMR at similarity"].startswith("< 1e-")
    no = run("verify", a, other, "--json")
    assert no.code == 1
    assert no.json["match"] is False
    assert no.json["similarity"] < no.json["threshold"]
    assert no.json["fmr"] == pytest.approx(1e-4)
    assert no.json["fmr_measured"]["lowest"] <= 1e-5
    assert no.json["images"] == [str(a), str(other)]
    assert run("verify", a, broken / "zero.jpg").code == 2
    assert run("verify", a, broken).code == 2
    assert run("verify", a, "不存在.jpg").err == "visavis: '不存在.jpg' does not exist; check the path\n"


def test_verify_at_another_operating_point(run: Run, photos: Path) -> None:
    pair = [photos / "probes" / "Al_Sharpton_2.jpg", photos / "probes" / "Al_Sharpton_4.jpg"]
    strict, loose = (run("verify", *pair, "--fmr", rate, "--json").json for rate in ("1e-5", "1e-2"))
    assert strict["threshold"] > loose["threshold"]
    assert strict["similarity"] == loose["similarity"]
    assert run("verify", *pair, "--threshold", "0.999").code == 1
    both = run("verify", *pair, "--threshold", "0.3", "--fmr", "1e-3")
    assert both.code == 2
    assert "one of" in both.err
    unmeasured = run("verify", *pair, "--fmr", "1e-12")
    assert unmeasured.code == 2
    assert "was not measured" in unmeasured.err


def test_verify_with_the_flipped_face_is_another_model(run: Run, photos: Path) -> None:
    pair = [photos / "probes" / "Al_Sharpton_2.jpg", photos / "probes" / "Al_Sharpton_4.jpg"]
    result = run("verify", *pair, "--flip", "--threshold", "0.4", "--json")
    assert result.code == 0
    assert result.json["model"] == "sface+flip"


def test_several_faces_need_a_word(run: Run, home: Path, photos: Path) -> None:
    six = Store(home).path("six-people")
    refused = run("verify", six, photos / "probes" / "Al_Sharpton_2.jpg")
    assert refused.code == 2
    assert "6 faces" in refused.err
    assert run("verify", six, photos / "probes" / "Al_Sharpton_2.jpg", "--largest").code == 1


def test_engines_agree(run: Run, photos: Path) -> None:
    pytest.importorskip("onnxruntime")
    pair = [photos / "probes" / "Al_Sharpton_2.jpg", photos / "probes" / "Al_Sharpton_4.jpg"]
    found = [
        run("verify", *pair, "--engine", engine, "--precision", "f32", "--json").json["similarity"]
        for engine in ("openvino", "onnxruntime")
    ]
    assert found[0] == pytest.approx(found[1], abs=2e-3)


# ---- find ------------------------------------------------------------------------------------------------------


def test_find_gives_the_photos_of_one_person(run: Run, photos: Path, broken: Path, tmp_path: Path) -> None:
    probe = photos / "people" / "Ali Naimi" / "1.jpg"
    result = run("find", probe, photos / "probes", "--json", "--out", tmp_path / "found")
    assert result.code == 0
    hits = [Path(item["image"]).name for item in result.json["images"] if item["match"]]
    assert hits == ["Ali_Naimi_2.jpg", "Ali_Naimi_4.jpg"]
    assert len(result.json["images"]) == 10
    assert result.json["found"] == 2
    pictures = sorted(path.name for path in (tmp_path / "found").iterdir())
    assert pictures == ["Ali_Naimi_2.faces.jpg", "Ali_Naimi_4.faces.jpg"]
    for item in result.json["images"]:
        for face in item["faces"]:
            assert face["match"] == (face["similarity"] >= result.json["threshold"])
    rows = run("find", probe, photos / "probes").rows
    assert [Path(row[0]).name for row in rows] == hits
    assert rows[0][-1] == "sface"
    some = run("find", probe, photos / "probes", broken)
    assert some.code == 1
    assert some.err.endswith("visavis: 3 of 15 files skipped\n")


def test_find_warns_where_chance_would_match(run: Run, photos: Path) -> None:
    probe, probes = photos / "people" / "Ali Naimi" / "1.jpg", photos / "probes"
    result = run("find", probe, probes, probes, "--fmr", "0.1", "--json")
    assert result.code == 0
    (warning,) = result.json["warnings"]
    assert "match by chance" in warning


def test_find_needs_one_face(run: Run, photos: Path, tmp_path: Path) -> None:
    save_image(tmp_path / "plain.png", np.full((200, 300, 3), 127, np.uint8))
    result = run("find", tmp_path / "plain.png", photos / "probes")
    assert result.code == 2
    assert "no face found" in result.err


@pytest.mark.slow
def test_memory_stays_flat_over_thousands_of_photos(tmp_path: Path, photos: Path) -> None:
    psutil = pytest.importorskip("psutil")
    source = (photos / "probes" / "Al_Sharpton_2.jpg").read_bytes()
    for i in range(4000):
        (tmp_path / f"{i:05d}.jpg").write_bytes(source if i % 100 else b"broken")
    command = [sys.executable, "-m", "visavis", "detect", str(tmp_path), "--json"]
    peaks: dict[int, int] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        child = psutil.Process(process.pid)
        for i, _ in enumerate(process.stdout):
            if i in (500, 3900):
                peaks[i] = child.memory_info().rss
        assert process.wait() == 1
    assert peaks[3900] < peaks[500] * 1.1

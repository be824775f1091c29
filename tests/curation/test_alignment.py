"""Folders of real photos to crops: what comes out, how it goes on after an end, and what is never touched."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from visavis.analysis.quality import QualityGate
from visavis.curation.alignment import MANIFEST, Aligner, Recipe, align_folder, of_one_person
from visavis.curation.crops import CropShape
from visavis.curation.manifest import read_manifest
from visavis.errors import InputError, StorageError
from visavis.image import load_image
from visavis.pipeline import Analyzer
from visavis.types import Embeddings, Faces

PEOPLE = {"Abdullah": 4, "Aaron_Sorkin": 2, "Ahmed_Chalabi": 3}


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory, lfw: zipfile.ZipFile) -> Path:
    """Return a folder a person, with a photo that is none, a flat one, and one turned by its EXIF data."""
    folder = tmp_path_factory.mktemp("raw") / "photos"
    for person, number in PEOPLE.items():
        (folder / person).mkdir(parents=True)
        for name in sorted(n for n in lfw.namelist() if f"/{person}/" in n and n.endswith(".jpg"))[:number]:
            (folder / person / Path(name).name).write_bytes(lfw.read(name))
    first = next(path for path in sorted(folder.rglob("*.jpg")))
    shutil.copy(first, folder / "flat 照片.jpg")
    shutil.copy(first, folder / "Abdullah" / "twin.jpg")
    load = Pillow.open(first)
    load.save(folder / "Abdullah" / "twin.png")
    exif = Pillow.Exif()
    exif[0x0112] = 6
    load.transpose(Pillow.Transpose.ROTATE_90).save(folder / "turned.jpg", exif=exif, quality=98)
    (folder / "bad.jpg").write_bytes(b"nothing")
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def run(*arguments: Any, **more: Any) -> list[dict[str, Any]]:
    return [row for row, _ in align_folder(*arguments, workers=1, **more)]


@pytest.fixture(scope="module")
def aligned(tmp_path_factory: pytest.TempPathFactory, raw: Path, home: Path) -> Path:
    out = tmp_path_factory.mktemp("aligned") / "crops"
    before = os.environ.copy()
    os.environ |= {"VISAVIS_HOME": str(home), "VISAVIS_PRECISION": "f32", "VISAVIS_THREADS": "1"}
    try:
        original = files(raw)
        run(raw, out)
        assert files(raw) == original, "photos are never touched"
    finally:
        os.environ.clear()
        os.environ |= before
    return out


def test_every_photo_has_a_crop_where_it_lay(raw: Path, aligned: Path) -> None:
    made = set(files(aligned)) - {MANIFEST}
    photos = {p.relative_to(raw).with_suffix("").as_posix() for p in raw.rglob("*") if p.is_file()} - {"bad"}
    assert {name.removesuffix(".jpg").replace("twin~2", "twin") for name in made} == photos
    assert {"Abdullah/twin.jpg", "Abdullah/twin~2.jpg"} <= made, "two photos of one stem keep a crop each"
    assert all(load_image(aligned / name).shape == (112, 112, 3) for name in made)
    assert not any(path.name.startswith(".") for path in aligned.iterdir())


def test_the_crops_are_those_of_the_analyzer(raw: Path, aligned: Path) -> None:
    analyzer = Analyzer(threads=1, precision="f32")
    photo = load_image(raw / "Abdullah" / "Abdullah_0001.jpg")
    faces = analyzer.analyze(photo)
    largest = int(np.argmax(faces.boxes[:, 2] - faces.boxes[:, 0]))
    expected = analyzer.crop(photo, faces)[largest]
    found = load_image(aligned / "Abdullah" / "Abdullah_0001.jpg")
    assert np.abs(found.astype(int) - expected.astype(int)).mean() < 3, "but for JPEG"
    upright, turned = (load_image(aligned / name).astype(int) for name in ("flat 照片.jpg", "turned.jpg"))
    assert np.abs(upright - turned).mean() < 6, "EXIF orientation is respected"


def test_the_manifest_says_what_became_of_each(raw: Path, aligned: Path) -> None:
    settings, rows = read_manifest(aligned / MANIFEST)
    assert settings["photos"] == "photos"
    assert [row["source"] for row in rows] == sorted(row["source"] for row in rows)
    by_source = {row["source"]: row for row in rows}
    assert "not an image" in by_source["bad.jpg"]["error"]
    row = by_source["Abdullah/Abdullah_0001.jpg"]
    assert (row["width"], row["height"], row["bytes"]) == (250, 250, (raw / row["source"]).stat().st_size)
    (crop,) = [face for face in row["faces"] if face["crop"]]
    assert crop["left_out"] is None
    assert crop["crop_bytes"] == (aligned / crop["crop"]).stat().st_size
    assert {"sharpness", "yaw_deg", "pitch_deg", "eye_distance_px"} <= set(crop)
    x1, y1, x2, y2 = crop["box"]
    assert all(x1 < x < x2 and y1 < y < y2 for x, y in crop["landmarks"])


def test_what_is_there_is_kept_and_what_is_gone_or_changed_made_anew(raw: Path, aligned: Path, tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    shutil.copytree(raw, photos)
    shutil.copytree(aligned, out)
    whole = files(out)
    (out / "Abdullah" / "Abdullah_0001.jpg").unlink()
    (out / "turned.jpg").write_bytes(b"half")
    with (out / MANIFEST).open("ab") as manifest:
        manifest.write(b'{"source": "Abdullah/Abdul')  # cut off by a kill
    (out / ".visavis" / "partial").mkdir(parents=True)
    (out / ".visavis" / "partial" / "1-1").write_bytes(b"half a crop")
    shutil.copy(photos / "Abdullah" / "Abdullah_0002.jpg", photos / "flat 照片.jpg")
    fresh = {row["source"] for row, new in align_folder(photos, out, workers=1) if new}
    assert fresh == {"Abdullah/Abdullah_0001.jpg", "turned.jpg", "flat 照片.jpg", "bad.jpg"}
    now = files(out)
    changed = {name for name in whole if now.get(name) != whole[name]}
    assert set(now) == set(whole)
    assert changed == {MANIFEST, "flat 照片.jpg"}


def test_a_killed_run_goes_on(raw: Path, aligned: Path, tmp_path: Path, home: Path) -> None:
    out, many = tmp_path / "out", tmp_path / "photos"
    for i in range(12):
        shutil.copytree(raw, many / str(i))
    code = "import sys; from visavis.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "datasets", "align", str(many), "--out", str(out), "--threads", "2"]
    child = subprocess.Popen(command, env=os.environ.copy(), stderr=subprocess.DEVNULL)
    for _ in range(600):
        if (out / MANIFEST).is_file() and len((out / MANIFEST).read_bytes().splitlines()) > 12:
            break
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL if sys.platform != "win32" else signal.SIGTERM)
    child.wait()
    _, rows = read_manifest(out / MANIFEST)
    assert len(rows) > 10
    assert all(
        (out / face["crop"]).stat().st_size == face["crop_bytes"] for r in rows for face in r["faces"] if face["crop"]
    )
    for _ in range(100):  # its processes finish what they had, and end as their parent has gone
        try:
            run(many, out)
            break
        except StorageError:
            time.sleep(0.1)
    expected = {n: data for n, data in files(aligned).items() if n != MANIFEST}
    found = {n: data for n, data in files(out).items() if n != MANIFEST}
    assert found == {f"{i}/{name}": data for i in range(12) for name, data in expected.items()}


def test_processes_give_what_one_does(raw: Path, aligned: Path, tmp_path: Path) -> None:
    rows = [row for row, new in align_folder(raw, tmp_path / "out", workers=2) if new]
    assert len(rows) == len(read_manifest(aligned / MANIFEST)[1])
    assert files(tmp_path / "out") == files(aligned)


@pytest.mark.parametrize(
    ("recipe", "shape"),
    [
        (Recipe(CropShape.of("112x96")), (112, 96, 3)),
        (Recipe(CropShape.of("160", "box", "32px"), suffix=".png"), (160, 160, 3)),
        (Recipe(CropShape.of("182", "box", "44px")), (182, 182, 3)),
        (Recipe(CropShape.of("40x200", "points", "30%")), (40, 200, 3)),
    ],
)
def test_sizes(recipe: Recipe, shape: tuple[int, ...], raw: Path, tmp_path: Path) -> None:
    run(raw / "Abdullah", tmp_path / "out", recipe)
    crops = [path for path in (tmp_path / "out").iterdir() if path.name != MANIFEST]
    assert len(crops) == PEOPLE["Abdullah"] + 2
    assert all(path.suffix == recipe.suffix and load_image(path).shape == shape for path in crops)


def test_poor_faces_are_left_out_and_why_is_told(raw: Path, tmp_path: Path) -> None:
    for name, recipe, told in [
        ("small", Recipe(min_face=1000), "px high, at least 1000 needed"),
        ("sharp", Recipe(gate=QualityGate(0, 0.99, 90, 90)), "the face is blurred"),
        ("turn", Recipe(gate=QualityGate(0, 0, 0.001, 90)), "turned too far"),
    ]:
        rows = run(raw / "Abdullah", tmp_path / name, recipe)
        assert [face["crop"] for row in rows for face in row["faces"]] == [None] * sum(len(r["faces"]) for r in rows)
        assert all(any(told in face["left_out"] for face in row["faces"]) for row in rows)


def test_which_face_is_taken(raw: Path, lfw_photo: Callable[[str, int], bytes], tmp_path: Path) -> None:
    ada, bob = (load_image(lfw_photo(name, 1)) for name in ("Abdullah", "Aaron_Sorkin"))
    # Somebody else large beside Abdullah, small: the folder's other photos tell who is meant.
    both = np.zeros((500, 750, 3), np.uint8)
    both[:, :500] = cv2.resize(bob, (500, 500))
    both[100:350, 500:] = ada
    folder = tmp_path / "photos" / "Abdullah"
    folder.mkdir(parents=True)
    Pillow.fromarray(both).save(folder / "both.png")
    for number in (2, 3, 4):
        (folder / f"{number}.jpg").write_bytes(lfw_photo("Abdullah", number))

    def taken(face: Any) -> dict[str, list[int]]:
        rows = run(tmp_path / "photos", tmp_path / face, Recipe(face=face))
        row = next(row for row in rows if row["source"] == "Abdullah/both.png")
        return {
            "left": [i for i, f in enumerate(row["faces"]) if f["crop"] and f["box"][2] < 500],
            "right": [i for i, f in enumerate(row["faces"]) if f["crop"] and f["box"][0] > 500],
        }

    largest, person, everyone, only = (taken(face) for face in ("largest", "person", "all", "only"))
    assert (len(largest["left"]), len(largest["right"])) == (1, 0)
    assert (len(person["left"]), len(person["right"])) == (0, 1)
    assert len(everyone["left"]) >= 1
    assert len(everyone["right"]) >= 1
    assert (tmp_path / "all" / "Abdullah" / "both~face2.jpg").is_file()
    assert len(only["left"]) + len(only["right"]) <= 1
    middle = taken("central")
    assert len(middle["left"]) + len(middle["right"]) == 1


def test_the_face_that_photos_share() -> None:
    ada, bob, cleo = np.eye(3, dtype=np.float32)

    def photo(*vectors: np.ndarray) -> Faces:
        n = len(vectors)
        boxes = np.array([[0, 0, 10 + i, 10] for i in range(n)], np.float32).reshape(n, 4)
        made = Embeddings(np.array(vectors, np.float32).reshape(n, 3), "m")
        return Faces(boxes, np.ones(n, np.float32), embeddings=made)

    assert of_one_person([photo(bob, ada), photo(ada, cleo), photo(), photo(cleo, bob, ada)]) == [[1], [0], [], [2]]
    assert of_one_person([photo(bob, ada)]) == [[1]], "alone, the largest"
    assert of_one_person([]) == []
    assert of_one_person([photo(), photo()]) == [[], []]


def test_what_can_not_be(raw: Path, aligned: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"other settings .*shape"):
        run(raw, aligned, Recipe(CropShape(96, 96)))
    with pytest.raises(InputError, match="lie in each other"):
        run(raw, raw / "crops")
    with pytest.raises(InputError, match="lie in each other"):
        run(raw, raw.parent)
    with pytest.raises(InputError, match="holds something else"):
        run(aligned, raw)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no photo"):
        run(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(InputError, match="no folder"):
        run(raw / "bad.jpg", tmp_path / "out")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / MANIFEST).write_text('{"a": 1}\n')
    with pytest.raises(InputError, match="no list of aligned photos"):
        run(raw, tmp_path / "odd")
    for wrong in ({"face": "left"}, {"suffix": ".gif"}, {"quality": 0}):
        with pytest.raises(InputError):
            Recipe(**wrong)  # type: ignore[arg-type]


def test_two_runs_at_once_are_refused(raw: Path, tmp_path: Path) -> None:
    first = align_folder(raw, tmp_path / "out", workers=1)
    next(first)
    with pytest.raises(StorageError, match="another run"):
        run(raw, tmp_path / "out")
    first.close()
    assert len(run(raw, tmp_path / "out")) == sum(PEOPLE.values()) + 5


def test_a_full_disk_loses_nothing(raw: Path, aligned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, left = Path.write_bytes, iter(range(4))

    def full(self: Path, data: bytes) -> int:
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageError, match="no space left on device; what was done is kept"):
        run(raw, tmp_path / "out")
    monkeypatch.undo()
    monkeypatch.setenv("VISAVIS_PRECISION", "f32")
    assert not list((tmp_path / "out").rglob("partial/*"))
    run(raw, tmp_path / "out")
    assert files(tmp_path / "out") == files(aligned)


def test_a_process_that_dies_costs_one_photo(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A child that meets this photo ends as if a library had crashed.
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import os, sys\n"
        "def watch(event, arguments):\n"
        "    if event == 'open' and str(arguments[0]).endswith('Abdullah_0002.jpg'):\n"
        "        os._exit(134)\n"
        "sys.addaudithook(watch)\n"
    )
    monkeypatch.setattr(sys, "path", [str(site), *sys.path])
    rows = {row["source"]: row for row, _ in align_folder(raw, tmp_path / "out", workers=2)}
    assert "a process ended with 134" in rows["Abdullah/Abdullah_0002.jpg"]["error"]
    errors = {source for source, row in rows.items() if row["error"]}
    assert errors == {"Abdullah/Abdullah_0002.jpg", "bad.jpg"}


def test_boxes_alone_are_enough(raw: Path, tmp_path: Path) -> None:
    """A detector without landmarks gets them from the face mesh."""
    job = {
        "root": str(raw / "Aaron_Sorkin"),
        "out": str(tmp_path),
        "partial": str(tmp_path),
        "recipe": Recipe(detector="haar").to_dict(),
        "engine": {"threads": 1},
    }
    (row,) = Aligner(job)([["Aaron_Sorkin_0001.jpg", "one"]])
    assert [len(face["landmarks"]) for face in row["faces"] if face["crop"]] == [5]
    assert json.loads(json.dumps(row)) == row

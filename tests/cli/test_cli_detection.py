"""``visavis evaluate detection`` and ``landmarks``, ``visavis datasets annotations``, ``label`` and ``corrections``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from visavis.image import load_image, resize, save_image
from visavis.models.store import Store

from .test_cli_docs import ALWAYS, documented

Run = Callable[..., Any]
BOXES = [[745, 345, 101, 133], [462, 262, 112, 150], [1132, 270, 94, 130], [272, 145, 94, 131], [903, 60, 109, 152]]
BOXES += [[60, 258, 112, 144]]
"""The faces of the sample photo "six-people", drawn by hand: left, top, width, height."""


@pytest.fixture(scope="session")
def six(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the photo, its ground truth as COCO, and a picture without faces."""
    folder = tmp_path_factory.mktemp("six")
    (folder / "pictures").mkdir()
    shutil.copy(store.fetch("six-people"), folder / "pictures/six.jpg")
    save_image(folder / "pictures/none.png", np.full((90, 120, 3), 200, np.uint8))
    truth = {
        "images": [
            {"id": 1, "file_name": "six.jpg", "width": 1280, "height": 886},
            {"id": 2, "file_name": "none.png", "width": 120, "height": 90},
        ],
        "annotations": [{"id": i, "image_id": 1, "category_id": 1, "bbox": box} for i, box in enumerate(BOXES)],
        "categories": [{"id": 1, "name": "face"}],
    }
    (folder / "truth.json").write_text(json.dumps(truth))
    return folder


def test_a_detector_is_measured(run: Run, six: Path, tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    page = tmp_path / "report.html"
    result = run(
        "evaluate", "detection", six / "truth.json", six / "pictures", "--score", "0.05", "--report", page, "--json"
    )
    assert result.code == 0
    document = result.json
    assert document["protocol"] == "coco"
    assert (document["pictures"], document["faces"]) == (2, 6)
    assert document["figures"]["ap_50"] == pytest.approx(1)
    assert sum(row["faces"] for row in document["slices"]["height"]) == 6
    assert document["slices"]["height"][5]["recall"]["value"] == 1
    assert "Precision and recall" in page.read_text(encoding="utf-8")
    assert json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))


def test_anyones_predictions_are_measured(run: Run, six: Path, tmp_path: Path) -> None:
    results = [{"image_id": 1, "category_id": 1, "bbox": box, "score": 0.9} for box in BOXES[:3]]
    results += [{"image_id": 2, "category_id": 1, "bbox": [5, 5, 40, 40], "score": 0.95}]
    (tmp_path / "results.json").write_text(json.dumps(results))
    result = run("evaluate", "detection", six / "truth.json", "--predictions", tmp_path / "results.json")
    assert result.code == 0
    facts = dict(row[:2] for row in result.rows if len(row) == 2)
    assert facts["boxes"] == "4"
    assert facts["ar_100"] == "0.5000"
    assert ["100 to 300 px", "6", "0.500"] in [[*row[:2], row[2][:5]] for row in result.rows if len(row) == 4]
    (tmp_path / "0--Parade").mkdir()
    truth = tmp_path / "wider_face_val_bbx_gt.txt"
    truth.write_text("0--Parade/a.jpg\n1\n10 10 60 60 0 0 0 0 0 0\n")
    (tmp_path / "out/0--Parade").mkdir(parents=True)
    (tmp_path / "out/0--Parade/a.txt").write_text("a\n1\n11 10 60 60 0.7\n")
    document = run("evaluate", "detection", truth, "--predictions", tmp_path / "out", "--json").json
    assert document["protocol"] == "wider"
    assert document["figures"] == {"ap_easy": 1, "ap_medium": 1, "ap_hard": 1}
    assert "approximated" in document["warnings"][0]
    document = run(
        "evaluate", "detection", truth, "--predictions", tmp_path / "out", "--protocol", "fddb", "--json"
    ).json
    assert document["figures"]["discrete_1000"] == 1


def test_mistakes_are_one_line(run: Run, six: Path, tmp_path: Path) -> None:
    gone = json.loads((six / "truth.json").read_text())
    gone["images"].append({"id": 3, "file_name": "gone.png"})
    (tmp_path / "gone.json").write_text(json.dumps(gone))
    several = json.loads((six / "truth.json").read_text())
    several["categories"].append({"id": 2, "name": "head"})
    several["annotations"][0]["category_id"] = 2
    (tmp_path / "several.json").write_text(json.dumps(several))
    for arguments, said in (
        ([six / "truth.json"], "give IMAGES"),
        ([six / "truth.json", six / "pictures", "--protocol", "voc"], "coco, wider or fddb"),
        ([tmp_path / "gone.json", six / "pictures"], "1 pictures are not in"),
        ([tmp_path / "several.json", six / "pictures"], "say which is a face with --label"),
        ([tmp_path / "several.json", six / "pictures", "--label", "cat"], "no box has the label 'cat'"),
        ([tmp_path / "nothing.json", six / "pictures"], "check the path"),
        ([six / "pictures", six / "pictures"], "name it with --from"),
    ):
        result = run("evaluate", "detection", *arguments)
        assert result.code == 2
        (line,) = (line for line in result.err.splitlines() if "warning" not in line)
        assert said in line
    document = run("evaluate", "detection", tmp_path / "gone.json", six / "pictures", "--skip-missing", "--json").json
    assert document["pictures"] == 2
    document = run(
        "evaluate", "detection", tmp_path / "several.json", six / "pictures", "--label", "face", "--json"
    ).json
    assert document["faces"] == 5


def test_landmarks_are_measured(run: Run, six: Path, tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    found = run("datasets", "label", six / "pictures", "--out", tmp_path / "first", "--points", "--json").json
    assert found["boxes"] == 6
    arguments = [tmp_path / "first/first.json", six / "pictures"]
    page = tmp_path / "landmarks.html"
    document = run("evaluate", "landmarks", *arguments, "--report", page, "--json").json
    assert document["nme"] == pytest.approx(0, abs=1e-4)  # the same model on the same picture
    assert (document["faces"], document["failure_rate"], document["without_landmarks"]) == (6, 0, 0)
    assert page.is_file()
    other = run("evaluate", "landmarks", *arguments, "--detector", "mtcnn", "--by", "diagonal", "--json").json
    assert 0 < other["nme"] < 0.2
    brought = run(
        "evaluate", "landmarks", tmp_path / "first/first.json", "--predictions", tmp_path / "first/first.json"
    )
    assert dict(brought.rows)["mean error by inter-ocular"] == "0.0000"
    assert "five landmarks are marked" in run("evaluate", "landmarks", *arguments, "--detector", "blazeface").err
    assert "has no landmarks" in run("evaluate", "landmarks", six / "truth.json", six / "pictures").err
    assert "--by is" in run("evaluate", "landmarks", *arguments, "--by", "nose").err
    assert "give IMAGES" in run("evaluate", "landmarks", arguments[0]).err


def test_annotations_are_converted(run: Run, six: Path, tmp_path: Path) -> None:
    result = run("datasets", "annotations", six / "truth.json", tmp_path / "gt.txt", "--to", "wider", "--json")
    assert (result.json["from"], result.json["pictures"], result.json["boxes"]) == ("coco", 2, 6)
    lines = (tmp_path / "gt.txt").read_text().splitlines()
    assert lines[:3] == ["six.jpg", "6", "745 345 101 133 0 0 0 0 0 0"]
    assert "needs the size" in run("datasets", "annotations", tmp_path / "gt.txt", tmp_path / "y", "--to", "yolo").err
    code = run(
        "datasets", "annotations", tmp_path / "gt.txt", tmp_path / "y", "--to", "yolo", "--images", six / "pictures"
    ).code
    assert code == 0
    words = (tmp_path / "y/labels/six.txt").read_text().split()
    assert [float(word) for word in words[:5]] == pytest.approx([0, 795.5 / 1280, 411.5 / 886, 101 / 1280, 133 / 886])
    assert "--to is wider" in run("datasets", "annotations", tmp_path / "gt.txt", tmp_path / "z", "--to", "kitti").err


def test_bad_boxes_are_counted_and_repaired(run: Run, six: Path, tmp_path: Path) -> None:
    rows = "six.jpg\n3\n-10 0 50 50 0 0 0 0 0 0\n5 5 0 9 0 0 0 0 0 0\n1250 800 60 60 0 0 0 0 0 0\n"
    (tmp_path / "gt.txt").write_text(rows)
    arguments = ["datasets", "annotations", tmp_path / "gt.txt", tmp_path / "out.json", "--to", "coco"]
    arguments += ["--images", six / "pictures"]
    document = run(*arguments, "--json").json
    assert (document["empty"], document["outside"], document["boxes"]) == (1, 2, 3)
    assert len(document["warnings"]) == 2
    document = run(*arguments, "--repair", "--json").json
    assert (document["boxes"], document["left_out"], document["warnings"]) == (2, 1, [])
    boxes = [row["bbox"] for row in json.loads((tmp_path / "out.json").read_text())["annotations"]]
    assert boxes == [[0, 0, 40, 50], [1250, 800, 30, 60]]
    (tmp_path / "gt.txt").write_text(rows.replace("-10 0 50 50", "-10 0 -50 50"))
    (tmp_path / "out.json").unlink()
    result = run(*arguments)
    assert (result.code, "gt.txt, line 3: a box of negative size" in result.err) == (2, True)
    assert not (tmp_path / "out.json").exists()


@pytest.fixture(scope="session")
def screens(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return two screenshots of a wall of cameras, as PNG: the six people small and several times, between windows."""
    folder = tmp_path_factory.mktemp("screens")
    photo = load_image(store.fetch("six-people"))
    for name, places in {"one": [(20, 60), (660, 60), (20, 560)], "two": [(900, 300)]}.items():
        screen = np.full((1080, 1920, 3), 46, np.uint8)
        screen[:32] = 225
        for x, y in places:
            screen[y - 20 : y, x : x + 600] = 120
            screen[y : y + 415, x : x + 600] = resize(photo, 600, 415)
        save_image(folder / f"{name}.png", screen)
    return folder


def test_screens_go_out_to_label_studio_and_come_back(run: Run, screens: Path, tmp_path: Path) -> None:
    document = run("datasets", "label", screens, "--to", "label-studio", "--out", tmp_path / "out", "--json").json
    assert document["boxes"] == 24
    tasks = json.loads((tmp_path / "out/tasks.json").read_text(encoding="utf-8"))
    assert [task["data"]["file_name"] for task in tasks] == ["one.png", "two.png"]
    assert tasks[0]["predictions"][0]["model_version"] == "visavis yunet"
    assert "RectangleLabels" in (tmp_path / "out/labeling.xml").read_text()
    # As Label Studio exports it: predictions stay, and what was drawn comes beside them. Only "one" was worked on.
    regions = json.loads(json.dumps(tasks[0]["predictions"][0]["result"]))
    for region in regions:
        region.pop("score")
        region["origin"] = "prediction-changed"
    gone, moved = regions.pop(0), regions[0]
    moved["value"]["x"] += 0.25 * moved["value"]["width"]
    added = {**gone, "id": "new", "origin": "manual"}
    added["value"] = {**gone["value"], "x": 90.0, "y": 90.0}
    drawn = {"id": 5, "result": [*regions, added], "was_cancelled": False, "updated_at": "2026-11-22T06:00:00Z"}
    export = [{"id": 1, **tasks[0], "annotations": [drawn]}, {"id": 2, **tasks[1], "annotations": []}]
    (tmp_path / "export.json").write_text(json.dumps(export))
    back = ["datasets", "corrections", tmp_path / "export.json", "--against", tmp_path / "out"]
    document = run(*back, "--json").json
    (one,) = document["images"]
    assert (one["image"], one["kept"], one["moved"], one["added"], one["removed"]) == ("one.png", 16, 1, 1, 1)
    assert document["precision"]["value"] == pytest.approx(17 / 18)
    assert document["recall"]["value"] == pytest.approx(17 / 18)
    assert document["untouched"] == ["two.png"]
    more = ["--to", "yolo", "--out", tmp_path / "yolo", "--images", screens, "--crops", tmp_path / "crops", "--json"]
    assert run(*back, *more).json["crops"] == 18
    assert len((tmp_path / "yolo/labels/one.txt").read_text().splitlines()) == 18
    assert len(list((tmp_path / "crops").iterdir())) == 18


def test_screens_come_back_from_cvat(run: Run, screens: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("datasets", "label", screens, "--to", "coco", "--out", out).code == 0
    ours = json.loads((out / "annotations.json").read_text())
    assert all(0 < row["score"] <= 1 for row in ours["annotations"])
    # As CVAT writes COCO: other ids, attributes, no scores, pixels with two places.
    cvat = {
        "licenses": [{"name": "", "id": 0, "url": ""}],
        "info": {"contributor": "", "date_created": "", "description": "", "url": "", "version": "", "year": ""},
        "categories": [{"id": 1, "name": "face", "supercategory": ""}],
        "images": [
            {**row, "id": row["id"] + 40, "license": 0, "flickr_url": "", "coco_url": "", "date_captured": 0}
            for row in ours["images"]
        ],
        "annotations": [
            {
                "id": row["id"],
                "image_id": row["image_id"] + 40,
                "category_id": 1,
                "segmentation": [],
                "area": row["area"],
                "bbox": [round(v, 2) for v in row["bbox"]],
                "iscrowd": 0,
                "attributes": {"occluded": False, "rotation": 0.0},
            }
            for row in ours["annotations"][2:]
        ],
    }
    (tmp_path / "instances_default.json").write_text(json.dumps(cvat))
    document = run("datasets", "corrections", tmp_path / "instances_default.json", "--against", out, "--json").json
    assert (document["kept"], document["moved"], document["added"], document["removed"]) == (22, 0, 0, 2)
    assert document["recall"]["value"] == 1
    assert document["precision"]["value"] == pytest.approx(22 / 24)


@pytest.mark.parametrize("kind", ["yolo", "voc"])
def test_other_formats_make_the_round_trip(run: Run, screens: Path, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    assert run("datasets", "label", screens, "--to", kind, "--out", out).code == 0
    document = run("datasets", "corrections", out / kind, "--against", out, "--images", screens, "--json").json
    assert (document["kept"], document["moved"], document["added"], document["removed"]) == (24, 0, 0, 0)


def test_what_can_not_be_labeled_is_said(run: Run, screens: Path, tmp_path: Path) -> None:
    assert "--to is coco" in run("datasets", "label", screens, "--to", "wider", "--out", tmp_path / "o").err
    (tmp_path / "mixed").mkdir()
    shutil.copy(screens / "two.png", tmp_path / "mixed/two.png")
    (tmp_path / "mixed/bad.png").write_bytes(b"bad")
    result = run("datasets", "label", tmp_path / "mixed", "--out", tmp_path / "o", "--json")
    assert (result.code, result.json["skipped"]) == (1, 1)
    (tmp_path / "mixed/two.png").unlink()
    result = run("datasets", "label", tmp_path / "mixed", "--out", tmp_path / "p")
    assert (result.code, "not one picture could be read" in result.err) == (2, True)
    first = tmp_path / "o"
    for arguments, said in (
        (["--to", "coco"], "--to and --out go together"),
        (["--crops", tmp_path / "c"], "--crops needs --images"),
    ):
        result = run("datasets", "corrections", first / "annotations.json", "--against", first, *arguments)
        assert (result.code, said in result.err) == (2, True)


def test_the_fields_are_documented(run: Run, six: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for arguments in (
        ["datasets", "label", six / "pictures", "--points", "--out", out],
        ["datasets", "corrections", out / "annotations.json", "--against", out],
        ["datasets", "annotations", six / "truth.json", tmp_path / "gt.txt", "--to", "wider"],
        ["evaluate", "detection", six / "truth.json", six / "pictures"],
        ["evaluate", "landmarks", out / "first.json", six / "pictures"],
    ):
        document = run(*arguments, "--json").json
        names = set(document) - ALWAYS
        for items in document.values():
            if isinstance(items, list) and items and isinstance(items[0], dict):
                names |= set(items[0])
        assert names <= documented(" ".join(map(str, arguments[:2])))

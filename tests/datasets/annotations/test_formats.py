"""Each format: files in the layout that its makers publish, bad files, and round trips."""

from __future__ import annotations

import contextlib
import io
import json
import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools.coco import COCO
from scipy.io import savemat

from visavis.datasets.annotations import (
    ANNOTATION_FORMATS,
    Annotation,
    coco,
    fddb,
    label_studio,
    read_annotations,
    recognize,
    wider,
    write_annotations,
)
from visavis.errors import EngineError, InputError
from visavis.image import save_image

WIDER = """0--Parade/0_Parade_marchingband_1_849.jpg
1
449 330 122 149 0 0 0 0 0 0
0--Parade/0_Parade_Parade_0_452.jpg
0
0 0 0 0 0 0 0 0 0 0
0--Parade/0_Parade_marchingband_1_799.jpg
2
78 221 7 8 2 0 0 0 0 0
78 238 14 17 2 0 0 1 2 1
"""
"""As in wider_face_split's readme and lists, the row of zeros of a picture without faces included."""

FDDB = """2002/08/11/big/img_591
1
123.583300 85.549500 1.265839 269.693400 161.781200  1
2002/08/26/big/img_265
2
67.363819 44.511485 -1.476417 105.249970 87.209036  1
41.936870 27.064477 1.471906 184.070915 129.345601  1
"""

VOC = """<annotation>
  <folder>VOC2007</folder>
  <filename>000001.jpg</filename>
  <size><width>353</width><height>500</height><depth>3</depth></size>
  <segmented>0</segmented>
  <object><name>dog</name><pose>Left</pose><truncated>1</truncated><difficult>0</difficult>
    <bndbox><xmin>48</xmin><ymin>240</ymin><xmax>195</xmax><ymax>371</ymax></bndbox></object>
  <object><name>person</name><pose>Left</pose><truncated>1</truncated><difficult>1</difficult>
    <bndbox><xmin>8</xmin><ymin>12</ymin><xmax>352</xmax><ymax>498</ymax></bndbox></object>
</annotation>
"""
"""VOC 2007's first annotation."""


def put(path: Path, content: str | dict[str, Any] | list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def picture(path: Path, width: int, height: int, orientation: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (width, height), "gray").save(path, exif=exif)
    return path


# WIDER FACE


def test_wider_ground_truth(tmp_path: Path) -> None:
    path = put(tmp_path / "wider_face_val_bbx_gt.txt", WIDER)
    assert recognize(path) == "wider"
    first, second, third = read_annotations(path)
    assert first.image == "0--Parade/0_Parade_marchingband_1_849.jpg"
    assert first.boxes.tolist() == [[449, 330, 571, 479]]
    assert len(second) == 0
    assert third.trait("blur").tolist() == [2, 2]
    assert third.trait("invalid").tolist() == [0, 1]
    assert third.trait("occlusion").tolist() == [0, 2]
    assert third.trait("pose").tolist() == [0, 1]
    write_annotations(tmp_path / "again.txt", read_annotations(path), "wider")
    assert (tmp_path / "again.txt").read_text() == WIDER


def cells(values: list[Any]) -> np.ndarray[Any, Any]:
    column = np.empty((len(values), 1), object)
    for i, value in enumerate(values):
        column[i, 0] = value
    return column


def wider_mat(folder: Path, *, compressed: bool = True) -> None:
    """Write the four .mat of WIDER FACE's evaluation with scipy, in the layout of its eval_tools."""
    boxes = [
        cells([np.array([[449, 330, 122, 149]], np.uint16), np.array([[78, 221, 7, 8], [78, 238, 14, 17]], np.uint16)]),
        cells([np.array([[10, 20, 60, 70]], np.float64)]),
    ]
    base = {
        "event_list": cells(["0--Parade", "1--Handshaking"]),
        "file_list": cells([cells(["0_Parade_a_1", "0_Parade_b_2"]), cells(["1_Handshaking_c_3"])]),
        "face_bbx_list": cells(boxes),
    }
    flags = cells(
        [cells([np.array([[0]], np.uint8), np.array([[0], [1]], np.uint8)]), cells([np.array([[2]], np.uint8)])]
    )
    savemat(folder / "wider_face_val.mat", {**base, "invalid_label_list": flags}, do_compression=compressed)
    none = np.empty((0, 1), np.uint8)
    lists = {"easy": [[1], none, [1]], "medium": [[1], [2], [1]], "hard": [[1], [1, 2], [1]]}
    for name, (a, b, c) in lists.items():
        rows = [np.array(v, np.uint16).reshape(-1, 1) for v in (a, b, c)]
        listed = cells([cells(rows[:2]), cells(rows[2:])])
        savemat(folder / f"wider_{name}_val.mat", {**base, "gt_list": listed}, do_compression=compressed)


@pytest.mark.parametrize("compressed", [True, False])
def test_wider_mat(tmp_path: Path, compressed: bool) -> None:
    wider_mat(tmp_path, compressed=compressed)
    assert recognize(tmp_path) == "wider"
    first, second, third = read_annotations(tmp_path)
    assert second.image == "0--Parade/0_Parade_b_2.jpg"
    assert second.boxes.tolist() == [[78, 221, 85, 229], [78, 238, 92, 255]]
    assert [second.traits[n].tolist() for n in ("easy", "medium", "hard")] == [
        [False, False],
        [False, True],
        [True, True],
    ]
    assert first.traits["easy"].tolist() == third.traits["hard"].tolist() == [True]
    flagged = list(read_annotations(tmp_path / "wider_face_val.mat"))
    assert flagged[1].trait("invalid").tolist() == [0, 1]
    (only,) = {frozenset(item.traits) for item in read_annotations(tmp_path / "wider_medium_val.mat")}
    assert only == {"medium"}


def test_bad_mat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wider_mat(tmp_path)
    path = tmp_path / "wider_easy_val.mat"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"damaged|no ground truth"):
        list(wider.read(path))
    path.write_bytes(b"MATLAB 7.3 MAT-file" + bytes(200))
    with pytest.raises(InputError, match="no MATLAB file of level 5"):
        list(wider.read(path))
    savemat(path, {"other": np.zeros(3)})
    with pytest.raises(InputError, match="no ground truth of WIDER FACE"):
        list(wider.read(path))
    savemat(path, {"bomb": np.zeros(2**22)}, do_compression=True)
    monkeypatch.setattr(wider, "_MAX_UNPACKED", 2**20)
    with pytest.raises(InputError, match="unpacks to over"):
        list(wider.read(path))
    monkeypatch.setitem(__import__("sys").modules, "scipy.io", None)
    with pytest.raises(EngineError, match="pip install 'visavis"):
        list(wider.read(path))


def test_a_list_that_counts_other_boxes_is_refused(tmp_path: Path) -> None:
    wider_mat(tmp_path)
    base = {
        "event_list": cells(["e"]),
        "file_list": cells([cells(["a"])]),
        "face_bbx_list": cells([cells([np.array([[1.0, 2, 3, 4]])])]),
    }
    savemat(tmp_path / "wider_easy_val.mat", {**base, "gt_list": cells([cells([np.array([[2]])])])})
    with pytest.raises(InputError, match="counts boxes that are not there"):
        list(wider.read(tmp_path / "wider_easy_val.mat"))
    savemat(tmp_path / "wider_easy_val.mat", {**base, "gt_list": cells([cells([np.array([[1]])])])})
    with pytest.raises(InputError, match="names other pictures or boxes"):
        list(wider.read(tmp_path))


def test_wider_predictions(tmp_path: Path) -> None:
    put(tmp_path / "0--Parade/0_Parade_a_1.txt", "0_Parade_a_1\n2\n449 330 122 149 0.99\n10.5 20 5 6 0.3\n")
    put(tmp_path / "0--Parade/0_Parade_b_2.txt", "0--Parade/0_Parade_b_2.jpg\n0\n")
    assert recognize(tmp_path) == "wider-predictions"
    first, second = read_annotations(tmp_path)
    assert first.image == "0--Parade/0_Parade_a_1.jpg"
    assert first.boxes.tolist() == [[449, 330, 571, 479], [10.5, 20, 15.5, 26]]
    assert first.scores.tolist() == [pytest.approx(0.99), pytest.approx(0.3)]
    assert len(second) == 0
    write_annotations(tmp_path / "again", [first, second], "wider-predictions")
    again = (tmp_path / "again/0--Parade/0_Parade_a_1.txt").read_text().splitlines()
    assert again[1:] == ["2", "449.00 330.00 122.00 149.00 0.990000", "10.50 20.00 5.00 6.00 0.300000"]
    with pytest.raises(InputError, match=r"no EVENT/PICTURE\.jpg"):
        write_annotations(tmp_path / "flat", [Annotation("a.jpg", np.empty((0, 4)))], "wider-predictions")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a/b.jpg\n2\n1 2 3 4 0 0 0 0 0 0\n", "cut off: a/b.jpg announces 2 boxes and has 1"),
        ("a/b.jpg\n1\n1 2 -3 4 0 0 0 0 0 0\n", "line 3: a box of negative size"),
        ("a/b.jpg\n1\n1 2 nan 4 0 0 0 0 0 0\n", "line 3: 'nan' where a number"),
        ("a/b.jpg\n1\n1 2 3\n", "line 3: 3 numbers"),
        ("a/b.jpg\nmany\n", "line 2: 'many' where the number of boxes"),
        ("a/b.jpg\n99999999\n", "at most 100000"),
        ("a/b.jpg\n", "then the end of the file"),
        ("../../etc/passwd\n0\n", "outside of the data set's folder"),
        ("/etc/passwd\n0\n", "outside of the data set's folder"),
        ("C:/x.jpg\n0\n", "outside of the data set's folder"),
        ("a/\x07.jpg\n0\n", "control characters"),
        ("a/b.jpg\n0\na/b.jpg\n0\n", "the picture 'a/b.jpg' twice"),
        ("x" * 2_000_000, "no list of boxes"),
    ],
)
def test_bad_lists_are_refused_with_their_line(tmp_path: Path, text: str, said: str) -> None:
    path = put(tmp_path / "gt.txt", text)
    with pytest.raises(InputError, match=said):
        list(read_annotations(path, "wider"))


# FDDB


def test_fddb_ellipses(tmp_path: Path) -> None:
    put(tmp_path / "FDDB-fold-01-ellipseList.txt", FDDB)
    put(tmp_path / "FDDB-fold-02-ellipseList.txt", "2003/01/01/big/img_1\n1\n40 20 0 100 100 1\n")
    assert recognize(tmp_path) == "fddb"
    first, second, third = read_annotations(tmp_path)
    assert first.image == "2002/08/11/big/img_591.jpg"
    assert first.ellipses[0].tolist() == pytest.approx([269.6934, 161.7812, 123.5833, 85.5495, math.degrees(1.265839)])
    assert first.scores is None
    assert len(second) == 2
    assert third.boxes.tolist() == [[60, 80, 140, 120]]
    assert recognize(tmp_path / "FDDB-fold-01-ellipseList.txt") == "fddb"
    write_annotations(tmp_path / "again.txt", [first, second], "fddb")
    again = list(fddb.read(tmp_path / "again.txt"))
    np.testing.assert_allclose(again[1].ellipses, second.ellipses, atol=1e-4)
    assert (tmp_path / "again.txt").read_text().splitlines()[0] == "2002/08/11/big/img_591"
    fold = put(tmp_path / "FDDB-fold-01.txt", "2002/08/11/big/img_591\n2002/08/26/big/img_265\n")
    assert fddb.read_fold(fold) == [first.image, second.image]


def test_the_box_of_an_ellipse_holds_it(tmp_path: Path) -> None:
    (item,) = fddb.read(put(tmp_path / "a.txt", "a\n1\n123.5833 85.5495 1.265839 269.6934 161.7812 1\n"))
    turn = np.linspace(0, 2 * np.pi, 20001)
    u, v = 123.5833 * np.cos(turn), 85.5495 * np.sin(turn)
    cos, sin = math.cos(1.265839), math.sin(1.265839)
    x, y = 269.6934 + u * cos - v * sin, 161.7812 + u * sin + v * cos
    assert item.boxes[0].tolist() == pytest.approx([x.min(), y.min(), x.max(), y.max()], abs=1e-3)


def test_fddb_detections(tmp_path: Path) -> None:
    path = put(tmp_path / "dets.txt", "a/img_1\n2\n10 20 30 40 0.9\n1 2 3 4 -7.5\na/img_2\n0\n")
    assert recognize(path) == "fddb"
    first, second = read_annotations(path)
    assert first.boxes.tolist() == [[10, 20, 40, 60], [1, 2, 4, 6]]
    assert first.scores.tolist() == pytest.approx([0.9, -7.5])
    assert len(second) == 0
    ellipses = put(tmp_path / "ell.txt", "a/img_1\n1\n20 10 0 50 50 0.4\n")
    (item,) = read_annotations(ellipses)
    assert item.scores.tolist() == pytest.approx([0.4])
    with pytest.raises(InputError, match="no or negative size"):
        list(read_annotations(put(tmp_path / "bad.txt", "a\n1\n20 0 0 50 50 1\n"), "fddb"))


# YOLO


def yolo_set(folder: Path, yaml: str = "names: [face]\n") -> Path:
    picture(folder / "images/train/a.jpg", 200, 100)
    picture(folder / "images/train/b.jpg", 200, 100)
    put(folder / "labels/train/a.txt", "0 0.5 0.5 0.25 0.5\n0 0.1 0.2 0.1 0.2\n")
    put(folder / "data.yaml", "path: ../datasets/x  # root\ntrain: images/train\n" + yaml)
    return folder


@pytest.mark.parametrize(
    "yaml",
    ["names: [face]\n", "names:\n  0: face\n", "names:\n- face\n", "nc: 1\nnames: ['face']\n", "names: {0: 'face'}\n"],
)
def test_yolo(tmp_path: Path, yaml: str) -> None:
    yolo_set(tmp_path, yaml)
    assert recognize(tmp_path) == "yolo"
    first, second = read_annotations(tmp_path)
    assert first.image == "train/a.jpg"
    assert first.boxes.tolist() == [[75, 25, 125, 75], [10, 10, 30, 30]]
    assert first.labels == ("face", "face")
    assert (first.width, first.height) == (200, 100)
    assert len(second) == 0  # no text: a picture that shows nothing


def test_yolo_beside_its_pictures_with_scores_and_points(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg", 100, 50)
    put(tmp_path / "a.txt", "1 0.5 0.5 0.2 0.4 0.75\n")
    put(tmp_path / "classes.txt", "person\nface\n")
    (item,) = read_annotations(tmp_path)
    assert item.labels == ("face",)
    assert item.scores.tolist() == [0.75]
    put(tmp_path / "data.yaml", "kpt_shape: [2, 3]\nnames: [x, face]\n")
    put(tmp_path / "a.txt", "1 0.5 0.5 0.2 0.4 0.45 0.4 2 0 0 0\n")
    (item,) = read_annotations(tmp_path)
    assert item.landmarks[0, 0].tolist() == [45, 20]
    assert np.isnan(item.landmarks[0, 1]).all()


def test_yolo_measures_upright_pictures(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg", 200, 100, orientation=6)  # shown turned: 100 wide, 200 high
    put(tmp_path / "a.txt", "0 0.5 0.5 1 1\n")
    (item,) = read_annotations(tmp_path, "yolo")
    assert item.boxes.tolist() == [[0, 0, 100, 200]]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("0 50 50 20 20", "line 1: shares of the picture lie in 0..1"),
        ("0 0.5 0.5 -0.2 0.2", "lie in 0..1"),
        ("0.5 0.5 0.5 0.2 0.2", "number of a class"),
        ("0 0.5 0.5 0.2", "line 1: 4 numbers"),
        ("0 0.5 inf 0.2 0.2", "'inf' where a number"),
    ],
)
def test_bad_yolo(tmp_path: Path, row: str, said: str) -> None:
    put(yolo_set(tmp_path) / "labels/train/a.txt", row + "\n")
    with pytest.raises(InputError, match=said):
        list(read_annotations(tmp_path))


def test_yolo_labels_without_a_picture_are_listed(tmp_path: Path) -> None:
    put(yolo_set(tmp_path) / "labels/train/gone.txt", "0 0.5 0.5 0.2 0.2\n")
    with pytest.raises(InputError, match=r"no picture in .* for the labels train/gone"):
        list(read_annotations(tmp_path))
    assert len(list(read_annotations(tmp_path, skip_missing=True))) == 2
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="has no pictures"):
        list(read_annotations(empty, "yolo"))


def test_yolo_refuses_boxes_out_of_the_picture(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.jpg reaches out of the picture.*--repair"):
        write_annotations(tmp_path / "y", [Annotation("a.jpg", np.array([[0, 0, 30, 9]]), 20, 10)], "yolo")
    with pytest.raises(InputError, match="needs the size"):
        write_annotations(tmp_path / "y", [Annotation("a.jpg", np.array([[0, 0, 30, 9]]))], "yolo")


# COCO


def instances() -> dict[str, Any]:
    return {
        "info": {"year": 2026},
        "licenses": [{"name": "", "id": 0, "url": ""}],
        "annotations": [
            {"id": 7, "image_id": 30, "category_id": 2, "bbox": [10.5, 20, 30, 40], "area": 800.25, "iscrowd": 0},
            {
                "id": 8,
                "image_id": 10,
                "category_id": 1,
                "bbox": [0, 0, 5, 5],
                "iscrowd": 1,
                "segmentation": {"counts": []},
            },
            {"id": 9, "image_id": 30, "category_id": 2, "bbox": [1, 2, 3, 4], "iscrowd": 0},
        ],
        "images": [
            {"id": 30, "file_name": "sub/b.jpg", "width": 640, "height": 480, "license": 0},
            {"id": 10, "file_name": "a.jpg", "width": 64, "height": 48},
            {"id": 11, "file_name": "none.jpg", "width": 64, "height": 48},
        ],
        "categories": [{"id": 1, "name": "crowd"}, {"id": 2, "name": "face", "supercategory": ""}],
    }


def test_coco(tmp_path: Path) -> None:
    path = put(tmp_path / "instances.json", instances())
    assert recognize(path) == "coco"
    first, second, third = read_annotations(path)
    assert first.image == "sub/b.jpg"
    assert first.boxes.tolist() == [[10.5, 20, 40.5, 60], [1, 2, 4, 6]]
    assert first.labels == ("face", "face")
    assert first.trait("area").tolist() == [800.25, 12]
    assert second.trait("crowd").tolist() == [1]
    assert len(third) == 0


def test_what_is_written_as_coco_is_read_by_pycocotools(tmp_path: Path) -> None:
    points = np.array([[[1, 2], [3, 4], [np.nan, np.nan], [7, 8], [9, 10]]], np.float32)
    items = [
        Annotation("sub/a.jpg", np.array([[1.25, 2, 30.5, 40]]), 64, 48, scores=np.array([0.5]), landmarks=points),
        Annotation("b.jpg", np.empty((0, 4)), 64, 48),
    ]
    write_annotations(tmp_path / "a.json", items, "coco")
    with contextlib.redirect_stdout(io.StringIO()):
        read = COCO(str(tmp_path / "a.json"))
    assert [image["file_name"] for image in read.loadImgs(read.getImgIds())] == ["sub/a.jpg", "b.jpg"]
    (row,) = read.loadAnns(read.getAnnIds())
    assert row["bbox"] == [1.25, 2, 29.25, 38]
    assert row["area"] == pytest.approx(29.25 * 38)
    assert row["keypoints"] == [1, 2, 2, 3, 4, 2, 0, 0, 0, 7, 8, 2, 9, 10, 2]
    assert row["num_keypoints"] == 4
    assert read.loadCats(read.getCatIds())[0]["keypoints"][0] == "left_eye"
    first, second = read_annotations(tmp_path / "a.json")
    np.testing.assert_array_equal(first.landmarks, points)
    assert first.trait("visibility").tolist() == [[2, 2, 0, 2, 2]]
    assert len(second) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_coco_results(tmp_path: Path) -> None:
    truth = put(tmp_path / "instances.json", instances())
    rows = [{"image_id": 30, "category_id": 2, "bbox": [1, 2, 3, 4], "score": 0.5}]
    rows += [{"image_id": "a.jpg", "category_id": 1, "bbox": [5, 6, 7, 8], "score": -3}]
    path = put(tmp_path / "results.json", rows)
    assert recognize(path) == "coco-results"
    first, second = read_annotations(path, truth=truth)
    assert (first.image, first.boxes.tolist(), first.scores.tolist()) == ("sub/b.jpg", [[1, 2, 4, 6]], [0.5])
    assert second.image == "a.jpg"
    with pytest.raises(InputError, match="need the ground truth"):
        list(read_annotations(path))
    write_annotations(tmp_path / "again.json", [first, second], "coco-results")
    again = json.loads((tmp_path / "again.json").read_text())
    assert again[0] == {"image_id": "sub/b.jpg", "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}
    other = put(tmp_path / "other.json", [{"image_id": 99, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 1}])
    with pytest.raises(InputError, match="item 0: the ground truth has no picture 99"):
        list(read_annotations(other, truth=truth))
    wider_truth = put(tmp_path / "gt.txt", "sub/b.jpg\n0\na.jpg\n0\n")
    named = put(tmp_path / "named.json", again)
    assert [item.image for item in read_annotations(named, truth=wider_truth)] == ["sub/b.jpg", "a.jpg"]
    with pytest.raises(InputError, match="is a list: results"):
        list(coco.read(path))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"annotations": [{"image_id": 10, "bbox": [0, 0, -5, 5]}]}, r"annotations.0.: a box of negative size"),
        ({"annotations": [{"image_id": 10, "bbox": [0, 0, 5]}]}, "bbox must be"),
        ({"annotations": [{"image_id": 10, "bbox": [0, 0, "5", None]}]}, "None where a number"),
        ({"annotations": [{"image_id": 99, "bbox": [0, 0, 5, 5]}]}, "the picture 99, which images doesn't list"),
        ({"annotations": [{"image_id": 10, "bbox": [0, 0, 5, 5], "category_id": 5}]}, "of category 5"),
        ({"annotations": [{"image_id": 10, "bbox": [0, 0, 5, 5], "keypoints": [1, 2]}]}, "keypoints must be"),
        ({"annotations": ["x"]}, "'x' where an object"),
        ({"images": [{"id": 1, "file_name": "../../x.jpg"}], "annotations": []}, "outside of the data set"),
        (
            {"images": [{"id": 1, "file_name": "a.jpg"}, {"id": 1, "file_name": "b.jpg"}], "annotations": []},
            "second pic",
        ),
        ({"images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "a.jpg"}], "annotations": []}, "twice"),
        ({"images": [{"file_name": "a.jpg"}], "annotations": []}, "the id of a picture"),
    ],
)
def test_bad_coco(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = put(tmp_path / "a.json", {**instances(), **change})
    with pytest.raises(InputError, match=said):
        list(read_annotations(path))


# Pascal VOC


def test_voc(tmp_path: Path) -> None:
    path = put(tmp_path / "Annotations/000001.xml", VOC)
    assert recognize(tmp_path) == recognize(path) == "voc"
    (item,) = read_annotations(tmp_path)
    assert item.image == "000001.jpg"
    assert (item.width, item.height) == (353, 500)
    # Pixels count from 1 and both ends belong to the box: 148 columns, 132 rows.
    assert item.boxes.tolist() == [[47, 239, 195, 371], [7, 11, 352, 498]]
    assert item.labels == ("dog", "person")
    assert item.trait("difficult").tolist() == [0, 1]
    write_annotations(tmp_path / "out", [item], "voc")
    tree = ElementTree.parse(tmp_path / "out/000001.xml").getroot()
    assert [tree.findtext(f"object/bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")] == [
        "48",
        "240",
        "195",
        "371",
    ]
    assert tree.findtext("size/width") == "353"
    assert tree.findtext("filename") == "000001.jpg"


BOMB = """<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY lol "lol"><!ENTITY lol1 "&lol;&lol;&lol;&lol;&lol;">
<!ENTITY lol2 "&lol1;&lol1;&lol1;&lol1;&lol1;">]><annotation><filename>&lol2;</filename></annotation>"""
ELSEWHERE = (
    """<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation>&x;</annotation>"""
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB, "has a DTD"),
        (ELSEWHERE, "has a DTD"),
        ("<annotation><object></annotation>", "mismatched tag"),
        ("", "no element found"),
        ("<html/>", "begins with <html>"),
        ("<annotation><object><name>a</name></object></annotation>", "object 1: it has no bndbox"),
        (VOC.replace("<xmax>195", "<xmax>20"), "object 1: a box of negative size"),
        (VOC.replace("<xmax>195", "<xmax>wide"), "'wide' where the number xmax"),
        (VOC.replace("<width>353", "<width>-3"), "where the picture's width"),
        (VOC.replace("000001.jpg", "../../x.jpg"), "outside of the data set"),
        ("<annotation>" + "<a>" * 100 + "</a>" * 100 + "</annotation>", "nests too deep"),
    ],
)
def test_bad_voc(tmp_path: Path, text: str, said: str) -> None:
    path = put(tmp_path / "a.xml", text)
    with pytest.raises(InputError, match=said):
        list(read_annotations(path))


def test_two_pictures_never_share_a_file(tmp_path: Path) -> None:
    items = [Annotation(name, np.empty((0, 4)), 9, 9) for name in ("a.jpg", "a.png")]
    for kind in ("voc", "yolo"):
        with pytest.raises(InputError, match="would replace that of another picture"):
            write_annotations(tmp_path / kind, items, kind)


# Label Studio


def task(**changed: Any) -> dict[str, Any]:
    """Return a task as labelstud.io/guide/task_format and /tags/rectanglelabels show it."""
    region = {
        "original_width": 600,
        "original_height": 403,
        "image_rotation": 0,
        "value": {"x": 50, "y": 25, "width": 10, "height": 20, "rotation": 0, "rectanglelabels": ["face"]},
        "id": "Dx_aB91ISN",
        "from_name": "label",
        "to_name": "image",
        "type": "rectanglelabels",
        "origin": "manual",
    }
    drawn = {"id": 1001, "result": [region], "was_cancelled": False, "ground_truth": False}
    drawn |= {
        "created_at": "2021-03-09T22:16:08.728353Z",
        "updated_at": "2021-03-09T22:16:08.728378Z",
        "lead_time": 4.288,
    }
    return {
        "id": 1,
        "data": {"image": "/data/upload/1/8b2c1fae-screen 1.png"},
        "annotations": [drawn],
        "predictions": [],
    } | changed


def test_label_studio(tmp_path: Path) -> None:
    path = put(tmp_path / "export.json", [task()])
    assert recognize(path) == "label-studio"
    (item,) = read_annotations(path)
    assert item.image == "screen 1.png"
    assert (item.width, item.height) == (600, 403)
    assert item.boxes[0].tolist() == pytest.approx([300, 100.75, 360, 181.35])
    assert item.scores is None


def test_the_last_annotation_that_was_not_skipped_counts(tmp_path: Path) -> None:
    old, skipped, new = (json.loads(json.dumps(task()))["annotations"][0] for _ in range(3))
    old["result"][0]["value"]["x"] = 1
    skipped |= {"was_cancelled": True, "updated_at": "2031-01-01T00:00:00Z"}
    new |= {"updated_at": "2030-01-01T00:00:00Z"}
    new["result"][0]["value"]["x"] = 2
    prediction = {"model_version": "v", "result": [{**task()["annotations"][0]["result"][0], "score": 0.25}]}
    tasks = [
        task(
            annotations=[new, old, skipped],
            predictions=[prediction],
            data={"image": "/data/local-files/?d=s/a%20b.png"},
        ),
        task(annotations=[skipped], predictions=[prediction], data={"image": "https://example.com/c.png?x=1"}),
        task(annotations=[], data={"image": "d.png"}),
    ]
    path = put(tmp_path / "export.json", tasks)
    first, second, third = read_annotations(path)
    assert first.image == "s/a b.png"
    assert first.boxes[0, 0] == pytest.approx(12)
    assert (second.image, second.scores.tolist()) == ("c.png", [0.25])
    assert len(third) == 0
    assert [item.image for item in label_studio.read(path, drawn_only=True)] == ["s/a b.png"]


def test_a_turned_rectangle_turns_around_its_corner(tmp_path: Path) -> None:
    one = task(data={"image": "a.png"})
    region = one["annotations"][0]["result"][0]
    region |= {"original_width": 100, "original_height": 100}
    region["value"] |= {"x": 50, "y": 50, "width": 20, "height": 10, "rotation": 90}
    (item,) = read_annotations(put(tmp_path / "a.json", [one]))
    # Turned by 90 degrees clockwise, the width runs down and the height to the left of the corner.
    assert item.boxes[0].tolist() == pytest.approx([40, 50, 50, 70])
    assert item.rotated[0].tolist() == pytest.approx([45, 60, 20, 10, 90])
    write_annotations(tmp_path / "again.json", [item], "label-studio")
    written = json.loads((tmp_path / "again.json").read_text())[0]["annotations"][0]["result"][0]["value"]
    assert [written[key] for key in ("x", "y", "width", "height", "rotation")] == pytest.approx([50, 50, 20, 10, 90])


def test_json_min(tmp_path: Path) -> None:
    value = {"x": 50, "y": 25, "width": 10, "height": 20, "rotation": 0, "rectanglelabels": ["face"]}
    row = {"image": "/data/upload/1/8b2c1fae-a.png", "id": 1, "annotator": 1, "annotation_id": 3, "lead_time": 2.1}
    row["label"] = [{**value, "original_width": 200, "original_height": 100}]
    (item,) = read_annotations(put(tmp_path / "min.json", [row]))
    assert item.image == "a.png"
    assert item.boxes[0].tolist() == pytest.approx([100, 25, 120, 45])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"data": {"text": "x"}}, "task 1: data has no image"),
        ({"data": {"image": "/data/local-files/?d=../../x.png"}}, "outside of the data set"),
        ({"data": {"file_name": "../x.png", "image": "x"}}, "outside of the data set"),
        ({"annotations": {"a": 1}}, "must be lists"),
        ({"annotations": [{"result": ["x"]}]}, "region 1: a region must be an object"),
        ({"annotations": [{"result": [{"type": "rectanglelabels", "value": {}}]}]}, "where original_width is needed"),
    ],
)
def test_bad_label_studio(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = put(tmp_path / "a.json", [task(**change)])
    with pytest.raises(InputError, match=said):
        list(read_annotations(path))


@pytest.mark.parametrize(
    ("key", "value", "said"), [("width", -5, "negative size"), ("x", None, "None where x"), ("y", "a", "'a'")]
)
def test_bad_regions(tmp_path: Path, key: str, value: Any, said: str) -> None:
    one = task()
    one["annotations"][0]["result"][0]["value"][key] = value
    with pytest.raises(InputError, match=said):
        list(read_annotations(put(tmp_path / "a.json", [one])))


# All of them


@st.composite
def annotation(draw: st.DrawFn, name: str) -> Annotation:
    width, height = draw(st.integers(1, 3000)), draw(st.integers(1, 3000))
    n = draw(st.integers(0, 4))
    side = st.floats(0, 1, width=32)
    rows = [[draw(side) for _ in range(4)] for _ in range(n)]
    boxes = np.sort(np.array(rows, np.float64).reshape(-1, 2, 2), axis=1).reshape(-1, 4) * ([width, height] * 2)
    return Annotation(name, np.minimum(boxes, [width, height, width, height]), width, height)


@settings(max_examples=25)
@given(annotation("e/a.png"), annotation("e/b.png"))
def test_round_trips(tmp_path_factory: pytest.TempPathFactory, first: Annotation, second: Annotation) -> None:
    folder = tmp_path_factory.mktemp("formats")
    near = {
        "wider": 1.01,
        "voc": 1.51,
        "wider-predictions": 0.011,
        "fddb": 1e-3,
        "coco": 1e-3,
        "label-studio": 1e-3,
        "yolo": 1e-3,
    }
    for item in (first, second):
        picture(folder / "images" / item.image, item.width, item.height)
    for kind, tolerance in near.items():
        form = ANNOTATION_FORMATS[kind]
        path = folder / kind if form.folder else folder / f"{kind}{'.txt' if kind in ('wider', 'fddb') else '.json'}"
        whole = [item.replace(boxes=item.boxes[~item.empty], labels=()) for item in (first, second)]
        if kind == "fddb":  # an ellipse needs two radii
            whole = [item.take(((item.boxes[:, 2:] - item.boxes[:, :2]) > 0.01).all(axis=1)) for item in whole]
        write_annotations(path, whole, kind)
        read = list(read_annotations(path, kind, images=folder / "images"))
        assert [item.image for item in read] == [item.image for item in whole]
        for got, meant in zip(read, whole, strict=True):
            np.testing.assert_allclose(
                got.boxes, meant.boxes, atol=tolerance * (2 if kind == "wider" else 1), rtol=1e-6
            )
            assert (got.width, got.height) == (meant.width, meant.height)


def test_pictures_are_looked_up_and_missing_ones_listed(tmp_path: Path) -> None:
    picture(tmp_path / "pictures/a.jpg", 30, 20)
    path = put(tmp_path / "gt.txt", "a.jpg\n0\nb.jpg\n0\nc.jpg\n0\n")
    with pytest.raises(InputError, match=r"2 pictures are not in .*: b\.jpg, c\.jpg; give --skip-missing"):
        list(read_annotations(path, images=tmp_path / "pictures"))
    (item,) = read_annotations(path, images=tmp_path / "pictures", skip_missing=True)
    assert (item.width, item.height) == (30, 20)
    with pytest.raises(InputError, match="no folder of pictures"):
        list(read_annotations(path, images=tmp_path / "nowhere"))
    wrong = instances() | {"images": [{"id": 1, "file_name": "a.jpg", "width": 20, "height": 30}], "annotations": []}
    with pytest.raises(InputError, match="annotated at 20 x 30 pixels and has 30 x 20 upright"):
        list(read_annotations(put(tmp_path / "a.json", wrong), images=tmp_path / "pictures"))


def test_what_no_format_is_is_said(tmp_path: Path) -> None:
    for name, text in {"a.txt": "hello\nworld\n", "b.json": "hello", "c.dat": "x"}.items():
        with pytest.raises(InputError, match="name it with --from"):
            recognize(put(tmp_path / name, text))
    with pytest.raises(InputError, match="there is no"):
        recognize(tmp_path / "nothing")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="name it with --from"):
        recognize(empty)
    with pytest.raises(InputError, match="no format 'kitti'"):
        list(read_annotations(tmp_path, "kitti"))
    with pytest.raises(InputError, match="no format 'kitti' to write"):
        write_annotations(tmp_path / "x", [], "kitti")
    with pytest.raises(InputError, match="is a folder"):
        write_annotations(tmp_path, [], "coco")
    with pytest.raises(InputError, match="is a file"):
        write_annotations(tmp_path / "a.txt", [], "voc")


@pytest.mark.parametrize("label", ["two\nlines: 'x", "x\x01y", "\ud800", "a\u2028b"])
@pytest.mark.parametrize("kind", ["coco", "yolo", "voc", "label-studio"])
def test_labels_that_no_line_can_hold(tmp_path: Path, kind: str, label: str) -> None:
    item = Annotation("a.png", np.array([[1, 1, 4, 4]]), width=10, height=10, labels=(label,))
    path = tmp_path / kind
    write_annotations(path, [item], kind)
    if kind == "yolo":
        save_image(tmp_path / "a.png", np.zeros((10, 10, 3), np.uint8))
        path.joinpath("images").mkdir()
        (tmp_path / "a.png").rename(path / "images" / "a.png")
    (back,) = read_annotations(path, kind)
    assert back.labels == item.labels
    assert "\ufffd" in back.labels[0]


@pytest.mark.parametrize("kind", ["wider", "label-studio", "voc", "fddb"])
def test_a_name_that_is_no_text(tmp_path: Path, kind: str) -> None:
    item = Annotation("\ud800.png", np.array([[1, 1, 4, 4]]), width=10, height=10)
    with pytest.raises(InputError, match="is no text"):
        write_annotations(tmp_path / kind, [item], kind)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "names", ["names: {\u00b2: face}", "kpt_shape: [\u00b2, 3]", "names:\n  " + "9" * 5000 + ": face"]
)
def test_numbers_that_are_none_in_a_data_yaml(tmp_path: Path, names: str) -> None:
    (tmp_path / "images").mkdir()
    save_image(tmp_path / "images" / "a.png", np.zeros((10, 10, 3), np.uint8))
    (tmp_path / "data.yaml").write_text(names + "\n", encoding="utf-8")
    if names.startswith("kpt"):
        with pytest.raises(InputError, match="kpt_shape must be"):
            list(read_annotations(tmp_path, "yolo"))
    else:
        assert [item.image for item in read_annotations(tmp_path, "yolo")] == ["a.png"]

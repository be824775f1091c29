"""COCO: one JSON of pictures, categories and boxes, keypoints as landmarks; results as a list of scored boxes.

https://cocodataset.org/#format-data and #format-results. A box is left, top, width and height in pixels. Masks are
left out: a box is what is read of them.
"""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.datasets.annotations.annotation import FACE, Annotation, corners
from visavis.datasets.annotations.json_items import json_items
from visavis.datasets.annotations.text import MAX_BOXES, checked_name, new_file, number, short
from visavis.errors import InputError

__all__ = ["POINTS", "image_ids", "read", "read_results", "write", "write_results"]

POINTS = ("left_eye", "right_eye", "nose", "left_mouth_corner", "right_mouth_corner")
"""Names of five landmarks; "left" is left in the image."""
_MAX_POINTS = 1024


class _Rows:
    """The boxes of one picture while they come in, in any order: packed, as a file may hold millions."""

    def __init__(self) -> None:
        self.boxes = array("d")
        self.labels = array("l")
        self.scores = array("d")
        self.crowd = array("l")
        self.areas = array("d")
        self.points: list[npt.NDArray[np.float64] | None] = []

    def add(self, box: dict[str, Any], at: str) -> None:
        left, top, width, height = _box(box, at)
        self.boxes.extend((left, top, width, height))
        if len(self.labels) >= MAX_BOXES:
            raise InputError(f"{at}: over {MAX_BOXES} boxes on one picture")
        self.labels.append(_whole(box.get("category_id", 1), at, "category_id"))
        self.scores.append(number(box["score"], at, "a score") if "score" in box else math.nan)
        self.crowd.append(_whole(box.get("iscrowd") or 0, at, "iscrowd"))
        area = box.get("area")
        self.areas.append(width * height if area is None else number(area, at, "an area"))
        points = _points(box["keypoints"], at) if box.get("keypoints") else None
        if points is not None or self.points:
            self.points += [None] * (len(self.labels) - 1 - len(self.points))
            self.points.append(points)

    def annotation(
        self, image: str, size: tuple[int, int] | None, labels: dict[int, str], at: str, *, traits: bool
    ) -> Annotation:
        unknown = sorted(set(self.labels) - set(labels)) if labels else []
        if unknown:
            raise InputError(f"{at}: {image} has boxes of category {unknown[0]}, which categories doesn't list")
        scores = np.array(self.scores, np.float32)
        scored = np.isfinite(scores)
        if scored.any() and not scored.all():
            raise InputError(f"{at}: of {image} some boxes have a score, some none")
        columns: dict[str, npt.NDArray[Any]] = {}
        if traits:
            columns = {"area": np.array(self.areas, np.float64), "crowd": np.array(self.crowd, np.int16)}
        landmarks, visibility = _landmarks(self.points, at)
        if visibility is not None:
            columns["visibility"] = visibility
        return Annotation(
            image,
            corners(np.array(self.boxes, np.float64)),
            None if size is None else size[0],
            None if size is None else size[1],
            tuple(labels.get(label, FACE if label == 1 else str(label)) for label in self.labels),
            scores if scored.any() else None,
            landmarks,
            traits=columns,
        )


def read(path: Path) -> Iterator[Annotation]:
    """Read an instances or keypoints file, in the order of its pictures; a file of results needs `read_results`.

    Raises
    ------
    InputError
        If it is no such file; the message names the item, as ``annotations[12]``.
    """
    pictures: dict[Any, tuple[str, tuple[int, int] | None]] = {}
    labels: dict[int, str] = {}
    rows: dict[Any, _Rows] = {}
    for part, i, item in json_items(path):
        at = f"{path.name}, {part}[{i}]"
        if part == "":
            raise InputError(f"{path.name} is a list: results of COCO, which need the ground truth they belong to")
        if part not in ("images", "annotations", "categories"):
            continue
        if not isinstance(item, dict):
            raise InputError(f"{at}: {short(item)} where an object is needed")
        if part == "images":
            key = _id(item.get("id"), at)
            if key in pictures:
                raise InputError(f"{at}: a second picture of the id {short(key)}")
            pictures[key] = checked_name(item.get("file_name"), at), _size(item, at)
        elif part == "categories":
            labels[_whole(item.get("id"), at, "id")] = str(item.get("name") or "")[:200] or FACE
        else:
            rows.setdefault(_id(item.get("image_id"), at), _Rows()).add(item, at)
    strays = [key for key in rows if key not in pictures]
    if strays:
        raise InputError(f"{path.name}: annotations of the picture {short(strays[0])}, which images doesn't list")
    for key, (name, size) in pictures.items():
        yield rows.pop(key, _Rows()).annotation(name, size, labels, path.name, traits=True)


def image_ids(path: Path) -> tuple[dict[Any, str], dict[int, str]]:
    """Return the names of a ground truth's pictures by id, and of its categories: what results refer to."""
    pictures: dict[Any, str] = {}
    labels: dict[int, str] = {}
    for part, i, item in json_items(path):
        at = f"{path.name}, {part}[{i}]"
        if part == "images" and isinstance(item, dict):
            pictures[_id(item.get("id"), at)] = checked_name(item.get("file_name"), at)
        elif part == "categories" and isinstance(item, dict):
            labels[_whole(item.get("id"), at, "id")] = str(item.get("name") or FACE)
    return pictures, labels


def read_results(path: Path, pictures: dict[Any, str], labels: dict[int, str] | None = None) -> Iterator[Annotation]:
    """Read a list of results; only pictures with boxes come.

    Parameters
    ----------
    pictures
        Names of the ground truth's pictures by id, from `image_ids`. A result whose ``image_id`` is a picture's name
        belongs to that.
    labels
        Names of the categories.
    """
    rows: dict[str, _Rows] = {}
    names = set(pictures.values())
    for part, i, item in json_items(path):
        at = f"{path.name}, {part}[{i}]" if part else f"{path.name}, item {i}"
        if part not in ("", "annotations"):
            continue
        if not isinstance(item, dict) or "score" not in item:
            raise InputError(f"{at}: a result needs image_id, category_id, bbox and score")
        key = _id(item.get("image_id"), at)
        name = pictures.get(key) or (key if key in names else None)
        if name is None:
            raise InputError(f"{at}: the ground truth has no picture {short(key)}")
        rows.setdefault(name, _Rows()).add(item, at)
    for name in list(rows):
        yield rows.pop(name).annotation(name, None, labels or {}, path.name, traits=False)


def _box(item: dict[str, Any], at: str) -> list[float]:
    box = item.get("bbox")
    if not isinstance(box, list) or len(box) != 4:
        raise InputError(f"{at}: bbox must be [left, top, width, height], not {short(box)}")
    values = [number(value, at) for value in box]
    if values[2] < 0 or values[3] < 0:
        raise InputError(f"{at}: a box of negative size: {short(box)}")
    return values


def _points(values: Any, at: str) -> npt.NDArray[np.float64]:
    if not isinstance(values, list) or len(values) % 3 or len(values) > 3 * _MAX_POINTS:
        raise InputError(f"{at}: keypoints must be a list of x, y, visibility, at most {_MAX_POINTS} of them")
    return np.array([number(value, at) for value in values], np.float64).reshape(-1, 3)


def _landmarks(
    points: Sequence[npt.NDArray[np.float64] | None], at: str
) -> tuple[npt.NDArray[np.float32] | None, npt.NDArray[np.int16] | None]:
    """Return points ``(n, k, 2)``, NaN where not marked, and their visibility: 0 not marked, 1 hidden, 2 visible."""
    counts = {len(rows) for rows in points if rows is not None}
    if not counts:
        return None, None
    if len(counts) > 1:
        raise InputError(f"{at}: boxes of one picture have {' and '.join(map(str, sorted(counts)))} keypoints")
    none = np.zeros((counts.pop(), 3))
    table = np.stack([none if rows is None else rows for rows in points])
    visibility = table[:, :, 2].astype(np.int16)
    return np.where(visibility[:, :, None] > 0, table[:, :, :2], np.nan).astype(np.float32), visibility


def _id(value: Any, at: str) -> int | str:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise InputError(f"{at}: {short(value)} where the id of a picture is needed")
    return value


def _whole(value: Any, at: str, what: str) -> int:
    if not isinstance(value, int) or not -(2**31) < value < 2**31:
        raise InputError(f"{at}: {what} must be a whole number, not {short(value)}")
    return int(value)


def _size(item: dict[str, Any], at: str) -> tuple[int, int] | None:
    width, height = item.get("width"), item.get("height")
    if not width and not height:
        return None
    return _whole(width, at, "width"), _whole(height, at, "height")


def write(path: Path, items: Iterable[Annotation]) -> None:
    """Write an instances file; landmarks as keypoints, scores as each annotation's ``score``."""
    labels: dict[str, int] = {}
    points: int | None = None
    number_of = 0
    # Pictures and boxes come together and are written apart, so the boxes wait in a file of their own.
    with new_file(path) as file, tempfile.TemporaryFile("w+", encoding="utf-8", dir=path.parent) as boxes:
        file.write('{"info": {"description": "written by visavis"}, "licenses": [],\n"images": [')
        for image_id, item in enumerate(items, 1):
            size = {} if item.width is None else {"width": item.width, "height": item.height}
            head = ",\n" if image_id > 1 else "\n"
            file.write(head + json.dumps({"id": image_id, **size, "file_name": item.image}))
            if item.landmarks is not None:
                points = item.landmarks.shape[1] if points is None else points
            for row in _written(item, labels):
                number_of += 1
                record = {"id": number_of, "image_id": image_id, **row}
                boxes.write((",\n" if number_of > 1 else "\n") + json.dumps(record))
        file.write('],\n"annotations": [')
        boxes.seek(0)
        shutil.copyfileobj(boxes, file)
        names = list(POINTS) if points == len(POINTS) else [f"point_{k}" for k in range(points or 0)]
        extra = {"keypoints": names, "skeleton": []} if points else {}
        kinds = [{"id": i, "name": label, "supercategory": "", **extra} for label, i in (labels or {FACE: 1}).items()]
        file.write(f'],\n"categories": {json.dumps(kinds)}}}\n')


def _written(item: Annotation, labels: dict[str, int]) -> Iterator[dict[str, Any]]:
    crowd, areas = item.trait("crowd"), item.traits.get("area")
    visibility = item.traits.get("visibility")
    for i, (x1, y1, x2, y2) in enumerate(item.boxes.astype(np.float64).round(4).tolist()):
        width, height = round(x2 - x1, 4), round(y2 - y1, 4)
        row: dict[str, Any] = {
            "category_id": labels.setdefault(item.labels[i], len(labels) + 1),
            "bbox": [x1, y1, width, height],
            "area": round(width * height, 4) if areas is None else float(areas[i]),
            "iscrowd": int(bool(crowd[i])),
            "segmentation": [],
        }
        if item.scores is not None:
            row["score"] = round(float(item.scores[i]), 6)
        if item.landmarks is not None:
            marked = np.isfinite(item.landmarks[i]).all(axis=1)
            seen = np.where(marked, 2 if visibility is None else visibility[i], 0).tolist()
            places = np.where(marked[:, None], item.landmarks[i].astype(np.float64), 0).round(4).tolist()
            row["keypoints"] = [value for (x, y), v in zip(places, seen, strict=True) for value in (x, y, v)]
            row["num_keypoints"] = int(marked.sum())
        yield row


def write_results(path: Path, items: Iterable[Annotation], pictures: dict[str, Any] | None = None) -> None:
    """Write a list of results, as COCO's evaluation takes it; ``pictures``: the ids of the pictures, by name.

    Without ids, a result's ``image_id`` is the picture's name.
    """
    with new_file(path) as file:
        file.write("[")
        first = True
        for item in items:
            scores = np.ones(len(item)) if item.scores is None else item.scores
            key = item.image if pictures is None else pictures[item.image]
            for i, (x1, y1, x2, y2) in enumerate(item.boxes.astype(np.float64).round(4).tolist()):
                box = [x1, y1, round(x2 - x1, 4), round(y2 - y1, 4)]
                record = {"image_id": key, "category_id": 1, "bbox": box, "score": round(float(scores[i]), 6)}
                file.write(("\n" if first else ",\n") + json.dumps(record))
                first = False
        file.write("]\n")

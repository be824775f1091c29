"""Label Studio: tasks with rectangles in percent of the picture, as predictions to correct or as what was drawn.

https://labelstud.io/guide/task_format and https://labelstud.io/tags/rectanglelabels. A turned rectangle is given by
its top left corner before it was turned, and turns around that corner, clockwise. Landmarks are keypoints whose
``parentID`` is their rectangle.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import numpy as np
import numpy.typing as npt

from visavis.datasets.annotations.annotation import FACE, Annotation
from visavis.datasets.annotations.coco import POINTS
from visavis.datasets.annotations.json_items import json_items
from visavis.datasets.annotations.text import MAX_BOXES, checked_name, new_file, number, short
from visavis.errors import InputError

__all__ = ["LABELING", "read", "write"]

LABELING = """<View>
  <Image name="image" value="$image" zoom="true" zoomControl="true"/>
  <RectangleLabels name="label" toName="image" canRotate="true">
    <Label value="face" background="#0072B2"/>
  </RectangleLabels>
  <KeyPointLabels name="point" toName="image">
    <Label value="left_eye"/><Label value="right_eye"/><Label value="nose"/>
    <Label value="left_mouth_corner"/><Label value="right_mouth_corner"/>
  </KeyPointLabels>
</View>
"""
"""The labeling interface that `write`'s tasks fit: paste it into the project's settings."""


def read(path: Path, *, drawn_only: bool = False) -> Iterator[Annotation]:
    """Read an export: JSON or JSON-MIN.

    Of a task with several annotations the one updated last counts, skipped ones aside; a task without any gives its
    last prediction. What is neither a rectangle nor a keypoint of one is left out. A task that nobody has
    worked on and that has no prediction shows nothing; with ``drawn_only``, tasks that nobody has worked on are left
    out.

    Raises
    ------
    InputError
        If it is no export; the message names the task.
    """
    for part, i, task in json_items(path):
        at = f"{path.name}, task {i + 1}"
        if part or not isinstance(task, dict):
            raise InputError(f"{path.name} is no export of Label Studio, which is a list of tasks")
        name = _name(task, at)
        results, drawn = _results(task, at)
        if drawn_only and not drawn:
            continue
        yield _annotation(name, results, at, drawn=drawn)


def _name(task: dict[str, Any], at: str) -> str:
    """Return a picture's path: as `write` has put it, else as far as the address of the picture says."""
    data = task.get("data", task)
    if not isinstance(data, dict):
        raise InputError(f"{at}: data must be an object, not {short(data)}")
    if data.get("file_name"):
        return checked_name(data["file_name"], at)
    address = data.get("image") or data.get("img")
    if not isinstance(address, str):
        raise InputError(f"{at}: data has no image")
    parts = urlsplit(address)
    local = parse_qs(parts.query).get("d")
    if local and "local-files" in parts.path:
        return checked_name(local[0], at)
    if parts.scheme or parts.path.startswith("/"):
        name = unquote(parts.path).replace("\\", "/").rsplit("/", 1)[-1]
        head, dash, rest = name.partition("-")
        # What was uploaded gets eight hexadecimal digits before its name.
        hexadecimal = len(head) == 8 and all(c in "0123456789abcdef" for c in head)
        return checked_name(rest if dash and hexadecimal and rest and "upload" in parts.path else name, at)
    return checked_name(address, at)


def _results(task: dict[str, Any], at: str) -> tuple[list[Any], bool]:
    """Return the regions of a task, and whether a person drew them."""
    if "data" not in task:  # JSON-MIN: the regions lie in the task itself, under the name of the control
        regions = [r for value in task.values() if isinstance(value, list) for r in value if isinstance(r, dict)]
        return [{"type": _kind(region), "value": region, **region} for region in regions], True
    drawn = task.get("annotations", task.get("completions")) or []
    guessed = task.get("predictions") or []
    if not isinstance(drawn, list) or not isinstance(guessed, list):
        raise InputError(f"{at}: annotations and predictions must be lists")
    done = [a for a in drawn if isinstance(a, dict) and not a.get("was_cancelled")]
    done.sort(key=lambda a: str(a.get("updated_at") or a.get("created_at") or ""))
    full = [p for p in guessed if isinstance(p, dict)]
    chosen = (done or full or [{}])[-1]
    results = chosen.get("result") or []
    if not isinstance(results, list) or len(results) > 8 * MAX_BOXES:
        raise InputError(f"{at}: result must be a list of at most {8 * MAX_BOXES} regions")
    return results, bool(done)


def _kind(region: dict[str, Any]) -> str:
    return next((kind for kind in ("rectanglelabels", "rectangle", "keypointlabels") if kind in region), "")


def _annotation(name: str, results: list[Any], at: str, *, drawn: bool) -> Annotation:
    boxes, turned, labels, scores, ids = [], [], [], [], []
    points: dict[str, dict[str, tuple[float, float]]] = {}
    size: tuple[int, int] | None = None
    for i, region in enumerate(results):
        where = f"{at}, region {i + 1}"
        if not isinstance(region, dict) or not isinstance(region.get("value", {}), dict):
            raise InputError(f"{where}: a region must be an object, not {short(region)}")
        kind, value = region.get("type"), region.get("value") or {}
        if kind not in ("rectanglelabels", "rectangle", "keypointlabels"):
            continue
        width = number(region.get("original_width"), where, "original_width")
        height = number(region.get("original_height"), where, "original_height")
        if width < 1 or height < 1 or (size is not None and size != (int(width), int(height))):
            raise InputError(f"{where}: the picture can't have {width:g} x {height:g} pixels")
        size = int(width), int(height)
        x, y = (number(value.get(key), where, key) for key in ("x", "y"))
        label = _label(value, kind)
        if kind == "keypointlabels":
            points.setdefault(str(region.get("parentID") or ""), {})[label] = (x * width / 100, y * height / 100)
            continue
        w, h = (number(value.get(key), where, key) for key in ("width", "height"))
        if w < 0 or h < 0:
            raise InputError(f"{where}: a box of negative size: {w:g} x {h:g} %")
        angle = number(value.get("rotation") or 0, where, "rotation")
        rectangle = (x * width / 100, y * height / 100, w * width / 100, h * height / 100)
        box, center = _upright(*rectangle, angle)
        boxes.append(box)
        turned.append(center if angle % 360 else [math.nan] * 5)
        labels.append(label)
        score = region.get("score", value.get("score"))
        scores.append(None if score is None else number(score, where, "a score"))
        ids.append(str(region.get("id") or f"#{i}"))
    has_scores = bool(scores) and not drawn and all(score is not None for score in scores)
    rotated = np.array(turned, np.float64).reshape(-1, 5)
    return Annotation(
        name,
        np.array(boxes, np.float32).reshape(-1, 4),
        None if size is None else size[0],
        None if size is None else size[1],
        tuple(labels),
        np.array(scores, np.float32) if has_scores else None,
        _landmarks(points, ids),
        rotated=rotated if np.isfinite(rotated).any() else None,
    )


def _label(value: dict[str, Any], kind: str) -> str:
    named = value.get(kind)
    return str(named[0])[:200] if isinstance(named, list) and named else FACE


def _upright(x: float, y: float, w: float, h: float, angle: float) -> tuple[list[float], list[float]]:
    """Return the box around a turned rectangle, and its center, size and angle."""
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    corners = [(x + u * cos - v * sin, y + u * sin + v * cos) for u, v in ((0, 0), (w, 0), (w, h), (0, h))]
    xs, ys = [c[0] for c in corners], [c[1] for c in corners]
    middle = [(xs[0] + xs[2]) / 2, (ys[0] + ys[2]) / 2]
    return [min(xs), min(ys), max(xs), max(ys)], [*middle, w, h, angle]


def _landmarks(points: dict[str, dict[str, tuple[float, float]]], ids: list[str]) -> npt.NDArray[np.float32] | None:
    found = {label for key in ids for label in points.get(key, {})}
    if not found:
        return None
    names = list(POINTS) if found <= set(POINTS) else sorted(found)
    table = np.full((len(ids), len(names), 2), np.nan, np.float32)
    for i, key in enumerate(ids):
        for label, place in points.get(key, {}).items():
            table[i, names.index(label)] = place
    return table


def write(path: Path, items: Iterable[Annotation], *, model: str = "visavis", prefix: str = "") -> None:
    """Write tasks to import.

    Boxes with scores are predictions, to be corrected; boxes without are annotations. The pictures are referred to
    as files that Label Studio serves itself (local storage), below ``prefix``: the folder of the pictures relative to
    its ``LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT``. Each task keeps the picture's own path as ``file_name``.

    Raises
    ------
    InputError
        If the size of a picture is not known.
    """
    with new_file(path) as file:
        file.write("[")
        for n, item in enumerate(items):
            if item.width is None or item.height is None:
                raise InputError(
                    f"Label Studio needs the size of {item.image}; give --images, the folder of the pictures"
                )
            place = "/".join(part for part in (prefix.strip("/"), item.image) if part)
            task: dict[str, Any] = {
                "data": {"image": f"/data/local-files/?d={quote(place)}", "file_name": item.image},
            }
            result = list(_regions(item))
            if item.scores is None:
                task["annotations"] = [{"result": result, "was_cancelled": False}]
            else:
                least = round(float(item.scores.min()), 6) if len(item) else 0.0
                task["predictions"] = [{"model_version": model, "score": least, "result": result}]
            file.write((",\n" if n else "\n") + json.dumps(task, ensure_ascii=False))
        file.write("\n]\n")


def _regions(item: Annotation) -> Iterator[dict[str, Any]]:
    assert item.width is not None
    assert item.height is not None
    percent = np.array([100 / item.width, 100 / item.height], np.float64)
    sizes = {"original_width": item.width, "original_height": item.height, "image_rotation": 0, "to_name": "image"}
    for i, box in enumerate(item.boxes.astype(np.float64)):
        low, size, angle = box[:2], box[2:] - box[:2], 0.0
        if item.rotated is not None and np.isfinite(item.rotated[i]).all():
            middle, size, angle = item.rotated[i, :2], item.rotated[i, 2:4], float(item.rotated[i, 4])
            cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
            low = middle - np.array([size[0] * cos - size[1] * sin, size[0] * sin + size[1] * cos]) / 2
        (x, y), (w, h) = (low * percent).round(6).tolist(), (size * percent).round(6).tolist()
        region: dict[str, Any] = {
            "id": f"box{i}",
            "from_name": "label",
            "type": "rectanglelabels",
            **sizes,
            "value": {"x": x, "y": y, "width": w, "height": h, "rotation": angle, "rectanglelabels": [item.labels[i]]},
        }
        if item.scores is not None:
            region["score"] = round(float(item.scores[i]), 6)
        yield region
        for k, place in enumerate([] if item.landmarks is None else item.landmarks[i].astype(np.float64)):
            if np.isfinite(place).all():
                named = POINTS[k] if item.landmarks is not None and item.landmarks.shape[1] == len(POINTS) else str(k)
                (px, py) = (place * percent).round(6).tolist()
                value = {"x": px, "y": py, "width": 0.3, "keypointlabels": [named]}
                yield {
                    "id": f"box{i}point{k}",
                    "parentID": f"box{i}",
                    "from_name": "point",
                    "type": "keypointlabels",
                    **sizes,
                    "value": value,
                }

"""YOLO: a text file a picture, a row a box: class, center x, center y, width and height as shares of the picture.

As Ultralytics and Darknet lay it out: ``images/`` and ``labels/`` side by side or the text beside its picture; class
names in ``data.yaml``, ``classes.txt`` or ``obj.names``. A sixth number is a score; with ``kpt_shape`` in data.yaml,
points follow. A picture without a text file shows nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from visavis.datasets.annotations.annotation import FACE, Annotation
from visavis.datasets.annotations.text import MAX_BOXES, Folder, lines_of, new_file, numbers, pictures_below, short
from visavis.errors import InputError
from visavis.files import printable_path
from visavis.image import image_size

__all__ = ["read", "write"]

_NAME_FILES = ("classes.txt", "obj.names", "predefined_classes.txt")
_NO_LABELS = {*_NAME_FILES, "train.txt", "val.txt", "test.txt", "notes.txt", "readme.txt"}
_EDGE = 1e-4  # that rounding may put a share outside of 0..1
_COUNT = re.compile(r"[0-9]{1,9}")
_ENTRY = re.compile(r"\s*(?:-\s*|([0-9]{1,9})\s*:\s*)(.*\S)\s*$")


def read(path: Path, images: Path | None = None, *, skip_missing: bool = False) -> Iterator[Annotation]:
    """Read a data set.

    Parameters
    ----------
    path
        Its folder, or its ``data.yaml``.
    images
        The folder of the pictures, where it is not ``images/`` or the folder itself; their sizes are needed.
    skip_missing
        Leave out label files whose picture is not there, instead of refusing.

    Raises
    ------
    InputError
        If a row is malformed, a label file has no picture, or nothing is found.
    """
    root = path if path.is_dir() else path.parent
    if not root.is_dir():
        raise InputError(f"{printable_path(path)} is no folder; check the path")
    names, points = _described(root, path)
    pictures = images or (root / "images" if (root / "images").is_dir() else root)
    labels = root / "labels" if (root / "labels").is_dir() else root
    texts = {file.relative_to(labels).with_suffix("").as_posix() for file in labels.rglob("*.txt")}
    found = False
    for name in pictures_below(pictures):
        found = True
        stem = str(PurePosixPath(name).with_suffix(""))
        width, height = image_size(pictures / name)
        rows: list[list[float]] = []
        if stem in texts:
            texts.remove(stem)
            rows = _rows(labels / f"{stem}.txt", points)
        yield _annotation(name, width, height, rows, names, points)
    texts -= {PurePosixPath(name).stem for name in _NO_LABELS}
    if texts and not skip_missing:
        few = ", ".join(sorted(texts)[:5])
        more = f" and {len(texts) - 5} more" if len(texts) > 5 else ""
        raise InputError(f"no picture in {printable_path(pictures)} for the labels {few}{more}; see --skip-missing")
    if not found:
        raise InputError(
            f"{printable_path(pictures)} has no pictures, whose sizes YOLO's shares refer to; give --images"
        )


def _rows(path: Path, points: int) -> list[list[float]]:
    counts = (5 + 3 * points, 6 + 3 * points) if points else (5, 6)
    rows = []
    for text, at in lines_of(path):
        row = numbers(text.split(), at, counts)
        if row[0] != int(row[0]) or row[0] < 0:
            raise InputError(f"{at}: {short(text.split()[0])} where the number of a class is needed")
        if min(row[1:5]) < -_EDGE or max(row[1:5]) > 1 + _EDGE:
            raise InputError(f"{at}: shares of the picture lie in 0..1, not {short(' '.join(text.split()[1:5]))}")
        rows.append(row)
        if len(rows) > MAX_BOXES or len(row) != len(rows[0]):
            raise InputError(f"{at}: too many boxes, or rows of different lengths")
    return rows


def _annotation(
    image: str, width: int, height: int, rows: list[list[float]], names: dict[int, str], points: int
) -> Annotation:
    table = np.array(rows, np.float64).reshape(len(rows), -1 if rows else 5)
    scale = np.array([width, height], np.float64)
    center, half = table[:, 1:3] * scale, table[:, 3:5] * scale / 2
    scored = table.shape[1] in (6, 6 + 3 * points) and table.shape[1] != 5 + 3 * points
    landmarks: npt.NDArray[np.float64] | None = None
    if points:
        marks = table[:, 5 : 5 + 3 * points].reshape(-1, points, 3)
        landmarks = np.where(marks[:, :, 2:] > 0, marks[:, :, :2] * scale, np.nan)
    return Annotation(
        image,
        np.concatenate([center - half, center + half], axis=1).astype(np.float32),
        width,
        height,
        tuple(names.get(int(row[0]), FACE if not names and row[0] == 0 else str(int(row[0]))) for row in rows),
        scores=table[:, -1].astype(np.float32) if scored and rows else None,
        landmarks=None if landmarks is None or not rows else landmarks.astype(np.float32),
    )


def _described(root: Path, path: Path) -> tuple[dict[int, str], int]:
    """Return the names of the classes, and the number of points a box has."""
    yaml = path if path.suffix in (".yaml", ".yml") else root / "data.yaml"
    if yaml.is_file():
        return _yaml(yaml)
    for name in _NAME_FILES:
        if (root / name).is_file():
            return {i: text[:200] for i, (text, _) in enumerate(lines_of(root / name))}, 0
    return {}, 0


def _yaml(path: Path) -> tuple[dict[int, str], int]:
    """Read ``names`` and ``kpt_shape`` of a data.yaml: the two forms of a list, or numbered names, one a line."""
    names: dict[int, str] = {}
    points, inside = 0, False
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file.read(2**20).splitlines():
            text = line.split(" #")[0].rstrip()
            key, _, rest = text.partition(":")
            if text and not text[0].isspace() and not text.startswith("-"):
                inside = key == "names"
                if inside and rest.strip():
                    parts = [part for part in rest.strip().strip("[]{}").split(",") if part.strip()]
                    for i, part in enumerate(parts):
                        at, colon, name = part.rpartition(":")
                        names[int(at) if colon and _COUNT.fullmatch(at.strip()) else i] = _unquoted(name)
                elif key == "kpt_shape":
                    shape = [word.strip() for word in rest.strip().strip("[]").split(",")]
                    if len(shape) != 2 or not _COUNT.fullmatch(shape[0]) or shape[1] != "3" or int(shape[0]) > 1024:
                        raise InputError(f"{path.name}: kpt_shape must be [points, 3], not {short(rest.strip())}")
                    points = int(shape[0])
            elif inside and (entry := _ENTRY.match(text)):
                names[int(entry[1]) if entry[1] else len(names)] = _unquoted(entry[2])
    return names, points


def _unquoted(text: str) -> str:
    text = text.strip()
    if len(text) > 1 and text[0] in "'\"" and text[-1] == text[0]:
        text = text[1:-1].replace("''", "'") if text[0] == "'" else text[1:-1]
    return text[:200]


def write(path: Path, items: Iterable[Annotation]) -> None:
    """Write ``labels/`` and ``data.yaml`` into a folder; the pictures belong beside them in ``images/``.

    Raises
    ------
    InputError
        If the size of a picture is not known, or a box reaches out of it, which trainers refuse.
    """
    folder = Folder(path / "labels")
    classes: dict[str, int] = {}
    points = 0
    for item in items:
        if item.width is None or item.height is None:
            raise InputError(f"YOLO needs the size of {item.image}; give --images, the folder of the pictures")
        if item.outside.any():
            box = ", ".join(f"{v:g}" for v in item.boxes[int(np.flatnonzero(item.outside)[0])])
            raise InputError(f"a box of {item.image} reaches out of the picture ({box}); give --repair to cut it")
        if item.landmarks is not None and len(item):
            points = item.landmarks.shape[1]
        scale = np.array([item.width, item.height], np.float64)
        boxes = item.boxes.astype(np.float64)
        center, size = (boxes[:, :2] + boxes[:, 2:]) / 2 / scale, (boxes[:, 2:] - boxes[:, :2]) / scale
        with folder.file(str(PurePosixPath(item.image).with_suffix(".txt")), item.image) as file:
            for i, row in enumerate(np.clip(np.concatenate([center, size], axis=1), 0, 1)):
                words = [str(classes.setdefault(item.labels[i], len(classes))), *(f"{value:.7f}" for value in row)]
                if item.landmarks is not None:
                    marked = np.isfinite(item.landmarks[i]).all(axis=1)
                    places = np.where(marked[:, None], item.landmarks[i] / scale, 0)
                    words += [
                        w
                        for (x, y), m in zip(places, marked, strict=True)
                        for w in (f"{x:.7f}", f"{y:.7f}", "2" if m else "0")
                    ]
                if item.scores is not None:
                    words.append(f"{float(item.scores[i]):.6f}")
                file.write(" ".join(words) + "\n")
    with new_file(path / "data.yaml") as file:
        file.write("path: .\ntrain: images\nval: images\n")
        if points:
            file.write(f"kpt_shape: [{points}, 3]\n")
        file.write("names:\n")
        for label, i in (classes or {FACE: 0}).items():
            quoted = label.replace("'", "''")
            file.write(f"  {i}: '{quoted}'\n")

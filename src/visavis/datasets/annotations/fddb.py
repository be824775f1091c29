"""FDDB: faces as ellipses, in ``FDDB-fold-NN-ellipseList.txt``; detections as boxes or ellipses with a score.

Jain and Learned-Miller, "FDDB: A Benchmark for Face Detection in Unconstrained Settings", 2010. A row is the major and
minor radius, the angle of the major axis to the x axis in radians (clockwise as seen), the center, and a 1 (or, of
detections, a score); or left, top, width, height and score. Pictures are named without a suffix.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from visavis.datasets.annotations.annotation import Annotation, corners
from visavis.datasets.annotations.text import checked_name, limited_count, lines_of, new_file, numbers, short
from visavis.errors import InputError
from visavis.files import IMAGE_SUFFIXES, printable_path
from visavis.geometry import ellipse_boxes

__all__ = ["read", "read_fold", "write"]


def read(path: Path) -> Iterator[Annotation]:
    """Read a list of ellipses or detections, or all ``*ellipseList.txt`` of a folder, in the order of their names."""
    if not path.is_dir():
        yield from _list(path)
        return
    files = sorted(path.glob("*[eE]llipse*.txt"))
    if not files:
        raise InputError(f"{printable_path(path)} holds no FDDB-fold-01-ellipseList.txt or the like")
    for file in files:
        yield from _list(file)


def read_fold(path: Path) -> list[str]:
    """Read a list of pictures, ``FDDB-fold-NN.txt``: a name a line, to which ``.jpg`` is added."""
    return [_named(text, at) for text, at in lines_of(path)]


def _named(text: str, at: str) -> str:
    name = checked_name(text, at)
    return name if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES else name + ".jpg"


def _list(path: Path) -> Iterator[Annotation]:
    lines = lines_of(path)
    for text, at in lines:
        name = _named(text, at)
        count_text, count_at = next(lines, ("", f"{at}, then the end of the file"))
        count = limited_count(count_text, count_at)
        rows: list[list[float]] = []
        for _ in range(count):
            text, at = next(lines, ("", f"{path.name}, its end"))
            if not text:
                raise InputError(f"{path.name} is cut off: {name} announces {count} faces and has {len(rows)}")
            rows.append(numbers(text.split(), at, (5, 6)))
            sizes = rows[-1][:2] if len(rows[-1]) == 6 else rows[-1][2:4]
            if min(sizes) < 0 or (len(rows[-1]) == 6 and min(sizes) == 0):
                raise InputError(f"{at}: a face of no or negative size: {short(text)}")
            if len(rows[-1]) != len(rows[0]):
                raise InputError(f"{at}: {len(rows[-1])} numbers where the line before has {len(rows[0])}")
        yield _annotation(name, np.array(rows, np.float64).reshape(len(rows), -1 if rows else 6))


def _annotation(name: str, rows: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Annotation:
    if rows.shape[1] == 5:
        return Annotation(name, corners(rows[:, :4]), scores=rows[:, 4].astype(np.float32))
    ellipses = np.stack([rows[:, 3], rows[:, 4], rows[:, 0], rows[:, 1], np.degrees(rows[:, 2])], axis=1)
    # Ground truth ends each row with a 1; scores are anything else.
    scores = None if (rows[:, 5] == 1).all() else rows[:, 5].astype(np.float32)
    return Annotation(name, ellipse_boxes(ellipses).astype(np.float32), scores=scores, ellipses=ellipses)


def write(path: Path, items: Iterable[Annotation]) -> None:
    """Write a list: detections (boxes with scores) as rectangles, all others as ellipses.

    A box without an ellipse becomes the one that fits into it.
    """
    with new_file(path) as file:
        for item in items:
            name = PurePosixPath(item.image)
            name = name.with_suffix("") if name.suffix == ".jpg" else name
            file.write(f"{name}\n{len(item)}\n")
            for i, (x1, y1, x2, y2) in enumerate(item.boxes.astype(np.float64).tolist()):
                ellipse = None if item.ellipses is None else item.ellipses[i]
                if ellipse is not None and np.isfinite(ellipse).all():
                    x, y, a, b, degrees = ellipse.tolist()
                    angle, score = math.radians(degrees), 1.0 if item.scores is None else float(item.scores[i])
                elif item.scores is not None:
                    file.write(f"{x1:.6f} {y1:.6f} {x2 - x1:.6f} {y2 - y1:.6f} {float(item.scores[i]):.6f}\n")
                    continue
                else:
                    x, y, score = (x1 + x2) / 2, (y1 + y2) / 2, 1.0
                    (a, b), angle = sorted(((x2 - x1) / 2, (y2 - y1) / 2), reverse=True), 0.0
                    angle = math.pi / 2 if y2 - y1 > x2 - x1 else 0.0
                last = "1" if score == 1 else f"{score:.6f}"
                file.write(f"{a:.6f} {b:.6f} {angle:.6f} {x:.6f} {y:.6f}  {last}\n")

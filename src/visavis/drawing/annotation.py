"""Faces drawn on their image: boxes, landmarks and name plates that read well on any size of picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from visavis.drawing.lettering import Lettering, Line
from visavis.drawing.points import draw_points
from visavis.drawing.shapes import Box, Color, blend, dot, fill, stroke
from visavis.errors import InputError
from visavis.image import load_image
from visavis.types import Candidates, Faces, FloatArray, Image

__all__ = ["Label", "Style", "annotate", "labels_for"]

_WHITE: Color = (255, 255, 255)
_BLACK: Color = (0, 0, 0)


@dataclass(frozen=True)
class Label:
    """What a face's plate says.

    Attributes
    ----------
    text
        The name, in any script.
    detail
        Set smaller behind it, as the similarity.
    known
        Chooses the color: True known, False unknown, None neither.
    """

    text: str
    detail: str = ""
    known: bool | None = True


@dataclass(frozen=True)
class Style:
    """How annotations look.

    Attributes
    ----------
    known, unknown, plain
        RGB of faces with a known name, an unknown one, and without a label. The defaults are from the palette
        of Okabe and Ito (2008), apart in hue and lightness for every kind of color vision.
    landmarks
        Whether to draw landmarks: those of a landmark model where faces have them, else the five points.
    scale
        Enlarges lettering and lines; 1 suits a screen.
    """

    known: Color = (0, 114, 178)
    unknown: Color = (230, 159, 0)
    plain: Color = (86, 180, 233)
    landmarks: bool = True
    scale: float = 1.0

    def color(self, label: Label | None) -> Color:
        """Return the color for a face's label."""
        if label is None or label.known is None:
            return self.plain
        return self.known if label.known else self.unknown


def annotate(
    image: Image,
    faces: Faces,
    labels: Sequence[Label | str | None] | None = None,
    *,
    style: Style | None = None,
    lettering: Lettering | None = None,
) -> Image:
    """Return a copy of ``image`` with each face's box, landmarks and label drawn on it.

    Sizes follow the face and the picture, within bounds, so that a 200-pixel and a 6,000-pixel picture both
    read well. Plates keep inside the picture, away from faces and each other where there is room; a name too
    long for its place ends in an ellipsis, and a picture too small for any lettering gets boxes only.

    Parameters
    ----------
    image
        Uint8 ``(h, w, 3)``, RGB.
    faces
        In pixels of ``image``; what lies outside of it is not drawn.
    labels
        One a face: a `Label`, a known person's name, or None for a box alone. None: boxes alone.
    style
        Colors, scale, landmarks or not.
    lettering
        The fonts; give the same one for many pictures.

    Raises
    ------
    InputError
        If ``labels`` are not one a face, or ``image`` is not an image array.

    Warns
    -----
    FontWarning
        If a name has characters that no font at hand can draw.

    Examples
    --------
    >>> import numpy as np
    >>> picture = np.full((120, 160, 3), 90, np.uint8)
    >>> faces = Faces(np.array([[50, 40, 90, 90]]), np.array([0.9]))
    >>> annotate(picture, faces, [Label("Ada", "0.71")]).shape
    (120, 160, 3)
    """
    style = style or Style()
    lettering = lettering or Lettering()
    tags = _labels(labels, len(faces))
    canvas: Image = load_image(image).copy()
    h, w = canvas.shape[:2]
    marks = [_Mark.of(faces.boxes[i], tags[i], w, h, style.scale) for i in range(len(faces))]
    for i, mark in enumerate(marks):
        if mark is None:
            continue
        color = style.color(mark.label)
        ink = _ink_on(color)
        halo = (mark.line + 2 * max(0.9, 0.4 * mark.line), ink, 0.7)
        stroke(canvas, mark.box, 0.08 * mark.side, [halo, (mark.line, color, 1.0)])
        if not style.landmarks or mark.side < 28:
            continue
        points = {name: column[i] for name, column in faces.traits.items()}
        if not draw_points(canvas, points, mark.side, mark.dot, color, ink) and faces.landmarks is not None:
            for x, y in faces.landmarks[i].astype(float):
                dot(canvas, (x, y), 1.35 * mark.dot, ink, 0.9)
                dot(canvas, (x, y), 0.85 * mark.dot, color)
    for plate in _place([mark for mark in marks if mark is not None], w, h, lettering):
        _draw(canvas, plate, style)
    lettering.warn()
    return canvas


def labels_for(candidates: Candidates, *, unknown: str = "unknown") -> list[Label]:
    """Return the labels of identified faces: the best subject of each with its similarity, or ``unknown``."""
    scores = candidates.similarities
    return [
        Label(unknown, known=False) if name is None else Label(name, f"{float(scores[i, 0]):.2f}")
        for i, name in enumerate(candidates.best)
    ]


def _labels(labels: Sequence[Label | str | None] | None, count: int) -> list[Label | None]:
    if labels is None:
        return [None] * count
    if isinstance(labels, str) or len(labels) != count:
        raise InputError(f"labels must be one a face, {count}, not {len(labels)}")
    return [Label(label) if isinstance(label, str) else label for label in labels]


@dataclass(frozen=True)
class _Mark:
    """What is drawn at one face, in pixels: its visible box, line width, dot radius and em of the lettering."""

    box: Box
    side: float
    line: float
    dot: float
    em: float
    label: Label | None

    @classmethod
    def of(cls, box: FloatArray, label: Label | None, w: int, h: int, scale: float) -> _Mark | None:
        """Measure a face in a picture of w x h; None if nothing of it can be seen."""
        x1, y1, x2, y2 = (float(v) for v in box)
        side = math.sqrt(max(min(x2 - x1, 4.0 * w), 0.0) * max(min(y2 - y1, 4.0 * h), 0.0))
        picture = min(max(w, h), 2 * min(w, h))  # a panorama is looked at a piece at a time
        line = scale * min(max(0.014 * side, 0.0018 * picture, 1.6), max(0.004 * picture, 2.0))
        inset = line / 2
        x1, y1, x2, y2 = max(x1, inset), max(y1, inset), min(x2, w - inset), min(y2, h - inset)
        if x2 - x1 < 1 or y2 - y1 < 1:
            return None
        em = scale * min(max(0.15 * side, 0.0135 * picture, 10.0), max(0.024 * picture, 13.0))
        radius = scale * min(max(0.014 * side, 1.3), max(0.0045 * picture, 2.5))
        return cls((x1, y1, x2, y2), side, line, radius, em, label)


@dataclass(frozen=True)
class _Plate:
    mark: _Mark
    label: Label
    name: Line
    detail: Line
    gap: float
    padding: float
    x: float = 0.0
    y: float = 0.0

    @property
    def width(self) -> float:
        return self.name.width + self.gap + self.detail.width + 2 * self.padding

    @property
    def height(self) -> float:
        return 1.55 * self.name.size

    @property
    def box(self) -> Box:
        return (self.x, self.y, self.x + self.width, self.y + self.height)


def _set(mark: _Mark, label: Label, width: float, lettering: Lettering) -> _Plate | None:
    """Set a label so that its plate is at most ``width`` wide; None if not even one letter fits."""
    padding = 0.5 * mark.em
    detail = lettering.line(label.detail, 0.82 * mark.em)
    gap = 0.42 * mark.em if detail.text else 0.0
    name = lettering.line(label.text, mark.em, width - 2 * padding - gap - detail.width)
    if detail.text and not name.text:  # a narrow picture: the name before the number
        detail, gap = lettering.line("", mark.em), 0.0
        name = lettering.line(label.text, mark.em, width - 2 * padding)
    return _Plate(mark, label, name, detail, gap, padding) if name.text else None


def _place(marks: Sequence[_Mark], w: int, h: int, lettering: Lettering) -> list[_Plate]:
    """Choose a place for each label, those of large faces first, by what it would cover."""
    boxes = np.array([mark.box for mark in marks], np.float64).reshape(-1, 4)
    placed: list[_Plate] = []
    taken = np.empty((0, 4))
    for i in sorted(range(len(marks)), key=lambda i: -marks[i].side):
        mark = marks[i]
        label = mark.label
        if label is None:
            continue
        bare = replace(label, detail="")
        best: tuple[float, _Plate] | None = None
        others = np.delete(boxes, i, axis=0)
        # The whole label if it has room, else without the number, else as much as a face is wide.
        whole, narrow = min(w - 2.0, 18 * mark.em), max(mark.box[2] - mark.box[0], 4.5 * mark.em)
        for width, wanted in ((whole, label), (whole, bare), (min(narrow, w - 2.0), bare)):
            plate = _set(mark, wanted, width, lettering)
            if plate is None or plate.height > h - 2:
                break
            x, y, covers = _best_place(plate, boxes[i], others, taken, w, h)
            if best is None or covers < 0.8 * best[0]:
                best = (covers, replace(plate, x=x, y=y))
            if covers < 0.1:
                break
        if best is not None:
            placed.append(best[1])
            taken = np.vstack([taken, best[1].box])
    return placed


def _best_place(
    plate: _Plate,
    own: npt.NDArray[np.float64],
    others: npt.NDArray[np.float64],
    taken: npt.NDArray[np.float64],
    w: int,
    h: int,
) -> tuple[float, float, float]:
    """Return x, y and what a plate there covers in square ems: plates count most, then other faces."""
    x1, y1, x2, y2 = own
    pw, ph = plate.width, plate.height
    out = plate.mark.line * 1.5 + 1
    above, below, middle = y1 - out - ph, y2 + out, (x1 + x2 - pw) / 2
    places = np.array(
        [
            *((x1 - out, above), (x1 - out, below), (middle, above), (middle, below)),
            *((x2 + out - pw, above), (x2 + out - pw, below)),
            *((x2 + out, y1), (x1 - out - pw, y1)),
            *((x2 + out, y2 - ph), (x1 - out - pw, y2 - ph)),
            *((x1 + out, y2 - out - ph), (x1 + out, y1 + out)),
        ]
    )
    places[:, 0] = np.clip(places[:, 0], 1, max(1, w - pw - 1))
    places[:, 1] = np.clip(places[:, 1], 1, max(1, h - ph - 1))
    rects = np.hstack([places, places + np.array([pw, ph])])
    covered = 8 * _overlap(rects, taken) + 1.2 * _overlap(rects, others) + 0.7 * _overlap(rects, own[None])
    cost = covered / plate.name.size**2  # in squares of an em, so that a smaller plate may win
    best = int(np.argmin(cost + 0.05 * np.arange(len(places))))
    return float(places[best, 0]), float(places[best, 1]), float(cost[best])


def _overlap(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return, for each rectangle of ``a``, the sum of its overlaps with those of ``b``."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    sides = np.maximum(high - low, 0)
    covered: npt.NDArray[np.float64] = (sides[..., 0] * sides[..., 1]).sum(axis=1)
    return covered


def _draw(canvas: Image, plate: _Plate, style: Style) -> None:
    color = style.color(plate.label)
    ink = _ink_on(color)
    x1, y1, x2, y2 = plate.box
    edge = max(1.0, 0.06 * plate.name.size)
    radius = 0.32 * plate.name.size
    fill(canvas, (x1 - edge, y1 - edge, x2 + edge, y2 + edge), radius + edge, ink, 0.55)
    fill(canvas, plate.box, radius, color)
    # Capitals of common fonts are 0.71 em high, Chinese characters reach from -0.12 to 0.88: both center here.
    baseline = round((y1 + y2) / 2 + 0.36 * plate.name.size)
    pen = x1 + plate.padding
    for line, opacity in ((plate.name, 1.0), (plate.detail, 0.85)):
        if line.text:
            mask, (left, top) = line.mask()
            blend(canvas, (round(pen) - left, baseline - top), mask * np.float32(opacity), ink)
            pen += line.width + plate.gap


def _ink_on(color: Color) -> Color:
    """Return black or white, whichever stands out more by its contrast ratio (WCAG 2.1)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in color)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return _BLACK if (luminance + 0.05) ** 2 > 1.05 * 0.05 else _WHITE

"""MMOD: dlib's convolutional face detector, converted: it runs without dlib, and an order of magnitude faster.

A network of seven convolutions slides a window of 80 x 80 pixels over a pyramid of the picture (King, "Max-Margin
Object Detection", 2015), so it finds faces of 80 pixels and up, turned and half hidden ones too; smaller ones need an
enlarged picture. As in dlib, all levels of the pyramid lie on one canvas, which the network sees at once, so that boxes
are dlib's own, before it rounds them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from visavis.detection.margin import least_margin, score_of
from visavis.detection.settings import checked_min_face
from visavis.detection.views import Sight, View, look_by_size, place, plan, show
from visavis.errors import ModelError
from visavis.geometry import nms
from visavis.models.cards import ModelCard
from visavis.models.loader import Loader
from visavis.models.session import Session
from visavis.types import Faces, FloatArray, Image

__all__ = ["SIGHT", "Mmod", "layout", "load"]

SIGHT = Sight(
    smallest=80,
    coarse=1024,
    tile=1024,
    overlap=320,
    min_face=80,
    fit=((40, 0.5), (100, 1), (600, 1), (1024, 0.5)),
)

_SCORE = 0.5
_BATCH = 8
_BATCH_PIXELS = 2**20  # of pictures run together, which bounds memory

_WINDOW = 80  # pixels of the network's input
_STRIDE, _FIRST = 8, 14  # the output at column c is that of a window centered on 8 c + 14
_RATE = 5 / 6  # from a level of the pyramid to the next
_GAP, _MARGIN = 10, 11  # pixels between levels, and around them
_LEAST_SIDE = 5
_LEAST_CANVAS = 32  # three convolutions at stride 2, without padding, leave something of it
_OVERLAP = 0.338276  # IoU above which dlib drops the lesser of two boxes: its training chose it
_BACKGROUND = (123, 117, 104)  # what comes nearest to 0 for the network
_SHIFT = 0.3  # pixels by which dlib's pyramid moves a point up a level, beside scaling


def load(card: ModelCard, loader: Loader, *, score: float | None = None, min_face: float | None = None) -> Mmod:
    """Load the detector; see `Mmod` for the settings."""
    return Mmod(loader.session(card.id), score=_SCORE if score is None else score, min_face=min_face)


@lru_cache(maxsize=64)
def layout(height: int, width: int) -> tuple[tuple[int, int], tuple[tuple[int, int, int, int], ...]]:
    """Lay out the levels of a picture's pyramid on one canvas, as dlib does.

    They go down the left until the next one fits beside the last, then up again on the right.

    Returns
    -------
    Height and width of the canvas, and of each level left, top, width and height, in pixels of the canvas.

    Examples
    --------
    >>> canvas, levels = layout(250, 250)
    >>> canvas, levels[:2]
    ((957, 272), ((11, 11, 250, 250), (11, 271, 208, 208)))
    """
    sides = [(height, width)]
    while True:
        h, w = (int(_RATE * side) for side in sides[-1])
        if h < _LEAST_SIDE or not w:
            break
        sides.append((h, w))
    total = sum(h + _GAP for h, _ in sides) - 2 * _GAP
    levels: list[tuple[int, int, int, int]] = []
    y, before = 0, 0
    for h, w in sides:
        if w <= width - before - _GAP and (y - height) * 2 >= total - height:
            break
        levels.append((_MARGIN, _MARGIN + y, w, h))
        y, before = y + h + _GAP, w
    bottom = _MARGIN + y - _GAP
    canvas = (max(bottom + _MARGIN, _LEAST_CANVAS), max(width + 2 * _MARGIN, _LEAST_CANVAS))
    for h, w in sides[len(levels) :]:
        if bottom - h < _MARGIN + height:  # it would cover the picture itself
            break
        levels.append((_MARGIN + width - w, bottom - h, w, h))
        bottom -= h + _GAP
    return canvas, tuple(levels)


class Mmod:
    """dlib's convolutional face detector. It gives boxes alone.

    Parameters
    ----------
    session
        The network, every axis free.
    score
        Least score of a face; see `visavis.detection.margin.score_of`.
    min_face
        Height in pixels of the smallest face looked for: the picture is resized so that it has 80. None looks for
        faces of 80 pixels.
    """

    name = "mmod"

    def __init__(self, session: Session, *, score: float = _SCORE, min_face: float | None = None) -> None:
        self._session = session
        self._margin = least_margin(score)
        self._min_face = checked_min_face(min_face)

    def detect(self, images: Sequence[Image]) -> list[Faces]:
        """Return the faces of each RGB uint8 image, best score first, without landmarks; equal sizes run together."""
        return look_by_size(images, lambda h, w: plan(h, w, SIGHT, self._min_face), self.look, _together)

    def look(self, images: Sequence[Image], view: View) -> list[Faces]:
        """Return the faces of images of one size in one view, best score first; boxes may reach out of the image.

        A view of the whole picture at the scale of ``2**n`` is what dlib sees that enlarges it n times.
        """
        canvas, levels = layout(*view.shown)
        batch = np.empty((len(images), *canvas, 3), np.uint8)
        batch[:] = _BACKGROUND
        for row, image in zip(batch, images, strict=True):
            _draw(image, view, row, levels)
        (margins,) = self._session.run(batch).values()
        owner, boxes, found = _windows(margins, self._margin, levels)
        keep = [
            mine[nms(boxes[mine], found[mine], _OVERLAP)]
            for mine in (np.flatnonzero(owner == i) for i in range(len(images)))
        ]
        rows = np.concatenate(keep)
        return place(owner[rows], Faces(boxes[rows], score_of(found[rows])), view, len(images), SIGHT)


def _together(height: int, width: int, views: Sequence[View]) -> int:
    del height, width  # what a view shows is what takes memory
    return min(_BATCH, _BATCH_PIXELS // max(view.shown[0] * view.shown[1] for view in views))


def _draw(image: Image, view: View, canvas: Image, levels: Sequence[tuple[int, int, int, int]]) -> None:
    """Draw a view's pyramid: each level is the one before it, resized so that corner pixels stay on the corners."""
    before: Image | None = None
    for left, top, w, h in levels:
        level = canvas[top : top + h, left : left + w]
        if before is None:
            show(image, view, level)
        else:
            across, down = ((a - 1) / max(b - 1, 1) for a, b in zip(before.shape[1::-1], (w, h), strict=True))
            matrix = np.array([[across, 0, 0], [0, down, 0]])
            how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            level[:] = cv2.warpAffine(before, matrix, (w, h), flags=how, borderMode=cv2.BORDER_REPLICATE)
        before = level


def _windows(
    margins: FloatArray, least: float, levels: Sequence[tuple[int, int, int, int]]
) -> tuple[npt.NDArray[np.intp], FloatArray, FloatArray]:
    """Return the windows of at least a margin: whose picture each is of, its box in that picture, and its margin."""
    if margins.ndim != 4 or margins.shape[1] != 1 or not np.isfinite(margins).all():
        raise ModelError("this is not MMOD, or it returned NaN; check its file: visavis models verify mmod")
    owner, _, row, column = np.nonzero(margins > least)
    center = np.stack([column, row], axis=1) * float(_STRIDE) + _FIRST
    corner = np.array([level[:2] for level in levels], np.float64)
    far = corner + np.array([level[2:] for level in levels], np.float64) - 1
    gap = np.maximum(np.maximum(corner - center[:, None], center[:, None] - far), 0)
    level = (gap**2).sum(axis=2).argmin(axis=1)
    # The middles of the corner pixels, as dlib has them: moving up a level scales them and adds a shift.
    boxes = (center - corner[level])[:, [0, 1, 0, 1]] + (_WINDOW - 1) / 2 * np.array([-1, -1, 1, 1])
    up = (1 / _RATE) ** level
    boxes = boxes * up[:, None] + (_SHIFT * (up - 1) / (1 / _RATE - 1))[:, None]
    boxes[:, 2:] += 1
    return owner, boxes.astype(np.float32), margins[margins > least]

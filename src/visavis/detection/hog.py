"""HOG and a linear SVM: the frontal face detector of dlib, which the extra ``visavis[dlib]`` installs.

Histograms of oriented gradients (Dalal, Triggs, CVPR 2005; Felzenszwalb et al., PAMI 2010), five windows of 80 x 80
pixels for five poses, trained with max-margin object detection (King, "Max-Margin Object Detection", 2015). dlib slides
them over a pyramid of the picture, so it finds faces of 80 pixels and up; smaller ones need an enlarged picture.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from visavis.detection.margin import least_margin, score_of
from visavis.detection.settings import checked_min_face
from visavis.detection.views import Sight, View, merge, place, plan, show
from visavis.errors import EngineError, InputError
from visavis.models.cards import ModelCard
from visavis.models.loader import Loader
from visavis.types import Faces, Image

__all__ = ["SIGHT", "Hog", "import_dlib", "load"]

SIGHT = Sight(
    smallest=80,
    coarse=3328,
    tile=3328,
    overlap=640,
    min_face=80,
    fit=((40, 0.5), (100, 1), (1600, 1), (3328, 0.5)),
)
"""One look serves pictures of up to 3,328 pixels a side: dlib has a pyramid of its own."""

_SCORE = 0.5
_MOST_UPSAMPLE = 4


def load(
    card: ModelCard, loader: Loader, *, score: float | None = None, min_face: float | None = None, upsample: int = 0
) -> Hog:
    """Load the detector; see `Hog` for the settings."""
    del card, loader  # it lies in the library
    return Hog(import_dlib(), score=_SCORE if score is None else score, min_face=min_face, upsample=upsample)


def import_dlib() -> Any:
    """Import dlib; `EngineError` says how to install it where it is missing."""
    try:
        import dlib
    except ImportError as error:
        raise EngineError(f"dlib can't be loaded ({error}): pip install 'visavis[dlib]'") from None
    return dlib


class Hog:
    """dlib's frontal face detector. It gives boxes alone.

    Parameters
    ----------
    dlib
        The library.
    score
        Least score of a face; see `visavis.detection.margin.score_of`.
    min_face
        Height in pixels of the smallest face looked for: the picture is resized so that it has 80. None looks for
        faces of 80 pixels, or what ``upsample`` makes of that.
    upsample
        How many times dlib doubles the picture, 0 to 4: each halves the smallest face and takes four times as long.
        Boxes of pictures seen in one look are then dlib's own.
    """

    name = "hog"

    def __init__(self, dlib: Any, *, score: float = _SCORE, min_face: float | None = None, upsample: int = 0) -> None:
        if isinstance(upsample, bool) or upsample not in range(_MOST_UPSAMPLE + 1):
            raise InputError(f"upsample is a whole number, 0 to {_MOST_UPSAMPLE}, not {upsample!r}")
        self._dlib = dlib
        self._margin = least_margin(score)
        self._min_face = checked_min_face(min_face)
        self._upsample = upsample
        shrink = 2**upsample
        self._sight = replace(
            SIGHT,
            smallest=SIGHT.smallest / shrink,
            coarse=SIGHT.coarse // shrink,
            tile=SIGHT.tile // shrink,
            overlap=SIGHT.overlap // shrink,
            min_face=SIGHT.min_face / shrink,
            fit=tuple((side / shrink, value) for side, value in SIGHT.fit),
        )
        self._local = threading.local()  # a detector of dlib's serves one thread at a time

    def detect(self, images: Sequence[Image]) -> list[Faces]:
        """Return the faces of each RGB uint8 image, best score first, without landmarks."""
        return [self._faces(image) for image in images]

    def _faces(self, image: Image) -> Faces:
        height, width = image.shape[:2]
        looks: list[Faces] = []
        for view in plan(height, width, self._sight, self._min_face):
            seen = self._look(image, view)
            looks += place(np.zeros(len(seen), np.intp), seen, view, 1, self._sight)
        return merge(looks, height, width)

    def _look(self, image: Image, view: View) -> Faces:
        if not hasattr(self._local, "detector"):
            self._local.detector = self._dlib.get_frontal_face_detector()
        shown = np.zeros((*view.shown, 3), np.uint8)
        show(image, view, shown)
        boxes, margins, _ = self._local.detector.run(shown, self._upsample, self._margin)
        # dlib's right and bottom are the last pixel within.
        sides = [(box.left(), box.top(), box.right() + 1, box.bottom() + 1) for box in boxes]
        return Faces(np.array(sides, np.float32).reshape(-1, 4), score_of(margins))

"""What every detector offers.

A detector is one module here and one card. The module has a function ``load(card, loader, *, score=None,
min_face=None, ...) -> Detector``, where ``score`` is the least score of a face, 0..1, ``min_face`` the height in pixels
of the smallest face looked for, and None takes the detector's own default; docs/detection.md says what a score means
for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from visavis.types import Faces, Image

__all__ = ["Detector"]


class Detector(Protocol):
    """Finds faces in images. One contract test runs over every registered detector."""

    name: str

    def detect(self, images: Sequence[Image]) -> list[Faces]:
        """Return the faces of each RGB uint8 image, best score first, in pixels of that image.

        Boxes lie in the image, each face is there once, and scores are 0..1. ``landmarks`` is None where the detector
        finds none: the pipeline fills them in before recognition.
        """
        ...

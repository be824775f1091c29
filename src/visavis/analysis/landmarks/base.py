"""What every landmark model offers.

A landmark model is one module in this package and one card of the task ``landmarks``. The module has a function
``load(card, loader, *, ...) -> Landmarker``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from visavis.types import Faces, FloatArray, Image

__all__ = ["Landmarker"]


class Landmarker(Protocol):
    """Finds points of faces that a detector found. One contract test runs over every registered one."""

    name: str

    def locate(self, image: Image, faces: Faces) -> dict[str, FloatArray]:
        """Return the points of n faces of one RGB uint8 image, in pixels of that image.

        The names are those of the traits that hold them: ``landmarks_68`` is float32 ``(n, 68, 2)``. n may be 0.
        """
        ...

    def five(self, points: Mapping[str, FloatArray]) -> FloatArray | None:
        """Return the five landmarks ``(n, 5, 2)`` that alignment needs from what `locate` returned.

        Left eye, right eye, nose, left and right corner of the mouth; None where the model doesn't find those.
        """
        ...

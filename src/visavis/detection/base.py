"""What every detector offers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from visavis.types import Faces, Image

__all__ = ["Detector"]


class Detector(Protocol):
    """Finds faces in images. One contract test runs over every registered detector."""

    name: str

    def detect(self, images: Sequence[Image]) -> list[Faces]:
        """Return the faces of each RGB uint8 image, best score first, in pixels of that image."""
        ...

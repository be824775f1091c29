"""What every recognizer offers."""

from __future__ import annotations

from typing import Protocol

from visavis.types import Embeddings, Image

__all__ = ["Recognizer"]


class Recognizer(Protocol):
    """Turns aligned crops into embeddings. One contract test runs over every registered recognizer."""

    model: str
    """Card id and variant, which its embeddings carry."""
    alignment: str
    """Name of the alignment template its crops need."""
    size: int
    """Side of the crops in pixels."""

    def embed(self, crops: Image) -> Embeddings:
        """Return an embedding a crop, for RGB uint8 crops ``(n, size, size, 3)``; n may be 0."""
        ...

"""Detectors whose network takes squares of one size: BlazeFace and SSD-MobileNet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from visavis.detection.settings import checked_min_face, checked_score
from visavis.detection.views import Sight, look_in_squares
from visavis.models.session import Session
from visavis.types import Faces, FloatArray, Image

__all__ = ["SquareDetector"]


class SquareDetector:
    """A network of square input, shown parts of a picture at several scales.

    Parameters
    ----------
    name
        Card id.
    session
        The network.
    sight
        What it sees in one look.
    decode
        Turns its outputs into faces of at least a score, before suppression, in pixels of its input.
    batch
        How many squares it gets at most at once.
    score
        Least score of a face, 0..1.
    min_face
        Height in pixels of the smallest face looked for; None takes the sight's own.
    """

    def __init__(
        self,
        name: str,
        session: Session,
        sight: Sight,
        decode: Callable[[Mapping[str, FloatArray], float], list[Faces]],
        *,
        batch: int,
        score: float,
        min_face: float | None = None,
    ) -> None:
        self.name = name
        self._session = session
        self._sight = sight
        self._decode = decode
        self._batch = batch
        self._score = checked_score(score)
        self._min_face = checked_min_face(min_face)

    def detect(self, images: Sequence[Image]) -> list[Faces]:
        """Return the faces of each RGB uint8 image, best score first."""
        return look_in_squares(images, self._sight, self._min_face, self._see, self._batch)

    def _see(self, squares: Image) -> list[Faces]:
        return self._decode(self._session.run(squares), self._score)

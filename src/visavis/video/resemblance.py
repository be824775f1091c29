"""From which similarity on two faces of one video, seconds apart, are taken for one person's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from visavis.errors import CalibrationError, InputError
from visavis.pipeline import Analyzer
from visavis.recognition.compare import operating_point

__all__ = ["Resemblance", "resemblance"]

# FMR of the similarities.
_ANYWHERE, _IN_PLACE = 1e-3, 1e-2
_UNMEASURED = 0.5  # similarity where the recognizer was not calibrated
_LEAST_STEP = 0.05  # between the two: they may be one


@dataclass(frozen=True)
class Resemblance:
    """Similarities from which two faces are one person's.

    Attributes
    ----------
    anywhere
        Wherever they are in the picture.
    in_place
        Where the one is about where the other was; at most ``anywhere``.

    Examples
    --------
    >>> Resemblance(0.4, 0.3).says([0.2, 0.5]).round(6).tolist()
    [-1.0, 2.0]
    """

    anywhere: float = _UNMEASURED
    in_place: float = _UNMEASURED

    def __post_init__(self) -> None:
        if not -1 <= self.in_place <= self.anywhere <= 1:
            raise InputError(
                f"similarities lie in -1..1, and in_place is at most anywhere: not {self.in_place} and {self.anywhere}"
            )

    def says(self, similarity: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return how much similarities speak for one person: 0 at ``in_place``, 1 at ``anywhere``, and so on."""
        return (np.asarray(similarity, np.float64) - self.in_place) / max(self.anywhere - self.in_place, _LEAST_STEP)


def resemblance(analyzer: Analyzer) -> Resemblance:
    """Return the similarities at a measured FMR of 1e-3 and, in one place, of 1e-2; 0.5 where none was measured."""
    try:
        anywhere, in_place = (
            operating_point(analyzer.calibration, fmr=fmr, model=analyzer.calibrated_as).threshold
            for fmr in (_ANYWHERE, _IN_PLACE)
        )
    except CalibrationError:
        return Resemblance()
    return Resemblance(anywhere, in_place)

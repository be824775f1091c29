"""Scores of detectors that measure a margin: how far a window lies on the side of faces.

HOG's linear SVM and the MMOD network give any number, where dlib's own threshold is 0 and training asked of each face
for at least 1.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from visavis.detection.settings import checked_score
from visavis.types import FloatArray

__all__ = ["least_margin", "margin_of", "score_of"]

_STEEPNESS = 2.0
_LARGEST_SCORE = 1 - 1e-6  # of a score of 1 the margin is infinite


def score_of(margin: npt.ArrayLike) -> FloatArray:
    """Return margins as scores 0..1: ``1 / (1 + exp(-2 * margin))``, 0.5 at dlib's threshold and 0.88 at a margin of 1.

    A score is no probability: it keeps the order, and its middle is the threshold.

    Examples
    --------
    >>> score_of([-1, 0, 1, 3]).round(3).tolist()
    [0.11900000274181366, 0.5, 0.8809999823570251, 0.9980000257492065]
    """
    return np.asarray(1 / (1 + np.exp(-_STEEPNESS * np.asarray(margin, np.float64))), np.float32)


def margin_of(score: float) -> float:
    """Return the margin of a score below 1.

    Examples
    --------
    >>> margin_of(0.5), round(margin_of(0.881), 2)
    (0.0, 1.0)
    """
    return math.log(score / (1 - score)) / _STEEPNESS


def least_margin(score: float) -> float:
    """Return the margin that a face of a detector's least score has; `InputError` unless that lies in 0..1."""
    return margin_of(min(checked_score(score), _LARGEST_SCORE))

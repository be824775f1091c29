"""Scores to probabilities that hold: fitted on photos and people that the classifier had not seen.

The probability of a name is P(known) * P(name | known), and that of "unknown" is 1 - P(known).

- P(known) is a sigmoid of the similarity with the person named (Platt, "Probabilistic outputs for support vector
  machines", 1999), fitted on held-out photos of known people against photos of left-out people, who weigh as much: it
  holds where **half of the faces are strangers'**.
- P(name | known) is a softmax of the method's scores times one factor (temperature scaling: Guo et al., "On
  calibration of modern neural networks", 2017), fitted on held-out photos. One factor for all people: with a handful
  of photos each, a sigmoid a person would be fitted to chance.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.classification.methods import Floats, Ints

__all__ = ["Confidence", "confidence", "platt", "sharpness"]

_STEEPEST = 1e4  # bound of the fitted factor: beyond it a softmax is a maximum


@dataclass(frozen=True)
class Confidence:
    """What turns similarities and scores into probabilities.

    Attributes
    ----------
    slope, intercept
        P(known) is ``1 / (1 + exp(-(slope * similarity + intercept)))``.
    factor
        P(name | known) is the softmax of ``factor * scores``.
    mated, strangers
        How many held-out photos, and photos of left-out people, it was fitted on.
    """

    slope: float
    intercept: float
    factor: float
    mated: int
    strangers: int

    def probabilities(self, similarity: Floats, scores: Floats) -> Floats:
        """Return the probability of each name ``(n, people)``; what a row lacks to 1 is that of "unknown"."""
        known = _sigmoid(self.slope * similarity + self.intercept)
        return known[:, None] * _softmax(self.factor * scores)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, JSON-ready."""
        return asdict(self)


def confidence(scores: Floats, owners: Ints, similarity: Floats, strangers: Floats) -> Confidence | None:
    """Fit probabilities, or None where nothing could be held out.

    Parameters
    ----------
    scores, owners, similarity
        Of the held-out photos: scores ``(n, people)``, whose they are, and the similarity with the person named.
    strangers
        The similarities of left-out people's photos.
    """
    if not len(similarity) or not len(strangers):
        return None
    values = np.concatenate([similarity, strangers])
    mated = np.arange(len(values)) < len(similarity)
    slope, intercept = platt(values, mated, np.where(mated, 1.0, len(similarity) / len(strangers)))
    return Confidence(slope, intercept, sharpness(scores, owners), len(similarity), len(strangers))


def platt(values: Floats, positive: npt.NDArray[np.bool_], weights: Floats) -> tuple[float, float]:
    """Fit ``1 / (1 + exp(-(a * value + b)))`` to weighted labels, and return a and b.

    With Platt's targets, which keep few or separable values from a probability of 0 or 1, by Newton's method with
    backtracking (Lin, Lin, Weng, "A note on Platt's probabilistic outputs", 2007).

    Examples
    --------
    >>> a, b = platt(np.array([0.1, 0.2, 0.7, 0.8]), np.array([False, False, True, True]), np.ones(4))
    >>> round(-b / a, 3)
    0.45
    """
    yes, no = weights[positive].sum(), weights[~positive].sum()
    target = np.where(positive, (yes + 1) / (yes + 2), 1 / (no + 2))
    center, scale = float(values.mean()), float(values.std()) or 1.0
    design = np.column_stack([(values - center) / scale, np.ones(len(values))])
    at = np.array([0.0, np.log((yes + 1) / (no + 1))])

    def loss(point: Floats) -> float:
        z = design @ point
        return float(weights @ (np.logaddexp(0, z) - target * z))

    for _ in range(100):
        p = _sigmoid(design @ at)
        gradient = design.T @ (weights * (p - target))
        if np.abs(gradient).max() < 1e-10:
            break
        curvature = (design.T * (weights * p * (1 - p))) @ design + 1e-12 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        size, before = 1.0, loss(at)
        while size > 1e-10 and loss(at - size * step) > before - 1e-4 * size * float(gradient @ step):
            size /= 2
        at = at - size * step
    return float(at[0] / scale), float(at[1] - at[0] * center / scale)


def sharpness(scores: Floats, owners: Ints) -> float:
    """Return the factor whose softmax of scores ``(n, people)`` fits the true people ``(n,)`` best.

    The likelihood is concave in the factor, so bisecting its slope finds it. As in Platt's targets, 1 / (n + 2) of each
    photo is taken to be anybody's.
    """
    n, people = scores.shape
    if people < 2 or not n:
        return 1.0
    relative = scores - scores.max(axis=1, keepdims=True)
    doubt = 1 / (n + 2)
    own = relative[np.arange(n), owners]
    wanted = (1 - doubt) * own + doubt * (relative.sum(axis=1) - own) / (people - 1)

    def rises(factor: float) -> bool:
        return float((wanted - (_softmax(factor * relative) * relative).sum(axis=1)).sum()) > 0

    low, high = 1e-3, _STEEPEST
    for _ in range(60):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if rises(middle) else (low, middle)
    return float((low * high) ** 0.5)


def _sigmoid(z: Floats) -> Floats:
    values: Floats = np.exp(-np.logaddexp(0, -z))
    return values


def _softmax(z: Floats) -> Floats:
    grown = np.exp(z - z.max(axis=1, keepdims=True))
    values: Floats = grown / grown.sum(axis=1, keepdims=True)
    return values

"""How far landmarks lie from where they should: normalized mean error, failure rate, and the area under its curve.

The error of a face is the mean length, over its points, from where a point was found to where it is, divided by a size
of the face: between the eyes (300-W: the outer corners), or of its box. Sagonas et al., "300 Faces In-The-Wild
Challenge", 2013; AFLW and WFLW state errors by box.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from visavis.errors import InputError

__all__ = ["EYES", "LandmarkErrors", "Norm", "landmark_errors", "norms"]

Floats = npt.NDArray[np.float64]
Norm = Literal["inter-ocular", "box", "diagonal"]
"""What an error is divided by: between the eyes; the root of the box's area; the box's diagonal."""

EYES: dict[int, tuple[tuple[int, ...], tuple[int, ...]]] = {
    5: ((0,), (1,)),
    68: ((36,), (45,)),
    98: ((60,), (72,)),
}
"""Points of the left and the right eye by the number of points: centers of five, outer corners of 68 (300-W) and 98
(WFLW)."""


def norms(truth: npt.ArrayLike, by: Norm, boxes: npt.ArrayLike | None = None) -> Floats:
    """Return the size of each face.

    Parameters
    ----------
    truth
        ``(n, k, 2)`` pixels; NaN where a point is not marked.
    by
        ``"inter-ocular"`` (k must be in `EYES`), or ``"box"`` or ``"diagonal"``.
    boxes
        ``(n, 4)``; the box around a face's points without them.

    Raises
    ------
    InputError
        If the shapes differ, or the eyes of so many points are not known.

    Examples
    --------
    >>> points = np.array([[[10, 10], [40, 50], [25, 30], [15, 40], [35, 40]]])
    >>> norms(points, "inter-ocular").tolist()
    [50.0]
    """
    points = _points(truth)
    if by == "inter-ocular":
        if points.shape[1] not in EYES:
            raise InputError(f"where the eyes are among {points.shape[1]} points is not known; divide by box")
        left, right = (points[:, list(rows)].mean(axis=1) for rows in EYES[points.shape[1]])
        return np.asarray(np.hypot(*(left - right).T))
    if by not in ("box", "diagonal"):
        raise InputError(f"errors are divided by inter-ocular, box or diagonal, not {by!r}")
    if boxes is None:
        marked = np.isfinite(points)
        low, high = np.where(marked, points, np.inf).min(axis=1), np.where(marked, points, -np.inf).max(axis=1)
        sides = np.where(marked.any(axis=1), high - low, np.nan)
    else:
        frames = np.asarray(boxes, np.float64).reshape(-1, 4)
        if len(frames) != len(points):
            raise InputError(f"{len(points)} faces need as many boxes, not {len(frames)}")
        sides = frames[:, 2:] - frames[:, :2]
    return np.asarray(np.sqrt(sides.prod(axis=1)) if by == "box" else np.hypot(*sides.T))


@dataclass(frozen=True, eq=False)
class LandmarkErrors:
    """Normalized errors.

    Attributes
    ----------
    points
        ``(n, k)``: of each point; NaN where it is not marked.
    faces
        ``(n,)``: mean of each face; infinite where no landmarks were found, NaN where none are marked or the face has
        no size.
    """

    points: Floats
    faces: Floats

    @property
    def measured(self) -> Floats:
        """Errors of the faces that could be measured, those without landmarks included."""
        return self.faces[~np.isnan(self.faces)]

    @property
    def nme(self) -> float | None:
        """Mean error of the faces whose landmarks were found; None where there are none."""
        there = self.faces[np.isfinite(self.faces)]
        return float(there.mean()) if len(there) else None

    @property
    def by_point(self) -> Floats:
        """``(k,)``: mean error of each point; NaN where it never was marked."""
        there = np.isfinite(self.points)
        sums = np.where(there, self.points, 0).sum(axis=0)
        mean = np.divide(sums, there.sum(axis=0), out=np.full(len(sums), np.nan), where=there.any(axis=0))
        return np.asarray(mean)

    def failure_rate(self, limit: float = 0.1) -> float:
        """Return the share of faces whose error is above a limit, or that have no landmarks.

        Examples
        --------
        >>> LandmarkErrors(np.zeros((3, 0)), np.array([0.02, 0.2, np.inf])).failure_rate(0.1)
        0.6666666666666666
        """
        return float((self._some() > limit).mean())

    def auc(self, limit: float = 0.1) -> float:
        """Return the area under the curve of `ced` up to a limit, as a share: 1 is perfect.

        It is exact, not a sum over steps: the mean over faces of how far below the limit each stays.

        Examples
        --------
        >>> LandmarkErrors(np.zeros((2, 0)), np.array([0.05, 0.3])).auc(0.1)
        0.25
        """
        if not limit > 0:
            raise InputError(f"the limit of an error lies above 0, not {limit}")
        return float(np.clip(1 - self._some() / limit, 0, 1).mean())

    def ced(self, limit: float = 0.1, steps: int = 200) -> tuple[Floats, Floats]:
        """Return the cumulative error distribution: errors up to a limit, and the share of faces within each."""
        at = np.linspace(0, limit, steps + 1)
        errors = np.sort(self._some())
        return at, np.searchsorted(errors, at, side="right") / len(errors)

    def _some(self) -> Floats:
        errors = self.measured
        if not len(errors):
            raise InputError("no face has marked landmarks and a size: there is nothing to measure")
        return errors

    def to_dict(self, limit: float = 0.1) -> dict[str, Any]:
        """Return the figures as plain values."""
        return {
            "nme": self.nme,
            "faces": len(self.measured),
            "without_landmarks": int(np.isinf(self.faces).sum()),
            "limit": limit,
            "failure_rate": self.failure_rate(limit),
            "auc": self.auc(limit),
            "by_point": [None if np.isnan(v) else float(v) for v in self.by_point],
        }


def landmark_errors(found: npt.ArrayLike, truth: npt.ArrayLike, sizes: npt.ArrayLike) -> LandmarkErrors:
    """Return the normalized errors of landmarks.

    Parameters
    ----------
    found
        ``(n, k, 2)``; rows of NaN for a face that no landmarks were found of.
    truth
        ``(n, k, 2)``; NaN where a point is not marked: it does not count.
    sizes
        ``(n,)``, from `norms`; a face of size 0 or NaN can't be measured.

    Raises
    ------
    InputError
        If the shapes differ.

    Examples
    --------
    >>> truth = np.array([[[0, 0], [10, 0]]])
    >>> errors = landmark_errors(truth + np.array([0, 1]), truth, [10.0])
    >>> errors.faces.tolist()
    [0.1]
    """
    marks, points = _points(truth), _points(found)
    size = np.asarray(sizes, np.float64)
    if marks.shape != points.shape or size.shape != (len(marks),):
        raise InputError(f"landmarks found, marked and sizes differ: {points.shape}, {marks.shape} and {size.shape}")
    lengths = np.hypot(*np.moveaxis(points - marks, 2, 0))
    with np.errstate(divide="ignore", invalid="ignore"):
        errors = lengths / np.where(size > 0, size, np.nan)[:, None]
    marked = np.isfinite(marks).all(axis=2) & (size > 0)[:, None]
    errors = np.where(marked & ~np.isfinite(errors), np.inf, np.where(marked, errors, np.nan))
    there = marked.sum(axis=1)
    sums = np.where(marked, errors, 0).sum(axis=1)
    return LandmarkErrors(errors, np.divide(sums, there, out=np.full(len(marks), np.nan), where=there > 0))


def _points(values: npt.ArrayLike) -> Floats:
    points = np.asarray(values, np.float64)
    if points.ndim != 3 or points.shape[2] != 2 or np.isinf(points).any():
        raise InputError(f"landmarks must be finite or NaN, of shape (n, k, 2), not {points.shape}")
    return points

"""Expressions, attributes and ages said of faces, against the truth.

Classes (expression, sex, glasses): accuracy, balanced accuracy (the mean over classes of how many of each were found),
macro F1 and the confusion matrix. Ages: mean absolute error, and the cumulative score CS(t), the share of faces whose
age is off by no more than t years (Geng, Zhou and Smith-Miles, "Automatic age estimation based on facial aging
patterns", PAMI 2007).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.errors import InputError
from visavis.evaluation.intervals import Estimate, bootstrap_interval, exact_binomial, subject_draws

__all__ = ["TOLERANCES", "AgeResult", "ClassRates", "ClassResult", "evaluate_ages", "evaluate_classes"]

TOLERANCES = (1.0, 3.0, 5.0, 10.0)
"""Years by which an age may be off, for the cumulative score."""

_MAX_CLASSES = 1000  # of a confusion matrix
_REPEATS = 400  # bootstrap draws
_MAX_AGE = 200.0  # years: what is beyond is no age but a mistake in the file

Labels = Sequence[str] | npt.NDArray[Any]


@dataclass(frozen=True)
class ClassRates:
    """What was said of one class.

    Attributes
    ----------
    faces
        How many are of it.
    recall, precision, f1
        Share of those found; share of those said to be of it that are; their harmonic mean. Recall is None where the
        truth has none of the class, precision where none was said to be of it. F1 is 0 where nothing was right.
    """

    name: str
    faces: int
    recall: Estimate | None
    precision: float | None
    f1: float

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "class": self.name,
            "faces": self.faces,
            "recall": None if self.recall is None else self.recall.to_dict(),
            "precision": self.precision,
            "f1": self.f1,
        }


@dataclass(frozen=True, eq=False)
class ClassResult:
    """How well classes were told apart.

    Attributes
    ----------
    accuracy
        Share of the faces of which the right class was said; its interval is exact and takes faces as independent.
    balanced_accuracy
        Mean recall of the classes that the truth has.
    macro_f1
        Mean F1 of all classes, of the truth or said.
    classes
        One for each class, in the order of the matrix.
    confusion
        Int64 ``(k, k)``: how many faces of the class of a row were said to be of that of the column.
    """

    accuracy: Estimate
    balanced_accuracy: float
    macro_f1: float
    classes: tuple[ClassRates, ...]
    confusion: npt.NDArray[np.int64]

    @property
    def faces(self) -> int:
        """How many faces there are."""
        return int(self.confusion.sum())

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "faces": self.faces,
            "accuracy": self.accuracy.to_dict(),
            "balanced_accuracy": self.balanced_accuracy,
            "macro_f1": self.macro_f1,
            "classes": [one.to_dict() for one in self.classes],
            "confusion": self.confusion.tolist(),
        }


@dataclass(frozen=True)
class AgeResult:
    """How far ages were off.

    Attributes
    ----------
    mae
        Mean absolute error in years, with a bootstrap interval over faces.
    bias
        Mean of said minus true: positive where people are taken for older.
    cumulative
        For each tolerance in years the share of faces within it.
    """

    faces: int
    mae: Estimate
    bias: float
    cumulative: tuple[tuple[float, Estimate], ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "faces": self.faces,
            "mae_years": self.mae.to_dict(),
            "bias_years": self.bias,
            "cumulative_score": [{"years": years, **share.to_dict()} for years, share in self.cumulative],
        }


def evaluate_classes(
    truth: Labels, predicted: Labels, *, classes: Sequence[str] | None = None, level: float = 0.95
) -> ClassResult:
    """Compare classes that were said with the true ones.

    Parameters
    ----------
    truth, predicted
        ``(n,)`` labels each.
    classes
        Their order in the matrix; without it all that occur, sorted. A class that neither has then counts for nothing.

    Raises
    ------
    InputError
        If lengths differ, there are no faces, or a label is none of ``classes``.

    Examples
    --------
    >>> found = evaluate_classes(["happy", "happy", "sad", "sad"], ["happy", "sad", "sad", "sad"])
    >>> found.accuracy.value, found.balanced_accuracy, round(found.macro_f1, 3), found.confusion.tolist()
    (0.75, 0.75, 0.733, [[1, 1], [0, 2]])
    """
    true, said = _labels(truth, "truth"), _labels(predicted, "predicted")
    if true.shape != said.shape or not len(true):
        raise InputError(f"truth and predictions need a label for each face, not {len(true)} and {len(said)}")
    names, numbers = np.unique(np.concatenate([true, said]), return_inverse=True)
    if classes is not None:
        unknown = sorted(set(names.tolist()) - set(classes))
        if unknown or len(set(classes)) != len(classes):
            wrong = f"lack {unknown[0]!r}" if unknown else "hold one twice"
            raise InputError(f"the classes {', '.join(classes)[:120]} {wrong}")
        numbers = np.array([list(classes).index(name) for name in names.tolist()], np.intp)[numbers]
        names = np.asarray(classes, str)
    k = len(names)
    if k > _MAX_CLASSES:
        raise InputError(f"{k} classes occur, where {_MAX_CLASSES} are the limit; for ages compare them as numbers")
    confusion = np.bincount(numbers[: len(true)] * k + numbers[len(true) :], minlength=k * k).reshape(k, k)
    right, faces, given = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    rows = []
    for i, name in enumerate(names.tolist()):
        hits, all_, all_said = int(right[i]), int(faces[i]), int(given[i])
        rows.append(
            ClassRates(
                name,
                all_,
                Estimate(hits / all_, *exact_binomial(hits, all_, level), level) if all_ else None,
                hits / all_said if all_said else None,
                2 * hits / (all_ + all_said) if hits else 0.0,
            )
        )
    hits = int(right.sum())
    there = [row.f1 for row, all_, all_said in zip(rows, faces, given, strict=True) if all_ or all_said]
    return ClassResult(
        Estimate(hits / len(true), *exact_binomial(hits, len(true), level), level),
        float(np.mean([row.recall.value for row in rows if row.recall is not None])),
        float(np.mean(there)),
        tuple(rows),
        confusion.astype(np.int64),
    )


def evaluate_ages(
    truth: npt.ArrayLike,
    predicted: npt.ArrayLike,
    *,
    tolerances: Sequence[float] = TOLERANCES,
    level: float = 0.95,
    seed: int = 2026,
) -> AgeResult:
    """Compare ages that were said with the true ones.

    Parameters
    ----------
    truth, predicted
        ``(n,)`` years each.
    tolerances
        Years by which an age may be off for the cumulative score.

    Raises
    ------
    InputError
        If lengths differ, there are no faces, or a true age is not in 0..200 or a predicted one not finite; the row is
        named.

    Examples
    --------
    >>> found = evaluate_ages([20, 30, 40, 50], [21, 30, 46, 48], tolerances=[2, 5])
    >>> found.mae.value, found.bias, [(years, share.value) for years, share in found.cumulative]
    (2.25, 1.25, [(2.0, 0.75), (5.0, 0.75)])
    """
    true, said = np.asarray(truth, np.float64), np.asarray(predicted, np.float64)
    if true.ndim != 1 or true.shape != said.shape or not len(true):
        raise InputError(f"true and predicted ages are needed for each face, not {true.shape} and {said.shape}")
    for name, ages, fits in (
        ("true", true, (true >= 0) & (true <= _MAX_AGE)),
        ("predicted", said, np.isfinite(said)),
    ):
        if not fits.all():
            row = int(np.argmin(fits))
            raise InputError(f"the {name} age of face {row} (counted from 0) is {ages[row]}: that is no age in years")
    if not all(np.isfinite(years) and years >= 0 for years in tolerances):
        raise InputError("a tolerance is a number of years, 0 or more")
    off = np.abs(said - true)
    draws = [float(off @ weights) / len(off) for weights in subject_draws(len(off), _REPEATS, seed)]
    mae = Estimate(float(off.mean()), *bootstrap_interval(draws, level), level)
    shares = []
    for years in sorted(float(years) for years in tolerances):
        within = int((off <= years + 1e-9).sum())  # 30.2 - 27.2 is a little over 3
        shares.append((years, Estimate(within / len(off), *exact_binomial(within, len(off), level), level)))
    return AgeResult(len(off), mae, float((said - true).mean()), tuple(shares))


def _labels(given: Labels, name: str) -> npt.NDArray[Any]:
    labels = np.asarray(given, str)
    if labels.ndim != 1:
        raise InputError(f"{name} must be a list of labels, not of shape {labels.shape}")
    return labels

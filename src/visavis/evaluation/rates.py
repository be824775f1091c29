"""Verification: how similarities tell mated from non-mated pairs, at every threshold, with intervals.

TAR (true accept rate) is 1 - FNMR and FAR (false accept rate) is FMR in the words of ISO/IEC 19795-1; the names are
those of the tables that papers print. A pair is accepted when its similarity reaches the threshold. Any system's
similarities will do, on any scale on which higher is closer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.errors import InputError
from visavis.evaluation.bootstrap import Draws, draw_rates, pair_weights, pairs_to_keep
from visavis.evaluation.curves import ErrorCurve
from visavis.evaluation.intervals import (
    Estimate,
    bootstrap_interval,
    bootstrap_share,
    exact_share,
    flawless,
    measurable,
    trials_needed,
)
from visavis.evaluation.verification import ten_fold

__all__ = [
    "CONSTANT",
    "FARS",
    "FoldAccuracy",
    "RateAt",
    "Scores",
    "VerificationResult",
    "auc_estimate",
    "eer_estimate",
    "evaluate_scores",
    "rates_at",
]

FARS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
"""False accept rates that tables of verification print."""

CONSTANT = "all similarities are the same: they tell nothing apart"
"""A warning."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.integer[Any]]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Scores:
    """Similarities of p pairs, and what is known of the pairs.

    Attributes
    ----------
    similarities
        Float64 ``(p,)``, finite, higher is closer. A pair that could not be compared, for want of a face, is given
        the least similarity there is (-1 of a cosine): it counts, and as rejected.
    mated
        ``(p,)`` bool: whether both sides are of one subject. There are pairs of both kinds.
    subjects
        ``(p, 2)`` integers: the subjects of each pair; without them pairs are taken as independent.
    photos
        ``(p, 2)`` integers: rows of photos, for pointing at pairs.
    folds
        ``(p,)`` integers: parts, disjoint in their subjects, for an accuracy over folds.

    Raises
    ------
    InputError
        If lengths differ, a similarity is NaN or infinite (its row is named), all pairs are of one kind, or subjects
        contradict what is mated.
    """

    similarities: Floats
    mated: Mask
    subjects: Ints | None = None
    photos: Ints | None = None
    folds: Ints | None = None

    def __post_init__(self) -> None:
        put = object.__setattr__  # the one way into a frozen dataclass
        s, m = np.asarray(self.similarities, np.float64), np.asarray(self.mated)
        if s.ndim != 1 or m.shape != s.shape or m.dtype != bool:
            raise InputError(f"pairs need a similarity and a boolean mated each, not {s.shape} and {m.shape} {m.dtype}")
        put(self, "similarities", s)
        put(self, "mated", m)
        for name, shape in (("subjects", (len(s), 2)), ("photos", (len(s), 2)), ("folds", (len(s),))):
            given = getattr(self, name)
            if given is None:
                continue
            values = np.asarray(given)
            if values.shape != shape or not np.issubdtype(values.dtype, np.integer):
                raise InputError(f"{name} of {len(s)} pairs are integers {shape}, not {values.dtype} {values.shape}")
            put(self, name, values)
        wrong = np.flatnonzero(~np.isfinite(s))
        if len(wrong):
            more = f", and of {len(wrong) - 1:,} more" if len(wrong) > 1 else ""
            raise InputError(f"the similarity of pair {wrong[0]} (counted from 0) is {s[wrong[0]]}{more}")
        if m.all() or not m.any():
            raise InputError(f"error rates need mated and non-mated pairs; all {len(m):,} given are of one kind")
        if self.subjects is not None:
            wrong = np.flatnonzero((self.subjects[:, 0] == self.subjects[:, 1]) != m)
            if len(wrong):
                said = "mated" if m[wrong[0]] else "non-mated"
                raise InputError(f"pair {wrong[0]} (counted from 0) is {said}, and its subjects say otherwise")

    def __len__(self) -> int:
        return len(self.similarities)

    @property
    def several_folds(self) -> Ints | None:
        """The folds, where there are at least two."""
        return self.folds if self.folds is not None and len(np.unique(self.folds)) > 1 else None

    @property
    def independent(self) -> bool:
        """Whether no subject is in two pairs; True too where subjects are not known."""
        if self.subjects is None:
            return True
        if self.subjects.max() - self.subjects.min() < len(self) - 1:
            return False  # more pairs than people
        a, b = self.subjects.T
        each = np.concatenate([a, b[~self.mated]])
        return len(np.unique(each)) == len(each)


@dataclass(frozen=True)
class FoldAccuracy:
    """Accuracy over folds, each at the threshold that is best on the others, as LFW's tables report it.

    Attributes
    ----------
    folds
        Share of each fold's pairs that were decided rightly.
    mean, standard_error
        Over folds; the error is the standard deviation by the square root of their number.
    estimate
        The share of all pairs, with its interval.
    """

    folds: tuple[float, ...]
    mean: float
    standard_error: float
    estimate: Estimate

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "mean": self.mean,
            "standard_error": self.standard_error,
            **{key: value for key, value in self.estimate.to_dict().items() if key != "value"},
            "folds": list(self.folds),
        }


@dataclass(frozen=True)
class RateAt:
    """Verification at a false accept rate.

    Attributes
    ----------
    far
        The rate asked for.
    supported
        Whether there are enough non-mated pairs to speak of that rate, by the rule of three; if not, nothing else is
        given but how many it takes.
    pairs_needed
        Non-mated pairs that it takes.
    threshold
        The least similarity that occurs at which no more than ``far`` of the non-mated pairs are accepted.
    tar
        Share of the mated pairs accepted there.
    fmr
        Share of the non-mated pairs accepted there, and how far it may lie off at this threshold.
    """

    far: float
    supported: bool
    pairs_needed: int
    threshold: float | None = None
    tar: Estimate | None = None
    fmr: Estimate | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "far": self.far,
            "supported": self.supported,
            "nonmated_pairs_needed": self.pairs_needed,
            "threshold": self.threshold,
            "tar": None if self.tar is None else self.tar.to_dict(),
            "fmr": None if self.fmr is None else self.fmr.to_dict(),
        }


@dataclass(frozen=True, eq=False)
class VerificationResult:
    """Everything measured of pairs.

    Attributes
    ----------
    interval
        How intervals were found: ``"exact binomial"`` where pairs are independent (equal error rate and AUC then by a
        bootstrap over pairs), ``"subject bootstrap"`` otherwise.
    accuracy
        Over folds; None without two of them.
    rates
        One a FAR asked for, falling.
    warnings
        What makes these figures worth less than they seem.
    """

    mated: int
    nonmated: int
    subjects: int | None
    interval: str
    accuracy: FoldAccuracy | None
    curve: ErrorCurve
    eer: Estimate
    eer_threshold: float
    auc: Estimate
    rates: tuple[RateAt, ...]
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, without the curve."""
        return {
            "mated_pairs": self.mated,
            "nonmated_pairs": self.nonmated,
            "subjects": self.subjects,
            "interval": self.interval,
            "accuracy": None if self.accuracy is None else self.accuracy.to_dict(),
            "eer": {**self.eer.to_dict(), "threshold": self.eer_threshold},
            "auc": self.auc.to_dict(),
            "rates": [rate.to_dict() for rate in self.rates],
            "warnings": list(self.warnings),
        }


def evaluate_scores(
    scores: Scores, fars: Sequence[float] = FARS, *, level: float = 0.95, repeats: int = 400, seed: int = 2026
) -> VerificationResult:
    """Measure verification on pairs.

    Parameters
    ----------
    fars
        False accept rates to report, each between 0 and 1.
    level
        Of the intervals.
    repeats, seed
        Bootstrap draws, and of which random numbers.

    Raises
    ------
    InputError
        If a rate or the level is out of range.
    EngineError
        If pairs are independent and scipy, which their intervals need, is missing.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> mated = np.arange(2000) % 2 == 0
    >>> result = evaluate_scores(Scores(rng.normal(np.where(mated, 2, -2)), mated), fars=[0.1, 0.01, 1e-6])
    >>> [(rate.far, rate.supported) for rate in result.rates]
    [(0.1, True), (0.01, True), (1e-06, False)]
    >>> result.interval, round(result.auc.value, 3)
    ('exact binomial', 0.997)
    """
    if not all(0 < far < 1 for far in fars):
        raise InputError(f"false accept rates lie between 0 and 1, not {', '.join(f'{far:g}' for far in fars)}")
    m, folds = scores.mated, scores.several_folds
    curve = ErrorCurve.of(scores.similarities[m], scores.similarities[~m])
    sound = measurable(fars, curve.nonmated)
    people = None if scores.independent else scores.subjects
    shares = np.full(1, np.nan) if folds is None else ten_fold(scores.similarities, m, folds)
    rows, counts = pairs_to_keep(scores.similarities, m)
    draws = draw_rates(
        scores.similarities[rows],
        m[rows],
        counts,
        pair_weights(m, people, repeats, seed, rows),
        curve,
        sound,
        folds=None if folds is None else folds[rows],
        accuracy=float(shares.mean()),
    )

    def estimate(right: int, of: int, drawn: Floats) -> Estimate:
        return exact_share(right, of, level) if people is None else bootstrap_share(right, of, drawn, level)

    accuracy = None
    if folds is not None:
        right = round(float((shares * np.unique(folds, return_counts=True)[1]).sum()))
        error = float(shares.std(ddof=1) / len(shares) ** 0.5)
        share = estimate(right, len(m), draws.accuracy)
        accuracy = FoldAccuracy(tuple(map(float, shares)), float(shares.mean()), error, share)
    return VerificationResult(
        curve.mated,
        curve.nonmated,
        None if scores.subjects is None else len(np.unique(scores.subjects)),
        "exact binomial" if people is None else "subject bootstrap",
        accuracy,
        curve,
        eer_estimate(curve, draws, level),
        curve.eer()[1],
        auc_estimate(curve, draws, level),
        rates_at(curve, fars, draws, estimate),
        _warnings(scores),
    )


def eer_estimate(curve: ErrorCurve, draws: Draws, level: float) -> Estimate:
    """Return the equal error rate with the interval of what was drawn; see `flawless` where no pair is wrong."""
    value, pairs = curve.eer()[0], min(curve.mated, curve.nonmated)
    return Estimate(value, *flawless(value, pairs, bootstrap_interval(draws.eer, level), level), level)


def auc_estimate(curve: ErrorCurve, draws: Draws, level: float) -> Estimate:
    """Return the area under the ROC likewise.

    Where each mated pair beats each non-mated one, as many twos of them are independent as there are of the rarer.
    """
    value, (low, high) = curve.auc(), bootstrap_interval(draws.auc, level)
    missed = 0.0 if value > 1 - 1e-12 else 1 - value
    least, most = flawless(missed, min(curve.mated, curve.nonmated), (1 - high, 1 - low), level)
    return Estimate(value, 1 - most, 1 - least, level)


def rates_at(
    curve: ErrorCurve, fars: Sequence[float], draws: Draws, estimate: Callable[[int, int, Floats], Estimate]
) -> tuple[RateAt, ...]:
    """Return the rates at FARs, falling; those that the pairs can't show are marked.

    Parameters
    ----------
    draws
        At the FARs that can be shown.
    estimate
        Makes an estimate of successes, trials and what was drawn.
    """
    sound = measurable(fars, curve.nonmated)
    rates = []
    for far in sorted(fars, reverse=True):
        if far not in sound:
            rates.append(RateAt(far, False, trials_needed(far)))
            continue
        i, threshold = sound.index(far), curve.threshold_at_fmr(far)
        at = int(np.searchsorted(curve.thresholds, threshold))
        tar = estimate(int(curve.mated_accepted[at]), curve.mated, draws.tar[:, i])
        fmr = estimate(int(curve.nonmated_accepted[at]), curve.nonmated, draws.fmr[:, i])
        rates.append(RateAt(far, True, trials_needed(far), threshold, tar, fmr))
    return tuple(rates)


def _warnings(scores: Scores) -> tuple[str, ...]:
    said = []
    if scores.similarities.min() == scores.similarities.max():
        said.append(CONSTANT)
    if scores.folds is not None and scores.several_folds is None:
        said.append("all pairs are in one fold: there is no accuracy over folds")
    if scores.subjects is not None and scores.several_folds is not None:
        folds = np.unique(scores.several_folds, return_inverse=True)[1]
        there = np.unique(np.stack([scores.subjects, np.stack([folds, folds], axis=1)], axis=-1).reshape(-1, 2), axis=0)
        several = int((np.unique(there[:, 0], return_counts=True)[1] > 1).sum())
        if several:
            said.append(f"subjects in several folds: {several:,}; the accuracy over folds may be too good")
    if scores.subjects is None:
        said.append("subjects are not known: intervals take pairs as independent, and are too narrow if people recur")
    return tuple(said)

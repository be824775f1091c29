"""Rates of pairs that count more or less than once: what a bootstrap measures on each of its draws."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.evaluation.curves import ErrorCurve, equal_error_rate
from visavis.evaluation.intervals import subject_draws

__all__ = [
    "KEPT_MATED",
    "KEPT_STRATUM",
    "Draw",
    "Draws",
    "WeighedPairs",
    "draw_rates",
    "pair_weights",
    "pairs_to_keep",
]

KEPT_MATED = 2**17
"""Mated pairs that are kept, where there are more."""
KEPT_STRATUM = 2**15
"""Non-mated pairs that are kept of each range in which the false match rate doubles."""
_KEEP_ALL = 2_000_000  # pairs of which none is left out

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Draw:
    """What was measured of weighed pairs; NaN where a draw has no mated or no non-mated pairs.

    Attributes
    ----------
    accuracy
        Mean over folds, NaN without folds.
    tar
        ``(f,)``: share of mated pairs accepted at the FARs asked for, each at the threshold that this draw has for it.
    fmr, fnmr
        ``(t,)``: error rates at the thresholds asked for.
    """

    accuracy: float
    eer: float
    auc: float
    tar: Floats
    fmr: Floats
    fnmr: Floats


class WeighedPairs:
    """Pairs sorted once, of which rates are measured for any weights.

    Parameters
    ----------
    similarities, mated, folds
        ``(p,)`` each; see `visavis.evaluation.rates.Scores`.
    fars, thresholds
        At which rates are measured.
    """

    def __init__(
        self,
        similarities: Floats,
        mated: Mask,
        folds: npt.NDArray[np.integer[Any]] | None = None,
        *,
        fars: Sequence[float] = (),
        thresholds: Sequence[float] = (),
    ) -> None:
        self._order = np.argsort(-similarities, kind="stable")
        falling = similarities[self._order]
        self._mated = mated[self._order]
        self._ends = np.append(np.flatnonzero(np.diff(falling)), len(falling) - 1)  # of runs of equal similarities
        self._fars = np.asarray(fars, np.float64)
        self._reaching = np.searchsorted(-falling[self._ends], -np.asarray(thresholds, np.float64), side="right")
        self._folds: list[tuple[Mask, npt.NDArray[np.intp]]] = []
        if folds is not None:
            sorted_folds = folds[self._order]
            run = np.repeat(np.arange(len(self._ends)), np.diff(self._ends, prepend=-1))
            for fold in np.unique(folds):
                inside = sorted_folds == fold
                self._folds.append((inside, np.unique(run[~inside])))

    def measure(self, weights: npt.NDArray[Any]) -> Draw:
        """Return the rates where pair i counts ``weights[i]`` times."""
        weight = weights[self._order].astype(np.float64)
        signed = np.where(self._mated, weight, -weight)
        yes = np.cumsum(np.maximum(signed, 0))[self._ends]  # mated pairs accepted down to each similarity
        no = np.cumsum(np.maximum(-signed, 0))[self._ends]
        if not yes[-1] or not no[-1]:
            nothing = np.full(len(self._reaching), np.nan)
            return Draw(np.nan, np.nan, np.nan, np.full(len(self._fars), np.nan), nothing, nothing)
        tar, fmr = np.append(0, yes) / yes[-1], np.append(0, no) / no[-1]
        at = np.searchsorted(no, self._fars * no[-1] * (1 + 1e-12), side="right")
        return Draw(
            self._accuracy(signed),
            equal_error_rate(fmr, 1 - tar)[0],
            float(np.sum(np.diff(fmr) * (tar[1:] + tar[:-1])) / 2),
            tar[at],
            fmr[self._reaching],
            1 - tar[self._reaching],
        )

    def _accuracy(self, signed: Floats) -> float:
        """Return the mean over folds of the accuracy at the threshold that is best on the others."""
        if not self._folds:
            return np.nan
        everything = np.cumsum(signed)[self._ends]
        shares = []
        for inside, candidates in self._folds:
            own = np.where(inside, signed, 0.0)
            right = np.cumsum(own)[self._ends]
            others = (everything - right)[candidates]
            best = candidates[others == others.max()]
            total = np.abs(own).sum()
            if total:
                shares.append((right[best[(len(best) - 1) // 2]] + np.maximum(-own, 0).sum()) / total)
        return float(np.mean(shares))


@dataclass(frozen=True, eq=False)
class Draws:
    """What all draws measured, moved from what the kept pairs show to what all show; a row a draw."""

    accuracy: Floats
    eer: Floats
    auc: Floats
    tar: Floats
    fmr: Floats


def draw_rates(
    similarities: Floats,
    mated: Mask,
    counts: npt.NDArray[Any],
    weights: Iterable[npt.NDArray[np.int64]],
    curve: ErrorCurve,
    fars: Sequence[float],
    *,
    folds: npt.NDArray[np.integer[Any]] | None = None,
    accuracy: float = np.nan,
) -> Draws:
    """Measure draws of pairs that stand for all.

    Parameters
    ----------
    similarities, mated, folds
        ``(k,)``: of the pairs that were kept.
    counts
        ``(k,)``: how many pairs each stands for.
    weights
        Of each draw ``(k,)``: how often each kept pair was drawn.
    curve, fars, accuracy
        Of all pairs: what draws lie around.
    """
    thresholds = [curve.threshold_at_fmr(far) for far in fars]
    true = np.array([curve.at(threshold) for threshold in thresholds]).reshape(-1, 2)
    once = WeighedPairs(similarities, mated, folds, thresholds=thresholds).measure(counts)
    # Draws look for the rate that the kept pairs have where all have the one asked for, so as to lie around it.
    kept_fars = [far * (kept / rate if rate else 1) for far, kept, rate in zip(fars, once.fmr, true[:, 0], strict=True)]
    pairs = WeighedPairs(similarities, mated, folds, fars=kept_fars, thresholds=thresholds)
    drawn = [pairs.measure(weight * counts) for weight in weights]

    def around(values: Sequence[Any], kept: Any, value: Any) -> Floats:
        moved: Floats = np.array(values, np.float64) + (value - kept)
        return moved.clip(0, 1)

    return Draws(
        around([one.accuracy for one in drawn], once.accuracy, accuracy),
        around([one.eer for one in drawn], once.eer, curve.eer()[0]),
        around([one.auc for one in drawn], once.auc, curve.auc()),
        around([one.tar for one in drawn], 1 - once.fnmr, 1 - true[:, 1]),
        around([one.fmr for one in drawn], once.fmr, true[:, 0]),
    )


def pairs_to_keep(similarities: Floats, mated: Mask) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.int64]]:
    """Return rows of pairs that stand for all, and for how many each does: all of them, unless there are very many.

    Of the most similar non-mated pairs each is kept, of the next as many every second, and so on, so that rates are
    known alike well at every threshold; of the mated ones an even part.
    """
    if len(mated) <= _KEEP_ALL:
        return np.arange(len(mated)), np.ones(len(mated), np.int64)
    yes, no = (rows[np.argsort(-similarities[rows], kind="stable")] for rows in map(np.flatnonzero, (mated, ~mated)))
    step = -(-len(yes) // KEPT_MATED)
    rows, counts = [yes[step // 2 :: step]], [step]
    start, each = 0, 1
    while start < len(no):
        stop = KEPT_STRATUM * each
        rows.append(no[start + each // 2 : stop : each])
        counts.append(each)
        start, each = stop, 2 * each
    return np.concatenate(rows), np.repeat(counts, [len(some) for some in rows])


def pair_weights(
    mated: Mask,
    subjects: npt.NDArray[np.integer[Any]] | None,
    repeats: int,
    seed: int,
    rows: npt.NDArray[np.intp] | None = None,
) -> Iterator[npt.NDArray[np.int64]]:
    """Yield how often each pair counts in each draw: of subjects where they are known, else of pairs.

    Parameters
    ----------
    subjects
        ``(p, 2)``: any numbers, not only those from 0 on.
    rows
        Of which pairs; all without it. All people are drawn nevertheless.
    """
    kept = mated if rows is None else mated[rows]
    if subjects is None:
        # Mated and non-mated pairs are drawn apart: how many there are of each was the experimenter's choice.
        kinds = [some for some in (np.flatnonzero(kept), np.flatnonzero(~kept)) if len(some)]
        draws = [subject_draws(len(some), repeats, seed + i) for i, some in enumerate(kinds)]
        for drawn in zip(*draws, strict=True):
            weights = np.empty(len(kept), np.int64)
            for some, weight in zip(kinds, drawn, strict=True):
                weights[some] = weight
            yield weights
        return
    people = np.unique(subjects)
    a, b = np.searchsorted(people, subjects if rows is None else subjects[rows]).T
    for weight in subject_draws(len(people), repeats, seed):
        yield np.where(kept, weight[a], weight[a] * weight[b])

"""Rates of pairs that count more or less than once: what a bootstrap measures on each of its draws."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.evaluation.curves import equal_error_rate
from visavis.evaluation.intervals import subject_draws

__all__ = ["Draw", "WeighedPairs", "pair_weights"]

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


def pair_weights(
    mated: Mask, subjects: npt.NDArray[np.integer[Any]] | None, repeats: int, seed: int
) -> Iterator[npt.NDArray[np.int64]]:
    """Yield how often each pair counts in each draw: of subjects where they are known, else of pairs.

    Subjects are any numbers, not only those from 0 on.
    """
    if subjects is None:
        # Mated and non-mated pairs are drawn apart: how many there are of each was the experimenter's choice.
        rows = [np.flatnonzero(mated), np.flatnonzero(~mated)]
        draws = [subject_draws(len(some), repeats, seed + i) for i, some in enumerate(rows) if len(some)]
        for drawn in zip(*draws, strict=True):
            weights = np.empty(len(mated), np.int64)
            for some, weight in zip([some for some in rows if len(some)], drawn, strict=True):
                weights[some] = weight
            yield weights
        return
    people, coded = np.unique(subjects, return_inverse=True)
    a, b = coded.reshape(subjects.shape).T
    for weight in subject_draws(len(people), repeats, seed):
        yield np.where(mated, weight[a], weight[a] * weight[b])

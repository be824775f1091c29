"""All-against-all: every photo compared with every other, in memory that doesn't grow with the number of pairs.

Similarities are computed a block at a time and counted into bins a 32,768th wide. A second pass looks again at the few
bins in which a threshold falls, and there takes every similarity as it is, so that rates at those thresholds are exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.errors import InputError
from visavis.evaluation.bootstrap import KEPT_MATED, KEPT_STRATUM, draw_rates
from visavis.evaluation.curves import ErrorCurve
from visavis.evaluation.intervals import (
    bootstrap_share,
    measurable,
    subject_draws,
)
from visavis.evaluation.rates import CONSTANT, FARS, VerificationResult, auc_estimate, eer_estimate, rates_at
from visavis.evaluation.tail import MostAlike, NonMated, nonmated_count

__all__ = ["AllPairs", "evaluate_all_pairs", "nonmated_pairs", "reaching"]

_CELLS = 4_000_000  # similarities computed at once: 16 MB
_BINS = 2**15  # in a similarity of 1
_ZERO = 2 * _BINS  # the bin that begins at 0
_LAST = 4 * _BINS
_CROWDED = 64  # bins looked into because they hold so many pairs
_NONE = np.float32(-2)  # in place of what is no non-mated pair

Vectors = npt.NDArray[np.float32]
Counts = npt.NDArray[np.int64]
Ints = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]
Found = tuple[npt.NDArray[np.float32], Counts]  # similarities, and how many pairs have each


class AllPairs:
    """Every pair of n photos, computed anew whenever it is gone through.

    Parameters
    ----------
    vectors
        Unit embeddings ``(n, d)``.
    subjects
        ``(n,)``: numbers, from 0 on, of the people.
    found
        ``(n,)``: whether the photo has an embedding; one without is rejected (-1) by all, and counts.

    Raises
    ------
    InputError
        If shapes don't fit, or a row is not of unit length.
    """

    def __init__(self, vectors: Vectors, subjects: npt.ArrayLike, found: Mask | None = None) -> None:
        person = np.asarray(subjects)
        n = len(vectors)
        if vectors.ndim != 2 or person.shape != (n,) or (found is not None and found.shape != (n,)):
            raise InputError(f"vectors (n, d) need n subjects, not shapes {vectors.shape} and {person.shape}")
        if not np.issubdtype(person.dtype, np.integer) or (n and person.min() < 0):
            raise InputError("subjects are numbers from 0 on")
        self.person: Ints = person.astype(np.intp)
        self.photos: Ints = np.bincount(self.person)
        there = np.arange(n) if found is None else np.flatnonzero(found)
        self.rows = there[np.argsort(person[there], kind="stable")]
        self.vectors = np.ascontiguousarray(vectors[self.rows], np.float32)
        if not np.allclose(np.einsum("ij,ij->i", self.vectors, self.vectors), 1, atol=1e-3):
            raise InputError("embeddings to compare must be of unit length, and finite")
        self.owner: Ints = self.person[self.rows]
        self._ends = np.searchsorted(self.owner, self.owner, side="right")  # where the subject of each row ends
        compared = np.bincount(self.owner, minlength=len(self.photos))
        self.mated_missing = _mated(self.photos) - _mated(compared)  # of each subject
        self.mated = int(_mated(self.photos).sum())
        self.nonmated = nonmated_count(self.photos)
        self.nonmated_missing = self.nonmated - nonmated_count(compared)

    def blocks(self) -> Iterator[tuple[int, Vectors, list[Vectors]]]:
        """Yield for rows from ``start`` on: their similarity to all from ``start`` on, and to each one's own subject.

        In the block -2 stands in place of pairs that are mated or come twice; mated ones are given apart, a list of
        the later photos of the same subject for each row.
        """
        start = 0
        while start < len(self.vectors):
            stop = min(start + max(_CELLS // (len(self.vectors) - start), 1), len(self.vectors))
            block = self.vectors[start:stop] @ self.vectors[start:].T
            mated = []
            for i in range(stop - start):
                end = self._ends[start + i] - start
                mated.append(block[i, i + 1 : end].copy())
                block[i, :end] = _NONE
            yield start, block, mated
            start = stop


def reaching(threshold: float) -> np.float32:
    """Return the least float32 that reaches a threshold: NumPy would round the threshold, perhaps to one below.

    Examples
    --------
    >>> at = np.nextafter(0.3, 1)  # just above 0.3, and float32(0.3) is further above
    >>> bool(np.float32(0.3) >= at), reaching(at) == np.float32(0.3)
    (True, True)
    """
    at = np.float32(threshold)
    above: np.float32 = np.nextafter(at, np.float32(np.inf))
    return at if float(at) >= threshold else above


def nonmated_pairs(
    vectors: npt.NDArray[np.float32], subjects: npt.ArrayLike, *, found: Mask | None = None, share: float = 0.02
) -> NonMated:
    """Compare every photo with every photo of other people, and keep the share that is most alike.

    Memory is bounded by the share kept, not by the number of pairs.

    Parameters
    ----------
    vectors
        Unit embeddings ``(n, d)`` of n photos.
    subjects
        ``(n,)``: numbers, from 0 on, of the people.
    found
        ``(n,)``: whether the photo has an embedding; one without is rejected (-1) by all, and counts.
    share
        Part of the pairs to keep: several times the FAR that is looked for.
    """
    pairs = AllPairs(vectors, subjects, found)
    keep = max(min(int(share * pairs.nonmated) + 1, pairs.nonmated), 1)
    kept = MostAlike(keep)
    for start, block, _ in pairs.blocks():
        kept.add(block, pairs.owner[start:])
    return kept.pairs(pairs.nonmated, pairs.photos)


def evaluate_all_pairs(
    vectors: npt.NDArray[np.float32],
    subjects: npt.ArrayLike,
    fars: Sequence[float] = FARS,
    *,
    found: Mask | None = None,
    thresholds: Sequence[float] = (),
    level: float = 0.95,
    repeats: int = 400,
    seed: int = 2026,
) -> VerificationResult:
    """Measure verification on all pairs of photos.

    Parameters
    ----------
    vectors
        Unit embeddings ``(n, d)`` of n photos.
    subjects
        ``(n,)``: the person of each, as names or numbers.
    fars
        False accept rates to report.
    found
        ``(n,)``: whether the photo has an embedding; one without is rejected (-1) by all, and counts.
    thresholds
        Where the curve is exact too.
    level, repeats, seed
        Of the intervals, all by a bootstrap over subjects.

    Returns
    -------
    Counts, the rates at ``fars`` and the equal error rate are exact. In between the curve has a threshold every
    32,768th of a similarity, with exact rates there; the AUC takes pairs of both kinds between two thresholds as ties,
    which moves it by less than 1e-6 in all that was tried.

    Raises
    ------
    InputError
        If shapes don't fit, a row is not of unit length, a rate is out of range, or pairs are all of one kind.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> subjects = np.repeat(np.arange(100), 5)
    >>> vectors = rng.normal(size=(100, 32))[subjects] + 0.8 * rng.normal(size=(500, 32))
    >>> unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    >>> result = evaluate_all_pairs(unit, subjects, fars=[1e-2, 1e-4], repeats=50)
    >>> result.nonmated, [round(rate.tar.value, 2) for rate in result.rates]
    (123750, [0.93, 0.59])
    """
    if not all(0 < far < 1 for far in fars):
        raise InputError(f"false accept rates lie between 0 and 1, not {', '.join(f'{far:g}' for far in fars)}")
    pairs = AllPairs(vectors, np.unique(np.asarray(subjects), return_inverse=True)[1], found)
    if not pairs.mated or not pairs.nonmated:
        raise InputError(
            f"error rates need two photos of a person and photos of two: there are {pairs.mated} mated and "
            f"{pairs.nonmated} non-mated pairs"
        )
    yes, no, mated = _histograms(pairs)
    rough = _curve(pairs, yes, no, set(), [[], []])
    at = [*(rough.threshold_at_fmr(far) for far in measurable(fars, pairs.nonmated)), rough.eer()[1]]
    # A threshold of the rough curve is a bin's lower edge: the exact one lies in the bin below, or the EER's in it.
    refine = {b for threshold in at for b in (_bin(threshold) - 1, _bin(threshold))}
    refine |= {_bin(threshold) for threshold in thresholds if -2 < threshold < 2}
    # So much of all pairs in one bin, as of a model that finds everybody alike, would be ties in the AUC.
    crowd = (yes / pairs.mated) * (no / pairs.nonmated)
    crowded = np.argsort(-crowd)[:_CROWDED]
    refine |= {int(b) for b in crowded[crowd[crowded] > 1e-6]}
    exact, others = _second_pass(pairs, refine, no, seed)
    return _result(pairs, _curve(pairs, yes, no, refine, exact), mated, others, fars, level, repeats, seed)


def _histograms(pairs: AllPairs) -> tuple[Counts, Counts, _Kept]:
    """Return how many mated and non-mated pairs are in each bin, and an even part of the mated ones."""
    yes, no = np.zeros(_LAST + 1, np.int64), np.zeros(_LAST + 1, np.int64)
    step = -(-pairs.mated // KEPT_MATED)
    kept = _Kept()
    seen = 0
    for start, block, mated in pairs.blocks():
        no += _binned(block)
        values = np.concatenate(mated)
        yes += _binned(values)
        people = np.repeat(pairs.owner[start : start + len(mated)], [len(some) for some in mated])
        some = slice(-seen % step, None, step)
        kept.add(values[some], people[some], people[some], step)
        seen += len(values)
    no[_bin(float(_NONE))] = 0
    yes[_bin(-1)] += pairs.mated_missing.sum()
    no[_bin(-1)] += pairs.nonmated_missing
    up_to = np.cumsum(pairs.mated_missing)
    rejected = np.searchsorted(up_to, np.arange(0, up_to[-1], step), side="right")
    kept.add(np.full(len(rejected), -1, np.float32), rejected, rejected, step)
    return yes, no, kept


def _binned(values: npt.NDArray[np.float32]) -> Counts:
    return np.bincount(_bins(values), minlength=_LAST + 1)


def _bins(values: npt.NDArray[np.float32]) -> Ints:
    scaled = values.ravel() * np.float32(_BINS)  # exact: a power of two
    np.floor(scaled, out=scaled)
    scaled += _ZERO
    bins: Ints = scaled.astype(np.intp)
    return bins


def _edge(b: int) -> float:
    return (b - _ZERO) / _BINS


def _bin(value: float) -> int:
    return int(np.floor(value * _BINS)) + _ZERO


def _second_pass(pairs: AllPairs, refine: set[int], no: Counts, seed: int) -> tuple[list[list[Found]], _Kept]:
    """Return every similarity there is in some bins, of mated and of non-mated pairs; and part of the non-mated ones.

    Of the non-mated pairs that are most alike all are kept, of the next as many every third, and so on: what a draw
    lets through is then known to about 0.3 %, at whatever rate.
    """
    exact: list[list[Found]] = [[], []]
    if _bin(-1) in refine:
        missing = int(pairs.mated_missing.sum()), pairs.nonmated_missing
        exact = [[(np.array([-1], np.float32), np.array([number]))] for number in missing]
    wanted = np.zeros(_LAST + 1, bool)
    wanted[list(refine)] = True
    kept = _Kept()
    rng = np.random.default_rng(seed)
    kept.add(*_not_compared(pairs, rng))
    strata = _strata(no)
    for start, block, mated in pairs.blocks():
        both = np.concatenate(mated), block.ravel()
        for values, found in zip(both, exact, strict=True):
            # A bin has few different float32 values, whatever the number of pairs: memory stays bounded.
            found.append(np.unique(values[wanted[_bins(values)]], return_counts=True))
        owner = pairs.owner[start:]
        for low, high, step in strata:
            offset = int(rng.integers(step))
            part = both[1][offset::step]
            at = np.flatnonzero((part >= low) & (part < high))
            i, j = np.divmod(at * step + offset, len(owner))
            kept.add(part[at], owner[i], owner[j], step)
    return exact, kept


def _strata(no: Counts) -> list[tuple[float, float, int]]:
    """Return ranges of similarity from the top down, and of how many non-mated pairs in each one is kept."""
    reaching = np.cumsum(no[::-1])[::-1]
    strata = []
    high, step = _LAST, 1
    while high > _BINS // 2:
        low = max(int(np.searchsorted(-reaching, -KEPT_STRATUM * step)), _BINS // 2)  # down to -1.5, above `_NONE`
        if low < high:
            strata.append((_edge(low), _edge(high), step + (step > 1)))  # odd: no column is preferred
        high, step = min(low, high), 2 * step
    return strata


def _not_compared(pairs: AllPairs, rng: np.random.Generator) -> tuple[Vectors, Ints, Ints, float]:
    """Return an even part of the non-mated pairs of which a photo has no embedding."""
    number = min(pairs.nonmated_missing, KEPT_STRATUM)
    there = np.zeros(len(pairs.person), bool)
    there[pairs.rows] = True
    without = np.flatnonzero(~there)
    drawn = np.empty((0, 2), np.intp)
    while len(drawn) < number:
        i, j = rng.choice(without, KEPT_STRATUM), rng.integers(0, len(there), KEPT_STRATUM)
        once = (pairs.person[i] != pairs.person[j]) & (there[j] | (i < j))
        drawn = np.concatenate([drawn, np.stack([i[once], j[once]], axis=1)])[:number]
    a, b = pairs.person[drawn].T
    return np.full(number, -1, np.float32), a, b, pairs.nonmated_missing / max(number, 1)


def _curve(pairs: AllPairs, yes: Counts, no: Counts, refined: set[int], exact: list[list[Found]]) -> ErrorCurve:
    """Return the curve through all bins' lower edges, and through every similarity in those that are known exactly."""
    used = np.flatnonzero(yes + no)
    bins = np.arange(used[0], used[-1] + 2)
    values = [np.concatenate([value for value, _ in found] or [np.empty(0, np.float32)]) for found in exact]
    counts = [np.concatenate([count for _, count in found] or [np.empty(0, np.int64)]) for found in exact]
    known, where = np.unique(np.concatenate(values), return_inverse=True)
    of_mated, of_others = (
        np.bincount(rows, count, len(known)).astype(np.int64)
        for rows, count in zip(np.split(where, [len(values[0])]), counts, strict=True)
    )
    rest = bins if not refined else bins[~np.isin(bins, list(refined)) & ((yes + no)[bins] > 0) | (bins == bins[-1])]
    thresholds = np.concatenate([(rest - _ZERO) / _BINS, known.astype(np.float64)])
    mated = np.concatenate([yes[rest], of_mated])
    others = np.concatenate([no[rest], of_others])
    order = np.argsort(thresholds)
    accepted = [np.cumsum(counts[order][::-1])[::-1] for counts in (mated, others)]
    return ErrorCurve(thresholds[order], accepted[0], accepted[1], pairs.mated, pairs.nonmated)


def _result(
    pairs: AllPairs,
    curve: ErrorCurve,
    mated: _Kept,
    others: _Kept,
    fars: Sequence[float],
    level: float,
    repeats: int,
    seed: int,
) -> VerificationResult:
    parts = [kept.arrays() for kept in (mated, others)]
    similarities, a, b, counts = (np.concatenate(both) for both in zip(*parts, strict=True))
    order = np.argsort(-similarities, kind="stable")
    is_mated = order < len(parts[0][0])
    similarities, a, b, counts = similarities[order].astype(np.float64), a[order], b[order], counts[order]
    weights = (
        np.where(is_mated, weight[a], weight[a] * weight[b])
        for weight in subject_draws(len(pairs.photos), repeats, seed)
    )
    draws = draw_rates(similarities, is_mated, counts, weights, curve, measurable(fars, curve.nonmated))
    return VerificationResult(
        curve.mated,
        curve.nonmated,
        len(pairs.photos),
        "subject bootstrap",
        None,
        curve,
        eer_estimate(curve, draws, level),
        curve.eer()[1],
        auc_estimate(curve, draws, level),
        rates_at(curve, fars, draws, lambda right, of, drawn: bootstrap_share(right, of, drawn, level)),
        (CONSTANT,) if similarities.min() == similarities.max() else (),
    )


class _Kept:
    """Similarities, the two subjects of each, and how many pairs each stands for."""

    def __init__(self) -> None:
        self._parts: list[tuple[npt.NDArray[Any], ...]] = []

    def add(self, similarities: Vectors, a: Ints, b: Ints, each: float) -> None:
        if len(similarities):
            self._parts.append((similarities, a, b, np.full(len(similarities), each)))

    def arrays(self) -> tuple[npt.NDArray[Any], ...]:
        return tuple(np.concatenate(arrays) for arrays in zip(*self._parts, strict=True))


def _mated(photos: Ints) -> Counts:
    """Return how many pairs of photos each person has."""
    each = photos.astype(np.int64)
    return each * (each - 1) // 2

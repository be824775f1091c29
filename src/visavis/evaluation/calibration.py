"""False match rates of a recognizer on all pairs of photos: the points of its calibration table, with intervals.

Every photo is compared with every other, in blocks: memory does not grow with the number of pairs. Thresholds are
exact. Intervals are percentiles of draws of subjects: one person is in many pairs, so pairs are not independent (Owen,
"The pigeonhole bootstrap", Annals of Applied Statistics, 2007).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.errors import InputError
from visavis.evaluation.all_pairs import AllPairs
from visavis.evaluation.intervals import bootstrap_interval, least_measurable, subject_draws

__all__ = ["LEAST_PEOPLE", "RATES", "Alike", "CalibrationPoint", "Measured", "measure"]

RATES = (
    0.9, 0.7, 0.5, 0.3, 0.2, 1e-1, 5e-2, 2e-2, 1e-2, 5e-3, 2e-3, 1e-3, 5e-4, 2e-4, 1e-4,
    5e-5, 2e-5, 1e-5, 5e-6, 2e-6, 1e-6,
)  # fmt: skip
"""False match rates of a table; those that the number of pairs can't show are left out."""

LEAST_PEOPLE = 10
"""Fewer people say nothing of anybody else."""

_BINS = 2**15  # in a similarity of 1
_CELLS = 4_000_000  # numbers of pairs of people held at once while intervals are drawn: 32 MB
_ALIKE = 200  # pairs of different people that are kept, the most similar
_CONSTANT = 1e-3  # similarities that differ by less than this tell nobody apart

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]
Block = tuple[int, npt.NDArray[np.float32], list[npt.NDArray[np.float32]]]


@dataclass(frozen=True)
class CalibrationPoint:
    """A threshold with what it lets through and refuses.

    Attributes
    ----------
    threshold
        Least similarity that no more than the share ``fmr`` of non-mated pairs reach.
    fmr, low, high
        That share, and its 95 % interval by draws of subjects.
    fnmr, fnmr_people
        Share of mated pairs that don't reach it; of all pairs, and the mean of people. None without mated pairs.
    """

    threshold: float
    fmr: float
    low: float
    high: float
    fnmr: float | None = None
    fnmr_people: float | None = None

    def to_dict(self) -> dict[str, float | None]:
        """Return it as plain values."""
        return dict(vars(self))


@dataclass(frozen=True)
class Alike:
    """Photos of different people, rows ``first`` and ``second``, and how similar they are."""

    first: int
    second: int
    similarity: float


@dataclass(frozen=True)
class Measured:
    """What all pairs of a data set say of a recognizer.

    Attributes
    ----------
    points
        From the loosest threshold to the strictest that the data can support.
    photos, people, mated_pairs, nonmated_pairs
        What stands behind them.
    alike
        The most similar non-mated pairs, falling.
    typical
        Median of people's mean similarity of mated pairs; None without mated pairs.
    """

    points: tuple[CalibrationPoint, ...]
    photos: int
    people: int
    mated_pairs: int
    nonmated_pairs: int
    alike: tuple[Alike, ...]
    typical: float | None

    def supports(self, fmr: float) -> bool:
        """Whether there are enough non-mated pairs for an FMR, were they independent: the rule of three."""
        return fmr >= least_measurable(self.nonmated_pairs) * (1 - 1e-9)

    @property
    def suspicious(self) -> tuple[Alike, ...]:
        """Non-mated pairs as similar as photos of one person usually are: wrong labels, copies, or relatives."""
        return tuple(pair for pair in self.alike if self.typical is not None and pair.similarity >= self.typical)


def measure(
    vectors: npt.NDArray[np.float32],
    subjects: npt.ArrayLike,
    *,
    rates: Sequence[float] = RATES,
    excluded: npt.ArrayLike | None = None,
    repeats: int = 400,
    seed: int = 2026,
    say: Callable[[str], None] | None = None,
) -> Measured:
    """Measure false match rates on all non-mated pairs.

    Parameters
    ----------
    vectors
        Unit embeddings ``(n, d)`` of n photos.
    subjects
        ``(n,)``: numbers, from 0 on, of the people.
    rates
        False match rates to find thresholds for, falling.
    excluded
        ``(e, 2)``: rows of pairs to leave out, as their label is known to be wrong.
    repeats, seed
        Of the draws of subjects.
    say
        Called with what is under way.

    Raises
    ------
    InputError
        If shapes don't fit, vectors are not of unit length or all alike, or there are fewer than `LEAST_PEOPLE` people.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> people = np.repeat(np.arange(60), 4)
    >>> raw = rng.normal(size=(60, 64))[people] + 0.7 * rng.normal(size=(240, 64))
    >>> unit = (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)
    >>> found = measure(unit, people, rates=(1e-1, 1e-2, 1e-3, 1e-6), repeats=50)
    >>> found.nonmated_pairs, [(point.fmr, round(point.threshold, 2)) for point in found.points]
    (28320, [(0.1, 0.16), (0.01, 0.29), (0.001, 0.38)])
    """
    say = say or (lambda _: None)
    pairs = _Compared(vectors, subjects, excluded)
    people = len(np.unique(pairs.all.owner))
    if people < LEAST_PEOPLE:
        raise InputError(
            f"photos of {people} people are too few to say anything of others; at least {LEAST_PEOPLE} are needed"
        )
    say("comparing all pairs")
    counts, lowest, highest = _histogram(pairs)
    total = int(counts.sum())
    if highest - lowest < _CONSTANT:
        raise InputError(
            f"all similarities of different people lie between {lowest:.4f} and {highest:.4f}: such embeddings tell "
            "nobody apart"
        )
    wanted = [rate for rate in rates if rate >= least_measurable(total) * (1 - 1e-9)]
    say("finding thresholds")
    at = _thresholds(pairs, counts, wanted)
    # Of rates that ties give one threshold, the strictest holds.
    kept = [k for k in range(len(at)) if k + 1 == len(at) or at[k] < at[k + 1]]
    if len(kept) < 2:
        raise InputError(f"{total:,} pairs of different people, many of them equal, give no two thresholds")
    at, wanted = at[kept], [wanted[k] for k in kept]
    say("drawing people for intervals")
    low, high, missed, sums = _second_pass(pairs, at, repeats, seed)
    mated = missed.sum(axis=1)
    several = mated > 0
    points = []
    for k, (threshold, rate) in enumerate(zip(at.tolist(), wanted, strict=True)):
        below = missed[:, : k + 1].sum(axis=1)
        shares: tuple[float, float] | tuple[None, None] = (None, None)
        if several.any():
            shares = float(below.sum() / mated.sum()), float((below[several] / mated[several]).mean())
        points.append(CalibrationPoint(threshold, rate, min(low[k], rate), max(high[k], rate), *shares))
    return Measured(
        points=tuple(points),
        photos=len(pairs.all.rows),
        people=people,
        mated_pairs=int(mated.sum()),
        nonmated_pairs=total,
        alike=_most_alike(pairs, float(at[-1])),
        typical=float(np.median(sums[several] / mated[several])) if several.any() else None,
    )


class _Compared:
    """All pairs but those excluded."""

    def __init__(
        self, vectors: npt.NDArray[np.float32], subjects: npt.ArrayLike, excluded: npt.ArrayLike | None
    ) -> None:
        self.all = AllPairs(np.asarray(vectors, np.float32), subjects)
        position = np.empty(len(self.all.rows), np.intp)
        position[self.all.rows] = np.arange(len(position))
        given = np.asarray([] if excluded is None else excluded, np.intp).reshape(-1, 2)
        self._left_out = np.sort(position[given], axis=1)

    def blocks(self) -> Iterator[Block]:
        """Yield as `AllPairs.blocks`; what is excluded is -2, in the block and among the mated."""
        for start, block, mated in self.all.blocks():
            inside = self._left_out[:, 0] - start
            for i, j in self._left_out[(inside >= 0) & (inside < len(block))] - start:
                block[i, j] = -2
                if j - i - 1 < len(mated[i]):
                    mated[i][j - i - 1] = -2
            yield start, block, mated


def _histogram(pairs: _Compared) -> tuple[npt.NDArray[np.int64], float, float]:
    """Return how many non-mated pairs are in each bin, and the least and greatest similarity."""
    counts = np.zeros(2 * _BINS + 1, np.int64)
    lowest, highest = np.inf, -np.inf
    for _, block, _ in pairs.blocks():
        values = block[block > -1.5]
        if len(values):
            counts += np.bincount(_bin(values), minlength=len(counts))
            lowest, highest = min(lowest, float(values.min())), max(highest, float(values.max()))
    return counts, lowest, highest


def _bin(values: npt.NDArray[np.float32]) -> Ints:
    bins: Ints = (np.clip(values, -1, 1) * np.float32(_BINS) + _BINS).astype(np.intp)
    return bins


def _thresholds(pairs: _Compared, counts: npt.NDArray[np.int64], rates: Sequence[float]) -> Floats:
    """Return for each rate the least similarity that no more than that share of pairs reach."""
    above = np.cumsum(counts[::-1])[::-1]  # pairs in this bin and those above
    allowed = [int(rate * above[0] + 1e-9) for rate in rates]
    # The bin in which the first pair lies that must not match.
    bins = [int(np.flatnonzero(above > number)[-1]) for number in allowed]
    wanted = np.zeros(len(counts), bool)
    wanted[bins] = True
    held: dict[int, list[tuple[npt.NDArray[Any], npt.NDArray[Any]]]] = {b: [] for b in bins}
    for _, block, _ in pairs.blocks():
        values = block[block > -1.5]
        found = _bin(values)
        looked = wanted[found]
        values, found = values[looked], found[looked]
        for b in np.unique(found).tolist():
            # A bin has few different numbers, however many pairs: memory stays bounded.
            held[b].append(np.unique(values[found == b], return_counts=True))
    out = []
    for number, b in zip(allowed, bins, strict=True):
        values, times = (np.concatenate(parts) for parts in zip(*held[b], strict=True))
        order = np.argsort(-values, kind="stable")
        before = int(above[b + 1]) if b + 1 < len(above) else 0
        first = order[int(np.searchsorted(np.cumsum(times[order]), number - before, side="right"))]
        # Just above the first pair that must not match, so that ties at it are refused.
        out.append(float(np.nextafter(values[first], np.float32(2))))
    return np.array(out)


def _second_pass(
    pairs: _Compared, at: Floats, repeats: int, seed: int
) -> tuple[Floats, Floats, npt.NDArray[np.int64], Floats]:
    """Return the interval of each threshold's FMR, and of mated pairs each person's number at every level and sum."""
    people, levels = len(pairs.all.photos), len(at) + 1
    draws = np.array(list(subject_draws(people, repeats, seed)), np.float32)
    weights = np.zeros((levels, repeats))
    missed = np.zeros(people * levels, np.int64)
    sums = np.zeros(people)
    owner = pairs.all.owner
    for start, block, mated in pairs.blocks():
        own = np.repeat(owner[start : start + len(mated)], [len(values) for values in mated])
        yes = np.concatenate(mated)
        own, yes = own[yes > -1.5], yes[yes > -1.5]
        missed += np.bincount(own * levels + np.searchsorted(at, yes, side="right"), minlength=len(missed))
        sums += np.bincount(own, weights=yes, minlength=people)
        for first, last in _runs(owner[start : start + len(block)], max(_CELLS // (people * levels), 1)):
            part = block[first:last]
            i, j = np.nonzero(part > -1.5)
            near = owner[start + first + i] - owner[start + first]
            rows = int(owner[start + last - 1] - owner[start + first]) + 1
            level = np.searchsorted(at, part[i, j], side="right")  # how many thresholds the pair reaches
            cells = np.bincount(
                (level * rows + near) * people + owner[start + j], minlength=levels * rows * people
            ).reshape(levels, rows, people)
            here = draws[:, owner[start + first] : owner[start + last - 1] + 1]
            for k in range(levels):
                weights[k] += ((here @ cells[k].astype(np.float32)) * draws).sum(axis=1, dtype=np.float64)
    reached = np.cumsum(weights[::-1], axis=0)[::-1]  # pairs that reach at least so many thresholds
    with np.errstate(invalid="ignore"):
        rates = reached[1:] / reached[0]
    low, high = np.array([bootstrap_interval(row) for row in rates]).T
    return low, high, missed.reshape(people, levels), sums


def _runs(owner: Ints, most: int) -> Iterator[tuple[int, int]]:
    """Yield parts of rows, sorted by owner, in which no more than ``most`` owners follow each other."""
    start = 0
    while start < len(owner):
        end = int(np.searchsorted(owner, owner[start] + most))
        yield start, end
        start = end


def _most_alike(pairs: _Compared, strictest: float) -> tuple[Alike, ...]:
    rows = pairs.all.rows
    kept: list[tuple[float, int, int]] = []
    floor = min(strictest, 0.99)
    for start, block, _ in pairs.blocks():
        i, j = np.nonzero(block >= floor)
        values = block[i, j]
        best = np.argsort(-values, kind="stable")[:_ALIKE]
        first, second = rows[start + i[best]].tolist(), rows[start + j[best]].tolist()
        kept += zip(values[best].tolist(), first, second, strict=True)
        kept = sorted(kept, key=lambda pair: -pair[0])[:_ALIKE]
        floor = max(floor, kept[-1][0]) if len(kept) == _ALIKE else floor
    return tuple(Alike(min(a, b), max(a, b), value) for value, a, b in kept)

"""Error rates of groups at one global threshold: within each, between each two, and how far the worst lies off.

A group is whatever a label says: sex, age band, ethnicity of a subject; camera or lighting of a photo. A pair belongs
to the groups of its two sides, so that rates between groups come beside those within them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.errors import InputError
from visavis.evaluation.all_pairs import AllPairs, reaching
from visavis.evaluation.group_rates import Differential, GroupRates, GroupResult
from visavis.evaluation.intervals import Estimate, bootstrap_share, exact_share, subject_draws
from visavis.evaluation.rates import Scores

__all__ = ["evaluate_groups", "evaluate_groups_of_all", "numbered"]

_MAX_GROUPS = 50

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[Any]
Ints = npt.NDArray[np.integer[Any]]
Mask = npt.NDArray[np.bool_]


def numbered(labels: npt.ArrayLike) -> tuple[npt.NDArray[np.intp], tuple[str, ...]]:
    """Return labels as numbers, -1 for an empty one, and the names of the groups.

    Raises
    ------
    InputError
        If no label is given, or there are more than 50 groups: values such as ages must be put into bands.

    Examples
    --------
    >>> codes, names = numbered([["f", "m"], ["", "f"]])
    >>> codes.tolist(), names
    ([[0, 1], [-1, 0]], ('f', 'm'))
    """
    texts = np.asarray(labels, np.str_)
    names, codes = np.unique(texts, return_inverse=True)
    codes = codes.reshape(texts.shape)
    if len(names) and not names[0]:
        names, codes = names[1:], codes - 1
    if not len(names):
        raise InputError("nothing that was measured has a label")
    if len(names) > _MAX_GROUPS:
        raise InputError(f"there are {len(names)} groups; {_MAX_GROUPS} can be compared: put values into bands")
    return codes, tuple(map(str, names))


def evaluate_groups(
    scores: Scores,
    groups: npt.ArrayLike,
    names: Sequence[str],
    threshold: float,
    *,
    label: str = "group",
    level: float = 0.95,
    repeats: int = 400,
    seed: int = 2026,
) -> GroupResult:
    """Measure the error rates of groups on pairs.

    Parameters
    ----------
    groups
        ``(p, 2)``: the group of each side, a row of ``names``; -1 for an unknown one, whose pairs are left out.
    threshold
        Similarity from which a pair is accepted, in all groups.
    label
        What makes the groups.
    level, repeats, seed
        Of the intervals: exact where no subject is in two pairs or subjects are not known, else a bootstrap over
        subjects.

    Raises
    ------
    InputError
        If shapes don't fit, the threshold is no number, or no pair has groups on both sides.

    Examples
    --------
    >>> scores = Scores([0.9, 0.4, 0.8, 0.1, 0.6, 0.2], [True, True, True, False, False, False])
    >>> groups = [[0, 0], [0, 0], [1, 1], [0, 0], [1, 1], [0, 1]]
    >>> result = evaluate_groups(scores, groups, ["f", "m"], 0.5, label="sex")
    >>> [(rates.name, rates.fnmr.value, rates.fmr.value) for rates in result.within]
    [('f', 0.5, 0.0), ('m', 0.0, 1.0)]
    """
    codes = np.asarray(groups)
    if codes.shape != (len(scores), 2) or not np.issubdtype(codes.dtype, np.integer):
        raise InputError(f"{len(scores)} pairs need two groups each, numbered, not {codes.dtype} {codes.shape}")
    if codes.size and not -1 <= codes.min() <= codes.max() < len(names):
        raise InputError(f"groups are numbered -1 to {len(names) - 1}, not up to {codes.max()}")
    known = (codes >= 0).all(axis=1)
    cell = _cell(codes[known, 0], codes[known, 1], len(names))
    mated = scores.mated[known]
    wrong = (scores.similarities[known] >= threshold) != mated
    people = None if scores.independent or scores.subjects is None else scores.subjects[known]
    drawn = None
    if people is not None:
        there, coded = np.unique(people, return_inverse=True)
        a, b = coded.reshape(people.shape).T
        drawn = [
            _Drawn.count(cell, np.where(mated, w[a], w[a] * w[b]), mated, wrong, len(names))
            for w in subject_draws(max(len(there), 1), repeats, seed)
        ]
    counted = _Drawn.count(cell, np.ones(len(cell), np.int64), mated, wrong, len(names))
    return _result(counted, drawn, names, threshold, label, int((~known).sum()), level, repeats, seed)


def evaluate_groups_of_all(
    vectors: npt.NDArray[np.float32],
    subjects: npt.ArrayLike,
    groups: npt.ArrayLike,
    names: Sequence[str],
    threshold: float,
    *,
    found: Mask | None = None,
    label: str = "group",
    level: float = 0.95,
    repeats: int = 400,
    seed: int = 2026,
) -> GroupResult:
    """Measure the error rates of groups on all pairs of photos, in memory that grows with the pairs accepted.

    Parameters
    ----------
    vectors, subjects, found
        As in `visavis.evaluation.all_pairs.evaluate_all_pairs`.
    groups
        ``(n,)``: the group of each photo, a row of ``names``; -1 for an unknown one.

    Raises
    ------
    InputError
        If shapes don't fit, or the threshold accepts more than 30 million non-mated pairs.
    """
    codes, (_, person) = np.asarray(groups, np.intp), np.unique(np.asarray(subjects), return_inverse=True)
    if codes.shape != (len(vectors),) or (codes.size and not -1 <= codes.min() <= codes.max() < len(names)):
        raise InputError(f"{len(vectors)} photos need a group each, numbered -1 to {len(names) - 1}")
    known = np.flatnonzero(codes >= 0)
    pairs = AllPairs(vectors[known], person[known], None if found is None else found[known])
    n, g = len(pairs.photos), len(names)
    each = np.zeros((n, g), np.int64)  # photos of a subject in a group
    np.add.at(each, (pairs.person, codes[known]), 1)
    group = codes[known][pairs.rows]
    matched, accepted = _Sparse(), _Sparse()
    least = reaching(threshold)
    for start, block, mated in pairs.blocks():
        i, j = np.nonzero(block >= least)
        accepted.add(_cell(group[start + i], group[start + j], g), pairs.owner[start + i], pairs.owner[start + j])
        rows = np.repeat(np.arange(len(mated)), [len(some) for some in mated]) + start
        later = rows + 1 + np.concatenate([np.arange(len(some)) for some in mated])
        over = np.concatenate(mated) >= least
        owner = pairs.owner[rows[over]]
        matched.add(_cell(group[rows[over]], group[later[over]], g), owner, owner)
    accepted_pairs, matched_pairs = accepted.unique(n), matched.unique(n)

    def measured(weight: Counts) -> _Drawn:
        mated, nonmated = _totals(each, weight)
        cell, a, b, count = accepted_pairs
        false = np.bincount(cell, weight[a] * weight[b] * count, g * g)
        cell, a, _, count = matched_pairs
        return _Drawn(mated, mated - np.bincount(cell, weight[a] * count, g * g), nonmated, false)

    drawn = [measured(weight) for weight in subject_draws(max(n, 1), repeats, seed)]
    total = len(vectors) * (len(vectors) - 1) // 2
    left_out = total - len(known) * (len(known) - 1) // 2
    return _result(measured(np.ones(n, np.int64)), drawn, names, threshold, label, left_out, level, repeats, seed)


class _Sparse:
    """Counts pairs of subjects in cells."""

    _LIMIT = 30_000_000

    def __init__(self) -> None:
        self._parts: list[tuple[npt.NDArray[np.intp], ...]] = []
        self._held = 0

    def add(self, cell: npt.NDArray[np.intp], a: npt.NDArray[np.intp], b: npt.NDArray[np.intp]) -> None:
        self._held += len(cell)
        if self._held > self._LIMIT:
            raise InputError(f"the threshold accepts more than {self._LIMIT:,} pairs; take a higher one")
        self._parts.append((cell, a, b))

    def unique(self, people: int) -> tuple[npt.NDArray[np.intp], ...]:
        if not self._parts:
            return (np.empty(0, np.intp),) * 4
        cell, a, b = (np.concatenate(parts) for parts in zip(*self._parts, strict=True))
        self._parts.clear()
        codes, counts = np.unique((cell * people + a) * people + b, return_counts=True)
        rest, b = np.divmod(codes, people)
        return *np.divmod(rest, people), b, counts


def _totals(each: Counts, weight: Counts) -> tuple[Floats, Floats]:
    """Return how many mated and non-mated pairs each cell has where subject i counts ``weight[i]`` times."""
    weighed = each * weight[:, None]
    own = weighed.T @ each  # pairs of photos of one person, each twice, and those of a photo with itself
    mated = own - np.diag(weighed.sum(axis=0))
    everyone = weighed.sum(axis=0)
    nonmated = np.outer(everyone, everyone) - weighed.T @ weighed
    once = np.triu(np.full(own.shape, 1.0), 1) + np.diag(np.full(len(own), 0.5))
    return (mated * once).ravel(), (nonmated * once).ravel()


@dataclass(frozen=True, eq=False)
class _Drawn:
    """Pairs and errors in each cell, ``(g * g,)``: cell a * g + b holds pairs of the groups a <= b."""

    mated: Numbers
    rejected: Numbers
    nonmated: Numbers
    accepted: Numbers

    @classmethod
    def count(cls, cell: npt.NDArray[np.intp], weights: Counts, mated: Mask, wrong: Mask, groups: int) -> _Drawn:
        kinds = (mated, mated & wrong, ~mated, ~mated & wrong)
        return cls(*(np.bincount(cell, weights * kind, groups * groups) for kind in kinds))


def _cell(a: Ints, b: Ints, groups: int) -> npt.NDArray[np.intp]:
    return (np.minimum(a, b) * groups + np.maximum(a, b)).astype(np.intp)


def _result(
    counted: _Drawn,
    drawn: Sequence[_Drawn] | None,
    names: Sequence[str],
    threshold: float,
    label: str,
    unlabeled: int,
    level: float,
    repeats: int,
    seed: int,
) -> GroupResult:
    if not math.isfinite(threshold):
        raise InputError(f"the threshold must be a number, not {threshold}")
    if not (counted.mated.any() or counted.nonmated.any()):
        raise InputError(f"no pair has a {label} on both sides")
    kinds = (("rejected", "mated"), ("accepted", "nonmated"))
    shares: list[Floats] = []  # (draws, cells) of both rates
    rng = np.random.default_rng(seed)
    for errors, pairs in kinds:
        k, n = getattr(counted, errors), getattr(counted, pairs)
        with np.errstate(invalid="ignore"):
            if drawn is None:
                chance = np.divide(k, n, out=np.zeros_like(n), where=n > 0)
                shares.append(rng.binomial(n.astype(np.int64), chance, (repeats, len(n))) / n)
            else:
                shares.append(np.array([getattr(one, errors) / getattr(one, pairs) for one in drawn]))

    def estimate(cell: int, kind: int) -> Estimate | None:
        k, n = (int(getattr(counted, field)[cell]) for field in kinds[kind])
        if not n:
            return None
        return exact_share(k, n, level) if drawn is None else bootstrap_share(k, n, shares[kind][:, cell], level)

    within, between = [], []
    for a, b in combinations_with_replacement(range(len(names)), 2):
        cell = a * len(names) + b
        mated, nonmated = int(counted.mated[cell]), int(counted.nonmated[cell])
        rates = GroupRates(names[a], names[b], mated, nonmated, estimate(cell, 0), estimate(cell, 1))
        if a == b:
            within.append(rates)
        elif mated or nonmated:
            between.append(rates)
    own = np.arange(len(names)) * (len(names) + 1)
    return GroupResult(
        label,
        float(threshold),
        tuple(within),
        tuple(between),
        _differential([rates.fmr for rates in within], names, shares[1][:, own], level),
        _differential([rates.fnmr for rates in within], names, shares[0][:, own], level),
        unlabeled,
        "exact binomial" if drawn is None else "subject bootstrap",
    )


def _differential(
    rates: Sequence[Estimate | None], names: Sequence[str], drawn: Floats, level: float
) -> Differential | None:
    there = [i for i, rate in enumerate(rates) if rate is not None]
    values = np.array([rate.value for rate in rates if rate is not None])
    if len(there) < 2 or not values.any():
        return None
    worst, best = int(values.argmax()), int(values.argmin())
    shares = drawn[:, there]
    shares = shares[~np.isnan(shares).any(axis=1)]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = shares[:, worst] / shares[:, best]
    ratios = np.sort(ratios[~np.isnan(ratios)])  # infinite ones last
    if not len(ratios):
        return None
    tail = (1 - level) / 2
    low, high = ratios[int(tail * (len(ratios) - 1))], ratios[math.ceil((1 - tail) * (len(ratios) - 1))]
    highest, lowest = rates[there[worst]], rates[there[best]]
    assert highest is not None
    assert lowest is not None
    measured = bool(values.all())
    return Differential(
        names[there[worst]],
        names[there[best]],
        float(values[worst] / values[best]) if measured else None,
        float(low) if np.isfinite(low) else highest.low / lowest.high,
        float(high) if measured and np.isfinite(high) else None,
        float(values[worst] / np.exp(np.log(values).mean())) if measured else None,
    )

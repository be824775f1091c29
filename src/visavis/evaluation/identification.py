"""Identification rates: at what rank is the right subject, and how often is a stranger given a name.

Closed set: every probe's subject is enrolled, and counted is the rank at which it comes (CMC, rank-k). Open set: some
probes are of people who are not enrolled, and should reach nobody. FPIR is the share of those non-mated probes that
reach a threshold with any subject, FNIR the share of mated probes whose own subject does not, and TPIR is 1 - FNIR
(ISO/IEC 19795-1, candidate lists of any length). DIR, the detection and identification rate, also wants the right
subject to come first (Phillips, Grother and Micheals, "Evaluation methods in face recognition", Handbook of Face
Recognition, 2011).

A probe without an embedding, for want of a face, counts: it reaches nobody and its own subject comes at no rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.errors import InputError
from visavis.evaluation.curves import ErrorCurve
from visavis.evaluation.intervals import Estimate, bootstrap_interval, exact_binomial, least_measurable, subject_draws
from visavis.evaluation.searching import Search

__all__ = ["FPIRS", "RANKS", "ClosedSet", "OpenSet", "OperatingPoint", "closed_set", "open_set", "rates_at", "share"]

FPIRS = (0.1, 0.01, 0.001)
"""False positive identification rates that are looked at where none are named."""
RANKS = (1, 5, 10)
"""Ranks that are stated beside the whole curve."""

_TOP = 100  # ranks of a curve
_POINTS = 512  # of the curves over thresholds
_REPEATS = 400  # bootstrap draws

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ClosedSet:
    """At which rank the right subjects came.

    Attributes
    ----------
    gallery, probes, people
        How many subjects are enrolled; how many mated probes there are, and of how many people.
    cmc
        Float64 ``(k,)``, the cumulative match characteristic: the share of mated probes whose subject came at rank
        1, at 2 or before, ...
    low, high
        ``(k,)``: where it may truly lie, at the confidence ``level``.
    """

    gallery: int
    probes: int
    people: int
    cmc: Floats
    low: Floats
    high: Floats
    level: float = 0.95

    def rank(self, k: int) -> Estimate:
        """Return the share of mated probes whose subject came among the first k; all, where fewer are enrolled."""
        if k < 1:
            raise InputError(f"ranks begin at 1, not {k}")
        i = min(k, len(self.cmc)) - 1
        if k > len(self.cmc) and self.gallery > len(self.cmc):
            raise InputError(f"the curve was kept up to rank {len(self.cmc)}, not {k}")
        return Estimate(float(self.cmc[i]), float(self.low[i]), float(self.high[i]), self.level)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        stated = [k for k in RANKS if k <= len(self.cmc) or self.gallery == len(self.cmc)]
        return {
            "gallery": self.gallery,
            "probes": self.probes,
            "people": self.people,
            **{f"rank{k}": self.rank(k).to_dict() for k in stated},
            "cmc": self.cmc.tolist(),
        }


@dataclass(frozen=True)
class OperatingPoint:
    """The rates at the threshold that lets through no more than the wanted share of non-mated probes.

    Attributes
    ----------
    wanted
        The FPIR asked for.
    threshold
        The least similarity that occurs at which no more than that share of the non-mated probes reach anybody.
    fpir
        The share of them that do.
    tpir
        The share of mated probes whose own subject reaches the threshold, at whatever rank: 1 - FNIR.
    dir
        The share whose own subject reaches it and comes first.
    supported
        Whether there are enough non-mated probes to speak of that FPIR, by the rule of three; if not, the rates hold at
        an FPIR that may be higher than the one asked for.
    """

    wanted: float
    threshold: float
    fpir: Estimate
    tpir: Estimate
    dir: Estimate
    supported: bool

    @property
    def fnir(self) -> Estimate:
        """The share of mated probes whose own subject does not reach the threshold."""
        return Estimate(1 - self.tpir.value, 1 - self.tpir.high, 1 - self.tpir.low, self.tpir.level)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "wanted_fpir": self.wanted,
            "threshold": self.threshold,
            "supported": self.supported,
            **{name: getattr(self, name).to_dict() for name in ("fpir", "tpir", "fnir", "dir")},
        }


@dataclass(frozen=True, eq=False)
class OpenSet:
    """How often strangers reach somebody, and how often those enrolled are found.

    Attributes
    ----------
    gallery, mated, nonmated
        How many subjects are enrolled, and how many probes are of them and of others.
    points
        One for each FPIR that was asked for.
    thresholds, fpir, fnir
        Float64 ``(n,)``, rising thresholds and the rates at each.
    """

    gallery: int
    mated: int
    nonmated: int
    points: tuple[OperatingPoint, ...]
    thresholds: Floats
    fpir: Floats
    fnir: Floats

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "gallery": self.gallery,
            "mated": self.mated,
            "nonmated": self.nonmated,
            "points": [point.to_dict() for point in self.points],
            "curve": {name: getattr(self, name).tolist() for name in ("thresholds", "fpir", "fnir")},
        }


def share(hits: npt.NDArray[np.bool_], subjects: npt.ArrayLike, level: float = 0.95) -> Estimate:
    """Return the share of probes that are hits.

    The interval is exact binomial where every probe is of another person. Where people recur it is a bootstrap over
    them, never narrower than the exact one: a draw can't show what no probe does.

    Parameters
    ----------
    hits, subjects
        ``(p,)``: whether each probe is one, and its person's number.

    Examples
    --------
    >>> found = share(np.array([True] * 99 + [False]), np.arange(100))
    >>> found.value, round(found.low, 4), round(found.high, 4)
    (0.99, 0.9455, 0.9997)
    """
    person = np.asarray(subjects)
    if hits.ndim != 1 or hits.dtype != bool or person.shape != hits.shape or not len(hits):
        raise InputError(f"a share needs probes, with a subject each, not {hits.dtype} {hits.shape} and {person.shape}")
    low, high = _intervals(hits[:, None], person, level)
    return Estimate(float(hits.mean()), float(low[0]), float(high[0]), level)


def closed_set(
    ranks: npt.ArrayLike, subjects: npt.ArrayLike, gallery: int, *, top: int = _TOP, level: float = 0.95
) -> ClosedSet:
    """Return the cumulative match characteristic of mated probes.

    Parameters
    ----------
    ranks, subjects
        ``(p,)``: at which rank the own subject came, from 1, and the number of the probe's person. Probes of rank 0,
        whose subject is not enrolled, are left out; rank ``gallery`` + 1 stands for never. A `Search` has both,
        `DistractorRanks` for each of its sizes.
    gallery
        How many subjects are enrolled, or how many candidates there are.
    top
        Up to which rank the curve is kept.

    Raises
    ------
    InputError
        If the lengths differ, no probe is mated, or a rank is not in 0..gallery + 1.

    Examples
    --------
    >>> found = closed_set([1, 1, 3, 0], [0, 1, 2, 3], gallery=3)
    >>> found.probes, found.cmc.round(3).tolist()
    (3, [0.667, 0.667, 1.0])
    """
    rank, person = np.asarray(ranks), np.asarray(subjects)
    if rank.ndim != 1 or rank.dtype.kind not in "iu" or rank.shape != person.shape:
        raise InputError(f"probes need a rank and a subject each, not {rank.dtype} {rank.shape} and {person.shape}")
    rank, person = rank[rank != 0], person[rank != 0]
    if not len(rank):
        raise InputError("no probe is mated: no probe's subject is enrolled, so there is no rank to count")
    if rank.min() < 0 or rank.max() > gallery + 1 or top < 1:
        raise InputError(f"ranks lie in 1..{gallery}, how many are enrolled, not {rank.min()}..{rank.max()}")
    hits = rank[:, None] <= np.arange(1, min(gallery, top) + 1)
    low, high = _intervals(hits, person, level)
    return ClosedSet(gallery, len(rank), len(np.unique(person)), hits.mean(axis=0), low, high, level)


def rates_at(searched: Search, thresholds: npt.ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Return FPIR, FNIR and DIR at thresholds ``(t,)``; NaN where there are no probes of the kind.

    Examples
    --------
    >>> from visavis.evaluation.searching import search
    >>> probes = np.array([[0.8, 0.6], [0.6, 0.8], [0, 1]], np.float32)
    >>> found = search(probes, ["ada", "ada", "eve"], np.eye(2, dtype=np.float32), ["ada", "bob"])
    >>> [rates.tolist() for rates in rates_at(found, [0.5, 0.7])]
    [[1.0, 1.0], [0.0, 0.5], [0.5, 0.5]]
    """
    at = np.asarray(thresholds, np.float64)
    mated = searched.mated
    own, first = searched.own[mated].astype(np.float64), searched.ranks[mated] == 1
    return (
        _reaching(searched.best[~mated].astype(np.float64), at),
        1 - _reaching(own, at),
        _reaching(np.where(first, own, -np.inf), at),
    )


def open_set(
    searched: Search,
    fpirs: Sequence[float] = FPIRS,
    *,
    level: float = 0.95,
    repeats: int = _REPEATS,
    seed: int = 2026,
) -> OpenSet:
    """Return the rates at thresholds for wanted FPIRs, and the curves.

    The intervals of TPIR, FNIR and DIR are a bootstrap over people, enrolled ones and strangers, in which the threshold
    is found anew each time: they cover where the threshold falls too. None is narrower than the exact one.

    Parameters
    ----------
    fpirs
        Shares of the non-mated probes that may reach somebody, 0..1.
    repeats, seed
        How many bootstrap draws, and of which random numbers.

    Raises
    ------
    InputError
        If there are no mated or no non-mated probes, or an FPIR is not in 0..1.
    """
    mated = searched.mated
    if mated.all() or not mated.any():
        missing = "of people who are not enrolled" if mated.any() else "of people who are enrolled"
        raise InputError(f"open-set rates need probes {missing}, and there are none")
    for fpir in fpirs:
        if not 0 <= fpir < 1:
            raise InputError(f"an FPIR lies in 0..1, not {fpir}")
    strangers, whose = searched.best[~mated].astype(np.float64), searched.subjects[~mated]
    own, person = searched.own[mated].astype(np.float64), searched.subjects[mated]
    first = searched.ranks[mated] == 1
    curve = ErrorCurve.of(own, strangers)  # of one pair a probe: its own subject, or whom it is most like
    drawn = _drawn(strangers, whose, own, first, person, fpirs, repeats, seed)
    points = []
    for i, fpir in enumerate(fpirs):
        threshold = curve.threshold_at_fmr(fpir)
        tpir, best = share(own >= threshold, person, level), share((own >= threshold) & first, person, level)
        points.append(
            OperatingPoint(
                fpir,
                threshold,
                share(strangers >= threshold, whose, level),
                _widened(tpir, drawn[:, 0, i]),
                _widened(best, drawn[:, 1, i]),
                supported=fpir >= least_measurable(len(strangers)) * (1 - 1e-9),
            )
        )
    shown = curve.thinned(_POINTS)
    return OpenSet(searched.size, curve.mated, curve.nonmated, tuple(points), shown.thresholds, shown.fmr, shown.fnmr)


def _reaching(values: Floats, thresholds: Floats) -> Floats:
    if not len(values):
        return np.full(len(thresholds), np.nan)
    return (len(values) - np.searchsorted(np.sort(values), thresholds)) / len(values)


def _widened(estimate: Estimate, drawn: Floats) -> Estimate:
    low, high = bootstrap_interval(drawn, estimate.level)
    return Estimate(estimate.value, min(low, estimate.low), max(high, estimate.high), estimate.level)


def _intervals(hits: npt.NDArray[np.bool_], subjects: npt.NDArray[Any], level: float) -> tuple[Floats, Floats]:
    """Return where the share of each column of hits ``(p, k)`` may lie."""
    trials = len(hits)
    exact = {n: exact_binomial(n, trials, level) for n in np.unique(hits.sum(axis=0)).tolist()}
    low, high = np.array([exact[n] for n in hits.sum(axis=0).tolist()]).T
    _, person = np.unique(subjects, return_inverse=True)
    people = int(person.max()) + 1
    if people in (trials, 1):  # one person alone says nothing of others: that is for the caller to see in the counts
        return low, high
    counts = np.bincount(person)
    sums = np.stack([np.bincount(person, weights=column, minlength=people) for column in hits.T], axis=1)
    weights = np.stack(list(subject_draws(people, _REPEATS))).astype(np.float64)
    rates = (weights @ sums) / (weights @ counts)[:, None]
    tail = 50 * (1 - level)
    below, above = np.percentile(rates, [tail, 100 - tail], axis=0)
    return np.minimum(low, below), np.maximum(high, above)


def _drawn(
    strangers: Floats,
    whose: npt.NDArray[np.intp],
    own: Floats,
    first: npt.NDArray[np.bool_],
    person: npt.NDArray[np.intp],
    fpirs: Sequence[float],
    repeats: int,
    seed: int,
) -> Floats:
    """Return TPIR and DIR of bootstrap draws, ``(repeats, 2, fpirs)``, each at thresholds of its own."""
    falling = np.argsort(-strangers, kind="stable")
    order = np.argsort(-own, kind="stable")
    best, similar, first = strangers[falling], own[order], first[order]
    stranger = np.unique(whose, return_inverse=True)[1][falling]
    known = np.unique(person, return_inverse=True)[1][order]
    # Two streams of draws; the second seed must differ, or equally many people would be drawn alike.
    draws = zip(
        subject_draws(int(stranger.max()) + 1, repeats, seed),
        subject_draws(int(known.max()) + 1, repeats, seed + 1),
        strict=True,
    )
    rates = np.empty((repeats, 2, len(fpirs)))
    for row, (strange_weights, known_weights) in zip(rates, draws, strict=True):
        reached = np.cumsum(strange_weights[stranger])
        allowed = np.floor(np.asarray(fpirs) * reached[-1] + 1e-9)
        at = best[np.searchsorted(reached, allowed, side="right")]  # the first that must not be accepted
        weights = known_weights[known]
        accepted = np.searchsorted(-similar, -at, side="left")  # those above it
        for kind, weighted in enumerate((weights, weights * first)):
            row[kind] = np.concatenate([[0], np.cumsum(weighted)])[accepted] / weights.sum()
    return rates

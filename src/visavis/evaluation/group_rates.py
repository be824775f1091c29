"""What was measured of groups: the rates of each, of each two, and how far they lie apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from visavis.evaluation.intervals import Estimate

__all__ = ["Differential", "GroupRates", "GroupResult"]


@dataclass(frozen=True)
class GroupRates:
    """Rates of pairs with one side in each of two groups, or both sides in one.

    Attributes
    ----------
    a, b
        The groups; the same one twice within a group.
    mated, nonmated
        How many pairs there are.
    fnmr, fmr
        Share of the mated pairs rejected and of the non-mated ones accepted; None where there is no such pair.
    """

    a: str
    b: str
    mated: int
    nonmated: int
    fnmr: Estimate | None
    fmr: Estimate | None

    @property
    def name(self) -> str:
        """The group, or both."""
        return self.a if self.a == self.b else f"{self.a} - {self.b}"

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "groups": sorted({self.a, self.b}),
            "mated_pairs": self.mated,
            "nonmated_pairs": self.nonmated,
            "fnmr": None if self.fnmr is None else self.fnmr.to_dict(),
            "fmr": None if self.fmr is None else self.fmr.to_dict(),
        }


@dataclass(frozen=True)
class Differential:
    """How far an error rate lies apart between groups.

    Attributes
    ----------
    worst, best
        Groups of the highest and the lowest rate.
    ratio
        Highest by lowest rate, the terms of NIST's inequity rate (Grother, 2021; see Howard et al., arXiv:2203.05051);
        None where the lowest is 0.
    low, high
        Interval of that ratio; ``high`` is None where it has no bound.
    to_mean
        Highest rate by the geometric mean of all groups' (NIST IR 8429, 2022), which rests less on the one lowest;
        None where a rate is 0.
    """

    worst: str
    best: str
    ratio: float | None
    low: float
    high: float | None
    to_mean: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "worst": self.worst,
            "best": self.best,
            "max_by_min": self.ratio,
            "low": self.low,
            "high": self.high,
            "max_by_geometric_mean": self.to_mean,
        }


@dataclass(frozen=True)
class GroupResult:
    """Error rates of the groups of a label.

    Attributes
    ----------
    label
        What makes the groups, as ``"sex"``.
    threshold
        The same for all.
    within, between
        Rates in each group, and of pairs with a side in each of two; between only where there are such pairs.
    fmr, fnmr
        How far they lie apart within groups; None with fewer than two groups that have such pairs, or without errors.
    unlabeled
        Pairs left out because a side has no label.
    interval
        ``"exact binomial"`` or ``"subject bootstrap"``.
    """

    label: str
    threshold: float
    within: tuple[GroupRates, ...]
    between: tuple[GroupRates, ...]
    fmr: Differential | None
    fnmr: Differential | None
    unlabeled: int
    interval: str

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "label": self.label,
            "threshold": self.threshold,
            "within": [rates.to_dict() for rates in self.within],
            "between": [rates.to_dict() for rates in self.between],
            "fmr_differential": None if self.fmr is None else self.fmr.to_dict(),
            "fnmr_differential": None if self.fnmr is None else self.fnmr.to_dict(),
            "unlabeled_pairs": self.unlabeled,
            "interval": self.interval,
        }

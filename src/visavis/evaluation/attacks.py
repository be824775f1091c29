"""Presentation attack detection: how many attacks pass as a living face, and how many living faces do not.

The words are those of ISO/IEC 30107-3. A presentation is bona fide or an attack of some kind (species of instrument:
print, replay, mask). It is taken as bona fide when its score reaches the threshold. APCER is the share of the attacks
of a kind that are; what counts is the worst kind, since that is the one an attacker picks. BPCER is the share of bona
fide presentations that are taken for attacks. ACER, the mean of the worst APCER and BPCER, is given for comparison with
tables that print it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from visavis.errors import InputError
from visavis.evaluation.curves import ErrorCurve, equal_error_rate
from visavis.evaluation.intervals import Estimate, exact_binomial, least_measurable

__all__ = ["APCERS", "AttackKind", "AttackResult", "BpcerAt", "Presentations", "evaluate_attacks"]

APCERS = (0.1, 0.05, 0.01)
"""Worst APCERs at which BPCER is stated: BPCER10, BPCER20 and BPCER100."""

Floats = npt.NDArray[np.float64]
Higher = Literal["bona fide", "attack"]


@dataclass(frozen=True, eq=False)
class Presentations:
    """Scores of bona fide presentations and of attacks, by kind.

    Attributes
    ----------
    bona_fide
        Float64 ``(b,)``, higher is more surely bona fide.
    attacks
        Float64 ``(a,)`` for each kind.
    """

    bona_fide: Floats
    attacks: dict[str, Floats]

    @classmethod
    def of(
        cls,
        scores: npt.ArrayLike,
        kinds: Sequence[str] | npt.NDArray[Any],
        *,
        bona_fide: str = "bona fide",
        higher: Higher = "bona fide",
    ) -> Presentations:
        """Sort presentations by kind.

        Parameters
        ----------
        scores, kinds
            ``(n,)``: the score of each, and the kind of attack, or what bona fide ones are called.
        bona_fide
            What they are called.
        higher
            What a higher score stands for. Scores of attacks are negated here.

        Raises
        ------
        InputError
            If lengths differ, a score is NaN or infinite (its row is named), or all are attacks or all bona fide.
        """
        values, names = np.asarray(scores, np.float64), np.asarray(kinds, str)
        if values.ndim != 1 or values.shape != names.shape:
            raise InputError(f"presentations need a score and a kind each, not {values.shape} and {names.shape}")
        wrong = np.flatnonzero(~np.isfinite(values))
        if len(wrong):
            raise InputError(f"the score of presentation {wrong[0]} (counted from 0) is {values[wrong[0]]}")
        if higher not in ("bona fide", "attack"):
            raise InputError(f"a higher score stands for 'bona fide' or 'attack', not {higher!r}")
        values = values if higher == "bona fide" else -values
        there = np.unique(names).tolist()
        attacks = {name: values[names == name] for name in there if name != bona_fide}
        if bona_fide not in there:
            raise InputError(
                f"no presentation is of the kind {bona_fide!r}; there are {', '.join(map(repr, there[:8])) or 'none'}: "
                "say how bona fide ones are called"
            )
        if not attacks:
            raise InputError(f"all presentations are {bona_fide!r}: without attacks there is no error rate")
        return cls(values[names == bona_fide], attacks)

    def curve(self) -> tuple[Floats, Floats, Floats]:
        """Return rising thresholds, the worst APCER at each, falling, and BPCER, rising."""
        thresholds = ErrorCurve.of(self.bona_fide, np.concatenate(list(self.attacks.values()))).thresholds
        worst = np.max([_reaching(values, thresholds) for values in self.attacks.values()], axis=0)
        return thresholds, worst, 1 - _reaching(self.bona_fide, thresholds)

    def eer(self) -> tuple[float, float]:
        """Return the rate at which the worst APCER equals BPCER, and a threshold for it."""
        thresholds, apcer, bpcer = self.curve()
        rate, at = equal_error_rate(apcer[::-1], bpcer[::-1])
        return rate, float(thresholds[::-1][at])


@dataclass(frozen=True)
class AttackKind:
    """One kind of attack: how many there were, the share that passed, and its equal error rate against bona fide."""

    name: str
    attacks: int
    apcer: Estimate
    eer: float

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {"kind": self.name, "attacks": self.attacks, "apcer": self.apcer.to_dict(), "eer": self.eer}


@dataclass(frozen=True)
class BpcerAt:
    """BPCER at the least threshold where no kind of attack passes more often than ``apcer``.

    ``supported`` says whether each kind has enough attacks to speak of that rate, by the rule of three.
    """

    apcer: float
    threshold: float
    bpcer: Estimate
    supported: bool

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "apcer": self.apcer,
            "threshold": self.threshold,
            "supported": self.supported,
            "bpcer": self.bpcer.to_dict(),
        }


@dataclass(frozen=True, eq=False)
class AttackResult:
    """Error rates of presentation attack detection at a threshold, and over all of them.

    Attributes
    ----------
    threshold
        Score from which a presentation counts as bona fide.
    chosen_here
        Whether the threshold is the one of the equal error rate on these very presentations: the rates at it are then
        better than on others.
    kinds
        Each kind of attack, the worst first.
    bona_fide, bpcer
        How many bona fide presentations there are, and the share of them rejected.
    eer, eer_threshold
        Where the worst APCER equals BPCER.
    at
        BPCER at given APCERs.
    thresholds, apcer_curve, bpcer_curve
        Float64 ``(k,)``: rates over rising thresholds; APCER is the worst.
    """

    threshold: float
    chosen_here: bool
    kinds: tuple[AttackKind, ...]
    bona_fide: int
    bpcer: Estimate
    eer: float
    eer_threshold: float
    at: tuple[BpcerAt, ...]
    thresholds: Floats
    apcer_curve: Floats
    bpcer_curve: Floats

    @property
    def apcer(self) -> Estimate:
        """APCER of the worst kind."""
        return self.kinds[0].apcer

    @property
    def acer(self) -> float:
        """Mean of the worst APCER and BPCER."""
        return (self.apcer.value + self.bpcer.value) / 2

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, without the curves."""
        return {
            "threshold": self.threshold,
            "chosen_here": self.chosen_here,
            "bona_fide": self.bona_fide,
            "attacks": sum(kind.attacks for kind in self.kinds),
            "apcer": self.apcer.to_dict(),
            "worst_kind": self.kinds[0].name,
            "bpcer": self.bpcer.to_dict(),
            "acer": self.acer,
            "eer": self.eer,
            "eer_threshold": self.eer_threshold,
            "bpcer_at_apcer": [at.to_dict() for at in self.at],
            "kinds": [kind.to_dict() for kind in self.kinds],
        }


def evaluate_attacks(
    given: Presentations,
    threshold: float | None = None,
    *,
    apcers: Sequence[float] = APCERS,
    level: float = 0.95,
) -> AttackResult:
    """Measure presentation attack detection.

    Parameters
    ----------
    threshold
        Score from which a presentation is taken as bona fide; choose it on other data, as ``development.eer()[1]``.
        None takes the one of the equal error rate here, and the result says so.
    apcers
        Worst APCERs at which BPCER is stated.
    level
        Of the intervals, which are exact binomial and take presentations as independent.

    Raises
    ------
    InputError
        If the threshold is not finite or an APCER not in 0..1.

    Examples
    --------
    >>> scores = [0.9, 0.8, 0.7, 0.2, 0.6, 0.1, 0.3, 0.2]
    >>> kinds = ["bona fide"] * 4 + ["print", "print", "mask", "mask"]
    >>> found = evaluate_attacks(Presentations.of(scores, kinds), threshold=0.5)
    >>> found.kinds[0].name, found.apcer.value, found.bpcer.value, found.acer
    ('print', 0.5, 0.25, 0.375)
    """
    if threshold is not None and not np.isfinite(threshold):
        raise InputError(f"a threshold is a finite score, not {threshold}")
    if not all(0 <= apcer < 1 for apcer in apcers):
        raise InputError(f"an APCER lies in 0..1, not {', '.join(f'{apcer:g}' for apcer in apcers)}")
    eer, eer_threshold = given.eer()
    used = eer_threshold if threshold is None else float(threshold)

    def estimate(hits: npt.NDArray[np.bool_]) -> Estimate:
        count = int(hits.sum())
        return Estimate(count / len(hits), *exact_binomial(count, len(hits), level), level)

    kinds = [
        AttackKind(name, len(values), estimate(values >= used), ErrorCurve.of(given.bona_fide, values).eer()[0])
        for name, values in given.attacks.items()
    ]
    thresholds, worst, bpcer = given.curve()
    least = min(kind.attacks for kind in kinds)
    at = []
    for apcer in apcers:
        strict = float(thresholds[np.argmax(worst <= apcer * (1 + 1e-12))])
        at.append(
            BpcerAt(apcer, strict, estimate(given.bona_fide < strict), apcer >= least_measurable(least) * (1 - 1e-9))
        )
    return AttackResult(
        used,
        threshold is None,
        tuple(sorted(kinds, key=lambda kind: (-kind.apcer.value, kind.name))),
        len(given.bona_fide),
        estimate(given.bona_fide < used),
        eer,
        eer_threshold,
        tuple(at),
        thresholds,
        worst,
        bpcer,
    )


def _reaching(values: Floats, thresholds: Floats) -> Floats:
    return (len(values) - np.searchsorted(np.sort(values), thresholds)) / len(values)

"""How sure a measured share is: intervals of independent trials, and of trials in which the same people recur."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.errors import EngineError, InputError

__all__ = [
    "Estimate",
    "bootstrap_interval",
    "bootstrap_share",
    "exact_binomial",
    "exact_share",
    "flawless",
    "least_measurable",
    "measurable",
    "percent",
    "subject_draws",
    "trials_needed",
    "wilson",
]


@dataclass(frozen=True)
class Estimate:
    """A measured share with the interval that holds the true one at the confidence ``level``."""

    value: float
    low: float
    high: float
    level: float = 0.95

    def to_dict(self) -> dict[str, float]:
        """Return it as plain values."""
        return {"value": self.value, "low": self.low, "high": self.high, "level": self.level}


def percent(share: Estimate) -> str:
    """Return a share with its interval as it is to be read.

    Examples
    --------
    >>> percent(Estimate(0.9943, 0.9899, 0.9969))
    '99.43 % (98.99 to 99.69)'
    """
    return f"{100 * share.value:.2f} % ({100 * share.low:.2f} to {100 * share.high:.2f})"


def wilson(successes: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Return Wilson's score interval of a share (Wilson, JASA 1927).

    It holds near 0 and 1, where the normal interval does not, and takes the trials as independent.

    Examples
    --------
    >>> low, high = wilson(2982, 3000)
    >>> round(low, 4), round(high, 4)
    (0.9905, 0.9962)
    """
    _check(successes, trials, level)
    z = NormalDist().inv_cdf(0.5 + level / 2)
    share = successes / trials
    middle = share + z * z / (2 * trials)
    half = z * (share * (1 - share) / trials + z * z / (4 * trials * trials)) ** 0.5
    scale = 1 + z * z / trials
    return max((middle - half) / scale, 0.0), min((middle + half) / scale, 1.0)


def exact_binomial(successes: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of a share (Clopper and Pearson, Biometrika 1934); needs scipy.

    It takes the trials as independent and holds the true share at least as often as ``level`` says, whatever that
    share is. With no success in n trials its upper end is about ``3.7 / n`` (``3 / n`` where only that end is asked
    for: the rule of three).

    Raises
    ------
    InputError
        If there is no trial, more successes than trials, or ``level`` is not between 0 and 1.
    EngineError
        If scipy is missing.

    Examples
    --------
    >>> [round(end, 4) for end in exact_binomial(0, 1000)]
    [0.0, 0.0037]
    """
    _check(successes, trials, level)
    try:
        from scipy.special import betaincinv
    except ImportError:
        raise EngineError("exact binomial intervals need scipy: pip install 'visavis[evaluate]'") from None
    tail = (1 - level) / 2
    low = 0.0 if successes == 0 else float(betaincinv(successes, trials - successes + 1, tail))
    high = 1.0 if successes == trials else float(betaincinv(successes + 1, trials - successes, 1 - tail))
    return low, high


def exact_share(successes: int, trials: int, level: float = 0.95) -> Estimate:
    """Return a share of independent trials with its exact interval; see `exact_binomial`."""
    low, high = exact_binomial(successes, trials, level)
    return Estimate(successes / trials, low, high, level)


def least_measurable(trials: int) -> float:
    """Return the smallest error rate that so many independent trials can show: the rule of three.

    Trials without an error leave rates up to ``3 / trials`` possible at 95 % (ISO/IEC 19795-1, Annex B; Jovanovic
    and Levy, The American Statistician, 1997). Trials in which people recur show less, never more.

    Examples
    --------
    >>> least_measurable(3000)
    0.001
    """
    return 3 / trials if trials else float("inf")


def trials_needed(rate: float) -> int:
    """Return how many independent trials it takes to show an error rate: the rule of three, see `least_measurable`.

    Examples
    --------
    >>> trials_needed(1e-4), trials_needed(0.09)
    (30000, 34)
    """
    return math.ceil(3 / rate * (1 - 1e-9))


def measurable(rates: Sequence[float], trials: int) -> list[float]:
    """Return those of the rates that so many trials can show, the highest first."""
    return [rate for rate in sorted(rates, reverse=True) if rate >= least_measurable(trials) * (1 - 1e-9)]


def subject_draws(people: int, repeats: int = 400, seed: int = 2026) -> Iterator[npt.NDArray[np.int64]]:
    """Yield ``repeats`` bootstrap draws of people: how often each of them is in it, ``(people,)``.

    A pair of photos then counts the product of how often its two people were drawn, a mated one how often its
    person was (Owen, "The pigeonhole bootstrap", Annals of Applied Statistics, 2007). Drawing pairs instead would be
    far too sure, as each person is in many of them.
    """
    if people < 1 or repeats < 1:
        raise InputError(f"a bootstrap needs people and draws, not {people} and {repeats}")
    rng = np.random.default_rng(seed)
    even = np.full(people, 1 / people)
    for _ in range(repeats):
        yield rng.multinomial(people, even)


def bootstrap_interval(values: npt.ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval of what was measured on bootstrap draws; NaN ones could not be measured.

    Raises
    ------
    InputError
        If none could be measured, or ``level`` is not between 0 and 1.
    """
    _check_level(level)
    measured: npt.NDArray[np.floating[Any]] = np.asarray(values, np.float64)
    measured = measured[~np.isnan(measured)]
    if not len(measured):
        raise InputError("no bootstrap draw had what is to be measured: there are too few people")
    tail = 50 * (1 - level)
    low, high = np.percentile(measured, [tail, 100 - tail])
    return float(low), float(high)


def flawless(errors: float, trials: int, drawn: tuple[float, float], level: float = 0.95) -> tuple[float, float]:
    """Return the interval of an error that was drawn; where there was none, of none in so many independent trials.

    Draws of what is without error are without error, and would say that it always is.

    Examples
    --------
    >>> low, high = flawless(0.0, 1000, (0.0, 0.0))
    >>> low, round(high, 4)
    (0.0, 0.0038)
    """
    low, high = drawn
    return (low, max(high, wilson(0, trials, level)[1])) if errors <= 0 else drawn


def bootstrap_share(successes: int, trials: int, drawn: npt.ArrayLike, level: float = 0.95) -> Estimate:
    """Return a share with the interval of what was ``drawn``, but never narrower than independent trials have.

    No draw can show what no trial does: where all succeed, every draw does.
    """
    least, most = wilson(successes, trials, level)
    low, high = bootstrap_interval(drawn, level)
    return Estimate(successes / trials, min(low, least), max(high, most), level)


def _check(successes: int, trials: int, level: float) -> None:
    if trials < 1 or not 0 <= successes <= trials:
        raise InputError(
            f"{successes} of {trials} is no share: there must be a trial, and no more successes than trials"
        )
    _check_level(level)


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise InputError(f"a confidence level lies between 0 and 1, not {level}")

"""Intervals, against scipy and by counting how often they hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from visavis.errors import InputError
from visavis.evaluation.intervals import (
    bootstrap_interval,
    bootstrap_share,
    exact_binomial,
    exact_share,
    least_measurable,
    measurable,
    subject_draws,
    wilson,
)

COUNTS = st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
LEVELS = st.sampled_from([0.5, 0.9, 0.95, 0.999])


@given(COUNTS, LEVELS)
def test_wilson_is_scipys(counts: tuple[int, int], level: float) -> None:
    expected = binomtest(*counts).proportion_ci(level, method="wilson")
    assert wilson(*counts, level) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_wilson_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    inside = [low <= 0.98 <= high for low, high in (wilson(int(k), 500) for k in rng.binomial(500, 0.98, 2000))]
    assert 0.93 < np.mean(inside) < 0.97


@pytest.mark.parametrize(("successes", "trials", "level"), [(1, 0, 0.95), (3, 2, 0.95), (-1, 2, 0.95), (1, 2, 1)])
def test_wilson_refuses(successes: int, trials: int, level: float) -> None:
    with pytest.raises(InputError):
        wilson(successes, trials, level)


@given(COUNTS, LEVELS)
def test_the_exact_interval_is_scipys(counts: tuple[int, int], level: float) -> None:
    expected = binomtest(*counts).proportion_ci(level, method="exact")
    assert exact_binomial(*counts, level) == pytest.approx((expected.low, expected.high), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    ("errors", "trials"), [(0, 200_000_000), (1, 200_000_000), (200, 199_990_000), (10**8, 2 * 10**8)]
)
def test_the_exact_interval_of_very_many_trials(errors: int, trials: int) -> None:
    expected = binomtest(errors, trials).proportion_ci(0.95, method="exact")
    assert exact_binomial(errors, trials) == pytest.approx((expected.low, expected.high), rel=1e-6)


def test_the_exact_interval_never_holds_less_often_than_it_says() -> None:
    rng = np.random.default_rng(0)
    inside = [low <= 0.98 <= high for low, high in (exact_binomial(int(k), 300) for k in rng.binomial(300, 0.98, 2000))]
    assert np.mean(inside) > 0.94


def test_the_rule_of_three_is_the_exact_bound_without_errors() -> None:
    for trials in (100, 3000, 10**6):
        assert exact_binomial(0, trials, 0.90)[1] == pytest.approx(
            least_measurable(trials), rel=0.02
        )  # one side of 95 %
    assert least_measurable(0) == np.inf


def test_rates_below_the_rule_of_three_are_left_out() -> None:
    assert measurable([1e-3, 0.1, 1e-2, 1e-4], 3000) == [0.1, 1e-2, 1e-3]
    assert measurable([0.5], 0) == []


def test_shares_carry_their_interval() -> None:
    assert exact_share(3, 10).to_dict() == {
        "value": 0.3,
        "low": exact_binomial(3, 10)[0],
        "high": exact_binomial(3, 10)[1],
        "level": 0.95,
    }
    wide = bootstrap_share(500, 1000, np.linspace(0, 1, 101), 0.9)
    assert (wide.low, wide.high) == pytest.approx((0.05, 0.95))
    same = bootstrap_share(1000, 1000, np.ones(100))  # every draw shows what every trial does
    assert (same.low, same.high) == wilson(1000, 1000)


def test_draws_are_of_as_many_people_and_the_same_again() -> None:
    draws = np.array(list(subject_draws(50, 300, seed=3)))
    assert (draws.sum(axis=1) == 50).all()
    assert draws.mean() == 1
    assert draws.var() == pytest.approx(1, abs=0.05)  # multinomial: 1 - 1/50
    assert (draws == np.array(list(subject_draws(50, 300, seed=3)))).all()
    assert (draws != np.array(list(subject_draws(50, 300, seed=4)))).any()


def test_bootstrap_intervals_leave_out_what_could_not_be_measured() -> None:
    values = np.r_[np.arange(101.0), np.nan, np.nan]
    assert bootstrap_interval(values, 0.9) == pytest.approx((5, 95))
    with pytest.raises(InputError, match="too few people"):
        bootstrap_interval([np.nan])
    with pytest.raises(InputError, match="people and draws"):
        next(subject_draws(0))

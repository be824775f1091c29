"""Rates of groups, against counting by hand and against all pairs at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from visavis.errors import InputError
from visavis.evaluation import all_pairs
from visavis.evaluation.all_pairs import AllPairs
from visavis.evaluation.group_rates import GroupRates
from visavis.evaluation.groups import evaluate_groups, evaluate_groups_of_all, numbered
from visavis.evaluation.intervals import subject_draws
from visavis.evaluation.rates import Scores

from .test_all_pairs import people


def many(seed: int = 0, n: int = 4000) -> tuple[Scores, np.ndarray]:
    """Return pairs of which those of group 1 are told apart worse, and the groups of their sides."""
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 3, (n, 2))
    mated = rng.random(n) < 0.4
    groups[mated, 1] = groups[mated, 0]
    spread = np.where((groups == 1).all(axis=1), 0.35, 0.2)
    return Scores(rng.normal(np.where(mated, 0.7, 0.0), spread), mated), groups


def by_name(rates: tuple[GroupRates, ...]) -> dict[str, GroupRates]:
    return {one.name: one for one in rates}


def test_rates_are_counted_by_hand_and_exact() -> None:
    scores, groups = many(n=20_000)
    result = evaluate_groups(scores, groups, ["a", "b", "c"], 0.4)
    assert result.interval == "exact binomial"
    assert [one.name for one in result.between] == ["a - b", "a - c", "b - c"]
    for i, first in enumerate("abc"):
        for j, second in enumerate("abc"[i:], i):
            inside = (np.sort(groups, axis=1) == [i, j]).all(axis=1)
            found = by_name(result.within + result.between)[first if i == j else f"{first} - {second}"]
            others = scores.similarities[inside & ~scores.mated]
            assert (found.mated, found.nonmated) == ((inside & scores.mated).sum(), len(others))
            expected = binomtest(int((others >= 0.4).sum()), len(others)).proportion_ci(method="exact")
            assert found.fmr is not None
            assert found.fmr.value == (others >= 0.4).mean()
            assert (found.fmr.low, found.fmr.high) == pytest.approx((expected.low, expected.high), rel=1e-9)
            assert (found.fnmr is None) == (i != j)
    within = by_name(result.within)
    assert result.fmr is not None
    assert (result.fmr.worst, result.fmr.best) == ("b", min("ac", key=lambda name: within[name].fmr.value))  # type: ignore[union-attr]
    rates = [within[name].fmr.value for name in "abc"]  # type: ignore[union-attr]
    assert result.fmr.ratio == pytest.approx(max(rates) / min(rates))
    assert result.fmr.to_mean == pytest.approx(max(rates) / np.prod(rates) ** (1 / 3))
    assert result.fmr.high is not None
    assert 1 < result.fmr.low < result.fmr.ratio < result.fmr.high


def test_a_group_without_pairs_has_no_rate() -> None:
    scores = Scores([0.9, 0.1, 0.2], [True, False, False])
    result = evaluate_groups(scores, [[0, 0], [0, 0], [1, 1]], ["a", "b", "c"], 0.5)
    within = by_name(result.within)
    assert within["b"].fnmr is None
    assert within["b"].fmr is not None
    assert (within["c"].mated, within["c"].nonmated, within["c"].fmr) == (0, 0, None)
    assert result.fnmr is None  # one group alone has mated pairs
    assert result.fmr is None  # no errors to divide
    assert result.to_dict()["within"][1]["fnmr"] is None


def test_a_group_without_errors_bounds_the_ratio_from_below_only() -> None:
    rng = np.random.default_rng(1)
    n = 2000
    groups = np.repeat([[0, 0], [1, 1]], n // 2, axis=0)
    mated = np.arange(n) % 2 == 0
    similarities = np.where(mated, 1.0, 0.0)
    similarities[: n // 2][~mated[: n // 2] & (rng.random(n // 2) < 0.1)] = 0.9
    result = evaluate_groups(Scores(similarities, mated), groups, ["bad", "good"], 0.5)
    assert result.fmr is not None
    assert (result.fmr.ratio, result.fmr.high, result.fmr.to_mean) == (None, None, None)
    assert (result.fmr.worst, result.fmr.best) == ("bad", "good")
    assert result.fmr.low > 5  # about 10 % against less than 0.8 %


def test_unknown_labels_are_left_out_and_counted() -> None:
    scores, groups = many()
    groups[::10, 1] = -1
    result = evaluate_groups(scores, groups, ["a", "b", "c"], 0.4)
    assert result.unlabeled == 400
    rest = np.arange(4000) % 10 != 0
    kept = Scores(scores.similarities[rest], scores.mated[rest])
    assert result.within == evaluate_groups(kept, groups[rest], ["a", "b", "c"], 0.4).within


def test_where_subjects_recur_draws_are_of_subjects() -> None:
    vectors, owner = people(40, 160, seed=2)
    owner = np.unique(owner, return_inverse=True)[1]
    n = owner.max() + 1
    a, b = np.triu_indices(160, 1)
    same = owner[a] == owner[b]
    similarities = (vectors[a] * vectors[b]).sum(axis=1).astype(np.float64)
    sex = np.arange(n) % 2
    groups = np.stack([sex[owner[a]], sex[owner[b]]], axis=1)
    scores = Scores(similarities, same, np.stack([owner[a], owner[b]], axis=1))
    result = evaluate_groups(scores, groups, ["f", "m"], 0.4, repeats=60)
    assert result.interval == "subject bootstrap"
    inside = (groups == 0).all(axis=1) & ~same
    drawn = []
    for weight in subject_draws(n, 60):
        copies = np.repeat(similarities[inside], weight[owner[a[inside]]] * weight[owner[b[inside]]])
        drawn.append((copies >= 0.4).mean())
    found = result.within[0].fmr
    assert found is not None
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])))


@pytest.mark.parametrize("cells", [4_000_000, 3_000])
@pytest.mark.parametrize("missing", [0.0, 0.05])
def test_all_pairs_give_what_the_pairs_in_memory_give(
    monkeypatch: pytest.MonkeyPatch, cells: int, missing: float
) -> None:
    monkeypatch.setattr(all_pairs, "_CELLS", cells)
    vectors, owner = people(40, 300, seed=3)
    rng = np.random.default_rng(4)
    found = rng.random(300) >= missing
    camera = rng.integers(-1, 3, 300)  # of photos: mated pairs lie between groups too
    a, b = np.triu_indices(300, 1)
    similarities = (vectors[a] * vectors[b]).sum(axis=1).astype(np.float64)
    similarities[~(found[a] & found[b])] = -1
    subjects = np.stack([owner[a], owner[b]], axis=1)
    scores = Scores(similarities, owner[a] == owner[b], subjects)
    names = ["x", "y", "z"]
    groups = np.stack([camera[a], camera[b]], axis=1)
    expected = evaluate_groups(scores, groups, names, 0.4, repeats=30)
    result = evaluate_groups_of_all(vectors, owner, camera, names, 0.4, found=found, repeats=30)
    assert result.unlabeled == expected.unlabeled
    for one, other in zip(result.within + result.between, expected.within + expected.between, strict=True):
        assert (one.name, one.mated, one.nonmated) == (other.name, other.mated, other.nonmated)
        for mine, its in ((one.fmr, other.fmr), (one.fnmr, other.fnmr)):
            assert mine is not None
            assert its is not None
            assert mine.value == pytest.approx(its.value)
            assert (mine.low, mine.high) == pytest.approx((its.low, its.high), abs=0.02)  # draws number people apart


@given(st.integers(0, 10**6), st.permutations([0, 1, 2]))
@settings(max_examples=25)
def test_the_order_of_groups_and_sides_does_not_matter(seed: int, order: list[int]) -> None:
    scores, groups = many(seed, 300)
    once = evaluate_groups(scores, groups, ["a", "b", "c"], 0.3, repeats=2)
    turned = np.where(np.random.default_rng(seed).random((300, 1)) < 0.5, groups, groups[:, ::-1])
    again = evaluate_groups(scores, np.array(order)[turned], ["abc"[order.index(i)] for i in range(3)], 0.3, repeats=2)
    assert by_name(once.within) == by_name(again.within)
    total = sum(rates.mated + rates.nonmated for rates in once.within + once.between)
    assert total == 300


@pytest.mark.parametrize(
    ("groups", "threshold", "message"),
    [
        ([[0, 0]], 0.5, "two groups each"),
        ([[0.0, 0.0]] * 2, 0.5, "two groups each"),
        ([[0, 5]] * 2, 0.5, "numbered -1 to 1"),
        ([[-1, 0]] * 2, 0.5, "on both sides"),
        ([[0, 0]] * 2, float("nan"), "threshold"),
    ],
)
def test_what_can_not_be_evaluated(groups: list[list[int]], threshold: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluate_groups(Scores([0.9, 0.1], [True, False]), groups, ["a", "b"], threshold)


def test_values_are_to_be_put_into_bands() -> None:
    with pytest.raises(InputError, match="put values into bands"):
        numbered([str(age) for age in range(60)])
    with pytest.raises(InputError, match="has a label"):
        numbered(["", ""])
    with pytest.raises(InputError, match="a group each"):
        evaluate_groups_of_all(np.eye(3, dtype=np.float32), [0, 0, 1], [0, 1], ["a", "b"], 0.5)


def test_a_threshold_between_two_float32_numbers_decides_as_it_stands() -> None:
    vectors, subjects = people(120, 360)
    block = np.concatenate([part[part > -1.5] for _, part, _ in AllPairs(vectors, subjects).blocks()])
    values = np.sort(block.astype(np.float64))
    for value in values[[-1, -20, -400]]:
        for threshold in (float(value), float(np.nextafter(value, 2)), float(np.nextafter(value, -2))):
            found = evaluate_groups_of_all(vectors, subjects, np.zeros(360, int), ["all"], threshold, repeats=2)
            assert found.within[0].fmr is not None
            assert round(found.within[0].fmr.value * len(values)) == (values >= threshold).sum()

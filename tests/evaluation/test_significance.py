"""Paired tests, against scipy, DeLong's variance and how often they are wrong."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, norm
from sklearn.metrics import roc_auc_score

from visavis.errors import InputError
from visavis.evaluation.curves import ErrorCurve
from visavis.evaluation.significance import compare_models, holm, mcnemar
from visavis.evaluation.verification import fold_decisions, tar_at_far, ten_fold

from .test_all_pairs import people


def two_models(seed: int, n: int = 400, better: float = 0.0) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    mated = np.arange(n) % 2 == 0
    shared = rng.normal(0, 0.3, n)  # pairs that are hard for one model are hard for the other
    models = {
        "a": np.where(mated, 0.6, 0.0) + shared + rng.normal(0, 0.3, n),
        "b": np.where(mated, 0.6 + better, 0.0) + shared + rng.normal(0, 0.3, n),
    }
    return models, mated, np.arange(n) % 10


def delong(a: np.ndarray, b: np.ndarray, mated: np.ndarray) -> float:
    """Return the p-value of two AUCs' difference by DeLong et al., Biometrics 1988."""
    parts = []
    for s in (a, b):
        wins = (s[mated][:, None] > s[~mated]) + 0.5 * (s[mated][:, None] == s[~mated])
        parts.append((wins.mean(axis=1), wins.mean(axis=0)))
    variance = sum(np.var(parts[1][k] - parts[0][k], ddof=1) / len(parts[0][k]) for k in (0, 1))
    apart = parts[1][0].mean() - parts[0][0].mean()
    return float(2 * norm.sf(abs(apart) / np.sqrt(variance)))


def test_values_are_those_of_each_model_alone() -> None:
    models, mated, folds = two_models(0, better=0.2)
    result = compare_models(models, mated, folds=folds, fars=[0.1, 1e-4], repeats=50)
    assert [one.metric for one in result.differences] == ["accuracy", "eer", "auc", "tar@far=0.1"]
    accuracy, eer, auc, tar = result.differences
    a, b = models.values()
    assert (accuracy.value_a, accuracy.value_b) == pytest.approx(
        (ten_fold(a, mated, folds).mean(), ten_fold(b, mated, folds).mean())
    )
    assert (auc.value_a, auc.value_b) == pytest.approx((roc_auc_score(mated, a), roc_auc_score(mated, b)))
    assert tar.value_b == tar_at_far(b[mated], b[~mated], 0.1)[0]
    assert eer.value_a == pytest.approx(ErrorCurve.of(a[mated], a[~mated]).eer()[0])
    assert auc.low <= auc.difference <= auc.high
    assert result.to_dict()["differences"][2]["difference"] == auc.value_b - auc.value_a


@pytest.mark.parametrize("better", [0.0, 0.05, 0.1])
def test_the_bootstrap_says_of_aucs_what_delong_says(better: float) -> None:
    models, mated, _ = two_models(3, 600, better)
    [auc] = compare_models(models, mated, fars=[], repeats=2000).of("auc")
    assert auc.p == pytest.approx(delong(*models.values(), mated), abs=0.04)


def test_equal_models_differ_as_seldom_as_the_level_says() -> None:
    ps = []
    for seed in range(120):
        models, mated, _ = two_models(100 + seed, 200)
        ps.append(compare_models(models, mated, fars=[], repeats=99).of("auc")[0].p)
    assert np.mean(np.array(ps) <= 0.1) < 0.2  # 0.1 of 120, give or take 0.055
    assert np.mean(np.array(ps) <= 0.5) == pytest.approx(0.5, abs=0.16)


def test_a_model_does_not_differ_from_itself() -> None:
    models, mated, folds = two_models(1)
    for one in compare_models({"a": models["a"], "b": models["a"].copy()}, mated, folds=folds, repeats=20).differences:
        assert (one.difference, one.low, one.high, one.p) == (0, 0, 0, 1)
        assert one.p_mcnemar in (None, 1)


def test_a_scale_of_its_own_makes_no_difference() -> None:
    models, mated, folds = two_models(1)
    result = compare_models({"a": models["a"], "b": 50 + 10 * models["a"]}, mated, folds=folds, repeats=20)
    assert {one.p for one in result.differences} == {1}


def test_where_people_recur_the_interval_is_wider() -> None:
    vectors, owner = people(30, 90, seed=2)
    a, b = np.triu_indices(90, 1)
    mated = owner[a] == owner[b]
    similarity = (vectors[a] * vectors[b]).sum(axis=1)
    person = np.random.default_rng(3).normal(0, 0.2, 30)  # a model that finds some people like everybody
    other = similarity + person[owner[a]] + person[owner[b]]
    models = {"a": similarity, "b": other}
    subjects = np.stack([owner[a], owner[b]], axis=1)
    [known] = compare_models(models, mated, subjects=subjects, fars=[], repeats=200).of("eer")
    [taken] = compare_models(models, mated, fars=[], repeats=200).of("eer")
    assert known.high - known.low > 1.5 * (taken.high - taken.low)


def test_three_models_are_compared_two_by_two_and_corrected() -> None:
    models, mated, folds = two_models(5, better=0.3)
    models["c"] = models["a"] + 1e-9
    result = compare_models(models, mated, folds=folds, repeats=100)
    accuracy = result.of("accuracy")
    assert [(one.a, one.b) for one in accuracy] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [one.p_holm for one in accuracy] == holm([one.p for one in accuracy])
    assert accuracy[0].p_mcnemar == mcnemar(*(fold_decisions(models[name], mated, folds) for name in "ab"))


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 5))
def test_mcnemar_is_the_sign_test(only_a: int, only_b: int, both: int) -> None:
    right_a = [True] * only_a + [False] * only_b + [True] * both
    right_b = [False] * only_a + [True] * only_b + [True] * both
    expected = binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1
    assert mcnemar(np.array(right_a, bool), np.array(right_b, bool)) == pytest.approx(expected)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_keeps_order_and_only_raises(ps: list[float]) -> None:
    corrected = holm(ps)
    assert all(p <= q <= 1 for p, q in zip(ps, corrected, strict=True))
    assert np.argsort(np.array(ps)[np.argsort(ps)]).tolist() == np.argsort(np.sort(corrected), kind="stable").tolist()
    assert min(corrected) == pytest.approx(min(1, len(ps) * min(ps)))


def test_what_can_not_be_compared() -> None:
    models, mated, folds = two_models(1)
    with pytest.raises(InputError, match="two models"):
        compare_models({"a": models["a"]}, mated)
    with pytest.raises(InputError, match="b: pairs need"):
        compare_models({"a": models["a"], "b": models["b"][:-1]}, mated)
    with pytest.raises(InputError, match=r"b: the similarity of pair 7 .* is nan"):
        compare_models({"a": models["a"], "b": np.where(np.arange(400) == 7, np.nan, models["b"])}, mated)
    with pytest.raises(InputError, match="a: folds of 400 pairs"):
        compare_models(models, mated, folds=folds[1:])
    with pytest.raises(InputError, match="booleans"):
        mcnemar([1, 0], [0, 1])

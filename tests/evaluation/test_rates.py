"""Verification of pairs, against scikit-learn, scipy, counting by hand, and what must not matter."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import brentq
from scipy.stats import binomtest
from sklearn.metrics import det_curve, roc_auc_score, roc_curve

from visavis.errors import InputError
from visavis.evaluation import bootstrap
from visavis.evaluation.all_pairs import evaluate_all_pairs
from visavis.evaluation.bootstrap import WeighedPairs, pair_weights
from visavis.evaluation.curves import ErrorCurve
from visavis.evaluation.intervals import measurable, trials_needed, wilson
from visavis.evaluation.rates import CONSTANT, Scores, evaluate_scores
from visavis.evaluation.train_test import train_test
from visavis.evaluation.verification import tar_at_far, ten_fold

from .test_all_pairs import every_pair, people


@st.composite
def scored(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Return mated and non-mated similarities of any kind, often tied."""
    values = draw(st.sampled_from([st.integers(-3, 3).map(float), st.floats(-100, 100, width=32)]))
    return tuple(draw(arrays(np.float64, st.integers(1, 40), elements=values)) for _ in range(2))  # type: ignore[return-value]


def joined(mated: np.ndarray, nonmated: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([mated, nonmated]), np.repeat([True, False], [len(mated), len(nonmated)])


@given(scored())
def test_the_curve_is_scikit_learns(pair: tuple[np.ndarray, np.ndarray]) -> None:
    s, m = joined(*pair)
    fpr, tpr, thresholds = roc_curve(m, s, drop_intermediate=False)
    curve = ErrorCurve.of(*pair)
    np.testing.assert_allclose(curve.roc()[0], fpr)
    np.testing.assert_allclose(curve.roc()[1], tpr)
    np.testing.assert_array_equal(curve.thresholds[::-1][1:], thresholds[1:])
    assert curve.auc() == pytest.approx(roc_auc_score(m, s))
    if len(np.unique(s)) > 1:
        theirs = det_curve(m, s)
        points = set(zip(np.round(curve.fmr, 12), np.round(curve.fnmr, 12), strict=True))
        assert {(round(float(x), 12), round(float(y), 12)) for x, y in zip(*theirs[:2], strict=True)} <= points


@given(scored())
def test_rates_are_counts_at_every_threshold(pair: tuple[np.ndarray, np.ndarray]) -> None:
    mated, nonmated = pair
    curve = ErrorCurve.of(mated, nonmated)
    for t, fmr, fnmr in zip(curve.thresholds, curve.fmr, curve.fnmr, strict=True):
        assert fmr == (nonmated >= t).mean()
        assert fnmr == pytest.approx((mated < t).mean())
        assert curve.at(t) == (fmr, fnmr)
    assert (curve.fmr[-1], curve.fnmr[-1]) == (0, 1)


@given(scored(), st.floats(0, 1))
def test_a_threshold_is_the_least_that_keeps_the_rate(pair: tuple[np.ndarray, np.ndarray], fmr: float) -> None:
    mated, nonmated = pair
    curve = ErrorCurve.of(mated, nonmated)
    threshold = curve.threshold_at_fmr(fmr)
    assert (nonmated >= threshold).mean() <= fmr + 1e-9
    lower = curve.thresholds[curve.thresholds < threshold]
    assert not len(lower) or (nonmated >= lower[-1]).mean() > fmr - 1e-9
    if fmr < 0.999:
        assert curve.tar_at_far(fmr) == pytest.approx(tar_at_far(mated, nonmated, fmr)[0])
    assert curve.fnmr_at_fmr(fmr) == pytest.approx(1 - curve.tar_at_far(fmr))


@given(scored())
def test_the_equal_error_rate_is_where_the_roc_meets_the_diagonal(pair: tuple[np.ndarray, np.ndarray]) -> None:
    s, m = joined(*pair)
    fpr, tpr, _ = roc_curve(m, s, drop_intermediate=False)
    # np.interp can't take the ROC's upright steps: the way along the curve is the parameter.
    way = np.arange(len(fpr))
    crossing = brentq(lambda t: np.interp(t, way, fpr) - 1 + np.interp(t, way, tpr), 0, len(fpr) - 1)
    rate, threshold = ErrorCurve.of(*pair).eer()
    assert rate == pytest.approx(np.interp(crossing, way, fpr), abs=1e-9)
    assert s.min() <= threshold <= np.nextafter(s.max(), np.inf)


@given(scored())
def test_only_the_order_of_similarities_matters(pair: tuple[np.ndarray, np.ndarray]) -> None:
    both = np.concatenate(pair)
    ranks = np.unique(both, return_inverse=True)[1]
    split = len(pair[0])
    once, again = ErrorCurve.of(*pair), ErrorCurve.of(3.0 ** ranks[:split], 3.0 ** ranks[split:])
    np.testing.assert_array_equal(once.fmr, again.fmr)
    np.testing.assert_array_equal(once.fnmr, again.fnmr)
    assert once.eer()[0] == again.eer()[0]


@given(scored())
def test_swapped_labels_and_signs_swap_the_errors(pair: tuple[np.ndarray, np.ndarray]) -> None:
    mated, nonmated = pair
    once, swapped = ErrorCurve.of(mated, nonmated), ErrorCurve.of(-nonmated, -mated)
    assert swapped.auc() == pytest.approx(once.auc())
    assert swapped.eer()[0] == pytest.approx(once.eer()[0])
    assert ErrorCurve.of(nonmated, mated).auc() == pytest.approx(1 - once.auc())


def test_a_thinned_curve_keeps_its_ends_and_small_rates() -> None:
    rng = np.random.default_rng(0)
    curve = ErrorCurve.of(rng.normal(3, 1, 30_000), rng.normal(0, 1, 100_000))
    thin = curve.thinned(300)
    assert 100 < len(thin.thresholds) <= 302
    assert (thin.thresholds[0], thin.thresholds[-1]) == (curve.thresholds[0], curve.thresholds[-1])
    for far in (1e-1, 1e-3, 1e-5):
        assert thin.tar_at_far(far) == pytest.approx(curve.tar_at_far(far), abs=0.02)
    assert thin.auc() == pytest.approx(curve.auc(), abs=1e-3)
    assert curve.thinned(10**6) is curve


def test_by_hand() -> None:
    s = [0.9, 0.8, 0.7, 0.3, 0.75, 0.4, 0.2, 0.1]
    result = evaluate_scores(Scores(s, [True] * 4 + [False] * 4), [0.75], repeats=20)
    assert (result.mated, result.nonmated, result.subjects, result.accuracy) == (4, 4, None, None)
    [rate] = result.rates
    assert rate.tar is not None
    assert rate.fmr is not None
    assert (rate.threshold, rate.tar.value, rate.fmr.value) == (0.2, 1.0, 0.75)
    assert (result.eer.value, result.auc.value) == (0.25, 13 / 16)


def test_independent_pairs_get_exact_intervals() -> None:
    rng = np.random.default_rng(2)
    mated = np.arange(3000) % 3 == 0
    subjects = np.arange(6000).reshape(3000, 2)
    subjects[mated, 1] = subjects[mated, 0]
    folds = rng.integers(0, 10, 3000)
    s = rng.normal(np.where(mated, 3.0, 0.0))
    result = evaluate_scores(Scores(s, mated, subjects, folds=folds), [0.1, 0.01, 1e-4], repeats=50)
    assert (result.interval, result.warnings) == ("exact binomial", ())
    for rate in result.rates[:2]:
        for share, right, of in (
            (rate.tar, (s[mated] >= rate.threshold).sum(), mated.sum()),
            (rate.fmr, (s[~mated] >= rate.threshold).sum(), (~mated).sum()),
        ):
            expected = binomtest(int(right), int(of)).proportion_ci(method="exact")
            assert share is not None
            assert (share.low, share.high) == pytest.approx((expected.low, expected.high), rel=1e-9)
    assert (result.rates[2].supported, result.rates[2].pairs_needed, result.rates[2].tar) == (False, 30_000, None)
    assert result.accuracy is not None
    shares = ten_fold(s, mated, folds)
    assert result.accuracy.folds == tuple(shares)
    assert result.accuracy.mean == pytest.approx(shares.mean())
    assert result.accuracy.standard_error == pytest.approx(shares.std(ddof=1) / 10**0.5)
    assert result.auc.low < result.auc.value < result.auc.high


def test_exact_intervals_need_scipy_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from visavis.errors import EngineError

    monkeypatch.setitem(sys.modules, "scipy.special", None)
    with pytest.raises(EngineError, match=r"visavis\[evaluate\]"):
        evaluate_scores(Scores([1.0, 0.0] * 20, [True, False] * 20), [0.5], repeats=2)


def test_recurring_subjects_get_a_bootstrap_over_them() -> None:
    vectors, owner = people(50, 200, seed=7)
    s, m, subjects = every_pair(vectors, owner)
    result = evaluate_scores(Scores(s, m, subjects), [0.1], repeats=100)
    assert result.interval == "subject bootstrap"
    naive = evaluate_scores(Scores(s, m), [0.1], repeats=100)
    assert naive.interval == "exact binomial"
    assert "too narrow" in naive.warnings[0]
    width = [one.eer.high - one.eer.low for one in (result, naive)]
    assert width[0] > 1.5 * width[1]  # people are in many pairs: pairs are not independent


@given(scored(), st.integers(0, 10**6))
def test_weights_are_copies(pair: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    s, m = joined(*pair)
    rng = np.random.default_rng(seed)
    weights, folds = rng.integers(0, 4, len(s)), np.arange(len(s)) % 3
    several = len(np.unique(folds)) > 1
    fars, at = [0.05, 0.3], [float(s[0]), 0.5]
    drawn = WeighedPairs(s, m, folds if several else None, fars=fars, thresholds=at).measure(weights)
    yes, no = np.repeat(s[m], weights[m]), np.repeat(s[~m], weights[~m])
    if not len(yes) or not len(no):
        assert np.isnan([drawn.eer, drawn.auc, *drawn.tar, *drawn.fmr]).all()
        return
    curve = ErrorCurve.of(yes, no)
    assert drawn.auc == pytest.approx(curve.auc())
    assert drawn.eer == pytest.approx(curve.eer()[0])
    assert drawn.tar.tolist() == pytest.approx([curve.tar_at_far(far) for far in fars])
    assert drawn.fmr.tolist() == pytest.approx([(no >= t).mean() for t in at])
    assert drawn.fnmr.tolist() == pytest.approx([(yes < t).mean() for t in at])
    once = WeighedPairs(s, m, folds if several else None).measure(np.ones(len(s), int))
    if several:
        assert once.accuracy == pytest.approx(ten_fold(s, m, folds).mean())


@pytest.mark.parametrize("known", [True, False])
def test_of_very_many_pairs_a_part_stands_for_all(monkeypatch: pytest.MonkeyPatch, known: bool) -> None:
    vectors, owner = people(80, 700, seed=9)
    s, m, subjects = every_pair(vectors, owner)
    scores = Scores(s, m, subjects if known else None, folds=subjects.sum(axis=1) % 4)
    whole = evaluate_scores(scores, [0.1, 1e-3], repeats=100)
    monkeypatch.setattr(bootstrap, "_KEEP_ALL", 1000)
    monkeypatch.setattr(bootstrap, "KEPT_STRATUM", 4000)
    monkeypatch.setattr(bootstrap, "KEPT_MATED", 1500)
    rows, counts = bootstrap.pairs_to_keep(s, m)
    assert len(np.unique(rows)) == len(rows) < 0.2 * len(s)
    assert counts[m[rows]].sum() == pytest.approx(m.sum(), abs=2)
    assert counts[~m[rows]].sum() == pytest.approx((~m).sum(), abs=40)
    part = evaluate_scores(scores, [0.1, 1e-3], repeats=100)
    assert (part.eer.value, part.auc.value) == (whole.eer.value, whole.auc.value)
    assert [rate.threshold for rate in part.rates] == [rate.threshold for rate in whole.rates]
    if known:
        pairs = [(a.tar, b.tar) for a, b in zip(part.rates, whole.rates, strict=True)]
        assert part.accuracy is not None
        assert whole.accuracy is not None
        pairs += [(part.eer, whole.eer), (part.auc, whole.auc), (part.accuracy.estimate, whole.accuracy.estimate)]
        for one, other in pairs:
            assert one is not None
            assert other is not None
            assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=0.02)


def test_draws_of_pairs_keep_how_many_there_are_of_each_kind() -> None:
    mated = np.arange(30) % 3 == 0
    for weights in pair_weights(mated, None, 5, 0):
        assert (weights[mated].sum(), weights[~mated].sum()) == (10, 20)
    subjects = np.array([[7, 7], [7, 900], [900, 900]])
    for weights in pair_weights(np.array([True, False, True]), subjects, 5, 0):
        assert weights[0] + weights[2] == 2
        assert weights[1] == weights[0] * weights[2]


def test_constant_scores_are_measured_and_said() -> None:
    result = evaluate_scores(Scores(np.full(100, 0.5), np.arange(100) % 2 == 0), [0.1], repeats=10)
    assert (result.auc.value, result.eer.value) == (0.5, 0.5)
    assert result.rates[0].tar is not None
    assert result.rates[0].tar.value == 0
    assert CONSTANT in result.warnings


def test_people_in_several_folds_are_said() -> None:
    subjects = np.array([[0, 0], [0, 1], [2, 2], [2, 3], [0, 4], [5, 5]])
    scores = Scores(
        [0.9, 0.1, 0.8, 0.2, 0.3, 0.7], subjects[:, 0] == subjects[:, 1], subjects, folds=[1, 1, 2, 2, 3, 3]
    )
    assert "subjects in several folds: 1;" in evaluate_scores(scores, [0.5], repeats=10).warnings[0]
    apart = Scores(scores.similarities[:4], scores.mated[:4], subjects[:4], folds=[1, 1, 2, 2])
    assert evaluate_scores(apart, [0.5], repeats=10).warnings == ()


def test_one_fold_is_none() -> None:
    rng = np.random.default_rng(0)
    result = evaluate_scores(Scores(rng.random(40), np.arange(40) % 2 == 0, folds=np.zeros(40, int)), [0.5], repeats=5)
    assert result.accuracy is None
    assert "one fold" in result.warnings[0]


def test_the_result_is_plain_json() -> None:
    rng = np.random.default_rng(0)
    scores = Scores(rng.random(90), np.arange(90) % 2 == 0, folds=np.arange(90) % 3)
    content = json.loads(json.dumps(evaluate_scores(scores, repeats=5).to_dict(), allow_nan=False))
    assert [rate["supported"] for rate in content["rates"]] == [True, False, False, False, False, False]
    assert len(content["accuracy"]["folds"]) == 3


def test_view_1_takes_its_threshold_from_the_training_pairs() -> None:
    rng = np.random.default_rng(4)
    sets = []
    for n in (2200, 1000):  # as LFW has
        mated = np.arange(n) % 2 == 0
        subjects = np.stack([np.arange(n) % 300, (np.arange(n) + np.where(mated, 0, 7)) % 300], axis=1)
        sets.append(Scores(rng.normal(np.where(mated, 1.5, 0.0)), mated, subjects))
    result = train_test(*sets, repeats=50)
    train, test = sets
    tried = [((train.similarities >= t) == train.mated).mean() for t in np.unique(train.similarities)]
    assert result.train_accuracy == pytest.approx(max(tried))
    hits = int(((test.similarities >= result.threshold) == test.mated).sum())
    assert result.accuracy.value == hits / 1000
    assert result.accuracy.low <= wilson(hits, 1000)[0]
    assert "subjects in the training and the test pairs: 300;" in result.warnings[0]
    free = train_test(train, Scores(test.similarities, test.mated))
    assert (free.accuracy.low, free.accuracy.high) == pytest.approx(
        tuple(binomtest(hits, 1000).proportion_ci(method="exact"))
    )
    assert json.dumps(result.to_dict())


MATED = np.array([True, False, True])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (([0.1, np.nan, np.inf], MATED), r"pair 1 \(counted from 0\) is nan, and of 1 more"),
        (([0.1, 0.2], MATED), "a boolean mated each"),
        (([0.1, 0.2, 0.3], [1, 0, 1]), "a boolean mated each"),
        (([[0.1, 0.2, 0.3]], MATED), "a boolean mated each"),
        (([], np.empty(0, bool)), "of one kind"),
        (([0.1, 0.2], [True, True]), "of one kind"),
        (([0.1, 0.2], [False, False]), "of one kind"),
        (([0.1, 0.2, 0.3], MATED, [1, 2, 3]), r"integers \(3, 2\)"),
        (([0.1, 0.2, 0.3], MATED, [[1, 1], [1, 1], [2, 2]]), "pair 1 .* is non-mated"),
        (([0.1, 0.2, 0.3], MATED, [[1, 1], [1, 2], [2, 3]]), "pair 2 .* is mated"),
        (([0.1, 0.2, 0.3], MATED, None, None, [0.5, 1, 1]), "folds of 3 pairs"),
    ],
)
def test_what_are_no_scores(given: tuple[object, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Scores(*given)  # type: ignore[arg-type]


def test_rates_and_levels_out_of_range() -> None:
    scores = Scores([0.9, 0.1], [True, False])
    for fars in ([0.0], [1.0], [-0.1], [float("nan")]):
        with pytest.raises(InputError, match="between 0 and 1"):
            evaluate_scores(scores, fars)
    with pytest.raises(InputError, match="level"):
        evaluate_scores(scores, [], level=1.5)
    with pytest.raises(InputError, match="false match rate"):
        ErrorCurve.of([1.0], [0.0]).threshold_at_fmr(2)
    with pytest.raises(InputError, match="mated and non-mated"):
        ErrorCurve.of([], [0.0])


def test_what_no_pair_got_wrong_is_not_taken_for_certain() -> None:
    mated = np.arange(60) % 3 == 0
    similarities = np.where(mated, 0.9, 0.1) + np.linspace(0, 0.01, 60)
    result = evaluate_scores(Scores(similarities, mated), [0.2], repeats=50)
    assert (result.eer.value, result.eer.low, result.auc.value, result.auc.high) == (0, 0, 1, 1)
    assert result.eer.high == pytest.approx(wilson(0, 20)[1])
    assert result.auc.low == pytest.approx(1 - wilson(0, 20)[1])
    vectors, subjects = people(12, 36)
    vectors[:] = np.eye(16, dtype=np.float32)[subjects]
    everyone = evaluate_all_pairs(vectors, subjects, [0.1], repeats=20)
    assert everyone.eer.high == pytest.approx(wilson(0, everyone.mated)[1])


@given(st.floats(1e-6, 0.99))
def test_so_many_trials_as_are_needed_show_a_rate_and_one_less_does_not(rate: float) -> None:
    needed = trials_needed(rate)
    assert measurable([rate], needed) == [rate]
    assert not measurable([rate], needed - 1)

"""Classes and ages against scikit-learn and by hand."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    mean_absolute_error,
    precision_recall_fscore_support,
)

from visavis.errors import InputError
from visavis.evaluation.traits import evaluate_ages, evaluate_classes

labels = st.sampled_from(["angry", "happy", "neutral", "sad"])


@given(st.lists(st.tuples(labels, labels), min_size=1, max_size=80))
@settings(max_examples=60)
def test_classes_are_scikit_learns(pairs: list[tuple[str, str]]) -> None:
    truth, said = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    found = evaluate_classes(truth, said)
    names = sorted({*truth, *said})
    assert [one.name for one in found.classes] == names
    assert found.accuracy.value == pytest.approx(accuracy_score(truth, said))
    assert found.macro_f1 == pytest.approx(f1_score(truth, said, average="macro", zero_division=0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class alone, classes that the truth does not have
        assert found.confusion.tolist() == confusion_matrix(truth, said, labels=names).tolist()
        assert found.balanced_accuracy == pytest.approx(balanced_accuracy_score(truth, said))
    precision, recall, f1, support = precision_recall_fscore_support(truth, said, labels=names, zero_division=0)
    for i, one in enumerate(found.classes):
        assert one.faces == support[i]
        assert (one.precision or 0) == pytest.approx(precision[i])
        assert (one.recall.value if one.recall else 0) == pytest.approx(recall[i])
        assert one.f1 == pytest.approx(f1[i])
        assert (one.recall is None) == (support[i] == 0)


def test_classes_in_an_order_of_their_own() -> None:
    found = evaluate_classes(["b", "a", "b"], ["b", "b", "b"], classes=["b", "a", "never"])
    assert found.confusion.tolist() == [[2, 0, 0], [1, 0, 0], [0, 0, 0]]
    assert [one.name for one in found.classes] == ["b", "a", "never"]
    plain = evaluate_classes(["b", "a", "b"], ["b", "b", "b"])
    assert (found.macro_f1, found.balanced_accuracy) == (plain.macro_f1, plain.balanced_accuracy) == (0.4, 0.5)
    exact = binomtest(2, 3).proportion_ci(0.95, "exact")
    assert (found.accuracy.low, found.accuracy.high) == pytest.approx((exact.low, exact.high))
    assert found.to_dict()["classes"][1]["precision"] is None


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(-20, 150)), min_size=1, max_size=60))
@settings(max_examples=50)
def test_ages_by_counting(pairs: list[tuple[float, float]]) -> None:
    truth, said = np.array(pairs).T
    found = evaluate_ages(truth, said, tolerances=[0, 5, 3])
    assert found.mae.value == pytest.approx(mean_absolute_error(truth, said))
    assert found.bias == pytest.approx((said - truth).mean())
    assert [years for years, _ in found.cumulative] == [0, 3, 5]
    for years, estimate in found.cumulative:
        assert estimate.value == pytest.approx(np.mean([abs(t - s) <= years + 1e-9 for t, s in pairs]))
        assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
    slack = 1e-9 + 1e-12 * found.mae.value
    assert found.mae.low - slack <= found.mae.high
    values = [estimate.value for _, estimate in found.cumulative]
    assert values == sorted(values)


def test_the_interval_of_the_mean_error() -> None:
    rng = np.random.default_rng(0)
    truth = rng.uniform(20, 60, 1000)
    found = evaluate_ages(truth, truth + rng.normal(0, 5, 1000))
    expected = 5 * (2 / np.pi) ** 0.5
    assert found.mae.low < expected < found.mae.high
    assert found.mae.high - found.mae.low == pytest.approx(2 * 1.96 * 5 * (1 - 2 / np.pi) ** 0.5 / 1000**0.5, rel=0.15)


@pytest.mark.parametrize(
    ("truth", "said", "what"),
    [
        (["a"], ["a", "b"], "not 1 and 2"),
        ([], [], "not 0 and 0"),
        ([["a"]], [["a"]], "not of shape"),
    ],
)
def test_labels_that_do_not_fit(truth: list[str], said: list[str], what: str) -> None:
    with pytest.raises(InputError) as raised:
        evaluate_classes(truth, said)
    assert what in str(raised.value)


def test_classes_that_do_not_fit() -> None:
    with pytest.raises(InputError, match="lack 'b'"):
        evaluate_classes(["a"], ["b"], classes=["a"])
    with pytest.raises(InputError, match="twice"):
        evaluate_classes(["a"], ["a"], classes=["a", "a"])
    many = [str(i) for i in range(1001)]
    with pytest.raises(InputError, match="1001 classes"):
        evaluate_classes(many, many)


@pytest.mark.parametrize(
    ("truth", "said", "what"),
    [
        ([20, 30], [20], "for each face"),
        ([20, np.nan], [20, 30], "true age of face 1"),
        ([20, 2000], [20, 30], "true age of face 1"),
        ([-1, 20], [20, 30], "true age of face 0"),
        ([20, 30], [np.inf, 30], "predicted age of face 0"),
        ([], [], "for each face"),
    ],
)
def test_ages_that_are_none(truth: list[float], said: list[float], what: str) -> None:
    with pytest.raises(InputError) as raised:
        evaluate_ages(truth, said)
    assert what in str(raised.value)


def test_tolerances_that_are_none() -> None:
    with pytest.raises(InputError, match="number of years"):
        evaluate_ages([20], [21], tolerances=[-1])

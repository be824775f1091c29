"""Probabilities: Platt's sigmoid and the softmax's factor are the best ones, and stay sane on few photos."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax
from sklearn.linear_model import LogisticRegression

from classification.conftest import made_up, names_of
from visavis.classification import Classifier
from visavis.classification.probabilities import Confidence, confidence, platt, sharpness
from visavis.types import Embeddings


def values(seed: int, positive: int, negative: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    found = np.concatenate([rng.normal(0.6, 0.1, positive), rng.normal(0.3, 0.12, negative)])
    return found, np.arange(len(found)) < positive


@pytest.mark.parametrize(("positive", "negative"), [(200, 300), (30, 5), (1, 1), (3, 400)])
def test_the_sigmoid_is_the_one_of_scikit_learn(positive: int, negative: int) -> None:
    found, mated = values(positive, positive, negative)
    weights = np.where(mated, 1.0, positive / negative)
    a, b = platt(found, mated, weights)
    # Platt's soft targets as weighted copies of each value under both labels.
    target = np.where(mated, (positive + 1) / (positive + 2), 1 / (positive + 2))
    theirs = LogisticRegression(C=1e12, tol=1e-12, max_iter=10_000, solver="newton-cholesky")
    theirs.fit(
        np.concatenate([found, found])[:, None],
        np.repeat([1, 0], len(found)),
        np.concatenate([weights * target, weights * (1 - target)]),
    )
    at = np.linspace(-1, 1, 50)
    np.testing.assert_allclose(expit(a * at + b), theirs.predict_proba(at[:, None])[:, 1], atol=1e-6)


@given(seed=st.integers(0, 10_000), positive=st.integers(1, 30), negative=st.integers(1, 30))
@settings(max_examples=50)
def test_any_photos_give_finite_numbers(seed: int, positive: int, negative: int) -> None:
    found, mated = values(seed, positive, negative)
    a, b = platt(found, mated, np.ones(len(found)))
    assert np.isfinite([a, b]).all()
    # Platt's targets: nothing seen is held for certain.
    known = expit(a * found + b)
    assert (known < 1).all()
    assert (known > 0).all()


def test_equal_values_give_the_share() -> None:
    a, b = platt(np.full(6, 0.5), np.array([True] * 3 + [False] * 3), np.ones(6))
    assert expit(a * 0.5 + b) == pytest.approx(0.5)


def test_the_factor_maximizes_the_likelihood() -> None:
    rng = np.random.default_rng(0)
    owners = rng.integers(0, 5, 300)
    scores = rng.normal(size=(300, 5)) + 1.5 * np.eye(5)[owners]
    doubt = 1 / 302

    def loss(factor: float) -> float:
        logs = log_softmax(factor * scores, axis=1)
        own = logs[np.arange(300), owners]
        return -float(((1 - doubt) * own + doubt * (logs.sum(axis=1) - own) / 4).sum())

    best = minimize_scalar(loss, bounds=(0.01, 50), method="bounded", options={"xatol": 1e-9}).x
    assert sharpness(scores, owners) == pytest.approx(best, rel=1e-4)


def test_the_factor_of_nothing_to_tell_apart() -> None:
    assert sharpness(np.zeros((3, 1)), np.zeros(3, int)) == 1
    assert sharpness(np.empty((0, 4)), np.empty(0, int)) == 1
    assert sharpness(np.zeros((3, 4)), np.array([0, 1, 2])) > 0


def test_nothing_held_out_gives_no_probabilities() -> None:
    none = np.empty(0)
    assert confidence(np.empty((0, 2)), np.empty(0, int), none, np.array([0.1])) is None
    assert confidence(np.ones((1, 1)), np.zeros(1, int), np.array([0.9]), none) is None


def test_probabilities_and_unknown_sum_to_one() -> None:
    found = Confidence(30, -14, 3, 10, 10).probabilities(np.array([0.9, 0.1]), np.array([[1.0, 0, 0], [0.2, 0.1, 0]]))
    np.testing.assert_allclose(found.sum(axis=1), expit(30 * np.array([0.9, 0.1]) - 14))
    assert found[0].argmax() == 0


def test_probabilities_hold() -> None:
    """Among faces named with probability p, a share of p is right, where half of the faces are strangers'."""
    noise = 0.13  # hard: a third of the names is wrong or unsure
    everybody = made_up(400, 8, noise=noise)
    rows = np.arange(3200).reshape(400, 8)
    train, probes, strangers = rows[:150, :5].ravel(), rows[:150, 5:].ravel(), rows[150:, 0]
    names = np.array(names_of(400, 8))
    classifier = Classifier.train(everybody[train], names[train].tolist(), threshold=0.5)
    mated, others = classifier.predict(everybody[probes]), classifier.predict(everybody[strangers])
    right = np.array(classifier.people)[mated.best] == names[probes]
    p = np.concatenate([mated.probabilities.max(axis=1), others.probabilities.max(axis=1)])
    hit = np.concatenate([right, np.zeros(len(strangers), bool)])
    weight = np.concatenate([np.full(len(probes), 0.5 / len(probes)), np.full(len(strangers), 0.5 / len(strangers))])
    bins = np.minimum((p * 5).astype(int), 4)
    gap = np.bincount(bins, weight * (p - hit), minlength=5)
    assert 0.5 < right.mean() < 0.99
    assert np.abs(gap).sum() < 0.05
    assert isinstance(everybody, Embeddings)

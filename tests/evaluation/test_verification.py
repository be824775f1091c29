"""Rates and their intervals, against scipy, scikit-learn and counting by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from visavis.errors import InputError
from visavis.evaluation.intervals import wilson
from visavis.evaluation.verification import (
    accuracy,
    pair_similarities,
    tar_at_far,
    ten_fold,
    threshold_at_far,
)


def pairs(n: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    mated = np.arange(n) % 2 == 0
    return rng.normal(np.where(mated, 0.6, 0.1), 0.2), mated, np.repeat(np.arange(10), n // 10)


def test_ten_fold_by_trying_every_threshold() -> None:
    similarities, mated, folds = pairs()
    expected = []
    for fold in range(10):
        s, m = similarities[folds != fold], mated[folds != fold]
        tried = np.unique(s)
        right = [((s >= t) == m).mean() for t in tried]
        best = tried[np.flatnonzero(np.isclose(right, max(right)))]
        inside = folds == fold
        expected.append(((similarities[inside] >= best[len(best) // 2]) == mated[inside]).mean())
    np.testing.assert_allclose(ten_fold(similarities, mated, folds), expected)
    found = accuracy(similarities, mated, folds)
    assert found.value == pytest.approx(np.mean(expected))
    assert (found.low, found.high) == wilson(round(600 * found.value), 600)


def test_ten_fold_never_sees_the_fold_it_judges() -> None:
    similarities, mated, folds = pairs()
    before = ten_fold(similarities, mated, folds)
    flipped = mated.copy()
    flipped[folds == 3] = ~flipped[folds == 3]
    assert ten_fold(similarities, flipped, folds)[3] == pytest.approx(1 - before[3])


@pytest.mark.parametrize(
    "change",
    [
        lambda s, m, f: (s[:-1], m, f),
        lambda s, m, f: (s, m.astype(int), f),
        lambda s, m, f: (np.where(m, np.nan, s), m, f),
        lambda s, m, f: (s, np.ones_like(m), f),
        lambda s, m, f: (s, m, np.zeros_like(f)),
    ],
)
def test_ten_fold_refuses(change: object) -> None:
    with pytest.raises(InputError):
        ten_fold(*change(*pairs()))  # type: ignore[operator]


@given(st.integers(0, 10**6), st.sampled_from([0.0, 1e-3, 0.01, 0.1, 0.5]), st.integers(0, 3))
def test_tar_is_on_scikit_learns_curve(seed: int, far: float, decimals: int) -> None:
    rng = np.random.default_rng(seed)
    mated, others = (np.round(rng.normal(mean, 0.3, n), decimals) for mean, n in ((0.5, 80), (0, 700)))  # with ties
    share, threshold = tar_at_far(mated, others, far)
    assert (others >= threshold).mean() <= far
    fpr, tpr, _ = roc_curve(np.repeat([1, 0], [80, 700]), np.concatenate([mated, others]), drop_intermediate=False)
    assert share == pytest.approx(tpr[fpr <= far + 1e-12].max())


def test_thresholds_need_enough_pairs() -> None:
    with pytest.raises(InputError, match="needs more of them"):
        threshold_at_far([0.5, 0.4], 0.1, total=1000)
    with pytest.raises(InputError, match="needs more of them"):
        threshold_at_far([], 0.1)
    with pytest.raises(InputError, match="false accept rate"):
        threshold_at_far([0.1], 1.0)
    with pytest.raises(InputError, match="mated pairs"):
        tar_at_far([], [0.1], 0.1)


def people(n: int, photos: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    owner = rng.integers(0, n, photos)
    vectors = rng.normal(size=(n, 16))[owner] + 0.8 * rng.normal(size=(photos, 16))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), owner


def test_pairs_without_a_face_are_rejected() -> None:
    vectors, _ = people(5, 4)
    found = np.array([True, True, True, False])
    similarities = pair_similarities(vectors, np.array([[0, 0], [1, 2], [2, 3]]), found)
    assert similarities == pytest.approx([1, float(vectors[1] @ vectors[2]), -1], abs=1e-6)

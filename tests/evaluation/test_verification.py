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
    NonMated,
    accuracy,
    nonmated_pairs,
    pair_similarities,
    tar_at_far,
    tar_estimate,
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


@pytest.mark.parametrize("share", [0.001, 0.05, 1.0])
def test_nonmated_pairs_are_the_most_alike(share: float) -> None:
    vectors, owner = people(150, 1300)
    found = np.random.default_rng(1).random(1300) > 0.02
    a, b = np.triu_indices(1300, 1)
    other = owner[a] != owner[b]
    kept = nonmated_pairs(vectors, owner, found=found, share=share)
    assert kept.total == other.sum()
    compared = other & found[a] & found[b]
    expected = np.sort((vectors[a[compared]] * vectors[b[compared]]).sum(axis=1))[::-1]
    np.testing.assert_allclose(kept.similarities, expected[: len(kept.similarities)], atol=1e-6)
    assert len(kept.similarities) == min(int(share * kept.total) + 1, compared.sum(), kept.total)
    assert (kept.subjects[:, 0] != kept.subjects[:, 1]).all()
    assert kept.photos.tolist() == np.bincount(owner).tolist()


def test_without_embeddings_nothing_is_alike() -> None:
    vectors, owner = people(5, 20)
    kept = nonmated_pairs(vectors, owner, found=np.zeros(20, bool))
    assert len(kept.similarities) == 0
    assert kept.total > 0
    with pytest.raises(InputError, match="subjects"):
        nonmated_pairs(vectors, owner[:3])


def test_pairs_without_a_face_are_rejected() -> None:
    vectors, _ = people(5, 4)
    found = np.array([True, True, True, False])
    similarities = pair_similarities(vectors, np.array([[0, 0], [1, 2], [2, 3]]), found)
    assert similarities == pytest.approx([1, float(vectors[1] @ vectors[2]), -1], abs=1e-6)


def test_the_estimate_is_the_rate_and_covers_other_people() -> None:
    vectors, owner = people(400, 1600, seed=3)
    a, b = np.triu_indices(1600, 1)
    same = owner[a] == owner[b]
    similarity = pair_similarities(vectors, np.stack([a, b], axis=1))
    estimate, threshold = tar_estimate(
        similarity[same], owner[a[same]], nonmated_pairs(vectors, owner, share=0.02), 1e-3, repeats=200
    )
    expected = tar_at_far(similarity[same], similarity[~same], 1e-3)
    assert (estimate.value, threshold) == pytest.approx(expected, abs=1e-6)
    assert estimate.low < estimate.value < estimate.high
    inside = 0
    for half in range(10):  # other people of the same kind
        v, o = people(400, 1600, seed=10 + half)
        same = o[a] == o[b]
        s = pair_similarities(v, np.stack([a, b], axis=1))
        inside += estimate.low <= tar_at_far(s[same], s[~same], 1e-3)[0] <= estimate.high
    assert inside >= 6  # two samples' difference is wider than one's interval


def test_the_estimate_weighs_draws_as_copies_of_people() -> None:
    """A draw's threshold, from the kept pairs alone, is that of all pairs counted as often as drawn."""
    vectors, owner = people(60, 240, seed=4)
    a, b = np.triu_indices(240, 1)
    same = owner[a] == owner[b]
    similarity = pair_similarities(vectors, np.stack([a, b], axis=1))
    kept = nonmated_pairs(vectors, owner, share=0.5)
    mine, _ = tar_estimate(similarity[same], owner[a[same]], kept, 0.02, repeats=50, seed=7)
    rng = np.random.default_rng(7)
    rates = []
    for _ in range(50):
        weight = rng.multinomial(60, np.full(60, 1 / 60))
        copies = np.repeat(similarity[~same], weight[owner[a[~same]]] * weight[owner[b[~same]]])
        yes = np.repeat(similarity[same], weight[owner[a[same]]])
        rates.append(tar_at_far(yes, copies, 0.02)[0])
    low, high = np.percentile(rates, [2.5, 97.5])
    least, most = wilson(round(mine.value * int(same.sum())), int(same.sum()))
    assert (mine.low, mine.high) == pytest.approx((min(low, least), max(high, most)), abs=1e-9)


def test_the_estimate_refuses() -> None:
    kept = NonMated(np.array([0.5], np.float32), np.array([[0, 1]]), 1, np.array([1, 1]))
    with pytest.raises(InputError, match="subject each"):
        tar_estimate([0.5], [0, 1], kept, 0.1)
    with pytest.raises(InputError, match="subject each"):
        tar_estimate([], [], kept, 0.1)

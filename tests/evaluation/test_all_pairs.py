"""All pairs in blocks, against every pair at once and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from visavis.errors import InputError
from visavis.evaluation import all_pairs
from visavis.evaluation.all_pairs import AllPairs, evaluate_all_pairs, nonmated_pairs
from visavis.evaluation.curves import ErrorCurve
from visavis.evaluation.intervals import wilson
from visavis.evaluation.rates import Scores, evaluate_scores
from visavis.evaluation.tail import NonMated, tar_estimate
from visavis.evaluation.verification import pair_similarities, tar_at_far


def people(n: int, photos: int, seed: int = 0, size: int = 16) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    owner = rng.integers(0, n, photos)
    vectors = rng.normal(size=(n, size))[owner] + 0.8 * rng.normal(size=(photos, size))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), owner


def every_pair(
    vectors: np.ndarray, owner: np.ndarray, found: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return similarity, mated and subjects of all pairs, computed as the blocks are: sorted, by one product."""
    order = np.argsort(owner, kind="stable")
    vectors, owner = vectors[order], owner[order]
    a, b = np.triu_indices(len(owner), 1)
    similarities = pair_similarities(vectors, np.stack([a, b], axis=1)).astype(np.float64)
    if found is not None:
        similarities[~(found[order][a] & found[order][b])] = -1
    return similarities, owner[a] == owner[b], np.stack([owner[a], owner[b]], axis=1)


@pytest.mark.parametrize("cells", [4_000_000, 50_000, 1])
@pytest.mark.parametrize("missing", [0.0, 0.03])
def test_every_rate_is_that_of_all_pairs_at_once(monkeypatch: pytest.MonkeyPatch, cells: int, missing: float) -> None:
    monkeypatch.setattr(all_pairs, "_CELLS", cells)
    vectors, owner = people(60, 700, seed=5)
    found = np.random.default_rng(6).random(700) >= missing
    result = evaluate_all_pairs(vectors, owner, [0.3, 0.1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6], found=found, repeats=20)
    s, m, _ = every_pair(vectors, owner, found)
    assert (result.mated, result.nonmated) == (m.sum(), (~m).sum())
    assert [rate.supported for rate in result.rates] == [True] * 5 + [False] * 2  # 240,000 pairs show 1.2e-5
    for rate in result.rates[:5]:
        expected, threshold = tar_at_far(s[m], s[~m], rate.far)
        assert rate.tar is not None
        assert rate.fmr is not None
        assert rate.tar.value == pytest.approx(expected, abs=1.5 / m.sum())  # sums of other order: a last bit differs
        assert rate.fmr.value == pytest.approx((s[~m] >= threshold).mean(), abs=1.5 / (~m).sum())
        assert rate.threshold == pytest.approx(threshold, abs=1e-3)
        assert rate.tar.low <= rate.tar.value <= rate.tar.high
    assert result.auc.value == pytest.approx(roc_auc_score(m, s), abs=1e-6)
    exact = ErrorCurve.of(s[m], s[~m])
    assert result.eer.value == pytest.approx(exact.eer()[0], abs=1e-5)
    assert result.eer_threshold == pytest.approx(exact.eer()[1], abs=1e-4)
    for threshold in (-0.5, 0.0, 0.25, 0.5, 0.75):  # edges of bins
        at = (result.curve.at(threshold), ((s[~m] >= threshold).mean(), (s[m] < threshold).mean()))
        assert at[0] == pytest.approx(at[1], abs=1e-4)


def test_the_curve_lies_on_scikit_learns() -> None:
    vectors, owner = people(40, 300, seed=8)
    s, m, _ = every_pair(vectors, owner)
    fpr, tpr, _ = roc_curve(m, s, drop_intermediate=False)
    fmr, tar = evaluate_all_pairs(vectors, owner, [0.1], repeats=5).curve.roc()
    assert (fmr[0], tar[0], fmr[-1], tar[-1]) == (0, 0, 1, 1)
    for rate, share in zip(fmr, tar, strict=True):  # at a rate that many thresholds have, the share takes steps
        near = np.abs(fpr - rate) < 1e-4
        assert tpr[near].min() - 1e-9 <= share <= tpr[near].max() + 1e-9


def test_intervals_are_those_of_all_pairs_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same draws, whether all pairs are weighed or what is kept of them."""
    monkeypatch.setattr(all_pairs, "KEPT_STRATUM", 10**6)
    vectors, owner = people(80, 400, seed=11)
    s, m, subjects = every_pair(vectors, owner)
    whole = evaluate_scores(Scores(s, m, subjects), [0.1, 1e-2, 1e-3], repeats=60, seed=3)
    result = evaluate_all_pairs(vectors, owner, [0.1, 1e-2, 1e-3], repeats=60, seed=3)
    for a, b in zip(whole.rates, result.rates, strict=True):
        assert a.tar is not None
        assert b.tar is not None
        assert (b.tar.low, b.tar.high) == pytest.approx((a.tar.low, a.tar.high), abs=1e-4)
    assert (result.eer.low, result.eer.high) == pytest.approx((whole.eer.low, whole.eer.high), abs=1e-5)
    assert (result.auc.low, result.auc.high) == pytest.approx((whole.auc.low, whole.auc.high), abs=1e-6)


def test_a_part_of_the_pairs_gives_nearly_the_same_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, owner = people(80, 700, seed=12)
    whole = evaluate_all_pairs(vectors, owner, [0.1, 1e-4], repeats=100)
    monkeypatch.setattr(all_pairs, "KEPT_STRATUM", 2_000)
    monkeypatch.setattr(all_pairs, "KEPT_MATED", 2_000)
    part = evaluate_all_pairs(vectors, owner, [0.1, 1e-4], repeats=100)
    for a, b in zip(whole.rates, part.rates, strict=True):
        assert a.tar is not None
        assert b.tar is not None
        assert a.tar.value == b.tar.value  # exact in any case
        assert (b.tar.low, b.tar.high) == pytest.approx((a.tar.low, a.tar.high), abs=0.03)
    assert part.eer.value == whole.eer.value
    assert (part.eer.low, part.eer.high) == pytest.approx((whole.eer.low, whole.eer.high), abs=0.01)


def test_a_model_that_finds_everybody_alike_is_measured_exactly() -> None:
    vectors, owner = people(60, 400, seed=14)
    close = np.concatenate([np.ones((400, 1)), 2e-3 * vectors], axis=1)
    close = (close / np.linalg.norm(close, axis=1, keepdims=True)).astype(np.float32)
    result = evaluate_all_pairs(close, owner, [0.1, 1e-3], repeats=5)
    s, m, _ = every_pair(close, owner)
    assert s.min() > 0.99999
    assert result.auc.value > 0.9  # not the half of pairs in one bin
    assert result.auc.value == pytest.approx(roc_auc_score(m, s), abs=0.01)  # single precision ends here


def test_constant_similarities_take_no_memory_and_tell_nothing() -> None:
    vectors = np.tile(np.float32([1, 0]), (3000, 1))
    result = evaluate_all_pairs(vectors, np.arange(3000) % 3, [0.1, 1e-3], repeats=5)
    assert result.auc.value == 0.5
    assert result.eer.value == 0.5
    assert [rate.tar.value for rate in result.rates if rate.tar] == [0, 0]
    assert result.warnings == ("all similarities are the same: they tell nothing apart",)


@given(st.integers(0, 10**6), st.integers(2, 12), st.integers(4, 60))
@settings(max_examples=30)
def test_all_pairs_are_gone_through_once(seed: int, n: int, photos: int) -> None:
    vectors, owner = people(n, photos, seed)
    pairs = AllPairs(vectors, owner)
    assert pairs.mated + pairs.nonmated == photos * (photos - 1) // 2
    others = sum(int((block > -1.5).sum()) for _, block, _ in pairs.blocks())
    mated = sum(len(row) for _, _, rows in pairs.blocks() for row in rows)
    assert (mated, others) == (pairs.mated, pairs.nonmated)


@pytest.mark.parametrize(
    ("vectors", "subjects", "message"),
    [
        (np.eye(3, dtype=np.float32), [0, 1], "n subjects"),
        (np.eye(3, dtype=np.float32) * 2, [0, 0, 1], "unit length"),
        (np.full((3, 3), np.nan, np.float32), [0, 0, 1], "unit length"),
        (np.eye(3, dtype=np.float32), [0, 1, 2], "0 mated and 3"),
        (np.eye(3, dtype=np.float32), [0, 0, 0], "3 mated and 0"),
        (np.empty((0, 3), np.float32), np.empty(0, int), "0 mated and 0"),
    ],
)
def test_what_can_not_be_evaluated(vectors: np.ndarray, subjects: list[int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluate_all_pairs(vectors, subjects, [0.1])


@pytest.mark.parametrize("subjects", [[0, -1, 1], [0.0, 1.0, 1.0]])
def test_subjects_of_pairs_are_numbers(subjects: list[float]) -> None:
    with pytest.raises(InputError, match="numbers from 0"):
        nonmated_pairs(np.eye(3, dtype=np.float32), subjects)


def test_rates_to_report_lie_between_0_and_1() -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        evaluate_all_pairs(*people(4, 20), [0.0])


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


def test_rates_at_thresholds_asked_for_are_counted() -> None:
    vectors, subjects = people(80, 320)
    similarity, same = every_pair(vectors, subjects)[:2]
    wanted = [0.100_01, 0.25, 0.300_03, 0.999, 2.0, -2.0]
    curve = evaluate_all_pairs(vectors, subjects, [], thresholds=wanted, repeats=2).curve
    for threshold in wanted:
        fmr, fnmr = curve.at(threshold)
        assert round(fmr * curve.nonmated) == (similarity[~same] >= threshold).sum()
        assert round(fnmr * curve.mated) == (similarity[same] < threshold).sum()


def test_a_mated_pair_as_alike_as_the_first_that_is_refused_is_refused_too() -> None:
    similarities = np.array([0.5, 0.4, 0.3, 0.2], np.float32)
    others = NonMated(similarities, np.array([[0, 1], [0, 2], [1, 2], [0, 3]]), 4, np.ones(4, np.intp))
    assert tar_estimate(np.array([0.4, 0.9], np.float32), [0, 1], others, 0.25, repeats=20)[0].value == 0.5

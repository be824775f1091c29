"""Identification rates against scikit-learn, scipy, whole matrices and cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import top_k_accuracy_score

from visavis.errors import InputError
from visavis.evaluation.identification import closed_set, open_set, rates_at, share
from visavis.evaluation.searching import Search, search


def searched(own: list[float], ranks: list[int], strangers: list[float], size: int = 10) -> Search:
    """Return a search with these mated probes and strangers, every probe of another person."""
    n, m = len(own), len(strangers)
    return Search(
        np.arange(n + m),
        np.array([max(own, default=0)] * n + strangers, np.float32),
        np.array(own + [np.nan] * m, np.float32),
        np.array(ranks + [0] * m, np.intp),
        size,
    )


def test_cmc_is_top_k_accuracy() -> None:
    rng = np.random.default_rng(1)
    gallery = rng.standard_normal((40, 8))
    gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    persons = np.concatenate([np.arange(40), rng.integers(0, 40, 160)])
    probes = gallery[persons] + 0.35 * rng.standard_normal((200, 8))
    probes /= np.linalg.norm(probes, axis=1, keepdims=True)
    found = search(probes, persons, gallery, np.arange(40))
    rates = closed_set(found.ranks, found.subjects, found.size)
    assert 0.3 < rates.cmc[0] < 0.9, "neither all right nor all wrong"
    for k in (1, 2, 5, 10, 39):
        assert rates.rank(k).value == pytest.approx(top_k_accuracy_score(persons, probes @ gallery.T, k=k))
    assert rates.cmc[-1] == 1
    assert (rates.probes, rates.people, rates.gallery) == (200, 40, 40)
    assert (rates.low <= rates.cmc).all()
    assert (rates.cmc <= rates.high).all()


def test_intervals_are_exact_where_nobody_recurs() -> None:
    for hits in (0, 1, 37, 50):
        estimate = share(np.arange(50) < hits, np.arange(50))
        exact = binomtest(hits, 50).proportion_ci(0.95, "exact")
        assert (estimate.low, estimate.high) == pytest.approx((exact.low, exact.high))


def test_intervals_are_wider_where_people_recur() -> None:
    hits = np.repeat(np.arange(50) < 40, 20)  # whoever is found is found twenty times
    alone, together = share(hits, np.arange(1000)), share(hits, np.repeat(np.arange(50), 20))
    assert together.high - together.low > 3 * (alone.high - alone.low)
    all_right = share(np.ones(100, bool), np.repeat(np.arange(10), 10))
    assert all_right.low == pytest.approx(binomtest(100, 100).proportion_ci(0.95, "exact").low)


def test_open_set_by_hand() -> None:
    found = searched([0.9, 0.8, 0.6, 0.3], [1, 2, 1, 5], [0.7, 0.5, 0.2, 0.1])
    rates = open_set(found, [0.25, 0.5, 0])
    quarter, half, none = rates.points
    assert quarter.threshold == pytest.approx(0.6)
    assert (quarter.fpir.value, quarter.tpir.value, quarter.dir.value) == (0.25, 0.75, 0.5)
    assert quarter.fnir.value == 0.25
    assert (half.fpir.value, half.tpir.value) == (0.5, 1)
    assert (none.fpir.value, none.tpir.value, none.dir.value) == (0, 0.5, 0.25)
    assert not any(point.supported for point in rates.points), "four strangers show nothing below 3 / 4"
    assert [point.supported for point in open_set(found, [0.76, 0.74]).points] == [True, False]
    fpir, fnir, dir_ = rates_at(found, [0.0, 0.55, 0.65, 2])
    assert fpir.tolist() == [1, 0.25, 0.25, 0]
    assert fnir.tolist() == [0, 0.25, 0.5, 1]
    assert dir_.tolist() == [0.5, 0.5, 0.25, 0]
    assert (rates.mated, rates.nonmated, rates.gallery) == (4, 4, 10)


@given(
    st.lists(st.integers(-100, 100), min_size=1, max_size=60),
    st.lists(st.integers(-100, 100), min_size=1, max_size=60),
    st.sampled_from([0.0, 0.001, 0.1, 0.3, 0.99]),
)
@settings(max_examples=50)
def test_open_set_by_counting(own: list[int], strangers: list[int], fpir: float) -> None:
    found = searched([v / 100 for v in own], [1 + i % 3 for i in range(len(own))], [v / 100 for v in strangers])
    (point,) = open_set(found, [fpir], repeats=20).points
    assert point.fpir.value <= fpir + 1e-9
    over = found.best[~found.mated].astype(np.float64) >= point.threshold
    assert point.fpir.value == pytest.approx(over.mean())
    # A threshold at the highest stranger that is refused would let too many through.
    refused = found.best[~found.mated][~over].astype(np.float64)
    if len(refused):
        assert (found.best[~found.mated].astype(np.float64) >= refused.max()).mean() > fpir
    mated = found.own[found.mated].astype(np.float64)
    assert point.tpir.value == pytest.approx((mated >= point.threshold).mean())
    assert point.dir.value == pytest.approx(((mated >= point.threshold) & (found.ranks[found.mated] == 1)).mean())
    assert point.dir.value <= point.tpir.value
    for estimate in (point.fpir, point.tpir, point.fnir, point.dir):
        assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1


def test_curves_are_monotone() -> None:
    rng = np.random.default_rng(0)
    found = searched(rng.normal(0.6, 0.2, 3000).tolist(), [1] * 3000, rng.normal(0.2, 0.2, 2000).tolist())
    rates = open_set(found, [0.01], repeats=20)
    assert len(rates.thresholds) < 2000, "thinned"
    assert (np.diff(rates.thresholds) > 0).all()
    assert (np.diff(rates.fpir) <= 0).all()
    assert (np.diff(rates.fnir) >= 0).all()
    assert (rates.fpir[0], rates.fpir[-1], rates.fnir[0], rates.fnir[-1]) == (1, 0, 0, 1)
    expected = rates_at(found, rates.thresholds)
    np.testing.assert_allclose(rates.fpir, expected[0])
    np.testing.assert_allclose(rates.fnir, expected[1])


def test_the_interval_of_tpir_holds_the_truth() -> None:
    """Of thirty samples of one population nearly all intervals hold its own TPIR at FPIR 0.05."""
    from scipy.stats import norm

    truth = norm.sf(norm.isf(0.05, 0, 1), 2, 1)
    held = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        mated = rng.normal(2, 1, 150).tolist()
        found = searched(mated, [1] * 150, rng.normal(0, 1, 150).tolist())
        tpir = open_set(found, [0.05], repeats=100).points[0].tpir
        held += tpir.low <= truth <= tpir.high
    assert held >= 26


def test_same_figures_each_time() -> None:
    rng = np.random.default_rng(0)
    found = searched(rng.normal(0.6, 0.2, 50).tolist(), [1] * 50, rng.normal(0.2, 0.2, 50).tolist())
    assert open_set(found).to_dict() == open_set(found).to_dict()


@pytest.mark.parametrize(
    ("ranks", "subjects", "gallery", "said"),
    [
        ([0, 0], [1, 2], 3, "no probe is mated"),
        ([5], [1], 3, "1..3"),
        ([-1], [1], 3, "1..3"),
        ([1, 2], [1], 3, "a subject each"),
        ([1.5], [1], 3, "float64"),
    ],
)
def test_ranks_that_are_none(ranks: list[int], subjects: list[int], gallery: int, said: str) -> None:
    with pytest.raises(InputError) as raised:
        closed_set(ranks, subjects, gallery)
    assert said in str(raised.value)


def test_open_set_needs_both_kinds() -> None:
    with pytest.raises(InputError, match="not enrolled"):
        open_set(searched([0.5], [1], []))
    with pytest.raises(InputError, match="who are enrolled"):
        open_set(searched([], [], [0.5]))
    with pytest.raises(InputError, match=r"0\.\.1"):
        open_set(searched([0.5], [1], [0.5]), [1.5])


def test_ranks_beyond_what_was_kept() -> None:
    rates = closed_set([1, 2], [0, 1], gallery=5, top=2)
    assert rates.rank(2).value == 1
    with pytest.raises(InputError, match="up to rank 2"):
        rates.rank(3)
    with pytest.raises(InputError, match="begin at 1"):
        rates.rank(0)
    assert closed_set([1, 2], [0, 1], gallery=2).rank(9).value == 1, "there is no later rank"
    with pytest.raises(InputError):
        share(np.zeros(0, bool), [])

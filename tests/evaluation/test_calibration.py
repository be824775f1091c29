"""Calibration on all pairs, against every pair at once; and data that can't support one."""

from __future__ import annotations

import numpy as np
import pytest

from visavis.errors import InputError
from visavis.evaluation.calibration import LEAST_PEOPLE, RATES, measure
from visavis.evaluation.intervals import subject_draws
from visavis.evaluation.verification import threshold_at_far


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    who = np.repeat(np.arange(90), rng.integers(1, 9, 90))
    raw = rng.normal(size=(90, 48))[who] + 0.9 * rng.normal(size=(len(who), 48))
    order = rng.permutation(len(who))
    return (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)[order], who[order]


def every_pair(vectors: np.ndarray, who: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    i, j = np.triu_indices(len(who), 1)
    return i, j, (vectors @ vectors.T)[i, j], who[i] == who[j]


def test_every_figure_is_that_of_all_pairs_at_once(data: tuple[np.ndarray, np.ndarray]) -> None:
    vectors, who = data
    i, j, similar, mated = every_pair(vectors, who)
    found = measure(vectors, who, repeats=60)
    assert found.mated_pairs == mated.sum()
    assert found.nonmated_pairs == (~mated).sum()
    assert [point.fmr for point in found.points] == [rate for rate in RATES if rate >= 3 / found.nonmated_pairs]
    draws = list(subject_draws(90, 60))
    for point in found.points:
        assert point.threshold == pytest.approx(threshold_at_far(similar[~mated], point.fmr), abs=2e-7)
        missed = similar[mated] < point.threshold
        assert point.fnmr == pytest.approx(missed.mean())
        people = who[i][mated]
        assert point.fnmr_people == pytest.approx(np.mean([missed[people == p].mean() for p in np.unique(people)]))
        rates = []
        for draw in draws:
            weight = (draw[who[i]] * draw[who[j]])[~mated]
            rates.append(weight[similar[~mated] >= point.threshold].sum() / weight.sum())
        low, high = np.percentile(rates, [2.5, 97.5])
        assert (point.low, point.high) == (
            pytest.approx(min(low, point.fmr), abs=1e-7),
            pytest.approx(max(high, point.fmr), abs=1e-7),
        )


def test_the_most_alike_pairs_are_named_by_their_rows(data: tuple[np.ndarray, np.ndarray]) -> None:
    vectors, who = data[0].copy(), data[1]
    first = int(np.flatnonzero(who == 5)[0])
    second = int(np.flatnonzero(who == 17)[0])
    vectors[second] = vectors[first]  # the same photo under two names
    found = measure(vectors, who, repeats=20)
    assert found.suspicious
    top = found.suspicious[0]
    assert (top.first, top.second) == (min(first, second), max(first, second))
    assert top.similarity == pytest.approx(1)
    assert [pair.similarity for pair in found.alike] == sorted((p.similarity for p in found.alike), reverse=True)
    cleaned = measure(vectors, who, repeats=20, excluded=[(second, first)])
    assert cleaned.nonmated_pairs == found.nonmated_pairs - 1
    assert (top.first, top.second) not in {(pair.first, pair.second) for pair in cleaned.alike}


def test_mated_pairs_can_be_left_out_too(data: tuple[np.ndarray, np.ndarray]) -> None:
    vectors, who = data
    pair = np.flatnonzero(who == np.bincount(who).argmax())[:2]
    whole, less = (measure(vectors, who, repeats=20, excluded=left_out) for left_out in (None, [pair]))
    assert less.mated_pairs == whole.mated_pairs - 1
    assert less.nonmated_pairs == whole.nonmated_pairs


def test_the_rule_of_three_ends_the_table(data: tuple[np.ndarray, np.ndarray]) -> None:
    found = measure(*data, repeats=20)
    strictest = found.points[-1].fmr
    assert found.supports(strictest)
    assert not found.supports(2.9 / found.nonmated_pairs)
    assert strictest * found.nonmated_pairs >= 3


def test_one_photo_of_each_gives_an_fmr_and_no_fnmr(data: tuple[np.ndarray, np.ndarray]) -> None:
    rows = np.unique(data[1], return_index=True)[1]
    found = measure(data[0][rows], data[1][rows], repeats=20)
    assert found.mated_pairs == 0
    assert found.typical is None
    assert not found.suspicious
    assert all(point.fnmr is None and point.fnmr_people is None for point in found.points)


def test_data_that_says_nothing_is_refused(data: tuple[np.ndarray, np.ndarray]) -> None:
    vectors, who = data
    few = who < LEAST_PEOPLE - 1
    with pytest.raises(InputError, match="too few"):
        measure(vectors[few], who[few])
    constant = np.repeat(vectors[:1], len(who), axis=0)
    with pytest.raises(InputError, match="tell nobody apart"):
        measure(constant, who)
    broken = vectors.copy()
    broken[3, 0] = np.nan
    with pytest.raises(InputError):
        measure(broken, who)
    with pytest.raises(InputError):
        measure(vectors, who[:-1])
    with pytest.raises(InputError):
        measure(vectors * 2, who)

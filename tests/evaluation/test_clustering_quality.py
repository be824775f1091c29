"""Precision and recall of groups against brute force, scikit-learn and cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics.cluster import pair_confusion_matrix

from visavis.errors import InputError
from visavis.evaluation.clustering import bcubed, cluster_quality, pairwise

groupings = st.integers(1, 40).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(-1, 6), min_size=n, max_size=n), st.lists(st.integers(0, 6), min_size=n, max_size=n)
    )
)


def _own_groups(labels: list[int]) -> np.ndarray:
    """Give every face that is with nobody a group of its own."""
    return np.array([label if label >= 0 else 1000 + i for i, label in enumerate(labels)])


@given(groupings)
def test_pairs_agree_with_sklearn(case: tuple[list[int], list[int]]) -> None:
    labels, people = case
    found = pairwise(labels, people)
    (_, wrong), (missed, right) = pair_confusion_matrix(people, _own_groups(labels))
    assert found.precision == pytest.approx(right / (right + wrong) if right + wrong else 1)
    assert found.recall == pytest.approx(right / (right + missed) if right + missed else 1)


@given(groupings)
def test_bcubed_agrees_with_its_definition(case: tuple[list[int], list[int]]) -> None:
    labels, people = _own_groups(case[0]), np.array(case[1])
    precision = np.mean([(people[labels == g] == p).mean() for g, p in zip(labels, people, strict=True)])
    recall = np.mean([(labels[people == p] == g).mean() for g, p in zip(labels, people, strict=True)])
    found = bcubed(case[0], case[1])
    assert (found.precision, found.recall) == (pytest.approx(precision), pytest.approx(recall))


@given(groupings)
def test_a_perfect_grouping_is_perfect_and_names_of_groups_do_not_matter(case: tuple[list[int], list[int]]) -> None:
    labels, people = case
    assert pairwise(people, people) == bcubed(people, people)
    assert bcubed(people, people).f == 1
    renamed = [label if label < 0 else 10 - label for label in labels]
    again = bcubed(labels, [f"person {p}" for p in people])
    assert bcubed(renamed, people).to_dict() == pytest.approx(again.to_dict())
    assert pairwise(renamed, people) == pairwise(labels, people)


def test_cases_worked_out_by_hand() -> None:
    # ada ada bob | bob | eve eve, one eve with nobody
    people = ["ada", "ada", "bob", "bob", "eve", "eve", "eve"]
    labels = [0, 0, 0, 1, 2, 2, -1]
    pairs, faces = pairwise(labels, people), bcubed(labels, people)
    assert pairs.precision == pytest.approx(2 / 4)  # ada-ada and eve-eve of ada-ada, twice ada-bob, eve-eve
    assert pairs.recall == pytest.approx(2 / 5)  # 1 ada, 1 bob and 3 eve pairs
    assert faces.precision == pytest.approx((2 / 3 + 2 / 3 + 1 / 3 + 1 + 1 + 1 + 1) / 7)
    assert faces.recall == pytest.approx((1 + 1 + 1 / 2 + 1 / 2 + 2 / 3 + 2 / 3 + 1 / 3) / 7)
    assert pairwise([-1, -1], ["ada", "bob"]).to_dict() == {"precision": 1, "recall": 1, "f": 1}
    assert pairwise([-1, -1], ["ada", "ada"]).to_dict() == {"precision": 1, "recall": 0, "f": 0}


def test_intervals_hold_the_value_and_narrow_with_people() -> None:
    rng = np.random.default_rng(0)
    few, many = (np.repeat(np.arange(n), 4) for n in (20, 2000))
    found = []
    for people in (few, many):
        labels = np.where(rng.random(len(people)) < 0.1, rng.integers(0, people.max() + 1, len(people)), people)
        found.append(cluster_quality(labels, people, repeats=100))
    for quality in found:
        for estimate in (*quality.pairs.values(), *quality.faces.values()):
            assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
        assert quality.faces["f"].value == quality.to_dict()["bcubed"]["f"]["value"]
    wide, narrow = (quality.faces["f"].high - quality.faces["f"].low for quality in found)
    assert narrow < wide / 3
    assert found[1].people == 2000
    assert found[1].count == 8000


def test_a_draw_counts_a_person_as_often_as_it_was_drawn() -> None:
    """Weights of whole numbers give what copies of the faces under new names would give."""
    from visavis.evaluation.clustering import _Cells

    rng = np.random.default_rng(1)
    people, labels = rng.integers(0, 5, 30), rng.integers(0, 4, 30)
    cells = _Cells.of(labels, people)
    weight = np.array([1, 0, 1, 1, 0])
    kept = np.flatnonzero(weight[people])
    assert cells.pairwise(weight.astype(float)) == pairwise(labels[kept], people[kept])
    assert cells.bcubed(weight.astype(float)).f == pytest.approx(bcubed(labels[kept], people[kept]).f)


@pytest.mark.parametrize(
    ("labels", "people"), [([], []), ([0, 1], ["ada"]), ([0.5, 1.0], [0, 1]), ([[0]], [[0]]), ([0], [float("nan")])]
)
def test_what_is_no_grouping_is_refused(labels: list[float], people: list[object]) -> None:
    for measure in (pairwise, bcubed, cluster_quality):
        with pytest.raises(InputError):
            measure(labels, people)  # type: ignore[operator]

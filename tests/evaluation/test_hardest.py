"""The hardest pairs, against a full sort."""

from __future__ import annotations

import numpy as np
import pytest

from visavis.evaluation.all_pairs import AllPairs
from visavis.evaluation.hardest import hardest, hardest_of_all
from visavis.evaluation.rates import Scores


def unit(people: np.ndarray, seed: int = 0, noise: float = 0.8) -> np.ndarray:
    """Return embeddings that lie around a direction a person."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((people.max() + 1, 24))[people] + noise * rng.standard_normal((len(people), 24))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_hardest() -> None:
    mated = np.array([True, True, False, False, True, False])
    similarities = np.array([0.5, 0.2, 0.4, 0.9, -1, -1])
    photos = np.arange(12).reshape(6, 2)
    found = hardest(Scores(similarities, mated, photos=photos), 5, absent=-1)
    assert found.mated.tolist() == [[2, 3], [0, 1]]
    assert found.mated_similarities.tolist() == [0.2, 0.5]
    assert found.nonmated.tolist() == [[6, 7], [4, 5]]
    assert found.nonmated_similarities.tolist() == [0.9, 0.4]
    assert hardest(Scores(similarities, mated, photos=photos), 1).mated.tolist() == [[8, 9]]
    assert not len(hardest(Scores(similarities, mated), 5).mated)


@pytest.mark.parametrize("number", [1, 7, 100_000])
def test_hardest_of_all_against_a_full_sort(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("visavis.evaluation.all_pairs._CELLS", 500)  # many blocks
    rng = np.random.default_rng(1)
    people = rng.integers(0, 15, 90)
    vectors, there = unit(people), rng.random(90) > 0.1
    found = hardest_of_all(AllPairs(vectors, people, there), number)
    i, j = np.triu_indices(90, 1)
    seen = there[i] & there[j]
    i, j = i[seen], j[seen]
    similarities = (vectors @ vectors.T)[i, j]
    same = people[i] == people[j]
    for rows, values, kind, sign in (
        (found.mated, found.mated_similarities, same, 1),
        (found.nonmated, found.nonmated_similarities, ~same, -1),
    ):
        expected = sign * np.sort(sign * similarities[kind])[:number]
        np.testing.assert_allclose(values, expected, atol=1e-6)
        assert len({frozenset(pair) for pair in rows.tolist()}) == len(rows)
        np.testing.assert_allclose(np.einsum("ij,ij->i", *vectors[rows.T]), values, atol=1e-6)
        assert ((people[rows[:, 0]] == people[rows[:, 1]]) == (sign == 1)).all()
        assert there[rows].all()


def test_people_with_one_photo_have_no_mated_pair() -> None:
    people = np.arange(5)
    found = hardest_of_all(AllPairs(unit(people), people), 3)
    assert found.mated.shape == (0, 2)
    assert found.nonmated.shape == (3, 2)

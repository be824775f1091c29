"""Templates as a loop over templates and media makes them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visavis.errors import InputError
from visavis.evaluation import templates as module
from visavis.evaluation.templates import aggregate


@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.booleans(), st.booleans(), st.integers(1, 9))
@settings(max_examples=50)
def test_a_loop_gives_the_same(seed: int, n: int, norms: bool, weighted: bool, block: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((n, 5)).astype(np.float32)
    template, medium = rng.integers(3, 9, n), rng.integers(0, 3, n)
    weights = rng.random(n) + 0.1
    found = rng.random(n) < 0.8
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", block)
        made = aggregate(vectors, template, medium, weights=weights if weighted else None, norms=norms, found=found)
    assert made.ids.tolist() == sorted(set(template.tolist()))
    scaled = vectors if norms else vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled = scaled * weights[:, None] if weighted else scaled
    for i, one in enumerate(made.ids):
        media = [scaled[(template == one) & (medium == m) & found] for m in np.unique(medium)]
        total = np.sum([part.mean(axis=0) for part in media if len(part)] or [np.zeros(5)], axis=0)
        length = np.linalg.norm(total)
        assert made.found[i] == (length > 0)
        np.testing.assert_allclose(made.vectors[i], total / length if length else 0, atol=2e-5)


def test_a_video_counts_no_more_than_a_still() -> None:
    vectors = np.array([[1, 0]] + [[0, 1]] * 99, np.float32)
    made = aggregate(vectors, np.zeros(100, int), np.array([0] + [1] * 99))
    np.testing.assert_allclose(made.vectors[0], [0.5**0.5, 0.5**0.5], atol=1e-6)


def test_rows_by_id() -> None:
    made = aggregate(np.eye(3, dtype=np.float32), [30, 10, 20], [0, 0, 0])
    assert made.rows([[10, 30], [20, 20]]).tolist() == [[0, 2], [1, 1]]
    for wrong in (5, 15, 99):
        with pytest.raises(InputError, match=f"no template {wrong}"):
            made.rows([wrong])


def test_no_photo_with_an_embedding() -> None:
    made = aggregate(np.array([[0, 0], [1, 0]], np.float32), [1, 2], [0, 0])
    assert made.found.tolist() == [False, True]
    assert made.vectors.tolist() == [[0, 0], [1, 0]]
    assert not aggregate(np.zeros((2, 2), np.float32), [1, 1], [0, 0]).found.any()
    assert not aggregate(np.eye(2, dtype=np.float32), [1, 2], [0, 0], weights=[0, 1]).found[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"vectors": np.array([[1, np.nan], [1, 0]], np.float32)}, "vector of photo 0"),
        ({"weights": [1, -1]}, "weight of photo 1"),
        ({"weights": [np.inf, 1]}, "weight of photo 0"),
        ({"weights": [1]}, "a weight each"),
        ({"templates": [1.5, 2]}, "a whole number"),
        ({"media": [1]}, "a medium each"),
        ({"vectors": np.zeros((0, 2), np.float32)}, "shape (n, d)"),
        ({"found": np.array([1, 1])}, "a mask"),
    ],
)
def test_what_makes_no_templates(change: dict[str, object], said: str) -> None:
    good = {"vectors": np.eye(2, dtype=np.float32), "templates": [1, 2], "media": [0, 0]}
    with pytest.raises(InputError) as raised:
        aggregate(**{**good, **change})  # type: ignore[arg-type]
    assert said in str(raised.value)

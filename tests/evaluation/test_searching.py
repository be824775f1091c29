"""Searching in blocks gives what the whole matrix of similarities gives."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visavis.errors import InputError
from visavis.evaluation import searching
from visavis.evaluation.identification import closed_set
from visavis.evaluation.searching import Search, against_distractors, search

Vectors = npt.NDArray[np.float32]


def directions(rng: np.random.Generator, n: int) -> Vectors:
    """Return unit vectors, many of them equal and all exact in float32, so that there are real ties."""
    axes = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.6, 0.8, 0], [0.8, -0.6, 0], [0, -0.6, 0.8]], np.float32)
    return axes[rng.integers(0, len(axes), n)]


def by_hand(
    probes: Vectors, persons: npt.NDArray[np.int64], gallery: Vectors, owners: npt.NDArray[np.int64], fusion: str
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return best and own similarity and rank from the whole matrix, ties against the own subject."""
    matrix = probes.astype(np.float64) @ gallery.astype(np.float64).T
    people = np.unique(owners)
    fused = np.stack([getattr(matrix[:, owners == one], fusion)(axis=1) for one in people], axis=1)
    own, ranks = np.full(len(probes), np.nan), np.zeros(len(probes), np.int64)
    for i, person in enumerate(persons):
        if person in people:
            place = int(np.flatnonzero(people == person)[0])
            own[i] = fused[i, place]
            ranks[i] = 1 + (np.delete(fused[i], place) >= own[i] - 1e-6).sum()
    return fused.max(axis=1), own, ranks


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 30),
    st.integers(1, 40),
    st.integers(1, 9),
    st.sampled_from(["max", "mean"]),
    st.integers(1, 7),
    st.integers(1, 20),
)
@settings(max_examples=60)
def test_blocks_make_no_difference(
    seed: int, p: int, g: int, people: int, fusion: searching.Fusion, rows: int, cells: int
) -> None:
    rng = np.random.default_rng(seed)
    probes, gallery = directions(rng, p), directions(rng, g)
    persons, owners = rng.integers(0, people + 2, p), rng.integers(0, people, g)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(searching, "_ROWS", rows)
        patch.setattr(searching, "_CELLS", cells)
        found = search(probes, persons, gallery, owners, fusion=fusion)
    best, own, ranks = by_hand(probes, persons, gallery, owners, fusion)
    np.testing.assert_allclose(found.best, best, atol=1e-6)
    np.testing.assert_allclose(found.own, own, atol=1e-6)
    assert found.ranks.tolist() == ranks.tolist()
    assert found.size == len(np.unique(owners))
    assert (found.mated == np.isin(persons, owners)).all()


@given(st.integers(0, 2**32 - 1), st.integers(1, 200), st.integers(1, 50))
@settings(max_examples=30)
def test_distractors_are_nested(seed: int, n: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    gallery = directions(rng, 5)
    probes, persons = directions(rng, 12), rng.integers(0, 7, 12)
    persons[0] = 0  # one at least is mated
    found = search(probes, persons, gallery, np.arange(5))
    distractors = directions(rng, n) * np.float32(3)  # any length
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(searching, "_ROWS", rows)
        ranked = against_distractors(found, probes, distractors)
    matrix = probes[found.mated].astype(np.float64) @ (distractors / 3).astype(np.float64).T
    for size, ranks in zip(ranked.sizes, ranked.ranks, strict=True):
        above = (matrix[:, :size] >= found.own[found.mated, None].astype(np.float64) - 1e-6).sum(axis=1)
        assert ranks.tolist() == (1 + above).tolist()
    assert ranked.sizes[-1] == n
    assert (np.diff(ranked.ranks, axis=0) >= 0).all(), "more distractors never help"
    assert set(ranked.sizes.tolist()) - {n} <= {1, 10, 100}


def test_ties_count_against_the_own_subject() -> None:
    gallery = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    found = search(np.array([[1, 0]], np.float32), ["b"], gallery, ["a", "b", "c"])
    assert found.ranks.tolist() == [2]
    alike = np.repeat(gallery[:1], 3, axis=0)
    assert search(alike[:1], ["b"], alike, ["a", "b", "c"]).ranks.tolist() == [3]


def test_no_embedding_counts_as_never_found() -> None:
    gallery = np.array([[1, 0], [0, 1], [0, 0]], np.float32)
    there = np.array([True, True, False])
    probes = np.array([[1, 0], [0, 0], [0, 0], [0, 1]], np.float32)
    found = search(
        probes,
        ["a", "a", "stranger", "lost"],
        gallery,
        ["a", "b", "lost"],
        found=np.array([True, False, False, True]),
        gallery_found=there,
    )
    assert found.ranks.tolist() == [1, 4, 0, 4], "beyond the last of three enrolled"
    assert found.own[[0, 1, 3]].tolist() == [1, -1, -1]
    assert found.best.tolist() == [1, -1, -1, 1], "whom it is taken for counts all the same"
    ranked = against_distractors(found, probes, np.eye(2, dtype=np.float32))
    assert ranked.ranks.tolist() == [[2, 3, 3], [2, 4, 4]]


def test_gallery_of_nobody_usable() -> None:
    found = search(np.eye(2, dtype=np.float32), [0, 5], np.zeros((1, 2)), [0], gallery_found=np.array([False]))
    assert found.ranks.tolist() == [2, 0], "found at no rank, though there is but one"
    assert closed_set(found.ranks, found.subjects, found.size).rank(5).value == 0
    assert found.best.tolist() == [-1, -1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"probes": np.full((2, 2), np.nan, np.float32)}, "row 0 of probes has length nan"),
        ({"gallery": np.array([[1, 0], [2, 0]], np.float32)}, "row 1 of gallery has length 2"),
        ({"probe_subjects": ["a"]}, "need a subject each"),
        ({"gallery": np.zeros((0, 2), np.float32), "gallery_subjects": np.zeros(0, str)}, "gallery is empty"),
        ({"probes": np.eye(3, dtype=np.float32)[:2]}, "3 numbers"),
        ({"probe_subjects": [1, 2]}, "name both alike"),
        ({"fusion": "median"}, "max or mean"),
        ({"probes": np.ones(2, np.float32)}, "shape (n, d)"),
        ({"found": np.array([1, 0])}, "mask"),
    ],
)
def test_what_can_not_be_searched(change: dict[str, object], said: str) -> None:
    good = {
        "probes": np.eye(2, dtype=np.float32),
        "probe_subjects": ["a", "b"],
        "gallery": np.eye(2, dtype=np.float32),
        "gallery_subjects": ["a", "b"],
    }
    with pytest.raises(InputError) as raised:
        search(**{**good, **change})  # type: ignore[arg-type]
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("distractors", "sizes", "said"),
    [
        (np.array([[1, 0], [0, 0]], np.float32), None, "row 1 of the distractors"),
        (np.array([[1, 0], [np.inf, 0]], np.float32), None, "row 1 of the distractors"),
        (np.eye(3, dtype=np.float32), None, "distractors of 3 numbers and probes of 2"),
        (np.eye(2, dtype=np.float32), [3], "1..2"),
        (np.eye(2, dtype=np.float32), [0], "1..2"),
        (np.zeros((0, 2), np.float32), None, "shape (n, d)"),
        (np.eye(2, dtype=int), None, "int64"),
    ],
)
def test_distractors_that_are_none(distractors: Vectors, sizes: list[int] | None, said: str) -> None:
    eye = np.eye(2, dtype=np.float32)
    found = search(eye, ["a", "b"], eye, ["a", "b"])
    with pytest.raises(InputError) as raised:
        against_distractors(found, eye, distractors, sizes)
    assert said in str(raised.value)


def test_distractors_need_a_mated_probe() -> None:
    eye = np.eye(2, dtype=np.float32)
    with pytest.raises(InputError, match="no probe is mated"):
        against_distractors(search(eye, ["x", "y"], eye, ["a", "b"]), eye, eye)


def test_half_precision_and_memory_maps(tmp_path: object) -> None:
    rng = np.random.default_rng(0)
    raw = rng.standard_normal((300, 8)).astype(np.float16)
    path = f"{tmp_path}/d.npy"
    np.save(path, raw)
    eye = np.eye(8, dtype=np.float32)
    found: Search = search(eye, np.arange(8), eye, np.arange(8))
    mapped = against_distractors(found, eye, np.load(path, mmap_mode="r"), [300])
    whole = against_distractors(found, eye, raw.astype(np.float64), [300])
    assert mapped.ranks.tolist() == whole.ranks.tolist() == [[1] * 8]

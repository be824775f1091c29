"""Average linkage and DBSCAN against scikit-learn on real embeddings, and what may come as input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cluster import DBSCAN, AgglomerativeClustering
from sklearn.metrics import adjusted_rand_score

from visavis.clustering import cluster
from visavis.errors import InputError


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def people(number: int, faces: int, spread: float, seed: int = 0, d: int = 64) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(number), faces)
    return unit(rng.normal(size=(number, d))[who] + spread * rng.normal(size=(len(who), d))), who


def alone_apart(labels: np.ndarray) -> np.ndarray:
    return np.where(labels < 0, labels.max() + 1 + np.arange(len(labels)), labels)


@pytest.mark.parametrize("threshold", [0.2, 0.35, 0.5, 0.7])
def test_average_linkage_is_that_of_sklearn(threshold: float) -> None:
    faces, _ = people(120, 5, 1.0)
    apart = np.clip(1 - faces.astype(np.float64) @ faces.T, 0, 2)
    known = AgglomerativeClustering(
        None, metric="precomputed", linkage="average", distance_threshold=1 - threshold
    ).fit_predict(apart)
    assert adjusted_rand_score(known, alone_apart(cluster(faces, threshold=threshold))) == 1


@pytest.mark.parametrize("min_faces", [2, 3, 5])
def test_dbscan_is_that_of_sklearn_on_all_pairs(min_faces: int) -> None:
    faces, _ = people(100, 6, 1.0)
    apart = np.clip(1 - faces.astype(np.float64) @ faces.T, 0, 2)
    known = DBSCAN(eps=0.55, min_samples=min_faces, metric="precomputed").fit(apart)
    found = cluster(faces, threshold=0.45, method="dbscan", min_faces=min_faces)
    assert adjusted_rand_score(alone_apart(known.labels_), alone_apart(found)) > 0.99
    # Which of two groups a face between them goes to is left open by DBSCAN; the middles of groups are not.
    middles = known.core_sample_indices_[found[known.core_sample_indices_] >= 0]
    assert len(middles) > 0.9 * len(known.core_sample_indices_)
    assert adjusted_rand_score(known.labels_[middles], found[middles]) == 1


def test_people_are_found_whatever_the_order_of_faces() -> None:
    faces, who = people(40, 7, 0.4)
    labels = cluster(faces, threshold=0.5)
    assert adjusted_rand_score(who, labels) == 1
    order = np.random.default_rng(1).permutation(len(faces))
    assert adjusted_rand_score(labels[order], cluster(faces[order], threshold=0.5)) == 1


def test_clusters_are_numbered_by_size_and_small_ones_are_nobody() -> None:
    axes = np.eye(5)
    faces = axes[[3, 1, 1, 2, 1, 2, 4, 0, 0]]
    assert cluster(faces, threshold=0.5).tolist() == [-1, 0, 0, 1, 0, 1, -1, 2, 2]
    assert cluster(faces, threshold=0.5, min_faces=3).tolist() == [-1, 0, 0, -1, 0, -1, -1, -1, -1]
    assert cluster(faces, threshold=0.5, min_faces=1).tolist() == [3, 0, 0, 1, 0, 1, 4, 2, 2]


@given(st.integers(2, 60), st.integers(0, 10_000), st.floats(-0.5, 0.9))
def test_a_higher_threshold_only_splits(number: int, seed: int, threshold: float) -> None:
    faces = unit(np.random.default_rng(seed).normal(size=(number, 4)))
    loose, strict = (cluster(faces, threshold=t, min_faces=1) for t in (threshold, threshold + 0.05))
    pairs = {(int(a), int(b)) for a, b in zip(strict, loose, strict=True)}
    assert len(pairs) == len(set(strict.tolist()))


def test_the_same_face_thousands_of_times_is_one_person_at_once() -> None:
    told: list[str] = []
    faces = np.repeat(np.eye(3), 1000, axis=0)
    assert np.bincount(cluster(faces, threshold=0.5, say=told.append)).tolist() == [1000, 1000, 1000]
    assert len(told) < 5
    assert np.bincount(cluster(faces, threshold=0.5, method="dbscan")).sum() == 3000


def test_nobody_and_nothing() -> None:
    assert cluster(np.empty((0, 4)), threshold=0.5).tolist() == []
    assert cluster(np.zeros((3, 4)), threshold=0.5).tolist() == [-1, -1, -1]
    assert cluster([[0, 0], [1, 0], [0, 0], [1, 0]], threshold=0.5).tolist() == [-1, 0, -1, 0]
    assert cluster([[1.0, 0.0]], threshold=0.5).tolist() == [-1]
    assert cluster([[1.0, 0.0], [0.0, 1.0]], threshold=0.5).dtype == np.intp


@pytest.mark.parametrize(
    ("faces", "settings"),
    [
        ([[float("nan"), 1.0]], {}),
        ([[float("inf"), 1.0]], {}),
        ([[2.0, 0.0]], {}),
        ([1.0, 0.0], {}),
        ([[1.0], [1.0, 0.0]], {}),
        ([["a", "b"]], {}),
        ([[1.0, 0.0]], {"threshold": 1.0}),
        ([[1.0, 0.0]], {"threshold": float("nan")}),
        ([[1.0, 0.0]], {"min_faces": 0}),
        ([[1.0, 0.0]], {"method": "guess"}),
    ],
)
def test_what_can_not_be_grouped_is_refused(faces: object, settings: dict[str, object]) -> None:
    with pytest.raises(InputError):
        cluster(faces, **{"threshold": 0.5, **settings})  # type: ignore[arg-type]

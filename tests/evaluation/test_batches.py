"""Metrics fed batch by batch give what their functions give of everything at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from visavis.errors import InputError
from visavis.evaluation.attacks import Presentations, evaluate_attacks
from visavis.evaluation.average_precision import coco_average_precision
from visavis.evaluation.batches import (
    AgeMetric,
    AttackMetric,
    ClassMetric,
    DetectionMetric,
    IdentificationMetric,
    LandmarkMetric,
    VerificationMetric,
)
from visavis.evaluation.detection import Found, Truth
from visavis.evaluation.identification import closed_set, open_set
from visavis.evaluation.landmarks import landmark_errors
from visavis.evaluation.rates import Scores, evaluate_scores
from visavis.evaluation.searching import search
from visavis.evaluation.traits import evaluate_ages, evaluate_classes

PARTS = np.array_split(np.arange(500), 7)
RNG = np.random.default_rng(5)


def test_pairs() -> None:
    mated = RNG.random(500) < 0.5
    s, subjects, folds = RNG.normal(mated), np.stack([np.arange(500) % 50] * 2, axis=1), np.arange(500) % 5
    subjects[~mated, 1] = (subjects[~mated, 1] + 1) % 50
    metric = VerificationMetric()
    for part in PARTS:
        metric.update(s[part], mated[part], subjects[part], folds[part])
    once = evaluate_scores(Scores(s, mated, subjects, folds=folds), repeats=20)
    assert metric.compute(repeats=20).to_dict() == once.to_dict()
    with pytest.raises(InputError, match="with all batches, or with none"):
        metric.update([0.5], [True])


def test_probes() -> None:
    vectors = RNG.normal(size=(540, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    gallery, who, probes = vectors[:40], np.arange(40), vectors[40:]
    subjects = np.arange(500) % 60
    metric = IdentificationMetric(gallery, who)
    for part in PARTS:
        metric.update(probes[part], subjects[part])
    closed, opened = metric.compute(repeats=20)
    found = search(probes, subjects, gallery, who)
    assert closed.to_dict() == closed_set(found.ranks, found.subjects, found.size).to_dict()
    assert opened is not None
    assert opened.to_dict() == open_set(found, repeats=20).to_dict()
    metric.reset()
    metric.update(probes[:40], np.arange(40))
    assert metric.compute()[1] is None


def test_presentations() -> None:
    kinds = np.array(["live", "print", "replay of a film"])[RNG.integers(0, 3, 500)]
    scores = RNG.normal(kinds == "live")
    metric = AttackMetric(bona_fide="live")
    for part in PARTS:
        metric.update(scores[part], kinds[part].tolist())
    given = Presentations.of(scores, kinds, bona_fide="live")
    assert metric.compute(0.5).to_dict() == evaluate_attacks(given, 0.5).to_dict()


def test_classes_and_ages() -> None:
    truth = np.array(["a", "bb", "ccc"])[RNG.integers(0, 3, 500)]
    said = np.where(RNG.random(500) < 0.7, truth, "bb")
    years, guessed = RNG.uniform(1, 90, 500), RNG.uniform(1, 90, 500)
    classes, ages = ClassMetric(), AgeMetric()
    for part in PARTS:
        classes.update(truth[part].tolist(), said[part].tolist())
        ages.update(years[part], guessed[part])
    assert classes.compute().to_dict() == evaluate_classes(truth.tolist(), said.tolist()).to_dict()
    assert ages.compute().to_dict() == evaluate_ages(years, guessed).to_dict()


def test_landmarks() -> None:
    truth = RNG.uniform(0, 100, (500, 5, 2))
    found, sizes = truth + RNG.normal(0, 2, truth.shape), RNG.uniform(20, 40, 500)
    metric = LandmarkMetric()
    for part in PARTS:
        metric.update(found[part], truth[part], sizes[part])
    np.testing.assert_array_equal(metric.compute().points, landmark_errors(found, truth, sizes).points)


def test_boxes() -> None:
    corners = RNG.uniform(0, 50, (20, 3, 2))
    boxes = np.concatenate([corners, corners + 20], axis=2)
    truths = [Truth(some) for some in boxes]
    found = [Found(some + RNG.normal(0, 3, 4), RNG.random(3)) for some in boxes]
    metric = DetectionMetric()
    metric.update(truths[:7], found[:7])
    metric.update(truths[7:], found[7:])
    assert metric.compute().to_dict() == coco_average_precision(truths, found).to_dict()
    with pytest.raises(InputError, match="1 and 0"):
        metric.update(truths[:1], [])
    metric.reset()
    with pytest.raises(InputError, match="update first"):
        metric.compute()


@pytest.mark.parametrize("make", [VerificationMetric, AttackMetric, ClassMetric, AgeMetric, LandmarkMetric])
def test_nothing_to_measure(make: Callable[[], Any]) -> None:
    with pytest.raises(InputError, match="update first"):
        make().compute()


def test_columns_of_unequal_length() -> None:
    with pytest.raises(InputError, match="same length"):
        AgeMetric().update([30, 40], [30])
    with pytest.raises(InputError, match="same length"):
        AgeMetric().update(30, 30)  # type: ignore[arg-type]
    metric = LandmarkMetric()
    metric.update(np.zeros((2, 5, 2)), np.zeros((2, 5, 2)), np.ones(2))
    metric.update(np.zeros((2, 68, 2)), np.zeros((2, 68, 2)), np.ones(2))
    with pytest.raises(InputError, match="don't fit together"):
        metric.compute()

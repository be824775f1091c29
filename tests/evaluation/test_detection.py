"""Matching boxes to faces, slices, WIDER FACE's average precision and FDDB's ROC."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from visavis.errors import EngineError, InputError
from visavis.evaluation.detection import Found, Truth, match, overlaps
from visavis.evaluation.fddb import fddb_roc, region_overlaps
from visavis.evaluation.slices import slices
from visavis.evaluation.wider import counted_by_height, wider_average_precision
from visavis.geometry import ellipse_boxes, ellipse_polygons, polygon_overlap

from .test_average_precision import scene


def test_boxes_take_the_best_face_that_is_free() -> None:
    truth = Truth([[0, 0, 10, 10], [8, 0, 18, 10], [40, 40, 50, 50]], ignored=[False, False, True])
    boxes = [[0, 0, 10, 9], [1, 0, 11, 10], [8, 1, 18, 10], [41, 40, 51, 50], [80, 80, 90, 90]]
    found = Found(boxes, [0.9, 0.8, 0.7, 0.6, 0.5])
    matches = match([truth], [found])
    # The second lies on a face that is taken: false. The fourth lies on one that does not count: left out.
    assert matches.faces.tolist() == [0, -1, 1, -1]
    assert matches.boxes.tolist() == [0, 1, 2, 4]
    assert matches.total == 2
    assert matches.found_at[0].tolist()[:2] == [0.9, 0.7]
    assert np.isnan(matches.found_at[0][2])
    assert matches.recall.tolist() == [0.5, 0.5, 1, 1]
    assert matches.precision.tolist() == [1, 0.5, 2 / 3, 0.5]
    assert matches.average_precision == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert matches.recall_at(0.75).value == 0.5
    assert matches.precision_at(0.75).value == 0.5
    assert matches.precision_at(0.95) is None
    assert matches.score_for(0.6) == 0.7
    assert matches.score_for(1.0) == 0.9


def test_no_boxes_and_no_faces() -> None:
    none = Found(np.empty((0, 4)), [])
    assert match([Truth([[0, 0, 5, 5]])], [none]).average_precision == 0
    assert np.isnan(match([Truth(np.empty((0, 4)))], [none]).average_precision)
    with pytest.raises(InputError, match="no face to be found"):
        match([Truth(np.empty((0, 4)))], [none]).recall_at(0)
    assert match([], []).total == 0


def test_mistakes_are_refused() -> None:
    with pytest.raises(InputError, match="can't be compared"):
        match([Truth(np.empty((0, 4)))], [])
    with pytest.raises(InputError, match=r"IoU to reach lies in 0\.\.1"):
        match([], [], least=0)
    with pytest.raises(InputError, match="NaN"):
        Found([[0, 0, 1, 1]], [np.nan])
    with pytest.raises(InputError, match="finite"):
        Truth([[0, 0, np.inf, 1]])
    with pytest.raises(InputError, match="must not end before it begins"):
        Truth([[0, 0, -1, 1]])
    with pytest.raises(InputError, match="need ignored"):
        Truth([[0, 0, 1, 1]], ignored=[True, False])


@given(st.integers(0, 10**6))
def test_average_precision_of_separate_scores_is_an_area(seed: int) -> None:
    """Scikit-learn sums precision over ranks; ours lies above by what the falling hull adds, and below the recall."""
    truths, found = scene(np.random.default_rng(seed), 4)
    matches = match(truths, found)
    if not matches.total or not (matches.faces >= 0).any():
        return
    hits = matches.faces >= 0
    plain = average_precision_score(hits, matches.scores) * hits.sum() / matches.total
    assert plain - 1e-9 <= matches.average_precision <= hits.sum() / matches.total + 1e-9
    assert (np.diff(matches.recall) >= 0).all()


def test_slices_look_at_their_own_faces() -> None:
    truth = Truth([[0, 0, 15, 15], [100, 0, 160, 60], [130, 0, 190, 60], [300, 300, 700, 700]])
    found = Found([[0, 0, 15, 15], [100, 0, 160, 60], [500, 0, 515, 15]], [0.9, 0.8, 0.7])
    tables = slices([truth], [found], score=0.0)
    heights = {row.name: row for row in tables["height"]}
    assert heights["10 to 20 px"].faces == 1
    assert heights["10 to 20 px"].recall.value == 1
    assert heights["50 to 100 px"].recall.value == 0.5
    assert heights["50 to 100 px"].average_precision == 0.5  # the false alarm is 15 px high: not theirs
    assert heights["300 px and more"].recall.value == 0
    assert heights["0 to 10 px"].recall is None
    overlap = {row.name: row.faces for row in tables["overlap"]}
    assert overlap == {"touches no other face": 2, "IoU 0 to 0.1": 0, "IoU 0.1 to 0.3": 0, "IoU 0.3 to 1": 2}
    assert sum(row.faces for row in tables["height"]) == 4


# WIDER FACE


def by_the_book(truths: list[Any], counted: list[Any], found: list[Found]) -> float:
    """Return the AP by loops over boxes and thresholds, as the evaluation's description goes."""
    every = np.concatenate([f.scores for f in found])
    low, span = every.min(), every.max() - every.min()
    table = np.zeros((1000, 2))
    for truth, mask, boxes in zip(truths, counted, found, strict=True):
        if not len(truth) or not len(boxes):
            continue
        order = np.argsort(-boxes.scores, kind="stable")
        state = [0] * len(truth)
        proposals, hits = [], []
        for row in order:
            a = boxes.boxes[row]
            best, at = -1.0, 0
            for j, b in enumerate(truth):
                w = min(a[2], b[2]) - max(a[0], b[0]) + 1
                h = min(a[3], b[3]) - max(a[1], b[1]) + 1
                shared = max(w, 0) * max(h, 0)
                sizes = [(c[2] - c[0] + 1) * (c[3] - c[1] + 1) for c in (a, b)]
                value = shared / (sum(sizes) - shared)
                if value > best:
                    best, at = value, j
            proposal = 1
            if best >= 0.5:
                if not mask[at]:
                    state[at], proposal = -1, -1
                elif state[at] == 0:
                    state[at] = 1
            proposals.append(proposal)
            hits.append(state.count(1))
        scores = (boxes.scores[order] - low) / span
        for t in range(1000):
            reached = np.flatnonzero(scores >= 1 - (t + 1) / 1000)
            if len(reached):
                last = reached[-1]
                table[t] += [proposals[: last + 1].count(1), hits[last]]
    precision = [right / total if total else 0.0 for total, right in table]
    recall = table[:, 1] / sum(int(mask.sum()) for mask in counted)
    mrec, mpre = [0.0, *recall, 1.0], [0.0, *precision, 0.0]
    for i in range(len(mpre) - 2, -1, -1):
        mpre[i] = max(mpre[i], mpre[i + 1])
    return sum((mrec[i + 1] - mrec[i]) * mpre[i + 1] for i in range(len(mrec) - 1))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_wider_goes_by_the_book(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truths, found = scene(rng, 12)
    boxes = [truth.boxes for truth in truths]
    counted = [rng.random(len(b)) < 0.7 for b in boxes]
    result = wider_average_precision(boxes, counted, found)
    assert result.ap == pytest.approx(by_the_book(boxes, counted, found), abs=1e-12)
    assert 0.1 < result.ap < 0.9


def test_wider_of_a_perfect_detector() -> None:
    boxes = [np.array([[0, 0, 20, 20], [50, 50, 90, 90]], float), np.empty((0, 4))]
    counted = [np.array([True, False]), np.zeros(0, bool)]
    # Two boxes, one on a face that does not count; and one on a picture without faces, which is not looked at.
    found = [Found(boxes[0], [0.9, 0.8]), Found([[0, 0, 9, 9]], [0.95])]
    assert wider_average_precision(boxes, counted, found).ap == 1
    assert wider_average_precision(boxes, counted, [Found(np.empty((0, 4)), [])] * 2).ap == 0
    with pytest.raises(InputError, match="nothing to be found"):
        wider_average_precision(boxes, [np.zeros(2, bool), np.zeros(0, bool)], found)
    with pytest.raises(InputError, match="can't be compared"):
        wider_average_precision(boxes, counted, found[:1])


def test_heights_stand_in_for_the_lists() -> None:
    boxes = [[0, 0, 60, 60], [0, 0, 40, 40], [0, 0, 0, 60], [0, 0, 9, 9]]
    assert counted_by_height(boxes, [False, False, False, False], 50).tolist() == [True, False, False, False]
    assert counted_by_height(boxes, [True, False, False, False], 10).tolist() == [False, True, False, False]


# FDDB


def test_regions_overlap_as_their_pixels_do() -> None:
    rng = np.random.default_rng(5)
    for _ in range(12):
        ellipse = np.array([*rng.uniform(150, 250, 2), *rng.uniform(40, 110, 2), rng.uniform(-90, 90)])
        other = ellipse + np.array([*rng.uniform(-60, 60, 2), *rng.uniform(-15, 15, 2), rng.uniform(-40, 40)])
        low = rng.uniform(60, 200, 2)
        box = np.array([*low, *(low + rng.uniform(60, 160, 2))])
        y, x = np.mgrid[0:400, 0:400] + 0.5

        def inside(e: Any, x: Any = x, y: Any = y) -> Any:
            cos, sin = np.cos(np.radians(e[4])), np.sin(np.radians(e[4]))
            u, v = (x - e[0]) * cos + (y - e[1]) * sin, -(x - e[0]) * sin + (y - e[1]) * cos
            return (u / e[2]) ** 2 + (v / e[3]) ** 2 <= 1

        first, second = inside(ellipse), inside(other)
        rectangle = (x >= box[0]) & (x <= box[2]) & (y >= box[1]) & (y <= box[3])
        assert region_overlaps(other[None], ellipse[None])[0, 0] == pytest.approx(
            (first & second).sum() / (first | second).sum(), abs=0.004
        )
        assert region_overlaps(box[None], ellipse[None])[0, 0] == pytest.approx(
            (first & rectangle).sum() / (first | rectangle).sum(), abs=0.004
        )


@given(st.integers(0, 10**6))
def test_polygons_overlap_as_opencv_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = (cv2.convexHull(rng.uniform(0, 100, (8, 2)).astype(np.float32))[:, 0] for _ in range(2))
    clockwise = [p if cv2.contourArea(p, oriented=True) > 0 else p[::-1] for p in (a, b)]
    shared = cv2.intersectConvexConvex(a, b)[0]
    wanted = shared / (cv2.contourArea(a) + cv2.contourArea(b) - shared)
    assert polygon_overlap(*(p.astype(np.float64) for p in clockwise)) == pytest.approx(wanted, abs=2e-3)


def test_polygons_of_ellipses_keep_their_area() -> None:
    polygon = ellipse_polygons(np.array([[10.0, 20, 8, 4, 30]]))[0]
    assert cv2.contourArea(polygon.astype(np.float32)) == pytest.approx(np.pi * 32, rel=1e-4)
    assert ellipse_boxes(np.array([[10.0, 20, 8, 4, 0]])).tolist() == [[2, 16, 18, 24]]
    assert polygon_overlap(polygon, polygon) == pytest.approx(1)
    assert polygon_overlap(polygon, polygon + 100) == 0


def test_fddb_matches_for_the_largest_sum() -> None:
    # Greedy would give the first box the first face (0.8) and leave 0.0 for the second: together 0.8 instead of 1.3.
    overlap = np.array([[0.8, 0.7], [0.6, 0.0], [0.0, 0.0]])
    found = Found([[0, 0, 1, 1]] * 3, [0.9, 0.8, 0.7])
    roc = fddb_roc([overlap], [found])
    assert roc.scores.tolist() == [0.9, 0.8, 0.7]
    assert roc.discrete.tolist() == [0.5, 1, 1]
    assert roc.continuous.tolist() == pytest.approx([0.4, 0.65, 0.65])
    assert roc.false_discrete.tolist() == [0, 0, 1]
    assert roc.false_continuous.tolist() == [0, 0, 1]
    assert roc.at(0) == (1, pytest.approx(0.65))


def test_a_weak_overlap_counts_in_the_continuous_curve_alone() -> None:
    roc = fddb_roc([np.array([[0.4]]), np.empty((0, 2))], [Found([[0, 0, 1, 1]], [0.9]), Found(np.empty((0, 4)), [])])
    assert roc.discrete.tolist() == [0]
    assert roc.continuous.tolist() == pytest.approx([0.4 / 3])
    assert (roc.false_discrete.tolist(), roc.false_continuous.tolist()) == ([1], [0])
    assert roc.at(0) == (0, 0)


def test_fddb_over_pictures_is_the_sum_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    truths, found = scene(np.random.default_rng(4), 6)
    shared = [overlaps(f.boxes, t.boxes) for t, f in zip(truths, found, strict=True)]
    roc = fddb_roc(shared, found)
    at = roc.scores[len(roc.scores) // 2]
    row = int(np.flatnonzero(roc.scores == at)[0])
    kept = [f.scores >= at for f in found]
    alone = fddb_roc(
        [s[k] for s, k in zip(shared, kept, strict=True)],
        [Found(f.boxes[k], np.ones(k.sum())) for f, k in zip(found, kept, strict=True)],
    )
    assert roc.discrete[row] == pytest.approx(alone.discrete[-1])
    assert roc.continuous[row] == pytest.approx(alone.continuous[-1])
    assert roc.false_discrete[row] == alone.false_discrete[-1]
    assert (np.diff(roc.continuous) >= -1e-12).all()
    with pytest.raises(InputError, match="no face to be found"):
        fddb_roc([np.empty((0, 0))], [Found(np.empty((0, 4)), [])])
    with pytest.raises(InputError, match="need overlaps"):
        fddb_roc([np.empty((2, 1))], [Found(np.empty((0, 4)), [])])
    with pytest.raises(InputError, match="can't be compared"):
        fddb_roc([], [Found(np.empty((0, 4)), [])])
    monkeypatch.setitem(__import__("sys").modules, "scipy.optimize", None)
    with pytest.raises(EngineError, match="needs scipy"):
        fddb_roc([], [])

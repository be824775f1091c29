"""Boxes against independent references: pixel masks, OpenCV's NMS and a quadratic loop."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from visavis.errors import InputError
from visavis.geometry import area, clip_boxes, intersection, iou, nms

GRID = 24


@st.composite
def whole_boxes(draw, most: int = 6):
    corners = draw(hnp.arrays(np.int64, st.tuples(st.integers(0, most), st.just(4)), elements=st.integers(0, GRID)))
    return np.concatenate([np.minimum(corners[:, :2], corners[:, 2:]), np.maximum(corners[:, :2], corners[:, 2:])], 1)


@st.composite
def scored_boxes(draw, most: int = 12):
    n = draw(st.integers(0, most))
    corner = draw(hnp.arrays(np.float32, (n, 2), elements=st.floats(0, 50, width=32)))
    sides = draw(hnp.arrays(np.float32, (n, 2), elements=st.floats(1, 40, width=32)))
    scores = draw(hnp.arrays(np.float32, n, elements=st.floats(0, 1, width=32), unique=True))
    return np.concatenate([corner, corner + sides], axis=1), scores


def mask(box: np.ndarray) -> np.ndarray:
    x1, y1, x2, y2 = box
    canvas = np.zeros((GRID, GRID), bool)
    canvas[y1:y2, x1:x2] = True
    return canvas


@given(a=whole_boxes(), b=whole_boxes())
def test_overlap_counts_pixels(a, b):
    shared = np.array([[(mask(p) & mask(q)).sum() for q in b] for p in a], np.float64).reshape(len(a), len(b))
    union = np.array([[(mask(p) | mask(q)).sum() for q in b] for p in a], np.float64).reshape(len(a), len(b))
    expected = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    np.testing.assert_array_equal(intersection(a.astype(np.float32), b.astype(np.float32)), shared)
    np.testing.assert_allclose(iou(a.astype(np.float32), b.astype(np.float32)), expected, rtol=1e-6)
    np.testing.assert_array_equal(area(a.astype(np.float32)), [mask(p).sum() for p in a])


@given(boxes=scored_boxes())
def test_iou_is_symmetric_bounded_and_one_with_itself(boxes):
    overlap = iou(boxes[0], boxes[0])
    np.testing.assert_array_equal(overlap, overlap.T)
    assert ((overlap >= 0) & (overlap <= 1 + 1e-6)).all()
    np.testing.assert_allclose(np.diag(overlap), 1, rtol=1e-6)


def test_empty_and_reversed_boxes_overlap_nothing():
    boxes = np.array([[3, 3, 3, 9], [9, 9, 3, 3], [0, 0, 10, 10]], np.float32)
    assert iou(boxes, boxes)[:2].tolist() == [[0, 0, 0], [0, 0, 0]]
    assert area(boxes).tolist() == [0, 0, 100]


def greedy(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> list[int]:
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        if all(iou(boxes[i : i + 1], boxes[j : j + 1])[0, 0] <= threshold for j in kept):
            kept.append(i)
    return kept


@given(boxes=scored_boxes(), threshold=st.floats(0, 1))
def test_nms_equals_the_definition(boxes, threshold):
    assert nms(*boxes, threshold).tolist() == greedy(*boxes, threshold)


@pytest.mark.parametrize("seed", range(20))
def test_nms_equals_opencv(seed):
    rng = np.random.default_rng(seed)
    corner, sides = rng.uniform(0, 300, (200, 2)), rng.uniform(10, 90, (200, 2))
    boxes = np.concatenate([corner, corner + sides], axis=1).astype(np.float32)
    scores = (rng.permutation(200) + 1).astype(np.float32) / 200
    theirs = cv2.dnn.NMSBoxes(np.concatenate([corner, sides], axis=1).tolist(), scores.tolist(), 0.0, 0.4)
    assert nms(boxes, scores, 0.4).tolist() == np.ravel(theirs).tolist()


@given(boxes=scored_boxes())
def test_nms_of_what_it_kept_keeps_all(boxes):
    kept = nms(*boxes, 0.3)
    again = nms(boxes[0][kept], boxes[1][kept], 0.3)
    assert again.tolist() == list(range(len(kept)))


def test_nms_keeps_the_first_of_equals():
    assert nms(np.tile(np.float32([0, 0, 5, 5]), (4, 1)), np.full(4, 0.5, np.float32)).tolist() == [0]


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_nms_refuses_a_threshold(threshold):
    with pytest.raises(InputError, match=r"0\.\.1"):
        nms(np.zeros((1, 4), np.float32), np.zeros(1, np.float32), threshold)


@given(boxes=scored_boxes(), height=st.integers(1, 60), width=st.integers(1, 60))
def test_clipped_boxes_lie_inside_and_never_grow(boxes, height, width):
    clipped = clip_boxes(boxes[0], height, width)
    assert (clipped >= 0).all()
    assert (clipped[:, 0::2] <= width).all()
    assert (clipped[:, 1::2] <= height).all()
    assert (area(clipped) <= area(boxes[0]) * (1 + 1e-6)).all()
    np.testing.assert_array_equal(clip_boxes(clipped, height, width), clipped)

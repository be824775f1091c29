"""Boxes against independent references: pixel masks, OpenCV's NMS and a quadratic loop."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from visavis.errors import InputError
from visavis.geometry import area, clip_boxes, intersection, iou, nms, nms_within, soft_nms

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


def share_of_smaller(a: np.ndarray, b: np.ndarray) -> float:
    smaller = min(float(area(a)), float(area(b)))
    return float(intersection(a[None], b[None])[0, 0]) / smaller if smaller else 0.0


def greedy_within(boxes, scores, groups, threshold, over) -> list[int]:
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        rivals = [j for j in kept if groups[j] == groups[i]]
        if over == "union":
            shares = [iou(boxes[i : i + 1], boxes[j : j + 1])[0, 0] for j in rivals]
        else:
            shares = [share_of_smaller(boxes[i], boxes[j]) for j in rivals]
        if all(share <= np.float32(threshold) for share in shares):
            kept.append(i)
    return kept


@given(boxes=scored_boxes(), groups=st.data(), threshold=st.sampled_from([0, 0.3, 0.5, 0.7, 1]), over=st.booleans())
def test_nms_within_equals_the_definition(boxes, groups, threshold, over):
    n = len(boxes[1])
    group = groups.draw(hnp.arrays(np.intp, n, elements=st.integers(0, 2)))
    over = "union" if over else "smaller"
    assert nms_within(*boxes, group, threshold, over=over).tolist() == greedy_within(*boxes, group, threshold, over)


@pytest.mark.parametrize(("n", "width"), [(300, 50), (3000, 500), (6000, 30)])
def test_nms_within_equals_nms_on_many(n, width, monkeypatch):
    monkeypatch.setattr("visavis.geometry._BLOCK", 500)
    rng = np.random.default_rng(n)
    corner = rng.uniform(0, width, (n, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(10, 40, (n, 2))], axis=1).astype(np.float32)
    scores = rng.permutation(n).astype(np.float32) / n
    groups = rng.integers(0, 5, n)
    for threshold in (0.3, 0.7):
        kept = nms_within(boxes, scores, groups, threshold)
        each = [np.flatnonzero(groups == g) for g in range(5)]
        expected = np.concatenate([rows[nms(boxes[rows], scores[rows], threshold)] for rows in each])
        assert sorted(kept.tolist()) == sorted(expected.tolist())
        assert (np.diff(scores[kept]) < 0).all()


def test_a_box_inside_another_goes_only_by_share_of_the_smaller():
    boxes, scores, one = np.array([[0, 0, 10, 10], [2, 2, 6, 6]], np.float32), np.float32([0.9, 0.8]), np.zeros(2, int)
    assert nms_within(boxes, scores, one, 0.7).tolist() == [0, 1]
    assert nms_within(boxes, scores, one, 0.7, over="smaller").tolist() == [0]
    with pytest.raises(InputError, match=r"0\.\.1"):
        nms_within(boxes, scores, one, 2)


def slow_soft_nms(boxes, scores, method, threshold, sigma, cut) -> list[tuple[int, float]]:
    """Soft-NMS as figure 2 of the paper has it, one box at a time."""
    left = {i: float(score) for i, score in enumerate(scores)}
    result = []
    while left:
        best = max(left, key=lambda i: (left[i], -i))
        score = left.pop(best)
        if score < cut:
            break
        result.append((best, score))
        for i in left:
            overlap = float(iou(boxes[best : best + 1], boxes[i : i + 1])[0, 0])
            if method == "gaussian":
                left[i] *= np.exp(-(overlap**2) / sigma)
            elif overlap > threshold:
                left[i] *= 1 - overlap
    return result


@given(
    boxes=scored_boxes(),
    method=st.sampled_from(["linear", "gaussian"]),
    threshold=st.floats(0, 1),
    sigma=st.floats(0.1, 2),
    cut=st.sampled_from([0.0, 0.05, 0.3]),
)
def test_soft_nms_equals_the_paper(boxes, method, threshold, sigma, cut):
    expected = slow_soft_nms(*boxes, method, threshold, sigma, cut)
    kept, lowered = soft_nms(*boxes, method=method, threshold=threshold, sigma=sigma, score_cut=cut)
    everything = [score for _, score in slow_soft_nms(*boxes, method, threshold, sigma, 0)]
    # Scores on the edge of the cut, or of each other, may fall to either side by rounding.
    assume(all(abs(score - cut) > 1e-5 for score in everything if cut))
    assume(len({round(score, 5) for score in everything}) == len(everything))
    assert kept.tolist() == [i for i, _ in expected]
    np.testing.assert_allclose(lowered, [score for _, score in expected], atol=1e-5)


@given(boxes=scored_boxes(), method=st.sampled_from(["linear", "gaussian"]), cut=st.floats(0, 0.5))
def test_soft_nms_lowers_and_orders(boxes, method, cut):
    kept, lowered = soft_nms(*boxes, method=method, score_cut=cut)
    assert len(set(kept.tolist())) == len(kept)
    assert lowered.dtype == np.float32
    assert (lowered <= boxes[1][kept] + 1e-6).all()
    assert (lowered >= cut).all()
    assert (np.diff(lowered) <= 0).all()
    if len(kept):
        assert kept[0] == np.argmax(boxes[1])
    everything, _ = soft_nms(*boxes, method=method, score_cut=0)
    assert sorted(everything.tolist()) == list(range(len(boxes[1])))


@pytest.mark.parametrize(
    "settings",
    [{"method": "hard"}, {"threshold": -1}, {"threshold": float("nan")}, {"score_cut": 2}, {"sigma": 0}, {"sigma": -1}],
)
def test_soft_nms_refuses(settings):
    with pytest.raises(InputError, match="Soft-NMS"):
        soft_nms(np.zeros((1, 4), np.float32), np.zeros(1, np.float32), **settings)

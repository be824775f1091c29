"""Boxes: overlap, suppression and clipping, as pure functions on arrays.

A box is ``x1, y1, x2, y2`` in pixels; its area is ``(x2 - x1) * (y2 - y1)``.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from visavis.errors import InputError
from visavis.types import FloatArray

__all__ = [
    "Over",
    "area",
    "clip_boxes",
    "ellipse_boxes",
    "ellipse_polygons",
    "intersection",
    "iou",
    "nms",
    "nms_within",
    "polygon_overlap",
    "soft_nms",
]

Over = Literal["union", "smaller"]
"""What the shared area of two boxes is divided by: that of their union, or that of the smaller box."""

_BLOCK = 2048  # boxes suppressed at once, and pairs compared at once: they bound memory at about 100 MB
_PAIRS = 2**18


def area(boxes: FloatArray) -> FloatArray:
    """Return the area of each box; a reversed box has none.

    Examples
    --------
    >>> import numpy as np
    >>> area(np.array([[0, 0, 4, 5], [3, 3, 1, 9]], np.float32)).tolist()
    [20.0, 0.0]
    """
    sides = np.maximum(boxes[..., 2:] - boxes[..., :2], 0)
    product: FloatArray = sides[..., 0] * sides[..., 1]
    return product


def intersection(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return the shared area of every box of ``a`` ``(n, 4)`` with every box of ``b`` ``(m, 4)``, as ``(n, m)``."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    sides = np.maximum(high - low, 0)
    product: FloatArray = sides[..., 0] * sides[..., 1]
    return product


def iou(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return intersection over union of every box of ``a`` ``(n, 4)`` with every box of ``b`` ``(m, 4)``.

    Empty boxes overlap nothing: their row is 0.

    Examples
    --------
    >>> import numpy as np
    >>> box = np.array([[0, 0, 2, 2]], np.float32)
    >>> round(float(iou(box, box + 1)[0, 0]), 4)
    0.1429
    """
    shared = intersection(a, b)
    union = area(a)[:, None] + area(b)[None, :] - shared
    ratio: FloatArray = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return ratio


def nms(boxes: FloatArray, scores: FloatArray, threshold: float = 0.3) -> npt.NDArray[np.intp]:
    """Return the indices kept by greedy non-maximum suppression, best score first.

    For thousands of boxes, many groups of them, or shares of the smaller box, see `nms_within`.

    Parameters
    ----------
    boxes, scores
        ``(n, 4)`` and ``(n,)``.
    threshold
        A box whose IoU with a kept, better one is above this is dropped; 0..1.

    Raises
    ------
    InputError
        If ``threshold`` is outside 0..1.

    Examples
    --------
    >>> import numpy as np
    >>> boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 60, 60]], np.float32)
    >>> nms(boxes, np.array([0.8, 0.9, 0.7], np.float32)).tolist()
    [1, 2]
    """
    if not 0 <= threshold <= 1:
        raise InputError(f"the NMS threshold lies in 0..1, not {threshold}")
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(int(best))
        if len(order):
            order = order[iou(boxes[best : best + 1], boxes[order])[0] <= threshold]
    return np.asarray(kept, dtype=np.intp)


def nms_within(
    boxes: FloatArray,
    scores: FloatArray,
    groups: npt.NDArray[np.intp],
    threshold: float = 0.3,
    *,
    over: Over = "union",
) -> npt.NDArray[np.intp]:
    """Return the indices kept by greedy non-maximum suppression within each group, best score first over all.

    The answer is that of `nms` for each group alone; many groups and many thousand boxes are handled at once.

    Parameters
    ----------
    boxes, scores, groups
        ``(n, 4)``, ``(n,)`` and ``(n,)``: boxes of different groups (images, scales) leave each other alone.
    threshold
        A box that shares more than this with a kept, better one is dropped; 0..1.
    over
        ``"union"`` measures IoU; ``"smaller"`` the share of the smaller box, 1 for a box inside another.

    Raises
    ------
    InputError
        If ``threshold`` is outside 0..1.

    Examples
    --------
    >>> import numpy as np
    >>> boxes = np.array([[0, 0, 10, 10], [2, 2, 6, 6], [0, 0, 10, 10]], np.float32)
    >>> scores = np.array([0.9, 0.8, 0.7], np.float32)
    >>> nms_within(boxes, scores, np.array([0, 0, 1])).tolist()
    [0, 1, 2]
    >>> nms_within(boxes, scores, np.array([0, 0, 1]), over="smaller").tolist()
    [0, 2]
    """
    if not 0 <= threshold <= 1:
        raise InputError(f"the NMS threshold lies in 0..1, not {threshold}")
    order = np.argsort(-scores, kind="stable")
    kept: npt.NDArray[np.intp] = order[:0]
    for start in range(0, len(order), _BLOCK):  # the kept come first, and leave each other alone
        pool = np.concatenate([kept, order[start : start + _BLOCK]])
        kept = pool[_survivors(boxes[pool], groups[pool], threshold, over)]
    return kept


def _survivors(boxes: FloatArray, groups: npt.NDArray[np.intp], threshold: float, over: Over) -> npt.NDArray[np.bool_]:
    """Tell which boxes, given best first, greedy suppression keeps.

    Each round keeps the boxes that no better one contends with, and drops what overlaps those: as many rounds as the
    longest chain of boxes, each overlapping the next, has links.
    """
    better, worse = _overlapping(boxes, groups, threshold, over)
    alive, settled = np.ones(len(boxes), bool), np.zeros(len(boxes), bool)
    while len(worse):
        contended = np.zeros(len(boxes), bool)
        contended[worse] = True
        settled |= alive & ~contended
        alive[worse[settled[better]]] = False
        undecided = alive[better] & alive[worse]
        better, worse = better[undecided], worse[undecided]
    return alive


def _overlapping(
    boxes: FloatArray, groups: npt.NDArray[np.intp], threshold: float, over: Over
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return all pairs of a group that share more than ``threshold``, smaller index first; a sweep from left to right.

    Only boxes whose horizontal extents meet are compared, so well spread boxes cost little more than a sort.
    """
    none = np.empty(0, np.intp)
    if len(boxes) < 2:
        return none, none
    # Groups are laid out side by side on one axis.
    left, right = boxes[:, 0].astype(np.float64), boxes[:, 2].astype(np.float64)
    step = float(max(right.max(), left.max()) - left.min()) + 1
    shift = (groups - groups.min()) * step
    sweep = np.argsort(left + shift, kind="stable")
    starts = (left + shift)[sweep]
    # The pairs of the box at position p are those from p + 1 up to ends[p].
    ends = np.maximum(np.searchsorted(starts, (right + shift)[sweep], side="right"), np.arange(1, len(boxes) + 1))
    counts = ends - np.arange(1, len(boxes) + 1)
    total = np.concatenate([[0], np.cumsum(counts)])
    sizes = area(boxes)
    first, second = [none], [none]
    for start in range(0, int(total[-1]), _PAIRS):
        pair = np.arange(start, min(start + _PAIRS, int(total[-1])))
        row = np.searchsorted(total, pair, side="right") - 1
        i, j = sweep[row], sweep[row + 1 + pair - total[row]]
        width = np.minimum(boxes[i, 2], boxes[j, 2]) - np.maximum(boxes[i, 0], boxes[j, 0])
        height = np.minimum(boxes[i, 3], boxes[j, 3]) - np.maximum(boxes[i, 1], boxes[j, 1])
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        whole = sizes[i] + sizes[j] - shared if over == "union" else np.minimum(sizes[i], sizes[j])
        ratio = np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)
        near = (ratio > threshold) & (groups[i] == groups[j])
        first.append(np.minimum(i, j)[near])
        second.append(np.maximum(i, j)[near])
    return np.concatenate(first), np.concatenate(second)


def soft_nms(
    boxes: FloatArray,
    scores: FloatArray,
    *,
    method: Literal["linear", "gaussian"] = "gaussian",
    threshold: float = 0.3,
    sigma: float = 0.5,
    score_cut: float = 0.001,
) -> tuple[npt.NDArray[np.intp], FloatArray]:
    """Lower the scores of boxes that overlap better ones, rather than drop them.

    The best box is taken; each other's score is multiplied by ``1 - IoU`` where the IoU is above ``threshold``
    (linear) or by ``exp(-IoU**2 / sigma)`` (gaussian); then the best of the rest is taken, and so on.

    Parameters
    ----------
    boxes, scores
        ``(n, 4)`` and ``(n,)``, scores 0..1.
    method
        ``"linear"`` or ``"gaussian"``.
    threshold
        IoU from which the linear method lowers a score; 0..1.
    sigma
        Width of the Gaussian: smaller lowers more; above 0.
    score_cut
        A box whose score falls below this is dropped; 0..1.

    Returns
    -------
    indices, scores
        What is left, best lowered score first, and those scores, float32.

    Raises
    ------
    InputError
        If a setting is out of its range.

    References
    ----------
    Bodla, Singh, Chellappa, Davis: "Soft-NMS -- Improving Object Detection With One Line of Code", ICCV 2017.

    Examples
    --------
    >>> import numpy as np
    >>> boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 20]], np.float32)
    >>> kept, lowered = soft_nms(boxes, np.array([0.9, 0.8], np.float32), method="linear")
    >>> kept.tolist(), lowered.round(2).tolist()
    ([0, 1], [0.8999999761581421, 0.4000000059604645])
    """
    if method not in ("linear", "gaussian"):
        raise InputError(f"Soft-NMS is linear or gaussian, not {method!r}")
    if not 0 <= threshold <= 1 or not 0 <= score_cut <= 1:
        raise InputError(f"threshold and score_cut of Soft-NMS lie in 0..1, not {threshold} and {score_cut}")
    if not 0 < sigma < float("inf"):
        raise InputError(f"sigma of Soft-NMS is a number above 0, not {sigma}")
    left = np.flatnonzero(scores >= score_cut)
    lowered = scores[left].astype(np.float32)
    kept: list[int] = []
    values: list[float] = []
    while len(left):
        best = int(np.argmax(lowered))
        chosen = left[best]
        kept.append(int(chosen))
        values.append(float(lowered[best]))
        left, lowered = np.delete(left, best), np.delete(lowered, best)
        overlap = iou(boxes[chosen : chosen + 1], boxes[left])[0]
        if method == "linear":
            lowered = lowered * np.where(overlap > threshold, 1 - overlap, np.float32(1))
        else:
            lowered = lowered * np.exp(-np.square(overlap) / np.float32(sigma))
        enough = lowered >= score_cut
        left, lowered = left[enough], lowered[enough]
    return np.asarray(kept, np.intp), np.asarray(values, np.float32)


def clip_boxes(boxes: FloatArray, height: int, width: int) -> FloatArray:
    """Return the boxes cut to an image of ``height`` x ``width`` pixels.

    Examples
    --------
    >>> import numpy as np
    >>> clip_boxes(np.array([[-5, 2, 30, 40]], np.float32), 20, 25).tolist()
    [[0.0, 2.0, 25.0, 20.0]]
    """
    limit = np.array([width, height, width, height], np.float32)
    clipped: FloatArray = np.clip(boxes, 0, limit)
    return clipped


def ellipse_boxes(ellipses: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the upright box around each ellipse ``(n, 5)``: center x, y, two radii, angle in degrees of the first.

    Examples
    --------
    >>> import numpy as np
    >>> ellipse_boxes(np.array([[10.0, 20, 8, 4, 90]])).round(6).tolist()
    [[6.0, 12.0, 14.0, 28.0]]
    """
    x, y, a, b, angle = np.asarray(ellipses, np.float64).reshape(-1, 5).T
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    w, h = np.hypot(a * cos, b * sin), np.hypot(a * sin, b * cos)
    return np.stack([x - w, y - h, x + w, y + h], axis=1)


def ellipse_polygons(ellipses: npt.NDArray[np.float64], corners: int = 96) -> npt.NDArray[np.float64]:
    """Return a polygon ``(corners, 2)`` of the same area for each ellipse; see `ellipse_boxes`."""
    x, y, a, b, angle = np.asarray(ellipses, np.float64).reshape(-1, 5, 1).transpose(1, 0, 2)
    turn = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    grow = np.sqrt((2 * np.pi / corners) / np.sin(2 * np.pi / corners))
    u, v = a * grow * np.cos(turn), b * grow * np.sin(turn)
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    return np.stack([x + u * cos - v * sin, y + u * sin + v * cos], axis=2)


def polygon_overlap(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    """Return the intersection over union of two convex polygons ``(n, 2)``, whose corners run clockwise as seen.

    Examples
    --------
    >>> import numpy as np
    >>> square = np.array([[0.0, 0], [2, 0], [2, 2], [0, 2]])
    >>> round(polygon_overlap(square, square + 1), 4)
    0.1429
    """
    shared = _polygon_area(_clipped_polygon(a, b))
    union = _polygon_area(a) + _polygon_area(b) - shared
    return shared / union if union > 0 else 0.0


def _polygon_area(points: npt.NDArray[np.float64]) -> float:
    x, y = points[:, 0], points[:, 1]
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2 if len(points) > 2 else 0.0


def _clipped_polygon(points: npt.NDArray[np.float64], window: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Cut one convex polygon by the sides of another, one after the other (Sutherland and Hodgman, 1974)."""
    for start, end in zip(window, np.roll(window, -1, axis=0), strict=True):
        if len(points) < 3:
            return points[:0]
        along = end - start
        side = along[0] * (points[:, 1] - start[1]) - along[1] * (points[:, 0] - start[0])
        after, next_side = np.roll(points, -1, axis=0), np.roll(side, -1)
        crosses = (side >= 0) != (next_side >= 0)
        share = np.divide(side, side - next_side, out=np.zeros_like(side), where=crosses)
        cuts = points + share[:, None] * (after - points)
        both = np.stack([points, cuts], axis=1)
        points = both[np.stack([side >= 0, crosses], axis=1)]
    return points

"""Boxes: overlap, suppression and clipping, as pure functions on arrays.

A box is ``x1, y1, x2, y2`` in pixels; its area is ``(x2 - x1) * (y2 - y1)``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from visavis.errors import InputError
from visavis.types import FloatArray

__all__ = ["area", "clip_boxes", "intersection", "iou", "nms"]


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

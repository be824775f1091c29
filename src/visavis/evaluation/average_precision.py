"""COCO's average precision: 101 points of recall, IoU 0.5 to 0.95, sizes, and a limit of boxes a picture.

Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014; https://cocodataset.org/#detection-eval. The figures
are those of pycocotools.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.errors import InputError
from visavis.evaluation.detection import Found, Truth, greedy, overlaps

__all__ = ["AREAS", "IOUS", "LIMITS", "CocoResult", "coco_average_precision"]

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

IOUS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
AREAS: dict[str, tuple[float, float]] = {
    "all": (0.0, 1e10),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}
"""Square pixels; a face of exactly a limit belongs to both sides."""
LIMITS = (1, 10, 100)
"""Boxes a picture, best first, that are looked at."""


@dataclass(frozen=True, eq=False)
class CocoResult:
    """Average precision and recall.

    Attributes
    ----------
    precision
        ``(t, 101, k, a, l)``: by IoU, recall, class, size and limit; -1 where there is no face to be found.
    recall
        ``(t, k, a, l)``: the largest recall.
    ious, areas, limits
        What t, a and l stand for.
    """

    precision: Floats
    recall: Floats
    ious: Floats
    areas: tuple[str, ...]
    limits: tuple[int, ...]

    def ap(self, iou: float | None = None, area: str = "all", limit: int | None = None) -> float | None:
        """Return the average precision at an IoU, or the mean of all; None where there is nothing to be found."""
        return self._mean(self.precision, iou, area, limit)

    def ar(self, iou: float | None = None, area: str = "all", limit: int | None = None) -> float | None:
        """Return the average recall."""
        return self._mean(self.recall, iou, area, limit)

    def _mean(self, table: Floats, iou: float | None, area: str, limit: int | None) -> float | None:
        if area not in self.areas or (limit is not None and limit not in self.limits):
            raise InputError(f"there is no area {area!r} or limit {limit}; see areas and limits")
        part = table[..., self.areas.index(area), len(self.limits) - 1 if limit is None else self.limits.index(limit)]
        if iou is not None:
            near = np.isclose(self.ious, iou)
            if not near.any():
                raise InputError(f"an IoU of {iou} was not measured; see ious")
            part = part[near]
        known = part[part > -1]
        return float(known.mean()) if known.size else None

    def to_dict(self) -> dict[str, float | None]:
        """Return the twelve figures that COCO states."""
        figures: dict[str, float | None] = {"ap": self.ap(), "ap_50": self.ap(0.5), "ap_75": self.ap(0.75)}
        figures |= {f"ap_{area}": self.ap(area=area) for area in self.areas if area != "all"}
        figures |= {f"ar_{limit}": self.ar(limit=limit) for limit in self.limits}
        return figures | {f"ar_{area}": self.ar(area=area) for area in self.areas if area != "all"}


def coco_average_precision(
    truths: Sequence[Truth],
    found: Sequence[Found],
    *,
    ious: npt.ArrayLike = IOUS,
    areas: dict[str, tuple[float, float]] = AREAS,
    limits: Sequence[int] = LIMITS,
) -> CocoResult:
    """Measure boxes as COCO does; of several classes, each by itself.

    Parameters
    ----------
    truths, found
        One a picture, in the same order.

    Raises
    ------
    InputError
        If the lengths differ.

    Examples
    --------
    >>> truth = Truth(np.array([[0, 0, 10, 10], [20, 20, 30, 30]]))
    >>> boxes = Found(np.array([[0, 0, 10, 10]]), np.array([0.9]))
    >>> result = coco_average_precision([truth], [boxes])
    >>> round(result.ap(), 4), result.ar()
    (0.505, 0.5)
    """
    if len(truths) != len(found):
        raise InputError(f"{len(truths)} pictures of ground truth and {len(found)} of detections can't be compared")
    thresholds = np.asarray(ious, np.float64)
    classes = np.unique(np.concatenate([np.zeros(0, np.intp), *(_labels(truth) for truth in truths)]))
    shape = (len(classes), len(areas), len(limits))
    precision = np.full((len(thresholds), len(RECALLS), *shape), -1.0)
    recall = np.full((len(thresholds), *shape), -1.0)
    for k, label in enumerate(classes):
        rows = [
            _of_picture(truth, boxes, int(label), thresholds, list(areas.values()), max(limits))
            for truth, boxes in zip(truths, found, strict=True)
        ]
        for a in range(len(areas)):
            for m, limit in enumerate(limits):
                measured = _accumulated([row for row in rows if row is not None], a, limit)
                if measured is not None:
                    precision[:, :, k, a, m], recall[:, k, a, m] = measured
    return CocoResult(precision, recall, thresholds, tuple(areas), tuple(limits))


def _labels(part: Truth | Found) -> npt.NDArray[np.intp]:
    assert part.labels is not None
    return part.labels


@dataclass(frozen=True, eq=False)
class _Picture:
    scores: Floats
    hits: Mask  # (a, t, m)
    dropped: Mask  # (a, t, m)
    faces: npt.NDArray[np.intp]  # (a,)


def _of_picture(
    truth: Truth, found: Found, label: int, thresholds: Floats, areas: list[tuple[float, float]], limit: int
) -> _Picture | None:
    faces, boxes = _labels(truth) == label, _labels(found) == label
    if not faces.any() and not boxes.any():
        return None
    assert truth.crowd is not None
    assert truth.areas is not None
    crowd, uncounted, sizes = truth.crowd[faces], truth.uncounted[faces], truth.areas[faces]
    rows = np.flatnonzero(boxes)
    rows = rows[np.argsort(-found.scores[rows], kind="stable")][:limit]
    overlap = overlaps(found.boxes[rows], truth.boxes[faces], crowd)
    own = (found.boxes[rows, 2:] - found.boxes[rows, :2]).prod(axis=1)
    hits = np.zeros((len(areas), len(thresholds), len(rows)), bool)
    dropped = np.zeros_like(hits)
    counts = np.zeros(len(areas), np.intp)
    for a, (low, high) in enumerate(areas):
        out = uncounted | (sizes < low) | (sizes > high)
        counts[a] = (~out).sum()
        chosen = greedy(overlap, out, crowd, thresholds)
        hits[a] = chosen >= 0
        away = (own < low) | (own > high)
        dropped[a] = np.where(hits[a], np.append(out, False)[chosen], away)
    return _Picture(found.scores[rows], hits, dropped, counts)


def _accumulated(rows: Sequence[_Picture], a: int, limit: int) -> tuple[Floats, Floats] | None:
    """Return precision at `RECALLS` and the largest recall, each by IoU; None where there is nothing to be found."""
    faces = sum(int(row.faces[a]) for row in rows)
    if not faces:
        return None
    scores = np.concatenate([row.scores[:limit] for row in rows])
    order = np.argsort(-scores, kind="stable")
    hits = np.concatenate([row.hits[a, :, :limit] for row in rows], axis=1)[:, order]
    dropped = np.concatenate([row.dropped[a, :, :limit] for row in rows], axis=1)[:, order]
    right = np.cumsum(hits & ~dropped, axis=1, dtype=np.float64)
    wrong = np.cumsum(~hits & ~dropped, axis=1, dtype=np.float64)
    recall = right / faces
    share = right / (right + wrong + np.spacing(1))
    share = np.maximum.accumulate(share[:, ::-1], axis=1)[:, ::-1]
    precision = np.zeros((len(recall), len(RECALLS)))
    for t in range(len(recall)):
        at = np.searchsorted(recall[t], RECALLS, side="left")
        inside = at < recall.shape[1]
        precision[t, inside] = share[t, at[inside]]
    last: Any = recall[:, -1] if recall.shape[1] else np.zeros(len(recall))
    return precision, last

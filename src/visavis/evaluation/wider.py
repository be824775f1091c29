"""WIDER FACE's average precision: 1000 thresholds on scores stretched to 0..1, IoU 0.5 of boxes a pixel larger.

Yang et al., "WIDER FACE: A Face Detection Benchmark", CVPR 2016, and the procedure of its eval_tools (MATLAB), which is
not quite the usual one: a second box on a face that was found is a false alarm but also keeps its place; a box
takes the face it overlaps most even if that was found already; boxes count as if their right and lower ends held
one more pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from visavis.errors import InputError
from visavis.evaluation.detection import Found, overlaps

__all__ = ["DIFFICULTIES", "WiderResult", "counted_by_height", "wider_average_precision"]

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

DIFFICULTIES: dict[str, float] = {"easy": 50.0, "medium": 30.0, "hard": 10.0}
"""Least heights by which the three lists are approximated where only the .txt is at hand."""
_STEPS = 1000


@dataclass(frozen=True, eq=False)
class WiderResult:
    """Precision and recall ``(1000,)`` at thresholds 0.999, 0.998, ..., 0 of the stretched scores."""

    precision: Floats
    recall: Floats
    faces: int

    @property
    def ap(self) -> float:
        """Area under precision over recall, precision made falling (as Pascal VOC since 2010)."""
        recall = np.concatenate([[0.0], self.recall, [1.0]])
        precision = np.concatenate([[0.0], self.precision, [0.0]])
        precision = np.maximum.accumulate(precision[::-1])[::-1]
        steps = np.flatnonzero(recall[1:] != recall[:-1])
        return float(((recall[steps + 1] - recall[steps]) * precision[steps + 1]).sum())


def counted_by_height(boxes: npt.ArrayLike, invalid: npt.ArrayLike, least: float) -> Mask:
    """Return which faces count, by their height: an approximation of the lists in ``wider_easy_val.mat`` and the like.

    The published lists were drawn up by how well proposals cover each event, and leave out other faces than these.

    Parameters
    ----------
    boxes, invalid
        ``(n, 4)`` and ``(n,)``: what is flagged as invalid never counts, nor does a box without area.
    least
        Height in pixels; see `DIFFICULTIES`.
    """
    corners = np.asarray(boxes, np.float64).reshape(-1, 4)
    sides = corners[:, 2:] - corners[:, :2]
    return np.asarray((sides[:, 1] >= least) & (sides[:, 0] > 0) & ~np.asarray(invalid, bool))


def wider_average_precision(
    truths: Sequence[Floats], counted: Sequence[Mask], found: Sequence[Found], *, least: float = 0.5
) -> WiderResult:
    """Measure detections by the procedure of WIDER FACE.

    Parameters
    ----------
    truths
        For each picture all its boxes ``(n, 4)``.
    counted
        For each picture which of them count ``(n,)``: the list of one difficulty. The others are ignored.
    found
        For each picture what was found; scores of any range.

    Raises
    ------
    InputError
        If the lengths differ, or no face counts.
    """
    if not len(truths) == len(counted) == len(found):
        raise InputError(f"{len(truths)} pictures of ground truth and {len(found)} of detections can't be compared")
    faces = int(sum(int(np.asarray(mask, bool).sum()) for mask in counted))
    if not faces:
        raise InputError("no face of the ground truth counts: there is nothing to be found")
    every = np.concatenate([np.zeros(0), *(boxes.scores for boxes in found)])
    low, high = (float(every.min()), float(every.max())) if len(every) else (0.0, 0.0)
    sums = np.zeros((_STEPS, 2))
    thresholds = 1 - np.arange(1, _STEPS + 1) / _STEPS
    for truth, mask, boxes in zip(truths, counted, found, strict=True):
        if not len(truth) or not len(boxes):
            continue  # as the original: what is found on a picture without any face is not held against a detector
        order = np.argsort(-boxes.scores, kind="stable")
        scores = (boxes.scores[order] - low) / (high - low) if high > low else np.ones(len(order))
        kept, hits = _of_picture(boxes.boxes[order], np.asarray(truth, np.float64), np.asarray(mask, bool), least)
        reached = np.searchsorted(-scores, -thresholds, side="right")
        sums += np.stack([np.append(0, kept)[reached], np.append(0, hits)[reached]], axis=1)
    precision = np.divide(sums[:, 1], sums[:, 0], out=np.zeros(_STEPS), where=sums[:, 0] > 0)
    return WiderResult(precision, sums[:, 1] / faces, faces)


def _of_picture(
    boxes: Floats, truth: Floats, counted: Mask, least: float
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return, of the first 1, 2, ... boxes, how many are not on an ignored face, and how many faces they find."""
    pixel = np.array([0, 0, 1, 1])
    overlap = overlaps(boxes + pixel, truth + pixel)
    best = overlap.argmax(axis=1)
    near = overlap[np.arange(len(boxes)), best] >= least
    ignored = near & ~counted[best]
    right = near & counted[best]
    first = np.zeros(len(boxes), bool)
    first[np.unique(np.where(right, best, -1), return_index=True)[1]] = True
    return np.cumsum(~ignored), np.cumsum(first & right)

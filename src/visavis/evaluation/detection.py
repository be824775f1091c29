"""How well boxes find faces: greedy matching, precision and recall.

Best score first, a box takes the face it overlaps most that no better box took. One that overlaps none by a wanted IoU
is a false alarm, unless it lies on a face that is not to count. COCO's average precision is in
`visavis.evaluation.average_precision`, WIDER FACE's in `visavis.evaluation.wider`, FDDB's ROC in
`visavis.evaluation.fddb`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from visavis.errors import InputError
from visavis.evaluation.intervals import Estimate, bootstrap_share, subject_draws
from visavis.geometry import intersection

__all__ = ["Found", "Matches", "Truth", "greedy", "match", "overlaps", "share_of_pictures"]

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Truth:
    """The faces of one picture, n rows.

    Attributes
    ----------
    boxes
        ``(n, 4)``: x1, y1, x2, y2.
    ignored
        ``(n,)``: which count neither as found nor as missed. None: none.
    crowd
        ``(n,)``: which stand for many faces: any number of boxes may lie in them, and none of that counts.
    areas
        ``(n,)``, for COCO's slices; None: those of the boxes.
    labels
        ``(n,)``: number of the class of each; None: all 0.
    """

    boxes: Floats
    ignored: Mask | None = None
    crowd: Mask | None = None
    areas: Floats | None = None
    labels: npt.NDArray[np.intp] | None = None

    def __post_init__(self) -> None:
        boxes = _boxes(self.boxes)
        n = len(boxes)
        sizes = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
        for name, default, kind in (
            ("ignored", np.zeros(n), np.bool_),
            ("crowd", np.zeros(n), np.bool_),
            ("areas", sizes, np.float64),
            ("labels", np.zeros(n), np.intp),
        ):
            given = getattr(self, name)
            column = np.asarray(default if given is None else given).astype(kind)
            if column.shape != (n,):
                raise InputError(f"{n} boxes need {name} ({n},), not {column.shape}")
            object.__setattr__(self, name, column)
        object.__setattr__(self, "boxes", boxes)

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def uncounted(self) -> Mask:
        """Which boxes count neither as found nor as missed."""
        assert self.ignored is not None
        assert self.crowd is not None
        return self.ignored | self.crowd


@dataclass(frozen=True, eq=False)
class Found:
    """What a detector found on one picture: ``boxes (m, 4)``, ``scores (m,)``, ``labels (m,)`` or None for all 0."""

    boxes: Floats
    scores: Floats
    labels: npt.NDArray[np.intp] | None = None

    def __post_init__(self) -> None:
        boxes = _boxes(self.boxes)
        scores = np.asarray(self.scores, np.float64)
        labels = np.zeros(len(boxes), np.intp) if self.labels is None else np.asarray(self.labels, np.intp)
        if scores.shape != (len(boxes),) or labels.shape != scores.shape:
            raise InputError(f"{len(boxes)} boxes need as many scores and labels, not {scores.shape}, {labels.shape}")
        if not np.isfinite(scores).all():
            raise InputError("scores must be finite, but hold NaN or infinity")
        for name, value in (("boxes", boxes), ("scores", scores), ("labels", labels)):
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.boxes)


def _boxes(values: Any) -> Floats:
    boxes = np.asarray(values, np.float64)
    boxes = boxes.reshape(0, 4) if not boxes.size else boxes
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not np.isfinite(boxes).all():
        raise InputError(f"boxes must be finite and of shape (n, 4), not {boxes.shape}")
    if (boxes[:, 2:] < boxes[:, :2]).any():
        raise InputError("a box must not end before it begins: x1 <= x2 and y1 <= y2")
    return boxes


def overlaps(found: Floats, truth: Floats, crowd: Mask | None = None) -> Floats:
    """Return the IoU ``(m, n)`` of every found box with every true one; of a crowd, the share of the found box.

    Examples
    --------
    >>> box = np.array([[0.0, 0, 2, 2]])
    >>> overlaps(box, box + 1).round(4).tolist()
    [[0.1429]]
    """
    a, b = np.asarray(found, np.float64).reshape(-1, 4), np.asarray(truth, np.float64).reshape(-1, 4)
    shared = np.asarray(intersection(cast(Any, a), cast(Any, b)), np.float64)
    sizes, others = ((v[:, 2:] - v[:, :2]).prod(axis=1) for v in (a, b))
    whole = sizes[:, None] + others[None] - shared
    if crowd is not None:
        whole = np.where(crowd[None], sizes[:, None], whole)
    return np.asarray(np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0))


def greedy(overlap: Floats, uncounted: Mask, crowd: Mask, thresholds: Floats) -> npt.NDArray[np.intp]:
    """Match boxes, best score first, to faces; what counts goes before what does not.

    Parameters
    ----------
    overlap
        ``(m, n)``: of each box, in the order of falling scores, with each face.
    uncounted, crowd
        ``(n,)``; see `Truth`.
    thresholds
        ``(t,)``: least overlaps of a match.

    Returns
    -------
    ``(t, m)``: the face of each box, -1 for none. As in COCO's evaluation, of equal overlaps the last face is taken.
    """
    m, n = overlap.shape
    taken = np.zeros((len(thresholds), n), bool)
    chosen = np.full((len(thresholds), m), -1, np.intp)
    if not n:
        return chosen
    rows = np.arange(len(thresholds))
    least = np.minimum(thresholds, 1 - 1e-10)[:, None]
    backwards = np.arange(n)[::-1]
    for i in np.flatnonzero((overlap >= least.min()).any(axis=1)):  # most false alarms lie on no face at all
        near = (overlap[i][None] >= least) & (~taken | crowd)
        for group in (~uncounted, uncounted):
            values = np.where(near & group & (chosen[:, i] < 0)[:, None], overlap[i], -1.0)
            best = backwards[values[:, ::-1].argmax(axis=1)]
            hit = values[rows, best] >= 0
            chosen[hit, i] = best[hit]
        hit = chosen[:, i] >= 0
        taken[rows[hit], chosen[hit, i]] = True
    return chosen


@dataclass(frozen=True, eq=False)
class Matches:
    """All boxes of a data set, best score first, and which of them are faces, at one overlap.

    Attributes
    ----------
    scores, pictures, boxes
        ``(m,)``: score, number of the picture, and row in it, of each box that counts.
    faces
        ``(m,)``: row in its picture of the face it found; -1 for a false alarm.
    counted
        ``(p,)``: faces to be found of each picture.
    found_at
        For each picture ``(n,)``: the score at which each face is found; -inf: not at all; NaN: does not count.
    """

    scores: Floats
    pictures: npt.NDArray[np.intp]
    boxes: npt.NDArray[np.intp]
    faces: npt.NDArray[np.intp]
    counted: npt.NDArray[np.intp]
    found_at: tuple[Floats, ...]

    @property
    def total(self) -> int:
        """How many faces there are to be found."""
        return int(self.counted.sum())

    @cached_property
    def recall(self) -> Floats:
        """Share of the faces found by the first 1, 2, ..., m boxes."""
        return np.cumsum(self.faces >= 0) / max(self.total, 1)

    @cached_property
    def precision(self) -> Floats:
        """Share of faces among the first 1, 2, ..., m boxes."""
        return np.cumsum(self.faces >= 0) / np.arange(1, len(self.faces) + 1)

    @property
    def average_precision(self) -> float:
        """Area under precision over recall, precision made falling; boxes of equal score count together.

        NaN where there is no face to be found.
        """
        if not self.total:
            return float("nan")
        last = np.flatnonzero(self._ends)
        recall = np.concatenate([[0.0], self.recall[last]])
        best = np.maximum.accumulate(self.precision[last][::-1])[::-1]
        return float((np.diff(recall) * best).sum())

    @cached_property
    def _ends(self) -> Mask:
        """Which boxes are the last of their score."""
        return np.append(self.scores[1:] != self.scores[:-1], True)[: len(self.scores)]

    def recall_at(self, score: float, *, repeats: int = 400, level: float = 0.95) -> Estimate:
        """Return the recall of boxes that reach a score; the interval is a bootstrap over pictures."""
        hits = np.bincount(self.pictures[(self.scores >= score) & (self.faces >= 0)], minlength=len(self.counted))
        return share_of_pictures(hits, self.counted, repeats, level)

    def precision_at(self, score: float, *, repeats: int = 400, level: float = 0.95) -> Estimate | None:
        """Return the share of faces among boxes that reach a score; None where no box does."""
        kept = self.scores >= score
        if not kept.any():
            return None
        boxes = np.bincount(self.pictures[kept], minlength=len(self.counted))
        hits = np.bincount(self.pictures[kept & (self.faces >= 0)], minlength=len(self.counted))
        return share_of_pictures(hits, boxes, repeats, level)

    def score_for(self, precision: float) -> float | None:
        """Return the least score from which so large a share of the boxes are faces; None where there is none."""
        enough = np.flatnonzero((self.precision >= precision) & self._ends)
        return float(self.scores[enough[-1]]) if len(enough) else None


def share_of_pictures(
    hits: npt.NDArray[Any], trials: npt.NDArray[Any], repeats: int = 400, level: float = 0.95
) -> Estimate:
    """Return a share of sums over pictures, ``hits`` of ``trials`` ``(p,)``, with a bootstrap over pictures.

    Faces of one picture stand or fall together.

    Raises
    ------
    InputError
        If there are no trials.
    """
    total = int(trials.sum())
    if not total:
        raise InputError("there is no face to be found: every box of the ground truth is ignored, or there is none")
    drawn = [(w @ hits) / s if (s := w @ trials) else np.nan for w in subject_draws(len(trials), repeats)]
    return bootstrap_share(int(hits.sum()), total, drawn, level)


def match(truths: Sequence[Truth], found: Sequence[Found], *, least: float = 0.5) -> Matches:
    """Match the boxes of a data set to its faces; labels are not looked at.

    Parameters
    ----------
    truths, found
        One a picture, in the same order.
    least
        IoU from which a box is a face's.

    Raises
    ------
    InputError
        If the lengths differ or ``least`` is not in 0..1.

    Examples
    --------
    >>> truth = Truth(np.array([[0, 0, 10, 10], [20, 20, 30, 30]]))
    >>> boxes = Found(np.array([[0, 0, 10, 9], [50, 50, 60, 60]]), np.array([0.9, 0.8]))
    >>> matches = match([truth], [boxes])
    >>> matches.faces.tolist(), matches.average_precision
    ([0, -1], 0.5)
    """
    if len(truths) != len(found):
        raise InputError(f"{len(truths)} pictures of ground truth and {len(found)} of detections can't be compared")
    if not 0 < least <= 1:
        raise InputError(f"an IoU to reach lies in 0..1, not {least}")
    columns: list[tuple[Floats, Any, Any, Any]] = []
    found_at: list[Floats] = []
    for p, (truth, boxes) in enumerate(zip(truths, found, strict=True)):
        assert truth.crowd is not None
        uncounted = truth.uncounted
        order = np.argsort(-boxes.scores, kind="stable")
        overlap = overlaps(boxes.boxes[order], truth.boxes, truth.crowd)
        chosen = greedy(overlap, uncounted, truth.crowd, np.array([least]))[0]
        counts = (chosen < 0) | ~np.append(uncounted, False)[chosen]
        at = np.where(uncounted, np.nan, -np.inf)
        hits = (chosen >= 0) & counts
        at[chosen[hits]] = boxes.scores[order][hits]
        found_at.append(at)
        columns.append((boxes.scores[order][counts], np.full(counts.sum(), p), order[counts], chosen[counts]))
    counted = np.array([(~truth.uncounted).sum() for truth in truths], np.intp)
    if not columns:
        none = np.empty(0, np.intp)
        return Matches(np.empty(0), none, none, none, counted, ())
    scores, pictures, rows, faces = (np.concatenate(part) for part in zip(*columns, strict=True))
    order = np.argsort(-scores, kind="stable")
    return Matches(scores[order], pictures[order], rows[order], faces[order], counted, tuple(found_at))

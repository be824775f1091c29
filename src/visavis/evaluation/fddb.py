"""FDDB's two ROC curves: of faces found, and of how much of each is covered, over false alarms.

Jain and Learned-Miller, "FDDB: A Benchmark for Face Detection in Unconstrained Settings", 2010 (UMass Amherst,
UM-CS-2010-009). At each score, the boxes that reach it are matched one to one to the faces of their picture so that the
overlaps (IoU of regions) add up to the most. The discrete curve counts a face where its overlap is above 0.5, the
continuous one counts the overlap itself. A detection that scores nothing is a false alarm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from visavis.errors import EngineError, InputError
from visavis.evaluation.detection import Found, overlaps
from visavis.geometry import ellipse_boxes, ellipse_polygons, polygon_overlap

__all__ = ["FddbRoc", "fddb_roc", "region_overlaps"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FddbRoc:
    """Points of both curves, by falling score.

    Attributes
    ----------
    scores
        ``(s,)``: every score that a box has.
    discrete, continuous
        ``(s,)``: shares of the faces.
    false_discrete, false_continuous
        ``(s,)``: how many boxes are false alarms: overlap not above 0.5, and no overlap with a face of their own.
    faces
        How many there are to be found.
    """

    scores: Floats
    discrete: Floats
    continuous: Floats
    false_discrete: npt.NDArray[np.intp]
    false_continuous: npt.NDArray[np.intp]
    faces: int

    def at(self, false_alarms: int) -> tuple[float, float]:
        """Return both shares at the last score that has no more false alarms (discrete), as papers state at 1000."""
        within = np.flatnonzero(self.false_discrete <= false_alarms)
        return (float(self.discrete[within[-1]]), float(self.continuous[within[-1]])) if len(within) else (0.0, 0.0)


def region_overlaps(found: Floats, ellipses: Floats) -> Floats:
    """Return the IoU ``(m, n)`` of boxes ``(m, 4)``, or ellipses ``(m, 5)``, with ellipses ``(n, 5)``.

    Ellipses are polygons of 96 corners and the same area, which is exact to about 0.001. The original program counts
    pixels instead.

    Examples
    --------
    >>> square, circle = np.array([[-1.0, -1, 1, 1]]), np.array([[0.0, 0, 1, 1, 0]])
    >>> round(float(region_overlaps(square, circle)[0, 0]), 2)  # pi / 4
    0.79
    """
    regions, truth = np.asarray(found, np.float64), np.asarray(ellipses, np.float64).reshape(-1, 5)
    turned = regions.ndim == 2 and regions.shape[1] == 5
    boxes = ellipse_boxes(regions) if turned else regions.reshape(-1, 4)
    corners = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
    shapes = ellipse_polygons(regions) if turned else corners
    shared = overlaps(boxes, ellipse_boxes(truth))
    result = np.zeros(shared.shape)
    outlines = ellipse_polygons(truth)
    for i, j in zip(*np.nonzero(shared), strict=True):
        result[i, j] = polygon_overlap(outlines[j], shapes[i])
    return result


def fddb_roc(overlap: Sequence[Floats], found: Sequence[Found]) -> FddbRoc:
    """Return both curves; needs scipy.

    Parameters
    ----------
    overlap
        For each picture ``(m, n)``: of each box, in the order of ``found``, with each face; `region_overlaps` for
        ellipses, `visavis.evaluation.detection.overlaps` where the faces are boxes.

    Raises
    ------
    InputError
        If the lengths differ, or there is no face.
    EngineError
        If scipy is missing.

    Examples
    --------
    >>> boxes = Found(np.array([[0, 0, 10, 10], [5, 0, 15, 10]]), np.array([0.9, 0.5]))
    >>> roc = fddb_roc([np.array([[0.75], [0.2]])], [boxes])
    >>> roc.discrete.tolist(), roc.continuous.tolist(), roc.false_discrete.tolist()
    ([1.0, 1.0], [0.75, 0.75], [0, 1])
    """
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError:
        raise EngineError("FDDB's matching needs scipy: pip install 'visavis[evaluate]'") from None
    if len(overlap) != len(found):
        raise InputError(f"{len(overlap)} pictures of ground truth and {len(found)} of detections can't be compared")
    faces = 0
    steps: list[tuple[float, float, float, int, int]] = []  # what each score of a picture changes
    for shared, boxes in zip(overlap, found, strict=True):
        if shared.ndim != 2 or len(shared) != len(boxes):
            raise InputError(f"{len(boxes)} boxes need overlaps ({len(boxes)}, n), not {shared.shape}")
        faces += shared.shape[1]
        before = (0.0, 0.0, 0, 0)
        for score in np.unique(boxes.scores)[::-1]:
            part = shared[boxes.scores >= score]
            pairs = part[linear_sum_assignment(part, maximize=True)]
            hits = int((pairs > 0.5).sum())
            now = (float(hits), float(pairs.sum()), len(part) - hits, len(part) - int((pairs > 0).sum()))
            changes = [after - earlier for after, earlier in zip(now, before, strict=True)]
            steps.append((float(score), changes[0], changes[1], int(changes[2]), int(changes[3])))
            before = now
    if not faces:
        raise InputError("there is no face to be found in the ground truth")
    steps.sort(key=lambda step: -step[0])
    table = np.array(steps, np.float64).reshape(-1, 5)
    last = np.append(table[:-1, 0] != table[1:, 0], True) if len(table) else np.zeros(0, bool)
    sums = np.cumsum(table[:, 1:], axis=0)[last]
    whole = np.rint(sums[:, 2:]).astype(np.intp)
    return FddbRoc(table[last, 0], sums[:, 0] / faces, sums[:, 1] / faces, whole[:, 0], whole[:, 1], faces)

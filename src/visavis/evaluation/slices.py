"""Which faces are found: recall and average precision by height, and by how much other faces overlap them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.evaluation.detection import Found, Truth, match, overlaps
from visavis.evaluation.intervals import Estimate

__all__ = ["CROWDING", "HEIGHTS", "Slice", "slices"]

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

HEIGHTS = (0.0, 10.0, 20.0, 30.0, 50.0, 100.0, 300.0, float("inf"))
"""Limits of the slices by height of the box, in pixels; WIDER FACE's "hard" begins at 10, "easy" at 50."""
CROWDING = (0.0, 1e-9, 0.1, 0.3, 1.0)
"""Limits of the slices by the largest IoU with another face of the picture; the first are those that touch none."""


@dataclass(frozen=True)
class Slice:
    """Faces of a kind: how many there are, the recall at a score, and the average precision among them alone."""

    name: str
    faces: int
    recall: Estimate | None
    average_precision: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        recall = None if self.recall is None else self.recall.to_dict()
        return {"slice": self.name, "faces": self.faces, "recall": recall, "ap": self.average_precision}


def slices(
    truths: Sequence[Truth], found: Sequence[Found], *, score: float, least: float = 0.5
) -> dict[str, list[Slice]]:
    """Return recall and average precision of faces by their height and by how much other faces overlap them.

    Faces of other slices are ignored: a box on them is neither right nor wrong. A box on no face is a false alarm of
    every slice by overlap, but only of the slice of its own height.
    """
    heights = [truth.boxes[:, 3] - truth.boxes[:, 1] for truth in truths]
    own = [boxes.boxes[:, 3] - boxes.boxes[:, 1] for boxes in found]
    crowding = [_crowding(truth) for truth in truths]
    tables: dict[str, list[Slice]] = {"height": [], "overlap": []}
    for low, high in pairwise(HEIGHTS):
        name = f"{low:g} to {high:g} px" if high < float("inf") else f"{low:g} px and more"
        inside = [(v >= low) & (v < high) for v in heights]
        tables["height"].append(
            _slice(name, truths, found, inside, [(v >= low) & (v < high) for v in own], score, least)
        )
    for low, high in pairwise(CROWDING):
        name = "touches no other face" if high == CROWDING[1] else f"IoU {low if low > 1e-6 else 0:g} to {high:g}"
        inside = [(v >= low) & ((v < high) | (high == CROWDING[-1])) for v in crowding]
        tables["overlap"].append(_slice(name, truths, found, inside, None, score, least))
    return tables


def _crowding(truth: Truth) -> Floats:
    """Return the largest IoU of each face with another that counts, or not, of its picture."""
    shared = overlaps(truth.boxes, truth.boxes)
    np.fill_diagonal(shared, 0)
    return np.asarray(shared.max(axis=1, initial=0))


def _slice(
    name: str,
    truths: Sequence[Truth],
    found: Sequence[Found],
    inside: Sequence[Mask],
    own: Sequence[Mask] | None,
    score: float,
    least: float,
) -> Slice:
    part = [
        Truth(t.boxes, t.uncounted | ~mask, t.crowd, t.areas, t.labels) for t, mask in zip(truths, inside, strict=True)
    ]
    matches = match(part, found, least=least)
    if not matches.total:
        return Slice(name, 0, None, None)
    if own is not None:  # false alarms of other heights are not this slice's
        mine = np.array([own[p][b] for p, b in zip(matches.pictures, matches.boxes, strict=True)], bool)
        kept = (matches.faces >= 0) | mine
        matches = replace(
            matches,
            scores=matches.scores[kept],
            pictures=matches.pictures[kept],
            boxes=matches.boxes[kept],
            faces=matches.faces[kept],
        )
    return Slice(name, matches.total, matches.recall_at(score), matches.average_precision)

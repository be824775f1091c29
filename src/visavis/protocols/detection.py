"""Detectors, ours or anyone's, measured on annotated pictures by the protocols of the field."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from visavis.datasets.annotations import Annotation
from visavis.errors import InputError
from visavis.evaluation.average_precision import coco_average_precision
from visavis.evaluation.detection import Found, Matches, Truth, match, overlaps
from visavis.evaluation.fddb import FddbRoc, fddb_roc, region_overlaps
from visavis.evaluation.slices import Slice, slices
from visavis.evaluation.wider import DIFFICULTIES, WiderResult, counted_by_height, wider_average_precision
from visavis.pipeline import Analyzer

__all__ = ["PROTOCOLS", "Detections", "Measured", "Protocol", "detect_pictures", "measure", "paired"]

Protocol = Literal["coco", "wider", "fddb"]
PROTOCOLS: dict[str, Protocol] = {"wider": "wider", "wider-predictions": "wider", "fddb": "fddb"}
"""The protocol of each format that has one of its own; COCO's is that of all others."""
_NOT_COUNTED = ("ignore", "invalid", "difficult")


@dataclass(frozen=True, eq=False)
class Detections:
    """Ground truth and detections of the same pictures, in the same order."""

    truth: tuple[Annotation, ...]
    found: tuple[Annotation, ...]

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def faces(self) -> int:
        """How many faces are to be found."""
        return sum(int((~truth.uncounted).sum()) for truth in self.truths)

    @property
    def truths(self) -> list[Truth]:
        """The ground truth as arrays: what is flagged ignored, invalid or difficult, or is empty, does not count."""
        return [
            Truth(
                item.boxes.astype(np.float64),
                np.any([item.empty, *(item.trait(name).astype(bool) for name in _NOT_COUNTED)], axis=0),
                item.trait("crowd").astype(bool),
                item.traits.get("area"),
            )
            for item in self.truth
        ]

    @property
    def boxes(self) -> list[Found]:
        """The detections as arrays."""
        return [
            Found(
                item.boxes.astype(np.float64),
                np.ones(len(item)) if item.scores is None else item.scores.astype(np.float64),
            )
            for item in self.found
        ]


def detect_pictures(
    items: Iterable[Annotation], images: Path, analyzer: Analyzer, *, say: Callable[[str], None] | None = None
) -> Detections:
    """Run a detector on the pictures that are annotated.

    Raises
    ------
    InputError
        If a picture can't be read.
    """
    truth = tuple(items)
    found = []
    for n, analysis in enumerate(analyzer.stream(images / item.image for item in truth)):
        if analysis.error is not None:
            raise InputError(f"{truth[n].image}: {analysis.error}")
        if say is not None and n % 20 == 0:
            say(f"detecting: {n:,} of {len(truth):,} pictures")
        found.append(Annotation.of_faces(truth[n].image, analysis.faces, width=truth[n].width, height=truth[n].height))
    return Detections(truth, tuple(found))


def paired(truth: Iterable[Annotation], found: Iterable[Annotation]) -> Detections:
    """Put detections beside the ground truth of their pictures; a picture without any has none.

    Raises
    ------
    InputError
        If detections name pictures that the ground truth has not: they would be left out unseen.
    """
    items = tuple(truth)
    by_name = {item.image: item for item in found}
    none = np.empty((0, 4), np.float32)
    rows = tuple(by_name.pop(item.image, Annotation(item.image, none, scores=none[:, 0])) for item in items)
    if by_name:
        few = ", ".join(sorted(by_name)[:5])
        raise InputError(f"{len(by_name)} pictures of the detections are not in the ground truth, as {few}")
    return Detections(items, rows)


@dataclass(frozen=True, eq=False)
class Measured:
    """What came out.

    Attributes
    ----------
    protocol
        Its name.
    figures
        Its figures by name, 0..1; None where there was nothing to be found.
    matches
        Boxes matched at IoU 0.5.
    slices
        By ``height`` and by ``overlap`` with other faces.
    wider, fddb
        The curves of those protocols.
    notes
        What a reader must know, as that lists were approximated.
    """

    protocol: Protocol
    detections: Detections
    figures: dict[str, float | None]
    matches: Matches
    slices: dict[str, list[Slice]]
    wider: dict[str, WiderResult]
    fddb: FddbRoc | None
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain values."""
        return {
            "protocol": self.protocol,
            "pictures": len(self.detections),
            "faces": self.matches.total,
            "detections": sum(map(len, self.detections.found)),
            "figures": self.figures,
            "slices": {name: [row.to_dict() for row in rows] for name, rows in self.slices.items()},
            "notes": list(self.notes),
        }


def measure(detections: Detections, protocol: Protocol = "coco", *, score: float | None = None) -> Measured:
    """Measure detections by a protocol, and by slices of faces.

    Parameters
    ----------
    score
        From which the slices' recall counts a box; all boxes without it.

    Raises
    ------
    InputError
        If there is no picture, or no face to be found.
    """
    truths, boxes = detections.truths, detections.boxes
    if not truths:
        raise InputError("the ground truth has no picture")
    matches = match(truths, boxes)
    if not matches.total:
        raise InputError("there is no face to be found: every box of the ground truth is ignored, or there is none")
    at = -np.inf if score is None else score
    wider: dict[str, WiderResult] = {}
    fddb: FddbRoc | None = None
    notes: list[str] = []
    empty = sum(int(item.empty.sum()) for item in detections.truth)
    if empty:
        notes.append(f"{empty} boxes of the ground truth have no area and don't count")
    if protocol == "wider":
        wider = _wider(detections, boxes, notes)
        figures: dict[str, float | None] = {f"ap_{name}": result.ap for name, result in wider.items()}
    elif protocol == "fddb":
        fddb = fddb_roc(_regions(detections), boxes)
        discrete, continuous = fddb.at(1000)
        figures = {"discrete_1000": discrete, "continuous_1000": continuous}
        figures |= {"discrete_100": fddb.at(100)[0], "continuous_100": fddb.at(100)[1]}
    else:
        figures = coco_average_precision(truths, boxes).to_dict()
    tables = slices(truths, boxes, score=at)
    return Measured(protocol, detections, figures, matches, tables, wider, fddb, tuple(notes))


def _wider(detections: Detections, boxes: Sequence[Found], notes: list[str]) -> dict[str, WiderResult]:
    listed = [name for name in (*DIFFICULTIES, "counted") if all(name in item.traits for item in detections.truth)]
    if not listed:
        notes.append(
            "the .txt has no list of the faces that count: easy, medium and hard are approximated by heights of "
            + ", ".join(f"{limit:g}" for limit in DIFFICULTIES.values())
            + " px; give the folder of wider_easy_val.mat and the like for the published lists"
        )
    results: dict[str, WiderResult] = {}
    for name in listed or DIFFICULTIES:
        counted: list[npt.NDArray[np.bool_]] = [
            item.traits[name].astype(bool)
            if listed
            else counted_by_height(item.boxes, item.trait("invalid"), DIFFICULTIES[name])
            for item in detections.truth
        ]
        if any(mask.any() for mask in counted):
            boxes_of = [item.boxes.astype(np.float64) for item in detections.truth]
            results[name] = wider_average_precision(boxes_of, counted, boxes)
        else:
            notes.append(f"no face counts as {name}")
    return results


def _regions(detections: Detections) -> list[npt.NDArray[np.float64]]:
    """Return the overlaps of what was found with the faces: with ellipses where they are given, else with boxes."""
    shared = []
    for truth, found in zip(detections.truth, detections.found, strict=True):
        regions = found.boxes.astype(np.float64)
        if found.ellipses is not None and np.isfinite(found.ellipses).all():
            regions = found.ellipses
        if truth.ellipses is not None and np.isfinite(truth.ellipses).all():
            shared.append(region_overlaps(regions, truth.ellipses))
        else:
            shared.append(overlaps(found.boxes.astype(np.float64), truth.boxes.astype(np.float64)))
    return shared

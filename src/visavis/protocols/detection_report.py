"""A detector's figures as a document: curves, tables, and the faces that were missed or seen where there are none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from visavis.drawing import Style, annotate
from visavis.errors import ImageError
from visavis.evaluation.slices import Slice
from visavis.image import load_image, resize
from visavis.protocols.detection import Measured
from visavis.reporting.document import Curve, Document, Figure, Part, Picture, Pictures, Section, Table, Text
from visavis.types import Faces, FloatArray, Image

__all__ = ["detection_document"]

_SIDE = 220  # pixels of a picture in the report
_MOST = 12  # misses and false alarms shown
_POINTS = 2000  # of a curve
_TRUE, _SEEN = Style(plain=(0, 114, 178)), Style(plain=(230, 159, 0))
_SPELLED = {
    "ap": "AP, mean of IoU 0.5 to 0.95",
    "ap_50": "AP at IoU 0.5",
    "ap_75": "AP at IoU 0.75",
    "ap_small": "AP, up to 32 x 32 px",
    "ap_medium": "AP, up to 96 x 96 px",
    "ap_large": "AP, larger",
    "ar_1": "AR, 1 box a picture",
    "ar_10": "AR, 10 boxes a picture",
    "ar_100": "AR, 100 boxes a picture",
    "ar_small": "AR, up to 32 x 32 px",
    "ar_medium": "AR, up to 96 x 96 px",
    "ar_large": "AR, larger",
    "ap_easy": "AP, easy",
    "ap_hard": "AP, hard",
    "discrete_1000": "found at 1,000 false alarms, discrete",
    "continuous_1000": "found at 1,000 false alarms, continuous",
    "discrete_100": "found at 100 false alarms, discrete",
    "continuous_100": "found at 100 false alarms, continuous",
}
_TITLES = {"coco": "COCO", "wider": "WIDER FACE", "fddb": "FDDB"}


def detection_document(
    measured: Measured, detector: str, images: Path | None, facts: Sequence[tuple[str, str]] = ()
) -> Document:
    """Return the report; without ``images``, the folder of the pictures, it shows none."""
    result = measured.to_dict()
    spelled = {**_SPELLED, "ap_medium": "AP, medium"} if measured.protocol == "wider" else _SPELLED
    figures = [
        (spelled.get(name, name), "–" if value is None else f"{value:.4f}") for name, value in measured.figures.items()
    ]
    parts: list[Part] = [Table("Figures", ("figure", "value"), figures), *map(Text, measured.notes)]
    sections = [Section(_TITLES[measured.protocol], [*parts, *_curves(measured)])]
    tables = {"height": "By height of the face", "overlap": "By overlap with another face"}
    sections.append(Section("Slices", [_table(title, measured.slices[name]) for name, title in tables.items()]))
    if images is not None:
        sections.append(Section("Mistakes", _mistakes(measured, images)))
    first = next((f"{name} {value}" for name, value in figures), "nothing")
    summary = (
        f"{detector} on {len(measured.detections):,} pictures with {measured.matches.total:,} faces by the protocol of "
        f"{_TITLES[measured.protocol]}: {first}."
    )
    return Document("Detection", summary, sections, facts, {"detector": detector, **result})


def _curves(measured: Measured) -> list[Figure]:
    figures = []
    if measured.wider:
        curves = [Curve(f"{name}, AP {r.ap:.3f}", r.recall, r.precision) for name, r in measured.wider.items()]
        figures.append(Figure("Precision and recall by WIDER FACE", "recall", "precision", curves))
    else:
        matches = measured.matches
        rows = _thinned(len(matches.scores))
        name = f"IoU 0.5, AP {matches.average_precision:.3f}"
        curve = Curve(name, matches.recall[rows], matches.precision[rows])
        figures.append(
            Figure("Precision and recall", "recall", "precision", [curve], description="Boxes by falling score.")
        )
    if measured.fddb is not None:
        roc = measured.fddb
        rows = _thinned(len(roc.scores))
        figures.append(
            Figure(
                "ROC",
                "false alarms",
                "share of the faces",
                [
                    Curve("discrete", roc.false_discrete[rows].astype(np.float64), roc.discrete[rows]),
                    Curve("continuous", roc.false_continuous[rows].astype(np.float64), roc.continuous[rows]),
                ],
                steps=True,
            )
        )
    return figures


def _thinned(count: int) -> npt.NDArray[np.intp]:
    return np.unique(np.linspace(0, count - 1, min(count, _POINTS)).astype(np.intp)) if count else np.empty(0, np.intp)


def _table(title: str, rows: Sequence[Slice]) -> Table:
    cells = []
    for row in rows:
        recall = (
            "–" if row.recall is None else f"{row.recall.value:.3f} ({row.recall.low:.3f} to {row.recall.high:.3f})"
        )
        ap = "–" if row.average_precision is None else f"{row.average_precision:.3f}"
        cells.append((row.name, f"{row.faces:,}", recall, ap))
    note = "At IoU 0.5. Intervals: 95 %, a bootstrap over pictures."
    return Table(title, ("slice", "faces", "recall", "AP"), cells, note)


def _mistakes(measured: Measured, images: Path) -> list[Part]:
    matches, detections = measured.matches, measured.detections
    missed = [
        (float(box[3] - box[1]), p, box)
        for p, (item, at) in enumerate(zip(detections.truth, matches.found_at, strict=True))
        for box in item.boxes[at == -np.inf]
    ]
    missed.sort(key=lambda row: -row[0])
    false = np.flatnonzero(matches.faces < 0)[:_MOST]
    rows = [(int(matches.pictures[i]), int(matches.boxes[i]), float(matches.scores[i])) for i in false]
    misses = [_shown(measured, images, p, box, f"{height:.0f} px high") for height, p, box in missed[:_MOST]]
    # Boxes less sure than the false alarm itself would only hide it.
    alarms = [_shown(measured, images, p, detections.found[p].boxes[b], f"score {s:.2f}", s) for p, b, s in rows]
    note = "Blue: faces of the ground truth. Orange: what was found."
    return [
        Pictures(f"The largest of {len(missed):,} missed faces", _rows(misses), note=note),
        Pictures(f"The surest of {int((matches.faces < 0).sum()):,} false alarms", _rows(alarms), note=note),
    ]


def _rows(pictures: Sequence[Picture | None]) -> list[list[Picture]]:
    shown = [picture for picture in pictures if picture is not None]
    return [shown[i : i + 4] for i in range(0, len(shown), 4)]


def _shown(
    measured: Measured, images: Path, p: int, box: FloatArray, caption: str, least: float = -np.inf
) -> Picture | None:
    """Return the part of a picture around a box, with all boxes that reach into it."""
    truth, found = measured.detections.truth[p], measured.detections.found[p]
    if found.scores is not None:
        found = found.take(found.scores >= least)
    try:
        image = load_image(images / truth.image)
    except ImageError:
        return None
    height, width = image.shape[:2]
    middle = (box[:2] + box[2:]) / 2
    half = max(1.5 * float((box[2:] - box[:2]).max()), 24.0)
    low = np.clip(np.floor(middle - half), 0, [width - 1, height - 1]).astype(int)
    high = np.clip(np.ceil(middle + half), low + 1, [width, height]).astype(int)
    part: Image = np.ascontiguousarray(image[low[1] : high[1], low[0] : high[0]])
    scale = _SIDE / max(part.shape[:2])
    part = resize(part, max(round(part.shape[1] * scale), 1), max(round(part.shape[0] * scale), 1))
    for item, style in ((truth, _TRUE), (found, _SEEN)):
        boxes = (item.boxes - np.tile(low, 2)) * scale
        inside = (boxes[:, 2:] > 0).all(axis=1) & (boxes[:, :2] < [part.shape[1], part.shape[0]]).all(axis=1)
        faces = Faces(boxes[inside], np.ones(int(inside.sum()), np.float32))
        part = annotate(part, faces, style=style)
    return Picture(part, f"{truth.image}, {caption}")

"""What a data set of people holds: how many photos of whom, how large, sharp and turned, and what they look like."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.alignment import align
from visavis.curation.inspection import Inspected
from visavis.errors import VisavisError
from visavis.image import load_image
from visavis.reporting.document import Bars, Curve, Document, Figure, Picture, Pictures, Section, Table, Text
from visavis.types import Image

__all__ = ["Measure", "Statistics", "average_face", "statistics_document", "statistics_of"]

Floats = npt.NDArray[np.float64]

_QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
_EXAMPLES = 8  # photos shown at each end
_AVERAGED = 1000  # faces the average is made of, at most
_BINS = 40


@dataclass(frozen=True)
class Measure:
    """One thing measured of each photo: its name, unit and what it says."""

    name: str
    title: str
    unit: str
    low: str
    high: str


MEASURES = (
    Measure("photo_side_px", "Size of the photos", "shorter side, pixels", "smallest", "largest"),
    Measure("face_height_px", "Size of the faces", "height of the box, pixels", "smallest", "largest"),
    Measure("eye_distance_px", "Distance between the eyes", "pixels, corrected for the turn", "smallest", "largest"),
    Measure("sharpness", "Sharpness", "0 to 1", "most blurred", "sharpest"),
    Measure("yaw_deg", "Turn to the side", "degrees, above 0 to the right of the image", "to the left", "to the right"),
    Measure("pitch_deg", "Nod", "degrees, above 0 looking up", "most down", "most up"),
)


@dataclass(frozen=True, eq=False)
class Statistics:
    """Counts and distributions of a data set.

    Attributes
    ----------
    photos, people
        How many there are.
    unreadable, without_face, several_faces
        Photos that can't be read, show no face, or several of like size.
    duplicates
        Photos that could go as they are there more than once; None where it was not looked.
    per_person
        ``(people,)``: photos of each, rising.
    values
        Of each of `MEASURES`, by name: ``(photos,)``, NaN where it could not be measured.
    largest
        The people with the most photos, and how many.
    """

    photos: int
    people: int
    unreadable: int
    without_face: int
    several_faces: int
    duplicates: int | None
    per_person: npt.NDArray[np.int64]
    values: dict[str, Floats]
    largest: list[tuple[str, int]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values: counts, and quantiles of what was measured."""
        counts = Counter(self.per_person.tolist())
        return {
            "photos": self.photos,
            "people": self.people,
            "unreadable": self.unreadable,
            "without_face": self.without_face,
            "several_faces": self.several_faces,
            "duplicates": self.duplicates,
            "photos_per_person": {str(number): counts[number] for number in sorted(counts)},
            "largest": [{"person": name, "photos": number} for name, number in self.largest],
            "measures": {name: _quantiles(values) for name, values in self.values.items()},
        }


def _quantiles(values: Floats) -> dict[str, Any]:
    there = values[~np.isnan(values)]
    if not len(there):
        return {"measured": 0}
    marks = {f"p{100 * q:g}": round(float(np.quantile(there, q)), 4) for q in _QUANTILES}
    return {"measured": len(there), "mean": round(float(there.mean()), 4), **marks}


def statistics_of(seen: Inspected, duplicates: int | None = None) -> Statistics:
    """Return the statistics of photos that were looked at.

    Parameters
    ----------
    seen
        What `inspect_photos` saw.
    duplicates
        How many photos could go as they are there more than once, where that is known.
    """
    n = len(seen.data.photos)
    counts = Counter(seen.data.people)
    readable = seen.sizes.min(axis=1) > 0 if n else np.zeros(0, bool)
    side = np.where(readable, seen.sizes.min(axis=1), np.nan) if n else np.zeros(0)
    values = {"photo_side_px": side, "face_height_px": seen.boxes[:, 3] - seen.boxes[:, 1], **seen.quality}
    return Statistics(
        photos=n,
        people=len(counts),
        unreadable=len(seen.errors),
        without_face=int((readable & (seen.faces == 0)).sum()),
        several_faces=int((seen.faces > 1).sum()),
        duplicates=duplicates,
        per_person=np.sort(np.array(list(counts.values()), np.int64)),
        values=values,
        largest=sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:10],
    )


def average_face(seen: Inspected, *, most: int = _AVERAGED, seed: int = 0) -> tuple[Image | None, int]:
    """Return the mean of aligned faces, uint8 ``(112, 112, 3)``, and of how many: drawn where there are more."""
    rows = np.flatnonzero(~np.isnan(seen.landmarks).any(axis=(1, 2)))
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
    total, number = np.zeros((112, 112, 3)), 0
    for i in rows.tolist():
        try:
            image = load_image(seen.data.read(i))
        except VisavisError:  # it went since it was looked at
            continue
        total += align(image, seen.landmarks[i : i + 1].astype(np.float32))[0]
        number += 1
    return (None, 0) if not number else ((total / number).round().astype(np.uint8), number)


def statistics_document(name: str, seen: Inspected, found: Statistics, facts: Sequence[tuple[str, str]]) -> Document:
    """Return the page of a data set: counts, distributions, examples at both ends, and the average face.

    Parameters
    ----------
    name
        Of the data set.
    seen, found
        What was seen, and its statistics.
    facts
        Settings and versions.
    """
    people = f"{found.people:,} {'person' if found.people == 1 else 'people'}"
    summary = f"{found.photos:,} photos of {people}, {found.photos / max(found.people, 1):.1f} each at the mean."
    sections = [Section("Photos and people", _overview(found))]
    face, number = average_face(seen)
    if face is not None:
        pictures = Pictures("", [[Picture(face, f"mean of {number:,} aligned faces")]])
        sections.append(Section("Average face", [pictures]))
    for measure in MEASURES:
        values = found.values[measure.name]
        there = values[~np.isnan(values)]
        if len(there) and there.min() == there.max():
            sections.append(Section(measure.title, [Text(f"All have {there[0]:.4g} ({measure.unit}).")]))
        elif len(there):
            sections.append(Section(measure.title, [_distribution(measure, there), *_ends(measure, values, seen)]))
    return Document(f"The data set {name}", summary, sections, facts, found.to_dict())


def _overview(found: Statistics) -> list[Table | Bars]:
    rows = [
        ["photos", f"{found.photos:,}"],
        ["people", f"{found.people:,}"],
        ["photos that can't be read", f"{found.unreadable:,}"],
        ["photos without a face", f"{found.without_face:,}"],
        ["photos with several faces of like size", f"{found.several_faces:,}"],
        ["photos that are there more than once", "not looked" if found.duplicates is None else f"{found.duplicates:,}"],
    ]
    names, values = _per_person(found.per_person)
    return [
        Table("Counts", ["what", "how many"], rows),
        Bars(
            "Photos per person",
            "people",
            names,
            ["people"],
            np.array([values], np.float64),
            description="How many people have how many photos.",
        ),
        Table("People with the most photos", ["person", "photos"], [[n, f"{k:,}"] for n, k in found.largest]),
    ]


def _per_person(counts: npt.NDArray[np.int64]) -> tuple[list[str], list[int]]:
    """Return people by their number of photos: 1, 2, 3-4, 5-9, 10-19, 20-49, 50-99, ..."""
    edges, decade = [1, 2, 3, 5], 10
    while edges[-1] <= counts.max(initial=1):
        edges += [decade, 2 * decade, 5 * decade]
        decade *= 10
    edges = edges[: int(np.searchsorted(edges, counts.max(initial=1), side="right")) + 1]
    names, values = [], []
    for low, high in pairwise(edges):
        names.append(str(low) if high == low + 1 else f"{low}-{high - 1}")
        values.append(int(((counts >= low) & (counts < high)).sum()))
    return names, values


def _distribution(measure: Measure, there: Floats) -> Figure:
    counts, edges = np.histogram(there, bins=min(_BINS, math.ceil(2 * math.sqrt(len(there)))))
    line = Curve("photos", edges, np.append(counts, 0).astype(np.float64))
    low, middle, high = np.quantile(there, (0.05, 0.5, 0.95))
    told = f"Half of the photos lie below {middle:.3g}, nine in ten from {low:.3g} to {high:.3g}."
    return Figure(measure.title, measure.unit, "photos", [line], description=told, steps=True)


def _ends(measure: Measure, values: Floats, seen: Inspected) -> list[Pictures]:
    """Return photos with the lowest and the highest values."""
    there = np.flatnonzero(~np.isnan(values))
    order = there[np.argsort(values[there], kind="stable")]
    ends = [(measure.low, order[:_EXAMPLES]), (measure.high, order[::-1][:_EXAMPLES])]
    rows, captions = [], []
    for what, photos in ends:
        row = []
        for i in photos.tolist():
            picture = seen.face_picture(i)
            if picture is not None:
                row.append(Picture(picture, f"{values[i]:.3g}: {seen.data.photos[i]}"))
        rows.append(row)
        captions.append(what)
    return [Pictures("", rows, captions)]

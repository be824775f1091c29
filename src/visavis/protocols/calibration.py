"""Calibration on one's own photos: what each similarity of a recognizer is worth there, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.datasets.photos import PhotoSet
from visavis.errors import InputError
from visavis.evaluation.calibration import Measured, measure
from visavis.evaluation.intervals import least_measurable, trials_needed
from visavis.models.cards import Calibration
from visavis.protocols.embedding import Embedded
from visavis.protocols.pictures import picture_of
from visavis.reporting.document import Curve, Document, Figure, Pictures, Section, Table, Text

__all__ = ["Calibrated", "Suspect", "calibrate", "calibration_document"]

_FEW = 100  # people: below, even the intervals are rough
_PICTURES = 20  # suspicious pairs that a report shows


@dataclass(frozen=True)
class Suspect:
    """Photos under two people's names that are as similar as those of one person usually are."""

    photos: tuple[str, str]
    people: tuple[str, str]
    similarity: float

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {"photos": list(self.photos), "people": list(self.people), "similarity": round(self.similarity, 4)}


@dataclass(frozen=True, eq=False)
class Calibrated:
    """What was measured, the table made of it, and what deserves a look.

    Attributes
    ----------
    table
        As a model's card holds it.
    measured
        Every point with its FNMR.
    without
        Photos that had no embedding: they took no part.
    suspects
        Likely wrong labels, copies under two names, or relatives; the most similar first.
    """

    table: Calibration
    measured: Measured
    without: tuple[str, ...]
    suspects: tuple[Suspect, ...]

    def warnings(self, fmr: float) -> list[str]:
        """Return what speaks against using the table at an FMR, a line each."""
        found, said = self.measured, []
        if not found.supports(fmr):
            said.append(
                f"an FMR of {fmr:g} can't be shown by {found.nonmated_pairs:,} pairs of different people: without one "
                f"error among n the FMR is still only below 3/n, so {trials_needed(fmr):,} would be needed; the "
                f"strictest rate in the table is {found.points[-1].fmr:g}, and no decision can ask for a stricter one"
            )
        else:
            point = min(found.points, key=lambda point: abs(np.log(point.fmr / fmr)))
            if point.high > 5 * point.fmr:
                said.append(
                    f"at the threshold for FMR {point.fmr:g} it may be up to {point.high:.1e} for other people of the "
                    "same kind (95 %): more people, rather than more photos of each, narrow that"
                )
        if found.people < _FEW:
            independent = found.people // 2
            said.append(
                f"only {found.people} people: compared once each they give {independent} independent pairs, which show "
                f"an FMR of {least_measurable(independent):.2g} at best; what is stricter rests on the same people "
                "again and again"
            )
        if self.suspects:
            worst = self.suspects[0]
            said.append(
                f"{len(self.suspects)} pairs of different people are as similar as photos of one person, as "
                f"{worst.photos[0]} and {worst.photos[1]} ({worst.similarity:.2f}): wrong labels or copies make the "
                "strict thresholds too high; look at them and measure again"
            )
        return said

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "model": self.table.model,
            "data": self.table.data,
            "measured": self.table.measured,
            "photos": self.measured.photos,
            "people": self.measured.people,
            "mated_pairs": self.measured.mated_pairs,
            "nonmated_pairs": self.measured.nonmated_pairs,
            "least_fmr": least_measurable(self.measured.nonmated_pairs),
            "points": [point.to_dict() for point in self.measured.points],
            "suspects": [suspect.to_dict() for suspect in self.suspects],
            "without_face": list(self.without),
        }


def calibrate(
    embedded: Embedded,
    people: Sequence[str],
    *,
    data: str,
    excluded: npt.ArrayLike | None = None,
    say: Callable[[str], None] | None = None,
) -> Calibrated:
    """Measure the error rates of embeddings on all pairs of labeled photos.

    Parameters
    ----------
    embedded
        Embeddings of n photos, ``model`` as `visavis.pipeline.Analyzer.calibrated_as` names it.
    people
        ``(n,)``: the person on each.
    data
        What the photos are called; results will say "measured on" it.
    excluded
        ``(e, 2)``: rows of pairs known to be wrongly labeled, which are left out.
    say
        Called with what is under way.

    Raises
    ------
    InputError
        If lengths differ, nearly nobody is on the photos, or the embeddings tell nobody apart.
    """
    if len(people) != len(embedded):
        raise InputError(f"{len(embedded)} photos need a person each, not {len(people)}")
    rows = np.flatnonzero(embedded.found)
    names, subjects = np.unique(np.asarray(people, dtype=np.str_), return_inverse=True)
    place = np.full(len(embedded), -1, np.intp)
    place[rows] = np.arange(len(rows))
    left_out = place[np.asarray([] if excluded is None else excluded, np.intp).reshape(-1, 2)]
    # People of whom no photo has a face stay people that a draw may take, as they were in the data.
    found = measure(embedded.vectors[rows], subjects[rows], excluded=left_out[(left_out >= 0).all(axis=1)], say=say)
    return Calibrated(
        table=_table(found, embedded.model, data),
        measured=found,
        without=tuple(embedded.names[i] for i in np.flatnonzero(~embedded.found)),
        suspects=tuple(
            Suspect(
                (embedded.names[rows[pair.first]], embedded.names[rows[pair.second]]),
                (str(names[subjects[rows[pair.first]]]), str(names[subjects[rows[pair.second]]])),
                pair.similarity,
            )
            for pair in found.suspicious
        ),
    )


def _table(found: Measured, model: str, data: str) -> Calibration:
    """Return the table with as many digits as mean something."""
    # Rounded up, so that no more match than the rate says; of equal ones the strictest.
    points = {math.ceil(1e5 * point.threshold) / 1e5: point for point in found.points}
    if len(points) < 2:
        raise InputError("all thresholds are nearly the same: such embeddings tell nobody apart")
    return Calibration(
        model=model,
        data=data,
        mated_pairs=found.mated_pairs,
        nonmated_pairs=found.nonmated_pairs,
        similarities=np.array(list(points)),
        fmr=np.array([point.fmr for point in points.values()]),
        fmr_low=np.array([float(f"{point.low:.3g}") for point in points.values()]),
        fmr_high=np.array([float(f"{point.high:.3g}") for point in points.values()]),
        people=found.people,
        measured=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    )


def calibration_document(
    done: Calibrated, fmr: float, facts: Sequence[tuple[str, str]], photos: PhotoSet | None = None
) -> Document:
    """Return the report of a calibration; with the photos it shows the suspicious pairs."""
    found = done.measured
    at = np.array([point.threshold for point in found.points])
    rates = np.array([point.fmr for point in found.points])
    curves = [
        Curve("FMR", at, rates, np.array([p.low for p in found.points]), np.array([p.high for p in found.points]))
    ]
    missed = [(p.threshold, p.fnmr_people) for p in found.points if p.fnmr_people is not None]
    if missed:
        curves.append(Curve("FNMR, mean of people", *np.array(missed, np.float64).T))
    figure = Figure(
        "Error rates at each threshold",
        "similarity",
        "error rate",
        curves,
        y_scale="log",
        description="The FMR falls and the FNMR rises as the threshold rises; the band is the FMR's 95 % interval.",
    )
    sections = [
        Section("Thresholds", [figure, _points(done)]),
        Section("What to bear in mind", [Text(text) for text in done.warnings(fmr)] or [Text("Nothing.")]),
    ]
    if done.suspects:
        sections.append(Section("Suspicious pairs", _suspicious(done, photos)))
    summary = (
        f"{done.table.model} on {done.table.data}: {found.nonmated_pairs:,} pairs of different people, "
        f"{found.mated_pairs:,} of one, {found.photos:,} photos of {found.people:,} people."
    )
    return Document("Calibration", summary, sections, facts, done.to_dict())


def _points(done: Calibrated) -> Table:
    rows = [
        [
            f"{point.fmr:.0e}",
            f"{point.threshold:.4f}",
            f"{point.low:.1e} to {point.high:.1e}",
            "" if point.fnmr is None else f"{point.fnmr:.3%}",
            "" if point.fnmr_people is None else f"{point.fnmr_people:.2%}",
        ]
        for point in done.measured.points
    ]
    columns = ["FMR", "threshold", "95 % interval of the FMR", "FNMR", "FNMR, mean of people"]
    return Table("Points of the table", columns, rows, "Intervals: 400 draws of people.", [True] * 5)


def _suspicious(done: Calibrated, photos: PhotoSet | None) -> list[Any]:
    listed = [[*pair.photos, f"{pair.similarity:.3f}"] for pair in done.suspects]
    parts: list[Any] = [Table("Pairs", ["photo", "photo", "similarity"], listed, numeric=[False, False, True])]
    if photos is not None:
        where = {name: i for i, name in enumerate(photos.photos)}
        shown = done.suspects[:_PICTURES]
        rows = [[picture_of(photos, where[name]) for name in pair.photos] for pair in shown]
        captions = [f"{' and '.join(pair.people)}: {pair.similarity:.3f}" for pair in shown]
        parts.append(Pictures("The most similar", rows, captions))
    return parts

"""Landmarks, ours or anyone's, measured on annotated faces."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from visavis.datasets.annotations import Annotation
from visavis.errors import InputError
from visavis.evaluation.detection import Found, Truth, match
from visavis.evaluation.landmarks import LandmarkErrors, Norm, landmark_errors, norms
from visavis.pipeline import Analyzer

__all__ = ["find_landmarks", "measure_landmarks"]


def find_landmarks(
    items: Iterable[Annotation],
    images: Path,
    analyzer: Analyzer,
    *,
    trait: str | None = None,
    say: Callable[[str], None] | None = None,
) -> tuple[list[Annotation], list[Annotation]]:
    """Return the annotations that have landmarks, and what the analyzer finds on their pictures.

    Parameters
    ----------
    trait
        The landmark model's points, as ``landmarks_68``; the five points without it.

    Raises
    ------
    InputError
        If a picture can't be read, or there are no such points.
    """
    truth = [item for item in items if item.landmarks is not None and len(item)]
    found = []
    for n, analysis in enumerate(analyzer.stream(images / item.image for item in truth)):
        if analysis.error is not None:
            raise InputError(f"{truth[n].image}: {analysis.error}")
        if say is not None and n % 20 == 0:
            say(f"finding landmarks: {n:,} of {len(truth):,} pictures")
        faces = analysis.faces
        points = faces.landmarks if trait is None else faces.traits.get(trait)
        if points is None and len(faces):
            there = ", ".join(sorted(name for name in faces.traits if name.startswith("landmarks"))) or "none"
            raise InputError(
                f"{trait or 'five landmarks'} are marked, and are not among what is found (beside: {there}); "
                "give --landmarks a model that has them"
            )
        found.append(Annotation(truth[n].image, faces.boxes, scores=faces.scores, landmarks=points))
    return truth, found


def measure_landmarks(
    truth: Iterable[Annotation], found: Iterable[Annotation], by: Norm = "inter-ocular", *, least: float = 0.5
) -> LandmarkErrors:
    """Return the errors of all faces with landmarks; a face that no box of IoU ``least`` was found of has none.

    Raises
    ------
    InputError
        If there is no face with landmarks, or found and marked ones differ in number.
    """
    by_name = {item.image: item for item in found}
    marks: list[npt.NDArray[np.float32]] = []
    points: list[npt.NDArray[np.float32]] = []
    sizes: list[npt.NDArray[np.float64]] = []
    for item in truth:
        if item.landmarks is None or not len(item):
            continue
        k = item.landmarks.shape[1]
        if marks and marks[0].shape[1] != k:
            raise InputError(f"{item.image} has {k} landmarks a face, those before {marks[0].shape[1]}")
        other = by_name.get(item.image)
        rows = np.full(item.landmarks.shape, np.nan, np.float32)
        if other is not None and other.landmarks is not None and len(other):
            if other.landmarks.shape[1] != k:
                raise InputError(
                    f"{item.image} is marked with {k} landmarks a face, and {other.landmarks.shape[1]} were found: "
                    "they can't be compared; give --landmarks a model with as many"
                )
            scores = np.ones(len(other)) if other.scores is None else other.scores.astype(np.float64)
            boxes = Found(other.boxes.astype(np.float64), scores)
            matches = match([Truth(item.boxes.astype(np.float64))], [boxes], least=least)
            hit = matches.faces >= 0
            rows[matches.faces[hit]] = other.landmarks[matches.boxes[hit]]
        marks.append(item.landmarks)
        points.append(rows)
        sizes.append(norms(item.landmarks, by, None if by == "inter-ocular" else item.boxes))
    if not marks:
        raise InputError("the ground truth has no landmarks")
    return landmark_errors(np.concatenate(points), np.concatenate(marks), np.concatenate(sizes))

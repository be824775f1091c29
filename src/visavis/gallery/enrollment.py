"""From what a caller enrolls or asks about to vectors: one usable face of each photo, or embeddings as they are."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from visavis.analysis.quality import FaceQuality, QualityGate, measure
from visavis.errors import InputError, NoFaceFound, QualityRefused, SeveralFacesFound
from visavis.gallery.crops import cut
from visavis.gallery.store import NewTemplate
from visavis.image import ImageSource, load_image
from visavis.models.cards import Calibration
from visavis.types import Embeddings, Faces, Image

__all__ = ["FaceAnalyzer", "Samples", "probe_of", "samples_of"]


class FaceAnalyzer(Protocol):
    """What a gallery needs of an analyzer; `visavis.Analyzer` is one."""

    @property
    def model(self) -> str:
        """Card id and variant of its embeddings."""
        ...

    @property
    def calibration(self) -> Calibration | None:
        """Measured error rates of its embeddings, or None."""
        ...

    @property
    def calibrated_as(self) -> str:
        """Name of the table that those would be in."""
        ...

    def analyze(self, source: ImageSource) -> Faces:
        """Find the faces of an image, with landmarks and embeddings."""
        ...

    def crop(self, image: Image, faces: Faces) -> Image:
        """Return the faces' aligned crops."""
        ...

    def embed(self, crops: Image) -> Embeddings:
        """Return the embeddings of aligned crops."""
        ...


@dataclass(frozen=True, eq=False)
class Samples:
    """Templates about to be stored, the model they came from, and what deserves a look."""

    embeddings: Embeddings
    templates: tuple[NewTemplate, ...]
    warnings: tuple[str, ...] = ()


def samples_of(
    sources: Any, analyzer: Callable[[], FaceAnalyzer], gate: QualityGate, *, keep_crops: bool, force: bool
) -> Samples:
    """Turn what was given to `Gallery.enroll` into templates."""
    if isinstance(sources, Embeddings):
        if not len(sources):
            raise InputError("these Embeddings have no rows: there is nothing to enroll")
        return Samples(sources, tuple(NewTemplate(vector) for vector in sources.vectors))
    if isinstance(sources, Faces):
        return _from_faces(sources, gate, force)
    listed = list(sources) if isinstance(sources, (list, tuple)) else [sources]
    if not listed:
        raise InputError("no image was given: there is nothing to enroll")
    parts = [_from_image(source, analyzer(), gate, keep_crops, force) for source in listed]
    return Samples(
        Embeddings.concat([part.embeddings for part in parts]),
        tuple(template for part in parts for template in part.templates),
        tuple(warning for part in parts for warning in part.warnings),
    )


def _from_faces(faces: Faces, gate: QualityGate, force: bool) -> Samples:
    if faces.embeddings is None:
        raise InputError("these Faces have no embeddings; analyze the image with a recognizer")
    chosen, warnings = _main_face(faces, gate, force, "these Faces")
    assert chosen.embeddings is not None
    return Samples(chosen.embeddings, (NewTemplate(chosen.embeddings.vectors[0]),), warnings)


def _from_image(source: ImageSource, analyzer: FaceAnalyzer, gate: QualityGate, keep: bool, force: bool) -> Samples:
    name = os.fspath(source) if isinstance(source, (str, os.PathLike)) else "the image"
    image = load_image(source)
    face, warnings = _main_face(analyzer.analyze(image), gate, force, name)
    if face.embeddings is None or face.landmarks is None:
        raise InputError("this analyzer gives no embeddings; enrolling needs one with a recognizer")
    (quality,) = measure(image, face.landmarks)
    warnings += _judged(quality, gate, force, name)
    crop = cut(image, face.landmarks[0]) if keep else None
    template = NewTemplate(face.embeddings.vectors[0], quality.to_dict(), crop)
    return Samples(face.embeddings, (template,), warnings)


def _main_face(faces: Faces, gate: QualityGate, force: bool, name: str) -> tuple[Faces, tuple[str, ...]]:
    if not len(faces):
        raise NoFaceFound(f"no face found in {name}")
    rivals = gate.rivals(faces.boxes)
    if rivals > 1 and not force:
        raise SeveralFacesFound(
            f"{rivals} faces of similar size in {name}, where one is needed; crop it, or force the largest"
        )
    sides = (faces.boxes[:, 2:] - faces.boxes[:, :2]).prod(axis=1)
    largest = int(np.argmax(sides))
    warnings = (f"{name}: took the largest of {rivals} faces of similar size",) if rivals > 1 else ()
    return faces[largest : largest + 1], warnings


def _judged(quality: FaceQuality, gate: QualityGate, force: bool, name: str) -> tuple[str, ...]:
    problems = gate.problems(quality)
    if problems and not force:
        raise QualityRefused(f"{name}: {'; '.join(problems)}")
    return tuple(f"{name}: {problem}" for problem in problems)


def probe_of(probe: Any, analyzer: Callable[[], FaceAnalyzer]) -> tuple[Embeddings, Faces | None]:
    """Turn what was given to `Gallery.identify` into embeddings, with the faces where it was an image or faces."""
    if isinstance(probe, Embeddings):
        return probe, None
    if isinstance(probe, (list, tuple)):
        raise InputError("identify takes one image, Faces or Embeddings at a time")
    faces = probe if isinstance(probe, Faces) else analyzer().analyze(probe)
    if faces.embeddings is not None:
        return faces.embeddings, faces
    if len(faces):
        raise InputError("these faces have no embeddings; analyze the image with a recognizer")
    return Embeddings(np.empty((0, 0), np.float32), analyzer().model), faces

"""One look at every photo of a data set: its face, how good it is, and its embedding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from visavis.alignment import template_points
from visavis.analysis.quality import FaceQuality, QualityGate, measure
from visavis.curation.crops import box_crop
from visavis.datasets.lfw import central
from visavis.datasets.photos import PhotoSet
from visavis.datasets.placing import photo_files
from visavis.errors import VisavisError
from visavis.geometry import area
from visavis.image import load_image
from visavis.pipeline import Analysis, Analyzer
from visavis.types import Faces, Image

__all__ = ["FaceOf", "Inspected", "inspect_photos"]

FaceOf = Literal["largest", "central", "aligned"]
"""Which face of a photo counts; ``"aligned"``: the photo is a crop, aligned by points and without margin."""

QUALITIES = ("eye_distance_px", "sharpness", "yaw_deg", "pitch_deg")
_THUMB = 112
_THUMB_MARGIN = 0.5


@dataclass(frozen=True, eq=False)
class Inspected:
    """What was seen of each of n photos.

    Attributes
    ----------
    data
        The photos.
    errors
        Why a photo could not be read, by its number.
    sizes
        ``(n, 2)``: width and height in pixels; 0 where it could not be read.
    faces
        ``(n,)``: how many faces of comparable size it shows (`QualityGate.rivals`).
    boxes
        ``(n, 4)``: of the face that counts; NaN where there is none.
    landmarks
        ``(n, 5, 2)`` likewise.
    quality
        Of it, by the names of `FaceQuality`: ``(n,)`` each, NaN where there is none.
    vectors, found
        ``(n, d)`` embeddings, zeros where there is none; and where there is one. Without a recognizer d is 0.
    model
        What made them.
    """

    data: PhotoSet
    errors: dict[int, str]
    sizes: npt.NDArray[np.int64]
    faces: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float64]
    landmarks: npt.NDArray[np.float64]
    quality: dict[str, npt.NDArray[np.float64]]
    vectors: npt.NDArray[np.float32]
    found: npt.NDArray[np.bool_]
    model: str = ""

    def face_picture(self, i: int) -> Image | None:
        """Return a small square picture of the face of photo i, or of the photo where it has none."""
        try:
            image = load_image(self.data.read(i))
        except VisavisError:
            return None
        box = self.boxes[i]
        if np.isnan(box).any():
            box = np.array([0, 0, image.shape[1], image.shape[0]])
        middle, side = (box[:2] + box[2:]) / 2, max(box[2:] - box[:2])
        square = np.concatenate([middle - side / 2, middle + side / 2]).astype(np.float32)
        whole = (box[2] - box[0]) >= 0.99 * image.shape[1]
        return box_crop(image, square, _THUMB, _THUMB, 0.0 if whole else _THUMB_MARGIN)


def inspect_photos(
    data: PhotoSet, analyzer: Analyzer, *, face: FaceOf = "largest", say: Callable[[str], None] | None = None
) -> Inspected:
    """Look at every photo, in bounded memory but for what `Inspected` holds.

    Parameters
    ----------
    data
        The photos. Those that can't be read are told of, and don't end it.
    analyzer
        With a recognizer for embeddings, or without.
    face
        Which face of a photo counts.
    say
        Called with what is under way.
    """
    n = len(data.photos)
    errors: dict[int, str] = {}
    sizes, counts = np.zeros((n, 2), np.int64), np.zeros(n, np.int64)
    boxes, landmarks = np.full((n, 4), np.nan), np.full((n, 5, 2), np.nan)
    quality = {name: np.full(n, np.nan) for name in QUALITIES}
    rows: list[npt.NDArray[np.float32] | None] = []
    seen = _crops(data, analyzer) if face == "aligned" else _photos(data, analyzer)
    for i, (analysis, number) in enumerate(seen):
        if say is not None and i % 20 == 0:
            say(f"looking at {i:,} of {n:,} photos")
        vector = None
        if analysis.error is not None or analysis.image is None:
            errors[i] = f"{data.photos[i]}: {analysis.error}"
        else:
            sizes[i] = analysis.image.shape[1::-1]
            counts[i] = number
            faces = analysis.faces if face == "aligned" else _one(analysis.faces, analysis.image, face)
            if len(faces):
                boxes[i] = faces.boxes[0]
                if faces.landmarks is not None:
                    landmarks[i] = faces.landmarks[0]
                vector = None if faces.embeddings is None else faces.embeddings.vectors[0]
                for name, value in _quality(analysis.image, faces).items():
                    quality[name][i] = value
        rows.append(vector)
    found = np.array([row is not None for row in rows], bool)
    width = next((len(row) for row in rows if row is not None), 0)
    vectors = np.zeros((n, width), np.float32)
    for i in np.flatnonzero(found).tolist():
        vectors[i] = rows[i]
    named = analyzer.calibrated_as if width else ""
    return Inspected(data, errors, sizes, counts, boxes, landmarks, quality, vectors, found, named)


def _photos(data: PhotoSet, analyzer: Analyzer) -> Iterator[tuple[Analysis, int]]:
    gate, broken = QualityGate(), dict[int, VisavisError]()

    def sources() -> Iterator[Any]:
        for i, (source, _) in enumerate(photo_files(data)):
            try:
                yield source if isinstance(source, Path) else source()
            except VisavisError as error:  # a damaged member of an archive
                broken[i] = error
                yield b""

    for i, analysis in enumerate(analyzer.stream(sources(), keep_images=True)):
        if i in broken:
            analysis = Analysis("", Faces.empty(), broken[i])
        yield analysis, gate.rivals(analysis.faces.boxes)


def _crops(data: PhotoSet, analyzer: Analyzer) -> Iterator[tuple[Analysis, int]]:
    for i in range(len(data.photos)):
        try:
            image = load_image(data.read(i))
        except VisavisError as error:
            yield Analysis("", Faces.empty(), error), 0
            continue
        height, width = image.shape[:2]
        points = template_points(height, width).astype(np.float32)[None]
        faces = Faces(np.array([[0, 0, width, height]], np.float32), np.ones(1, np.float32), points)
        if analyzer.recognizes:
            faces = faces.replace(embeddings=analyzer.embed(analyzer.crop(image, faces)))
        yield Analysis("", faces, image=image), 1


def _one(faces: Faces, image: Image, face: FaceOf) -> Faces:
    if face == "central":
        return central(faces, image.shape[1], image.shape[0])
    largest = int(np.argmax(area(faces.boxes))) if len(faces) else 0
    return faces[largest : largest + 1]


def _quality(image: Image, faces: Faces) -> dict[str, float]:
    if faces.landmarks is None:
        return {}
    (measured,) = measure(image, faces.landmarks)
    assert isinstance(measured, FaceQuality)
    return {name: getattr(measured, name) for name in QUALITIES}

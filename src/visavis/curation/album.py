"""An album: all faces of any number of photos, grouped to people whose names nobody has told.

Faces that are too small, blurred or turned to be recognized are left apart: they resemble each other more than they
resemble their people. What was found is kept as one file, so that clusters can be looked at, grouped anew and enrolled
without another analysis.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from visavis.analysis.quality import FaceQuality, QualityGate, measure, worth
from visavis.clustering import Method, cluster
from visavis.curation.crops import CropShape
from visavis.datasets.arrays import read_arrays
from visavis.errors import InputError, StorageError, VisavisError
from visavis.files import printable_path, reason
from visavis.image import load_image
from visavis.models.durable import write_whole
from visavis.pipeline import Analysis
from visavis.types import Embeddings, Faces, Image

if TYPE_CHECKING:
    from visavis.gallery import Gallery

__all__ = ["Album", "Person", "gather", "who"]

_QUALITY = ("eye_distance_px", "sharpness", "yaw_deg", "pitch_deg")
_ARRAYS = {"photo": 1, "face": 1, "boxes": 2, "scores": 1, "landmarks": 3, "vectors": 2, "quality": 2, "labels": 1}
_ASKED = 5  # faces of a cluster that a gallery is asked about
_FPIR = 0.001  # of each: strangers of one cluster resemble the same subject, so that their faces err together
_WRITER = "visavis album 1"

Ints = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Album:
    """The faces of photos, a row each, n in all.

    Attributes
    ----------
    root
        Folder that relative paths of ``photos`` start from.
    photos
        Paths of all photos that could be read, as they were given.
    photo, face
        ``(n,)``: number of the photo, and of the face among those of its photo, both from 0 on.
    boxes, scores, landmarks, vectors
        Columns as those of `visavis.types.Faces`; vectors are embeddings of ``model``.
    quality
        ``(n, 4)``: the fields of `FaceQuality`.
    labels
        ``(n,)``: cluster from 0 on, the largest first; -1 nobody.
    model
        What made the embeddings.
    settings
        How they were made and grouped: plain values.
    """

    root: str
    photos: tuple[str, ...]
    photo: Ints
    face: Ints
    boxes: Floats
    scores: Floats
    landmarks: Floats
    vectors: Floats
    quality: Floats
    labels: Ints
    model: str
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.photo)
        ends = {"boxes": (4,), "landmarks": (5, 2), "quality": (4,)}
        for name in _ARRAYS:
            array = getattr(self, name)
            if len(array) != n or array.ndim != _ARRAYS[name] or array.shape[1:] != ends.get(name, array.shape[1:]):
                raise InputError(f"an album of {n} faces has no {name} of shape {array.shape}")
            if array.dtype.kind not in "iuf" or not np.isfinite(array).all():
                raise InputError(f"the {name} of an album are finite numbers")
        if n and (self.photo.min() < 0 or self.photo.max() >= len(self.photos) or self.labels.min() < -1):
            raise InputError("an album's faces are of its photos, and their clusters from -1 on")

    def __len__(self) -> int:
        return len(self.photo)

    def path(self, row: int) -> Path:
        """Return the photo of a face."""
        return Path(self.root, self.photos[int(self.photo[row])])

    def problems(self, gate: QualityGate | None = None) -> list[tuple[str, ...]]:
        """Return for each face what keeps it from being recognized; nothing where it is fine."""
        gate = gate or QualityGate()
        return [gate.problems(FaceQuality(*map(float, row))) for row in self.quality]

    def grouped(
        self,
        threshold: float,
        *,
        usable: npt.NDArray[np.bool_] | None = None,
        min_faces: int = 2,
        method: Method = "average",
        say: Any = None,
    ) -> Album:
        """Return the album with its faces grouped to people; see `visavis.clustering.cluster`.

        ``usable`` says which faces take part; by default those that `QualityGate` lets through.
        """
        wanted = np.array([not found for found in self.problems()], bool) if usable is None else usable
        labels = np.full(len(self), -1, np.intp)
        labels[wanted] = cluster(self.vectors[wanted], threshold=threshold, min_faces=min_faces, method=method, say=say)
        return replace(self, labels=labels)

    def people(self) -> list[Person]:
        """Return the clusters, the largest first."""
        order = np.argsort(self.labels, kind="stable")
        order = order[np.searchsorted(self.labels[order], 0) :]
        groups = np.split(order, np.flatnonzero(np.diff(self.labels[order])) + 1) if len(order) else []
        return [self._person(rows) for rows in groups]

    def _person(self, rows: Ints) -> Person:
        mean = self.vectors[rows].mean(axis=0)
        typical = self.vectors[rows] @ mean
        worths = np.array([worth(FaceQuality(*map(float, self.quality[row]))) for row in rows])
        # Of the more typical half of the faces the best: what is unlike the others may be somebody else.
        order = np.lexsort((-worths, typical < np.median(typical)))
        return Person(int(self.labels[rows[0]]), rows, rows[order])

    def embeddings(self, rows: Sequence[int] | Ints) -> Embeddings:
        """Return the embeddings of faces."""
        return Embeddings(self.vectors[np.asarray(rows, np.intp)], self.model)

    def crops(self, rows: Sequence[int] | Ints, side: int = 112, margin: float = 0.5) -> Iterator[tuple[int, Image]]:
        """Yield the faces of rows, cut out upright; those whose photo is gone are left out.

        A photo is read once for all of its faces.
        """
        wanted = np.asarray(rows, np.intp)
        shape = CropShape(side, side, margin=margin)
        for photo in np.unique(self.photo[wanted]).tolist():
            mine = wanted[self.photo[wanted] == photo]
            try:
                image = load_image(self.path(int(mine[0])))
            except VisavisError:
                continue
            cut = shape.cut(image, Faces(self.boxes[mine], self.scores[mine], self.landmarks[mine]))
            yield from zip(mine.tolist(), cut, strict=True)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as a NumPy ``.npz`` of plain arrays that only its owner may read, whole or not at all.

        Raises
        ------
        StorageError
            If it can't be written; what was there stays.
        """
        held = io.BytesIO()
        told = json.dumps({"model": self.model, "root": self.root, "settings": self.settings})
        np.savez(
            held,
            writer=np.array(_WRITER),
            photos=np.array(self.photos, dtype=np.str_),
            told=np.array(told),
            **{name: getattr(self, name) for name in _ARRAYS},
        )
        try:
            write_whole(Path(path), held.getvalue(), mode=0o600)  # who has it can search for these people
        except OSError as error:
            raise StorageError(f"{printable_path(path)} can't be written: {reason(error)}") from None

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Album:
        """Read what `save` wrote. Nothing is unpickled.

        Raises
        ------
        InputError
            If it can't be read, or is something else.
        """
        try:
            arrays = read_arrays(path, ("writer", "told", "photos", *_ARRAYS))
            if str(arrays["writer"]) != _WRITER:
                raise InputError("it was written by something else")
            told = json.loads(str(arrays["told"]))
            columns = {name: arrays[name] for name in _ARRAYS}
            for name in ("photo", "face", "labels"):
                columns[name] = columns[name].astype(np.intp)
            photos = tuple(map(str, arrays["photos"]))
            return cls(str(told["root"]), photos, model=str(told["model"]), settings=dict(told["settings"]), **columns)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(f"{printable_path(path)} is no result of visavis cluster --out: {reason(error)}") from None


@dataclass(frozen=True, eq=False)
class Person:
    """A cluster of an album: its number from 0 on, the rows of its faces, and the same rows, the best first."""

    cluster: int
    rows: Ints
    best: Ints


def gather(analyses: Iterable[Analysis], model: str, settings: dict[str, Any] | None = None) -> Album:
    """Return the faces of photos that an analyzer's stream with ``keep_images`` gives, not yet grouped.

    Photos that could not be read are passed over.
    """
    photos: list[str] = []
    owners: list[int] = []
    found: list[Faces] = []
    quality: list[FaceQuality] = []
    for analysis in analyses:
        if analysis.error is not None or analysis.image is None:
            continue
        assert isinstance(analysis.source, (str, os.PathLike))
        faces = analysis.faces
        photos.append(os.fspath(analysis.source))
        if not len(faces):
            continue
        assert faces.landmarks is not None
        owners += [len(photos) - 1] * len(faces)
        found.append(faces.replace(traits={}))
        quality += measure(analysis.image, faces.landmarks)
    every = Faces.concat(found) if found else Faces.empty()
    vectors = np.empty((0, 1), np.float32) if every.embeddings is None else every.embeddings.vectors
    landmarks = np.empty((0, 5, 2), np.float32) if every.landmarks is None else every.landmarks
    return Album(
        root=str(Path.cwd()),
        photos=tuple(photos),
        photo=np.array(owners, np.intp),
        face=np.concatenate([np.empty(0, np.intp), *(np.arange(len(faces)) for faces in found)]),
        boxes=every.boxes,
        scores=every.scores,
        landmarks=landmarks,
        vectors=vectors,
        quality=np.array([[getattr(q, name) for name in _QUALITY] for q in quality], np.float32).reshape(-1, 4),
        labels=np.full(len(every), -1, np.intp),
        model=model,
        settings=settings or {},
    )


def who(album: Album, people: Sequence[Person], gallery: Gallery, fpir: float = _FPIR) -> dict[int, str]:
    """Return the names of clusters whom a gallery knows: that of most of a cluster's best faces.

    Each of up to five faces is identified by itself, at a false positive identification rate; a name
    counts when more than half of them have it.
    """
    names: dict[int, str] = {}
    for person in people:
        found = gallery.identify(album.embeddings(person.best[:_ASKED]), top=1, fpir=fpir).best
        told = [name for name in found if name is not None]
        for name in set(told):
            if 2 * told.count(name) > len(found):
                names[person.cluster] = name
    return names

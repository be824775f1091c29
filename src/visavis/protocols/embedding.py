"""The embeddings of a data set: made once with models, or brought along from anywhere, and kept as one file."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from visavis.datasets.arrays import read_arrays
from visavis.datasets.lfw import central
from visavis.datasets.photos import PhotoSet
from visavis.errors import InputError, StorageError, VisavisError
from visavis.files import printable_path, reason
from visavis.geometry import area
from visavis.image import load_image
from visavis.models.durable import new_file
from visavis.pipeline import Analyzer
from visavis.types import Faces

__all__ = ["Choice", "Embedded", "embed_photos"]

Choice = Literal["central", "largest", "aligned"]
"""Which face of a photo counts; ``"aligned"``: the photo is a crop, laid as the recognizer takes it."""

_BATCH = 16  # crops embedded at once


@dataclass(frozen=True, eq=False)
class Embedded:
    """Embeddings of named photos.

    Attributes
    ----------
    names
        ``(n,)``: the photos.
    vectors
        Float32 ``(n, d)``, unit rows; zeros where no face was found.
    found
        ``(n,)``: whether the photo has an embedding.
    model
        What made them, as ``"sface+flip@mtcnn"`` or any name.
    about
        Settings and versions, for reports.
    """

    names: tuple[str, ...]
    vectors: npt.NDArray[np.float32]
    found: npt.NDArray[np.bool_]
    model: str
    about: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.names)
        if self.vectors.ndim != 2 or len(self.vectors) != n or self.found.shape != (n,):
            raise InputError(f"{n} photos need vectors ({n}, d) and found ({n},), not {self.vectors.shape}")
        if len(set(self.names)) < n:
            double = Counter(self.names).most_common(1)[0][0]
            raise InputError(f"embeddings of {self.model} name the photo {double[:80]!r} twice")
        if not np.isfinite(self.vectors).all():
            raise InputError(f"embeddings of {self.model} hold NaN or infinity")

    def __len__(self) -> int:
        return len(self.names)

    def at(self, names: Sequence[str]) -> Embedded:
        """Return those of these photos, in this order; photos there are none of count as not found."""
        where = {name: i for i, name in enumerate(self.names)}
        rows = np.array([where.get(name, -1) for name in names], np.intp)
        there = rows >= 0
        vectors, found = np.zeros((len(rows), self.vectors.shape[1]), np.float32), np.zeros(len(rows), bool)
        vectors[there], found[there] = self.vectors[rows[there]], self.found[rows[there]]
        return Embedded(tuple(names), vectors, found, self.model, self.about)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write them as a NumPy ``.npz`` of plain arrays that only its owner may read, whole or not at all.

        Raises
        ------
        StorageError
            If it can't be written; what was there stays.
        """
        columns: dict[str, Any] = {"names": np.array(self.names), "vectors": self.vectors, "found": self.found}
        try:
            with new_file(Path(path), 0o600) as file:  # who has them can search for these people
                np.savez(file, **columns, model=np.array(self.model))
        except OSError as error:
            raise StorageError(f"{printable_path(path)} can't be written: {reason(error)}") from None

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Embedded:
        """Read a ``.npz`` with ``names`` (n,) and ``vectors`` (n, d), and perhaps ``found`` (n,) and ``model``.

        Rows are made unit length; a row of zeros counts as not found. Nothing is unpickled.

        Raises
        ------
        InputError
            If it can't be read, or an array is missing or of the wrong shape.
        """
        path = Path(path)
        try:
            arrays = read_arrays(path, ("names", "vectors"), ("found", "model"))
            names = [str(name) for name in arrays["names"]]
            if arrays["vectors"].dtype.kind not in "fiu":  # of complex numbers a part would be lost
                raise ValueError(f"vectors are {arrays['vectors'].dtype}, not numbers")
            vectors = np.asarray(arrays["vectors"], np.float32)
            found = np.asarray(arrays["found"], bool) if "found" in arrays else None
            model = str(arrays["model"]) if "model" in arrays else path.stem
        except (TypeError, ValueError) as error:
            raise InputError(
                f"{printable_path(path)} holds no embeddings: a .npz needs names (n,) and vectors (n, d): "
                f"{reason(error)}"
            ) from None
        if vectors.ndim != 2 or (found is not None and found.shape != vectors.shape[:1]):
            raise InputError(f"{printable_path(path)} needs vectors (n, d), and found (n,), not {vectors.shape}")
        if not np.isfinite(vectors).all():
            raise InputError(f"the embeddings of {printable_path(path)} hold NaN or infinity")
        lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
        there = lengths[:, 0] > 0
        vectors = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
        return cls(tuple(names), vectors, there if found is None else found & there, model)


def embed_photos(
    data: PhotoSet,
    analyzer: Analyzer,
    *,
    choose: Choice = "largest",
    rows: Sequence[int] | None = None,
    say: Callable[[str], None] | None = None,
    failed: Callable[[str, VisavisError], None] | None = None,
) -> Embedded:
    """Return the embedding of one face of each photo.

    Parameters
    ----------
    choose
        Which face counts where a photo has several; see `Choice`.
    rows
        Which photos; all without it.
    say
        Called with what is under way.
    failed
        Called with the name of a photo that can't be read, and why; it then counts as one without a face. Not of
        crops (``"aligned"``).

    Raises
    ------
    InputError
        If a photo can't be read, and ``failed`` is not given.
    """
    wanted = range(len(data.photos)) if rows is None else [int(row) for row in rows]
    vectors: list[npt.NDArray[np.float32] | None] = []
    found_vectors = (
        _aligned(data, analyzer, wanted) if choose == "aligned" else _chosen(data, analyzer, wanted, choose, failed)
    )
    for n, vector in enumerate(found_vectors):
        if say is not None and n % 20 == 0:
            say(f"{analyzer.model}: {n:,} of {len(wanted):,} photos")
        vectors.append(vector)
    found = np.array([vector is not None for vector in vectors], bool)
    size = next((len(vector) for vector in vectors if vector is not None), 1)
    filled = [np.zeros(size, np.float32) if vector is None else vector for vector in vectors]
    names = tuple(data.photos[i] for i in wanted)
    name = analyzer.model if choose == "aligned" else analyzer.calibrated_as
    return Embedded(names, np.array(filled, np.float32).reshape(len(names), size), found, name, {"choose": choose})


def _chosen(
    data: PhotoSet,
    analyzer: Analyzer,
    rows: Sequence[int],
    choose: Choice,
    failed: Callable[[str, VisavisError], None] | None,
) -> Iterator[npt.NDArray[np.float32] | None]:
    unread: dict[int, VisavisError] = {}

    def sources() -> Iterator[bytes]:
        for n, i in enumerate(rows):
            try:
                yield data.read(i)
            except VisavisError as error:
                unread[n] = error
                yield b""  # which can't be analyzed, and so comes back in its place

    for n, analysis in enumerate(analyzer.stream(sources(), keep_images=True)):
        error = unread.pop(n, analysis.error)
        if error is not None:
            if failed is None:
                raise InputError(f"{data.photos[rows[n]]}: {error}")
            failed(data.photos[rows[n]], error)
            yield None
            continue
        assert analysis.image is not None
        face = _face(analysis.faces, analysis.image.shape[:2], choose)
        yield None if not len(face) or face.embeddings is None else face.embeddings.vectors[0]


def _face(faces: Faces, shape: tuple[int, ...], choose: Choice) -> Faces:
    if choose == "central":
        return central(faces, shape[1], shape[0])
    largest = int(np.argmax(area(faces.boxes))) if len(faces) else 0
    return faces[largest : largest + 1]


def _aligned(data: PhotoSet, analyzer: Analyzer, rows: Sequence[int]) -> Iterator[npt.NDArray[np.float32]]:
    for start in range(0, len(rows), _BATCH):
        crops = [load_image(data.read(i)) for i in rows[start : start + _BATCH]]
        sizes = {crop.shape[:2] for crop in crops}
        if len(sizes) > 1:
            shown = " and ".join(f"{width} x {height}" for height, width in sorted(sizes)[:2])
            raise InputError(f"aligned crops are all of one size, not {shown}; photos take no --aligned")
        try:
            yield from analyzer.embed(np.stack(crops)).vectors
        except InputError as error:
            raise InputError(f"{error}; photos are cut to crops by visavis datasets align") from None

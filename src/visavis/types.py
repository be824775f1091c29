"""The values that visavis passes around: faces, embeddings and decisions.

All are frozen dataclasses, checked when made: a wrong shape or dtype is an error that names what was expected and
what came. Arrays inside them are read-only views.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, overload

import numpy as np
import numpy.typing as npt

from visavis.errors import InputError, ModelMismatch

__all__ = ["Candidates", "Embeddings", "Face", "Faces", "FloatArray", "Image", "Verification"]

FloatArray = npt.NDArray[np.float32]
Image = npt.NDArray[np.uint8]
"""An RGB picture: uint8, shape ``(h, w, 3)``."""

_T = TypeVar("_T")
_UNIT_TOLERANCE = 1e-3  # a bf16 engine's rounding stays far below this


def _frozen(name: str, value: npt.ArrayLike, shape: tuple[int | None, ...], dtype: Any = np.float32) -> Any:
    """Return ``value`` as a read-only array of ``dtype`` after checking its shape (None: any length)."""
    try:
        given = np.asarray(value)
    except (TypeError, ValueError) as error:  # rows of different lengths
        raise InputError(f"{name} must be an array of numbers: {error}") from None
    wanted = np.dtype(dtype)
    whole = wanted.kind == "i"
    if given.size and given.dtype.kind not in ("iu" if whole else "iuf"):
        raise InputError(f"{name} must be {'whole numbers' if whole else 'numbers'}, not {given.dtype}")
    fits = given.ndim == len(shape) and all(w is None or w == g for w, g in zip(shape, given.shape, strict=True))
    if not fits:
        sides = ", ".join("n" if side is None else str(side) for side in shape) + ("," if len(shape) == 1 else "")
        raise InputError(f"{name} must have shape ({sides}), not {given.shape}")
    if given.dtype != wanted:
        with np.errstate(over="ignore"):  # what is too large becomes infinite, which is refused next
            given = given.astype(wanted)
    if wanted.kind == "f" and not np.isfinite(given).all():
        raise InputError(f"{name} must be finite, but holds NaN or infinity")
    return _read_only(given)


def _read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    view: npt.NDArray[Any] = array.view()
    view.flags.writeable = False
    return view


def _take(array: npt.NDArray[Any], rows: Any) -> npt.NDArray[Any]:
    taken: npt.NDArray[Any] = array[rows]
    taken.flags.writeable = False
    return taken


def _unchecked(kind: type[_T], **columns: Any) -> _T:
    """Make a value of rows that were checked when their source was made: checking costs as much as detection."""
    made = object.__new__(kind)
    made.__dict__.update(columns)
    return made


def _rows(index: Any, n: int) -> Any:
    """Return an index of rows (slice, mask, or whole numbers) as numpy takes it, checked."""
    if isinstance(index, slice):
        return index
    rows = np.asarray(index)
    if rows.dtype == bool and rows.shape != (n,):
        raise InputError(f"a mask over {n} rows must have shape ({n},), not {rows.shape}")
    if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "iub"):
        raise InputError(f"rows are chosen by a mask or a list of whole numbers, not {rows.dtype} {rows.shape}")
    return rows if rows.size else rows.astype(np.intp)


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Unit vectors from one recognizer.

    Parameters
    ----------
    vectors
        Float32, shape ``(n, d)``, rows of length 1.
    model
        Card id and variant, as ``"sface"`` or ``"sface+flip"``. Embeddings of different models never meet:
        comparing or joining them raises `ModelMismatch`.

    Raises
    ------
    InputError
        If the shape is wrong, a value is not finite or a row is not of length 1.

    Examples
    --------
    >>> import numpy as np
    >>> e = Embeddings.normalized(np.array([[3.0, 4.0]]), model="sface")
    >>> e.vectors.tolist()
    [[0.6000000238418579, 0.800000011920929]]
    >>> len(e), e.dimension
    (1, 2)
    """

    vectors: FloatArray
    model: str

    def __post_init__(self) -> None:
        vectors = _frozen("vectors", self.vectors, (None, None))
        if len(vectors):
            lengths = np.linalg.norm(vectors, axis=1)
            worst = float(np.abs(lengths - 1).max())
            if worst > _UNIT_TOLERANCE:
                raise InputError(
                    f"vectors must have length 1, but one is off by {worst:.3g}; use Embeddings.normalized"
                )
        if not self.model:
            raise InputError("model must name the recognizer the vectors came from")
        object.__setattr__(self, "vectors", vectors)

    @classmethod
    def normalized(cls, vectors: npt.ArrayLike, model: str) -> Embeddings:
        """Make embeddings from vectors of any length, shape ``(n, d)``; a zero vector raises `InputError`."""
        raw = _frozen("vectors", vectors, (None, None), np.float64)
        lengths = np.linalg.norm(raw, axis=1, keepdims=True)
        if (lengths < 1e-12).any():
            raise InputError("a zero vector has no direction and can't be an embedding")
        return cls((raw / lengths).astype(np.float32), model)

    @classmethod
    def concat(cls, parts: Sequence[Embeddings]) -> Embeddings:
        """Join embeddings of one model; different models raise `ModelMismatch`."""
        if not parts:
            raise InputError("nothing to join: concat needs at least one Embeddings")
        for part in parts[1:]:
            parts[0].require_same_model(part)
        return cls(np.concatenate([part.vectors for part in parts]), parts[0].model)

    @property
    def dimension(self) -> int:
        """Length d of each vector."""
        return int(self.vectors.shape[1])

    def require_same_model(self, other: Embeddings) -> None:
        """Raise `ModelMismatch` unless ``other`` came from the same model and variant."""
        if self.model != other.model:
            raise ModelMismatch(f"embeddings of {self.model!r} can't be compared with those of {other.model!r}")
        if self.dimension != other.dimension:
            raise ModelMismatch(f"{self.model!r} embeddings of {self.dimension} and of {other.dimension} numbers")

    def __len__(self) -> int:
        return len(self.vectors)

    def __getitem__(self, index: Any) -> Embeddings:
        """Select rows by integer (one row), slice, mask or index array."""
        if isinstance(index, (int, np.integer)):
            if not -len(self) <= index < len(self):
                raise IndexError(f"row {index} of {len(self)} embeddings")
            rows: Any = slice(index, index + 1 or None)
        else:
            rows = _rows(index, len(self))
        return _unchecked(Embeddings, vectors=_take(self.vectors, rows), model=self.model)


@dataclass(frozen=True, eq=False)
class Face:
    """One row of `Faces`.

    Attributes
    ----------
    box
        Float32 ``(4,)``: x1, y1, x2, y2 in pixels of the image given, origin top left.
    score
        The detector's confidence, 0..1.
    landmarks
        Float32 ``(5, 2)`` pixels: left eye (left in the image), right eye, nose, mouth corners left and right;
        None from a detector that gives boxes only.
    embedding
        One-row `Embeddings`, or None where none was asked for.
    """

    box: FloatArray
    score: float
    landmarks: FloatArray | None = None
    embedding: Embeddings | None = None
    track_id: int | None = None
    traits: Mapping[str, Any] = field(default_factory=dict)

    @property
    def width(self) -> float:
        """Box width in pixels."""
        return float(self.box[2] - self.box[0])

    @property
    def height(self) -> float:
        """Box height in pixels."""
        return float(self.box[3] - self.box[1])


@dataclass(frozen=True, eq=False)
class Faces:
    """The faces of one image, by column; n rows, possibly none.

    Parameters
    ----------
    boxes
        Float32 ``(n, 4)``: x1, y1, x2, y2, pixels of the image given, origin top left, x right, y down.
    scores
        Float32 ``(n,)``, the detector's confidence 0..1.
    landmarks
        Float32 ``(n, 5, 2)`` pixels: left eye, right eye, nose, left and right mouth corner ("left" is left in the
        image), or None from a detector that gives boxes only.
    embeddings
        `Embeddings` of n rows, or None.
    track_ids
        Int64 ``(n,)``, or None.
    traits
        Named columns whose first axis is n; names carry units (``yaw_deg``, ``age_years``).

    Raises
    ------
    InputError
        If a column has another shape or length, or holds NaN.

    Examples
    --------
    >>> import numpy as np
    >>> faces = Faces(boxes=np.array([[0, 0, 10, 10], [20, 0, 60, 40]]), scores=np.array([0.7, 0.9]))
    >>> len(faces)
    2
    >>> faces[faces.scores > 0.8][0].width
    40.0
    """

    boxes: FloatArray
    scores: FloatArray
    landmarks: FloatArray | None = None
    embeddings: Embeddings | None = None
    track_ids: npt.NDArray[np.int64] | None = None
    traits: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        boxes = _frozen("boxes", self.boxes, (None, 4))
        n = len(boxes)
        scores = _frozen("scores", self.scores, (n,))
        if n and (float(scores.min()) < 0 or float(scores.max()) > 1):
            raise InputError(f"scores must lie in 0..1, not {float(scores.min()):.3g}..{float(scores.max()):.3g}")
        object.__setattr__(self, "boxes", boxes)
        object.__setattr__(self, "scores", scores)
        if self.landmarks is not None:
            object.__setattr__(self, "landmarks", _frozen("landmarks", self.landmarks, (n, 5, 2)))
        if self.embeddings is not None and len(self.embeddings) != n:
            raise InputError(f"embeddings must have {n} rows, one a face, not {len(self.embeddings)}")
        if self.track_ids is not None:
            object.__setattr__(self, "track_ids", _frozen("track_ids", self.track_ids, (n,), np.int64))
        traits = {}
        for name, column in self.traits.items():
            array = np.asarray(column)
            if array.ndim < 1 or len(array) != n:
                raise InputError(f"trait {name!r} must have {n} rows, one a face, not shape {array.shape}")
            traits[name] = _read_only(array)
        object.__setattr__(self, "traits", traits)

    @classmethod
    def empty(cls) -> Faces:
        """Return no faces: what an image without faces gives."""
        return cls(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty((0, 5, 2), np.float32))

    @classmethod
    def concat(cls, parts: Sequence[Faces]) -> Faces:
        """Join the rows of several `Faces`.

        A column that one non-empty part lacks is dropped (landmarks, embeddings, track ids and traits alike).
        """
        full = [part for part in parts if len(part)]
        if not full:
            return parts[0] if parts else cls.empty()
        landmarks = [p.landmarks for p in full if p.landmarks is not None]
        embeddings = [p.embeddings for p in full if p.embeddings is not None]
        tracks = [p.track_ids for p in full if p.track_ids is not None]
        names = set(full[0].traits).intersection(*(p.traits for p in full))
        return cls(
            boxes=np.concatenate([p.boxes for p in full]),
            scores=np.concatenate([p.scores for p in full]),
            landmarks=np.concatenate(landmarks) if len(landmarks) == len(full) else None,
            embeddings=Embeddings.concat(embeddings) if len(embeddings) == len(full) else None,
            track_ids=np.concatenate(tracks) if len(tracks) == len(full) else None,
            traits={name: np.concatenate([p.traits[name] for p in full]) for name in sorted(names)},
        )

    def replace(self, **columns: Any) -> Faces:
        """Return a copy with the named columns exchanged, checked anew."""
        current = {name: getattr(self, name) for name in self.__dataclass_fields__}
        unknown = sorted(set(columns) - set(current))
        if unknown:
            raise InputError(f"Faces has no column {unknown[0]!r}; it has {', '.join(current)}")
        return Faces(**{**current, **columns})

    def __len__(self) -> int:
        return len(self.boxes)

    def __iter__(self) -> Iterator[Face]:
        return (self[i] for i in range(len(self)))

    @overload
    def __getitem__(self, index: int) -> Face: ...
    @overload
    def __getitem__(self, index: slice | Sequence[int] | npt.NDArray[Any]) -> Faces: ...
    def __getitem__(self, index: Any) -> Face | Faces:
        """Return one `Face` for an integer, else the selected rows (slice, mask or index array)."""
        if isinstance(index, (int, np.integer)):
            i = int(index)
            if not -len(self) <= i < len(self):
                raise IndexError(f"face {i} of {len(self)}")
            return Face(
                box=self.boxes[i],
                score=float(self.scores[i]),
                landmarks=None if self.landmarks is None else self.landmarks[i],
                embedding=None if self.embeddings is None else self.embeddings[i],
                track_id=None if self.track_ids is None else int(self.track_ids[i]),
                traits={name: column[i] for name, column in self.traits.items()},
            )
        rows = _rows(index, len(self))
        return _unchecked(
            Faces,
            boxes=_take(self.boxes, rows),
            scores=_take(self.scores, rows),
            landmarks=None if self.landmarks is None else _take(self.landmarks, rows),
            embeddings=None if self.embeddings is None else self.embeddings[rows],
            track_ids=None if self.track_ids is None else _take(self.track_ids, rows),
            traits={name: _take(column, rows) for name, column in self.traits.items()},
        )

    def to_dict(self, *, embeddings: bool = False) -> list[dict[str, Any]]:
        """Return one JSON-ready dict a face: box, score, landmarks, track_id, traits and, on request, the embedding.

        Examples
        --------
        >>> import numpy as np
        >>> Faces(np.array([[1, 2, 3, 4]]), np.array([0.5])).to_dict()
        [{'box': [1.0, 2.0, 3.0, 4.0], 'score': 0.5, 'landmarks': None}]
        """
        rows = []
        for face in self:
            row: dict[str, Any] = {
                "box": [round(float(v), 2) for v in face.box],
                "score": round(face.score, 4),
                "landmarks": None
                if face.landmarks is None
                else [[round(float(v), 2) for v in point] for point in face.landmarks],
            }
            if face.track_id is not None:
                row["track_id"] = face.track_id
            if face.traits:
                row["traits"] = {name: _plain(_rounded(np.asarray(value))) for name, value in face.traits.items()}
            if embeddings and face.embedding is not None:
                row["embedding"] = {"model": face.embedding.model, "vector": face.embedding.vectors[0].tolist()}
            rows.append(row)
        return rows


def _rounded(values: npt.NDArray[Any]) -> Any:
    """Return a trait's values; those of tables, which are points in pixels, as boxes and landmarks are rounded."""
    points = values.dtype.kind == "f" and values.ndim > 1
    return (values.astype(np.float64).round(2) if points else values).tolist()


def _plain(value: Any) -> Any:
    """Return a value of `ndarray.tolist` as strict JSON knows it: NaN and infinity become None."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclass(frozen=True)
class Verification:
    """The answer to "are these two the same person?".

    Attributes
    ----------
    similarity
        Cosine similarity of the two embeddings, -1..1, higher is closer.
    threshold
        Similarity from which the answer is yes.
    match
        Whether ``similarity >= threshold``.
    fmr
        False match rate of the threshold: the share of non-mated pairs that reach it, as measured on the data set
        the calibration names; None where it was not measured.
    fmr_at_similarity
        False match rate a threshold at exactly this similarity would have; None where not measured. Beyond the
        strictest measured point it is that point's rate, which is then an upper bound.
    model
        Card id and variant of the recognizer.
    """

    similarity: float
    threshold: float
    match: bool
    fmr: float | None
    fmr_at_similarity: float | None
    model: str

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, JSON-ready."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, eq=False)
class Candidates:
    """Who each probe may be: a row a probe, the k most similar subjects, most similar first.

    Attributes
    ----------
    subjects
        n tuples of at most k subject names. k counts subjects, not templates.
    similarities
        Float32 ``(n, k)``; beyond a row's last subject, -1.
    counts
        Int64 ``(n,)``: how many of a row's leading candidates reach the threshold. 0 means unknown.
    threshold
        Similarity from which a candidate counts.
    fmr
        False match rate of the threshold for one comparison; None where not measured.
    fpir
        False positive identification rate of the threshold over this gallery; None where not measured.
    fmr_at_similarity
        Float64 ``(n, k)``: as `Verification.fmr_at_similarity`; NaN where not measured.
    model
        Card id and variant of the recognizer.
    faces
        The probes' faces, where identification started from an image.
    """

    subjects: tuple[tuple[str, ...], ...]
    similarities: FloatArray
    counts: npt.NDArray[np.int64]
    threshold: float
    fmr: float | None
    fpir: float | None
    model: str
    fmr_at_similarity: npt.NDArray[np.float64] | None = None
    faces: Faces | None = None

    def __post_init__(self) -> None:
        n = len(self.subjects)
        similarities = _frozen("similarities", self.similarities, (n, None))
        object.__setattr__(self, "subjects", tuple(tuple(row) for row in self.subjects))
        object.__setattr__(self, "similarities", similarities)
        object.__setattr__(self, "counts", _frozen("counts", self.counts, (n,), np.int64))
        if self.fmr_at_similarity is not None:
            rates = np.asarray(self.fmr_at_similarity, np.float64)
            if rates.shape != similarities.shape:
                raise InputError(f"fmr_at_similarity must have shape {similarities.shape}, not {rates.shape}")
            object.__setattr__(self, "fmr_at_similarity", _read_only(rates))
        widest = max((len(row) for row in self.subjects), default=0)
        if widest > similarities.shape[1]:
            raise InputError(f"subjects has rows of {widest}, similarities only {similarities.shape[1]} columns")
        for row, count in zip(self.subjects, self.counts.tolist(), strict=True):
            if not 0 <= count <= len(row):
                raise InputError(f"counts must lie in 0..{len(row)}, a row's number of subjects, not {count}")
        if self.faces is not None and len(self.faces) != n:
            raise InputError(f"faces must have {n} rows, one a probe, not {len(self.faces)}")

    def __len__(self) -> int:
        return len(self.subjects)

    @property
    def best(self) -> tuple[str | None, ...]:
        """Name of each probe's most similar subject if it reaches the threshold, else None (unknown)."""
        return tuple(row[0] if count else None for row, count in zip(self.subjects, self.counts.tolist(), strict=True))

    def to_dict(self) -> list[dict[str, Any]]:
        """Return one JSON-ready dict a probe: subject (or None) and the list of its candidates."""
        rows = []
        for i, (names, count) in enumerate(zip(self.subjects, self.counts.tolist(), strict=True)):
            candidates = []
            for j, name in enumerate(names):
                rate = None if self.fmr_at_similarity is None else float(self.fmr_at_similarity[i, j])
                candidates.append(
                    {
                        "subject": name,
                        "similarity": round(float(self.similarities[i, j]), 4),
                        "match": j < count,
                        "fmr_at_similarity": None if rate is None or np.isnan(rate) else rate,
                    }
                )
            rows.append({"subject": self.best[i], "candidates": candidates})
        return rows

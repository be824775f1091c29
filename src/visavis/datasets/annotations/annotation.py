"""What is marked on one picture: boxes, and whatever else a format says of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.datasets.containers.samples import is_line
from visavis.errors import InputError
from visavis.geometry import clip_boxes
from visavis.types import Faces, FloatArray

__all__ = ["FACE", "Annotation", "corners"]

FACE = "face"
"""The label of a face, and of boxes whose format has no labels."""


def _as_line(label: str) -> str:
    """Return a label without line breaks and other control characters, which would end it in some formats."""
    return label if is_line(label) else "".join(c if is_line(c) else "\ufffd" for c in label)


@dataclass(frozen=True, eq=False)
class Annotation:
    """What is marked on one picture; n rows, possibly none.

    Attributes
    ----------
    image
        The picture's path in its data set, with forward slashes.
    boxes
        Float32 ``(n, 4)``: x1, y1, x2, y2, pixels of the upright picture, origin at the top left corner of the top
        left pixel. A box may be empty (x1 = x2) or reach out of the picture, but not be reversed.
    width, height
        Pixels of the picture; None where the format does not say and nobody looked.
    labels
        n names; `FACE` for all where none are given. What no line of text can hold becomes "\ufffd".
    scores
        Float32 ``(n,)``, a detector's; any range. None: drawn by people.
    landmarks
        Float32 ``(n, k, 2)``, pixels; NaN where a point was not marked.
    ellipses
        Float64 ``(n, 5)``: center x, y, the two radii, and the angle in degrees from the x axis to the first radius,
        clockwise as seen. NaN where a box is no ellipse.
    rotated
        Float64 ``(n, 5)``: center x, y, width, height and angle (as above) of a turned rectangle, whose upright box is
        in ``boxes``; NaN where a box is not turned.
    traits
        Named columns whose first axis is n. WIDER FACE's: ``blur``, ``expression``, ``illumination``, ``invalid``,
        ``occlusion``, ``pose``, ``easy``, ``medium``, ``hard``; COCO's: ``crowd``, ``area``, ``visibility``; VOC's:
        ``difficult``, ``truncated``; and ``ignore`` for boxes that count neither as found nor as missed.

    Raises
    ------
    InputError
        If a column has another shape, a number is not finite, or a box is reversed.

    Examples
    --------
    >>> marked = Annotation("a.jpg", np.array([[1, 2, 30, 40]]), width=64, height=48)
    >>> len(marked), marked.labels
    (1, ('face',))
    """

    image: str
    boxes: FloatArray
    width: int | None = None
    height: int | None = None
    labels: tuple[str, ...] = ()
    scores: FloatArray | None = None
    landmarks: FloatArray | None = None
    ellipses: npt.NDArray[np.float64] | None = None
    rotated: npt.NDArray[np.float64] | None = None
    traits: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        boxes = _column("boxes", self.boxes, (None, 4), np.float32)
        n = len(boxes)
        path = PurePosixPath(self.image)
        if not self.image or path.is_absolute() or ".." in path.parts:
            raise InputError(f"a picture is named by its path below a folder, not {self.image!r}")
        if (boxes[:, 2:] < boxes[:, :2]).any():
            row = int(np.flatnonzero((boxes[:, 2:] < boxes[:, :2]).any(axis=1))[0])
            raise InputError(f"box {row + 1} of {self.image} has a negative size: {_listed(boxes[row])}")
        if (self.width is None) != (self.height is None):
            raise InputError(f"{self.image} needs both width and height, or neither")
        if self.width is not None and self.height is not None and (self.width < 1 or self.height < 1):
            raise InputError(f"{self.image} can't have {self.width} x {self.height} pixels")
        labels = tuple(map(_as_line, self.labels)) or (FACE,) * n
        if len(labels) != n:
            raise InputError(f"{self.image} has {n} boxes and {len(labels)} labels")
        set_ = object.__setattr__
        set_(self, "boxes", boxes)
        set_(self, "labels", labels)
        if self.scores is not None:
            set_(self, "scores", _column("scores", self.scores, (n,), np.float32))
        if self.landmarks is not None:
            set_(self, "landmarks", _column("landmarks", self.landmarks, (n, None, 2), np.float32, gaps=True))
        for name in ("ellipses", "rotated"):
            if getattr(self, name) is not None:
                set_(self, name, _column(name, getattr(self, name), (n, 5), np.float64, gaps=True))
        traits = {}
        for name, column in self.traits.items():
            array = np.asarray(column)
            if array.ndim < 1 or len(array) != n:
                raise InputError(f"trait {name!r} must have {n} rows, one a box, not shape {array.shape}")
            traits[name] = array
        set_(self, "traits", MappingProxyType(traits))

    @classmethod
    def of_faces(cls, image: str, faces: Faces, *, width: int | None = None, height: int | None = None) -> Annotation:
        """Return what a detector found as an annotation, scores and landmarks included."""
        return cls(image, faces.boxes, width, height, scores=faces.scores, landmarks=faces.landmarks)

    def __len__(self) -> int:
        return len(self.boxes)

    def trait(self, name: str) -> npt.NDArray[Any]:
        """Return a column; zeros where the format has none."""
        found = self.traits.get(name)
        return np.zeros(len(self), np.int16) if found is None else found

    def replace(self, **changed: Any) -> Annotation:
        """Return a copy with the named columns exchanged, checked anew."""
        return dataclasses.replace(self, **changed)

    def take(self, rows: npt.NDArray[Any] | Sequence[int]) -> Annotation:
        """Return the rows of a mask or a list of indices."""
        index = np.asarray(rows)
        index = np.flatnonzero(index) if index.dtype == bool else index.astype(np.intp)
        columns = {name: getattr(self, name) for name in ("scores", "landmarks", "ellipses", "rotated")}
        return self.replace(
            boxes=self.boxes[index],
            labels=tuple(self.labels[i] for i in index),
            traits={name: column[index] for name, column in self.traits.items()},
            **{name: None if column is None else column[index] for name, column in columns.items()},
        )

    @property
    def empty(self) -> npt.NDArray[np.bool_]:
        """Which boxes have no area."""
        return np.asarray((self.boxes[:, 2:] <= self.boxes[:, :2]).any(axis=1))

    @property
    def outside(self) -> npt.NDArray[np.bool_]:
        """Which boxes reach more than a hundredth of a pixel out of the picture; none where its size is not known."""
        if self.width is None or self.height is None:
            return np.zeros(len(self), bool)
        over = self.boxes[:, 2:] > np.array([self.width, self.height], np.float32) + np.float32(0.01)
        return np.asarray((self.boxes[:, :2] < -0.01).any(axis=1) | over.any(axis=1))

    def repaired(self) -> Annotation:
        """Return it with boxes cut to the picture, and without those that then have no area."""
        boxes = self.boxes
        if self.width is not None and self.height is not None:
            boxes = clip_boxes(boxes, self.height, self.width)
        cut = self.replace(boxes=boxes)
        return cut.take(~cut.empty) if cut.empty.any() else cut


def corners(boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Return boxes of left, top, width and height as two corners."""
    values = np.asarray(boxes, np.float64).reshape(-1, 4)
    return np.concatenate([values[:, :2], values[:, :2] + values[:, 2:]], axis=1).astype(np.float32)


def _column(name: str, value: Any, shape: tuple[int | None, ...], dtype: Any, *, gaps: bool = False) -> Any:
    try:
        array = np.asarray(value)
        array = array.reshape([0 if side is None else side for side in shape]) if not array.size else array
        with np.errstate(over="ignore"):  # what is too large becomes infinite, which is refused next
            array = array.astype(dtype)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} must be an array of numbers: {error}") from None
    fits = array.ndim == len(shape) and all(w is None or w == g for w, g in zip(shape, array.shape, strict=True))
    if not fits:
        raise InputError(f"{name} must have shape {shape}, not {array.shape}")
    if np.isinf(array).any() or (not gaps and np.isnan(array).any()):
        raise InputError(f"{name} must be finite, but holds NaN or infinity")
    return array


def _listed(values: Any) -> str:
    return ", ".join(f"{float(value):g}" for value in values)

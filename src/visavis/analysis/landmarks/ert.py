"""Ensembles of regression trees: from a box and the gray pixels in it to the points of a face, in a millisecond.

A mean shape is laid into the box and moved in stages. In each, some hundred pixels are looked up at places that move
and turn with the shape; trees compare pairs of them, and each tree's leaf adds its small shift to all points (Kazemi
and Sullivan, "One millisecond face alignment with an ensemble of regression trees", CVPR 2014; the variant of dlib's
``shape_predictor``). `visavis.models.convert.dlib_trees` makes the arrays.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.alignment import similarity_transform
from visavis.errors import ModelError
from visavis.models.cards import ModelCard
from visavis.models.loader import Loader
from visavis.types import Faces, FloatArray, Image

__all__ = ["RegressionTrees", "box_frames", "five_frames", "load"]

Frames = npt.NDArray[np.float64]

_TOGETHER = 16  # faces at once: each takes 0.3 MB of leaves in a stage
_NODES = 16  # bits that say which way each split of a tree goes; trees of at most 16 leaves
_ARRAYS = ("mean", "anchors", "offsets", "first", "second", "thresholds", "leaves")

# The five landmarks in the boxes of dlib's HOG detector, on which both of dlib's models were trained: 0..1 is the
# box's width and height. Mean of YuNet's over LFW photos, made symmetric (benchmarks/landmarks.py boxes).
_FIVE_IN_BOX = np.array([[0.290, 0.278], [0.710, 0.278], [0.500, 0.516], [0.320, 0.705], [0.680, 0.705]])


def load(card: ModelCard, loader: Loader) -> RegressionTrees:
    """Load the trees of a card."""
    return RegressionTrees.open(card.id, loader.path(card.id))


class RegressionTrees:
    """A landmark model of regression trees; see the module.

    Parameters
    ----------
    name
        Card id.
    arrays
        As `visavis.models.convert.dlib_trees.regression_trees` makes them.
    """

    def __init__(self, name: str, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        self.name = name
        self._mean = np.asarray(arrays["mean"], np.float32)
        self._anchors = arrays["anchors"].astype(np.intp)
        self._offsets = np.moveaxis(np.asarray(arrays["offsets"], np.float32), -1, 1).copy()
        self._to_turns = _to_turns(self._mean)
        stages, trees, splits = arrays["first"].shape
        padded = np.zeros((4, stages, trees, _NODES), np.int64)
        for k, key in enumerate(("first", "second", "thresholds")):
            padded[k, ..., :splits] = arrays[key]
        self._first = padded[0].reshape(stages, -1).astype(np.intp)
        self._second = padded[1].reshape(stages, -1).astype(np.intp)
        self._thresholds = padded[2].reshape(stages, -1).astype(np.int16)
        # One row a leaf of any tree. numpy takes ten times as long to sum half precision.
        self._leaves = arrays["leaves"].astype(np.float32).reshape(stages, trees * (splits + 1), -1)
        self._reached = _reached(splits)
        self._roots = np.arange(trees) * (splits + 1)

    @classmethod
    def open(cls, name: str, path: Path) -> RegressionTrees:
        """Read a model's file."""
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                return cls(name, {key: file[key] for key in _ARRAYS})
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ModelError(f"{path} can't be read as regression trees ({error}); fetch {name} again") from None

    @property
    def trait(self) -> str:
        """Name of the points that `locate` returns: ``landmarks_68``."""
        return f"landmarks_{len(self._mean)}"

    def locate(self, image: Image, faces: Faces) -> dict[str, FloatArray]:
        """Return the points of each face, ``(n, p, 2)``, in pixels of the image.

        Where the five landmarks are known, the model sees each face upright and in the box that dlib's own detector
        would have given it; else it takes the boxes as they are.
        """
        frames = box_frames(faces.boxes) if faces.landmarks is None else five_frames(faces.landmarks)
        return {self.trait: self.predict(image, frames)}

    def five(self, points: Mapping[str, FloatArray]) -> FloatArray | None:
        """Return the five landmarks from 68 points; None from fewer, which have no mouth."""
        if self.trait != "landmarks_68":
            return None
        p = points[self.trait]
        eyes = [p[:, 36:42].mean(axis=1), p[:, 42:48].mean(axis=1)]
        return np.stack([*eyes, p[:, 30], p[:, 48], p[:, 54]], axis=1)

    def predict(self, image: Image, frames: Frames) -> FloatArray:
        """Return the points of faces that lie in frames.

        Parameters
        ----------
        image
            RGB uint8 ``(h, w, 3)``.
        frames
            Float64 ``(n, 2, 3)``: matrices that map ``(x, y, 1)`` of the unit square, which a face's box is to the
            model, to pixels; from `box_frames` or `five_frames`.

        Returns
        -------
        Float32 ``(n, p, 2)``. dlib rounds them to whole pixels: ``np.floor(points + 0.5)``.
        """
        points = np.empty((len(frames), *self._mean.shape), np.float32)
        pixels = np.ascontiguousarray(image).reshape(-1, 3)
        for start in range(0, len(frames), _TOGETHER):
            some = np.asarray(frames[start : start + _TOGETHER], np.float64)
            shapes = self._shapes(pixels, image.shape[:2], some)
            points[start : start + _TOGETHER] = np.stack(_mapped(some, shapes[..., 0], shapes[..., 1]), axis=-1)
        return points

    def _shapes(self, pixels: Image, size: tuple[int, int], frames: Frames) -> FloatArray:
        """Return the points in the unit square of each frame."""
        n = len(frames)
        shapes = np.repeat(self._mean[None], n, axis=0)
        for stage, leaves in enumerate(self._leaves):
            turns = (shapes.reshape(n, -1) @ self._to_turns).astype(np.float32)[..., None]
            dx, dy = self._offsets[stage]
            anchors = shapes[:, self._anchors[stage]]
            x = (turns[:, 0] * dx - turns[:, 1] * dy) + anchors[..., 0]
            y = (turns[:, 1] * dx + turns[:, 0] * dy) + anchors[..., 1]
            gray = _gray(pixels, size, *_mapped(frames, x, y))
            difference = gray.take(self._first[stage], axis=1) - gray.take(self._second[stage], axis=1)
            left = difference > self._thresholds[stage]
            ways = np.packbits(left.reshape(-1)).view(np.uint16).reshape(n, -1)
            reached = leaves.take(self._roots + self._reached[ways], axis=0)
            reached[:, 0] += shapes.reshape(n, -1)
            shapes = reached.sum(axis=1).reshape(shapes.shape)  # one tree after the other: rounded as dlib does
        return shapes


def box_frames(boxes: npt.ArrayLike) -> Frames:
    """Return the frames of boxes ``(n, 4)``, taken as dlib takes them.

    A box is rounded to whole pixels, and its frame ends in the middle of its last row and column of pixels: dlib's
    rectangles include them, so ``left, top, right + 1, bottom + 1`` of one are the box.

    Examples
    --------
    >>> box_frames([[10, 20, 111, 121]]).tolist()
    [[[100.0, 0.0, 10.0], [0.0, 100.0, 20.0]]]
    """
    b = np.floor(np.asarray(boxes, np.float64).reshape(-1, 4) + 0.5)
    frames = np.zeros((len(b), 2, 3))
    frames[:, 0, 0], frames[:, 1, 1] = b[:, 2] - 1 - b[:, 0], b[:, 3] - 1 - b[:, 1]
    frames[:, :, 2] = b[:, :2]
    return frames


def five_frames(landmarks: npt.ArrayLike) -> Frames:
    """Return the frames of faces with known five landmarks ``(n, 5, 2)``: upright, and as large as dlib's boxes.

    Detectors draw boxes of different size and shape around the same face; these models expect those of dlib's HOG
    detector. The five landmarks tell where that box would be, and how the head is tilted.
    """
    inverse = similarity_transform(landmarks, _FIVE_IN_BOX)
    a = inverse[:, 0, 0] + 1j * inverse[:, 1, 0]
    a = 1 / np.where(np.abs(a) < 1e-9, 1e-9, a)
    b = -a * (inverse[:, 0, 2] + 1j * inverse[:, 1, 2])
    return np.stack([np.stack([a.real, -a.imag, b.real], axis=-1), np.stack([a.imag, a.real, b.imag], axis=-1)], axis=1)


def _to_turns(mean: FloatArray) -> Frames:
    """Return the matrix ``(2p, 2)`` that takes a shape to its least-squares rotation and scale from the mean shape.

    They are the real and imaginary part of one complex number, by which points as complex numbers are multiplied.
    """
    centered = mean.astype(np.float64) - mean.mean(axis=0, dtype=np.float64)
    crossed = np.stack([-centered[:, 1], centered[:, 0]], axis=-1)
    both = np.stack([centered.reshape(-1), crossed.reshape(-1)], axis=-1)
    return np.asarray(both / (centered**2).sum(), np.float64)


def _mapped(frames: Frames, x: FloatArray, y: FloatArray) -> tuple[Frames, Frames]:
    """Return the x and y in pixels of points ``(n, k)`` of the unit squares."""
    f = frames[..., None]
    return f[:, 0, 0] * x + f[:, 0, 1] * y + f[:, 0, 2], f[:, 1, 0] * x + f[:, 1, 1] * y + f[:, 1, 2]


def _gray(pixels: Image, size: tuple[int, int], x: Frames, y: Frames) -> npt.NDArray[np.int16]:
    """Return the mean of the three channels, rounded down, of the pixels nearest to points; 0 outside of the image."""
    h, w = size
    column, row = np.floor(x + 0.5), np.floor(y + 0.5)
    inside = (column >= 0) & (column < w) & (row >= 0) & (row < h)
    at = np.where(inside, row * w + column, 0).astype(np.intp)
    colors = pixels.take(at, axis=0)
    total = colors[..., 0].astype(np.int16) + colors[..., 1] + colors[..., 2]
    gray: npt.NDArray[np.int16] = total // np.int16(3) * inside
    return gray


def _reached(splits: int) -> npt.NDArray[np.intp]:
    """Return the leaf that each pattern of 16 answers leads to, in a full tree whose node i has children 2i+1, 2i+2.

    Answers are bits, true is left; their order is that of `numpy.packbits`, two bytes taken as a whole number.
    """
    patterns = np.arange(1 << _NODES, dtype=np.uint16)
    answers = np.unpackbits(patterns.view(np.uint8)).reshape(-1, _NODES)
    node = np.zeros(len(patterns), np.intp)
    for _ in range((splits + 1).bit_length() - 1):
        node = 2 * node + 2 - answers[np.arange(len(patterns)), node]
    return node - splits

"""dlib's ``shape_predictor`` files to plain arrays: an ensemble of regression trees without dlib.

The file is one row of whole numbers (see `visavis.models.convert.dlib_format`), 33 million of them for 68 points, so
they are read by the array. What comes out is an ``.npz`` file of seven arrays, without pickle, for c stages of t trees
with s splits and s + 1 leaves, over k pixels and p points:

================  ================================  =========================================================
``mean``          float32 ``(p, 2)``                the shape that prediction starts from; 0..1 spans the box
``anchors``       uint16 ``(c, k)``                 the point that a pixel is placed by
``offsets``       float32 ``(c, k, 2)``             where it lies from that point
``first``         uint16 ``(c, t, s)``              a split compares this pixel
``second``        uint16 ``(c, t, s)``              with this one:
``thresholds``    int16 ``(c, t, s)``               left where their difference is greater
``leaves``        float32 ``(c, t, s + 1, p, 2)``   what a leaf adds to the shape
================  ================================  =========================================================

Differences of pixels are whole numbers, so thresholds are rounded down without loss. The leaves stay as they are: in
half precision points move by a pixel here and there, as one pixel looked up beside the right one turns trees from
there on.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.errors import InputError
from visavis.models.convert.dlib_format import DlibReader, from_parts

__all__ = ["regression_trees"]

Ints = npt.NDArray[np.int64]

_VERSION = 1
# The largest models in use have 15 stages of 500 trees with 16 leaves, 500 to 800 pixels and 68 to 194 points.
_STAGES, _TREES, _LEAVES, _PIXELS, _POINTS = 64, 4096, 16, 1 << 14, 1024
_FARTHEST = 1000.0  # in boxes


def regression_trees(data: bytes) -> bytes:
    """Turn a ``shape_predictor`` file (``.dat``) into an ``.npz`` file of arrays.

    Parameters
    ----------
    data
        The file, as dlib's ``serialize`` wrote it.

    Raises
    ------
    InputError
        If it is something else, was cut short or altered, or is larger than any such model.
    """
    reader = DlibReader(data)
    if reader.integer() != _VERSION:
        raise InputError("not a shape predictor of dlib, or one of another version")
    rows, columns = -reader.integer(), -reader.integer()  # a matrix's sides are written negative
    if columns != 1 or rows % 2 or not 2 <= rows <= 2 * _POINTS:
        raise InputError("not a shape predictor of dlib: its first shape is no list of points")
    mean = _float32(reader.floats(rows)).reshape(-1, 2)

    stages = _count(reader, _STAGES, "stages")
    forests: list[dict[str, Any]] = [_forest(reader, rows) for _ in range(stages)]
    if _count(reader, _STAGES, "stages") != stages:
        raise InputError("the shape predictor is damaged: its lists differ in length")
    anchors = [reader.integers(_count(reader, _PIXELS, "pixels")) for _ in range(stages)]
    if _count(reader, _STAGES, "stages") != stages:
        raise InputError("the shape predictor is damaged: its lists differ in length")
    offsets = [_float32(reader.floats(2 * _count(reader, _PIXELS, "pixels"))).reshape(-1, 2) for _ in range(stages)]
    reader.end()

    pixels = {len(row) for row in anchors} | {len(row) for row in offsets}
    if len(pixels) > 1 or len({forest["leaves"].shape for forest in forests}) > 1:
        raise InputError("a shape predictor whose stages differ in size can't be used")
    arrays: dict[str, Any] = {name: np.stack([forest.pop(name) for forest in forests]) for name in list(forests[0])}
    for name in ("first", "second"):
        _require_below("a split's pixel", arrays[name], len(anchors[0]))
        arrays[name] = arrays[name].astype(np.uint16)
    _require_below("a pixel's point", np.stack(anchors), len(mean))
    file = io.BytesIO()
    np.savez(file, mean=mean, anchors=np.stack(anchors).astype(np.uint16), offsets=np.stack(offsets), **arrays)
    return file.getvalue()


def _forest(reader: DlibReader, rows: int) -> dict[str, npt.NDArray[Any]]:
    """Read the trees of one stage: all have the same number of splits, so they are rows of one table."""
    trees = _count(reader, _TREES, "trees")
    splits = _count(reader, _LEAVES - 1, "splits")
    leaves = splits + 1
    if leaves & splits:
        raise InputError(f"the shape predictor is damaged: trees of {splits} splits are not full")
    # A tree: the number of its splits (that of the first was read), two pixels and a threshold for each; the number
    # of its leaves, and for each the sides of a matrix and what it holds.
    width = 1 + 4 * splits + 1 + leaves * (2 + 2 * rows)
    table = np.append(reader.integers(trees * width - 1), splits).reshape(trees, width)
    nodes = table[:, : 4 * splits].reshape(trees, splits, 4)
    sides = table[:, 4 * splits + 1 : -1].reshape(trees, leaves, 2 + 2 * rows)
    stated = (table[:, -1] == splits, table[:, 4 * splits] == leaves, sides[..., 0] == -rows, sides[..., 1] == -1)
    if not all(same.all() for same in stated):
        raise InputError("the shape predictor is damaged: its trees differ in size")
    deltas = _float32(from_parts(sides[..., 2:].reshape(trees, leaves, rows // 2, 2, 2)))
    return {
        "first": nodes[..., 0],
        "second": nodes[..., 1],
        "thresholds": np.clip(np.floor(from_parts(nodes[..., 2:])), -256, 256).astype(np.int16),
        "leaves": deltas,
    }


def _count(reader: DlibReader, most: int, what: str) -> int:
    """Read a list's length, which no model that is read needs to have above ``most``."""
    value = reader.integer()
    if not 1 <= value <= most:
        raise InputError(f"the shape predictor is damaged: it claims {value:,} {what}; 1 to {most:,} can be read")
    return value


def _float32(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    if np.abs(values).max() > _FARTHEST:
        raise InputError("the shape predictor is damaged: it places points out of any picture")
    return values.astype(np.float32)


def _require_below(what: str, values: Ints, limit: int) -> None:
    if not 0 <= int(values.min()) <= int(values.max()) < limit:
        raise InputError(f"the shape predictor is damaged: {what} is not among its {limit}")

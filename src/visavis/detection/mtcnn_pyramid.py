"""What MTCNN looks at: pictures shrunk step by step, laid out on canvases; and faces cut out of the picture.

Pixels are averaged as facenet-pytorch does it, by torch's "area" interpolation: output pixel i of m is the mean of the
input pixels from ``floor(i n / m)`` up to ``ceil((i + 1) n / m)``. Rounding those means to whole numbers moves a fifth
of the boxes (IoU below 0.95), and OpenVINO prepares an engine for each new size of picture; so canvases are float32,
and of few sizes.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from visavis.types import FloatArray, Image

__all__ = ["Canvas", "Sampler", "Tile", "canvases", "levels"]

CELL = 12  # px of P-Net's input that a cell of its output sees
STRIDE = 2  # px from one cell to the next

_TABLE_PIXELS = 2**22  # of a summed-area table, which takes 16 bytes a pixel
_CACHED = 2**19  # bytes handled at once: what a core's own cache holds
_SIDE = 768  # px of a canvas
_STEP = 32  # canvases' sides are multiples: each new size takes the engine 15 ms
_ALIKE = 4  # pictures of one size whose levels are pages of one canvas, and the step in the number of pages
_EDGE = CELL - 1  # px seen by a cell that reaches one pixel beyond the picture

Index = npt.NDArray[np.intp]


class Sampler:
    """Averages parts of one RGB uint8 image, exactly and in bounded memory."""

    def __init__(self, image: Image) -> None:
        self.height, self.width = image.shape[:2]
        self._image = image
        # Differences of sums are right even where a sum of all would overflow.
        self._table = _summed(image) if self.height * self.width <= _TABLE_PIXELS else None
        self._resized: dict[tuple[int, int], FloatArray] = {}

    def resize(self, height: int, width: int, rows: slice = slice(None), columns: slice = slice(None)) -> FloatArray:
        """Return the image at ``height`` x ``width`` pixels, or those rows and columns of it: float32, 0..255."""
        if (height, width) in self._resized:
            return self._resized[height, width][rows, columns]
        top, bottom = _windows(0, self.height, height)
        left, right = _windows(0, self.width, width)
        if self._table is None:
            return self._means(top[rows], bottom[rows], left[columns], right[columns])
        self._resized[height, width] = self._means(top, bottom, left, right)
        return self._resized[height, width][rows, columns]

    def crops(self, corners: Index, side: int) -> FloatArray:
        """Return parts of the image, x1, y1, x2, y2 in whole pixels, at ``side`` x ``side``: float32, 0..255."""
        x1, y1, x2, y2 = corners.T[..., None]
        top, bottom = _windows(y1, y2 - y1, side)
        left, right = _windows(x1, x2 - x1, side)
        if self._table is None:
            parts = [self._means(top[i], bottom[i], left[i], right[i]) for i in range(len(corners))]
            return np.stack(parts) if parts else np.empty((0, side, side, 3), np.float32)
        stride = self._table.shape[1]
        flat = self._table.reshape(-1, 4)
        above, below = top[:, :, None] * stride, bottom[:, :, None] * stride
        before, behind = left[:, None, :], right[:, None, :]
        sums = flat.take(below + behind, axis=0)
        sums -= flat.take(above + behind, axis=0)
        sums -= flat.take(below + before, axis=0)
        sums += flat.take(above + before, axis=0)
        return _divided(sums, bottom - top, right - left)

    def _means(self, top: Index, bottom: Index, left: Index, right: Index) -> FloatArray:
        """Return the mean of each of the windows, rows by columns."""
        table, y, x = self._table, 0, 0
        if table is None:
            y, x = int(top[0]), int(left[0])
            height, width = int(bottom[-1]) - y, int(right[-1]) - x
            if height * width > _TABLE_PIXELS and max(len(top), len(left)) > 1:
                if len(top) >= len(left):
                    half = len(top) // 2
                    parts = [self._means(top[p], bottom[p], left, right) for p in (slice(half), slice(half, None))]
                    return np.concatenate(parts)
                half = len(left) // 2
                parts = [self._means(top, bottom, left[p], right[p]) for p in (slice(half), slice(half, None))]
                return np.concatenate(parts, axis=1)
            table = _summed(self._image[y : y + height, x : x + width])
        means = np.empty((len(top), len(left), 3), np.float32)
        step = max(_CACHED // table[0].nbytes, 1)
        for k in range(0, len(top), step):
            sums = table.take(bottom[k : k + step] - y, axis=0)
            sums -= table.take(top[k : k + step] - y, axis=0)
            sums = sums.take(right - x, axis=1) - sums.take(left - x, axis=1)
            means[k : k + step] = _divided(sums, (bottom - top)[k : k + step], right - left)
        return means


def _summed(image: Image) -> npt.NDArray[np.int32]:
    """Return the summed-area table, of four channels: numpy moves 16 bytes at once twice as fast as 12."""
    return np.asarray(cv2.integral(cv2.cvtColor(image, cv2.COLOR_RGB2RGBA)), np.int32)


def _divided(sums: npt.NDArray[np.int32], rows: Index, columns: Index) -> FloatArray:
    """Return sums ``(..., h, w, 4)`` over windows of these heights and widths as means ``(..., h, w, 3)``."""
    height, width = sums.shape[-3:-1]
    if not sums.size:
        return np.empty((*sums.shape[:-1], 3), np.float32)
    means = sums.astype(np.float32).reshape(*sums.shape[:-2], width * 4)
    means *= (np.float32(1) / rows.astype(np.float32))[..., :, None]
    means *= np.repeat(np.float32(1) / columns.astype(np.float32), 4, axis=-1)[..., None, :]
    pixels = cv2.cvtColor(means.reshape(-1, width, 4), cv2.COLOR_RGBA2RGB)
    return np.asarray(pixels, np.float32).reshape(*sums.shape[:-3], height, width, 3)


def _windows(start: Index | int, length: Index | int, count: int) -> tuple[Index, Index]:
    """Return where the windows of ``count`` output pixels begin and end in ``length`` input pixels."""
    i = np.arange(count)
    return start + i * length // count, start - (-(i + 1) * length // count)


def levels(height: int, width: int, min_face: float, factor: float) -> list[float]:
    """Return the scales at which P-Net looks at a picture: ``min_face`` pixels become 12, then larger and larger ones.

    Examples
    --------
    >>> [round(scale, 2) for scale in levels(100, 250, 20, 0.5)]
    [0.6, 0.3, 0.15]
    """
    scale = CELL / min_face
    shorter = min(height, width) * scale
    scales = []
    while shorter >= CELL:
        scales.append(scale)
        scale *= factor
        shorter *= factor
    return scales


@dataclass(frozen=True)
class Tile:
    """A part of one level of one picture, and where it lies on its canvas, in pixels of the level and the canvas."""

    image: int
    level: int
    scale: float
    size: tuple[int, int]  # of the whole level
    row: int
    column: int
    height: int
    width: int
    page: int = 0
    y: int = 0
    x: int = 0


@dataclass(frozen=True)
class Canvas:
    """Tiles side by side; each begins at even pixels, so that the cells inside it see what they would see alone."""

    pages: int
    height: int
    width: int
    tiles: tuple[Tile, ...]

    def pixels(self, samplers: Sequence[Sampler]) -> FloatArray:
        """Return it drawn, float32 ``(pages, height, width, 3)``."""
        drawn = np.zeros((self.pages, self.height, self.width, 3), np.float32)
        for t in self.tiles:
            rows, columns = slice(t.row, t.row + t.height), slice(t.column, t.column + t.width)
            part = samplers[t.image].resize(*t.size, rows, columns)
            drawn[t.page, t.y : t.y + t.height, t.x : t.x + t.width] = part
        return drawn

    def owners(self, rows: int, columns: int) -> npt.NDArray[np.int16]:
        """Return for each of P-Net's cells the tile that it lies in, or -1."""
        owner = np.full((self.pages, rows, columns), -1, np.int16)
        for i, t in enumerate(self.tiles):
            y, x = t.y // STRIDE, t.x // STRIDE
            if t.height == self.height and t.width == self.width:
                owner[t.page] = i
            else:
                owner[t.page, y : y + _cells(t.height), x : x + _cells(t.width)] = i
        return owner


def _cells(pixels: int) -> int:
    """Return how many cells see only these pixels, or one pixel beyond their end where that is how they are cut."""
    return max((pixels - CELL) // STRIDE + 1, 1)


def canvases(scales: Sequence[Sequence[float]], sizes: Sequence[tuple[int, int]]) -> Iterator[Canvas]:
    """Lay out all levels of pictures of these heights and widths.

    Levels of several pictures of one size are pages of one canvas. Others lie side by side. P-Net's pool rounds up: at
    the end of a level with an odd number of rows, a cell sees one row that is not there. That works out as it does for
    the level alone only at the end of a canvas, so side by side those cells get strips 11 pixels high, on canvases of
    that height; and columns likewise.
    """
    alike = Counter(sizes)
    whole: dict[tuple[int, int], list[Tile]] = defaultdict(list)
    kinds: dict[tuple[bool, bool], list[Tile]] = {(a, b): [] for a in (False, True) for b in (False, True)}
    for image, (height, width) in enumerate(sizes):
        for level, scale in enumerate(scales[image]):
            size = (int(height * scale + 1), int(width * scale + 1))
            if alike[height, width] >= _ALIKE:
                whole[size].append(Tile(image, level, scale, size, 0, 0, *size))
                continue
            for row, h in _cuts(size[0]):
                for column, w in _cuts(size[1]):
                    tile = Tile(image, level, scale, size, row, column, h, w)
                    kinds[h == _EDGE, w == _EDGE].append(tile)
    for (height, width), tiles in whole.items():
        yield from _paged(tiles, height, width)
    for (low, narrow), tiles in kinds.items():
        if low and narrow:
            yield from _paged(tiles, _EDGE, _EDGE)
        else:
            yield from _packed(tiles, _EDGE if low else _SIDE, _EDGE if narrow else _SIDE)


def _cuts(length: int) -> list[tuple[int, int]]:
    """Cut a side of a level into pieces that fit a canvas, with no cell twice: begin and length of each."""
    count = (length - CELL) // STRIDE + 1  # cells that see nothing beyond the end
    most = (_SIDE - CELL) // STRIDE + 1
    pieces = -(-count // most)
    bounds = [count * k // pieces for k in range(pieces + 1)]
    cuts = [(STRIDE * a, STRIDE * (b - a - 1) + CELL) for a, b in pairwise(bounds)]
    return [*cuts, (length - _EDGE, _EDGE)] if length % 2 else cuts


def _paged(tiles: Sequence[Tile], height: int, width: int) -> Iterator[Canvas]:
    """Give each tile a page of its size."""
    most = max(_SIDE * _SIDE // (height * width) // _ALIKE, 1) * _ALIKE
    for start in range(0, len(tiles), most):
        chunk = tiles[start : start + most]
        pages = -(-len(chunk) // _ALIKE) * _ALIKE
        yield Canvas(pages, height, width, tuple(replace(t, page=k) for k, t in enumerate(chunk)))


def _packed(tiles: Sequence[Tile], height: int, width: int) -> Iterator[Canvas]:
    """Put tiles side by side on canvases of at most this size, each where it leaves the least room unused."""
    left = sorted(tiles, key=lambda t: (-t.height, -t.width))
    if left and width == height:
        # As wide as a square of what is to be placed: a small picture then leaves less of its canvas empty.
        room = math.isqrt(sum(t.height * t.width for t in left))
        width = min(max(-(-room // _STEP) * _STEP, *(_even(t.width) for t in left)), width)
    while left:
        placed: list[Tile] = []
        later: list[Tile] = []
        free = [(_even(height), _even(width), 0, 0)]
        for tile in left:
            h, w = tile.height, _even(tile.width)
            fits = [place for place in free if h <= place[0] and w <= place[1]]
            if not fits:
                later.append(tile)
                continue
            place = min(fits, key=lambda p: (min(p[0] - h, p[1] - w), p[0] * p[1]))
            free.remove(place)
            rows, columns, y, x = place
            placed.append(replace(tile, y=y, x=x))
            h = _even(h)
            # What is left of the place is cut in two along its shorter rest.
            if columns - w < rows - h:
                rest = [(rows - h, columns, y + h, x), (h, columns - w, y, x + w)]
            else:
                rest = [(rows - h, w, y + h, x), (rows, columns - w, y, x + w)]
            free += [r for r in rest if r[0] >= _EDGE and r[1] >= _EDGE]
        low = max(t.y + t.height for t in placed)
        far = max(t.x + t.width for t in placed)
        yield Canvas(
            1,
            height if height == _EDGE else min(-(-low // _STEP) * _STEP, height),
            width if width == _EDGE else min(-(-far // _STEP) * _STEP, width),
            tuple(placed),
        )
        left = later


def _even(length: int) -> int:
    return length + length % 2

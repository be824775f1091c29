"""Anti-aliased rounded rectangles, dots, lines and lettering, blended into an image in place.

Coverage comes from the signed gap between a pixel's center and a rounded rectangle's edge, so shapes are smooth
at any size and position, and only pixels near a shape are touched.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from visavis.types import Image

__all__ = ["Box", "Color", "blend", "dot", "fill", "segment", "stroke"]

Color = tuple[int, int, int]
Box = tuple[float, float, float, float]
_Region = tuple[int, int, int, int]
_Gaps = npt.NDArray[np.float32]


def fill(canvas: Image, box: Box, radius: float, color: Color, opacity: float = 1.0) -> None:
    """Fill a rounded rectangle, x1, y1, x2, y2 in pixels (pixel i spans i to i + 1)."""
    for region in _clipped(canvas, [(box[0] - 1, box[1] - 1, box[2] + 1, box[3] + 1)]):
        blend(canvas, region[:2], _inside(_gap(region, box, radius)) * opacity, color)


def stroke(canvas: Image, box: Box, radius: float, layers: Sequence[tuple[float, Color, float]]) -> None:
    """Draw a rounded rectangle's outline as layers of width, color and opacity, each centered on the edge."""
    reach = max(width for width, _, _ in layers) / 2 + 1
    inner = max(radius, reach) + 1
    x1, y1, x2, y2 = box[0] - reach, box[1] - reach, box[2] + reach, box[3] + reach
    if min(box[2] - box[0], box[3] - box[1]) <= 2 * inner + 2:
        regions: list[Box] = [(x1, y1, x2, y2)]
    else:  # four strips: a face of 4,000 pixels has sixteen million inside its box that need no look
        top, bottom = float(int(box[1] + inner)), float(int(box[3] - inner))
        left, right = float(int(box[0] + inner)), float(int(box[2] - inner))
        regions = [(x1, y1, x2, top), (x1, bottom, x2, y2), (x1, top, left, bottom), (right, top, x2, bottom)]
    for region in _clipped(canvas, regions):
        gap: _Gaps = np.abs(_gap(region, box, radius))
        for width, color, opacity in layers:
            blend(canvas, region[:2], _inside(gap - width / 2) * opacity, color)


def dot(canvas: Image, center: tuple[float, float], radius: float, color: Color, opacity: float = 1.0) -> None:
    """Fill a disk."""
    x, y = center
    fill(canvas, (x - radius, y - radius, x + radius, y + radius), radius, color, opacity)


def segment(
    canvas: Image, a: tuple[float, float], b: tuple[float, float], width: float, color: Color, opacity: float = 1.0
) -> None:
    """Draw a straight line with round ends."""
    reach = width / 2 + 1
    (ax, ay), (bx, by) = a, b
    around = (min(ax, bx) - reach, min(ay, by) - reach, max(ax, bx) + reach, max(ay, by) + reach)
    length = max((bx - ax) ** 2 + (by - ay) ** 2, 1e-12)
    for left, top, right, bottom in _clipped(canvas, [around]):
        x = np.arange(left, right, dtype=np.float32)[None, :] + np.float32(0.5 - ax)
        y = np.arange(top, bottom, dtype=np.float32)[:, None] + np.float32(0.5 - ay)
        along = np.clip((x * (bx - ax) + y * (by - ay)) / length, 0, 1)
        gap = np.hypot(x - along * (bx - ax), y - along * (by - ay)) - width / 2
        blend(canvas, (left, top), _inside(gap.astype(np.float32)) * np.float32(opacity), color)


def blend(canvas: Image, corner: tuple[int, int], coverage: _Gaps, color: Color) -> None:
    """Mix ``color`` into the canvas by ``coverage`` 0..1, whose top left pixel lies at ``corner`` (x, y).

    What lies outside the canvas is dropped; pixels without coverage keep their value exactly.
    """
    x, y = corner
    top, left = max(0, -y), max(0, -x)
    part = coverage[top : max(top, canvas.shape[0] - y), left : max(left, canvas.shape[1] - x), None]
    if not part.size:
        return
    target = canvas[y + top : y + top + part.shape[0], x + left : x + left + part.shape[1]]
    target[...] = np.rint(target + part * (np.asarray(color, np.float32) - target)).astype(np.uint8)


def _inside(gap: _Gaps) -> _Gaps:
    coverage: _Gaps = np.clip(0.5 - gap, 0, 1)
    return coverage


def _gap(region: _Region, box: Box, radius: float) -> _Gaps:
    """Return how far each pixel center of ``region`` lies outside the rounded rectangle, negative within it."""
    half_w, half_h = (box[2] - box[0]) / 2, (box[3] - box[1]) / 2
    radius = max(0.0, min(radius, half_w, half_h))
    x = np.arange(region[0], region[2], dtype=np.float32) + np.float32(0.5 - (box[0] + half_w))
    y = np.arange(region[1], region[3], dtype=np.float32) + np.float32(0.5 - (box[1] + half_h))
    x = np.abs(x)[None, :] - np.float32(half_w - radius)
    y = np.abs(y)[:, None] - np.float32(half_h - radius)
    corner = np.hypot(np.maximum(x, 0), np.maximum(y, 0))
    gap: _Gaps = corner + np.minimum(np.maximum(x, y), 0) - np.float32(radius)
    return gap


def _clipped(canvas: Image, boxes: Sequence[Box]) -> Iterator[_Region]:
    h, w = canvas.shape[:2]
    for x1, y1, x2, y2 in boxes:
        left, top = int(max(x1, 0)), int(max(y1, 0))
        right, bottom = int(np.ceil(min(x2, w))), int(np.ceil(min(y2, h)))
        if left < right and top < bottom:
            yield left, top, right, bottom

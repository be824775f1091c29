"""The points of landmark models on a face: dots, and for models of many points the lines that belong together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.drawing.shapes import Color, dot, segment, stroke
from visavis.types import Image

__all__ = ["draw_points"]

_Points = npt.NDArray[np.float64]
_Paths = Sequence[tuple[Sequence[int], bool]]  # points in the order of the line, and whether it closes

# iBUG 300-W: jaw, brows, nose, nostrils, eyes, lips outside and inside.
_68: _Paths = (
    *((range(a, b), False) for a, b in ((0, 17), (17, 22), (22, 27), (27, 31), (31, 36))),
    *((range(a, b), True) for a, b in ((36, 42), (42, 48), (48, 60), (60, 68))),
)
# The contours of MediaPipe's canonical face: oval, brows, nose, eyes, lips outside and inside.
_468: _Paths = (
    (
        (
            *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
            *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
        ),
        True,
    ),
    ((46, 53, 52, 65, 55, 107, 66, 105, 63, 70), True),
    ((276, 283, 282, 295, 285, 336, 296, 334, 293, 300), True),
    ((168, 6, 197, 195, 5, 4, 1), False),
    ((98, 97, 2, 326, 327), False),
    ((33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246), True),
    ((263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466), True),
    ((61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185), True),
    ((78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191), True),
)
# Trait to its lines, and to the width of lines, the radius of dots and the least side of a face with dots, in that of
# the five landmarks' dots and in pixels.
_DRAWN: dict[str, tuple[_Paths, float, float, float]] = {
    "landmarks_5": ((), 0.0, 0.85, 28.0),
    "landmarks_68": (_68, 0.55, 0.6, 90.0),
    "landmarks_468": (_468, 0.45, 0.32, 150.0),
}


def draw_points(canvas: Image, traits: Mapping[str, Any], side: float, radius: float, color: Color, ink: Color) -> bool:
    """Draw the points that one face has from landmark models; tell whether there were any.

    Parameters
    ----------
    canvas
        Drawn on.
    traits
        Of one face, as ``landmarks_68`` ``(68, 2)`` or ``irises`` ``(2, 5, 2)``; others are left alone.
    side
        Of the face in pixels: what would be a blot on a small face is left out.
    radius
        Of the dots of five landmarks.
    color, ink
        Of the marks, and of the thin shade around them.
    """
    drawn = False
    for name, (paths, width, dots, least) in _DRAWN.items():
        if name not in traits:
            continue
        points = _near(canvas, np.asarray(traits[name])[:, :2])
        ends = [pair for order, closed in paths for pair in _pairs(points, list(order), closed)]
        thick = max(width * radius, 0.8)
        for opacity, extra, paint in ((0.3, 1.2, ink), (0.95, 0.0, color)):
            for a, b in ends:
                segment(canvas, a, b, thick + extra, paint, opacity)
        if side >= least:
            for x, y in points.tolist():
                dot(canvas, (x, y), max(dots * radius, 0.6) + 0.6, ink, 0.3)
                dot(canvas, (x, y), max(dots * radius, 0.6), color)
        drawn = True
    for eye in _near(canvas, np.asarray(traits["irises"])) if "irises" in traits else ():
        x, y = eye[0].tolist()
        r = float(np.linalg.norm(eye[1:] - eye[0], axis=1).mean())
        thick = max(0.45 * radius, 0.8)
        stroke(canvas, (x - r, y - r, x + r, y + r), r, [(thick + 1.2, ink, 0.3), (thick, color, 0.95)])
        drawn = True
    return drawn


def _near(canvas: Image, points: npt.NDArray[Any]) -> _Points:
    """Return points with those far out of the picture brought nearer: a line from there still looks the same."""
    limit = 4.0 * np.array(canvas.shape[1::-1])
    # A landmark at (0, 0) lies in the middle of the first pixel, which on the canvas spans 0 to 1.
    return np.clip(points.astype(np.float64) + 0.5, -limit, limit)


def _pairs(points: _Points, order: list[int], closed: bool) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    path = [(float(x), float(y)) for x, y in points[order]]
    return list(zip(path, path[1:] + (path[:1] if closed else []), strict=False))

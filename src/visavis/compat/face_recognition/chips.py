"""Upright chips of faces, cut the way dlib cuts them, pixel for pixel, and dlib's random variations of a chip.

dlib's recognizer was trained on these chips; encodings that people stored were made from them. Another sampling moves
an encoding by up to 0.2, so this one follows ``get_face_chip``, ``extract_image_chip`` and ``jitter_image`` of
dlib 20 exactly: a similarity transform fitted from the chip to the image, an image pyramid that halves as long as
the face is larger than the chip, and bilinear interpolation that cuts off fractions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from visavis.alignment import similarity_transform
from visavis.types import Image

__all__ = ["SIZE", "face_chip", "jittered"]

SIZE = 150
"""Side of a chip in pixels."""

_PADDING = 0.25  # around the face, in faces
# Where the points lie in a face without padding, 0..1: the mean shapes of dlib's training data.
_FIVE = (
    (0.8595674595992, 0.2134981538014),
    (0.6460604764104, 0.2289674387677),
    (0.1205750620789, 0.2137274526848),
    (0.3340850613712, 0.2290642403242),
    (0.4901123135679, 0.6277975316475),
)
# Of the 68 points those of the nose, the eyes and the upper lip with the mouth's corners: what hardly moves.
_STEADY = (*range(27, 55), *range(60, 65))
_STEADY_X = (
    *(0.490127, 0.490127, 0.490127, 0.490127, 0.36688, 0.426036, 0.490127, 0.554217, 0.613373, 0.121737, 0.187122),
    *(0.265825, 0.334606, 0.260918, 0.182743, 0.645647, 0.714428, 0.793132, 0.858516, 0.79751, 0.719335, 0.254149),
    *(0.340985, 0.428858, 0.490127, 0.551395, 0.639268, 0.726104, 0.290379, 0.428096, 0.490127, 0.552157, 0.689874),
)
_STEADY_Y = (
    *(0.203352, 0.307009, 0.409805, 0.515625, 0.587326, 0.609345, 0.628106, 0.609345, 0.587326, 0.216423, 0.178758),
    *(0.179852, 0.231733, 0.245099, 0.244077, 0.231733, 0.179852, 0.178758, 0.216423, 0.244077, 0.245099, 0.780233),
    *(0.745405, 0.727388, 0.742578, 0.727388, 0.745405, 0.780233, 0.784792, 0.778746, 0.785343, 0.778746, 0.784792),
)

_LEAST_LEVEL = 9  # px of a side: dlib makes no smaller picture smaller
_JITTER_DEGREES = 3.0
_JITTER_HEIGHTS = (0.97, 0.99999)
_JITTER_SHIFT = 0.02

Float64 = npt.NDArray[np.float64]


def face_chip(image: Image, points: npt.ArrayLike) -> Image:
    """Cut the chip of one face out of an image.

    Parameters
    ----------
    image
        RGB uint8 ``(h, w, 3)``; no side may be 0.
    points
        dlib's 5 or 68 landmarks, ``(5, 2)`` or ``(68, 2)``, whole pixels of that image.

    Returns
    -------
    Uint8 ``(150, 150, 3)``. What lies outside the image is black.

    Examples
    --------
    >>> import numpy as np
    >>> eyes_and_nose = np.array([[90, 50], [75, 51], [40, 50], [55, 51], [65, 80]])
    >>> face_chip(np.full((120, 130, 3), 200, np.uint8), eyes_and_nose)[75, 75].tolist()
    [200, 200, 200]
    """
    place = np.asarray(points, np.float64)
    shape = np.array(_FIVE) if len(place) == len(_FIVE) else np.stack([_STEADY_X, _STEADY_Y], axis=1)
    place = place if len(place) == len(_FIVE) else place[list(_STEADY)]
    template = (shape + _PADDING) / (2 * _PADDING + 1) * SIZE
    matrix = similarity_transform(template[None], place)[0]
    scale = math.hypot(matrix[0, 0], matrix[1, 0])
    center = matrix @ [SIZE / 2, SIZE / 2, 1]
    return _extract(image, center, SIZE * scale - 1, math.atan2(matrix[1, 0], matrix[0, 0]))


def jittered(chip: Image, count: int, seed: int = 0) -> Iterator[Image]:
    """Yield ``count`` variations of a chip: turned, zoomed and shifted a little, half of them mirrored.

    dlib draws its variations from one generator a process, so that an encoding depends on the calls before it;
    here the same chip gives the same variations.
    """
    random = np.random.default_rng(seed)
    side = len(chip) - 6
    for _ in range(count):
        shift = np.floor(random.uniform(-_JITTER_SHIFT, _JITTER_SHIFT, 2) * side + 0.5)
        box = int(side / random.uniform(*_JITTER_HEIGHTS))
        angle = math.radians(random.uniform(-_JITTER_DEGREES, _JITTER_DEGREES))
        # A box of whole pixels around a whole pixel: an even side puts its middle half a pixel before.
        middle = len(chip) // 2 + shift - (0.5 if box % 2 == 0 else 0)
        varied = _extract(chip, middle, box - 1, angle)
        yield varied[:, ::-1] if random.random() > 0.5 else varied


def _extract(image: Image, center: Float64, reach: float, angle: float) -> Image:
    """Cut out a turned square: ``reach`` is from the center of its first pixel to that of its last."""
    height, width = image.shape[:2]
    corner = center - reach / 2
    levels = _levels(corner, corner + reach)
    # The part of the picture that the pyramid is made of; its first pixel decides which pixels pair up.
    margin = 2.0
    for _ in range(levels):
        margin = 2 * margin + 2
    turned = center + _turned(np.array([[-1, -1], [1, -1], [-1, 1], [1, 1]]) * (reach / 2), angle)
    last = np.array([width - 1, height - 1])
    x1, y1 = np.floor(np.maximum(turned.min(axis=0) - margin, 0) + 0.5).astype(np.int64)
    x2, y2 = np.floor(np.minimum(turned.max(axis=0) + margin, last) + 0.5).astype(np.int64)
    if x2 < x1 or y2 < y1:
        return np.zeros((SIZE, SIZE, 3), np.uint8)
    part = image[y1 : y2 + 1, x1 : x2 + 1]
    first, end = corner - (x1, y1), corner + reach - (x1, y1)
    for _ in range(levels):
        part, first, end = _halved(part), _down(first), _down(end)
    grid = np.linspace(-0.5, 0.5, SIZE) * (end - first)[:, None]
    offsets = np.stack([np.broadcast_to(grid[0], (SIZE, SIZE)), np.broadcast_to(grid[1][:, None], (SIZE, SIZE))], -1)
    return _sample(part, (first + end) / 2 + _turned(offsets, angle))


def _levels(first: Float64, end: Float64) -> int:
    """Return how often the picture is halved: as long as the square would still be larger than the chip."""
    levels = 0
    while True:
        first, end = _down(first), _down(end)
        if float(np.prod(end - first + 1)) <= SIZE * SIZE:
            return levels
        levels += 1


def _down(point: Float64) -> Float64:
    """Return where dlib says that a point of a picture lies in the halved one."""
    halved: Float64 = point / 2 - np.array([1.25, 0.75])
    return halved


def _turned(offsets: npt.NDArray[np.float64], angle: float) -> Float64:
    sine, cosine = math.sin(angle), math.cos(angle)
    turned: Float64 = offsets @ np.array([[cosine, sine], [-sine, cosine]])
    return turned


def _halved(image: Image) -> Image:
    """Return a picture at half its size, smoothed by 1 4 6 4 1 along both sides."""
    if min(image.shape[:2]) < _LEAST_LEVEL:
        return image[:0]
    rows, columns = (image.shape[0] - 3) // 2, (image.shape[1] - 3) // 2
    across = _smoothed(image.astype(np.uint16), columns, axis=1)
    return (_smoothed(across, rows, axis=0) >> 8).astype(np.uint8)


def _smoothed(pixels: npt.NDArray[np.uint16], count: int, axis: int) -> npt.NDArray[np.uint16]:
    def every_other(start: int) -> npt.NDArray[np.uint16]:
        picked = slice(start, start + 2 * count - 1, 2)
        return pixels[:, picked] if axis else pixels[picked]

    ends = every_other(0) + every_other(4)
    return ends + 4 * (every_other(1) + every_other(3)) + 6 * every_other(2)


def _sample(image: Image, places: Float64) -> Image:
    """Interpolate at places ``(h, w, 2)``; black where one of the four pixels around lies outside."""
    height, width = image.shape[:2]
    x, y = places[..., 0].ravel(), places[..., 1].ravel()
    left, top = np.floor(x), np.floor(y)
    inside = np.flatnonzero((left >= 0) & (top >= 0) & (left + 1 < width) & (top + 1 < height))
    x, y, left, top = x[inside], y[inside], left[inside], top[inside]
    right, down = (x - left)[:, None], (y - top)[:, None]
    at = (top * width + left).astype(np.intp)
    pixels = image.reshape(-1, 3)
    upper = (1 - right) * pixels.take(at, axis=0) + right * pixels.take(at + 1, axis=0)
    lower = (1 - right) * pixels.take(at + width, axis=0) + right * pixels.take(at + width + 1, axis=0)
    chip = np.zeros((places.shape[0] * places.shape[1], 3), np.uint8)
    chip[inside] = ((1 - down) * upper + down * lower).astype(np.uint8)
    return chip.reshape(*places.shape[:2], 3)

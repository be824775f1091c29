"""Several photos side by side, labeled as what they are."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from visavis.drawing.lettering import Lettering
from visavis.drawing.shapes import blend
from visavis.errors import InputError
from visavis.image import resize
from visavis.types import Image

__all__ = ["compose_group"]

_STRIP = (28, 30, 34)
_INK = (235, 236, 238)


def compose_group(
    images: Sequence[Image],
    caption: str | None = None,
    *,
    height: int = 640,
    lettering: Lettering | None = None,
) -> Image:
    """Set photos side by side as one wide picture, with a caption strip that says it is composed.

    Parameters
    ----------
    images
        Uint8 ``(h, w, 3)``, RGB; up to five stand in one row, more in several. A photo taller than 4:3 loses
        its lower part, so that full-length portraits show heads of a like size.
    caption
        Text of the strip; by default "Composed picture: n separate photos".
    height
        Height of a row in pixels.
    lettering
        The fonts.

    Raises
    ------
    InputError
        If there is no image or the height is below 32.

    Examples
    --------
    >>> import numpy as np
    >>> compose_group([np.zeros((50, 40, 3), np.uint8)] * 3, height=100).shape
    (124, 240, 3)
    """
    if not images or height < 32:
        raise InputError("a composed picture needs at least one photo and rows of at least 32 pixels")
    rows = math.ceil(len(images) / 5)
    per_row = math.ceil(len(images) / rows)
    scaled = [_portrait(image, height) for image in images]
    strips = [np.hstack(scaled[i : i + per_row]) for i in range(0, len(scaled), per_row)]
    width = max(strip.shape[1] for strip in strips)
    fitted = [resize(strip, width, max(1, round(height * width / strip.shape[1]))) for strip in strips]
    em = max(12, round(0.042 * height))
    foot = np.full((2 * em, width, 3), _STRIP, np.uint8)
    text = caption or f"Composed picture: {len(images)} separate photos"
    lettering = lettering or Lettering()
    line = lettering.line(text, em)
    if line.width > width - em:  # smaller before shorter
        line = lettering.line(text, max(9, em * (width - em) / line.width), width - em)
    mask, (left, top) = line.mask()
    blend(foot, (round((width - line.width) / 2) - left, round(em + 0.36 * line.size) - top), mask, _INK)
    lettering.warn()
    return np.vstack([*fitted, foot])


def _portrait(image: Image, height: int) -> Image:
    """Return the upper part of an image, at most 4:3 tall, scaled to a height."""
    h, w = image.shape[:2]
    h = min(h, max(1, w * 4 // 3))
    return resize(np.ascontiguousarray(image[:h]), max(1, round(w * height / h)), height)

"""Photos as pictures of a report."""

from __future__ import annotations

import numpy as np

from visavis.datasets.photos import PhotoSet
from visavis.errors import VisavisError
from visavis.image import load_image
from visavis.reporting.document import Picture

__all__ = ["picture_of"]


def picture_of(photos: PhotoSet, i: int) -> Picture:
    """Return photo i with its name, or a gray square where it can't be read: a report is made all the same."""
    name = photos.photos[i]
    try:
        return Picture(load_image(photos.read(i)), name)
    except VisavisError:
        return Picture(np.full((8, 8, 3), 128, np.uint8), f"{name} can't be read any more")

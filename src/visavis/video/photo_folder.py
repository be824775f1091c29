"""A folder of photos as a source: in the order of their names, so many a second."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from visavis.errors import ImageError, InputError
from visavis.files import find_images, printable_path
from visavis.image import load_image, resize
from visavis.types import Image
from visavis.video.conversion import fitted, shrunk_size, turned
from visavis.video.decoding import Pulse
from visavis.video.picture import Picture

__all__ = ["photos_of"]


def photos_of(
    folder: str,
    fps: float,
    *,
    rotate: int = 0,
    longest: int | None = None,
    max_pixels: int,
    stop: threading.Event,
    pulse: Pulse,
    warn: Callable[[str], None],
) -> Iterator[Picture]:
    """Give the photos of a folder, upright, all at the size of the first.

    Those that can't be read are counted in ``pulse.damaged``, and ``warn`` is told of them.

    Raises
    ------
    InputError
        If there is none, or none can be read.
    """
    size: tuple[int, int] | None = None
    for number, path in enumerate(find_images([Path(folder)])):  # a photo keeps its time where another is skipped
        if stop.is_set():
            return
        pulse.at = time.monotonic()
        pulse.packets += 1
        try:
            photo = turned(load_image(path, max_pixels=max_pixels), rotate)
        except ImageError as error:
            pulse.damaged += 1
            warn(str(error))
        else:
            size = size or shrunk_size(photo.shape[1], photo.shape[0], longest)
            yield Picture(number, number / fps, time.time(), *size, partial(_draw, photo))
    if size is None and not stop.is_set():
        raise InputError(f"{printable_path(folder)} holds no photo that can be read")


def _draw(photo: Image, into: Image) -> None:
    height, width = into.shape[:2]
    left, top, w, h = fitted(photo.shape[1], photo.shape[0], width, height)
    if (w, h) != (width, height):
        into[:] = 0
    np.copyto(into[top : top + h, left : left + w], resize(photo, w, h))

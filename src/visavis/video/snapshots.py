"""Pictures of events: a face and what is around it, cut from its frame as a small JPEG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from visavis.errors import InputError
from visavis.events.event import Event
from visavis.image import resize
from visavis.models.durable import new_file
from visavis.types import Image

__all__ = ["cut", "kept"]

_QUALITY = 85


def kept(event: Event, image: Image, folder: Path) -> Event:
    """Write the picture of an event, where it has a box, and return the event with the picture's name.

    Raises
    ------
    OSError
        If it can't be written, as on a full disk.
    """
    if event.box is None:
        return event
    name = f"{event.id}.jpg"
    with new_file(folder / name, 0o600, synced=False) as file:
        file.write(cut(image, event.box))
    return event.with_snapshot(name)


def cut(image: Image, box: Sequence[float], *, margin: float = 0.5, side: int = 320) -> bytes:
    """Return a face and what is around it as JPEG.

    Parameters
    ----------
    image
        The frame the box belongs to: RGB uint8 ``(h, w, 3)``, upright.
    box
        x1, y1, x2, y2, pixels; what lies outside of the frame is left out.
    margin
        Share of the box's sides to keep around it, on each side.
    side
        The longer side of the picture at most: larger ones are made smaller, small ones stay as they are.

    Raises
    ------
    InputError
        If the box doesn't lie in the image.

    Examples
    --------
    >>> frame = np.full((100, 200, 3), 90, np.uint8)
    >>> picture = cv2.imdecode(np.frombuffer(cut(frame, (50, 40, 70, 60)), np.uint8), cv2.IMREAD_COLOR)
    >>> picture.shape
    (40, 40, 3)
    """
    corners = np.asarray(box, np.float64)
    if corners.shape != (4,) or not np.isfinite(corners).all():
        raise InputError(f"a box is four finite numbers x1, y1, x2, y2, not {box!r}")
    if not (margin >= 0 and side >= 1):
        raise InputError(f"margin is 0 or more and side 1 or more, not {margin} and {side}")
    height, width = image.shape[:2]
    x1, y1, x2, y2 = corners
    around = corners + margin * np.array([x1 - x2, y1 - y2, x2 - x1, y2 - y1])
    left, top = np.clip(np.floor(around[:2]), 0, (width, height)).astype(int)
    right, bottom = np.clip(np.ceil(around[2:]), 0, (width, height)).astype(int)
    if right <= left or bottom <= top:
        raise InputError(f"the box {corners.round(1).tolist()} doesn't lie in an image of {width}x{height}")
    part = image[top:bottom, left:right]
    share = side / max(part.shape[:2])
    if share < 1:
        part = resize(part, max(round(part.shape[1] * share), 1), max(round(part.shape[0] * share), 1))
    done, data = cv2.imencode(".jpg", cv2.cvtColor(part, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    assert done
    return bytes(data)

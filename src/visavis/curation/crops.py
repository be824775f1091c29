"""What a crop of a face shows: its size and margin, laid by the five landmarks or cut around the box."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from visavis.alignment import crop, similarity_transform, template_points
from visavis.errors import InputError
from visavis.types import Faces, FloatArray, Image

__all__ = ["CropShape", "box_crop", "parse_margin", "parse_size"]

Way = Literal["points", "box"]
MAX_SIDE = 4096


@dataclass(frozen=True)
class CropShape:
    """How faces are cut out.

    Parameters
    ----------
    height, width
        Of the crops, pixels.
    way
        ``"points"``: turned and scaled so that the five landmarks lie where recognizers expect them
        (`visavis.alignment.template_points`). ``"box"``: the detector's box, not turned, stretched to the size, as
        FaceNet's crops are (`box_crop`).
    margin
        What is shown around the face, both sides together, as a share of the face's side: of the template's square,
        or of the box.

    Examples
    --------
    >>> CropShape.of("182x182", "box", "44px").margin.__round__(4)
    0.3188
    """

    height: int = 112
    width: int = 112
    way: Way = "points"
    margin: float = 0.0

    def __post_init__(self) -> None:
        if not (1 <= self.height <= MAX_SIDE and 1 <= self.width <= MAX_SIDE):
            raise InputError(f"crops have sides of 1 to {MAX_SIDE} pixels, not {self.height}x{self.width}")
        if self.way not in ("points", "box"):
            raise InputError(f"a crop is laid by 'points' or by the 'box', not {self.way!r}")
        if not 0 <= self.margin <= 10:
            raise InputError(f"the margin is 0 to 10 times the face's side, not {self.margin}")

    @classmethod
    def of(cls, size: str, way: str = "points", margin: str = "0") -> CropShape:
        """Read a shape as it is typed; see `parse_size` and `parse_margin`."""
        height, width = parse_size(size)
        return cls(height, width, way, parse_margin(margin, height))  # type: ignore[arg-type]

    def cut(self, image: Image, faces: Faces) -> Image:
        """Return the crops of faces, uint8 ``(n, height, width, 3)``; black where the image ends.

        Raises
        ------
        InputError
            If landmarks are needed and there are none.
        """
        if self.way == "box":
            size = (self.height, self.width)
            cuts = [box_crop(image, box, self.height, self.width, self.margin) for box in faces.boxes]
            return np.stack(cuts) if cuts else np.zeros((0, *size, 3), np.uint8)
        if faces.landmarks is None:
            raise InputError("faces without landmarks can't be aligned by points; cut them by their box")
        points = template_points(self.height, self.width, margin=self.margin)
        return crop(image, similarity_transform(faces.landmarks, points), (self.height, self.width))


def box_crop(image: Image, box: FloatArray, height: int, width: int, margin: float = 0.0) -> Image:
    """Return a box and a margin around it, cut at the image's edge and stretched to a size.

    As ``extract_face`` of the package facenet-pytorch does it, where a margin of m pixels of a crop of side s is the
    share ``m / (s - m)``: corners are rounded towards zero, then resized by averaging where it shrinks.

    Returns
    -------
    Uint8 ``(height, width, 3)``; black where no pixel of the box lies in the image.
    """
    x1, y1, x2, y2 = (float(value) for value in box)
    dx, dy = margin * (x2 - x1) / 2, margin * (y2 - y1) / 2
    left, top = int(max(x1 - dx, 0)), int(max(y1 - dy, 0))
    right, bottom = int(min(x2 + dx, image.shape[1])), int(min(y2 + dy, image.shape[0]))
    if right <= left or bottom <= top:
        return np.zeros((height, width, 3), np.uint8)
    part = image[top:bottom, left:right]
    shrinks = part.shape[0] * part.shape[1] > height * width
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(part, (width, height), interpolation=method), np.uint8)


def parse_size(text: str) -> tuple[int, int]:
    """Return height and width: ``"112x96"`` is 112 high and 96 wide, ``"160"`` a square.

    Examples
    --------
    >>> parse_size("112x96"), parse_size("160")
    ((112, 96), (160, 160))
    """
    found = re.fullmatch(r"([0-9]{1,5})(?:[xX×]([0-9]{1,5}))?", text.strip(), re.ASCII | re.IGNORECASE)
    if not found:
        raise InputError(f"a size is HEIGHTxWIDTH in pixels, as 112x96, not {text!r}")
    height = int(found[1])
    return height, int(found[2] or height)


def parse_margin(text: str, height: int) -> float:
    """Return a margin as a share of the face's side.

    Parameters
    ----------
    text
        A share, as ``"0.2"`` or ``"20%"``, or pixels of the crop, as ``"32px"``.
    height
        Of the crop in pixels.

    Examples
    --------
    >>> parse_margin("25%", 160), parse_margin("32px", 160)
    (0.25, 0.25)
    """
    found = re.fullmatch(r"([0-9]*\.?[0-9]+)\s*(px|%|)", text.strip(), re.ASCII)
    if not found:
        raise InputError(
            f"a margin is a share of the face, as 0.2 or 20%, or pixels of the crop, as 32px; not {text!r}"
        )
    number, unit = float(found[1]), found[2]
    if unit == "px":
        if number >= height:
            raise InputError(f"a margin of {number:g} px leaves no face in a crop {height} px high")
        return number / (height - number)
    share = number / 100 if unit == "%" else number
    if not math.isfinite(share) or (unit == "" and share > 10):
        raise InputError(f"a margin of {text} would be {text} times the face; pixels are written {text.strip()}px")
    return share

"""From a decoder's frame to upright RGB: turned, in square pixels, in the right colors, into the caller's own array."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from visavis.errors import InputError
from visavis.types import Image

__all__ = ["TURNS", "Converter", "Upright", "fitted", "shrunk_size", "square_size", "turned"]

TURNS = (0, 90, 180, 270)
"""Degrees clockwise by which a picture can be turned."""

_ROTATIONS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
# ITU-T H.273: matrix coefficients, transfer characteristics and primaries.
_UNSPECIFIED = 2
_HDR = (16, 18)  # PQ and HLG
_SRGB, _BT709 = 13, 1


def turned(image: Image, degrees: int) -> Image:
    """Return an image turned clockwise.

    Examples
    --------
    >>> turned(np.arange(6, dtype=np.uint8).reshape(2, 3, 1), 90)[..., 0].tolist()
    [[3, 0], [4, 1], [5, 2]]
    """
    if degrees not in TURNS:
        raise InputError(f"an image is turned by 0, 90, 180 or 270 degrees clockwise, not {degrees}")
    return np.ascontiguousarray(np.rot90(image, -degrees // 90)) if degrees else image


@dataclass(frozen=True)
class Upright:
    """How a frame is laid upright: transposed first, then flipped to the side, then upside down."""

    transposed: bool = False
    sideways: bool = False
    upside_down: bool = False

    @classmethod
    def of(cls, frame: Any, stream: Any) -> Upright:
        """Read the display matrix (ISO/IEC 14496-12, 8.5.2), or the older tag ``rotate``, degrees clockwise."""
        side = frame.side_data.get("DISPLAYMATRIX")
        if side is not None:
            a, b, _, c, d = np.frombuffer(bytes(side), np.int32)[:5].tolist()
            if abs(a) + abs(d) >= abs(b) + abs(c):
                return cls(False, a < 0, d < 0)
            return cls(True, c < 0, b < 0)
        try:
            degrees = round(float(stream.metadata.get("rotate", 0))) % 360
        except (ValueError, OverflowError):
            degrees = 0
        return cls().turned(degrees) if degrees in TURNS else cls()

    def turned(self, degrees: int) -> Upright:
        """Return what lays a frame as this does, and turns it clockwise after."""
        turn = self
        for _ in range(degrees // 90):
            turn = Upright(not turn.transposed, not turn.upside_down, turn.sideways)
        return turn

    @property
    def mirrored(self) -> bool:
        """Whether left and right change places."""
        return self.transposed ^ self.sideways ^ self.upside_down

    @property
    def degrees(self) -> int:
        """Clockwise; of a mirrored frame, after it was mirrored from left to right."""
        if self.transposed:
            return 90 if self.sideways ^ self.mirrored else 270
        return 180 if self.upside_down else 0

    def draw(self, image: Image, into: Image) -> None:
        """Copy an image as it lies into a contiguous array in which it is upright."""
        if not self.mirrored and self.degrees:
            cv2.rotate(image, _ROTATIONS[self.degrees], dst=into)  # several times as fast as a copy by steps
            return
        image = image.transpose(1, 0, 2) if self.transposed else image
        image = image[:, ::-1] if self.sideways else image
        np.copyto(into, image[::-1] if self.upside_down else image)


def square_size(width: int, height: int, ratio: float) -> tuple[int, int]:
    """Return the size in square pixels of one whose pixels are ``ratio`` times as wide as high, as television's are."""
    if not 0.25 < ratio < 4:
        return width, height
    return (round(width * ratio), height) if ratio > 1 else (width, round(height / ratio))


def shrunk_size(width: int, height: int, longest: int | None) -> tuple[int, int]:
    """Return a size shrunk to a longer side of ``longest`` pixels; as it is where it is smaller already.

    Examples
    --------
    >>> shrunk_size(1920, 1080, 640)
    (640, 360)
    """
    share = min(1.0, longest / max(width, height)) if longest else 1.0
    return max(round(width * share), 1), max(round(height * share), 1)


def fitted(width: int, height: int, into_width: int, into_height: int) -> tuple[int, int, int, int]:
    """Return where a picture of one size lies, whole and undistorted, in the middle of another: left, top and size.

    Examples
    --------
    >>> fitted(1280, 720, 640, 480)
    (0, 60, 640, 360)
    """
    share = min(into_width / width, into_height / height)
    # A pixel more or less is rounding, not another shape: it fills all.
    w, h = (
        whole if abs(round(side * share) - whole) <= 1 else max(round(side * share), 1)
        for side, whole in ((width, into_width), (height, into_height))
    )
    return (into_width - w) // 2, (into_height - h) // 2, w, h


class Converter:
    """Converts the frames of one opened video; keeps what swscale sets up for them.

    PyAV gives swscale no array of ours to write into, so that a picture is written twice: into FFmpeg's memory, and
    from there into the caller's. The second takes half the time of the first (benchmarks/picture_copies.py), and lays
    the picture upright.
    """

    def __init__(self) -> None:
        from av.video.reformatter import VideoReformatter

        self._scaler = VideoReformatter()

    def draw(self, frame: Any, ratio: float, turn: Upright, into: Image) -> None:
        """Draw a frame, whose pixels are ``ratio`` times as wide as high, whole and upright into a contiguous array.

        One of another shape than the array gets black bars.
        """
        size = square_size(frame.width, frame.height, ratio)
        height, width = into.shape[:2]
        left, top, w, h = fitted(*(size[::-1] if turn.transposed else size), width, height)
        if (w, h) == (width, height):
            self._fill(frame, turn, into)
            return
        part = np.empty((h, w, 3), np.uint8)
        self._fill(frame, turn, part)
        into[:] = 0
        into[top : top + h, left : left + w] = part

    def _fill(self, frame: Any, turn: Upright, into: Image) -> None:
        height, width = into.shape[1::-1] if turn.transposed else into.shape[:2]
        plane = self._rgb(frame, width, height).planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:height, : 3 * width]
        turn.draw(rows.reshape(height, width, 3), into)

    def _rgb(self, frame: Any, width: int, height: int) -> Any:
        how: dict[str, Any] = {"width": width, "height": height, "format": "rgb24", "threads": 1}
        if frame.colorspace == _UNSPECIFIED and not frame.format.is_rgb:
            # Nobody said: high definition is BT.709 and what is smaller BT.601, as players have it.
            how["src_colorspace"] = "ITU709" if frame.width >= 1280 or frame.height > 576 else "ITU601"
        if (width, height) != (frame.width, frame.height):
            how["interpolation"] = "AREA" if width * height < frame.width * frame.height else "BICUBIC"
        if frame.color_trc in _HDR:
            how |= {"dst_color_trc": _SRGB, "dst_color_primaries": _BT709}
        return self._scaler.reformat(frame, **how)

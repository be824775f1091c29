"""Videos made for tests, with PyAV."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]


def film(
    path: Path,
    pictures: Iterable[Picture],
    *,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    rotation: int | None = None,
    times: Sequence[float] | None = None,
    rate: int = 10,
    options: dict[str, str] | None = None,
) -> Path:
    """Encode pictures; ``rotation`` is the display matrix's angle, counterclockwise, ``times`` their time stamps."""
    with av.open(str(path), "w", options={"movflags": "faststart"} if path.suffix == ".mp4" else {}) as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.pix_fmt = pixels
        ticks = rate if codec == "mpeg2video" else 1000  # which takes no other
        stream.time_base = stream.codec_context.time_base = Fraction(1, ticks)
        for i, picture in enumerate(pictures):
            if i == 0:
                stream.height, stream.width = picture.shape[:2]
                if rotation is not None:
                    stream.set_display_rotation(rotation)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture))
            frame.pts = round(ticks * (times[i] if times is not None else i / rate))
            frame.time_base = Fraction(1, ticks)
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def moving(photo: Picture, number: int, *, width: int = 320, height: int = 240, step: int = 4) -> list[Picture]:
    """Return frames in which a photo moves to the right over gray."""
    frames = []
    for i in range(number):
        frame = np.full((height, width, 3), 96, np.uint8)
        small = cv2.resize(photo, (height, height), interpolation=cv2.INTER_AREA)
        left = min(i * step, width - height)
        frame[:, left : left + height] = small
        frames.append(frame)
    return frames

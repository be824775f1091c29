"""Frames of a video file: decoded one after the other, upright as the container says, each with its own time.

Only containers of recorded video are opened, as files: nothing that a playlist names is followed, and nothing is
fetched.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visavis.errors import InputError
from visavis.files import printable_path, reason
from visavis.image import MAX_PIXELS
from visavis.types import Image
from visavis.video.conversion import TURNS, turned
from visavis.video.decoding import (
    Decoder,
    Decoding,
    VideoInfo,
    failures,
    is_sound,
    opened,
    require_library,
    still_kind,
)
from visavis.video.picture import Picture, every_so_often

__all__ = [
    "FORMATS",
    "TURNS",
    "VIDEO_SUFFIXES",
    "Frame",
    "VideoInfo",
    "find_videos",
    "frames",
    "opened_file",
    "require_library",
    "turned",
    "until_problem",
    "video",
    "whole",
]

VIDEO_SUFFIXES = frozenset(
    {
        *(".mp4", ".m4v", ".mov", ".3gp", ".3g2", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts"),
        *(".vob", ".flv", ".wmv", ".asf", ".ogv", ".dav", ".h264", ".264", ".hevc", ".h265", ".ivf"),
    }
)
"""Suffixes, in lower case, by which `find_videos` knows a video in a folder."""

FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,flv,live_flv,asf,ogg,dhav,mxf,ivf,"
    "h264,hevc,obu,m4v,vc1,yuv4mpegpipe,nut,rm,dv,gif"
)
"""FFmpeg's names of what may be opened as a file. Playlists (hls, dash, concat, sdp) would make it read other files
and addresses."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a video.

    Attributes
    ----------
    number
        0 for the first frame of the file, counted as they are shown.
    time
        Seconds since the first frame, from its own time stamp: right at a variable frame rate too.
    image
        RGB uint8 ``(h, w, 3)``, upright.
    """

    number: int
    time: float
    image: Image


def find_videos(paths: list[str]) -> list[Path]:
    """Turn files and folders into video files: a file as it is, of a folder all in it and below by their suffix.

    Raises
    ------
    InputError
        If one does not exist.
    """
    found: dict[Path, None] = {}
    for given in paths:
        path = Path(given).expanduser()
        if not os.path.lexists(path):
            raise InputError(f"no such video or folder: {printable_path(given)}; check the path")
        inside = (
            [file for file in sorted(path.rglob("*")) if file.suffix.lower() in VIDEO_SUFFIXES and file.is_file()]
            if path.is_dir()
            else [path]
        )
        found |= dict.fromkeys(file for file in inside if path == file or not file.name.startswith("."))
    return list(found)


def video(path: str | os.PathLike[str]) -> VideoInfo:
    """Return what a video's container and first frame say.

    Raises
    ------
    InputError
        As `frames`.
    """
    with opened_file(path) as container:
        decoder = Decoder(container, printable_path(path))
        next(whole(decoder))
        assert decoder.info is not None
        return decoder.info


def frames(
    path: str | os.PathLike[str],
    *,
    every: float = 0.0,
    start: float = 0.0,
    threads: int = 1,
    max_pixels: int = MAX_PIXELS,
) -> Iterator[Frame]:
    """Give the frames of a video, upright as its container says, holding a few at a time.

    Parameters
    ----------
    every
        Seconds between the frames given; 0 gives each. The first frame at or after each such time is given, by the
        time stamps of the file.
    start
        Seconds after the first frame to begin at.
    threads
        To decode with.
    max_pixels
        Refuse frames with more.

    Raises
    ------
    EngineError
        If PyAV is missing.
    InputError
        If the file is missing, empty, no video, a still picture or sound alone, if no frame of it can be decoded; and
        at its end, after all that could be read, if it was cut off.
    """
    if not (math.isfinite(every) and every >= 0 and math.isfinite(start) and start >= 0):
        raise InputError(f"every and start are seconds, 0 or more, not {every} and {start}")
    with opened_file(path) as container:
        decoder = Decoder(container, printable_path(path), Decoding(threads=threads, max_pixels=max_pixels))
        for picture in every_so_often(whole(decoder), every):
            if picture.time >= start - 1e-3:
                yield Frame(picture.number, picture.time, picture.image())


def until_problem(source: Iterator[Frame], problem: list[InputError]) -> Iterator[Frame]:
    """Give frames until one can't be read; what was under way is then finished before ``problem`` is told."""
    try:
        yield from source
    except InputError as error:
        problem.append(error)


@contextmanager
def opened_file(path: str | os.PathLike[str], **how: Any) -> Iterator[Any]:
    """Open a container of recorded video.

    Parameters
    ----------
    how
        What else `av.open` is told.

    Raises
    ------
    InputError
        If the file can't be read or is no such container.
    """
    require_library()
    name = printable_path(path)
    _require_file(Path(path), name)
    with Path(path).open("rb") as file:
        head = file.read(16)
        if kind := still_kind(head):
            raise InputError(f"{name} is a still picture ({kind}), not a video; give it as a photo")
        if is_sound(head):
            raise InputError(f"{name} holds no video but sound")
        file.seek(0)
        # The file is handed over open, so that no part of its name is taken for a protocol or a pattern.
        how = {"options": {"format_whitelist": FORMATS, "protocol_whitelist": "file"}} | how
        try:
            container = opened(file, **how)
        except failures() as error:
            raise InputError(
                f"{name} is no video that can be read ({getattr(error, 'strerror', None) or reason(error)}); "
                "if it was cut off, copy it again"
            ) from None
        with container:
            yield container


def whole(decoder: Decoder, hint: str = "") -> Iterator[Picture]:
    """Give the pictures of a file; then say what was missing of it.

    Parameters
    ----------
    hint
        What may help where there was no picture.

    Raises
    ------
    InputError
        At the end, if there was no picture, or the file was cut off.
    """
    yield from decoder.pictures()
    if decoder.info is None:
        raise InputError(f"{decoder.name} holds no frame that can be decoded: it is empty or damaged{hint}")
    if problem := decoder.cut_off():
        raise InputError(f"{decoder.name} {problem}")


def _require_file(path: Path, name: str) -> None:
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise InputError(f"{name} can't be read: {reason(error)}") from None
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{name} is no file; record what a device or stream gives, and give that")
    if not status.st_size:
        raise InputError(f"{name} is empty (0 bytes); copy or download it again")

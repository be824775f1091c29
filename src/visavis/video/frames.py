"""Frames of a video file: decoded one after the other, upright as the container says, each with its own time.

PyAV decodes (`pip install 'visavis[video]'`). Only containers of recorded video are opened, as files: nothing that a
playlist names is followed, and nothing is fetched.
"""

from __future__ import annotations

import contextlib
import math
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from visavis.errors import EngineError, InputError
from visavis.files import printable_path, reason
from visavis.image import MAX_PIXELS
from visavis.types import Image

__all__ = [
    "TURNS",
    "VIDEO_SUFFIXES",
    "Frame",
    "VideoInfo",
    "beginning",
    "created",
    "find_videos",
    "frames",
    "opened",
    "require_library",
    "turned",
    "video",
]

TURNS = (0, 90, 180, 270)
"""Degrees clockwise by which a picture can be turned."""

VIDEO_SUFFIXES = frozenset(
    {
        *(".mp4", ".m4v", ".mov", ".3gp", ".3g2", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts"),
        *(".vob", ".flv", ".wmv", ".asf", ".ogv", ".dav", ".h264", ".264", ".hevc", ".h265", ".ivf"),
    }
)
"""Suffixes, in lower case, by which `find_videos` knows a video in a folder."""

# FFmpeg's names of what may be opened. Playlists (hls, dash, concat, sdp) would make it read other files and addresses.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,flv,live_flv,asf,ogg,dhav,mxf,ivf,"
    "h264,hevc,obu,m4v,vc1,yuv4mpegpipe,nut,rm,dv,gif"
)
_DAMAGED_IN_A_ROW = 500  # packets without a picture after which a file is given up
_UNSPECIFIED = 2  # colors, in ITU-T H.273
_HIGH_DEFINITION = 720  # lines
_FIRST_YEAR = 1990  # clocks that were never set say 1904 or 1970
_SHORT = 0.1  # share of its announced length that a whole file may lack


@dataclass(frozen=True)
class VideoInfo:
    """What a container says of its video.

    Attributes
    ----------
    codec, pixels
        As FFmpeg calls them: ``h264``, ``yuv420p10le``.
    width, height
        Of the upright frames, in square pixels.
    seconds
        Announced length; None where it is not known.
    rate
        Announced frames a second, at the mean; None where it is not known.
    turned
        Degrees clockwise by which frames are turned, because the container says so.
    mirrored
        Whether they are mirrored besides.
    """

    codec: str
    pixels: str
    width: int
    height: int
    seconds: float | None
    rate: float | None
    turned: int
    mirrored: bool


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


def require_library() -> None:
    """Raise `EngineError`, which says what to install, where PyAV is missing."""
    try:
        import av  # noqa: F401
    except ImportError:
        raise EngineError("reading videos needs PyAV: pip install 'visavis[video]'") from None


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
    return next(_decoded(path, 1, MAX_PIXELS))[0]


@contextlib.contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[tuple[Any, Any]]:
    """Open a file for reading as PyAV's container, within the limits of `frames`; give it and its video stream.

    Raises
    ------
    EngineError, InputError
        As `frames`, of what can be told without decoding.
    """
    require_library()
    name = printable_path(path)
    _require_file(Path(path), name)
    with Path(path).open("rb") as file, _opened(file, name) as container:
        yield container, _stream(container, name)


def beginning(path: str | os.PathLike[str]) -> float:
    """Return the seconds at which the first frame stands on the container's own clock, by which sound goes too.

    Raises
    ------
    InputError
        As `frames`.
    """
    with opened(path) as (container, stream):
        _limit(stream, printable_path(path), 1, MAX_PIXELS)
        first = next((pictures[0] for pictures in _packets(container, stream) if pictures), None)
        return 0.0 if first is None or first.time is None else float(first.time)


def created(path: str | os.PathLike[str]) -> datetime | None:
    """Return the UTC at which a file's container says that it was recorded; None where it does not."""
    with opened(path) as (container, stream):
        said = container.metadata.get("creation_time") or stream.metadata.get("creation_time") or ""
    try:
        time = datetime.fromisoformat(said.strip().replace("Z", "+00:00"))
    except ValueError:
        return None
    time = time if time.tzinfo else time.replace(tzinfo=timezone.utc)
    return time.astimezone(timezone.utc) if time.year >= _FIRST_YEAR else None


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
    step = -1
    for _, number, time, picture in _decoded(path, threads, max_pixels):
        # Time stamps are rounded to the container's ticks, mostly of a millisecond or less.
        due = math.floor((time + 1e-3) / every) if every else number
        if due == step or time < start - 1e-3:
            continue
        step = due
        yield Frame(number, time, picture())


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


def _decoded(
    path: str | os.PathLike[str], threads: int, max_pixels: int
) -> Iterator[tuple[VideoInfo, int, float, Any]]:
    """Give of each frame the video's facts, its number, its time and a function that makes its picture."""
    name = printable_path(path)
    damaged = number = 0
    first: float | None = None
    last, info, seconds = 0.0, None, None
    with opened(path) as (container, stream):
        seconds = _seconds(container, stream)
        rate = float(stream.average_rate) if stream.average_rate else None
        _limit(stream, name, threads, max_pixels)
        for pictures in _packets(container, stream):
            if pictures is None:
                damaged += 1
                if damaged >= _DAMAGED_IN_A_ROW:
                    break
                continue
            for picture in pictures:
                damaged = 0
                _refuse_large(picture.width, picture.height, name, max_pixels)
                turn = _Upright.of(picture, stream)
                if info is None:
                    info = _info(stream, picture, turn, seconds, rate)
                stamp = last + 1 / (rate or 25.0) if picture.time is None else float(picture.time)
                first = stamp if first is None else first
                # Joined recordings may begin anew at 0: go on from where the time was.
                if stamp - first < last:
                    first = stamp - last - 1 / (rate or 25.0)
                last = stamp - first
                yield info, number, last, partial(_image, picture, turn, info)
                number += 1
    if not number or info is None:
        raise InputError(f"{name} holds no frame that can be decoded: it is empty or damaged")
    missing = 0.0 if seconds is None else seconds - last - 1 / (rate or 25.0)
    if damaged >= _DAMAGED_IN_A_ROW or (seconds and missing > max(_SHORT * seconds, 0.5)):
        whole = f" of {seconds:.1f}" if seconds else ""
        raise InputError(f"{name} is cut off or damaged: it could be read to {last:.1f}{whole} s")


def _require_file(path: Path, name: str) -> None:
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise InputError(f"{name} can't be read: {reason(error)}") from None
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{name} is no file; record what a device or stream gives, and give that")
    if not status.st_size:
        raise InputError(f"{name} is empty (0 bytes); copy or download it again")


def _opened(file: Any, name: str) -> Any:
    import av

    if kind := _picture_kind(file.read(16)):
        raise InputError(f"{name} is a still picture ({kind}), not a video; give it as a photo")
    file.seek(0)
    try:
        # The file is handed over open, so that no part of its name is taken for a protocol or a pattern.
        return av.open(file, options={"format_whitelist": _FORMATS, "protocol_whitelist": "file"}, **_lenient())
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise InputError(
            f"{name} is no video that can be read ({getattr(error, 'strerror', None) or reason(error)}); "
            "if it was cut off, copy it again"
        ) from None


def _lenient() -> dict[str, str]:
    """Let titles be in any encoding, which PyAV from 19 on does of itself: no frame is lost for a name."""
    import av

    return {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}


def _picture_kind(head: bytes) -> str:
    """Return the format of a still picture from its first 16 bytes, or nothing."""
    signatures = {b"\xff\xd8\xff": "JPEG", b"\x89PNG": "PNG", b"BM": "BMP", b"II*\0": "TIFF", b"MM\0*": "TIFF"}
    if head[8:12] == b"WEBP":
        return "WebP"
    if head[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypavif"):
        return "HEIC or AVIF"
    return next((kind for start, kind in signatures.items() if head.startswith(start)), "")


def _stream(container: Any, name: str) -> Any:
    # The cover of a song is a stream of one picture.
    found = [s for s in container.streams.video if "attached_pic" not in str(getattr(s, "disposition", "")).lower()]
    if not found:
        sound = " but sound" if container.streams.audio else ""
        raise InputError(f"{name} holds no video{sound}")
    return found[0]


def _seconds(container: Any, stream: Any) -> float | None:
    """Return the announced length of the video; where only that of the whole is known, unless sound may be longer."""
    if stream.duration is not None:
        return float(stream.duration) * float(stream.time_base)
    whole = container.duration
    return None if whole is None or container.streams.audio else whole / 1e6


def _limit(stream: Any, name: str, threads: int, max_pixels: int) -> None:
    context = stream.codec_context
    if context is None:
        raise InputError(f"{name} is in a coding that this FFmpeg can't decode; convert it to H.264")
    _refuse_large(context.width, context.height, name, max_pixels)
    context.thread_count = threads
    context.thread_type = "AUTO"
    context.options = {"max_pixels": str(max_pixels)}


def _refuse_large(width: int, height: int, name: str, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise InputError(f"{name} has frames of {width}x{height} and the limit is {max_pixels} pixels; shrink it")


def _packets(container: Any, stream: Any) -> Iterator[list[Any] | None]:
    """Give the pictures of each packet, None for one that is damaged."""
    import av

    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except (av.error.FFmpegError, OSError):
            yield None
            return
        if packet is None:
            return
        try:
            yield packet.decode()
        except (av.error.FFmpegError, ValueError):
            yield None


def _info(stream: Any, picture: Any, turn: _Upright, seconds: float | None, rate: float | None) -> VideoInfo:
    width, height = picture.width, picture.height
    ratio = float(stream.sample_aspect_ratio or 1)  # of a pixel: television's are not square
    if 0.25 < ratio < 4:
        width, height = (round(width * ratio), height) if ratio > 1 else (width, round(height / ratio))
    if turn.transposed:
        width, height = height, width
    codec = stream.codec_context.name
    return VideoInfo(codec, picture.format.name, width, height, seconds, rate, turn.degrees, turn.mirrored)


def _image(picture: Any, turn: _Upright, info: VideoInfo) -> Image:
    width, height = (info.height, info.width) if turn.transposed else (info.width, info.height)
    # FFmpeg takes what says nothing of its colors for standard definition; players go by the height.
    colors = "ITU709" if picture.colorspace == _UNSPECIFIED and picture.height >= _HIGH_DEFINITION else None
    upright = picture.reformat(width=width, height=height, format="rgb24", src_colorspace=colors)
    return turn.apply(upright.to_ndarray())


@dataclass(frozen=True)
class _Upright:
    """How a frame is laid upright: transposed first, then flipped to the side, then upside down."""

    transposed: bool = False
    sideways: bool = False
    upside_down: bool = False

    @classmethod
    def of(cls, picture: Any, stream: Any) -> _Upright:
        """Read the display matrix (ISO/IEC 14496-12, 8.5.2), or the older tag ``rotate``, degrees clockwise."""
        side = picture.side_data.get("DISPLAYMATRIX")
        if side is not None:
            a, b, _, c, d = np.frombuffer(bytes(side), np.int32)[:5].tolist()
            if abs(a) + abs(d) >= abs(b) + abs(c):
                return cls(False, a < 0, d < 0)
            return cls(True, c < 0, b < 0)
        try:
            degrees = round(float(stream.metadata.get("rotate", 0))) % 360
        except (ValueError, OverflowError):
            degrees = 0
        table = {90: cls(True, True, False), 180: cls(False, True, True), 270: cls(True, False, True)}
        return table.get(degrees, cls())

    @property
    def mirrored(self) -> bool:
        return self.transposed ^ self.sideways ^ self.upside_down

    @property
    def degrees(self) -> int:
        """Clockwise; of a mirrored frame, after it was mirrored from left to right."""
        if self.transposed:
            return 90 if self.sideways ^ self.mirrored else 270
        return 180 if self.upside_down else 0

    def apply(self, image: Image) -> Image:
        image = image.transpose(1, 0, 2) if self.transposed else image
        image = image[:, ::-1] if self.sideways else image
        return np.ascontiguousarray(image[::-1] if self.upside_down else image)

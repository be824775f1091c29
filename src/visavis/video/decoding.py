"""The one decoder of files, streams and devices: an opened container to pictures, each with its own time.

PyAV decodes (`pip install 'visavis[video]'`).
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from visavis.errors import EngineError, InputError, SourceError
from visavis.image import MAX_PIXELS
from visavis.video.clock import Clock
from visavis.video.conversion import Converter, Upright, shrunk_size, square_size
from visavis.video.picture import Picture

__all__ = [
    "Decoder",
    "Decoding",
    "Picture",
    "Pulse",
    "VideoInfo",
    "failures",
    "forget_opened",
    "is_sound",
    "opened",
    "problem_of",
    "require_library",
    "still_kind",
    "works",
]

_DAMAGED_IN_A_ROW = 500  # packets without a picture after which a file is given up
_SHORT = 0.1  # share of its announced length that a whole file may lack
_UNSTAMPED = ("mpjpeg", "h264", "hevc")  # formats whose time stamps FFmpeg makes up
_STORED_ORDER = ("avi", "asf")  # formats whose time stamps are in the order of storing, not of showing


def require_library() -> None:
    """Raise `EngineError`, which says what to install, where PyAV is missing."""
    try:
        import av  # noqa: F401
    except ImportError:
        raise EngineError("reading videos needs PyAV: pip install 'visavis[video]'") from None


def opened(what: Any, **how: Any) -> Any:
    """Open a container with PyAV, whose errors (`failures`) pass.

    Titles may be in any encoding: no frame is lost for a name. PyAV from 19 on does so of itself.
    """
    import av

    if int(av.__version__.partition(".")[0]) < 19:
        how["metadata_errors"] = "replace"
    try:
        return av.open(what, **how)
    except failures():
        if not how.get("hwaccel") or works(how["hwaccel"]):
            raise
    if hasattr(what, "seek"):
        what.seek(0)
    return av.open(what, **how | {"hwaccel": None})  # the hardware is gone, or has no room left


def forget_opened() -> None:
    """Free what closed containers hold, megabytes each: for who opens one after the other, for days.

    They and their streams refer to each other, and Python looks for such rings by their number, not by their size.
    """
    gc.collect()


def works(hardware: Any) -> bool:
    """Return whether hardware that PyAV could decode on is there, and takes H.264."""
    from av.codec import Codec

    try:
        hardware.create(Codec("h264", "r"))
    except failures():
        return False
    except NotImplementedError:  # it decodes, but not this
        return False
    return True


def failures() -> tuple[type[Exception], ...]:
    """Return the errors that PyAV raises for what can't be opened, read or decoded."""
    import av

    return (av.error.FFmpegError, OSError, ValueError)


def still_kind(head: bytes) -> str:
    """Return the format of a still picture from its first 16 bytes, or nothing."""
    signatures = {b"\xff\xd8\xff": "JPEG", b"\x89PNG": "PNG", b"BM": "BMP", b"II*\0": "TIFF", b"MM\0*": "TIFF"}
    if head[8:12] == b"WEBP":
        return "WebP"
    if head[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypavif"):
        return "HEIC or AVIF"
    return next((kind for start, kind in signatures.items() if head.startswith(start)), "")


def is_sound(head: bytes) -> bool:
    """Return whether the first 16 bytes are those of a file of sound: WAV, FLAC, MP3, AIFF, AMR, AAC."""
    return (
        head[8:12] in (b"WAVE", b"AIFF", b"AIFC")
        or head.startswith((b"fLaC", b"ID3", b"#!AMR"))
        or (head[:1] == b"\xff" and head[1:2] in (b"\xfb", b"\xfa", b"\xf3", b"\xf2", b"\xf1", b"\xf9"))
    )


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


@dataclass
class Pulse:
    """Signs of life of a source, for whoever watches over its reading from another thread.

    Attributes
    ----------
    at
        Of `time.monotonic`: when the last packet of video came.
    packets
        How many came.
    damaged
        How many could not be decoded; pictures of a folder that could not be read likewise.
    late
        How many were left undecoded to catch up with a live source.
    """

    at: float = field(default_factory=time.monotonic)
    packets: int = 0
    damaged: int = 0
    late: int = 0


@dataclass(frozen=True)
class Decoding:
    """How a container is decoded.

    Attributes
    ----------
    threads
        To decode with.
    max_pixels
        Frames with more are refused.
    rotate
        Degrees clockwise by which pictures are turned, beyond what the container says.
    longest
        Pixels of the longer side that pictures are shrunk to; None: not at all.
    silence
        Of a live source: seconds without video after which it is lost. None: a file, whose end is its end.
    behind
        Of a live source: seconds that decoding may lag behind before packets are left out, up to a key frame.
    """

    threads: int = 1
    max_pixels: int = MAX_PIXELS
    rotate: int = 0
    longest: int | None = None
    silence: float | None = None
    behind: float = 1.5


class Decoder:
    """Decodes the first video of an opened container.

    Parameters
    ----------
    container
        Of PyAV, opened.
    name
        What messages call it.
    stop
        Ends the reading at the next packet.

    Raises
    ------
    InputError
        If there is no video, its coding is unknown, or its frames are too large.
    """

    def __init__(
        self,
        container: Any,
        name: str,
        how: Decoding | None = None,
        *,
        pulse: Pulse | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        self.how = how or Decoding()
        self.name = name
        self.pulse = pulse or Pulse()
        self.info: VideoInfo | None = None
        self.begin: float | None = None
        """Seconds at which the first picture stands on the container's own clock, by which its sound goes too."""
        self.last = 0.0
        self._container = container
        self._stop = stop or threading.Event()
        self._stream = _video_of(container, name)
        self.tick: Any = self._stream.time_base
        """Seconds, a fraction, of which its time stamps are whole numbers."""
        self.rate = float(self._stream.average_rate) if self._stream.average_rate else None
        self.seconds, self._of_video = _seconds(container, self._stream)
        self._ratio = float(self._stream.sample_aspect_ratio or 1)
        self._unstamped = self.live and container.format.name in _UNSTAMPED
        self._stored_order = container.format.name in _STORED_ORDER
        self._reached = 0.0  # by any other stream, on the container's own clock
        self._converter = Converter()
        self._in_a_row = 0
        self._turn: tuple[int, Upright] | None = None
        self._prepare(self._stream.codec_context)

    @property
    def live(self) -> bool:
        """Whether it is read as it comes about."""
        return self.how.silence is not None

    def pictures(self) -> Iterator[Picture]:
        """Give the pictures, as the reading comes by them.

        Raises
        ------
        InputError
            If a frame is too large.
        SourceError
            If a live source is lost.
        """
        clock = Clock(1 / (self.rate or 25.0), live=self.live)
        number = 0
        for packet in self._packets():
            if self._late(packet, clock):
                continue
            for frame in self._decoded(packet):
                self._refuse_large(frame.width, frame.height)
                turn = self._upright(frame)
                if self.info is None:
                    self.info = self._info(frame, turn)
                    self.begin = self._stamp(frame) or 0.0
                self.last = clock.tick(None if self._unstamped else self._stamp(frame))
                yield self._picture(frame, turn, number)
                number += 1

    def cut_off(self) -> str:
        """Return how far a file could be read, where that is less than it announces; nothing where it is whole."""
        last = self.last if self._of_video else max((self.begin or 0.0) + self.last, self._reached)
        missing = 0.0 if self.seconds is None else self.seconds - last - 1 / (self.rate or 25.0)
        if self._in_a_row < _DAMAGED_IN_A_ROW and missing <= max(_SHORT * (self.seconds or 0.0), 0.5):
            return ""
        whole = f" of {self.seconds:.1f}" if self.seconds else ""
        return f"is cut off or damaged: it could be read to {self.last:.1f}{whole} s"

    def _stamp(self, frame: Any) -> float | None:
        """Return the seconds at which a frame is shown on the container's own clock; None where nothing says so.

        Where only the order of storing has stamps, a decoder hands out frame and stamp alike one after the other.
        """
        ticks = frame.dts if self._stored_order else frame.pts
        return None if ticks is None else float(ticks * (frame.time_base or self.tick))

    def _upright(self, frame: Any) -> Upright:
        """Return how a frame is laid upright, looked up anew when its angle changes.

        Not for each frame: asking one for its side data makes it part of a ring of references, which would keep
        hundreds of frames, a quarter of a gigabyte, until Python's collector comes by.
        """
        angle = getattr(frame, "rotation", 0)  # PyAV from 14.1 on
        if self._turn is None or self._turn[0] != angle:
            self._turn = (angle, Upright.of(frame, self._stream))
        return self._turn[1]

    def _prepare(self, context: Any) -> None:
        if context is None:
            raise InputError(f"{self.name} is in a coding that this FFmpeg can't decode; convert it to H.264")
        self._refuse_large(context.width, context.height)
        context.thread_count = self.how.threads
        # Threads that share a frame delay none, as those that take one each do.
        context.thread_type = "SLICE" if self.live else "AUTO"
        context.options = {"max_pixels": str(self.how.max_pixels)}

    def _refuse_large(self, width: int, height: int) -> None:
        limit = self.how.max_pixels
        if width * height > limit:
            raise InputError(f"{self.name} has frames of {width}x{height} and the limit is {limit} pixels; shrink it")

    def _packets(self) -> Iterator[Any]:
        # All streams: a camera that goes on sending sound and no pictures must be noticed.
        packets = self._container.demux()
        self.pulse.at = time.monotonic()
        while not self._stop.is_set():
            problem = None
            try:
                packet = next(packets, None)
            except failures() as error:
                problem = problem_of(error, self.how.silence)
            if problem is not None:
                if self.live:  # said here, as PyAV's own error holds the address
                    raise SourceError(f"{self.name} was lost: {problem}")
                self._damage()
                return
            now = time.monotonic()
            if packet is None:
                return
            if packet.stream_index == self._stream.index:
                self.pulse.at = now
                self.pulse.packets += 1
                yield packet
                if self._in_a_row >= _DAMAGED_IN_A_ROW and not self.live:
                    return
                continue
            if packet.pts is not None:
                self._reached = max(self._reached, float(packet.pts * packet.time_base))
            if self.how.silence is not None and now - self.pulse.at > self.how.silence:
                raise SourceError(f"{self.name} was lost: no video for {self.how.silence:g} s")

    def _decoded(self, packet: Any) -> Iterable[Any]:
        try:
            frames = packet.decode()
        except failures():
            self._damage()
            return []
        whole = [frame for frame in frames if not (self.live and frame.is_corrupt)]
        self.pulse.damaged += len(frames) - len(whole)
        if whole:
            self._in_a_row = 0
        return whole

    def _damage(self) -> None:
        self.pulse.damaged += 1
        self._in_a_row += 1

    def _late(self, packet: Any, clock: Clock) -> bool:
        """Return whether a packet is left out, because decoding doesn't keep up with a live source."""
        if not self.live or clock.behind <= self.how.behind or not packet.size:  # the last one is empty
            return False
        if packet.is_keyframe:
            clock.forgive()
            return False
        self.pulse.late += 1
        return True

    def _info(self, frame: Any, turn: Upright) -> VideoInfo:
        width, height = square_size(frame.width, frame.height, self._ratio)
        if turn.transposed:
            width, height = height, width
        codec = self._stream.codec_context.name
        return VideoInfo(codec, frame.format.name, width, height, self.seconds, self.rate, turn.degrees, turn.mirrored)

    def _picture(self, frame: Any, turn: Upright, number: int) -> Picture:
        """Make a frame a picture of the first one's size, whatever its own: what follows counts on one size."""
        assert self.info is not None
        turn = turn.turned(self.how.rotate)
        width, height = self.info.width, self.info.height
        if self.how.rotate % 180:
            width, height = height, width
        width, height = shrunk_size(width, height, self.how.longest)
        draw = partial(self._converter.draw, frame, self._ratio, turn)
        return Picture(number, self.last, time.time(), width, height, draw)


def problem_of(error: BaseException, waited: float | None = None) -> str:
    """Return what went wrong, without the address that FFmpeg's own words may hold.

    Parameters
    ----------
    waited
        Seconds after which reading is broken off.
    """
    import av

    if isinstance(error, av.error.ExitError):
        return f"no data for {waited:g} s" if waited else "it was broken off"
    words = str(getattr(error, "strerror", None) or type(error).__name__)
    return words[:1].lower() + words[1:]


def _video_of(container: Any, name: str) -> Any:
    # The cover of a song is a stream of one picture.
    found = [s for s in container.streams.video if "attached_pic" not in str(getattr(s, "disposition", "")).lower()]
    if not found:
        sound = " but sound" if container.streams.audio else ""
        raise InputError(f"{name} holds no video{sound}")
    return found[0]


def _seconds(container: Any, stream: Any) -> tuple[float | None, bool]:
    """Return the announced length, and whether it is that of the video, and not of the longest of all streams."""
    if stream.duration is not None and container.format.name != "asf":  # whose streams all say the length of the whole
        return float(stream.duration) * float(stream.time_base), True
    return (None if container.duration is None else container.duration / 1e6), False

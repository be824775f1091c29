"""Sources of pictures: video files, cameras, streams, folders of photos and standard input, all read in one way."""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from visavis.errors import InputError, SourceError, VisavisError
from visavis.files import printable_path
from visavis.image import MAX_PIXELS
from visavis.video.addresses import SCHEMES, redacted, scheme_of, shown
from visavis.video.conversion import TURNS
from visavis.video.decoding import Decoder, Decoding, Pulse, forget_opened, require_library
from visavis.video.devices import opened_device
from visavis.video.frames import opened_file, whole
from visavis.video.hardware import HARDWARE, accelerator
from visavis.video.opening import AS_A_FILE, opened_pipe, opened_stream
from visavis.video.photo_folder import photos_of
from visavis.video.picture import Picture, every_so_often

__all__ = ["Picture", "Pulse", "Source", "SourceKind", "pictures", "redacted"]

SourceKind = Literal["file", "images", "pipe", "stream", "device"]
Transport = Literal["tcp", "udp"]

Warn = Callable[[str], None]
_V4L2 = re.compile(r"/dev/video\d+")
_PATIENCE_HLS = 30.0
_LOGIN = re.compile(r"[^@]+:[^@]*@")  # a password, where the scheme was left out
_SIZE = re.compile(r"[1-9]\d{1,4}x[1-9]\d{1,4}")


@dataclass(frozen=True)
class Source:
    """Where pictures come from; made by `Source.parse`.

    It can be pickled, so that it reaches another process through a pipe and never shows in a list of processes; its
    ``repr`` holds no address.

    Attributes
    ----------
    kind
        ``"file"``, ``"images"`` (a folder of photos), ``"pipe"`` (standard input), ``"stream"`` or ``"device"``.
    name
        What it is called where people read it: without user, password, and other secrets of its address.
    address
        What is opened.
    rotate
        Degrees clockwise by which pictures are turned, beyond what the source says of itself.
    fps
        At most so many pictures a second are given; of a folder of photos, how many a second they stand for; of a
        device, what it is asked for.
    longest
        Pixels of the longer side that pictures are shrunk to, while they are converted. None: not at all.
    hardware
        What decodes: ``"auto"``, ``"none"``, or a name of `visavis.video.hardware.HARDWARE`; software where the
        machine doesn't have it.
    timeout
        Seconds without an answer or video after which a stream or device is given up.
    transport
        Of RTSP: ``"tcp"`` or ``"udp"``.
    certificates
        Of ``rtsps`` and ``https``: a file with the certificates that the other side's must come from, or ``"system"``
        for those that this machine trusts. None: they are not checked, as most cameras sign their own.
    size
        Of a device, what it is asked for: ``"1280x720"``.
    pace
        A file is read as fast as it plays, as if it were a camera.
    loop
        A file begins anew at its end, and its time goes on.
    threads, max_pixels
        To decode with; frames with more pixels are refused.
    """

    kind: SourceKind
    name: str
    address: str = field(repr=False)
    rotate: int = 0
    fps: float | None = None
    longest: int | None = None
    hardware: str = "auto"
    timeout: float = 10.0
    transport: Transport = "tcp"
    certificates: str | None = None
    size: str | None = None
    pace: bool = False
    loop: bool = False
    threads: int = 1
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        if self.rotate not in TURNS:
            raise InputError(f"rotate is 0, 90, 180 or 270 degrees clockwise, not {self.rotate!r}")
        _positive("fps", self.fps, 1000)
        _positive("longest", self.longest, 65_535, whole=True)
        _positive("timeout", self.timeout, 3600)
        _positive("threads", self.threads, 256, whole=True)
        if self.hardware not in ("auto", "none", *HARDWARE):
            raise InputError(f"hardware is auto, none or one of {', '.join(HARDWARE)}; not {self.hardware!r}")
        if self.transport not in get_args(Transport):
            raise InputError(f"transport is tcp or udp, not {self.transport!r}")
        if self.certificates is not None and self.certificates != "system" and not Path(self.certificates).is_file():
            raise InputError(f"no such file of certificates: {printable_path(self.certificates)}")
        if self.size is not None and not _SIZE.fullmatch(self.size):
            raise InputError(f"size is width x height in pixels, as 1280x720, not {self.size!r}")
        if self.loop and self.kind not in ("file", "images"):
            raise InputError(f"{self.name} can't begin anew: only files and folders loop")

    @classmethod
    def parse(cls, text: str, *, rotate: int | None = None, **options: Any) -> Source:
        """Make a source of what a person writes.

        Parameters
        ----------
        text
            A video file; a folder of photos; ``rtsp://``, ``rtsps://``, ``http://``, ``https://``, ``rtmp://``,
            ``srt://`` or ``udp://``...; ``camera:0``, ``camera:NAME`` or ``/dev/video0``; ``-`` for standard input.
        options
            The other attributes of `Source`.

        Raises
        ------
        InputError
            If there is no such file, kind of address or option, or an option's value is out of range; no secret of
            the address is in its text.

        Examples
        --------
        >>> Source.parse("rtsp://ada:s3cret@10.0.0.7/live", timeout=5)
        Source(kind='stream', name='rtsp://10.0.0.7/live', rotate=0, fps=None, longest=None, hardware='auto', \
timeout=5, transport='tcp', certificates=None, size=None, pace=False, loop=False, threads=1, max_pixels=200000000)
        >>> Source.parse("camera:0").kind
        'device'
        """
        unknown = sorted(set(options) - {*cls.__dataclass_fields__} | set(options) & {"kind", "address"})
        if unknown:
            raise InputError(f"a source has no option {unknown[0]!r}")
        options["rotate"] = rotate or 0
        kind, name = _recognized(text)
        address = str(Path(text).expanduser()) if kind in ("file", "images") else text
        return cls(**{"kind": kind, "name": name, "address": address, **options})

    @property
    def live(self) -> bool:
        """Whether pictures come as time passes, so that what is not taken at once is late."""
        return self.kind in ("stream", "device") or self.pace

    @property
    def patience(self) -> float:
        """Seconds without video after which it is lost: HLS brings several at once, mostly every two to ten seconds."""
        return max(self.timeout, _PATIENCE_HLS) if ".m3u8" in self.address.lower() else self.timeout

    @property
    def ends(self) -> bool:
        """Whether its end is the end, and not something to come back from."""
        return self.kind in ("file", "images", "pipe")


def pictures(
    source: Source,
    stop: threading.Event | None = None,
    *,
    pulse: Pulse | None = None,
    warn: Warn = lambda _: None,
) -> Iterator[Picture]:
    """Open a source once, and give its pictures until it ends or is lost.

    All have the size of the first. `visavis.video.capture.capture` opens again what is lost.

    Parameters
    ----------
    stop
        Ends the reading at the next packet; while none comes, after ``source.timeout`` seconds.
    pulse
        Where signs of life are noted.
    warn
        Is told of each photo of a folder that is skipped, because it can't be read.

    Raises
    ------
    EngineError
        If PyAV is missing.
    InputError
        If a file or folder can't be read or holds no pictures; at its end, after all that could be read, if it was
        cut off.
    SourceError
        If a stream or device can't be reached, or was lost; `SourceRefused` if it asks for another user or password.
    """
    stop, pulse = stop or threading.Event(), pulse or Pulse()
    if source.kind != "images":
        require_library()
    found = _again(source, stop, pulse, warn) if source.loop else _once(source, stop, pulse, warn)
    if source.fps and source.kind != "images":
        found = every_so_often(found, 1 / source.fps)
    return _until(stop, _paced(found, stop) if source.pace else found)


def _once(source: Source, stop: threading.Event, pulse: Pulse, warn: Warn) -> Iterator[Picture]:
    if source.kind == "images":
        yield from photos_of(
            source.address,
            source.fps or 25.0,
            rotate=source.rotate,
            longest=source.longest,
            max_pixels=source.max_pixels,
            stop=stop,
            pulse=pulse,
            warn=warn,
        )
        return
    silence = source.patience if source.kind in ("stream", "device") else None
    how = Decoding(source.threads, source.max_pixels, source.rotate, source.longest, silence)
    hardware = accelerator(source.hardware)
    how_opened = {"hwaccel": hardware} if hardware else {}
    openers: dict[str, Any] = {
        "file": lambda: opened_file(source.address, **how_opened),
        "pipe": lambda: opened_pipe(stop, **how_opened),
        "stream": lambda: opened_stream(
            source.address,
            source.name,
            timeout=source.timeout,
            silence=source.patience,
            transport=source.transport,
            certificates=source.certificates,
            **how_opened,
        ),
        "device": lambda: opened_device(source.address, source.name, source.size, source.fps, source.timeout),
    }
    with openers[source.kind]() as container:
        decoder = Decoder(container, source.name, how, pulse=pulse, stop=stop)
        if silence is None:
            yield from whole(decoder, f"; {AS_A_FILE}" if source.kind == "pipe" else "")
        else:
            # A recording on a web server has a length and an end. It and HLS play in their own time: they are there
            # as fast as they are read.
            recorded = decoder.seconds and source.address.lower().startswith("http")
            at_once = recorded or container.format.name == "hls"
            yield from _paced(decoder.pictures(), stop) if at_once else decoder.pictures()
            if recorded:
                return
            raise SourceError(f"{source.name} was lost: the stream ended")


def _until(stop: threading.Event, found: Iterator[Picture]) -> Iterator[Picture]:
    """Give pictures until told to stop, which may show as an error too."""
    try:
        for picture in found:
            if stop.is_set():
                return
            yield picture
    except VisavisError:
        if not stop.is_set():
            raise


def _again(source: Source, stop: threading.Event, pulse: Pulse, warn: Warn) -> Iterator[Picture]:
    """Read a file over and over, with numbers and times that go on."""
    number, start = 0, 0.0
    while True:
        last, step = None, 0.04
        for picture in _once(source, stop, pulse, warn):
            if last is not None:
                step = picture.time - last.time
            last = picture
            yield replace(picture, number=number + picture.number, time=start + picture.time)
        if last is None or stop.is_set():
            return
        number, start = number + last.number + 1, start + last.time + step
        del picture, last
        forget_opened()


def _paced(found: Iterator[Picture], stop: threading.Event) -> Iterator[Picture]:
    began = None
    for picture in found:
        now = time.monotonic()
        began = now - picture.time if began is None else began
        if stop.wait(max(began + picture.time - now, 0.0)):
            return
        yield replace(picture, at=time.time())


def _recognized(text: str) -> tuple[SourceKind, str]:
    """Return what kind of source a text means, and what to call it."""
    if not isinstance(text, str) or not text or "\0" in text:
        raise InputError(
            "a source is a file, a folder, an address such as rtsp://..., camera:0, or - for standard input"
        )
    if text == "-":
        return "pipe", "standard input"
    scheme = scheme_of(text)
    if scheme is not None:
        if scheme not in SCHEMES:
            raise InputError(f"{shown(text)} can't be opened: a stream begins with {', '.join(SCHEMES)}")
        if not text.partition("://")[2].strip("/"):
            raise InputError(f"{shown(text)} names no host")
        return "stream", shown(text)
    if text.startswith("camera:"):
        if not text.removeprefix("camera:"):
            raise InputError("which camera? camera:0 is the first; or give its name, as camera:NAME")
        return "device", printable_path(text)[1:-1]
    if text.partition(":")[0].lower() in SCHEMES and not Path(text).exists():
        scheme, _, rest = text.partition(":")
        raise InputError(
            f"an address begins with {scheme}://, with two slashes: {shown(f'{scheme}://' + rest.strip('/'))}"
        )
    if _V4L2.fullmatch(text):  # it may be plugged in later
        return "device", printable_path(text)[1:-1]
    path = Path(text).expanduser()
    try:
        if path.is_dir():
            return "images", printable_path(text)[1:-1]
        if path.is_char_device():
            return "device", printable_path(text)[1:-1]
        there = path.exists()
    except (OSError, ValueError):
        there = False
    if not there:
        if _LOGIN.match(text):
            raise InputError("no such video, folder or camera; an address begins as rtsp://USER:PASSWORD@HOST")
        raise InputError(f"no such video, folder or camera: {printable_path(text)}; check the path")
    return "file", printable_path(text)[1:-1]


def _positive(name: str, value: float | None, most: float, *, whole: bool = False) -> None:
    if value is None:
        return
    fits = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if not fits or not math.isfinite(value) or not 0 < value <= most:
        raise InputError(f"{name} is a {'whole ' if whole else ''}number above 0, up to {most}, not {value!r}")

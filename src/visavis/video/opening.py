"""Opening what is no file: streams, devices and standard input."""

from __future__ import annotations

import os
import select
import stat
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from visavis.errors import InputError, SourceError, SourceRefused
from visavis.video.addresses import SCHEMES, scheme_of
from visavis.video.decoding import failures, opened, problem_of, require_library, still_kind
from visavis.video.frames import FORMATS

__all__ = ["camera_of", "opened_device", "opened_pipe", "opened_stream"]

# What a stream may be, beyond what a file may: playlists are followed through the protocols of `SCHEMES` alone.
_STREAMS = f"{FORMATS},hls,mpjpeg,aac,mp3,webvtt"
_RTSP = "rtsp,sdp,rtp,mpegts"
_DEVICES = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}


@contextmanager
def opened_stream(address: str, name: str, transport: str, timeout: float, **how: Any) -> Iterator[Any]:
    """Open a stream of the network.

    Raises
    ------
    SourceError
        If it can't be reached within ``timeout`` seconds, or sends no video; `SourceRefused` if it asks for another
        user or password.
    """
    scheme = scheme_of(address) or ""
    options = {"protocol_whitelist": SCHEMES[scheme]}
    if scheme.startswith("rtsp"):
        how["format"] = "rtsp"
        options |= {"format_whitelist": _RTSP, "rtsp_transport": transport, "allowed_media_types": "video"}
    else:
        options["format_whitelist"] = _STREAMS
    with _opened(address, name, timeout, {"options": options} | how) as container:
        yield container


@contextmanager
def opened_device(
    address: str, name: str, size: str | None, fps: float | None, timeout: float, **how: Any
) -> Iterator[Any]:
    """Open a camera of this machine: ``camera:0``, ``camera:NAME`` or its path.

    Raises
    ------
    SourceError
        If there is none, or it can't be opened.
    """
    import av

    form = next((form for system, form in _DEVICES.items() if sys.platform.startswith(system)), "")
    wanted = {"v4l2": "video4linux2,v4l2"}.get(form, form)
    if wanted not in av.formats_available:
        raise SourceError(f"{name} can't be opened: this FFmpeg reads no cameras; give a stream instead")
    options = ({"video_size": size} if size else {}) | ({"framerate": f"{fps:g}"} if fps else {})
    how = {"format": form, "options": options} | how
    with _opened(camera_of(address, name), name, timeout, how) as container:
        yield container


def camera_of(address: str, name: str) -> str:
    """Return what FFmpeg calls a camera of this machine.

    Raises
    ------
    SourceError
        If there is none of that name.
    """
    wanted = address.removeprefix("camera:")
    if sys.platform.startswith("linux"):
        if wanted.startswith("/dev/"):
            return wanted
        if wanted.isdecimal():
            return f"/dev/video{wanted}"
        known = {}
        for path in sorted(Path("/sys/class/video4linux").glob("video*/name")):
            try:
                known.setdefault(path.read_text("utf-8", "replace").strip(), f"/dev/{path.parent.name}")
            except OSError:
                continue  # unplugged while we looked
        if wanted not in known:
            raise SourceError(f"{name} can't be found; there are {', '.join(known) or 'no cameras'}")
        return known[wanted]
    if sys.platform == "win32":
        if wanted.isdecimal():
            import av

            cameras = [device.name for device in av.enumerate_input_devices("dshow") if "video" in device.media_types]
            if int(wanted) >= len(cameras):
                raise SourceError(f"{name} can't be found; there are {', '.join(cameras) or 'no cameras'}")
            wanted = cameras[int(wanted)]
        return f"video={wanted}"
    return wanted


@contextmanager
def opened_pipe(stop: threading.Event, **how: Any) -> Iterator[Any]:
    """Open what standard input brings.

    Raises
    ------
    InputError
        If nothing is piped in, or no video that can be read without going back in it.
    """
    if sys.stdin is None or sys.stdin.closed or sys.stdin.isatty():
        raise InputError("nothing comes from standard input; pipe a video into it")
    pipe = _Pipe(sys.stdin.fileno(), stop)
    if kind := still_kind(pipe.head):
        raise InputError(f"standard input is a still picture ({kind}), not a video; give it as a photo")
    if not pipe.head:
        raise InputError("standard input is empty (0 bytes); pipe a video into it")
    how = {"options": {"format_whitelist": f"{FORMATS},mpjpeg", "protocol_whitelist": "pipe"}} | how
    try:
        container = opened(pipe, **how)
    except failures() as error:
        raise InputError(
            f"standard input is no video that can be read ({problem_of(error)}); an MP4 has to be given as a file, "
            "unless its index comes first"
        ) from None
    with container:
        yield container


class _Pipe:
    """Reads a file descriptor for FFmpeg; ends when it is told to stop, even while nothing comes."""

    name = "standard input"

    def __init__(self, descriptor: int, stop: threading.Event) -> None:
        self._descriptor, self._stop = descriptor, stop
        # Regular files are always ready; pipes of Windows can't be asked.
        self._ask = os.name == "posix" and not stat.S_ISREG(os.fstat(descriptor).st_mode)
        self.head = b""
        while len(self.head) < 16 and (more := self._take(16 - len(self.head))):
            self.head += more
        self._held = self.head

    def read(self, count: int) -> bytes:
        held, self._held = self._held[:count], self._held[count:]
        return held or self._take(count)

    def _take(self, count: int) -> bytes:
        while self._ask and not self._stop.is_set():
            if select.select([self._descriptor], [], [], 0.2)[0]:
                break
        return b"" if self._stop.is_set() else os.read(self._descriptor, count)


def _opened(what: str, name: str, timeout: float, how: dict[str, Any]) -> AbstractContextManager[Any]:
    import av

    require_library()
    began = time.monotonic()
    try:
        container: AbstractContextManager[Any] = opened(what, timeout=(timeout, timeout), **how)
        return container
    except (av.error.HTTPUnauthorizedError, av.error.HTTPForbiddenError):
        raise SourceRefused(f"{name} asks for another user or password") from None
    except failures() as error:
        if isinstance(error, av.error.ExitError) or time.monotonic() - began >= timeout:
            raise SourceError(f"{name} doesn't answer: nothing came within {timeout:g} s") from None
        if isinstance(error, av.error.InvalidDataError):
            raise SourceError(f"{name} sends no video that can be read") from None
        raise SourceError(f"{name} can't be reached: {problem_of(error)}") from None

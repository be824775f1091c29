"""Opening streams of the network, and standard input."""

from __future__ import annotations

import os
import select
import ssl
import stat
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from visavis.errors import InputError, SourceError, SourceRefused
from visavis.video.addresses import SCHEMES, scheme_of
from visavis.video.decoding import failures, is_sound, opened, problem_of, require_library, still_kind
from visavis.video.frames import FORMATS

__all__ = ["AS_A_FILE", "opened_pipe", "opened_stream", "opened_within"]

# What a stream may be, beyond what a file may: playlists are followed through the protocols of `SCHEMES` alone.
_STREAMS = f"{FORMATS},hls,mpjpeg,aac,mp3,webvtt"
AS_A_FILE = "an MP4 has to be given as a file, unless its index comes first"
"""What to do with a video that can't be read from a pipe."""
_RTSP = "rtsp,sdp,rtp,mpegts"


@contextmanager
def opened_stream(
    address: str,
    name: str,
    *,
    timeout: float,
    silence: float,
    transport: str = "tcp",
    certificates: str | None = None,
    **how: Any,
) -> Iterator[Any]:
    """Open a stream of the network.

    Parameters
    ----------
    timeout, silence
        Seconds that opening and reading may take without an answer.
    transport
        Of RTSP: ``"tcp"`` or ``"udp"``.
    certificates
        A file of those that TLS is to trust, or ``"system"``; None: TLS trusts everybody.
    how
        What else `av.open` is told.

    Raises
    ------
    SourceError
        If it can't be reached within ``timeout`` seconds, or sends no video; `SourceRefused` if it asks for another
        user or password.
    """
    scheme = scheme_of(address) or ""
    # FFmpeg would wait for twenty pictures to guess their rate, which nobody asks for: most of a second lost.
    options = {"protocol_whitelist": SCHEMES[scheme], "fpsprobesize": "0"}
    if scheme.startswith("rtsp"):
        how["format"] = "rtsp"
        options |= {"format_whitelist": _RTSP, "rtsp_transport": transport, "allowed_media_types": "video"}
    else:
        options["format_whitelist"] = _STREAMS
    if certificates is not None:
        trusted = ssl.get_default_verify_paths().cafile if certificates == "system" else certificates
        options |= {"tls_verify": "1"} | ({"ca_file": trusted} if trusted else {})
    with opened_within(address, name, timeout, {"options": options} | how, silence) as container:
        yield container


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
    if is_sound(pipe.head):
        raise InputError("standard input holds no video but sound")
    if not pipe.head:
        raise InputError("standard input is empty (0 bytes); pipe a video into it")
    how = {"options": {"format_whitelist": f"{FORMATS},mpjpeg", "protocol_whitelist": "pipe"}} | how
    try:
        container = opened(pipe, **how)
    except failures() as error:
        raise InputError(f"standard input is no video that can be read ({problem_of(error)}); {AS_A_FILE}") from None
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


def opened_within(
    what: str, name: str, timeout: float, how: dict[str, Any], silence: float | None = None
) -> AbstractContextManager[Any]:
    """Open a container with PyAV within so many seconds; reading may then wait for ``silence`` of them.

    Raises
    ------
    SourceError
        If that fails, in words without secrets.
    """
    require_library()
    began = time.monotonic()
    try:
        container: AbstractContextManager[Any] = opened(what, timeout=(timeout, silence or timeout), **how)
        return container
    except failures() as error:
        problem = _problem(error, name, timeout, time.monotonic() - began)
    raise problem  # not within, as PyAV's own error holds the address


def _problem(error: Exception, name: str, timeout: float, waited: float) -> SourceError:
    import av

    if isinstance(error, (av.error.HTTPUnauthorizedError, av.error.HTTPForbiddenError)):
        return SourceRefused(f"{name} asks for another user or password")
    if isinstance(error, av.error.ExitError) or waited >= timeout:
        return SourceError(f"{name} doesn't answer: nothing came within {timeout:g} s")
    if isinstance(error, av.error.ProtocolNotFoundError):
        return SourceError(f"{name} can't be opened: this FFmpeg has no such protocol, or it is not allowed here")
    if isinstance(error, (av.error.InvalidDataError, av.error.EOFError, av.error.ArgumentError)):
        return SourceError(f"{name} sends no video that can be read")
    return SourceError(f"{name} can't be reached: {problem_of(error)}")

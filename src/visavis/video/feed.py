"""A camera as its worker sees it: a process that is asked for pictures, and started again when it fails."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visavis.files import reason
from visavis.processes import line, python
from visavis.types import Image
from visavis.video.shared_frames import FrameReader, Place
from visavis.video.sources import Source

__all__ = ["Feed", "Taken"]

_ANSWER_SECONDS = 2.0  # within which a process gives a picture it announced
_SILENT_SECONDS = 15.0  # without a sign of life, which comes every second: also on a machine that is overloaded
_WAITS = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)  # seconds before a process is started again, for the nth time in a row
_CALM_SECONDS = 60.0  # after which a failure is the first again
_CLOSE_SECONDS = 4.0


@dataclass(frozen=True, eq=False)
class Taken:
    """A picture of a camera.

    Attributes
    ----------
    number, time
        In the source, and seconds since its first picture.
    at, arrived
        When it was decoded: seconds since 1970, and by `time.monotonic`.
    image
        RGB uint8 ``(h, w, 3)``, read-only, until the next one is taken.
    """

    number: int
    time: float
    at: float
    arrived: float
    image: Image


class Feed:
    """The process that reads a source. Not for several threads, but for ``changed``, which is called from its own.

    Parameters
    ----------
    source
        What it reads.
    fps
        Most pictures a second that are wanted.
    folders
        Where the memory for pictures may lie.
    changed
        Called when there is something to look at: a picture, another state, the end of the process.

    Attributes
    ----------
    state, why
        ``starting``, ``connecting``, ``live``, ``lost`` (and why), or ``ended``.
    ready_since
        When the picture that waits came, by `time.monotonic`; None where none waits.
    came, dropped
        Pictures of the source, and those that were due and that nobody took.
    restarts
        How often the process was started again.
    """

    def __init__(self, source: Source, fps: float | None, folders: Sequence[Path], changed: Callable[[], None]) -> None:
        self._settings = {
            "source": dataclasses.asdict(source),
            "fps": fps,
            "folders": [str(folder) for folder in folders],
        }
        self._changed = changed
        self._child: subprocess.Popen[bytes] | None = None
        self.state, self.why = "starting", ""
        self.ready_since: float | None = None
        self.restarts = 0
        self._over: str | None = None  # why the process has ended, as its thread heard it
        self.came = self.dropped = 0
        self._failures = 0
        self._start_at = self._heard = self._started = time.monotonic()

    @property
    def pid(self) -> int | None:
        """Of the process, where one runs."""
        return None if self._child is None else self._child.pid

    def tend(self, now: float) -> None:
        """Start the process where it is time to, and end one that hangs."""
        if self._child is None:
            if self.state != "ended" and now >= self._start_at:
                self._begin(now)
            return
        if self._over is not None:
            self.fail(self._over)
            return
        if self.state != "ended" and now - self._heard > _SILENT_SECONDS:
            self.fail("its process hung")

    def take(self) -> Taken | None:
        """Return the newest picture; None where its process gives none."""
        if self._child is None or self.ready_since is None:
            return None
        self.ready_since = None
        self._write(b"take\n")
        with contextlib.suppress(queue.Empty):
            told = self._frames.get(timeout=_ANSWER_SECONDS)
            if told is None:
                return None
            try:
                image = self._reader.image(Place(**told["place"]))
            except OSError as error:
                self.fail(f"its pictures can't be read: {error.strerror}")
                return None
            return Taken(told["number"], told["time"], told["at"], told["arrived"], image)
        self.fail("its process gives no picture")
        return None

    def fail(self, why: str) -> None:
        """End the process, to start it again after a while: longer each time in a row."""
        now = time.monotonic()
        self._end(0)
        if now - self._started > _CALM_SECONDS:
            self._failures = 0
        self._start_at = now + _WAITS[min(self._failures, len(_WAITS) - 1)]
        self._failures += 1
        self._set("lost", why)

    def close(self) -> None:
        """End the process and wait until it has ended."""
        self._end(_CLOSE_SECONDS)
        self.state = "ended"

    def _begin(self, now: float) -> None:
        if self._failures:
            self.restarts += 1
        self._reader, self._frames = FrameReader(), queue.SimpleQueue[Any]()
        self._heard = self._started = now
        self._over = None
        try:
            child = self._child = python("visavis.video.camera_process", "main")
        except OSError as error:
            self.fail(f"its process can't be started: {reason(error)}")
            return
        self._write(line(self._settings))
        threading.Thread(target=self._listen, args=[child, self._frames], daemon=True).start()

    def _listen(self, child: subprocess.Popen[bytes], frames: queue.SimpleQueue[Any]) -> None:
        assert child.stdout is not None
        over, before = "its process ended", (self.came, self.dropped)
        with child.stdout:
            for text in child.stdout:
                if self._child is not child or not text.endswith(b"\n"):
                    break
                told = json.loads(text)
                self._heard = time.monotonic()
                if "came" in told:
                    self.came, self.dropped = before[0] + told["came"], before[1] + told["dropped"]
                if "frame" in told:
                    frames.put(told["frame"])
                elif "ready" in told:
                    self.ready_since = self._heard
                    self._changed()
                elif "state" in told:
                    self._set("lost" if told["state"] == "refused" else told["state"], told["why"])
                elif "failed" in told:
                    over = told["failed"]
                    break
        frames.put(None)
        if self._child is child and self.state != "ended":
            self._over = over
            self._changed()

    def _set(self, state: str, why: str) -> None:
        self.state, self.why = state, why
        self._changed()

    def _write(self, data: bytes) -> None:
        assert self._child is not None
        assert self._child.stdin is not None
        with contextlib.suppress(OSError):  # it has ended, which its output tells
            self._child.stdin.write(data)
            self._child.stdin.flush()

    def _end(self, seconds: float) -> None:
        child, self._child, self.ready_since = self._child, None, None
        if child is None:
            return
        assert child.stdin is not None
        with contextlib.suppress(OSError):
            child.stdin.close()
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

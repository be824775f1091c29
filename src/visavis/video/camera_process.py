"""The process of one camera: it reads the source, keeps the newest picture, and draws it when it is asked for it.

Lines of JSON on standard input: first what to read, then ``take`` for a picture. Standard output: ``state`` of the
source, ``ready`` when there is a picture to take, ``frame`` where it lies, ``alive`` once a second. No picture goes
through a pipe.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import threading
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from visavis.errors import VisavisError
from visavis.processes import answers, line
from visavis.video.addresses import redacted
from visavis.video.capture import capture
from visavis.video.shared_frames import FrameWriter
from visavis.video.sources import Picture, Source

__all__ = ["Pace", "main"]

_END_SECONDS = 2.0  # that a source gets to close, before its process ends without it
_ALIVE_SECONDS = 1.0  # between signs of life


class Pace:
    """Lets so many pictures a second pass, evenly: the first at or after each time that is due.

    Examples
    --------
    >>> pace = Pace(10)
    >>> [i for i in range(10) if pace.due(i / 25)]
    [0, 3, 5, 8]
    """

    def __init__(self, fps: float | None) -> None:
        self._fps = fps
        self._step = -1

    def due(self, seconds: float) -> bool:
        """Return whether the picture of this time is to be looked at."""
        if self._fps is None:
            return True
        step = math.floor((seconds + 1e-3) * self._fps)
        if step == self._step:
            return False
        self._step = step
        return True


@dataclass(frozen=True)
class _Fresh:
    picture: Picture
    arrived: float


class _Camera:
    """The newest picture of a source, between the thread that decodes and the one that is asked for it."""

    def __init__(self, settings: dict[str, Any], pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._pace = Pace(settings["fps"])
        self._writer = FrameWriter([Path(folder) for folder in settings["folders"]])
        self._lock, self._telling = threading.Lock(), threading.Lock()
        self._newest: _Fresh | None = None
        self._came = self._dropped = 0

    def came(self, picture: Picture) -> None:
        """Keep a picture in place of one that nobody took: the newest wins."""
        fresh = _Fresh(picture, time.monotonic())
        self._came += 1
        if not self._pace.due(picture.time):
            return
        with self._lock:
            waiting, self._newest = self._newest, fresh
        if waiting is None:
            self.tell({"ready": picture.number})
        else:
            self._dropped += 1

    def hand_over(self) -> None:
        """Draw the newest picture and tell where it lies."""
        with self._lock:
            fresh, self._newest = self._newest, None
        if fresh is None:
            self.tell({"frame": None})
            return
        picture = fresh.picture
        place, image = self._writer.next(picture.width, picture.height)
        picture.draw(image)
        told = {"number": picture.number, "time": picture.time, "at": picture.at, "arrived": fresh.arrived}
        self.tell({"frame": {**told, "place": asdict(place)}, **self.counts})

    @property
    def counts(self) -> dict[str, int]:
        """How many pictures came, and how many of them were due and not taken."""
        return {"came": self._came, "dropped": self._dropped}

    def tell(self, what: dict[str, Any]) -> None:
        """Send the worker a line."""
        with contextlib.suppress(OSError), self._telling:  # it has gone: the end of our input says so, too
            self._pipe.write(line(what))
            self._pipe.flush()


def _tell_fault() -> None:
    """Say where we failed; what a library says may hold the source's address."""
    sys.stderr.write(redacted(traceback.format_exc()))
    sys.stderr.flush()


def main() -> None:
    """Serve one worker until it closes our standard input, or has gone."""
    pipe = answers()
    settings = json.loads(sys.stdin.buffer.readline())
    camera, stop = _Camera(settings, pipe), threading.Event()

    def serve() -> None:
        try:
            for _ in sys.stdin.buffer:
                camera.hand_over()
        except VisavisError as error:
            camera.tell({"failed": str(error)})
        except Exception:  # noqa: BLE001 (whatever it is, the worker starts us again)
            _tell_fault()
            os._exit(1)
        stop.set()
        threading.Timer(_END_SECONDS, os._exit, [0]).start()  # a library may wait for its source for ever

    def live() -> None:
        while not stop.wait(_ALIVE_SECONDS):
            camera.tell({"alive": True, **camera.counts})

    serving = threading.Thread(target=serve)
    for thread in (serving, threading.Thread(target=live, daemon=True)):
        thread.start()
    try:
        capture(
            Source(**settings["source"]),
            camera.came,
            lambda state: camera.tell({"state": state.kind, "why": state.reason, **camera.counts}),
            stop,
        )
        serving.join()  # the last picture may still be taken
    except VisavisError as error:
        camera.tell({"failed": str(error)})
    except Exception:  # noqa: BLE001
        _tell_fault()
        os._exit(1)
    os._exit(0)

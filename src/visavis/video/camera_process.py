"""The process of one camera: it reads the source, keeps the newest picture, and draws it when it is asked for it.

Lines of JSON on standard input: first what to read, then ``take`` for a picture. Standard output: ``state`` of the
source, ``ready`` when there is a picture to take, ``frame`` where it lies. No picture goes through a pipe.
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
from visavis.video.capture import State, capture
from visavis.video.shared_frames import FrameWriter
from visavis.video.sources import Picture, Source

__all__ = ["Clock", "Pace", "main"]

_END_SECONDS = 2.0  # that a source gets to close, before its process ends without it
_JUMP = 1.0  # seconds by which time stamps may run away from the clock on the wall


class Clock:
    """Seconds since the first picture, by the pictures' own time stamps, which are even where their arrival is not.

    A source that is opened again begins anew at 0, and a camera's clock is not ours: where the stamps are off by more
    than a second, they are set by the time of arrival once more. Time never goes back.

    Examples
    --------
    >>> clock = Clock()
    >>> [clock.seconds(stamp, at) for stamp, at in [(0.0, 100.0), (0.04, 100.05), (0.08, 100.07), (0.0, 130.0)]]
    [0.0, 0.04, 0.08, 30.0]
    """

    def __init__(self) -> None:
        self._start: float | None = None
        self._offset = 0.0
        self._last = -math.inf

    def seconds(self, stamp: float, at: float) -> float:
        """Return the time of a picture with this stamp (seconds) that came at ``at`` (seconds of any clock)."""
        if self._start is None:
            self._start, self._offset = at, -stamp
        passed = at - self._start
        if abs(stamp + self._offset - passed) > _JUMP or stamp + self._offset <= self._last:
            self._offset = passed - stamp
        self._last = max(stamp + self._offset, self._last + 1e-3)
        return round(self._last, 6)


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
    number: int
    seconds: float
    arrived: float


class _Camera:
    """The newest picture of a source, between the thread that decodes and the one that is asked for it."""

    def __init__(self, settings: dict[str, Any], pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._clock, self._pace = Clock(), Pace(settings["fps"])
        self._writer = FrameWriter([Path(folder) for folder in settings["folders"]])
        self._lock = threading.Lock()
        self._newest: _Fresh | None = None
        self._came = self._dropped = 0
        self._start: float | None = None

    def came(self, picture: Picture) -> None:
        """Keep a picture in place of one that nobody took: the newest wins."""
        now = time.monotonic()
        seconds = self._clock.seconds(picture.time, picture.at)
        self._start = picture.at - seconds if self._start is None else self._start
        self._came += 1
        if not self._pace.due(seconds):
            return
        with self._lock:
            waiting, self._newest = self._newest, _Fresh(picture, self._came - 1, seconds, now)
        if waiting is None:
            self.tell({"ready": self._came})
        else:
            self._dropped += 1

    def hand_over(self) -> None:
        """Draw the newest picture and tell where it lies."""
        with self._lock:
            fresh, self._newest = self._newest, None
        if fresh is None:
            self.tell({"frame": None})
            return
        place, image = self._writer.next(fresh.picture.width, fresh.picture.height)
        fresh.picture.draw(image)
        told = {"number": fresh.number, "seconds": fresh.seconds, "arrived": fresh.arrived, "start": self._start}
        self.tell({"frame": {**told, "place": asdict(place), "came": self._came, "dropped": self._dropped}})

    def tell(self, what: dict[str, Any]) -> None:
        with contextlib.suppress(OSError), self._telling:  # the worker has gone: the end of our input says so, too
            self._pipe.write(line(what))
            self._pipe.flush()

    _telling = threading.Lock()


def main() -> None:
    """Serve one worker until it closes our standard input, or has gone."""
    pipe = answers()
    settings = json.loads(sys.stdin.buffer.readline())
    camera, stop = _Camera(settings, pipe), threading.Event()

    def heed() -> None:
        try:
            for _ in sys.stdin.buffer:
                camera.hand_over()
        except VisavisError as error:
            camera.tell({"failed": str(error)})
        stop.set()
        threading.Timer(_END_SECONDS, os._exit, [0]).start()  # a library may wait for its source for ever

    def say(state: State) -> None:
        camera.tell({"state": state.kind, "why": state.why})

    heeding = threading.Thread(target=heed)
    heeding.start()
    try:
        capture(Source(**settings["source"]), camera.came, say, stop)
        camera.tell({"ended": True})
        heeding.join()  # the last picture may still be taken
    except VisavisError as error:
        camera.tell({"failed": str(error)})
    except BaseException:
        traceback.print_exc()
        os._exit(1)  # the other thread waits for the worker, which waits for our end
    os._exit(0)

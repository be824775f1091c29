"""Capturing from a source for as long as is wanted: opening again what is lost, and saying how it goes."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from visavis.errors import InputError, SourceError, SourceRefused
from visavis.video.decoding import Pulse, forget_opened
from visavis.video.picture import Picture
from visavis.video.sources import Source, pictures

__all__ = ["Retrying", "State", "StateKind", "capture"]

StateKind = Literal["connecting", "live", "lost", "refused", "ended"]

_LOOK = 0.1  # seconds between looks at a reading thread
_GRACE = 2.0  # seconds that FFmpeg is given to break off by itself


@dataclass(frozen=True)
class State:
    """How a capture goes, told whenever that changes.

    Attributes
    ----------
    kind
        ``"connecting"``; ``"live"``, with the first picture; ``"lost"``, and tried again after ``wait`` seconds;
        ``"refused"``, likewise, as user or password are wrong; ``"ended"``, for good.
    reason
        Of a loss, in one line without secrets.
    at
        Seconds since 1970, UTC.
    wait
        Seconds until it is tried again.
    openings, pictures, damaged, late
        How often it was opened, how many pictures it gave, how many packets were damaged, and how many were left
        undecoded to catch up: since the capture began.
    """

    kind: StateKind
    reason: str = ""
    at: float = 0.0
    wait: float = 0.0
    openings: int = 0
    pictures: int = 0
    damaged: int = 0
    late: int = 0


@dataclass(frozen=True)
class Retrying:
    """When a lost source is opened again, in seconds.

    Attributes
    ----------
    first, most
        The first wait; each is twice the one before, up to the most. Each is shortened by a random share of up to a
        half, so that cameras that were lost together don't come back together.
    refused
        The wait after a refusal: cameras lock users out who try too often.
    stable
        After so long a life the waits begin anew.
    """

    first: float = 0.5
    most: float = 30.0
    refused: float = 60.0
    stable: float = 10.0

    def wait(self, losses: int, *, refused: bool = False) -> float:
        """Return the seconds to wait after so many losses in a row."""
        longest = self.refused if refused else min(self.first * 2.0 ** min(losses - 1, 30), self.most)
        return longest * random.uniform(0.5, 1.0)


def capture(
    source: Source,
    take: Callable[[Picture], None],
    say: Callable[[State], None],
    stop: threading.Event,
    *,
    retrying: Retrying | None = None,
) -> None:
    """Read a source until it ends or ``stop`` is set.

    A stream or device that is lost, freezes or ends is opened again; numbers and times of pictures go on. Reading runs
    in a thread of its own, as no other way breaks off what blocks within a driver or FFmpeg: this function returns
    within a second after ``stop``, and a thread that is still blocked then ends by itself when its time runs out,
    without giving anything to ``take``.

    Parameters
    ----------
    take
        Gets each picture, in the reading thread: it should draw it or leave it, and return.
    say
        Gets each new state, in the calling thread.

    Raises
    ------
    VisavisError
        What `pictures` raises of a file, folder or standard input; what ``take`` raises passes too.
    """
    _Capture(source, take, say, stop, retrying or Retrying()).run()


class _Capture:
    def __init__(
        self,
        source: Source,
        take: Callable[[Picture], None],
        say: Callable[[State], None],
        stop: threading.Event,
        retrying: Retrying,
    ) -> None:
        self.source, self.take, self.say, self.stop, self.retrying = source, take, say, stop, retrying
        self.state = State("connecting")
        self.began: float | None = None
        self.number, self.time = 0, 0.0
        self.damaged = self.late = 0

    def run(self) -> None:
        losses = openings = 0
        while not self.stop.is_set():
            openings += 1
            self._say("connecting", openings=openings)
            reader = _Reader(self)
            reader.start()
            problem = self._watch(reader)
            self.damaged += reader.pulse.damaged
            self.late += reader.pulse.late
            if self.stop.is_set():
                break
            if problem is None:
                break
            # What a camera sends wrong today, as sound alone, it may send right tomorrow.
            if self.source.ends or not isinstance(problem, (SourceError, InputError)):
                raise problem
            losses = 1 if reader.lived > self.retrying.stable else losses + 1
            refused = isinstance(problem, SourceRefused)
            wait = self.retrying.wait(losses, refused=refused)
            self._say("refused" if refused else "lost", str(problem), wait=wait)
            self.stop.wait(wait)
            while reader.is_alive() and not self.stop.is_set():
                reader.join(_LOOK)  # a device that hangs is not opened twice
            del reader, problem  # whose traceback holds the container
            forget_opened()
        self._say("ended")

    def _watch(self, reader: _Reader) -> BaseException | None:
        """Wait until the reading ends, is frozen or told to stop; return what went wrong, None if it ended."""
        patience = self.source.patience + _GRACE
        while reader.is_alive():
            reader.join(_LOOK)
            if self.stop.is_set():
                reader.leave()
                reader.join(0.5)
                return None
            if reader.pictures and self.state.kind != "live":
                self._say("live")
            still = time.monotonic() - reader.pulse.at
            if not self.source.ends and still > (patience if reader.pictures else 2 * patience):
                reader.leave()
                return SourceError(f"{self.source.name} was lost: it hangs, with nothing for {still:.0f} s")
        if reader.pictures and self.state.kind != "live":
            self._say("live")
        return reader.problem

    def _say(self, kind: StateKind, reason: str = "", *, wait: float = 0.0, openings: int | None = None) -> None:
        self.state = State(
            kind,
            reason,
            time.time(),
            wait,
            self.state.openings if openings is None else openings,
            self.number,
            self.damaged,
            self.late,
        )
        self.say(self.state)


class _Reader(threading.Thread):
    """One opening of a source, read in a thread of its own."""

    def __init__(self, capture: _Capture) -> None:
        super().__init__(daemon=True, name=f"capture {capture.source.name}")
        self.pulse = Pulse()
        self.problem: BaseException | None = None
        self.pictures = 0
        self._capture = capture
        self._left = threading.Event()
        self._giving = threading.Lock()
        self._born = time.monotonic()
        self._first = 0.0

    @property
    def lived(self) -> float:
        """Seconds for which it gave pictures."""
        return self.pulse.at - self._first if self.pictures else 0.0

    def leave(self) -> None:
        """Give nothing from now on, and end as soon as may be."""
        self._left.set()
        with self._giving:  # what is being taken is taken whole
            pass

    def run(self) -> None:
        whole = self._capture
        number, start = whole.number, 0.0
        try:
            for picture in pictures(whole.source, self._left, pulse=self.pulse):
                if not self.pictures:
                    self._first = now = time.monotonic()
                    whole.began = now - picture.time if whole.began is None else whole.began
                    # After a loss, time goes on by the clock on the wall.
                    start = max(now - whole.began, whole.time + 1e-3) if number else 0.0
                with self._giving:
                    if self._left.is_set():
                        return
                    whole.number, whole.time = number + picture.number + 1, start + picture.time
                    self.pictures += 1
                    whole.take(replace(picture, number=number + picture.number, time=whole.time))
        except BaseException as error:  # noqa: BLE001 (it is raised where the capture was called)
            self.problem = error

"""The time of pictures: seconds that never run back, from the time stamps of a file or camera."""

from __future__ import annotations

import time

import numpy as np

__all__ = ["Clock"]

_JUMP = 5.0  # seconds by which the stamps of a live source may run ahead of the clock on the wall
_BACK = 1.0  # seconds by which stamps may run back without beginning anew
_DRIFT = 1e-3  # seconds a second by which a camera's clock may be slow


class Clock:
    """Makes of a source's time stamps seconds that never run back."""

    def __init__(self, step: float, *, live: bool) -> None:
        self.behind = 0.0
        """Seconds by which a picture came later than the most punctual ones."""
        self._step, self._live = step, live
        self._last: float | None = None
        self._at = 0.0  # where the stamps are, which of a file may be a little before the last picture's time
        self._zero: float | None = None
        self._first = -np.inf  # stamp that was counted from
        self._began = self._before = time.monotonic()
        self._least = 0.0

    def tick(self, stamp: float | None) -> float:
        """Return the seconds since the first picture of one with this stamp; None where it has none."""
        now = time.monotonic()
        if self._last is None:
            self._began = self._before = now
            self._zero = stamp
            self._first = -np.inf if stamp is None else stamp
            self._last = self._at = 0.0
            return 0.0
        wall = now - self._began
        # Live pictures are at least a millisecond apart, as what follows them over time asks for.
        after = max(wall, self._last + 1e-3) if self._live else self._at + self._step
        self._at = after if stamp is None else self._read(stamp, after)
        self._last = max(self._last + 1e-3, self._at) if self._live else max(self._last, self._at)
        lag = wall - self._last
        self._least = min(lag, self._least + _DRIFT * (now - self._before))
        self._before, self.behind = now, lag - self._least
        return self._last

    def _read(self, stamp: float, after: float) -> float:
        """Return the time of a stamp; ``after`` where it makes no sense, and count from there on."""
        if self._zero is None:
            self._zero, self._first = stamp - self._at - self._step, stamp
        at = stamp - self._zero
        if self._live:
            # Some servers send stamps in the order of storing, so that they run back a little where pictures are
            # reordered; to count from there on would let time run away.
            last = self._last or 0.0
            disorder = stamp > self._first and last - at <= _BACK and after - last <= _BACK
            jumped = (at <= last and not disorder) or at - after > _JUMP
        else:
            # Between rare stamps, steps of the announced rate may lead too far, and stamps may be in another order than
            # the pictures. To count from there on would make the film longer.
            jumped = at < self._at and (stamp <= self._first or self._at - at > _BACK)
        if jumped:  # joined recordings begin anew at 0, and cameras set their clock: go on from where the time was
            self._zero, self._first = stamp - after, stamp
            self._least = np.inf
        return stamp - self._zero

    def forgive(self) -> None:
        """Let the next picture say anew how late it is."""
        self.behind = 0.0

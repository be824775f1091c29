"""The time of pictures: seconds that never run back, from the time stamps of a file or camera."""

from __future__ import annotations

import time

import numpy as np

__all__ = ["Clock"]

_JUMP = 5.0  # seconds by which the stamps of a live source may run ahead of the clock on the wall
_DRIFT = 1e-3  # seconds a second by which a camera's clock may be slow


class Clock:
    """Makes of a source's time stamps seconds that never run back."""

    def __init__(self, step: float, *, live: bool) -> None:
        self.behind = 0.0
        """Seconds by which a picture came later than the most punctual ones."""
        self._step, self._live = step, live
        self._last = 0.0
        self._zero: float | None = None
        self._began = self._before = time.monotonic()
        self._least = 0.0

    def tick(self, stamp: float | None) -> float:
        """Return the seconds since the first picture of one with this stamp."""
        now = time.monotonic()
        if self._zero is None:
            self._began = self._before = now
        wall = now - self._began
        if stamp is None:
            stamp = (self._zero or 0.0) + (wall if self._live else self._last + self._step)
        self._zero = stamp if self._zero is None else self._zero
        ahead = self._live and stamp - self._zero - max(wall, self._last) > _JUMP
        # Joined recordings begin anew at 0, and cameras set their clock: go on from where the time was.
        if stamp - self._zero < self._last or ahead:
            self._zero = stamp - (max(wall, self._last) if self._live else self._last + self._step)
            self._least = np.inf
        self._last = stamp - self._zero
        lag = wall - self._last
        self._least = min(lag, self._least + _DRIFT * (now - self._before))
        self._before, self.behind = now, lag - self._least
        return self._last

    def forgive(self) -> None:
        """Let the next picture say anew how late it is."""
        self.behind = 0.0

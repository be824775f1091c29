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
        self._last: float | None = None
        self._zero: float | None = None
        self._began = self._before = time.monotonic()
        self._least = 0.0

    def tick(self, stamp: float | None) -> float:
        """Return the seconds since the first picture of one with this stamp; None where it has none."""
        now = time.monotonic()
        if self._last is None:
            self._began = self._before = now
            self._zero = stamp
            self._last = 0.0
            return 0.0
        wall = now - self._began
        # Live pictures are at least a millisecond apart, as what follows them over time asks for.
        after = max(wall, self._last + 1e-3) if self._live else self._last + self._step
        if stamp is None:
            self._last = after
        else:
            self._last = self._read(stamp, after)
        lag = wall - self._last
        self._least = min(lag, self._least + _DRIFT * (now - self._before))
        self._before, self.behind = now, lag - self._least
        return self._last

    def _read(self, stamp: float, after: float) -> float:
        """Return the time of a stamp; ``after`` where it makes no sense, and count from there on."""
        last = self._last or 0.0
        if self._zero is None:
            self._zero = stamp - last - self._step
        ahead = self._live and stamp - self._zero - after > _JUMP
        back = stamp - self._zero < last or (self._live and stamp - self._zero == last)
        # Joined recordings begin anew at 0, and cameras set their clock: go on from where the time was.
        if back or ahead:
            self._zero = stamp - after
            self._least = np.inf
        return stamp - self._zero

    def forgive(self) -> None:
        """Let the next picture say anew how late it is."""
        self.behind = 0.0

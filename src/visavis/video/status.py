"""How a camera is doing: what a table of cameras shows."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any

__all__ = ["CameraStatus", "Window", "quantile"]


@dataclass(frozen=True)
class CameraStatus:
    """One camera, now.

    Attributes
    ----------
    name
        The camera's.
    state
        ``starting`` (its process or its models), ``connecting``, ``live``, ``lost``, ``ended`` (a file played as a
        camera).
    fps_captured, fps_analyzed
        Frames a second that came, and that were looked at, over the last seconds.
    latency_p50_s, latency_p95_s
        Seconds from when a frame was decoded until its events were on their way, over the last seconds; None while
        there was no frame.
    frames
        Looked at since the start.
    dropped
        Frames that were due and that a newer one took the place of: the machine did not keep up.
    tracks
        Faces followed so far.
    people
        Names of those seen now, sorted.
    faces
        How many faces are followed now.
    restarts
        How often a process of the camera was started again.
    problem
        What is wrong, as a sentence; nothing where all is well.
    """

    name: str
    state: str = "starting"
    fps_captured: float = 0.0
    fps_analyzed: float = 0.0
    latency_p50_s: float | None = None
    latency_p95_s: float | None = None
    frames: int = 0
    dropped: int = 0
    tracks: int = 0
    people: tuple[str, ...] = ()
    faces: int = 0
    restarts: int = 0
    problem: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {**asdict(self), "people": list(self.people)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> CameraStatus:
        """Return what `to_dict` wrote."""
        known = {field.name: values[field.name] for field in fields(cls) if field.name in values}
        return cls(**{**known, "people": tuple(known.get("people", ()))})


class Window:
    """Values of the last seconds.

    Examples
    --------
    >>> window = Window(10.0)
    >>> for second in range(20):
    ...     window.add(second, 25.0)
    >>> len(window.values(20)), window.rate(20)
    (10, 25.0)
    """

    def __init__(self, seconds: float = 10.0) -> None:
        self.seconds = seconds
        self._start: float | None = None
        self._held: deque[tuple[float, float]] = deque(maxlen=10_000)

    def add(self, now: float, value: float) -> None:
        """Note a value."""
        self._start = now if self._start is None else self._start
        self._held.append((now, value))

    def values(self, now: float) -> list[float]:
        """Return the values of the last seconds."""
        while self._held and self._held[0][0] < now - self.seconds:
            self._held.popleft()
        return [value for _, value in self._held]

    def rate(self, now: float) -> float:
        """Return how much the values come to a second."""
        if self._start is None:
            return 0.0
        return sum(self.values(now)) / min(max(now - self._start, 1.0), self.seconds)


def quantile(values: Iterable[float], share: float) -> float | None:
    """Return the least value that ``share`` of all don't exceed; None of nothing.

    Examples
    --------
    >>> quantile([3.0, 1.0, 2.0, 4.0], 0.5), quantile([], 0.5)
    (2.0, None)
    """
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)] if ordered else None

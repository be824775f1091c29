"""Where each face of a recording was at any time: between sightings, and a little before and after them, too."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from visavis.types import FloatArray
from visavis.video.recording import Recording

__all__ = ["Course", "Place", "Places", "courses"]

_TICK = 1e-6  # seconds by which two readings of one time stamp may differ


@dataclass(frozen=True, eq=False)
class Course:
    """The sightings of one face without a long gap between them.

    Attributes
    ----------
    track
        0: the face of a single sighting, which never became a track.
    times, boxes
        ``(n,)`` seconds, rising, and ``(n, 4)`` pixels.
    """

    track: int
    times: npt.NDArray[np.float64]
    boxes: FloatArray

    def at(self, time: float) -> FloatArray:
        """Return the box at a time: between two sightings on the way from one to the other, beyond them as there."""
        i = int(np.searchsorted(self.times, time))
        if i == 0 or i == len(self.times):
            return np.asarray(self.boxes[min(i, len(self.times) - 1)])
        share = np.float32((time - self.times[i - 1]) / (self.times[i] - self.times[i - 1]))
        return np.asarray(self.boxes[i - 1] + share * (self.boxes[i] - self.boxes[i - 1]))

    def has(self, time: float) -> bool:
        """Return whether there is a sighting at just this time."""
        i = int(np.searchsorted(self.times, time - _TICK))
        return i < len(self.times) and abs(float(self.times[i]) - time) <= _TICK


@dataclass(frozen=True, eq=False)
class Place:
    """Where a face is in one frame; ``found`` whether it was found there, and not only in others."""

    track: int
    box: FloatArray
    found: bool


def courses(recording: Recording, *, gap: float = np.inf) -> list[Course]:
    """Return the courses of a recording, by when they begin.

    Parameters
    ----------
    gap
        Seconds without a sighting that part a track in two.
    """
    order = np.lexsort((recording.times, recording.tracks))
    tracks, times = recording.tracks[order], recording.times[order]
    # Of what never became a track, each sighting stands alone.
    parts = (np.diff(tracks) != 0) | (tracks[1:] == 0) | (np.diff(times) > gap)
    found = [
        Course(int(recording.tracks[rows[0]]), recording.times[rows], recording.boxes[rows])
        for rows in np.split(order, np.flatnonzero(parts) + 1)
        if len(rows)
    ]
    return sorted(found, key=_begin)


class Places:
    """Says where faces are at times that rise.

    Parameters
    ----------
    found
        As of `courses`.
    around
        Seconds before the first and after the last sighting of a course in which it counts as there.
    """

    def __init__(self, found: Sequence[Course], *, around: float = 0.0) -> None:
        self._courses = sorted(found, key=_begin)
        self._begins = [_begin(course) - around for course in self._courses]
        self._around = around
        self._live: list[Course] = []
        self._next = 0

    def at(self, time: float) -> list[Place]:
        """Return the faces there, in the order in which they came."""
        end = max(bisect_right(self._begins, time + _TICK), self._next)
        live = self._live + self._courses[self._next : end]
        self._next = end
        self._live = [course for course in live if time <= float(course.times[-1]) + self._around + _TICK]
        return [Place(course.track, course.at(time), course.has(time)) for course in self._live]


def _begin(course: Course) -> float:
    return float(course.times[0])

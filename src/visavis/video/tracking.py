"""From the faces of frames to tracks: who is who from one frame to the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from visavis.geometry import iou
from visavis.types import Faces, FloatArray

__all__ = ["Look", "Track", "Tracker", "Tracking"]

Look = Callable[[npt.NDArray[np.intp]], FloatArray]
"""Gives unit vectors ``(m, d)`` of these rows of the faces at hand: called only where a tracker needs them."""


@dataclass(frozen=True)
class Tracking:
    """How a tracker decides.

    Attributes
    ----------
    gap
        Seconds after which a track that was not seen again has ended.
    confirm
        How many frames must show a face before it is a track.
    overlap
        Least IoU of a face with where its track is expected.
    """

    gap: float = 2.0
    confirm: int = 3
    overlap: float = 0.3


@dataclass(eq=False)
class Track:
    """A face followed.

    Attributes
    ----------
    id
        1, 2, ...: never used twice by one tracker.
    box
        ``(4,)``, where it was seen last.
    first, last
        Seconds at which it was seen first and last.
    seen
        In how many frames.
    template
        Unit vector ``(d,)`` of what it looks like, kept by whoever embeds it; None while nobody has.
    """

    id: int
    box: FloatArray
    first: float
    last: float
    seen: int = 1
    template: FloatArray | None = None
    score: float = field(default=0.0)


class Tracker:
    """Follows the faces of one camera or file.

    Examples
    --------
    >>> tracker = Tracker(Tracking(confirm=2))
    >>> one = Faces(np.array([[10, 10, 30, 40]]), np.array([0.9]))
    >>> [tracker.update(time, one).tolist() for time in (0.0, 0.04, 0.08)]
    [[0], [1], [1]]
    """

    def __init__(self, how: Tracking | None = None) -> None:
        self.how = how or Tracking()
        self.tracks: dict[int, Track] = {}
        """Confirmed tracks that have not ended, by id."""
        self._new: list[Track] = []
        self._next = 1

    def update(self, time: float, faces: Faces, look: Look | None = None) -> npt.NDArray[np.int64]:  # noqa: ARG002
        """Take the faces of a frame; return the id of each one's track, 0 where it is none (yet).

        Parameters
        ----------
        time
            Seconds, later than at the last call.
        look
            Embeds faces: what lets a face be known again after it was hidden. None: by place alone.

        Returns
        -------
        Int64 ``(n,)``.
        """
        known = [*self.tracks.values(), *self._new]
        ids = np.zeros(len(faces), np.int64)
        free = set(range(len(faces)))
        if known and len(faces):
            overlap = iou(faces.boxes, np.stack([track.box for track in known]))
            while overlap.size and overlap.max() >= self.how.overlap:
                i, j = (int(k) for k in np.unravel_index(int(overlap.argmax()), overlap.shape))
                overlap[i] = overlap[:, j] = -1
                free.discard(i)
                track = known[j]
                track.box, track.last, track.seen = faces.boxes[i], time, track.seen + 1
                if not track.id and track.seen >= self.how.confirm:
                    track.id, self._next = self._next, self._next + 1
                    self.tracks[track.id] = track
                ids[i] = track.id
        self._new = [track for track in self._new if not track.id and track.last == time]
        self._new += [Track(0, faces.boxes[i], time, time) for i in free]
        return ids

    def ended(self, time: float) -> list[Track]:
        """Take out and return the tracks that were not seen for `Tracking.gap` seconds; with ``inf``, all."""
        gone = [track for track in self.tracks.values() if time - track.last > self.how.gap]
        for track in gone:
            del self.tracks[track.id]
        return gone

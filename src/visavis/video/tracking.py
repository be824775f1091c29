"""From the faces of frames to tracks: who is who from one frame to the next.

Where a face is expected decides first (`visavis.video.motion`): faces and tracks are paired so that the whole is
likeliest. What a face looks like decides where that is in doubt: where two tracks claim a face or two faces a track,
where a track was not seen for a while, and before a new face gets an id while somebody is missing. How the figures
below were chosen, and what they are worth: docs/tracking.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.errors import EngineError, InputError
from visavis.types import Faces, FloatArray
from visavis.video.motion import Motion, begun, boxes_of, moved, seen_at, surprise
from visavis.video.resemblance import Resemblance

__all__ = ["Look", "Track", "Tracker", "Tracking"]

Look = Callable[[npt.NDArray[np.intp]], FloatArray]
"""Gives unit vectors ``(m, d)`` of these rows of the faces at hand: called only where a tracker needs them."""

Rows = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
_TICK = 1e-3  # seconds: to so much times are rounded
_LONG = 5.0
_LOOKS_APART = 2.5  # so that one look in which a face was not found ends nothing


@dataclass(frozen=True)
class Tracking:
    """How a tracker decides.

    Attributes
    ----------
    gap
        Seconds after which a track that was not seen again has ended.
    confirm
        How many frames in a row must show a face before it is a track.
    start
        Least score of a face that a track may begin with, or be found again by; a lower one only continues a track.
    fresh
        Seconds after which a track is lost that was not seen when faces were last looked for; five times as many, where
        they were not. Another face may then be where it is expected, so it must resemble.
    reach
        How many squared standard deviations a face may be from where it is expected, summed over its four measures.
    doubt
        Two pairings this close, in twice the logarithm of their likelihoods, are told apart by similarity.
    weight
        What similarity counts against place: so much of that logarithm for each step of `Resemblance.says`.
    hold
        Seconds for which a new face gets no id while somebody is missing: so long it is compared with lost tracks.
    every
        Seconds between such comparisons.
    motion
        What is assumed of how faces move.
    """

    gap: float = 5.0
    confirm: int = 2
    start: float = 0.6
    fresh: float = 0.2
    reach: float = 20.0
    doubt: float = 12.0
    weight: float = 4.0
    hold: float = 0.12
    every: float = 0.08
    motion: Motion = field(default_factory=Motion)

    def __post_init__(self) -> None:
        for name in ("gap", "confirm", "fresh", "reach", "doubt", "weight", "hold", "every"):
            if not getattr(self, name) >= 0:
                raise InputError(f"{name} of a tracker is 0 or more, not {getattr(self, name)}")
        if not 0 <= self.start <= 1:
            raise InputError(f"start of a tracker is a score, 0..1, not {self.start}")

    def looking_every(self, seconds: float) -> Tracking:
        """Return the same for faces that are looked for so rarely: a `gap` shorter than that would end every track.

        Examples
        --------
        >>> Tracking().looking_every(10).gap, Tracking().looking_every(0.5).gap
        (25.0, 5.0)
        """
        return replace(self, gap=max(self.gap, _LOOKS_APART * seconds))


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
    score
        The detector's, when it was seen last.
    tried
        Seconds at which it was last compared with lost tracks, before it had an id.
    state
        How it moves; see `visavis.video.motion.States`.
    """

    id: int
    box: FloatArray
    first: float
    last: float
    seen: int = 1
    template: FloatArray | None = None
    score: float = 0.0
    tried: float = -math.inf
    state: Floats = field(default_factory=lambda: np.zeros((5, 4)), repr=False)


class Tracker:
    """Follows the faces of one camera or file.

    Parameters
    ----------
    how
        How it decides.
    same
        From which similarity on faces are one person's; see `visavis.video.resemblance.resemblance`.

    Examples
    --------
    >>> tracker = Tracker(Tracking(confirm=2))
    >>> one = Faces(np.array([[10, 10, 30, 40]]), np.array([0.9]))
    >>> [tracker.update(time, one).tolist() for time in (0.0, 0.04, 0.08)]
    [[0], [1], [1]]
    """

    def __init__(self, how: Tracking | None = None, same: Resemblance | None = None) -> None:
        self.how = how or Tracking()
        self.same = same or Resemblance()
        self.tracks: dict[int, Track] = {}
        """Confirmed tracks that have not ended, by id."""
        self._new: list[Track] = []
        self._next = 1
        self._time = self._before = -math.inf  # of the last call, and of that before
        with suppress(ImportError):  # loading it takes longer than a frame: now rather than when two first cross
            import scipy.optimize  # noqa: F401

    def update(self, time: float, faces: Faces, look: Look | None = None) -> npt.NDArray[np.int64]:
        """Take the faces of a frame; return the id of each one's track, 0 where it is none (yet).

        Parameters
        ----------
        time
            Seconds, later than at the last call; an earlier time counts as that of the last call.
        look
            Embeds faces: what lets a face be known again after it was hidden. None: by place alone.

        Returns
        -------
        Int64 ``(n,)``.

        Raises
        ------
        InputError
            If ``time`` is not finite.
        """
        if not math.isfinite(time):
            raise InputError(f"a frame's time is a finite number of seconds, not {time}")
        self._before, self._time = self._time, max(time, self._time)
        time, how = self._time, self.how
        known = [t for t in (*self.tracks.values(), *self._new) if time - t.last <= how.gap]
        pairs = _Pairs(known, time, self._before, faces, how)
        strong = faces.scores >= how.start
        looks = _Looks(look)
        if look is not None:
            looks.take(pairs.doubtful(strong))
            pairs.resemble(looks, self.same)
        found = pairs.assigned(strong)
        if not strong.all():
            left = ~pairs.lost & pairs.confirmed
            left[found[found >= 0]] = False
            found = np.where(strong, found, pairs.assigned(~strong, left))
        hold = self._again(found, strong, pairs, looks)
        return self._take(faces, found, strong, pairs, how.hold if hold else 0.0)

    def ended(self, time: float) -> list[Track]:
        """Take out and return the tracks that were not seen for `Tracking.gap` seconds; with ``inf``, all."""
        gone = [track for track in self.tracks.values() if time - track.last > self.how.gap]
        for track in gone:
            del self.tracks[track.id]
        return gone

    def split(self, track: int) -> tuple[Track, Track]:
        """End a track before the face seen now, which shows somebody else; return it, and the one that begins with it.

        Raises
        ------
        KeyError
            If there is no such track, or it was not seen at the last call.
        """
        new = self.tracks[track]
        if new.last != self._time:
            raise KeyError(track)
        del self.tracks[track]
        seen = max(new.seen - 1, 1)
        old = replace(new, last=max(min(self._before, new.last), new.first), seen=seen)
        new.id, self._next = self._next, self._next + 1
        new.first, new.seen, new.template = self._time, 1, None
        self.tracks[new.id] = new
        return old, new

    def restart(self) -> list[Track]:
        """End all tracks and return them; what comes next may have any time."""
        gone = self.ended(math.inf)
        self._new, self._time, self._before = [], -math.inf, -math.inf
        return gone

    def expected(self, time: float) -> Faces:
        """Return where the tracks that are not lost are expected, with their last scores and ``track_ids``.

        For frames in which faces are not looked for, and for short times in which they were not found.
        """
        there = [
            track
            for track in self.tracks.values()
            if time - track.last <= self.how.fresh or self._time == track.last >= time - self.how.gap
        ]
        if not there:
            return Faces.empty().replace(track_ids=np.zeros(0, np.int64))
        states = np.stack([track.state for track in there])
        ahead = moved(states, np.array([time - track.last for track in there]), self.how.motion)
        return Faces(
            boxes_of(ahead),
            np.array([track.score for track in there], np.float32),
            track_ids=np.array([track.id for track in there], np.int64),
        )

    def _again(self, found: Rows, strong: Mask, pairs: _Pairs, looks: _Looks) -> bool:
        """Give faces without an id to lost tracks that they resemble; return whether somebody is missing still."""
        missing = pairs.lost & pairs.templates
        missing[found[found >= 0]] = False
        rows = np.flatnonzero(missing).tolist()
        if looks.look is None or not rows:
            return False
        new = []
        for i in np.flatnonzero(strong).tolist():
            track = pairs.known[found[i]] if found[i] >= 0 else None
            if track is None or (not track.id and self._time - track.tried >= self.how.every - _TICK):
                new.append(i)
                if track is not None:
                    track.tried = self._time
        if new:
            looks.take(np.array(new, np.intp))
            alike = looks.of(new) @ np.stack([_vector(pairs.known[j]) for j in rows]).T
            for i, j in zip(*_assignment(alike, alike >= self.same.anywhere), strict=True):
                found[new[i]] = rows[j]
        return True

    def _take(self, faces: Faces, found: Rows, strong: Mask, pairs: _Pairs, hold: float) -> npt.NDArray[np.int64]:
        """Let tracks go on with the faces found for them, and new ones begin."""
        ids = np.zeros(len(faces), np.int64)
        rows = np.flatnonzero(found >= 0)
        columns, boxes, motion = found[rows], faces.boxes[rows], self.how.motion
        near = pairs.near[rows, columns]
        states = np.where(near[:, None, None], seen_at(pairs.states[columns], boxes, motion), begun(boxes, motion))
        for i, state in zip(rows.tolist(), states, strict=True):
            track = pairs.known[found[i]]
            track.box, track.score, track.state = faces.boxes[i], float(faces.scores[i]), state
            track.last, track.seen = self._time, track.seen + 1
            ids[i] = self._confirmed(track, hold)
        self._new = [track for track in self._new if not track.id and track.last == self._time]
        begins = np.flatnonzero((found < 0) & strong)
        for i, state in zip(begins.tolist(), begun(faces.boxes[begins], motion), strict=True):
            score = float(faces.scores[i])
            track = Track(0, faces.boxes[i], self._time, self._time, score=score, tried=self._time, state=state)
            ids[i] = self._confirmed(track, hold)
            if not track.id:
                self._new.append(track)
        return ids

    def _confirmed(self, track: Track, hold: float) -> int:
        if not track.id and track.seen >= self.how.confirm and track.last - track.first >= hold - _TICK:
            track.id, self._next = self._next, self._next + 1
            self.tracks[track.id] = track
        return track.id


def _vector(track: Track) -> FloatArray:
    assert track.template is not None
    return track.template


class _Looks:
    """What faces of a frame look like, each embedded once."""

    def __init__(self, look: Look | None) -> None:
        self.look = look
        self.vectors: dict[int, FloatArray] = {}

    def take(self, rows: Rows) -> None:
        wanted = np.array([row for row in rows.tolist() if row not in self.vectors], np.intp)
        if self.look is not None and len(wanted):
            self.vectors |= zip(wanted.tolist(), self.look(wanted), strict=True)

    def of(self, rows: Sequence[int]) -> FloatArray:
        return np.stack([self.vectors[int(row)] for row in rows])


class _Pairs:
    """Every face of a frame with every track: how badly they fit, and which can't be at all."""

    def __init__(self, known: list[Track], time: float, before: float, faces: Faces, how: Tracking) -> None:
        self.known, self.how = known, how
        unseen = np.array([time - track.last for track in known])
        missed = np.array([track.last < before for track in known], bool)
        self.lost = (unseen > how.fresh) & (missed | (unseen > _LONG * how.fresh))
        self.confirmed = np.array([track.id > 0 for track in known], bool)
        self.templates = np.array([track.template is not None for track in known], bool)
        if not known:
            self.states, self.cost = np.zeros((0, 5, 4)), np.zeros((len(faces), 0))
            self.near = self.possible = np.zeros((len(faces), 0), bool)
            return
        self.states = moved(np.stack([track.state for track in known]), unseen, how.motion)
        off, spread = surprise(self.states, faces.boxes, how.motion)
        self.cost, self.near = off + spread, off <= how.reach
        self.possible = self.near.copy()

    def doubtful(self, strong: Mask) -> Rows:
        """Return the faces to look at: claimed by two tracks or beside another, or where a lost track is expected."""
        possible = self.possible & strong[:, None]
        if not self.templates.any() or not possible.any():
            return np.zeros(0, np.intp)
        cost = np.where(possible, self.cost, np.inf)
        live = possible & (cost <= cost.min(axis=1, keepdims=True) + self.how.doubt)
        contested = live.sum(axis=1) > 1
        contested |= (live & ((live.sum(axis=0) > 1) | self.lost)).any(axis=1)
        contested &= (live & self.templates).any(axis=1)
        return np.flatnonzero(contested)

    def resemble(self, looks: _Looks, same: Resemblance) -> None:
        """Weigh what was looked at; a lost track takes no face that it does not resemble."""
        rows, columns = sorted(looks.vectors), np.flatnonzero(self.templates)
        if not rows or not len(columns):
            return
        says = same.says(looks.of(rows) @ np.stack([_vector(self.known[j]) for j in columns]).T)
        at = np.ix_(np.array(rows), columns)
        self.cost[at] -= self.how.weight * np.clip(says, -4, 4)
        self.possible[at] &= (says >= 0) | ~self.lost[columns]

    def assigned(self, faces: Mask, tracks: Mask | None = None) -> Rows:
        """Return for each of these faces the number of its track, -1 for none."""
        found = np.full(len(faces), -1, np.intp)
        possible = self.possible & faces[:, None]
        if tracks is not None:
            possible &= tracks
        a, b = _assignment(-self.cost, possible)
        found[a] = b
        return found


def _assignment(worth: npt.NDArray[Any], possible: Mask) -> tuple[Rows, Rows]:
    """Return rows and columns of pairs that are possible, of the highest sum: being paired at all counts most in it."""
    a, b = np.nonzero(possible)
    if len(np.unique(a)) == len(a) and len(np.unique(b)) == len(b):
        return a, b
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError:
        raise EngineError("following several faces needs scipy: pip install 'visavis[video]'") from None
    low, high = float(worth[a, b].min()), float(worth[a, b].max())
    table = np.where(possible, worth - low + (high - low) + 1, 0)
    rows, columns = linear_sum_assignment(table, maximize=True)
    real = possible[rows, columns]
    return rows[real], columns[real]

"""One camera or file, frame by frame: faces found, followed, embedded where it helps, and named."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.analysis.quality import measure, worth
from visavis.errors import InputError
from visavis.gallery import Gallery
from visavis.pipeline import Analyzer
from visavis.types import Faces, FloatArray, Image
from visavis.video.frames import Frame
from visavis.video.identity import UNSEEN, Answer, Identity, Naming, Person
from visavis.video.naming import Names
from visavis.video.resemblance import resemblance
from visavis.video.tracking import Look, Track, Tracker, Tracking

__all__ = ["Follower", "Following", "Seen", "smallest_face", "video_analyzer"]

_LEAST_FACE = 28.0  # pixels
# A cut: gray levels by which the same spots of two frames differ, at the mean. Measured: up to 17 from one frame to the
# fifth after it in moving clips, 40 and more between any two photos of lfw-dev.
_JUMP = 25.0
_SPOTS = 32  # a side
# Of the shorter side of a frame: YuNet's finest look then has 540 lines, just half of those of 1920x1080, to which
# frames are shrunk in a tenth of the time that 630 would take.
_SHARE = 1080 / 56


@dataclass(frozen=True)
class Following:
    """How a video is followed.

    Attributes
    ----------
    detect_every
        Faces are looked for in every such frame; between them tracks are expected to go on.
    tracking, naming
        How tracks are made, and how they get names.
    """

    detect_every: int = 1
    tracking: Tracking = field(default_factory=Tracking)
    naming: Naming = field(default_factory=Naming)

    def __post_init__(self) -> None:
        if self.detect_every < 1:
            raise InputError(f"detect_every is 1 or more, not {self.detect_every}")


@dataclass(frozen=True, eq=False)
class Seen:
    """What one frame showed.

    Attributes
    ----------
    number, time
        Of the frame.
    faces
        Those of tracks, with ``track_ids``.
    people
        Of each live track, whom it shows.
    ended
        Tracks that ended here.
    embedded
        How many faces were embedded.
    size
        Width and height of the frame.
    looked
        Whether faces were looked for in this frame; else those of ``faces`` are where they are expected.
    problem
        Why nobody can be named at the moment: what is wrong with the gallery; None where nothing is.
    """

    number: int
    time: float
    faces: Faces
    people: Mapping[int, Person]
    ended: tuple[Track, ...]
    embedded: int = 0
    size: tuple[int, int] = (0, 0)
    looked: bool = True
    problem: str | None = None


def smallest_face(width: int, height: int, share: float = _SHARE) -> float:
    """Return the height in pixels of the smallest face to look for in video of this size.

    This share of the shorter side, and at least 28: faces that are smaller can't be named (docs/identity.md), and
    looking for them costs most of the time.

    Examples
    --------
    >>> smallest_face(1920, 1080), smallest_face(640, 480)
    (56.0, 28.0)
    """
    return max(_LEAST_FACE, min(width, height) / share)


def video_analyzer(width: int, height: int, **options: Any) -> Analyzer:
    """Make an analyzer for video of this size: one thread, and `smallest_face`, unless ``options`` say otherwise.

    Parameters
    ----------
    width, height
        Of the upright frames.
    options
        As `visavis.pipeline.Analyzer` takes them.
    """
    chosen = {"threads": 1, **options}
    if chosen.get("min_face") is None:
        chosen["min_face"] = smallest_face(width, height)
    return Analyzer(**chosen)


class Follower:
    """Follows one camera or file.

    Where time goes back or the frame's size changes, all tracks end and new ones begin: the source began anew.

    Parameters
    ----------
    analyzer
        Finds faces; with a recognizer, embeds them too: without, tracks are followed by place alone and get no names.
    gallery
        Gives the names; None: nobody gets one. It may change, be locked or vanish meanwhile (`Seen.problem`).
    """

    def __init__(self, analyzer: Analyzer, gallery: Gallery | None = None, how: Following | None = None) -> None:
        self.how = how or Following()
        recognizes = analyzer.recognizes
        self.tracker = Tracker(self.how.tracking, resemblance(analyzer) if recognizes else None)
        self.identities: dict[int, Identity] = {}
        self._names = Names(gallery, analyzer, self.how.naming) if gallery is not None and recognizes else None
        self._analyzer = analyzer
        self._asked: dict[int, tuple[int, ...]] = {}
        """At which version of the gallery a track was asked about last."""
        self._turn = 0
        self._last = -math.inf
        self._size = (0, 0)
        self._spots: npt.NDArray[np.int16] | None = None

    def step(self, frame: Frame, faces: Faces | None = None) -> Seen:
        """Take the next frame.

        Parameters
        ----------
        frame
            RGB, upright.
        faces
            Of the frame, where somebody detected them already, with landmarks as `Analyzer.detect` gives them.
        """
        time, size = frame.time, (frame.image.shape[1], frame.image.shape[0])
        cut = time < self._last or (size != self._size and self._size != (0, 0))
        ended = self.tracker.restart() if cut else self.tracker.ended(time)
        self._turn = 0 if cut else self._turn
        self._last, self._size = time, size
        looks = faces is not None or self._turn % self.how.detect_every == 0
        self._turn += 1
        if self._names is not None and self._names.look(time):
            self._forget(time)
        embedded = 0
        self._doubt(frame.image, cut)
        if looks:
            found = self._analyzer.detect([frame.image])[0] if faces is None else faces
            shown, embedded, others = self._take(frame, found)
            ended += others
        else:
            shown = self.tracker.expected(time)
        people = {track: self.person(track) for track in (*self.tracker.tracks, *(track.id for track in ended))}
        for track in ended:
            self.identities.pop(track.id, None)
            self._asked.pop(track.id, None)
        problem = self._names.problem if self._names is not None else None
        return Seen(frame.number, time, shown, people, tuple(ended), embedded, size, looks, problem)

    def finish(self) -> Seen:
        """End all tracks, as the source has ended. Frames may come again, with times of their own."""
        ended = tuple(self.tracker.restart())
        people = {track.id: self.person(track.id) for track in ended}
        last = max((track.last for track in ended), default=0.0)
        self.identities.clear()
        self._asked.clear()
        self._last, self._size, self._turn, self._spots = -math.inf, (0, 0), 0, None
        return Seen(-1, last, Faces.empty(), people, ended)

    def person(self, track: int) -> Person:
        """Return whom a track shows."""
        return self.identities[track].person if track in self.identities else UNSEEN

    def _doubt(self, image: Image, cut: bool) -> None:
        """Where the whole picture has changed, as at a cut, take no face for who was in its place before."""
        height, width = image.shape[:2]
        spots = image[:: max(height // _SPOTS, 1), :: max(width // _SPOTS, 1)].astype(np.int16)
        if not cut and self._spots is not None and float(np.abs(spots - self._spots).mean()) >= _JUMP:
            for identity in self.identities.values():
                identity.doubted = True
        self._spots = spots

    def _take(self, frame: Frame, found: Faces) -> tuple[Faces, int, list[Track]]:
        """Follow the faces of a frame; return those of tracks, how many were embedded, and tracks that ended by it."""
        vectors: dict[int, FloatArray] = {}

        def look(rows: npt.NDArray[np.intp]) -> FloatArray:
            new = [row for row in rows.tolist() if row not in vectors]
            if new:
                crops = self._analyzer.crop(frame.image, found[np.array(new)])
                vectors.update(zip(new, self._analyzer.embed(crops).vectors, strict=True))
            return np.stack([vectors[row] for row in rows.tolist()])

        recognizes = self._analyzer.recognizes
        ids = self.tracker.update(frame.time, found, look if recognizes else None)
        rows = np.flatnonzero(ids > 0)
        others: list[Track] = []
        if recognizes and len(rows):
            others = self._look_closer(frame, found, ids, rows, set(vectors), look)
            if self._names is not None:
                self._ask(ids[rows].tolist(), frame.time)
        return found.replace(track_ids=ids)[rows], len(vectors), others

    def _look_closer(
        self,
        frame: Frame,
        found: Faces,
        ids: npt.NDArray[np.int64],
        rows: npt.NDArray[np.intp],
        embedded: set[int],
        look: Look,
    ) -> list[Track]:
        """Embed the faces that are worth it: their tracks' templates gain by them.

        A track that shows somebody else after the whole picture changed has ended: it is returned, another begins.
        """
        how = self.how.naming
        owners = {int(row): self.identities.setdefault(int(ids[row]), Identity()) for row in rows}
        # What is embedded already costs nothing more; of the others only those are measured whose time has come.
        due = [row for row, one in owners.items() if row in embedded or one.measurable(frame.time, how)]
        if not due:
            return []
        assert found.landmarks is not None
        wanted = {}
        for row, quality in zip(due, measure(frame.image, found.landmarks[np.array(due)]), strict=True):
            owners[row].measured = frame.time
            value = worth(quality)
            gains = owners[row].improves(value, how) if row in embedded else owners[row].wants(value, frame.time, how)
            if gains and not how.usable.problems(quality):
                wanted[row] = value, not how.clear.problems(quality)
        if not wanted:
            return []
        others = []
        for (row, (value, clear)), vector in zip(wanted.items(), look(np.array(list(wanted), np.intp)), strict=True):
            track, identity = self.tracker.tracks[int(ids[row])], owners[row]
            if identity.doubted and self._somebody_else(track, vector):
                old, track = self.tracker.split(track.id)
                others.append(old)
                ids[row] = track.id
                identity = self.identities[track.id] = Identity(measured=frame.time)
            identity.doubted = False
            identity.add(value, vector, frame.time, how, clear=clear)
            track.template = identity.template()[0]
            self._asked.pop(track.id, None)
        return others

    def _somebody_else(self, track: Track, vector: FloatArray) -> bool:
        same = self.tracker.same
        if track.template is None or same.in_place == same.anywhere:  # where nothing was measured, nothing is known
            return False
        return float(track.template @ vector) < same.in_place

    def _ask(self, tracks: list[int], time: float) -> None:
        """Ask whom the tracks of a frame show, where they were looked at anew or the gallery changed."""
        assert self._names is not None
        shown = {track: self.identities[track] for track in tracks}
        open_ = [
            t for t, one in shown.items() if one.ready(self.how.naming) and self._asked.get(t) != self._names.version
        ]
        answers = self._names.ask([shown[track].template() for track in open_], time) if open_ else None
        if answers is not None:
            self._asked |= dict.fromkeys(open_, self._names.version)
            heard = zip(open_, answers, strict=True)
            for track, answer in sorted(heard, key=lambda one: -_nearest(one[1])):
                others = [one for other, one in shown.items() if other != track]
                shown[track].hear(answer, self.how.naming, _held(others))
        _only_once(shown.values())

    def _forget(self, time: float) -> None:
        """Drop the names of those who are no longer enrolled, wherever they are: nothing more is said of them."""
        assert self._names is not None
        for identity in self.identities.values():
            subject = identity.person.subject
            if subject is not None and not self._names.enrolled(subject, time):
                identity.forget()


def _nearest(answer: Answer) -> float:
    return answer.candidates[0].similarity if answer.candidates else -1.0


def _held(others: Iterable[Identity]) -> dict[str, float]:
    """Return the names of the other faces of a frame, with the similarity that takes one away: infinite for none."""
    named = [one for one in others if one.person.subject is not None]
    return {str(one.person.subject): (one.person.similarity or 0.0) if one.can_give_way else math.inf for one in named}


def _only_once(shown: Iterable[Identity]) -> None:
    """Let each name of a frame be one face's: nobody is in one place twice. The most similar keeps it."""
    holders: dict[str, list[Identity]] = {}
    for one in shown:
        if one.person.subject is not None:
            holders.setdefault(one.person.subject, []).append(one)
    for several in holders.values():
        firm = [one for one in several if not one.can_give_way]
        keep = firm or [max(several, key=lambda one: one.person.similarity or 0.0)]
        for one in several:
            if one not in keep:
                one.give_way()

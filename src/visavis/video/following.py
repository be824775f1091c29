"""One camera or file, frame by frame: faces found, followed, embedded where it helps, and named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from visavis.analysis.quality import measure, worth
from visavis.gallery import Gallery
from visavis.pipeline import Analyzer
from visavis.types import Faces, FloatArray
from visavis.video.frames import Frame
from visavis.video.identity import UNSEEN, Identity, Naming, Person
from visavis.video.tracking import Track, Tracker, Tracking

__all__ = ["Follower", "Following", "Seen"]


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


class Follower:
    """Follows one camera or file.

    Parameters
    ----------
    analyzer
        Finds faces; with a recognizer, embeds them too.
    gallery
        Gives the names; None: nobody gets one.
    """

    def __init__(self, analyzer: Analyzer, gallery: Gallery | None = None, how: Following | None = None) -> None:
        self.how = how or Following()
        self.tracker = Tracker(self.how.tracking)
        self.identities: dict[int, Identity] = {}
        self._analyzer = analyzer
        self._gallery = gallery

    def step(self, frame: Frame, faces: Faces | None = None) -> Seen:
        """Take the next frame.

        Parameters
        ----------
        frame
            Later than the last one.
        faces
            Of the frame, where somebody detected them already.
        """
        found = self._analyzer.detect([frame.image])[0] if faces is None else faces
        embedded = 0

        def look(rows: npt.NDArray[np.intp]) -> FloatArray:
            nonlocal embedded
            embedded += len(rows)
            return self._analyzer.embed(self._analyzer.crop(frame.image, found[rows])).vectors

        ids = self.tracker.update(frame.time, found, look if self._analyzer.recognizes else None)
        faces = found.replace(track_ids=ids)[ids > 0]
        if self._analyzer.recognizes and len(faces):
            embedded += self._embed(frame, faces)
        ended = tuple(self.tracker.ended(frame.time))
        people = {track: self.person(track) for track in (*self.tracker.tracks, *(track.id for track in ended))}
        for track in ended:
            self.identities.pop(track.id, None)
        height, width = frame.image.shape[:2]
        return Seen(frame.number, frame.time, faces, people, ended, embedded, (width, height))

    def finish(self) -> Seen:
        """End all tracks, as the source has ended."""
        ended = tuple(self.tracker.ended(np.inf))
        people = {track.id: self.person(track.id) for track in ended}
        last = max((track.last for track in ended), default=0.0)
        return Seen(-1, last, Faces.empty(), people, ended, 0)

    def person(self, track: int) -> Person:
        """Return whom a track shows."""
        return self.identities[track].person if track in self.identities else UNSEEN

    def _embed(self, frame: Frame, faces: Faces) -> int:
        """Look closer at the faces that are worth it, and ask who they are."""
        assert faces.landmarks is not None
        assert faces.track_ids is not None
        naming = self.how.naming
        qualities = [worth(quality) for quality in measure(frame.image, faces.landmarks)]
        tracks = [int(track) for track in faces.track_ids]
        wanted = [
            i
            for i, (track, quality) in enumerate(zip(tracks, qualities, strict=True))
            if self.identities.setdefault(track, Identity()).wants(quality, frame.time, naming)
        ]
        if not wanted:
            return 0
        vectors = self._analyzer.embed(self._analyzer.crop(frame.image, faces[np.array(wanted)])).vectors
        for i, vector in zip(wanted, vectors, strict=True):
            identity = self.identities[tracks[i]]
            identity.add(qualities[i], vector, frame.time, naming)
            self.tracker.tracks[tracks[i]].template = identity.template
            if self._gallery is not None:
                identity.decide(self._gallery, self._analyzer.model, naming)
        return len(wanted)

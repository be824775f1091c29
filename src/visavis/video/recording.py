"""A whole video file at once: every face of it, who is who, and what happened, complete and as fast as cores allow.

`record` is a pure function of one file; `recorder` is the same for a job that takes and gives plain values.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.analysis.quality import measure, worth
from visavis.errors import InputError
from visavis.events.event import Event
from visavis.gallery import Gallery, open_gallery
from visavis.pipeline import Analyzer
from visavis.types import Faces, FloatArray
from visavis.video.face_table import FaceTable
from visavis.video.following import Following, Seen
from visavis.video.frames import Frame, VideoInfo, frames, opened_file, turned, until_problem, video
from visavis.video.identity import UNSEEN, Person
from visavis.video.lookout import Lookout
from visavis.video.places import Line, Zone
from visavis.video.snapshots import cut

__all__ = ["Look", "Progress", "Recording", "detected", "follow_video", "record", "recorder"]

Progress = Callable[[float, float | None], None]
"""Called with the seconds of video done, and with how many there are, where that is known."""

_FIRST_YEAR = 1990  # clocks that were never set say 1904 or 1970
_PORTRAIT = 256  # largest side of the pictures kept
_AROUND = 0.4  # of a box's longer side, on each side of it


@dataclass(frozen=True)
class Look:
    """The best picture of a track.

    Attributes
    ----------
    time
        Seconds since the first frame.
    worth
        See `visavis.analysis.quality.worth`.
    jpeg
        The face with some of what is around it, a square JPEG of at most 256 pixels a side, unless the frame ends
        there.
    """

    time: float
    worth: float
    jpeg: bytes


@dataclass(frozen=True, eq=False)
class Recording:
    """What a video file showed, as columns with a row a face found.

    Attributes
    ----------
    path, info
        The file, and what its container says.
    start
        UTC of the first frame.
    looked
        How many frames were looked at.
    seconds
        Time of the last of them.
    every, rotate
        Seconds between frames looked at, 0 for each; degrees clockwise by which they were turned beyond what the
        container says.
    frames, times, tracks, boxes, scores
        ``(n,)`` int32, float64, int32 and float32, boxes ``(n, 4)`` float32 pixels of the upright frame; in the order
        of the frames. Track 0 is a face that never became a track.
    people
        Of each track, whom it shows: what was known in the end holds for all of it.
    events
        In the order in which they happened.
    looks
        Of each track the best picture, where they were asked for.
    embedded
        How many faces were embedded.
    problem
        What kept the file from being read to its end.
    """

    path: str
    info: VideoInfo
    start: datetime
    looked: int
    seconds: float
    every: float
    rotate: int
    frames: npt.NDArray[np.int32]
    times: npt.NDArray[np.float64]
    tracks: npt.NDArray[np.int32]
    boxes: FloatArray
    scores: FloatArray
    people: Mapping[int, Person]
    events: tuple[Event, ...]
    looks: Mapping[int, Look] = field(default_factory=dict)
    embedded: int = 0
    problem: str | None = None

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def subjects(self) -> tuple[str, ...]:
        """Names of who was recognized, sorted."""
        return tuple(sorted({person.subject for person in self.people.values() if person.subject is not None}))

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the pictures as JSON has it."""
        return {
            "video": self.path,
            "container": asdict(self.info),
            "start": self.start.isoformat(),
            "frames_looked_at": self.looked,
            "seconds": round(self.seconds, 6),
            "every_s": self.every,
            "rotate": self.rotate,
            "frame": self.frames.tolist(),
            "time_s": self.times.round(6).tolist(),
            "track": self.tracks.tolist(),
            "box": self.boxes.astype(np.float64).round(2).tolist(),
            "score": self.scores.astype(np.float64).round(4).tolist(),
            "people": {str(track): asdict(person) for track, person in self.people.items()},
            "events": [event.to_dict() for event in self.events],
            "embedded": self.embedded,
            "problem": self.problem,
        }


def follow_video(
    path: str | os.PathLike[str],
    analyzer: Analyzer,
    gallery: Gallery | None = None,
    how: Following | None = None,
    *,
    every: float = 0.0,
    rotate: int = 0,
    start: datetime | None = None,
    lines: Sequence[Line] = (),
    zones: Sequence[Zone] = (),
    progress: Progress | None = None,
) -> Iterator[tuple[Seen, list[Event]]]:
    """Give what each frame of a file shows and what happens in it, no frame left out, holding a few at a time.

    The last one given has number -1: it ends the tracks. Parameters as of `record`.

    Raises
    ------
    InputError
        As `visavis.video.frames.frames`; of a file that was cut off, after all that could be read.
    """
    info = video(path)
    lookout = _lookout(path, info, analyzer, gallery, how, every, start, lines, zones)
    for looked in _followed(path, info, lookout, analyzer, every, rotate, progress):
        yield looked.seen, looked.events


def record(
    path: str | os.PathLike[str],
    analyzer: Analyzer,
    gallery: Gallery | None = None,
    how: Following | None = None,
    *,
    every: float = 0.0,
    rotate: int = 0,
    start: datetime | None = None,
    lines: Sequence[Line] = (),
    zones: Sequence[Zone] = (),
    looks: bool = False,
    progress: Progress | None = None,
) -> Recording:
    """Go through a whole video file.

    Faces are looked for on all of the analyzer's threads, and followed in the order of the frames. A track is traced
    back to its first frames, which were seen before it was sure to be one. Memory grows by 36 bytes a face found.

    Parameters
    ----------
    analyzer
        Finds faces; with a recognizer, tells them apart.
    gallery
        Gives the names.
    how
        How faces are followed. Its ``detect_every`` has no part in it: ``every`` says what is looked at, and stretches
        a ``gap`` that is too short for it.
    every
        Seconds between the frames looked at; 0 looks at each.
    rotate
        Degrees clockwise to turn frames beyond what the container says.
    start
        UTC of the first frame; by default what the container says, else when the file was last written less its length.
    lines, zones
        Where to look for events of crossing and staying.
    looks
        Keep the best picture of each track.
    progress
        Called after each frame.

    Raises
    ------
    InputError
        As `visavis.video.frames.frames`, if not one frame can be read. Of a file that was cut off what there is comes
        back, with its ``problem``.

    Examples
    --------
    >>> from visavis.models.store import Store
    >>> found = record(Store().path("carphone"), Analyzer(threads=1, min_face=28, precision="f32"))
    >>> found.looked, len(found.people), sorted(set(found.tracks.tolist()))
    (120, 1, [1])
    """
    info = video(path)
    began = start or started(path, info)
    lookout = _lookout(path, info, analyzer, gallery, how, every, began, lines, zones)
    columns = FaceTable()
    people: dict[int, Person] = {}
    events: list[Event] = []
    best: dict[int, Look] = {}
    looked = embedded = 0
    last, problem = 0.0, None
    try:
        for one in _followed(path, info, lookout, analyzer, every, rotate, progress):
            events += one.events
            embedded += one.seen.embedded
            for track in one.seen.ended:
                people[track.id] = one.seen.people.get(track.id, UNSEEN)
            if one.frame is None:
                continue
            looked, last = looked + 1, one.frame.time
            columns.add(one.frame, one.faces, one.tracks)
            if looks:
                _keep_best(best, one.frame, one.faces, one.tracks)
    except InputError as error:
        if not looked:
            raise
        problem = str(error)
    found: dict[str, Any] = columns.columns()
    for track in np.unique(found["tracks"]).tolist():  # one may have begun and ended before anything was said of it
        if track:
            people.setdefault(track, UNSEEN)
    return Recording(
        *(os.fspath(path), info, began, looked, last, every, rotate),
        **found,
        people=people,
        events=tuple(events),
        looks=best,
        embedded=embedded,
        problem=problem,
    )


def started(path: str | os.PathLike[str], info: VideoInfo) -> datetime:
    """Return when a recording began: as its container says, else its file's date less its length."""
    with opened_file(path) as container:
        said = str(container.metadata.get("creation_time") or "")
    with contextlib.suppress(ValueError):
        time = datetime.fromisoformat(said.strip().replace("Z", "+00:00"))
        if time.year >= _FIRST_YEAR:
            return time.astimezone(timezone.utc) if time.tzinfo else time.replace(tzinfo=timezone.utc)
    written = datetime.fromtimestamp(Path(path).stat().st_mtime, timezone.utc)
    return written - timedelta(seconds=info.seconds or 0.0)


def recorder(settings: Mapping[str, Any]) -> Callable[[str], dict[str, Any]]:
    """Return what turns the path of a video into `Recording.to_dict`: a unit of work for jobs over many machines.

    Parameters
    ----------
    settings
        Plain values: ``analyzer`` (arguments of `visavis.Analyzer`), ``gallery`` (a file) with ``collection``, and
        ``every`` and ``rotate`` as `record` takes them; none is needed.

    Raises
    ------
    InputError
        If there are others.
    """
    known = {"analyzer", "gallery", "collection", "every", "rotate"}
    if unknown := sorted(set(settings) - known):
        raise InputError(f"a recorder takes {', '.join(sorted(known))}, not {unknown[0]!r}")
    analyzer = Analyzer(**settings.get("analyzer", {}))
    file = settings.get("gallery")
    where = {"collection": settings.get("collection", "default"), "analyzer": analyzer, "create": False}
    gallery = None if file is None else open_gallery(file, **where)
    steps = {name: settings[name] for name in ("every", "rotate") if name in settings}
    return lambda path: record(path, analyzer, gallery, **steps).to_dict()


@dataclass(frozen=True, eq=False)
class _Looked:
    """One frame looked at: all faces found in it, the track of each, and what that means; the last has no frame."""

    frame: Frame | None
    faces: Faces
    tracks: npt.NDArray[np.int32]
    seen: Seen
    events: list[Event]


def _lookout(
    path: str | os.PathLike[str],
    info: VideoInfo,
    analyzer: Analyzer,
    gallery: Gallery | None,
    how: Following | None,
    every: float,
    start: datetime | None,
    lines: Sequence[Line],
    zones: Sequence[Zone],
) -> Lookout:
    how = how or Following()
    how = replace(how, detect_every=1, tracking=how.tracking.looking_every(every))
    start = start or started(path, info)
    return Lookout(os.fspath(path), analyzer, gallery, how, start=start, lines=lines, zones=zones)


def _followed(
    path: str | os.PathLike[str],
    info: VideoInfo,
    lookout: Lookout,
    analyzer: Analyzer,
    every: float,
    rotate: int,
    progress: Progress | None,
) -> Iterator[_Looked]:
    problem: list[InputError] = []
    source = until_problem(frames(path, every=every), problem)
    for frame, faces in detected(source, analyzer, rotate):
        seen, events = lookout.step(frame, faces=faces)
        yield _Looked(frame, faces, _tracks(faces, seen), seen, events)
        if progress is not None:
            progress(frame.time, info.seconds)
    yield _Looked(None, Faces.empty(), np.empty(0, np.int32), *lookout.finish())
    if problem:
        raise problem[0]


def detected(source: Iterator[Frame], analyzer: Analyzer, rotate: int = 0) -> Iterator[tuple[Frame, Faces]]:
    """Find the faces of frames in their order: threads look at a few frames while the next ones are decoded."""
    threads = analyzer.options.threads
    upright = (replace(frame, image=turned(frame.image, rotate)) if rotate else frame for frame in source)
    if threads == 1:
        for frame in upright:
            yield frame, analyzer.detect([frame.image])[0]
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="visavis-video") as pool:
        waiting: deque[tuple[Frame, Future[list[Faces]]]] = deque()
        try:
            for frame in upright:
                waiting.append((frame, pool.submit(analyzer.detect, [frame.image], parallel=threads)))
                if len(waiting) > threads:
                    first, found = waiting.popleft()
                    yield first, found.result()[0]
            while waiting:
                first, found = waiting.popleft()
                yield first, found.result()[0]
        finally:
            for _, found in waiting:
                found.cancel()


def _tracks(faces: Faces, seen: Seen) -> npt.NDArray[np.int32]:
    """Return the track of each face found, 0 where it has none."""
    ids = seen.faces.track_ids
    of = {} if ids is None else {box.tobytes(): int(i) for box, i in zip(seen.faces.boxes, ids, strict=True)}
    return np.array([of.get(box.tobytes(), 0) for box in faces.boxes], np.int32)


def _keep_best(best: dict[int, Look], frame: Frame, faces: Faces, tracks: npt.NDArray[np.int32]) -> None:
    if faces.landmarks is None or not tracks.any():
        return
    rows = np.flatnonzero(tracks)
    for row, quality in zip(rows.tolist(), measure(frame.image, faces.landmarks[rows]), strict=True):
        track, value = int(tracks[row]), worth(quality, _PORTRAIT)
        if track not in best or value > best[track].worth:
            picture = cut(frame.image, _square(faces.boxes[row]), margin=_AROUND, side=_PORTRAIT)
            best[track] = Look(frame.time, value, picture)


def _square(box: FloatArray) -> list[float]:
    center, half = (box[:2] + box[2:]) / 2, float((box[2:] - box[:2]).max()) / 2
    return [*(center - half).tolist(), *(center + half).tolist()]

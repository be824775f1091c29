"""From what frames show to events: who came, who it is, what lines they crossed, where they stayed, who left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from visavis.errors import InputError
from visavis.events.event import Event, EventKind
from visavis.video.following import Seen
from visavis.video.identity import UNSEEN, Person
from visavis.video.places import Line, LineState, Point, Zone, crossed, within

__all__ = ["Line", "Scene", "Zone"]

# Share of a face's height by which its center must be past a line or out of a zone: boxes tremble by less.
_MARGIN = 0.1

Box = tuple[float, float, float, float]


@dataclass
class _Visit:
    """A track that appeared and has not left."""

    first: float
    last: float
    at: datetime
    person: Person = UNSEEN
    lines: dict[str, LineState] = field(default_factory=dict)
    entered: dict[str, float] = field(default_factory=dict)
    """Since when it is in which zone."""
    stayed: set[str] = field(default_factory=set)
    """Zones whose `Zone.seconds` were told."""


class Scene:
    """Turns what a camera sees into events.

    A face is where the center of its box is. Each track that appeared leaves once. All events but ``left`` belong to a
    frame that shows the face, and have its time; ``left`` has the time at which the face was seen last, and is told
    when its track has ended.

    Parameters
    ----------
    camera
        Its name.
    start
        UTC of second 0 of the frames' times.
    run
        Tells this start of the camera from others.
    lines, zones
        Where to look for ``line_crossed`` and ``dwell``; each name once.
    """

    def __init__(
        self, camera: str, start: datetime, run: str, *, lines: Sequence[Line] = (), zones: Sequence[Zone] = ()
    ) -> None:
        self.camera = camera
        self.run = run
        self._start = start
        self._lines = tuple(lines)
        self._zones = tuple(zones)
        self._visits: dict[int, _Visit] = {}
        names = [line.name for line in self._lines] + [zone.name for zone in self._zones]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"camera {camera!r} has two places named {name!r}; events couldn't tell them apart")

    def step(self, seen: Seen, at: datetime | None = None) -> list[Event]:
        """Return the events of a frame: first who left, then a face after the other, each in the order of a visit.

        Parameters
        ----------
        seen
            Of the frame.
        at
            When it was taken, UTC; None: ``start`` and the frame's time.
        """
        at = self._start + timedelta(seconds=seen.time) if at is None else at
        return [*self._left(seen), *self._shown(seen, at)]

    def _left(self, seen: Seen) -> Iterator[Event]:
        for track in seen.ended:
            visit = self._visits.pop(track.id, None)
            if visit is not None:
                person = seen.people.get(track.id, UNSEEN)
                seconds = round(visit.last - visit.first, 3)
                yield self._event("left", track.id, visit.last, visit.at, person, seconds=seconds)

    def _shown(self, seen: Seen, at: datetime) -> Iterator[Event]:
        if not seen.looked or seen.faces.track_ids is None:
            return
        for track, corners in zip(seen.faces.track_ids.tolist(), seen.faces.boxes.tolist(), strict=True):
            box = (round(corners[0], 1), round(corners[1], 1), round(corners[2], 1), round(corners[3], 1))
            person = seen.people.get(track, UNSEEN)
            if track not in self._visits:
                self._visits[track] = _Visit(seen.time, seen.time, at)
                yield self._event("appeared", track, seen.time, at, box=box)
            visit = self._visits[track]
            visit.last, visit.at = seen.time, at
            yield from self._named(visit, track, person, seen.time, at, box)
            yield from self._placed(visit, track, person, seen, at, box)

    def _named(self, visit: _Visit, track: int, person: Person, time: float, at: datetime, box: Box) -> Iterator[Event]:
        before, visit.person = visit.person, person
        if person.subject is not None and person.subject != before.subject:
            yield self._event("identified", track, time, at, person, box=box)
        elif (
            person.subject is None
            and person.known
            and (not before.known or person.corrects not in (None, before.corrects))
        ):
            yield self._event("unknown", track, time, at, person, box=box)

    def _placed(self, visit: _Visit, track: int, person: Person, seen: Seen, at: datetime, box: Box) -> Iterator[Event]:
        width, height = seen.size
        center = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        margin = _MARGIN * (box[3] - box[1])

        def placed(place: Point) -> Point:
            return place[0] * width, place[1] * height

        for line in self._lines:
            state = visit.lines.get(line.name, LineState())
            visit.lines[line.name], gone = crossed(placed(line.a), placed(line.b), state, center, margin)
            if gone is not None:
                yield self._event(
                    "line_crossed", track, seen.time, at, person, box=box, place=line.name, direction=gone
                )
        for zone in self._zones:
            since = visit.entered.get(zone.name)
            inside = within([placed(corner) for corner in zone.polygon], center, 0.0 if since is None else margin)
            if not inside:
                visit.entered.pop(zone.name, None)
                visit.stayed.discard(zone.name)
                continue
            seconds = seen.time - visit.entered.setdefault(zone.name, seen.time)
            if seconds >= zone.seconds and zone.name not in visit.stayed:
                visit.stayed.add(zone.name)
                stayed = round(seconds, 3)
                yield self._event("dwell", track, seen.time, at, person, box=box, place=zone.name, seconds=stayed)

    def _event(
        self,
        kind: EventKind,
        track: int,
        time: float,
        at: datetime,
        person: Person = UNSEEN,
        *,
        box: Box | None = None,
        place: str | None = None,
        direction: str | None = None,
        seconds: float | None = None,
    ) -> Event:
        return Event(
            kind,
            self.camera,
            at,
            self.run,
            track,
            person.subject,
            None if person.similarity is None else round(person.similarity, 4),
            None if person.fmr is None else float(f"{person.fmr:.3g}"),
            round(time, 6),
            box,
            place,
            direction,
            seconds,
            corrects=person.corrects if kind in ("identified", "unknown") else None,
        )

"""From what frames show to events: who came, who it is, who left."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from visavis.events.event import Event, EventKind
from visavis.video.following import Seen
from visavis.video.identity import Person

__all__ = ["Scene"]


@dataclass
class _Visit:
    first: float
    person: Person


class Scene:
    """Turns what a camera sees into events.

    Parameters
    ----------
    camera
        Its name.
    start
        UTC of second 0 of the frames' times.
    run
        Tells this start of the camera from others.
    """

    def __init__(self, camera: str, start: datetime, run: str) -> None:
        self.camera = camera
        self.run = run
        self._start = start
        self._visits: dict[int, _Visit] = {}

    def step(self, seen: Seen) -> list[Event]:
        """Return the events of a frame, in the order in which they happened."""
        return list(self._events(seen))

    def _events(self, seen: Seen) -> Iterator[Event]:
        assert seen.faces.track_ids is not None or not len(seen.faces)
        ids = [] if seen.faces.track_ids is None else seen.faces.track_ids.tolist()
        for track, box in zip(ids, seen.faces.boxes.tolist(), strict=True):
            at = (round(box[0], 1), round(box[1], 1), round(box[2], 1), round(box[3], 1))
            if track not in self._visits:
                self._visits[track] = _Visit(seen.time, Person())
                yield self._event("appeared", track, seen.time, box=at)
            visit, person = self._visits[track], seen.people[track]
            if person.subject is not None and person.subject != visit.person.subject:
                yield self._event("identified", track, seen.time, person, box=at)
            elif person.known and not visit.person.known:
                yield self._event("unknown", track, seen.time, person, box=at)
            visit.person = person
        for track in seen.ended:
            visit = self._visits.pop(track.id)
            yield self._event("left", track.id, track.last, visit.person, seconds=round(track.last - track.first, 3))

    def _event(
        self,
        kind: EventKind,
        track: int,
        time: float,
        person: Person | None = None,
        *,
        box: tuple[float, float, float, float] | None = None,
        seconds: float | None = None,
    ) -> Event:
        person = person or Person()
        return Event(
            kind,
            self.camera,
            self._start + timedelta(seconds=time),
            self.run,
            track,
            person.subject,
            None if person.similarity is None else round(person.similarity, 4),
            person.fmr,
            round(time, 6),
            box,
            seconds=seconds,
            corrects=person.corrects if kind == "identified" else None,
        )

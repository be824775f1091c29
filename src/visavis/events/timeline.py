"""From events to visits, timelines and attendance lists: pure functions, for stores and for single files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from visavis.events.event import Event

__all__ = ["Attendance", "Stay", "Visit", "attendance", "timeline", "visits"]

JOIN = timedelta(seconds=60)
"""How long somebody may be out of a camera's sight and still be on the same stay."""


@dataclass(frozen=True)
class Visit:
    """One face followed by one camera from its first to its last event.

    Attributes
    ----------
    subject
        The last name it was given; None where it was given none.
    camera, run, track
        Which visit.
    start, end
        UTC. A visit that goes on ends, for now, at its last event.
    similarity
        The highest at which it was given that name.
    open
        Whether it goes on: the camera did not say that the face left, nor has it begun anew since.
    """

    subject: str | None
    camera: str
    start: datetime
    end: datetime
    run: str = ""
    track: int = 0
    similarity: float | None = None
    open: bool = False

    @property
    def seconds(self) -> float:
        """How long it was."""
        return (self.end - self.start).total_seconds()

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, JSON-ready."""
        place = {"camera": self.camera, "run": self.run, "track": self.track}
        return {"subject": self.subject, **place, **_span(self), "similarity": self.similarity, "open": self.open}


@dataclass(frozen=True)
class Stay:
    """Visits of one person at one camera with little time between, as one; of an unknown face a single visit.

    Attributes
    ----------
    subject
        Who; None: unknown.
    camera, start, end
        Where, and from when to when, UTC.
    visits
        How many visits it joins.
    run, track
        Of its first visit.
    similarity
        The highest of its visits.
    open
        Whether it goes on.
    """

    subject: str | None
    camera: str
    start: datetime
    end: datetime
    visits: int = 1
    run: str = ""
    track: int = 0
    similarity: float | None = None
    open: bool = False

    @property
    def seconds(self) -> float:
        """How long it was."""
        return (self.end - self.start).total_seconds()

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, JSON-ready."""
        place = {"camera": self.camera, "run": self.run, "track": self.track}
        known = {"visits": self.visits, "similarity": self.similarity, "open": self.open}
        return {"subject": self.subject, **place, **_span(self), **known}


@dataclass(frozen=True)
class Attendance:
    """When a person was there.

    Attributes
    ----------
    subject
        Who.
    first, last
        First and last seen, UTC.
    present
        How long in all: what several cameras saw at the same time counts once.
    visits
        How many visits.
    """

    subject: str
    first: datetime
    last: datetime
    present: timedelta
    visits: int

    @property
    def minutes(self) -> float:
        """`present` in minutes."""
        return self.present.total_seconds() / 60

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, JSON-ready."""
        seen = {"first_seen": _text(self.first), "last_seen": _text(self.last)}
        return {"subject": self.subject, **seen, "minutes": round(self.minutes, 3), "visits": self.visits}


def visits(events: Iterable[Event]) -> list[Visit]:
    """Return the visits that events tell of, in the order in which they began.

    The last name a visit was given counts for all of it, unless it was taken back. Events of cameras themselves are
    passed over.

    Parameters
    ----------
    events
        In any order.

    Examples
    --------
    >>> from datetime import timezone
    >>> at = [datetime(2026, 5, 1, 8, minute, tzinfo=timezone.utc) for minute in range(3)]
    >>> seen = [Event("appeared", "door", at[0], "r", 1), Event("identified", "door", at[1], "r", 1, "ada", 0.7)]
    >>> (visit,) = visits([*seen, Event("left", "door", at[2], "r", 1, "ada")])
    >>> visit.subject, visit.seconds, visit.similarity, visit.open
    ('ada', 120.0, 0.7, False)
    """
    found: dict[tuple[str, str, int], Visit] = {}
    runs: dict[tuple[str, str], tuple[datetime, datetime]] = {}  # their first and last event
    newest: dict[str, datetime] = {}  # when the last run of a camera began
    named: dict[tuple[str, str, int], datetime] = {}
    best: dict[tuple[str, str, int, str], float] = {}
    for event in events:
        if event.track is None:
            continue
        key = (event.camera, event.run, event.track)
        visit = found.get(key)
        if visit is None:
            visit = Visit(None, event.camera, event.time, event.time, event.run, event.track, open=True)
        start, end = min(visit.start, event.time), max(visit.end, event.time)
        subject = visit.subject
        if event.subject is not None or (event.kind == "unknown" and event.corrects is not None):  # a name taken back
            if key not in named or event.time >= named[key]:
                subject, named[key] = event.subject, event.time
            if event.subject is not None and event.similarity is not None:
                who = (*key, event.subject)
                best[who] = max(event.similarity, best.get(who, event.similarity))
        going_on = visit.open and event.kind != "left"
        found[key] = replace(visit, subject=subject, start=start, end=end, open=going_on)
        first, last = runs.get(key[:2], (event.time, event.time))
        runs[key[:2]] = min(first, event.time), max(last, event.time)
    for (camera, _), (first, _) in runs.items():
        newest[camera] = max(first, newest.get(camera, first))
    done = (
        replace(
            visit,
            similarity=None if visit.subject is None else best.get((*key, visit.subject)),
            # A program that was killed told of nobody that they left.
            open=visit.open and newest[visit.camera] <= runs[key[:2]][1],
        )
        for key, visit in found.items()
    )
    return sorted(done, key=_order)


def timeline(visits: Iterable[Visit], join: timedelta = JOIN) -> list[Stay]:
    """Return who was where from when to when, in the order of the beginnings.

    Visits of one person at one camera become one stay where at most ``join`` lies between them. Nobody knows whether
    two unknown faces are one person, so each of their visits is a stay of its own.
    """
    stays: list[Stay] = []
    last: dict[tuple[str, str], int] = {}
    for visit in sorted(visits, key=_order):
        at = None if visit.subject is None else last.get((visit.subject, visit.camera))
        if at is not None and visit.start - stays[at].end <= join:
            before = stays[at]
            known = [value for value in (before.similarity, visit.similarity) if value is not None]
            stays[at] = replace(
                before,
                end=max(before.end, visit.end),
                visits=before.visits + 1,
                similarity=max(known, default=None),
                open=before.open or visit.open,
            )
            continue
        if visit.subject is not None:
            last[visit.subject, visit.camera] = len(stays)
        place = (visit.camera, visit.start, visit.end)
        stays.append(Stay(visit.subject, *place, 1, visit.run, visit.track, visit.similarity, visit.open))
    return stays


def attendance(visits: Iterable[Visit]) -> list[Attendance]:
    """Return when each named person was there, by name. Time that several cameras saw a person counts once."""
    of: dict[str, list[Visit]] = {}
    for visit in visits:
        if visit.subject is not None:
            of.setdefault(visit.subject, []).append(visit)
    return [_attendance(subject, of[subject]) for subject in sorted(of)]


def _attendance(subject: str, some: list[Visit]) -> Attendance:
    some = sorted(some, key=_order)
    present, end = timedelta(0), some[0].start
    for visit in some:
        present += max(timedelta(0), visit.end - max(end, visit.start))
        end = max(end, visit.end)
    return Attendance(subject, some[0].start, end, present, len(some))


def _order(visit: Visit) -> tuple[datetime, str, str, int]:
    return visit.start, visit.camera, visit.run, visit.track


def _span(span: Visit | Stay) -> dict[str, Any]:
    return {"from": _text(span.start), "to": _text(span.end), "seconds": round(span.seconds, 3)}


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

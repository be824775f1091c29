"""Listing events in the order of their times, page by page: each page costs the same, however many events there are."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TypeAlias

from sqlalchemy import ColumnElement, select, tuple_

from visavis.database.file import DatabaseFile
from visavis.database.server import Server
from visavis.database.times import to_micros
from visavis.errors import InputError
from visavis.events.event import KINDS, Event, EventKind
from visavis.events.schema import event_of, events
from visavis.names import checked_name

__all__ = ["PAGE", "Database", "listed", "micros_of"]

Database: TypeAlias = "DatabaseFile | Server"

PAGE = 1_000
"""Events read at once."""


def listed(
    database: Database,
    kinds: Iterable[EventKind],
    cameras: Iterable[str],
    subjects: Iterable[str],
    since: datetime | None,
    until: datetime | None,
    limit: int | None,
) -> Iterator[Event]:
    """Yield events; see `visavis.events.store.EventStore.events`."""
    where: list[ColumnElement[bool]] = []
    if unknown := sorted(set(kinds := list(kinds)) - set(KINDS)):
        raise InputError(f"events are {', '.join(KINDS)}, not {unknown[0]!r}")
    if kinds:
        where.append(events.c.kind.in_(kinds))
    if since is not None:
        where.append(events.c.time >= micros_of(since))
    if until is not None:
        where.append(events.c.time < micros_of(until))
    # One stream for each name, each in the order of an index that begins with the name: one question for several
    # names would sort all that is left for every page.
    people, places = sorted({checked_name(name) for name in subjects}), sorted(set(cameras))
    if people:
        if places:
            where.append(events.c.camera.in_(places))
        streams = [_pages(database, [*where, events.c.subject == name]) for name in people]
    else:
        streams = [_pages(database, [*where, events.c.camera == name]) for name in places] or [_pages(database, where)]
    return (event for _, _, event in itertools.islice(heapq.merge(*streams), limit))


def _pages(database: Database, where: list[ColumnElement[bool]]) -> Iterator[tuple[int, int, Event]]:
    at: tuple[int, int] | None = None
    while True:
        page = select(events).where(*where).order_by(events.c.time, events.c.seq).limit(PAGE)
        if at is not None:
            page = page.where(tuple_(events.c.time, events.c.seq) > at)
        with database.reading() as connection:
            rows = connection.execute(page).all()
        for row in rows:
            yield row.time, row.seq, event_of(row)
        if len(rows) < PAGE:
            return
        at = rows[-1].time, rows[-1].seq


def micros_of(moment: datetime) -> int:
    """Return a moment as the store keeps it; `InputError` where it has no time zone."""
    if moment.tzinfo is None:
        raise InputError(f"the time {moment} needs its time zone")
    return to_micros(moment)

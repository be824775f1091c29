"""The tables of a store of events, as SQLAlchemy Core: the same on SQLite and PostgreSQL.

::

    meta        key, value                       schema_version; a pending erasure
    events      seq, id, time, kind, camera ...  the fields of `Event`, a column each
    deliveries  id, event, target, queued, attempts, next_try, problem     what is still to be sent
    copies      id, path, kind, machine          files that hold copies of events, and folders of snapshots
    forgotten   run, track, erased               visits that were erased: what still comes of them is not kept
    aliases     run, track, old, new             visits that went on when somebody was renamed
    removals    copy, event, whole, snapshot     what is still to be taken out of a copy

Times are microseconds since 1970 in UTC, a box is a JSON array. ``seq`` is never used twice: with the time it is an
event's place in a listing. A name stands in ``events.subject``, ``events.corrects``, and for a while in ``aliases`` and
in what a target answered (``deliveries.problem``), and nowhere else.
"""

from __future__ import annotations

import json
import math
from dataclasses import fields
from typing import Any

from sqlalchemy import (
    DDL,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Row,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.event import listen

from visavis.database.contents import Contents, meta_table
from visavis.database.times import from_micros, to_micros
from visavis.errors import EventError, EventStoreBusy, EventStoreTooNew, InputError, NotAnEventStore
from visavis.events.event import Event

__all__ = [
    "CONTENTS",
    "aliases",
    "copies",
    "deliveries",
    "event_of",
    "events",
    "forgotten",
    "meta",
    "removals",
    "values_of",
]

_Id = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by itself only for INTEGER
_MAX_TEXT = 4096  # characters of a camera's name (a path), of what was wrong with it
_TRACKS = 2**63

tables = MetaData()
meta = meta_table(tables)

events = Table(
    "events",
    tables,
    Column("seq", _Id, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("time", BigInteger, nullable=False),
    Column("kind", String(20), nullable=False),
    Column("camera", Text, nullable=False),
    Column("run", Text, nullable=False),
    Column("track", BigInteger),
    Column("subject", String(200)),
    Column("similarity", Double),
    Column("fmr", Double),
    Column("offset_s", Double),
    Column("box", Text),
    Column("place", Text),
    Column("direction", Text),
    Column("seconds", Double),
    Column("corrects", String(200)),
    Column("snapshot", Text),
    Column("detail", Text),
    Index("events_by_time", "time", "seq"),
    Index("events_by_camera", "camera", "time", "seq"),
    Index("events_by_visit", "run", "track"),
    sqlite_autoincrement=True,
)
for _name, _columns in (("subject", ("subject", "time", "seq")), ("correction", ("corrects",))):
    _known = events.c[_columns[0]].is_not(None)
    Index(f"events_by_{_name}", *(events.c[c] for c in _columns), sqlite_where=_known, postgresql_where=_known)

deliveries = Table(
    "deliveries",
    tables,
    Column("id", _Id, primary_key=True),
    Column("event", _Id, ForeignKey(events.c.seq), nullable=False),
    Column("target", Text, nullable=False),
    Column("queued", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("next_try", BigInteger),  # none: it was given up
    Column("problem", Text),
    UniqueConstraint("event", "target"),
    Index("deliveries_due", "next_try", "id"),
    sqlite_autoincrement=True,
)

copies = Table(
    "copies",
    tables,
    Column("id", _Id, primary_key=True),
    Column("path", Text, nullable=False),
    Column("kind", String(20), nullable=False),
    Column("machine", Text, nullable=False),
    UniqueConstraint("machine", "path"),
)

forgotten = Table(
    "forgotten",
    tables,
    Column("run", Text, primary_key=True),
    Column("track", BigInteger, primary_key=True, autoincrement=False),
    Column("erased", BigInteger, nullable=False),
)

aliases = Table(
    "aliases",
    tables,
    Column("run", Text, primary_key=True),
    Column("track", BigInteger, primary_key=True, autoincrement=False),
    Column("old", String(200), primary_key=True),
    Column("new", String(200), nullable=False),
)

removals = Table(
    "removals",
    tables,
    Column("copy", _Id, ForeignKey(copies.c.id), primary_key=True),
    Column("event", Text, primary_key=True),
    Column("whole", Boolean, nullable=False),
    Column("snapshot", Text),
)

# What a server learns of values, to plan queries, it keeps in a table of its own, where names would outlive an erasure.
for _table, _names in ((events, ("subject", "corrects")), (aliases, ("old", "new")), (deliveries, ("problem",))):
    for _name in _names:
        _blind = DDL(  # type: ignore[no-untyped-call]
            f"ALTER TABLE %(fullname)s ALTER COLUMN {_name} SET STATISTICS 0"
        )
        listen(_table, "after_create", _blind.execute_if(dialect="postgresql"))

CONTENTS = Contents(
    noun="event store",
    example="events.db",
    application_id=0x76697365,  # "vise"
    schema_version=1,
    tables=tables,
    error=EventError,
    foreign=NotAnEventStore,
    too_new=EventStoreTooNew,
    busy=EventStoreBusy,
    if_missing="visavis watch makes it; check the path",
)

_FIELDS = tuple(field.name for field in fields(Event))


def values_of(event: Event) -> dict[str, Any]:
    """Return the row of an event.

    Text that no database takes (lone surrogates of a path, null characters) is written with backslashes; numbers that
    are not finite are left out.
    """
    values = {name: _plain(getattr(event, name)) for name in _FIELDS if name not in ("time", "box")}
    if event.track is not None:
        values["track"] = int(event.track)
        if not -_TRACKS <= event.track < _TRACKS:
            raise InputError(f"a track's number has at most 63 bits, not {event.track}")
    values["time"] = to_micros(event.time)
    box = None if event.box is None else [_plain(float(side)) for side in event.box]
    values["box"] = None if box is None or None in box else json.dumps([round(side, 1) for side in box])
    return values


def event_of(row: Row[Any]) -> Event:
    """Return the event of a row; `NotAnEventStore` where the row is damaged."""
    try:
        values = {name: getattr(row, name) for name in _FIELDS}
        values["time"] = from_micros(values["time"])
        if values["box"] is not None:
            x1, y1, x2, y2 = map(float, json.loads(values["box"]))
            values["box"] = (x1, y1, x2, y2)
        return Event(**values)
    except (InputError, ValueError, TypeError, OverflowError):
        raise NotAnEventStore(
            f"event {row.seq} of the store is damaged; restore the store, or delete that row"
        ) from None


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        text = value.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\x00")
        return text if len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT - 3]}..."
    if value is None or isinstance(value, int):
        return value
    number = float(value)  # numpy's numbers, too
    return number if math.isfinite(number) else None

"""The store of events: kept when `add` returns, listed in time order, sent until delivered, forgotten on request."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert as insert_on_server
from sqlalchemy.dialects.sqlite import insert as insert_in_file

from visavis.database import erasure
from visavis.database.file import DatabaseFile
from visavis.database.server import Address, Server, is_address
from visavis.database.times import from_micros, micros_now
from visavis.errors import EventsOutOfReach
from visavis.events import forgetting
from visavis.events.copies import Copy, CopyKind
from visavis.events.event import Event, EventKind
from visavis.events.forgetting import Forgotten, Here
from visavis.events.listing import PAGE, Database, listed, micros_of
from visavis.events.schema import CONTENTS, aliases, deliveries, event_of, events, forgotten, values_of
from visavis.names import checked_name

__all__ = ["Delivery", "EventStore", "Forgotten", "open_events"]

_SCHEMA = "visavis_events"
_ERASE_SECONDS = 10.0
_LEASE = timedelta(seconds=60)
_AT_ONCE = 0  # by any clock, also one that is put back meanwhile


@dataclass(frozen=True)
class Delivery:
    """An event that a target is still to be told of.

    Attributes
    ----------
    id
        For `EventStore.delivered` and `EventStore.failed`.
    target
        Name of the target.
    event
        What happened.
    attempts
        How often sending it failed.
    queued
        When it was kept. UTC.
    """

    id: int
    target: str
    event: Event
    attempts: int
    queued: datetime


class EventStore:
    """Events in one SQLite file or on a PostgreSQL server. Made by `open_events`; safe to share among threads.

    Attributes
    ----------
    where
        The file, or the server's address without a password.
    snapshots
        Folder of the pictures of events, which need not exist; None for a server that was given none.
    """

    def __init__(self, database: Database, snapshots: Path | None, here: Here) -> None:
        self.where = database.where
        self.snapshots = snapshots
        self._database = database
        self._here = here

    # ---- writing

    def add(self, event: Event, targets: Iterable[str] = ()) -> bool:
        """Keep an event, and one delivery of it for each target, in one transaction.

        When this returns, they are on disk and survive a crash or a power cut.

        Returns
        -------
        Whether it was kept. Not where an event of that id is there, nor where the visit it belongs to was erased: then
        its snapshot is deleted.

        Raises
        ------
        StorageError, EventStoreBusy
            If the disk is full or read-only, or another process holds the store; nothing was changed.
        """
        return self.add_all([event], targets) == 1

    def add_all(self, some: Iterable[Event], targets: Iterable[str] = ()) -> int:
        """Keep several events as `add` does, all in one transaction, and return how many were new."""
        names = sorted(set(targets))
        rows = [values_of(event) for event in some]
        late: list[str] = []
        added = 0
        with self._database.writing() as connection:
            for row in rows:
                if row["track"] is not None and _is_forgotten(connection, row):
                    late += [row["snapshot"]] if row["snapshot"] else []
                    continue
                if row["track"] is not None and (row["subject"] or row["corrects"] or row["kind"] == "left"):
                    _rename(connection, row)
                added += self._insert(connection, row, names)
        for name in late:
            self._delete_snapshot(name)
        return added

    def _insert(self, connection: Connection, row: dict[str, Any], targets: Sequence[str]) -> int:
        insert = insert_on_server if isinstance(self._database, Server) else insert_in_file
        adding = insert(events).values(**row).on_conflict_do_nothing().inline()
        if connection.execute(adding, execution_options={"preserve_rowcount": True}).rowcount != 1:
            return 0
        if targets:
            number = connection.execute(select(events.c.seq).where(events.c.id == row["id"])).scalar_one()
            due = [{"event": number, "target": name, "queued": micros_now(), "next_try": _AT_ONCE} for name in targets]
            connection.execute(deliveries.insert(), due)
        return 1

    def _delete_snapshot(self, name: str) -> None:
        if self.snapshots is not None and Path(name).name == name:
            with contextlib.suppress(OSError):
                (self.snapshots / name).unlink()

    # ---- listing

    def events(
        self,
        kinds: Iterable[EventKind] = (),
        cameras: Iterable[str] = (),
        subjects: Iterable[str] = (),
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = None,
    ) -> Iterator[Event]:
        """Yield events in the order of their times, any number of them in bounded memory.

        Parameters
        ----------
        kinds, cameras, subjects
            Only these; empty: all.
        since, until
            From this moment on, and before that one; with a time zone.
        limit
            At most so many.

        Raises
        ------
        InputError
            At once, if there is no such kind, or a time has no zone.
        """
        return listed(self._database, kinds, cameras, subjects, since, until, limit)

    def mentions(self, subject: str) -> bool:
        """Return whether any event names a person."""
        name = checked_name(subject)
        with self._database.reading() as connection:
            for column in (events.c.subject, events.c.corrects):
                if connection.execute(select(events.c.seq).where(column == name).limit(1)).first() is not None:
                    return True
        return False

    def holds(self, id: str) -> bool:
        """Return whether the event of that id is kept: an erased or outdated one no more."""
        with self._database.reading() as connection:
            return connection.execute(select(events.c.seq).where(events.c.id == id)).first() is not None

    def of_ids(self, ids: Iterable[str]) -> list[Event]:
        """Return the events of these ids that are kept, in any order."""
        wanted = list(ids)
        found: list[Event] = []
        for i in range(0, len(wanted), PAGE):
            with self._database.reading() as connection:
                rows = connection.execute(select(events).where(events.c.id.in_(wanted[i : i + PAGE]))).all()
            found += map(event_of, rows)
        return found

    def __len__(self) -> int:
        """Return the number of events."""
        with self._database.reading() as connection:
            return int(connection.execute(select(func.count()).select_from(events)).scalar_one())

    def __bool__(self) -> bool:
        return True  # an empty store is a store all the same

    # ---- delivering

    def due(
        self, now: datetime, limit: int = 100, *, targets: Iterable[str] = (), lease: timedelta = _LEASE
    ) -> list[Delivery]:
        """Return deliveries whose time has come, first kept first, and keep them from other askers for a while.

        Parameters
        ----------
        now
            With a time zone.
        targets
            Only for these; empty: for all.
        lease
            Until ``now + lease`` nobody else is given them, so that two programs at one store don't send the same. One
            that dies meanwhile loses nothing: they are due again then.
        """
        moment = micros_of(now)
        due = [deliveries.c.next_try <= moment]
        if names := sorted(set(targets)):
            due.append(deliveries.c.target.in_(names))
        with self._database.reading() as connection:  # most of the time there is none: then nothing is locked
            if connection.execute(select(deliveries.c.id).where(*due).limit(1)).first() is None:
                return []
        with self._database.writing() as connection:
            first = select(deliveries.c.id).where(*due).order_by(deliveries.c.id).limit(limit)
            ids = list(connection.execute(first.with_for_update(skip_locked=True)).scalars())
            taken = deliveries.c.id.in_(ids)
            rows = connection.execute(_delivery.where(taken).order_by(deliveries.c.id)).all()
            connection.execute(update(deliveries).where(taken).values(next_try=micros_of(now + lease)))
        return [
            Delivery(row.delivery, row.target, event_of(row), row.attempts, from_micros(row.queued)) for row in rows
        ]

    def delivered(self, id: int) -> None:
        """Forget a delivery: the target has it, or is not to have it any more."""
        with self._database.writing() as connection:
            connection.execute(delete(deliveries).where(deliveries.c.id == id))

    def failed(self, id: int, retry_at: datetime | None, problem: str) -> None:
        """Say that sending failed, why, and when to try again, at the earliest; None: never, it is given up."""
        change = update(deliveries).where(deliveries.c.id == id)
        tried = {"attempts": deliveries.c.attempts + 1, "problem": problem[:500].replace("\0", "")}
        with self._database.writing() as connection:
            connection.execute(change.values(next_try=None if retry_at is None else micros_of(retry_at), **tried))

    def postponed(self, id: int, until: datetime) -> None:
        """Put a delivery off that was not tried."""
        with self._database.writing() as connection:
            connection.execute(update(deliveries).where(deliveries.c.id == id).values(next_try=micros_of(until)))

    def pending(self) -> dict[str, int]:
        """Return how many deliveries each target still waits for; targets without any are left out."""
        return self._counts(deliveries.c.next_try.is_not(None))

    def given_up(self) -> dict[str, int]:
        """Return how many deliveries to each target were given up; targets without any are left out."""
        return self._counts(deliveries.c.next_try.is_(None))

    def _counts(self, where: ColumnElement[bool]) -> dict[str, int]:
        counts = select(deliveries.c.target, func.count()).where(where).group_by(deliveries.c.target)
        with self._database.reading() as connection:
            return {target: int(count) for target, count in connection.execute(counts.order_by(deliveries.c.target))}

    def next_due(self) -> datetime | None:
        """Return when the next delivery is due; None where there is none."""
        with self._database.reading() as connection:
            first = connection.execute(select(func.min(deliveries.c.next_try))).scalar()
        return None if first is None else from_micros(first)

    # ---- forgetting

    def register_copy(self, path: str | os.PathLike[str], kind: CopyKind) -> Copy:
        """Return a file to append events to, which `erase`, `rename` and `prune` reach from now on.

        Raises
        ------
        InputError
            If the file is there and holds something else; it is left as it is.
        StorageError
            If its folder doesn't exist, or it can't be read.
        """
        copy = Copy(Path(path).expanduser().absolute(), kind, self.holds)
        copy.check()
        forgetting.register(self._database, self._here, copy.path, kind)
        return copy

    def erase(self, subject: str, *, timeout: float = _ERASE_SECONDS) -> Forgotten:
        """Forget a person: afterwards no byte of the name is in the store, its copies, or its deliveries.

        With them go the other events of the person's visits (a visit is of the last name it was given), also those
        still to come, and the pictures of all of them. Where the name was corrected to another, that mention goes.
        It takes as much free disk space as the store while it runs. Out of its reach are copies that are not
        registered, what targets were told, and a server's log and backups.

        Parameters
        ----------
        subject
            The name. Nothing being kept of it is no error.
        timeout
            Seconds to wait for other programs that use the store.

        Returns
        -------
        What was erased. Where it is empty, nothing was kept of that name.

        Raises
        ------
        EventStoreBusy
            If others kept using it. The events are deleted but bytes of them may remain; the store knows, and the next
            `erase`, `prune` or opening finishes it.
        StorageError
            If the disk is full, or a copy or picture can't be changed; repeat when that is put right.
        """
        return forgetting.erase(self._database, self._here, checked_name(subject), timeout)

    def rename(self, subject: str, to: str) -> int:
        """Give a person's events another name, in copies too, and return how many names changed.

        What a camera still sends of a visit under way gets the new name. Bytes of the old one may stay in the files
        until the next `erase` or `prune`.
        """
        return forgetting.rename(self._database, self._here, checked_name(subject), checked_name(to))

    def prune(self, before: datetime, *, timeout: float = _ERASE_SECONDS) -> Forgotten:
        """Forget what happened before a moment: events with deliveries, pictures and lines of copies, as `erase`."""
        micros_of(before)
        return forgetting.prune(self._database, self._here, before, timeout)

    @property
    def erasure_pending(self) -> bool:
        """Whether bytes of what was erased may still be in the files, as others kept using the store."""
        with self._database.reading() as connection:
            return erasure.is_pending(CONTENTS, connection)

    # ---- state

    def value(self, key: str) -> str | None:
        """Return a word that `set_value` kept; None where there is none."""
        with self._database.reading() as connection:
            return CONTENTS.value(connection, key)

    def set_value(self, key: str, value: str) -> None:
        """Keep a word of at most 64 characters' key. It must name nobody: erasing doesn't look here."""
        with self._database.writing() as connection:
            connection.execute(delete(CONTENTS.meta).where(CONTENTS.meta.c.key == key))
            connection.execute(CONTENTS.meta.insert().values(key=key, value=value))

    def close(self) -> None:
        """Close the store. Closing twice is fine."""
        self._database.close()

    def __enter__(self) -> EventStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


_delivery: Select[Any] = select(
    deliveries.c.id.label("delivery"), deliveries.c.target, deliveries.c.attempts, deliveries.c.queued, events
).join(events, events.c.seq == deliveries.c.event)


def open_events(
    where: str | os.PathLike[str], *, create: bool = True, snapshots: str | os.PathLike[str] | None = None
) -> EventStore:
    """Open a store of events, making it where there is none.

    Parameters
    ----------
    where
        A file, such as ``"events.db"``, or ``"postgresql://user@host/database"`` (needs the extra ``[postgres]``),
        where the tables get a schema of their own, ``visavis_events``.
    create
        Make it where it is missing.
    snapshots
        Folder of the pictures of events. Without it, of ``events.db`` it is ``events-snapshots`` beside the file.

    Raises
    ------
    NotAnEventStore, EventStoreTooNew
        If the file or schema is something else, or of a newer visavis; it is left as it is.
    EventError
        If there is none and ``create`` is false.
    EventsOutOfReach
        If the server doesn't answer or refuses the login.
    InputError
        If the address is malformed.
    StorageError
        If the file or its folder can't be read, or made.

    Examples
    --------
    >>> import tempfile
    >>> from datetime import timezone
    >>> with tempfile.TemporaryDirectory() as folder, open_events(f"{folder}/events.db") as store:
    ...     moment = datetime(2026, 5, 1, 8, tzinfo=timezone.utc)
    ...     added = [store.add(Event("identified", "door", moment, subject=name)) for name in ("ada", "bob")]
    ...     [event.subject for event in store.events(subjects=["bob"])]
    ['bob']
    """
    database: Database
    given = None if snapshots is None else Path(snapshots).expanduser().absolute()
    if is_address(where):
        address = Address.parse(str(where))
        database = Server(address, CONTENTS, _SCHEMA, EventsOutOfReach, create=create)
        here = Here(platform.node(), None)
    else:
        database = DatabaseFile(where, CONTENTS, create=create)
        file = database.path.absolute()
        here = Here("", file.parent)
        given = given or file.with_name(f"{file.stem}-snapshots")
    try:
        if given is not None and database.writable:
            forgetting.register(database, here, given, "snapshots")
        forgetting.resume(database, here)
    except BaseException:
        database.close()
        raise
    return EventStore(database, given, here)


def _is_forgotten(connection: Connection, row: dict[str, Any]) -> bool:
    visit = (forgotten.c.run == row["run"]) & (forgotten.c.track == row["track"])
    return connection.execute(select(forgotten.c.run).where(visit)).first() is not None


def _rename(connection: Connection, row: dict[str, Any]) -> None:
    """Give an event of a visit that began under a person's old name the new one."""
    visit = (aliases.c.run == row["run"]) & (aliases.c.track == row["track"])
    names = {alias.old: alias.new for alias in connection.execute(select(aliases).where(visit))}
    for field in ("subject", "corrects"):
        row[field] = names.get(row[field], row[field])
    if names and row["kind"] == "left":
        connection.execute(delete(aliases).where(visit))

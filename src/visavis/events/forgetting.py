"""Forgetting: what goes from the store, its snapshots and its copies when a person is erased, or a time is over.

It happens in an order in which nothing is lost from sight if the program dies in between:

1. Copies of events on this machine are rewritten without the person, found there by name.
2. One transaction deletes the rows, says which visits are forgotten, so that what a camera still sends of them is not
   kept, and which lines and pictures may still be left in copies: by the events' ids, without any name. It marks the
   store as `visavis.database.erasure` does.
3. Copies are rewritten again without those lines (somebody may have added one meanwhile), and pictures are deleted.
4. The store's file is written anew without the deleted bytes.

After the transaction, opening the store finishes what is left. What lies on another machine is finished there.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, and_, delete, insert, or_, select, update

from visavis.database import erasure
from visavis.database.file import DatabaseFile
from visavis.database.server import Server
from visavis.database.times import from_micros, micros_now, to_micros
from visavis.errors import StorageError, VisavisError
from visavis.events.copies import Change, Copy, Fields
from visavis.events.schema import CONTENTS, aliases, copies, deliveries, events, forgotten, meta, removals
from visavis.files import reason

__all__ = ["Forgotten", "Here", "erase", "prune", "register", "rename", "resume"]

Visit = tuple[str, int]
T = TypeVar("T")

_SNAPSHOTS = "snapshots"
_PRUNED = "pruned_before"
_AT_ONCE = 500  # SQLite binds at most 999 values in its oldest builds
_PRUNED_AT_ONCE = 5_000
_ORPHAN = re.compile(r"[0-9a-f]{32}\.(jpg|png)|\.new-.*")
_YOUNG = 3600.0  # seconds in which the event of a picture may still be under way
_RESUME_SECONDS = 1.0


@dataclass(frozen=True)
class Forgotten:
    """What was erased.

    Attributes
    ----------
    events, deliveries
        Of the store.
    snapshots
        Pictures.
    rows
        Lines changed or taken out of copies.
    elsewhere
        Machines where copies or pictures are left: opening the store there finishes it.
    """

    events: int = 0
    deliveries: int = 0
    snapshots: int = 0
    rows: int = 0
    elsewhere: tuple[str, ...] = ()

    def __add__(self, other: Forgotten) -> Forgotten:
        return Forgotten(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))

    def __bool__(self) -> bool:
        return any((self.events, self.deliveries, self.snapshots, self.rows))

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, JSON-ready."""
        return {**asdict(self), "elsewhere": list(self.elsewhere)}


@dataclass(frozen=True)
class Here:
    """The name of this machine among those that use a store, and the folder that copies' paths start from."""

    machine: str
    folder: Path | None

    def stored(self, path: Path) -> str:
        """Return a path as the table has it: below the store's folder without it, so that both may move."""
        within = self.folder is not None and path.is_relative_to(self.folder)
        return path.relative_to(self.folder).as_posix() if within and self.folder is not None else str(path)

    def path(self, stored: str) -> Path:
        """Return the path that `stored` wrote."""
        return Path(stored) if self.folder is None else self.folder / stored


def register(database: DatabaseFile | Server, here: Here, path: Path, kind: str) -> None:
    """Remember that a file holds copies of events, or a folder their pictures."""
    stored = here.stored(path)
    same = (copies.c.machine == here.machine) & (copies.c.path == stored)
    with database.reading() as connection:
        if connection.execute(select(copies.c.kind).where(same)).scalar() == kind:
            return
    with database.writing(alone=True) as connection:
        found = connection.execute(select(copies.c.id).where(same)).scalar()
        if found is None:
            connection.execute(insert(copies).values(path=stored, kind=kind, machine=here.machine))
        else:
            connection.execute(update(copies).where(copies.c.id == found).values(kind=kind))


def erase(database: DatabaseFile | Server, here: Here, name: str, timeout: float) -> Forgotten:
    """Forget a person: see `visavis.events.store.EventStore.erase`."""
    with database.reading() as connection:
        doomed = set(_visits_of(connection, name))
        files = _files(connection, here)
    rows = sum(copy.rewrite(_without(name, doomed | _visits_in(copy, name))) for _, copy in files)
    with database.writing(alone=True) as connection:
        done = _delete_person(connection, name)
    done += Forgotten(rows=rows) + _clean(database, here)
    done += Forgotten(snapshots=_sweep(database, here, time.time() - _YOUNG))
    _finish(database, timeout)
    with database.reading() as connection:
        return replace(done, elsewhere=_elsewhere(connection, here))


def _delete_person(connection: Connection, name: str) -> Forgotten:
    doomed = list(_visits_of(connection, name))
    gone: dict[int, tuple[str, str | None]] = {}
    kept = select(events.c.seq, events.c.id, events.c.snapshot)
    for run, track in doomed:
        visit = (events.c.run == run) & (events.c.track == track)
        gone.update({row.seq: (row.id, row.snapshot) for row in connection.execute(kept.where(visit))})
    named = connection.execute(kept.where(events.c.subject == name))
    gone.update({row.seq: (row.id, row.snapshot) for row in named})
    connection.execute(delete(aliases).where(or_(aliases.c.new == name, aliases.c.old == name)))
    mentions = {
        row.seq: row.id for row in connection.execute(kept.where(events.c.corrects == name)) if row.seq not in gone
    }
    told = deliveries.c.problem.contains(name, autoescape=True)  # what a receiver said of it
    answers = connection.execute(update(deliveries).where(told).values(problem=None)).rowcount
    if not gone and not mentions and not answers:
        return Forgotten()
    pending = _delete_events(connection, list(gone))
    for some in _batches(list(mentions)):
        connection.execute(update(events).where(events.c.seq.in_(some)).values(corrects=None))
        connection.execute(update(deliveries).where(deliveries.c.event.in_(some)).values(problem=None))
    now = micros_now()
    for run, track in doomed:
        visit = (forgotten.c.run == run) & (forgotten.c.track == track)
        connection.execute(delete(forgotten).where(visit))
        connection.execute(insert(forgotten).values(run=run, track=track, erased=now))
    for copy in connection.execute(select(copies)).all():
        pictures = copy.kind == _SNAPSHOTS
        left = [(id_, True, shot if pictures else None) for id_, shot in gone.values() if shot or not pictures]
        left += [] if pictures else [(id_, False, None) for id_ in mentions.values()]
        _leave(connection, copy.id, left)
    erasure.mark(CONTENTS, connection)
    return Forgotten(events=len(gone), deliveries=pending)


def _visits_of(connection: Connection, name: str) -> Iterator[Visit]:
    """Yield the visits of which this is the last name, and was not taken back."""
    seen = select(events.c.run, events.c.track).where(events.c.subject == name, events.c.track.is_not(None)).distinct()
    for run, track in connection.execute(seen).all():
        named = or_(events.c.subject.is_not(None), events.c.corrects.is_not(None))
        visit = (events.c.run == run, events.c.track == track, named)
        last = select(events.c.subject).where(*visit).order_by(events.c.time.desc(), events.c.seq.desc()).limit(1)
        if connection.execute(last).scalar() == name:
            yield run, track


def _delete_events(connection: Connection, numbers: Sequence[int]) -> int:
    """Delete events with their deliveries, and return how many of those there were."""
    pending = 0
    for some in _batches(numbers):
        pending += connection.execute(delete(deliveries).where(deliveries.c.event.in_(some))).rowcount
        connection.execute(delete(events).where(events.c.seq.in_(some)))
    return pending


def _leave(connection: Connection, copy: int, left: Sequence[tuple[str, bool, str | None]]) -> None:
    """Say what of a copy is still to go."""
    for some in _batches(left):
        ids = [id_ for id_, _, _ in some]
        connection.execute(delete(removals).where(removals.c.copy == copy, removals.c.event.in_(ids)))
        rows = [{"copy": copy, "event": id_, "whole": whole, "snapshot": shot} for id_, whole, shot in some]
        connection.execute(insert(removals), rows)


def prune(database: DatabaseFile | Server, here: Here, before: datetime, timeout: float) -> Forgotten:
    """Forget what happened before a moment: see `visavis.events.store.EventStore.prune`."""
    limit = to_micros(before)
    done = Forgotten()
    while True:
        with database.writing(alone=True) as connection:
            old = select(events.c.seq, events.c.id, events.c.snapshot).where(events.c.time < limit)
            rows = connection.execute(old.order_by(events.c.time).limit(_PRUNED_AT_ONCE)).all()
            if not rows:
                connection.execute(delete(forgotten).where(forgotten.c.erased < limit))
                break
            pending = _delete_events(connection, [row.seq for row in rows])
            for copy in connection.execute(select(copies.c.id).where(copies.c.kind == _SNAPSHOTS)).scalars().all():
                _leave(connection, copy, [(row.id, True, row.snapshot) for row in rows if row.snapshot])
            _set(connection, _PRUNED, str(limit))
            erasure.mark(CONTENTS, connection)
        done += Forgotten(events=len(rows), deliveries=pending)
    with database.reading() as connection:
        files = _files(connection, here)
    done += Forgotten(rows=sum(copy.rewrite(_since(before)) for _, copy in files)) + _clean(database, here)
    done += Forgotten(snapshots=_sweep(database, here, min(before.timestamp(), time.time() - _YOUNG)))
    _finish(database, timeout)
    with database.reading() as connection:
        return replace(done, elsewhere=_elsewhere(connection, here))


def rename(database: DatabaseFile | Server, here: Here, old: str, new: str) -> int:
    """Give a person's events another name: see `visavis.events.store.EventStore.rename`."""
    with database.writing(alone=True) as connection:
        named = or_(events.c.subject == old, events.c.corrects == old)
        visits = select(events.c.run, events.c.track).where(named, events.c.track.is_not(None)).distinct()
        for run, track in connection.execute(visits).all():
            over = (events.c.run == run) & (events.c.track == track) & (events.c.kind == "left")
            if connection.execute(select(events.c.seq).where(over).limit(1)).first() is None:
                alias = {"run": run, "track": track, "old": old}
                connection.execute(delete(aliases).where(and_(*(aliases.c[key] == alias[key] for key in alias))))
                connection.execute(insert(aliases).values(**alias, new=new))
        connection.execute(update(aliases).where(aliases.c.new == old).values(new=new))
        changed = 0
        for column in (events.c.subject, events.c.corrects):
            changed += connection.execute(update(events).where(column == old).values({column.name: new})).rowcount
        files = _files(connection, here)

    def renamed(values: Fields) -> Fields:
        hit = [field for field in ("subject", "corrects") if values.get(field) == old]
        return {**values, **dict.fromkeys(hit, new)} if hit else values

    for _, copy in files:
        copy.rewrite(renamed)
    return changed


def resume(database: DatabaseFile | Server, here: Here) -> None:
    """Finish what was begun and left, on this machine; where that can't be done now, leave it to the next time."""
    with contextlib.suppress(VisavisError):
        with database.reading() as connection:
            mine = select(copies.c.id).where(copies.c.machine == here.machine)
            left = select(removals.c.copy).where(removals.c.copy.in_(mine)).limit(1)
            pending = erasure.is_pending(CONTENTS, connection) or connection.execute(left).first() is not None
        if pending and database.writable:
            _clean(database, here)
            _finish(database, _RESUME_SECONDS)


def _clean(database: DatabaseFile | Server, here: Here) -> Forgotten:
    """Take out of this machine's copies, and delete of its pictures, what the table of removals says."""
    with database.reading() as connection:
        where = copies.c.machine == here.machine
        mine = [(row.id, row.kind, here.path(row.path)) for row in connection.execute(select(copies).where(where))]
        gone = {(row.run, row.track) for row in connection.execute(select(forgotten.c.run, forgotten.c.track))}
        pruned = CONTENTS.value(connection, _PRUNED)
    changes: list[Change] = [] if pruned is None else [_since(from_micros(int(pruned)))]
    rows = snapshots = 0
    for number, kind, path in mine:
        with database.reading() as connection:
            left = connection.execute(select(removals).where(removals.c.copy == number)).all()
        if kind == _SNAPSHOTS:
            snapshots += sum(_deleted(path, row.snapshot) for row in left)
        elif left or changes:
            whole = {row.event for row in left if row.whole}
            cleared = {row.event for row in left if not row.whole}
            rows += Copy(path, kind, _always).rewrite(*changes, _without_ids(whole, cleared, gone))
        with database.writing() as connection:
            for some in _batches([row.event for row in left]):
                connection.execute(delete(removals).where(removals.c.copy == number, removals.c.event.in_(some)))
    if pruned is not None:
        with database.writing() as connection:
            connection.execute(delete(meta).where(meta.c.key == _PRUNED, meta.c.value == pruned))
    return Forgotten(rows=rows, snapshots=snapshots)


def _finish(database: DatabaseFile | Server, timeout: float) -> None:
    with database.reading() as connection:
        pending = erasure.is_pending(CONTENTS, connection)
    if pending:
        erasure.finish(database, timeout, "the events are")


def _elsewhere(connection: Connection, here: Here) -> tuple[str, ...]:
    left = select(copies.c.machine).join(removals, removals.c.copy == copies.c.id).distinct()
    return tuple(connection.execute(left.where(copies.c.machine != here.machine).order_by(copies.c.machine)).scalars())


def _files(connection: Connection, here: Here) -> list[tuple[int, Copy]]:
    mine = select(copies).where(copies.c.machine == here.machine, copies.c.kind != _SNAPSHOTS)
    return [(row.id, Copy(here.path(row.path), row.kind, _always)) for row in connection.execute(mine)]


def _always(_: str) -> bool:
    return True


def _visit(values: Fields) -> Visit | None:
    with contextlib.suppress(KeyError, TypeError, ValueError):
        return str(values["run"]), int(values["track"])
    return None


def _visits_in(copy: Copy, name: str) -> set[Visit]:
    """Return the visits of which this is the last name in a copy."""
    last: dict[Visit, Any] = {}
    for values in copy.fields():
        visit, subject = _visit(values), values.get("subject")
        if visit is None or (subject is None and values.get("corrects") is None):
            continue
        if subject == name or visit in last:
            last[visit] = subject
    return {visit for visit, subject in last.items() if subject == name}


def _without(name: str, doomed: set[Visit]) -> Change:
    def change(values: Fields) -> Fields | None:
        if values.get("subject") == name or _visit(values) in doomed:
            return None
        return _uncorrected(values) if values.get("corrects") == name else values

    return change


def _without_ids(whole: set[str], cleared: set[str], gone: set[Visit]) -> Change:
    def change(values: Fields) -> Fields | None:
        if values.get("id") in whole or _visit(values) in gone:
            return None
        return _uncorrected(values) if values.get("id") in cleared and "corrects" in values else values

    return change


def _since(moment: datetime) -> Change:
    first = moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")  # as `Event.to_dict` writes it: texts in the order of times

    def change(values: Fields) -> Fields | None:
        return None if str(values.get("time")) < first else values

    return change


def _uncorrected(values: Fields) -> Fields:
    return {field: value for field, value in values.items() if field != "corrects"}


def _deleted(folder: Path, name: str | None) -> bool:
    if not name or Path(name).name != name:
        return False
    try:
        (folder / name).unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StorageError(f"the picture {name} in {folder} can't be deleted: {reason(error)}; repeat") from None
    return True


def _sweep(database: DatabaseFile | Server, here: Here, older: float) -> int:
    """Delete pictures whose event never came, as the program died in between, or is gone."""
    with database.reading() as connection:
        where = (copies.c.machine == here.machine) & (copies.c.kind == _SNAPSHOTS)
        folders = [here.path(path) for path in connection.execute(select(copies.c.path).where(where)).scalars()]
    found = 0
    for folder in folders:
        with contextlib.suppress(OSError):
            old = [file.name for file in folder.iterdir() if _ORPHAN.fullmatch(file.name) and _mtime(file) < older]
            for some in _batches(old):
                with database.reading() as connection:
                    held = select(events.c.id).where(events.c.id.in_([name.partition(".")[0] for name in some]))
                    kept = set(connection.execute(held).scalars())
                found += sum(_deleted(folder, name) for name in some if name.partition(".")[0] not in kept)
    return found


def _mtime(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return time.time()


def _set(connection: Connection, key: str, value: str) -> None:
    connection.execute(delete(meta).where(meta.c.key == key))
    connection.execute(insert(meta).values(key=key, value=value))


def _batches(values: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), _AT_ONCE):
        yield values[start : start + _AT_ONCE]

"""Stores of events that a gallery's people are named in, so that forgetting or renaming one reaches what cameras said.

The gallery's table ``meta`` lists them for each collection: files by their absolute path, servers by their address
without a password.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, insert

from visavis.database.server import Address, is_address
from visavis.errors import EventsOutOfReach, InputError, VisavisError
from visavis.events.store import EventStore, Forgotten, open_events
from visavis.gallery.schema import CONTENTS, meta

__all__ = ["Erased", "erase_events", "listed", "opened", "out_of_reach", "place_of", "rename_events", "write_list"]

_KEY = "event_stores"


@dataclass(frozen=True)
class Erased:
    """What went with a person besides the gallery's own rows.

    Attributes
    ----------
    stores
        Of each store of events that was reached, what was erased there.
    missing
        Stores that are no longer where they were: deleted, or moved away with their events.
    """

    stores: dict[str, Forgotten] = field(default_factory=dict)
    missing: tuple[str, ...] = ()

    def __add__(self, other: Erased) -> Erased:
        stores = {where: done + other.stores.get(where, Forgotten()) for where, done in self.stores.items()}
        return Erased(stores, self.missing)

    @property
    def total(self) -> Forgotten:
        """All stores together."""
        return sum(self.stores.values(), Forgotten())

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, JSON-ready."""
        return {**self.total.to_dict(), "stores": list(self.stores), "missing": list(self.missing)}


def place_of(where: str | os.PathLike[str]) -> str:
    """Return where a store of events is, as it is listed: for ever the same, and without a password."""
    if is_address(where):
        return Address.parse(str(where)).shown
    return str(Path(where).expanduser().resolve())


def listed(connection: Connection, collection: str) -> tuple[str, ...]:
    """Return the stores that a collection's people are named in."""
    return tuple(where for name, where in _all(connection) if name == collection)


def write_list(connection: Connection, collection: str, stores: Sequence[str]) -> None:
    """Say in which stores a collection's people are named."""
    pairs = [pair for pair in _all(connection) if pair[0] != collection] + [[collection, where] for where in stores]
    connection.execute(delete(meta).where(meta.c.key == _KEY))
    if pairs:
        connection.execute(insert(meta).values(key=_KEY, value=json.dumps(pairs)))


def _all(connection: Connection) -> list[list[str]]:
    pairs: list[list[str]] = json.loads(CONTENTS.value(connection, _KEY) or "[]")
    return pairs


def erase_events(
    stores: Sequence[str], name: str, timeout: float, *, late: bool = False
) -> tuple[Erased, dict[str, VisavisError]]:
    """Forget a person in every store that can be reached, and return what went, and the errors of those that can't.

    With ``late`` only where the person was named since.
    """
    done: dict[str, Forgotten] = {}
    missing: list[str] = []
    failed: dict[str, VisavisError] = {}
    for where in stores:
        try:
            with _opened(where) as store:
                if store is None:
                    missing.append(where)
                elif not late or store.mentions(name):
                    done[where] = store.erase(name, timeout=timeout)
        except VisavisError as error:
            failed[where] = error
    return Erased(done, tuple(missing)), failed


def rename_events(stores: Sequence[EventStore], old: str, new: str) -> None:
    """Give a person's events another name in every store.

    Raises
    ------
    EventsOutOfReach
        If one failed; the others are done.
    """
    failed = {}
    for store in stores:
        try:
            store.rename(old, new)
        except VisavisError as error:
            failed[store.where] = error
    if failed:
        raise EventsOutOfReach(
            f"{old!r} is {new!r} in the gallery now, but not in all events: {_told(failed)}; "
            f"run visavis events rename with --events {next(iter(failed))!r} when that is put right"
        )


@contextlib.contextmanager
def opened(stores: Sequence[str]) -> Iterator[list[EventStore]]:
    """Open all stores that still exist, or raise before anything was changed."""
    with contextlib.ExitStack() as stack:
        yield [store for where in stores if (store := stack.enter_context(_opened(where))) is not None]


def out_of_reach(name: str, failed: dict[str, VisavisError]) -> EventsOutOfReach:
    """Return the error that says where events of an erased person are left, and what finishes it."""
    where = next(iter(failed))
    return EventsOutOfReach(
        f"{name!r} is erased from the gallery, but not from all events: {_told(failed)}; when that is put right, run: "
        f"visavis events erase {name!r} --events {where!r}"
    )


def _told(failed: dict[str, VisavisError]) -> str:
    return "; ".join(str(error) if where in str(error) else f"{where}: {error}" for where, error in failed.items())


@contextlib.contextmanager
def _opened(where: str) -> Iterator[EventStore | None]:
    """Open a store; None where its file is gone."""
    if not is_address(where):
        if not Path(where).exists():
            yield None
            return
        with open_events(where, create=False) as store:
            yield store
        return
    given = os.environ.get("VISAVIS_EVENTS", "")
    with contextlib.suppress(InputError):
        if is_address(given) and Address.parse(given).shown == where:
            where = given  # with its password
    with open_events(where, create=False) as store:
        yield store

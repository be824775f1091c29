"""Erasing: deleting rows so that no byte of them stays in the gallery's files.

What SQLite leaves behind after a plain DELETE, and what takes it away:

- the deleted cells themselves: ``secure_delete`` overwrites them with zeros;
- copies in free pages and in the slack of B-tree pages: ``VACUUM`` writes the file anew from live rows;
- older versions of every page in the write-ahead log: ``wal_checkpoint(TRUNCATE)`` empties it.

On PostgreSQL ``VACUUM FULL`` writes tables and indexes anew; the server's own log and backups are its owner's matter.

The last step on SQLite can't be done while another connection reads from the log, so it is repeated for a while. Until
it is done the database carries a mark, which says that an erasure is unfinished but not whose, and every later
opening for writing and every later erasure finishes it.
"""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Callable

from sqlalchemy import Connection, delete, insert

from visavis.database.contents import Contents
from visavis.database.file import DatabaseFile
from visavis.database.server import Server
from visavis.errors import VisavisError

__all__ = ["finish", "is_pending", "mark"]

_PENDING = "erasure_pending"


def is_pending(contents: Contents, connection: Connection) -> bool:
    """Return whether an erasure was begun and not finished."""
    return contents.value(connection, _PENDING) is not None


def mark(contents: Contents, connection: Connection) -> None:
    """Say, in the transaction that deletes, that the deleted bytes still have to be overwritten.

    Each mark is a new random word: who finishes an older erasure meanwhile doesn't take this one's mark away.
    """
    meta = contents.meta
    connection.execute(delete(meta).where(meta.c.key == _PENDING))
    connection.execute(insert(meta).values(key=_PENDING, value=secrets.token_hex(8)))


def finish(database: DatabaseFile | Server, timeout: float, what: str = "the subject is") -> None:
    """Overwrite what was deleted, then take the mark away.

    Parameters
    ----------
    timeout
        Seconds to wait for other connections.
    what
        What was deleted, for the message.

    Raises
    ------
    GalleryBusy or what else the contents have as ``busy``
        If another connection read or wrote all through ``timeout`` seconds: bytes may remain, and so does the
        mark.
    StorageError
        If the disk is full or failed; likewise.
    """
    until = time.monotonic() + timeout
    with database.reading() as connection:
        word = database.contents.value(connection, _PENDING)
    if isinstance(database, Server):
        try:
            database.rewrite(timeout)
        except database.contents.busy:
            raise _unfinished(database, what) from None
    else:
        with database.alone() as raw:
            _until(until, database, lambda: _vacuumed(raw), what)
            _until(until, database, lambda: _log_emptied(raw), what)
            raw.execute("PRAGMA shrink_memory")
    meta = database.contents.meta
    with database.writing() as connection:
        connection.execute(delete(meta).where((meta.c.key == _PENDING) & (meta.c.value == word)))


def _until(until: float, database: DatabaseFile, act: Callable[[], bool], what: str) -> None:
    pause = 0.01
    while not act():
        if time.monotonic() >= until:
            raise _unfinished(database, what)
        time.sleep(min(pause, max(0.0, until - time.monotonic())))
        pause = min(pause * 2, 0.5)


def _unfinished(database: DatabaseFile | Server, what: str) -> VisavisError:
    noun = database.contents.noun
    return database.contents.busy(
        f"{database.where}: {what} deleted, but another process is using the {noun}, so bytes of it "
        f"may remain in the files; erase again, or open the {noun} again, when that process is done"
    )


def _vacuumed(raw: sqlite3.Connection) -> bool:
    return _unless_locked(raw, "VACUUM") is not None


def _log_emptied(raw: sqlite3.Connection) -> bool:
    row = _unless_locked(raw, "PRAGMA wal_checkpoint(TRUNCATE)")
    return row is not None and row[0][0] == 0


def _unless_locked(raw: sqlite3.Connection, command: str) -> list[tuple[int, ...]] | None:
    (waiting,) = raw.execute("PRAGMA busy_timeout").fetchone()
    raw.execute("PRAGMA busy_timeout=0")
    try:
        return raw.execute(command).fetchall()
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            return None
        raise
    finally:
        raw.execute(f"PRAGMA busy_timeout={waiting}")

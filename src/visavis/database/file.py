"""One SQLite file: opening it without harm, transactions, and the one place that maps SQLite's errors."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, ResourceClosedError
from sqlalchemy.pool import NullPool

from visavis.database.contents import Contents
from visavis.errors import StorageError, VisavisError

__all__ = ["DatabaseFile"]

_MAGIC = b"SQLite format 3\x00"
_PAGE = 8192  # holds fifteen 128-number templates, three of 512
_BUSY_SECONDS = 10.0
_Opening = Literal["rw", "ro", "immutable"]


class DatabaseFile:
    """A connection to one SQLite file, shared by the threads of this process under a lock.

    Opening leaves a file that holds something else, or was made by a newer visavis, as it is. One that can't be
    written is opened for reading.

    Parameters
    ----------
    path
        The file. Made where it is missing or empty and ``create`` is true, readable by its owner alone.
    contents
        What it holds.
    """

    def __init__(self, path: str | os.PathLike[str], contents: Contents, *, create: bool) -> None:
        self.path = Path(path).expanduser()
        self.where = str(self.path)
        self.contents = contents
        self.own_changes = 0  # transactions this connection wrote: SQLite's data_version tells only of others'
        self._lock = threading.RLock()
        self._write = False
        with self.translated():
            try:
                new = _prepare_file(self.path, contents, create)
            except OSError as error:
                raise StorageError(f"{self.path}: {error.strerror or error}") from error
            self.openings = 0
            self._followed: tuple[int, ...] = ()
            self._log = b""
            self._open(new)

    def _open(self, new: bool) -> None:
        self.writable = os.access(self.path, os.W_OK) and os.access(self.path.parent, os.W_OK)
        if not new:
            _refuse_foreign(self.path, self.contents)
        opened = self._on_disk()
        self.raw = _connect(self.path, self._opening())
        try:
            self._engine = _engine(lambda: self.raw, lambda: self._write)
            self._connection = self._engine.connect()
            self._set_up()
        except BaseException:
            self.close()
            raise
        self._opened: tuple[int, ...] = opened
        self.openings += 1

    def _on_disk(self) -> tuple[int, ...]:
        """Return what tells this file from another put in its place; of one only read, also from a changed one."""
        status = self.path.stat()
        # A file that can't be written is read without locks: SQLite then notices no change of its own accord.
        changed = () if self.writable else (status.st_mtime_ns, status.st_size)
        return status.st_dev, status.st_ino, *changed

    def _opening(self) -> _Opening:
        if self.writable:
            return "rw"
        # Without a write-ahead log to read, SQLite needs no file beside this one only when told that
        # nobody writes.
        return "ro" if _size(Path(f"{self.path}-wal")) else "immutable"

    def _set_up(self) -> None:
        pragmas = ["foreign_keys=ON", "secure_delete=ON", "synchronous=FULL", "temp_store=MEMORY"]
        if _state(self.raw, self.path, self.contents) == "empty":
            if not self.writable:
                raise StorageError(f"{self.path} can't be written, so no {self.contents.noun} can be made of it")
            self.raw.execute(f"PRAGMA page_size={_PAGE}")
            with self.writing() as connection:
                if _state(self.raw, self.path, self.contents) == "empty":  # no other process was faster
                    self.contents.make(connection)
                    connection.exec_driver_sql(f"PRAGMA application_id={self.contents.application_id}")
        if self.writable:
            pragmas.append("journal_mode=WAL")
        for pragma in pragmas:
            self._patiently(f"PRAGMA {pragma}")

    def _patiently(self, command: str) -> None:
        """Repeat what SQLite refuses at once, without waiting, while another process opens the file too."""
        until = time.monotonic() + _BUSY_SECONDS
        while True:
            try:
                self.raw.execute(command).fetchall()
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > until:
                    raise
                time.sleep(0.02)

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a connection on which everything read is of one moment."""
        with self._lock, self.translated(), self._connection.begin():
            yield self._connection

    @contextlib.contextmanager
    def writing(self, *, alone: bool = True) -> Iterator[Connection]:  # noqa: ARG002 (a server lets others write)
        """Give a connection whose changes are on disk when the block ends, or not made at all if it raises.

        The right to write is taken at the start, so what is read in the block can't change before it is
        written.
        """
        with self._lock:
            if not self.writable:
                raise StorageError(
                    f"{self.path} is read-only: neither it nor its folder may be written; nothing changed"
                )
            self._write = True
            try:
                with self.translated(), self._connection.begin():
                    yield self._connection
            finally:
                self._write = False
                self.own_changes += 1

    @contextlib.contextmanager
    def alone(self) -> Iterator[sqlite3.Connection]:
        """Give the driver's own connection, outside any transaction."""
        with self._lock, self.translated():
            yield self.raw

    def version(self) -> tuple[int, int]:
        """Return a value that differs after every change of the file, by this process or another."""
        (changes,) = self.raw.execute("PRAGMA data_version").fetchone()
        return int(changes), self.own_changes

    def follow(self) -> tuple[int, ...]:
        """Return a value that differs after every change of the file; open what was put in its place, if anything was.

        It never waits long: a file that others hold is an error at once, and so is one that is gone.
        """
        with self._lock, self.translated():
            try:
                if self._on_disk() != self._opened:
                    self._refuse_old_log()
                    self.close()
                    self._opened = ()  # nothing is open: another file may now get the number of the one that was
                    self._open(new=False)
            except OSError:
                raise self.contents.error(
                    f"{self.path}: the {self.contents.noun} is gone or can't be read; put it back"
                ) from None
            self.raw.execute("PRAGMA busy_timeout=50")
            try:
                found = self.openings, *self.version()
            finally:
                self.raw.execute(f"PRAGMA busy_timeout={round(1000 * _BUSY_SECONDS)}")
            if found != self._followed:
                self._followed, self._log = found, self._log_head()
            return found

    def _refuse_old_log(self) -> None:
        """Raise if the write-ahead log of the file that was here lies beside the one put in its place.

        SQLite would read it into that one: https://www.sqlite.org/howtocorrupt.html, section 1.4.
        """
        if self._log and self._log == self._log_head():
            raise self.contents.error(
                f"{self.path} was replaced while it was in use; end all programs that use it, delete "
                f"{self.path.name}-wal and {self.path.name}-shm, and start them again"
            )

    def _log_head(self) -> bytes:
        """Return the header of the write-ahead log, whose salt no other log has; nothing where there is none."""
        try:
            with Path(f"{self.path}-wal").open("rb") as file:
                return file.read(32)
        except OSError:
            return b""

    def close(self) -> None:
        """Close the file. Closing twice is fine."""
        with self._lock:
            with contextlib.suppress(DBAPIError, sqlite3.Error, AttributeError):
                self._connection.close()
            self.raw.close()

    @contextlib.contextmanager
    def translated(self) -> Iterator[None]:
        """Turn what SQLite and SQLAlchemy raise into the errors of `visavis.errors`."""
        try:
            yield
        except DBAPIError as error:
            raise self._translate(error.orig or error) from error
        except ResourceClosedError as error:
            raise self.contents.error(f"{self.path}: the {self.contents.noun} was closed") from error
        except sqlite3.Error as error:
            raise self._translate(error) from error

    def _translate(self, error: BaseException) -> VisavisError:
        text = str(error)
        for saying, kind, advice in _SAYINGS:
            if saying in text:
                cause: type[VisavisError] = getattr(self.contents, kind) if isinstance(kind, str) else kind
                return cause(f"{self.path}: {advice.format(noun=self.contents.noun, a_noun=self.contents.a_noun)}")
        said = text.splitlines()[0] if text else type(error).__name__
        return self.contents.error(f"{self.path}: the database refused: {said}")


# What SQLite says (its result codes' fixed English texts), the error it becomes (or which one of `Contents`), and what
# the user is told.
_SAYINGS: tuple[tuple[str, type[VisavisError] | str, str], ...] = (
    ("full", StorageError, "the disk is full; nothing was changed, make room and repeat"),
    ("locked", "busy", "another process holds the {noun}; repeat when it is done"),
    ("readonly", StorageError, "the file or its folder is read-only; nothing was changed"),
    ("unable to open", StorageError, "it can't be opened; check the permissions of the file and its folder"),
    ("disk I/O", StorageError, "the disk failed to read or write; check it and its free space"),
    ("not a database", "foreign", "this file is not {a_noun}"),
    ("malformed", "foreign", "the file is damaged; restore it from an export or a backup"),
    ("closed database", "error", "the {noun} was closed"),
)


def _engine(raw: Callable[[], sqlite3.Connection], writes: Callable[[], bool]) -> Engine:
    engine = create_engine("sqlite://", creator=raw, poolclass=NullPool)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:  # the driver begins nothing by itself: isolation_level is None
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes() else "BEGIN")

    return engine


def _connect(path: Path, opening: _Opening, timeout: float = _BUSY_SECONDS) -> sqlite3.Connection:
    options = {"rw": "mode=rw", "ro": "mode=ro", "immutable": "mode=ro&immutable=1"}[opening]
    where = quote(str(path.absolute()).replace("\\", "/"))
    uri = f"file:{where if where.startswith('/') else '/' + where}?{options}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=timeout)


def _prepare_file(path: Path, contents: Contents, create: bool) -> bool:
    """Return whether the file is new (just made, or empty); refuse what can't be ours, unread by SQLite."""
    if path.is_dir():
        raise contents.foreign(f"{path} is a folder; name a file, such as {path / contents.example}")
    if not path.exists():
        if not create:
            raise contents.error(f"there is no {contents.noun} at {path}; {contents.if_missing}")
        if not path.parent.is_dir():
            raise StorageError(f"the folder {path.parent} doesn't exist; make it first")
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        return _size(path) == 0
    if not path.is_file():
        raise contents.foreign(f"{path} is not a regular file")
    with path.open("rb") as file:
        magic = file.read(len(_MAGIC))
    if not magic and not create:
        raise contents.foreign(f"{path} is empty, not {contents.a_noun}")
    if magic and magic != _MAGIC:
        raise contents.foreign(
            f"{path} is not {contents.a_noun} (it doesn't begin as an SQLite file does); it was left as it is"
        )
    return not magic


def _refuse_foreign(path: Path, contents: Contents) -> None:
    """Look at a file through a connection that can't change it, before one that can is opened.

    What this look can't settle (another process is just writing) is settled by the same question afterwards. As it
    takes no locks, it must say the same twice.
    """
    verdict: VisavisError | None = None
    for _ in range(2):
        opening: _Opening = "ro" if _size(Path(f"{path}-wal")) or _size(Path(f"{path}-journal")) else "immutable"
        try:
            with contextlib.closing(_connect(path, opening, timeout=0.5)) as look:
                _state(look, path, contents)
            return
        except sqlite3.Error:
            return
        except VisavisError as error:
            if verdict is not None:
                raise
            verdict = error
            time.sleep(0.05)


def _state(raw: sqlite3.Connection, path: Path, contents: Contents) -> Literal["ours", "empty"]:
    alone = not raw.in_transaction
    if alone:
        raw.execute("BEGIN")  # all answers from one moment
    try:
        (application,) = raw.execute("PRAGMA application_id").fetchone()
        tables = raw.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        ours = application == contents.application_id
        version = raw.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone() if ours else None
    finally:
        if alone:
            raw.rollback()
    if not ours:
        if application or tables:
            raise contents.foreign(
                f"{path} is a database of another program, not {contents.a_noun}; it was left as it is"
            )
        return "empty"
    contents.check_version(None if version is None else str(version[0]), str(path))
    return "ours"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0

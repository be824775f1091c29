"""Files that hold copies of events, a line each, as JSON or CSV.

Any number of processes append to one, and rewrite it where somebody is forgotten. Each file has a lock file beside it.
A line is written in one piece, and one that a crash cut short is cut off before the next is added. The file is
rewritten beside its place and moved into it, so that a reader sees the old or the new one.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, Any, Literal, get_args

from visavis.cells import harmless, unharmed
from visavis.errors import InputError, StorageError
from visavis.events.event import Event
from visavis.files import printable_path, reason
from visavis.models.durable import locked

__all__ = ["COLUMNS", "Copy", "CopyKind", "csv_line", "json_line"]

CopyKind = Literal["jsonl", "csv"]
COLUMNS = tuple(field.name for field in fields(Event))
"""Columns of a CSV file of events: the fields of `Event`. A box is four numbers with spaces between."""

Fields = Mapping[str, Any]
Change = Callable[[Fields], "Fields | None"]

_MAX_LINE = 2**18  # bytes; an event has some hundred
_BREAKS = re.compile(r"[\r\n\0\u0085\u2028\u2029]+")


def json_line(values: Fields) -> bytes:
    r"""Return the fields of an event as a line of JSON.

    Examples
    --------
    >>> json_line({"kind": "left", "subject": "Zoë"}).decode()
    '{"kind": "left", "subject": "Zoë"}\n'
    """
    finite = {name: value for name, value in values.items() if not _is_nan(value)}
    text = json.dumps(finite, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "backslashreplace") + b"\n"


def csv_line(values: Fields) -> bytes:
    r"""Return the fields of an event as a line of CSV, its cells in the order of `COLUMNS`.

    A cell that a spreadsheet would compute gets an apostrophe, and line breaks become spaces.

    Examples
    --------
    >>> csv_line({"kind": "left", "subject": "=1+1"}).decode()
    "left,,,,,'=1+1,,,,,,,,,,,\r\n"
    """
    cells = [_cell(values.get(column)) for column in COLUMNS]
    text = io.StringIO(newline="")
    csv.writer(text).writerow(cells)
    return text.getvalue().encode("utf-8", "backslashreplace")


def _cell(value: Any) -> object:
    if value is None or _is_nan(value):
        return ""
    if isinstance(value, (list, tuple)):
        return " ".join(map(str, value))
    return harmless(_BREAKS.sub(" ", value)) if isinstance(value, str) else value


def _is_nan(value: Any) -> bool:
    numbers = value if isinstance(value, (list, tuple)) else [value]
    return any(isinstance(number, float) and not math.isfinite(number) for number in numbers)


_HEADER = ",".join(COLUMNS).encode() + b"\r\n"


@dataclass(frozen=True)
class Copy:
    """A file of events. Made by `visavis.events.store.EventStore.register_copy`.

    Attributes
    ----------
    path, kind
        The file, and how its lines are written.
    keeps
        Whether the event of an id is to be in the file: asked while nobody rewrites it, so that an event that is
        being erased doesn't come back by way of somebody who read it a moment before.
    """

    path: Path
    kind: CopyKind
    keeps: Callable[[str], bool]

    def __post_init__(self) -> None:
        if self.kind not in get_args(CopyKind):
            raise InputError(f"a copy of events is one of {', '.join(get_args(CopyKind))}, not {self.kind!r}")

    def append(self, event: Event) -> bool:
        """Add an event at the end; when this returns, it is on disk.

        Returns
        -------
        False where the store doesn't have the event any more: nothing was written.

        Raises
        ------
        StorageError
            If the disk is full or the file can't be written.
        """
        line = _LINES[self.kind](event.to_dict())
        with self._alone():
            if not self.keeps(event.id):
                return False
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
            with open(descriptor, "r+b", buffering=0) as file:  # noqa: PTH123 (a descriptor, for its permissions)
                end = _end_of_lines(file)
                try:
                    rest = line if end or self.kind == "jsonl" else _HEADER + line
                    while rest:  # a disk that is nearly full takes a part
                        rest = rest[file.write(rest) :]
                    os.fsync(file.fileno())
                except OSError:
                    with contextlib.suppress(OSError):
                        file.truncate(end)
                    raise
        return True

    def check(self) -> None:
        """Refuse a file that is there and holds something else; it is left as it is."""
        with self._translated():
            try:
                status = self.path.stat()
            except FileNotFoundError:
                if not self.path.parent.is_dir():
                    raise StorageError(f"the folder {self.path.parent} doesn't exist; make it first") from None
                return
            if not stat.S_ISREG(status.st_mode):
                raise InputError(f"{printable_path(self.path)} is no regular file; name one to write events to")
            with self.path.open("rb") as file:
                first = file.readline(_MAX_LINE)
        if self.kind == "csv":
            known = _columns(first) == COLUMNS
        else:
            known = {"id", "kind", "time", "camera"} <= set(_parsed(first, "jsonl", ()) or ())
        if first.endswith(b"\n") and not known:
            raise InputError(
                f"{printable_path(self.path)} is there and holds no events as {self.kind}; name another file"
            )

    def fields(self) -> Iterator[Fields]:
        """Yield the fields of each event: of CSV as text, without empty ones. Lines that hold none are passed over."""
        with contextlib.suppress(FileNotFoundError), self.path.open("rb") as file:
            for _, values in _lines(file, self.kind):
                if values:
                    yield values

    def rewrite(self, *changes: Change) -> int:
        """Change lines or take them out, and return how many.

        Parameters
        ----------
        changes
            One after the other they get an event's fields and return them, changed ones in a new mapping, or None to
            take the line out. Lines that hold no event go in any case: half of one may be all that a crash left of it.

        Raises
        ------
        StorageError
            If the disk is full or the file can't be written; it is as it was.
        """

        def changed(values: Fields | None) -> Fields | None:
            for change in changes:
                if values is None:
                    return None
                values = change(values)
            return values

        with self._alone():
            part = self.path.with_name(f".{self.path.name}.part")
            part.unlink(missing_ok=True)  # of somebody who was killed
            try:
                with self.path.open("rb") as file:
                    found = broken = 0
                    for _, values in _lines(file, self.kind):
                        broken += values is None
                        found += values is not None and changed(values) is not values
                    if not found + broken:
                        return 0
                    file.seek(0)
                    self._write(part, file, changed)
            except FileNotFoundError:
                return 0
        return found

    def _write(self, part: Path, file: IO[bytes], changed: Callable[[Fields | None], Fields | None]) -> None:
        try:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            with open(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as new:  # noqa: PTH123
                if self.kind == "csv":
                    new.write(_HEADER)
                for line, values in _lines(file, self.kind):
                    after = changed(values)
                    if after:
                        new.write(line if after is values and self.kind == "jsonl" else _LINES[self.kind](after))
                new.flush()
                os.fsync(new.fileno())
            part.chmod(mode)
            part.replace(self.path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        with self._translated():
            if not self.path.parent.is_dir():
                raise StorageError(f"the folder {self.path.parent} doesn't exist; make it first")
            with locked(self.path.with_name(f".{self.path.name}.lock")):
                yield

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageError(f"{printable_path(self.path)} can't be written: {reason(error)}") from error


_LINES: dict[CopyKind, Callable[[Fields], bytes]] = {"jsonl": json_line, "csv": csv_line}


def _end_of_lines(file: io.FileIO) -> int:
    """Cut off a last line without an end, and stand at the end of the file."""
    end = file.seek(0, os.SEEK_END)
    if not end:
        return 0
    file.seek(end - 1)
    if file.read(1) == b"\n":
        return end
    kept = end
    while kept:
        start = max(0, kept - 65536)
        file.seek(start)
        at = file.read(kept - start).rfind(b"\n")
        kept = start + at + 1 if at >= 0 else start
        if at >= 0:
            break
    file.truncate(kept)
    return file.seek(kept)


def _lines(file: IO[bytes], kind: CopyKind) -> Iterator[tuple[bytes, Fields | None]]:
    """Yield each line with the fields of its event; None where it holds none."""
    columns = _columns(file.readline(_MAX_LINE)) if kind == "csv" else ()
    while line := file.readline(_MAX_LINE):
        yield line, _parsed(line, kind, columns)


def _columns(first: bytes) -> tuple[str, ...]:
    return tuple(first.decode("utf-8-sig", "replace").strip().split(","))


def _parsed(line: bytes, kind: CopyKind, columns: tuple[str, ...]) -> Fields | None:
    try:
        text = line.decode("utf-8")
        if not line.endswith(b"\n"):
            return None
        if kind == "jsonl":
            values = json.loads(text)
        else:
            (cells,) = csv.reader([text], strict=True)
            values = {name: unharmed(cell) for name, cell in zip(columns, cells, strict=True) if cell}
        return values if isinstance(values, dict) and values else None
    except (ValueError, csv.Error, RecursionError):
        return None

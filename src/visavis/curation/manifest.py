"""The list of what became of each photo: written as work goes on, and taken up again after an end of any kind.

A file of JSON lines. The first says with which settings the folder was made; then a line a photo. A line is written
whole or, if the process is killed in the middle of it, dropped when the list is opened again.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from visavis.errors import InputError, StorageError
from visavis.files import printable_path, reason
from visavis.models.durable import write_whole

__all__ = ["Manifest", "read_manifest"]

_MAX_LINE = 16 * 2**20  # bytes: a photo of some ten thousand faces


class Manifest:
    """A list under way; used as a context manager.

    Attributes
    ----------
    rows
        What was there when it was opened, and what came since: a row each photo, by its ``source``.

    Raises
    ------
    InputError
        If the list was made with other settings, or is none.
    StorageError
        If it can't be read or written.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path = path
        self.settings = settings
        self.rows: dict[str, dict[str, Any]] = {}
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Manifest:
        try:
            end = 0
            if self.path.exists():
                end = self._resume()
            self._file = self.path.open("r+b" if end else "wb")
            self._file.truncate(end)
            self._file.seek(end)
            if not end:
                self._file.write(_dumped({"settings": self.settings}))
                self._file.flush()
        except OSError as error:
            raise self._failed(error) from None
        return self

    def _resume(self) -> int:
        end = 0
        for line, row in _lines(self.path):
            if not end:
                made = row.get("settings")
                if not isinstance(made, dict):
                    raise InputError(f"{printable_path(self.path)} is no list of aligned photos; choose another --out")
                if made != json.loads(json.dumps(self.settings)):
                    other = sorted(
                        name for name in {*made, *self.settings} if made.get(name) != self.settings.get(name)
                    )
                    raise InputError(
                        f"{printable_path(self.path.parent)} was made with other settings ({', '.join(other)}): "
                        "choose another folder, or remove that one"
                    )
            elif isinstance(row.get("source"), str):
                self.rows[row["source"]] = row
            end += len(line)
        return end

    def add(self, row: dict[str, Any]) -> None:
        """Write what became of a photo."""
        assert self._file is not None
        self.rows[row["source"]] = row
        try:
            self._file.write(_dumped(row))
            self._file.flush()
        except OSError as error:
            raise self._failed(error) from None

    def finish(self) -> None:
        """Write the list anew: one line a photo, sorted."""
        assert self._file is not None
        lines = [_dumped({"settings": self.settings})]
        lines += [_dumped(self.rows[source]) for source in sorted(self.rows)]
        try:
            self._file.close()
            write_whole(self.path, b"".join(lines))
        except OSError as error:
            raise self._failed(error) from None

    def _failed(self, error: OSError) -> StorageError:
        return StorageError(
            f"{printable_path(self.path)} can't be written: {reason(error)}; what was done is kept: "
            "make room and run it again to go on"
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()


def read_manifest(path: str | os.PathLike[str]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the settings of a list of aligned photos, and its rows.

    Raises
    ------
    InputError
        If it is missing or no such list.
    """
    try:
        rows = [row for _, row in _lines(Path(path))]
    except OSError as error:
        raise InputError(f"{printable_path(path)} can't be read: {reason(error)}") from None
    if not rows or not isinstance(rows[0].get("settings"), dict):
        raise InputError(f"{printable_path(path)} is no list of aligned photos")
    return rows[0]["settings"], rows[1:]


def _lines(path: Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Yield whole lines with what they hold, up to the first that is cut off or damaged."""
    with path.open("rb") as file:
        while line := file.readline(_MAX_LINE):
            try:
                row = json.loads(line) if line.endswith(b"\n") else None
            except (ValueError, RecursionError):
                return
            if not isinstance(row, dict):
                return
            yield line, row


def _dumped(row: dict[str, Any]) -> bytes:
    return json.dumps(row).encode() + b"\n"  # ASCII: names that are no text are kept as they are

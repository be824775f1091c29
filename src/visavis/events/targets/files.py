"""Notices to a file: each event a line of JSON or CSV, which forgetting a person reaches too."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from visavis.errors import DeliveryError, VisavisError
from visavis.events.copies import Copy, CopyKind
from visavis.events.targets.base import Notice, Target
from visavis.files import printable_path
from visavis.settings import Location

if TYPE_CHECKING:
    from visavis.events.store import EventStore

__all__ = ["CsvFile", "JsonlFile"]


@dataclass(kw_only=True, eq=False)
class _File(Target):
    def __post_init__(self) -> None:
        super().__post_init__()
        path, kind = self._told()
        self._copy = Copy(path.expanduser().absolute(), kind, lambda _: False)
        self._copy.check()

    def _told(self) -> tuple[Path, CopyKind]:
        raise NotImplementedError

    @property
    def where(self) -> str:
        """The file."""
        return printable_path(self._copy.path)

    def attach(self, store: EventStore) -> None:
        """Have the store know the file, so that forgetting a person reaches it."""
        self._copy = store.register_copy(self._copy.path, self._copy.kind)

    def send(self, notice: Notice) -> None:
        """Add the event's fields, without title and message; a test adds nothing."""
        try:
            if notice.test:
                self._see()
            else:
                self._copy.append(notice.event)
        except VisavisError as error:
            raise DeliveryError(str(error)) from None

    def _see(self) -> None:
        self._copy.check()
        path = self._copy.path
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise DeliveryError(f"{self.where} can't be written: permission denied")


@dataclass(kw_only=True, eq=False)
class JsonlFile(_File):
    """A file of JSON, an event a line: ``jsonl = "events.jsonl"``."""

    jsonl: Location

    def _told(self) -> tuple[Path, CopyKind]:
        return Path(self.jsonl), "jsonl"


@dataclass(kw_only=True, eq=False)
class CsvFile(_File):
    """A table: ``csv = "events.csv"``."""

    csv: Location

    def _told(self) -> tuple[Path, CopyKind]:
        return Path(self.csv), "csv"

"""What becomes of the events of a watch: they are kept, sent, and after a time deleted."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import TracebackType

from visavis.errors import InputError, StorageError, VisavisError
from visavis.events.alerts import Alerts
from visavis.events.event import Event
from visavis.events.outbox import Outbox
from visavis.events.store import open_events
from visavis.files import reason

__all__ = ["Keeping"]

_PRUNE_SECONDS = 3600.0
_SEND_SECONDS = 5.0


class Keeping:
    """Keeps events in a store, has them sent, and deletes what is older than it may be, now and every hour.

    Parameters
    ----------
    where
        The store: a file, or an address of PostgreSQL.
    alerts
        Who is told of what.
    keep
        How long events, their pictures and deliveries stay; None: until somebody deletes them.
    pictures
        Whether pictures of events are kept; or the folder for them, which a server needs.
    say
        Is told of problems, and when they are over.

    Attributes
    ----------
    store
        Stays open as long.
    pictures
        The folder, made where it was missing; None where none are kept.

    Raises
    ------
    InputError
        If pictures are to be kept and there is no folder for them.
    StorageError, EventError
        If the store can't be had, see `visavis.events.store.open_events`; or the folder.
    """

    def __init__(
        self,
        where: str | os.PathLike[str],
        alerts: Alerts,
        *,
        keep: timedelta | None = None,
        pictures: bool | str | os.PathLike[str] = False,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        folder = None if isinstance(pictures, bool) else pictures
        self.store = open_events(where, snapshots=folder)
        self._keep, self._say = keep, say
        self._closing = threading.Event()
        try:
            self.pictures = _folder(self.store.snapshots) if pictures else None
            self._prune()
            self._outbox = Outbox(self.store, alerts.targets, alerts.rules, say=say)
        except BaseException:
            self.store.close()
            raise
        self._pruner = threading.Thread(target=self._prune_hourly, name="visavis-retention", daemon=True)
        self._pruner.start()

    def put(self, event: Event) -> None:
        """Take an event; never waits and never fails."""
        self._outbox.put(event)

    @property
    def pending(self) -> int:
        """How many deliveries are still to be made."""
        return sum(target.waiting for target in self._outbox.status())

    def close(self, timeout: float = _SEND_SECONDS) -> None:
        """Write what waits, try what is due, and end. What could not be delivered waits in the store."""
        self._closing.set()
        self._outbox.close(timeout)
        self._pruner.join()
        self.store.close()

    def __enter__(self) -> Keeping:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _prune_hourly(self) -> None:
        while not self._closing.wait(_PRUNE_SECONDS):
            try:
                self._prune()
            except VisavisError as error:  # the next hour tries again
                self._say(f"old events could not be deleted: {error}")

    def _prune(self) -> None:
        if self._keep is not None:
            self.store.prune(datetime.now(timezone.utc) - self._keep)


def _folder(path: Path | None) -> Path:
    if path is None:
        raise InputError(
            "snapshots need a folder where the store is on a server: give --pictures DIR, or pictures in the settings"
        )
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"the folder of snapshots {path} can't be made: {reason(error)}") from None
    return path

"""What every target is: somewhere to send notices of events to."""

from __future__ import annotations

import abc
import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote, urlsplit

from visavis.errors import DeliveryError, InputError
from visavis.events.event import Event
from visavis.files import reason
from visavis.settings import Seconds

if TYPE_CHECKING:
    from visavis.events.store import EventStore

__all__ = ["LARGEST_PICTURE", "Notice", "Target", "refused", "split_address"]

LARGEST_PICTURE = 1 << 20
"""Bytes of a picture that still goes with a notice; larger ones are left out."""


@dataclass(frozen=True)
class Notice:
    """An event on its way to somebody.

    Attributes
    ----------
    event
        Its id is the key by which a receiver knows a notice that it gets twice.
    title, message
        What people read.
    snapshot
        The picture, where the rule sends it along and it still exists.
    test
        Nothing happened: somebody wants to see whether notices arrive.
    """

    event: Event
    title: str
    message: str
    snapshot: Path | None = None
    test: bool = False

    def picture(self) -> bytes | None:
        """Return the snapshot's bytes; None where there is none, it was deleted meanwhile, or it is too large."""
        try:
            if self.snapshot is None or self.snapshot.stat().st_size > LARGEST_PICTURE:
                return None
            return self.snapshot.read_bytes()
        except OSError:
            return None

    def document(self) -> bytes:
        """Return the notice as UTF-8 JSON: the event's fields, ``title``, ``message`` and, in base64, ``picture``."""
        found: dict[str, Any] = {**self.event.to_dict(), "title": self.title, "message": self.message}
        picture = self.picture()
        if picture is not None:
            kind = "image/png" if picture.startswith(b"\x89PNG") else "image/jpeg"
            found["picture"] = {"type": kind, "base64": base64.b64encode(picture).decode("ascii")}
        if self.test:
            found["test"] = True
        return json.dumps(found, ensure_ascii=False, allow_nan=False).encode()


@dataclass(kw_only=True, eq=False)
class Target(abc.ABC):
    """Somewhere to send notices to, made of a ``[targets.NAME]`` table. Used by one thread at a time.

    Attributes
    ----------
    timeout
        Seconds to wait for an answer.
    give_up
        Seconds after an event from which on it is no longer worth sending.
    """

    timeout: Seconds = 10.0
    give_up: Seconds = 3 * 86400.0

    def __post_init__(self) -> None:
        if not 0.1 <= self.timeout <= 600:
            raise InputError("timeout must be from 0.1 s to 10 min")
        if not 1 <= self.give_up <= 366 * 86400:
            raise InputError("give_up must be from 1 s to a year")

    @property
    @abc.abstractmethod
    def where(self) -> str:
        """Where notices go, without anything that may be secret."""

    @abc.abstractmethod
    def send(self, notice: Notice) -> None:
        """Return when the notice has arrived; else raise `DeliveryError`, whose text holds no secret."""

    def attach(self, store: EventStore) -> None:  # noqa: B027 - most have no use for it
        """Get to know the store whose events will come."""

    def close(self) -> None:  # noqa: B027 - most hold nothing open
        """Let go of connections. `send` makes new ones."""


def split_address(url: str, *schemes: str, example: str) -> SplitResult:
    """Return the parts of an address; user and password are decoded, and nothing of it gets into an error.

    Raises
    ------
    InputError
        If it has another scheme, no host, or characters that no address has.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
        fine = url.isascii() and url.isprintable() and " " not in url and port != 0
    except ValueError:
        fine = False
    if not fine or not parts.hostname or parts.scheme not in schemes:
        raise InputError(f"must be an address such as {example}, its special characters as %xx")
    return parts


def credentials(parts: SplitResult) -> tuple[str | None, str | None]:
    """Return the user and the password of an address, decoded."""
    user, password = parts.username, parts.password
    return None if user is None else unquote(user), None if password is None else unquote(password)


def refused(where: str, error: BaseException) -> DeliveryError:
    """Return the error of a connection that failed, in the system's words."""
    if isinstance(error, TimeoutError):
        return DeliveryError(f"{where} doesn't answer in time")
    return DeliveryError(f"{where} can't be reached: {reason(error)}")

"""Push notifications, by Apprise: one library, a hundred services."""

from __future__ import annotations

import contextlib
import difflib
import logging
import re
import warnings
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from visavis.errors import DeliveryError, EngineError, InputError
from visavis.events.targets.base import Notice, Target

__all__ = ["Push"]

_DOCS = "docs/notifications.md shows addresses of common services, appriseit.com those of all"
_HTTP_ERROR = re.compile(r"error=(\d{3})\b", re.ASCII)
_LOGGERS = ("apprise", "urllib3.connectionpool", "urllib3.util.retry")
_heard: ContextVar[list[str] | None] = ContextVar("visavis_apprise_log", default=None)


@dataclass(kw_only=True, eq=False)
class Push(Target):
    """A service that shows notices on a phone or in a chat: ``apprise = "ntfys://..."``.

    Attributes
    ----------
    apprise
        An address as Apprise takes it, most of which hold a secret.
    """

    apprise: str = field(repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._library = _apprise()
        asset = self._library.AppriseAsset(
            app_id="visavis",
            app_desc="visavis",
            app_url="",
            image_url_mask="",  # services would fetch Apprise's pictures from its project's page
            image_url_logo="",
            async_mode=False,
            storage_mode="memory",  # nothing in the user's home
        )
        self._scheme = self.apprise.partition("://")[0].lower() if "://" in self.apprise else ""
        with _overheard(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of modules that its many services import
            service = self._library.Apprise.instantiate(self.apprise, asset=asset)
            if service is None:
                raise InputError(self._unusable())
        for name in ("socket_connect_timeout", "socket_read_timeout"):
            if getattr(service, name) == getattr(type(service), name):  # the address doesn't say another
                setattr(service, name, self.timeout)
        self._service = service
        self._sender = self._library.Apprise(asset=asset)
        self._sender.add(service)

    @property
    def where(self) -> str:
        """The service's name: everything else of its address may be secret."""
        return str(self._service.service_name)

    def send(self, notice: Notice) -> None:
        """Send title, message and picture; Apprise says whether the service took them."""
        attach = None
        if notice.snapshot is not None and notice.picture() is not None and self._service.attachment_support:
            attach = _attachment(self._library, notice.snapshot)
        body = notice.message or notice.title or notice.event.kind  # which Apprise wants not to be empty
        with _overheard() as heard:
            taken = self._sender.notify(body=body, title=notice.title, body_format="text", attach=attach)
        if not taken:
            code = f" (HTTP {heard[-1]})" if heard else ""
            raise DeliveryError(f"{self.where} did not take the notice{code}")

    def _unusable(self) -> str:
        """Return why an address can't be used, without showing it."""
        schemes = self._schemes()
        if self._scheme in schemes:
            return f"this is no complete address of {self._scheme}://; {_DOCS}"
        near = difflib.get_close_matches(self._scheme, schemes, 1)
        if near:
            return f"Apprise knows no service of this kind; did you mean {near[0]}://...?"
        return f"this is no address of a service that Apprise knows; {_DOCS}"

    def _schemes(self) -> list[str]:
        services = self._library.Apprise().details()["schemas"]
        return [
            scheme for service in services for key in ("protocols", "secure_protocols") for scheme in service[key] or ()
        ]


def _attachment(library: Any, path: Path) -> Any:
    return library.AppriseAttachment(f"file://{quote(str(path.absolute()))}")


def _apprise() -> Any:
    try:
        import apprise
    except ImportError:
        raise EngineError("notifications need the package apprise: pip install 'visavis[notify]'") from None
    return apprise


@contextlib.contextmanager
def _overheard() -> Iterator[list[str]]:
    """Keep what Apprise and its HTTP library log from every log: paths are tokens; give the HTTP status alone."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_FILTER)
    heard: list[str] = []
    token = _heard.set(heard)
    try:
        yield heard
    finally:
        _heard.reset(token)


class _Filter(logging.Filter):
    """Stops what is logged within `_overheard`, in this thread or one that was given its context."""

    def filter(self, record: logging.LogRecord) -> bool:
        heard = _heard.get()
        if heard is None:
            return True
        heard += _HTTP_ERROR.findall(record.getMessage())
        return False


_FILTER = _Filter()

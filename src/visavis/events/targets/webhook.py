"""Notices to a web server: an HTTP POST of JSON, signed where there is a secret."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.message import Message
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any

from visavis.errors import DeliveryError, InputError
from visavis.events.targets.base import Notice, Target, credentials, refused, split_address
from visavis.events.targets.trust import tls
from visavis.settings import Location

__all__ = ["Webhook", "signature"]

_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_PASSING = frozenset({408, 425, 429})  # of the answers 4xx, those that ask to try again


@dataclass(kw_only=True, eq=False)
class Webhook(Target):
    """A web server that takes notices: ``webhook = "https://host/path"``.

    Attributes
    ----------
    webhook
        ``http`` or ``https``; a user and password in it become an ``Authorization`` header. Redirects are not
        followed.
    headers
        Sent along, such as ``Authorization``.
    secret
        Signs what is sent, as the Standard Webhooks specification says (standardwebhooks.com): `signature`.
    ca
        File with the certificates to trust, in place of the system's.
    """

    webhook: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    secret: str | None = field(default=None, repr=False)
    ca: Location | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        parts = split_address(self.webhook, "http", "https", example="https://host/path")
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        self._origin = f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")
        self._url = parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()
        self._headers = {"Content-Type": "application/json", "User-Agent": "visavis"}
        user, password = credentials(parts)
        if user is not None:
            code = base64.b64encode(f"{user}:{password or ''}".encode()).decode("ascii")
            self._headers["Authorization"] = f"Basic {code}"
        for name, value in self.headers.items():
            if not _HEADER.fullmatch(name) or not (value.isascii() and value.isprintable()):
                raise InputError(f"headers: {name!r} is no header, or its value holds more than plain ASCII")
            self._headers[name] = value
        self._key = None if self.secret is None else _key(self.secret)
        if self.ca is not None:
            tls(self.ca)  # a missing file is told now

    @property
    def where(self) -> str:
        """Scheme, host and port: the path may be a secret."""
        return self._origin

    def send(self, notice: Notice) -> None:
        """POST the notice; an answer 2xx says that it has arrived."""
        request = self._request(notice.event.id, "test" if notice.test else notice.event.kind, notice.document())
        try:
            self._opener.open(request, timeout=self.timeout).close()
        except urllib.error.HTTPError as error:
            error.close()
            raise self._refusal(error.code, error.headers) from None
        except http.client.HTTPException:
            raise DeliveryError(f"{self.where} answers with something that is no HTTP") from None
        except urllib.error.URLError as error:
            raise refused(self.where, error.reason if isinstance(error.reason, OSError) else error) from None
        except OSError as error:
            raise refused(self.where, error) from None

    def _request(self, key: str, kind: str, body: bytes) -> urllib.request.Request:
        headers = {**self._headers, "Idempotency-Key": key, "X-Visavis-Event": kind}
        if self._key is not None:
            now = int(time.time())
            headers |= {"webhook-id": key, "webhook-timestamp": str(now)}
            headers["webhook-signature"] = signature(self._key, key, now, body)
        return urllib.request.Request(self._url, body, headers, method="POST")  # noqa: S310 - http(s), checked above

    @cached_property
    def _opener(self) -> urllib.request.OpenerDirector:
        # With the proxies of the environment, as pip and browsers use them.
        secure = [urllib.request.HTTPSHandler(context=tls(self.ca))] if self._url.startswith("https:") else []
        return urllib.request.build_opener(_NoRedirect, *secure)

    def _refusal(self, code: int, headers: Message) -> DeliveryError:
        text = f"{self.where} answers {code} {http.client.responses.get(code, '')}".rstrip()
        if 300 <= code < 400:
            return DeliveryError(f"{text}, a redirect, which is not followed: give the address itself", final=True)
        final = 400 <= code < 500 and code not in _PASSING
        return DeliveryError(text, final=final, retry_after=_seconds(headers.get("Retry-After")))


def signature(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """Return the ``webhook-signature`` header of the Standard Webhooks specification: HMAC-SHA256 of all three.

    Examples
    --------
    The specification's own example:

    >>> key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    >>> signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='
    """
    signed = hmac.new(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256)
    return f"v1,{base64.b64encode(signed.digest()).decode('ascii')}"


def _key(secret: str) -> bytes:
    """Return the bytes of a secret: ``whsec_`` is followed by base64, anything else is taken as it is."""
    if not secret.startswith("whsec_"):
        if len(secret) < 16:
            raise InputError("secret has fewer than 16 characters, which can be guessed; take a longer one")
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except ValueError:
        raise InputError("secret begins with whsec_, so base64 must follow, and does not") from None


def _seconds(header: str | None) -> float | None:
    """Return what a ``Retry-After`` header asks for: a number of seconds, or a date."""
    if header is None:
        return None
    if header.strip().isdecimal():
        return float(header)
    try:
        until = parsedate_to_datetime(header)
    except ValueError:
        return None
    until = until if until.tzinfo else until.replace(tzinfo=timezone.utc)
    return max((until - datetime.now(timezone.utc)).total_seconds(), 0.0)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow none: what is sent is meant for this server alone."""

"""Notices to an MQTT broker, by paho-mqtt."""

from __future__ import annotations

import re
import secrets
import string
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote, unquote

from visavis.errors import DeliveryError, EngineError, InputError
from visavis.events.event import Event
from visavis.events.targets.base import Notice, Target, credentials, refused, split_address
from visavis.events.targets.trust import tls
from visavis.settings import Location

if TYPE_CHECKING:
    from paho.mqtt.client import Client, MQTTMessageInfo

__all__ = ["Mqtt", "topic_of"]

_TOPIC = "visavis/{camera}/{kind}"
_FIELDS = ("camera", "kind", "place", "who")
_SPECIAL = re.compile(r"[+#/%$\x00-\x1f]")
_LONGEST_TOPIC = 65535  # bytes, by the protocol


@dataclass(kw_only=True, eq=False)
class Mqtt(Target):
    """A broker that passes notices on: ``mqtt = "mqtt://host:1883/visavis/{camera}/{kind}"``.

    Attributes
    ----------
    mqtt
        ``mqtt``, or ``mqtts`` for TLS; after the host the topic, in which ``{camera}``, ``{kind}``, ``{place}`` and
        ``{who}`` are filled in.
    user, password
        Unless they stand in the address.
    qos
        2: the broker says twice that it has it; 1: once; 0: sent, and that is all that is known.
    retain
        The broker keeps the last notice of a topic for who comes later.
    ca
        File with the certificates to trust, in place of the system's.
    """

    mqtt: str = field(repr=False)
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    qos: Literal[0, 1, 2] = 1
    retain: bool = False
    ca: Location | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        parts = split_address(
            self.mqtt.replace("{", "%7B").replace("}", "%7D"), "mqtt", "mqtts", example="mqtt://host:1883/topic"
        )
        self._encrypted = parts.scheme == "mqtts"
        self._host, self._port = parts.hostname or "", parts.port or (8883 if self._encrypted else 1883)
        user, password = credentials(parts)
        self._user = user if self.user is None else self.user
        self._password = password if self.password is None else self.password
        if self._password is not None and self._user is None:
            raise InputError("there is a password and no user")
        if "?" in self.mqtt or "#" in self.mqtt:
            raise InputError("a topic to send to must not hold #, and ? is written as %3F in an address")
        self._topic = unquote(parts.path.removeprefix("/")) or _TOPIC
        _check_topic(self._topic)
        self._client: Client | None = None
        if self.ca is not None:
            tls(self.ca)
        _paho()  # a missing package is told now

    @property
    def where(self) -> str:
        """Scheme, host and port."""
        return f"mqtt{'s' if self._encrypted else ''}://{self._host}:{self._port}"

    def send(self, notice: Notice) -> None:
        """Publish the notice, and wait for the broker's word that it has it (unless ``qos`` is 0)."""
        topic = topic_of(self._topic, notice.event)
        try:
            client = self._connected()
            info = client.publish(topic, notice.document(), self.qos, self.retain)
            self._acknowledged(client, info)
        except (DeliveryError, OSError, ValueError, RuntimeError) as error:
            # The library would go on trying by itself, and so send twice what the outbox sends again.
            self.close()
            if isinstance(error, DeliveryError):
                raise
            if isinstance(error, OSError):
                raise refused(self.where, error) from None
            raise DeliveryError(f"{self.where} can't be sent to: the notice or its topic is too long") from None

    def close(self) -> None:
        """End the connection."""
        client, self._client = self._client, None
        if client is not None:
            client.disconnect()
            client.loop_stop()

    def _connected(self) -> Client:
        if self._client is not None and self._client.is_connected():
            return self._client
        self.close()
        paho = _paho()
        client: Client = paho.Client(
            paho.CallbackAPIVersion.VERSION2, f"visavis-{secrets.token_hex(6)}", reconnect_on_failure=False
        )
        if self._user is not None:
            client.username_pw_set(self._user, self._password)
        if self._encrypted:
            client.tls_set_context(tls(self.ca))
        answered, answers = threading.Event(), list[Any]()

        def on_connect(_client: Any, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
            answers.append(code)
            answered.set()

        client.on_connect = on_connect
        client.connect_timeout = self.timeout
        client.connect(self._host, self._port)
        self._client = client
        client.loop_start()
        if not answered.wait(self.timeout):
            raise DeliveryError(f"{self.where} takes the connection and says nothing")
        if answers[0].is_failure:
            raise DeliveryError(f"{self.where} refuses the connection: {str(answers[0]).lower()}")
        return client

    def _acknowledged(self, client: Client, info: MQTTMessageInfo) -> None:
        until = time.monotonic() + self.timeout
        while not info.is_published():
            if not client.is_connected():
                raise DeliveryError(f"{self.where} ended the connection")
            if time.monotonic() > until:
                raise DeliveryError(f"{self.where} doesn't say that it has the notice")
            info.wait_for_publish(0.2)


def topic_of(template: str, event: Event) -> str:
    """Return the topic for an event: what a value holds of MQTT's own characters is written as ``%xx``.

    Examples
    --------
    >>> from datetime import datetime, timezone
    >>> topic_of("faces/{camera}/{who}", Event("unknown", "hall/+1", datetime(2026, 5, 1, tzinfo=timezone.utc)))
    'faces/hall%2F%2B1/nobody'
    """
    who = event.subject or "nobody"
    values = {"camera": event.camera, "kind": event.kind, "place": event.place or "view", "who": who}
    escaped = {name: _SPECIAL.sub(lambda found: quote(found[0], safe=""), value) for name, value in values.items()}
    return template.format_map(escaped)


def _check_topic(template: str) -> None:
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError:
        raise InputError("a brace stands alone in the topic") from None
    for text, name, form, conversion in parts:
        if any(sign in text for sign in "+#\0"):
            raise InputError("a topic to send to must not hold + or #")
        if name is not None and (name not in _FIELDS or form or conversion):
            raise InputError(f"a topic may hold {', '.join(f'{{{field}}}' for field in _FIELDS)}, not {{{name}}}")
    if template.startswith("$"):
        raise InputError("a topic that begins with $ is the broker's own")
    if len(template.encode()) > _LONGEST_TOPIC // 8:
        raise InputError("the topic is too long")


def _paho() -> Any:
    try:
        from paho.mqtt import client
    except ImportError:
        raise EngineError("MQTT needs the package paho-mqtt: pip install 'visavis[notify]'") from None
    return client

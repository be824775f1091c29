"""Servers that receive notices in tests: a web server that answers as it is told, and a real MQTT broker."""

from __future__ import annotations

import contextlib
import http.server
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pwdlib.hashers.argon2 import Argon2Hasher


@dataclass
class Request:
    """What a web server got."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.body)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class WebServer:
    """A web server of this machine, which can be stopped and started again at the same port.

    ``answer`` takes a request and gives a status, and headers or None; by default all is taken.
    """

    def __init__(self, answer: Callable[[Request], tuple[int, Mapping[str, str]]] | None = None) -> None:
        self.requests: list[Request] = []
        self.answer = answer or (lambda request: (204, {}))
        self.port = free_port()
        self.changed = threading.Condition()
        self._server: http.server.ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                request = Request(self.path, self.headers, body)
                status, headers = receiver.answer(request)
                with receiver.changed:
                    receiver.requests.append(request)
                    receiver.changed.notify_all()
                with contextlib.suppress(OSError):  # who asked is gone
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", "0")
                    self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def wait_for(self, count: int, timeout: float = 20) -> list[Request]:
        """Return the requests when there are so many; fail after a while."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.requests) >= count, timeout), len(self.requests)
            return list(self.requests)


@contextlib.contextmanager
def web_server(answer: Callable[[Request], tuple[int, Mapping[str, str]]] | None = None) -> Iterator[WebServer]:
    server = WebServer(answer)
    server.start()
    try:
        yield server
    finally:
        server.stop()


_BROKER = """
import asyncio, json, sys
from amqtt.broker import Broker

async def serve():
    await Broker(json.loads(sys.argv[1])).start()
    print("ready", flush=True)
    await asyncio.Event().wait()

asyncio.run(serve())
"""


class MqttBroker:
    """A broker (amqtt) in a process of its own, which can be killed and started again at the same port."""

    def __init__(
        self, certificate: tuple[Path, Path] | None = None, users: tuple[Path, Mapping[str, str]] | None = None
    ) -> None:
        self.port = free_port()
        listener: dict[str, Any] = {"type": "tcp", "bind": f"127.0.0.1:{self.port}"}
        if certificate is not None:
            listener |= {"ssl": True, "certfile": str(certificate[0]), "keyfile": str(certificate[1])}
        auth = "amqtt.plugins.authentication."
        plugins: dict[str, Any] = {f"{auth}AnonymousAuthPlugin": {"allow_anonymous": True}}
        if users is not None:
            path, passwords = users
            path.write_text("".join(f"{user}:{Argon2Hasher().hash(word)}\n" for user, word in passwords.items()))
            plugins = {f"{auth}FileAuthPlugin": {"password_file": str(path)}}
        self._config = json.dumps({"listeners": {"default": listener}, "plugins": plugins})
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        command = [sys.executable, "-c", _BROKER, self._config]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


@contextlib.contextmanager
def mqtt_broker(**options: Any) -> Iterator[MqttBroker]:
    broker = MqttBroker(**options)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


class Subscriber:
    """Somebody who listens at a broker: an MQTT client of its own."""

    def __init__(self, port: int, topic: str) -> None:
        from paho.mqtt.client import CallbackAPIVersion, Client

        self.messages: list[tuple[str, dict[str, Any], int, bool]] = []
        self._ready = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda client, *_: client.subscribe(topic, 2)
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = lambda _client, _data, message: self.messages.append(
            (message.topic, json.loads(message.payload), message.qos, message.retain)
        )
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self._ready.wait(20)

    def wait_for(self, count: int) -> list[tuple[str, dict[str, Any], int, bool]]:
        until = time.monotonic() + 20
        while len(self.messages) < count:
            assert time.monotonic() < until, self.messages
            time.sleep(0.02)
        return list(self.messages)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def certificate(folder: Path) -> tuple[Path, Path] | None:
    """Make a certificate of 127.0.0.1 that signs itself, and its key; None where there is no openssl."""
    made, key = folder / "certificate.pem", folder / "key.pem"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    try:
        subprocess.run([*command, "-keyout", str(key), "-out", str(made)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return made, key

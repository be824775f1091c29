"""A look at the cameras in a browser: a page, and each camera's newest pictures with names, as JPEG and MJPEG.

Faces are nobody else's business, so only this machine is served, only under an address with a random key in it, and
only where the address names this machine: a page of the web that has its name point here gets nothing.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import os
import secrets
import socket
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any
from urllib.parse import unquote, urlsplit

from visavis.errors import InputError
from visavis.files import reason
from visavis.video.watch import Watch

__all__ = ["LiveView"]

_HOST = "127.0.0.1"
_CLIENTS = 32  # connections at a time
_SLOW_SECONDS = 10.0  # after which a client that takes nothing is left
_PICTURE_SECONDS = 5.0  # that a client waits for a picture
_BOUNDARY = "visavis"
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; connect-src 'self'; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class LiveView:
    """Serves the live view of a watch. Pictures are made only while somebody looks.

    Parameters
    ----------
    port
        Of 127.0.0.1; 0 takes one that is free.
    key
        What its address holds; a random one is made where none is given.

    Attributes
    ----------
    url
        Of the page. Beside it: ``status.json``, ``CAMERA.jpg`` (the next picture) and ``CAMERA.mjpeg`` (all).

    Raises
    ------
    InputError
        If the port can't be had.
    """

    def __init__(self, watch: Watch, port: int = 0, *, key: str | None = None) -> None:
        self._key = key or secrets.token_urlsafe(16)
        try:
            self._server = _Server(watch, self._key, port)
        except (OSError, OverflowError) as error:
            raise InputError(f"the live view can't have port {port} ({reason(error)}); choose another") from None
        self.url = f"http://{_HOST}:{self._server.server_port}/{self._key}/"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving. Closing twice is fine."""
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> LiveView:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = os.name == "posix"  # Windows would let another program have the same port

    def __init__(self, watch: Watch, key: str, port: int) -> None:
        self.watch, self.key = watch, key
        self.page = resources.files("visavis.video").joinpath("live_view.html").read_bytes()
        self.room = threading.BoundedSemaphore(_CLIENTS)
        super().__init__((_HOST, port), _Handler)
        self.hosts = {f"{host}:{self.server_port}" for host in (_HOST, "localhost")}

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self.room.acquire(blocking=False):
            with contextlib.suppress(OSError):
                request.sendall(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that go away."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "visavis", ""
    timeout = _SLOW_SECONDS

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def do_GET(self) -> None:
        key, _, name = urlsplit(self.path).path.removeprefix("/").partition("/")
        if self.headers.get("Host") not in self.server.hosts:
            self._answer(HTTPStatus.MISDIRECTED_REQUEST)
        elif not hmac.compare_digest(key.encode(), self.server.key.encode()):
            self._answer(HTTPStatus.NOT_FOUND)
        elif name == "":
            self._answer(HTTPStatus.OK, "text/html; charset=utf-8", self.server.page)
        elif name == "status.json":
            cameras = [status.to_dict() for status in self.server.watch.status()]
            self._answer(HTTPStatus.OK, "application/json", json.dumps(cameras).encode())
        else:
            self._pictures(unquote(name))

    def _pictures(self, name: str) -> None:
        camera, _, kind = name.rpartition(".")
        if kind not in ("jpg", "mjpeg") or camera not in {status.name for status in self.server.watch.status()}:
            self._answer(HTTPStatus.NOT_FOUND)
        elif kind == "jpg":
            found = self.server.watch.picture(camera, timeout=_PICTURE_SECONDS)
            if found is None:
                self._answer(HTTPStatus.SERVICE_UNAVAILABLE)
            else:
                self._answer(HTTPStatus.OK, "image/jpeg", found[1])
        else:
            self._stream(camera)

    def _stream(self, camera: str) -> None:
        """Send a camera's pictures, each the newest there is when the client has taken the one before."""
        self.close_connection = True
        self.send_response(HTTPStatus.OK)
        for field, value in {**_HEADERS, "Connection": "close"}.items():
            self.send_header(field, value)
        self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
        self.end_headers()
        number = None
        while not self.server.watch.closed:
            found = self.server.watch.picture(camera, after=number, timeout=_PICTURE_SECONDS)
            if found is None:
                if self._gone:
                    return
                continue
            number, data = found
            head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
            try:
                self.wfile.write(head.encode() + data + b"\r\n")
            except OSError:
                return

    @property
    def _gone(self) -> bool:
        """Whether the client has closed the connection, which nothing else tells while there is nothing to send."""
        self.connection.setblocking(False)
        try:
            return not self.connection.recv(4096)
        except BlockingIOError:
            return False
        except OSError:
            return True
        finally:
            self.connection.settimeout(_SLOW_SECONDS)

    def _answer(self, status: HTTPStatus, kind: str = "text/plain", data: bytes = b"") -> None:
        self.send_response(status)
        for field, value in {**_HEADERS, "Content-Type": kind, "Content-Length": str(len(data))}.items():
            self.send_header(field, value)
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: requests hold the key."""

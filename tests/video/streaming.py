"""Real servers of streams for tests, and a relay in front of them that can do what cameras do on bad days.

RTSP is served by the package aio-rtsp-toolkit, over TCP; HTTP by Python's own server.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import re
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest


class RtspServer:
    """Serves the videos of a folder; `stop` and `start` again keep the port."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server: Any = None

    def __enter__(self) -> RtspServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def address(self, name: str, *, user: str = "") -> str:
        return f"rtsp://{user + '@' if user else ''}127.0.0.1:{self.port}/{name}"

    def start(self) -> None:
        from aio_rtsp_toolkit.server import RtspServer as Server

        self._server = Server(str(self.folder), host="127.0.0.1", port=self.port)
        self._server.logger = logging.getLogger("tests.rtsp")
        asyncio.run_coroutine_threadsafe(self._server.start(), self._loop).result()

    def stop(self) -> None:
        async def end() -> None:
            server, self._server = self._server, None
            if server is not None:
                server._server.close()
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result()


class Relay:
    """Passes connections on to another port, and fails as it is told.

    Attributes
    ----------
    frozen
        While set, nothing is passed on to clients.
    damage
        Every so many bytes to clients one is changed; 0: none.
    password
        RTSP's digest (RFC 2617) of ``ada`` and this is asked for.
    tls
        Talks so to clients.
    asked
        What clients sent, as text.
    """

    def __init__(self, port: int, *, password: str = "", tls: ssl.SSLContext | None = None) -> None:
        self.target, self.password, self.tls = port, password, tls
        self.frozen = threading.Event()
        self.damage = 0
        self.asked: list[str] = []
        self.connections = 0
        self._open: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.frozen.clear()
        self.cut()
        for thread in self._threads:
            thread.join(5)

    def address(self, name: str, *, user: str = "") -> str:
        return f"rtsp://{user + '@' if user else ''}127.0.0.1:{self.port}/{name}"

    def cut(self) -> None:
        """Break all connections."""
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._open = []

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            try:
                client = self.tls.wrap_socket(client, server_side=True) if self.tls else client
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                client.close()
                continue
            self._open += [client, server]
            for act in (lambda a=client, b=server: self._forth(a, b), lambda a=server, b=client: self._back(a, b)):
                self._threads.append(threading.Thread(target=act, daemon=True))
                self._threads[-1].start()

    def _forth(self, client: socket.socket, server: socket.socket) -> None:
        admitted = not self.password
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                self.asked.append(data.decode("latin-1"))
                if not admitted and not (admitted := self._admits(data.decode("latin-1"))):
                    number = re.search(rb"CSeq: *(\d+)", data)
                    answer = f"RTSP/1.0 401 Unauthorized\r\nCSeq: {number[1].decode() if number else 1}\r\n"
                    answer += 'WWW-Authenticate: Digest realm="door", nonce="4711"\r\n\r\n'
                    client.sendall(answer.encode())
                    continue
                server.sendall(data)
        _end(server)

    def _admits(self, text: str) -> bool:
        given = dict(re.findall(r'(\w+)="([^"]*)"', text.partition("Authorization:")[2].partition("\r\n")[0]))
        one = hashlib.md5(f"ada:door:{self.password}".encode()).hexdigest()
        two = hashlib.md5(f"{text.split()[0]}:{given.get('uri')}".encode()).hexdigest()
        return given.get("response") == hashlib.md5(f"{one}:4711:{two}".encode()).hexdigest()

    def _back(self, server: socket.socket, client: socket.socket) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                while self.frozen.is_set():
                    time.sleep(0.01)
                if self.damage:
                    changed = bytearray(data)
                    for i in range(self.damage - passed % self.damage, len(data), self.damage):
                        changed[i] ^= 0x55
                    passed += len(data)
                    data = bytes(changed)
                client.sendall(data)
        _end(client)


@contextlib.contextmanager
def silent_server(says: bytes = b"") -> Iterator[int]:
    """Accept connections, answer each with the same bytes, or nothing, and keep them open; give the port."""
    taken: list[socket.socket] = []

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                taken.append(listening.accept()[0])
                taken[-1].sendall(says)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(5)
            for one in taken:
                one.close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        server: Any = self.server
        server.seen.append(self.path)
        found = server.answers.get(self.path.partition("?")[0])
        if found is None:
            super().do_GET()
        else:
            with contextlib.suppress(OSError):
                found(self)


@contextlib.contextmanager
def http_server(folder: Path, answers: dict[str, Any] | None = None) -> Iterator[Any]:
    """Serve a folder, and by functions what ``answers`` has; the server knows what was asked for as ``seen``."""

    class Handler(_Quiet):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(folder))

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.answers, server.seen = answers or {}, []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def motion_jpeg(pictures: list[bytes], *, pause: float = 0.02) -> Any:
    """Answer as cameras do that send JPEG after JPEG."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        handler.end_headers()
        for data in pictures:
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
            handler.wfile.write(head.encode() + data + b"\r\n")
            time.sleep(pause)

    return answer


def signed_itself(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """Return TLS of a server with a certificate that it made itself, as cameras do, and the certificate."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=camera"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no openssl that makes certificates: {error}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context, certificate


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


def _end(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()

"""The live view: what a browser gets, what anybody else doesn't, and that who takes nothing holds up nobody."""

from __future__ import annotations

import http.client
import io
import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image as Pillow

from tests.video.watched import Watched, portrait, until
from visavis.errors import InputError
from visavis.video.cameras import Camera
from visavis.video.live_view import LiveView

DOOR = "door \u7167"


@pytest.fixture(scope="module")
def watched(
    home: Path, lfw_photo: Callable[[str, int], bytes], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watched]:
    os.environ["VISAVIS_HOME"] = str(home)
    film = portrait(tmp_path_factory.mktemp("films") / "a.mp4", lfw_photo("Colin_Powell", 2), size=(1280, 720))
    cameras = [
        Camera(name=DOOR, source=str(film), as_camera=True, loop=True, min_face=60),
        Camera(name="dead", source="rtsp://127.0.0.1:1/live"),
    ]
    with Watched(cameras, workers=1) as found:
        until(lambda: found.status(DOOR).faces, "a face")
        yield found


@pytest.fixture
def view(watched: Watched) -> Iterator[LiveView]:
    with LiveView(watched.watch) as found:
        yield found


def get(view: LiveView, path: str, **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", int(view.url.split("/")[2].split(":")[1]), timeout=60)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return answer, data


def path_of(view: LiveView, name: str = "") -> str:
    return "/" + "/".join(view.url.split("/")[3:]) + quote(name)


def test_no_picture_is_made_while_nobody_looks(watched: Watched, view: LiveView) -> None:
    get(view, path_of(view))
    get(view, path_of(view, "status.json"))
    watched.goes_on(DOOR, 5)
    assert watched.watch._views[DOOR].number == 0


def test_the_page_its_status_and_a_picture(watched: Watched, view: LiveView) -> None:
    answer, page = get(view, path_of(view))
    assert (answer.status, answer.headers.get_content_type()) == (200, "text/html")
    assert b"<main>" in page
    assert b"http" not in page  # nothing of it comes from elsewhere
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    answer, status = get(view, path_of(view, "status.json"))
    assert [camera["name"] for camera in json.loads(status)] == [DOOR, "dead"]
    assert json.loads(status)[0]["state"] == "live"
    answer, data = get(view, path_of(view, f"{DOOR}.jpg"))
    assert (answer.status, answer.headers["Content-Type"], answer.headers["Cache-Control"]) == (
        200,
        "image/jpeg",
        "no-store",
    )
    with Pillow.open(io.BytesIO(data)) as picture:
        assert picture.size == (960, 540)
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    blue = np.abs(pixels - (86, 180, 233)).max(axis=2) < 40  # the color of a face without a name
    assert blue.sum() > 200
    kept = Path(watched.watch._views[DOOR].path)
    assert kept.name == "view-0.jpg"
    until(lambda: not kept.exists(), "the picture to go, as nobody looks")
    assert get(view, path_of(view, f"{DOOR}.jpg"))[0].status == 200


def test_a_stream_of_pictures(view: LiveView) -> None:
    with socket.create_connection(("127.0.0.1", int(view.url.split("/")[2].split(":")[1])), timeout=60) as client:
        host = view.url.split("/")[2]
        client.sendall(f"GET {path_of(view, DOOR + '.mjpeg')} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        stream = client.makefile("rb")
        head = b"".join(iter(stream.readline, b"\r\n"))
        assert b" 200 " in head
        assert b"multipart/x-mixed-replace; boundary=visavis" in head
        seen = []
        for _ in range(3):
            assert stream.readline() == b"--visavis\r\n"
            assert stream.readline() == b"Content-Type: image/jpeg\r\n"
            length = int(stream.readline().split()[1])
            assert stream.readline() == b"\r\n"
            seen.append(stream.read(length))
            Pillow.open(io.BytesIO(seen[-1])).load()
            assert stream.readline() == b"\r\n"
        assert len(set(seen)) == 3


def test_nobody_gets_in_who_should_not(view: LiveView) -> None:
    host = view.url.split("/")[2]
    port = host.split(":")[1]
    secret = path_of(view, "status.json")
    for evil in ("evil.example", f"evil.example:{port}", "127.0.0.1", f"127.0.0.1.evil.example:{port}"):
        answer, data = get(view, secret, Host=evil)
        assert (answer.status, data) == (421, b"")
    for path in ("/", "/status.json", secret[:5] + "x" + secret[6:], "/" + secret[2:], f"/{'x' * 22}/"):
        assert get(view, path)[0].status == 404
    for name in ("nobody.jpg", "dead", "dead.png", "../status.json", "..%2f..%2fetc%2fpasswd.jpg"):
        assert get(view, path_of(view) + name)[0].status == 404
    assert get(view, secret, Host=f"localhost:{port}")[0].status == 200
    assert get(view, path_of(view, "dead.jpg"))[0].status == 503
    assert view.url.startswith("http://127.0.0.1:")
    assert len(view.url.split("/")[3]) >= 20
    with pytest.raises(InputError, match="can't have port"):
        LiveView(view._server.watch, int(port))
    with pytest.raises(InputError, match="can't have port"):
        LiveView(view._server.watch, 70_000)


def test_clients_that_take_nothing_hold_up_nobody(watched: Watched, view: LiveView) -> None:
    host = view.url.split("/")[2]
    address = ("127.0.0.1", int(host.split(":")[1]))
    request = f"GET {path_of(view, DOOR + '.mjpeg')} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    lazy = [socket.create_connection(address) for _ in range(32)]
    try:
        for client in lazy:
            client.sendall(request)
        until(lambda: view._server.room._value == 0, "all places to be taken")
        with socket.create_connection(address) as client:
            assert client.recv(100).startswith(b"HTTP/1.1 503 ")
        watched.goes_on(DOOR, 20)
    finally:
        for client in lazy:
            client.close()
    until(lambda: view._server.room._value == 32, "all places to be free again")
    assert get(view, path_of(view))[0].status == 200


def test_clients_of_a_dead_camera_that_go_away_free_their_places(view: LiveView) -> None:
    host = view.url.split("/")[2]
    request = f"GET {path_of(view, 'dead.mjpeg')} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    for _ in range(32):
        with socket.create_connection(("127.0.0.1", int(host.split(":")[1]))) as client:
            client.sendall(request)
            assert client.recv(100).startswith(b"HTTP/1.1 200 ")
    until(lambda: view._server.room._value == 32, "all places to be free again")
    assert get(view, path_of(view))[0].status == 200

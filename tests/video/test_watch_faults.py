"""Faults of real processes: what dies or hangs comes back, the others go on, and no event is lost or told twice."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.films import film
from tests.video.watched import Watched, larger, portrait, until
from visavis.gallery import open_gallery
from visavis.image import load_image
from visavis.pipeline import Analyzer
from visavis.video import feed as feeds
from visavis.video.cameras import Camera
from visavis.video.feed import Feed
from visavis.video.sources import Source

PEOPLE = ("Colin_Powell", "George_W_Bush")


@pytest.fixture(scope="module")
def faces(lfw_photo: Callable[[str, int], bytes], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("films")
    return [portrait(folder / f"{name}.mp4", lfw_photo(name, 2)) for name in PEOPLE]


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a folder on a file system of 512 KiB, or one that is not there."""
    folder = tmp_path_factory.mktemp("snapshots")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:  # not root
        folder = folder / "missing"
    yield folder
    if not mounted.returncode:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture(scope="module")
def watched(
    faces: list[Path],
    snapshots: Path,
    home: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Watched]:
    """Watch two cameras, each with a worker of its own, with a gallery of nobody; the tests share it in their order."""
    os.environ["VISAVIS_HOME"] = str(home)
    gallery = tmp_path_factory.mktemp("gallery") / "people.db"
    open_gallery(gallery).close()
    cameras = [
        Camera(name=name, source=str(path), as_camera=True, loop=True, gap=0.5, snapshots=True)
        for name, path in zip("ab", faces, strict=True)
    ]
    with Watched(cameras, workers=2, gallery=gallery, snapshots=snapshots) as found:
        found.gallery = gallery  # type: ignore[attr-defined]
        until(lambda: found.of("a", "appeared") and found.of("b", "appeared"), "both cameras")
        yield found


def test_a_capture_process_that_is_killed(watched: Watched) -> None:
    before = len(watched.events)
    [first, _] = watched.captures()
    os.kill(first, signal.SIGKILL)
    [lost] = until(lambda: watched.of("a", "camera_lost", after=before), "the loss")
    [back] = until(lambda: watched.of("a", "camera_back", after=before), "the return")
    assert lost.detail == "its process ended"
    assert back.time > lost.time
    watched.goes_on("a")
    assert watched.status("a").restarts == 1
    assert watched.status("b").restarts == 0
    assert watched.of("b", "camera_lost", after=before) == []


def test_a_worker_that_is_killed(watched: Watched) -> None:
    until(lambda: watched.status("b").faces, "a face before the second camera")
    before, told = len(watched.events), list(watched.events)
    visit = watched.of("b", "appeared")[-1]
    workers = watched.watch.processes
    os.kill(workers[1], signal.SIGKILL)
    [lost] = until(lambda: watched.of("b", "camera_lost", after=before), "the loss")
    assert lost.detail == "its process ended (-9)"
    until(lambda: watched.of("b", "camera_back", after=before), "the return")
    again = until(lambda: watched.of("b", "appeared", after=before), "the face again")[0]
    assert again.run != visit.run  # run and track name a visit for ever
    # Whoever was there has left, and is told so by the process that lives.
    assert [(e.run, e.track) for e in watched.of("b", "left", after=before)][:1] == [(visit.run, visit.track)]
    assert watched.events[:before] == told
    assert len({event.id for event in watched.events}) == len(watched.events)
    assert watched.watch.processes[0] == workers[0]
    assert watched.status("b").restarts == 1
    watched.goes_on("a")
    until(lambda: len(watched.captures()) == 2, "the orphan's end")


def test_somebody_enrolled_while_it_runs(watched: Watched, lfw_photo: Callable[[str, int], bytes]) -> None:
    assert watched.of("a", "identified") == []
    with open_gallery(watched.gallery, analyzer=Analyzer(threads=1)) as gallery:  # type: ignore[attr-defined]
        gallery.enroll("ada", lfw_photo("Colin_Powell", 2))
    known = until(lambda: watched.of("a", "identified"), "the name")[0]
    assert known.subject == "ada"
    assert known.similarity is not None
    assert known.similarity > 0.5
    until(lambda: watched.status("a").people == ("ada",), "the name in the status")
    assert watched.of("b", "identified") == []
    assert (watched.status("a").restarts, watched.status("b").restarts) == (1, 1)


def test_a_gallery_that_another_process_writes_to(watched: Watched) -> None:
    connection = sqlite3.connect(watched.gallery, isolation_level=None)  # type: ignore[attr-defined]
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("UPDATE subjects SET name = 'grace'")
    before = len(watched.events)
    os.kill(next(iter(watched.captures())), signal.SIGKILL)  # who is there leaves, and is named anew
    found = until(lambda: watched.of("a", "identified", after=before), "the name")
    assert found[-1].subject == "ada"
    connection.execute("ROLLBACK")
    connection.close()
    assert watched.status("b").restarts == 1


def test_a_disk_that_is_full(watched: Watched, snapshots: Path) -> None:
    """Of pictures of events those are kept for which there was room; the others go out without."""
    filler = os.open(snapshots / "filler", os.O_WRONLY | os.O_CREAT) if snapshots.is_dir() else None
    with contextlib.suppress(OSError):
        while filler is not None and os.write(filler, bytes(1024)):
            pass
    before = len(watched.events)
    kill = next(iter(watched.captures()))
    os.kill(kill, signal.SIGKILL)  # who is there leaves, and appears again
    until(lambda: watched.of("a", "camera_back", after=before), "the return")
    watched.goes_on("a", 10)
    os.kill(next(pid for pid, above in watched.captures().items() if above == watched.watch.processes[1]), 9)
    until(lambda: watched.of("b", "camera_back", after=before), "the return")
    until(lambda: [e for e in watched.events[before:] if e.kind == "appeared"], "an event")
    assert all(event.snapshot is None for event in watched.events[before:])
    said = [watched.status(name).problem for name in "ab"]
    assert any(text.startswith("no snapshots: ") for text in said), said
    if filler is not None:
        os.close(filler)
        (snapshots / "filler").unlink()
        kept = {event.snapshot for event in watched.events if event.snapshot}
        assert {path.name for path in snapshots.iterdir()} == kept
        assert kept


def test_a_process_that_hangs_is_started_again(
    faces: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "_SILENT_SECONDS", 5.0)
    source = Source.parse(str(faces[0]), pace=True, loop=True)
    changed = threading.Event()
    feed = Feed(source, None, [tmp_path], changed.set)

    def taken() -> bool:
        feed.tend(time.monotonic())
        found = feed.take()
        return found is not None and found.image.mean() > 10

    try:
        until(taken, "a picture")
        assert feed.pid is not None
        os.kill(feed.pid, signal.SIGSTOP)
        hung = feed.pid
        until(lambda: taken() and feed.pid != hung, "pictures of another process")
        assert feed.restarts >= 1
    finally:
        feed.close()
    assert feed.pid is None


class Station:
    """A stream over HTTP: each time it is opened it sends the next film, and then nothing."""

    def __init__(self, films: list[Path]) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.server.getsockname()[1]}/live.ts"
        self.opened = 0
        self._films = [path.read_bytes() for path in films]
        self._held: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self.server.accept()
                self._held.append(client)  # it stays open, and silent
                with contextlib.suppress(OSError):
                    client.recv(65536)
                    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\n\r\n")
                    data = self._films[min(self.opened, len(self._films) - 1)]
                    for start in range(0, len(data), len(data) // 25):
                        client.sendall(data[start : start + len(data) // 25])
                        time.sleep(0.15)
                self.opened += 1

    def close(self) -> None:
        for held in (*self._held, self.server):
            held.close()


def test_a_source_that_freezes_and_comes_back_larger(
    tmp_path: Path, faces: list[Path], lfw_photo: Callable[[str, int], bytes]
) -> None:
    photo = load_image(lfw_photo("Colin_Powell", 2))
    films = [film(tmp_path / f"{i}.ts", [larger(photo, i)] * 30, options={"g": "5"}) for i in (1, 2)]
    station = Station(films)
    cameras = [
        Camera(name="frozen", source=station.url, timeout=1.0, gap=0.5),
        Camera(name="door", source=str(faces[1]), as_camera=True, loop=True),
    ]
    try:
        with Watched(cameras, workers=1) as watched:
            [back, *_] = until(lambda: watched.of("frozen", "camera_back"), "the return")
            [lost, *_] = watched.of("frozen", "camera_lost")
            assert lost.time < back.time
            assert "127.0.0.1" in (lost.detail or "")
            until(lambda: [e for e in watched.of("frozen", "appeared") if e.time > back.time], "the face again")
            sizes = {round((e.box[2] - e.box[0]) / 80) for e in watched.of("frozen", "appeared") if e.box}
            assert len(sizes) == 2, sizes  # the second film shows the face twice as large
            assert watched.status("frozen").restarts == 0
            watched.goes_on("door")
            assert watched.of("door", "camera_lost") == []
    finally:
        station.close()


@pytest.mark.slow
def test_memory_stays_flat(lfw_photo: Callable[[str, int], bytes], tmp_path: Path) -> None:
    """Two and a half minutes of looped video, 50 frames a second of each camera: as many frames as in ten at 12."""
    films = [portrait(tmp_path / f"{name}.mp4", lfw_photo(name, 2), seconds=20, rate=50) for name in PEOPLE]
    cameras = [Camera(name=path.stem, source=str(path), as_camera=True, loop=True, gap=0.3) for path in films]
    with Watched(cameras, workers=1) as watched:

        def held() -> tuple[float, int]:
            """Return MiB and open files of all processes below this one."""
            running = [psutil.Process(pid) for pid in (*watched.watch.processes, *watched.captures())]
            return sum(p.memory_full_info().uss for p in running) / 2**20, sum(p.num_fds() for p in running)

        for camera in cameras:
            watched.goes_on(camera.name, 100)
        time.sleep(30)
        before, files = held()
        time.sleep(120)
        after, files_after = held()
        assert after - before < 20, (before, after)
        assert files_after == files
        assert [status.restarts for status in watched.watch.status()] == [0, 0]

"""Cameras watched: events of each, numbers that add up, and nothing left behind."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from tests.films import film
from tests.video.watched import Watched, larger, portrait, until
from visavis.errors import InputError, NotAGallery
from visavis.image import load_image
from visavis.video import camera_process, crew, shared_frames
from visavis.video import watch as watch_module
from visavis.video.camera_process import Pace
from visavis.video.cameras import Camera
from visavis.video.status import CameraStatus
from visavis.video.watch import Watch


@pytest.fixture(scope="module")
def faces(lfw_photo: Callable[[str, int], bytes], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a short film of each of two people."""
    folder = tmp_path_factory.mktemp("films")
    return {
        name: portrait(folder / f"{name}.mp4", lfw_photo(name, 2), seconds=2, rate=4)
        for name in ("Colin_Powell", "George_W_Bush")
    }


def test_files_played_as_cameras_to_their_end(
    faces: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_frames, "memory_folders", lambda: [tmp_path])
    cameras = [
        Camera(name="door \u7167", source=str(faces["Colin_Powell"]), as_camera=True),
        Camera(name="yard", source=str(faces["George_W_Bush"]), as_camera=True, fps=2),
    ]
    with Watched(cameras, workers=1) as watched:
        watched.thread.join(90)
        assert watched.watch.ended
        assert watched.watch.next() is None  # for ever
        status = {status.name: status for status in watched.watch.status()}
        assert until(lambda: not any(psutil.pid_exists(pid) for pid in watched.watch.processes), "the worker's end")
    [own] = tmp_path.iterdir()
    assert list(own.iterdir()) == []
    for name in status:
        assert [event.kind for event in watched.of(name)] == ["appeared", "left"]
        appeared, left = watched.of(name)
        assert (appeared.run, appeared.track) == (left.run, left.track)
        assert left.time >= appeared.time
        assert (status[name].state, status[name].tracks, status[name].faces) == ("ended", 1, 0)
        assert (status[name].restarts, status[name].problem) == (0, "")
        assert status[name].latency_p95_s >= status[name].latency_p50_s > 0
    # Every frame was looked at, or a newer one took its place; by the budget of the second, every other was due.
    assert status["door \u7167"].frames + status["door \u7167"].dropped == 20
    assert status["yard"].frames + status["yard"].dropped == 10
    assert [CameraStatus.from_dict(json.loads(json.dumps(s.to_dict()))) for s in status.values()] == [*status.values()]


def test_a_budget_of_frames_is_spent_evenly() -> None:
    for fps in (0.5, 5, 10, 24.9, 25, 30):
        pace = Pace(fps)
        due = [i / 25 for i in range(250) if pace.due(i / 25)]
        assert len(due) == pytest.approx(min(fps, 25) * 10, abs=1)
        gaps = [b - a for a, b in pairwise(due)]
        assert max(gaps) - min(gaps) <= 1 / 25 + 1e-9


def test_what_keeps_a_watch_from_starting_is_told(faces: dict[str, Path], tmp_path: Path) -> None:
    camera = Camera(name="door", source=str(faces["Colin_Powell"]), as_camera=True, loop=True)
    with pytest.raises(InputError, match="a name of its own"):
        Watch([])
    with pytest.raises(InputError, match="a name of its own"):
        Watch([camera, camera])
    with pytest.raises(InputError, match="no such video"):
        Watch([Camera(name="a", source=str(tmp_path / "nothing.mp4"))])
    (tmp_path / "people.db").write_text("no gallery")
    with Watch([camera], gallery=tmp_path / "people.db") as watch, pytest.raises(NotAGallery):
        watch.next()


def test_a_dead_camera_stops_no_other_and_its_password_is_nowhere(faces: dict[str, Path]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:  # accepts, and never sends anything
        port = busy.getsockname()[1]
        cameras = [
            Camera(name="dead", source="rtsp://ada:s3cret@127.0.0.1:1/live", timeout=1.0),
            Camera(name="mute", source=f"rtsp://ada:s3cret@127.0.0.1:{port}/live", timeout=0.5),
            Camera(name="door", source=str(faces["Colin_Powell"]), as_camera=True, loop=True),
        ]
        with Watched(cameras, workers=1) as watched:
            watched.goes_on("door")
            until(lambda: watched.of("dead", "camera_lost") and watched.of("mute", "camera_lost"), "two lost cameras")
            watched.goes_on("door")
            [worker] = watched.watch.processes
            running = [psutil.Process(worker), *psutil.Process(worker).children()]
            assert len(running) == 4
            lines = " ".join(part for process in running for part in (*process.cmdline(), *process.environ().values()))
            said = lines + repr(watched.watch.status()) + repr(watched.events)
            assert "s3cret" not in said
            assert "127.0.0.1:1/live" in said
            assert watched.status("door").state == "live"
            assert watched.of("door", "camera_lost") == []
    assert not any(psutil.pid_exists(process.pid) for process in running)


def test_a_fault_of_ours_shows_no_password(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise RuntimeError("av can't open rtsp://ada:s3cret@10.0.0.7/live?token=s3cret")
    except RuntimeError:
        camera_process._tell_fault()
    said = capsys.readouterr().err
    assert "RuntimeError: av can't open rtsp://***@10.0.0.7/live" in said
    assert "ada" not in said.splitlines()[-1]
    assert "s3cret" not in said.splitlines()[-1]


def test_pictures_of_other_sizes_than_before(tmp_path: Path, lfw_photo: Callable[[str, int], bytes]) -> None:
    """A film whose size changes in the middle, and one with a part that is damaged."""
    photo = load_image(lfw_photo("Colin_Powell", 2))
    joined = tmp_path / "joined.ts"
    parts = [film(tmp_path / f"{i}.ts", [larger(photo, i)] * 12) for i in (2, 1, 3)]
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    damaged = tmp_path / "damaged.ts"
    data = bytearray(film(tmp_path / "whole.ts", [larger(photo, 2)] * 40, options={"g": "5"}).read_bytes())
    data[len(data) // 3 : len(data) // 2] = os.urandom(len(data) // 2 - len(data) // 3)
    damaged.write_bytes(data)
    names = ("joined", "damaged")
    cameras = [Camera(name=name, source=str(tmp_path / f"{name}.ts"), as_camera=True) for name in names]
    with Watched(cameras, workers=1) as watched:
        watched.thread.join(90)
        assert [watched.status(name).restarts for name in names] == [0, 0]
        assert watched.status("joined").frames + watched.status("joined").dropped == 36
        assert watched.status("damaged").frames >= 10


SCRIPT = """
import signal, sys
from visavis.video.cameras import Camera
from visavis.video.watch import Watch
with Watch([Camera(name=str(i), source=sys.argv[1], as_camera=True, loop=True) for i in range(2)], workers=2) as watch:
    signal.signal(signal.SIGTERM, lambda *_: watch.stop())
    for event in watch.events():
        print(event.kind, *watch.processes, flush=True)
print("closed", flush=True)
"""


@pytest.mark.parametrize("number", [15, 9])
def test_no_process_outlives_the_one_that_watches(number: int, faces: dict[str, Path]) -> None:
    command = [sys.executable, "-c", SCRIPT, str(faces["Colin_Powell"])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as main:
        assert main.stdout is not None
        said = [main.stdout.readline().split() for _ in range(2)]
        assert [line[0] for line in said] == ["appeared", "appeared"]
        below = psutil.Process(main.pid).children(recursive=True)
        assert len(below) == 4
        main.send_signal(number)
        rest = main.stdout.read().split("\n")
    until(lambda: not any(process.is_running() for process in below), "the end of all processes")
    if number == 15:
        assert [line.split()[0] for line in rest if line] == ["left", "left", "closed"]
        assert main.returncode == 0


def test_closing_at_once_is_fine(faces: dict[str, Path]) -> None:
    watch = Watch([Camera(name="door", source=str(faces["Colin_Powell"]), as_camera=True)])
    watch.close()
    watch.close()
    assert watch.next() is None
    assert watch.closed


def test_events_that_nobody_takes_hold_nothing_up(faces: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "_HELD_EVENTS", 1)
    with Watch([Camera(name=name, source=str(path), as_camera=True) for name, path in faces.items()]) as watch:
        until(lambda: watch._events.qsize() >= 1, "an event")
    kinds = [event.kind for event in watch.events()]  # closed: what was told can still be taken
    assert kinds.count("appeared") == kinds.count("left") > 0


def test_a_process_that_can_not_be_started(faces: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    start, failures = crew.python, iter([OSError(11, "Resource temporarily unavailable")])

    def python(*names: str) -> subprocess.Popen[bytes]:
        for error in failures:
            raise error
        return start(*names)

    monkeypatch.setattr(crew, "python", python)
    with Watch([Camera(name="door", source=str(faces["Colin_Powell"]), as_camera=True)]) as watch:
        events = list(watch.events())
    assert [event.kind for event in events] == ["camera_lost", "camera_back", "appeared", "left"]
    assert "can't be started: resource temporarily unavailable" in (events[0].detail or "").lower()

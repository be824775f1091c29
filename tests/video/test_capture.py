"""Capturing: what is lost is opened again, what is refused is tried slowly, and what is told to stop stops."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from films import film

from visavis.errors import InputError, SourceError
from visavis.video import capture as capturing
from visavis.video.capture import Retrying, State, capture
from visavis.video.picture import Picture
from visavis.video.sources import Source

from .streaming import Relay, RtspServer, silent_server

SOON = Retrying(first=0.02, most=0.1, refused=0.1, stable=0.5)
PASSWORD = "s3cr3t-W0rd"


def scene(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    ground = rng.integers(0, 256, (240, 480, 3)).astype(np.uint8)
    return [np.ascontiguousarray(ground[:, 2 * i : 2 * i + 320]) for i in range(count)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    film(folder / "a.mp4", scene(30), rate=25, options={"g": "10", "bf": "0"})
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[RtspServer]:
    with RtspServer(folder) as server:
        yield server


class Watched:
    """Runs a capture in a thread, and waits for what it is to come to."""

    def __init__(self, source: Source, take: Callable[[Picture], None] | None = None) -> None:
        self.states: list[State] = []
        self.pictures: list[tuple[int, float]] = []
        self.stop = threading.Event()
        self.problem: BaseException | None = None
        self._take = take
        self._thread = threading.Thread(target=self._run, args=(source,), daemon=True)

    def _run(self, source: Source) -> None:
        try:
            capture(source, self._got, self.states.append, self.stop, retrying=SOON)
        except Exception as error:  # noqa: BLE001 (each test says what it expects)
            self.problem = error

    def _got(self, picture: Picture) -> None:
        self.pictures.append((picture.number, picture.time))
        if self._take:
            self._take(picture)

    def __enter__(self) -> Watched:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self._thread.join(20)
        assert not self._thread.is_alive()

    def until(self, found: Callable[[], Any], most: float = 30.0) -> None:
        end = time.monotonic() + most
        while not found():
            assert time.monotonic() < end, (self.states, len(self.pictures))
            time.sleep(0.01)

    def kinds(self) -> list[str]:
        return [state.kind for state in self.states]


def test_a_stream_that_ends_is_opened_again_and_its_time_goes_on(server: RtspServer) -> None:
    with Watched(Source.parse(server.address("a.mp4"), timeout=5)) as watched:
        watched.until(lambda: watched.kinds().count("live") == 2)
    assert watched.kinds()[:5] == ["connecting", "live", "lost", "connecting", "live"]
    assert watched.kinds()[-1] == "ended"
    assert "ended" in watched.states[2].reason
    assert watched.states[2].wait > 0
    assert [number for number, _ in watched.pictures] == list(range(len(watched.pictures)))
    assert len(watched.pictures) >= 30
    times = [time for _, time in watched.pictures]
    assert np.allclose(np.diff(times[:30]), 0.04, atol=2e-3)
    assert np.diff(times).min() > 0
    assert watched.problem is None


def test_a_server_that_goes_and_comes_back(folder: Path) -> None:
    with RtspServer(folder) as server, Watched(Source.parse(server.address("a.mp4"), timeout=2)) as watched:
        watched.until(lambda: "live" in watched.kinds())
        server.stop()
        watched.until(
            lambda: any("refused" in state.reason for state in watched.states)
        )  # the connection, by the system
        seen = len(watched.pictures)
        server.start()
        watched.until(lambda: len(watched.pictures) > seen)
    assert watched.problem is None


def test_a_stream_that_freezes_is_opened_again(server: RtspServer) -> None:
    with Relay(server.port) as relay, Watched(Source.parse(relay.address("a.mp4"), timeout=0.7)) as watched:
        watched.until(lambda: "live" in watched.kinds())
        relay.frozen.set()
        watched.until(lambda: "lost" in watched.kinds())
        lost = watched.states[watched.kinds().index("lost")]
        assert "no data for 0.7 s" in lost.reason
        relay.cut()
        relay.frozen.clear()
        watched.until(lambda: watched.kinds().count("live") == 2)


def test_damaged_packets_are_skipped_and_counted(server: RtspServer) -> None:
    with Relay(server.port) as relay:
        relay.damage = 20_011
        with Watched(Source.parse(relay.address("a.mp4"), timeout=2)) as watched:
            watched.until(lambda: any(state.damaged for state in watched.states))
    assert watched.pictures
    assert watched.problem is None


def test_a_server_that_accepts_and_never_answers(capfd: pytest.CaptureFixture[str]) -> None:
    with (
        silent_server() as port,
        Watched(Source.parse(f"rtsp://ada:{PASSWORD}@127.0.0.1:{port}/a", timeout=0.3)) as watched,
    ):
        watched.until(lambda: watched.kinds().count("lost") == 2)
    assert "doesn't answer: nothing came within 0.3 s" in watched.states[1].reason
    assert not watched.pictures


def test_garbage_is_no_stream() -> None:
    says = b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 9\r\n\r\ngarbage\0\xff" * 20
    with silent_server(says) as port, Watched(Source.parse(f"rtsp://127.0.0.1:{port}/a", timeout=0.5)) as watched:
        watched.until(lambda: "lost" in watched.kinds())
    assert "\n" not in watched.states[1].reason


def test_wrong_credentials_are_refused_slowly_and_right_ones_work(
    server: RtspServer, capfd: pytest.CaptureFixture[str]
) -> None:
    with Relay(server.port, password=PASSWORD) as relay:
        address = relay.address("a.mp4", user=f"ada:{PASSWORD}")
        with Watched(Source.parse(address, timeout=5)) as watched:
            watched.until(lambda: "live" in watched.kinds())
        assert not any(PASSWORD in text for text in relay.asked)  # it goes as a digest
        wrong = f"{PASSWORD}-wrong"
        with Watched(Source.parse(relay.address("a.mp4?token=t0kent0ken", user=f"ada:{wrong}"), timeout=5)) as watched:
            watched.until(lambda: watched.kinds().count("refused") == 2)
    assert watched.kinds()[:3] == ["connecting", "refused", "connecting"]
    assert "asks for another user or password" in watched.states[1].reason
    told = "".join([*capfd.readouterr(), repr(watched.states), *(thread.name for thread in threading.enumerate())])
    assert PASSWORD not in told
    assert "t0ken" not in told


def test_waits_grow_are_shortened_at_random_and_begin_anew() -> None:
    how = Retrying()
    assert [max(how.wait(n) for _ in range(300)) <= min(0.5 * 2 ** (n - 1), 30.0) for n in range(1, 12)] == [True] * 11
    assert all(15.0 <= how.wait(50) <= 30.0 for _ in range(100))
    assert len({how.wait(3) for _ in range(10)}) > 1
    assert all(30.0 <= how.wait(1, refused=True) <= 60.0 for _ in range(100))


def test_a_slow_taker_gets_the_newest_and_the_rest_is_counted(
    server: RtspServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from visavis.video import sources
    from visavis.video.decoding import Decoding

    monkeypatch.setattr(sources, "Decoding", lambda *args: Decoding(*args, behind=0.2))
    source = Source.parse(server.address("a.mp4"), timeout=5)
    with Watched(source, lambda _: time.sleep(0.15)) as watched:
        watched.until(lambda: any(state.late for state in watched.states))
    first = [number for number, _ in watched.pictures]
    assert first == list(range(len(first)))
    lost = next(state for state in watched.states if state.late)
    assert lost.pictures + lost.late <= 30 * lost.openings


def test_told_to_stop_it_stops_while_the_reading_is_blocked() -> None:
    with silent_server() as port, Watched(Source.parse(f"rtsp://127.0.0.1:{port}/a", timeout=1.5)) as watched:
        watched.until(lambda: "connecting" in watched.kinds())
        time.sleep(0.1)
        watched.stop.set()
        # It returns although the thread that reads is held by FFmpeg until its time runs out.
        watched._thread.join(10)
        assert not watched._thread.is_alive()
        assert any(thread.name.startswith("capture ") for thread in threading.enumerate())
    assert watched.kinds() == ["connecting", "ended"]
    watched.until(lambda: not any(thread.name.startswith("capture ") for thread in threading.enumerate()))


def test_a_process_ends_cleanly_while_a_reading_is_blocked(tmp_path: Path) -> None:
    code = (
        "import sys, threading\n"
        "from visavis.video.capture import capture\n"
        "from visavis.video.sources import Source\n"
        "stop = threading.Event()\n"
        "threading.Timer(0.5, stop.set).start()\n"
        "capture(Source.parse(sys.stdin.readline().strip()), print, lambda state: print(state.kind), stop)\n"
    )
    with silent_server() as port:
        done = subprocess.run(
            [sys.executable, "-c", code],
            input=f"rtsp://ada:{PASSWORD}@127.0.0.1:{port}/a",
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["connecting", "ended"], "")


def test_a_device_that_hangs_is_left_and_not_opened_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    opened, release = [], threading.Event()

    def hangs(source: Source, stop: threading.Event, **_: Any) -> Iterator[Picture]:
        opened.append(time.monotonic())
        yield Picture(0, 0.0, time.time(), 4, 4, lambda into: None)
        release.wait()
        yield Picture(1, 0.04, time.time(), 4, 4, lambda into: None)

    monkeypatch.setattr(capturing, "pictures", hangs)
    monkeypatch.setattr(capturing, "_GRACE", 0.1)
    with Watched(Source.parse("camera:0", timeout=0.2)) as watched:
        watched.until(lambda: "lost" in watched.kinds())
        assert "hangs" in watched.states[-1].reason
        time.sleep(0.3)
        assert len(opened) == 1
        release.set()
        watched.until(lambda: len(opened) == 2)
    assert (1, 0.04) not in watched.pictures  # what was left gives nothing any more


def test_a_file_ends_and_what_is_wrong_with_it_is_raised(folder: Path, tmp_path: Path) -> None:
    with Watched(Source.parse(str(folder / "a.mp4"))) as watched:
        watched.until(lambda: "ended" in watched.kinds())
    assert watched.kinds() == ["connecting", "live", "ended"]
    assert watched.states[-1].pictures == len(watched.pictures) == 30
    (tmp_path / "cut.mp4").write_bytes(cut_film(tmp_path))
    with Watched(Source.parse(str(tmp_path / "cut.mp4"))) as watched:
        watched.until(lambda: watched.problem is not None)
    assert isinstance(watched.problem, InputError)
    assert "cut off" in str(watched.problem)
    assert len(watched.pictures) > 5


def cut_film(folder: Path) -> bytes:
    whole = film(folder / "whole.mp4", scene(40), rate=10, options={"g": "5", "bf": "0"}).read_bytes()
    return whole[: len(whole) // 2]


def test_what_the_taker_raises_is_raised(folder: Path) -> None:
    def refuse(_: Picture) -> None:
        raise KeyError("full")

    with pytest.raises(KeyError, match="full"):
        capture(Source.parse(str(folder / "a.mp4")), refuse, lambda _: None, threading.Event())


def test_errors_hold_nothing_of_pyavs() -> None:
    from visavis.video.sources import pictures

    with pytest.raises(SourceError) as caught:
        next(pictures(Source.parse(f"rtsp://ada:{PASSWORD}@127.0.0.1:1/a", timeout=1)))
    error: BaseException | None = caught.value
    while error is not None:
        assert PASSWORD not in f"{error!r} {error} {error.__dict__}"
        error = error.__context__
    assert PASSWORD not in repr(pickle.loads(pickle.dumps(caught.value)))

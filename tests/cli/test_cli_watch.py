"""``visavis watch``: files and cameras through the real command, what it keeps and sends, how it ends and refuses."""

from __future__ import annotations

import contextlib
import http.server
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from films import film, moving
from rich.cells import cell_len
from rich.console import Console

from cli.conftest import Run
from cli.test_cli_docs import ALWAYS, documented
from visavis.cli.watch_table import Progress, Totals, event_row, media_time, status_line, status_table
from visavis.events.event import Event
from visavis.events.store import open_events
from visavis.gallery import open_gallery
from visavis.image import load_image
from visavis.types import Embeddings
from visavis.video.status import CameraStatus

Photo = Callable[[str, int], bytes]
SECRET = "s3cret-w0rd"
NOON = datetime(2026, 5, 1, 12, tzinfo=timezone.utc)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory, lfw_photo: Photo) -> Path:
    """Return a folder: known.mp4 shows somebody enrolled, stranger.mp4 somebody else, who goes for 3 s at its end."""
    folder = tmp_path_factory.mktemp("films")
    known, stranger = (load_image(lfw_photo(name, 2)) for name in ("Abel_Pacheco", "Ahmed_Chalabi"))
    film(folder / "known.mp4", moving(known, 25))
    nobody = [np.full((240, 320, 3), 96, np.uint8)] * 15
    film(folder / "stranger.mp4", moving(stranger, 25) + nobody)
    return folder


@pytest.fixture
def gallery(people: Path, tmp_path: Path) -> Path:
    """Return a gallery that may be changed."""
    return Path(shutil.copy(people, tmp_path / "people.db"))


def kinds(rows: list[list[str]]) -> list[str]:
    return [row[3] for row in rows]


# ---- files


def test_files_are_gone_through_and_it_ends(run: Run, films: Path, people: Path) -> None:
    done = run("watch", films / "known.mp4", films / "stranger.mp4", "-g", people)
    assert done.code == 0
    assert kinds(done.rows) == ["appeared", "identified", "left", "appeared", "unknown", "left"]
    named = done.rows[1]
    assert named[1:4] == [str(films / "known.mp4"), "阿贝尔", "identified"]
    assert float(named[4]) > 0.5
    assert named[5] == "< 1e-6"
    datetime.strptime(named[0], "%Y-%m-%dT%H:%M:%S.%fZ")
    assert done.err.splitlines() == ["visavis: 65 frames, 6 events; seen: 阿贝尔, 1 unknown"]


def test_json_is_a_line_an_event_and_a_document_at_the_end(run: Run, films: Path, people: Path) -> None:
    done = run("watch", films / "known.mp4", "-g", people, "--json", "--line", "门=0.5,0,0.5,1", "--dwell", "1")
    *events, document = map(json.loads, done.out.splitlines())
    assert [Event.from_dict(event).kind for event in events] == [event["kind"] for event in events]
    assert {"appeared", "identified", "line_crossed", "dwell", "left"} == {event["kind"] for event in events}
    assert [event["place"] for event in events if event["kind"] == "line_crossed"] == ["门"]
    assert document["command"] == "watch"
    assert (document["frames"], document["people"], document["unknown"]) == (25, ["阿贝尔"], 0)
    names = set(document) - ALWAYS
    for event in events:
        names |= set(event)
    assert names <= documented("watch")


def test_without_a_gallery_nobody_is_named(run: Run, films: Path) -> None:
    rows = run("watch", films / "known.mp4").rows
    assert kinds(rows) == ["appeared", "left"]
    assert {row[2] for row in rows} == {""}


def test_folders_of_photos_and_of_films_and_a_named_source(run: Run, films: Path, people: Path, photos: Path) -> None:
    assert {row[1] for row in run("watch", films).rows} == {str(films / "known.mp4"), str(films / "stranger.mp4")}
    rows = run("watch", f"大门={films / 'known.mp4'}", "-g", people, "--detect-every", "2", "--fps", "5").rows
    assert {row[1] for row in rows} == {"大门"}
    folder = photos / "people" / "阿贝尔"
    done = run("watch", folder, "--fps", "1")
    assert done.code == 0
    assert "1 frame" in done.err


def test_frames_are_left_out_only_where_asked(run: Run, films: Path) -> None:
    frames = [
        json.loads(run("watch", films / "known.mp4", "--json", *options).out.splitlines()[-1])["frames"]
        for options in ([], ["--detect-every", "5"], ["--fps", "5"])
    ]
    assert frames == [25, 5, 13]


def test_what_is_kept_is_complete_and_erasing_reaches_it(run: Run, films: Path, gallery: Path, tmp_path: Path) -> None:
    files = {name: tmp_path / f"events.{name}" for name in ("db", "jsonl", "csv")}
    options = [f"--{'events' if name == 'db' else name}={path}" for name, path in files.items()]
    done = run("watch", films / "known.mp4", films / "stranger.mp4", "-g", gallery, *options, "--snapshots")
    assert done.code == 0
    assert f"events are kept in {files['db']}" in done.err
    ids = [row[-1] for row in done.rows]
    with open_events(files["db"]) as store:
        assert sorted(event.id for event in store.events()) == sorted(ids)
        assert store.pending() == {}
    assert [json.loads(line)["id"] for line in files["jsonl"].read_text("utf-8").splitlines()] == ids
    assert files["csv"].read_text("utf-8").count("阿贝尔") == 2
    pictures = tmp_path / "events-snapshots"
    assert sorted(path.name for path in pictures.iterdir()) == sorted(
        f"{row[-1]}.jpg" for row in done.rows if row[3] != "left"
    )
    assert load_image(next(pictures.iterdir())).shape[0] > 50
    assert run("gallery", "erase", "阿贝尔", "-g", gallery).code == 0
    for path in files.values():
        assert "阿贝尔".encode() not in path.read_bytes()
    assert len(list(pictures.iterdir())) == 2
    assert len(files["jsonl"].read_text("utf-8").splitlines()) == 3


def test_a_film_gone_through_again_is_told_of(run: Run, films: Path, tmp_path: Path) -> None:
    first, again = (
        run("watch", films / "known.mp4", "--fps", "5", "--events", tmp_path / "events.db") for _ in range(2)
    )
    assert "before" not in first.err
    assert f"{films / 'known.mp4'} was gone through before: its events will be in the store twice" in again.err
    with open_events(tmp_path / "events.db") as store:
        assert [event.kind for event in store.events()] == ["appeared", "appeared", "left", "left"]


def test_old_events_are_deleted_at_the_start(run: Run, films: Path, tmp_path: Path) -> None:
    now = datetime.now(timezone.utc)
    with open_events(tmp_path / "e.db") as store:
        store.add(Event("left", "door", now - timedelta(days=8), subject="old"))
        store.add(Event("left", "door", now - timedelta(days=6), subject="young"))
    assert run("watch", films / "known.mp4", "--events", tmp_path / "e.db", "--keep", "7").code == 0
    with open_events(tmp_path / "e.db") as store:
        assert {event.subject for event in store.events()} == {"young", None}


def test_files_that_cannot_be_read_are_told_and_the_others_go_on(run: Run, films: Path, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video", "utf-8")
    cut = tmp_path / "cut.mp4"
    cut.write_bytes((films / "stranger.mp4").read_bytes()[:9000])
    done = run("watch", tmp_path / "text.mp4", films / "known.mp4", cut)
    assert done.code == 1
    assert "text.mp4' is no video that can be read" in done.err
    assert f"'{cut}'" in done.err
    assert {row[1] for row in done.rows} >= {str(films / "known.mp4")}
    gray = [np.full((240, 320, 3), 96, np.uint8)] * 25
    whole = film(tmp_path / "whole.mp4", gray, options={"g": "1"}).read_bytes()
    cut.write_bytes(whole[: len(whole) * 2 // 3])
    begun = run("watch", cut)
    assert begun.code == 1
    assert "cut short: " in begun.err
    alone = run("watch", tmp_path / "text.mp4", "--json")
    assert alone.code == 2
    item, document = map(json.loads, alone.out.splitlines())
    assert item["error"]["type"] == "InputError"
    assert document["skipped"] == 1


# ---- mistakes


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "nothing to watch: give a source"),
        (["{film}", "-g", "nobody.db"], "there is no gallery nobody.db"),
        (["{film}", "--events", "{film}"], "not an event store"),
        (["{film}", "--events", "{people}"], "not an event store"),
        (["{film}", "--line", "a=1,2"], "--line takes NAME=X1,Y1,X2,Y2, not 'a=1,2'"),
        (["{film}", "--line", "a=0,0,2,2"], "numbers from 0 to 1"),
        (["{film}", "--zone", "a=0,0,1,1"], "--zone takes NAME="),
        (["{film}", "--zone", "a=0,0,1,1,x,1"], "--zone takes a name, = and numbers"),
        (["{film}", "--zone", "a=0,0,1,1,1,0", "--line", "a=0,0,1,1"], "two places named 'a'"),
        (["{film}", "--rotate", "45"], "rotate is 0, 90, 180 or 270"),
        (["{film}", "--detector", "yunt"], "did you mean yunet?"),
        (["{film}", "--webhook", "ftp://x"], "--webhook: must be an address such as https://"),
        (["{film}", "--config", "none.toml"], "'none.toml' does not exist"),
        (["{film}", "--notify", "none.toml"], "'none.toml' does not exist"),
        (["{film}", "--test-notify"], "there is no target to try"),
        (["{film}", "--live", "99999"], "live must be from 0 to 65535"),
        (["{film}", "--keep", "0"], "--keep"),
        (["none.mp4"], "no such video, folder or camera: 'none.mp4'"),
        (["rtps://h/x"], "a stream begins with"),
        (["a=camera:0", "A=camera:0"], "are both named 'A'"),
    ],
)
def test_mistakes_are_one_line_and_nothing_begins(
    run: Run, films: Path, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("watch", *(text.format(film=films / "known.mp4", people=people) for text in options))
    assert (done.code, done.out) == (2, "")
    assert says in done.err
    assert len(done.err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_typo_in_the_settings_is_named(run: Run, tmp_path: Path) -> None:
    config = tmp_path / "cameras.toml"
    config.write_text(f'[[camera]]\nname = "door"\nsorce = "rtsp://me:{SECRET}@h/x"\n', "utf-8")
    done = run("watch", "--config", config)
    assert done.err == (
        "visavis: cameras.toml: camera 1 (door): unknown key 'sorce'; did you mean 'source'? (line 3)\n"
    )
    assert done.code == 2


def test_a_gallery_of_another_model_is_refused(run: Run, films: Path, tmp_path: Path) -> None:
    with open_gallery(tmp_path / "p.db") as other:
        other.enroll("ada", Embeddings(np.eye(128, dtype=np.float32)[:1], "dlib-resnet"))
    done = run("watch", films / "known.mp4", "-g", tmp_path / "p.db")
    assert done.code == 2
    assert "holds templates of dlib-resnet, not of sface; watch with --recognizer dlib-resnet" in done.err


def test_a_rule_for_somebody_who_is_not_enrolled_is_a_warning(
    run: Run, films: Path, people: Path, tmp_path: Path
) -> None:
    rules = tmp_path / "rules.toml"
    text = '[[rule]]\nname = "friends"\nwho = "Ali Naimy"\nto = "file"\n[targets.file]\njsonl = "friends.jsonl"\n'
    rules.write_text(text, "utf-8")
    command = ["watch", films / "known.mp4", "-g", people, "--notify", rules, "--events", tmp_path / "e.db"]
    done = run(*command)
    assert done.code == 0
    assert "waits for 'Ali Naimy', who isn't enrolled; did you mean 'Ali Naimi'?" in done.err
    rules.write_text(text + '[[rule]]\nname = "gone"\nwhere = "yard"\nto = "file"\n', "utf-8")
    assert "there is no camera, line or zone 'yard'" in run(*command).err


# ---- cameras, in a process of its own


class Running:
    """A watch in a process of its own, whose standard output is read as it comes."""

    def __init__(self, *arguments: object, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "visavis", "watch", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONUTF8": "1", **environment},
        )
        self.out: list[str] = []
        self.err: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=pair, daemon=True)
            for pair in ((self.process.stdout, self.out), (self.process.stderr, self.err))
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: Any, lines: list[str]) -> None:
        with stream:
            for line in stream:  # each is to be there as soon as it has come
                lines.append(line.decode("utf-8").rstrip("\n"))  # noqa: PERF401

    @property
    def events(self) -> list[dict[str, Any]]:
        return [event for event in map(json.loads, list(self.out)) if "kind" in event]

    def until(self, seen: Callable[[list[dict[str, Any]]], bool], what: str) -> None:
        deadline = time.monotonic() + 120
        while not seen(self.events):
            alive = self.process.poll() is None
            assert alive, f"it ended before {what}: {self.out} {self.err}"
            assert time.monotonic() < deadline, f"no {what}: {self.out} {self.err}"
            time.sleep(0.1)

    def end(self, how: signal.Signals) -> int:
        children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(how)
        code = self.process.wait(60)
        for reader in self._readers:
            reader.join(30)
        _, left = psutil.wait_procs(children, 10)
        assert left == []
        assert "Traceback" not in "\n".join(self.err)
        return code

    def kill(self) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.process.pid).children(recursive=True):
                child.kill()
        self.process.kill()
        self.process.wait()


@pytest.fixture
def server() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Return an address that takes notices and refuses viewers, and the notices it took."""
    taken: list[dict[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def do_GET(self) -> None:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        thread = threading.Thread(target=served.serve_forever, daemon=True)
        thread.start()
        yield f"127.0.0.1:{served.server_port}", taken
        served.shutdown()


def test_cameras_from_settings_to_events_while_people_are_enrolled_and_erased(
    run: Run,
    films: Path,
    gallery: Path,
    tmp_path: Path,
    lfw_photo: Photo,
    server: tuple[str, list[dict[str, Any]]],
) -> None:
    address, taken = server
    config = tmp_path / "cameras.toml"
    config.write_text(
        f"""
        gallery = "{gallery.name}"
        events = "events.db"
        jsonl = "events.jsonl"
        keep_days = 30
        workers = 1
        live = 0
        [defaults]
        loop = true
        gap = "500 ms"
        [[camera]]
        name = "大门"
        source = '{films / "stranger.mp4"}'
        snapshots = true
        [[camera]]
        name = "refused"
        source = "http://watch:${{CAMERA_KEY}}@{address}/stream"
        [[rule]]
        name = "everybody"
        when = ["identified", "unknown", "camera_lost"]
        to = "home"
        snapshot = true
        [targets.home]
        webhook = "http://{address}/hook"
        """,
        "utf-8",
    )
    watch = Running("--config", config, "--json", CAMERA_KEY=SECRET)
    try:
        watch.until(lambda events: any(event["kind"] == "unknown" for event in events), "stranger")
        watch.until(lambda events: any(event["kind"] == "camera_lost" for event in events), "lost camera")
        (tmp_path / "ahmed.jpg").write_bytes(lfw_photo("Ahmed_Chalabi", 1))
        assert run("enroll", "艾哈迈德", tmp_path / "ahmed.jpg", "-g", gallery).code == 0
        watch.until(lambda events: any(event.get("subject") == "艾哈迈德" for event in events), "person enrolled late")
        watch.until(lambda _: any(notice.get("subject") == "艾哈迈德" for notice in taken), "notice")
        assert run("gallery", "erase", "艾哈迈德", "-g", gallery).code == 0
        assert "艾哈迈德" not in (tmp_path / "events.jsonl").read_text("utf-8")
        already = len(watch.events)
        watch.until(lambda events: any(event["kind"] == "unknown" for event in events[already:]), "stranger again")
        assert watch.end(signal.SIGINT) == 0
    finally:
        watch.kill()
    document = json.loads(watch.out[-1])
    good, refused = document["cameras"]
    assert (good["name"], refused["name"], refused["frames"]) == ("大门", "refused", 0)
    assert good["frames"] >= 10
    [lost] = [event for event in watch.events if event["kind"] == "camera_lost"]
    assert lost["camera"] == "refused"
    assert "password" in lost["detail"]
    assert document["pending"] == 0
    assert document["people"] == [], "who is erased is no more told of at the end either"
    assert SECRET not in "\n".join([*watch.out, *watch.err])
    assert {notice["kind"] for notice in taken} == {"identified", "unknown", "camera_lost"}
    assert any("picture" in notice for notice in taken)
    with open_events(tmp_path / "events.db") as store:
        kept = list(store.events())
        assert store.pending() == {}
    assert {event.subject for event in kept} == {None}
    written = [json.loads(line)["id"] for line in (tmp_path / "events.jsonl").read_text("utf-8").splitlines()]
    assert sorted(written) == sorted(event.id for event in kept)
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or path == config or SECRET.encode() not in path.read_bytes()


def test_files_and_cameras_at_once_until_it_is_told_to_end(films: Path, people: Path, tmp_path: Path) -> None:
    config = tmp_path / "cameras.toml"
    cameras = [
        f'[[camera]]\nname = "file"\nsource = "{films / "known.mp4"}"\n',
        f'[[camera]]\nname = "yard"\nsource = "{films / "stranger.mp4"}"\nloop = true\n',
    ]
    config.write_text("".join(['[defaults]\ngap = "500 ms"\n', *cameras]), "utf-8")
    watch = Running("--config", config, "-g", people, "--json")
    try:
        watch.until(lambda events: ("file", "left") in {(event["camera"], event["kind"]) for event in events}, "file")
        watch.until(lambda events: ("yard", "left") in {(event["camera"], event["kind"]) for event in events}, "yard")
        assert watch.end(signal.SIGTERM) == 0
    finally:
        watch.kill()
    document = json.loads(watch.out[-1])
    assert [camera["name"] for camera in document["cameras"]] == ["yard"]
    assert document["files"] == ["file"]
    assert document["people"] == ["阿贝尔"]
    for camera in ("file", "yard"):
        kinds = [event["kind"] for event in watch.events if event["camera"] == camera]
        assert kinds.count("appeared") == kinds.count("left")


def test_files_that_are_interrupted_say_so(tmp_path: Path, lfw_photo: Photo) -> None:
    photo = load_image(lfw_photo("Ahmed_Chalabi", 2))
    long = film(tmp_path / "long.mp4", (frame for _ in range(8) for frame in moving(photo, 60, step=1)))
    watch = Running(long, "--json")
    try:
        watch.until(bool, "event")
        assert watch.end(signal.SIGINT) == 130
    finally:
        watch.kill()
    document = json.loads(watch.out[-1])
    assert 0 < document["frames"] < 480
    assert watch.events[-1]["kind"] == "left"


def test_a_video_on_standard_input(films: Path, people: Path) -> None:
    command = [sys.executable, "-m", "visavis", "watch", "-", "--json", "-g", str(people)]
    with (films / "known.mp4").open("rb") as stream:
        done = subprocess.run(command, stdin=stream, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    *events, document = map(json.loads, done.stdout.splitlines())
    assert {(event["camera"], event.get("subject")) for event in events} == {("stdin", None), ("stdin", "阿贝尔")}
    assert document["frames"] == 25


def test_a_reader_that_goes_away_ends_it(films: Path) -> None:
    command = [sys.executable, "-m", "visavis", "watch", f"yard={films / 'stranger.mp4'}", "--loop", "--gap", "0.5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL) as watch:
        assert watch.stdout is not None
        assert watch.stderr is not None
        assert watch.stdout.readline()
        children = psutil.Process(watch.pid).children(recursive=True)
        watch.stdout.close()
        assert watch.wait(120) == 141
        assert b"Traceback" not in watch.stderr.read()
    assert children
    assert psutil.wait_procs(children, 10)[1] == []


def test_targets_are_tried(run: Run, server: tuple[str, list[dict[str, Any]]]) -> None:
    address, taken = server
    command = ["watch", "--test-notify", "--webhook"]
    done = run(*command, f"http://me:{SECRET}@{address}/hook")
    assert done.code == 0
    assert f"arrived at http://{address}" in done.err
    assert [notice["test"] for notice in taken] == [True]
    failed = run(*command, f"http://me:{SECRET}@127.0.0.1:9/hook", "--json")
    assert failed.code == 1
    assert SECRET not in failed.out + failed.err
    assert "can't be reached" in json.loads(failed.out.splitlines()[0])["problem"]


# ---- what a terminal shows


def shown(renderable: Any, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(renderable)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


CAMERAS = [
    CameraStatus("door", "live", 25.0, 24.96, 0.02, 0.1234, 100_000, 1_234_567, 3, ("Ada Lovelace", "王芳"), 2),
    CameraStatus("大门口的摄像机在这里", "live", 25, 9.3, 0.02, 0.03, 10, 0, 1, ("阿贝尔",), 1),
    CameraStatus("gone", "lost", problem="rtsp://10.0.0.5/live can't be reached: connection refused"),
    CameraStatus("new", "connecting"),
]


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_the_table_fits_the_terminal(width: int) -> None:
    lines = shown(status_table(CAMERAS, Totals(), width, 20), width)
    assert max(map(cell_len, lines)) <= width
    if width >= 60:
        assert len(lines) == 7
        assert "24.9" in lines[1] or "25" in lines[1]
        assert "123" in lines[1]
        assert "1.23M" in lines[1]
        assert "lost" in lines[3]
        assert lines[5].startswith("gone: rtsp://10.0.0.5")
        assert "2 of 4 live" in lines[6]


def test_of_many_cameras_those_in_trouble_come_first() -> None:
    cameras = [CameraStatus(f"camera {i}", "live") for i in range(60)] + [CAMERAS[2]]
    lines = shown(status_table(cameras, Totals(), 60, 24), 60)
    assert len(lines) <= 22
    assert lines[1].startswith("gone")
    assert "42 more" in lines[-1]


def test_a_file_shows_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    progress = Progress("/a/long/path/王芳.mp4")
    progress.at(30, 120)
    monkeypatch.setattr(progress, "_began", time.monotonic() - 10)
    [line] = shown(progress.line(60), 60)
    assert line.split()[0] == "王芳.mp4"
    assert "0:30.0/2:00.0 30 s left" in line
    assert cell_len(line) <= 60
    unknown = Progress("stdin")
    unknown.at(3, None)
    assert "0:03.0" in shown(unknown.line(60), 60)[0]


@pytest.mark.parametrize(
    ("event", "cells"),
    [
        (Event("appeared", "a", NOON), ["", "appeared", "", ""]),
        (
            Event("identified", "a", NOON, subject="王", similarity=0.678, fmr=1e-4),
            ["王", "identified", "0.68", "1e-4"],
        ),
        (
            Event("identified", "a", NOON, subject="王", similarity=0.6, corrects="Ada"),
            ["王", "not Ada", "0.60", "unknown"],
        ),
        (Event("unknown", "a", NOON), ["unknown", "unknown", "", ""]),
        (Event("left", "a", NOON, seconds=75), ["", "left, 1.2 min", "", ""]),
        (Event("line_crossed", "a", NOON, place="门", direction="left"), ["", "门 to left", "", ""]),
        (Event("dwell", "a", NOON, place="till", seconds=30.1), ["", "30 s in till", "", ""]),
        (Event("camera_lost", "a", NOON, detail="no answer"), ["", "lost: no answer", "", ""]),
        (Event("camera_back", "a", NOON), ["", "back", "", ""]),
    ],
)
def test_an_event_in_few_words(event: Event, cells: list[str]) -> None:
    assert event_row(event, None, file=False, piped=False)[2:6] == cells


def test_events_of_files_have_the_time_in_the_file() -> None:
    event = Event("appeared", "films/a.mp4", NOON, offset_s=75.25)
    assert event_row(event, None, file=True, piped=False)[:2] == ["1:15.2", "a.mp4"]
    assert event_row(event, None, file=True, piped=True)[:2] == ["2026-05-01T12:00:00.000000Z", "films/a.mp4"]
    assert media_time(3725) == "1:02:05"


def test_a_log_gets_one_line() -> None:
    line = status_line(CAMERAS, Totals())
    assert line.startswith("door live, 25 fps, p95 123 ms, 1234567 dropped; ")
    assert "gone lost, rtsp://10.0.0.5/live can't be reached" in line
    assert line.endswith("; 0 events")

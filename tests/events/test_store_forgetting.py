"""After an erasure no byte of a person is in the store, its copies or its pictures: searched for, not assumed."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.events.conftest import START
from visavis.database import erasure
from visavis.errors import EventStoreBusy, InputError, StorageError, VisavisError
from visavis.events import forgetting
from visavis.events.event import Event
from visavis.events.store import EventStore, open_events

Visits = Callable[..., list[Event]]
NAME = "Ermintrude Quux-Zappa"


def found(*folders: Path, words: tuple[str, ...] = (NAME, "Quux-Zappa")) -> list[str]:
    """Return the files below the folders that hold one of the words."""
    hits = []
    for file in (file for folder in folders for file in folder.rglob("*") if file.is_file()):
        data = file.read_bytes()
        hits += [file.name for word in words if word.encode() in data]
    return hits


@pytest.fixture
def places(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[str], list[Path]]:
    """Return a function from a store to the folders where its bytes lie; a server's log is its owner's matter."""

    def folders(where: str) -> list[Path]:
        if "://" not in where:
            return [tmp_path]
        import psycopg

        with psycopg.connect(where, autocommit=True) as connection:
            connection.execute("CHECKPOINT")
        data = request.getfixturevalue("postgres_server")[0]
        return [tmp_path, *(folder for folder in data.iterdir() if folder.is_dir() and folder.name != "pg_wal")]

    return folders


def keep(store: EventStore, events: list[Event], *copies: object, targets: tuple[str, ...] = ()) -> list[Event]:
    """Keep events with a picture each, in the store and in its copies."""
    assert store.snapshots is not None
    store.snapshots.mkdir(exist_ok=True)
    kept = []
    for event in events:
        event = event.with_snapshot(f"{event.id}.jpg")
        (store.snapshots / f"{event.id}.jpg").write_bytes(b"a picture of " + (event.subject or "nobody").encode())
        assert store.add(event, targets)
        for copy in copies:
            assert copy.append(event)  # type: ignore[attr-defined]
        kept.append(event)
    return kept


def test_no_byte_remains(where: str, places: Callable[[str], list[Path]], visit: Visits, tmp_path: Path) -> None:
    chance = random.Random(7)
    with open_events(where, snapshots=tmp_path / "shots") as store:
        table, lines = (store.register_copy(tmp_path / f"e.{kind}", kind) for kind in ("csv", "jsonl"))
        for number in range(18):
            names = chance.choice([(NAME,), ("bob",), (), ("bob", NAME), (NAME, "bob"), ("eve",)])
            keep(store, visit("r", number, *names, at=60.0 * number), table, lines, targets=("hook",))
        for one in store.due(START + timedelta(days=1), limit=10):
            store.failed(one.id, START + timedelta(days=2), f"the receiver doesn't know {NAME}")
        others = [event for event in store.events() if NAME not in (event.subject, event.corrects)]
        assert found(*places(where)), "the search itself works"
        done = store.erase(NAME)
        assert done.events > 0
        assert done.snapshots == done.events == done.deliveries
        assert done.rows >= 2 * done.events
        assert done.elsewhere == ()
        assert not store.erasure_pending
        assert found(*places(where)) == []
        left = list(store.events())
        visits_left = {event.track for event in left}
        assert all(event in left for event in others if event.track in visits_left and event.kind == "identified")
        assert {event.subject for event in left} == {None, "bob", "eve"}
        ids = {event.id for event in left}
        assert {json.loads(line)["id"] for line in (tmp_path / "e.jsonl").read_text().splitlines()} == ids
        assert len((tmp_path / "e.csv").read_text().splitlines()) == len(ids) + 1
        assert {file.stem for file in (tmp_path / "shots").iterdir()} == ids
        assert not store.erase(NAME), "and nothing is left to erase"
    assert found(*places(where)) == []


@pytest.mark.parametrize(
    ("names", "left"),
    [
        ((NAME,), []),
        ((NAME, "bob"), [("appeared", None, None), ("identified", "bob", None), ("left", "bob", None)]),
        (("bob", NAME), []),
        (("bob", NAME, "bob"), []),
    ],
)
def test_a_visit_is_of_the_last_name_it_was_given(
    tmp_path: Path, visit: Visits, names: tuple[str, ...], left: list[tuple[str, str | None, str | None]]
) -> None:
    with open_events(tmp_path / "events.db") as store:
        copy = store.register_copy(tmp_path / "e.jsonl", "jsonl")
        keep(store, visit("r", 1, *names), copy)
        store.erase(NAME)
        shown = [(event.kind, event.subject, event.corrects) for event in store.events()]
        if names == ("bob", NAME, "bob"):
            assert [one for one in shown if one[1] == NAME or one[2] == NAME] == []
            assert {one[0] for one in shown} == {"appeared", "identified", "left"}
        else:
            assert shown == left
        rows = [json.loads(line) for line in (tmp_path / "e.jsonl").read_text().splitlines()]
        assert [(row["kind"], row.get("subject"), row.get("corrects")) for row in rows] == shown


def test_a_name_that_was_taken_back_is_a_mention(tmp_path: Path, visit: Visits) -> None:
    with open_events(tmp_path / "events.db") as store:
        copy = store.register_copy(tmp_path / "e.csv", "csv")
        first, second, last = visit("r", 1, NAME)
        back = Event("unknown", "door", second.time + timedelta(milliseconds=1), "r", 1, corrects=NAME)
        keep(store, [first, second, back, replace(last, subject=None)], copy)
        assert store.erase(NAME).events == 1
        left = [("appeared", None), ("unknown", None), ("left", None)]
        assert [(event.kind, event.corrects) for event in store.events()] == left
        assert found(tmp_path) == []


def test_what_a_camera_still_sends_of_an_erased_visit_is_not_kept(where: str, visit: Visits, tmp_path: Path) -> None:
    with open_events(where, snapshots=tmp_path / "shots") as store:
        copy = store.register_copy(tmp_path / "e.jsonl", "jsonl")
        first, second, last = visit("r", 1, NAME)
        keep(store, [first, second], copy)
        store.erase(NAME)
        picture = tmp_path / "shots" / "late.jpg"
        picture.write_bytes(b"x")
        assert not store.add(last.with_snapshot("late.jpg"), ["hook"])
        assert not picture.exists()
        assert not copy.append(last), "nor in copies, whoever read it a moment before"
        assert store.pending() == {}
        assert store.add(visit("r", 2)[0]), "others are"
        assert (tmp_path / "e.jsonl").read_text() == ""


WATCH = """
    import sys
    from datetime import datetime, timedelta, timezone
    from visavis.events.event import Event
    from visavis.events.store import open_events

    where, folder, name = sys.argv[1:]
    start = datetime(2026, 5, 1, 8, tzinfo=timezone.utc)
    with open_events(where) as store:
        copies = [store.register_copy(f"{folder}/e.{kind}", kind) for kind in ("csv", "jsonl")]
        track = 0
        print("watching", flush=True)
        while True:
            track += 1
            who = name if track % 3 == 0 else "bob"
            for second, kind in enumerate(("appeared", "identified", "left")):
                subject = who if kind != "appeared" else None
                event = Event(kind, "door", start + timedelta(seconds=10 * track + second), "live", track, subject)
                if store.add(event):
                    for copy in copies:
                        copy.append(event)
"""


def test_erasing_while_a_watcher_writes(where: str, places: Callable[[str], list[Path]], tmp_path: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(WATCH), where, str(tmp_path), NAME]
    watcher = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert watcher.stdout is not None
        assert watcher.stdout.readline() == "watching\n"
        with open_events(where) as store:
            erased = 0
            for _ in range(3):
                time.sleep(0.3)
                erased += store.erase(NAME, timeout=60).events
            assert erased > 0
            watcher.kill()
            watcher.communicate()
            store.erase(NAME)
            assert found(*places(where)) == []
            stored = [event.id for event in store.events()]
        rows = [json.loads(line) for line in (tmp_path / "e.jsonl").read_text().splitlines()]
        assert {row.get("subject") for row in rows} == {None, "bob"}
        ids = [row["id"] for row in rows]
        assert len(set(ids)) == len(ids)
        assert set(ids) <= set(stored)
        assert len(ids) >= len(stored) - 1, "at most the one that was being written when the watcher was killed"
        assert len((tmp_path / "e.csv").read_text().splitlines()) - 1 in (len(ids), len(ids) + 1)
    finally:
        watcher.kill()
        watcher.communicate()


# ---- interrupted


@pytest.mark.parametrize("step", ["_visits_in", "_delete_person", "_clean", "_sweep", "_finish"])
def test_an_erasure_that_dies_half_way_is_finished_by_the_next_opening(
    where: str,
    step: str,
    places: Callable[[str], list[Path]],
    visit: Visits,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Death(BaseException):
        pass

    def die(*_: object) -> None:
        raise Death

    with open_events(where, snapshots=tmp_path / "shots") as store:
        copy = store.register_copy(tmp_path / "e.csv", "csv")
        keep(store, visit("r", 1, NAME) + visit("r", 2, "bob") + visit("r", 3, NAME, "bob"), copy)
        with monkeypatch.context() as patch:
            patch.setattr(forgetting, step, die)
            with pytest.raises(Death):
                store.erase(NAME)
        if step in ("_clean", "_sweep", "_finish"):  # as if somebody had added a line he had read before the deletion
            with (tmp_path / "e.csv").open("a", newline="") as file:
                for event in visit("r", 1, NAME):
                    file.write(f"{event.kind},door,2026-05-01T08:00:00.000000Z,r,1,{NAME},,,,,,,,,,,{event.id}\r\n")
    with open_events(where, snapshots=tmp_path / "shots") as store:
        if step in ("_visits_in", "_delete_person"):  # nobody was told that it is done: it is to be repeated
            assert store.mentions(NAME)
            assert store.erase(NAME).events == 3 + 1
        elif step in ("_sweep", "_finish"):
            store.erase(NAME)  # lines added after the table of removals was worked off are found by name
        assert not store.erasure_pending
        assert not store.mentions(NAME)
        assert found(*places(where)) == []
        assert len(store) == 3 + 3
        assert len(list((tmp_path / "shots").iterdir())) == 3 + 3


def test_a_killed_erasure_is_finished(tmp_path: Path, visit: Visits) -> None:
    path = tmp_path / "events.db"
    with open_events(path) as store:
        copies = [store.register_copy(tmp_path / f"e.{kind}", kind) for kind in ("csv", "jsonl")]
        for track in range(20):
            keep(store, visit("r", track, NAME if track % 2 else "bob"), *copies)
    code = "import sys; from visavis.events.store import open_events; store = open_events(sys.argv[1])"
    code += f"; print('open', flush=True); store.erase({NAME!r})"
    for moment in (0.0, 0.03):
        process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(moment)
        process.kill()
        process.communicate()
    with open_events(path) as store:
        assert not store.erasure_pending
        if store.mentions(NAME):
            store.erase(NAME)
        assert found(tmp_path) == []
        assert len(store) == 30


def test_a_reader_that_stays_makes_it_an_error_never_a_success(tmp_path: Path, visit: Visits) -> None:
    path = tmp_path / "events.db"
    with open_events(path) as store:
        keep(store, visit("r", 1, NAME))
        reader = sqlite3.connect(path, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM events").fetchone()
        with pytest.raises(
            EventStoreBusy, match="the events are deleted, but another process is using the event store"
        ):
            store.erase(NAME, timeout=0.2)
        assert store.erasure_pending
        assert not store.mentions(NAME)
        assert found(tmp_path)
        reader.close()
        assert not store.erase(NAME)
        assert not store.erasure_pending
        assert found(tmp_path) == []


def test_a_server_that_others_keep_busy_is_finished_later(
    postgres: str, places: Callable[[str], list[Path]], visit: Visits
) -> None:
    import psycopg

    with open_events(postgres) as store:
        store.add_all(visit("r", 1, NAME))
        with psycopg.connect(postgres) as reader:
            reader.execute("SELECT count(*) FROM visavis_events.events")
            with pytest.raises(EventStoreBusy, match="the events are deleted, but another process is using"):
                store.erase(NAME, timeout=0.2)
        assert store.erasure_pending
        assert len(store) == 0
    with open_events(postgres) as store:
        assert not store.erasure_pending
        assert found(*places(postgres)) == []


def test_what_lies_on_another_machine_is_finished_there(
    postgres: str, visit: Visits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    monkeypatch.setattr("platform.node", lambda: "attic")
    with open_events(postgres, snapshots=tmp_path / "a" / "shots") as attic:
        copy = attic.register_copy(tmp_path / "a" / "e.csv", "csv")
        keep(attic, visit("r", 1, NAME), copy)
    monkeypatch.setattr("platform.node", lambda: "barn")
    with open_events(postgres, snapshots=tmp_path / "b" / "shots") as barn:
        keep(barn, visit("r", 2, NAME))
        done = barn.erase(NAME)
        assert (done.events, done.snapshots, done.elsewhere) == (6, 3, ("attic",))
        assert found(tmp_path / "b") == []
        assert found(tmp_path / "a")
    monkeypatch.setattr("platform.node", lambda: "attic")
    with open_events(postgres) as attic:
        assert found(tmp_path / "a") == []
        assert attic.erase(NAME).elsewhere == ()


def test_a_picture_that_cannot_be_deleted_is_an_error_and_tried_again(
    tmp_path: Path, visit: Visits, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_events(tmp_path / "events.db") as store:
        (event, *_) = keep(store, visit("r", 1, NAME))
        with monkeypatch.context() as patch:

            def refuse(*_: object, **__: object) -> None:
                raise PermissionError(13, "Permission denied")

            patch.setattr(Path, "unlink", refuse)
            with pytest.raises(StorageError, match="permission denied"):
                store.erase(NAME)
        assert (tmp_path / "events-snapshots" / f"{event.id}.jpg").exists()
    with open_events(tmp_path / "events.db") as store:
        assert list((tmp_path / "events-snapshots").iterdir()) == []
        assert not store.erasure_pending


def test_pictures_outside_of_the_folder_are_never_deleted(tmp_path: Path, visit: Visits) -> None:
    mine = tmp_path / "mine.jpg"
    mine.write_bytes(b"x")
    with open_events(tmp_path / "events.db") as store:
        store.add(visit("r", 1, NAME)[1].with_snapshot("../mine.jpg"))
        store.add(replace(visit("r", 1, NAME)[1], snapshot=str(mine)))
        assert store.erase(NAME).events == 2
    assert mine.exists()


def test_pictures_without_an_event_go_too(tmp_path: Path, visit: Visits) -> None:
    """A program was killed between writing the picture and telling the event."""
    with open_events(tmp_path / "events.db") as store:
        kept = keep(store, visit("r", 2, "bob"))
        keep(store, visit("r", 1, NAME))
        assert store.snapshots is not None
        old, young, other = (store.snapshots / name for name in ("a" * 32 + ".jpg", "b" * 32 + ".jpg", "holiday.jpg"))
        for file in (old, young, other):
            file.write_bytes(b"x")
        for file in (old, other, store.snapshots / f"{kept[0].id}.jpg"):
            os.utime(file, (1e9, 1e9))
        store.erase(NAME)
        assert {file.name for file in store.snapshots.iterdir()} == {
            young.name,
            other.name,
            *(f"{event.id}.jpg" for event in kept),
        }


# ---- renaming


def test_a_renamed_person_is_erased_by_the_new_name(
    where: str, places: Callable[[str], list[Path]], visit: Visits, tmp_path: Path
) -> None:
    with open_events(where, snapshots=tmp_path / "shots") as store:
        copies = [store.register_copy(tmp_path / f"e.{kind}", kind) for kind in ("csv", "jsonl")]
        over, under_way = visit("r", 1, NAME), visit("r", 2, "bob", NAME, at=60)
        keep(store, over, *copies)
        keep(store, under_way[:-1], *copies)
        assert store.rename(NAME, "Countess") == 3
        assert store.rename("bob", "Robert") == 2
        assert [event.subject for event in store.events(subjects=["Countess"])] == ["Countess"] * 3
        assert NAME not in (tmp_path / "e.csv").read_text() + (tmp_path / "e.jsonl").read_text()
        keep(store, [under_way[-1]])  # the camera's process goes on saying the old name
        assert [event.subject for event in store.events(kinds=["left"])] == ["Countess"] * 2
        assert store.add(visit("r", 3, NAME, at=120)[1]), "another person of that name, later"
        assert store.mentions(NAME)
        assert store.erase("Countess").events == len(over) + len(under_way)
        store.erase(NAME)
        assert found(*places(where), words=(NAME, "Countess")) == []


def test_names_are_checked(tmp_path: Path) -> None:
    with open_events(tmp_path / "events.db") as store:
        for wrong in ("", " ada", "a\nb", None, "x" * 201):
            with pytest.raises(InputError):
                store.erase(wrong)  # type: ignore[arg-type]
            with pytest.raises(InputError):
                store.rename("ada", wrong)  # type: ignore[arg-type]


# ---- a time that is over


def test_what_is_older_goes(
    where: str, places: Callable[[str], list[Path]], visit: Visits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgetting, "_PRUNED_AT_ONCE", 4)
    with open_events(where, snapshots=tmp_path / "shots") as store:
        copies = [store.register_copy(tmp_path / f"e.{kind}", kind) for kind in ("csv", "jsonl")]
        keep(store, visit("r", 1, NAME) + visit("r", 2, "bob", at=60), *copies, targets=("hook",))
        new = keep(store, visit("r", 3, "bob", at=120), *copies, targets=("hook",))
        done = store.prune(START + timedelta(seconds=120))
        assert (done.events, done.deliveries, done.snapshots, done.rows) == (6, 6, 6, 12)
        assert list(store.events()) == new
        assert store.pending() == {"hook": 3}
        assert found(*places(where)) == []
        assert len((tmp_path / "e.csv").read_text().splitlines()) == 4
        assert len((tmp_path / "e.jsonl").read_text().splitlines()) == 3
        assert not store.erasure_pending
        assert not store.prune(START + timedelta(seconds=120))
        with pytest.raises(InputError, match="time zone"):
            store.prune(START.replace(tzinfo=None))


def test_pruning_that_dies_half_way_is_finished(tmp_path: Path, visit: Visits, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_events(tmp_path / "events.db") as store:
        copy = store.register_copy(tmp_path / "e.jsonl", "jsonl")
        keep(store, visit("r", 1, NAME) + visit("r", 2, "bob", at=60), copy)
        with monkeypatch.context() as patch:
            patch.setattr(forgetting, "_since", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                store.prune(START + timedelta(seconds=60))
        assert store.erasure_pending
    with open_events(tmp_path / "events.db") as store:
        assert not store.erasure_pending
        assert found(tmp_path) == []
        assert len((tmp_path / "e.jsonl").read_text().splitlines()) == 3
        assert len(list((tmp_path / "events-snapshots").iterdir())) == 3


def test_erasures_and_a_full_disk(small_disk: Path, visit: Visits) -> None:
    path = small_disk / "events.db"
    with open_events(path) as store:
        for track in range(12):
            store.add_all(
                replace(event, detail="x" * 4000) for event in visit("r", track, NAME if track % 2 else "bob")
            )
    with open_events(path) as store:
        free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
        (small_disk / "ballast").write_bytes(bytes(free - 200 * 1024))
        with pytest.raises(StorageError, match="full"):
            store.erase(NAME)
        (small_disk / "ballast").unlink()
    with open_events(path) as store:
        store.erase(NAME)
        assert not store.erasure_pending
    assert found(small_disk) == []


def test_two_programs_erase_at_once(where: str, visit: Visits) -> None:
    problems: list[VisavisError] = []

    def work(name: str) -> None:
        try:
            with open_events(where) as mine:
                mine.erase(name, timeout=60)
        except VisavisError as error:
            problems.append(error)

    with open_events(where) as store:
        for track in range(20):
            store.add_all(visit("r", track, f"person {track % 4}"))
        threads = [threading.Thread(target=work, args=(f"person {i}",)) for i in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert problems == []
        assert {event.subject for event in store.events()} == {None, "person 3"}
        with store._database.reading() as connection:
            assert not erasure.is_pending(store._database.contents, connection)

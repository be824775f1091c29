"""Stores of events, in files and on a server: what is added is kept, listed in order, and sent once at a time."""

from __future__ import annotations

import contextlib
import random
import re
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.events.conftest import START
from visavis.errors import EventError, EventStoreTooNew, InputError, NotAnEventStore, StorageError
from visavis.events import listing
from visavis.events.event import KINDS, Event
from visavis.events.schema import event_of, events, values_of
from visavis.events.store import open_events
from visavis.gallery import open_gallery

Visits = Callable[..., list[Event]]

FULL = Event(
    "line_crossed",
    "door",
    START + timedelta(microseconds=123_457),
    "run",
    7,
    "Zoë 阿贝尔",
    0.5123,
    1e-6,
    12.25,
    (1.5, 2.0, 300.1, 400.9),
    "gate",
    "left",
    3.25,
    "bob",
    "a.jpg",
    "back\nagain",
    "f" * 32,
)


def test_every_field_comes_back(where: str) -> None:
    with open_events(where) as store:
        assert store.add(FULL)
        bare = Event("camera_lost", "door", START)
        assert store.add(bare)
        assert list(store.events()) == [bare, FULL]
        assert not store.add(FULL), "an id is kept once"
        assert store.add_all([bare, replace(FULL, id="e" * 32)]) == 1
        assert len(store) == 3
    with open_events(where, create=False) as store:
        assert len(store) == 3
        assert store.holds("f" * 32)
        assert not store.holds("d" * 32)


floats = st.none() | st.floats(width=32)
words = st.text(st.characters(), max_size=20)


@given(
    words.map(lambda word: word or "camera"),
    words,
    st.none() | st.integers(-(2**63), 2**63 - 1),
    floats,
    st.none() | st.tuples(*[st.floats(-1e6, 1e6)] * 4),
    st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)),
)
def test_any_event_can_be_kept(
    camera: str, detail: str, track: int | None, value: float | None, box: tuple[float, ...] | None, time: datetime
) -> None:
    """Lone surrogates, null characters and numbers that are none are the only things that change."""
    event = Event("dwell", camera, time.replace(tzinfo=timezone.utc), "r", track, None, value, box=box, detail=detail)
    values = values_of(event)
    names = list(values)
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        row = connection.execute(f"SELECT {', '.join('?' * len(names))}", list(values.values())).fetchone()
    again = event_of(type("Row", (), dict(zip(names, row, strict=True)))())
    assert (again.time, again.track, again.id) == (event.time, event.track, event.id)
    if "\0" not in camera and not re.search("[\ud800-\udfff]", camera):
        assert again.camera == camera
    if value is not None:
        assert again.similarity == (value if abs(value) < float("inf") else None)
    if box is not None:
        assert again.box == tuple(round(side, 1) for side in box)


def test_events_are_listed_in_order_and_filtered(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "PAGE", 7)
    chance = random.Random(1)
    kept = [
        Event(
            chance.choice(KINDS),
            chance.choice(["door", "gate", "hall"]),
            START + timedelta(seconds=chance.randrange(50)),
            "run",
            chance.randrange(9),
            chance.choice(["ada", "bob", "eve", None]),
        )
        for _ in range(200)
    ]
    with open_events(where) as store:
        assert store.add_all(kept) == 200
        for _ in range(15):
            kinds = chance.sample(KINDS, chance.choice([0, 0, 1, 3]))
            cameras = chance.sample(["door", "gate", "hall"], chance.choice([0, 0, 1, 2]))
            subjects = chance.sample(["ada", "bob", "eve"], chance.choice([0, 0, 1, 2]))
            since = chance.choice([None, START + timedelta(seconds=chance.randrange(50))])
            until = chance.choice([None, START + timedelta(seconds=chance.randrange(50))])
            limit = chance.choice([None, None, 0, 3, 1000])
            found = list(store.events(kinds, cameras, subjects, since, until, limit))
            expected = [
                event
                for event in kept
                if (not kinds or event.kind in kinds)
                and (not cameras or event.camera in cameras)
                and (not subjects or event.subject in subjects)
                and (since is None or event.time >= since)
                and (until is None or event.time < until)
            ]
            expected = sorted(expected, key=lambda event: event.time)[:limit]  # sorted keeps the order of equals
            assert found == expected


@pytest.mark.parametrize(
    "filters", [{}, {"subjects": ["ada"]}, {"cameras": ["door"]}, {"cameras": ["a", "b"], "since": START}]
)
def test_a_page_of_millions_is_read_by_an_index(tmp_path: Path, filters: dict[str, object]) -> None:
    """However many events there are, a page costs the same: nothing is sorted, nothing is passed over."""
    with open_events(tmp_path / "events.db") as store:
        asked: list[tuple[str, object]] = []
        with store._database.reading() as connection:
            execute = type(connection).execute
        store_type = type(connection)
        original = execute

        def spy(self: object, statement: object, *more: object, **also: object) -> object:
            compiled = statement.compile(self.engine)  # type: ignore[attr-defined]
            asked.append((str(compiled), [compiled.params[name] for name in compiled.positiontup]))
            return original(self, statement, *more, **also)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store_type, "execute", spy)
            list(store.events(**filters))  # type: ignore[arg-type]
        plans = [
            " ".join(str(row[3]) for row in store._database.raw.execute(f"EXPLAIN QUERY PLAN {text}", values))
            for text, values in [(re.sub(r":\w+", "?", text), values) for text, values in asked]
        ]
    assert plans
    for plan in plans:
        assert "USING INDEX events_by_" in plan
        assert "TEMP B-TREE" not in plan


def test_wrong_questions(where: str) -> None:
    with open_events(where) as store:
        with pytest.raises(InputError, match="not 'vanished'"):
            store.events(kinds=["vanished"])  # type: ignore[list-item]
        with pytest.raises(InputError, match="time zone"):
            store.events(since=datetime(2026, 1, 1))
        with pytest.raises(InputError, match="63 bits"):
            store.add(replace(FULL, track=2**63))
        assert len(store) == 0


# ---- delivering


def test_a_delivery_is_given_to_one_asker_until_its_lease_is_over(where: str, visit: Visits) -> None:
    first, second = visit("r", 1, left=False), visit("r", 2, left=False)
    now = START + timedelta(hours=1)
    with open_events(where) as store, open_events(where) as other:
        assert store.due(now) == []
        assert store.next_due() is None
        store.add(first[0], ["hook", "phone", "hook"])
        store.add(second[0], ["hook"])
        store.add(second[0], ["phone"])  # there already: no delivery either
        assert store.pending() == {"hook": 2, "phone": 1}
        mine = store.due(now, limit=1, targets=["hook"])
        assert [(one.target, one.event, one.attempts) for one in mine] == [("hook", first[0], 0)]
        theirs = other.due(now)
        assert {(one.target, one.event.id) for one in theirs} == {("phone", first[0].id), ("hook", second[0].id)}
        assert store.due(now) == other.due(now + timedelta(seconds=59)) == []
        assert [one.id for one in other.due(now + timedelta(seconds=60), targets=["hook"], limit=1)] == [mine[0].id]
        store.delivered(mine[0].id)
        store.failed(theirs[0].id, now + timedelta(hours=2), "no\0 answer")
        assert store.pending() == {"hook": 1, "phone": 1} or store.pending() == {"phone": 1, "hook": 1}
        later = store.due(now + timedelta(hours=3))
        assert sorted(one.attempts for one in later) == [0, 1]


# ---- many programs


ADD = """
    import sys
    from datetime import datetime, timedelta, timezone
    from visavis.events.event import Event
    from visavis.events.store import open_events

    where, worker, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    start = datetime(2026, 5, 1, 8, tzinfo=timezone.utc)
    with open_events(where) as store:
        for i in range(count):
            event = Event("appeared", worker, start + timedelta(seconds=i), worker, i, id=f"{worker}-{i}")
            assert store.add(event, ["hook"])
            print(event.id, flush=True)
"""


def adding(where: str, worker: str, count: int) -> subprocess.Popen[str]:
    script = textwrap.dedent(ADD)
    command = [sys.executable, "-c", script, where, worker, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_processes_and_threads_add_at_once_and_lose_nothing(where: str) -> None:
    processes = [adding(where, f"w{i}", 15) for i in range(3)]  # each may be the one that makes the store
    problems: list[BaseException] = []
    with open_events(where) as store:

        def work(name: str) -> None:
            try:
                for i in range(15):
                    store.add(Event("appeared", name, START, name, i), ["hook"])
                    list(store.events(cameras=[name], limit=5))
            except BaseException as error:  # noqa: BLE001 (handed on to the main thread)
                problems.append(error)

        threads = [threading.Thread(target=work, args=(f"t{i}",)) for i in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for process in processes:
            out, err = process.communicate(timeout=120)
            assert process.returncode == 0, err
            assert len(out.split()) == 15
        assert problems == []
        assert len(store) == 90
        assert store.pending() == {"hook": 90}
        assert [sum(event.camera == f"w{i}" for event in store.events()) for i in range(3)] == [15] * 3


def test_what_add_returned_from_outlives_a_kill(where: str) -> None:
    process = adding(where, "w", 100_000)
    assert process.stdout is not None
    told = [process.stdout.readline().strip() for _ in range(20)]
    process.kill()
    rest, _ = process.communicate()
    told += rest.split()[:-1] if not rest.endswith("\n") else rest.split()
    with open_events(where) as store:
        kept = {event.id for event in store.events()}
        assert kept >= set(told)
        assert len(kept) - len(told) <= 1
        assert store.pending() == {"hook": len(kept)}, "an event and its deliveries are one"


def test_a_full_disk_loses_nothing(small_disk: Path) -> None:
    told = []
    with open_events(small_disk / "events.db") as store:
        with pytest.raises(StorageError, match="full"):  # noqa: PT012 (which of them fails is not known before)
            for i in range(100_000):
                event = Event("camera_lost", "door", START, detail="x" * 3000, id=str(i))
                store.add(event)
                told.append(event.id)
        assert len(told) > 20
        assert {event.id for event in store.events()} == set(told)
    with open_events(small_disk / "events.db") as store:
        assert {event.id for event in store.events()} == set(told)


# ---- what is no store


def test_a_gallery_and_other_files_are_left_as_they_are(tmp_path: Path) -> None:
    with open_gallery(tmp_path / "people.db"):
        pass
    (tmp_path / "text.db").write_bytes(b"just some notes")
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    for name in ("people.db", "text.db"):
        with pytest.raises(NotAnEventStore, match="not an event store"):
            open_events(tmp_path / name)
    with pytest.raises(NotAnEventStore, match=r"events\.db"):
        open_events(tmp_path)
    with pytest.raises(EventError, match="no event store at"):
        open_events(tmp_path / "none.db", create=False)
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_newer_store_is_left_alone(where: str) -> None:
    with open_events(where) as store:
        store.set_value("schema_version", "2")
    with pytest.raises(EventStoreTooNew, match="update visavis"):
        open_events(where)


def test_a_damaged_row_is_named(where: str) -> None:
    with open_events(where) as store:
        store.add(FULL)
        with store._database.writing() as connection:
            connection.execute(events.update().values(kind="vanished"))
        with pytest.raises(NotAnEventStore, match="event 1 of the store is damaged"):
            list(store.events())


def test_a_closed_store_says_so(where: str) -> None:
    store = open_events(where)
    store.close()
    store.close()
    with pytest.raises(EventError, match="closed"):
        store.add(FULL)


def test_names_are_kept_in_composed_form(where: str) -> None:
    with open_events(where) as store:
        store.add(Event("identified", "door", START, "r", 1, "Zoe\u0308"))
        assert [event.subject for event in store.events(subjects=["Zo\u00eb"])] == ["Zo\u00eb"]
        assert store.erase("Zoe\u0308").events == 1

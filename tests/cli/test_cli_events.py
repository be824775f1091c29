"""visavis events: lists, timelines and attendance of a day, exports, and forgetting."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from visavis.events.event import Event
from visavis.events.store import open_events
from visavis.gallery import open_gallery
from visavis.types import Embeddings

Run = Callable[..., Any]
START = datetime(2026, 5, 1, 8, tzinfo=timezone.utc)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """In an empty folder, two hours east of Greenwich where the system can be told so."""
    with monkeypatch.context() as patch:
        patch.chdir(tmp_path)
        patch.delenv("VISAVIS_EVENTS", raising=False)
        if hasattr(time, "tzset"):
            patch.setenv("TZ", "Europe/Berlin")
            time.tzset()
        yield
    if hasattr(time, "tzset"):
        time.tzset()


@pytest.fixture
def day(tmp_path: Path) -> Path:
    """Return a store: ada twice at the door, =bob at the gate, a stranger; one delivery waits."""
    with open_events(tmp_path / "events.db") as store:
        for number, (name, camera, minute) in enumerate(
            [("ada", "door", 0), ("=bob", "gate", 1), (None, "door", 2), ("ada", "door", 30)]
        ):
            at, run = START + timedelta(minutes=minute), f"r{number}"
            store.add(Event("appeared", camera, at, run, number))
            kind = "identified" if name else "unknown"
            store.add(Event(kind, camera, at + timedelta(seconds=1), run, number, name, 0.61 if name else None))
            line = Event(
                "line_crossed", camera, at + timedelta(seconds=2), run, number, name, place="in", direction="left"
            )
            store.add(line, ["hook"] if number == 0 else [])
            store.add(Event("left", camera, at + timedelta(seconds=30), run, number, name, seconds=30.0))
        store.add(Event("camera_lost", "gate", START + timedelta(hours=15), detail="no\nanswer"))
    return tmp_path / "events.db"


def test_ls(run: Run, day: Path) -> None:
    shown = run("events", "ls")
    assert shown.code == 0
    assert len(shown.rows) == 17
    assert shown.rows[1] == ["2026-05-01 08:00:01Z", "identified", "door", "0", "ada", "0.610", ""]
    assert shown.rows[2] == ["2026-05-01 08:00:02Z", "line_crossed", "door", "0", "ada", "", "in, to left"]
    assert [row[4] for row in run("events", "ls", "--subject", "ada", "--kind", "left").rows] == ["ada", "ada"]
    assert len(run("events", "ls", "--camera", "gate").rows) == 5
    assert [row[1] for row in run("events", "ls", "--last", "1").rows] == ["camera_lost"]
    document = run("events", "ls", "--json").json
    assert document["pending"] == {"hook": 1}
    assert document["given_up"] == {}
    assert document["store"] == "events.db"
    assert [Event.from_dict(item).kind for item in document["events"]][:2] == ["appeared", "identified"]


@pytest.mark.parametrize(
    ("options", "count"),
    [
        (["--since", "2026-05-01T08:30:00Z"], 5),
        (["--since", "2026-05-01T08:30"], 5),
        (["--since", "2026-05-01T10:30", "--local"], 5),
        (["--since", "2026-05-01T10:30+02:00"], 5),
        (["--until", "2026-05-01"], 17),
        (["--until", "2026-05-01T08:30"], 12),
        (["--since", "2026-05-02"], 0),
        (["--since", "2026-05-02", "--local"], 1),
        (["--until", "2026-04-30"], 0),
    ],
)
def test_times(run: Run, day: Path, options: list[str], count: int) -> None:
    shown = run("events", "ls", *options)
    assert shown.code == 0
    assert len(shown.rows) == count


@pytest.mark.parametrize("text", ["yesterdayish", "", "2026-13-01", "99999-01-01", "0001-01-01T00:00+23:00", "x" * 300])
def test_what_is_no_time(run: Run, day: Path, text: str) -> None:
    shown = run("events", "ls", "--since", text)
    assert (shown.code, shown.out) in ((2, ""), (0, run("events", "ls").out))
    if shown.code:
        assert "is no time; write a date (2026-05-01) or RFC 3339" in shown.err
        assert len(shown.err) < 200


def test_timeline_and_attendance(run: Run, day: Path) -> None:
    shown = run("events", "timeline")
    assert shown.rows == [
        ["ada", "door", "2026-05-01 08:00:00Z", "2026-05-01 08:00:30Z", "30.0", "0.610"],
        ["=bob", "gate", "2026-05-01 08:01:00Z", "2026-05-01 08:01:30Z", "30.0", "0.610"],
        ["unknown 2", "door", "2026-05-01 08:02:00Z", "2026-05-01 08:02:30Z", "30.0", ""],
        ["ada", "door", "2026-05-01 08:30:00Z", "2026-05-01 08:30:30Z", "30.0", "0.610"],
    ]
    joined = run("events", "timeline", "--join", "3600", "--subject", "ada", "--json").json["stays"]
    assert [(stay["visits"], stay["seconds"]) for stay in joined] == [(2, 1830.0)]
    assert run("events", "attendance", "--local").rows == [
        ["=bob", "2026-05-01 10:01:00+02:00", "2026-05-01 10:01:30+02:00", "0.5", "1"],
        ["ada", "2026-05-01 10:00:00+02:00", "2026-05-01 10:30:30+02:00", "1.0", "2"],
    ]
    (ada,) = run("events", "attendance", "--subject", "ada", "--json").json["people"]
    assert ada["first_seen"] == "2026-05-01T08:00:00.000000Z"
    assert (ada["minutes"], ada["visits"]) == (1.0, 2)


def test_export(run: Run, day: Path, tmp_path: Path) -> None:
    assert run("events", "export", "all.csv").out == "all.csv: 17 events\n"
    with (tmp_path / "all.csv").open(newline="") as file:
        rows = list(csv.DictReader(file, strict=True))
    assert {row["subject"] for row in rows} == {"", "ada", "'=bob"}, "no spreadsheet computes it"
    assert rows[-1]["detail"] == "no answer"
    assert run("events", "export", "some.jsonl", "--kind", "left", "--json").json["events"] == 4
    lines = (tmp_path / "some.jsonl").read_text(encoding="utf-8").splitlines()
    assert [Event.from_dict(json.loads(line)).kind for line in lines] == ["left"] * 4
    for name in ("events.txt", "events"):
        assert "ends in neither .csv nor .jsonl" in run("events", "export", name).err
    assert "can't be written" in run("events", "export", "no/all.csv").err


def test_erase_rename_and_prune(run: Run, day: Path, tmp_path: Path) -> None:
    assert run("events", "rename", "=bob", "Robert").out == "=bob is now Robert in 3 events\n"
    erased = run("events", "erase", "ada", "nobody")
    assert erased.code == 1
    assert erased.out == "erased ada: 8 events, 1 undelivered notice\nnothing was kept of nobody\n"
    assert run("events", "ls", "--subject", "ada").rows == []
    document = run("events", "erase", "Robert", "--json").json
    (item,) = document["erased"]
    assert item == {"subject": "Robert", "events": 4, "deliveries": 0, "snapshots": 0, "rows": 0, "elsewhere": []}
    assert len(run("events", "ls").rows) == 5
    assert run("events", "prune", "--before", "2026-05-01T12:00", "--local").out == "forgot 4 events\n"
    assert run("events", "prune", "--keep", "0").out.startswith("forgot 1 event") or datetime.now(timezone.utc) < START
    for wrong in ([], ["--keep", "1", "--before", "2026-05-01"]):
        assert "--before TIME or --keep DAYS" in run("events", "prune", *wrong).err


def test_gallery_erase_tells_what_went(run: Run, day: Path, tmp_path: Path) -> None:
    with open_gallery(tmp_path / "people.db") as gallery:
        gallery.enroll("ada", Embeddings(np.eye(2, dtype=np.float32)[:1], "m"))
        gallery.enroll("eve", Embeddings(np.eye(2, dtype=np.float32)[1:], "m"))
        gallery.remember_events(day)
        gallery.remember_events(tmp_path / "gone.db")
    shown = run("gallery", "erase", "ada", "-g", "people.db")
    assert shown.out == "erased ada, and 8 events, 1 undelivered notice\n"
    assert "gone.db is gone" in shown.err
    (item,) = run("gallery", "erase", "eve", "-g", "people.db", "--json").json["erased"]
    assert (item["subject"], item["events"], item["stores"]) == ("eve", 0, [str(day)])
    assert item["missing"] == [str(tmp_path / "gone.db")]


def test_which_store(run: Run, day: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "there is no event store at none.db" in run("events", "ls", "-e", "none.db").err
    monkeypatch.setenv("VISAVIS_EVENTS", "other.db")
    assert "no event store at other.db" in run("events", "ls").err
    assert run("events", "ls", "-e", "events.db").code == 0
    for command in (
        ["ls"],
        ["timeline"],
        ["attendance"],
        ["export", "x.csv"],
        ["erase", "ada"],
        ["prune", "--keep", "1"],
    ):
        shown = run("events", *command, "-e", "postgresql://ada:s3cr3t@127.0.0.1:1/x")
        assert shown.code == 2
        assert "postgresql://ada@127.0.0.1:1/x: nothing listens there" in shown.err
        assert "s3cr3t" not in shown.out + shown.err
    assert "s3cr3t" not in run("events", "ls", "-e", "postgresql://ada:s3cr3t/@x").err


def test_a_server(run: Run, postgres: str) -> None:
    with open_events(postgres) as store:
        store.add(Event("identified", "door", START, "r", 1, "ada"))
    assert [row[4] for row in run("events", "ls", "-e", postgres).rows] == ["ada"]
    assert run("events", "erase", "ada", "-e", postgres).out == "erased ada: 1 event\n"

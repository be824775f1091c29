"""What a watch keeps: events in the store and on their way, for as long as they may stay."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from visavis.errors import InputError, NotAnEventStore, StorageError
from visavis.events import keeping
from visavis.events.alerts import Alerts, alerts_of
from visavis.events.event import Event
from visavis.events.keeping import Keeping
from visavis.events.store import open_events


def event(days: float = 0, subject: str | None = None) -> Event:
    return Event("left", "door", datetime.now(timezone.utc) - timedelta(days=days), subject=subject)


def kept(path: Path) -> list[str | None]:
    with open_events(path) as store:
        return [event.subject for event in store.events()]


def test_events_are_kept_and_sent_before_it_ends(tmp_path: Path) -> None:
    rule = {"name": "all", "to": "log", "when": "any"}
    alerts = alerts_of({"rule": [rule], "targets": {"log": {"jsonl": str(tmp_path / "e.jsonl")}}}, "here")
    with Keeping(tmp_path / "e.db", alerts) as keeper:
        for name in ("ada", "grace"):
            keeper.put(event(subject=name))
    assert keeper.pending == 0
    assert keeper.pictures is None
    assert kept(tmp_path / "e.db") == ["ada", "grace"]
    assert (tmp_path / "e.jsonl").read_text("utf-8").count("\n") == 2


def test_what_is_too_old_goes_at_the_start_and_every_hour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_events(tmp_path / "e.db") as store:
        store.add(event(8, "old"))
        store.add(event(6, "young"))
    monkeypatch.setattr(keeping, "_PRUNE_SECONDS", 0.05)
    with Keeping(tmp_path / "e.db", Alerts(), keep=timedelta(days=7)) as keeper:
        assert [one.subject for one in keeper.store.events()] == ["young"]
        keeper.store.add(event(9, "late"))
        for _ in range(600):
            if [one.subject for one in keeper.store.events()] == ["young"]:
                break
            keeper._closing.wait(0.1)
    assert kept(tmp_path / "e.db") == ["young"]


def test_the_folder_of_pictures_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    with Keeping(tmp_path / "e.db", Alerts(), pictures=True) as keeper:
        assert keeper.pictures == tmp_path / "e-snapshots"
        assert keeper.pictures.stat().st_mode & 0o777 == 0o700
    with Keeping(tmp_path / "e.db", Alerts(), pictures=str(tmp_path / "a" / "b")) as keeper:
        assert keeper.pictures == tmp_path / "a" / "b"
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match=r"the folder of snapshots .* can't be made"):
        Keeping(tmp_path / "e.db", Alerts(), pictures=tmp_path / "file" / "b")


def test_a_server_needs_a_folder_for_pictures() -> None:
    with pytest.raises(InputError, match="snapshots need a folder"):
        keeping._folder(None)


def test_a_store_of_another_program_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "e.db").write_bytes(b"something else")
    with pytest.raises(NotAnEventStore):
        Keeping(tmp_path / "e.db", Alerts())
    assert (tmp_path / "e.db").read_bytes() == b"something else"

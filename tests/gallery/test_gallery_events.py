"""What cameras said of a gallery's people is erased and renamed with them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from visavis.errors import EventsOutOfReach, EventStoreBusy, InputError, SubjectExists, UnknownSubject
from visavis.events.event import Event
from visavis.events.store import EventStore, open_events
from visavis.gallery import Gallery, fed, open_gallery

NAME = "Ermintrude Quux-Zappa"
NOWHERE = "postgresql://ada:s3cr3t@127.0.0.1:1/events"
START = datetime(2026, 5, 1, 8, tzinfo=timezone.utc)


def see(store: EventStore, name: str, track: int) -> None:
    moment = START + timedelta(minutes=track)
    store.add(Event("appeared", "door", moment, "r", track))
    store.add(Event("identified", "door", moment + timedelta(seconds=1), "r", track, name), ["hook"])


def traces(folder: Path, *words: str) -> list[str]:
    files = [file for file in folder.rglob("*") if file.is_file()]
    return [file.name for file in files for word in words if word.encode() in file.read_bytes()]


@pytest.fixture
def store(tmp_path: Path) -> EventStore:
    with open_events(tmp_path / "events.db") as opened:
        yield opened


def test_erasing_reaches_the_events(gallery: Gallery, store: EventStore, person, tmp_path: Path) -> None:
    gallery.enroll(NAME, person(1))
    gallery.enroll("bob", person(2))
    gallery.remember_events(tmp_path / "events.db")
    gallery.remember_events(str(tmp_path / "events.db"))
    assert gallery.event_stores == (str(tmp_path / "events.db"),)
    for track, name in enumerate([NAME, "bob", NAME]):
        see(store, name, track)
    done = gallery.erase(NAME)
    assert (done.total.events, done.total.deliveries, done.missing) == (4, 2, ())
    assert done.to_dict()["stores"] == [str(tmp_path / "events.db")]
    assert traces(tmp_path, NAME) == []
    assert {event.subject for event in store.events()} == {None, "bob"}
    with pytest.raises(UnknownSubject):
        gallery.erase(NAME)
    see(store, NAME, 7)
    assert gallery.erase(NAME).total.events == 2, "nobody enrolled, but events of the name"


def test_only_the_collection_whose_people_are_named_there(store: EventStore, path: Path, person, tmp_path) -> None:
    with open_gallery(path, collection="staff") as staff, open_gallery(path, collection="visitors") as visitors:
        for group in (staff, visitors):
            group.enroll("ada", person(1))
        staff.remember_events(tmp_path / "events.db")
        assert visitors.event_stores == ()
        see(store, "ada", 1)
        assert visitors.erase("ada").total.events == 0
        assert store.mentions("ada")
        assert staff.erase("ada").total.events == 2
        visitors.remember_events(tmp_path / "events.db")
        staff.disregard_events(tmp_path / "events.db")
        assert (staff.event_stores, visitors.event_stores) == ((), (str(tmp_path / "events.db"),))


def test_what_a_camera_said_in_between_goes_too(
    gallery: Gallery, store: EventStore, person, tmp_path, monkeypatch
) -> None:
    gallery.enroll(NAME, person(1))
    gallery.remember_events(tmp_path / "events.db")
    see(store, NAME, 1)
    refresh = gallery._indexes.refresh

    def late(connection: object) -> None:
        see(store, NAME, 2)
        refresh(connection)

    monkeypatch.setattr(gallery._indexes, "refresh", late)
    assert gallery.erase(NAME).total.events == 4
    assert traces(tmp_path, NAME) == []


def test_a_store_that_is_gone_is_no_error(gallery: Gallery, person, tmp_path: Path) -> None:
    gallery.enroll(NAME, person(1))
    gallery.remember_events(tmp_path / "gone.db")
    gallery.rename(NAME, "Countess")
    done = gallery.erase("Countess")
    assert done.missing == (str(tmp_path / "gone.db"),)
    assert not (tmp_path / "gone.db").exists()


def test_a_store_out_of_reach_is_an_error_that_says_what_is_left(
    gallery: Gallery, store: EventStore, person, tmp_path: Path
) -> None:
    gallery.enroll(NAME, person(1))
    gallery.enroll("bob", person(2))
    gallery.remember_events(NOWHERE)
    gallery.remember_events(tmp_path / "events.db")
    see(store, NAME, 1)
    with pytest.raises(EventsOutOfReach, match="nothing listens there"):
        gallery.rename("bob", "Robert")
    assert "bob" in gallery, "nothing was changed"
    with pytest.raises(EventsOutOfReach) as caught:
        gallery.erase(NAME)
    assert f"{NAME!r} is erased from the gallery, but not from all events" in str(caught.value)
    assert f"visavis events erase {NAME!r} --events 'postgresql://ada@127.0.0.1:1/events'" in str(caught.value)
    assert NAME not in gallery
    assert not gallery.erasure_pending
    assert traces(tmp_path, NAME, "s3cr3t") == []
    with pytest.raises(EventsOutOfReach):
        gallery.erase(NAME)  # until it is put right
    gallery.disregard_events(NOWHERE)
    with pytest.raises(UnknownSubject):
        gallery.erase(NAME)


def test_a_store_that_others_read_is_finished_later(gallery: Gallery, store: EventStore, person, tmp_path) -> None:
    gallery.enroll(NAME, person(1))
    gallery.remember_events(tmp_path / "events.db")
    see(store, NAME, 1)
    with store._database.reading() as connection:
        connection.exec_driver_sql("SELECT count(*) FROM events").fetchone()
        with pytest.raises(EventsOutOfReach, match="another process is using the event store"):
            gallery.erase(NAME, timeout=0.2)
    assert traces(tmp_path, NAME)
    assert store.erasure_pending
    store.erase(NAME)
    assert traces(tmp_path, NAME) == []


def test_who_is_killed_half_way_has_the_person_enrolled_still(
    gallery: Gallery, store: EventStore, person, tmp_path, monkeypatch
) -> None:
    gallery.enroll(NAME, person(1))
    gallery.remember_events(tmp_path / "events.db")
    see(store, NAME, 1)

    class Death(BaseException):
        pass

    def die(*_: object) -> None:
        raise Death

    with monkeypatch.context() as patch:
        patch.setattr("visavis.events.forgetting._finish", die)
        with pytest.raises(Death):
            gallery.erase(NAME)
    assert NAME in gallery
    gallery.erase(NAME)
    assert traces(tmp_path, NAME) == []


def test_renaming_reaches_the_events(gallery: Gallery, store: EventStore, person, tmp_path: Path) -> None:
    gallery.enroll(NAME, person(1))
    gallery.enroll("bob", person(2))
    gallery.remember_events(tmp_path / "events.db")
    see(store, NAME, 1)
    with pytest.raises(SubjectExists):
        gallery.rename(NAME, "bob")
    assert store.mentions(NAME)
    gallery.rename(NAME, "Countess")
    assert not store.mentions(NAME)
    assert gallery.erase("Countess").total.events == 2
    assert traces(tmp_path, NAME, "Countess") == []


def test_a_renaming_that_fails_half_way_says_what_finishes_it(
    gallery: Gallery, store: EventStore, person, tmp_path, monkeypatch
) -> None:
    gallery.enroll(NAME, person(1))
    gallery.remember_events(tmp_path / "events.db")

    def fail(*_: object) -> None:
        raise EventStoreBusy("another process holds it")

    monkeypatch.setattr(EventStore, "rename", fail)
    with pytest.raises(EventsOutOfReach, match="run visavis events rename"):
        gallery.rename(NAME, "Countess")
    assert "Countess" in gallery


def test_a_servers_password_comes_from_the_environment(
    postgres: str, gallery: Gallery, person, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_password = postgres.replace("postgres:@", "postgres:s3cr3t@")
    gallery.enroll(NAME, person(1))
    gallery.remember_events(with_password)
    assert "s3cr3t" not in str(gallery.event_stores)
    asked: list[str] = []
    monkeypatch.setattr(fed, "open_events", lambda where, **more: asked.append(where) or open_events(where, **more))
    monkeypatch.setenv("VISAVIS_EVENTS", with_password)
    with open_events(with_password) as store:
        see(store, NAME, 1)
        assert gallery.erase(NAME).total.events == 2
    assert set(asked) == {with_password}
    monkeypatch.setenv("VISAVIS_EVENTS", "postgresql://ada:s3cr3t@elsewhere/x")
    gallery.enroll(NAME, person(1))
    gallery.erase(NAME)
    assert asked[-1] == gallery.event_stores[0]


def test_a_malformed_address_is_refused(gallery: Gallery) -> None:
    with pytest.raises(InputError, match="no address"):
        gallery.remember_events("postgresql://ada:s3cr3t/@db/x")

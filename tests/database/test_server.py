"""Addresses of servers never show a password, whatever is in them; what a real server refuses is told in a line."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.events.conftest import START
from visavis.database.server import Address, is_address
from visavis.errors import EventError, EventsOutOfReach, InputError, NotAnEventStore, StorageError
from visavis.events.event import Event
from visavis.events.store import open_events

SECRET = "s3cr3t"


@pytest.mark.parametrize(
    ("given_", "shown"),
    [
        ("postgresql://ada:s3cr3t@db/faces", "postgresql://ada@db/faces"),
        ("postgres://ada:s3cr3t@db:5433/faces", "postgresql://ada@db:5433/faces"),
        ("postgresql+psycopg://ada:s3cr3t@db/faces", "postgresql://ada@db/faces"),
        ("POSTGRESQL://ada:s3cr3t@[::1]:5433/faces", "postgresql://ada@[::1]:5433/faces"),
        ("postgresql://ada:p@s3cr3t@db/faces", "postgresql://ada@db/faces"),
        ("postgresql://ada:%73%33cr%33t@db/faces", "postgresql://ada@db/faces"),
        ("postgresql://:s3cr3t@db/faces", "postgresql://db/faces"),
        ("postgresql:///faces?host=/run/pg&user=ada&password=s3cr3t", "postgresql:///faces?host=%2Frun%2Fpg&user=ada"),
        ("postgresql://db/faces?sslmode=require&sslpassword=s3cr3t", "postgresql://db/faces?sslmode=require"),
        ("postgresql://db/faces?password=s3cr3t&password=s3cr3t", "postgresql://db/faces"),
        ("postgresql://", "postgresql:///"),
    ],
)
def test_an_address_is_shown_without_its_password(given_: str, shown: str) -> None:
    address = Address.parse(given_)
    assert address.shown == shown
    assert SECRET not in repr(address) + str(address) + str(address.url) + repr(address.url)
    assert Address.parse(shown).shown == shown


@pytest.mark.parametrize(
    "wrong",
    [
        "mysql://ada:s3cr3t@db/faces",
        "postgresql://ada:s3cr3t/x@db/faces",
        "postgresql://ada:s3cr3t?x@db/faces",
        "postgresql://ada:12?s3cr3t@db/faces",
        "postgresql://ada:12/s3cr3t@db/faces",
        "postgresql://ada:12#s3cr3t@db/faces",
        "postgresql://ada:s3cr3t@db:port/faces",
        "postgresql://ada:s3cr3t@db:99999/faces",
        "postgresql://ada:s3cr3t@[::1/faces",
        "postgresql://ada:s3cr3t@db/faces?pasword=s3cr3t",
        "postgresql://ada:s3cr3t@db/faces?s3cr3t",
        "postgresql://ada:%ff@db/faces",
        "postgresql://ada:s3cr3t%00@db/faces",
        "postgresql://ada:s3cr3t@d b/faces",
    ],
)
def test_a_malformed_address_is_not_repeated(wrong: str) -> None:
    with pytest.raises(InputError) as caught:
        Address.parse(wrong)
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert "postgresql://" in str(caught.value)


@given(st.text(min_size=1, max_size=12).filter(lambda text: "\0" not in text))
@example("%41@:/?#[]")
def test_any_password_goes_through_encoded_and_is_never_shown(password: str) -> None:
    password = "\u2603" + password.encode("utf-8", "replace").decode()
    address = Address.parse(f"postgresql://ada:{quote(password, safe='')}@db/faces?sslmode=disable")
    assert address.secrets == {"password": password}
    assert address.shown == "postgresql://ada@db/faces?sslmode=disable"


@given(st.text(max_size=30))
def test_any_text_is_an_address_or_an_error_without_it(rest: str) -> None:
    said = ""
    try:
        said = Address.parse(f"postgresql://ada:\u2603{rest}").shown
    except InputError as error:
        said = str(error)
    assert "\u2603" not in said
    assert quote("\u2603") not in said


def test_files_are_no_addresses() -> None:
    assert not is_address("events.db")
    assert not is_address(Path("events.db"))
    assert is_address("postgresql://x")


# ---- a real server


@pytest.fixture
def guarded(postgres: str, postgres_server: tuple[Path, str]) -> Iterator[str]:
    """Return the address of the server for a user who needs a password."""
    import psycopg

    rules = postgres_server[0] / "pg_hba.conf"
    before = rules.read_text()
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS ada")
        connection.execute(f"CREATE ROLE ada LOGIN PASSWORD '{SECRET}'")
        rules.write_text(f"local all ada scram-sha-256\n{before}")
        connection.execute("SELECT pg_reload_conf()")
        yield f"postgresql://ada@/{urlsplit(postgres).path[1:]}?{urlsplit(postgres).query}"
        rules.write_text(before)
        connection.execute("SELECT pg_reload_conf()")
        connection.execute("DROP SCHEMA IF EXISTS visavis_events CASCADE")
        connection.execute("REVOKE ALL ON DATABASE postgres FROM ada")
        connection.execute("DROP ROLE ada")


def test_logins_and_rights(guarded: str, postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import psycopg

    wrong = guarded.replace("ada@", "ada:wr0ng@")
    with pytest.raises(EventsOutOfReach, match="refuses the login") as caught:
        open_events(wrong)
    assert "wr0ng" not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__cause__ is None
    with pytest.raises(EventsOutOfReach, match="wants a password; set PGPASSWORD"):
        open_events(guarded)
    right = guarded.replace("ada@", f"ada:{SECRET}@")
    with pytest.raises(StorageError, match="ada may not do that there"):
        open_events(right)
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("GRANT CREATE ON DATABASE postgres TO ada")
    with open_events(right) as store:
        assert SECRET not in store.where + repr(store) + repr(vars(store))
        assert store.add(Event("appeared", "door", START))
        assert store.erase("ada").events == 0
        assert store.prune(START.replace(year=2027)).events == 1, "the owner of the tables may vacuum them"
    monkeypatch.setenv("PGPASSWORD", SECRET)
    with open_events(guarded) as store:
        assert len(store) == 0


def test_servers_that_cannot_be_reached(postgres: str) -> None:
    for address, said in [
        (f"postgresql://ada:{SECRET}@127.0.0.1:1/x", "nothing listens there"),
        (f"postgresql://ada:{SECRET}@no-such-host.invalid/x", "there is no host of that name"),
        (postgres.replace("/postgres?", "/nothing?"), "there is no such user or database"),
    ]:
        with pytest.raises(EventsOutOfReach, match=said) as caught:
            open_events(address)
        assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_a_schema_of_somebody_else_is_left_alone(postgres: str) -> None:
    import psycopg

    with pytest.raises(EventError, match="no event store at"):
        open_events(postgres, create=False)
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA visavis_events")
        connection.execute("CREATE TABLE visavis_events.songs (title TEXT)")
    with pytest.raises(NotAnEventStore, match="it was left as it is"):
        open_events(postgres)
    with psycopg.connect(postgres, autocommit=True) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'visavis_events'").fetchall()
    assert tables == [("songs",)]


def test_a_connection_that_the_server_ended_is_made_anew(postgres: str) -> None:
    import psycopg

    with open_events(postgres) as store:
        assert store.add(Event("appeared", "door", START))
        with psycopg.connect(postgres, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND datname = current_database()"
            )
        assert store.add(Event("appeared", "door", START))
        assert len(store) == 2


def test_names_are_not_in_the_servers_statistics(postgres: str) -> None:
    import psycopg

    with open_events(postgres) as store:
        store.add_all(Event("identified", "door", START, "r", track, "Ermintrude") for track in range(50))
        with psycopg.connect(postgres, autocommit=True) as connection:
            connection.execute("ANALYZE visavis_events.events")
            seen = connection.execute("SELECT attname, most_common_vals::text FROM pg_stats").fetchall()
    assert ("camera", "{door}") in seen
    assert "Ermintrude" not in str(seen)

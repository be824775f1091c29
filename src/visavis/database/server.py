"""Tables on a PostgreSQL server: an address that never shows its password, transactions, and the server's errors."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError, ResourceClosedError, SQLAlchemyError

from visavis.database.contents import Contents
from visavis.errors import EngineError, InputError, StorageError, VisavisError

__all__ = ["Address", "Server", "is_address"]

_SCHEMES = ("postgresql", "postgres", "postgresql+psycopg")
_SHOWN = frozenset(  # what of libpq's parameters says where and as whom, and no secret
    {
        *("host", "hostaddr", "port", "user", "dbname", "connect_timeout", "application_name", "service"),
        *("sslmode", "sslrootcert", "sslcert", "sslkey", "channel_binding", "target_session_attrs", "passfile"),
        *("gssencmode", "krbsrvname", "keepalives", "keepalives_idle", "options", "require_auth"),
    }
)
_SECRET = frozenset({"password", "sslpassword"})
_SECONDS = 10  # to wait for a connection, or a lock
_POOL = 8


def is_address(where: object) -> bool:
    """Return whether that is meant as the address of a server and not as a file.

    Examples
    --------
    >>> is_address("postgresql://db/people"), is_address("events.db")
    (True, False)
    """
    return isinstance(where, str) and "://" in where


@dataclass(frozen=True)
class Address:
    """Where a database is, in libpq's form ``postgresql://user:password@host:port/database?sslmode=require``.

    Attributes
    ----------
    shown
        The address without any password: what may be printed, logged and stored.
    url
        What SQLAlchemy connects to, without any password either.
    secrets
        The passwords, by the names of libpq's parameters.

    Examples
    --------
    >>> Address.parse("postgres://ada:s%40crt@db:5433/faces?sslmode=require&password=x").shown
    'postgresql://ada@db:5433/faces?sslmode=require'
    """

    shown: str
    url: URL = field(repr=False)
    secrets: Mapping[str, str] = field(repr=False)

    @classmethod
    def parse(cls, where: str) -> Address:
        """Read an address.

        Raises
        ------
        InputError
            If it is none. As any part of it may be of a password, the message repeats none.
        """
        scheme, _, rest = where.partition("://")
        if scheme.lower() not in _SCHEMES:
            raise InputError("a database's address begins with postgresql://; give that, or a file such as events.db")
        try:
            parts = urlsplit(f"postgresql://{rest}")
            login, _, place = parts.netloc.rpartition("@")
            host, port = _host_and_port(place)
            given = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
            database = unquote(parts.path.removeprefix("/"), errors="strict")
            user, colon, password = login.partition(":")
            user, password = unquote(user, errors="strict"), unquote(password, errors="strict")
        except ValueError:
            raise _malformed() from None
        if parts.fragment or any(sign in host + database for sign in "@/?#\0 ") or "\0" in user + password:
            raise _malformed()
        if {name for name, _ in given} - _SHOWN - _SECRET:
            raise _malformed()
        shown = [(name, value) for name, value in given if name not in _SECRET]
        known = f"{quote(user, safe='')}@" if user else ""
        at = f"[{host}]" if ":" in host else host
        place = f"{known}{at}{f':{port}' if port else ''}/{quote(database, safe='')}"
        secrets = {name: value for name, value in given if name in _SECRET}
        if colon:
            secrets["password"] = password
        url = URL.create("postgresql+psycopg", user or None, None, host or None, port, database or None, dict(shown))
        return cls(f"postgresql://{place}{'?' + urlencode(shown) if shown else ''}", url, secrets)


def _host_and_port(place: str) -> tuple[str, int | None]:
    if place.startswith("["):
        host, _, port = place[1:].partition("]")
        port = port.removeprefix(":")
    else:
        host, _, port = place.partition(":")
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError
    return unquote(host, errors="strict"), int(port) if port else None


def _malformed() -> InputError:
    return InputError(
        "this is no address of a database (it is not repeated, as it may hold a password): write "
        "postgresql://USER@HOST:PORT/DATABASE, and the signs % @ : / ? # of a password as %25 %40 %3A %2F %3F %23"
    )


class Server:
    """Tables in a schema of their own on a PostgreSQL server, shared by the threads of this process.

    Parameters
    ----------
    address
        Where. Without a password libpq's own places apply: ``PGPASSWORD``, ``~/.pgpass``.
    contents
        What the schema holds.
    schema
        Its name.
    unreachable
        What is raised where the server doesn't answer or refuses the login.
    create
        Make the schema where there is none.
    """

    writable = True

    def __init__(
        self, address: Address, contents: Contents, schema: str, unreachable: type[VisavisError], *, create: bool
    ) -> None:
        self.where = address.shown
        self.contents = contents
        self.schema = schema
        self._unreachable = unreachable
        try:
            import psycopg  # noqa: F401
        except ImportError:
            raise EngineError("PostgreSQL needs the package psycopg; run: pip install 'visavis[postgres]'") from None
        options: dict[str, Any] = dict(address.secrets)
        if "connect_timeout" not in address.url.query:
            options["connect_timeout"] = _SECONDS
        self._engine = create_engine(
            address.url, connect_args=options, pool_size=_POOL, pool_pre_ping=True, hide_parameters=True
        ).execution_options(schema_translate_map={None: schema})
        _set_up_connections(self._engine)
        self._closed = False
        try:
            self._prepare(create)
        except BaseException:
            self.close()
            raise

    def _prepare(self, create: bool) -> None:
        with self.writing(alone=True) as connection:
            version = self._version(connection)
            if version is None:
                if not create:
                    raise self.contents.error(
                        f"there is no {self.contents.noun} at {self.where}; {self.contents.if_missing}"
                    )
                encoding = connection.execute(text("SHOW server_encoding")).scalar()
                if encoding != "UTF8":
                    raise self.contents.error(f"{self.where}: the database is in {encoding}; names need UTF8")
                connection.execute(text(f'CREATE SCHEMA "{self.schema}"'))
                self.contents.make(connection)

    def _version(self, connection: Connection) -> str | None:
        there = connection.execute(text("SELECT to_regnamespace(:name)"), {"name": self.schema}).scalar()
        if there is None:
            return None
        table = connection.execute(text("SELECT to_regclass(:name)"), {"name": f"{self.schema}.meta"}).scalar()
        if table is None:
            raise self.contents.foreign(
                f"{self.where}: the schema {self.schema} is not {self.contents.a_noun}; it was left as it is"
            )
        version = self.contents.value(connection, "schema_version")
        self.contents.check_version(version, self.where)
        return version

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a connection on which everything read is of one moment."""
        with self.translated(), self._engine.connect() as connection:
            connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with connection.begin():
                yield connection

    @contextlib.contextmanager
    def writing(self, *, alone: bool = False) -> Iterator[Connection]:
        """Give a connection whose changes are committed when the block ends, or not made at all if it raises.

        Parameters
        ----------
        alone
            No other block of any process writes meanwhile. Others write at the same time as each other.
        """
        share = "" if alone else "_shared"
        with self.translated(), self._engine.begin() as connection:
            key = {"key": self.contents.application_id}
            connection.execute(text(f"SELECT pg_advisory_xact_lock{share}(:key)"), key)
            yield connection

    def rewrite(self, timeout: float) -> None:
        """Write every table and index anew, without what was deleted: ``VACUUM FULL``."""
        until = time.monotonic() + timeout
        with self.translated(), self._engine.connect() as connection:
            connection = connection.execution_options(isolation_level="AUTOCOMMIT")
            try:
                for table in self.contents.tables.sorted_tables:
                    left = max(1, round(1000 * (until - time.monotonic())))
                    connection.execute(text(f"SET lock_timeout = {left}"))
                    connection.execute(text(f'VACUUM FULL "{self.schema}"."{table.name}"'))
            finally:
                connection.invalidate()  # a later transaction is to wait as others do

    def close(self) -> None:
        """Close the connections. Closing twice is fine."""
        self._closed = True
        self._engine.dispose()

    @contextlib.contextmanager
    def translated(self) -> Iterator[None]:
        """Turn what PostgreSQL and SQLAlchemy raise into the errors of `visavis.errors`.

        The cause is not chained: what a driver says of a connection may hold its address.
        """
        if getattr(self, "_closed", False):
            raise self.contents.error(f"{self.where}: the {self.contents.noun} was closed")
        try:
            yield
        except DBAPIError as error:
            raise self._translate(error) from None
        except ResourceClosedError:
            raise self.contents.error(f"{self.where}: the {self.contents.noun} was closed") from None
        except SQLAlchemyError as error:
            raise self.contents.error(f"{self.where}: {type(error).__name__}") from None

    def _translate(self, error: DBAPIError) -> VisavisError:
        state = str(getattr(error.orig, "sqlstate", None) or "")
        for beginning, kind, advice in _STATES:
            if state.startswith(beginning):
                cause: type[VisavisError] = getattr(self.contents, kind) if isinstance(kind, str) else kind
                return cause(f"{self.where}: {advice.format(noun=self.contents.noun, user=self._user())}")
        if error.connection_invalidated or not state or state.startswith(("08", "28", "3D", "57P", "53300")):
            return self._unreachable(f"{self.where}: {_why(state, str(error.orig))}")
        return self.contents.error(f"{self.where}: the database refused (SQLSTATE {state})")

    def _user(self) -> str:
        return self._engine.url.username or "this user"


# SQLSTATE, the error it becomes (or which one of `Contents`), and what the user is told.
_STATES: tuple[tuple[str, type[VisavisError] | str, str], ...] = (
    ("53100", StorageError, "the server's disk is full; nothing was changed, make room and repeat"),
    ("53200", StorageError, "the server is out of memory; nothing was changed"),
    ("55P03", "busy", "another process holds the {noun}; repeat when it is done"),
    ("40", "busy", "another process changed the same; repeat"),
    ("57014", "busy", "the server ended the statement; repeat"),
    ("42501", StorageError, "{user} may not do that there; grant the right, or give another user"),
    ("25006", StorageError, "the server is read-only; nothing was changed"),
)

# Fixed English texts of libpq and the server, and what the user is told; nothing else of them is repeated.
_SAYINGS = (
    ("password authentication failed", "the server refuses the login; check user and password"),
    ("no password supplied", "the server wants a password; set PGPASSWORD, or write it into ~/.pgpass"),
    ("no pg_hba.conf entry", "the server takes no connection from this machine; see its pg_hba.conf"),
    ("does not exist", "there is no such user or database"),
    ("could not translate host name", "there is no host of that name"),
    ("resolve host", "there is no host of that name"),
    ("Connection refused", "nothing listens there; check host and port, and whether the server runs"),
    ("timeout", "the server doesn't answer"),
    ("too many", "the server has no connection left"),
    ("SSL", "no encrypted connection; check sslmode and its certificates"),
    ("starting up", "the server is starting; repeat in a moment"),
    ("closed", "the server ended the connection"),
)


def _why(state: str, said: str) -> str:
    for saying, advice in _SAYINGS:
        if saying in said:
            return advice
    return f"the server can't be reached{f' (SQLSTATE {state})' if state else ''}; check the address and the server"


def _set_up_connections(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def connect(connection: Any, _: Any) -> None:
        connection.execute(f"SET lock_timeout = {_SECONDS * 1000}")
        connection.execute("SET client_encoding = 'UTF8'")
        connection.commit()

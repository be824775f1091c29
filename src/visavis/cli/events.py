"""``visavis events``: what cameras saw, listed, summed up, exported, and forgotten."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from visavis.cli.options import Json, unpacked
from visavis.cli.report import Column, Report
from visavis.errors import InputError, StorageError

if TYPE_CHECKING:
    from visavis.events.event import Event
    from visavis.events.store import EventStore, Forgotten
    from visavis.events.timeline import Visit

__all__ = ["app"]

app = typer.Typer(
    help="List, sum up, export or erase what cameras saw.\n\nExample: visavis events ls -e events.db",
    no_args_is_help=True,
)

_MAX_DAYS = 365_000


@dataclass(frozen=True)
class EventFile:
    """Which store of events a command works on."""

    events: Annotated[
        str,
        typer.Option(
            "--events",
            "-e",
            metavar="FILE|URL",
            envvar="VISAVIS_EVENTS",
            help="The store of events: a file, or postgresql://...",
        ),
    ] = "events.db"

    @contextlib.contextmanager
    def open(self, report: Report) -> Iterator[EventStore]:
        """Open it; a missing one is an error."""
        from visavis.events.store import open_events

        with open_events(self.events, create=False) as store:
            report.fields(store=store.where)
            yield store
            if store.erasure_pending:
                report.warn("an erasure is not finished, as another process was using the store; run it again")


@dataclass(frozen=True)
class Period:
    """Of which cameras and when."""

    camera: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only of this camera; repeatable.")] = None
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="From then on: 2026-05-01, 2026-05-01T08:00, ...Z, ...+02:00.")
    ] = None
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Before then; a date alone includes its day.")] = (
        None
    )
    local: Annotated[
        bool, typer.Option("--local", help="Times without a zone, and those shown, are of this machine's; else UTC.")
    ] = False

    def limits(self) -> dict[str, Any]:
        """Return what `EventStore.events` wants to know."""
        since = None if self.since is None else moment(self.since, self.local)
        until = None if self.until is None else moment(self.until, self.local, end=True)
        return {"cameras": self.camera or (), "since": since, "until": until}

    def shown(self, time: datetime) -> str:
        """Return a time as people read it, with its zone."""
        if self.local:
            return time.astimezone().isoformat(sep=" ", timespec="seconds")
        return f"{time.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S}Z"


Who = Annotated[list[str] | None, typer.Option("--subject", metavar="NAME", help="Only of this person; repeatable.")]
Kinds = Annotated[list[str] | None, typer.Option("--kind", metavar="KIND", help="Only such events; repeatable.")]
Names = Annotated[list[str], typer.Argument(metavar="SUBJECT", help="Names of people.")]


def moment(text: str, local: bool, *, end: bool = False) -> datetime:
    """Return the time that a user wrote; with ``end`` a date alone is the end of its day.

    Examples
    --------
    >>> moment("2026-05-01", local=False).isoformat(), moment("2026-05-01T08:00+02:00", local=False).isoformat()
    ('2026-05-01T00:00:00+00:00', '2026-05-01T08:00:00+02:00')
    """
    plain = f"{text[:-1]}+00:00" if text[-1:] in "zZ" else text
    try:
        time = datetime.fromisoformat(plain)
        if end and len(plain) == len("2026-05-01"):
            time += timedelta(days=1)
        if time.tzinfo is None:
            time = time.astimezone() if local else time.replace(tzinfo=timezone.utc)
        return time.astimezone(time.tzinfo)
    except (ValueError, OverflowError, OSError):
        raise InputError(
            f"{text[:40]!r} is no time; write a date (2026-05-01) or RFC 3339 (2026-05-01T08:00:00Z)"
        ) from None


@app.command()
@unpacked
def ls(
    where: EventFile,
    period: Period,
    kind: Kinds = None,
    subject: Who = None,
    last: Annotated[int | None, typer.Option(metavar="N", help="Only the newest so many.", min=1)] = None,
    as_json: Json = False,
) -> None:
    """List events in the order of their times.

    Also tells how many deliveries wait for each target.

    \b
    Examples:
      visavis events ls --since 2026-05-01 --subject ada
      visavis events ls --kind line_crossed --last 20
    """
    columns = [Column("time", 25 if period.local else 20), Column("event", 12), Column("camera"), Column("track", 5)]
    columns += [Column("subject"), Column("similarity", 10, right=True), Column("what")]
    with Report("events ls", as_json=as_json, columns=columns, items="events") as report, where.open(report) as store:
        found = store.events(kinds=kind or (), subjects=subject or (), **period.limits())  # type: ignore[arg-type]
        for event in found if last is None else deque(found, maxlen=last):
            track = "" if event.track is None else str(event.track)
            likeness = "" if event.similarity is None else f"{event.similarity:.3f}"
            cells = (period.shown(event.time), event.kind, event.camera, track, event.subject or "", likeness)
            report.row(*cells, _what(event), item=event.to_dict())
        pending, given_up = store.pending(), store.given_up()
        report.fields(pending=pending, given_up=given_up)
        for counts, said in ((pending, "waiting"), (given_up, "given up")):
            for target, count in counts.items():
                report.note(f"{count:,} {'delivery' if count == 1 else 'deliveries'} to {target} {said}")


def _what(event: Event) -> str:
    parts = [
        event.place or "",
        f"to {event.direction}" if event.direction else "",
        f"{event.seconds:.1f} s" if event.seconds is not None else "",
        f"not {event.corrects}" if event.corrects else "",
        event.detail or "",
    ]
    return ", ".join(part for part in parts if part)


@app.command()
@unpacked
def timeline(
    where: EventFile,
    period: Period,
    subject: Who = None,
    join: Annotated[
        float, typer.Option(metavar="SECONDS", help="Out of sight for so long is still the same stay.", min=0)
    ] = 60.0,
    as_json: Json = False,
) -> None:
    """Who was where, from when to when.

    A person's visits to one camera with little time between are one stay. The last name that a visit was given counts
    for all of it. Unknown faces are told apart by their tracks.

    \b
    Example:
      visavis events timeline --since 2026-05-01
    """
    from visavis.events.timeline import timeline as joined

    width = 25 if period.local else 20
    columns = [Column("who"), Column("camera"), Column("from", width), Column("to", width)]
    columns += [Column("seconds", 9, right=True), Column("similarity", 10, right=True)]
    with Report("events timeline", as_json=as_json, columns=columns, items="stays") as report:
        gap = timedelta(seconds=min(join, _MAX_DAYS * 86400.0))
        with where.open(report) as store:
            stays = joined(_visits(store, period, subject), gap)
        for stay in stays:
            likeness = "" if stay.similarity is None else f"{stay.similarity:.3f}"
            who = stay.subject or f"unknown {stay.track}"
            span = (period.shown(stay.start), period.shown(stay.end), f"{stay.seconds:.1f}")
            cells = (who, stay.camera, *span, likeness)
            report.row(*cells, item=stay.to_dict())
        unknown = sum(stay.subject is None for stay in stays)
        report.note(f"{len(stays):,} stays, {unknown:,} of them of unknown faces")


@app.command()
@unpacked
def attendance(where: EventFile, period: Period, subject: Who = None, as_json: Json = False) -> None:
    """When each person was there: first, last, minutes.

    What several cameras saw at the same time counts once.

    \b
    Example:
      visavis events attendance --since 2026-05-01 --local
    """
    from visavis.events.timeline import attendance as summed

    width = 25 if period.local else 20
    columns = [Column("subject"), Column("first seen", width), Column("last seen", width)]
    columns += [Column("minutes", 9, right=True), Column("visits", 6, right=True)]
    with Report("events attendance", as_json=as_json, columns=columns, items="people") as report:
        with where.open(report) as store:
            people = summed(_visits(store, period, subject))
        for one in people:
            cells = (one.subject, period.shown(one.first), period.shown(one.last), f"{one.minutes:.1f}")
            report.row(*cells, str(one.visits), item=one.to_dict())


def _visits(store: EventStore, period: Period, subjects: list[str] | None) -> list[Visit]:
    from visavis.events.timeline import visits
    from visavis.names import checked_name

    wanted = {checked_name(name) for name in subjects or ()}
    found = visits(store.events(**period.limits()))
    return [visit for visit in found if not wanted or visit.subject in wanted]


@app.command()
@unpacked
def export(
    where: EventFile,
    period: Period,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File to write: .csv or .jsonl.")],
    kind: Kinds = None,
    subject: Who = None,
    as_json: Json = False,
) -> None:
    """Write events to a CSV or JSON lines file.

    Times in it are UTC. Erasing a person does not reach it: delete it when it has served.

    \b
    Example:
      visavis events export may.csv --since 2026-05-01
    """
    from visavis.events.copies import COLUMNS, csv_line, json_line
    from visavis.files import printable_path, reason
    from visavis.models.durable import new_file

    lines: dict[str, Callable[[Any], bytes]] = {".csv": csv_line, ".jsonl": json_line}
    with Report("events export", as_json=as_json) as report:
        line = lines.get(file.suffix.lower())
        if line is None:
            raise InputError(f"{printable_path(file)} ends in neither .csv nor .jsonl; name it so")
        count = 0
        with where.open(report) as store:
            found = store.events(kinds=kind or (), subjects=subject or (), **period.limits())  # type: ignore[arg-type]
            try:
                with new_file(file, 0o600) as new:
                    if line is csv_line:
                        new.write(",".join(COLUMNS).encode() + b"\r\n")
                    for event in found:
                        new.write(line(event.to_dict()))
                        count += 1
            except OSError as error:
                raise StorageError(f"{printable_path(file)} can't be written: {reason(error)}") from None
        report.fields(file=str(file), events=count)
        report.line(f"{file}: {count:,} {'event' if count == 1 else 'events'}")


@app.command()
@unpacked
def rename(
    where: EventFile,
    subject: Annotated[str, typer.Argument(metavar="SUBJECT", help="The person's name.")],
    to: Annotated[str, typer.Argument(metavar="NEW", help="The new name.")],
    as_json: Json = False,
) -> None:
    """Give a person's events another name.

    `visavis gallery rename` does it too, for the people of a gallery that cameras were watched with.

    \b
    Example:
      visavis events rename ada "Ada Lovelace"
    """
    with Report("events rename", as_json=as_json) as report, where.open(report) as store:
        changed = store.rename(subject, to)
        report.fields(subject=subject, renamed_to=to, names=changed)
        report.line(f"{subject} is now {to} in {changed:,} {'event' if changed == 1 else 'events'}")


@app.command()
@unpacked
def erase(where: EventFile, subjects: Names, as_json: Json = False) -> None:
    """Forget people: events, deliveries, snapshots, copies.

    Afterwards no byte of the name is in the store, its snapshots and the JSON lines and CSV files that cameras' events
    were written to. Exports, what was sent to others, and a server's log and backups are out of its reach. `visavis
    gallery erase` does this too, where cameras were watched with that gallery.

    Exit code: 0 erased, 1 nothing was kept of some of the names, 2 error.

    \b
    Example:
      visavis events erase ada -e events.db
    """
    nothing = False
    with Report("events erase", as_json=as_json, items="erased") as report, where.open(report) as store:
        for name in subjects:
            done = store.erase(name)
            nothing = nothing or not done
            report.item({"subject": name, **done.to_dict()})
            report.line(f"erased {name}: {told(done)}" if done else f"nothing was kept of {name}")
            elsewhere(report, done)
    if nothing:
        raise typer.Exit(1)


@app.command()
@unpacked
def prune(
    where: EventFile,
    before: Annotated[str | None, typer.Option(metavar="TIME", help="Forget what was before then.")] = None,
    keep: Annotated[
        float | None, typer.Option(metavar="DAYS", help="Forget all but the last so many days.", min=0, max=_MAX_DAYS)
    ] = None,
    local: Annotated[bool, typer.Option("--local", help="A time without a zone is this machine's; else UTC.")] = False,
    as_json: Json = False,
) -> None:
    """Forget old events, deliveries, snapshots, copies.

    \b
    Examples:
      visavis events prune --keep 30
      visavis events prune --before 2026-05-01
    """
    with Report("events prune", as_json=as_json) as report:
        if (before is None) == (keep is None):
            raise InputError("give --before TIME or --keep DAYS")
        limit = datetime.now(timezone.utc) - timedelta(days=keep or 0) if before is None else moment(before, local)
        with where.open(report) as store:
            done = store.prune(limit)
        report.fields(before=limit.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ"), **done.to_dict())
        report.line(f"forgot {told(done)}")
        elsewhere(report, done)


def told(done: Forgotten) -> str:
    """Return in words what was forgotten."""
    counts = {"event": done.events, "undelivered notice": done.deliveries, "snapshot": done.snapshots}
    counts["line of copies"] = done.rows
    words = [f"{count:,} {name if count == 1 else _plural(name)}" for name, count in counts.items() if count]
    return ", ".join(words) or "nothing"


def _plural(name: str) -> str:
    return "lines of copies" if name == "line of copies" else f"{name}s"


def elsewhere(report: Report, done: Forgotten) -> None:
    """Warn of what other machines still hold."""
    if done.elsewhere:
        machines = ", ".join(done.elsewhere)
        report.warn(f"copies or snapshots are left on {machines}; opening the store there erases them")

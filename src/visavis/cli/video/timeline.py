"""``visavis video timeline``: who was there from when to when, and the attendance list."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from visavis.cli.faces import counted
from visavis.cli.facts import provenance
from visavis.cli.options import Json, Machine, Recognition, ReportFile, unpacked
from visavis.cli.report import Column, Report
from visavis.cli.video.reading import Force, Watching, film_file, free_file
from visavis.errors import InputError, VisavisError

if TYPE_CHECKING:
    from visavis.events.timeline import Attendance, Stay
    from visavis.video.recording import Recording

__all__ = ["timeline"]

_STAYS = [Column("who"), Column("from", 8, right=True), Column("to", 8, right=True), Column("seconds", 8, right=True)]
_STAYS += [Column("visits", 6, right=True), Column("at (UTC)", 19), Column("video", keep="end")]
_TIMELINE = ("who", "subject", "video", "from", "to", "from_s", "to_s", "seconds", "visits", "similarity")
_ATTENDANCE = ("subject", "first_seen", "last_seen", "minutes", "visits")
_PRESENT = [Column("who"), Column("first seen (UTC)", 19), Column("last seen (UTC)", 19)]
_PRESENT += [Column("minutes", 8, right=True), Column("visits", 6, right=True)]


@unpacked
def timeline(
    files: Annotated[list[str], typer.Argument(metavar="VIDEO", help="Video files, as the recordings of a day.")],
    attended: Annotated[
        bool, typer.Option("--attendance", help="List first seen, last seen and minutes of each person instead.")
    ] = False,
    start: Annotated[
        list[str] | None,
        typer.Option(metavar="TIME", help="When a video began, as 2026-05-01T08:00; once for each, in their order."),
    ] = None,
    join: Annotated[
        float, typer.Option(metavar="SECONDS", help="Visits with at most this between them are one stay.", min=0)
    ] = 60.0,
    every: Annotated[
        float, typer.Option(metavar="SECONDS", help="Look for faces so often; 0: in each frame.", min=0)
    ] = 0.1,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write the table into this file too.")
    ] = None,
    report_file: ReportFile = None,
    force: Force = False,
    as_json: Json = False,
    *,
    watching: Watching,
    models: Recognition,
    machine: Machine,
) -> None:
    """Say who was there from when to when in videos.

    Without a gallery each track stands alone. Times of day are UTC: by --start, else by what the file says, else by its
    date. --start without a zone is in the zone of this machine.

    Needs the package av: pip install 'visavis[video]'.

    Exit code: 0 all fine, 1 some videos could not be read or not to their end, 2 error.

    \b
    Examples:
      visavis video timeline a.mp4 -g people.db
      visavis video timeline monday/*.mp4 -g people.db \\
        --attendance --csv monday.csv
    """
    from visavis.events.timeline import attendance, visits
    from visavis.events.timeline import timeline as joined

    columns = _PRESENT if attended else _STAYS
    with Report("video timeline", as_json=as_json, columns=columns, items="people" if attended else "stays") as report:
        paths = [film_file(file) for file in files]
        begins = _begins(start, paths)
        table = None if csv_file is None else free_file(csv_file, "--csv", force, paths)
        if report_file is not None:
            from visavis.reporting import page

            page.require_target(report_file)
        recordings: list[Recording] = []
        videos: list[dict[str, Any]] = []
        with watching.opened(models, machine, report) as people:
            for path, begin in zip(paths, begins, strict=True):
                try:
                    found = watching.record(
                        *(path, models, machine, people, report),
                        every=every,
                        start=begin,
                        looks=report_file is not None,
                        label=path.name,
                    )
                except VisavisError as error:
                    if len(paths) == 1 or not isinstance(error, InputError):
                        raise
                    report.skipped += 1
                    report.say(f"skipped: {error}")
                    videos.append({"video": str(path), "start": None, "seconds": None, "problem": str(error)})
                else:
                    recordings.append(found)
                    began, seconds = found.start.isoformat(), round(found.seconds, 3)
                    videos.append({"video": str(path), "start": began, "seconds": seconds, "problem": found.problem})
                    if found.problem is not None:
                        report.skipped += 1
                        report.say(f"cut short: {found.problem}")
                report.done += 1
        all_visits = visits(event for recording in recordings for event in recording.events)
        stays = joined(all_visits, timedelta(seconds=join))
        present = attendance(all_visits)
        names = _names(stays)
        report.fields(videos=videos)
        items = [one.to_dict() for one in present] if attended else _items(stays, names, recordings)
        for cells, item in zip(_present(present) if attended else _stays(items), items, strict=True):
            report.row(*cells, item=item)
        if table is not None:
            _write_csv(table, items, attended)
        if report_file is not None:
            from visavis.video.timeline_report import timeline_document

            settings = [("gallery", watching.gallery or "none"), ("looked at every", f"{every:g} s")]
            facts = provenance(settings, (), [models], machine)
            page.write(timeline_document(recordings, stays, present, names, facts), report_file)
            report.note(f"{report_file} shows it")
        strangers = sum(stay.subject is None for stay in stays)
        report.note(f"{counted(len(present), 'name')}; {counted(strangers, 'visit')} of faces without one")
        code = 1 if report.skipped and recordings else report.end()
    raise typer.Exit(code)


def _begins(given: list[str] | None, paths: Sequence[Path]) -> list[datetime | None]:
    if not given:
        return [None] * len(paths)
    if len(given) != len(paths):
        raise InputError(f"--start is given once for each video: {len(paths)} times, not {len(given)}")
    found: list[datetime | None] = []
    for text in given:
        try:
            time = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
        except ValueError:
            raise InputError(
                f"--start is a time such as 2026-05-01T08:00 or 2026-05-01T08:00+02:00, not {text!r}"
            ) from None
        found.append(time.astimezone(timezone.utc))
    return found


def _names(stays: Sequence[Stay]) -> list[str]:
    """Return what each stay's face is called: strangers are counted."""
    names, strangers = [], 0
    for stay in stays:
        strangers += stay.subject is None
        names.append(stay.subject or f"unknown {strangers}")
    return names


def _items(stays: Sequence[Stay], names: Sequence[str], recordings: Sequence[Recording]) -> list[dict[str, Any]]:
    begins = {recording.path: recording.start for recording in recordings}
    items = []
    for stay, name in zip(stays, names, strict=True):
        of = stay.to_dict()
        place = {
            "from_s": round((stay.start - begins[stay.camera]).total_seconds(), 3),
            "to_s": round((stay.end - begins[stay.camera]).total_seconds(), 3),
        }
        keys = ("subject", "from", "to", "seconds", "visits", "track", "similarity")
        items.append({"who": name, "video": stay.camera, **{key: of[key] for key in keys}, **place})
    return items


def _stays(items: Sequence[dict[str, Any]]) -> list[list[str]]:
    from visavis.video.sheet import clock

    return [
        [
            *(item["who"], clock(item["from_s"]), clock(item["to_s"]), f"{item['seconds']:.1f}", str(item["visits"])),
            *(item["from"][:19].replace("T", " "), item["video"]),
        ]
        for item in items
    ]


def _present(present: Sequence[Attendance]) -> list[list[str]]:
    from visavis.video.timeline_report import day_time

    return [
        [one.subject, day_time(one.first), day_time(one.last), f"{one.minutes:.1f}", str(one.visits)] for one in present
    ]


def _write_csv(path: Path, items: Sequence[dict[str, Any]], attended: bool) -> None:
    from visavis.cells import harmless
    from visavis.models.durable import new_file

    columns = _ATTENDANCE if attended else _TIMELINE
    with new_file(path, text="backslashreplace") as file:
        rows = csv.writer(file)
        rows.writerow(columns)
        rows.writerows([harmless("" if item[key] is None else item[key]) for key in columns] for item in items)

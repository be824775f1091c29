"""The report of a timeline: who was there from when to when, as bars and tables, with a picture of each."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from visavis.events.timeline import Attendance, Stay
from visavis.image import load_image
from visavis.reporting.document import Document, Part, Picture, Pictures, Section, Spans, Table
from visavis.video.recording import Recording
from visavis.video.sheet import appearances

__all__ = ["day_time", "timeline_document"]

_MOST = 200  # rows of bars
_PER_ROW = 6


def day_time(moment: datetime) -> str:
    """Return a UTC to the second.

    Examples
    --------
    >>> from datetime import timezone
    >>> day_time(datetime(2026, 5, 1, 8, 30, 5, 9, tzinfo=timezone.utc))
    '2026-05-01 08:30:05'
    """
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def timeline_document(
    recordings: Sequence[Recording],
    stays: Sequence[Stay],
    present: Sequence[Attendance],
    names: Sequence[str],
    facts: Sequence[tuple[str, str]] = (),
) -> Document:
    """Return the report.

    Parameters
    ----------
    recordings
        The videos; with looks where pictures are to be shown.
    stays, names
        Who was there, in order, and what each is called.
    present
        The attendance list.
    facts
        Settings and versions.
    """
    begin = min((recording.start for recording in recordings), default=None)
    last = max((stay.end for stay in stays), default=begin)
    unit, seconds = _unit(0.0 if begin is None or last is None else (last - begin).total_seconds())
    rows: dict[str, list[tuple[float, float]]] = {}
    for stay, name in zip(stays, names, strict=True):
        assert begin is not None
        span = ((stay.start - begin).total_seconds() / seconds, (stay.end - begin).total_seconds() / seconds)
        rows.setdefault(name, []).append(span)
    # People with names first: they are what most readers look for.
    known = {stay.subject for stay in stays if stay.subject is not None}
    order = sorted(rows, key=lambda name: (name not in known, rows[name][0]))[:_MOST]
    parts: list[Part] = []
    if order and begin is not None:
        since = f"{unit} since {day_time(begin)} UTC"
        spans = [rows[name] for name in order]
        words = "; ".join(f"{name} {len(of)} times" for name, of in zip(order, spans, strict=True))
        parts.append(Spans("Who was there when", since, order, spans, f"From when to when each was seen: {words}."))
    cells = [
        [name, day_time(stay.start), day_time(stay.end), f"{stay.seconds:.1f}", str(stay.visits), stay.camera]
        for stay, name in zip(stays, names, strict=True)
    ]
    columns = ["who", "from (UTC)", "to (UTC)", "seconds", "visits", "video"]
    parts.append(Table("Stays", columns, cells, numeric=[False, True, True, True, True, False]))
    sections = [Section("Timeline", parts)]
    if present:
        lines = [
            [one.subject, day_time(one.first), day_time(one.last), f"{one.minutes:.1f}", str(one.visits)]
            for one in present
        ]
        seen = ["who", "first seen (UTC)", "last seen (UTC)", "minutes", "visits"]
        sections.insert(0, Section("Attendance", [Table("Attendance", seen, lines)]))
    pictures = [
        Picture(load_image(one.look.jpeg), one.subject or f"unknown, {recording.path}")
        for recording in recordings
        for one in appearances(recording)
        if one.look is not None
    ]
    if pictures:
        grid = [pictures[i : i + _PER_ROW] for i in range(0, len(pictures), _PER_ROW)]
        sections.append(Section("Faces", [Pictures("The best picture of each", grid)]))
    strangers = sum(stay.subject is None for stay in stays)
    summary = (
        f"{_counted(len(present), 'person', 'people')} with a name and {_counted(strangers, 'visit')} of faces "
        f"without one in {_counted(len(recordings), 'video')}."
    )
    results = {
        "stays": [stay.to_dict() for stay in stays],
        "attendance": [one.to_dict() for one in present],
        "videos": [
            {"video": one.path, "start": one.start.isoformat(), "seconds": one.seconds, "problem": one.problem}
            for one in recordings
        ],
    }
    return Document("Timeline", summary, sections, facts, results)


def _unit(length: float) -> tuple[str, float]:
    """Return in what so many seconds are read best, and how many seconds it has."""
    return ("seconds", 1.0) if length < 300 else ("minutes", 60.0) if length < 4 * 3600 else ("hours", 3600.0)


def _counted(number: int, one: str, several: str = "") -> str:
    return f"{number} {one if number == 1 else several or one + 's'}"

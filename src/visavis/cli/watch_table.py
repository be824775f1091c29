"""What a watch shows while it runs: a row an event, a table of the cameras, and how far a file is."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from visavis.cli.faces import counted
from visavis.cli.report import Column, Report, printable, rate_at

if TYPE_CHECKING:
    from rich.console import RenderableType

    from visavis.events.event import Event
    from visavis.models.cards import Calibration
    from visavis.video.status import CameraStatus

__all__ = ["Progress", "Screen", "Totals", "columns", "event_row", "status_line", "status_table", "what"]

_REFRESH_SECONDS = 0.5
_PLAIN_SECONDS = 60.0  # between status lines where there is no terminal
_WIDE = 76
_STATES = {"starting": "starts", "connecting": "connects"}
"""Words of the table for states whose own are too long."""
_PIPED = ("place", "direction", "seconds", "corrects", "track", "detail", "id")
"""Fields of an event that only programs get as columns of their own."""


def columns() -> list[Column]:
    """Return the columns of an event's row: a narrow terminal has no room for the similarity."""
    wide = shutil.get_terminal_size().columns >= _WIDE
    return [
        Column("time", 8),
        Column("camera", keep="end"),
        Column("who"),
        Column("what"),
        Column("sim", 4, right=True, piped=not wide),
        Column("FMR", 7, right=True),
        *(Column(title, piped=True) for title in _PIPED),
    ]


def event_row(event: Event, calibration: Calibration | None, *, file: bool, piped: bool) -> list[str]:
    """Return an event as the cells of `columns`.

    Parameters
    ----------
    file
        Whether its camera is a file: people then want to know when in it.
    piped
        Whether a program reads it: then times are whole, and UTC.
    """
    said = event.to_dict()
    when, camera = f"{event.time.astimezone():%H:%M:%S}", event.camera
    if piped:
        when = said["time"]
    elif file:
        when, camera = when if event.offset_s is None else media_time(event.offset_s), Path(camera).name
    return [
        when,
        camera,
        event.subject or ("unknown" if event.kind == "unknown" and not piped else ""),
        event.kind if piped else what(event),
        "" if event.similarity is None else f"{event.similarity:.2f}",
        "" if event.similarity is None else rate_at(event.fmr, calibration),
        *(str(said.get(key, "")) for key in _PIPED),
    ]


def what(event: Event) -> str:
    """Say in a few words what happened.

    Examples
    --------
    >>> from datetime import datetime, timezone
    >>> from visavis.events.event import Event
    >>> what(Event("left", "door", datetime(2026, 5, 1, tzinfo=timezone.utc), seconds=12.34))
    'left, 12 s'
    """
    if event.kind == "left":
        return "left" if event.seconds is None else f"left, {short_time(event.seconds)}"
    if event.kind == "line_crossed":
        return f"{event.place} to {event.direction}"
    if event.kind == "dwell":
        return f"{short_time(event.seconds or 0)} in {event.place}"
    if event.kind == "identified" and event.corrects is not None:
        return f"not {event.corrects}"
    if event.kind == "camera_lost":
        return f"lost: {event.detail}" if event.detail else "lost"
    return {"camera_back": "back"}.get(event.kind, event.kind)


def short_time(seconds: float) -> str:
    """Return a duration in few characters.

    Examples
    --------
    >>> [short_time(seconds) for seconds in (0.4, 12.3, 90, 7200)]
    ['0.4 s', '12 s', '1.5 min', '2 h']
    """
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f}".removesuffix(".0") + f" {unit}"
    return f"{seconds:.1f} s" if seconds < 1 else f"{seconds:.0f} s"


def media_time(seconds: float) -> str:
    """Return a place in a file.

    Examples
    --------
    >>> media_time(3.44), media_time(3725)
    ('0:03.4', '1:02:05')
    """
    if seconds >= 3600:
        return f"{int(seconds // 3600)}:{int(seconds // 60) % 60:02d}:{int(seconds) % 60:02d}"
    return f"{int(seconds // 60)}:{seconds % 60:04.1f}"


class Totals:
    """What came together since the start.

    Attributes
    ----------
    events
        How many.
    people
        Who was seen.
    unknown
        How many visits of people who aren't enrolled.
    """

    def __init__(self) -> None:
        self.events = self.unknown = 0
        self.people: set[str] = set()
        self.pending = 0

    def add(self, event: Event) -> None:
        """Count an event."""
        self.events += 1
        self.unknown += event.kind == "unknown"
        if event.subject is not None:
            self.people.add(event.subject)


def status_table(cameras: Sequence[CameraStatus], totals: Totals, width: int, height: int) -> RenderableType:
    """Return the table of cameras: of more than there are lines for, those that are not well come first."""
    from rich.cells import cell_len
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    troubled = [status for status in cameras if status.problem]
    problems = troubled[:3]
    room = max(height - 4 - len(problems), 3)
    shown = list(cameras)
    if len(shown) > room:
        shown = sorted(cameras, key=lambda status: (not status.problem, status.state == "live"))[:room]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", width=width)
    fixed = 8 + 4 + 6 + 7 + 5 + 6 * 2
    flexible = max(width - fixed - 1, 12)
    names = min(max(cell_len(printable(status.name)) for status in shown), flexible // 2)
    table.add_column("camera", width=max(names, 6), no_wrap=True, overflow="ellipsis")
    table.add_column("state", width=8, no_wrap=True)
    for title, cells in (("fps", 4), ("p95 ms", 6), ("dropped", 7), ("faces", 5)):
        table.add_column(title, width=cells, justify="right", no_wrap=True)
    table.add_column("who", width=flexible - max(names, 6), no_wrap=True, overflow="ellipsis")
    for status in shown:
        latency = "" if status.latency_p95_s is None else f"{1000 * status.latency_p95_s:.0f}"
        table.add_row(
            Text(printable(status.name)),
            Text(_STATES.get(status.state, status.state), style="red" if status.state == "lost" else ""),
            f"{status.fps_analyzed:.3g}"[:4],
            latency,
            _short(status.dropped),
            str(status.faces),
            Text(printable(", ".join(status.people))),
        )
    lines: list[RenderableType] = [table]
    for status in problems:
        line = Text(printable(f"{status.name}: {status.problem}"), style="red", no_wrap=True, overflow="ellipsis")
        lines.append(line)
    more = len(cameras) - len(shown)
    text = (f"{more} more   " if more else "") + status_words(cameras, totals)
    lines.append(Text(text, style="dim", no_wrap=True, overflow="ellipsis"))
    return Group(*lines)


def _short(number: int) -> str:
    """Return a count in at most six characters."""
    return str(number) if number < 100_000 else f"{number / 1e6:.2f}M" if number >= 1e6 else f"{number / 1e3:.0f}k"


def status_words(cameras: Sequence[CameraStatus], totals: Totals) -> str:
    """Return all cameras in a few words."""
    live = sum(status.state == "live" for status in cameras)
    parts = [f"{live} of {len(cameras)} live"] if cameras else []
    parts += [counted(totals.events, "event")]
    parts += [f"{totals.pending} to deliver"] if totals.pending else []
    return "   ".join([*parts, "Ctrl-C ends"] if sys.stdin.isatty() else parts)


def status_line(cameras: Sequence[CameraStatus], totals: Totals) -> str:
    """Return the state of all cameras as a line for a log."""
    parts = []
    for status in cameras:
        words = [status.state]
        if status.state == "live":
            words.append(f"{status.fps_analyzed:.3g} fps")
            words += [] if status.latency_p95_s is None else [f"p95 {1000 * status.latency_p95_s:.0f} ms"]
        words += [f"{status.dropped} dropped"] if status.dropped else []
        words += [status.problem] if status.problem else []
        parts.append(f"{status.name} {', '.join(words)}")
    pending = f"; {totals.pending} to deliver" if totals.pending else ""
    return f"{'; '.join(parts[:20])}{' ...' if len(parts) > 20 else ''}; {counted(totals.events, 'event')}{pending}"


class Progress:
    """How far a file is, for `Screen`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.done = 0.0
        self.whole: float | None = None
        self._began = time.monotonic()

    def at(self, done: float, whole: float | None) -> None:
        """Take note: seconds of the file that are done, and how many it has."""
        self.done, self.whole = done, whole

    def line(self, width: int) -> RenderableType:
        """Return a bar with the time that is left."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        taken = time.monotonic() - self._began
        share = min(self.done / self.whole, 1.0) if self.whole else None
        left = taken * (1 - share) / share if share and taken > 1 else None
        grid = Table.grid(padding=(0, 2, 0, 0))
        name = max(width - 48, 8)
        grid.add_column(width=name, no_wrap=True, overflow="ellipsis")
        grid.add_column(width=15)
        grid.add_column(no_wrap=True)
        whole = f"/{media_time(self.whole)}" if self.whole else ""
        eta = f"{short_time(left)} left" if left is not None else ""
        grid.add_row(
            Text(printable(Path(self.name).name)),
            ProgressBar(total=1.0, completed=share or 0.0, width=15),
            f"{media_time(self.done)}{whole} {eta}",
        )
        return grid


def _is_pipe(stream: TextIO) -> bool:
    """Return whether a program reads it, such as tee or grep, which may write to the terminal amid the table."""
    try:
        return stat.S_ISFIFO(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):  # it is no file
        return False


class Screen:
    """What stderr shows beside the events: on a terminal a table that is kept up to date, else a line a minute.

    Parameters
    ----------
    report
        Prints the events, above the table.
    """

    def __init__(self, report: Report, totals: Totals) -> None:
        self.totals = totals
        self.progress: Progress | None = None
        self._report = report
        self._live: Any = None
        self._drawn = self._said = 0.0
        self._states: dict[str, tuple[str, str]] = {}

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Show it while the block runs; afterwards the terminal is as it was."""
        if not sys.stderr.isatty() or _is_pipe(sys.stdout):
            yield
            return
        from rich.console import Console
        from rich.live import Live

        console = Console(stderr=True, highlight=False)
        self._live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False)
        try:
            with self._live, self._report.beside(console):
                yield
        finally:
            self._live = None

    def update(self, cameras: Sequence[CameraStatus]) -> None:
        """Show how the cameras are doing; call it as often as you like."""
        now = time.monotonic()
        if self._live is not None:
            if now - self._drawn >= _REFRESH_SECONDS:
                self._drawn = now
                self._live.update(self._drawing(cameras), refresh=True)
            return
        states = {status.name: (status.state, status.problem) for status in cameras}
        if cameras and (states != self._states or now - self._said >= _PLAIN_SECONDS):
            self._states, self._said = states, now
            self._report.say(status_line(cameras, self.totals))

    def _drawing(self, cameras: Sequence[CameraStatus]) -> RenderableType:
        from rich.console import Group

        size = self._live.console.size
        parts: list[RenderableType] = []
        if cameras:
            parts.append(status_table(cameras, self.totals, size.width, size.height))
        if self.progress is not None:
            parts.append(self.progress.line(size.width))
        return Group(*parts)

"""What a command says: results on stdout, as a table, plain columns or JSON; everything else on stderr."""

from __future__ import annotations

import contextlib
import json
import sys
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from visavis.errors import VisavisError

if TYPE_CHECKING:
    from rich.console import Console

    from visavis.models.cards import Calibration

__all__ = ["SCHEMA", "Column", "Report", "measured", "printable", "rate", "rate_at"]

SCHEMA = 1
"""Version of the JSON documents' shape: raised when a field changes its meaning or goes, not when one is added."""

T = TypeVar("T")

# Characters that would move the cursor, break a line of a table or turn the direction of what follows.
_UNPRINTABLE = {"Cc", "Cs", "Zl", "Zp"}
_DIRECTIONS = {*"\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"}


@dataclass(frozen=True)
class Column:
    """A column of a table: ``width`` in terminal cells, or 0 for a share of what the others leave.

    ``piped`` columns are left out on a terminal: they repeat for programs what a line below the table says.
    ``keep`` says which end of a text too long is kept.
    """

    title: str
    width: int = 0
    right: bool = False
    piped: bool = False
    keep: str = "start"


class Report:
    """What one command says, for people or (``as_json``) for programs.

    On a terminal rows stand in columns under a header; piped, they are separated by tabs, without a header. With
    ``as_json`` stdout holds exactly one JSON document, whatever happens; it grows as results come, so that any
    number of them takes no memory, and every item of its list stands on a line of its own.

    Used as a context manager: it shows visavis' own warnings as one line each (others are dropped), and closes
    the document when an error passes through.

    Parameters
    ----------
    command
        Name of the command, for the document.
    columns
        Of the table, where there is one.
    items
        Name of the document's list; there even if it is empty. None: the document has no list.
    endless
        Results may come for days: each is written at once. With ``as_json`` each item is a line of JSON of its own, and
        the last line is the document, without a list.
    """

    def __init__(
        self,
        command: str,
        *,
        as_json: bool,
        columns: Sequence[Column] = (),
        items: str | None = None,
        endless: bool = False,
    ) -> None:
        self.as_json = as_json
        self.skipped = 0
        self.done = 0
        self._endless = endless
        kind = _Lines if endless else _Document
        self._document = kind(command, items) if as_json else None
        self._columns = columns
        self._table: _Table | None = None
        self._console: Console | None = None  # set while a progress bar shares the terminal with the results
        self._warned: list[str] = []
        self._catching = warnings.catch_warnings()

    def __enter__(self) -> Report:
        self._catching.__enter__()
        if not sys.warnoptions:  # someone who asked Python for warnings gets them as Python shows them
            warnings.simplefilter("always")
            warnings.showwarning = self._show_warning
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._catching.__exit__(kind, error, trace)
        if self._document is None or isinstance(error, BrokenPipeError):
            return
        failed = error is not None and (isinstance(error, VisavisError) or not hasattr(error, "exit_code"))
        self._document.close(
            {
                **({"skipped": self.skipped} if self.skipped or self.done else {}),
                "warnings": self._warned,
                **({"error": _error(error)} if failed and error is not None else {}),
            }
        )

    def _show_warning(self, message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        if category.__module__.partition(".")[0] == "visavis":
            self.warn(str(message))

    def warn(self, text: str) -> None:
        """Warn of something, once: a line on stderr, and one of the document's ``warnings``."""
        if text not in self._warned:
            self._warned.append(text)
            self.say(f"warning: {text}")

    def say(self, text: str) -> None:
        """Tell the user something that is no result: a line on stderr."""
        print(f"visavis: {printable(text)}", file=sys.stderr, flush=True)

    def skip(self, source: Any, error: VisavisError) -> None:
        """Report a file that could not be used; the command goes on, and its exit code says so."""
        self.skipped += 1
        self.say(f"skipped: {error}")
        if self._document is not None:
            self._document.item({"image": str(source), "error": _error(error)})

    def row(self, *cells: str, item: dict[str, Any] | None = None) -> None:
        """Give a result: a row for people, an item for programs."""
        self.item(item)
        if self._document is None:
            if self._table is None:
                self._table = _Table(self._columns)
            self._table.row(cells, self._console)
            if self._endless:
                sys.stdout.flush()

    def item(self, item: dict[str, Any] | None) -> None:
        """Give a result to programs only."""
        if self._document is not None and item is not None:
            self._document.item(item)

    def fields(self, **content: Any) -> None:
        """Give fields of the document; people don't see them."""
        if self._document is not None:
            self._document.fields(content)

    def line(self, text: str = "") -> None:
        """Say something to people on stdout, wrapped at words on a terminal; programs don't see it."""
        if self._document is not None:
            return
        if sys.stdout.isatty():
            (self._console or _console()).print(printable(text, keep="\n"), markup=False, highlight=False)
        else:
            print(text)

    def note(self, text: str) -> None:
        """Say something below a table: to people on a terminal only, so that piped columns stay pure."""
        if sys.stdout.isatty():
            self.line(text)

    def facts(self, rows: Iterable[tuple[str, str]]) -> None:
        """Say labeled facts to people: aligned on a terminal, separated by a tab when piped."""
        if self._document is not None:
            return
        if not sys.stdout.isatty():
            for label, text in rows:
                print(f"{label}\t{text}")
            return
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
        table.add_column(no_wrap=True, style="dim")
        table.add_column(overflow="fold")
        for label, text in rows:
            table.add_row(Text(label), Text(text))
        _console().print(table)

    @contextlib.contextmanager
    def beside(self, console: Console) -> Iterator[None]:
        """Share the terminal with what ``console`` keeps at its end: results are printed above that."""
        self._console = console if sys.stdout.isatty() else None
        try:
            yield
        finally:
            self._console = None

    def track(self, work: Iterable[T], total: Callable[[], int], what: str) -> Iterator[T]:
        """Pass on ``work``, with a progress bar on stderr where that is a terminal.

        ``total`` is called only for the bar.
        """
        if not sys.stderr.isatty() or (count := total()) < 2:
            for thing in work:
                yield thing
                self.done += 1
            return
        from rich import progress
        from rich.console import Console

        bar = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            redirect_stdout=False,  # it would move the results to stderr
        )
        with bar, self.beside(bar.console):
            task = bar.add_task(what, total=count)
            for thing in work:
                yield thing
                self.done += 1
                bar.advance(task)

    def end(self) -> int:
        """Say how many files were skipped, and return the exit code of a batch."""
        if not self.skipped:
            return 0
        total = f"{self.done} {'file' if self.done == 1 else 'files'}"
        if self.done > 1:
            self.say(f"{self.skipped} of {total} skipped")
        return 2 if self.skipped >= self.done else 1


class _Document:
    """A JSON object on stdout, written piece by piece."""

    def __init__(self, command: str, items: str | None) -> None:
        self._command = command
        self._items = items
        self._listed = False
        self._state = "new"

    def fields(self, content: dict[str, Any]) -> None:
        self._begin()
        if self._state == "list":
            self._write("\n ]")
            self._state = "after"
        for name, value in content.items():
            self._write(f",\n {_dump(name)}: {_dump(value)}")

    def item(self, item: dict[str, Any]) -> None:
        self._begin()
        opening = f",\n {_dump(self._items)}: [\n  " if self._state == "fields" else ",\n  "
        self._state, self._listed = "list", True
        self._write(opening + _dump(item))

    def close(self, content: dict[str, Any]) -> None:
        if self._items is not None and not self._listed:
            self.fields({self._items: []})
        self.fields(content)
        self._write("\n}\n")
        sys.stdout.flush()

    def _begin(self) -> None:
        if self._state == "new":
            from visavis import __version__

            self._state = "fields"
            self._write(f'{{"visavis": {_dump(__version__)},\n "schema": {SCHEMA},\n "command": {_dump(self._command)}')

    def _write(self, text: str) -> None:
        sys.stdout.write(text)


class _Lines(_Document):
    """Items as lines of JSON, each written at once; then the document, on one line."""

    def __init__(self, command: str, items: str | None) -> None:
        super().__init__(command, items)
        self._content: dict[str, Any] = {}

    def fields(self, content: dict[str, Any]) -> None:
        self._content |= content

    def item(self, item: dict[str, Any]) -> None:
        self._write(_dump(item) + "\n")
        sys.stdout.flush()

    def close(self, content: dict[str, Any]) -> None:
        from visavis import __version__

        head = {"visavis": __version__, "schema": SCHEMA, "command": self._command}
        self.item({**head, **self._content, **content})


class _Table:
    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = columns
        self._started = False

    def row(self, cells: Sequence[str], console: Console | None) -> None:
        if not sys.stdout.isatty():
            print("\t".join(printable(cell) for cell in cells))
            return
        from rich.table import Table
        from rich.text import Text

        console = console or _console()
        pairs = zip(self._columns, cells, strict=True)
        shown = [(column, printable(cell)) for column, cell in pairs if not column.piped]
        widths = _widths([column for column, _ in shown], console.width)
        if sum(widths) + 2 * (len(widths) - 1) > console.width:  # a figure that is cut off is a wrong one
            self._stacked(shown, console)
            return
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=not self._started, header_style="dim")
        for (column, _), width in zip(shown, widths, strict=True):
            table.add_column(column.title, width=width, justify="right" if column.right else "left", no_wrap=True)
        table.add_row(
            *(Text(_fit(cell, width, column.keep)) for (column, cell), width in zip(shown, widths, strict=True))
        )
        console.print(table)
        self._started = True

    def _stacked(self, shown: Sequence[tuple[Column, str]], console: Console) -> None:
        """Give a row as lines of a title and a cell each, where columns don't fit side by side."""
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
        table.add_column(style="dim", max_width=console.width // 2)
        table.add_column(overflow="fold")
        for column, cell in shown:
            if cell:
                table.add_row(column.title, Text(cell))
        if self._started:
            console.print()
        console.print(table)
        self._started = True


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False)


def _widths(columns: Sequence[Column], available: int) -> list[int]:
    """Share the width of a terminal among columns, two cells between them."""
    left = available - sum(column.width for column in columns) - 2 * (len(columns) - 1) - 2
    flexible = sum(not column.width for column in columns)
    return [column.width or max(min(left // flexible, 48), 6) for column in columns]


def _fit(text: str, width: int, keep: str) -> str:
    """Cut a text to a number of terminal cells; a Chinese character takes two."""
    from rich.cells import cell_len, set_cell_size

    if cell_len(text) <= width:
        return text
    if keep == "start":
        return set_cell_size(text, width - 1).rstrip() + "…"
    while cell_len(text) > width - 1:
        text = text[1:]
    return "…" + text


def _dump(value: Any) -> str:
    encoding = (getattr(sys.stdout, "encoding", None) or "ascii").lower().replace("-", "")
    return json.dumps(value, ensure_ascii=encoding != "utf8", allow_nan=False)


def _error(error: BaseException) -> dict[str, str]:
    return {"type": type(error).__name__, "message": str(error)}


def printable(text: str, keep: str = "") -> str:
    """Return a text without characters that could take over a terminal or break a line: they are escaped.

    Examples
    --------
    >>> printable("a\\tb 王芳")
    'a\\\\tb 王芳'
    """
    return "".join(
        c.encode("unicode_escape").decode()
        if c not in keep and (c in _DIRECTIONS or unicodedata.category(c) in _UNPRINTABLE)
        else c
        for c in text
    )


def rate(value: float | None) -> str:
    """Return an error rate in few characters.

    Examples
    --------
    >>> rate(1e-4), rate(0.0123), rate(2.34e-5), rate(0.0), rate(None)
    ('1e-4', '0.012', '2.3e-5', '0', 'unknown')
    """
    if value is None or value != value:
        return "unknown"
    if value >= 0.01 or value == 0:
        return f"{value:.2g}"
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def measured(calibration: Calibration | None) -> dict[str, Any] | None:
    """Return what a document says of where error rates come from, and the range that was measured."""
    if calibration is None:
        return None
    return {"data": calibration.data, "lowest": float(calibration.fmr[-1]), "highest": float(calibration.fmr[0])}


def rate_at(value: float | None, calibration: Calibration | None) -> str:
    """Return the error rate at a similarity, which beyond what was measured is a bound: ``"< 1e-6"``."""
    if value is None or calibration is None:
        return rate(value)
    strictest, loosest = float(calibration.fmr[-1]), float(calibration.fmr[0])
    if value <= strictest * (1 + 1e-9):
        return f"< {rate(strictest)}"
    return f"> {rate(loosest)}" if value >= 1 else rate(value)

"""Columns of a CSV file by their names: scores, labels, predictions of any other program."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TextIO

import numpy as np
import numpy.typing as npt

from visavis.errors import InputError
from visavis.files import printable_path, reason

__all__ = ["numbers", "read_columns", "titles_of"]

_MAX_BYTES = 2**30  # of a file
_MAX_LINE = 2**16  # characters of a line
_MAX_KEPT = 2**20  # different cells of which copies are saved


def read_columns(
    path: str | os.PathLike[str], needed: Sequence[str], optional: Sequence[str] = (), *, blank: bool = False
) -> dict[str, list[str]]:
    """Read columns of a CSV file, UTF-8, whose first line names them; other columns are left out.

    Commas, semicolons or tabs separate cells: whichever the first line has. Space around a cell is cut off, and empty
    lines are passed over.

    Parameters
    ----------
    needed, optional
        Names of columns; letter case doesn't matter.
    blank
        Whether cells of optional columns may be empty.

    Returns
    -------
    The cells of each needed column, and of the optional ones there are, all of the same length.

    Raises
    ------
    InputError
        If it can't be read, lacks a needed column or has one twice, has no row, a row is shorter or longer than the
        first line, or a cell of these columns is empty; the line is named.
    """
    path = Path(path)
    name = printable_path(path)
    try:
        if not path.is_file():
            raise InputError(f"{name} is no file; give a CSV file with the columns {', '.join(needed)}")
        if path.stat().st_size > _MAX_BYTES:
            raise InputError(f"{name} has more than {_MAX_BYTES} bytes, the limit for a CSV file")
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _columns(_lines(file, name), name, needed, optional, blank)
    except UnicodeDecodeError:
        raise InputError(f"{name} is no text in UTF-8; save it as CSV in UTF-8") from None
    except OSError as error:
        raise InputError(f"{name} can't be read: {reason(error)}") from None


def titles_of(path: str | os.PathLike[str]) -> list[str]:
    """Return the names of the columns of a CSV file.

    Raises
    ------
    InputError
        If it can't be read.
    """
    name = printable_path(path)
    try:
        if not Path(path).is_file():
            raise InputError(f"{name} is no file; give a CSV file")
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            first = next(_lines(file, name), "")
        return [title.strip() for title in next(csv.reader([first], delimiter=_delimiter(first)), [])]
    except UnicodeDecodeError:
        raise InputError(f"{name} is no text in UTF-8; save it as CSV in UTF-8") from None
    except OSError as error:
        raise InputError(f"{name} can't be read: {reason(error)}") from None
    except csv.Error as error:
        raise InputError(f"line 1 of {name} is no CSV: {error}") from None


def numbers(
    cells: Sequence[str], column: str, path: str | os.PathLike[str], *, low: float = -math.inf, high: float = math.inf
) -> npt.NDArray[np.float64]:
    """Return cells of a column as finite numbers.

    Raises
    ------
    InputError
        If one is no number, not finite or not in low..high; its row is named, counted from 1 below the first line.

    Examples
    --------
    >>> numbers(["0.5", "1e-3"], "score", "scores.csv").tolist()
    [0.5, 0.001]
    """
    values = np.empty(len(cells))
    for i, cell in enumerate(cells):
        try:
            values[i] = float(cell)
        except ValueError:
            values[i] = math.nan
        if not (math.isfinite(values[i]) and low <= values[i] <= high):
            bounds = "" if math.isinf(low) and math.isinf(high) else f" in {low:g}..{high:g}"
            raise InputError(f"row {i + 1} of {printable_path(path)} has the {column} {cell[:40]!r}: no number{bounds}")
    return values


def _lines(file: TextIO, name: str) -> Iterator[str]:
    number = 0
    while line := file.readline(_MAX_LINE + 1):  # bounded: a file may be one line of a gigabyte
        number += 1
        if len(line) > _MAX_LINE:
            raise InputError(f"line {number} of {name} has more than {_MAX_LINE} characters: that is no CSV file")
        if "\0" in line:
            raise InputError(f"line {number} of {name} holds a null character: that is no CSV file")
        yield line


def _delimiter(first: str) -> str:
    return max(",;\t", key=first.count)


def _columns(
    lines: Iterator[str], name: str, needed: Sequence[str], optional: Sequence[str], blank: bool
) -> dict[str, list[str]]:
    first = next(lines, "")
    rows = csv.reader(chain([first], lines), delimiter=_delimiter(first), strict=True)
    try:
        titles = [title.strip().lower() for title in next(rows, [])]
        places = {}
        for wanted in (*needed, *optional):
            where = [i for i, title in enumerate(titles) if title == wanted.lower()]
            if len(where) > 1:
                raise InputError(f"{name} has the column {wanted!r} twice")
            if where:
                places[wanted] = where[0]
            elif wanted in needed:
                has = ", ".join(repr(title[:40]) for title in titles[:10]) or "nothing"
                raise InputError(f"{name} needs a column {wanted!r}; its first line has {has}")
        found: dict[str, list[str]] = {wanted: [] for wanted in places}
        once: dict[str, str] = {}  # names come again and again: one object each
        for row in rows:
            if not any(cell.strip() for cell in row):
                continue
            if len(row) != len(titles):
                raise InputError(f"line {rows.line_num} of {name} has {len(row)} cells, the first line {len(titles)}")
            for wanted, place in places.items():
                cell = row[place].strip()
                if not cell and not (blank and wanted in optional):
                    raise InputError(f"line {rows.line_num} of {name} has an empty {wanted!r}")
                found[wanted].append(once.setdefault(cell, cell) if len(once) < _MAX_KEPT else cell)
    except csv.Error as error:
        raise InputError(f"line {rows.line_num} of {name} is no CSV: {error}") from None
    if not found[needed[0]]:
        raise InputError(f"{name} has a first line and no rows")
    return found

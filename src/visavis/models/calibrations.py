"""The calibrations that a user measured on their own data: a file a recognizer, read with its card.

``calibrations/<recognizer>.toml`` below the store's home holds a table a measurement, the newest last::

    [[calibration]]
    variant = "sface+flip@mtcnn"        as `visavis.pipeline.Analyzer.calibrated_as` names it
    member_sha256 = "..."               of the network that was measured: another one is none of its business
    data = "front door"                 the name the user gave
    measured = "2026-11-22 06:10 UTC"
    people = 120
    mated_pairs = 4000
    nonmated_pairs = 190000
    points = [[similarity, FMR, 95 % interval of the FMR], ...]

Of the tables of a variant the newest counts, before the one that ships with visavis.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from visavis.errors import InputError
from visavis.files import reason
from visavis.models.cards import Calibration, ModelCard, parse_calibration
from visavis.models.durable import write_whole

if sys.version_info >= (3, 11):
    import tomllib
else:  # Python 3.10
    import tomli as tomllib

__all__ = ["CalibrationFileWarning", "add_calibration", "calibrated", "drop_calibrations", "read_calibrations"]

_LIMIT = 4 << 20  # bytes of a file: some thousand tables
_HEAD = "# Written by visavis calibrate. A point is: similarity, FMR, 95 % interval of the FMR.\n"


class CalibrationFileWarning(UserWarning):
    """A file of the user's calibrations can't be read, so that what ships with visavis counts."""


def calibrated(card: ModelCard, own: Sequence[tuple[str, Calibration]]) -> ModelCard:
    """Return a card with the user's calibrations of that very network: of each variant the last of them."""
    mine = {table.model: table for member, table in own if member == card.member_sha256}
    return replace(card, calibrations={**card.calibrations, **mine}) if mine else card


def read_calibrations(path: Path) -> tuple[tuple[str, Calibration], ...]:
    """Return the tables of a file, oldest first, each with the hash of its network's member; none without a file.

    Raises
    ------
    InputError
        If it can't be read, or is damaged.
    """
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError as error:
        raise InputError(f"the calibrations {path} can't be read: {reason(error)}") from None
    return _read(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)  # a decision is made for every face; the file changes once in a while
def _read(path: Path, size: int, _changed_ns: int) -> tuple[tuple[str, Calibration], ...]:
    try:
        if size > _LIMIT:
            raise InputError("it is too large")
        rows = tomllib.loads(path.read_text("utf-8"))["calibration"]
        return tuple((str(row["member_sha256"]), _table(row)) for row in rows)
    except OSError as error:
        raise InputError(f"the calibrations {path} can't be read: {reason(error)}") from None
    except (InputError, ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise InputError(
            f"the calibrations {path} are damaged ({error}); mend the file, or: visavis calibrate --remove {path.stem}"
        ) from None


def _table(row: Mapping[str, Any]) -> Calibration:
    table = parse_calibration(str(row["variant"]), row)
    if not all(isinstance(value, str) for value in (table.data, table.measured, table.note)):
        raise InputError("a name or date is no text")
    if not all(isinstance(value, int) for value in (table.people, table.mated_pairs, table.nonmated_pairs)):
        raise InputError("a number of pairs or people is no whole number")
    if np.abs(table.similarities).max() > 1:
        raise InputError("a similarity lies between -1 and 1")
    return table


def add_calibration(path: Path, card: ModelCard, table: Calibration) -> None:
    """Write a table of a card's recognizer behind the others of its file; one of the same variant and data goes.

    Raises
    ------
    InputError
        If the table is of another recognizer, or the file is damaged.
    """
    if table.model.partition("@")[0].partition("+")[0] != card.id:
        raise InputError(f"the table of {table.model!r} is none of {card.id!r}")
    same = (table.model, table.data)
    others = [(member, held) for member, held in read_calibrations(path) if (held.model, held.data) != same]
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, [*others, (card.member_sha256, table)])


def drop_calibrations(path: Path, data: str | None = None) -> int:
    """Drop the tables of a file, all or those measured on ``data``, and return how many.

    Raises
    ------
    InputError
        If some are to stay and the file is damaged.
    """
    try:
        held = read_calibrations(path)
    except InputError:
        if data is not None:
            raise
        path.unlink()
        return 1
    kept = [] if data is None else [row for row in held if row[1].data != data]
    if not kept:
        path.unlink(missing_ok=True)
    elif len(kept) < len(held):
        _write(path, kept)
    return len(held) - len(kept)


def _write(path: Path, own: Sequence[tuple[str, Calibration]]) -> None:
    write_whole(path, (_HEAD + "".join(_written(member, table) for member, table in own)).encode())


def _written(member: str, table: Calibration) -> str:
    fields = {
        "variant": table.model,
        "member_sha256": member,
        "data": table.data,
        "measured": table.measured,
        "people": table.people,
        "mated_pairs": table.mated_pairs,
        "nonmated_pairs": table.nonmated_pairs,
        "note": table.note,
    }
    # JSON's strings and numbers are TOML too, but for the DEL character.
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in fields.items()]
    points = "".join(f"    {json.dumps(point)},\n" for point in table.to_dict()["points"])
    text = "\n".join(lines).replace("\x7f", "\\u007f")
    return f"\n[[calibration]]\n{text}\npoints = [\n{points}]\n"

"""The list of suspects as a file to be looked at and edited, and a cleaned data set made from it."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import get_args

from visavis.cells import harmless, unharmed
from visavis.curation.cleaning import Reason, Suggestion, Suspect
from visavis.datasets.photos import PhotoSet
from visavis.datasets.placing import Source, photo_files, place_files
from visavis.errors import ImageError, InputError, StorageError
from visavis.files import printable_path, read_file, reason
from visavis.models.durable import write_whole

__all__ = ["apply_suspects", "read_suspects", "write_suspects"]

_COLUMNS = ("suggestion", "person", "photo", "reason", "similarity", "target", "note")
_MAX_LIST = 256 * 2**20  # bytes
_SHOWN = 5  # of what is missing


def write_suspects(path: str | os.PathLike[str], suspects: Sequence[Suspect]) -> None:
    """Write a list of suspects as CSV, a line each.

    Names that a spreadsheet would compute begin with an apostrophe, which `read_suspects` takes off.

    Raises
    ------
    StorageError
        If it can't be written.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(_COLUMNS)
    for suspect in suspects:
        rows.writerow(["" if (value := getattr(suspect, name)) is None else harmless(value) for name in _COLUMNS])
    try:
        write_whole(Path(path), text.getvalue().encode("utf-8", "surrogateescape"))
    except OSError as error:
        raise StorageError(f"{printable_path(path)} can't be written: {reason(error)}; choose another file") from None


def read_suspects(path: str | os.PathLike[str]) -> list[Suspect]:
    """Read a list of suspects, as it was written or edited since.

    Raises
    ------
    InputError
        If it is no such list; the message says which line.
    """
    name = printable_path(path)
    try:
        text = read_file(path, _MAX_LIST).decode("utf-8-sig", "surrogateescape")
    except ImageError as error:
        raise InputError(str(error)) from None
    found = []
    try:
        rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        if not {"suggestion", "person", "photo", "target"} <= set(rows.fieldnames or ()):
            raise InputError(f"{name} is no list of suspects: its first line names {', '.join(_COLUMNS)}")
        for row in rows:
            suggestion, why = row["suggestion"].strip(), row.get("reason") or "wrong person"
            person, photo, target = (unharmed(row[name] or "") for name in ("person", "photo", "target"))
            if suggestion not in get_args(Suggestion) or why not in get_args(Reason):
                raise InputError(
                    f"line {rows.line_num} of {name}: a suggestion is {', '.join(get_args(Suggestion))}, "
                    f"not {suggestion[:40]!r}"
                )
            if suggestion in ("move", "merge") and not target:
                raise InputError(f"line {rows.line_num} of {name}: {suggestion} needs a target")
            found.append(Suspect(why, suggestion, person, photo, None, target))  # type: ignore[arg-type]
    except (csv.Error, AttributeError, TypeError) as error:
        raise InputError(f"{name} can't be read as CSV: {error}") from None
    return found


def apply_suspects(
    data: PhotoSet, suspects: Sequence[Suspect], out: str | os.PathLike[str], *, link: bool = True
) -> dict[str, int]:
    """Make a cleaned copy of a data set: photos removed, moved and folders merged as a list says.

    What is to be looked at stays as it is. The data set itself is not changed.

    Parameters
    ----------
    data
        The photos the list was made of.
    suspects
        The list.
    out
        A new folder.
    link
        Whether photos may be hard links, which take no space.

    Returns
    -------
    How many photos were ``kept``, ``moved`` (or merged) and ``removed``, and ``copied_bytes``.

    Raises
    ------
    InputError
        If the list names photos or people that are not there, and which; or folders merged in a ring.
    StorageError
        If the folder can't be written; nothing is left of it then.
    """
    where = {photo: i for i, photo in enumerate(data.photos)}
    there = set(data.people)
    missing = [s.photo for s in suspects if s.photo and s.photo not in where]
    missing += [s.person for s in suspects if s.suggestion == "merge" and s.person not in there]
    missing += [s.target for s in suspects if s.suggestion in ("move", "merge") and not _is_name(s.target)]
    if missing:
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise InputError(f"the list names what is not there: {', '.join(map(repr, missing[:_SHOWN]))}{more}")
    merged = {s.person: s.target for s in suspects if s.suggestion == "merge"}
    removed = {where[s.photo] for s in suspects if s.suggestion == "remove" and s.photo}
    moved = {where[s.photo]: s.target for s in suspects if s.suggestion == "move" and s.photo}
    placed: list[tuple[Source, str]] = []
    taken: set[str] = set()
    changed = 0
    for i, (source, path) in enumerate(photo_files(data)):
        if i in removed:
            continue
        person = _final(moved.get(i, data.people[i]), merged)
        inside = PurePosixPath(path)
        target = PurePosixPath(person, *inside.parts[1:])
        changed += person != data.people[i]
        number = 1
        free = target
        while str(free).casefold() in taken:
            number += 1
            free = target.with_name(f"{target.stem}~{number}{target.suffix}")
        taken.add(str(free).casefold())
        placed.append((source, str(free)))
    if not placed:
        raise InputError("the list removes every photo: nothing would be left")
    copied = place_files(placed, Path(out), link=link)
    return {"kept": len(placed) - changed, "moved": changed, "removed": len(removed), "copied_bytes": copied}


def _is_name(target: str) -> bool:
    return target not in (".", "..") and not any(sign in target for sign in "/\\\0")


def _final(person: str, merged: dict[str, str]) -> str:
    seen = {person}
    while person in merged:
        person = merged[person]
        if person in seen:
            raise InputError(f"the list merges {person!r} into itself, over others; leave out one line")
        seen.add(person)
    return person

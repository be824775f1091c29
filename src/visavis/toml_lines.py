"""On which line of a TOML text its tables and keys are written: what TOML's readers don't tell."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any, TypeAlias

if sys.version_info >= (3, 11):
    import tomllib
else:  # Python 3.10
    import tomli as tomllib

__all__ = ["toml_lines"]

Place: TypeAlias = "tuple[str | int, ...]"
"""Keys from the top down; a number, from 0, is an item of a list of tables."""

_HEADER = re.compile(r"\[(\[?)((?:[^\[\],\"']|\"[^\"]*\"|'[^']*')+)\]{1,2}\s*(?:#.*)?")


def toml_lines(text: str) -> dict[Place, int]:
    r"""Return the line, from 1, of each table and key that begins a line of a valid text.

    Examples
    --------
    >>> toml_lines("[[camera]]\nname = 'a'\n[[camera]]\nname = 'b'")
    {('camera', 0): 1, ('camera', 0, 'name'): 2, ('camera', 1): 3, ('camera', 1, 'name'): 4}
    """
    found: dict[Place, int] = {}
    for number, place in _lines(text):
        found.setdefault(place, number)
    return found


def _lines(text: str) -> Iterator[tuple[int, Place]]:
    """Yield the line and full path of each table and key of a TOML text that is valid."""
    head: Place = ()
    counts: dict[Place, int] = {}
    open_quotes = ""
    for number, line in enumerate(text.split("\n"), 1):
        if open_quotes:  # inside a text of several lines
            if line.count(open_quotes) % 2:
                open_quotes = ""
            continue
        written = line.strip()
        if header := _HEADER.fullmatch(written):
            keys = _keys(header[2])
            if keys is None:  # an item of a list that goes over several lines
                continue
            head = _numbered(keys, counts, new=bool(header[1]))
            yield number, head
        elif (keys := _keys(written.partition("=")[0])) is not None and "=" in written:
            yield number, (*head, *keys)
        open_quotes = next((quotes for quotes in ('"""', "'''") if line.count(quotes) % 2), "")


def _numbered(keys: tuple[str, ...], counts: dict[Place, int], *, new: bool) -> Place:
    """Return the path of a header, with the number of the item wherever a table is one of a list."""
    path: Place = ()
    for i, key in enumerate(keys):
        path = (*path, key)
        if new and i == len(keys) - 1:
            counts[path] = counts.get(path, -1) + 1
        if path in counts:
            path = (*path, counts[path])
    return path


def _keys(text: str) -> tuple[str, ...] | None:
    """Return the parts of a TOML key, ``a."b c"``; None where the text is none."""
    try:
        value: Any = tomllib.loads(f"{text} = 0") if text.strip() else 0
    except (tomllib.TOMLDecodeError, RecursionError):
        return None
    keys = []
    while isinstance(value, dict):
        if len(value) != 1:  # a comment
            return None
        [(key, value)] = value.items()
        keys.append(key)
    return tuple(keys) or None

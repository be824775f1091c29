"""The items of a large JSON file, one at a time: a file of any size is read in bounded memory."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from visavis.datasets.annotations.text import open_text
from visavis.errors import InputError

__all__ = ["json_items"]

_CHUNK = 2**18
_MARKS = (",", "]", "}", ":", " ", "\t", "\n", "\r")
_MAX_ITEM = 64 * 2**20  # characters of one item


def json_items(path: Path) -> Iterator[tuple[str, int, Any]]:
    """Yield the items of a JSON file's lists.

    Parameters
    ----------
    path
        A file that holds a list, or an object of lists and other values.

    Yields
    ------
    The list's name (empty for a file that is a list), the item's number from 0 on, and the item. A value of an object
    that is no list comes as item 0.

    Raises
    ------
    InputError
        If the file is no JSON, is cut off, nests too deep, or holds NaN or infinity; with the item where it broke.
    """
    with open_text(path) as file:
        yield from _Reader(file, path.name).items()


def _refuse(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:20]} is too large")
    return value


class _Reader:
    def __init__(self, file: TextIO, name: str) -> None:
        self._file = file
        self._name = name
        self._text = ""
        self._at = 0
        self._end = False
        self._decoder = json.JSONDecoder(parse_constant=_refuse, parse_float=_float)
        self._place = "its beginning"

    def items(self) -> Iterator[tuple[str, int, Any]]:
        first = self._peek()
        if first == "[":
            yield from self._list("")
        elif first == "{":
            self._at += 1
            while self._peek() != "}":
                name = self._value()
                self._take(":")
                if not isinstance(name, str):
                    raise self._broken("a name is missing")
                if self._peek() == "[":
                    yield from self._list(name)
                else:
                    self._place = repr(name[:60])
                    yield name, 0, self._value()
                if self._peek() == ",":
                    self._at += 1
                    if self._peek() == "}":
                        raise self._broken("a value is missing")
                elif self._peek() != "}":
                    raise self._broken("a comma is missing")
            self._at += 1
        else:
            raise self._broken("it begins with neither { nor [")
        if self._peek(last=True):
            raise self._broken("something follows its end")

    def _list(self, name: str) -> Iterator[tuple[str, int, Any]]:
        self._at += 1
        number = 0
        while self._peek() != "]":
            self._place = f"{name or 'item'}[{number}]"
            yield name, number, self._value()
            number += 1
            if self._peek() == ",":
                self._at += 1
                if self._peek() == "]":
                    raise self._broken("a value is missing")
            elif self._peek() != "]":
                raise self._broken("a comma is missing")
        self._at += 1

    def _peek(self, *, last: bool = False) -> str:
        """Return the next character that is no blank."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in " \t\n\r":
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more(_CHUNK):
                if last:
                    return ""
                raise self._broken("it is cut off")

    def _take(self, wanted: str) -> None:
        if self._peek() != wanted:
            raise self._broken(f"{wanted!r} is missing")
        self._at += 1

    def _value(self) -> Any:
        self._peek()
        size = _CHUNK
        while True:
            problem = ""
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
                # Without a mark behind it, a number may go on in what was not read yet: 0 of "0.5".
                if self._end or self._text[end : end + 1] in _MARKS:
                    self._at = end
                    return value
            except RecursionError:
                raise self._broken("it nests too deep") from None
            except json.JSONDecodeError as error:
                if error.pos < len(self._text) - 64 and not error.msg.startswith("Unterminated string"):
                    raise self._broken(error.msg) from None
                problem = error.msg
            except ValueError as error:
                raise self._broken(str(error)) from None
            if len(self._text) - self._at > _MAX_ITEM:
                raise self._broken(f"it has over {_MAX_ITEM} characters")
            if not self._more(size) and problem:
                raise self._broken(f"it is cut off or damaged ({problem})")
            size *= 2  # so that a long item is scanned a few times, not hundreds

    def _more(self, size: int) -> bool:
        if self._end:
            return False
        piece = self._file.read(size)
        if not piece:
            self._end = True
            return False
        self._text = self._text[self._at :] + piece
        self._at = 0
        return True

    def _broken(self, problem: str) -> InputError:
        return InputError(f"{self._name} is no JSON that can be read, at {self._place}: {problem}")

"""Settings files: TOML into frozen dataclasses, with errors that name the file, the place, the key and its line."""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import re
import stat
import sys
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from visavis.errors import InputError
from visavis.files import printable_path, reason
from visavis.toml_lines import toml_lines

if sys.version_info >= (3, 11):
    import tomllib
else:  # Python 3.10
    import tomli as tomllib

__all__ = ["Location", "Seconds", "Table", "expanded", "filled", "located", "read_toml", "seconds"]

T = TypeVar("T")

Seconds = Annotated[float, "seconds"]
"""A field that takes a number of seconds, or a text such as ``"10 min"`` or ``"1 h 30 min"``."""

Location = Annotated[str, "location"]
"""A field that takes a path, relative to the settings file, or an address such as ``postgresql://...``."""

_LIMIT = 1 << 20  # bytes of a settings file
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://", re.ASCII)
_VARIABLE = re.compile(r"\$(\$|\{([^{}]*)\})")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)", re.ASCII)
_UNITS = {
    **dict.fromkeys(("ms", "millisecond", "milliseconds"), 0.001),
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1.0),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
}
_PLAIN = {
    str: "text in quotes",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    list: "a list",
    dict: "a table",
}


class Table(dict[str, Any]):
    """A table of a settings file, which knows where it stands in it.

    Attributes
    ----------
    folder
        Of the file: what its relative paths start from.
    """

    def __init__(self, values: Mapping[str, Any], folder: Path, text: str, path: tuple[str | int, ...] = ()) -> None:
        super().__init__({key: _placed(value, folder, text, (*path, key)) for key, value in values.items()})
        self.folder = folder
        self._text = text
        self._path = path

    def at(self, *below: str | int) -> str:
        """Return the line of a key below this table, or else of what it stands in, as an error's last words."""
        lines = toml_lines(self._text)
        wanted = (*self._path, *below)
        found = (lines[wanted[:end]] for end in range(len(wanted), 0, -1) if wanted[:end] in lines)
        return next((f" (line {line})" for line in found), "")


def _placed(value: Any, folder: Path, text: str, path: tuple[str | int, ...]) -> Any:
    if isinstance(value, dict):
        return Table(value, folder, text, path)
    if isinstance(value, list):
        return [_placed(item, folder, text, (*path, i)) for i, item in enumerate(value)]
    return value


def read_toml(path: str | os.PathLike[str]) -> Table:
    """Read a settings file.

    Raises
    ------
    InputError
        If it is missing, no file, larger than 1 MiB, not UTF-8, or no TOML; then the message names the line.
    """
    name = printable_path(path)
    file = Path(path).expanduser()
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise InputError(f"{name} is no file; give the settings as a TOML file")
        with file.open("rb") as stream:
            data = stream.read(_LIMIT + 1)
    except FileNotFoundError:
        raise InputError(f"{name} does not exist; check the path") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path; InputError is one, too
        raise error if isinstance(error, InputError) else InputError(f"{name} can't be read: {reason(error)}") from None
    if len(data) > _LIMIT:
        raise InputError(f"{name} has more than {_LIMIT} bytes, the limit for settings; it is none of ours")
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
        values = tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{name} is not UTF-8 text (at line {line}); save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:  # its message names line and column
        problem = reason(error).replace("at end of document", f"at the end, line {len(text.splitlines())}")
        raise InputError(f"{name} is no valid TOML: {problem}") from None
    except RecursionError:
        raise InputError(f"{name} is nested too deeply") from None
    return Table(values, file.absolute().parent, text)


def filled(kind: type[T], table: Mapping[str, Any], where: str) -> T:
    """Make a dataclass of a table.

    A field's name is its key, unless its metadata has another ``key``. Fields may be text (in which ``${NAME}`` becomes
    the environment's variable), numbers, true or false, `Literal`, `Path`, `Location`, `Seconds`, dates and times,
    dataclasses, tuples and mappings of these, and unions. A dataclass checks its own ranges in ``__post_init__``: an
    `InputError` there gets the place in front.

    Parameters
    ----------
    kind
        A dataclass.
    table
        Of `read_toml`, so that errors name the line and paths start from the file; or any mapping.
    where
        How messages call the place: ``"cameras.toml"``.

    Raises
    ------
    InputError
        Naming the place, and a key that is unknown (and the nearest right one), missing or of the wrong type. Values
        that may be secret are never shown.

    Examples
    --------
    >>> @dataclasses.dataclass(frozen=True)
    ... class Camera:
    ...     name: str
    ...     wait: Seconds = 5.0
    >>> filled(Camera, {"name": "door", "wait": "1 min 30 s"}, "cameras.toml")
    Camera(name='door', wait=90.0)
    >>> filled(Camera, {"name": "door", "wiat": 3}, "cameras.toml")
    Traceback (most recent call last):
    visavis.errors.InputError: cameras.toml: unknown key 'wiat'; did you mean 'wait'?
    """
    if not isinstance(table, Mapping):
        raise InputError(f"{where}: must be a table, not {_called(table)}")
    types_of = get_type_hints(kind, include_extras=True)
    declared = [field for field in dataclasses.fields(kind) if field.init]  # type: ignore[arg-type]
    fields = {field.metadata.get("key", field.name): field for field in declared}
    for key in table:
        if key not in fields:
            raise InputError(f"{where}: {_unknown(str(key), fields)}{_at(table, key)}")
    values = {}
    for key, field in fields.items():
        if key in table:
            values[field.name] = _value(types_of[field.name], table[key], _Place(where, table, key, key))
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise InputError(f"{where}: the key {key!r} is missing{_at(table)}")
    try:
        return kind(**values)
    except InputError as error:
        raise type(error)(f"{where}: {error}{_at(table)}") from None


def seconds(value: float | str) -> float:
    """Return a duration in seconds: a number of them, or a text with units.

    Raises
    ------
    InputError
        If it is no duration.

    Examples
    --------
    >>> seconds("10 min"), seconds("1 h 30 min"), seconds("500 ms"), seconds(2)
    (600.0, 5400.0, 0.5, 2.0)
    """
    wrong = f"must be a duration such as 30, '30 s', '10 min' or '1 h 30 min', not {_shown(value)}"
    if isinstance(value, str):
        parts = _DURATION.findall(value)
        if not parts or _DURATION.sub("", value).strip() or any(unit.lower() not in _UNITS for _, unit in parts):
            raise InputError(wrong)
        return math.fsum(float(number) * _UNITS[unit.lower()] for number, unit in parts)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not (math.isfinite(value) and value >= 0):
        raise InputError(wrong)
    return float(value)


def expanded(text: str) -> str:
    """Return a text in which ``${NAME}`` is the value of an environment variable, and ``$$`` a dollar.

    Raises
    ------
    InputError
        If there is no such variable: it is named, and nothing else of the text is shown.

    Examples
    --------
    >>> os.environ["DOOR"] = "1234"
    >>> expanded("code ${DOOR}"), expanded("5 $$"), expanded("5 $")
    ('code 1234', '5 $', '5 $')
    """

    def value(found: re.Match[str]) -> str:
        if found[1] == "$":
            return "$"
        if not _NAME.fullmatch(found[2]):
            raise InputError("${...} holds no name of an environment variable; write $$ for a dollar")
        if found[2] not in os.environ:
            raise InputError(f"the environment variable {found[2]} is not set; set it, or write the value here")
        return os.environ[found[2]]

    return _VARIABLE.sub(value, text)


def located(text: str, folder: Path) -> str:
    """Return a path so that it starts from ``folder``; an address or an absolute path stays as it is.

    Examples
    --------
    >>> located("postgresql://host/faces", Path("/etc"))
    'postgresql://host/faces'
    """
    return text if _ADDRESS.match(text) else str(folder / Path(text).expanduser())


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where a value stands: the words for it, and the table and key that tell its line."""

    where: str
    table: Mapping[str, Any]
    key: str
    called: str

    def error(self, text: str) -> InputError:
        return InputError(f"{self.where}: {self.called} {text}{_at(self.table, self.key)}")

    def item(self, number: int, value: Any) -> _Place:
        """Return the place of an item of the list that stands here."""
        name = value.get("name") if isinstance(value, Mapping) else None
        named = f" ({name})" if isinstance(name, str) and name.isprintable() and len(name) <= 64 else ""
        return dataclasses.replace(self, called=f"{self.called} {number}{named}")

    def below(self, table: Mapping[str, Any], key: str) -> _Place:
        """Return the place of a value of the mapping that stands here."""
        return _Place(self.where, table, key, f"{self.called}.{key}")


def _value(kind: Any, value: Any, place: _Place) -> Any:
    """Return a value as a field of this type takes it."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _marked(args, value, place)
    if origin in (Union, types.UnionType):
        return _one_of(args, value, place)
    if origin is Literal:
        if not any(type(value) is type(choice) and value == choice for choice in args):
            near = _near(value, [choice for choice in args if isinstance(choice, str)])
            raise place.error(f"must be {_or([_shown(choice) for choice in args])}, not {_shown(value)}{near}")
        return value
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, Mapping):
            raise place.error(f"must be a table, not {_called(value)}")
        return filled(kind, value, f"{place.where}: {place.called}")  # type: ignore[arg-type]
    if origin in (tuple, list, Sequence):
        return _list(origin, args, value, place)
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise place.error(f"must be a table, not {_called(value)}")
        return {key: _value(args[1], item, place.below(value, key)) for key, item in value.items()}
    return _plain(kind, value, place)


def _plain(kind: Any, value: Any, place: _Place) -> Any:
    if kind is Any:
        return _expanded_all(value, place)
    if kind is float and type(value) in (int, float):
        if not math.isfinite(value):
            raise place.error("must be a finite number")
        return float(value)
    if kind is Path and isinstance(value, str):
        return Path(_marked((str, "location"), value, place))
    if type(value) is not kind and not (isinstance(kind, type) and kind not in _PLAIN and isinstance(value, kind)):
        raise place.error(f"must be {_wanted(kind)}, not {_called(value)}")
    return _expanded_at(value, place) if kind is str else value


def _marked(args: tuple[Any, ...], value: Any, place: _Place) -> Any:
    if "seconds" in args[1:]:
        try:
            return seconds(value)
        except InputError as error:
            raise place.error(str(error)) from None
    found = _value(args[0], value, place)
    if "location" in args[1:]:
        if not found:
            raise place.error("must not be empty")
        return located(found, place.table.folder) if isinstance(place.table, Table) else found
    return found


def _one_of(kinds: tuple[Any, ...], value: Any, place: _Place) -> Any:
    kinds = tuple(kind for kind in kinds if kind is not types.NoneType)  # TOML knows no null
    problem: InputError | None = None
    for kind in kinds:
        try:
            return _value(kind, value, place)
        except InputError as error:  # the one of a kind that fits on the outside says more
            if problem is None or len(kinds) == 1 or _fits_outside(kind, value):
                problem = error
            if _fits_outside(kind, value) and not isinstance(value, str):
                break
    if problem is None or not any(_fits_outside(kind, value) for kind in kinds):
        raise place.error(f"must be {_or([_wanted(kind) for kind in kinds])}, not {_called(value)}")
    raise problem


def _fits_outside(kind: Any, value: Any) -> bool:
    """Return whether a value looks like this type, whatever is in it."""
    origin = get_origin(kind)
    if origin is Annotated:
        return isinstance(value, str) or ("seconds" in get_args(kind) and type(value) in (int, float))
    if origin is Literal:
        return any(type(value) is type(choice) for choice in get_args(kind))
    if dataclasses.is_dataclass(kind) or origin in (dict, Mapping):
        return isinstance(value, Mapping)
    if origin in (tuple, list, Sequence):
        return isinstance(value, list)
    return type(value) is kind or (kind is float and type(value) is int) or (kind is Path and isinstance(value, str))


def _list(origin: Any, args: tuple[Any, ...], value: Any, place: _Place) -> Any:
    if not isinstance(value, list):
        hint = f"; write [[{place.key}]]" if isinstance(value, Mapping) and dataclasses.is_dataclass(args[0]) else ""
        raise place.error(f"must be a list, not {_called(value)}{hint}")
    endless = origin is not tuple or args[-1] is Ellipsis
    if not endless and len(value) != len(args):
        raise place.error(f"must be a list of {len(args)}, not of {len(value)}")
    kinds = [args[0]] * len(value) if endless else args
    found = [
        _value(kind, item, place.item(number, item))
        for number, (kind, item) in enumerate(zip(kinds, value, strict=True), 1)
    ]
    return tuple(found) if origin is not list else found


def _expanded_at(text: str, place: _Place) -> str:
    try:
        return expanded(text)
    except InputError as error:
        raise place.error(f"can't be filled in: {error}") from None


def _expanded_all(value: Any, place: _Place) -> Any:
    if isinstance(value, str):
        return _expanded_at(value, place)
    if isinstance(value, Mapping):
        return {key: _expanded_all(item, place.below(value, key)) for key, item in value.items()}
    return [_expanded_all(item, place) for item in value] if isinstance(value, list) else value


def _unknown(key: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(key.lower().replace("-", "_"), known, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
    return f"unknown key {_shown(key)}; {hint}"


def _near(value: Any, choices: Sequence[str]) -> str:
    near = difflib.get_close_matches(value, choices, 1) if isinstance(value, str) else []
    return f"; did you mean {near[0]!r}?" if near else ""


def _at(table: Mapping[str, Any], *below: str) -> str:
    return table.at(*below) if isinstance(table, Table) else ""


def _shown(value: Any) -> str:
    """Return a value for a message; never one that was put in for a variable, as only what is written comes here."""
    shown = {True: "true", False: "false"}[value] if isinstance(value, bool) else ascii(value)
    if isinstance(value, str) and value.isprintable():
        shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."


def _called(value: Any) -> str:
    return next((name for kind, name in _PLAIN.items() if isinstance(value, kind)), f"a {type(value).__name__}")


def _wanted(kind: Any) -> str:
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return "a duration such as '10 min'" if "seconds" in args[1:] else _wanted(args[0])
    if origin is Literal:
        return _or([_shown(choice) for choice in args])
    if dataclasses.is_dataclass(kind) or origin in (dict, Mapping):
        return _PLAIN[dict]
    if origin in (tuple, list, Sequence):
        return _PLAIN[list]
    return _PLAIN.get(kind) or ("a path in quotes" if kind is Path else f"a {getattr(kind, '__name__', kind)}")


def _or(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"

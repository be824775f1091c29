"""Python processes of our own: started without a main guard in the caller's program, talking in lines of JSON."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import types
from pathlib import Path
from typing import IO, Annotated, Any, Union, get_args, get_origin, get_type_hints

__all__ = ["answers", "line", "python", "restored"]


def python(module: str, function: str, **options: Any) -> subprocess.Popen[bytes]:
    """Start a process that calls a function, with pipes to its standard input and from its standard output.

    It finds what this process finds, and no module that happens to lie in the folder it is run in. What it is to know
    goes through its input: command lines are seen by every user of a machine.
    """
    code = f"import sys; sys.path[:] = filter(None, sys.path); from {module} import {function}; {function}()"
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)},
        **options,
    )


def answers() -> IO[bytes]:
    """Return, in such a process, the pipe to its parent; what libraries print goes to standard error from here on.

    Ctrl-C in a terminal reaches every process in it: the parent alone heeds it, and ends its children in order.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pipe = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return pipe


def line(value: Any) -> bytes:
    r"""Return a plain value as a line of JSON; ASCII, so that names that are no text go through unchanged.

    Examples
    --------
    >>> line({"path": "照\udcff"})
    b'{"path": "\\u7167\\udcff"}\n'
    """
    return json.dumps(value).encode() + b"\n"


def restored(kind: Any, value: Any) -> Any:
    """Return the value of which `dataclasses.asdict` and JSON made ``value``.

    Parameters
    ----------
    kind
        A dataclass, whose fields may be plain values, dataclasses, tuples and optional ones of these.

    Examples
    --------
    >>> @dataclasses.dataclass
    ... class Line:
    ...     ends: tuple[tuple[float, float], ...]
    >>> restored(Line, json.loads(line(dataclasses.asdict(Line(((0.0, 1.0), (1.0, 0.5)))))))
    Line(ends=((0.0, 1.0), (1.0, 0.5)))
    """
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return restored(args[0], value)
    if dataclasses.is_dataclass(kind):
        types_of = get_type_hints(kind)
        return kind(**{name: restored(types_of[name], part) for name, part in value.items()})  # type: ignore[operator]
    if origin is tuple:
        kinds = args[:1] * len(value) if args[-1] is Ellipsis else args
        return tuple(restored(part, item) for part, item in zip(kinds, value, strict=True))
    if origin in (Union, types.UnionType) and value is not None:
        return restored(next(part for part in args if part is not types.NoneType), value)
    return value

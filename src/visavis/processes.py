"""Python processes of our own: started without a main guard in the caller's program, talking in lines of JSON."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

__all__ = ["answers", "line", "python"]


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

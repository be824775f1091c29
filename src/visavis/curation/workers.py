"""Work spread over processes: units of work out, what came of each back, as lines of JSON.

Processes and not threads: aligning photos with two threads keeps 1.5 cores busy, as Python runs in one thread at a
time. A child is this module run by the same Python, so that a caller's program needs no main guard, and ends with its
parent, even one that was killed.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from visavis import errors
from visavis.errors import EngineError, VisavisError
from visavis.processes import answers, line, python

__all__ = ["WorkerDied", "run_units"]

T = TypeVar("T")
Work = Callable[[Any], Any]
"""What is done with a unit; takes and gives plain values."""


class WorkerDied(EngineError):
    """A process ended without an answer: killed for want of memory, or by a fault in a library."""


def run_units(
    make: str, settings: dict[str, Any], units: Iterable[Any], *, workers: int
) -> Iterator[tuple[Any, Any | WorkerDied]]:
    """Do work in processes; give each unit and what came of it as soon as it is there, in any order.

    Parameters
    ----------
    make
        ``"package.module:function"``: called once a process with ``settings``, gives what is called with each unit.
    settings, units
        Plain values, as JSON has them. Units are taken as they are needed.
    workers
        How many processes. One: the work is done here; 0: in one process, so that its end is not ours.

    Raises
    ------
    VisavisError
        What the work raises; the other processes are ended.
    """
    if workers == 1:
        work = _made(make, settings)
        for unit in units:
            yield unit, work(unit)
        return
    yield from _Crew(make, settings, units).run(max(workers, 1))


class _Crew(Generic[T]):
    """Processes, each with a thread that hands it one unit after the other."""

    def __init__(self, make: str, settings: dict[str, Any], units: Iterable[T]) -> None:
        self._start = line([make, settings])
        self._units = iter(units)
        self._taking = threading.Lock()
        self._stopped = threading.Event()
        self._done: queue.SimpleQueue[tuple[T, Any] | BaseException | None] = queue.SimpleQueue()
        self._children: list[subprocess.Popen[bytes]] = []

    def run(self, workers: int) -> Iterator[tuple[T, Any]]:
        threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(workers)]
        for thread in threads:
            thread.start()
        left = workers
        try:
            while left:
                answer = self._done.get()
                if answer is None:
                    left -= 1
                elif isinstance(answer, BaseException):
                    raise answer
                else:
                    yield answer
        finally:
            self._stopped.set()
            for thread in threads:
                thread.join()  # what is under way is finished: no file is left half-written

    def _serve(self) -> None:
        child = None
        try:
            while not self._stopped.is_set():
                with self._taking:
                    unit = next(self._units, self)
                if unit is self:
                    break
                child = child or self._started()
                answer = _asked(child, unit)
                if isinstance(answer, WorkerDied):
                    child = None
                elif answer[0] != "done":
                    raise getattr(errors, answer[0], EngineError)(answer[1])
                self._done.put((unit, answer if isinstance(answer, WorkerDied) else answer[1]))  # type: ignore[arg-type]
        except BaseException as error:  # noqa: BLE001 (it is raised where the results are taken)
            self._done.put(error)
        finally:
            if child is not None:
                _ended(child)
            self._done.put(None)

    def _started(self) -> subprocess.Popen[bytes]:
        child = python(__name__, "_main")
        assert child.stdin is not None
        with contextlib.suppress(OSError):  # it died at once, which the first question tells
            child.stdin.write(self._start)
            child.stdin.flush()
        return child


def _asked(child: subprocess.Popen[bytes], unit: Any) -> Any:
    assert child.stdin is not None
    assert child.stdout is not None
    answer = b""
    with contextlib.suppress(OSError):
        child.stdin.write(line(unit))
        child.stdin.flush()
        answer = child.stdout.readline()
    if answer.endswith(b"\n"):
        return json.loads(answer)
    _ended(child)
    return WorkerDied(f"a process ended with {child.returncode} and gave no answer")


def _ended(child: subprocess.Popen[bytes]) -> None:
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    child.wait()


def _made(make: str, settings: dict[str, Any]) -> Work:
    module, _, name = make.partition(":")
    work: Work = getattr(importlib.import_module(module), name)(settings)
    return work


def _main() -> None:
    """Serve one parent: a line with what to do, then a line a unit."""
    pipe = answers()
    make, settings = json.loads(sys.stdin.buffer.readline())
    work = None
    for unit in sys.stdin.buffer:
        try:
            work = work or _made(make, settings)
            answer: tuple[str, Any] = ("done", work(json.loads(unit)))
        except VisavisError as error:
            answer = (type(error).__name__, str(error))
        try:
            pipe.write(line(answer))
            pipe.flush()
        except OSError:  # the parent has gone
            return

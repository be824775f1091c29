"""What the two command line programs share."""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NoReturn

from visavis.errors import VisavisError

__all__ = ["Program", "cpus", "images_in", "over_images", "truth", "warn"]


class Program:
    """A command line program, called as one made with click is: ``main()``, or ``main.main(args=[...])``.

    Parameters
    ----------
    name
        What it is called in its help.
    run
        Gets what argparse read, and returns the exit code.
    """

    def __init__(self, name: str, run: Callable[[argparse.Namespace], int], about: str) -> None:
        self.name = name
        self._run = run
        self._parser = argparse.ArgumentParser(name, description=about, add_help=False, allow_abbrev=False)

    def add(self, *names: str, **settings: Any) -> None:
        """Add an argument, as argparse describes them."""
        self._parser.add_argument(*names, **settings)

    def __call__(self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any) -> NoReturn:
        """Run as `main` does."""
        self.main(args, prog_name, **extra)

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, **_: Any) -> NoReturn:
        """Run with these arguments, or the process's own, and exit: 0; 1 for an error, told in a line; 2 for usage."""
        if prog_name:
            self._parser.prog = prog_name
        options = self._parser.parse_args(None if args is None else list(args))
        try:
            code = self._run(options)
            sys.stdout.flush()
        except KeyboardInterrupt:
            code = 130
        except BrokenPipeError:
            with contextlib.suppress(OSError, ValueError):  # else the flush at exit would complain
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = 141
        except (VisavisError, OSError) as error:
            print(f"Error: {error}", file=sys.stderr)
            code = 1
        sys.exit(code)


def images_in(folder: str) -> list[str]:
    """Return the images of a folder, in the order that the system lists them."""
    return [os.path.join(folder, name) for name in os.listdir(folder) if re.match(r".*\.(jpg|jpeg|png)", name, re.I)]  # noqa: PTH118, PTH208 (as typed by the caller)


def over_images(work: Callable[[str], list[str]], image_or_folder: str, cpus: int) -> int:
    """Print the lines that ``work`` makes of an image, or of each of a folder on so many processes; -1: one a core.

    A file of a folder that can't be read is told on stderr and makes the exit code 1; the others go on.
    """
    if not os.path.isdir(image_or_folder):  # noqa: PTH112
        for line in work(image_or_folder):
            print(line)
        return 0
    failed = 0
    with _mapper(cpus) as over:
        for lines, problem in over(partial(_tried, work), images_in(image_or_folder)):
            for line in lines:
                print(line)
            if problem:
                warn(problem)
                failed = 1
    return failed


def warn(problem: str) -> None:
    """Tell of a file that was left out."""
    print(f"WARNING: {problem}. Ignoring file.", file=sys.stderr)


def truth(text: str) -> bool:
    """Read a yes or no as click does."""
    for value, words in {True: "1 true t yes y on", False: "0 false f no n off"}.items():
        if text.strip().lower() in words.split():
            return value
    raise argparse.ArgumentTypeError(f"{text!r} is not a valid boolean")


def cpus(text: str) -> int:
    """Read a number of processes: -1, or at least 1."""
    number = int(text)
    if number < 1 and number != -1:
        raise argparse.ArgumentTypeError("give at least 1, or -1 for all")
    return number


def _tried(work: Callable[[str], list[str]], file: str) -> tuple[list[str], str]:
    try:
        return work(file), ""
    except (VisavisError, OSError) as error:
        return [], f"{file} can't be used ({error})"


@contextlib.contextmanager
def _mapper(processes: int) -> Iterator[Callable[..., Iterable[tuple[list[str], str]]]]:
    """Give what maps a function over files: `map`, or the same on several processes."""
    if processes == 1:
        yield map
        return
    # A fork of a process that runs an inference engine may hang.
    ways = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in ways else "spawn")
    with context.Pool(None if processes == -1 else processes, initializer=_one_thread) as pool:
        yield pool.imap


def _one_thread() -> None:
    os.environ.setdefault("VISAVIS_THREADS", "1")

"""Containers in several files: ``train-000000.tar`` and so on, and the ways of naming all of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from fnmatch import translate
from itertools import chain, islice
from pathlib import Path

from visavis.datasets.containers.samples import LABELS, Sample
from visavis.datasets.containers.staging import Staging
from visavis.errors import InputError
from visavis.files import printable_path

__all__ = ["Shards", "find_shards", "first_shard"]

_MAX_SHARDS = 1_000_000
_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")
_PERCENT = re.compile(r"%0?(\d*)d")
_OF = re.compile(r"-(\d{5})-of-(\d{5})")


def find_shards(path: Path) -> list[Path]:
    """Return the files that a path stands for, in order.

    Parameters
    ----------
    path
        A file; or a pattern: ``train-{000000..000099}.tar``, ``train-%06d.tar``, or one with ``*`` and ``?``.

    Raises
    ------
    InputError
        If there are none, or one of a numbered row is missing.
    """
    if path.exists():
        return [path]
    name, shown = path.name, printable_path(path)
    if braces := _BRACES.search(name):
        first, last = braces.groups()
        if int(last) - int(first) not in range(_MAX_SHARDS):
            raise InputError(f"{shown} names no row of shards; write the lower number first")
        numbers = range(int(first), int(last) + 1)
        found = [path.with_name(_BRACES.sub(f"{number:0{len(first)}d}", name, count=1)) for number in numbers]
    elif percent := _PERCENT.search(name):
        before, after = name[: percent.start()], name[percent.end() :]
        row = re.compile(re.escape(before) + r"(\d+)" + re.escape(after))
        there = sorted(int(match[1]) for file in _siblings(path) if (match := row.fullmatch(file)))
        width = int(percent[1] or 1)
        last_number = there[-1] if there else -1
        if last_number >= _MAX_SHARDS:
            raise InputError(f"{shown} stands for more than {_MAX_SHARDS} shards")
        found = [path.with_name(f"{before}{number:0{width}d}{after}") for number in range(last_number + 1)]
    elif any(c in name for c in "*?["):
        pattern = re.compile(translate(name))
        found = sorted(path.with_name(file) for file in _siblings(path) if pattern.fullmatch(file))
        _require_all(found)
    else:
        found = []
    if not found:
        raise InputError(f"{shown} does not exist; check the path")
    for file in found:
        if not file.is_file():
            raise InputError(f"shard {printable_path(file)} is missing, though others of its row are there")
    return found


def first_shard(path: Path) -> Path | None:
    """Return the first of the files that a path stands for; None where there is none."""
    try:
        return find_shards(path)[0]
    except (InputError, OSError):
        return None


def _siblings(path: Path) -> Iterator[str]:
    if path.parent.is_dir():
        yield from (file.name for file in path.parent.iterdir() if not file.name.endswith(LABELS))


def _require_all(found: list[Path]) -> None:
    """Refuse a row named ``...-00000-of-00005`` of which one is missing."""
    rows = [match.groups() for file in found if (match := _OF.search(file.name))]
    for number, of in rows:
        if sum(other == of for _, other in rows) != int(of):
            raise InputError(f"of {int(of)} shards as {printable_path(found[0])} some are missing (see {number})")


class Shards:
    """Names for the files of a container that is being written.

    Parameters
    ----------
    path
        As the user wrote it: a plain name, or a pattern with ``%06d``.
    size
        Samples a file; without it all go into one.
    counted
        Whether a plain name is numbered as TensorFlow does, ``-00000-of-00005``, instead of ``-000000``.

    Attributes
    ----------
    first
        Path of the first file while it is not known how many there will be.
    """

    def __init__(self, path: Path, size: int | None, *, counted: bool = False) -> None:
        if size is not None and size < 1:
            raise InputError(f"a shard must have at least 1 sample, not {size}")
        pattern = _PERCENT.search(path.name)
        if size is None and pattern:
            raise InputError(
                f"{printable_path(path)} is a pattern of shards: say how many samples each gets (--shard-size)"
            )
        self._size = size
        self._width = int(pattern[1] or 1) if pattern else 5 if counted else 6
        self._counted = counted and not pattern
        stem, dot, rest = path.name.partition(".")
        name = (path.name[: pattern.start()], path.name[pattern.end() :]) if pattern else (f"{stem}-", dot + rest)
        self._before, self._after = name if size is not None else (path.name, "")
        self.first = path.with_name(self._name(0))
        row = re.compile(re.escape(self._before) + r"\d+(-of-\d+)?" + re.escape(self._after))
        if size is not None:
            for file in _siblings(path):
                if row.fullmatch(file):
                    raise InputError(f"{printable_path(path.with_name(file))} is there already; remove it first")

    def split(self, samples: Iterable[Sample], staging: Staging) -> Iterator[tuple[Path, Iterator[Sample]]]:
        """Yield for each file where to write it and the samples it gets; the first also where there are none."""
        rest = iter(samples)
        names: list[str] = []
        start: list[Sample] = []
        while start or not names:
            names.append(self._name(len(names)))
            part = chain(start, rest)
            yield staging.path(names[-1]), part if self._size is None else islice(part, self._size)
            start = list(islice(rest, 1))
        if self._counted and self._size is not None:
            for number, name in enumerate(names):
                staging.rename(name, f"{self._before}{number:05d}-of-{len(names):05d}{self._after}")

    def _name(self, number: int) -> str:
        return self._before if self._size is None else f"{self._before}{number:0{self._width}d}{self._after}"

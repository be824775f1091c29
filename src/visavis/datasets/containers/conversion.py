"""From one format to another, one photo at a time, and what a data set holds."""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from visavis.datasets.containers import Container, container, named, recognized
from visavis.datasets.containers.folders import class_folders, lfw_pairs
from visavis.datasets.containers.samples import Bad, Classes, Sample, find_labels, image_suffix, is_class_id
from visavis.datasets.containers.shards import find_shards
from visavis.errors import InputError
from visavis.files import find_images, printable_path

__all__ = ["Contents", "Conversion", "contents", "convert"]

Say = Callable[[str], None]

_OFTEN = 100  # photos between two reports of how far it is
_FIRST = 5  # keys shown


@dataclass(frozen=True)
class Conversion:
    """What was done.

    Attributes
    ----------
    source, target
        Names of the formats.
    samples, bytes
        Photos written, and how many bytes those have.
    classes
        How many different labels they have.
    files
        Paths written.
    """

    source: str
    target: str
    samples: int
    bytes: int
    classes: int
    files: list[Path]


def convert(
    source: Path,
    target: Path,
    *,
    source_format: str | None = None,
    target_format: str | None = None,
    shard_size: int | None = None,
    bad: Bad | None = None,
    say: Say | None = None,
) -> Conversion:
    """Write the photos of one container as another, with their keys and labels, in bounded memory.

    From LFW's layout to ``.bin`` the pairs of its ``pairs.txt`` are written.

    Parameters
    ----------
    source, target
        Paths, or patterns of shards.
    source_format, target_format
        Names of formats; by default by the contents of the source and the name of the target.
    shard_size
        Samples a file.
    bad
        Called for each sample that can't be read or written, instead of raising. Where a file is cut off or damaged
        beyond a place, what came before is written.
    say
        Called with how far it is.

    Raises
    ------
    InputError
        If a path or format is unfit, the target is there already, a sample can't be used, or none is left.
    StorageError
        If the disk is full or can't be written to. Neither then nor when the process is killed does anything appear
        under the target's name, and the source is never changed.
    """
    kind, source = (container(source_format), source) if source_format else recognized(source)
    into = container(target_format) if target_format else named(target)
    if shard_size is not None and not into.sharded:
        raise InputError(f"{into.name} is always one file; shards are for tfrecord and webdataset")
    flow = _Flow(bad, say)
    samples = lfw_pairs(source) if (kind.name, into.name) == ("lfw", "bin") else kind.read(source, bad=bad)
    stream, first = _peeked(flow.through(samples, source))
    options: dict[str, Any] = {"needed": _size(source), "bad": None if bad is None else flow.refuse}
    if into.numbered:
        options["classes"] = _classes(kind, source, first)
    if into.sharded:
        options["shard_size"] = shard_size
    files = into.write(target, stream, **options)
    return Conversion(kind.name, into.name, flow.samples, flow.bytes, len(flow.labels), files)


class _Flow:
    """Counts samples on their way, and decides what becomes of bad ones."""

    def __init__(self, bad: Bad | None, say: Say | None) -> None:
        self.samples = 0
        self.bytes = 0
        self.labels: set[str] = set()
        self._last = 0
        self._bad = bad
        self._say = say

    def through(self, samples: Iterator[Sample], source: Path) -> Iterator[Sample]:
        seen = False
        try:
            for sample in samples:
                seen = True
                if image_suffix(sample.image) is None:
                    error = InputError(f"{sample.key!r} is no image: it begins with {sample.image[:8]!r}")
                    if self._bad is None:
                        raise error
                    self._bad(error)
                    continue
                self.samples += 1
                self._last = len(sample.image)
                self.bytes += self._last
                if sample.label is not None:
                    self.labels.add(sample.label)
                if self._say is not None and self.samples % _OFTEN == 0:
                    self._say(f"{self.samples:,} photos, {self.bytes / 1e6:,.0f} MB")
                yield sample
        except InputError as error:
            if self._bad is None or not seen:
                raise
            self._bad(error)
        if not self.samples:
            raise InputError(f"{printable_path(source)} holds no photo that can be used")

    def refuse(self, error: InputError) -> None:
        """Tell of the last photo that it could not be written."""
        self.samples -= 1
        self.bytes -= self._last
        if self._bad is not None:
            self._bad(error)


def _peeked(samples: Iterator[Sample]) -> tuple[Iterator[Sample], Sample]:
    first = next(samples)
    return itertools.chain((first,), samples), first


def _classes(kind: Container, source: Path, first: Sample) -> Classes:
    """Return the class ids for the target: those of the source where it has names or numbers for its classes."""
    if kind.name == "folders":
        return Classes.of(class_folders(source))
    if kind.numbered and (labels := find_labels(source)).is_file():
        return Classes.load(labels)
    return Classes(numbered=kind.numbered and first.label is not None and is_class_id(first.label))


def _size(path: Path) -> int:
    total = 0
    for file in find_images([path]) if path.is_dir() else find_shards(path):
        with contextlib.suppress(OSError):  # a link that leads nowhere is told of when it is read
            total += file.stat().st_size
    return total


@dataclass
class Contents:
    """What a container holds."""

    format: str
    samples: int = 0
    bytes: int = 0
    smallest: int = 0
    largest: int = 0
    unlabeled: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    keys: list[str] = field(default_factory=list)


def contents(path: Path, *, format: str | None = None, bad: Bad | None = None, say: Say | None = None) -> Contents:
    """Read a container from end to end and count what it holds.

    Parameters
    ----------
    format
        Name of its format; by default it is recognized.
    bad, say
        As for `convert`.

    Raises
    ------
    InputError
        If it can't be read, or a sample of it; the message says which.
    """
    kind, path = (container(format), path) if format else recognized(path)
    found = Contents(kind.name)
    try:
        for sample in kind.read(path, bad=bad):
            size = len(sample.image)
            found.smallest = min(size, found.smallest) if found.samples else size
            found.largest = max(size, found.largest)
            found.samples += 1
            found.bytes += size
            found.kinds[(image_suffix(sample.image) or "no image").removeprefix(".")] += 1
            if sample.label is None:
                found.unlabeled += 1
            else:
                found.labels[sample.label] += 1
            if len(found.keys) < _FIRST:
                found.keys.append(sample.key)
            if say is not None and found.samples % _OFTEN == 0:
                say(f"{found.samples:,} photos, {found.bytes / 1e6:,.0f} MB")
    except InputError as error:
        if bad is None or not found.samples:
            raise
        bad(error)
    return found

"""Samples in MXNet's RecordIO, with the lists, labels and records of ranges that go with them. See `recordio`."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from visavis.datasets.containers.recordio import (
    BUFFER,
    EXACT,
    MAX_LABELS,
    Record,
    RecordWriter,
    numbered_records,
    text_lines,
    wrong_record,
)
from visavis.datasets.containers.samples import (
    Bad,
    Classes,
    Sample,
    find_labels,
    image_suffix,
    labels_path,
    put_each,
    read_each,
    usable_key,
)
from visavis.datasets.containers.staging import staged
from visavis.errors import InputError

__all__ = ["read_rec", "write_rec"]


def read_rec(path: str | os.PathLike[str], *, bad: Bad | None = None) -> Iterator[Sample]:
    """Yield the photos of a ``.rec`` file in the order they lie in, in bounded memory; its index isn't needed.

    Keys come from the ``.lst`` file beside it where that goes with the records, else they are the ids. Labels come
    from ``NAME.rec.labels.txt``, else they are the class ids. A photo that has several labels keeps them all as
    ``metadata["labels"]``, the first of which is its class. Records of ranges are left out.

    Parameters
    ----------
    bad
        Called for each record that holds no photo, instead of raising.

    Raises
    ------
    InputError
        As `records`.
    """
    path = Path(path)
    classes = Classes.load(find_labels(path))
    listed = _Listing(path.with_suffix(".lst"))

    def sample(item: tuple[int, tuple[int, bytes]]) -> Sample | None:
        number, (start, payload) = item
        try:
            record = Record.unpack(payload)
            if record.ranges:
                return None
            if not record.image:
                raise InputError("holds no image")
            return _sample(record, listed.key(record.id, number), classes)
        except InputError as error:
            raise wrong_record(path, number, start, error) from None

    yield from read_each(enumerate(numbered_records(path)), sample, bad)


def _sample(record: Record, key: str, classes: Classes) -> Sample:
    label = record.labels[0] if record.labels else -1.0
    if not label < EXACT:
        raise InputError(f"has the label {label}, which is no class id")
    whole = float(label).is_integer()
    several = len(record.labels) != 1 or not whole
    metadata = {"labels": [float(value) for value in record.labels]} if several else {}
    return Sample(key, record.image, classes.name(int(label)) if whole else None, metadata)


class _Listing:
    """The keys of records, from a ``.lst`` file (index, labels, path) that lists them in their order."""

    def __init__(self, path: Path) -> None:
        self._lines = text_lines(path) if path.is_file() else iter(())

    def key(self, number: int, position: int) -> str:
        """Return the key of the record with this id, asked for in order; the id where the list has another."""
        words = next(self._lines, (0, ""))[1].split("\t")
        if len(words) >= 3 and words[0].strip() == str(number):
            return usable_key(words[-1].strip().replace("\\", "/"), number)
        self._lines = iter(())  # of another kind, or of other records: no line can be trusted
        return f"{number or position:08d}"


def write_rec(
    path: str | os.PathLike[str],
    samples: Iterable[Sample],
    *,
    classes: Classes | None = None,
    needed: int | None = None,
    bad: Bad | None = None,
) -> list[Path]:
    """Write ``.rec``, ``.idx``, ``.lst`` and, where labels have names, ``NAME.rec.labels.txt``; return their paths.

    Photos get the keys 1, 2, ... Where the photos of each class come one after the other, InsightFace's records of
    ranges are added, so that its training reads the file as its own.

    Parameters
    ----------
    classes
        Class ids of labels; by default 0, 1, ... as labels come.
    needed
        About how many bytes will be written, for a disk that has not as many free.
    bad
        Called for each sample that can't be written, instead of raising.

    Raises
    ------
    InputError
        If it is there already.
    StorageError
        If the disk is full or can't be written to; no file appears then.
    """
    path = Path(path)
    classes = Classes() if classes is None else classes
    with staged(path, needed) as staging:
        rec, idx, lst = (staging.path(path.with_suffix(suffix).name) for suffix in (path.suffix, ".idx", ".lst"))
        labels = staging.path(labels_path(path).name)
        with rec.open("wb", buffering=BUFFER) as out, idx.open("wb") as index, lst.open("wb") as listing:
            writer = RecordWriter(out, index)
            groups = _Groups()

            def put(sample: Sample) -> None:
                number = groups.end
                values = _labels(sample, classes)
                writer.write(number, Record(values, number, 0, sample.image))
                groups.add(-1 if sample.label is None else int(values[0]))
                shown = "\t".join(repr(value).removesuffix(".0") for value in values)
                name = f"{sample.key}{image_suffix(sample.image) or '.jpg'}"
                listing.write(f"{number}\t{shown}\t{name}\n".encode())

            put_each(samples, put, bad)
            if (starts := groups.starts()) is not None:
                ranges = list(zip(starts, [*starts[1:], groups.end], strict=True))
                after = groups.end
                writer.write(0, Record((after, after + len(ranges)), 0, 0, b""))
                for number, (start, end) in enumerate(ranges, after):
                    writer.write(number, Record((start, end), number, 0, b""))
        classes.save(labels)
    return staging.placed


def _labels(sample: Sample, classes: Classes) -> tuple[float, ...]:
    number = -1 if sample.label is None else classes.id(sample.label)
    if number >= EXACT:
        raise InputError(f"class {number} of {sample.key!r} is above {EXACT}, the highest that RecordIO holds exactly")
    several = sample.metadata.get("labels")
    if not (isinstance(several, (list, tuple)) and 0 < len(several) <= MAX_LABELS):
        return (float(number),)
    if not all(isinstance(value, (int, float)) and math.isfinite(value) for value in several):
        return (float(number),)
    rest = tuple(float(value) for value in several)
    return rest if sample.label is None else (float(number), *rest[1:])


class _Groups:
    """Whether the photos of each class come one after the other, and where each begins."""

    def __init__(self) -> None:
        self._starts: dict[int, int] = {}
        self._last: int | None = None
        self._together = True
        self.end = 1

    def add(self, label: int) -> None:
        number, self.end = self.end, self.end + 1
        if label != self._last:
            self._together &= label not in self._starts and label >= 0
            if self._together:
                self._starts[label] = number
            self._last = label

    def starts(self) -> list[int] | None:
        """Return each class's first key; None where ranges can't say which photos are whose."""
        fits = self.end + len(self._starts) < EXACT
        return list(self._starts.values()) if self._together and self._starts and fits else None

"""MXNet's RecordIO: ``train.rec`` with ``train.idx`` and ``train.lst``, read and written without MXNet.

A record is a magic number, its length with a flag, the payload, and zeros up to a multiple of 4 bytes. A payload that
itself holds the magic number at a multiple of 4 is split there. The payload of a photo is a header (flag, label, id,
id2), as many more labels as the flag says, and the encoded image. Source: ``dmlc/recordio.h`` and MXNet 1.9's
``recordio.py``.

InsightFace keeps people together and puts records without an image behind the photos: one for each person, whose two
labels are the range of their photos' keys, and record 0, whose two labels are the range of those records' keys.
"""

from __future__ import annotations

import mmap
import os
import struct
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from visavis.datasets.containers.samples import MAX_IMAGE
from visavis.errors import InputError
from visavis.files import printable_path, reason

__all__ = [
    "BUFFER",
    "EXACT",
    "MAX_LABELS",
    "Record",
    "RecordFile",
    "RecordWriter",
    "numbered_records",
    "records",
    "text_lines",
    "wrong_record",
]

_MAGIC = struct.pack("<I", 0xCED7230A)
_FRAME = struct.Struct("<4sI")  # magic; length in the lower 29 bits, above it which part of a split record this is
_LENGTH = 2**29 - 1
_WHOLE, _FIRST, _MIDDLE, _LAST = range(4)
_ALONE, _NEXT = (_WHOLE, _FIRST), (_MIDDLE, _LAST)
_HEADER = struct.Struct("<IfQQ")  # flag, label, id, id2
_HEADER_SIZE = _HEADER.size
MAX_LABELS = 2**16
"""Labels a photo may have."""
EXACT = 2**24
"""Labels are float32, which holds whole numbers exactly up to here."""
BUFFER = 2**20
"""Bytes read or written at once."""
_LINE = 4096  # bytes of a line of .idx and .lst


class Record(NamedTuple):
    """One photo of a ``.rec`` file, or a record without photo that InsightFace keeps.

    Attributes
    ----------
    labels
        Mostly one: the class id.
    id, id2
        Whatever the writer gave; mostly the key.
    image
        The photo as it is encoded; empty in a record of ranges.
    """

    labels: tuple[float, ...]
    id: int
    id2: int
    image: bytes

    @classmethod
    def unpack(cls, payload: bytes) -> Record:
        """Take a payload apart.

        Raises
        ------
        InputError
            If it is no image record. The message completes "record 7 ... ".
        """
        if len(payload) < _HEADER_SIZE:
            raise InputError(f"has {len(payload)} bytes, too few for the header of an image")
        flag, label, number, number2 = _HEADER.unpack_from(payload)
        if not flag:
            return cls((label,), number, number2, payload[_HEADER_SIZE:])
        end = _HEADER_SIZE + 4 * flag
        if flag > MAX_LABELS or end > len(payload):
            raise InputError(f"announces {flag} labels in {len(payload)} bytes")
        labels = struct.unpack_from(f"<{flag}f", payload, _HEADER_SIZE)
        return cls(labels, number, number2, payload[end:])

    def pack(self) -> bytes:
        """Return it as a payload."""
        if len(self.labels) == 1:
            return _HEADER.pack(0, self.labels[0], self.id, self.id2) + self.image
        count = len(self.labels)
        return _HEADER.pack(count, 0.0, self.id, self.id2) + struct.pack(f"<{count}f", *self.labels) + self.image

    @property
    def ranges(self) -> bool:
        """Whether it says where others lie instead of holding a photo."""
        whole = all(0 <= label <= EXACT and label.is_integer() for label in self.labels)
        return not self.image and len(self.labels) == 2 and whole


def _payload(take: Callable[[int], bytes]) -> tuple[bytes, int] | None:
    """Return the next record's payload and how many bytes the record takes; None at the end of the file.

    ``take`` gives as many bytes as asked for; at the end, fewer. Raises `InputError` with a message that completes
    "record 7 ... ".
    """
    parts: list[bytes] = []
    length = taken = 0
    while frame := take(8):
        if len(frame) < 8:
            break
        magic, word = _FRAME.unpack(frame)
        if magic != _MAGIC:
            raise InputError("does not begin with RecordIO's magic number: the file is damaged")
        part, size = word >> 29, word & _LENGTH
        if part not in (_NEXT if parts else _ALONE):
            raise InputError("is a part of a split record out of order: the file is damaged")
        length += size + (len(_MAGIC) if parts else 0)  # what stands between parts; they may hold nothing
        if length > MAX_IMAGE:
            raise InputError(f"announces {length} bytes; {MAX_IMAGE} are the limit")
        padded = (size + 3) & ~3
        data = take(padded)
        if len(data) < padded:
            break
        if padded != size:
            data = data[:size]
        taken += 8 + padded
        if part == _WHOLE:
            return data, taken
        parts.append(data)
        if part == _LAST:
            return _MAGIC.join(parts), taken
    if frame or parts:
        raise InputError("is cut off")
    return None


def records(path: str | os.PathLike[str]) -> Iterator[bytes]:
    """Yield the payloads of a ``.rec`` file one after the other, in bounded memory.

    Raises
    ------
    InputError
        If the file can't be read, is cut off or damaged: after all records before that place. The message names
        the record, counted from 0, and the byte where it begins.
    """
    return (payload for _, payload in numbered_records(Path(path)))


def numbered_records(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield each record's first byte and payload."""
    try:
        with path.open("rb", buffering=BUFFER) as file:
            number = start = 0
            while True:
                try:
                    found = _payload(file.read)
                except InputError as error:
                    raise wrong_record(path, number, start, error) from None
                if found is None:
                    return
                yield start, found[0]
                number, start = number + 1, start + found[1]
    except OSError as error:
        raise InputError(f"{printable_path(path)} can't be read: {reason(error)}") from None


def wrong_record(path: Path, number: int, start: int, error: InputError) -> InputError:
    """Return an error that says which record is wrong: its number or key, its first byte, and in what way."""
    return InputError(f"record {number} of {printable_path(path)}, at byte {start}, {error}")


class RecordFile:
    """Random access to a ``.rec`` file by the keys of its ``.idx`` file.

    It may be shared by threads and by processes made with fork.

    Parameters
    ----------
    path
        The ``.rec`` file.
    index
        The ``.idx`` file; by default the one beside it.

    Raises
    ------
    InputError
        If one can't be read, or the index is malformed.

    Examples
    --------
    >>> with RecordFile("train.rec") as file:          # doctest: +SKIP
    ...     record = file.record(file.photos[0])
    """

    def __init__(self, path: str | os.PathLike[str], index: str | os.PathLike[str] | None = None) -> None:
        self.path = Path(path)
        self.keys, self._offsets = _index(self.path.with_suffix(".idx") if index is None else Path(index))
        self._where = dict(zip(self.keys.tolist(), self._offsets.tolist(), strict=True))
        try:
            with self.path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:  # ValueError: the file is empty
            raise InputError(f"{printable_path(self.path)} can't be read: {reason(error)}") from None

    def __enter__(self) -> RecordFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self.keys)

    def close(self) -> None:
        """Let go of the file."""
        self._map.close()

    def read(self, key: int) -> bytes:
        """Return the payload of a record.

        Raises
        ------
        InputError
            If there is no such key, or the index leads to no record.
        """
        start = self._where.get(key)
        if start is None:
            raise InputError(f"{printable_path(self.path)} has no record {key} in its index")
        if not 0 <= start < len(self._map):
            raise InputError(
                f"the index of {printable_path(self.path)} says that record {key} lies at byte {start}; "
                f"the file has {len(self._map)}"
            )
        at = start

        def take(length: int) -> bytes:
            nonlocal at
            data = self._map[at : at + length]
            at += length
            return data

        try:
            found = _payload(take)
        except InputError as error:
            raise wrong_record(self.path, key, start, error) from None
        return found[0] if found else b""

    def record(self, key: int) -> Record:
        """Return a record taken apart; see `read`."""
        payload = self.read(key)
        try:
            return Record.unpack(payload)
        except InputError as error:
            raise wrong_record(self.path, key, self._where[key], error) from None

    @property
    def photos(self) -> npt.NDArray[np.int64]:
        """Keys of the records that hold photos: without those of ranges, where InsightFace's record 0 says which."""
        if 0 in self._where and (first := self.record(0)).ranges:
            return self.keys[(self.keys > 0) & (self.keys < int(first.labels[0]))]
        return self.keys

    @property
    def people(self) -> dict[int, range]:
        """The keys of each class's photos, where the file has InsightFace's records of ranges; else nothing."""
        if 0 not in self._where or not (first := self.record(0)).ranges:
            return {}
        found = {}
        for key in range(*map(int, first.labels)):
            person = self.record(key)
            if not person.ranges:
                raise InputError(f"record {key} of {printable_path(self.path)} should say which photos are of whom")
            start, end = map(int, person.labels)
            label = self.record(start).labels[0]
            found[int(label) if label < EXACT else -1] = range(start, end)
        return found


def _index(path: Path) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the keys and offsets of an ``.idx`` file, of which each line has one of both."""
    keys, offsets = array("q"), array("q")
    for number, line in text_lines(path):
        try:
            key, offset = line.split()
            keys.append(int(key))
            offsets.append(int(offset))
        except (ValueError, OverflowError):
            raise InputError(f"line {number} of {printable_path(path)} is no key and offset: {line[:40]!r}") from None
    return np.array(keys, np.int64), np.array(offsets, np.int64)


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of an index or list with their numbers, from 1 on."""
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(_LINE + 1):
                number += 1
                if len(line) > _LINE:
                    raise InputError(f"line {number} of {printable_path(path)} has more than {_LINE} bytes")
                yield number, line.decode("utf-8", "replace").rstrip("\r\n")
    except OSError as error:
        raise InputError(f"{printable_path(path)} can't be read: {reason(error)}") from None


class RecordWriter:
    """A ``.rec`` file being written with its index."""

    def __init__(self, out: BinaryIO, index: BinaryIO) -> None:
        self._out = out
        self._index = index
        self._at = 0

    def write(self, key: int, record: Record) -> None:
        """Write a record, and the byte where it begins into the index."""
        payload = record.pack()
        if len(payload) > MAX_IMAGE:
            raise InputError(f"a photo of {len(record.image)} bytes is too large: {MAX_IMAGE} are the limit")
        self._index.write(b"%d\t%d\n" % (key, self._at))
        parts = _split(payload)
        last = len(parts) - 1
        for i, part in enumerate(parts):
            kind = _WHOLE if not last else _FIRST if not i else _LAST if i == last else _MIDDLE
            padding = -len(part) % 4
            self._out.write(_FRAME.pack(_MAGIC, kind << 29 | len(part)))
            self._out.write(part)
            self._out.write(b"\0" * padding)
            self._at += _FRAME.size + len(part) + padding


def _split(payload: bytes) -> list[bytes]:
    """Cut a payload wherever the magic number stands at a multiple of 4, and take it out."""
    parts = []
    start = 0
    at = payload.find(_MAGIC)
    while at >= 0:
        if at % 4:
            at = payload.find(_MAGIC, at + 1)
        else:
            parts.append(payload[start:at])
            start = at + 4
            at = payload.find(_MAGIC, start)
    parts.append(payload[start:])
    return parts

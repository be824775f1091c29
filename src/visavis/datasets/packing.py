"""Photos into a packed file: see `visavis.datasets.packed`."""

from __future__ import annotations

import hashlib
import json
import os
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

import numpy as np

from visavis.datasets.packed import ALIGNED, MAGIC, START, VERSION
from visavis.datasets.photos import PhotoSet
from visavis.errors import ImageError, InputError, StorageError, VisavisError
from visavis.files import printable_path, reason
from visavis.image import load_image, resize
from visavis.models.durable import only_writer
from visavis.types import Image

__all__ = ["Packable", "Photo", "Summary", "pack", "samples_of"]

Bad = Callable[[str, VisavisError], None]


class Packable(Protocol):
    """A photo to pack: as `visavis.datasets.containers.samples.Sample`."""

    @property
    def key(self) -> str:
        """Its name."""
        ...

    @property
    def image(self) -> bytes:
        """As it is encoded."""
        ...

    @property
    def label(self) -> str | None:
        """Its person; None where that is not known."""
        ...


class Photo(NamedTuple):
    """A photo to pack."""

    key: str
    image: bytes
    label: str | None = None


@dataclass(frozen=True)
class Summary:
    """What was packed: how many photos and people, the file's bytes, and the SHA-256 of its header."""

    photos: int
    people: int
    bytes: int
    sha256: str
    shape: tuple[int, int] | None


def samples_of(photos: PhotoSet) -> Iterator[Photo]:
    """Give the photos of a `PhotoSet` one after the other."""
    for i, (key, person) in enumerate(zip(photos.photos, photos.people, strict=True)):
        yield Photo(key, photos.read(i), person)


def pack(
    samples: Iterable[Packable],
    path: str | os.PathLike[str],
    *,
    encoded: bool = False,
    size: tuple[int, int] | None = None,
    threads: int = 1,
    bad: Bad | None = None,
) -> Summary:
    """Write photos into one file, which appears when it is whole.

    Parameters
    ----------
    samples
        Taken as they are needed.
    path
        The file; one of that name is replaced.
    encoded
        Keep the bytes of the photos: a tenth of the room, and each is decoded when it is taken.
    size
        Height and width that pixels are resized to; without it all photos must be of one size.
    threads
        To decode with.
    bad
        Called with the key of a photo that can't be read, and why; it is left out. Without it that is an error.

    Raises
    ------
    InputError
        If there is no photo, one can't be read, or one is of another size.
    StorageError
        If the file can't be written, or another process is writing it.
    """
    target = Path(path).expanduser()
    part = target.with_name(f".{target.name}.part")
    if size is not None and (encoded or min(size) < 1):
        raise InputError(f"pixels are resized to at least 1x1, encoded photos are not resized: {size}")
    if target.is_dir():
        raise InputError(f"{printable_path(target)} is a folder; give the name of a file")
    try:
        with only_writer(target, part.with_suffix(".lock")):
            try:
                with part.open("wb") as file:
                    summary = _Writer(file, encoded, size).write(_ready(samples, encoded, size, threads, bad))
                    file.flush()
                    os.fsync(file.fileno())
                part.replace(target)
            finally:
                part.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"{printable_path(target)} can't be written: {reason(error)}; nothing was kept") from None
    return summary


def _ready(
    samples: Iterable[Packable], encoded: bool, size: tuple[int, int] | None, threads: int, bad: Bad | None
) -> Iterator[tuple[Packable, Any]]:
    """Decode photos a few at a time; give each with its pixels or bytes, in order."""

    def decode(sample: Packable) -> Any:
        try:
            image = load_image(sample.image)
            if encoded:
                return sample.image
            return image if size is None else resize(image, size[1], size[0])
        except InputError as error:
            return ImageError(f"{sample.key}: {error}")

    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[tuple[Packable, Future[Any]]] = deque()
        rest = iter(samples)
        try:
            more = True
            while more or waiting:
                while more and len(waiting) <= 2 * threads:
                    sample = next(rest, None)
                    more = sample is not None
                    if sample is not None:
                        waiting.append((sample, pool.submit(decode, sample)))
                if waiting:
                    sample, future = waiting.popleft()
                    found = future.result()
                    if not isinstance(found, VisavisError):
                        yield sample, found
                    elif bad is None:
                        raise found
                    else:
                        bad(sample.key, found)
        finally:
            for _, future in waiting:
                future.cancel()


class _Writer:
    """Lays out a file: a start that is written last, blocks at pages, and the header that says where they are."""

    def __init__(self, file: BinaryIO, encoded: bool, size: tuple[int, int] | None) -> None:
        self._file = file
        self._encoded = encoded
        self._shape = size
        self._blocks: dict[str, dict[str, Any]] = {}

    def write(self, ready: Iterator[tuple[Packable, Any]]) -> Summary:
        self._file.write(bytes(ALIGNED))
        people: dict[str, int] = {}
        labels, key_ends, ends = array("q"), array("q", [0]), array("q", [0])
        keys = bytearray()
        digest, start = hashlib.sha256(), self._file.tell()
        for sample, found in ready:
            data = found if self._encoded else self._pixels(sample.key, found)
            self._file.write(data)
            digest.update(data)
            ends.append(ends[-1] + len(data))
            keys += sample.key.encode("utf-8", "surrogateescape")
            key_ends.append(len(keys))
            labels.append(-1 if sample.label is None else people.setdefault(sample.label, len(people)))
        if not labels:
            raise InputError("there is no photo to pack")
        self._blocks["images"] = {"offset": start, "bytes": ends[-1], "sha256": digest.hexdigest()}
        if self._encoded:
            self._block("image_ends", np.array(ends[1:], "<i8").tobytes())
        self._block("labels", np.array(labels, "<i8").tobytes())
        self._block("keys", bytes(keys))
        self._block("key_ends", np.array(key_ends[1:], "<i8").tobytes())
        return self._header(len(labels), list(people))

    def _pixels(self, key: str, image: Image) -> bytes:
        height, width = image.shape[:2]
        if self._shape is None:
            self._shape = (height, width)
        if (height, width) != self._shape:
            raise InputError(
                f"{key} is {width}x{height} and the first photo {self._shape[1]}x{self._shape[0]}: give a size to "
                "resize to, align them first, or pack them encoded"
            )
        return image.tobytes()

    def _block(self, name: str, data: bytes) -> None:
        self._pad()
        where = self._file.tell()
        self._file.write(data)
        self._blocks[name] = {"offset": where, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}

    def _pad(self) -> None:
        self._file.write(bytes(-self._file.tell() % ALIGNED))

    def _header(self, photos: int, people: Sequence[str]) -> Summary:
        self._pad()
        header = {
            "format": "visavis packed faces",
            "photos": photos,
            "encoded": self._encoded,
            "shape": None if self._encoded else self._shape,
            "people": list(people),
            "blocks": self._blocks,
        }
        text = json.dumps(header).encode()
        where = self._file.tell()
        self._file.write(text)
        total, digest = self._file.tell(), hashlib.sha256(text)
        self._file.seek(0)
        self._file.write(START.pack(MAGIC, VERSION, 0, where, len(text), total, digest.digest()))
        return Summary(photos, len(people), total, digest.hexdigest(), None if self._encoded else self._shape)

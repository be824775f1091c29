"""A data set as one file that training processes share: decoded pixels, or encoded photos, mapped into memory.

The system keeps one copy of what is read, however many processes map the file, and nothing is decoded (pixels) or
opened (encoded) again in each epoch. docs/preload.md describes the format; numpy alone can read it.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from visavis.errors import InputError, VisavisError
from visavis.files import printable_path, reason
from visavis.image import load_image
from visavis.types import Image

__all__ = ["ALIGNED", "MAGIC", "START", "VERSION", "PackedFaces"]

MAGIC = b"VISAVIS\x89"  # no text, so that a transfer as text shows
VERSION = 1
START = struct.Struct("<8sIIQQQ32s")  # magic, version, 0, where the header is, its length, the file's, its SHA-256
ALIGNED = 4096  # blocks begin at pages
_MAX_HEADER = 2**30
_MAX_PHOTOS = 2**40
_CHUNK = 2**24


class PackedFaces:
    """A packed data set: ``faces[i]`` is an image and its label. Made by `open`.

    It is what PyTorch calls a map-style dataset. Sent to another process, it goes as the file's path and is mapped
    there anew: all processes share one copy in memory.

    Attributes
    ----------
    path
        The file.
    people
        The person of label 0, 1, ...
    labels
        Int64 ``(n,)``: which of `people` each photo shows; -1 where that is not known.
    shape
        Height and width of the pixels; None where photos are encoded.

    Examples
    --------
    >>> faces = PackedFaces.open("train.pack")             # doctest: +SKIP
    >>> image, label = faces[0]                            # doctest: +SKIP
    >>> loader = torch.utils.data.DataLoader(faces, batch_size=256, num_workers=4, shuffle=True)  # doctest: +SKIP
    """

    def __init__(self, path: Path, header: dict[str, Any], digest: bytes) -> None:
        self.path = path
        self._digest = digest
        self._header = header
        self._blocks = header["blocks"]
        self.people: tuple[str, ...] = tuple(header["people"])
        self.labels = self._mapped("labels", np.int64)
        self.shape: tuple[int, int] | None = None if header["encoded"] else tuple(header["shape"])
        self._keys = self._mapped("keys", np.uint8)
        self._key_ends = self._mapped("key_ends", np.int64)
        self._ends: npt.NDArray[np.int64] | None = None
        pixels = self._mapped("images", np.uint8)
        if self.shape is None:
            self._ends = self._mapped("image_ends", np.int64)
            self._data = pixels
        else:
            self._data = pixels.reshape(len(self.labels), *self.shape, 3)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> PackedFaces:
        """Map a packed file. Its header and the places of its blocks are checked; see `verify` for the rest.

        Raises
        ------
        InputError
            If it is missing, none of these files, cut off, damaged, or written by a newer visavis.
        """
        path = Path(path).expanduser().absolute()
        name = printable_path(path)
        try:
            with path.open("rb") as file:
                header, digest = _read_header(file, name)
            faces = cls(path, header, digest)
        except (OSError, ValueError) as error:
            if isinstance(error, VisavisError):
                raise
            raise InputError(f"{name} can't be read: {reason(error)}") from None
        except (KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            raise InputError(f"{name} is damaged: its header is not what it should be") from None
        faces._check(name)
        return faces

    @property
    def images(self) -> npt.NDArray[np.uint8]:
        """All pixels, uint8 ``(n, h, w, 3)``, RGB, mapped: nothing is copied, nothing can be changed."""
        if self.shape is None:
            raise InputError(f"{printable_path(self.path)} holds encoded photos; take them one by one")
        return self._data

    @property
    def sha256(self) -> str:
        """Hash of the header, which holds those of the blocks: what a training run should write down."""
        return self._digest.hex()

    def encoded(self, i: int) -> bytes:
        """Return photo i as it is encoded."""
        if self._ends is None:
            raise InputError(f"{printable_path(self.path)} holds pixels, not encoded photos")
        return self._data[slice(*self._span(self._ends, i))].tobytes()

    def key(self, i: int) -> str:
        """Return the name of photo i."""
        return self._keys[slice(*self._span(self._key_ends, i))].tobytes().decode("utf-8", "surrogateescape")

    def verify(self) -> None:
        """Read all of it and compare with the hashes it was written with.

        Raises
        ------
        InputError
            If a block was changed.
        """
        for name, block in self._blocks.items():
            data, digest = self._mapped(name, np.uint8), hashlib.sha256()
            for start in range(0, len(data), _CHUNK):
                digest.update(data[start : start + _CHUNK].tobytes())
            if digest.hexdigest() != block["sha256"]:
                raise InputError(f"{printable_path(self.path)} is damaged: its {name} are not those that were written")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Any) -> tuple[Any, Any]:
        """Return image and label of an integer, or images and labels of a slice, mask or index array, as copies.

        Encoded photos of one size come as an array, else as a list.
        """
        if isinstance(index, (int, np.integer)):
            i = int(index)
            if not -len(self) <= i < len(self):
                raise IndexError(f"photo {i} of {len(self)}")
            i %= len(self)
            image = self._data[i].copy() if self._ends is None else load_image(self.encoded(i))
            return image, int(self.labels[i])
        if self._ends is None:
            return np.array(self._data[index]), np.array(self.labels[index])
        rows = np.arange(len(self))[index]
        images = [load_image(self.encoded(int(i))) for i in rows]
        stacked = np.stack(images) if len({image.shape for image in images}) == 1 else images
        return stacked, np.array(self.labels[index])

    def __iter__(self) -> Iterator[tuple[Image, int]]:
        return (self[i] for i in range(len(self)))

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (str(self.path), self._digest)

    def __repr__(self) -> str:
        kind = "encoded" if self.shape is None else "x".join(map(str, self.shape))
        return f"PackedFaces({str(self.path)!r}: {len(self)} photos, {kind}, of {len(self.people)} people)"

    def _span(self, ends: npt.NDArray[np.int64], i: int) -> tuple[int, int]:
        if not -len(self) <= i < len(self):
            raise IndexError(f"photo {i} of {len(self)}")
        i %= len(self)
        return (int(ends[i - 1]) if i else 0), int(ends[i])

    def _mapped(self, name: str, kind: type[Any]) -> npt.NDArray[Any]:
        block = self._blocks[name]
        count = block["bytes"] // np.dtype(kind).itemsize
        if not count:  # an empty file part can't be mapped
            return np.empty(0, kind)
        little = np.dtype(kind).newbyteorder("<")
        # A plain array over the map: np.memmap's own class makes each item of it slower to take.
        return np.asarray(np.memmap(self.path, little, "r", offset=block["offset"], shape=(count,)))

    def _check(self, name: str) -> None:
        """Refuse a file whose numbers would lead out of it."""
        n = len(self.labels)
        wrong = len(self._key_ends) != n or not _rising(self._key_ends, len(self._keys))
        if self._ends is not None:
            wrong = wrong or len(self._ends) != n or not _rising(self._ends, len(self._data))
        wrong = wrong or bool(n and not -1 <= int(self.labels.min()) <= int(self.labels.max()) < len(self.people))
        if wrong:
            raise InputError(f"{name} is damaged: its labels or keys don't fit its photos")


def _reopened(path: str, digest: bytes) -> PackedFaces:
    faces = PackedFaces.open(path)
    if faces._digest != digest:
        raise InputError(f"{printable_path(path)} was replaced by another file since it was opened")
    return faces


def _rising(ends: npt.NDArray[np.int64], total: int) -> bool:
    if not len(ends):
        return total == 0
    return int(ends[0]) >= 0 and int(ends[-1]) == total and bool((ends[1:] >= ends[:-1]).all())


def _read_header(file: BinaryIO, name: str) -> tuple[dict[str, Any], bytes]:
    start = file.read(START.size)
    length = os.fstat(file.fileno()).st_size
    if len(start) < START.size or start[: len(MAGIC)] != MAGIC:
        whole = "is empty" if not length else "is no packed data set; make one with visavis datasets pack"
        raise InputError(f"{name} {whole}")
    _, version, _, where, size, total, digest = START.unpack(start)
    if version > VERSION:
        raise InputError(f"{name} was written by a newer visavis (format {version}, this one reads {VERSION}); update")
    if version < 1 or length != total:
        raise InputError(f"{name} is cut off or damaged: it has {length} bytes, not {total}; copy it again")
    if not (START.size <= where <= total and size == total - where and size <= _MAX_HEADER):
        raise InputError(f"{name} is damaged: its header lies outside of it")
    file.seek(where)
    text = file.read(size)
    if hashlib.sha256(text).digest() != digest:
        raise InputError(f"{name} is damaged: its header was changed")
    header = json.loads(text)
    _check_header(header, where, name)
    return header, digest


def _check_header(header: Any, end: int, name: str) -> None:
    """Check that what the header says can be true, whoever wrote it."""
    expected = {"images", "labels", "keys", "key_ends"} | ({"image_ends"} if header["encoded"] else set())
    blocks = header["blocks"]
    wrong = set(blocks) != expected or not all(isinstance(person, str) for person in header["people"])
    for block in blocks.values():
        offset, size = block["offset"], block["bytes"]
        whole = type(offset) is int and type(size) is int
        wrong = wrong or not (whole and offset >= ALIGNED and size >= 0 and offset + size <= end and offset % 8 == 0)
    wrong = wrong or any(blocks[part]["bytes"] % 8 for part in ("labels", "key_ends"))
    n = header["photos"]
    wrong = wrong or type(n) is not int or blocks["labels"]["bytes"] != 8 * n
    if not header["encoded"]:
        sides = header["shape"]
        wrong = wrong or len(sides) != 2 or not all(type(side) is int and side > 0 for side in sides)
        wrong = wrong or blocks["images"]["bytes"] != n * math.prod(sides) * 3
    if wrong:
        raise InputError(f"{name} is damaged: its blocks don't fit its header")

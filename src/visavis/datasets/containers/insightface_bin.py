"""InsightFace's verification sets: ``lfw.bin``, ``cfp_fp.bin``, ``agedb_30.bin``, ``calfw.bin``, ``cplfw.bin``.

A pickle of ``(bins, issame_list)``: two encoded photos a pair, one after the other, and for each pair whether both show
one person. It is read without running anything, see `restricted_pickle`.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, overload

import numpy as np
import numpy.typing as npt

from visavis.datasets.containers.restricted_pickle import Array, Span, read_pickle
from visavis.datasets.containers.samples import Bad, Sample, read_each
from visavis.datasets.containers.staging import staged
from visavis.datasets.lfw import Pairs
from visavis.errors import InputError
from visavis.files import printable_path, reason

__all__ = ["BinPairs", "read_bin", "read_samples", "write_bin", "write_samples"]

_FOLDS = 10
_KEY = re.compile(r"(?:^|/)[0-9]{6,}-(mated|nonmated)-([ab])$")
_BATCH = 1000  # photos a pickle appends at once, as Python's does


class _Photos(Sequence[bytes]):
    """Photos that are read from the file each time they are asked for."""

    def __init__(self, path: Path, places: list[Span | bytes]) -> None:
        self.path = path
        self.places = places

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | Sequence[bytes]:
        if isinstance(index, slice):
            return _Photos(self.path, self.places[index])
        place = self.places[index]
        if isinstance(place, bytes):
            return place
        try:
            with self.path.open("rb") as file:
                data = place.read(file)
        except OSError as error:
            raise InputError(f"{printable_path(self.path)} can't be read: {reason(error)}") from None
        if len(data) != place.length:
            raise InputError(f"{printable_path(self.path)} has become shorter since it was opened")
        return data


@dataclass(frozen=True, eq=False)
class BinPairs:
    """Pairs of photos; a photo set, as `embed_photos` takes it.

    Attributes
    ----------
    images
        2 p encoded photos: 0 and 1 are the first pair. Of a file, each is read when asked for.
    mated
        ``(p,)``: whether both of a pair show one person.

    Examples
    --------
    >>> pairs = BinPairs([b"a", b"b", b"c", b"d"], np.array([True, False]))
    >>> pairs.photos
    ['000000-mated-a', '000000-mated-b', '000001-nonmated-a', '000001-nonmated-b']
    >>> pairs.pairs(folds=2).photos.tolist()
    [[0, 1], [2, 3]]
    """

    images: Sequence[bytes] = field(repr=False)
    mated: npt.NDArray[np.bool_]

    def __post_init__(self) -> None:
        if self.mated.ndim != 1 or self.mated.dtype != bool or len(self.images) != 2 * len(self.mated):
            raise InputError(
                f"pairs need two photos each and a boolean (p,), not {len(self.images)} photos and "
                f"{self.mated.dtype} {self.mated.shape}"
            )

    def __len__(self) -> int:
        return len(self.mated)

    @cached_property
    def photos(self) -> list[str]:
        """A name for each photo: the number of its pair, the pair's kind, and which of the two it is."""
        kinds = ["mated" if mated else "nonmated" for mated in self.mated.tolist()]
        return [f"{pair:06d}-{kind}-{side}" for pair, kind in enumerate(kinds) for side in "ab"]

    @cached_property
    def people(self) -> list[str]:
        """A person for each photo. The file says only whether the two of a pair are one, nothing across pairs."""
        return [name[:-2] if "-mated-" in name else name for name in self.photos]

    def read(self, i: int) -> bytes:
        """Return photo i as it is encoded."""
        return self.images[i]

    def pairs(self, folds: int = _FOLDS) -> Pairs:
        """Return the pairs in folds of successive pairs, the first ones larger by one where it doesn't come out even.

        InsightFace's ``verification.py`` divides them so (scikit-learn's ``KFold`` without shuffling).
        """
        count = len(self.mated)
        if not 1 <= folds <= count:
            raise InputError(f"{count} pairs can't be divided into {folds} folds")
        sizes = np.full(folds, count // folds)
        sizes[: count % folds] += 1
        return Pairs(np.arange(2 * count).reshape(-1, 2), self.mated, np.repeat(np.arange(folds), sizes))


def read_bin(path: str | os.PathLike[str]) -> BinPairs:
    """Open a ``.bin`` file of pairs.

    Only the places of the photos are loaded; photos are read when asked for.

    Raises
    ------
    InputError
        If it can't be read, is cut off or malformed, names anything a list of photos doesn't need (nothing of it is
        run), or its photos and pairs don't fit each other.
    """
    path = Path(path)
    name = printable_path(path)
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if not size:
                raise InputError(f"{name} is empty")
            try:
                found = read_pickle(file, size)
            except InputError as error:
                raise InputError(f"{name} is refused: {error}") from None
            return BinPairs(_Photos(path, _places(found, name)), _mated(found, file, name))
    except OSError as error:
        raise InputError(f"{name} can't be read: {reason(error)}") from None


def _places(found: Any, name: str) -> list[Span | bytes]:
    """Return where the photos lie, after checking that there are two for each pair."""
    if not (isinstance(found, (tuple, list)) and len(found) == 2 and isinstance(found[0], (tuple, list))):
        raise InputError(f"{name} is no verification set: it must hold a list of photos and a list of booleans")
    photos, mated = found
    places = []
    for i, photo in enumerate(photos):
        data = photo.data if isinstance(photo, Array) and len(photo.shape) == 1 else photo
        if not isinstance(data, (bytes, Span)):
            raise InputError(f"{name}: photo {i} is a {type(photo).__name__}, not the bytes of an encoded image")
        places.append(data)
    pairs = mated.shape[0] if isinstance(mated, Array) and mated.shape else len(_listed(mated, name))
    if len(places) != 2 * pairs:
        raise InputError(f"{name} has {len(places)} photos for {pairs} pairs; there must be two for each")
    if not pairs:
        raise InputError(f"{name} holds no pairs")
    return places


def _listed(mated: Any, name: str) -> Sequence[Any]:
    if not isinstance(mated, (tuple, list)):
        raise InputError(f"{name}: whether pairs are mated must be a list of booleans, not {type(mated).__name__}")
    return mated


def _mated(found: Any, file: BinaryIO, name: str) -> npt.NDArray[np.bool_]:
    values = found[1].load(file).ravel().tolist() if isinstance(found[1], Array) else _listed(found[1], name)
    for i, value in enumerate(values):
        if not (isinstance(value, int) and value in (0, 1)):
            raise InputError(f"{name}: whether pair {i} is mated must be a boolean, not {str(value)[:40]!r}")
    return np.array(values, bool)


def write_bin(path: str | os.PathLike[str], images: Iterable[bytes], mated: npt.ArrayLike) -> None:
    """Write a ``.bin`` file of pairs, as InsightFace's tools read it, one photo at a time.

    Parameters
    ----------
    images
        Encoded photos, the two of a pair one after the other.
    mated
        ``(p,)``: whether both of a pair show one person.

    Raises
    ------
    InputError
        If there are not two photos for each pair, or the file is there already.
    StorageError
        If the disk is full or can't be written to; no file appears then.
    """
    flags = np.asarray(mated)
    if flags.ndim != 1 or flags.dtype != bool:
        raise InputError(f"whether pairs are mated must be booleans (p,), not {flags.dtype} {flags.shape}")
    _write(Path(path), images, flags.tolist, None)


def _write(path: Path, images: Iterable[bytes], mated: Callable[[], Sequence[bool]], needed: int | None) -> list[Path]:
    with staged(path, needed) as staging, staging.path(path.name).open("wb") as file:
        file.writelines(_pickled(images, mated))
    return staging.placed


def _pickled(images: Iterable[bytes], mated: Callable[[], Sequence[bool]]) -> Iterator[bytes]:
    """Yield the pickle of ``(list of bytes, list of bool)`` in protocol 3, the lowest that has bytes.

    ``mated`` is asked when all images have been written.
    """
    yield b"\x80\x03]"
    count = 0
    for image in images:
        if len(image) >= 2**32:
            raise InputError(f"photo {count} has {len(image)} bytes")
        if count % _BATCH == 0:
            yield b"(" if count == 0 else b"e("
        yield b"B" + struct.pack("<I", len(image)) + image
        count += 1
    flags = mated()
    if count != 2 * len(flags):
        raise InputError(f"{count} photos for {len(flags)} pairs; there must be two for each")
    yield (b"e" if count else b"") + b"]("
    yield b"".join(b"\x88" if flag else b"\x89" for flag in flags) + b"e\x86."


def read_samples(path: str | os.PathLike[str], *, bad: Bad | None = None) -> Iterator[Sample]:
    """Yield the photos of a ``.bin`` file; keys say which are a pair and whether it is mated, see `BinPairs.photos`.

    Parameters
    ----------
    bad
        Called for each photo that can't be read, instead of raising.
    """
    pairs = read_bin(path)
    yield from read_each(range(len(pairs.photos)), lambda i: Sample(pairs.photos[i], pairs.read(i)), bad)


def write_samples(
    path: str | os.PathLike[str], samples: Iterable[Sample], *, needed: int | None = None, bad: Bad | None = None
) -> list[Path]:
    """Write photos whose keys say which are a pair, as `read_samples` gave them; return the path.

    Parameters
    ----------
    needed
        About how many bytes will be written, for a disk that has not as many free.
    bad
        Called for each pair of which a photo is missing, instead of raising.

    Raises
    ------
    InputError
        If a key says no pair, or the file is there already.
    StorageError
        If the disk is full or can't be written to; no file appears then.
    """
    mated: list[bool] = []

    def images() -> Iterator[bytes]:
        for first, second, kind in _paired(samples, bad):
            mated.append(kind)
            yield first
            yield second

    return _write(Path(path), images(), lambda: mated, needed)


def _paired(samples: Iterable[Sample], bad: Bad | None) -> Iterator[tuple[bytes, bytes, bool]]:
    """Yield the two photos of each pair and whether it is mated."""
    waiting: Sample | None = None
    for sample in samples:
        match = _KEY.search(sample.key)
        if match is None:
            raise InputError(
                f"a .bin holds pairs, and {sample.key!r} says of none: convert from another .bin or from LFW's layout "
                "with its pairs.txt"
            )
        if waiting is not None and waiting.key[:-1] == sample.key[:-1] and (waiting.key[-1], match[2]) == ("a", "b"):
            yield waiting.image, sample.image, match[1] == "mated"
            waiting = None
            continue
        alone, waiting = (waiting, sample) if match[2] == "a" else (sample, waiting)
        if alone is not None:
            _alone(alone, bad)
    if waiting is not None:
        _alone(waiting, bad)


def _alone(sample: Sample, bad: Bad | None) -> None:
    error = InputError(f"{sample.key!r} is one photo of a pair, and the other does not follow or precede it")
    if bad is None:
        raise error
    bad(error)

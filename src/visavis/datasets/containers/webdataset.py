"""WebDataset: tar files whose members of one name are a sample: ``ada/0001.jpg``, ``ada/0001.cls``, ``ada/0001.json``.

A member's key is its path up to the first dot of the file's name; members of a key follow each other. Source: the
package webdataset, ``tariterators.py``.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from visavis.datasets.containers.samples import (
    MAX_IMAGE,
    Bad,
    Classes,
    Sample,
    find_labels,
    image_suffix,
    is_line,
    labels_path,
    put_each,
    read_each,
)
from visavis.datasets.containers.shards import Shards, find_shards
from visavis.datasets.containers.staging import staged
from visavis.errors import InputError
from visavis.files import IMAGE_SUFFIXES, printable_path, reason

__all__ = ["read_webdataset", "write_webdataset"]

_MAX_TEXT = 2**20  # bytes of a .cls, .txt or .json
_MAX_READ = MAX_IMAGE + 2**20  # bytes that tarfile may ask for at once
_BUFFER = 2**20
_END = bytes(tarfile.BLOCKSIZE)
_MAX_MEMBERS = 100  # of a sample, whose names are kept
_TEXTS = ("cls", "txt", "json")
_NUMBER = re.compile(r"-?[0-9]{1,18}")
_KEY = "key"  # in .json: the sample's key, where a tar can't spell it


def read_webdataset(path: str | os.PathLike[str], *, bad: Bad | None = None) -> Iterator[Sample]:
    """Yield the samples of a shard, or of all shards of a pattern, in bounded memory.

    Nothing is unpacked to disk. A label is what ``.cls`` says (an id by its name in ``NAME.tar.labels.txt``, or text),
    else ``"label"`` in ``.json``, else a line of ``.txt``. The rest of ``.json`` is ``metadata``, and a ``.txt`` that
    is not the label is its ``"text"``.

    Parameters
    ----------
    bad
        Called for each sample without an image or with a member that is malformed or too large, instead of raising.

    Raises
    ------
    InputError
        If a shard can't be read, is cut off or damaged: after all samples before that place. The message names the
        sample, counted from 0, and the byte.
    """
    path = Path(path)
    classes = Classes.load(find_labels(path))

    def sample(item: tuple[Path, int, int, str, _Members]) -> Sample:
        shard, number, start, key, members = item
        try:
            return _sample(key, members, classes)
        except InputError as error:
            raise InputError(f"sample {number} of {printable_path(shard)}, at byte {start}, {error}") from None

    groups = ((shard, i, *found) for shard in find_shards(path) for i, found in enumerate(_samples(shard)))
    yield from read_each(groups, sample, bad)


_Members = dict[str, "bytes | InputError"]


def _samples(shard: Path) -> Iterator[tuple[int, str, _Members]]:
    """Yield each sample's first byte, key and members by their suffix."""
    number = start = 0
    key = ""
    members: _Members = {}
    try:
        for at, name, data in _members(shard):
            head, slash, file = name.removeprefix("./").rpartition("/")
            stem, dot, suffix = file.partition(".")
            if not dot or not stem or file.startswith("__"):
                continue
            if members and head + slash + stem != key:
                yield start, key, members
                number, members = number + 1, {}
            if not members:
                key, start = head + slash + stem, at
            suffix = suffix.lower()
            if suffix in members:
                members[suffix] = InputError(f"has two members {suffix!r}")
            elif _wanted(suffix, members):
                members[suffix] = data
            elif len(members) < _MAX_MEMBERS:
                members[suffix] = b""  # only its name is told, where there is no image
    except _Broken as broken:
        where = f"sample {number} of {printable_path(shard)}"
        raise InputError(f"{where} can't be read at byte {broken.at}: {broken}") from None
    if members:
        yield start, key, members


def _wanted(suffix: str, members: _Members) -> bool:
    """Whether a member's contents count: texts, and the first image."""
    if suffix in _TEXTS:
        return True
    return _is_image(suffix) and not any(map(_is_image, members))


def _is_image(suffix: str) -> bool:
    return f".{suffix}" in IMAGE_SUFFIXES


class _Broken(Exception):
    """The archive can't be read on from a byte."""

    def __init__(self, at: int, what: str) -> None:
        super().__init__(what)
        self.at = at


class _Bounded(io.RawIOBase):
    """A file that is never asked for more than a limit at once, whatever lengths an archive announces."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MAX_READ:
            raise InputError(f"it announces a header of {size} bytes")
        return bytes(self._file.read(size))

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())


def _members(shard: Path) -> Iterator[tuple[int, str, bytes | InputError]]:
    """Yield each file's first byte, name and contents, or that it is too large."""
    at = 0
    try:
        with shard.open("rb", buffering=_BUFFER) as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            file: Any = _Bounded(gzip.GzipFile(fileobj=raw) if packed else raw)
            with tarfile.open(fileobj=file, mode="r:", errorlevel=1) as archive:
                headers: list[tarfile.TarInfo] = archive.members  # type: ignore[attr-defined]
                while (member := archive.next()) is not None:
                    headers.clear()  # it would keep them all
                    if archive.offset <= (at := member.offset):
                        raise _Broken(at, "the archive is damaged: a length is below zero")
                    if not member.isreg():
                        continue
                    if member.size > MAX_IMAGE:
                        yield at, member.name, InputError(f"has {member.size} bytes; {MAX_IMAGE} are the limit")
                        continue
                    contents = archive.extractfile(member)
                    data = b"" if contents is None else contents.read()
                    if len(data) < member.size:
                        raise _Broken(at, f"{member.name[:200]!r} is cut off")
                    yield at, member.name, data
                at = archive.offset
                # tarfile ends without a word where a header is missing or damaged.
                file.seek(at)
                if file.read(tarfile.BLOCKSIZE) != _END:
                    raise _Broken(at, "the archive is cut off or damaged: its end is not marked")
    except (tarfile.TarError, EOFError, zlib.error, InputError) as error:
        raise _Broken(at, f"the archive is cut off or damaged: {reason(error)}") from None
    except OSError as error:
        raise _Broken(at, reason(error)) from None


def _sample(key: str, members: _Members, classes: Classes) -> Sample:
    for suffix, data in members.items():
        if isinstance(data, InputError) and (suffix in _TEXTS or _is_image(suffix)):
            raise data
    image = next((data for suffix, data in members.items() if _is_image(suffix)), None)
    if not isinstance(image, bytes):
        raise InputError(f"{key[:200]!r}, has no image, only {', '.join(sorted(members))[:200]}")
    metadata = _json(members["json"]) if "json" in members else {}
    label: str | None = None
    if "cls" in members:
        text = _text(members["cls"]).strip()
        label = classes.name(int(text)) if _NUMBER.fullmatch(text) else text
    elif isinstance(metadata.get("label"), (str, int)):
        label = str(metadata.pop("label"))
    if "txt" in members:
        text = _text(members["txt"]).strip()
        if label is None and "json" not in members and text and is_line(text) and len(text) < 200:
            label = text
        else:
            metadata["text"] = text
    spelled = metadata.pop(_KEY, key)
    return Sample(spelled if isinstance(spelled, str) else key, image, label, metadata)


def _text(data: bytes | InputError) -> str:
    if isinstance(data, InputError) or len(data) > _MAX_TEXT:
        raise InputError(f"has a text of more than {_MAX_TEXT} bytes")
    return data.decode("utf-8", "replace")


def _json(data: bytes | InputError) -> dict[str, Any]:
    try:
        found = json.loads(_text(data))
    except (ValueError, RecursionError):
        raise InputError("has a .json that is none") from None
    return found if isinstance(found, dict) else {"json": found}


def write_webdataset(
    path: str | os.PathLike[str],
    samples: Iterable[Sample],
    *,
    classes: Classes | None = None,
    shard_size: int | None = None,
    needed: int | None = None,
    bad: Bad | None = None,
) -> list[Path]:
    """Write photos as tar shards; a path that ends with ``.gz`` or ``.tgz`` is compressed. Return the paths written.

    A sample is its image, ``.cls`` with the class id where it has a label (names stand in ``NAME.tar.labels.txt``), and
    ``.json`` where it has metadata.

    Parameters
    ----------
    classes
        Class ids of labels; by default 0, 1, ... as labels come.
    shard_size
        Samples a file: ``train.tar`` becomes ``train-000000.tar`` and so on; or give a pattern, ``train-%06d.tar``.
    needed
        About how many bytes will be written, for a disk that has not as many free.
    bad
        Called for each sample that can't be written, instead of raising.

    Raises
    ------
    InputError
        If it is there already, or two photos that follow each other have one key.
    StorageError
        If the disk is full or can't be written to; no file appears then.
    """
    path = Path(path)
    classes = Classes() if classes is None else classes
    shards = Shards(path, shard_size)
    last = ""
    with staged(shards.first, needed) as staging:
        labels = labels_path(path).name
        staging.path(labels)  # refuses one that is there before any work is done
        for place, part in shards.split(samples, staging):
            with (
                place.open("wb", buffering=_BUFFER) as raw,
                _packed(raw, path) as file,
                tarfile.open(fileobj=file, mode="w:", format=tarfile.PAX_FORMAT) as archive,
            ):
                headers: list[tarfile.TarInfo] = archive.members  # type: ignore[attr-defined]

                def put(sample: Sample, archive: tarfile.TarFile = archive, headers: Any = headers) -> None:
                    nonlocal last
                    key = _spelled(sample.key)
                    if key == last:
                        raise InputError(f"two photos have the key {key!r}; WebDataset would take them for one")
                    last = key
                    for name, data in list(_parts(sample, key, classes)):
                        member = tarfile.TarInfo(name)
                        member.size = len(data)
                        archive.addfile(member, io.BytesIO(data))
                    headers.clear()  # it would keep them all

                put_each(part, put, bad)
        classes.save(staging.path(labels))
    return staging.placed


def _packed(file: BinaryIO, path: Path) -> Any:
    # No name and time inside: the same photos give the same bytes.
    return gzip.GzipFile("", "wb", 1, file, mtime=0) if path.suffix in (".gz", ".tgz") else file


def _spelled(key: str) -> str:
    """Return a key as a tar can spell it: without a dot in the file's name, which would begin the suffix."""
    head, slash, file = key.rpartition("/")
    file = file.replace(".", "_")
    return head + slash + (f"x{file}" if file.startswith("__") else file)


def _parts(sample: Sample, key: str, classes: Classes) -> Iterator[tuple[str, bytes]]:
    """Yield the members of a sample: name and contents."""
    yield key + (image_suffix(sample.image) or ".jpg"), sample.image
    if sample.label is not None:
        yield f"{key}.cls", b"%d" % classes.id(sample.label)
    about = dict(sample.metadata)
    if key != sample.key:
        about[_KEY] = sample.key
    if about:
        try:
            text = json.dumps(about, ensure_ascii=False, sort_keys=True)
        except (TypeError, ValueError, RecursionError):
            raise InputError(f"the metadata of {sample.key!r} can't be written as JSON") from None
        yield f"{key}.json", text.encode("utf-8", "replace")

"""Files that hold many photos: .bin, .rec, .tfrecord, tar shards and folders, read and written as a stream.

`CONTAINERS` lists the formats; `recognized` says which one a path is, `named` which one a name asks for.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from visavis.datasets.containers import folders, image_records, insightface_bin, tfrecord, webdataset
from visavis.datasets.containers.samples import Sample
from visavis.datasets.containers.shards import find_shards
from visavis.datasets.lfw import data_path
from visavis.errors import InputError
from visavis.files import find_images, printable_path, reason

__all__ = ["CONTAINERS", "Container", "container", "named", "recognized"]

_LOOKED_AT = 100  # photos of a folder whose names tell its layout


@dataclass(frozen=True)
class Container:
    """A format.

    Attributes
    ----------
    name
        What the command line calls it.
    what
        In a line, for people.
    suffixes
        Ends of a file's name that ask for it; none: a folder.
    read
        From a path (and ``bad``) to an iterator of samples.
    write
        From a path and samples (and ``needed``, ``bad``, and ``classes`` and ``shard_size`` where it takes them) to
        the paths written.
    numbered
        Whether labels are kept as class ids, so that writing takes ``classes``.
    sharded
        Whether it may be several files, so that writing takes ``shard_size``.
    """

    name: str
    what: str
    suffixes: tuple[str, ...]
    read: Callable[..., Iterator[Sample]]
    write: Callable[..., list[Path]]
    numbered: bool = False
    sharded: bool = False


CONTAINERS: dict[str, Container] = {
    kind.name: kind
    for kind in (
        Container("folders", "a folder with a sub-folder a class", (), folders.read_folders, folders.write_folders),
        Container("flat", "photos in one folder, without labels", (), folders.read_flat, folders.write_flat),
        Container("lfw", "LFW's layout, NAME/NAME_0001.jpg", (), folders.read_lfw, folders.write_lfw),
        Container(
            "bin",
            "InsightFace verification pairs",
            (".bin",),
            insightface_bin.read_samples,
            insightface_bin.write_samples,
        ),
        Container("rec", "MXNet RecordIO", (".rec",), image_records.read_rec, image_records.write_rec, numbered=True),
        Container(
            "tfrecord",
            "TensorFlow's tf.train.Example records",
            (".tfrecord", ".tfrecords", ".tfrecord.gz", ".tfrecords.gz"),
            tfrecord.read_tfrecord,
            tfrecord.write_tfrecord,
            numbered=True,
            sharded=True,
        ),
        Container(
            "webdataset",
            "WebDataset tar shards",
            (".tar", ".tar.gz", ".tgz"),
            webdataset.read_webdataset,
            webdataset.write_webdataset,
            numbered=True,
            sharded=True,
        ),
    )
}
"""Every format, by name."""


def container(name: str) -> Container:
    """Return a format by its name.

    Raises
    ------
    InputError
        If there is none of that name.
    """
    if name not in CONTAINERS:
        raise InputError(f"there is no format {name!r}; there are {', '.join(CONTAINERS)}")
    return CONTAINERS[name]


def named(path: Path) -> Container:
    """Return the format that a name asks for: by its suffix, else a folder a class.

    Raises
    ------
    InputError
        If the suffix is of no format.

    Examples
    --------
    >>> named(Path("train.rec")).name, named(Path("shards/train-%06d.tar")).name, named(Path("faces")).name
    ('rec', 'webdataset', 'folders')
    """
    lower = path.name.lower()
    for kind in CONTAINERS.values():
        if lower.endswith(kind.suffixes or "\0"):
            return kind
    if path.suffix and path.suffix[1:].isalpha():
        known = ", ".join(suffix for kind in CONTAINERS.values() for suffix in kind.suffixes)
        raise InputError(
            f"{printable_path(path)} ends like no format known here ({known}, or a folder); say which it shall be"
        )
    return CONTAINERS["folders"]


def recognized(where: Path) -> tuple[Container, Path]:
    """Return the format of what lies at a path or pattern, by its contents, and the path.

    A folder is LFW's layout where its photos are named so, a folder a class where it has sub-folders, else flat. A
    name without a path may be one in ``VISAVIS_DATA``.

    Raises
    ------
    InputError
        If there is nothing, or it is of no format.
    """
    path = where if any(c in where.name for c in "%{*?[") else data_path(where)
    name = printable_path(path)
    try:
        if path.is_dir():
            return CONTAINERS[_folder(path)], path
        first = find_shards(path)[0]
        with first.open("rb") as file:
            start = file.read(512)
        if not start:
            raise InputError(f"{name} is empty")
        if start[:2] == b"\x1f\x8b":
            with gzip.open(first) as packed:
                start = packed.read(512)
    except (EOFError, zlib.error, OSError) as error:
        raise InputError(f"{name} can't be read: {reason(error)}") from None
    kind = _file(start, path)
    if kind is None:
        raise InputError(
            f"{name} is of no format known here: {', '.join(CONTAINERS)}; say which it is if it is damaged"
        )
    return CONTAINERS[kind], path


def _folder(path: Path) -> str:
    if not folders.class_folders(path):
        return "flat"
    first = [file.relative_to(path) for file in islice(find_images([path]), _LOOKED_AT)]
    as_lfw = all(len(file.parts) > 1 and file.stem.startswith(f"{file.parent.name}_") for file in first)
    return "lfw" if first and as_lfw else "folders"


def _file(start: bytes, path: Path) -> str | None:
    """Return the format of a file by its first 512 bytes, with its name where those of pickles say too little."""
    if start.startswith(b"PK\3\4"):
        return "lfw"
    if start[:4] == struct.pack("<I", 0xCED7230A):
        return "rec"
    if start[257:262] == b"ustar":
        return "webdataset"
    if start[:1] == b"\x80" or path.suffix == ".bin":
        return "bin"
    if start[4:8] == bytes(4):  # a length of less than 4 GB; its checksum is looked at when it is read
        return "tfrecord"
    return named(path).name if path.suffix else None

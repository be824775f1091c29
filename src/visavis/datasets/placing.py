"""Photos placed into a new folder, linked or copied: the folder is there when it is complete, or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable
from functools import partial as bound
from pathlib import Path, PurePosixPath

from visavis.datasets.containers.staging import staged
from visavis.datasets.lfw import Lfw
from visavis.datasets.photos import PeopleFolder, PhotoSet
from visavis.errors import InputError
from visavis.files import printable_path

__all__ = ["Source", "photo_files", "place_files"]

Source = Path | Callable[[], bytes]
"""A file, or what gives its bytes where it lies in an archive."""


def place_files(
    files: Iterable[tuple[Source, str]], out: Path, *, link: bool = True, texts: dict[str, str] | None = None
) -> int:
    """Place files into a folder that is new or empty; return how many bytes were copied.

    Parameters
    ----------
    files
        Each file, and where it goes: a path in the folder, with forward slashes.
    out
        The folder.
    link
        Whether a file may be a hard link to its source, which takes no space; where the disk can't, it is copied.
    texts
        Files to write beside them, by their path in the folder.

    Raises
    ------
    InputError
        If the folder holds something, two files go to one place or a path leaves the folder.
    StorageError
        If it can't be written; nothing is left of it then.
    """
    out = Path(out).expanduser().resolve()
    copied = 0
    taken: set[str] = set()
    files = list(files)
    needed = None if link else sum(_size(source) for source, _ in files)
    with staged(out, needed) as staging:
        folder = staging.path(out.name)
        folder.mkdir()
        for source, where in files:
            target = folder / _inside(where)
            if where.casefold() in taken:
                raise InputError(f"two photos would be {printable_path(where)}; rename one")
            taken.add(where.casefold())
            target.parent.mkdir(parents=True, exist_ok=True)
            copied += _put(source, target, link)
        for where, text in (texts or {}).items():
            (folder / _inside(where)).write_text(text, encoding="utf-8", errors="surrogateescape", newline="\n")
    return copied


def _size(source: Source) -> int:
    try:
        return source.stat().st_size if isinstance(source, Path) else 0
    except OSError:  # copying it says why
        return 0


def _inside(where: str) -> PurePosixPath:
    path = PurePosixPath(where)
    outside = path.is_absolute() or Path(where).anchor or ".." in path.parts  # the anchor: C: on Windows
    if outside or "\\" in where or "\0" in where or not path.parts:
        raise InputError(f"{printable_path(where)} is no path inside a folder")
    return path


def _put(source: Source, target: Path, link: bool) -> int:
    if not isinstance(source, Path):
        data = source()
        target.write_bytes(data)
        return len(data)
    source = source.resolve()  # a link to a link would break when the folder in between is moved
    if link:
        with contextlib.suppress(OSError):
            os.link(source, target)
            return 0
    shutil.copyfile(source, target)
    return target.stat().st_size


def photo_files(photos: PhotoSet) -> list[tuple[Source, str]]:
    """Return each photo's file, or what reads it out of an archive, and its path below the folder of its person."""
    if isinstance(photos, PeopleFolder):
        return [(photos.path / member, member) for member in photos.members]
    if not isinstance(photos, Lfw):
        raise InputError("only photos in a folder or zip can be placed")
    where = [f"{p}/{PurePosixPath(m).name}" for p, m in zip(photos.people, photos.members, strict=True)]
    if photos.archive is None:
        return [(photos.path / member, name) for member, name in zip(photos.members, where, strict=True)]
    return [(bound(photos.read, i), name) for i, name in enumerate(where)]

"""Containers that are whole or not there: written in a folder beside, then moved to their place."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from visavis.errors import InputError, StorageError, VisavisError
from visavis.files import printable_path, reason
from visavis.models.durable import work_folder

__all__ = ["Staging", "staged"]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Staging:
    """Files on their way to a folder.

    Attributes
    ----------
    folder
        Where they are written.
    placed
        Their paths, once they are at their place.
    """

    def __init__(self, folder: Path, target: Path) -> None:
        self.folder = folder
        self.placed: list[Path] = []
        self._target = target
        self._names: dict[str, str] = {}  # as written: as it is to be called

    def path(self, name: str) -> Path:
        """Return where to write a file or folder that will be called ``name``, if it is written at all."""
        _require_absent(self._target / name)
        self._names.pop(name, None)  # asked for again, it counts as the last
        self._names[name] = name
        return self.folder / name

    def rename(self, name: str, final: str) -> None:
        """Call a file otherwise than it was first thought."""
        self._names[name] = final

    def finish(self) -> None:
        """Move everything to its place, what was named first last: so a set without its first file is not whole."""
        moves = [
            (self.folder / name, self._target / final)
            for name, final in self._names.items()
            if (self.folder / name).exists()
        ]
        for written, place in moves:
            _require_absent(place)
            if written.is_file():
                with written.open("rb+") as file:
                    os.fsync(file.fileno())
        for written, place in reversed(moves):
            written.replace(place)
        self.placed = [place for _, place in moves]


def _require_absent(place: Path) -> None:
    if os.path.lexists(place) and not (place.is_dir() and not any(place.iterdir())):
        raise InputError(f"{printable_path(place)} is there already; remove it or choose another name")


@contextlib.contextmanager
def staged(target: Path, needed: int | None = None) -> Iterator[Staging]:
    """Give a place to write ``target`` and files beside it; at the end of the block they appear, or not at all.

    What a killed process left is removed by the next that writes into the same folder.

    Parameters
    ----------
    target
        A file or folder, which must not be there yet.
    needed
        Bytes it will have, where known: where the disk has fewer free, nothing is begun.

    Raises
    ------
    InputError
        If it is there already.
    StorageError
        If the disk is full or the folder can't be written to.
    """
    name = printable_path(target)
    _require_absent(target)
    parent = target.parent
    root = parent / ".visavis-unfinished"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(parent).free
        if needed is not None and needed > free:
            raise StorageError(
                f"{name} needs about {_size(needed)} and its disk has {_size(free)} free; nothing was written"
            )
        with work_folder(root) as folder:
            staging = Staging(folder, parent)
            yield staging
            if target.is_dir():
                target.rmdir()  # it was empty
            staging.finish()
    except VisavisError:
        raise
    except OSError as error:
        if error.errno in _FULL:
            wanted = f"about {_size(needed)} are needed" if needed else "make room"
            raise StorageError(f"{name} can't be written: the disk is full; {wanted}, and nothing was kept") from None
        raise StorageError(f"{name} can't be written: {reason(error)}") from None
    finally:
        with contextlib.suppress(OSError):
            root.rmdir()  # others may be writing there


def _size(number: int) -> str:
    """Return a number of bytes as people read it.

    Examples
    --------
    >>> _size(10_400_000_000), _size(3_200_000)
    ('10.4 GB', '3.2 MB')
    """
    return f"{number / 1e9:,.1f} GB" if number >= 1e9 else f"{number / 1e6:,.1f} MB"

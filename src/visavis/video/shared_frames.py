"""Pictures in memory that two processes share: one draws into it, the other looks at what was drawn.

A mapped file below a private folder, and not `multiprocessing.shared_memory`: before Python 3.13 that one's resource
tracker takes the memory away from processes that were not started by multiprocessing.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import stat
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from visavis.errors import StorageError
from visavis.models.durable import work_folder
from visavis.types import Image

__all__ = ["FrameReader", "FrameWriter", "Place", "frame_folders", "memory_folders"]

_SLOTS = 2  # one is looked at while the next is drawn


def memory_folders() -> list[Path]:
    """Return where mapped files may lie, the fastest first: in memory where the system has such a folder."""
    shared = Path("/dev/shm")  # noqa: S108 (files there get names nobody can guess and are the user's alone)
    found = [shared] if shared.is_dir() and os.access(shared, os.W_OK | os.X_OK) else []
    return [*found, Path(tempfile.gettempdir())]


@contextlib.contextmanager
def frame_folders() -> Iterator[list[Path]]:
    """Give folders for mapped files, the user's alone; first remove what killed processes left: it shows people."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(work_folder(_own(folder))) for folder in memory_folders()]


def _own(shared: Path) -> Path:
    """Return the user's folder in one that everybody may write to: another, should somebody have taken its name."""
    if os.name != "posix":
        return shared / "visavis-frames"  # such folders are the user's own there
    own = shared / f"visavis-frames-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        own.mkdir(mode=0o700)
    status = own.lstat()
    private = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077
    return own if private else Path(tempfile.mkdtemp(prefix="visavis-frames-", dir=shared))


@dataclass(frozen=True)
class Place:
    """Where a picture lies: what the writer tells the reader."""

    file: str
    offset: int
    width: int
    height: int


class FrameWriter:
    """Gives room for one picture after the other.

    Parameters
    ----------
    folders
        Where the file may lie: in the first that has room for it.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders
        self._file = ""
        self._memory: mmap.mmap | None = None
        self._slot_bytes = 0
        self._turn = 0

    def next(self, width: int, height: int) -> tuple[Place, Image]:
        """Return room for a picture of this size: uint8 ``(height, width, 3)``, of any content.

        The picture given out before stays as it is until the next call. Pictures larger than any before get a new file.

        Raises
        ------
        StorageError
            If no folder has room for it.
        """
        size = width * height * 3
        if self._memory is None or size > self._slot_bytes:
            self._file, self._memory = _new_memory(self._folders, size * _SLOTS)
            self._slot_bytes = size
        self._turn = (self._turn + 1) % _SLOTS
        place = Place(self._file, self._turn * self._slot_bytes, width, height)
        return place, _picture(self._memory, place)


class FrameReader:
    """Looks at the pictures of one writer."""

    def __init__(self) -> None:
        self._file = ""
        self._memory: mmap.mmap | None = None

    def image(self, place: Place) -> Image:
        """Return a view of a picture, read-only: it holds until the writer has been asked for the next but one."""
        if self._memory is None or place.file != self._file:
            with Path(place.file).open("rb") as file:
                self._memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self._file = place.file
            with contextlib.suppress(OSError):  # both have it: it needs no name, and ends with them. Windows refuses
                Path(place.file).unlink()
        return _picture(self._memory, place)


def _picture(memory: mmap.mmap, place: Place) -> Image:
    size = place.width * place.height * 3
    flat = np.frombuffer(memory, np.uint8, size, place.offset)
    return flat.reshape(place.height, place.width, 3)


def _new_memory(folders: Sequence[Path], size: int) -> tuple[str, mmap.mmap]:
    for folder in folders:
        handle, name = tempfile.mkstemp(dir=folder, prefix="frames-")  # mode 0600
        try:
            _reserve(handle, size)
            return name, mmap.mmap(handle, size)
        except OSError as error:
            problem = error
        finally:
            os.close(handle)
        Path(name).unlink(missing_ok=True)  # closed: Windows deletes no open file
        if problem.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise problem
    where = " or ".join(str(folder) for folder in folders)
    raise StorageError(f"no room for {(size >> 20) + 1} MiB of frames in {where}; make room there")


def _reserve(handle: int, size: int) -> None:
    """Give a file its size for good: writing to memory without room behind it would end the process."""
    os.ftruncate(handle, size)
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(handle, 0, size)

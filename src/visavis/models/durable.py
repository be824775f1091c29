"""Files that are whole or not there, locks that end with their process, and folders that don't outlive it."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from visavis.errors import StorageError
from visavis.files import printable_path

__all__ = ["locked", "new_file", "new_path", "only_writer", "work_folder", "write_whole"]

_LOCK_SECONDS = 1800  # a package manager on a slow line may well take minutes; longer means that it hangs


def write_whole(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a file of these permissions in one step: nobody ever sees half of it, even after a power cut."""
    with new_file(path, mode) as file:
        file.write(data)


@contextlib.contextmanager
def new_file(path: Path, mode: int = 0o644, *, text: str | None = None, synced: bool = True) -> Iterator[IO[Any]]:
    """Open a file that appears under its name, with these permissions, when the block ends without an error.

    Parameters
    ----------
    text
        That text is written, as UTF-8, and not bytes; ``"strict"`` or ``"surrogateescape"`` says what becomes of names
        that are no text.
    synced
        Whether to wait until the disk has it, so that a power cut leaves the old file or the new one. Not for one of
        thousands that are written one after the other.
    """
    kind: dict[str, Any] = {"encoding": "utf-8", "errors": text, "newline": ""} if text else {}
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(handle, "w" if text else "wb", **kind) as file:
            yield file
            file.flush()
            if synced:
                os.fsync(file.fileno())
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def new_path(path: Path, mode: int = 0o644) -> Iterator[Path]:
    """Give a path to write to, of the same suffix, for a library that takes no open file; as `new_file` otherwise."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(mode)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file ``path`` against other threads and processes; the system frees it when one dies.

    Raises
    ------
    StorageError
        If another process has held it for half an hour.
    """
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=_LOCK_SECONDS)
    except Timeout:
        raise StorageError(f"another process has held {path} for half an hour; end it first") from None
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def only_writer(target: Path, lock: Path) -> Iterator[None]:
    """Hold the lock file ``lock`` while ``target`` is written, and remove it afterwards.

    Raises
    ------
    StorageError
        At once, if another run holds it.
    """
    from filelock import FileLock, Timeout

    try:
        with FileLock(lock, timeout=0):
            try:
                yield
            finally:
                _removed(lock)
    except Timeout:
        raise StorageError(f"another run is writing {printable_path(target)}; wait for it") from None


def _removed(lock: Path) -> None:
    with contextlib.suppress(OSError):  # Windows keeps a file that is open: filelock removes it there
        lock.unlink(missing_ok=True)


@contextlib.contextmanager
def work_folder(root: Path) -> Iterator[Path]:
    """Give a folder below ``root``; remove it afterwards, and first what killed processes left there.

    A live process locks its folder's lock file, so a folder whose lock can be had belongs to nobody.
    """
    from filelock import FileLock, Timeout

    root.mkdir(parents=True, exist_ok=True)
    for left in root.glob("*.lock"):
        with contextlib.suppress(Timeout, OSError), FileLock(left, timeout=0):
            shutil.rmtree(left.with_suffix(""), ignore_errors=True)
            left.unlink(missing_ok=True)
    folder = root / f"{os.getpid()}-{os.urandom(4).hex()}"
    lock = folder.with_suffix(".lock")
    with FileLock(lock):
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            _removed(lock)

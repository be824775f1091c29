"""Image files on disk: finding them in folders, reading and hashing them, naming them in messages."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path, PurePath

from visavis.errors import ImageError, ImageTooLarge

__all__ = ["IMAGE_SUFFIXES", "find_images", "printable_path", "read_file", "reason", "sha256_of"]

IMAGE_SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
        *(".jp2", ".avif", ".heic", ".heif", ".ppm", ".pgm"),
    }
)
"""Suffixes, in lower case, by which `find_images` knows an image in a folder."""

_WEB_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|data:", re.ASCII)
_WILDCARD = re.compile(r"[*?\[]")


def find_images(paths: Iterable[str | os.PathLike[str]]) -> Iterator[Path]:
    """Turn files, folders and patterns into image files, one at a time.

    Parameters
    ----------
    paths
        A file is given back as it is, whatever its suffix. A folder gives every file in it and below whose
        suffix is in `IMAGE_SUFFIXES`, sorted, without hidden ones; it is entered once, however links lead to
        it. Anything else is a pattern of ``*``, ``?``, ``[...]`` and ``**`` (any number of folders).

    Returns
    -------
    An iterator of paths. What can't be read (a folder without permission, a dangling link) is among them, so
    that loading it says why. A named folder without images gives none.

    Raises
    ------
    ImageError
        At once, before the first file is given, naming every path that doesn't exist and every pattern that
        matches no image.

    Examples
    --------
    >>> list(find_images([]))
    []
    """
    found: list[Iterator[Path]] = []
    missing: list[str] = []
    for given in [paths] if isinstance(paths, (str, os.PathLike)) else paths:
        _refuse_web_address(given)
        matches = _expand(Path(given))
        if matches is None:
            missing.append(printable_path(given))
        else:
            found.append(matches)
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise ImageError(f"no such image or folder: {', '.join(missing[:5])}{more}; check the path")
    return itertools.chain.from_iterable(found)


def read_file(path: str | os.PathLike[str], limit: int) -> bytes:
    """Return the bytes of a regular file.

    A pipe or device, which could block or never end, is refused without opening it.

    Raises
    ------
    ImageTooLarge
        If it has more than ``limit`` bytes.
    ImageError
        If it is missing, no regular file, unreadable or a web address.
    """
    _refuse_web_address(path)
    name = printable_path(path)
    try:
        _require_regular(Path(path).stat(), name)
        with open(path, "rb", opener=_open_without_waiting) as file:
            status = os.fstat(file.fileno())
            _require_regular(status, name)
            data = None
            if status.st_size <= limit:
                data = file.read(status.st_size + 1)  # room for all of the limit would take five times as long
                if len(data) > status.st_size:  # it has grown, or is one of those that say 0
                    data += file.read(limit + 1 - len(data))
    except FileNotFoundError:
        raise ImageError(f"{name} does not exist; check the path") from None
    except ImageError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise ImageError(f"{name} can't be read: {reason(error)}") from None
    if data is None or len(data) > limit:
        raise ImageTooLarge(f"{name} has more than {limit} bytes, the limit for an image; shrink it")
    return data


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file, as hexadecimal digits; `OSError` where it can't be read."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def printable_path(path: str | os.PathLike[str]) -> str:
    """Return a path as one short, quoted piece of a message, control characters escaped.

    Examples
    --------
    >>> printable_path("group.jpg")
    "'group.jpg'"
    """
    text = os.fsdecode(path)
    if text.startswith("data:"):
        return "'data:...'"  # the rest is content
    return repr(text if len(text) <= 240 else f"{text[:100]}...{text[-100:]}")


def reason(error: BaseException) -> str:
    """Return why the system refused, in its own words: ``"permission denied"``."""
    text = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
    return text[:1].lower() + text[1:]


def _refuse_web_address(path: str | os.PathLike[str]) -> None:
    if isinstance(path, str) and _WEB_ADDRESS.match(path):
        raise ImageError(f"{printable_path(path)} is a web address; download it and give the file's path")


def _open_without_waiting(path: str, flags: int) -> int:
    # Since it was checked, the file may have become a pipe: never wait for its writer.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _require_regular(status: os.stat_result, name: str) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise ImageError(f"{name} is a folder where one image is needed, or one that can't be listed")
    if not stat.S_ISREG(status.st_mode):
        raise ImageError(f"{name} is a device, pipe or socket; save it as a file and give that")


def _expand(path: Path) -> Iterator[Path] | None:
    """Return the images that a path stands for; None where there is nothing of that name."""
    try:
        if path.is_dir():
            return _walk(path, None)
        if os.path.lexists(path):
            return iter((path,))
    except (OSError, ValueError):  # a folder above that may not be entered, a name too long, a null byte
        return iter((path,))
    fixed = Path(*itertools.takewhile(lambda part: not _WILDCARD.search(part), path.parts))
    pattern = path.parts[len(fixed.parts) :]
    if not pattern or not fixed.is_dir():
        return None
    depth = None if "**" in pattern else len(pattern)
    skip = len(fixed.parts)
    matches = (file for file in _walk(fixed, depth) if _fits(file.parts[skip:], pattern))
    first = next(matches, None)
    return None if first is None else itertools.chain((first,), matches)


def _walk(top: Path, depth: int | None) -> Iterator[Path]:
    """Yield the image files of a folder and, ``depth`` levels down (None: all), of those in it, sorted."""
    entered: set[tuple[int, int]] = set()

    def files(folder: Path, left: float) -> Iterator[Path]:
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in entered:
                return
            entered.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as listing:
                entries = sorted((entry.name, entry.is_dir()) for entry in listing if entry.name[0] != ".")
        except OSError:
            yield folder  # loading it says why
            return
        for name, is_folder in entries:
            if is_folder and left > 1:
                yield from files(folder / name, left - 1)
            elif not is_folder and PurePath(name).suffix.lower() in IMAGE_SUFFIXES:
                yield folder / name

    return files(top, float("inf") if depth is None else depth)


def _fits(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_fits(parts[i:], pattern[1:]) for i in range(len(parts) + 1))
    return bool(parts) and fnmatch(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:])

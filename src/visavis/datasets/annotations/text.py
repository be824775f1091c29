"""What the formats share: lines and numbers with the place they stand at, names of pictures, whole files."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, TextIO

from visavis.datasets.annotations.annotation import Annotation
from visavis.errors import InputError, StorageError, VisavisError
from visavis.files import find_images, printable_path, reason
from visavis.models import durable

__all__ = [
    "MAX_BOXES",
    "Folder",
    "checked_name",
    "limited_count",
    "lines_of",
    "new_file",
    "number",
    "numbers",
    "open_text",
    "pictures_below",
    "short",
    "unique",
]

MAX_BOXES = 100_000
"""Boxes a picture may have; WIDER FACE's fullest has 1,968."""
_MAX_FILE = 4 * 2**30  # bytes of a file of annotations: they are read as a stream
_MAX_LINE = 2**20


@contextlib.contextmanager
def open_text(path: Path, limit: int = _MAX_FILE) -> Iterator[TextIO]:
    """Open a regular file of UTF-8 text.

    Raises
    ------
    InputError
        If it is missing, no regular file, larger than ``limit`` bytes, or no text.
    """
    name = printable_path(path)
    try:
        if not path.is_file():
            raise InputError(f"{name} is no file; check the path")
        size = path.stat().st_size
        if size > limit:
            raise InputError(f"{name} has {size} bytes, and {limit} are the limit for a file of this kind")
        with path.open(encoding="utf-8-sig", newline=None) as file:
            yield file
    except UnicodeDecodeError:
        raise InputError(f"{name} is no text in UTF-8; check that it is a file of annotations") from None
    except VisavisError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"{name} can't be read: {reason(error)}") from None


def lines_of(path: Path) -> Iterator[tuple[str, str]]:
    """Yield each line that is not blank, stripped, with the place it stands at: ``"a.txt, line 3"``."""
    with open_text(path) as file:
        line = 0
        while text := file.readline(_MAX_LINE):
            line += 1
            if len(text) == _MAX_LINE:
                raise InputError(f"{path.name}, line {line}: over {_MAX_LINE} characters; that is no list of boxes")
            if text := text.strip():
                yield text, f"{path.name}, line {line}"


def number(text: object, at: str, what: str = "a number") -> float:
    """Return a finite number.

    Raises
    ------
    InputError
        If it is none.
    """
    if isinstance(text, (str, int, float)) and not isinstance(text, bool):
        try:
            value = float(text)
        except (ValueError, OverflowError):
            value = math.nan
        if math.isfinite(value) and abs(value) < 1e9:
            return value
    raise InputError(f"{at}: {short(text)} where {what} is needed")


def numbers(words: Sequence[str], at: str, counts: Sequence[int]) -> list[float]:
    """Return a line's numbers, of which there must be as many as one of ``counts``."""
    if len(words) not in counts:
        wanted = " or ".join(map(str, counts))
        raise InputError(f"{at}: {len(words)} numbers where a box has {wanted}: {short(' '.join(words))}")
    return [number(word, at) for word in words]


def limited_count(text: str, at: str) -> int:
    """Return how many boxes a line announces."""
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) > MAX_BOXES:
        raise InputError(f"{at}: {short(text)} where the number of boxes (at most {MAX_BOXES}) is needed")
    return int(text)


def short(value: object) -> str:
    """Return a piece of a file, quoted and cut, for a message."""
    text = repr(value[:200] if isinstance(value, str) else value)
    return text if len(text) <= 60 else text[:57] + "..."


def checked_name(text: object, at: str) -> str:
    r"""Return a picture's path in its data set, with forward slashes.

    Raises
    ------
    InputError
        If it is empty, leads out of the folder, or holds control characters.

    Examples
    --------
    >>> checked_name("event\\a.jpg", "list.txt, line 1")
    'event/a.jpg'
    """
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"{at}: {short(text)} where a picture's name is needed")
    name = text.strip().replace("\\", "/")
    while name.startswith("./"):
        name = name[2:]
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or ":" in parts[0] or len(name) > 1024:
        raise InputError(f"{at}: the picture {short(text)} lies outside of the data set's folder")
    if any(ord(c) < 32 or ord(c) == 127 for c in name):
        raise InputError(f"{at}: the picture's name {short(text)} holds control characters")
    return str(PurePosixPath(name))


def unique(items: Iterable[Annotation], where: object) -> Iterator[Annotation]:
    """Pass on annotations, and refuse a picture's second one, as none could tell which is true."""
    seen: set[str] = set()
    for item in items:
        if item.image in seen:
            raise InputError(f"{printable_path(str(where))} has the picture {short(item.image)} twice; leave one out")
        seen.add(item.image)
        yield item


def pictures_below(folder: Path) -> Iterator[str]:
    """Yield the path of each picture in a folder and below, with forward slashes, sorted."""
    for path in find_images([folder]):
        yield path.relative_to(folder).as_posix()


@contextlib.contextmanager
def new_file(path: Path, *, synced: bool = True) -> Iterator[IO[str]]:
    """Open a text file that appears under its name only when it is complete, and make the folders above it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with durable.new_file(path, text="strict", synced=synced) as file:
            yield file
    except UnicodeEncodeError as error:
        raise InputError(f"{short(error.object)} is no text that a file can hold; rename the picture") from None
    except OSError as error:
        raise StorageError(f"{printable_path(path)} can't be written: {reason(error)}") from None


class Folder:
    """A folder of files that are written one a picture; two pictures that would share one are refused."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._written: set[str] = set()

    @contextlib.contextmanager
    def file(self, name: str, image: str) -> Iterator[IO[str]]:
        """Open the new file of a picture."""
        key = name.lower()  # some file systems see no difference
        if key in self._written:
            raise InputError(f"the file {name} of {image} would replace that of another picture; rename one")
        self._written.add(key)
        with new_file(self.path / name, synced=False) as file:
            yield file

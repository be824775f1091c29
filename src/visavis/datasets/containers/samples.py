"""What every container holds: encoded photos with a key, perhaps a label, and class ids for labels."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from visavis.errors import InputError
from visavis.files import IMAGE_SUFFIXES, printable_path, read_file

__all__ = [
    "LABELS",
    "MAX_IMAGE",
    "Bad",
    "Classes",
    "Sample",
    "find_labels",
    "image_suffix",
    "is_class_id",
    "is_line",
    "labels_path",
    "put_each",
    "read_each",
    "usable_key",
    "without_suffix",
]

MAX_IMAGE = 64 * 2**20
"""Bytes an encoded image in a container may have."""

T = TypeVar("T")

LABELS = ".labels.txt"
"""What the name of a file with the names of classes ends with."""

Bad = Callable[[InputError], None]
"""Called with what is wrong with a sample that is left out; a reader goes on after it."""

_MAX_KEY = 1000  # characters
_MAX_LABELS = 64 * 2**20  # bytes of a labels file: millions of people
_DIGITS = 18  # of a class id: what 64 bits hold
_SHARD = re.compile(r"[-_]?(%0?\d*d|\{\d+\.\.\d+\}|[*?]+|\d{5,})(-of-(\d{5}|[*?]+))?")

# First bytes of the image formats that data sets hold, and the suffix of each.
_MAGIC = (
    (b"\xff\xd8\xff", ".jpg"),
    (b"\x89PNG\r\n\x1a\n", ".png"),
    (b"GIF8", ".gif"),
    (b"BM", ".bmp"),
    (b"II*\0", ".tif"),
    (b"MM\0*", ".tif"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", ".jp2"),
    (b"P5", ".pgm"),
    (b"P6", ".ppm"),
)


@dataclass(frozen=True)
class Sample:
    """An encoded photo of a data set.

    Attributes
    ----------
    key
        Its name in the data set, as ``ada/0001``: parts with ``/`` between, without the suffix of an image.
    image
        The photo as it is encoded.
    label
        Its class, mostly a person; None where there is none.
    metadata
        What else the container says of it, as JSON knows values.

    Raises
    ------
    InputError
        If the key is empty, too long, leads out of its folder or holds control characters.

    Examples
    --------
    >>> Sample("ada/0001", b"...", "ada").label
    'ada'
    >>> Sample("../ada", b"...")
    Traceback (most recent call last):
        ...
    visavis.errors.InputError: '../ada' is no key of a sample: it leads out of its folder
    """

    key: str
    image: bytes = field(repr=False)
    label: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shown = self.key if len(self.key) <= 100 else self.key[:100] + "..."
        if problem := _problem(self.key):
            raise InputError(f"{shown!r} is no key of a sample: {problem}")
        if self.label is not None and not (0 < len(self.label) <= _MAX_KEY and is_line(self.label)):
            raise InputError(f"the label of {shown!r} is no name: {self.label[:40]!r}")


def _problem(key: str) -> str | None:
    if not 0 < len(key) <= _MAX_KEY:
        return f"it must have 1 to {_MAX_KEY} characters"
    if key[0] == "/" or "\\" in key or (len(key) > 1 and key[1] == ":"):
        return "it leads out of its folder"
    if any(part in ("", ".", "..") for part in key.split("/")):
        return "it leads out of its folder" if ".." in key else "it has an empty part"
    if not is_line(key):
        return "it holds control characters"
    return None


def is_line(text: str) -> bool:
    """Return whether a text has no control characters and line breaks; joiners, as Persian has them, are fine."""
    return text.isprintable() or not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in text)


def usable_key(path: str, number: int) -> str:
    """Return the key for a photo that a file calls ``path``: its number where that is no key, as on another machine.

    Examples
    --------
    >>> usable_key("ada/0001.jpg", 7), usable_key("/home/me/0001.jpg", 7)
    ('ada/0001', '00000007')
    """
    key = without_suffix(path)
    return key if _problem(key) is None else f"{number:08d}"


def image_suffix(image: bytes) -> str | None:
    """Return the suffix of an encoded image by its first bytes; None where they are of no image.

    Examples
    --------
    >>> image_suffix(bytes([0xFF, 0xD8, 0xFF, 0xE0])), image_suffix(b"text")
    ('.jpg', None)
    """
    for magic, suffix in _MAGIC:
        if image.startswith(magic):
            return suffix
    if image[:4] == b"RIFF" and image[8:12] == b"WEBP":
        return ".webp"
    if image[4:8] == b"ftyp":
        return ".avif" if image[8:12] in (b"avif", b"avis") else ".heic"
    return None


def without_suffix(path: str) -> str:
    """Return a photo's path without the suffix of an image; dots in names stay.

    Examples
    --------
    >>> without_suffix("ada/1.5.jpg"), without_suffix("ada/v1.5")
    ('ada/1.5', 'ada/v1.5')
    """
    stem, dot, suffix = path.rpartition(".")
    return stem if dot and f".{suffix.lower()}" in IMAGE_SUFFIXES and stem and not stem.endswith("/") else path


class Classes:
    """Class ids of labels, for containers that keep numbers: 0, 1, ... in the order in which labels come.

    Parameters
    ----------
    names
        Names of the classes known beforehand, from id 0 on.
    numbered
        Labels are the ids themselves, as ``"7"``: those of a container that came without names.

    Examples
    --------
    >>> classes = Classes()
    >>> classes.id("ada"), classes.id("bob"), classes.id("ada"), classes.name(1)
    (0, 1, 0, 'bob')
    >>> Classes(numbered=True).id("7")
    7
    """

    def __init__(self, names: Sequence[str] = (), *, numbered: bool = False) -> None:
        self.names = list(names)
        self.numbered = numbered
        self._ids = {name: i for i, name in enumerate(self.names)}
        if len(self._ids) != len(self.names):
            raise InputError("a class is named twice")

    @classmethod
    def load(cls, path: Path) -> Classes:
        """Read a labels file, a name a line; where there is none, labels are numbers."""
        if not path.is_file():
            return cls(numbered=True)
        text = read_file(path, _MAX_LABELS).decode("utf-8", "replace").removeprefix("\ufeff")
        try:
            return cls(text.replace("\r\n", "\n").removesuffix("\n").split("\n") if text else ())
        except InputError as error:
            raise InputError(f"{printable_path(path)}: {error}") from None

    @classmethod
    def of(cls, names: Sequence[str]) -> Classes:
        """Return the classes of a folder's sub-folders: numbers where all are, else new ones."""
        return cls(numbered=bool(names) and all(is_class_id(name) for name in names))

    def save(self, path: Path) -> None:
        """Write a labels file, a name a line; none where labels are numbers or there are none."""
        if self.names and not self.numbered:
            path.write_bytes("".join(f"{name}\n" for name in self.names).encode())

    def id(self, label: str) -> int:
        """Return the id of a label, a new one where it is new."""
        if self.numbered:
            if not is_class_id(label):
                raise InputError(f"label {label!r} is no number, though those before it were; give a labels file")
            return int(label)
        number = self._ids.setdefault(label, len(self.names))
        if number == len(self.names):
            self.names.append(label)
        return number

    def name(self, number: int) -> str | None:
        """Return the label of an id; None of one below 0, which stands for no label."""
        if number < 0:
            return None
        if self.numbered:
            return str(number)
        if number >= len(self.names):
            raise InputError(f"class {number} has no name: the labels file has {len(self.names)}")
        return self.names[number]


def is_class_id(label: str) -> bool:
    """Return whether a label is the number of a class, spelled as Python would."""
    return label.isascii() and label.isdigit() and len(label) <= _DIGITS and str(int(label)) == label


def labels_path(path: Path) -> Path:
    """Return where the names of a container's classes are written; one file for all shards.

    Examples
    --------
    >>> labels_path(Path("train.rec")).name, labels_path(Path("train-%06d.tar")).name
    ('train.rec.labels.txt', 'train.tar.labels.txt')
    """
    return path.with_name((_unsharded(path.name) if any(c in path.name for c in "%{*?") else path.name) + LABELS)


def find_labels(path: Path) -> Path:
    """Return where the names of a container's classes are, if anywhere: a single shard finds those of all."""
    own = labels_path(path)
    return own if own.is_file() else path.with_name(_unsharded(path.name) + LABELS)


def _unsharded(name: str) -> str:
    """Return the name of all shards without what numbers them.

    Examples
    --------
    >>> _unsharded("faces-20261122-00000-of-00005.tfrecord"), _unsharded("train-{000000..000009}.tar")
    ('faces-20261122.tfrecord', 'train.tar')
    """
    for match in reversed(list(_SHARD.finditer(name))):
        return (name[: match.start()] + name[match.end() :]).lstrip(".")
    return name


def read_each(items: Iterable[T], read: Callable[[T], Sample | None], bad: Bad | None) -> Iterator[Sample]:
    """Yield what is read of items, without None; ``bad`` is told of those that can't be read, instead of raising."""
    for item in items:
        try:
            sample = read(item)
        except InputError as error:
            if bad is None:
                raise
            bad(error)
            continue
        if sample is not None:
            yield sample


def put_each(samples: Iterable[Sample], put: Callable[[Sample], None], bad: Bad | None) -> None:
    """Write samples one after the other; ``bad`` is told of those that can't be, instead of raising."""
    for sample in samples:
        try:
            put(sample)
        except InputError as error:
            if bad is None:
                raise
            bad(error)

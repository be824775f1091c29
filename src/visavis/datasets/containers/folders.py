"""Photos as plain files: a folder a class, all in one folder, or LFW's layout."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from visavis.datasets.containers.samples import (
    MAX_IMAGE,
    Bad,
    Sample,
    image_suffix,
    put_each,
    read_each,
    without_suffix,
)
from visavis.datasets.containers.staging import staged
from visavis.datasets.lfw import Lfw
from visavis.errors import InputError
from visavis.files import find_images, printable_path, read_file

__all__ = [
    "class_folders",
    "lfw_pairs",
    "read_flat",
    "read_folders",
    "read_lfw",
    "write_flat",
    "write_folders",
    "write_lfw",
]

_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}
_NUMBERED = re.compile(r"_[0-9]{4,}")


def read_folders(path: str | os.PathLike[str], *, bad: Bad | None = None) -> Iterator[Sample]:
    """Yield the photos of a folder with a sub-folder a class, sorted; deeper folders belong to the class above.

    Photos that lie in no sub-folder have no label.

    Parameters
    ----------
    bad
        Called for each photo that can't be read, instead of raising.

    Raises
    ------
    InputError
        If a photo can't be read.
    """
    return _read(Path(path), bad, lambda key: key.partition("/")[0] if "/" in key else None)


def read_flat(path: str | os.PathLike[str], *, bad: Bad | None = None) -> Iterator[Sample]:
    """Yield the photos of a folder and all below it, sorted, without labels; see `read_folders`."""
    return _read(Path(path), bad, lambda _: None)


def _read(path: Path, bad: Bad | None, label: Callable[[str], str | None]) -> Iterator[Sample]:
    if not path.is_dir():
        raise InputError(f"{printable_path(path)} is no folder")

    def sample(file: Path) -> Sample:
        key = without_suffix(file.relative_to(path).as_posix())
        return Sample(key, read_file(file, MAX_IMAGE), label(key))

    yield from read_each(find_images([path]), sample, bad)


def class_folders(path: str | os.PathLike[str]) -> list[str]:
    """Return the names of a folder's sub-folders, sorted, without hidden ones."""
    return sorted(entry.name for entry in Path(path).iterdir() if entry.is_dir() and entry.name[0] != ".")


def read_lfw(path: str | os.PathLike[str], *, bad: Bad | None = None) -> Iterator[Sample]:
    """Yield the photos of LFW's layout, in a zip or folder, sorted; keys are ``NAME/NAME_0001``. See `Lfw`."""
    lfw = Lfw.open(path)

    def sample(i: int) -> Sample:
        return Sample(f"{lfw.people[i]}/{lfw.photos[i]}", lfw.read(i), lfw.people[i])

    yield from read_each(range(len(lfw.photos)), sample, bad)


def lfw_pairs(path: str | os.PathLike[str]) -> Iterator[Sample]:
    """Yield the photos of LFW's pairs, two a pair, with keys that say so: what a ``.bin`` file holds.

    Raises
    ------
    InputError
        If there is no ``pairs.txt``, or a photo can't be read.
    """
    lfw = Lfw.open(path)
    pairs = lfw.view2()
    for number, (rows, mated) in enumerate(zip(pairs.photos.tolist(), pairs.mated.tolist(), strict=True)):
        for side, row in zip("ab", rows, strict=True):
            yield Sample(f"{number:06d}-{'mated' if mated else 'nonmated'}-{side}", lfw.read(row))


def write_folders(
    path: str | os.PathLike[str], samples: Iterable[Sample], *, needed: int | None = None, bad: Bad | None = None
) -> list[Path]:
    """Write photos into a new folder, those with a label into a sub-folder of its name.

    A photo ``ada/0001`` of the class ``ada`` becomes ``ada/0001.jpg``, and so does ``0001``. The suffix is that of
    the photo's own format.

    Parameters
    ----------
    needed
        About how many bytes will be written, for a disk that has not as many free.
    bad
        Called for each photo that can't be written, instead of raising.

    Raises
    ------
    InputError
        If the folder is there and not empty, two photos have one name, or a name can't be one of a file.
    StorageError
        If the disk is full or can't be written to; no folder appears then.
    """

    def name(sample: Sample) -> str:
        label = sample.label
        if label is None or sample.key.startswith(f"{label}/"):
            return sample.key
        if "/" in label or "\\" in label or label in (".", ".."):
            raise InputError(f"label {label!r} can't be the name of a folder")
        return f"{label}/{sample.key}"

    return _write(Path(path), samples, name, needed, bad)


def write_flat(
    path: str | os.PathLike[str], samples: Iterable[Sample], *, needed: int | None = None, bad: Bad | None = None
) -> list[Path]:
    """Write photos under their keys alone; labels are lost. See `write_folders`."""
    return _write(Path(path), samples, lambda sample: sample.key, needed, bad)


def write_lfw(
    path: str | os.PathLike[str], samples: Iterable[Sample], *, needed: int | None = None, bad: Bad | None = None
) -> list[Path]:
    """Write photos in LFW's layout: ``Ada_Lovelace/Ada_Lovelace_0001.jpg``, numbered as they come.

    Photos that are called so already keep their numbers, which pairs refer to. Spaces in names become ``_``, as in
    LFW. Every photo needs a label. See `write_folders`.
    """
    numbers: dict[str, int] = {}
    spelled: dict[str, str] = {}

    def name(sample: Sample) -> str:
        if sample.label is None:
            raise InputError(f"{sample.key!r} has no label; LFW's layout names each photo after a person")
        person = "_".join(sample.label.split())
        if "/" in person or "\\" in person or person in ("", ".", ".."):
            raise InputError(f"label {sample.label!r} can't be the name of a folder")
        if spelled.setdefault(person, sample.label) != sample.label:
            raise InputError(f"{sample.label!r} and {spelled[person]!r} would both be {person!r} in LFW's layout")
        if _NUMBERED.fullmatch(sample.key.rpartition("/")[2].removeprefix(person)):
            return f"{person}/{sample.key.rpartition('/')[2]}"
        numbers[person] = numbers.get(person, 0) + 1
        return f"{person}/{person}_{numbers[person]:04d}"

    return _write(Path(path), samples, name, needed, bad)


def _write(
    path: Path, samples: Iterable[Sample], name: Callable[[Sample], str], needed: int | None, bad: Bad | None
) -> list[Path]:
    made: set[str] = set()
    with staged(path, needed) as staging:
        folder = staging.path(path.name)
        folder.mkdir()

        def put(sample: Sample) -> None:
            member = name(sample) + (image_suffix(sample.image) or ".jpg")
            _require_portable(member)
            parent = member.rpartition("/")[0]
            try:
                if parent not in made:
                    (folder / parent).mkdir(parents=True, exist_ok=True)
                    made.add(parent)
                with (folder / member).open("xb") as file:
                    file.write(sample.image)
            except (FileExistsError, NotADirectoryError):
                raise InputError(f"two photos would be called {member!r}, or one as the folder of another") from None

        put_each(samples, put, bad)
    return staging.placed


def _require_portable(member: str) -> None:
    """Refuse a path that some system can't have, or would take for another."""
    for part in member.split("/"):
        if len(part.encode("utf-8", "surrogatepass")) > 255:
            raise InputError(f"{part[:60]!r}... is longer than a file's name may be")
        if part[0] == "." or part[-1] in ". " or any(c in '<>:"|?*' for c in part):
            raise InputError(f"{part!r} can't be the name of a file on every system; it would be hidden or refused")
        if part.partition(".")[0].lower() in _RESERVED:
            raise InputError(f"{part!r} is a device on Windows; rename it")

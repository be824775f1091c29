"""Photos of people, wherever they lie: what every protocol and tool takes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from visavis.datasets.lfw import Lfw, data_path
from visavis.errors import InputError
from visavis.files import find_images, printable_path, read_file

__all__ = ["PeopleFolder", "PhotoSet", "open_photos"]

_MAX_PHOTO = 64 * 2**20  # bytes of a photo


class PhotoSet(Protocol):
    """Encoded photos, each of a person.

    Attributes
    ----------
    photos
        A name for each, unique and the same on every machine, as ``Ada_Lovelace_0001`` or ``ada/0001``.
    people
        The person of each.
    """

    @property
    def photos(self) -> Sequence[str]:
        """Name of each."""
        ...

    @property
    def people(self) -> Sequence[str]:
        """Person of each."""
        ...

    def read(self, i: int) -> bytes:
        """Return photo i as it is encoded."""
        ...


@dataclass(frozen=True)
class PeopleFolder:
    """A folder with a sub-folder a person, named after them; photos may lie at any depth below.

    Attributes
    ----------
    path
        The folder.
    members
        Each photo's path in it, with forward slashes, sorted.
    """

    path: Path
    members: list[str]

    @classmethod
    def open(cls, where: str | os.PathLike[str]) -> PeopleFolder:
        """Open a folder.

        Raises
        ------
        InputError
            If there is none, or no photo in a folder of a person.
        """
        path = Path(where).expanduser()
        if not path.is_dir():
            raise InputError(f"{printable_path(path)} is no folder; give one with a sub-folder a person")
        names = [file.relative_to(path).as_posix() for file in find_images([path])]
        members = sorted(name for name in names if "/" in name)
        if not members:
            raise InputError(f"{printable_path(path)} has no photo in a sub-folder named after a person")
        return cls(path, members)

    @cached_property
    def photos(self) -> list[str]:
        """Each photo's path in the folder."""
        return self.members

    @cached_property
    def people(self) -> list[str]:
        """The person of each photo: the first folder on its path."""
        return [member.partition("/")[0] for member in self.members]

    def read(self, i: int) -> bytes:
        """Return photo i as it is encoded."""
        return read_file(self.path / self.members[i], _MAX_PHOTO)


def open_photos(where: str | os.PathLike[str]) -> PhotoSet:
    """Open photos of people: LFW's layout (zip, folder or name in ``VISAVIS_DATA``), else a folder a person.

    A folder counts as LFW's only if all its photos have such names, so that none is left out.

    Raises
    ------
    InputError
        If there is nothing of the kind.
    """
    path = data_path(where)
    try:
        lfw = Lfw.open(path)
    except InputError:
        if not path.is_dir():
            raise
        return PeopleFolder.open(path)
    if path.is_dir() and sum(1 for _ in find_images([path])) > len(lfw.members):
        return PeopleFolder.open(path)
    return lfw

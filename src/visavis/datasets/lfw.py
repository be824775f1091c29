"""Data sets in the layout of LFW: a folder a person, and pairs to compare.

``NAME/NAME_0001.jpg`` and ``pairs.txt``, in a zip or a folder, at any depth (Huang et al., "Labeled Faces in the Wild",
2007, View 2). The central face of a photo is the one it is named after: LFW photos were cut around it.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from visavis.errors import InputError
from visavis.files import IMAGE_SUFFIXES, find_images, printable_path, read_file, reason
from visavis.types import Faces

__all__ = ["Lfw", "Pairs", "central", "data_path", "parse_pairs", "resolved"]

_MAX_PHOTO = 64 * 2**20  # bytes of a photo
_MAX_LIST = 64 * 2**20  # bytes of pairs.txt: a million pairs
_MAX_MEMBERS = 2_000_000


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of photos to compare.

    Attributes
    ----------
    photos
        ``(p, 2)``: indices of photos.
    mated
        ``(p,)``: whether both show one person.
    folds
        ``(p,)``: 0, 1, ...
    """

    photos: npt.NDArray[np.intp]
    mated: npt.NDArray[np.bool_]
    folds: npt.NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.photos)

    def sample(self, number: int, seed: int = 0) -> Pairs:
        """Return about ``number`` of the pairs, the same share of each fold and kind, drawn with a seed."""
        if number < 1:
            raise InputError(f"the number of pairs must be at least 1, not {number}")
        rng = np.random.default_rng(seed)
        kinds = [(fold, kind) for fold in np.unique(self.folds) for kind in (True, False)]
        each = max(round(number / len(kinds)), 1)
        chosen = []
        for fold, kind in kinds:
            members = np.flatnonzero((self.folds == fold) & (self.mated == kind))
            chosen.append(rng.choice(members, min(each, len(members)), replace=False))
        rows = np.sort(np.concatenate(chosen))
        return Pairs(self.photos[rows], self.mated[rows], self.folds[rows])


@dataclass(frozen=True)
class Lfw:
    """The photos of a zip or folder.

    Attributes
    ----------
    path
        The zip or folder.
    members
        Each photo's path in it, with forward slashes, sorted.

    Examples
    --------
    >>> lfw = Lfw.open("lfw-dev")                         # doctest: +SKIP
    >>> lfw.photos[0], lfw.people[0], len(lfw.pairs()[0]) # doctest: +SKIP
    ('AJ_Cook_0001', 'AJ_Cook', 3000)
    """

    path: Path
    members: list[str]
    archive: zipfile.ZipFile | None = None

    @classmethod
    def open(cls, where: str | os.PathLike[str] = "lfw-dev") -> Lfw:
        """Open a zip or folder, or a data set by its name; see `data_path`.

        Raises
        ------
        InputError
            If there is none, it can't be read, or it holds no photo in a folder named after a person.
        """
        path = data_path(where)
        archive = None
        try:
            if path.is_dir():
                names = [file.relative_to(path).as_posix() for file in find_images([path])]
            else:
                archive = zipfile.ZipFile(path)
                names = archive.namelist()
        except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            raise InputError(
                f"{printable_path(path)} is no folder and no zip that can be read: {reason(error)}"
            ) from None
        if len(names) > _MAX_MEMBERS:
            raise InputError(f"{printable_path(path)} has {len(names)} files; {_MAX_MEMBERS} are the limit")
        photos = [PurePosixPath(name) for name in names]
        members = [
            str(p) for p in photos if p.suffix.lower() in IMAGE_SUFFIXES and p.stem.startswith(p.parent.name + "_")
        ]
        if not members:
            raise InputError(f"{printable_path(path)} holds no photos as NAME/NAME_0001.jpg: that is not LFW's layout")
        return cls(path, sorted(members), archive)

    @cached_property
    def photos(self) -> list[str]:
        """Names of the photos: ``Ada_Lovelace_0001``."""
        return [PurePosixPath(member).stem for member in self.members]

    @cached_property
    def people(self) -> list[str]:
        """The person of each photo."""
        return [PurePosixPath(member).parent.name for member in self.members]

    def read(self, i: int) -> bytes:
        """Return photo i as it is encoded."""
        return self._read(self.members[i], _MAX_PHOTO)

    def pairs(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_], npt.NDArray[np.intp]]:
        """Return View 2's pairs: photo indices ``(p, 2)``, whether mated ``(p,)`` and fold ``(p,)``."""
        found = self.view2()
        return found.photos, found.mated, found.folds

    def view1(self, missing: list[str] | None = None) -> tuple[Pairs, Pairs] | None:
        """Return View 1's pairs, to choose a threshold on and to test it on; None where they are not there.

        They are ``pairsDevTrain.txt`` and ``pairsDevTest.txt``; errors are those of `view2`.
        """
        train, test = self._listing("pairsDevTrain.txt"), self._listing("pairsDevTest.txt")
        if train is None or test is None:
            return None
        return parse_pairs(train, self.photos, missing), parse_pairs(test, self.photos, missing)

    def view2(self, missing: list[str] | None = None) -> Pairs:
        """Return the pairs of ``pairs.txt``.

        Parameters
        ----------
        missing
            As in `parse_pairs`.

        Raises
        ------
        InputError
            If it is missing or malformed, or names a photo that is not there; the message says which line.
        """
        text = self._listing("pairs.txt")
        if text is None:
            raise InputError(f"{printable_path(self.path)} has no pairs.txt, the list of pairs to compare")
        return parse_pairs(text, self.photos, missing)

    def _listing(self, name: str) -> str | None:
        """Return a list that lies with the photos, at the top or in a folder of it."""
        if self.archive is None:
            inside = [*self.path.glob(name), *sorted(self.path.glob(f"*/{name}"))]
            found = [file.relative_to(self.path).as_posix() for file in inside]
        else:
            found = [member for member in self.archive.namelist() if PurePosixPath(member).name == name]
        return self._read(found[0], _MAX_LIST).decode("utf-8", "replace") if found else None

    def _read(self, member: str, limit: int) -> bytes:
        if self.archive is None:
            return read_file(self.path / member, limit)
        try:
            with self.archive.open(member) as file:
                data = file.read(limit + 1)
        except (OSError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError) as error:
            raise InputError(f"{member} in {printable_path(self.path)} can't be read: {reason(error)}") from None
        if len(data) > limit:
            raise InputError(f"{member} in {printable_path(self.path)} has more than {limit} bytes")
        return data


def data_path(where: str | os.PathLike[str]) -> Path:
    """Return the path of a data set: a path as it is, else the zip or folder of that name in ``VISAVIS_DATA``.

    Raises
    ------
    InputError
        If there is neither.
    """
    path = Path(where).expanduser()
    if path.exists():
        return path
    data = os.environ.get("VISAVIS_DATA")
    if data and len(path.parts) == 1:
        for candidate in (Path(data) / f"{path}.zip", Path(data) / path):
            if candidate.exists():
                return candidate
    hint = (
        f"there is none in {printable_path(data)} (VISAVIS_DATA)" if data else "set VISAVIS_DATA to the folder it is in"
    )
    raise InputError(f"no data set {printable_path(path)}: give its zip or folder, or a name; {hint}")


def parse_pairs(text: str, photos: Sequence[str], missing: list[str] | None = None) -> Pairs:
    r"""Read LFW's ``pairs.txt``.

    Parameters
    ----------
    text
        The first line holds the number of folds and of pairs of each kind in a fold; then, a fold after the other,
        mated pairs as ``NAME 1 4`` and non-mated ones as ``NAME 1 OTHER 2``.
    photos
        Names of the photos there are, as ``NAME_0001``.
    missing
        Where given, pairs that name photos that are not there are left out, and the photos' names are added to it.

    Raises
    ------
    InputError
        If the text is malformed, no pair is left, or, without ``missing``, a photo is not there.

    Examples
    --------
    >>> pairs = parse_pairs("1 1\nAda 1 2\nAda 1 Bob 1\n", ["Ada_0001", "Ada_0002", "Bob_0001"])
    >>> pairs.photos.tolist(), pairs.mated.tolist()
    ([[0, 1], [0, 2]], [True, False])
    """
    where = {photo: i for i, photo in enumerate(photos)}
    rows = [row.split() for row in text.splitlines() if row.strip()]
    try:
        numbers = [int(word) for word in rows[0]]
        folds, each = numbers if len(numbers) == 2 else (1, numbers[0])
    except (IndexError, ValueError):
        raise InputError("pairs.txt must begin with the number of folds and of pairs of a kind in each") from None
    if len(rows) - 1 != 2 * folds * each or folds < 1 or each < 1:
        raise InputError(f"pairs.txt announces {folds} folds of 2 x {each} pairs, and has {len(rows) - 1}")
    pairs = np.full((len(rows) - 1, 2), -1, np.intp)
    mated = np.empty(len(pairs), bool)
    for i, words in enumerate(rows[1:]):
        try:
            a, m, *rest = words
            b, n = rest if len(rest) == 2 else (a, *rest)
            names = [f"{a}_{int(m):04d}", f"{b}_{int(n):04d}"]
        except ValueError:
            raise InputError(f"line {i + 2} of pairs.txt is no pair: {' '.join(words)[:80]!r}") from None
        mated[i] = len(rest) == 1
        if there := resolved(names, where, i + 2, missing):
            pairs[i] = there
    kept = pairs[:, 0] >= 0
    if not kept.any():
        raise InputError("pairs.txt names no pair whose photos are both there")
    return Pairs(pairs[kept], mated[kept], np.repeat(np.arange(folds), 2 * each)[kept])


def resolved(
    names: Sequence[str], where: Mapping[str, int], line: int, missing: list[str] | None
) -> tuple[int, int] | None:
    """Return the rows of a pair's two photos; None where one is not there and ``missing`` takes its name.

    Raises
    ------
    InputError
        If a photo is not there and there is no ``missing``.
    """
    absent = [name for name in names if name not in where]
    if not absent:
        return where[names[0]], where[names[1]]
    if missing is None:
        raise InputError(f"line {line} of the pairs names a photo that is not there: {absent[0]!r}")
    missing += absent
    return None


def central(faces: Faces, width: int = 250, height: int = 250) -> Faces:
    """Return the face nearest the middle of a photo, as one row; no row where there is no face."""
    if not len(faces):
        return faces
    off = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2 - np.array([width / 2, height / 2])
    nearest = int(np.argmin((off**2).sum(axis=1)))
    return faces[nearest : nearest + 1]

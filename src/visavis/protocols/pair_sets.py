"""Pairs of photos to verify, from wherever they are listed: LFW's layout, any list, InsightFace's ``.bin`` files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from visavis.datasets.containers.insightface_bin import read_bin
from visavis.datasets.lfw import Lfw, Pairs, data_path, parse_pairs
from visavis.datasets.pairs import parse_list
from visavis.datasets.photos import PeopleFolder, PhotoSet
from visavis.errors import InputError
from visavis.files import find_images, printable_path, read_file
from visavis.protocols.embedding import Choice

__all__ = ["PairSet", "open_pair_set"]

_MAX_LIST = 1 << 28  # bytes of a list of pairs: some millions
_SHOWN = 3  # missing photos that a message names


@dataclass(frozen=True, eq=False)
class PairSet:
    """Pairs of photos.

    Attributes
    ----------
    name
        Of the data set.
    photos
        The photos.
    pairs
        Which of them to compare.
    subjects
        ``(n,)``: the number of each photo's person; None where nothing tells.
    choose
        Which face of a photo counts.
    files
        What was read, for hashes.
    view1
        LFW's View 1, where it is there: pairs to choose a threshold on, and pairs to test it on.
    missing
        Photos that pairs name and that are not there; those pairs were left out.
    """

    name: str
    photos: PhotoSet
    pairs: Pairs
    subjects: npt.NDArray[np.intp] | None
    choose: Choice
    files: tuple[Path, ...] = ()
    view1: tuple[Pairs, Pairs] | None = None
    missing: tuple[str, ...] = ()


def open_pair_set(
    where: str | os.PathLike[str],
    listing: str | os.PathLike[str] | None = None,
    *,
    skip_missing: bool = False,
    choose: Choice | None = None,
) -> PairSet:
    """Open pairs of photos.

    Parameters
    ----------
    where
        A zip or folder in LFW's layout (or its name in ``VISAVIS_DATA``), any folder of photos with a ``listing``, or
        a ``.bin`` of InsightFace, whose photos are aligned crops.
    listing
        Pairs in LFW's format, or a line each: two photos, 1 or 0, and perhaps a fold. Without it LFW's own. Photos in
        LFW's layout may be listed by name (``Ada_Lovelace_0001``) or by path (``Ada_Lovelace/Ada_Lovelace_0001.jpg``).
    skip_missing
        Leave out pairs that name photos that are not there.
    choose
        Which face of a photo counts; by default the central one of LFW's, and the largest elsewhere.

    Raises
    ------
    InputError
        If anything is missing or malformed.
    """
    path = data_path(where)
    if path.suffix.lower() == ".bin" and path.is_file():
        if listing is not None:
            raise InputError("a .bin file has its own pairs: leave out the list")
        crops = read_bin(path)
        return PairSet(path.name, crops, crops.pairs(), None, choose or "aligned", (path,))
    missing: list[str] = []
    photos: PhotoSet
    view1 = None
    if listing is None:
        try:
            photos = lfw = Lfw.open(path)
        except InputError as error:
            raise InputError(f"{error}; other photos take a list of pairs, or --all-pairs") from None
        pairs, view1 = lfw.view2(missing), lfw.view1(missing)
    else:
        text = read_file(listing, _MAX_LIST).decode("utf-8", "replace").lstrip("\ufeff")
        first = text.lstrip().split("\n", 1)[0].split()
        numbers = len(first) <= 2 and all(word.isdecimal() for word in first)
        photos = Lfw.open(path) if numbers else _photos(path)
        try:
            names = photos.photos
            if not numbers and isinstance(photos, Lfw) and any("/" in word for word in first):
                names = ["/".join(PurePosixPath(member).parts[-2:]) for member in photos.members]  # listed as paths
            pairs = (parse_pairs if numbers else parse_list)(text, names, missing)
        except InputError as error:
            unlike = f"; it names {missing[0]!r}, photos are named as {names[0]!r}" if missing else ""
            raise InputError(f"{printable_path(listing)}: {error}{unlike}") from None
    absent = tuple(dict.fromkeys(missing))
    if absent and not skip_missing:
        some = ", ".join(absent[:_SHOWN]) + (", ..." if len(absent) > _SHOWN else "")
        raise InputError(
            f"the pairs name {len(absent):,} photo{'s' * (len(absent) != 1)} that {'are' if len(absent) > 1 else 'is'} "
            f"not in {printable_path(path)}: {some}; leave their pairs out with --skip-missing"
        )
    files = tuple(Path(file) for file in (path, listing) if file is not None and Path(file).is_file())
    kind: Choice = choose or ("central" if isinstance(photos, Lfw) else "largest")
    return PairSet(path.name, photos, pairs, _subjects(photos, pairs), kind, files, view1, absent)


def _photos(path: Path) -> PhotoSet:
    """Return the photos that a plain list names: LFW's, else each of a folder by its path."""
    names = sorted(file.relative_to(path).as_posix() for file in find_images([path])) if path.is_dir() else []
    try:
        lfw = Lfw.open(path)
    except InputError:
        if not names:
            raise
        return PeopleFolder(path, names)
    return PeopleFolder(path, names) if len(names) > len(lfw.members) else lfw


def _subjects(photos: PhotoSet, pairs: Pairs) -> npt.NDArray[np.intp] | None:
    """Return the person of each photo by its folder; None where the pairs say otherwise."""
    number = np.unique(np.array(photos.people), return_inverse=True)[1].astype(np.intp)
    a, b = number[pairs.photos].T
    return number if ((a == b) == pairs.mated).all() else None

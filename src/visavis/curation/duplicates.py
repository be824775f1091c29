"""Suspects that no embedding is needed for: photos that are there twice, and photos without one clear face."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from visavis.curation.cleaning import Folders, Suspect
from visavis.curation.inspection import Inspected
from visavis.datasets.duplicates import Fingerprint, Group, fingerprints, group, require_library
from visavis.datasets.placing import photo_files
from visavis.errors import InputError
from visavis.models.session import usable_cores

__all__ = ["count_duplicates", "duplicate_suspects", "require_library", "unclear_suspects"]


def unclear_suspects(seen: Inspected, known: Folders | None = None, apart: float = 1.0) -> list[Suspect]:
    """Return photos that can't be read, show no face, or show several of like size.

    Of the last those are left out whose face is like the rest of its folder: its mean similarity, as ``known`` has it,
    reaches ``apart``.
    """
    settled = np.zeros(len(seen.data.photos), bool) if known is None else np.nan_to_num(known.own, nan=-1) >= apart
    found = []
    for i, (photo, person) in enumerate(zip(seen.data.photos, seen.data.people, strict=True)):
        if i in seen.errors:
            found.append(Suspect("unreadable", "remove", person, photo, note=seen.errors[i]))
        elif not seen.faces[i]:
            found.append(Suspect("no face", "remove", person, photo))
        elif seen.faces[i] > 1 and not settled[i]:
            found.append(Suspect("several faces", "look", person, photo, note=f"{seen.faces[i]} faces of like size"))
    return found


def duplicate_suspects(seen: Inspected, known: Folders, *, say: Callable[[str], None] | None = None) -> list[Suspect]:
    """Return photos that are there more than once.

    Of a picture in one folder the best is kept; of one in several folders that in the folder it is most like, and
    where no embedding tells, all are to be looked at.

    Raises
    ------
    InputError
        If the photos lie in an archive.
    """
    files, groups = _groups(seen, say)
    suspects = []
    for same in groups:
        rows = [files[same.keep.path], *(files[other.photo.path] for other in same.others)]
        alike = [1.0, *(other.similarity for other in same.others)]
        people = [seen.data.people[i] for i in rows]
        own = np.array([known.own[i] for i in rows])
        torn = len(set(people)) > 1
        first = 0
        if torn and not np.isnan(own).all():
            first = int(np.nanargmax(own))
        for number, (i, similarity) in enumerate(zip(rows, alike, strict=True)):
            if number == first and not (torn and np.isnan(own).all()):
                continue
            unsure = torn and np.isnan(own).all()
            target = seen.data.photos[rows[first if number != first else 1]]
            note = f"also in the folder of {seen.data.people[rows[first]]}" if people[number] != people[first] else ""
            suspects.append(
                Suspect(
                    "duplicate",
                    "look" if unsure else "remove",
                    people[number],
                    seen.data.photos[i],
                    round(similarity, 4),
                    target,
                    note,
                )
            )
    return suspects


def count_duplicates(seen: Inspected, *, say: Callable[[str], None] | None = None) -> int:
    """Return how many photos could go as they are there more than once.

    Raises
    ------
    InputError
        If the photos lie in an archive.
    """
    return sum(len(same.others) for same in _groups(seen, say)[1])


def _groups(seen: Inspected, say: Callable[[str], None] | None) -> tuple[dict[Path, int], list[Group]]:
    files: dict[Path, int] = {}
    for i, (source, _) in enumerate(photo_files(seen.data)):
        if not isinstance(source, Path):
            raise InputError("duplicates are found in folders, not in archives; unpack it, or --no-duplicates")
        files[source] = i
    prints: list[Fingerprint] = []
    for _, made in fingerprints(files, threads=usable_cores()):
        if say is not None and len(prints) % 50 == 0:
            say(f"looking for duplicates: {len(prints):,} of {len(files):,} photos")
        if isinstance(made, Fingerprint):
            prints.append(made)
    return files, group(prints, say=say)

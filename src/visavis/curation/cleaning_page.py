"""A page of suspects: each beside photos of the folder it lies in, and of the one it may belong to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from visavis.curation.cleaning import Folders, Suspect
from visavis.curation.inspection import Inspected
from visavis.reporting.document import Document, Picture, Pictures, Section, Table, Text

__all__ = ["cleaning_document"]

_BESIDE = 4  # photos of a folder shown beside a suspect
_SHOWN = 200  # suspects of a reason

_TITLES = {
    "wrong person": "Somebody else than the folder's person",
    "same person": "One person in two folders",
    "unlike each other": "Folders that fall apart",
    "duplicate": "The same picture more than once",
    "several faces": "Several faces of like size",
    "no face": "No face found",
    "unreadable": "Can't be read",
}


def cleaning_document(
    name: str, seen: Inspected, suspects: Sequence[Suspect], known: Folders | None, facts: Sequence[tuple[str, str]]
) -> Document:
    """Return the page of a data set's suspects.

    Parameters
    ----------
    name
        Of the data set.
    seen, suspects, known
        What was seen, what was found, and what embeddings said of the folders.
    facts
        Settings and versions.
    """
    counts = Counter(suspect.reason for suspect in suspects)
    people = len(set(seen.data.people))
    found = f"{len(suspects):,} suspect{'s' * (len(suspects) != 1)}"
    summary = f"{found} among {len(seen.data.photos):,} photos of {people:,} people."
    rows = [[_TITLES[why], f"{number:,}"] for why, number in counts.most_common()]
    sections = [Section("Found", [Table("Suspects by reason", ["reason", "suspects"], rows)])] if rows else []
    pictures = _Shown(seen, known)
    for why, title in _TITLES.items():
        some = [suspect for suspect in suspects if suspect.reason == why]
        if some:
            sections.append(Section(title, _parts(some, pictures)))
    results: dict[str, Any] = {"suspects": [asdict(suspect) for suspect in suspects], "counts": dict(counts)}
    return Document(f"Label noise in {name}", summary, sections, facts, results)


def _parts(suspects: Sequence[Suspect], pictures: _Shown) -> list[Pictures | Text]:
    shown = [(pictures.row(suspect), _caption(suspect)) for suspect in suspects[:_SHOWN]]
    shown = [(row, caption) for row, caption in shown if row]
    parts: list[Pictures | Text] = []
    if shown:
        note = f"The first {len(shown):,} of {len(suspects):,}." if len(suspects) > len(shown) else ""
        parts.append(Pictures("", [row for row, _ in shown], [caption for _, caption in shown], note))
    parts += [Text(_caption(suspect)) for suspect in suspects[:_SHOWN] if suspect.reason == "unreadable"]
    return parts


def _caption(suspect: Suspect) -> str:
    what = f"{suspect.photo or suspect.person}: {suspect.suggestion}"
    if suspect.suggestion in ("move", "merge"):
        what += f" to {suspect.target}" if suspect.suggestion == "move" else f" into {suspect.target}"
    if suspect.similarity is not None:
        what += f", similarity {suspect.similarity:.2f}"
    return f"{what}; {suspect.note}" if suspect.note else what


class _Shown:
    """Pictures of photos and of folders, the photos most typical of a folder first."""

    def __init__(self, seen: Inspected, known: Folders | None) -> None:
        self._seen = seen
        self._number = {photo: i for i, photo in enumerate(seen.data.photos)}
        own = np.full(len(seen.data.photos), -1.0) if known is None else np.nan_to_num(known.own, nan=-1.0)
        typical = np.ones(len(own), bool) if known is None else known.core
        self._of: dict[str, list[int]] = {}
        for i in (int(i) for i in np.argsort(-own, kind="stable") if typical[i]):
            self._of.setdefault(seen.data.people[i], []).append(i)

    def row(self, suspect: Suspect) -> list[Picture]:
        """Return the suspect's picture, some of its folder and some of the other folder."""
        first = self._number.get(suspect.photo)
        row = [] if first is None else self._pictures([first], suspect.photo)
        if suspect.reason in ("unreadable", "no face", "several faces"):
            return row
        beside = [i for i in self._of.get(suspect.person, ()) if i != first][:_BESIDE]
        row += self._pictures(beside, suspect.person)
        other = self._number.get(suspect.target)
        there = [other] if other is not None else self._of.get(suspect.target, [])[:_BESIDE]
        return row + self._pictures(there, suspect.target)

    def _pictures(self, photos: Sequence[int], caption: str) -> list[Picture]:
        images = [self._seen.face_picture(i) for i in photos]
        return [Picture(image, caption) for image in images if image is not None]

"""Similarities and labels that any other program wrote as CSV, read for evaluation."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from visavis.datasets.columns import numbers, read_columns, titles_of
from visavis.errors import InputError
from visavis.evaluation.rates import Scores
from visavis.files import printable_path

__all__ = ["Labels", "ScoreFile", "read_labels", "read_scores"]

_MATED = {
    **dict.fromkeys(("1", "true", "yes", "mated", "genuine", "same", "match"), True),
    **dict.fromkeys(("0", "false", "no", "non-mated", "nonmated", "impostor", "imposter", "different"), False),
}
_OWN = ("similarity", "mated", "subject_a", "subject_b", "photo_a", "photo_b", "fold")
_COLUMNS = _OWN[2:]


@dataclass(frozen=True, eq=False)
class ScoreFile:
    """Pairs of a CSV file.

    Attributes
    ----------
    scores
        The pairs; subjects, photos and folds are numbered where the file has them.
    subjects, photos
        The names that are numbered.
    labels
        ``(p, 2)`` texts of other columns that come in twos, as ``sex_a`` and ``sex_b``; empty where unknown.
    """

    scores: Scores
    subjects: tuple[str, ...] = ()
    photos: tuple[str, ...] = ()
    labels: dict[str, npt.NDArray[np.str_]] = field(default_factory=dict)


def read_scores(path: str | os.PathLike[str]) -> ScoreFile:
    """Read the similarities of pairs, from any system, out of a CSV file.

    Needed are the columns ``similarity`` (any scale on which higher is closer) and ``mated`` (1 or 0, true or false,
    yes or no, mated or non-mated, genuine or impostor, same or different); without ``mated`` the subjects tell. There
    may be ``subject_a`` and ``subject_b``, ``photo_a`` and ``photo_b``, ``fold``, and labels of both sides in columns
    such as ``sex_a`` and ``sex_b``. Rules of the file: `visavis.datasets.columns.read_columns`.

    Raises
    ------
    InputError
        If the file can't be read or a cell is not as it should be; line or row is named.
    """
    path = Path(path)
    name = printable_path(path)
    titles = [title.lower() for title in titles_of(path)]
    paired = [
        title[:-2]
        for title in titles
        if title.endswith("_a") and title[:-2] + "_b" in titles and title not in _OWN and len(title) > 2
    ]
    sides = [f"{label}_{side}" for label in paired for side in "ab"]
    known = [title for title in ("mated", *_COLUMNS) if title in titles]
    needed = ["similarity", *known]
    for one, other in (("subject_a", "subject_b"), ("photo_a", "photo_b")):
        if (one in known) != (other in known):
            raise InputError(f"{name} has only one of the columns {one} and {other}")
    if "mated" not in known and "subject_a" not in known:
        raise InputError(f"{name} needs a column 'mated', or 'subject_a' and 'subject_b'")
    cells = read_columns(path, needed, sides, blank=True)
    similarities = numbers(cells["similarity"], "similarity", path)
    subjects, people = _numbered(cells, "subject")
    photos, pictures = _numbered(cells, "photo")
    folds = np.unique(cells["fold"], return_inverse=True)[1] if "fold" in cells else None
    if "mated" in cells:
        mated = _mated(cells["mated"], name)
    else:
        assert subjects is not None
        mated = subjects[:, 0] == subjects[:, 1]
    try:
        scores = Scores(similarities, mated, subjects, photos, folds)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    labels = {label: np.stack([np.array(cells[f"{label}_{side}"]) for side in "ab"], axis=1) for label in paired}
    return ScoreFile(scores, people, pictures, labels)


def _mated(cells: Sequence[str], name: str) -> npt.NDArray[np.bool_]:
    mated = np.empty(len(cells), bool)
    for i, cell in enumerate(cells):
        said = _MATED.get(cell.lower())
        if said is None:
            raise InputError(f"row {i + 1} of {name} has mated {cell[:40]!r}; write 1 or 0")
        mated[i] = said
    return mated


def _numbered(cells: Mapping[str, list[str]], what: str) -> tuple[npt.NDArray[np.intp] | None, tuple[str, ...]]:
    if f"{what}_a" not in cells:
        return None, ()
    number: dict[str, int] = {}
    sides = [[number.setdefault(cell, len(number)) for cell in cells[f"{what}_{side}"]] for side in "ab"]
    return np.array(sides, np.intp).T, tuple(number)


@dataclass(frozen=True)
class Labels:
    """What is known of photos or subjects.

    Attributes
    ----------
    key
        ``"photo"`` or ``"subject"``: what the labels belong to.
    labels
        Of each column, as ``"sex"``: the label of each photo or subject that has one.
    subjects
        The subject of each photo, where the file says so.
    """

    key: str
    labels: dict[str, dict[str, str]]
    subjects: dict[str, str] = field(default_factory=dict)

    def of(self, column: str, names: Sequence[str]) -> npt.NDArray[np.str_]:
        """Return the labels of these photos or subjects, empty where there is none."""
        if column not in self.labels:
            raise InputError(f"there is no label {column!r}; there are: {', '.join(self.labels)}")
        known = self.labels[column]
        return np.array([known.get(name, "") for name in names], dtype=np.str_)


def read_labels(path: str | os.PathLike[str]) -> Labels:
    """Read labels of photos or subjects out of a CSV file: ``photo`` or ``subject``, then a column a label.

    With ``photo`` there may be ``subject`` too, which then says who is on it. Empty cells are unknown labels.

    Raises
    ------
    InputError
        If the file can't be read, has no such column or no labels, or contradicts itself.
    """
    name = printable_path(path)
    titles = titles_of(path)
    lower = [title.lower() for title in titles]
    key = next((key for key in ("photo", "subject") if key in lower), None)
    if key is None:
        raise InputError(f"{name} needs a column 'photo' or 'subject', and one for each label")
    columns = [title for title in titles if title and title.lower() not in ("photo", "subject")]
    if not columns:
        raise InputError(f"{name} has no column of labels beside {key!r}")
    cells = read_columns(path, [key], [*columns, *(["subject"] if key == "photo" else [])], blank=True)
    labels: dict[str, dict[str, str]] = {column: {} for column in columns}
    subjects: dict[str, str] = {}
    for column, into in [*labels.items(), ("subject", subjects)]:
        if column not in cells or column == key:
            continue
        for owner, label in zip(cells[key], cells[column], strict=True):
            if label and into.setdefault(owner, label) != label:
                raise InputError(f"{name} says of {owner[:80]!r} that {column} is {into[owner]!r}, and {label!r}")
    return Labels(key, labels, subjects)

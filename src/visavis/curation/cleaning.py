"""Label noise in a folder a person: photos of somebody else, one person in two folders, photos that are there twice.

What resembles its folder is told by embeddings. The photos of a folder are clustered; the largest cluster is taken for
the person, and a photo whose mean similarity to it stays below a threshold for somebody else. Two folders whose
clusters' photos are, at the mean, as alike as those of one person are taken for one person. Nothing is changed here:
what is found is a list of suspects, to be looked at.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt

from visavis.clustering import cluster
from visavis.errors import InputError

__all__ = ["APART_FMR", "SAME_FMR", "Folders", "Suspect", "alike_people", "find_suspects", "folders", "misplaced"]

APART_FMR = 1e-2
"""FMR whose threshold a photo's mean similarity to its folder stays below to be suspect; docs/building.md."""
SAME_FMR = 1e-5
"""FMR whose threshold the mean similarity of two folders reaches to be taken for one person."""

_BLOCK = 1024  # folders or photos compared with all others at once

Reason = Literal[
    "unreadable", "no face", "several faces", "wrong person", "unlike each other", "same person", "duplicate"
]
Suggestion = Literal["remove", "move", "merge", "look"]
Floats = npt.NDArray[np.floating]
Rows = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Suspect:
    """A photo, or a folder, that may be where it should not be.

    Attributes
    ----------
    reason, suggestion
        What was found, and what to do: remove the photo, move it to ``target``, merge the folder of ``person`` into
        that of ``target``, or look.
    person, photo
        The folder; and the photo, or "" where the whole folder is meant.
    similarity
        What it rests on: to the rest of the folder, between the folders, or of the pictures; None where on nothing of
        the kind.
    target
        The other folder, or the photo that stays.
    note
        In words.
    """

    reason: Reason
    suggestion: Suggestion
    person: str
    photo: str = ""
    similarity: float | None = None
    target: str = ""
    note: str = ""


@dataclass(frozen=True, eq=False)
class Folders:
    """What embeddings say of folders of people.

    Attributes
    ----------
    names
        The people, sorted.
    number
        ``(n,)``: of each photo its person's number.
    core
        ``(n,)``: whether the photo is in the largest cluster of its folder, taken for the person.
    clear
        ``(people,)``: whether that cluster is larger than any other of the folder.
    own
        ``(n,)``: mean similarity to the other photos of the core; NaN where there are none or no embedding.
    means
        ``(people, d)``: mean vector of the core, whose product with another's is the mean similarity of their photos.
    """

    names: list[str]
    number: Rows
    core: npt.NDArray[np.bool_]
    clear: npt.NDArray[np.bool_]
    own: Floats
    means: Floats


def folders(
    people: Sequence[str],
    vectors: npt.NDArray[np.float32],
    found: npt.NDArray[np.bool_],
    threshold: float,
    say: Callable[[str], None] | None = None,
) -> Folders:
    """Tell which photos of each folder are the person's, as far as embeddings can.

    Parameters
    ----------
    people
        The person of each photo, by its folder.
    vectors, found
        ``(n, d)`` unit embeddings of one model, and which photos have one.
    threshold
        Mean similarity from which photos of a folder show one person.

    Raises
    ------
    InputError
        If the lengths differ.
    """
    if not len(people) == len(vectors) == len(found):
        raise InputError(f"{len(people)} people need as many embeddings, not {len(vectors)} and {len(found)}")
    names, number = np.unique(np.asarray(people, object), return_inverse=True)
    number = number.reshape(-1)
    core, clear = np.zeros(len(people), bool), np.ones(len(names), bool)
    for k, rows in enumerate(_members(number, found, len(names))):
        if say is not None and k % 200 == 0:
            say(f"comparing within folders: {k:,} of {len(names):,}")
        if len(rows) < 2:
            core[rows] = True
            continue
        labels = cluster(vectors[rows], threshold=threshold, min_faces=1)
        sizes = np.bincount(labels)
        core[rows[labels == 0]] = True
        clear[k] = len(sizes) == 1 or sizes[0] > sizes[1]
    sums = np.zeros((len(names), vectors.shape[1]))
    np.add.at(sums, number[core], vectors[core])
    counts = np.bincount(number[core], minlength=len(names))
    total = np.einsum("ij,ij->i", vectors, sums[number]) - core
    others = counts[number] - core
    own = np.divide(total, others, out=np.full(len(people), np.nan), where=(others > 0) & found)
    return Folders(names.tolist(), number, core, clear, own, sums / np.maximum(counts, 1)[:, None])


def _members(number: Rows, found: npt.NDArray[np.bool_], total: int) -> Iterator[Rows]:
    rows = np.flatnonzero(found)
    rows = rows[np.argsort(number[rows], kind="stable")]
    ends = np.searchsorted(number[rows], np.arange(total + 1))
    for start, end in pairwise(ends.tolist()):
        yield rows[start:end]


def misplaced(
    photos: Sequence[str], known: Folders, vectors: npt.NDArray[np.float32], *, apart: float, match: float
) -> list[Suspect]:
    """Return photos that are unlike the rest of their folder, and which folder they would fit in.

    Parameters
    ----------
    photos
        A name for each.
    known
        What `folders` found.
    vectors
        Unit embeddings, ``(n, d)``.
    apart
        Mean similarity to the folder below which a photo is suspect.
    match
        Mean similarity to another folder from which a photo is thought to belong there.
    """
    rows = np.flatnonzero(~np.isnan(known.own) & ((known.own < apart) | ~known.core))
    rows = rows[known.own[rows] < apart]
    torn = {int(k) for k in np.flatnonzero(~known.clear)}
    rows = np.union1d(rows, [i for i in np.flatnonzero(known.core) if int(known.number[i]) in torn]).astype(np.intp)
    best, where = _nearest_folder(vectors[rows], known.means, known.number[rows])
    found: list[Suspect] = []
    for i, similarity, other in zip(rows.tolist(), best.tolist(), where.tolist(), strict=True):
        k = int(known.number[i])
        own = None if np.isnan(known.own[i]) else round(float(known.own[i]), 4)
        elsewhere = similarity >= match and (own is None or similarity > own)
        target = known.names[other] if elsewhere else ""
        note = f"like {target}: {similarity:.2f}" if elsewhere else ""
        if elsewhere:
            found.append(Suspect("wrong person", "move", known.names[k], photos[i], own, target, note))
        elif k in torn:
            note = "as many photos of the folder are like this one as like another"
            found.append(Suspect("unlike each other", "look", known.names[k], photos[i], own, note=note))
        else:
            found.append(Suspect("wrong person", "remove", known.names[k], photos[i], own))
    return _without_settled(found, torn, known)


def _without_settled(found: list[Suspect], torn: set[int], known: Folders) -> list[Suspect]:
    """Leave out the rest of a torn folder once one side of it is known to belong elsewhere."""
    moved = {s.person for s in found if s.suggestion == "move"}
    settled = {known.names[k] for k in torn} & moved
    return [s for s in found if not (s.person in settled and s.reason == "unlike each other")]


def _nearest_folder(vectors: npt.NDArray[np.float32], means: Floats, own: Rows) -> tuple[Floats, Rows]:
    """Return the highest mean similarity to another folder, and which one it is."""
    best, where = np.full(len(vectors), -1.0), np.zeros(len(vectors), np.intp)
    for start in range(0, len(vectors), _BLOCK):
        block = vectors[start : start + _BLOCK] @ means.T
        block[np.arange(len(block)), own[start : start + _BLOCK]] = -2
        where[start : start + _BLOCK] = block.argmax(axis=1)
        best[start : start + _BLOCK] = block.max(axis=1)
    return best, where


def alike_people(
    people: Sequence[str],
    vectors: npt.NDArray[np.float32],
    found: npt.NDArray[np.bool_],
    threshold: float,
    *,
    apart: float | None = None,
    known: Folders | None = None,
) -> list[tuple[str, str, float]]:
    """Return pairs of people whose photos are, at the mean, as alike as those of one person, the likest first.

    Folders that fall into equal parts are nobody's, and compared with none.

    Parameters
    ----------
    threshold
        Mean similarity from which two folders are one person.
    apart
        As the threshold of `folders`; without it ``threshold``.
    known
        What `folders` found, where that is known.
    """
    known = known or folders(people, vectors, found, threshold if apart is None else apart)
    have = np.unique(known.number[known.core])
    have = have[known.clear[have]]
    means = known.means[have]
    pairs = []
    for start in range(0, len(have), _BLOCK):
        block = means[start : start + _BLOCK] @ means.T
        for a, b in zip(*np.nonzero(block >= threshold), strict=True):
            if start + a < b:
                one, two = known.names[have[start + a]], known.names[have[b]]
                pairs.append((one, two, round(float(block[a, b]), 4)))
    return sorted(pairs, key=lambda pair: (-pair[2], pair[:2]))


def find_suspects(
    photos: Sequence[str],
    people: Sequence[str],
    vectors: npt.NDArray[np.float32],
    found: npt.NDArray[np.bool_],
    *,
    apart: float,
    same: float,
    match: float,
    say: Callable[[str], None] | None = None,
) -> tuple[list[Suspect], Folders]:
    """Return what embeddings find wrong with the labels of photos: `misplaced` photos and people in two folders.

    Parameters
    ----------
    photos, people
        A name for each photo, and its folder.
    vectors, found
        ``(n, d)`` unit embeddings of one model, and which photos have one.
    apart, same, match
        Mean similarities: of a photo to its folder below which it is suspect, of two folders from which they are one
        person, and of a photo to another folder from which it belongs there.
    """
    known = folders(people, vectors, found, apart, say)
    suspects = misplaced(photos, known, vectors, apart=apart, match=match)
    sizes = Counter(people)
    merged: dict[str, list[Suspect]] = defaultdict(list)
    for a, b, similarity in alike_people(people, vectors, found, same, known=known):
        target, person = sorted((a, b), key=lambda name: (-sizes[name], name))
        merged[person].append(Suspect("same person", "merge", person, "", similarity, target))
    for rows in merged.values():
        suspects.append(rows[0])  # the likest; to the others it is told below
        suspects += [Suspect("same person", "look", s.person, "", s.similarity, s.target) for s in rows[1:]]
    return suspects, known

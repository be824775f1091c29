"""Searching probes in a gallery, and among distractors up to millions, in bounded memory.

What comes out are similarities and ranks; `visavis.evaluation.identification` makes rates of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from visavis.errors import InputError

__all__ = ["DistractorRanks", "Fusion", "Search", "against_distractors", "search"]

Fusion = Literal["max", "mean"]
"""A subject with several templates: the highest of their similarities counts, or their mean."""

Vectors = npt.NDArray[np.float32]

# Two dot products of the same vectors may differ by this much, depending on how they are summed up.
_ROUNDING = 1e-6
_UNIT = 1e-3  # by which the length of a vector may be off: what `Embeddings` allows
_CELLS = 2**20  # similarities computed at once: 4 MB
_ROWS = 4096  # rows of the larger side taken at once


@dataclass(frozen=True, eq=False)
class Search:
    """What became of p probes searched in a gallery; every rate is computed from it.

    Attributes
    ----------
    subjects
        Intp ``(p,)``: a number for each probe's person.
    best
        Float32 ``(p,)``: the highest similarity to any subject; -1 where the probe has no embedding.
    own
        Float32 ``(p,)``: the similarity to the probe's own subject; NaN where it is not enrolled.
    ranks
        Intp ``(p,)``: at which rank the own subject comes, from 1; 0 where it is not enrolled, ``size`` + 1 where it
        can't be found, as the probe or all its templates lack an embedding. Ties are counted pessimistically: whoever
        is as similar as the own subject comes before it.
    size
        How many subjects are enrolled.
    """

    subjects: npt.NDArray[np.intp]
    best: npt.NDArray[np.float32]
    own: npt.NDArray[np.float32]
    ranks: npt.NDArray[np.intp]
    size: int

    @property
    def mated(self) -> npt.NDArray[np.bool_]:
        """Which probes are of enrolled subjects, ``(p,)``."""
        return self.ranks > 0

    def __len__(self) -> int:
        return len(self.ranks)


def search(
    probes: npt.ArrayLike,
    probe_subjects: npt.ArrayLike | Sequence[Any],
    gallery: npt.ArrayLike,
    gallery_subjects: npt.ArrayLike | Sequence[Any],
    *,
    fusion: Fusion = "max",
    found: npt.NDArray[np.bool_] | None = None,
    gallery_found: npt.NDArray[np.bool_] | None = None,
) -> Search:
    """Search every probe in a gallery, in blocks: memory does not grow with probes times gallery.

    Parameters
    ----------
    probes, gallery
        Unit vectors, float32 ``(p, d)`` and ``(g, d)``.
    probe_subjects, gallery_subjects
        Whom each shows: numbers or names, ``(p,)`` and ``(g,)``. A subject may have several templates.
    fusion
        What counts of a subject's several templates.
    found, gallery_found
        Which of them have an embedding; all without it. A subject whose templates all lack one is enrolled, and
        can't be found.

    Raises
    ------
    InputError
        If lengths or dimensions differ, there is no gallery, or vectors are not finite and of length 1.

    Examples
    --------
    >>> gallery = np.array([[1, 0], [0, 1]], np.float32)
    >>> probes = np.array([[0.8, 0.6], [0.6, 0.8], [0, 1]], np.float32)
    >>> found = search(probes, ["ada", "ada", "eve"], gallery, ["ada", "bob"])
    >>> found.ranks.tolist(), found.mated.tolist(), found.best.tolist()[2]
    ([1, 2, 0], [True, True, False], 1.0)
    """
    searched, there = _checked("probes", probes, found)
    enrolled, usable = _checked("gallery", gallery, gallery_found)
    names = [np.asarray(probe_subjects), np.asarray(gallery_subjects)]
    if names[0].shape != (len(searched),) or names[1].shape != (len(enrolled),):
        raise InputError(
            f"{len(searched)} probes and {len(enrolled)} templates need a subject each, "
            f"not {names[0].shape} and {names[1].shape}"
        )
    if not len(enrolled):
        raise InputError("the gallery is empty: there is nobody to find")
    if len(searched) and searched.shape[1] != enrolled.shape[1]:
        raise InputError(f"probes of {searched.shape[1]} numbers can't be searched among {enrolled.shape[1]}")
    if len(names[0]) and (names[0].dtype.kind in "iu") != (names[1].dtype.kind in "iu"):
        raise InputError(
            f"subjects of probes are {names[0].dtype} and of the gallery {names[1].dtype}: name both alike"
        )
    numbers = np.unique(np.concatenate(names), return_inverse=True)[1].reshape(-1)
    persons, owners = numbers[: len(searched)], numbers[len(searched) :]
    if not usable.all():
        subjects = _Subjects.of(enrolled[usable], owners[usable], fusion)
    else:
        subjects = _Subjects.of(enrolled, owners, fusion)  # a gallery may be large: it is not copied without need
    place = np.where(there, subjects.place(persons), -1)  # -1 too where the probe is not searched at all
    mated = np.isin(persons, owners)
    own = np.where(mated, np.float32(-1), np.float32(np.nan)).astype(np.float32)
    own[place >= 0] = subjects.similarity(searched[place >= 0], place[place >= 0])
    best = np.full(len(searched), -1, np.float32)
    before = np.zeros(len(searched), np.intp)
    for block in subjects.blocks():
        for part in _parts(np.flatnonzero(there), len(block.vectors)):
            values = block.similarities(searched[part])
            best[part] = np.maximum(best[part], values.max(axis=1))
            column = place[part] - block.first
            inside = np.flatnonzero((column >= 0) & (column < values.shape[1]))
            values[inside, column[inside]] = -np.inf
            before[part] += np.count_nonzero(values >= (own[part] - _ROUNDING)[:, None], axis=1)
    size = len(np.unique(owners))
    ranks = np.where(place >= 0, before + 1, size + 1)
    return Search(persons, best, own, np.where(mated, ranks, 0).astype(np.intp), size)


@dataclass(frozen=True, eq=False)
class DistractorRanks:
    """At which rank the own subject of mated probes comes among growing numbers of distractors.

    Attributes
    ----------
    sizes
        Intp ``(s,)``, rising: how many distractors.
    ranks
        Intp ``(s, m)``: the rank of each mated probe's subject among it and that many distractors, from 1; one beyond
        the last where it can't be found.
    subjects
        Intp ``(m,)``: the number of each mated probe's person.
    """

    sizes: npt.NDArray[np.intp]
    ranks: npt.NDArray[np.intp]
    subjects: npt.NDArray[np.intp]


def against_distractors(
    searched: Search,
    probes: npt.ArrayLike,
    distractors: npt.NDArray[np.floating[Any]],
    sizes: Sequence[int] | None = None,
    say: Callable[[str], None] | None = None,
) -> DistractorRanks:
    """Rank every mated probe's own subject among distractors: people who are none of them.

    The protocol of MegaFace (Kemelmacher-Shlizerman et al., "The MegaFace benchmark", CVPR 2016): the gallery is the
    own subject and the distractors, nobody else. Fewer distractors are the first ones of more, so that one pass over
    them, in blocks, serves all numbers.

    Parameters
    ----------
    searched
        What `search` gave for these probes.
    probes
        The unit vectors that were searched, ``(p, d)``.
    distractors
        ``(n, d)``, vectors of any length but 0; a memory-mapped file is read block by block.
    sizes
        Numbers of distractors; by default 1, 10, 100, ... and all.
    say
        Called with what is under way.

    Raises
    ------
    InputError
        If dimensions differ, a size is not in 1..n, or a distractor is zero or not finite; its row is named.
    """
    if distractors.ndim != 2 or distractors.dtype.kind != "f" or not len(distractors):
        raise InputError(f"distractors must be numbers of shape (n, d), not {distractors.dtype} {distractors.shape}")
    total = len(distractors)
    steps = _ladder(total) if sizes is None else np.unique(np.asarray(sizes, np.intp))
    if not len(steps) or steps[0] < 1 or steps[-1] > total:
        raise InputError(f"numbers of distractors lie in 1..{total}, how many there are")
    looked = np.asarray(probes, np.float32)
    mated = np.flatnonzero(searched.mated)
    if looked.ndim != 2 or len(looked) != len(searched):
        raise InputError(f"the {len(searched)} probes that were searched are needed, not {looked.shape}")
    if looked.shape[1] != distractors.shape[1]:
        raise InputError(
            f"distractors of {distractors.shape[1]} numbers and probes of {looked.shape[1]} are not of one model"
        )
    if not len(mated):
        raise InputError("no probe is mated: there is no rank to look for")
    bar = searched.own[mated] - _ROUNDING
    before = np.zeros(len(mated), np.intp)
    ranks = np.empty((len(steps), len(mated)), np.intp)
    start = 0
    for step, end in enumerate(steps):
        while start < end:
            stop = min(start + _ROWS, int(end))
            block = _unit_rows(distractors[start:stop], start)
            for part in _parts(np.arange(len(mated)), len(block)):
                values = looked[mated[part]] @ block.T
                before[part] += np.count_nonzero(values >= bar[part, None], axis=1)
            start = stop
            if say is not None:
                say(f"{start:,} of {int(steps[-1]):,} distractors")
        ranks[step] = before + 1
    lost = searched.ranks[mated] > searched.size  # whatever a product of zeros says
    ranks[:, lost] = steps[:, None] + 2
    return DistractorRanks(steps, ranks, searched.subjects[mated])


@dataclass(frozen=True, eq=False)
class _Block:
    """Whole subjects of a gallery: their templates, where each one's begin, and the place of the first."""

    vectors: Vectors
    starts: npt.NDArray[np.intp]
    first: int

    def similarities(self, probes: Vectors) -> Vectors:
        """Return the similarity of probes to each subject, ``(p, subjects)``."""
        values = probes @ self.vectors.T
        several = len(self.starts) < len(self.vectors)
        return np.maximum.reduceat(values, self.starts, axis=1) if several else values


@dataclass(frozen=True, eq=False)
class _Subjects:
    """A gallery sorted by subject: their numbers, and where each one's templates begin and end."""

    numbers: npt.NDArray[np.intp]
    ends: npt.NDArray[np.intp]
    vectors: Vectors

    @classmethod
    def of(cls, vectors: Vectors, owners: npt.NDArray[np.intp], fusion: Fusion) -> _Subjects:
        numbers, counts = np.unique(owners, return_counts=True)
        ends = np.concatenate([[0], np.cumsum(counts)])
        in_order = bool((np.diff(owners) >= 0).all())
        sorted_vectors = vectors if in_order else vectors[np.argsort(owners, kind="stable")]
        if fusion == "mean" and len(numbers) < len(owners):  # the mean of products is the product with the mean
            sums = np.add.reduceat(sorted_vectors.astype(np.float64), ends[:-1], axis=0)
            sorted_vectors = (sums / counts[:, None]).astype(np.float32)
            ends = np.arange(len(numbers) + 1)
        elif fusion not in ("max", "mean"):
            raise InputError(f"templates of a subject are fused by max or mean, not {fusion!r}")
        return cls(numbers, ends.astype(np.intp), sorted_vectors)

    def place(self, persons: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        """Return where people stand among the subjects; -1 for who is none of them."""
        if not len(self.numbers):
            return np.full(len(persons), -1, np.intp)
        where = np.minimum(np.searchsorted(self.numbers, persons), len(self.numbers) - 1)
        return np.where(self.numbers[where] == persons, where, -1)

    def similarity(self, probes: Vectors, places: npt.NDArray[np.intp]) -> Vectors:
        """Return the similarity of each probe to the subject at its place."""
        similarities = np.empty(len(probes), np.float32)
        order = np.argsort(places, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(places[order])) + 1) if len(order) else []:
            at = places[rows[0]]
            templates = self.vectors[self.ends[at] : self.ends[at + 1]]
            for part in _parts(rows, len(templates)):
                similarities[part] = (probes[part] @ templates.T).max(axis=1)
        return similarities

    def blocks(self) -> Iterator[_Block]:
        first = 0
        while first < len(self.numbers):
            start = self.ends[first]
            last = max(int(np.searchsorted(self.ends, start + _ROWS, side="right")) - 1, first + 1)
            yield _Block(self.vectors[start : self.ends[last]], self.ends[first:last] - start, first)
            first = last


def _parts(rows: npt.NDArray[np.intp], width: int) -> Iterator[npt.NDArray[np.intp]]:
    """Cut rows so that each part times ``width`` similarities fits what is computed at once."""
    step = max(_CELLS // max(width, 1), 1)
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


def _ladder(total: int) -> npt.NDArray[np.intp]:
    powers = 10 ** np.arange(len(str(total)))
    return np.unique(np.append(powers[powers <= total], total)).astype(np.intp)


def _unit_rows(rows: npt.NDArray[np.floating[Any]], start: int) -> Vectors:
    wide = np.asarray(rows, np.float64)
    lengths = np.linalg.norm(wide, axis=1)
    bad = np.flatnonzero(~np.isfinite(lengths) | (lengths < 1e-12))
    if len(bad):
        raise InputError(f"row {start + int(bad[0])} of the distractors is zero, NaN or infinite: that is no embedding")
    return np.asarray(wide / lengths[:, None], np.float32)


def _checked(
    name: str, given: npt.ArrayLike, found: npt.NDArray[np.bool_] | None
) -> tuple[Vectors, npt.NDArray[np.bool_]]:
    vectors = np.asarray(given)
    if vectors.ndim != 2 or (vectors.size and vectors.dtype.kind not in "fiu"):
        raise InputError(f"{name} must be numbers of shape (n, d), not {vectors.dtype} {vectors.shape}")
    there = np.ones(len(vectors), bool) if found is None else np.asarray(found)
    if there.shape != (len(vectors),) or there.dtype != bool:
        raise InputError(f"{name} of {len(vectors)} rows need a mask of as many, not {there.dtype} {there.shape}")
    narrow = vectors.astype(np.float32, copy=False)
    for start in range(0, len(vectors), _ROWS):
        lengths = np.linalg.norm(narrow[start : start + _ROWS].astype(np.float64), axis=1)
        bad = np.flatnonzero(there[start : start + _ROWS] & ~(np.abs(lengths - 1) <= _UNIT))
        if len(bad):
            raise InputError(f"row {start + int(bad[0])} of {name} has length {lengths[bad[0]]:.4g}, where 1 is needed")
    return narrow, there

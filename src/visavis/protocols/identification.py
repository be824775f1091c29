"""Identification on a set of photos: some people enrolled, some kept out, and distractors brought along.

People are dealt at random, with a seed: strangers are never enrolled, and all their photos are non-mated probes. Of
everybody else some photos are enrolled and the rest are mated probes; who has no photo left over stands in the gallery
all the same, as one more to be taken for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.datasets.arrays import MALFORMED
from visavis.errors import InputError
from visavis.evaluation.identification import FPIRS, ClosedSet, OpenSet, closed_set, open_set
from visavis.evaluation.searching import Fusion, Search, against_distractors, search
from visavis.files import printable_path, reason
from visavis.protocols.embedding import Embedded

__all__ = ["AmongDistractors", "Identification", "Split", "identification", "open_vectors", "split_people"]


@dataclass(frozen=True, eq=False)
class Split:
    """Which photos are enrolled, and which are probes: rows of photos.

    Attributes
    ----------
    gallery, mated, nonmated
        Intp: rows enrolled, rows of other photos of people enrolled, rows of photos of strangers.
    """

    gallery: npt.NDArray[np.intp]
    mated: npt.NDArray[np.intp]
    nonmated: npt.NDArray[np.intp]

    @property
    def probes(self) -> npt.NDArray[np.intp]:
        """All rows that are probes: mated ones, then non-mated ones."""
        return np.concatenate([self.mated, self.nonmated])


def split_people(
    people: Sequence[str], *, enrolled: int = 1, strangers: float = 0.5, probes: int | None = None, seed: int = 0
) -> Split:
    """Deal photos of people to a gallery, mated and non-mated probes.

    Parameters
    ----------
    people
        The person of each photo.
    enrolled
        How many photos of a subject are enrolled. Who has no more than that is enrolled with all of them.
    strangers
        Share of the people who are kept out, 0..1; 0: a closed set only.
    probes
        At most so many probes a person; with 1 every probe is of another person, and intervals are exact.
    seed
        Of the random numbers; the same people and seed give the same split.

    Raises
    ------
    InputError
        If a number is out of range, or nobody is left to enroll or without a mated probe.

    Examples
    --------
    >>> split = split_people(["ada", "ada", "bob", "eve", "eve", "eve"], strangers=0.34, seed=1)
    >>> len(split.gallery), len(split.mated), len(split.nonmated)
    (2, 2, 2)
    """
    if enrolled < 1 or (probes is not None and probes < 1):
        raise InputError("at least one photo of a subject is enrolled, and at least one is a probe")
    if not 0 <= strangers < 1:
        raise InputError(f"the share of strangers lies in 0..1, not {strangers}")
    rng = np.random.default_rng(seed)
    names, person = np.unique(np.asarray(people, str), return_inverse=True)
    out = np.zeros(len(names), bool)
    out[rng.permutation(len(names))[: round(strangers * len(names))]] = True
    rows = rng.permutation(len(person))  # which photos of a person come first
    rows = rows[np.argsort(person[rows], kind="stable")]
    counts = np.bincount(person, minlength=len(names))
    turn = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    stranger = out[person[rows]]
    last = len(rows) if probes is None else probes
    split = Split(
        np.sort(rows[~stranger & (turn < enrolled)]),
        np.sort(rows[~stranger & (turn >= enrolled) & (turn < enrolled + last)]),
        np.sort(rows[stranger & (turn < last)]),
    )
    if not len(split.gallery):
        raise InputError(f"nobody is left to enroll of {len(names)} people: keep fewer of them out")
    if not len(split.mated):
        raise InputError(f"no mated probes: nobody enrolled has more than {enrolled} photos; enroll fewer of each")
    if strangers and not len(split.nonmated):
        raise InputError(f"a share of {strangers:g} of {len(names)} people keeps nobody out; give a larger one, or 0")
    return split


@dataclass(frozen=True, eq=False)
class AmongDistractors:
    """The closed set of mated probes against their own subject and ``size`` distractors."""

    size: int
    rates: ClosedSet


@dataclass(frozen=True, eq=False)
class Identification:
    """What came out of a split of photos.

    Attributes
    ----------
    model
        What made the embeddings.
    searched
        Similarities and ranks of all probes, mated ones first.
    closed
        Ranks of the mated probes in the gallery.
    open
        Rates over thresholds; None where nobody was kept out.
    distractors
        One for each number of them, rising; none where none were given.
    without
        How many photos have no embedding: in the gallery, and among probes.
    """

    model: str
    split: Split
    searched: Search
    closed: ClosedSet
    open: OpenSet | None
    distractors: tuple[AmongDistractors, ...]
    without: tuple[int, int]

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "model": self.model,
            "photos": {name: len(getattr(self.split, name)) for name in ("gallery", "mated", "nonmated")},
            "without_embedding": dict(zip(("gallery", "probes"), self.without, strict=True)),
            "closed_set": self.closed.to_dict(),
            "open_set": None if self.open is None else self.open.to_dict(),
            "distractors": [{"distractors": found.size, **found.rates.to_dict()} for found in self.distractors],
        }


def identification(
    embedded: Embedded,
    people: Sequence[str],
    split: Split,
    *,
    fusion: Fusion = "max",
    fpirs: Sequence[float] = FPIRS,
    distractors: npt.NDArray[np.floating[Any]] | None = None,
    say: Callable[[str], None] | None = None,
) -> Identification:
    """Search the probes of a split in its gallery.

    Parameters
    ----------
    embedded
        Embeddings of all photos, in their order.
    people
        The person of each.
    fusion
        What counts of a subject's several templates.
    distractors
        Vectors of other people, ``(n, d)``, of the same model; see `open_vectors`.
    say
        Called with what is under way.

    Raises
    ------
    InputError
        If lengths differ, or distractors are of another dimension or hold a row that is no embedding.
    """
    if len(people) != len(embedded):
        raise InputError(f"{len(embedded)} embeddings need a person each, not {len(people)}")
    names = np.asarray(people, str)
    probes, gallery = split.probes, split.gallery
    if not embedded.found[probes].any() or not embedded.found[gallery].any():
        raise InputError(f"{embedded.model}: no probe, or nobody of the gallery, has an embedding")
    searched = search(
        embedded.vectors[probes],
        names[probes],
        embedded.vectors[gallery],
        names[gallery],
        fusion=fusion,
        found=embedded.found[probes],
        gallery_found=embedded.found[gallery],
    )
    among: tuple[AmongDistractors, ...] = ()
    if distractors is not None:
        ranked = against_distractors(searched, embedded.vectors[probes], distractors, say=say)
        among = tuple(
            AmongDistractors(size, closed_set(ranks, ranked.subjects, size + 1))
            for size, ranks in zip(ranked.sizes.tolist(), ranked.ranks, strict=True)
        )
    return Identification(
        embedded.model,
        split,
        searched,
        closed_set(searched.ranks, searched.subjects, searched.size),
        open_set(searched, fpirs) if len(split.nonmated) else None,
        among,
        (int((~embedded.found[gallery]).sum()), int((~embedded.found[probes]).sum())),
    )


def open_vectors(path: str | os.PathLike[str]) -> npt.NDArray[np.floating[Any]]:
    """Open a ``.npy`` of vectors ``(n, d)``, float16, float32 or float64, without reading it: it is memory-mapped.

    Raises
    ------
    InputError
        If it is no such file, is cut off, or holds objects, which are never unpickled.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            packed = file.read(4) == b"PK\3\4"
        if packed:
            raise InputError("it is a .npz; vectors are given as a .npy, which can be read in parts")
        vectors = np.lib.format.open_memmap(path, mode="r")
    except MALFORMED as error:
        raise InputError(f"{printable_path(path)} is no .npy that can be mapped: {reason(error)}") from None
    if vectors.ndim != 2 or vectors.dtype.kind != "f" or 0 in vectors.shape:
        raise InputError(f"{printable_path(path)} holds {vectors.dtype} {vectors.shape}, not numbers of shape (n, d)")
    return vectors

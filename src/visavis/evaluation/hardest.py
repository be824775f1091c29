"""The pairs that are hardest to tell: mated ones least alike, and non-mated ones most alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from visavis.evaluation.all_pairs import AllPairs
from visavis.evaluation.rates import Scores
from visavis.evaluation.tail import MostAlike

__all__ = ["HardPairs", "hardest", "hardest_of_all"]

Ints = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class HardPairs:
    """Pairs, the hardest first.

    Attributes
    ----------
    mated, nonmated
        ``(k, 2)``: rows of photos.
    mated_similarities, nonmated_similarities
        ``(k,)``: of mated pairs rising, of non-mated ones falling.
    """

    mated: Ints
    mated_similarities: npt.NDArray[np.float64]
    nonmated: Ints
    nonmated_similarities: npt.NDArray[np.float64]

    @classmethod
    def none(cls) -> HardPairs:
        """Return no pairs."""
        empty, values = np.empty((0, 2), np.intp), np.empty(0)
        return cls(empty, values, empty, values)


def hardest(scores: Scores, number: int = 10, *, absent: float | None = None) -> HardPairs:
    """Return the hardest of pairs whose photos are known.

    Parameters
    ----------
    number
        How many of each kind.
    absent
        The similarity of pairs that could not be compared, which are left out.
    """
    if scores.photos is None:
        return HardPairs.none()
    compared = np.ones(len(scores), bool) if absent is None else scores.similarities != absent
    found = []
    for mated, sign in ((True, 1), (False, -1)):
        rows = np.flatnonzero((scores.mated == mated) & compared)
        rows = rows[np.argsort(sign * scores.similarities[rows], kind="stable")[:number]]
        found.append((scores.photos[rows].astype(np.intp), scores.similarities[rows]))
    return HardPairs(*found[0], *found[1])


def hardest_of_all(pairs: AllPairs, number: int = 10) -> HardPairs:
    """Return the hardest of all pairs of photos, in bounded memory."""
    alike = MostAlike(number)
    mated: list[tuple[float, int, int]] = []
    for start, block, similarities in pairs.blocks():
        alike.add(block, pairs.rows[start:])
        mated = sorted(mated + list(_mated(pairs, start, similarities, number)))[:number]
    others = alike.pairs(pairs.nonmated, pairs.photos)
    told = others.similarities > -1.5  # in place of pairs that are mated stands less than any similarity
    return HardPairs(
        np.array([rows for _, *rows in mated], np.intp).reshape(-1, 2),
        np.array([similarity for similarity, *_ in mated], np.float64),
        others.subjects[told],
        others.similarities[told].astype(np.float64),
    )


def _mated(
    pairs: AllPairs, start: int, similarities: list[npt.NDArray[np.float32]], number: int
) -> Iterator[tuple[float, int, int]]:
    counts = [len(row) for row in similarities]
    if not sum(counts):
        return
    values = np.concatenate(similarities)
    first = np.repeat(np.arange(start, start + len(counts)), counts)
    second = first + 1 + np.concatenate([np.arange(count) for count in counts])
    for k in np.argsort(values, kind="stable")[:number]:
        yield float(values[k]), int(pairs.rows[first[k]]), int(pairs.rows[second[k]])

"""The most similar non-mated pairs, which decide thresholds, and what bootstrap draws make of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.errors import InputError
from visavis.evaluation.intervals import Estimate, bootstrap_share, subject_draws
from visavis.evaluation.verification import threshold_at_far

__all__ = ["MostAlike", "NonMated", "nonmated_count", "tar_estimate"]

Ints = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class NonMated:
    """The most similar non-mated pairs among photos, which are those that decide thresholds.

    Attributes
    ----------
    similarities
        Float32 ``(k,)``, falling.
    subjects
        ``(k, 2)``: numbers of the two people of each pair.
    total
        How many non-mated pairs there are in all.
    photos
        ``(s,)``: how many photos each subject has.
    """

    similarities: npt.NDArray[np.float32]
    subjects: npt.NDArray[np.intp]
    total: int
    photos: npt.NDArray[np.intp]


class MostAlike:
    """Collects the most similar pairs of blocks; what it holds is bounded by how many are wanted and by a block."""

    def __init__(self, keep: int) -> None:
        self._keep, self._floor = keep, -1.5  # what no similarity is below
        self._parts: list[tuple[npt.NDArray[np.float32], npt.NDArray[np.intp]]] = []
        self._held = 0

    def add(self, block: npt.NDArray[np.float32], owner: Ints) -> None:
        """Add pairs ``(r, n)`` of the first r of n rows with all of them, whose subjects are given."""
        i, j = np.nonzero(block >= self._floor)
        self._parts.append((block[i, j], np.stack([owner[i], owner[j]], axis=1)))
        self._held += len(i)
        if self._held > 2 * self._keep:
            self._reduce()

    def pairs(self, total: int, photos: Ints) -> NonMated:
        """Return what was found."""
        if not self._parts:
            return NonMated(np.empty(0, np.float32), np.empty((0, 2), np.intp), total, photos)
        self._reduce()
        values, people = self._parts[0]
        order = np.argsort(-values, kind="stable")
        return NonMated(values[order], people[order], total, photos)

    def _reduce(self) -> None:
        values, people = (np.concatenate(parts) for parts in zip(*self._parts, strict=True))
        if len(values) > self._keep:
            best = np.argpartition(-values, self._keep - 1)[: self._keep]
            values, people = values[best], people[best]
            self._floor = float(values.min())
        self._parts, self._held = [(values, people)], len(values)


def tar_estimate(
    mated: npt.ArrayLike,
    subjects: npt.ArrayLike,
    nonmated: NonMated,
    far: float,
    *,
    level: float = 0.95,
    repeats: int = 400,
    seed: int = 2026,
) -> tuple[Estimate, float]:
    """Return the true accept rate at a false accept rate with its interval, and the threshold.

    The interval is a bootstrap over subjects; see `visavis.evaluation.intervals.subject_draws`. The threshold is found
    anew on each draw: the interval so covers both who is compared and where the threshold falls.

    Parameters
    ----------
    mated, subjects
        ``(m,)``: similarity and person of each mated pair.
    nonmated
        From `nonmated_pairs`, with a share several times ``far``.
    repeats, seed
        How many draws, and of which random numbers.
    """
    # float64: the threshold lies closer to a similarity than float32 tells
    yes, person = np.asarray(mated, np.float64), np.asarray(subjects, np.intp)
    if not len(yes) or yes.shape != person.shape:
        raise InputError(f"mated pairs need a similarity and a subject each, not {yes.shape} and {person.shape}")
    threshold = threshold_at_far(nonmated.similarities, far, nonmated.total)
    a, b = nonmated.subjects.T
    rates = []
    for weight in subject_draws(len(nonmated.photos), repeats, seed):
        drawn = weight[person]
        if not drawn.any():
            continue  # only where there are a handful of mated subjects
        reached = np.cumsum(weight[a] * weight[b])
        first_refused = int(np.searchsorted(reached, int(far * nonmated_count(weight * nonmated.photos)), side="right"))
        at = nonmated.similarities[min(first_refused, len(reached) - 1)]
        rates.append(float(drawn[yes > at].sum() / drawn.sum()))
    accepted = int((yes >= threshold).sum())
    return bootstrap_share(accepted, len(yes), rates, level), threshold


def nonmated_count(photos: npt.NDArray[np.integer[Any]]) -> int:
    """Return how many pairs of photos of different people there are, given each one's number."""
    return int((int(photos.sum()) ** 2 - int((photos.astype(np.int64) ** 2).sum())) // 2)

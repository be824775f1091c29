"""How well faces were grouped to people: precision, recall and F of pairs, and of faces (BCubed).

Pairs: of all pairs of faces put together, how many show one person (precision), and of all pairs that show one person,
how many were put together (recall). A person with many photos has most of the pairs. BCubed (Bagga and Baldwin,
"Entity-based cross-document coreferencing using the vector space model", COLING 1998; Amigo et al., "A comparison of
extrinsic clustering evaluation metrics based on formal constraints", Information Retrieval, 2009) asks of every face
how much of its group is its own person, and how much of its person is in its group, and averages over faces.

A face that was put with nobody (label -1) is a group of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.errors import InputError
from visavis.evaluation.intervals import Estimate, bootstrap_interval, subject_draws

__all__ = ["ClusterQuality", "Grouping", "bcubed", "cluster_quality", "pairwise"]

Labels = npt.NDArray[np.intp]
Weights = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Grouping:
    """Precision, recall and their harmonic mean F, 0..1 each; 1 where there is nothing to be wrong about."""

    precision: float
    recall: float

    @property
    def f(self) -> float:
        """Harmonic mean of the two (van Rijsbergen, 1979)."""
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0

    def to_dict(self) -> dict[str, float]:
        """Return it as plain values."""
        return {"precision": self.precision, "recall": self.recall, "f": self.f}


@dataclass(frozen=True)
class ClusterQuality:
    """Both measures with their intervals.

    Attributes
    ----------
    pairs, faces
        Precision, recall and F of pairs, and of faces (BCubed), each by name with its interval.
    count, people, clusters, nobody
        How many faces there are, of how many people, in how many groups, and how many in none.
    """

    pairs: dict[str, Estimate]
    faces: dict[str, Estimate]
    count: int
    people: int
    clusters: int
    nobody: int

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "pairwise": {name: value.to_dict() for name, value in self.pairs.items()},
            "bcubed": {name: value.to_dict() for name, value in self.faces.items()},
            "faces": self.count,
            "people": self.people,
            "clusters": self.clusters,
            "nobody": self.nobody,
        }


def pairwise(labels: npt.ArrayLike, people: npt.ArrayLike) -> Grouping:
    """Return precision and recall of pairs of faces.

    Parameters
    ----------
    labels
        Whole numbers ``(n,)``: the group each face was put in, -1 for none.
    people
        ``(n,)``: who each face shows, numbers or names.

    Raises
    ------
    InputError
        If the lengths differ or there are no faces.

    Examples
    --------
    >>> pairwise([0, 0, 0, 1, -1], ["ada", "ada", "bob", "bob", "eve"]).to_dict()
    {'precision': 0.3333333333333333, 'recall': 0.5, 'f': 0.4}
    """
    cells = _Cells.of(labels, people)
    return cells.pairwise(np.ones(cells.people))


def bcubed(labels: npt.ArrayLike, people: npt.ArrayLike) -> Grouping:
    """Return BCubed precision and recall; the parameters are those of `pairwise`.

    Examples
    --------
    >>> found = bcubed([0, 0, 0, 1, -1], ["ada", "ada", "bob", "bob", "eve"])
    >>> round(found.precision, 4), round(found.recall, 4)
    (0.7333, 0.8)
    """
    cells = _Cells.of(labels, people)
    return cells.bcubed(np.ones(cells.people))


def cluster_quality(
    labels: npt.ArrayLike, people: npt.ArrayLike, *, level: float = 0.95, repeats: int = 400, seed: int = 2026
) -> ClusterQuality:
    """Return both measures with intervals from draws of people.

    Each draw takes people with replacement and counts every face as often as its person was drawn, in the groups as
    they were found: the clustering is not run anew. A person drawn twice is two people in the truth, so that no pair
    of faces counts that was not there.
    """
    cells = _Cells.of(labels, people)
    draws = [np.asarray(draw, np.float64) for draw in subject_draws(cells.people, repeats, seed)]

    def estimates(measure: Callable[[Weights], Grouping]) -> dict[str, Estimate]:
        drawn = [measure(draw).to_dict() for draw in draws]
        found = measure(np.ones(cells.people)).to_dict()
        return {
            name: Estimate(value, *_around(value, bootstrap_interval([row[name] for row in drawn], level)), level)
            for name, value in found.items()
        }

    given = np.asarray(labels)
    return ClusterQuality(
        pairs=estimates(cells.pairwise),
        faces=estimates(cells.bcubed),
        count=len(given),
        people=cells.people,
        clusters=len(np.unique(given[given >= 0])),
        nobody=int((given < 0).sum()),
    )


def _around(value: float, interval: tuple[float, float]) -> tuple[float, float]:
    return min(value, interval[0]), max(value, interval[1])


@dataclass(frozen=True, eq=False)
class _Cells:
    """How many faces of each person are in each group, where there are any: ``(c,)`` each."""

    group: Labels
    person: Labels
    faces: Weights
    groups: int
    people: int

    @classmethod
    def of(cls, labels: npt.ArrayLike, people: npt.ArrayLike) -> _Cells:
        given, owners = np.asarray(labels), np.asarray(people)
        if given.ndim != 1 or given.shape != owners.shape or given.dtype.kind not in "iu":
            raise InputError(
                f"faces need a whole number and a person each, not {given.dtype} {given.shape} and {owners.shape}"
            )
        if not len(given):
            raise InputError("how well faces were grouped needs faces")
        if owners.dtype.kind == "f" and not np.isfinite(owners).all():
            raise InputError("people must be names or numbers, but hold NaN or infinity")
        group = np.unique(given, return_inverse=True)[1].astype(np.int64)
        alone = given < 0
        group[alone] = group.max() + 1 + np.arange(int(alone.sum()))
        group = np.unique(group, return_inverse=True)[1]
        person = np.unique(owners, return_inverse=True)[1]
        people_count = int(person.max()) + 1
        cell, faces = np.unique(group.astype(np.int64) * people_count + person, return_counts=True)
        return cls(
            cell // people_count, cell % people_count, faces.astype(np.float64), int(group.max()) + 1, people_count
        )

    def pairwise(self, weight: Weights) -> Grouping:
        """Count each pair by the weights of its people; of one person, by that person's."""
        w = weight[self.person]
        same = w * self.faces * (self.faces - 1)
        total = np.bincount(self.group, w * self.faces, self.groups)
        # Pairs of two people in a group weigh the product; two copies of one person drawn twice are no pair.
        others = total**2 - np.bincount(self.group, (w * self.faces) ** 2, self.groups)
        put = float(same.sum() + others.sum())
        size = np.bincount(self.person, self.faces, self.people)
        wanted = float((weight * size * (size - 1)).sum())
        right = float(same.sum())
        return Grouping(right / put if put else 1.0, right / wanted if wanted else 1.0)

    def bcubed(self, weight: Weights) -> Grouping:
        """Average over faces; a face of a person drawn twice counts twice, its group holds that person's once."""
        w = weight[self.person]
        count = float((w * self.faces).sum())
        if not count:
            return Grouping(float("nan"), float("nan"))
        group = np.bincount(self.group, w * self.faces, self.groups)[self.group]
        size = np.bincount(self.person, self.faces, self.people)[self.person]
        # What is in the group of a face beside its own person, as it was drawn; of its own person, one copy.
        beside = group - w * self.faces + self.faces
        precision = float((w * self.faces * self.faces / beside).sum()) / count
        recall = float((w * self.faces * self.faces / size).sum()) / count
        return Grouping(precision, recall)

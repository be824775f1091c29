"""What each method makes of an embedding: a score for every person, computed by numpy from plain arrays.

``knn``
    The k nearest templates vote (Cover and Hart, "Nearest neighbor pattern classification", 1967), each with the
    weight ``exp((similarity - 1) * SHARPNESS)``; the score is a person's share of the votes.
``svm``, ``rbf``
    Support vector machines, one person against the rest (Cortes and Vapnik, "Support-vector networks", 1995), linear
    or with the kernel ``exp(-gamma * |x - y|^2)``; the score is the signed margin, 1 at the margin's edge.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.errors import InputError, ModelError

__all__ = [
    "METHODS",
    "SHARPNESS",
    "Floats",
    "Ints",
    "Knn",
    "Machine",
    "Scorer",
    "blocks",
    "fit",
    "own_similarity",
    "require",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

METHODS = ("knn", "svm", "rbf")
SHARPNESS = 20.0
"""A neighbor 0.1 less similar has a seventh of the vote: four poor likenesses don't outvote a single good one."""

TOLERANCE = 1e-7
"""Where libsvm stops: its own 1e-3 leaves margins that differ by as much with the order of sums."""

_CELLS = 2**23  # numbers of a block: 64 MB of float64


def blocks(rows: int, columns: int) -> Iterator[slice]:
    """Cut rows into blocks that keep a table of ``columns`` within bounds."""
    step = max(_CELLS // max(columns, 1), 1)
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


@dataclass(frozen=True, eq=False)
class Knn:
    """Votes of the nearest templates.

    Attributes
    ----------
    templates, owners
        Float64 ``(t, d)`` unit rows, and the number of each one's person ``(t,)``.
    people
        How many people there are.
    neighbors
        k, or all templates where there are fewer.
    """

    templates: Floats
    owners: Ints
    people: int
    neighbors: int = 5

    def scores(self, vectors: Floats) -> Floats:
        """Return each person's share of the votes, ``(n, people)``, rows summing to 1."""
        shares = np.zeros((len(vectors), self.people))
        k = min(self.neighbors, len(self.templates))
        for part in blocks(len(vectors), len(self.templates)):
            similarity = vectors[part] @ self.templates.T
            nearest = np.argpartition(-similarity, k - 1, axis=1)[:, :k]
            weights = np.exp((np.take_along_axis(similarity, nearest, axis=1) - 1) * SHARPNESS)
            weights /= weights.sum(axis=1, keepdims=True)
            rows = np.arange(part.start, part.stop)[:, None]
            np.add.at(shares, (rows, self.owners[nearest]), weights)
        return shares


@dataclass(frozen=True, eq=False)
class Machine:
    """Support vector machines, one a person.

    Attributes
    ----------
    vectors
        Float64: of the linear kernel the hyperplanes' normals ``(people, d)``, else the support vectors ``(t, d)``.
    weights
        Of the RBF kernel ``(people, t)``: weight of each support vector; None for the linear one.
    intercepts
        ``(people,)``.
    gamma
        Of the RBF kernel.
    """

    vectors: Floats
    weights: Floats | None
    intercepts: Floats
    gamma: float = 1.0

    def scores(self, vectors: Floats) -> Floats:
        """Return the signed margins, ``(n, people)``."""
        if self.weights is None:
            linear: Floats = vectors @ self.vectors.T + self.intercepts
            return linear
        margins = np.empty((len(vectors), len(self.intercepts)))
        for part in blocks(len(vectors), len(self.vectors)):
            margins[part] = _rbf(vectors[part], self.vectors, self.gamma) @ self.weights.T + self.intercepts
        return margins


Scorer = Knn | Machine


def fit(method: str, settings: dict[str, Any], vectors: Floats, owners: Ints, people: int) -> Scorer:
    """Train a method on templates ``(t, d)`` and their people's numbers ``(t,)``; settings as `Classifier.train`."""
    require(method, people)
    if method == "knn":
        return Knn(vectors, owners, people, settings["neighbors"])
    from sklearn.svm import SVC

    gamma = None if method == "svm" else settings["gamma"]
    kernel = vectors @ vectors.T if gamma is None else _rbf(vectors, vectors, gamma)
    weights = np.zeros((people, len(vectors)))
    intercepts = np.empty(people)
    # A person's few photos weigh as much as everybody else's together, else the rest would always win.
    for i in range(people):
        machine = SVC(C=settings["c"], kernel="precomputed", class_weight="balanced", tol=TOLERANCE).fit(
            kernel, owners == i
        )
        weights[i, machine.support_] = machine.dual_coef_[0]
        intercepts[i] = machine.intercept_[0]
    return (
        Machine(weights @ vectors, None, intercepts) if gamma is None else Machine(vectors, weights, intercepts, gamma)
    )


def require(method: str, people: int) -> None:
    """Raise an error if a method can't be trained: there is no such one, or it lacks people or its library."""
    if method not in METHODS:
        raise InputError(f"method must be one of {', '.join(METHODS)}, not {method!r}")
    if method == "knn":
        return
    if people < 2:
        raise InputError(f"{method} tells people apart, so it needs two or more; for one person, train knn")
    if find_spec("sklearn") is None:
        raise ModelError("training an SVM needs scikit-learn; pip install 'visavis[classify]'")


def own_similarity(vectors: Floats, templates: Floats, owners: Ints, named: Ints) -> Floats:
    """Return the similarity of each vector with the nearest template of the person it was named after."""
    nearest = np.empty(len(vectors))
    for part in blocks(len(vectors), len(templates)):
        similarity = vectors[part] @ templates.T
        nearest[part] = np.where(owners == named[part, None], similarity, -1.0).max(axis=1)
    return np.clip(nearest, -1.0, 1.0)


def _rbf(a: Floats, b: Floats, gamma: float) -> Floats:
    squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * (a @ b.T)
    values: Floats = np.exp(-gamma * np.maximum(squared, 0))
    return values

"""Embeddings to people: which faces of an album show one person, when nobody's name is known.

Two steps. Dense groups, faces with several others much nearer than the threshold, are joined first by DBSCAN (Ester et
al., "A density-based algorithm for discovering clusters in large spatial databases with noise", KDD 1996), as
scikit-learn has it, on a graph of each face's nearest neighbors. Groups and single faces are then joined by average
linkage (Sokal and Michener, 1958): the two that are each other's nearest are joined while the mean similarity of their
faces reaches the threshold. The mean over all pairs of faces of two groups is the product of the groups' mean vectors,
so it is had exactly without a table of all pairs.

docs/clustering.md has what was measured, and why these.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.errors import EngineError, InputError

__all__ = ["cluster", "require_library"]

Labels = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float32]

_NEIGHBORS = 16  # of each face that the graph of dense groups holds
_DENSE_FACES = 3  # a face is in the middle of a dense group when so many are near, itself included
_BLOCK = 2**24  # similarities computed at once: 64 MB
_TOLERANCE = 1e-3  # as that of `visavis.types.Embeddings`


def cluster(
    vectors: npt.ArrayLike,
    *,
    threshold: float,
    min_faces: int = 2,
    say: Callable[[str], None] | None = None,
) -> Labels:
    """Return which person each face shows, as numbers from 0 on, the person with the most faces first.

    Time grows with the square of the number of faces, memory with the number.

    Parameters
    ----------
    vectors
        ``(n, d)``: unit embeddings of one model; a row of zeros (no embedding) is nobody.
    threshold
        Mean similarity from which two groups of faces are one person, -1..1. The threshold of the recognizer's
        calibration at an FMR of 1e-4 did best on lfw-dev: two single faces are joined where `verify` would call them
        one.
    min_faces
        Groups of fewer faces are nobody.
    say
        Called with what is under way.

    Returns
    -------
    Intp ``(n,)``: the person, or -1 for nobody.

    Raises
    ------
    InputError
        If a vector is not finite or not of length 1, or a setting is out of range.
    EngineError
        If scikit-learn is not installed.

    Examples
    --------
    >>> ada, bob = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]
    >>> cluster([ada, bob, bob, ada, bob, [0.0, 0.0, 1.0]], threshold=0.5).tolist()
    [1, 0, 0, 1, 0, -1]
    """
    faces = _checked(vectors)
    if not -1 < threshold < 1:
        raise InputError(f"the threshold is a cosine similarity between -1 and 1, not {threshold}")
    if min_faces < 1:
        raise InputError(f"a person has at least one face, not {min_faces}")
    require_library()
    say = say or (lambda _: None)
    there = np.flatnonzero(faces.any(axis=1))
    labels = np.full(len(faces), -1, np.intp)
    if len(there):
        known = faces if len(there) == len(faces) else faces[there]
        labels[there] = _by_size(_joined(known, _dense(known, (1 + threshold) / 2, say), threshold, say), min_faces)
    return labels


def require_library() -> None:
    """Raise `EngineError`, which says what to install, where scikit-learn is missing."""
    try:
        import sklearn.cluster  # noqa: F401
    except ImportError:
        raise EngineError("clustering needs scikit-learn: pip install 'visavis[evaluate]'") from None


def _checked(vectors: npt.ArrayLike) -> Floats:
    try:
        faces = np.ascontiguousarray(vectors, np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(f"vectors must be an array of numbers: {error}") from None
    if faces.ndim != 2:
        raise InputError(f"vectors must have shape (n, d), not {faces.shape}")
    lengths = np.linalg.norm(faces, axis=1)
    if not np.isfinite(lengths).all():
        raise InputError("vectors must be finite, but hold NaN or infinity")
    off = np.abs(lengths - 1)[lengths > 0]
    if len(off) and off.max() > _TOLERANCE:
        raise InputError(f"vectors must have length 1, but one is off by {off.max():.3g}")
    return faces


def _dense(faces: Floats, near: float, say: Callable[[str], None]) -> Labels:
    """Return groups ``(n,)`` of faces that are densely together at the similarity ``near``; all others are alone."""
    from sklearn.cluster import DBSCAN

    alone = np.arange(len(faces), dtype=np.intp)
    graph = _neighbors(faces, near, say)
    if not graph.nnz:
        return alone
    found: Labels = DBSCAN(eps=1 - near, min_samples=_DENSE_FACES, metric="precomputed").fit(graph).labels_
    return np.where(found < 0, alone + found.max() + 1, found)


def _neighbors(faces: Floats, near: float, say: Callable[[str], None]) -> Any:
    """Return one minus similarity as a sparse matrix of each face and its nearest, where they reach ``near``."""
    import faiss
    from scipy import sparse

    n = len(faces)
    index = faiss.IndexFlatIP(faces.shape[1])
    index.add(faces)
    number = min(_NEIGHBORS, n)
    rows, columns, values = [], [], []
    step = max(_BLOCK // n, 256)
    for start in range(0, n, step):
        say(f"near neighbors: {start:,} of {n:,} faces")
        similar, nearest = index.search(faces[start : start + step], number)
        row, place = np.nonzero((similar >= near) & (nearest != start + np.arange(len(nearest))[:, None]))
        rows.append(start + row)
        columns.append(nearest[row, place])
        # What a sparse matrix holds as 0 may be lost: the same face twice is as near as can be told.
        values.append(np.clip(1 - similar[row, place], 1e-7, 1 - near))
    row, column, value = (np.concatenate(parts) for parts in (rows, columns, values))
    graph = sparse.coo_matrix((value, (row, column)), shape=(n, n)).tocsr()
    return graph.maximum(graph.T)


def _joined(faces: Floats, groups: Labels, threshold: float, say: Callable[[str], None]) -> Labels:
    """Join groups ``(n,)`` by average linkage, and return the groups that come of it.

    All that are each other's nearest are joined at once: for average linkage the result is the same as when the two
    nearest of all are joined one after the other (Murtagh, "A survey of recent advances in hierarchical clustering
    algorithms", The Computer Journal, 1983). A group none of whose neighbors reaches the threshold is done, as the
    mean of others can't come nearer than each of them.
    """
    numbers = np.unique(groups, return_inverse=True)[1]
    count = int(numbers.max()) + 1
    sums = np.zeros((count, faces.shape[1]))
    np.add.at(sums, numbers, faces)
    sizes = np.bincount(numbers, minlength=count).astype(np.float64)
    means = (sums / sizes[:, None]).astype(np.float32)
    into = np.arange(count)
    nearest, similar = np.zeros(count, np.intp), np.full(count, -2, np.float32)
    left = todo = np.arange(count)
    while len(left) > 1:
        say(f"joining: {len(left):,} groups may still grow")
        nearest[todo], similar[todo] = _nearest(means, todo, left)
        left = left[similar[left] >= threshold]
        if not len(left):
            break
        first = left[(nearest[nearest[left]] == left) & (left < nearest[left])]
        if not len(first):  # ties, or rounding: then the two nearest of all
            first = left[[int(similar[left].argmax())]]
        second = nearest[first]
        sums[first] += sums[second]
        sizes[first] += sizes[second]
        means[first] = sums[first] / sizes[first][:, None]
        into[second] = first
        gone = np.zeros(count, bool)
        gone[second] = True
        changed = gone.copy()
        changed[first] = True
        left = left[~gone[left]]
        todo = left[changed[left] | changed[nearest[left]]]
    while (into != into[into]).any():
        into = into[into]
    return into[numbers]


def _nearest(means: Floats, rows: Labels, among: Labels) -> tuple[Labels, Floats]:
    """Return the nearest of the groups ``among`` to each of ``rows``, itself left out, and its mean similarity."""
    others = means[among]
    place = np.full(len(means), -1, np.intp)
    place[among] = np.arange(len(among))
    best = np.empty(len(rows), np.intp)
    value = np.empty(len(rows), np.float32)
    step = max(_BLOCK // len(among), 1)
    for start in range(0, len(rows), step):
        block = rows[start : start + step]
        similarities = means[block] @ others.T
        own = np.arange(len(block))
        similarities[own, place[block]] = -2
        at = similarities.argmax(axis=1)
        best[start : start + step], value[start : start + step] = among[at], similarities[own, at]
    return best, value


def _by_size(groups: Labels, min_faces: int) -> Labels:
    """Number groups anew: the largest is 0, of equals the one met first; those too small are -1."""
    _, first, numbers, sizes = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
    order = np.lexsort((first, -sizes))
    label = np.empty(len(order), np.intp)
    label[order] = np.arange(len(order))
    label[sizes < min_faces] = -1
    return label[numbers]

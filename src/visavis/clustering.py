"""Embeddings to people: which faces of an album show one person, when nobody's name is known.

The method of choice is average linkage (Sokal and Michener, 1958): the two groups of faces that are nearest each other
are joined while the mean similarity of their faces reaches a threshold. That mean, over all pairs of faces of two
groups, is the product of the groups' mean vectors, so it is had exactly without a table of all pairs. DBSCAN (Ester et
al., "A density-based algorithm for discovering clusters in large spatial databases with noise", KDD 1996), as
scikit-learn has it, is there beside it.

docs/clustering.md has what was measured, and why this one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from visavis.errors import EngineError, InputError

__all__ = ["Method", "cluster", "fmr_for"]

Method = Literal["average", "dbscan"]
Labels = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float32]

_NEIGHBORS = 32  # of a face that DBSCAN is told of: bounds memory where thousands show one person
_STRANGERS = 0.2  # of an album that reach a face's threshold by chance, at the mean
_LOOSEST = 1e-3
_DBSCAN = 1e-5
_BLOCK = 2**24  # similarities computed at once: 64 MB
_TOLERANCE = 1e-3  # as that of `visavis.types.Embeddings`


def cluster(
    vectors: npt.ArrayLike,
    *,
    threshold: float,
    min_faces: int = 2,
    method: Method = "average",
    say: Callable[[str], None] | None = None,
) -> Labels:
    """Return which person each face shows, as numbers from 0 on, the person with the most faces first.

    Time grows with the square of the number of faces, memory with the number.

    Parameters
    ----------
    vectors
        ``(n, d)``: unit embeddings of one model; a row of zeros (no embedding) is nobody.
    threshold
        For ``"average"`` the mean similarity from which two groups of faces are one person, for ``"dbscan"`` the
        similarity from which two faces are neighbors; between -1 and 1. Take the one that the recognizer's calibration
        has for `fmr_for`.
    min_faces
        Groups of fewer faces are nobody. For DBSCAN also the number of neighbors, itself included, that makes a face
        part of the middle of a group.
    method
        ``"average"`` or ``"dbscan"``, which needs scikit-learn.
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
        If scikit-learn is needed and not installed.

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
    if method not in get_args(Method):
        raise InputError(f"the method is one of {', '.join(get_args(Method))}, not {method!r}")
    there = np.flatnonzero(faces.any(axis=1))
    labels = np.full(len(faces), -1, np.intp)
    if len(there):
        known = faces if len(there) == len(faces) else faces[there]
        tell = say or (lambda _: None)
        groups = _average(known, threshold, tell) if method == "average" else _dbscan(known, threshold, min_faces, tell)
        labels[there] = _by_size(groups, min_faces)
    return labels


def fmr_for(faces: int, method: Method = "average") -> float:
    """Return the false match rate whose threshold groups an album of so many faces best.

    The more strangers a face meets, the stricter its threshold has to be: for ``"average"`` it is the rate at which a
    face meets 0.2 strangers that reach it by chance, at most 1e-3. DBSCAN takes 1e-5. Both were the best on one half of
    lfw-dev's people, the first over parts of it from 30 to 4,000 faces; see docs/clustering.md.

    Examples
    --------
    >>> fmr_for(50), fmr_for(2000), fmr_for(2000, "dbscan")
    (0.001, 0.0001, 1e-05)
    """
    return _DBSCAN if method == "dbscan" else min(_STRANGERS / max(faces, 1), _LOOSEST)


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


def _dbscan(faces: Floats, near: float, min_faces: int, say: Callable[[str], None]) -> Labels:
    """Return groups ``(n,)`` by DBSCAN; faces that belong to none are alone."""
    try:
        from sklearn.cluster import DBSCAN
    except ImportError:
        raise EngineError("DBSCAN needs scikit-learn: pip install 'visavis[evaluate]'") from None

    found: Labels = (
        DBSCAN(eps=1 - near, min_samples=min_faces, metric="precomputed").fit(_neighbors(faces, near, say)).labels_
    )
    return np.where(found < 0, np.arange(len(faces)) + found.max() + 1, found)


def _neighbors(faces: Floats, near: float, say: Callable[[str], None]) -> Any:
    """Return one minus similarity as a sparse matrix of each face and its nearest that reach ``near``."""
    from scipy import sparse  # comes with scikit-learn

    n = len(faces)
    number = min(_NEIGHBORS, n)
    rows, columns, values = [], [], []
    step = max(_BLOCK // n, 1)
    for start in range(0, n, step):
        say(f"neighbors of {start:,} of {n:,} faces")
        block = faces[start : start + step] @ faces.T
        for full in np.flatnonzero((block >= near).sum(axis=1) > number):
            block[full, np.argpartition(block[full], n - number)[: n - number]] = -2
        row, column = np.nonzero(block >= near)
        rows.append(start + row)
        columns.append(column)
        # What a sparse matrix holds as 0 may be lost: the same face twice is as near as can be told.
        values.append(np.clip(1 - block[row, column], 1e-7, 1 - near))
    row, column, value = (np.concatenate(parts) for parts in (rows, columns, values))
    graph = sparse.coo_matrix((value, (row, column)), shape=(n, n)).tocsr()
    return graph.maximum(graph.T)


def _average(faces: Floats, threshold: float, say: Callable[[str], None]) -> Labels:
    """Return groups ``(n,)`` by average linkage.

    All that are each other's nearest are joined at once: for average linkage the result is the same as when the two
    nearest of all are joined one after the other (Murtagh, "A survey of recent advances in hierarchical clustering
    algorithms", The Computer Journal, 1983). A group none of whose neighbors reaches the threshold is done, as the
    mean of others can't come nearer than each of them.
    """
    # The same face many times over would be joined pair by pair; as one group at once.
    numbers = np.unique(faces, axis=0, return_inverse=True)[1].reshape(-1)
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

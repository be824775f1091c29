"""How well similarities tell mated from non-mated pairs: accuracy over folds, TAR at a FAR, and how sure both are.

TAR (true accept rate) is 1 - FNMR and FAR (false accept rate) is FMR in the words of ISO/IEC 19795-1; the names are
those of the tables that papers print. A pair is accepted when its similarity reaches the threshold. A pair that could
not be compared, for want of a face, is given the similarity -1: it counts, and as rejected.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.errors import InputError
from visavis.evaluation.intervals import Estimate, wilson

__all__ = [
    "accuracy",
    "fold_decisions",
    "pair_similarities",
    "tar_at_far",
    "ten_fold",
    "threshold_at_far",
]

Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.integer[Any]]
Mask = npt.NDArray[np.bool_]


def ten_fold(similarities: npt.ArrayLike, mated: npt.ArrayLike, folds: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the accuracy of each fold at the threshold that is best on the others: the protocol of LFW's View 2.

    Parameters
    ----------
    similarities, mated, folds
        ``(p,)`` each: of p pairs the similarity, whether they are mated, and the fold, any number of which may be.

    Returns
    -------
    Float64, a share 0..1 for each fold in rising order.

    Raises
    ------
    InputError
        If the lengths differ, a similarity is not finite, or there are not two folds and pairs of both kinds.

    Notes
    -----
    Of thresholds that are equally good on the other folds the middle one is taken (Huang et al., "Labeled Faces in
    the Wild", 2007, leaves it open).

    Examples
    --------
    >>> ten_fold([0.9, 0.2, 0.9, 0.3], [True, False, True, False], [0, 0, 1, 1]).tolist()
    [1.0, 1.0]
    """
    right = fold_decisions(similarities, mated, folds)
    f = np.asarray(folds)
    return np.array([right[f == fold].mean() for fold in np.unique(f)])


def fold_decisions(similarities: npt.ArrayLike, mated: npt.ArrayLike, folds: npt.ArrayLike) -> Mask:
    """Return whether each pair is decided rightly at the threshold that is best on the other folds; see `ten_fold`."""
    s, m, f = _pairs(similarities, mated, folds)
    names = np.unique(f)
    if len(names) < 2:
        raise InputError("the accuracy over folds needs at least two folds")
    decided = np.empty(len(s), bool)
    for held_out in names:
        train, test = f != held_out, f == held_out
        candidates = np.unique(s[train])
        yes, no = np.sort(s[train & m]), np.sort(s[train & ~m])
        right = len(yes) - np.searchsorted(yes, candidates) + np.searchsorted(no, candidates)
        best = candidates[right == right.max()]
        decided[test] = (s[test] >= best[len(best) // 2]) == m[test]
    return decided


def accuracy(similarities: npt.ArrayLike, mated: npt.ArrayLike, folds: npt.ArrayLike, level: float = 0.95) -> Estimate:
    """Return the share of pairs decided rightly by `ten_fold`, with Wilson's interval.

    The interval takes pairs as independent. People are in several pairs, so the true one is a little wider.
    """
    shares = ten_fold(similarities, mated, folds)
    sizes = np.unique(np.asarray(folds), return_counts=True)[1]
    right, total = round(float((shares * sizes).sum())), int(sizes.sum())
    return Estimate(right / total, *wilson(right, total, level), level)


def threshold_at_far(nonmated: npt.ArrayLike, far: float, total: int | None = None) -> float:
    """Return the least threshold that no more than ``far`` of the non-mated pairs reach.

    Parameters
    ----------
    nonmated
        Similarities of non-mated pairs ``(n,)``; or only the highest of them.
    total
        How many non-mated pairs there are, where ``nonmated`` holds only the highest.

    Raises
    ------
    InputError
        If ``far`` is not in 0..1, there are no pairs, or too few were kept to tell.

    Examples
    --------
    >>> round(threshold_at_far([0.1, 0.5, 0.3, 0.2], 0.25), 4)
    0.3
    """
    if not 0 <= far < 1:
        raise InputError(f"a false accept rate lies in 0..1, not {far}")
    values = np.asarray(nonmated, np.float64)
    count = len(values) if total is None else total
    allowed = int(far * count + 1e-9)
    if allowed >= len(values):
        raise InputError(
            f"a FAR of {far:g} over {count} non-mated pairs needs more of them than the {len(values)} given"
        )
    # Just above the first pair that must not be accepted, so that ties at it are refused.
    return float(np.nextafter(np.partition(values, len(values) - 1 - allowed)[len(values) - 1 - allowed], np.inf))


def tar_at_far(mated: npt.ArrayLike, nonmated: npt.ArrayLike, far: float) -> tuple[float, float]:
    """Return the true accept rate at a false accept rate, and the threshold that gives it.

    Parameters
    ----------
    mated, nonmated
        Similarities ``(m,)`` and ``(n,)``.
    far
        The rate that the threshold may let through, 0..1; with fewer than ``1 / far`` non-mated pairs none gets
        through.

    Examples
    --------
    >>> share, threshold = tar_at_far([0.9, 0.8, 0.2], [0.1, 0.3, 0.0, 0.2], far=0.25)
    >>> round(share, 3), round(threshold, 3)
    (0.667, 0.2)
    """
    yes = np.asarray(mated, np.float64)
    if not len(yes):
        raise InputError("a true accept rate needs mated pairs")
    threshold = threshold_at_far(nonmated, far)
    return float((yes >= threshold).mean()), threshold


def pair_similarities(vectors: npt.NDArray[np.float32], pairs: Ints, found: Mask | None = None) -> Floats:
    """Return the similarity of pairs ``(p, 2)`` of rows; -1 where one of the two has no embedding."""
    first, second = pairs[:, 0], pairs[:, 1]
    similarities = np.einsum("ij,ij->i", vectors[first], vectors[second])
    if found is not None:
        similarities[~(found[first] & found[second])] = -1
    return np.asarray(similarities)


def _pairs(similarities: Any, mated: Any, folds: Any) -> tuple[npt.NDArray[np.float64], Mask, npt.NDArray[Any]]:
    s, m, f = np.asarray(similarities, np.float64), np.asarray(mated), np.asarray(folds)
    if s.ndim != 1 or s.shape != m.shape or s.shape != f.shape or m.dtype != bool:
        shapes = f"{s.shape}, {m.shape} {m.dtype}, {f.shape}"
        raise InputError(f"pairs need a similarity, a boolean and a fold each, not {shapes}")
    if not np.isfinite(s).all():
        raise InputError("similarities must be finite, but hold NaN or infinity")
    if m.all() or not m.any():
        raise InputError("the accuracy needs mated and non-mated pairs")
    return s, m, f

"""Templates of several photos: means within a medium, then over media, as IJB-B and IJB-C want them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.errors import InputError

__all__ = ["Templates", "aggregate"]

Ints = npt.NDArray[np.int64]
_BLOCK = 2**14  # photos whose vectors are widened at once


@dataclass(frozen=True, eq=False)
class Templates:
    """Unit vectors of templates.

    Attributes
    ----------
    ids
        Int64 ``(t,)``, rising.
    vectors
        Float32 ``(t, d)``, unit rows; zeros where none of the photos has an embedding.
    found
        ``(t,)``: whether it has a vector.
    """

    ids: Ints
    vectors: npt.NDArray[np.float32]
    found: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, ids: npt.ArrayLike) -> npt.NDArray[np.intp]:
        """Return the rows of templates by their ids, of any shape; `InputError` where there is no such template."""
        wanted = np.asarray(ids)
        where = np.minimum(np.searchsorted(self.ids, wanted), len(self.ids) - 1)
        missing = self.ids[where] != wanted
        if missing.any():
            raise InputError(f"there is no template {wanted[missing][0]}")
        return np.asarray(where, np.intp)


def aggregate(
    vectors: npt.NDArray[np.floating[Any]],
    templates: npt.ArrayLike,
    media: npt.ArrayLike,
    *,
    weights: npt.ArrayLike | None = None,
    norms: bool = False,
    found: npt.NDArray[np.bool_] | None = None,
) -> Templates:
    """Make one unit vector of each template's photos.

    The vectors of a medium (the frames of a video) are averaged, then those of the template's media are, and the sum
    is brought to length 1 (Cao et al., "VGGFace2", FG 2018; InsightFace's evaluation of IJB does the same). So a video
    of a hundred frames counts no more than a still.

    Parameters
    ----------
    vectors
        ``(n, d)`` of n photos. Rows of zeros count as not found.
    templates, media
        Integers ``(n,)``: which template and which medium each photo belongs to.
    weights
        ``(n,)``, 0 or more: what each vector is multiplied by before the means, as the detector's score; a mean still
        divides by the number of photos. A photo of weight 0 adds nothing.
    norms
        Weigh by the vectors' own lengths too: recognizers give faces of poor quality short vectors. Without it rows
        are brought to length 1 first.
    found
        Which photos have an embedding; the others are left out of the means.

    Raises
    ------
    InputError
        If lengths differ, or a vector or weight is not finite, or a weight is negative; the row is named.

    Examples
    --------
    >>> vectors = np.array([[2, 0], [0, 1], [0, 1], [0, 1]], np.float32)
    >>> made = aggregate(vectors, templates=[7, 7, 7, 9], media=[1, 2, 2, 1])
    >>> made.ids.tolist(), made.vectors.round(3).tolist()
    ([7, 9], [[0.7070000171661377, 0.7070000171661377], [0.0, 1.0]])
    """
    given, template, medium = np.asarray(vectors), np.asarray(templates), np.asarray(media)
    n = len(given)
    if given.ndim != 2 or given.dtype.kind != "f" or not n:
        raise InputError(f"photos need vectors of shape (n, d), not {given.dtype} {given.shape}")
    for name, column in (("template", template), ("medium", medium)):
        if column.shape != (n,) or column.dtype.kind not in "iu":
            raise InputError(f"{n} photos need a {name} each, a whole number, not {column.dtype} {column.shape}")
    factors = np.ones(n) if weights is None else np.asarray(weights, np.float64)
    if factors.shape != (n,):
        raise InputError(f"{n} photos need a weight each, not {factors.shape}")
    bad = np.flatnonzero(~(np.isfinite(factors) & (factors >= 0)))
    if len(bad):
        raise InputError(
            f"the weight of photo {bad[0]} (counted from 0) is {factors[bad[0]]}, where 0 or more is needed"
        )
    lengths = np.empty(n)
    for start in range(0, n, _BLOCK):
        lengths[start : start + _BLOCK] = np.linalg.norm(given[start : start + _BLOCK].astype(np.float64), axis=1)
    bad = np.flatnonzero(~np.isfinite(lengths))
    if len(bad):
        raise InputError(f"the vector of photo {bad[0]} (counted from 0) holds NaN or infinity")
    there = lengths > 0
    if found is not None:
        if found.shape != (n,) or found.dtype != bool:
            raise InputError(f"{n} photos need a mask of as many, not {found.dtype} {found.shape}")
        there &= found
    ids, number = np.unique(template, return_inverse=True)
    sums = np.zeros((len(ids), given.shape[1]))
    rows = np.flatnonzero(there)
    rows = rows[np.lexsort((medium[rows], number[rows]))]
    scale = factors[rows] if norms else factors[rows] / lengths[rows]
    change = (np.diff(number[rows]) != 0) | (np.diff(medium[rows]) != 0)
    count = np.bincount(np.concatenate([[0], np.cumsum(change)])) if len(rows) else np.empty(0, np.intp)
    scale /= np.repeat(count, count)
    for start in range(0, len(rows), _BLOCK):
        part = rows[start : start + _BLOCK]
        weighted = given[part] * scale[start : start + _BLOCK, None]
        first = np.flatnonzero(np.concatenate([[True], np.diff(number[part]) != 0]))
        sums[number[part[first]]] += np.add.reduceat(weighted, first, axis=0)
    total = np.linalg.norm(sums, axis=1)
    made = total > 1e-12
    unit = np.divide(sums, total[:, None], out=np.zeros_like(sums), where=made[:, None])
    return Templates(ids.astype(np.int64), unit.astype(np.float32), made)

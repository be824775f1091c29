"""Exact nearest-subject search over the templates of one model, in memory only.

Two passes. The first is cheap and approximate and says by how much it can be wrong; the second computes in float64
every row that the first could not rule out. What comes out is the exact answer.

The first pass is a FAISS flat scan (`faiss.knn`) or, for large galleries, a product of 8-bit codes with the
probe, which moves a quarter of the bytes and uses the processor's 8-bit dot products (`EightBitPass`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from visavis.errors import EngineError, ModelMismatch
from visavis.types import FloatArray

__all__ = ["EIGHT_BIT_FROM", "EightBitPass", "TemplateIndex"]

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

EIGHT_BIT_FROM = 30_000
"""Templates from which 8-bit codes pay for themselves (benchmarks/search.py)."""
_BUILD_COST = 20.0  # making the codes of a row costs as much as scanning it flat this often
_PROBES_AT_ONCE = 16  # bounds the first pass's memory to 16 floats a template
_ROWS_AT_ONCE = 1 << 16
_FOLD = 128
_FLAT_FROM = 2_000  # below, plain NumPy is as fast as FAISS and needs no import


def float_slack(dimension: int) -> float:
    """Return a bound on the rounding error of a float32 dot product of two vectors of about unit length.

    Any order of summation stays within ``d * 2**-24 * |x| * |p|`` (Higham, "Accuracy and Stability of
    Numerical Algorithms", section 3.1); this is twice that, for products, scaling and lengths that are 1 only
    nearly.
    """
    return (dimension + 8) * 2.0**-23


class EightBitPass:
    """8-bit codes of the first rows of an index, and the bound on what their products with a probe can be off by.

    Row x is stored as integers c in -127..127 and a scale s, so that ``q = s * c`` is near x; the largest residual
    ``R = max |x - q|`` is measured when the codes are made. OpenVINO multiplies the codes with the probe p and may
    round p to 8 bits, too. What it rounded p to is read off by multiplying the unit vectors along with the rows:
    that gives p' exactly. Then, by Cauchy and Schwarz::

        |<q, p'> - <x, p>|  <=  |<q, p' - p>| + |<q - x, p>|  <=  max|q| * |p' - p| + R * |p|

    Parameters
    ----------
    vectors
        Float32 ``(n, d)``.
    """

    def __init__(self, vectors: FloatArray) -> None:
        from visavis.models.session import import_openvino

        openvino = import_openvino()
        from openvino import opset13 as ops

        self.rows, self.dimension = vectors.shape
        codes, scales, self.residual, self.longest = _quantize(vectors)
        probe = ops.parameter(openvino.PartialShape([-1, self.dimension]), np.float32)
        weights = ops.multiply(
            ops.convert(ops.constant(codes, shared_memory=True), np.float32), ops.constant(scales, shared_memory=True)
        )
        network = openvino.Model([ops.matmul(probe, weights, False, True)], [probe])
        settings = {
            "INFERENCE_NUM_THREADS": 1,
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": 128,  # a sixth faster than the 32 it takes by itself
            "CACHE_DIR": "",  # never on disk: these are people's templates
        }
        self._request = openvino.Core().compile_model(network, "CPU", settings).create_infer_request()

    def scores(self, probes: FloatArray) -> tuple[FloatArray, Doubles]:
        """Return approximate similarities ``(b, rows)``, valid until the next call, and their error bounds ``(b,)``."""
        self._request.infer({0: probes})
        product = self._request.get_output_tensor(0).data
        exact = probes.astype(np.float64)
        rounded = product[:, self.rows :].astype(np.float64)
        bound = self.longest * np.linalg.norm(rounded - exact, axis=1)
        bound += self.residual * np.linalg.norm(exact, axis=1) + float_slack(self.dimension)
        return product[:, : self.rows], bound

    def keeps_its_bound(self, vectors: FloatArray) -> bool:
        """Return whether this processor keeps the bound: every row's score for two probes is compared.

        Old processors' 8-bit products can saturate; there the flat scan is used instead.
        """
        for row in {0, self.rows // 2}:
            probe = vectors[row : row + 1]
            scores, bound = self.scores(probe)
            off = np.abs(scores[0] - vectors[: self.rows] @ probe[0]).max()
            if not off <= bound[0] + float_slack(self.dimension):
                return False
        return True


def _quantize(vectors: FloatArray) -> tuple[npt.NDArray[np.int8], FloatArray, float, float]:
    """Return codes ``(n + d, d)`` (the last d are the unit vectors), scales, largest residual, largest length."""
    rows, dimension = vectors.shape
    codes = np.zeros((rows + dimension, dimension), np.int8)
    scales = np.full((rows + dimension, 1), 1 / 127, np.float32)
    np.fill_diagonal(codes[rows:], 127)
    residual = longest = 0.0
    for start in range(0, rows, 16_384):
        block = vectors[start : start + 16_384]
        scale = np.maximum(np.abs(block).max(axis=1, keepdims=True) / np.float32(127), np.float32(1e-12))
        code = np.rint(block / scale)
        codes[start : start + len(block)] = code
        scales[start : start + len(block)] = scale
        code *= scale
        longest = max(longest, float(np.einsum("ij,ij->i", code, code).max()))
        code -= block
        residual = max(residual, float(np.einsum("ij,ij->i", code, code).max()))
    return codes, scales, residual**0.5 * 1.0001, longest**0.5 * 1.0001  # 1e-4 covers float32 sums of squares


class TemplateIndex:
    """Templates of one model with exact search by subject.

    Rows are kept in no order. A removed row's place is taken by the last row and the vacated place is zeroed,
    so that nothing of a removed template stays in memory.
    """

    def __init__(self, dimension: int, capacity: int = 0) -> None:
        self.dimension = dimension
        self._rows = 0
        self._vectors: FloatArray = np.empty((capacity, dimension), np.float32)
        self._ids: Ints = np.empty(capacity, np.int64)
        self._owners: Ints = np.empty(capacity, np.int64)
        self._subjects: Ints | None = None  # the distinct owners, sorted; made when needed
        self._codes: EightBitPass | None = None
        self.eight_bit = True
        self._scanned = 0.0  # rows scanned flat since codes were last made

    def __len__(self) -> int:
        return self._rows

    @property
    def vectors(self) -> FloatArray:
        """The templates, float32 ``(n, d)``, in the order of `ids`."""
        return self._vectors[: self._rows]

    @property
    def ids(self) -> Ints:
        """The templates' ids, int64 ``(n,)``."""
        return self._ids[: self._rows]

    @property
    def owners(self) -> Ints:
        """The id of each template's subject, int64 ``(n,)``."""
        return self._owners[: self._rows]

    @property
    def subjects(self) -> Ints:
        """The distinct subjects' ids, int64, rising."""
        if self._subjects is None:
            ids = np.sort(self.owners)  # np.unique hashes, which takes 25 times as long
            self._subjects = ids[np.concatenate([[True], ids[1:] != ids[:-1]])] if len(ids) else ids
        return self._subjects

    def add(self, ids: npt.ArrayLike, owners: npt.ArrayLike, vectors: FloatArray) -> None:
        """Append templates: their ids ``(m,)``, their subjects' ids ``(m,)`` and vectors ``(m, d)``."""
        if vectors.shape[1] != self.dimension:
            raise ModelMismatch(f"templates of {self.dimension} and of {vectors.shape[1]} numbers in one model")
        end = self._rows + len(vectors)
        if end > len(self._ids):
            self._grow(max(end, len(self._ids) * 5 // 4))
        self._vectors[self._rows : end] = vectors
        self._ids[self._rows : end] = ids
        self._owners[self._rows : end] = owners
        self._rows = end
        self._subjects = None

    def _grow(self, capacity: int) -> None:
        for name in ("_vectors", "_ids", "_owners"):
            old = getattr(self, name)
            new = np.empty((capacity, *old.shape[1:]), old.dtype)
            new[: self._rows] = old[: self._rows]
            old[:] = 0
            setattr(self, name, new)

    def keep(self, ids: npt.ArrayLike) -> int:
        """Drop every template whose id is not among ``ids``; return how many went."""
        gone = np.flatnonzero(~np.isin(self.ids, np.asarray(ids, np.int64)))
        if not len(gone):
            return 0
        end = self._rows - len(gone)
        holes = gone[gone < end]
        tail = np.setdiff1d(np.arange(end, self._rows), gone, assume_unique=True)
        for array in (self._vectors, self._ids, self._owners):
            array[holes] = array[tail]
            array[end : self._rows] = 0
        self._rows = end
        self._subjects = None
        self._codes = None  # they hold what was removed
        return len(gone)

    def similarities_of(self, owner: int, probes: FloatArray) -> Doubles:
        """Return the similarities of ``probes`` with the templates of one subject, float64 ``(b, m)``."""
        rows = np.flatnonzero(self.owners == owner)
        product: Doubles = probes.astype(np.float64) @ self.vectors[rows].astype(np.float64).T
        return product

    def search(self, probes: FloatArray, top: int) -> tuple[Ints, Doubles]:
        """Return the ``top`` most similar subjects of each probe, exactly.

        Parameters
        ----------
        probes
            Float32 ``(b, d)``, rows of unit length.
        top
            How many subjects; fewer come back where there are fewer.

        Returns
        -------
        Subject ids, int64 ``(b, k)``, and their similarities, float64 ``(b, k)``, falling; of equally similar ones the
        lower id comes first. A subject's similarity is that of its most similar template.
        """
        if probes.shape[1] != self.dimension:
            raise ModelMismatch(f"a probe of {probes.shape[1]} numbers can't be compared with {self.dimension}")
        k = min(top, len(self.subjects))
        found = np.empty((len(probes), k), np.int64), np.empty((len(probes), k))
        if not k or not len(probes):
            return found
        probes = np.ascontiguousarray(probes, np.float32)
        for start in range(0, len(probes), _PROBES_AT_ONCE):
            batch = probes[start : start + _PROBES_AT_ONCE]
            for i, (subjects, scores) in enumerate(self._search(batch, k), start):
                found[0][i], found[1][i] = subjects, scores
        return found

    def make_codes(self) -> bool:
        """Make the 8-bit codes now instead of once they pay; return whether this machine can use them."""
        try:
            codes = EightBitPass(self.vectors)
            self._codes = codes if codes.keeps_its_bound(self.vectors) else None
        except (EngineError, RuntimeError):  # no OpenVINO here, or it refuses: the flat scan is as exact
            self._codes = None
        self.eight_bit = self._codes is not None
        self._scanned = 0
        return self.eight_bit

    def _search(self, probes: FloatArray, k: int) -> Iterator[tuple[Ints, Doubles]]:
        coded = 0 if self._codes is None else self._codes.rows
        self._scanned += (self._rows - coded) * len(probes)
        if self.eight_bit and self._rows >= EIGHT_BIT_FROM and self._scanned >= _BUILD_COST * self._rows:
            self.make_codes()
            coded = 0 if self._codes is None else self._codes.rows
        flat = self._vectors[coded : self._rows]
        scores, bounds = (None, None) if self._codes is None else self._codes.scores(probes)
        nearest = _nearest(probes, flat, 4 * k + 12) if len(flat) > _FLAT_FROM else None
        for i, probe in enumerate(probes):
            passes = [] if scores is None or bounds is None else [_FirstPass(0, scores[i], float(bounds[i]))]
            leads = [first.leads(4 * k + 12) for first in passes]
            beyond = np.inf  # what a row of the flat part that is no lead may reach
            if nearest is not None:
                leads.append(nearest[1][i] + coded)
                beyond = float(nearest[0][i, -1]) + float_slack(self.dimension)
            known = np.concatenate(leads) if leads else np.empty(0, np.int64)
            found = self._best(probe, known, k)
            floor = float(found[1][-1]) if len(found[1]) == k else -np.inf
            if len(flat) and beyond >= floor:
                passes.append(_FirstPass(coded, flat @ probe, float_slack(self.dimension)))
            if floor == -np.inf:
                floor = self._kth_subject(passes, k)
            rows = [first.rows_from(floor) for first in passes]
            more = np.setdiff1d(np.concatenate(rows), known) if rows else known[:0]
            yield self._best(probe, np.concatenate([known, more]), k) if len(more) else found

    def _best(self, probe: FloatArray, rows: Ints, k: int) -> tuple[Ints, Doubles]:
        """Return the at most k best subjects among ``rows`` and their similarities, in float64."""
        exact = np.empty(len(rows))
        wide = probe.astype(np.float64)
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            part = rows[start : start + _ROWS_AT_ONCE]
            exact[start : start + len(part)] = self._vectors[part].astype(np.float64) @ wide
        owners = self._owners[rows]
        order = np.lexsort((owners, -exact))
        first = np.sort(np.unique(owners[order], return_index=True)[1])[:k]
        return owners[order][first], exact[order][first]

    def _kth_subject(self, passes: Sequence[_FirstPass], k: int) -> float:
        """Return what the k-th best subject reaches at least, from first passes over all rows."""
        best = np.full(len(self.subjects), -np.inf)
        for one in passes:
            owners = self._owners[one.start : one.start + len(one.scores)]
            np.maximum.at(best, np.searchsorted(self.subjects, owners), one.scores - one.bound)
        return float(np.partition(best, len(best) - k)[len(best) - k])


class _FirstPass:
    """Approximate similarities of the rows from ``start`` on, none off by more than ``bound``.

    The scores are folded into a grid whose columns' maxima are taken once; what is asked next then touches only
    the few columns whose maximum is high enough.
    """

    def __init__(self, start: int, scores: FloatArray, bound: float) -> None:
        self.start, self.scores, self.bound = start, scores, bound
        width = len(scores) // _FOLD
        self._grid = scores[: width * _FOLD].reshape(_FOLD, width)
        self._highest = self._grid.max(axis=0)

    def rows_from(self, similarity: float) -> Ints:
        """Return every row whose true similarity may reach ``similarity``."""
        least = similarity - self.bound
        columns = np.flatnonzero(self._highest >= least)
        folds, which = np.nonzero(self._grid[:, columns] >= least)
        rest = np.flatnonzero(self.scores[self._grid.size :] >= least) + self._grid.size
        return np.concatenate([folds * self._grid.shape[1] + columns[which], rest]) + self.start

    def leads(self, count: int) -> Ints:
        """Return about ``count`` rows of high score: the best of each of the best columns."""
        columns = np.arange(len(self._highest))
        if len(columns) > count:
            columns = np.argpartition(self._highest, -count)[-count:]
        rows = self._grid[:, columns].argmax(axis=0) * self._grid.shape[1] + columns
        rest = np.arange(self._grid.size, len(self.scores))
        return np.concatenate([rows, rest]) + self.start


def _nearest(probes: FloatArray, vectors: FloatArray, count: int) -> tuple[FloatArray, Ints]:
    """Return the ``count`` highest float32 dot products of each probe and their rows."""
    import faiss

    scores, rows = faiss.knn(probes, vectors, min(count, len(vectors)), metric=faiss.METRIC_INNER_PRODUCT)
    return scores, rows

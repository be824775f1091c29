"""Metrics whose data come batch by batch, as in a training loop: `update` with each, then `compute` over all.

Each is a thin thing around the function that it calls, and gives what that gives for all batches at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.errors import InputError
from visavis.evaluation.attacks import AttackResult, Higher, Presentations, evaluate_attacks
from visavis.evaluation.average_precision import CocoResult, coco_average_precision
from visavis.evaluation.detection import Found, Truth
from visavis.evaluation.identification import FPIRS, ClosedSet, OpenSet, closed_set, open_set
from visavis.evaluation.landmarks import LandmarkErrors, landmark_errors
from visavis.evaluation.rates import FARS, Scores, VerificationResult, evaluate_scores
from visavis.evaluation.searching import Fusion, search
from visavis.evaluation.traits import AgeResult, ClassResult, evaluate_ages, evaluate_classes

__all__ = [
    "AgeMetric",
    "AttackMetric",
    "ClassMetric",
    "DetectionMetric",
    "IdentificationMetric",
    "LandmarkMetric",
    "VerificationMetric",
]


class _Columns:
    """Columns that grow by batches; one that is left out is left out of all."""

    def __init__(self) -> None:
        self._batches: list[tuple[npt.NDArray[Any] | None, ...]] = []

    def _add(self, *columns: npt.ArrayLike | Sequence[Any] | None) -> None:
        batch = tuple(None if given is None else np.asarray(given) for given in columns)
        lengths = {part.shape[:1] for part in batch if part is not None}
        if len(lengths) > 1 or () in lengths:
            raise InputError("the columns of a batch need the same length")
        if self._batches and [part is None for part in batch] != [part is None for part in self._batches[0]]:
            raise InputError("a column is given with all batches, or with none")
        self._batches.append(batch)

    def _joined(self) -> list[Any]:
        if not self._batches:
            raise InputError("there is nothing to measure yet: call update first")
        try:
            parts = zip(*self._batches, strict=True)
            return [None if part[0] is None else np.concatenate([p for p in part if p is not None]) for part in parts]
        except ValueError as error:
            raise InputError(f"batches don't fit together: {error}") from None

    def reset(self) -> None:
        """Forget all batches."""
        self._batches.clear()


class VerificationMetric(_Columns):
    """Verification of pairs.

    Examples
    --------
    >>> metric = VerificationMetric()
    >>> metric.update([0.9, 0.1], [True, False])
    >>> metric.update([0.8, 0.3], [True, False])
    >>> metric.compute(fars=[0.5]).auc.value
    1.0
    """

    def update(
        self,
        similarities: npt.ArrayLike,
        mated: npt.ArrayLike,
        subjects: npt.ArrayLike | None = None,
        folds: npt.ArrayLike | None = None,
    ) -> None:
        """Add pairs: ``(b,)`` similarities and booleans, and perhaps ``(b, 2)`` subjects and ``(b,)`` folds."""
        self._add(similarities, mated, subjects, folds)

    def scores(self) -> Scores:
        """Return all pairs."""
        similarities, mated, subjects, folds = self._joined()
        return Scores(similarities, mated, subjects, folds=folds)

    def compute(
        self, fars: Sequence[float] = FARS, *, level: float = 0.95, repeats: int = 400, seed: int = 2026
    ) -> VerificationResult:
        """Measure them; see `evaluate_scores`."""
        return evaluate_scores(self.scores(), fars, level=level, repeats=repeats, seed=seed)


class IdentificationMetric(_Columns):
    """Probes searched in a gallery that is given once.

    Parameters
    ----------
    gallery, gallery_subjects
        Templates ``(n, d)`` of unit length, and the subject of each.

    Examples
    --------
    >>> metric = IdentificationMetric(np.eye(3, dtype=np.float32), ["ada", "bob", "cleo"])
    >>> metric.update(np.eye(3, dtype=np.float32)[:1], ["ada"])
    >>> metric.update(np.eye(3, dtype=np.float32)[2:], ["cleo"])
    >>> closed, opened = metric.compute()
    >>> closed.rank(1).value, opened is None
    (1.0, True)
    """

    def __init__(
        self, gallery: npt.ArrayLike, gallery_subjects: npt.ArrayLike | Sequence[Any], *, fusion: Fusion = "max"
    ) -> None:
        super().__init__()
        self._gallery, self._subjects, self._fusion = gallery, gallery_subjects, fusion

    def update(self, probes: npt.ArrayLike, subjects: npt.ArrayLike | Sequence[Any]) -> None:
        """Add probes: ``(b, d)`` of unit length, and the subject of each."""
        self._add(probes, subjects)

    def compute(
        self, fpirs: Sequence[float] = FPIRS, *, level: float = 0.95, repeats: int = 400, seed: int = 2026
    ) -> tuple[ClosedSet, OpenSet | None]:
        """Measure them; see `closed_set` and `open_set`, which is None where every probe's subject is enrolled."""
        probes, subjects = self._joined()
        found = search(probes, subjects, self._gallery, self._subjects, fusion=self._fusion)
        closed = closed_set(found.ranks, found.subjects, found.size, level=level)
        if found.mated.all():
            return closed, None
        return closed, open_set(found, fpirs, level=level, repeats=repeats, seed=seed)


class AttackMetric(_Columns):
    """Presentation attack detection; see `Presentations.of` for the parameters.

    Examples
    --------
    >>> metric = AttackMetric(bona_fide="live")
    >>> metric.update([0.9, 0.2], ["live", "print"])
    >>> metric.update([0.8, 0.6], ["live", "replay"])
    >>> metric.compute(0.5).acer
    0.5
    """

    def __init__(self, *, bona_fide: str = "bona fide", higher: Higher = "bona fide") -> None:
        super().__init__()
        self._bona_fide, self._higher = bona_fide, higher

    def update(self, scores: npt.ArrayLike, kinds: Sequence[str]) -> None:
        """Add presentations: ``(b,)`` scores, and the kind of each."""
        self._add(scores, kinds)

    def compute(self, threshold: float | None = None, *, level: float = 0.95) -> AttackResult:
        """Measure them; see `evaluate_attacks`."""
        scores, kinds = self._joined()
        given = Presentations.of(scores, kinds, bona_fide=self._bona_fide, higher=self._higher)
        return evaluate_attacks(given, threshold, level=level)


class ClassMetric(_Columns):
    """Classes that a model said, against the true ones."""

    def update(self, truth: Sequence[str], predicted: Sequence[str]) -> None:
        """Add labels, ``(b,)`` each."""
        self._add(truth, predicted)

    def compute(self, classes: Sequence[str] | None = None, *, level: float = 0.95) -> ClassResult:
        """Measure them; see `evaluate_classes`."""
        truth, predicted = self._joined()
        return evaluate_classes(truth.tolist(), predicted.tolist(), classes=classes, level=level)


class AgeMetric(_Columns):
    """Ages that a model said, against the true ones."""

    def update(self, truth: npt.ArrayLike, predicted: npt.ArrayLike) -> None:
        """Add ages, ``(b,)`` years each."""
        self._add(truth, predicted)

    def compute(self, *, level: float = 0.95, seed: int = 2026) -> AgeResult:
        """Measure them; see `evaluate_ages`."""
        truth, predicted = self._joined()
        return evaluate_ages(truth, predicted, level=level, seed=seed)


class LandmarkMetric(_Columns):
    """Landmarks found, against those marked."""

    def update(self, found: npt.ArrayLike, truth: npt.ArrayLike, sizes: npt.ArrayLike) -> None:
        """Add faces: points ``(b, k, 2)`` twice, and the size ``(b,)`` that errors are shares of."""
        self._add(found, truth, sizes)

    def compute(self) -> LandmarkErrors:
        """Measure them; see `landmark_errors`."""
        found, truth, sizes = self._joined()
        return landmark_errors(found, truth, sizes)


class DetectionMetric:
    """Boxes found, against those marked, picture by picture."""

    def __init__(self) -> None:
        self._truths: list[Truth] = []
        self._found: list[Found] = []

    def update(self, truths: Sequence[Truth], found: Sequence[Found]) -> None:
        """Add pictures."""
        if len(truths) != len(found):
            raise InputError(f"each picture has a truth and what was found, not {len(truths)} and {len(found)}")
        self._truths += truths
        self._found += found

    def compute(self) -> CocoResult:
        """Measure them; see `coco_average_precision`."""
        if not self._truths:
            raise InputError("there is nothing to measure yet: call update first")
        return coco_average_precision(self._truths, self._found)

    def reset(self) -> None:
        """Forget all pictures."""
        self._truths.clear()
        self._found.clear()

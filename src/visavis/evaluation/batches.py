"""Verification measured on similarities that come batch by batch, as in a training loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.errors import InputError
from visavis.evaluation.rates import FARS, Scores, VerificationResult, evaluate_scores

__all__ = ["VerificationMetric"]


class VerificationMetric:
    """Collects similarities batch by batch, then measures them all.

    Examples
    --------
    >>> metric = VerificationMetric()
    >>> metric.update([0.9, 0.1], [True, False])
    >>> metric.update([0.8, 0.3], [True, False])
    >>> metric.compute(fars=[0.5]).auc.value
    1.0
    """

    def __init__(self) -> None:
        self._batches: list[tuple[npt.NDArray[Any] | None, ...]] = []

    def update(
        self,
        similarities: npt.ArrayLike,
        mated: npt.ArrayLike,
        subjects: npt.ArrayLike | None = None,
        folds: npt.ArrayLike | None = None,
    ) -> None:
        """Add pairs; all batches have subjects and folds, or none has."""
        batch = tuple(None if given is None else np.asarray(given) for given in (similarities, mated, subjects, folds))
        if self._batches and [part is None for part in batch] != [part is None for part in self._batches[0]]:
            raise InputError("either all batches have subjects and folds, or none has")
        self._batches.append(batch)

    def scores(self) -> Scores:
        """Return all pairs."""
        if not self._batches:
            raise InputError("there are no pairs yet: call update first")
        parts = zip(*self._batches, strict=True)
        try:
            joined = [None if part[0] is None else np.concatenate(part) for part in parts]
        except ValueError as error:
            raise InputError(f"batches don't fit together: {error}") from None
        s, m, subjects, folds = joined
        assert s is not None
        assert m is not None
        return Scores(s, m, subjects, folds=folds)

    def compute(
        self, fars: Sequence[float] = FARS, *, level: float = 0.95, repeats: int = 400, seed: int = 2026
    ) -> VerificationResult:
        """Measure them; see `evaluate_scores`."""
        return evaluate_scores(self.scores(), fars, level=level, repeats=repeats, seed=seed)

    def reset(self) -> None:
        """Forget all pairs."""
        self._batches.clear()

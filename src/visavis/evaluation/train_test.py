"""A threshold chosen on some pairs and reported on others: LFW's View 1, and any data set with such lists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from visavis.evaluation.bootstrap import pair_weights
from visavis.evaluation.curves import ErrorCurve
from visavis.evaluation.intervals import Estimate, bootstrap_share, exact_share
from visavis.evaluation.rates import Scores

__all__ = ["TrainTest", "train_test"]


@dataclass(frozen=True)
class TrainTest:
    """A threshold chosen on some pairs, and what it does on others."""

    threshold: float
    train_accuracy: float
    accuracy: Estimate
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "threshold": self.threshold,
            "train_accuracy": self.train_accuracy,
            "accuracy": self.accuracy.to_dict(),
            "warnings": list(self.warnings),
        }


def train_test(train: Scores, test: Scores, *, level: float = 0.95, repeats: int = 400, seed: int = 2026) -> TrainTest:
    """Choose the threshold that decides most training pairs rightly, and report it on the test pairs.

    The protocol of LFW's View 1 (``pairsDevTrain.txt``, ``pairsDevTest.txt``). Of thresholds that are equally good the
    middle one is taken. The interval is exact where test pairs are independent, else a bootstrap over subjects.
    Subjects are numbered alike in both, and a warning says how many are in both.

    Examples
    --------
    >>> train = Scores([0.8, 0.6, 0.3, 0.1], [True, True, False, False])
    >>> test = Scores([0.7, 0.5, 0.2, 0.0], [True, True, False, False])
    >>> result = train_test(train, test)
    >>> result.threshold, result.accuracy.value
    (0.6, 0.75)
    """
    curve = ErrorCurve.of(train.similarities[train.mated], train.similarities[~train.mated])
    right = curve.mated_accepted + curve.nonmated - curve.nonmated_accepted
    best = np.flatnonzero(right == right.max())
    at = best[len(best) // 2]
    threshold = float(curve.thresholds[at])
    decided = (test.similarities >= threshold) == test.mated
    hits = int(decided.sum())
    if test.independent:
        share = exact_share(hits, len(test), level)
    else:
        weights = pair_weights(test.mated, test.subjects, repeats, seed)
        share = bootstrap_share(hits, len(test), [np.average(decided, weights=w) for w in weights if w.any()], level)
    both = () if train.subjects is None or test.subjects is None else np.intersect1d(train.subjects, test.subjects)
    said = f"subjects in the training and the test pairs: {len(both):,}; the accuracy may be too good"
    return TrainTest(threshold, float(right[at] / len(train)), share, (said,) if len(both) else ())

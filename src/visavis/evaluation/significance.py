"""Is one model better than another, or were these pairs kind to it? Paired tests on the same pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.errors import EngineError, InputError
from visavis.evaluation.bootstrap import Draw, WeighedPairs, pair_weights
from visavis.evaluation.intervals import bootstrap_interval, measurable
from visavis.evaluation.rates import FARS, Scores
from visavis.evaluation.verification import fold_decisions

__all__ = ["Comparison", "Difference", "compare_models", "holm", "mcnemar"]

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Difference:
    """How far two models lie apart in a metric.

    Attributes
    ----------
    metric
        ``"accuracy"``, ``"eer"``, ``"auc"`` or ``"tar@far=0.001"``.
    a, b
        The models.
    value_a, value_b
        What each has.
    low, high
        Interval of ``value_b - value_a``.
    p
        Two-sided p-value of the paired bootstrap: how often draws show no difference or the contrary one. It is never
        below ``2 / (repeats + 1)``.
    p_holm
        The same, for as many comparisons of this metric as there are pairs of models (Holm, 1979).
    p_mcnemar
        Of accuracies: McNemar's exact test (1947), which takes pairs as independent.
    """

    metric: str
    a: str
    b: str
    value_a: float
    value_b: float
    low: float
    high: float
    p: float
    p_holm: float
    p_mcnemar: float | None = None

    @property
    def difference(self) -> float:
        """How much more b has than a."""
        return self.value_b - self.value_a

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "metric": self.metric,
            "a": self.a,
            "b": self.b,
            "value_a": self.value_a,
            "value_b": self.value_b,
            "difference": self.difference,
            "low": self.low,
            "high": self.high,
            "p": self.p,
            "p_holm": self.p_holm,
            "p_mcnemar": self.p_mcnemar,
        }


@dataclass(frozen=True)
class Comparison:
    """Models compared on the same pairs.

    Attributes
    ----------
    models
        Their names.
    drawn
        What the bootstrap drew: ``"subjects"`` or ``"pairs"``.
    differences
        Of every two models in every metric.
    """

    models: tuple[str, ...]
    drawn: str
    level: float
    repeats: int
    differences: tuple[Difference, ...]

    def of(self, metric: str) -> tuple[Difference, ...]:
        """Return the differences in one metric."""
        return tuple(one for one in self.differences if one.metric == metric)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "models": list(self.models),
            "drawn": self.drawn,
            "level": self.level,
            "repeats": self.repeats,
            "differences": [one.to_dict() for one in self.differences],
        }


def compare_models(
    similarities: Mapping[str, npt.ArrayLike],
    mated: npt.ArrayLike,
    *,
    subjects: npt.ArrayLike | None = None,
    folds: npt.ArrayLike | None = None,
    fars: Sequence[float] = FARS,
    level: float = 0.95,
    repeats: int = 1000,
    seed: int = 2026,
) -> Comparison:
    """Compare models on the same pairs by a paired bootstrap: each draw is the same for all of them.

    Parameters
    ----------
    similarities
        Of each model ``(p,)``, of the same pairs in the same order.
    mated, subjects, folds
        As in `visavis.evaluation.rates.Scores`. Subjects are drawn where they are known, else pairs; without two folds
        no accuracy is compared.
    fars
        False accept rates at which the TAR is compared; those that the non-mated pairs can't show are left out.

    Raises
    ------
    InputError
        If there are fewer than two models, or pairs are not as they should be.
    EngineError
        If there are folds and scipy, which McNemar's test needs, is missing.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> mated = np.arange(1000) % 2 == 0
    >>> truth = np.where(mated, 1.0, 0.0)
    >>> models = {"sharp": truth + rng.normal(0, 0.2, 1000), "dull": truth + rng.normal(0, 0.4, 1000)}
    >>> [eer] = compare_models(models, mated, repeats=200).of("eer")
    >>> round(eer.difference, 2), eer.p < 0.01
    (0.1, True)
    """
    if len(similarities) < 2:
        raise InputError("comparing needs at least two models")
    scores: dict[str, Scores] = {}
    for name, values in similarities.items():
        try:
            scores[name] = Scores(
                np.asarray(values),
                np.asarray(mated),
                None if subjects is None else np.asarray(subjects),
                folds=None if folds is None else np.asarray(folds),
            )
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
    first = next(iter(scores.values()))
    sound = measurable(fars, int((~first.mated).sum()))
    pairs = {
        name: WeighedPairs(one.similarities, one.mated, one.several_folds, fars=sound) for name, one in scores.items()
    }
    truth = {name: _metrics(one.measure(np.ones(len(first), np.int64)), sound) for name, one in pairs.items()}
    drawn: dict[str, list[dict[str, float]]] = {name: [] for name in pairs}
    for weights in pair_weights(first.mated, first.subjects, repeats, seed):
        for name, one in pairs.items():
            drawn[name].append(_metrics(one.measure(weights), sound))
    right = {
        name: fold_decisions(one.similarities, one.mated, folds)
        for name, one in scores.items()
        if (folds := one.several_folds) is not None
    }
    differences: list[Difference] = []
    for metric in next(iter(truth.values())):
        found = [_difference(metric, a, b, truth, drawn, right, level) for a, b in combinations(scores, 2)]
        corrected = holm([one.p for one in found])
        differences += [replace(one, p_holm=p) for one, p in zip(found, corrected, strict=True)]
    return Comparison(tuple(scores), "pairs" if subjects is None else "subjects", level, repeats, tuple(differences))


def _metrics(draw: Draw, fars: Sequence[float]) -> dict[str, float]:
    accuracy = {} if np.isnan(draw.accuracy) else {"accuracy": draw.accuracy}
    tars = {f"tar@far={far:g}": float(tar) for far, tar in zip(fars, draw.tar, strict=True)}
    return {**accuracy, "eer": draw.eer, "auc": draw.auc, **tars}


def _difference(
    metric: str,
    a: str,
    b: str,
    truth: Mapping[str, Mapping[str, float]],
    drawn: Mapping[str, Sequence[Mapping[str, float]]],
    right: Mapping[str, Mask],
    level: float,
) -> Difference:
    nan = float("nan")  # of a draw without pairs of a kind
    both = zip(drawn[a], drawn[b], strict=True)
    apart = np.array([theirs.get(metric, nan) - ours.get(metric, nan) for ours, theirs in both])
    apart = apart[~np.isnan(apart)]
    low, high = bootstrap_interval(apart, level)
    fewer = min((apart <= 0).sum(), (apart >= 0).sum())
    p = float(min(2 * (fewer + 1) / (len(apart) + 1), 1.0))
    second = mcnemar(right[a], right[b]) if metric == "accuracy" else None
    return Difference(metric, a, b, truth[a][metric], truth[b][metric], low, high, p, p, second)


def mcnemar(right_a: npt.ArrayLike, right_b: npt.ArrayLike) -> float:
    """Return the two-sided p-value of McNemar's exact test: of pairs that one model alone decides rightly.

    Parameters
    ----------
    right_a, right_b
        ``(p,)`` bool: whether each model decides each pair rightly.

    Raises
    ------
    InputError
        If they are no booleans of the same length.
    EngineError
        If scipy is missing.

    Examples
    --------
    >>> round(mcnemar([True] * 10 + [False] * 2, [False] * 10 + [True] * 2), 4)
    0.0386
    """
    a, b = np.asarray(right_a), np.asarray(right_b)
    if a.dtype != bool or a.shape != b.shape or b.dtype != bool or a.ndim != 1:
        raise InputError(f"decisions are booleans of the same pairs, not {a.dtype} {a.shape} and {b.dtype} {b.shape}")
    try:
        from scipy.special import bdtr
    except ImportError:
        raise EngineError("McNemar's exact test needs scipy: pip install 'visavis[evaluate]'") from None
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    if not only_a + only_b:
        return 1.0
    return min(2 * float(bdtr(min(only_a, only_b), only_a + only_b, 0.5)), 1.0)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values for as many tests as there are (Holm, Scandinavian Journal of Statistics, 1979).

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min((len(p_values) - rank) * p_values[i], 1.0))
        corrected[i] = highest
    return corrected

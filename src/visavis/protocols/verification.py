"""Verification on pairs of photos, by any number of models, of visavis or brought along as embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.datasets.lfw import Pairs
from visavis.errors import InputError
from visavis.evaluation.all_pairs import AllPairs, evaluate_all_pairs
from visavis.evaluation.hardest import HardPairs, hardest, hardest_of_all
from visavis.evaluation.intervals import measurable
from visavis.evaluation.rates import (
    FARS,
    RateAt,
    Scores,
    VerificationResult,
    evaluate_scores,
)
from visavis.evaluation.significance import Comparison, compare_models
from visavis.evaluation.train_test import TrainTest, train_test
from visavis.evaluation.verification import pair_similarities
from visavis.protocols.embedding import Embedded
from visavis.protocols.pair_sets import PairSet

__all__ = ["ABSENT", "Verified", "compared", "verify_all", "verify_pairs", "verify_scores"]

ABSENT = -1.0
"""Similarity given to a pair of which a photo has no embedding."""

_BAND = tuple(10 ** np.linspace(-6, -0.1, 25))  # FARs at which a curve has its band
_HARDEST = 50  # pairs of each kind that are kept


@dataclass(frozen=True, eq=False)
class Verified:
    """What was measured of a model.

    Attributes
    ----------
    model
        Its name.
    result
        The rates.
    band
        The rates at more FARs, for the band around a curve; the supported ones, falling.
    without
        Photos among the pairs' without an embedding: no face was found, or none was brought.
    hard
        The hardest pairs; rows of the data set's photos.
    scores
        The pairs' similarities; None where all photos were compared with all.
    view1
        The threshold of LFW's View 1 and what it does there.
    """

    model: str
    result: VerificationResult
    band: tuple[RateAt, ...]
    without: int
    hard: HardPairs
    scores: Scores | None = None
    view1: TrainTest | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, without similarities and rows."""
        return {
            "model": self.model,
            "photos_without_embedding": self.without,
            "view1": None if self.view1 is None else self.view1.to_dict(),
            **self.result.to_dict(),
        }


def verify_pairs(embedded: Embedded, data: PairSet, fars: Sequence[float] = FARS) -> Verified:
    """Measure a model on pairs.

    Parameters
    ----------
    embedded
        Embeddings of the photos that pairs name; others count as not found, and their pairs as rejected.
    fars
        False accept rates to report.

    Raises
    ------
    InputError
        If no photo has an embedding, or the pairs are of one kind.
    """
    mine = embedded.at(data.photos.photos)
    used = np.unique(data.pairs.photos)
    if not mine.found[used].any():
        if {data.photos.photos[i] for i in used} & set(embedded.names):
            raise InputError(f"{embedded.model} found no face in any photo of the pairs")
        have, want = (repr(next(iter(names), "")) for names in (embedded.names, data.photos.photos))
        raise InputError(
            f"{embedded.model} has an embedding of none of the photos: its names are as {have}, where {want} is needed"
        )
    scores = _scores(mine, data, data.pairs, folds=True)
    view1 = None
    if data.view1 is not None:
        view1 = train_test(*(_scores(mine, data, pairs, folds=False) for pairs in data.view1))
    without = int((~mine.found[used]).sum())
    return verify_scores(embedded.model, scores, fars, without=without, view1=view1)


def verify_scores(
    model: str,
    scores: Scores,
    fars: Sequence[float] = FARS,
    *,
    without: int = 0,
    view1: TrainTest | None = None,
) -> Verified:
    """Measure similarities that are known already, of any system."""
    result, band = _parted(evaluate_scores(scores, sorted({*fars, *_BAND})), fars)
    return Verified(model, result, band, without, hardest(scores, _HARDEST, absent=ABSENT), scores, view1)


def verify_all(
    embedded: Embedded, people: Sequence[str], fars: Sequence[float] = FARS, *, hard: bool = True
) -> Verified:
    """Measure a model on all pairs of photos.

    Parameters
    ----------
    people
        The person of each photo.
    hard
        Look for the hardest pairs, which goes through all pairs once more.
    """
    if not embedded.found.any():
        raise InputError(f"{embedded.model} has an embedding of none of the photos")
    person = np.unique(np.array(people), return_inverse=True)[1]
    found = evaluate_all_pairs(embedded.vectors, person, sorted({*fars, *_BAND}), found=embedded.found)
    result, band = _parted(found, fars)
    worst = HardPairs.none()
    if hard:
        worst = hardest_of_all(AllPairs(embedded.vectors, person, embedded.found), _HARDEST)
    return Verified(embedded.model, result, band, int((~embedded.found).sum()), worst)


def compared(found: Sequence[Verified], fars: Sequence[float] = FARS) -> Comparison | None:
    """Return how significantly the models differ; None of one model, or where all photos were compared with all."""
    given = [(one.model, one.scores) for one in found if one.scores is not None]
    if len(given) < 2 or len(given) < len(found):
        return None
    first = given[0][1]
    wanted = measurable(fars, int((~first.mated).sum()))
    return compare_models(
        {name: scores.similarities for name, scores in given},
        first.mated,
        subjects=first.subjects,
        folds=first.folds,
        fars=wanted,
    )


def _scores(embedded: Embedded, data: PairSet, pairs: Pairs, *, folds: bool) -> Scores:
    similarities = pair_similarities(embedded.vectors, pairs.photos, embedded.found)
    several = folds and len(np.unique(pairs.folds)) > 1
    return Scores(
        np.asarray(similarities, np.float64),
        pairs.mated,
        None if data.subjects is None else data.subjects[pairs.photos],
        pairs.photos,
        pairs.folds if several else None,
    )


def _parted(result: VerificationResult, fars: Sequence[float]) -> tuple[VerificationResult, tuple[RateAt, ...]]:
    """Return a result with the rates asked for alone, and all that are supported, for the band."""
    asked: npt.NDArray[np.float64] = np.array(fars, np.float64)
    kept = tuple(rate for rate in result.rates if np.isclose(asked, rate.far, rtol=1e-9).any())
    return replace(result, rates=kept), tuple(rate for rate in result.rates if rate.supported)

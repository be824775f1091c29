"""How well a classifier does on labeled faces, some of them of people it doesn't know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.classification.predictions import Predictions
from visavis.errors import InputError
from visavis.evaluation.intervals import Estimate, wilson

Mask = npt.NDArray[np.bool_]

__all__ = ["Confusion", "Evaluation", "PersonResult", "evaluate"]


@dataclass(frozen=True)
class PersonResult:
    """What became of one person's faces: ``right`` name, ``wrong`` name or ``unknown``; of strangers, unknown is right.

    ``enrolled`` says whether the classifier knows the person.
    """

    subject: str
    enrolled: bool
    faces: int
    right: int
    wrong: int
    unknown: int


@dataclass(frozen=True)
class Confusion:
    """How many faces of ``subject`` were ``taken_for`` another person (None: unknown)."""

    subject: str
    taken_for: str | None
    faces: int


@dataclass(frozen=True)
class Evaluation:
    """Rates over labeled faces, with 95 % intervals (Wilson; they take faces as independent).

    Attributes
    ----------
    faces, strangers
        How many faces there were of known people, and of others.
    accuracy
        Share of all faces with the right answer: the name, or unknown for a stranger.
    balanced_accuracy
        The mean of each person's share of right answers, all strangers together counting as one person.
    rank1
        Share of known people's faces whose most probable name is right, reject or not. None without such faces.
    fnir
        Share of known people's faces that did not get their name. None without such faces.
    misidentified
        Share of known people's faces that got somebody else's name. None without such faces.
    fpir
        Share of strangers' faces that got a name. None without strangers.
    people
        Per person, worst first.
    confusions
        Wrong answers, most frequent first.
    """

    faces: int
    strangers: int
    accuracy: Estimate
    balanced_accuracy: float
    rank1: Estimate | None
    fnir: Estimate | None
    misidentified: Estimate | None
    fpir: Estimate | None
    people: tuple[PersonResult, ...]
    confusions: tuple[Confusion, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, JSON-ready."""
        return asdict(self)


def evaluate(predictions: Predictions, subjects: Sequence[str]) -> Evaluation:
    """Compare predictions with who the faces are; a name that the classifier doesn't have is a stranger's.

    Raises
    ------
    InputError
        If ``subjects`` are not one a prediction, or there are none.
    """
    if isinstance(subjects, str) or len(subjects) != len(predictions):
        raise InputError(f"subjects must be {len(predictions)} names, one a prediction, not {len(subjects)}")
    if not len(subjects):
        raise InputError("there are no faces to evaluate")
    known = set(predictions.people)
    said = predictions.subjects
    best = [predictions.people[i] for i in predictions.best.tolist()]
    mated = np.array([name in known for name in subjects])
    right = np.array([answer == (name if name in known else None) for answer, name in zip(said, subjects, strict=True)])
    unknown = np.array([answer is None for answer in said])
    first = np.array([guess == name for guess, name in zip(best, subjects, strict=True)])
    people = _people(subjects, known, right, unknown)
    shares = [one.right / one.faces for one in people if one.enrolled]
    if not mated.all():
        shares.append(float(right[~mated].mean()))
    return Evaluation(
        faces=int(mated.sum()),
        strangers=int((~mated).sum()),
        accuracy=_estimate(right),
        balanced_accuracy=float(np.mean(shares)),
        rank1=_estimate(first[mated]) if mated.any() else None,
        fnir=_estimate(~right[mated]) if mated.any() else None,
        misidentified=_estimate(~right[mated] & ~unknown[mated]) if mated.any() else None,
        fpir=_estimate(~unknown[~mated]) if (~mated).any() else None,
        people=people,
        confusions=_confusions(subjects, said, right),
    )


def _estimate(hits: Mask) -> Estimate:
    return Estimate(float(hits.mean()), *wilson(int(hits.sum()), len(hits)))


def _people(subjects: Sequence[str], known: Set[str], right: Mask, unknown: Mask) -> tuple[PersonResult, ...]:
    names, numbers = np.unique(np.array(subjects, object), return_inverse=True)
    columns = [np.bincount(numbers, mask, len(names)).astype(int) for mask in (right | True, right, unknown)]
    results = []
    for name, faces, good, none in zip(names.tolist(), *(column.tolist() for column in columns), strict=True):
        enrolled = name in known
        wrong = faces - good - none if enrolled else faces - none
        results.append(PersonResult(name, enrolled, faces, good, wrong, none))
    return tuple(sorted(results, key=lambda one: (one.right / one.faces, one.subject)))


def _confusions(subjects: Sequence[str], said: Sequence[str | None], right: Mask) -> tuple[Confusion, ...]:
    pairs = zip(subjects, said, right.tolist(), strict=True)
    counts = Counter((subject, answer) for subject, answer, good in pairs if not good)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0][0], item[0][1] or ""))
    return tuple(Confusion(subject, answer, number) for (subject, answer), number in ordered)

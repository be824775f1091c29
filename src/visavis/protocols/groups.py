"""Error rates by group, of pairs or of embeddings that anyone brings, with labels from a CSV file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.errors import InputError
from visavis.evaluation.all_pairs import evaluate_all_pairs
from visavis.evaluation.curves import ErrorCurve
from visavis.evaluation.group_rates import GroupResult
from visavis.evaluation.groups import evaluate_groups, evaluate_groups_of_all, numbered
from visavis.evaluation.intervals import least_measurable, trials_needed
from visavis.evaluation.tail import nonmated_count
from visavis.protocols.embedding import Embedded
from visavis.protocols.scores import Labels, ScoreFile

__all__ = ["Groups", "groups_of_embeddings", "groups_of_scores", "subject_of"]

_LFW = re.compile(r"(.+)_\d{4,}")


@dataclass(frozen=True)
class Groups:
    """Error rates by each of several labels, at one threshold.

    Attributes
    ----------
    threshold, fmr
        The threshold, and the rate of all non-mated pairs at it.
    mated, nonmated
        How many pairs there are in all.
    results
        One a label.
    """

    threshold: float
    fmr: float
    mated: int
    nonmated: int
    results: tuple[GroupResult, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "threshold": self.threshold,
            "fmr": self.fmr,
            "mated_pairs": self.mated,
            "nonmated_pairs": self.nonmated,
            "labels": [result.to_dict() for result in self.results],
        }


def groups_of_scores(
    file: ScoreFile,
    labels: Labels | None = None,
    *,
    by: Sequence[str] | None = None,
    threshold: float | None = None,
    fmr: float | None = None,
) -> Groups:
    """Measure pairs by group.

    Parameters
    ----------
    labels
        Of the photos or subjects that the pairs name; without it the labels are those in the pairs' own file.
    by
        Which labels; all without it.
    threshold, fmr
        The threshold, or the false match rate of all pairs together that sets it: one of the two.

    Raises
    ------
    InputError
        If pairs don't name what the labels are of, a label is missing, or the pairs are too few for ``fmr``.
    """
    scores = file.scores
    curve = ErrorCurve.of(scores.similarities[scores.mated], scores.similarities[~scores.mated])
    _check(threshold, fmr, curve.nonmated)
    sides: dict[str, npt.NDArray[np.str_]] = {}
    if labels is None:
        if not file.labels:
            raise InputError("the pairs carry no labels, as sex_a and sex_b: give a file of labels")
        for name in _chosen(by, list(file.labels)):
            sides[name] = file.labels[name]
    else:
        rows, names = (scores.photos, file.photos) if labels.key == "photo" else (scores.subjects, file.subjects)
        if rows is None:
            raise InputError(f"the labels are of {labels.key}s; the pairs need {labels.key}_a and {labels.key}_b")
        for name in _chosen(by, list(labels.labels)):
            sides[name] = labels.of(name, names)[rows]
    at = curve.threshold_at_fmr(fmr) if fmr is not None else threshold
    assert at is not None
    results = []
    for name, texts in sides.items():
        codes, groups = _numbered(name, texts)
        results.append(evaluate_groups(scores, codes, groups, at, label=name))
    accepted = float((scores.similarities[~scores.mated] >= at).mean())
    return Groups(at, accepted, curve.mated, curve.nonmated, tuple(results))


def groups_of_embeddings(
    embedded: Embedded,
    labels: Labels,
    *,
    by: Sequence[str] | None = None,
    threshold: float | None = None,
    fmr: float | None = None,
) -> Groups:
    """Measure all pairs of photos by group.

    The subject of a photo is what the labels say, else the first folder of its name (``ada/1.jpg``), else what stands
    before LFW's number (``Ada_Lovelace_0001``).

    Raises
    ------
    InputError
        If the subject of a photo can't be told, a label is missing, or the pairs are too few for ``fmr``.
    """
    subjects = [labels.subjects.get(name) or subject_of(name) for name in embedded.names]
    keys = embedded.names if labels.key == "photo" else subjects
    person = np.unique(subjects, return_inverse=True)[1]
    chosen = {name: _numbered(name, labels.of(name, keys)) for name in _chosen(by, list(labels.labels))}
    nonmated = nonmated_count(np.bincount(person))
    _check(threshold, fmr, nonmated)
    fars, given = ([fmr], []) if fmr is not None else ([], [threshold or 0.0])
    whole = evaluate_all_pairs(embedded.vectors, person, fars, found=embedded.found, thresholds=given, repeats=1)
    at = threshold if fmr is None else whole.rates[0].threshold
    assert at is not None
    results = tuple(
        evaluate_groups_of_all(embedded.vectors, person, codes, names, at, found=embedded.found, label=name)
        for name, (codes, names) in chosen.items()
    )
    return Groups(at, whole.curve.at(at)[0], whole.mated, whole.nonmated, results)


def subject_of(photo: str) -> str:
    """Return whose photo it is by its name.

    Raises
    ------
    InputError
        If the name doesn't tell.

    Examples
    --------
    >>> subject_of("ada/1.jpg"), subject_of("Ada_Lovelace_0001")
    ('ada', 'Ada_Lovelace')
    """
    folder, slash, _ = photo.partition("/")
    if slash:
        return folder
    found = _LFW.fullmatch(photo)
    if found is None:
        raise InputError(
            f"the photo {photo[:80]!r} does not tell its subject, as ada/1.jpg or Ada_0001 do: add a column 'subject' "
            "to labels by photo"
        )
    return found[1]


def _check(threshold: float | None, fmr: float | None, nonmated: int) -> None:
    if (threshold is None) == (fmr is None):
        raise InputError("one global threshold is needed: give a threshold or a false match rate, not both")
    if fmr is not None and not 0 < fmr < 1:
        raise InputError(f"a false match rate lies between 0 and 1, not {fmr:g}")
    if fmr is not None and fmr < least_measurable(nonmated) * (1 - 1e-9):
        raise InputError(
            f"{nonmated:,} non-mated pairs can't show a false match rate of {fmr:g}: that takes {trials_needed(fmr):,} "
            "(rule of three)"
        )


def _chosen(by: Sequence[str] | None, there: Sequence[str]) -> list[str]:
    if not by:
        return list(there)
    lower = {name.lower(): name for name in there}
    for name in by:
        if name.lower() not in lower:
            raise InputError(f"there is no label {name!r}; there are: {', '.join(there)}")
    return list(dict.fromkeys(lower[name.lower()] for name in by))


def _numbered(name: str, texts: npt.NDArray[np.str_]) -> tuple[npt.NDArray[np.intp], tuple[str, ...]]:
    try:
        return numbered(texts)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None

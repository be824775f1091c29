"""`Predictions`: what a classifier answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.classification.methods import Floats, Ints

__all__ = ["Predictions"]


@dataclass(frozen=True, eq=False)
class Predictions:
    """Who each face is: n rows over the classifier's K people.

    Attributes
    ----------
    people
        The K names.
    best
        Int64 ``(n,)``: each row's most probable person, as index into ``people``, reject or not.
    known
        Bool ``(n,)``: whether ``similarities`` reaches the threshold. False means unknown.
    similarities
        Float64 ``(n,)``: cosine with the nearest template of the person in ``best``.
    scores
        Float64 ``(n, K)``: the method's own scores; see `visavis.classification.methods`.
    probabilities
        Float64 ``(n, K)``: of each name; what a row lacks to 1 is the probability that it is nobody of them, where half
        of the faces are strangers'. NaN where the training photos were too few to tell (one of each person).
    threshold, fpir
        What ``similarities`` must reach, and the expected share of strangers who do; see `Reject`.
    model
        Card id and variant of the recognizer.
    """

    people: tuple[str, ...]
    best: Ints
    known: npt.NDArray[np.bool_]
    similarities: Floats
    scores: Floats
    probabilities: Floats
    threshold: float
    fpir: float | None
    model: str

    def __len__(self) -> int:
        return len(self.best)

    @property
    def subjects(self) -> tuple[str | None, ...]:
        """Name of each row's person, None where it is unknown."""
        return tuple(
            self.people[i] if k else None for i, k in zip(self.best.tolist(), self.known.tolist(), strict=True)
        )

    def to_dict(self, top: int = 1) -> list[dict[str, Any]]:
        """Return one JSON-ready dict a row: subject or None, similarity, and the ``top`` most probable people."""
        rows = []
        for i, subject in enumerate(self.subjects):
            ranked = np.argsort(-self.scores[i], kind="stable")[:top].tolist()
            candidates = [
                {"subject": self.people[j], "probability": _plain(self.probabilities[i, j]), "score": float(s)}
                for j, s in zip(ranked, self.scores[i, ranked], strict=True)
            ]
            similarity = round(float(self.similarities[i]), 4)
            rows.append({"subject": subject, "similarity": similarity, "candidates": candidates})
        return rows


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)

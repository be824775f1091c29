"""`Classifier`: trained on embeddings, names others, and is kept as plain arrays."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from visavis.classification.methods import Floats, Ints, Scorer, blocks, fit, own_similarity, require
from visavis.classification.predictions import Predictions
from visavis.classification.probabilities import Confidence, confidence
from visavis.classification.reject import Reject, closest_others, reject
from visavis.errors import InputError, UnknownSubject
from visavis.models.cards import Calibration
from visavis.models.store import calibration_of
from visavis.names import checked_name
from visavis.recognition.compare import DEFAULT_FPIR
from visavis.types import Embeddings

__all__ = ["Classifier", "Validation", "same_pictures"]

_FOLDS = 5
_HELD_OUT = 2**23  # scores kept of held-out photos: 64 MB
_SAME = 1 - 1e-6  # similarity of one picture with itself, after rounding


@dataclass(frozen=True)
class Validation:
    """How a classifier did on photos it had not seen, by cross-validation while it was trained.

    Attributes
    ----------
    photos, people
        How many photos were held out, of how many people: those with two photos or more.
    right
        Share of them whose most probable name was right, reject or not.
    named
        Share of them that got the right name (TPIR): right, and above the threshold.
    """

    photos: int
    people: int
    right: float
    named: float


@dataclass(frozen=True, eq=False)
class Classifier:
    """Names faces by their embeddings. Made by `train` or `load`; predicting takes numpy alone.

    It holds the templates (embeddings) of everyone it was trained on: biometric data.

    Attributes
    ----------
    method
        ``"knn"``, ``"svm"`` or ``"rbf"``.
    people
        Their names, sorted.
    templates, owners
        What it was trained on: `Embeddings` of t rows, and the index of each one's person, int64 ``(t,)``.
    scorer
        The method's arrays.
    reject
        The threshold, and what it stands for.
    confidence
        What makes probabilities; None where too few photos were there to fit it.
    validation
        Accuracy by cross-validation; None where everyone has one photo.
    settings
        What it was trained with: ``neighbors``, ``c``, ``gamma``, ``fpir``, ``threshold``, ``reject``.
    made_with
        Versions of the libraries it was trained with, and ``calibrated_as``: the calibration, where there was one.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> faces = Embeddings.normalized(np.repeat(np.eye(2, 8), 4, axis=0) + rng.normal(0, 0.1, (8, 8)), "mine")
    >>> classifier = Classifier.train(faces, ["ada"] * 4 + ["bob"] * 4, threshold=0.5)
    >>> classifier.predict(Embeddings(np.eye(3, 8, dtype=np.float32), "mine")).subjects
    ('ada', 'bob', None)
    """

    method: str
    people: tuple[str, ...]
    templates: Embeddings
    owners: Ints
    scorer: Scorer
    reject: Reject
    confidence: Confidence | None
    validation: Validation | None
    settings: Mapping[str, Any]
    made_with: Mapping[str, str]

    @classmethod
    def train(
        cls,
        embeddings: Embeddings,
        subjects: Sequence[str],
        *,
        method: str = "knn",
        fpir: float = DEFAULT_FPIR,
        threshold: float | None = None,
        reject: str = "auto",
        neighbors: int = 5,
        c: float = 1.0,
        gamma: float = 1.0,
        calibration: Calibration | Literal["card"] | None = "card",
    ) -> Classifier:
        """Train a classifier.

        Parameters
        ----------
        embeddings
            A row a photo. A picture given twice for one person counts once.
        subjects
            Each row's person. One photo of a person is enough to name them, two to measure how well.
        method
            ``"knn"``, ``"svm"`` (linear) or ``"rbf"``. The SVMs need scikit-learn, and two people.
        fpir
            Share of strangers' faces that may get a name.
        threshold
            Similarity to reach instead of ``fpir``.
        reject
            Where the threshold for ``fpir`` comes from: ``"people"`` learns it by leaving people out,
            ``"calibration"`` takes the recognizer's measured FMR, ``"auto"`` the former where there are photos enough.
        neighbors
            k of kNN.
        c, gamma
            Of the SVMs; the defaults are scikit-learn's (whose ``gamma="scale"`` comes to 1 for unit vectors).
        calibration
            The recognizer's with the landmarks that laid the crops (`Analyzer.calibration`); ``"card"`` takes that of
            its card, which rests on YuNet's. None: it was not calibrated so.

        Raises
        ------
        InputError
            If there is nothing to train on, one picture belongs to two people, a setting is out of range, or there is
            no way to the FPIR wanted.
        ModelError
            If scikit-learn is needed and missing.
        """
        settings = _checked(neighbors, c, gamma)
        people, owners = _people(subjects, len(embeddings))
        require(method, len(people))
        kept = _once(embeddings, owners, people)
        embeddings, owners = embeddings[kept], owners[kept]
        vectors = embeddings.vectors.astype(np.float64)
        if calibration == "card":
            calibration = calibration_of(embeddings.model)
        others = closest_others(vectors, owners)[0] if len(people) > 1 else np.empty(0)
        rejecting = _reject(others, reject, fpir, threshold, calibration, embeddings)
        scorer = fit(method, settings, vectors, owners, len(people))
        held, scores, similarity = _held_out(method, settings, vectors, owners, len(people))
        right = scores.argmax(axis=1) == owners[held] if len(held) else np.empty(0, bool)
        return cls(
            method=method,
            people=people,
            templates=embeddings,
            owners=owners,
            scorer=scorer,
            reject=rejecting,
            confidence=confidence(scores, owners[held], similarity, others),
            validation=Validation(
                len(held),
                len(np.unique(owners[held])),
                float(right.mean()),
                float((right & (similarity >= rejecting.threshold)).mean()),
            )
            if len(held)
            else None,
            settings=MappingProxyType({**settings, "fpir": fpir, "threshold": threshold, "reject": reject}),
            made_with=MappingProxyType(
                _versions(method) | ({} if calibration is None else {"calibrated_as": calibration.model})
            ),
        )

    def predict(self, embeddings: Embeddings) -> Predictions:
        """Name faces.

        Raises
        ------
        ModelMismatch
            If the embeddings are not of the recognizer it was trained with.
        """
        if len(embeddings) or embeddings.model != self.templates.model:
            self.templates.require_same_model(embeddings)
        vectors = embeddings.vectors.astype(np.float64).reshape(len(embeddings), self.templates.dimension)
        scores = self.scorer.scores(vectors)
        best = scores.argmax(axis=1).astype(np.int64)
        similarity = own_similarity(vectors, self._vectors, self.owners, best)
        return Predictions(
            people=self.people,
            best=best,
            known=similarity >= self.reject.threshold,
            similarities=similarity,
            scores=scores,
            probabilities=np.full(scores.shape, np.nan)
            if self.confidence is None
            else self.confidence.probabilities(similarity, scores),
            threshold=self.reject.threshold,
            fpir=self.reject.fpir,
            model=self.templates.model,
        )

    def forget(self, subject: str) -> Classifier:
        """Return a classifier trained anew without a person: nothing in it was learnt from them.

        Raises
        ------
        UnknownSubject
            If there is no such person.
        InputError
            If nobody would be left, or one person for an SVM.
        ModelError
            If scikit-learn is needed (for SVMs) and missing.
        """
        name = checked_name(subject)
        if name not in self.people:
            raise UnknownSubject(f"{name!r} is not among the classifier's {len(self.people)} people")
        if len(self.people) == 1:
            raise InputError(f"{name!r} is the only person in the classifier; delete its file instead")
        rows = np.flatnonzero(self.owners != self.people.index(name))
        calibrated_as = self.made_with.get("calibrated_as")
        return Classifier.train(
            self.templates[rows],
            [self.people[i] for i in self.owners[rows]],
            method=self.method,
            calibration=None if calibrated_as is None else calibration_of(calibrated_as),
            **self.settings,
        )

    @property
    def counts(self) -> dict[str, int]:
        """How many templates each person has."""
        return dict(zip(self.people, np.bincount(self.owners, minlength=len(self.people)).tolist(), strict=True))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a file, in one step and readable by its owner alone; see docs/classification.md.

        Raises
        ------
        StorageError
            If the file can't be written.
        """
        from visavis.classification.storage import write

        write(self, path)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Classifier:
        """Read a file made by `save`. Nothing in it is run, and its sizes are checked before anything is made of it.

        Raises
        ------
        InputError
            If it is missing, not a classifier, damaged, or written by a newer visavis.
        """
        from visavis.classification.storage import read

        return read(path)

    @cached_property
    def _vectors(self) -> Floats:
        return self.templates.vectors.astype(np.float64)


def _checked(neighbors: int, c: float, gamma: float) -> dict[str, Any]:
    if not 1 <= neighbors <= 10_000:
        raise InputError(f"neighbors must lie in 1..10000, not {neighbors}")
    for name, value in (("c", c), ("gamma", gamma)):
        if not 1e-6 <= value <= 1e6:
            raise InputError(f"{name} must lie in 1e-6..1e6, not {value}")
    return {"neighbors": int(neighbors), "c": float(c), "gamma": float(gamma)}


def _people(subjects: Sequence[str], rows: int) -> tuple[tuple[str, ...], Ints]:
    if isinstance(subjects, str) or len(subjects) != rows:
        raise InputError(f"subjects must be {rows} names, one an embedding, not {len(subjects)}")
    if not rows:
        raise InputError("there are no embeddings to train on")
    names = [checked_name(subject) for subject in subjects]
    people = tuple(sorted(set(names)))
    number = {name: i for i, name in enumerate(people)}
    return people, np.array([number[name] for name in names], np.int64)


def same_pictures(embeddings: Embeddings) -> Ints:
    """Return for each row the first row that is of the same picture, int64 ``(n,)``: itself, mostly."""
    vectors = embeddings.vectors
    first = np.empty(len(vectors), np.int64)
    for part in blocks(len(vectors), len(vectors)):
        first[part] = (vectors[part] @ vectors.T >= _SAME).argmax(axis=1)
    return first


def _once(embeddings: Embeddings, owners: Ints, people: Sequence[str]) -> Ints:
    """Return the rows that are not one picture a second time; refuse a picture of two people."""
    first = same_pictures(embeddings)
    wrong = np.flatnonzero(owners[first] != owners)
    if len(wrong):
        a, b = int(first[wrong[0]]), int(wrong[0])
        raise InputError(
            f"rows {a} and {b} are the same picture, of {people[owners[a]]!r} and of {people[owners[b]]!r}; "
            "take out the wrong one"
        )
    return np.flatnonzero(first == np.arange(len(first)))


def _reject(
    others: Floats,
    rule: str,
    fpir: float,
    threshold: float | None,
    calibration: Calibration | None,
    embeddings: Embeddings,
) -> Reject:
    return reject(
        others,
        rule=rule,
        fpir=fpir,
        threshold=threshold,
        calibration=calibration,
        templates=len(embeddings),
        model=embeddings.model,
    )


def _held_out(
    method: str, settings: dict[str, Any], vectors: Floats, owners: Ints, people: int
) -> tuple[Ints, Floats, Floats]:
    """Cross-validate: return the rows held out, their scores, and their similarity with the person named."""
    folds = _folds(owners)
    held = np.flatnonzero(folds >= 0)
    most = max(_HELD_OUT // people, 1)
    if len(held) > most:  # a sample tells as much, and scores of all by all would not fit into memory
        folds[np.random.default_rng(1).permutation(held)[most:]] = -1
    rows, scores, similarity = [], [np.empty((0, people))], [np.empty(0)]
    for fold in range(_FOLDS):
        held, rest = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        if len(held):
            found = fit(method, settings, vectors[rest], owners[rest], people).scores(vectors[held])
            rows.append(held)
            scores.append(found)
            similarity.append(own_similarity(vectors[held], vectors[rest], owners[rest], found.argmax(axis=1)))
    return np.concatenate([*rows, np.empty(0, np.int64)]), np.concatenate(scores), np.concatenate(similarity)


def _folds(owners: Ints) -> Ints:
    """Deal each person's photos over the folds, so that some are always left; -1 for who has one photo only."""
    rng = np.random.default_rng(0)
    folds = np.full(len(owners), -1, np.int64)
    for start, person in enumerate(np.unique(owners)):
        rows = rng.permutation(np.flatnonzero(owners == person))
        if len(rows) > 1:
            folds[rows] = (start + np.arange(len(rows))) % _FOLDS
    return folds


def _versions(method: str) -> dict[str, str]:
    found = {}
    for package in ("visavis", "numpy", *(() if method == "knn" else ("scikit-learn",))):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found

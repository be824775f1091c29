"""The rates of an evaluation, against scikit-learn's."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix

from classification.conftest import made_up, names_of
from visavis.classification import Classifier, Evaluation, Predictions, evaluate
from visavis.errors import InputError

UNKNOWN = "unknown"


@pytest.fixture(scope="module")
def hard() -> tuple[Predictions, list[str]]:
    """Return predictions with every kind of mistake: people who hardly resemble themselves."""
    everybody, names = made_up(30, 10, noise=0.15), np.array(names_of(30, 10))
    rows = np.arange(300).reshape(30, 10)
    train = rows[:20, :4].ravel()
    probes = np.concatenate([rows[:20, 4:].ravel(), rows[20:].ravel()])
    classifier = Classifier.train(everybody[train], names[train].tolist(), threshold=0.4)
    return classifier.predict(everybody[probes]), names[probes].tolist()


def test_the_rates(hard: tuple[Predictions, list[str]]) -> None:
    found, names = hard
    result = evaluate(found, names)
    truth = [name if name in found.people else UNKNOWN for name in names]
    said = [subject or UNKNOWN for subject in found.subjects]
    assert result.accuracy.value == pytest.approx(accuracy_score(truth, said))
    assert result.balanced_accuracy == pytest.approx(balanced_accuracy_score(truth, said))
    table = confusion_matrix(truth, said, labels=[*found.people, UNKNOWN])
    assert result.fnir is not None
    assert result.fpir is not None
    assert result.misidentified is not None
    assert result.rank1 is not None
    known = table[:-1]
    assert result.fnir.value == pytest.approx(1 - np.trace(known) / known.sum())
    assert result.misidentified.value == pytest.approx((known[:, :-1].sum() - np.trace(known)) / known.sum())
    assert result.fpir.value == pytest.approx(table[-1, :-1].sum() / table[-1].sum())
    first = np.array(found.people)[found.best]
    mated = np.array([name in found.people for name in names])
    assert result.rank1.value == pytest.approx((first == np.array(names))[mated].mean())
    assert (result.faces, result.strangers) == (120, 100)
    for rate in (result.accuracy, result.fnir, result.fpir, result.misidentified, result.rank1):
        assert 0 < rate.value < 1  # each kind of mistake is there, else this would show little
        assert rate.low < rate.value < rate.high


def test_people_and_confusions_add_up(hard: tuple[Predictions, list[str]]) -> None:
    found, names = hard
    result = evaluate(found, names)
    assert len(result.people) == 30
    assert sum(one.enrolled for one in result.people) == 20
    assert sum(one.faces for one in result.people) == len(names)
    for one in result.people:
        parts = (one.right, one.wrong, one.unknown) if one.enrolled else (one.right, one.wrong)
        assert sum(parts) == one.faces
    shares = [one.right / one.faces for one in result.people]
    assert shares == sorted(shares)
    wrong = round((1 - result.accuracy.value) * len(names))
    assert sum(one.faces for one in result.confusions) == wrong
    counts = [one.faces for one in result.confusions]
    assert counts == sorted(counts, reverse=True)
    assert all(one.subject != one.taken_for for one in result.confusions)


def test_it_is_json(hard: tuple[Predictions, list[str]]) -> None:
    document = json.loads(json.dumps(evaluate(*hard).to_dict(), allow_nan=False))
    assert document["accuracy"]["low"] < document["accuracy"]["value"]
    assert document["people"][0]["subject"]


def test_only_known_or_only_strangers(hard: tuple[Predictions, list[str]]) -> None:
    found, names = hard
    everybody: Evaluation = evaluate(found, ["nobody known"] * len(names))
    assert (everybody.faces, everybody.rank1, everybody.fnir, everybody.misidentified) == (0, None, None, None)
    assert everybody.fpir is not None
    assert everybody.fpir.value == pytest.approx(found.known.mean())
    known = evaluate(found, [found.people[0]] * len(names))
    assert known.fpir is None
    assert known.strangers == 0


def test_mistakes(hard: tuple[Predictions, list[str]]) -> None:
    found, names = hard
    with pytest.raises(InputError, match="subjects must be 220 names"):
        evaluate(found, names[:-1])
    classifier = Classifier.train(made_up(2, 2), names_of(2, 2), threshold=0.4)
    with pytest.raises(InputError, match="no faces to evaluate"):
        evaluate(classifier.predict(made_up(2, 2)[:0]), [])

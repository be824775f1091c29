"""The threshold lets through the share of strangers that it says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from classification.conftest import People, made_up, names_of
from visavis.classification import Classifier, closest_others
from visavis.classification.reject import Reject, reject
from visavis.errors import InputError
from visavis.models.cards import Calibration, builtin_cards
from visavis.recognition.compare import fmr_at, operating_point

TABLE = builtin_cards()["sface"].calibrations["sface"]


def found(strangers: np.ndarray, calibration: Calibration | None = TABLE, **given: object) -> Reject:
    settings = {"rule": "auto", "fpir": 0.01, "threshold": None, "templates": 20, "model": "sface", **given}
    return reject(strangers, calibration=calibration, **settings)  # type: ignore[arg-type]


@given(n=st.integers(1, 400), fpir=st.floats(0.01, 0.5), seed=st.integers(0, 1000))
def test_the_rule_of_people(n: int, fpir: float, seed: int) -> None:
    similarities = np.random.default_rng(seed).uniform(-0.2, 0.6, n)
    if int(fpir * (n + 1) * (1 + 1e-9)) < 1:
        with pytest.raises(InputError, match="can't be learnt"):
            found(similarities, rule="people", fpir=fpir)
        return
    result = found(similarities, rule="people", fpir=fpir)
    assert result.fpir is not None
    above = round(result.fpir * (n + 1))
    assert result.fpir <= fpir * (1 + 1e-8)
    assert (similarities >= result.threshold).sum() == above - 1  # the j-th highest is just below
    assert result.photos == n


def test_a_further_stranger_exceeds_it_as_often_as_said() -> None:
    """Over many trainings, the FPIR measured on fresh people is the one expected."""
    hits = faces = 0
    for seed in range(20):
        everybody = made_up(200, 2, seed)
        rows = np.arange(400).reshape(200, 2)
        names = np.array(names_of(200, 2))
        train, strangers = rows[:60].ravel(), rows[60:, 0]
        classifier = Classifier.train(everybody[train], names[train].tolist(), fpir=0.1)
        assert classifier.reject.rule == "people"
        assert classifier.reject.fpir == pytest.approx(12 / 121)
        hits += int(classifier.predict(everybody[strangers]).known.sum())
        faces += len(strangers)
    # Photos of one person and thresholds of one training hang together: about 100 trials' worth of spread.
    low, high = binom.interval(0.999, 400, 12 / 121)
    assert low / 400 < hits / faces < high / 400


def test_the_rule_of_calibration(people: People) -> None:
    classifier = Classifier.train(people.train, people.names, reject="calibration", fpir=0.02)
    point = operating_point(TABLE, fpir=0.02, templates=18)
    assert (classifier.reject.threshold, classifier.reject.fmr) == (point.threshold, point.fmr)
    assert classifier.reject.fpir == pytest.approx(0.02)


def test_auto_learns_from_people_where_there_are_enough() -> None:
    few, many = np.linspace(0, 0.5, 298), np.linspace(0, 0.5, 299)
    assert found(few).rule == "calibration"
    assert found(many).rule == "people"
    assert found(many).fmr == pytest.approx(float(fmr_at(TABLE, found(many).threshold)))
    assert found(np.linspace(0, 0.5, 99), None).rule == "people"
    with pytest.raises(InputError, match=r"'sface' was not calibrated, and 98 photos .* \(it takes 99\)"):
        found(np.linspace(0, 0.5, 98), None)


def test_a_given_threshold() -> None:
    result = found(np.empty(0), threshold=0.4)
    assert (result.rule, result.threshold) == ("given", 0.4)
    assert result.fmr == pytest.approx(float(fmr_at(TABLE, 0.4)))
    assert found(np.empty(0), None, threshold=0.4) == Reject(0.4, "given", None, None)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rule": "magic"}, "reject must be one of auto, people, calibration"),
        ({"fpir": 0}, "fpir must lie between 0 and 1"),
        ({"fpir": float("nan")}, "fpir must lie between 0 and 1"),
        ({"threshold": 2}, "threshold is a cosine similarity"),
        ({"rule": "people", "fpir": 0.01}, "it takes 99"),
    ],
)
def test_mistakes(given: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        found(np.linspace(0, 0.5, 50), **given)


def test_closest_others(people: People) -> None:
    owners = np.unique(people.names, return_inverse=True)[1]
    vectors = people.train.vectors.astype(np.float64)
    similarity, index = closest_others(vectors, owners)
    for i in range(len(vectors)):
        others = [(float(vectors[i] @ vectors[j]), j) for j in range(len(vectors)) if owners[j] != owners[i]]
        assert (similarity[i], index[i]) == pytest.approx(max(others))
    assert closest_others(vectors[:2], np.zeros(2, int))[0].tolist() == [-1, -1]

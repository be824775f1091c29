"""Training, naming and forgetting, on real faces."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest

from classification.conftest import PEOPLE, People, made_up, names_of
from visavis.classification import METHODS, Classifier, same_pictures
from visavis.errors import InputError, ModelMismatch, UnknownSubject
from visavis.models.cards import builtin_cards
from visavis.types import Embeddings


@pytest.fixture(scope="module", params=METHODS)
def classifier(request: pytest.FixtureRequest, people: People) -> Classifier:
    return Classifier.train(people.train, people.names, method=request.param)


def test_it_names_the_known_and_rejects_strangers(classifier: Classifier, people: People) -> None:
    assert classifier.predict(people.probes).subjects == tuple(people.owners)
    strangers = classifier.predict(people.strangers)
    assert strangers.subjects == (None,) * len(people.strangers)
    assert not strangers.known.any()
    assert classifier.people == tuple(sorted(PEOPLE))
    assert classifier.counts == dict.fromkeys(sorted(PEOPLE), 3)


def test_probabilities_tell_them_apart(classifier: Classifier, people: People) -> None:
    known, strangers = classifier.predict(people.probes), classifier.predict(people.strangers)
    assert known.probabilities.shape == (6, 6)
    assert known.probabilities.max(axis=1).min() > 0.5 > strangers.probabilities.sum(axis=1).max()
    assert (known.probabilities.sum(axis=1) < 1).all()
    np.testing.assert_array_equal(known.probabilities.argmax(axis=1), known.best)


def test_the_reject_is_on_the_similarity_with_the_person_named(classifier: Classifier, people: People) -> None:
    found = classifier.predict(people.probes)
    for i, name in enumerate(people.owners):
        own = [row for row, owner in enumerate(people.names) if owner == name]
        best = float((people.train.vectors[own] @ people.probes.vectors[i]).max())
        assert found.similarities[i] == pytest.approx(best, abs=1e-6)
    assert (found.known == (found.similarities >= classifier.reject.threshold)).all()
    assert (found.threshold, found.fpir) == (classifier.reject.threshold, classifier.reject.fpir)


def test_the_validation_is_of_photos_held_out(classifier: Classifier, people: People) -> None:
    checked = classifier.validation
    assert checked is not None
    assert (checked.photos, checked.people) == (18, 6)
    assert checked.named <= checked.right <= 1
    assert checked.right > 0.9
    assert classifier.confidence is not None
    assert (classifier.confidence.mated, classifier.confidence.strangers) == (18, 18)


def test_to_dict(classifier: Classifier, people: People) -> None:
    (row,) = classifier.predict(people.probes[0]).to_dict(top=3)
    assert row["subject"] == people.owners[0] == row["candidates"][0]["subject"]
    assert len(row["candidates"]) == 3
    scores = [candidate["score"] for candidate in row["candidates"]]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= candidate["probability"] <= 1 for candidate in row["candidates"])


def test_no_faces(classifier: Classifier) -> None:
    assert len(classifier.predict(Embeddings(np.empty((0, 128), np.float32), "sface"))) == 0
    assert classifier.predict(Embeddings(np.empty((0, 0), np.float32), "sface")).subjects == ()


def test_embeddings_of_another_model(classifier: Classifier, people: People) -> None:
    with pytest.raises(ModelMismatch, match=r"'sface'.*'sface\+flip'"):
        classifier.predict(Embeddings(people.probes.vectors, "sface+flip"))


def test_forgetting_is_never_having_seen(classifier: Classifier, people: People) -> None:
    left = classifier.forget("Ali_Naimi")
    others = np.array([name != "Ali_Naimi" for name in people.names])
    names = [name for name in people.names if name != "Ali_Naimi"]
    fresh = Classifier.train(people.train[others], names, method=classifier.method)
    assert left.people == fresh.people
    assert (left.reject, left.confidence, left.validation) == (fresh.reject, fresh.confidence, fresh.validation)
    np.testing.assert_array_equal(left.templates.vectors, fresh.templates.vectors)
    mine, theirs = left.predict(people.strangers), fresh.predict(people.strangers)
    np.testing.assert_array_equal(mine.scores, theirs.scores)
    with pytest.raises(UnknownSubject, match="'Ali_Naimi' is not among the classifier's 5 people"):
        left.forget("Ali_Naimi")


def test_forgetting_keeps_the_settings() -> None:
    trained = Classifier.train(
        made_up(3, 3), names_of(3, 3), method="rbf", threshold=0.45, neighbors=3, c=7, gamma=0.5, fpir=0.2
    )
    assert dict(trained.forget("person 001").settings) == dict(trained.settings)
    assert trained.settings["threshold"] == 0.45


def test_crops_that_were_not_calibrated_have_no_rate(people: People) -> None:
    """Other landmarks lay other crops: the recognizer's own table says nothing of them."""
    with pytest.raises(InputError, match="'sface' was not calibrated"):
        Classifier.train(people.train, people.names, reject="calibration", calibration=None)
    given = Classifier.train(people.train, people.names, threshold=0.4, calibration=None)
    assert given.reject.fmr is given.reject.fpir is None
    assert given.forget(people.names[0]).reject == given.reject
    assert Classifier.train(people.train, people.names, threshold=0.4).reject.fmr is not None


def test_forgetting_keeps_to_the_landmarks_that_laid_the_crops(people: People) -> None:
    tables = builtin_cards()["sface"].calibrations
    trained = Classifier.train(people.train, people.names, reject="calibration", calibration=tables["sface@mtcnn"])
    assert trained.made_with["calibrated_as"] == "sface@mtcnn"
    others = [name != people.names[0] for name in people.names]
    names = [name for name in people.names if name != people.names[0]]
    settings = {"reject": "calibration", "calibration": tables["sface@mtcnn"]}
    fresh = Classifier.train(people.train[np.array(others)], names, **settings)  # type: ignore[arg-type]
    assert trained.forget(people.names[0]).reject == fresh.reject
    plain = Classifier.train(people.train[np.array(others)], names, reject="calibration")
    assert plain.reject.threshold < fresh.reject.threshold
    assert plain.made_with["calibrated_as"] == "sface"


def test_the_last_person_can_not_be_forgotten() -> None:
    alone = Classifier.train(made_up(1, 2), names_of(1, 2), threshold=0.5)
    with pytest.raises(InputError, match="delete its file"):
        alone.forget("person 000")
    pair = Classifier.train(made_up(2, 2), names_of(2, 2), method="svm", threshold=0.5)
    with pytest.raises(InputError, match="for one person, train knn"):
        pair.forget("person 000")


def test_one_person(people: People) -> None:
    """KNN with one person is verification: the calibration gives the threshold."""
    mine = np.array([name == PEOPLE[0] for name in people.names])
    classifier = Classifier.train(people.train[mine], [PEOPLE[0]] * 3)
    assert classifier.reject.rule == "calibration"
    assert classifier.predict(people.probes).subjects == (PEOPLE[0], *[None] * 5)
    assert classifier.confidence is None  # without other people nothing tells how often a name would be wrong
    assert np.isnan(classifier.predict(people.probes).probabilities).all()
    for method in ("svm", "rbf"):
        with pytest.raises(InputError, match="needs two or more"):
            Classifier.train(people.train[mine], [PEOPLE[0]] * 3, method=method)


@pytest.mark.parametrize("method", METHODS)
def test_one_photo_each(method: str, people: People) -> None:
    classifier = Classifier.train(people.train[::3], people.names[::3], method=method)
    assert classifier.validation is None
    assert classifier.confidence is None
    assert classifier.predict(people.probes).subjects == tuple(people.owners)
    (row,) = classifier.predict(people.probes[0]).to_dict()
    assert row["candidates"][0]["probability"] is None


@pytest.mark.parametrize("method", METHODS)
def test_some_with_one_photo(method: str, people: People) -> None:
    """Who has one photo is never held out, and named all the same."""
    kept = np.array([i for i in range(18) if i // 3 > 2 or i % 3 == 0])
    classifier = Classifier.train(people.train[kept], [people.names[i] for i in kept], method=method)
    assert classifier.validation is not None
    assert (classifier.validation.photos, classifier.validation.people) == (9, 3)
    assert classifier.predict(people.probes).subjects == tuple(people.owners)


def test_a_picture_given_twice_counts_once(people: People) -> None:
    twice = Embeddings.concat([people.train, people.train[:3]])
    classifier = Classifier.train(twice, [*people.names, *people.names[:3]])
    assert len(classifier.templates) == 18
    assert same_pictures(twice).tolist() == [*range(18), 0, 1, 2]


def test_a_picture_of_two_people_is_refused(people: People) -> None:
    twice = Embeddings.concat([people.train, people.train[:1]])
    with pytest.raises(InputError, match="rows 0 and 18 are the same picture, of 'Abel_Pacheco' and of 'someone'"):
        Classifier.train(twice, [*people.names, "someone"])


def test_names_in_any_script() -> None:
    names = ["王芳", "Zoë", "محمد", unicodedata.normalize("NFD", "Zoë")]
    classifier = Classifier.train(made_up(4, 1), names, threshold=0.5)
    assert classifier.people == tuple(sorted({"王芳", "Zoë", "محمد"}))
    assert classifier.counts["Zoë"] == 2


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"method": "forest"}, "method must be one of"),
        ({"neighbors": 0}, "neighbors must lie in"),
        ({"c": float("nan")}, "c must lie in"),
        ({"gamma": -1.0}, "gamma must lie in"),
        ({"fpir": 2.0, "threshold": None}, "fpir must lie"),
        ({"reject": "none"}, "reject must be one of"),
    ],
)
def test_settings_out_of_range(settings: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Classifier.train(made_up(2, 2), names_of(2, 2), **{"threshold": 0.5, **settings})  # type: ignore[arg-type]


def test_names_that_do_not_fit() -> None:
    with pytest.raises(InputError, match="subjects must be 4 names"):
        Classifier.train(made_up(2, 2), ["a"])
    with pytest.raises(InputError, match="subjects must be 4 names"):
        Classifier.train(made_up(2, 2), "abcd")
    with pytest.raises(InputError, match="no embeddings to train on"):
        Classifier.train(Embeddings(np.empty((0, 8), np.float32), "made-up"), [])
    with pytest.raises(InputError, match="control characters"):
        Classifier.train(made_up(2, 1), ["a", "b\tc"], threshold=0.5)


def test_of_very_many_photos_a_sample_is_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("visavis.classification.classifier._HELD_OUT", 100)
    classifier = Classifier.train(made_up(10, 4), names_of(10, 4), threshold=0.5)
    assert classifier.validation is not None
    assert classifier.validation.photos == 10
    assert classifier.validation.right == 1

"""The methods' scores are scikit-learn's, computed by numpy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

from classification.conftest import People, made_up, names_of
from visavis.classification import Classifier
from visavis.classification.methods import SHARPNESS, TOLERANCE, Knn, fit, own_similarity, require
from visavis.errors import InputError, ModelError


def reference(method: str) -> SVC:
    return SVC(C=1.0, kernel={"svm": "linear", "rbf": "rbf"}[method], gamma=1.0, class_weight="balanced", tol=TOLERANCE)


def test_knn_votes_as_scikit_learn_does(people: People) -> None:
    classifier = Classifier.train(people.train, people.names)
    theirs = KNeighborsClassifier(5, metric="cosine", algorithm="brute", weights=lambda d: np.exp(-SHARPNESS * d))
    theirs.fit(people.train.vectors.astype(np.float64), people.names)
    for part in (people.probes, people.strangers):
        expected = theirs.predict_proba(part.vectors.astype(np.float64))
        np.testing.assert_allclose(classifier.predict(part).scores, expected, atol=1e-6)
    assert list(theirs.classes_) == list(classifier.people)


@given(people=st.integers(1, 6), photos=st.integers(1, 4), k=st.integers(1, 30), seed=st.integers(0, 1000))
@settings(max_examples=40)
def test_knn_on_any_numbers(people: int, photos: int, k: int, seed: int) -> None:
    vectors = made_up(people, photos, seed).vectors.astype(np.float64)
    probes = made_up(5, 1, seed + 1).vectors.astype(np.float64)
    owners = np.repeat(np.arange(people), photos)
    ours = Knn(vectors, owners, people, k).scores(probes)
    k = min(k, len(vectors))
    theirs = KNeighborsClassifier(k, metric="cosine", algorithm="brute", weights=lambda d: np.exp(-SHARPNESS * d))
    np.testing.assert_allclose(ours, theirs.fit(vectors, owners).predict_proba(probes), atol=1e-6)
    np.testing.assert_allclose(ours.sum(axis=1), 1)


@pytest.mark.parametrize("method", ["svm", "rbf"])
def test_margins_are_those_of_scikit_learn(people: People, method: str, tmp_path: Path) -> None:
    classifier = Classifier.train(people.train, people.names, method=method)
    theirs = OneVsRestClassifier(reference(method)).fit(people.train.vectors.astype(np.float64), people.names)
    classifier.save(tmp_path / "people.vvc")
    loaded = Classifier.load(tmp_path / "people.vvc")
    for part in (people.probes, people.strangers):
        expected = theirs.decision_function(part.vectors.astype(np.float64))
        np.testing.assert_allclose(classifier.predict(part).scores, expected, atol=1e-6)
        np.testing.assert_array_equal(loaded.predict(part).scores, classifier.predict(part).scores)


@pytest.mark.parametrize("method", ["svm", "rbf"])
def test_two_people_have_opposite_margins(method: str) -> None:
    vectors = made_up(2, 3).vectors.astype(np.float64)
    owners = np.repeat([0, 1], 3)
    machine = fit(method, {"c": 1.0, "gamma": 1.0}, vectors, owners, 2)
    probes = made_up(2, 5, seed=0, noise=0.1).vectors.astype(np.float64)
    expected = reference(method).fit(vectors, owners).decision_function(probes)
    np.testing.assert_allclose(machine.scores(probes), np.column_stack([-expected, expected]), atol=1e-6)


def test_a_single_good_photo_is_not_outvoted() -> None:
    first = np.eye(8)[0]
    rest = np.array([[0.4, (1 - 0.16) ** 0.5, *[0] * 6]] * 4)
    knn = Knn(np.vstack([first, rest]), np.array([0, 1, 1, 1, 1]), 2, 5)
    assert knn.scores(np.array([[0.9, (1 - 0.81) ** 0.5, *[0] * 6]])).argmax() == 0


def test_the_similarity_is_with_the_person_named(people: People) -> None:
    vectors = people.train.vectors.astype(np.float64)
    owners = np.unique(people.names, return_inverse=True)[1]
    for named in range(owners.max() + 1):
        mine = own_similarity(vectors, vectors[owners == named], owners[owners == named], np.full(len(vectors), named))
        all_of_them = own_similarity(vectors, vectors, owners, np.full(len(vectors), named))
        np.testing.assert_allclose(all_of_them, mine)
        np.testing.assert_allclose(mine[owners == named], 1, atol=1e-6)


def test_large_tables_are_cut_into_blocks(monkeypatch: pytest.MonkeyPatch, people: People) -> None:
    whole = {method: Classifier.train(people.train, people.names, method=method) for method in ("knn", "rbf")}
    expected = {method: one.predict(people.strangers) for method, one in whole.items()}
    monkeypatch.setattr("visavis.classification.methods._CELLS", 40)
    for method, one in whole.items():
        found = one.predict(people.strangers)
        np.testing.assert_allclose(found.scores, expected[method].scores)
        np.testing.assert_allclose(found.similarities, expected[method].similarities)


def test_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("visavis.classification.methods.find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"pip install 'visavis\[classify\]'"):
        require("svm", 2)
    require("knn", 2)


def test_what_a_method_needs() -> None:
    with pytest.raises(InputError, match="method must be one of knn, svm, rbf, not 'tree'"):
        require("tree", 3)
    with pytest.raises(InputError, match="needs two or more; for one person, train knn"):
        require("rbf", 1)


def test_predicting_takes_no_scikit_learn(tmp_path: Path) -> None:
    Classifier.train(made_up(4, 3), names_of(4, 3), method="rbf", threshold=0.5).save(tmp_path / "people.vvc")
    np.save(tmp_path / "probes.npy", made_up(4, 3).vectors)
    code = f"""
import sys
sys.modules["sklearn"] = None
import numpy as np
from visavis import Embeddings
from visavis.classification import Classifier
probes = Embeddings(np.load({str(tmp_path / "probes.npy")!r}), "made-up")
print(Classifier.load({str(tmp_path / "people.vvc")!r}).predict(probes).subjects[-1])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "person 003\n", done.stderr

"""Verification of models on pairs, against scikit-learn and NumPy."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from visavis.errors import InputError
from visavis.evaluation.rates import Scores
from visavis.protocols.embedding import Embedded
from visavis.protocols.pair_sets import PairSet, open_pair_set
from visavis.protocols.verification import ABSENT, compared, verify_all, verify_pairs, verify_scores
from visavis.protocols.verification_report import verification_document
from visavis.reporting.document import Pictures, Table
from visavis.reporting.page import render


@pytest.fixture(scope="module")
def data(lfw: zipfile.ZipFile) -> PairSet:
    """Return View 2 of lfw-dev."""
    return open_pair_set(Path(str(lfw.filename)))


def made_up(data: PairSet, model: str = "made-up", noise: float = 0.9, seed: int = 0) -> Embedded:
    """Return embeddings that lie around a direction a person; of every 50th photo none."""
    rng = np.random.default_rng(7)
    people = np.unique(np.array(data.photos.people), return_inverse=True)[1]
    directions = rng.standard_normal((people.max() + 1, 16))
    vectors = directions[people] + noise * np.random.default_rng(seed).standard_normal((len(people), 16))
    found = np.arange(len(people)) % 50 != 0
    vectors = np.where(found[:, None], vectors / np.linalg.norm(vectors, axis=1, keepdims=True), 0)
    return Embedded(tuple(data.photos.photos), vectors.astype(np.float32), found, model)


def similarities_of(embedded: Embedded, data: PairSet) -> np.ndarray:
    a, b = data.pairs.photos.T
    similarities = (embedded.vectors[a] * embedded.vectors[b]).sum(1).astype(np.float64)
    similarities[~(embedded.found[a] & embedded.found[b])] = ABSENT
    return similarities


def test_pairs_against_scikit_learn_and_by_hand(data: PairSet) -> None:
    embedded = made_up(data)
    shuffled = np.random.default_rng(1).permutation(len(embedded))
    mixed = Embedded(
        tuple(embedded.names[i] for i in shuffled), embedded.vectors[shuffled], embedded.found[shuffled], "made-up"
    )
    found = verify_pairs(mixed, data, (1e-1, 1e-2, 1e-6))
    similarities, mated, folds = similarities_of(embedded, data), data.pairs.mated, data.pairs.folds
    assert found.result.auc.value == pytest.approx(roc_auc_score(mated, similarities), abs=1e-6)
    right = []
    for fold in range(10):
        others = folds != fold
        candidates = np.unique(similarities[others])
        scores = [((similarities[others] >= t) == mated[others]).sum() for t in candidates]
        best = [t for t, score in zip(candidates, scores, strict=True) if score == max(scores)]
        middle = best[len(best) // 2]
        right.append(((similarities[~others] >= middle) == mated[~others]).mean())
    assert found.result.accuracy is not None
    assert found.result.accuracy.mean == pytest.approx(np.mean(right), abs=2e-3)
    at = {rate.far: rate for rate in found.result.rates}
    assert list(at) == [1e-1, 1e-2, 1e-6]
    refused = np.sort(similarities[~mated])[-int(1e-1 * (~mated).sum()) - 1]
    assert at[0.1].tar is not None
    assert at[0.1].tar.value == pytest.approx((similarities[mated] > refused).mean())
    assert at[1e-6].tar is None
    used = np.unique(data.pairs.photos)
    assert found.without == (~embedded.found[used]).sum()
    assert found.hard.nonmated_similarities[0] == pytest.approx(similarities[~mated].max())
    compared_mated = similarities[mated & (similarities != ABSENT)]
    assert found.hard.mated_similarities[0] == pytest.approx(compared_mated.min())


def test_photos_that_have_no_embedding_count(data: PairSet) -> None:
    embedded = made_up(data)
    few = Embedded(embedded.names[:3000], embedded.vectors[:3000], embedded.found[:3000], "few")
    found = verify_pairs(few, data)
    all_rejected = Embedded(embedded.names, embedded.vectors, embedded.found & (np.arange(len(embedded)) < 3000), "f")
    again = verify_pairs(all_rejected, data)
    assert found.without == again.without > 1000
    assert found.result.eer == again.result.eer
    other = Embedded(tuple(f"{name}.jpg" for name in embedded.names), embedded.vectors, embedded.found, "paths")
    with pytest.raises(InputError, match=r"none of the photos: its names are as '.*\.jpg', where '.*_0001'"):
        verify_pairs(other, data)


def test_constant_embeddings(data: PairSet) -> None:
    """Everybody alike: a pair is as good as any other, and nothing is divided by nothing."""
    n = len(data.photos.photos)
    same = Embedded(tuple(data.photos.photos), np.tile(np.float32([1, 0]), (n, 1)), np.ones(n, bool), "same")
    found = verify_pairs(same, data)
    assert (found.result.auc.value, found.result.eer.value) == (0.5, 0.5)
    assert found.result.accuracy is not None
    assert found.result.accuracy.mean == pytest.approx(0.5)
    assert any("the same" in text for text in found.result.warnings)
    document = verification_document([found], "same", [], photos=data.photos, pictures=False)
    assert b"<svg" in render(document)


def test_nan_embeddings_are_refused(data: PairSet) -> None:
    n = len(data.photos.photos)
    with pytest.raises(InputError, match="NaN"):
        Embedded(tuple(data.photos.photos), np.full((n, 2), np.nan, np.float32), np.ones(n, bool), "nan")


def test_view_1(data: PairSet) -> None:
    pairs = data.pairs
    half = pairs.folds < 5
    parts = [type(pairs)(pairs.photos[rows], pairs.mated[rows], pairs.folds[rows]) for rows in (half, ~half)]
    with_view1 = PairSet("x", data.photos, pairs, data.subjects, "central", view1=(parts[0], parts[1]))
    embedded = made_up(data)
    found = verify_pairs(embedded, with_view1).view1
    assert found is not None
    similarities = similarities_of(embedded, data)
    best = max(((similarities[half] >= t) == pairs.mated[half]).mean() for t in similarities[half])
    here = ((similarities[half] >= found.threshold) == pairs.mated[half]).mean()
    assert here == pytest.approx(best)
    there = ((similarities[~half] >= found.threshold) == pairs.mated[~half]).mean()
    assert found.accuracy.value == pytest.approx(there)


def test_all_pairs_against_brute_force(data: PairSet) -> None:
    rows = np.arange(0, len(data.photos.photos), 20)
    names, people = ([values[i] for i in rows] for values in (data.photos.photos, data.photos.people))
    embedded = made_up(data).at(names)
    found = verify_all(embedded, people, (1e-1, 1e-2, 1e-3))
    i, j = np.triu_indices(len(rows), 1)
    person = np.array(people)
    mated = person[i] == person[j]
    similarities = (embedded.vectors @ embedded.vectors.T)[i, j]
    similarities[~(embedded.found[i] & embedded.found[j])] = ABSENT
    assert (found.result.mated, found.result.nonmated) == (mated.sum(), (~mated).sum())
    assert found.without == (~embedded.found).sum()
    for rate in found.result.rates:
        assert rate.tar is not None
        allowed = int(rate.far * (~mated).sum())
        falling = np.sort(similarities[~mated])[::-1]
        reached = similarities[mated] > falling[allowed]
        assert rate.tar.value == pytest.approx(reached.mean(), abs=1 / mated.sum())
    np.testing.assert_allclose(found.hard.nonmated_similarities, np.sort(similarities[~mated])[::-1][:50], atol=1e-6)
    seen = np.sort(similarities[mated & (similarities != ABSENT)])[:50]
    np.testing.assert_allclose(found.hard.mated_similarities, seen, atol=1e-6)
    assert compared([found, found]) is None
    absent = Embedded(embedded.names, embedded.vectors, np.zeros(len(rows), bool), "none")
    with pytest.raises(InputError, match="none of the photos"):
        verify_all(absent, people)


def test_scores_of_any_scale() -> None:
    mated = np.array([True] * 40 + [False] * 60)
    similarities = np.r_[np.linspace(50, 90, 40), np.linspace(5, 60, 60)]
    found = verify_scores("theirs", Scores(similarities, mated), (0.1,))
    assert found.result.auc.value == pytest.approx(roc_auc_score(mated, similarities))
    assert (found.without, len(found.hard.mated), found.result.accuracy) == (0, 0, None)
    assert found.to_dict()["view1"] is None


def test_the_report(data: PairSet) -> None:
    found = [verify_pairs(made_up(data, "one"), data), verify_pairs(made_up(data, "two", 1.6, 1), data)]
    comparison = compared(found)
    assert comparison is not None
    accuracy = comparison.of("accuracy")[0]
    means = [one.result.accuracy.estimate.value for one in found if one.result.accuracy]
    assert abs(accuracy.difference) == pytest.approx(abs(means[1] - means[0]), abs=2e-3)
    document = verification_document(found, "lfw-dev", [("a", "b")], comparison=comparison, photos=data.photos)
    titles = [section.title for section in document.sections]
    assert titles == [
        "Rates",
        "Curves",
        "Do the models differ?",
        "Hardest pairs: one",
        "Hardest pairs: two",
    ]
    parts = [part for section in document.sections for part in section.parts]
    shown = [part for part in parts if isinstance(part, Pictures)]
    assert [len(part.rows) for part in shown] == [12] * 4
    assert shown[0].rows[0][0].image.shape == (250, 250, 3)
    plain = verification_document(found, "lfw-dev", [], photos=data.photos, pictures=False)
    kinds = {type(part) for section in plain.sections for part in section.parts}
    assert Pictures not in kinds
    listed = next(s for s in plain.sections if s.title.startswith("Hardest")).parts[0]
    assert isinstance(listed, Table)
    assert len(listed.rows) == 30
    first = found[0].hard.mated[0]
    assert list(listed.rows[0][:2]) == [data.photos.photos[i] for i in first]
    assert len(document.results["models"][0]["hardest"]["mated"]) == 50


def test_photos_that_have_gone_are_told_in_the_report(data: PairSet) -> None:
    class Gone:
        photos, people = data.photos.photos, data.photos.people

        def read(self, i: int) -> bytes:
            raise InputError("gone")

    found = verify_pairs(made_up(data), data)
    document = verification_document([found], "lfw-dev", [], photos=Gone())
    assert b"can&#39;t be read any more" in render(document)

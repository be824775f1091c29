"""Models side by side: the rates are those of the pairs, and a row that fails leaves the others alone."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest
from conftest import DATA

from visavis.datasets.lfw import Lfw, Pairs, central
from visavis.errors import EngineError, ModelError, UnknownModel
from visavis.evaluation.verification import tar_at_far, ten_fold
from visavis.models.store import Store
from visavis.pipeline import Analyzer
from visavis.protocols.comparison import FAR, Row, Running, choices, compare, measure


@pytest.fixture(scope="module")
def data(lfw: zipfile.ZipFile) -> Lfw:
    return Lfw.open(DATA / "lfw-dev.zip")


@pytest.fixture(scope="module")
def pairs(data: Lfw) -> Pairs:
    return data.view2().sample(40, seed=5)


@pytest.fixture(scope="module")
def running(home) -> Running:
    return Running(threads=1, store=Store(home))


@pytest.fixture(scope="module")
def row(data: Lfw, pairs: Pairs, running: Running) -> Row:
    heard: list[str] = []
    ((row,), failed) = compare("yunet", ["sface"], data, pairs, running, say=heard.append)
    assert failed == {}
    assert heard[0].startswith("yunet: 0 of ")
    return row


def test_rates_are_those_of_the_analyzer(row: Row, data: Lfw, pairs: Pairs, home) -> None:
    used = np.unique(pairs.photos)
    analyzer = Analyzer(threads=1, precision="f32", store=Store(home))
    faces = analyzer.analyze([data.read(i) for i in used])
    vectors = dict(zip(used, (central(found).embeddings.vectors[0] for found in faces), strict=True))
    similarities = np.array([float(vectors[a] @ vectors[b]) for a, b in pairs.photos])
    assert row.accuracy.value == pytest.approx(ten_fold(similarities, pairs.mated, pairs.folds).mean())
    others = [vectors[a] @ vectors[b] for a in used for b in used if a < b and data.people[a] != data.people[b]]
    assert row.tar.value == pytest.approx(tar_at_far(similarities[pairs.mated], others, FAR)[0])
    assert row.tar.low <= row.tar.value <= row.tar.high
    assert (row.photos, row.pairs, row.found) == (len(used), 40, 1.0)


def test_the_cost_and_the_terms(row: Row) -> None:
    assert row.ms is not None
    assert row.ms > 0
    assert row.peak_mb is not None
    assert 50 < row.peak_mb < 2000
    assert (row.license, row.commercial_use, row.problem) == ("MIT, Apache-2.0", True, "")
    assert row.to_dict()["accuracy"]["level"] == 0.95


def test_boxes_alone_get_their_points(data: Lfw, pairs: Pairs, running: Running) -> None:
    (row,), failed = compare("haar", ["sface"], data, pairs, running)
    assert failed == {}
    assert 0.8 < row.found <= 1
    assert row.accuracy.value > 0.8
    assert row.commercial_use is True


def test_a_photo_without_a_face_is_counted(data: Lfw, pairs: Pairs, running: Running, monkeypatch) -> None:
    import visavis.protocols.comparison as module

    real, seen = module._in_the_middle, []

    def some(faces, image):
        seen.append(None)
        return faces[:0] if len(seen) % 2 else real(faces, image)

    monkeypatch.setattr(module, "_in_the_middle", some)
    monkeypatch.setattr(module, "measure", lambda *_: (_ for _ in ()).throw(EngineError("no clock")))
    (row,), _ = compare("yunet", ["sface"], data, pairs, running)
    assert row.found == pytest.approx(0.5, abs=0.02)
    assert row.tar.value < 0.6
    assert (row.ms, row.problem) == (None, "no clock")


def test_a_recognizer_that_fails_leaves_the_others(data: Lfw, pairs: Pairs, running: Running, monkeypatch) -> None:
    from visavis.recognition.network import NetworkRecognizer

    monkeypatch.setattr("visavis.protocols.comparison.measure", lambda *_: (1.0, 2.0))
    real = NetworkRecognizer.embed

    def embed(self, crops):
        if self.model == "dlib-resnet":
            raise ModelError("dlib-resnet returned NaN")
        return real(self, crops)

    monkeypatch.setattr(NetworkRecognizer, "embed", embed)
    rows, failed = compare("yunet", ["dlib-resnet", "sface"], data, pairs, running)
    assert [row.recognizer for row in rows] == ["sface"]
    assert failed == {"dlib-resnet": "dlib-resnet returned NaN"}


def test_choices(home, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(home)
    names, left_out = choices(store, "detection")
    assert "yunet" in names
    assert not set(names) & set(left_out)
    assert choices(store, "recognition", ["sface", "sface"]) == (["sface"], {})
    with pytest.raises(UnknownModel, match="not a recognizer"):
        choices(store, "recognition", ["yunet"])
    monkeypatch.setattr("visavis.models.store._library_there", lambda card: not card.library)
    _, left_out = choices(store, "detection")
    assert left_out["hog"] == "hog needs the package dlib: pip install 'visavis[dlib]'"
    with pytest.raises(ModelError, match=r"visavis\[dlib\]"):
        choices(store, "detection", ["hog"])


def test_what_fails_in_a_process_of_its_own_is_said(running: Running, data: Lfw) -> None:
    with pytest.raises(EngineError, match=r"no detector 'yunett'"):
        measure("yunett", "sface", [data.read(0)], running)
    with pytest.raises(EngineError, match=r"not an image"):
        measure("yunet", "sface", [b"no image at all"], running)

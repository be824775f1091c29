"""Every registered landmark model keeps one contract, and is there from the analyzer to the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from visavis.analysis.landmarks import open_landmarker
from visavis.cli import app
from visavis.errors import ModelError, UnknownModel
from visavis.image import load_image, resize
from visavis.models.cards import builtin_cards
from visavis.models.session import EngineOptions
from visavis.pipeline import Analyzer
from visavis.types import Faces

LANDMARKS = sorted(card.id for card in builtin_cards().values() if card.task == "landmarks")
POINTS = {"dlib-5": {"landmarks_5": (5, 2)}, "dlib-68": {"landmarks_68": (68, 2)}}
POINTS["face-mesh"] = {"landmarks_468": (468, 3), "irises": (2, 5, 2)}


@pytest.fixture(autouse=True)
def _accepted(monkeypatch):
    monkeypatch.setenv("VISAVIS_ACCEPT_LICENSES", "dlib-68")


@pytest.fixture(scope="module")
def six(store):
    image = load_image(store.path("six-people"))
    return image, Analyzer(recognizer=None, store=store, threads=1, precision="f32").analyze(image)


def test_which_models_there_are():
    assert sorted(POINTS) == LANDMARKS


def test_the_sixty_eight_points_are_for_those_who_accept_their_license(store, monkeypatch, tmp_path):
    monkeypatch.delenv("VISAVIS_ACCEPT_LICENSES")
    card = builtin_cards()["dlib-68"]
    assert card.commercial_use is False
    assert "300-W" in card.license_note
    with pytest.raises(ModelError, match="may not be used commercially"):
        type(store)(tmp_path).path("dlib-68")


@pytest.mark.parametrize("name", LANDMARKS)
class TestContract:
    @pytest.fixture
    def model(self, name, store):
        return open_landmarker(name, store, EngineOptions.choose(threads=1, precision="f32"))

    @pytest.mark.parametrize("known", [True, False])
    def test_points_lie_on_the_face(self, name, model, six, known):
        image, faces = six
        found = model.locate(image, faces if known else faces.replace(landmarks=None))
        assert {trait: points.shape for trait, points in found.items()} == {
            trait: (6, *shape) for trait, shape in POINTS[name].items()
        }
        size = faces.boxes[:, 2:] - faces.boxes[:, :2]
        for points in found.values():
            assert points.dtype == np.float32
            flat = points[..., :2].reshape(6, -1, 2)
            assert (flat >= (faces.boxes[:, :2] - 0.4 * size)[:, None]).mean() > 0.99
            assert (flat <= (faces.boxes[:, 2:] + 0.4 * size)[:, None]).mean() > 0.99

    def test_five_points_are_where_the_detector_has_them(self, name, model, six):
        image, faces = six
        five = model.five(model.locate(image, faces))
        if name == "dlib-5":
            assert five is None
            return
        apart = np.linalg.norm(faces.landmarks[:, 1] - faces.landmarks[:, 0], axis=1)[:, None]
        off = np.linalg.norm(five - faces.landmarks, axis=-1) / apart
        assert np.median(off) < 0.15

    def test_no_faces_and_faces_without_landmarks(self, name, model, six):
        for empty in (Faces.empty(), Faces(np.empty((0, 4)), np.empty(0))):
            found = model.locate(six[0], empty)
            assert {trait: points.shape for trait, points in found.items()} == {
                trait: (0, *shape) for trait, shape in POINTS[name].items()
            }
            assert Faces(np.empty((0, 4)), np.empty(0), traits=found).traits.keys() == found.keys()

    def test_the_picture_is_left_as_it_was(self, name, model, six):
        image, faces = six
        before = image.copy()
        model.locate(image, faces)
        np.testing.assert_array_equal(image, before)

    def test_in_the_analyzer(self, name, store, six):
        image, _ = six
        analyzer = Analyzer(landmarks=name, store=store, threads=1, precision="f32")
        faces = analyzer.analyze(image)
        assert len(faces) == 6
        assert set(POINTS[name]) <= set(faces.traits)
        assert faces.embeddings is not None
        (streamed,) = analyzer.stream([image])
        for trait in POINTS[name]:
            np.testing.assert_allclose(streamed.faces.traits[trait], faces.traits[trait], atol=0.1)
        blank = analyzer.analyze(np.zeros((60, 60, 3), np.uint8))
        assert [blank.traits[trait].shape for trait in POINTS[name]] == [(0, *s) for s in POINTS[name].values()]

    def test_a_detector_of_boxes_alone(self, name, store, six):
        """Recognition gets five points from the model, or from the face mesh where it has none of a mouth."""
        image = resize(six[0], 640, 443)
        settings = {"detector": "haar", "store": store, "threads": 1, "precision": "f32"}
        boxes = Analyzer(**settings, recognizer=None).analyze(image)
        assert boxes.landmarks is None
        analyzer = Analyzer(**settings, landmarks=name)
        faces = analyzer.analyze(image)
        assert len(faces) == len(boxes) > 0
        assert set(faces.traits) == set(POINTS[name])
        x, y = faces.landmarks.mean(axis=1).T
        inside = (faces.boxes[:, 0] < x) & (x < faces.boxes[:, 2]) & (faces.boxes[:, 1] < y) & (y < faces.boxes[:, 3])
        assert inside.all()
        filled = Analyzer(**settings).analyze(image)
        same = (faces.embeddings.vectors * filled.embeddings.vectors).sum(axis=1)
        assert np.median(same) > (0.8 if name == "dlib-68" else 0.999)
        assert analyzer.analyze(np.zeros((60, 60, 3), np.uint8)).landmarks.shape == (0, 5, 2)

    def test_on_the_command_line(self, name, store, tmp_path):
        photo = store.path("obama")
        run = CliRunner().invoke(app, ["detect", str(photo), "--landmarks", name, "--json", "--out", str(tmp_path)])
        assert run.exit_code == 0, run.output
        (image,) = json.loads(run.stdout)["images"]
        traits = image["faces"][0]["traits"]
        assert {trait: np.shape(points) for trait, points in traits.items()} == POINTS[name]
        drawn, given = load_image(image["picture"]), load_image(photo)
        assert drawn.shape == given.shape
        five = np.array(image["faces"][0]["landmarks"])
        (x1, y1), (x2, y2) = five.min(axis=0).astype(int) - 20, five.max(axis=0).astype(int) + 20
        changed = (np.abs(drawn[y1:y2, x1:x2].astype(int) - given[y1:y2, x1:x2]).max(axis=-1) > 60).mean()
        assert 0.001 < changed < 0.3, "marks, and the face still to be seen"


def test_a_name_that_is_none(store):
    with pytest.raises(UnknownModel, match="did you mean face-mesh"):
        Analyzer(landmarks="face-mash", store=store)
    with pytest.raises(UnknownModel, match="not a landmark model"):
        Analyzer(landmarks="iris-net", store=store)

"""Recognizers: SFace like OpenCV's, the flipped variant, and networks that answer nonsense."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from visavis.alignment import align
from visavis.detection import open_detector
from visavis.errors import InputError, ModelError, UnknownModel
from visavis.models.session import EngineOptions
from visavis.recognition import open_recognizer
from visavis.recognition.network import NetworkRecognizer

F32 = EngineOptions("openvino", "cpu", "f32", 1)


@pytest.fixture(scope="module")
def sface(store):
    return open_recognizer("sface", store, F32)


@pytest.fixture(scope="module")
def crops(store, lfw_images):
    """Return aligned crops of 30 photos."""
    photos = lfw_images(40, seed=4)
    found = open_detector("yunet", store, F32).detect(photos)
    pairs = zip(photos, found, strict=True)
    return np.concatenate([align(photo, faces.landmarks[:1]) for photo, faces in pairs if len(faces)])[:30]


def cosine(a, b):
    return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def test_equals_opencv_on_the_same_crops(store, sface, crops):
    theirs = cv2.FaceRecognizerSF.create(str(store.path("sface")), "")
    expected = np.concatenate([theirs.feature(cv2.cvtColor(crop, cv2.COLOR_RGB2BGR)) for crop in crops])
    embeddings = sface.embed(crops)
    assert cosine(embeddings.vectors, expected).min() > 0.9999
    np.testing.assert_allclose(np.linalg.norm(embeddings.vectors, axis=1), 1, atol=1e-6)
    assert embeddings.model == "sface"


@pytest.mark.parametrize(
    ("engine", "precision", "least"), [("onnxruntime", "f32", 0.99999), ("openvino", "bf16", 0.995)]
)
def test_engines_agree(store, sface, crops, engine, precision, least):
    other = open_recognizer("sface", store, EngineOptions(engine, "cpu", precision, 1))
    assert cosine(sface.embed(crops).vectors, other.embed(crops).vectors).min() > least


def test_a_row_does_not_depend_on_its_batch(sface, crops):
    whole = sface.embed(crops).vectors
    for n in (1, 2, 7, 8, 9):
        np.testing.assert_allclose(sface.embed(crops[:n]).vectors, whole[:n], atol=1e-5)


def test_flip_is_the_sum_of_both_sides(store, sface, crops):
    flipped = open_recognizer("sface", store, F32, flip=True)
    made = flipped.embed(crops[:5])
    assert made.model == flipped.model == "sface+flip"
    mirrored = np.ascontiguousarray(crops[:5, :, ::-1])
    (a,), (b,) = (sface._session.run(side).values() for side in (crops[:5], mirrored))
    assert cosine(made.vectors, a + b).min() > 0.99999
    # A face and its mirror image have one and the same embedding.
    np.testing.assert_allclose(flipped.embed(mirrored).vectors, made.vectors, atol=1e-5)


def test_no_crops(store, sface):
    none = sface.embed(np.empty((0, 112, 112, 3), np.uint8))
    assert none.vectors.shape == (0, 128)
    assert none.model == "sface"


@pytest.mark.parametrize(
    "crops",
    [
        np.zeros((112, 112, 3), np.uint8),
        np.zeros((2, 112, 112), np.uint8),
        np.zeros((2, 160, 160, 3), np.uint8),
        np.zeros((2, 3, 112, 112), np.uint8),
        np.zeros((2, 112, 112, 3), np.float32),
        np.zeros((0, 64, 64, 3), np.uint8),
    ],
    ids=lambda a: f"{a.dtype}{a.shape}",
)
def test_crops_of_another_kind(sface, crops):
    with pytest.raises(InputError, match=r"sface takes uint8 crops \(n, 112, 112, 3\), not"):
        sface.embed(crops)


class Told:
    """A session that answers as told."""

    options = F32

    def __init__(self, *outputs):
        self.outputs = outputs

    def run(self, images):
        return {str(i): output for i, output in enumerate(self.outputs)}


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ([np.full((2, 128), np.nan)], "returned NaN, infinity or only zeros"),
        ([np.full((2, 128), np.inf)], "returned NaN"),
        ([np.stack([np.ones(128), np.zeros(128)])], "only zeros"),
        ([np.ones((1, 128))], r"one vector a crop, not \(1, 128\)"),
        ([np.ones((2, 128, 1, 1))], "one vector a crop"),
        ([np.ones((2, 128))] * 2, r"one vector a crop, not \(2, 128\), \(2, 128\)"),
        ([], "one vector a crop"),
    ],
)
def test_answers_that_are_no_embeddings(store, outputs, message):
    with pytest.raises(ModelError, match=message):
        NetworkRecognizer(store.card("sface"), Told(*outputs)).embed(np.zeros((2, 112, 112, 3), np.uint8))


def test_names_that_are_no_recognizer(store):
    with pytest.raises(UnknownModel, match=r"'yunet' is a model for detection, not a recognizer; recognizers: .*sface"):
        open_recognizer("yunet", store, F32)
    with pytest.raises(UnknownModel, match="no recognizer 'arcface'"):
        open_recognizer("arcface", store, F32)

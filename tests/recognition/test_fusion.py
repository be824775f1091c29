"""The fusion recognizer: its cosine is the parts' weighted mean, from one wide crop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visavis.alignment import TEMPLATES, align
from visavis.detection import open_detector
from visavis.errors import InputError, ModelError
from visavis.models.cards import builtin_cards
from visavis.models.loader import Loader
from visavis.models.session import EngineOptions
from visavis.recognition import fusion, open_recognizer
from visavis.recognition.fusion import FusionRecognizer, Part
from visavis.types import Embeddings

F32 = EngineOptions("openvino", "cpu", "f32", 1)
CARD = builtin_cards()["accurate"]


class Told:
    """A recognizer whose embeddings are the crop's mean colors, and which keeps what it was given."""

    alignment = "arcface-112"

    def __init__(self, size=56):
        self.model, self.size, self.seen = "told", size, []

    def embed(self, crops):
        self.seen.append(crops)
        return Embeddings.normalized(crops.reshape(len(crops), -1, 3).mean(axis=1) + 1e-3, self.model)


@pytest.fixture(scope="module")
def aligned(store, lfw_images):
    """Return photos with the landmarks of their first face."""
    photos = lfw_images(8, seed=21)
    found = open_detector("yunet", store, F32).detect(photos)
    return [(photo, faces.landmarks[:1]) for photo, faces in zip(photos, found, strict=True) if len(faces)]


@pytest.fixture(scope="module")
def wide(aligned):
    return np.concatenate([align(photo, points, "wide-224") for photo, points in aligned])


@pytest.fixture(scope="module")
def accurate(store):
    return open_recognizer("accurate", store, F32)


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_the_cosine_is_the_weighted_mean_of_the_parts(store, accurate, aligned, wide):
    made = accurate.embed(wide)
    assert made.model == "accurate"
    assert made.vectors.shape == (len(wide), CARD.dimension)
    expected = np.zeros((len(wide),) * 2)
    weights = CARD.settings["weights"]
    for name, weight in weights.items():
        part = open_recognizer(name, store, F32)
        vectors = part.embed(np.concatenate([align(*photo, part.alignment) for photo in aligned])).vectors
        if name in CARD.settings["centers"]:
            vectors = unit(vectors - np.array(CARD.settings["centers"][name]))
        expected += weight / sum(weights.values()) * vectors @ vectors.T
    # Crops cut from the wide one are a little smoother than those from the photo.
    np.testing.assert_allclose(made.vectors @ made.vectors.T, expected, atol=0.01)


def test_parts_see_what_they_would_see_alone(store, aligned, wide):
    for name in CARD.parts:
        part = open_recognizer(name, store, F32)
        direct = part.embed(np.concatenate([align(*photo, part.alignment) for photo in aligned])).vectors
        crops = fusion.cut(wide, fusion.between("wide-224", part), part.size)
        assert (part.embed(crops).vectors * direct).sum(axis=1).min() > 0.99, name


def test_a_face_and_its_mirror_image_are_one_with_flip(store, aligned):
    flipped = open_recognizer("accurate", store, F32, flip=True)
    assert flipped.model == "accurate+flip"
    photo, points = aligned[0]
    mirrored = points.copy()
    mirrored[..., 0] = photo.shape[1] - 1 - points[..., 0]
    mirrored = mirrored[:, [1, 0, 2, 4, 3]]
    sides = [(photo, points), (np.ascontiguousarray(photo[:, ::-1]), mirrored)]
    a, b = (flipped.embed(align(*side, "wide-224")).vectors[0] for side in sides)
    assert a @ b > 0.99


def test_a_row_does_not_depend_on_its_batch(accurate, wide):
    whole = accurate.embed(wide).vectors
    for n in (1, 3, 5):
        np.testing.assert_allclose(accurate.embed(wide[:n]).vectors, whole[:n], atol=1e-5)


def test_no_crops(accurate):
    none = accurate.embed(np.empty((0, 224, 224, 3), np.uint8))
    assert none.vectors.shape == (0, CARD.dimension)


@pytest.mark.parametrize(
    "crops",
    [np.zeros((1, 112, 112, 3), np.uint8), np.zeros((224, 224, 3), np.uint8), np.zeros((1, 224, 224, 3), np.float32)],
    ids=lambda a: f"{a.dtype}{a.shape}",
)
def test_crops_of_another_kind(crops):
    with pytest.raises(InputError, match=r"takes uint8 crops \(n, 224, 224, 3\), not"):
        FusionRecognizer("toy", "wide-224", [Part(Told(), 1.0)]).embed(crops)


def test_the_wide_crop_shows_all_that_its_parts_look_at(store):
    """No corner of a part's crop lies outside: it would be black, where the photo shows something."""
    for name in CARD.parts:
        part = open_recognizer(name, store, F32)
        matrix = fusion.between("wide-224", part)
        corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) * (part.size - 1)
        back = (corners - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
        assert back.min() >= 0, name
        assert back.max() <= TEMPLATES["wide-224"][0] - 1, name


def test_a_larger_scale_shows_less():
    told = Told()
    wide = np.zeros((1, 224, 224, 3), np.uint8)
    wide[:, 60:164, 60:164] = 255
    shown = [fusion.cut(wide, fusion.between("wide-224", told, scale), told.size).mean() for scale in (0.9, 1.0, 1.2)]
    assert shown[0] < shown[1] < shown[2]


def test_crops_at_several_scales_are_added(wide):
    told = Told()
    FusionRecognizer("toy", "wide-224", [Part(told, 1.0, (0.9, 1.1))]).embed(wide)
    assert [seen.shape for seen in told.seen] == [(len(wide), 56, 56, 3)] * 2
    assert (told.seen[0] != told.seen[1]).any()


@given(
    st.lists(st.floats(0.05, 1), min_size=1, max_size=4),
    st.integers(0, 2**32 - 1),
    st.booleans(),
)
def test_joined_vectors_are_the_weighted_mean(weights, seed, centered):
    rng = np.random.default_rng(seed)
    looks = [[rng.normal(size=(3, d + 2)).astype(np.float32)] for d in range(len(weights))]
    centers = [0.1 * rng.normal(size=d + 2) if centered else None for d in range(len(weights))]
    joined = fusion.fused(looks, weights, centers)
    expected = np.zeros((3, 3))
    for (vectors,), weight, center in zip(looks, weights, centers, strict=True):
        own = unit(unit(vectors) - (0 if center is None else center))
        expected += weight * own @ own.T
    np.testing.assert_allclose(joined @ joined.T, expected, atol=1e-4)


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [Part(Told(), 0.0)],
        [Part(Told(), float("nan"))],
        [Part(Told(), 1.0), Part(Told(), -1.0)],
        [Part(Told(), 1.0, ())],
    ],
)
def test_parts_that_can_not_be_joined(parts):
    with pytest.raises(ModelError, match="positive weights"):
        FusionRecognizer("toy", "wide-224", parts)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"weights": {"sface": 1.0}},
        {"weights": {**CARD.settings["weights"], "yunet": 1.0}},
        {**CARD.settings, "scales": {"yunet": [1.0]}},
        {**CARD.settings, "centers": {"yunet": [1.0]}},
    ],
)
def test_a_card_that_states_parts_and_weights_apart(store, settings):
    with pytest.raises(ModelError, match="each of its parts a weight: sface, mobilefacenet, dlib-resnet"):
        fusion.load(replace(CARD, settings=settings), Loader(store, F32))


def test_a_center_of_another_part(store):
    with pytest.raises(ModelError, match="center of 'sface' has 3 numbers, not 128"):
        fusion.load(
            replace(CARD, settings={**CARD.settings, "centers": {"sface": [0.1, 0.2, 0.3]}}), Loader(store, F32)
        )

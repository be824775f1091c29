"""MMOD gives dlib's own boxes and margins without dlib, on pictures of any size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visavis.detection import open_detector
from visavis.detection.margin import score_of
from visavis.detection.mmod import layout
from visavis.errors import InputError, ModelError
from visavis.geometry import intersection, iou
from visavis.image import load_image, resize
from visavis.models.session import EngineOptions


@pytest.fixture(scope="module")
def open_mmod(store):
    options = EngineOptions("openvino", "cpu", "f32", 1)
    return lambda **settings: open_detector("mmod", store, options, **settings)


@pytest.fixture(scope="module")
def six(store):
    return load_image(store.path("six-people"))


def test_the_same_boxes_and_margins_as_dlib(open_mmod, lfw_images, six, dlib_file):
    dlib = pytest.importorskip("dlib")
    reference = dlib.cnn_face_detection_model_v1(str(dlib_file("mmod")))
    images = [*lfw_images(4, seed=37), np.ascontiguousarray(six[260:450, 20:480])]
    count = 0
    for image, faces in zip(images, open_mmod().detect(images), strict=True):
        found = sorted(reference(image), key=lambda face: -face.confidence)
        sides = [(f.rect.left(), f.rect.top(), f.rect.right() + 1, f.rect.bottom() + 1) for f in found]
        boxes = np.clip(np.array(sides).reshape(-1, 4), 0, np.tile(image.shape[1::-1], 2))
        # dlib keeps the levels of the pyramid as fractions, and rounds its boxes to whole pixels.
        np.testing.assert_allclose(faces.boxes, boxes, atol=0.501)
        np.testing.assert_allclose(faces.scores, score_of([f.confidence for f in found]), atol=0.01)
        assert faces.landmarks is None
        count += len(faces)
    assert count >= 5


@given(st.integers(1, 1100), st.integers(1, 1100))
@settings(max_examples=60)
def test_levels_lie_apart_on_the_canvas(height, width):
    canvas, levels = layout(height, width)
    assert levels[0] == (11, 11, width, height)
    boxes = np.array([(x, y, x + w, y + h) for x, y, w, h in levels], np.float32)
    assert (boxes[:, :2] >= 11).all()
    assert (boxes[:, 2:] <= [canvas[1] - 11, canvas[0] - 11]).all()
    assert intersection(boxes, boxes)[~np.eye(len(boxes), dtype=bool)].sum() == 0
    sides = np.array([(w, h) for _, _, w, h in levels])
    np.testing.assert_array_equal(sides[1:], sides[:-1] * 5 // 6)
    assert canvas[0] * canvas[1] <= 8 * (height + 40) * (width + 40), "bounded memory"


def test_small_faces_need_an_enlarged_picture(open_mmod, six):
    small = resize(six, 640, 443)
    usual, looking = (open_mmod(**settings).detect([small])[0] for settings in ({}, {"min_face": 40}))
    assert len(usual) < len(looking) == 6


def test_large_pictures_are_seen_in_parts(open_mmod, lfw_photo):
    photo = load_image(lfw_photo("Colin_Powell", 2))
    scene = np.full((300, 2600, 3), 127, np.uint8)
    places = [0, 780, 1150, 1560, 2350]
    for x in places:
        scene[25:275, x : x + 250] = photo
    (alone,) = open_mmod().detect([photo])[0]
    (faces,) = open_mmod().detect([scene])
    expected = alone.box + np.array([[x, 25, x, 25] for x in places], np.float32)
    assert (iou(faces.boxes, expected).max(axis=0) > 0.7).all()
    assert len(faces) == len(places)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (5, 5), (40, 70)])
def test_tiny_pictures_have_no_face(shape, open_mmod):
    (faces,) = open_mmod().detect([np.full((*shape, 3), 90, np.uint8)])
    assert len(faces) == 0


def test_pictures_of_one_size_run_together(open_mmod, lfw_images):
    images = lfw_images(3, seed=41)
    mmod = open_mmod()
    for together, image in zip(mmod.detect([*images, images[0][:200]]), [*images, images[0][:200]], strict=True):
        (alone,) = mmod.detect([image])
        np.testing.assert_allclose(together.boxes, alone.boxes, atol=0.01)
        np.testing.assert_allclose(together.scores, alone.scores, atol=1e-4)
    assert mmod.detect([]) == []


def test_settings_are_checked(open_mmod):
    with pytest.raises(InputError, match="score"):
        open_mmod(score=1.5)
    with pytest.raises(InputError, match="min_face"):
        open_mmod(min_face=3)
    with pytest.raises(InputError, match="no setting 'upsample'"):
        open_mmod(upsample=1)


def test_a_network_that_is_none_of_it(store, six):
    from visavis.detection.mmod import Mmod

    class Broken:
        def run(self, images):
            return {"margin": np.full((len(images), 1, 3, 3), np.nan, np.float32)}

    with pytest.raises(ModelError, match="visavis models verify mmod"):
        Mmod(Broken()).detect([six])

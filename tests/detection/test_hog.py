"""HOG gives dlib's own boxes, looks at any size of picture, and says what to install where dlib is missing."""

from __future__ import annotations

import sys
import threading

import numpy as np
import pytest

from visavis.detection import open_detector
from visavis.detection.margin import margin_of, score_of
from visavis.errors import EngineError, InputError
from visavis.geometry import iou
from visavis.image import load_image, resize
from visavis.models.session import EngineOptions
from visavis.pipeline import Analyzer

dlib = pytest.importorskip("dlib")


@pytest.fixture(scope="module")
def six(store):
    return load_image(store.path("six-people"))


@pytest.fixture(scope="module")
def open_hog(store):
    options = EngineOptions("openvino", "cpu", "f32", 1)
    return lambda **settings: open_detector("hog", store, options, **settings)


@pytest.mark.parametrize("upsample", [0, 1])
def test_the_same_boxes_as_dlib(upsample, open_hog, lfw_images, six):
    images = [*lfw_images(6, seed=31), resize(six, 640, 443)]
    reference = dlib.get_frontal_face_detector()
    count = 0
    for image, faces in zip(images, open_hog(upsample=upsample).detect(images), strict=True):
        rectangles, margins, _ = reference.run(image, upsample, 0.0)
        boxes = np.array([(r.left(), r.top(), r.right() + 1, r.bottom() + 1) for r in rectangles]).reshape(-1, 4)
        boxes = np.clip(boxes, 0, np.tile(image.shape[1::-1], 2))
        np.testing.assert_array_equal(faces.boxes, boxes)
        np.testing.assert_allclose(faces.scores, score_of(margins))
        assert faces.landmarks is None
        count += len(faces)
    assert count >= 7


def test_the_score_is_a_threshold_on_the_margin(open_hog, six):
    few, usual, many = (open_hog(score=score).detect([six])[0] for score in (0.9, 0.5, 0.1))
    assert 0 < len(few) < len(usual) == 6 < len(many)
    assert few.scores.min() >= 0.9
    assert 0.1 <= many.scores.min() < 0.5
    assert len(open_hog(score=1.0).detect([six])[0]) == 0
    for score in (0.001, 0.3, 0.5, 0.99):
        assert score_of(margin_of(score)) == pytest.approx(score, rel=1e-5)


def test_small_faces_need_an_enlarged_picture(open_hog, six):
    small = resize(six, 480, 332)
    assert len(open_hog().detect([small])[0]) == 0
    (faces,) = open_hog(min_face=30).detect([small])
    assert len(faces) == 6
    assert faces.boxes.max() < 480
    assert len(open_hog(min_face=300).detect([six])[0]) == 0


def test_large_pictures_are_seen_in_parts(open_hog, lfw_photo):
    photo = load_image(lfw_photo("Colin_Powell", 2))
    scene = np.full((400, 7000, 3), 127, np.uint8)
    places = [0, 3150, 3300, 3480, 6750]
    for x in places:
        scene[80:330, x : x + 250] = photo
    (alone,) = open_hog().detect([photo])[0]
    (faces,) = open_hog().detect([scene])
    expected = alone.box + np.array([[x, 80, x, 80] for x in places], np.float32)
    overlap = iou(faces.boxes, expected)
    assert (overlap.max(axis=0) > 0.6).all()
    assert len(faces) == len(places)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (5, 5), (79, 500)])
def test_tiny_pictures_have_no_face(shape, open_hog):
    (faces,) = open_hog().detect([np.full((*shape, 3), 90, np.uint8)])
    assert len(faces) == 0


@pytest.mark.parametrize("upsample", [-1, 5, 0.5, True, "1", None])
def test_impossible_settings(upsample, open_hog):
    with pytest.raises(InputError, match="upsample is a whole number, 0 to 4"):
        open_hog(upsample=upsample)
    with pytest.raises(InputError, match="score"):
        open_hog(score=0)
    with pytest.raises(InputError, match="min_face"):
        open_hog(min_face=1)


def test_dlib_missing_is_said(open_hog, monkeypatch):
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(EngineError, match=r"pip install 'visavis\[dlib\]'"):
        open_hog()


def test_threads_share_one(open_hog, lfw_photo):
    photo = load_image(lfw_photo("Colin_Powell", 2))
    hog, found = open_hog(), {}
    workers = [threading.Thread(target=lambda i=i: found.update({i: hog.detect([photo])[0]})) for i in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 3
    for faces in found.values():
        assert len(faces) == 1
        np.testing.assert_array_equal(faces.boxes, found[0].boxes)


def test_settings_reach_it_through_the_analyzer(store, six):
    small = resize(six, 640, 443)
    found = [
        Analyzer("hog", None, detector_settings=settings, store=store, threads=1).analyze(small)
        for settings in ({}, {"upsample": 1})
    ]
    assert len(found[0]) < len(found[1]) == 6

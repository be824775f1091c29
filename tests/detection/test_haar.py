"""The Haar cascade: OpenCV's own boxes, scores from margins, several threads."""

from __future__ import annotations

import threading

import cv2
import numpy as np
import pytest

from visavis.detection import open_detector
from visavis.detection.haar import _FILE, HaarCascade, _cascade_file, group
from visavis.errors import EngineError, InputError
from visavis.geometry import iou
from visavis.image import load_image
from visavis.models.session import EngineOptions

F32 = EngineOptions("openvino", threads=1, precision="f32")


@pytest.fixture(scope="module")
def make(store):
    return lambda **settings: open_detector("haar", store, F32, **settings)


@pytest.fixture(scope="module")
def photos(lfw_images, store):
    return [*lfw_images(20, seed=5), load_image(store.path("obama"))]


def test_surest_faces_are_those_of_opencv(make, photos):
    """A face of many windows is one of many neighbors for OpenCV: same boxes, but for groups that overlap."""
    opencv = cv2.CascadeClassifier(str(_cascade_file()))
    found = 0
    for photo, faces in zip(photos, make(score=0.85).detect(photos), strict=True):
        gray = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
        boxes = np.reshape(opencv.detectMultiScale(gray, 1.1, 3, 0, (40, 40)), (-1, 4)).astype(np.float32)
        boxes[:, 2:] += boxes[:, :2]
        for face in faces:
            assert iou(face.box[None], boxes).max(initial=0) > 0.9
            found += 1
    assert found >= 15


def test_groups_are_those_of_opencv():
    rng = np.random.default_rng(0)
    centers = np.array([[100, 100, 40, 40], [300, 120, 60, 60], [120, 330, 90, 90]])
    windows = (np.repeat(centers, 8, axis=0) + rng.integers(-3, 4, (24, 4))).astype(int)
    expected, counts = cv2.groupRectangles(windows.tolist(), 1, 0.2)
    boxes, sums = group(windows, np.ones(24))
    assert sorted(sums.tolist()) == sorted(np.ravel(counts).tolist()) == [8, 8, 8]
    corners = np.asarray(expected, np.float32)
    corners[:, 2:] += corners[:, :2]
    assert (iou(boxes, corners).max(axis=1) > 0.95).all()


def test_no_windows_are_no_groups():
    boxes, sums = group(np.empty((0, 4)), np.empty(0))
    assert boxes.shape == (0, 4)
    assert sums.shape == (0,)


def test_score_is_the_sum_of_margins(make, photos):
    """Computed anew from what OpenCV says of the windows of one face."""
    (face,) = make(min_face=60).detect(photos[:1])[0]
    classifier = cv2.CascadeClassifier(str(_cascade_file()))
    gray = cv2.cvtColor(photos[0], cv2.COLOR_RGB2GRAY)
    windows, _, weights = classifier.detectMultiScale3(gray, 1.1, 0, 0, (60, 60), outputRejectLevels=True)
    corners = np.asarray(windows, np.float32)
    corners[:, 2:] += corners[:, :2]
    near = iou(corners, face.box[None])[:, 0] > 0.3
    total = (np.ravel(weights)[near] - 53.755569458).clip(0).sum()
    assert face.score == pytest.approx(total / (total + 4), abs=0.05)


def test_threads_share_a_detector(make, photos):
    detector = make()
    photos = photos[:6]
    alone = [detector.detect([photo])[0].boxes for photo in photos]
    results = {}
    workers = [
        threading.Thread(target=lambda k=k: results.update({k: [f.boxes for f in detector.detect(photos)]}))
        for k in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(results) == [0, 1, 2, 3]
    for boxes in results.values():
        for mine, expected in zip(boxes, alone, strict=True):
            np.testing.assert_array_equal(mine, expected)


def test_small_faces_on_request(make, store):
    six = load_image(store.path("six-people"))
    assert all(face.height >= 99 for face in make(min_face=100).detect([six])[0])
    assert len(make(min_face=500).detect([six])[0]) == 0


@pytest.mark.parametrize("shape", [(1, 1), (3, 900), (19, 19), (20, 20), (40, 41), (300, 200)])
def test_pictures_of_any_shape(make, shape):
    assert len(make().detect([np.full((*shape, 3), 128, np.uint8)])[0]) == 0


def test_noise_does_not_exhaust_memory(make):
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    assert len(make(score=0.01, min_face=20).detect([noise])[0]) < 500


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"score": 0}, "score lies"),
        ({"score": "high"}, "score lies"),
        ({"min_face": 2}, "min_face is"),
        ({"min_face": "small"}, "min_face is"),
        ({"scale_factor": "large"}, "scale_factor is a ratio"),
        ({"scale_factor": 1.0}, "scale_factor is a ratio"),
        ({"scale_factor": float("nan")}, "scale_factor is a ratio"),
        ({"factor": 2}, "did you mean scale_factor"),
    ],
)
def test_settings_out_of_range(make, settings, message):
    with pytest.raises(InputError, match=message):
        make(**settings)


def test_an_opencv_without_cascades(make, monkeypatch, tmp_path):
    monkeypatch.setattr(cv2.data, "haarcascades", str(tmp_path))
    with pytest.raises(EngineError, match=r"pip install 'opencv-python-headless<5'"):
        make()
    (tmp_path / _FILE).write_text("not a cascade")
    with pytest.raises(EngineError, match="no cascade"):
        HaarCascade(tmp_path / _FILE)
    (tmp_path / _FILE).write_text("<?xml version='1.0'?><opencv_storage><other>1</other></opencv_storage>")
    with pytest.raises(EngineError, match="no cascade"):
        HaarCascade(tmp_path / _FILE)

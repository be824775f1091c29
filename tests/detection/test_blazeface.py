"""BlazeFace: its decoding, its six points against YuNet's five, faces of all sizes."""

from __future__ import annotations

import numpy as np
import pytest

from visavis.detection import open_detector
from visavis.detection.blazeface import anchors, decode
from visavis.errors import InputError, ModelError
from visavis.geometry import iou
from visavis.image import load_image, resize
from visavis.models.session import EngineOptions
from visavis.pipeline import Analyzer

F32 = EngineOptions("openvino", threads=1, precision="f32")


@pytest.fixture(scope="module")
def make(store):
    return lambda **settings: open_detector("blazeface", store, F32, **settings)


@pytest.fixture(scope="module")
def detector(make):
    return make()


def outputs(count: int = 1) -> dict[str, np.ndarray]:
    """Return what the network gives where it sees nothing."""
    shapes = {"a": (count, 512, 16), "b": (count, 512, 1), "c": (count, 384, 1), "d": (count, 384, 16)}
    return {name: np.full(shape, -20 if shape[2] == 1 else 0, np.float32) for name, shape in shapes.items()}


def test_decoding_of_one_anchor():
    found = outputs(2)
    anchor = 6 * (8 * 2 + 5) + 3  # of the coarse grid: row 2, column 5, one of its six
    found["c"][1, anchor] = 2
    found["d"][1, anchor] = [4, -2, 60, 80, *range(12)]
    none, one = decode(found, 0.5)
    assert len(none) == 0
    origin, half = np.array([5.5 * 32, 2.5 * 32]), np.array([30, 40])
    middle = origin + np.array([4, -2])
    np.testing.assert_allclose(one.boxes[0], np.ravel([middle - half, middle + half]))
    np.testing.assert_allclose(one.scores, 1 / (1 + np.exp(-2)), rtol=1e-6)
    np.testing.assert_allclose(one.traits["landmarks_6"][0], np.arange(12).reshape(6, 2) + origin)
    assert one.landmarks is None


def test_anchors_cover_both_grids():
    centers = anchors()
    assert centers.shape == (896, 2)
    assert (centers[:512] % 16 == 8).all()
    assert (centers[512:] % 32 == 16).all()
    assert len(np.unique(centers[:512], axis=0)) == 256
    assert len(np.unique(centers[512:], axis=0)) == 64


def test_points_against_yunet(detector, store, lfw_images):
    yunet = open_detector("yunet", store, F32)
    photos = lfw_images(24, seed=4)
    errors = []
    for mine, theirs in zip(detector.detect(photos), yunet.detect(photos), strict=True):
        overlap = iou(mine.boxes, theirs.boxes)
        for i, j in zip(*np.nonzero(overlap > 0.4), strict=True):
            five, six = theirs.landmarks[j], mine.traits["landmarks_6"][i]
            width = theirs[int(j)].width
            errors.append(np.linalg.norm(six[:3] - five[:3], axis=1) / width)  # eyes, left first, and the nose
            errors[-1] = np.append(errors[-1], np.linalg.norm(six[3] - five[3:].mean(axis=0)) / width)
            assert six[4, 0] < six[0, 0] or six[5, 0] > six[1, 0], "ears lie outside the eyes"
    assert len(errors) >= 24
    assert (np.median(errors, axis=0) < [0.06, 0.06, 0.12, 0.08]).all()


def test_points_move_with_the_view(make, store):
    """What several views find lies in pixels of the picture, points as boxes."""
    six = load_image(store.path("six-people"))
    (faces,) = make(min_face=60).detect([six])
    points = faces.traits["landmarks_6"]
    assert points.shape == (len(faces), 6, 2)
    middle, size = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2, faces.boxes[:, 2:] - faces.boxes[:, :2]
    assert (np.abs(points[:, :4].mean(axis=1) - middle) < 0.3 * size).all()


@pytest.mark.parametrize("side", [40, 60, 100, 200, 400, 600])
def test_faces_of_all_sizes(detector, lfw_photo, side):
    photo = load_image(lfw_photo("Colin_Powell", 2))
    scale = side / 113.6  # LFW's faces have about this size
    scene = np.full((900, 1200, 3), 90, np.uint8)
    small = resize(photo, round(250 * scale), round(250 * scale))[:800, :1100]
    scene[60 : 60 + small.shape[0], 70 : 70 + small.shape[1]] = small
    boxes = detector.detect([scene])[0].boxes
    center = (boxes[:, :2] + boxes[:, 2:]) / 2 - [70, 60]
    assert (np.abs(center - 125 * scale).max(axis=1, initial=0) < 0.35 * side).sum() == 1


def test_the_pipeline_gives_points_and_embeddings(store, lfw_photo):
    analyzer = Analyzer(detector="blazeface", recognizer=None, store=store, threads=1, precision="f32")
    faces = analyzer.analyze(lfw_photo("Colin_Powell", 2))
    assert faces.traits["landmarks_6"].shape == (1, 6, 2)


def test_a_batch_is_what_each_image_is(detector, lfw_images, store):
    images = [*lfw_images(9, seed=3), load_image(store.path("six-people"))]
    for together, image in zip(detector.detect(images), images, strict=True):
        np.testing.assert_allclose(together.boxes, detector.detect([image])[0].boxes, atol=0.01)
    assert detector.detect([]) == []


@pytest.mark.parametrize("shape", [(1, 1), (3, 900), (40, 2500), (256, 256), (257, 255)])
def test_pictures_of_any_shape(detector, shape):
    assert len(detector.detect([np.full((*shape, 3), 128, np.uint8)])[0]) == 0


@pytest.mark.parametrize("settings", [{"score": 0}, {"min_face": 2}, {"score": float("nan")}, {"min_face": 1e9}])
def test_settings_out_of_range(make, settings):
    with pytest.raises(InputError):
        make(**settings)


def test_outputs_of_another_network():
    with pytest.raises(ModelError, match="not BlazeFace"):
        decode({"x": np.zeros((1, 7, 16), np.float32), "y": np.zeros((1, 7, 1), np.float32)}, 0.5)
    with pytest.raises(ModelError, match="NaN or infinity"):
        decode(
            {**outputs(), "b": np.full((1, 512, 1), 3, np.float32), "a": np.full((1, 512, 16), np.nan, np.float32)}, 0.5
        )

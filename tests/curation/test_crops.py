"""Crops against the published layouts: SphereFace's, ArcFace's, and facenet-pytorch's own arithmetic."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

from visavis.alignment import TEMPLATES, align, template_points
from visavis.curation.crops import CropShape, box_crop, parse_margin, parse_size
from visavis.errors import InputError
from visavis.types import Faces

# As wy1iu/sphereface has them in preprocess/code/face_align_demo.m, for crops 112 high and 96 wide.
SPHEREFACE = [[30.2946, 51.6963], [65.5318, 51.5014], [48.0252, 71.7366], [33.5493, 92.3655], [62.7299, 92.2041]]


def test_the_published_templates() -> None:
    np.testing.assert_allclose(template_points(112, 96), SPHEREFACE, atol=1e-4)
    np.testing.assert_array_equal(template_points(112, 112), TEMPLATES["arcface-112"][1])
    np.testing.assert_allclose(template_points(224, 224), 2 * TEMPLATES["arcface-112"][1].astype(float))


@given(st.integers(20, 300), st.integers(20, 300), st.floats(0, 3))
def test_a_margin_shrinks_the_face_around_the_middle(height: int, width: int, margin: float) -> None:
    plain = template_points(height, height) - height / 2
    points = template_points(height, width, margin=margin) - np.array([width, height]) / 2
    np.testing.assert_allclose(points * (1 + margin), plain, atol=1e-3)


def test_crops_of_points_lay_the_points_on_the_template(rng_image: np.ndarray) -> None:
    # A photo with a dot at each of five turned, scaled points: the dots come out where the template has them.
    turn = np.array([[0.8, -0.6], [0.6, 0.8]]) * 3
    points = (template_points(112, 96) @ turn.T + [150, 40]).astype(np.float32)
    photo = np.zeros((600, 700, 3), np.uint8)
    for x, y in points:
        cv2.circle(photo, (round(float(x)), round(float(y))), 7, (255, 255, 255), -1)
    faces = Faces(np.array([[0, 0, 9, 9]], np.float32), np.ones(1, np.float32), points[None])
    (cut,) = CropShape(112, 96).cut(photo, faces)
    assert cut.shape == (112, 96, 3)
    for x, y in template_points(112, 96):
        near = cut[round(y) - 5 : round(y) + 6, round(x) - 5 : round(x) + 6, 0].astype(float)
        ys, xs = np.mgrid[round(y) - 5 : round(y) + 6, round(x) - 5 : round(x) + 6]
        assert abs((xs * near).sum() / near.sum() - x) < 0.5
        assert abs((ys * near).sum() / near.sum() - y) < 0.5
    (square,) = CropShape().cut(rng_image, faces)
    np.testing.assert_array_equal(square, align(rng_image, points[None])[0])


@pytest.fixture
def rng_image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (600, 700, 3)).astype(np.uint8)


@pytest.mark.parametrize("box", [(100.7, 50.2, 300.9, 310.4), (-20, -30, 150, 170), (600, 500, 760, 690)])
@pytest.mark.parametrize(("size", "margin"), [(160, 32), (182, 44), (160, 0)])
def test_box_crops_are_facenets(rng_image: np.ndarray, box: tuple[float, ...], size: int, margin: int) -> None:
    smooth = cv2.GaussianBlur(rng_image, (0, 0), 6)
    # facenet-pytorch's arithmetic, written anew: margin in pixels of the crop, corners towards zero, cut at the edge.
    extra = [margin * (box[k + 2] - box[k]) / (size - margin) / 2 for k in (0, 1)]
    left, top = (int(max(box[k] - extra[k], 0)) for k in (0, 1))
    right, bottom = (int(min(box[k + 2] + extra[k], (700, 600)[k])) for k in (0, 1))
    reference = Pillow.fromarray(smooth).crop((left, top, right, bottom)).resize((size, size), Pillow.Resampling.BOX)
    cut = box_crop(smooth, np.array(box, np.float32), size, size, parse_margin(f"{margin}px", size))
    assert np.abs(cut.astype(int) - np.asarray(reference).astype(int)).mean() < 1.5


def test_a_box_beside_the_photo_is_black(rng_image: np.ndarray) -> None:
    cut = box_crop(rng_image, np.array([-50, -50, -10, -10], np.float32), 20, 30)
    assert cut.shape == (20, 30, 3)
    assert not cut.any()


def test_sizes_and_margins_as_they_are_typed() -> None:
    assert parse_size("112X96") == (112, 96)
    assert parse_margin("0.2", 100) == 0.2
    assert parse_margin("20 %", 100) == 0.2
    assert parse_margin("50px", 150) == 0.5
    for size in ("", "112x", "axb", "-3", "112x96x3", "1e3"):
        with pytest.raises(InputError, match="HEIGHTxWIDTH"):
            parse_size(size)
    for margin in ("", "-1", "nan", "px", "1..2"):
        with pytest.raises(InputError, match="margin"):
            parse_margin(margin, 100)
    with pytest.raises(InputError, match="written 32px"):
        parse_margin("32", 160)
    with pytest.raises(InputError, match="no face"):
        parse_margin("160px", 160)
    for wrong in (("0x10", "points"), ("99999", "points"), ("112", "sideways")):
        with pytest.raises(InputError):
            CropShape.of(*wrong)


def test_points_are_needed(rng_image: np.ndarray) -> None:
    faces = Faces(np.array([[10, 10, 90, 90]], np.float32), np.ones(1, np.float32))
    with pytest.raises(InputError, match="by their box"):
        CropShape().cut(rng_image, faces)
    assert CropShape(way="box").cut(rng_image, faces).shape == (1, 112, 112, 3)
    assert CropShape(way="box").cut(rng_image, faces[:0]).shape == (0, 112, 112, 3)

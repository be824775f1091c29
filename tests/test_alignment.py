"""Alignment against Umeyama's own SVD, OpenCV's estimator and OpenCV's face crops."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from visavis.alignment import TEMPLATES, align, similarity_transform
from visavis.errors import InputError
from visavis.pipeline import Analyzer

POINTS = TEMPLATES["arcface-112"][1].astype(np.float64)


def umeyama(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Eq. 40 to 43 of the paper, by singular value decomposition."""
    source_mean, target_mean = source.mean(0), target.mean(0)
    covariance = (target - target_mean).T @ (source - source_mean) / len(source)
    u, d, vt = np.linalg.svd(covariance)
    sign = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = u @ np.diag(sign) @ vt
    scale = (d * sign).sum() / source.var(0).sum()
    return np.concatenate([scale * rotation, (target_mean - scale * rotation @ source_mean)[:, None]], axis=1)


def turned(points: np.ndarray, degrees: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    angle = math.radians(degrees)
    rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return scale * points @ rotation.T + np.array(shift)


@given(
    noise=hnp.arrays(np.float64, (5, 2), elements=st.floats(-6, 6)),
    degrees=st.floats(-180, 180),
    scale=st.floats(0.2, 40),
)
def test_equals_umeyama(noise, degrees, scale):
    points = turned(POINTS + noise, degrees, scale, (100, -30))
    ours = similarity_transform(points[None], POINTS)[0]
    np.testing.assert_allclose(ours, umeyama(points, POINTS), rtol=1e-9, atol=1e-9)


@given(degrees=st.floats(-180, 180), scale=st.floats(0.05, 50), x=st.floats(-500, 500), y=st.floats(-500, 500))
def test_recovers_an_exact_transform(degrees, scale, x, y):
    matrix = similarity_transform(turned(POINTS, degrees, scale, (x, y))[None], POINTS)[0]
    back = np.concatenate([turned(POINTS, degrees, scale, (x, y)), np.ones((5, 1))], axis=1) @ matrix.T
    np.testing.assert_allclose(back, POINTS, atol=1e-8)
    assert math.hypot(matrix[0, 0], matrix[1, 0]) == pytest.approx(1 / scale)


def test_equals_opencv_where_the_fit_is_exact():
    points = turned(POINTS, 17, 2.5, (40, 60))
    theirs, _ = cv2.estimateAffinePartial2D(points, POINTS)
    np.testing.assert_allclose(similarity_transform(points[None], POINTS)[0], theirs, atol=1e-4)


def test_never_mirrors():
    mirrored = POINTS * [-1, 1] + [112, 0]
    matrix = similarity_transform(mirrored[None], POINTS)[0]
    assert np.linalg.det(matrix[:, :2]) > 0


def test_no_faces():
    assert similarity_transform(np.empty((0, 5, 2)), POINTS).shape == (0, 2, 3)
    assert align(np.zeros((9, 9, 3), np.uint8), np.empty((0, 5, 2), np.float32)).shape == (0, 112, 112, 3)


@pytest.mark.parametrize(
    "points",
    [
        np.full((5, 2), 7.0),
        np.full((5, 2), 7.0) + np.arange(5)[:, None] * 1e-9,
        np.stack([np.arange(5), np.arange(5)], 1) * 3.0,
        POINTS + 1e7,
        POINTS - 1e7,
        POINTS * 1e7,
        np.outer(np.arange(5), [1e8, -1e8]),
    ],
    ids=["one point", "almost one point", "a line", "far right", "far left", "huge", "huge line"],
)
def test_degenerate_points_give_a_crop_all_the_same(points):
    assert np.isfinite(similarity_transform(points[None], POINTS)).all()
    assert align(np.full((50, 40, 3), 200, np.uint8), points[None].astype(np.float32)).shape == (1, 112, 112, 3)


def test_a_face_outside_the_image_gives_black():
    assert not align(np.full((50, 40, 3), 255, np.uint8), (POINTS + 5000)[None]).any()
    assert not align(np.full((50, 40, 3), 255, np.uint8), (POINTS * 30 + 50_000)[None]).any()


@pytest.mark.parametrize(
    ("landmarks", "message"),
    [
        (np.zeros((5, 2)), r"landmarks must have shape \(n, 5, 2\), not \(5, 2\)"),
        (np.zeros((1, 68, 2)), r"landmarks must have shape \(n, 5, 2\), not \(1, 68, 2\)"),
        (np.full((1, 5, 2), np.nan), "landmarks must be finite"),
    ],
)
def test_refuses_landmarks(landmarks, message):
    with pytest.raises(InputError, match=message):
        align(np.zeros((9, 9, 3), np.uint8), landmarks)


def test_refuses_a_template():
    with pytest.raises(InputError, match="no alignment template 'arcface'; there are arcface-112"):
        align(np.zeros((9, 9, 3), np.uint8), POINTS[None], "arcface")


def test_templates_can_not_be_changed():
    with pytest.raises(TypeError):
        TEMPLATES["mine"] = TEMPLATES["arcface-112"]  # type: ignore[index]
    with pytest.raises(ValueError, match="read-only"):
        TEMPLATES["arcface-112"][1][0] = 0


def test_landmarks_on_the_template_copy_the_image():
    image = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    np.testing.assert_array_equal(align(image, POINTS[None])[0], image)
    shifted = np.zeros((300, 300, 3), np.uint8)
    shifted[60:172, 90:202] = image
    np.testing.assert_array_equal(align(shifted, (POINTS + np.array([90, 60]))[None])[0], image)


@pytest.mark.parametrize("size", [56, 224, 160])
def test_another_size_scales_the_template(size):
    image = smooth(400)
    face = turned(POINTS, 8, 1.5, (90, 80))[None]
    crop, plain = align(image, face, size=size)[0], align(image, face)[0]
    half_pixel = (size / 112 - 1) / 2  # pixel centers: cv2.resize keeps corners, the template keeps the origin
    matrix = np.float64([[size / 112, 0, 0], [0, size / 112, 0]])
    expected = cv2.warpAffine(plain, matrix, (size, size), borderMode=cv2.BORDER_REPLICATE)
    inner = slice(3, -3 - math.ceil(2 * abs(half_pixel)))
    assert np.abs(crop.astype(int) - expected)[inner, inner].mean() < 2


def smooth(side: int, seed: int = 0) -> np.ndarray:
    """Return a picture without detail finer than a twentieth of its side."""
    small = np.random.default_rng(seed).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC))


@pytest.mark.parametrize("degrees", [-150, -90, -35, 10, 90, 180])
@pytest.mark.parametrize("scale", [0.7, 1.6, 3.4])
def test_the_crop_does_not_depend_on_how_the_head_is_turned(degrees, scale):
    side = 900
    image = smooth(side)
    face = turned(POINTS, 0, scale, (400 - 56 * scale, 450 - 70 * scale))
    around = cv2.getRotationMatrix2D((side / 2, side / 2), degrees, 1)
    rotated = np.asarray(cv2.warpAffine(image, around, (side, side), flags=cv2.INTER_CUBIC))
    moved = np.concatenate([face, np.ones((5, 1))], axis=1) @ around.T
    a, b = align(image, face[None])[0].astype(int), align(rotated, moved[None])[0].astype(int)
    assert np.abs(a - b).mean() < 1.5


@pytest.mark.parametrize("scale", [2.1, 3.0, 9.7, 18.0])
def test_large_faces_are_averaged_not_sampled(scale):
    # A fine checkerboard is gray from afar; sampled pixel by pixel it would give stripes.
    side = int(112 * scale) + 40
    board = (np.indices((side, side)).sum(0) % 2 * 255).astype(np.uint8)
    crop = align(np.repeat(board[..., None], 3, axis=2), (POINTS * scale + 15)[None])[0]
    inner = crop[2:-2, 2:-2].astype(int)
    assert abs(inner.mean() - 127.5) < 2
    assert inner.std() < 14 if scale < 3 else inner.std() < 5


def test_a_4000_px_face_equals_its_area_averaged_version():
    rng = np.random.default_rng(0)
    small = cv2.resize(smooth(400), (400, 400))
    large = cv2.resize(small, (4000, 4000), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    large = np.clip(large + rng.integers(-60, 61, large.shape, dtype=np.int16), 0, 255).astype(np.uint8)
    averaged = np.asarray(cv2.resize(large, (400, 400), interpolation=cv2.INTER_AREA))
    face = turned(POINTS, 12, 3.2, (30, 20))
    in_large = face * 10 + 4.5  # the middle of each 10 x 10 block
    difference = np.abs(align(large, in_large[None])[0].astype(int) - align(averaged, face[None])[0])
    assert difference.mean() < 1.5


@pytest.mark.parametrize("shape", [(60, 40_000), (40_000, 60), (33_000, 200)])
def test_sides_that_opencv_can_not_warp(shape):
    image = np.zeros((*shape, 3), np.uint8)
    y, x = shape[0] - 50, shape[1] - 50
    y, x = max(y, 0), max(x, 0)
    image[y : y + 50, x : x + 50] = smooth(50)[: shape[0] - y, : shape[1] - x]
    crop = align(image, (POINTS * (50 / 112) + [x, y])[None])[0]
    expected = align(np.ascontiguousarray(image[y:, x:]), (POINTS * (50 / 112))[None])[0]
    np.testing.assert_array_equal(crop[:100, :100], expected[:100, :100])


def test_equals_opencv_on_photos(store, lfw_images):
    """FaceRecognizerSF.alignCrop estimates from the same five points; LFW faces need little shrinking."""
    model = str(store.path("sface"))
    theirs = cv2.FaceRecognizerSF.create(model, "")
    detector = cv2.FaceDetectorYN.create(str(store.path("yunet")), "", (250, 250), 0.8)
    seen = 0
    for image in lfw_images(40):
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        _, faces = detector.detect(bgr)
        for face in [] if faces is None else faces[:1]:
            wanted = cv2.cvtColor(theirs.alignCrop(bgr, face), cv2.COLOR_BGR2RGB)
            crop = align(image, face[4:14].reshape(1, 5, 2))[0]
            difference = np.abs(crop.astype(int) - wanted)
            assert difference.mean() < 0.01
            seen += 1
    assert seen >= 35


@pytest.mark.parametrize("name", TEMPLATES)
def test_templates_are_upright_faces_in_the_crop(name):
    side, points = TEMPLATES[name]
    assert points.shape == (5, 2)
    assert ((points > 0) & (points < side)).all()
    left, right, nose, mouth_left, mouth_right = points
    assert left[0] < nose[0] < right[0]
    assert mouth_left[0] < nose[0] < mouth_right[0]
    assert max(left[1], right[1]) < nose[1] < min(mouth_left[1], mouth_right[1])
    assert abs(points[:, 0].mean() - side / 2) < 0.02 * side, "in the middle"


def test_crops_for_dlib_are_as_large_as_its_own(lfw_images, store, dlib_file):
    """dlib cuts its chips around five other points: on average ours show the same at the same scale."""
    dlib = pytest.importorskip("dlib")
    detector, predictor = dlib.get_frontal_face_detector(), dlib.shape_predictor(str(dlib_file("dlib-5")))
    yunet = Analyzer(recognizer=None, store=store, threads=1, precision="f32")
    zooms, likeness = [], []
    for image in lfw_images(24, seed=43):
        boxes, faces = detector(image, 0), yunet.analyze(image)
        if len(boxes) != 1 or len(faces) != 1:
            continue
        points = predictor(image, boxes[0])
        theirs = dlib.get_face_chip(image, points, size=150, padding=0.25)
        (ours,) = align(image, faces.landmarks, "dlib-150")
        ours_to_image = cv2.invertAffineTransform(similarity_transform(faces.landmarks, TEMPLATES["dlib-150"][1])[0])
        chip = dlib.get_face_chip_details(dlib.full_object_detections([points]), 150, 0.25)[0]
        zooms.append(math.hypot(*ours_to_image[:, 0]) / (chip.rect.width() / 149))
        likeness.append(np.corrcoef(ours[30:120, 30:120].ravel(), theirs[30:120, 30:120].ravel())[0, 1])
    assert len(zooms) >= 18
    assert np.median(zooms) == pytest.approx(1, abs=0.05)
    assert np.median(likeness) > 0.8

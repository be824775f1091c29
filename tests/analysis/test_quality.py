"""Size, sharpness and turn of faces: against exact projections, known degradations and mirrored photos."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visavis.analysis import quality
from visavis.analysis.quality import FaceQuality, QualityGate, eye_distance, measure, sharpness, turn
from visavis.errors import InputError
from visavis.image import load_image
from visavis.pipeline import Analyzer

angles = st.floats(-70, 70)


def rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Return the rotation of a head that looks at the camera: first a nod, then a turn, then a tilt."""
    y, p, r = np.radians([yaw, pitch, roll])
    nod = np.array([[1, 0, 0], [0, np.cos(p), np.sin(p)], [0, -np.sin(p), np.cos(p)]])
    shake = np.array([[np.cos(y), 0, -np.sin(y)], [0, 1, 0], [np.sin(y), 0, np.cos(y)]])
    tilt = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return tilt @ shake @ nod


@settings(max_examples=200, deadline=None)
@given(angles, st.floats(-60, 60), st.floats(-180, 180), st.floats(5, 500), st.floats(-2000, 2000))
def test_turn_is_recovered_from_a_projected_head(yaw, pitch, roll, scale, shift) -> None:
    points = (quality._HEAD @ rotation(yaw, pitch, roll).T)[:, :2] * scale + shift
    np.testing.assert_allclose(turn(points[None])[0], [yaw, pitch], atol=1e-3)


def test_signs_of_the_turn() -> None:
    straight = np.array([[[30, 40], [70, 40], [50, 62], [33, 79], [67, 79]]], np.float32)
    assert np.abs(turn(straight)).max() < 3
    right, up = straight.copy(), straight.copy()
    right[0, 2, 0] += 8
    up[0, 2, 1] -= 6
    assert turn(right)[0, 0] > 15
    assert turn(up)[0, 1] > 10


def test_a_mirrored_photo_is_turned_the_other_way(lfw_images, store) -> None:
    analyzer = Analyzer(recognizer=None, store=store, threads=1, precision="f32")
    both = []
    for image in lfw_images(60, seed=3):
        face, mirrored = (analyzer.analyze(side) for side in (image, np.ascontiguousarray(image[:, ::-1])))
        if len(face) == len(mirrored) == 1:
            both.append((*turn(face.landmarks)[0], *turn(mirrored.landmarks)[0]))
    yaw, pitch, other_yaw, other_pitch = np.array(both).T
    assert len(both) > 30
    assert np.median(np.abs(yaw + other_yaw)) < 8, "YuNet itself marks a mirrored face differently"
    assert np.median(np.abs(pitch - other_pitch)) < 6
    assert np.abs(np.median(yaw)) < 5, "LFW's people look to both sides alike"
    assert np.abs(np.median(pitch)) < 5
    assert np.abs(yaw).max() > 20, "and some of them do look aside"


def test_eye_distance() -> None:
    landmarks = np.zeros((2, 5, 2), np.float32)
    landmarks[0, 1] = (30, 40)
    landmarks[1, 1] = (7, 0)
    assert eye_distance(landmarks).tolist() == [50, 7]


def blurrings(crop: np.ndarray) -> dict[str, list[np.ndarray]]:
    small = [cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA) for side in (112, 80, 56, 40, 28)]
    return {
        "defocus": [crop] + [cv2.GaussianBlur(crop, (0, 0), sigma) for sigma in (1, 2, 3, 5)],
        "motion": [cv2.filter2D(crop, -1, np.full((1, length), 1 / length)) for length in (1, 5, 9, 13)],
        "motion down": [cv2.filter2D(crop, -1, np.full((length, 1), 1 / length)) for length in (1, 5, 9, 13)],
        "few pixels": [cv2.resize(one, (112, 112), interpolation=cv2.INTER_LINEAR) for one in small],
    }


def test_sharpness_falls_with_every_kind_of_blur(lfw_images) -> None:
    for photo in lfw_images(10, seed=4):
        crop = cv2.resize(photo[60:190, 60:190], (112, 112), interpolation=cv2.INTER_AREA)
        for kind, series in blurrings(crop).items():
            values = sharpness(np.stack(series))
            assert (np.diff(values) < 0.01).all(), kind
            assert values[-1] < values[0] - 0.05, kind


def test_sharpness_heeds_neither_light_nor_contrast_nor_orientation(lfw_images) -> None:
    for photo in lfw_images(10, seed=5):
        crop = photo[69:181, 69:181]
        value = float(sharpness(crop[None])[0])
        dim = (crop * 0.45 + 30).astype(np.uint8)
        assert abs(float(sharpness(dim[None])[0]) - value) < 0.04
        turned = np.ascontiguousarray(crop.swapaxes(0, 1)[:, ::-1])
        assert float(sharpness(turned[None])[0]) == pytest.approx(value, abs=1e-3)


@pytest.mark.parametrize("shade", [0, 128, 255])
def test_a_plain_crop_has_no_sharpness(shade) -> None:
    assert sharpness(np.full((1, 112, 112, 3), shade, np.uint8)).tolist() == [0]


def test_measure_an_image(lfw_photo, store) -> None:
    analyzer = Analyzer(recognizer=None, store=store, threads=1, precision="f32")
    image = load_image(lfw_photo("Abdoulaye_Wade", 1))
    faces = analyzer.analyze(image)[:1]
    (found,) = measure(image, faces.landmarks)
    assert found.eye_distance_px >= float(eye_distance(faces.landmarks)[0])
    assert QualityGate().problems(found) == ()
    larger = cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    (twice,) = measure(larger, faces.landmarks * 2 + 0.5)
    assert twice.eye_distance_px == pytest.approx(2 * found.eye_distance_px, rel=1e-3)
    assert twice.sharpness == pytest.approx(found.sharpness, abs=0.06)
    assert (twice.yaw_deg, twice.pitch_deg) == pytest.approx((found.yaw_deg, found.pitch_deg), abs=1e-2)
    assert measure(image, np.empty((0, 5, 2), np.float32)) == ()
    assert set(found.to_dict()) == {"eye_distance_px", "sharpness", "yaw_deg", "pitch_deg"}


def test_nearly_every_ordinary_photo_passes_the_gate(lfw_images, store) -> None:
    analyzer = Analyzer(recognizer=None, store=store, threads=1, precision="f32")
    gate, refused = QualityGate(), []
    images = lfw_images(150, seed=6)
    for image in images:
        faces = analyzer.analyze(image)
        main = int(np.argmax((faces.boxes[:, 2:] - faces.boxes[:, :2]).prod(axis=1)))
        refused += gate.problems(measure(image, faces.landmarks[main : main + 1])[0])
    assert len(refused) <= 0.05 * len(images), refused


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (FaceQuality(15.2, 0.5, 0, 0), "the face is too small: 15 px between the eyes, at least 16 needed"),
        (FaceQuality(40, 0.21, 0, 0), "the face is blurred: sharpness 0.21, at least 0.33 needed"),
        (FaceQuality(40, 0.5, 63.4, 0), "the face is turned too far: 63° to the right of the image, at most 50°"),
        (FaceQuality(40, 0.5, -63.4, 0), "the face is turned too far: 63° to the left of the image, at most 50°"),
        (FaceQuality(40, 0.5, 0, 41), "the face looks too far up: 41°, at most 35°"),
        (FaceQuality(40, 0.5, 0, -41), "the face looks too far down: 41°, at most 35°"),
    ],
)
def test_each_refusal_says_which_check_and_by_how_much(found, said) -> None:
    assert QualityGate().problems(found) == (said,)


def test_everything_wrong_is_said_at_once() -> None:
    assert len(QualityGate().problems(FaceQuality(2, 0, 80, -80))) == 4
    assert QualityGate().problems(FaceQuality(16, 0.33, 50, -35)) == ()


def test_rivals() -> None:
    gate = QualityGate(rival_size=0.5)
    assert gate.rivals(np.empty((0, 4))) == 0
    assert gate.rivals([[0, 0, 100, 100]]) == 1
    assert gate.rivals([[0, 0, 100, 100], [0, 0, 49, 49]]) == 1
    assert gate.rivals([[0, 0, 100, 100], [0, 0, 51, 51], [5, 5, 95, 95]]) == 3


@pytest.mark.parametrize("wrong", [np.zeros((5, 2)), np.zeros((1, 4, 2)), np.full((1, 5, 2), np.nan)])
def test_wrong_landmarks_are_refused(wrong) -> None:
    for function in (turn, eye_distance):
        with pytest.raises(InputError, match="landmarks"):
            function(wrong)
    with pytest.raises(InputError, match="crops"):
        sharpness(np.zeros((112, 112, 3), np.uint8))


def test_coinciding_landmarks_give_numbers() -> None:
    assert np.isfinite(turn(np.zeros((1, 5, 2)))).all()

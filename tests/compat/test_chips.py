"""Chips: pixel for pixel those of dlib, for any face on any picture."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visavis.compat.face_recognition.chips import SIZE, face_chip, jittered
from visavis.image import load_image

dlib = pytest.importorskip("dlib")


def theirs(image, points):
    parts = dlib.points([dlib.point(int(x), int(y)) for x, y in points])
    return dlib.get_face_chip(image, dlib.full_object_detection(dlib.rectangle(0, 0, 9, 9), parts))


def face(count, seed, center, size, angle):
    """Return the points of a distorted face, whole pixels."""
    rng = np.random.default_rng(seed)
    steady = np.array([[0.86, 0.21], [0.65, 0.23], [0.12, 0.21], [0.33, 0.23], [0.49, 0.63]])
    shape = steady if count == 5 else rng.random((count, 2))
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    points = (shape - 0.5) @ turn.T * size + rng.normal(0, size * 0.05, (count, 2)) + center
    return np.floor(points).astype(int)


@settings(max_examples=80)
@given(
    count=st.sampled_from([5, 68]),
    seed=st.integers(0, 2**16),
    sides=st.tuples(st.integers(1, 400), st.integers(1, 400)),
    place=st.tuples(st.floats(-0.3, 1.3), st.floats(-0.3, 1.3)),
    size=st.floats(8, 1200),
    angle=st.floats(-3.2, 3.2),
)
def test_any_face_gives_the_pixels_of_dlib(count, seed, sides, place, size, angle):
    image = np.random.default_rng(seed).integers(0, 256, (*sides, 3), np.uint8)
    points = face(count, seed, np.array(place) * sides[::-1], size, angle)
    chip = face_chip(image, points)
    assert chip.shape == (SIZE, SIZE, 3)
    difference = np.abs(chip.astype(int) - theirs(image, points))
    # A sum that lies on a whole number may be rounded to either side of it by another compiler.
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3


@pytest.mark.parametrize("zoom", [1, 2, 5])  # one look at the photo itself, one halved, one halved twice
def test_real_faces(lfw_photo, zoom):
    image = load_image(lfw_photo("Colin_Powell", 2))
    image = cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
    for seed in range(5):
        points = face(5, seed, np.array([125, 125]) * zoom, 90 * zoom, 0.2)
        np.testing.assert_array_equal(face_chip(image, points), theirs(image, points))


def test_an_even_picture():
    chip = face_chip(np.full((300, 300, 3), 90, np.uint8), face(5, 0, np.array([150, 150]), 100, 0.1))
    assert 89 <= chip.min() <= chip.max() <= 90


def test_points_in_one_place():
    chip = face_chip(np.full((30, 30, 3), 90, np.uint8), np.full((5, 2), 15))
    assert chip.shape == (SIZE, SIZE, 3)


class TestJitter:
    @pytest.fixture
    def chip(self, lfw_photo):
        image = load_image(lfw_photo("Colin_Powell", 2))
        return face_chip(image, face(5, 0, np.array([125, 125]), 90, 0.1))

    def test_variations_are_spread_as_those_of_dlib(self):
        y, x = np.mgrid[:SIZE, :SIZE]
        ramps = np.stack([x + 50, y + 50, np.full_like(x, 200)], axis=-1).astype(np.uint8)
        ours, theirs = (
            spread(np.stack([chip[EDGES_AND_MIDDLE] for chip in variations]).astype(np.float64))
            for variations in (jittered(ramps, 400), dlib.jitter_image(ramps, num_jitters=400))
        )
        np.testing.assert_allclose(ours["share"], theirs["share"], atol=0.1)
        np.testing.assert_allclose(ours["shift"], theirs["shift"], atol=0.5)
        np.testing.assert_allclose(ours["turn"], theirs["turn"], atol=0.008)

    def test_half_are_mirrored_and_all_differ(self, chip):
        varied = [*jittered(chip, 60)]
        mirrored = [np.abs(v - 1.0 * chip).mean() > np.abs(v[:, ::-1] - 1.0 * chip).mean() for v in varied]
        assert 15 < sum(mirrored) < 45
        assert len({v.tobytes() for v in varied}) == 60
        assert all(2 < min(np.abs(v - 1.0 * chip).mean(), np.abs(v[:, ::-1] - 1.0 * chip).mean()) < 40 for v in varied)

    def test_a_seed_gives_the_same(self, chip):
        for seed in (0, 1):
            np.testing.assert_array_equal(np.stack([*jittered(chip, 3, seed)]), np.stack([*jittered(chip, 3, seed)]))
        assert not np.array_equal(next(jittered(chip, 1, 0)), next(jittered(chip, 1, 1)))


EDGES_AND_MIDDLE = ([0, 149, 75, 75, 75, 75, 75], [75, 75, 0, 149, 75, 40, 110])  # rows and columns


def spread(varied):
    """Return how often variations of two ramps are mirrored or show black sides; and their shifts, turns and zooms."""
    mirrored = varied[:, 6, 0] < varied[:, 5, 0]
    middle, left, right = varied[~mirrored, 4:, :2].transpose(1, 0, 2)
    slopes = (right - left) / 70
    return {
        "share": [mirrored.mean(), *(varied[:, :4, 2] == 0).mean(axis=0)],
        "shift": [*middle.mean(axis=0), *middle.std(axis=0)],
        "turn": [*slopes.mean(axis=0), *slopes.std(axis=0)],
    }

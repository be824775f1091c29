"""The points of landmark models as pixels: on the face, thin, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visavis.drawing import Style, annotate
from visavis.drawing.lettering import Lettering
from visavis.drawing.points import _68, _468
from visavis.drawing.shapes import segment
from visavis.types import Faces

GRAY = 96
SHAPES = {"landmarks_5": (5, 2), "landmarks_68": (68, 2), "landmarks_468": (468, 3), "irises": (2, 5, 2)}
plain = Lettering(fetch=False)


def canvas(h: int, w: int) -> np.ndarray:
    return np.full((h, w, 3), GRAY, np.uint8)


def face(name: str, box: list[float], seed: int = 0) -> Faces:
    """Return a face whose points lie at random places of the middle of its box."""
    x1, y1, x2, y2 = box
    points = np.random.default_rng(seed).uniform(0.3, 0.7, (1, *SHAPES[name])).astype(np.float32)
    if name == "irises":
        points[:, :, 1:] = points[:, :, :1] + 0.03 * np.array([[1, 0], [0, -1], [-1, 0], [0, 1]])
    points[..., :2] = points[..., :2] * [x2 - x1, y2 - y1] + [x1, y1]
    return Faces(np.array([box], np.float32), np.ones(1), traits={name: points})


def distance_to(a: np.ndarray, b: np.ndarray, h: int, w: int) -> np.ndarray:
    y, x = np.mgrid[0:h, 0:w] + 0.5
    p = np.stack([x, y], axis=-1) - a
    along = np.clip((p @ (b - a)) / max(float((b - a) @ (b - a)), 1e-9), 0, 1)
    return np.linalg.norm(p - along[..., None] * (b - a), axis=-1)


@settings(max_examples=60)
@given(*(st.floats(-30, 90) for _ in range(4)), st.floats(0.5, 9))
def test_a_segment_covers_what_is_near_it(ax, ay, bx, by, width):
    drawn = canvas(50, 60)
    segment(drawn, (ax, ay), (bx, by), width, (255, 255, 255))
    far = distance_to(np.array([ax, ay]), np.array([bx, by]), 50, 60)
    assert (drawn[far > width / 2 + 0.51] == GRAY).all()
    assert (drawn[far < width / 2 - 0.51] == 255).all()


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("side", [30, 80, 200, 900])
def test_points_are_drawn_and_stay_thin(name, side):
    picture = canvas(side + 60, side + 60)
    faces = face(name, [30, 30, 30 + side, 30 + side])
    bare = annotate(picture, faces, style=Style(landmarks=False), lettering=plain)
    drawn = annotate(picture, faces, lettering=plain)
    changed = (drawn != bare).any(axis=-1)
    assert changed.any()
    points = faces.traits[name][0, ..., :2].reshape(-1, 2)
    y, x = np.nonzero(changed)
    reach = 0.06 * side + 6
    assert x.min() > points[:, 0].min() - reach
    assert x.max() < points[:, 0].max() + reach
    assert y.min() > points[:, 1].min() - reach
    assert y.max() < points[:, 1].max() + reach


@pytest.mark.parametrize(("name", "paths"), [("landmarks_68", _68), ("landmarks_468", _468)])
def test_lines_lead_through_points_that_there_are(name, paths):
    used = [i for order, _ in paths for i in order]
    assert max(used) < SHAPES[name][0]
    assert all(len(set(order)) == len(order) for order, _ in paths)
    if name == "landmarks_68":
        assert sorted(used) == list(range(68)), "each once"


def test_points_of_a_model_stand_in_for_the_five():
    box = [20, 20, 120, 120]
    five = np.array([[[40, 45], [100, 45], [70, 70], [50, 95], [90, 95]]], np.float32)
    faces = face("landmarks_5", box).replace(landmarks=five)
    drawn = annotate(canvas(140, 140), faces, lettering=plain)
    assert (drawn[45, 40] == GRAY).all()
    assert (annotate(canvas(140, 140), faces.replace(traits={}), lettering=plain)[45, 40] != GRAY).any()
    age = faces.replace(traits={"age_years": np.array([40.0])})
    assert (annotate(canvas(140, 140), age, lettering=plain)[45, 40] != GRAY).any(), "another trait hides nothing"


@settings(max_examples=60)
@given(st.integers(1, 200), st.integers(1, 200), st.sampled_from(sorted(SHAPES)), st.data())
def test_any_points_on_any_picture(h, w, name, data):
    number = st.one_of(st.floats(-300, 300, width=32), st.sampled_from([0.0, 3e38, -3e38, 1e20]))
    some = data.draw(st.lists(number, min_size=2, max_size=6))
    points = np.resize(np.array(some, np.float32), (1, *SHAPES[name]))
    faces = Faces(np.array([[0, 0, w, h]], np.float32), np.ones(1), traits={name: points})
    drawn = annotate(canvas(h, w), faces, lettering=plain)
    assert drawn.shape == (h, w, 3)
    assert drawn.dtype == np.uint8

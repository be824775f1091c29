"""Regression trees: the points of dlib's own predictors, and those of a plain walk through the trees."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.models.test_dlib_trees import serialized
from visavis.analysis.landmarks.ert import RegressionTrees, box_frames, five_frames
from visavis.errors import ModelError
from visavis.image import load_image
from visavis.types import Faces

REFERENCE = Path(__file__).parent / "references" / "dlib_landmarks.json"
MODELS = {"dlib-5": 5, "dlib-68": 68}


@pytest.fixture(autouse=True)
def _accepted(monkeypatch):
    monkeypatch.setenv("VISAVIS_ACCEPT_LICENSES", "dlib-68")


@pytest.fixture(scope="module")
def trees(store):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VISAVIS_ACCEPT_LICENSES", "dlib-68")
        return {name: RegressionTrees.open(name, store.path(name)) for name in MODELS}


@pytest.fixture(scope="module")
def obama(store):
    return load_image(store.path("obama"))


def box_of(rectangle: list[int]) -> list[int]:
    left, top, right, bottom = rectangle
    return [left, top, right + 1, bottom + 1]


class TestDlib:
    @pytest.mark.parametrize("sample", ["obama", "biden", "obama-partial", "six-people"])
    @pytest.mark.parametrize("name", MODELS)
    def test_the_same_integer_points(self, name, sample, trees, store):
        image, faces = load_image(store.path(sample)), json.loads(REFERENCE.read_text())[sample]
        boxes = np.array([box_of(face["rectangle"]) for face in faces], np.float32)
        points = trees[name].locate(image, Faces(boxes, np.ones(len(boxes))))[f"landmarks_{MODELS[name]}"]
        np.testing.assert_array_equal(np.floor(points + 0.5), [face[str(MODELS[name])] for face in faces])

    @pytest.mark.parametrize("name", MODELS)
    def test_live(self, name, lfw_images, store, tmp_path):
        dlib = pytest.importorskip("dlib")
        arrays = first_trees(store.path(name))
        file = tmp_path / "shape_predictor.dat"
        file.write_bytes(serialized(arrays))
        model = RegressionTrees(name, arrays)
        predictor, find = dlib.shape_predictor(str(file)), dlib.get_frontal_face_detector()
        compared = 0
        for image in lfw_images(12, seed=21):
            for r in find(image):
                frame = box_frames([box_of([r.left(), r.top(), r.right(), r.bottom()])])
                points = model.predict(image, frame)[0]
                expected = [(p.x, p.y) for p in predictor(image, r).parts()]
                np.testing.assert_array_equal(np.floor(points + 0.5), expected)
                compared += 1
        assert compared >= 10


def first_trees(path: Path) -> dict[str, np.ndarray]:
    """Return a smaller model of a model's own first trees: to write all of them would take minutes."""
    with np.load(path, allow_pickle=False) as file:
        whole = {key: file[key] for key in file}
    cut = {key: array[:3] for key, array in whole.items() if key != "mean"}
    trees = {key: cut[key][:, :40] for key in ("first", "second", "thresholds", "leaves")}
    return {"mean": whole["mean"], **cut, **trees}


def toy(seed: int, stages: int = 3, trees: int = 5, splits: int = 7, pixels: int = 12, points: int = 4) -> dict:
    rng = np.random.default_rng(seed)
    return {
        "mean": rng.uniform(0, 1, (points, 2)).astype(np.float32),
        "anchors": rng.integers(0, points, (stages, pixels)).astype(np.uint16),
        "offsets": rng.normal(0, 0.2, (stages, pixels, 2)).astype(np.float32),
        "first": rng.integers(0, pixels, (stages, trees, splits)).astype(np.uint16),
        "second": rng.integers(0, pixels, (stages, trees, splits)).astype(np.uint16),
        "thresholds": rng.integers(-60, 60, (stages, trees, splits)).astype(np.int16),
        "leaves": rng.normal(0, 0.02, (stages, trees, splits + 1, points, 2)).astype(np.float32),
    }


def walked(m: dict, image: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Predict one face as the paper says it, one split after the other."""
    gray = image.astype(int).sum(axis=-1) // 3
    shape = m["mean"].astype(np.float64)
    for stage in range(len(m["anchors"])):
        centered, now = m["mean"] - m["mean"].mean(axis=0), shape - shape.mean(axis=0)
        a = (centered * now).sum() / (centered**2).sum()
        b = (centered[:, 0] * now[:, 1] - centered[:, 1] * now[:, 0]).sum() / (centered**2).sum()
        values = []
        for anchor, offset in zip(m["anchors"][stage], m["offsets"][stage], strict=True):
            point = np.array([[a, -b], [b, a]]) @ offset + shape[anchor]
            x, y = np.floor(frame[:, :2] @ point + frame[:, 2] + 0.5).astype(int)
            inside = 0 <= x < gray.shape[1] and 0 <= y < gray.shape[0]
            values.append(gray[y, x] if inside else 0)
        added = np.zeros_like(shape)
        splits = m["first"].shape[2]
        for t in range(m["first"].shape[1]):
            node = 0
            while node < splits:
                difference = values[m["first"][stage, t, node]] - values[m["second"][stage, t, node]]
                node = 2 * node + (1 if difference > m["thresholds"][stage, t, node] else 2)
            added += m["leaves"][stage, t, node - splits]
        shape = shape + added
    return shape @ frame[:, :2].T + frame[:, 2]


@settings(max_examples=60)
@given(st.integers(0, 2**31), st.sampled_from([1, 3, 7, 15]), st.integers(1, 20))
def test_a_plain_walk_through_the_trees_gives_the_same(seed, splits, faces):
    rng = np.random.default_rng(seed)
    m = toy(seed, splits=splits)
    image = rng.integers(0, 256, (40, 60, 3)).astype(np.uint8)
    frames = np.concatenate([rng.normal(0, 20, (faces, 2, 2)), rng.uniform(-10, 60, (faces, 2, 1))], axis=2)
    points = RegressionTrees("toy", m).predict(image, frames)
    expected = np.array([walked(m, image, frame) for frame in frames])
    close = np.abs(points - expected).max(axis=(1, 2)) < 1e-2
    assert close.mean() >= 0.9, "all but those where float32 rounds to the pixel beside"


class TestWhatIsGiven:
    @settings(max_examples=15)
    @given(st.integers(0, 300), st.integers(0, 300))
    def test_a_shifted_picture_shifts_the_points(self, trees, obama, dx, dy):
        small = cv2.resize(obama, (300, 375), interpolation=cv2.INTER_AREA)
        scene = np.zeros((375 + 300, 300 + 300, 3), np.uint8)
        scene[dy : dy + 375, dx : dx + 300] = small
        box = np.array([[90, 70, 210, 190]], np.float32)
        here = trees["dlib-68"].predict(small, box_frames(box))
        there = trees["dlib-68"].predict(scene, box_frames(box + np.array([dx, dy, dx, dy])))
        # Exactly: what lies outside of a picture counts as black.
        np.testing.assert_allclose(there, here + np.array([dx, dy]), atol=1e-3)

    @pytest.mark.parametrize("degrees", [20, 90, 180, -135])
    def test_five_landmarks_find_a_tilted_face(self, trees, obama, degrees):
        reference = np.array([json.loads(REFERENCE.read_text())["obama"][0]["68"]], np.float32)
        five = trees["dlib-68"].five({"landmarks_68": reference})[0]
        center = five.mean(axis=0)
        matrix = cv2.getRotationMatrix2D([float(v) for v in center], degrees, 0.8)
        turned = cv2.warpAffine(obama, matrix, obama.shape[1::-1], flags=cv2.INTER_AREA)
        upright = trees["dlib-68"].predict(obama, five_frames(five[None]))[0]
        assert np.linalg.norm(upright - reference[0], axis=1).max() < 20
        found = trees["dlib-68"].predict(turned, five_frames(moved(five, matrix)[None]))[0]
        off = np.linalg.norm(found - moved(upright, matrix), axis=1) / np.linalg.norm(five[1] - five[0])
        assert np.median(off) < 0.03
        assert off.max() < 0.25

    def test_many_faces_are_found_as_one_by_one(self, trees, obama):
        rng = np.random.default_rng(3)
        corners = rng.uniform(0, 700, (40, 2))
        boxes = np.hstack([corners, corners + rng.uniform(40, 300, (40, 1))])
        together = trees["dlib-68"].predict(obama, box_frames(boxes))
        alone = [trees["dlib-68"].predict(obama, box_frames(box[None]))[0] for box in boxes]
        np.testing.assert_allclose(together, alone, atol=1e-3)

    def test_views_of_pictures(self, trees, obama):
        frame = box_frames([[350, 250, 550, 450]])
        expected = trees["dlib-5"].predict(obama, frame)
        for image in (np.asfortranarray(obama), obama[:, ::-1][:, ::-1]):
            np.testing.assert_array_equal(trees["dlib-5"].predict(image, frame), expected)

    @pytest.mark.parametrize("name", MODELS)
    def test_odd_boxes_give_finite_points(self, name, trees, obama):
        boxes = [[0, 0, 1, 1], [5, 5, 5, 5], [-900, -900, -800, -800], [1e6, 1e6, 2e6, 2e6], [-1e30, -1e30, 1e30, 1e30]]
        boxes += [[900, 1130, 1000, 1200], [40, 40, 20, 20], [0, 0, 910, 1]]
        faces = Faces(np.array(boxes, np.float32), np.ones(len(boxes)))
        points = trees[name].locate(obama, faces)[f"landmarks_{MODELS[name]}"]
        assert points.shape == (len(boxes), MODELS[name], 2)
        assert np.isfinite(points).all()
        same = np.zeros((1, 5, 2), np.float32)
        assert np.isfinite(trees[name].predict(obama, five_frames(same))).all()

    @pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1)])
    def test_tiny_pictures(self, trees, size):
        points = trees["dlib-5"].predict(np.zeros((*size, 3), np.uint8), box_frames([[0, 0, 30, 30]]))
        assert np.isfinite(points).all()

    def test_a_gray_picture_is_what_its_channels_mean(self, trees, obama):
        gray = (obama.astype(int).sum(axis=-1) // 3).astype(np.uint8)
        frame = box_frames([[350, 250, 550, 450]])
        expected = trees["dlib-68"].predict(obama, frame)
        np.testing.assert_array_equal(trees["dlib-68"].predict(np.dstack([gray] * 3), frame), expected)

    def test_no_faces(self, trees, obama):
        empty = Faces(np.empty((0, 4)), np.empty(0))
        assert trees["dlib-68"].locate(obama, empty)["landmarks_68"].shape == (0, 68, 2)
        assert trees["dlib-68"].locate(obama, Faces.empty())["landmarks_68"].shape == (0, 68, 2)
        assert trees["dlib-68"].five({"landmarks_68": np.empty((0, 68, 2), np.float32)}).shape == (0, 5, 2)


def moved(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return (points @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)


@settings(max_examples=50)
@given(st.floats(-3, 3), st.floats(0.1, 50), st.floats(-500, 500), st.floats(-500, 500))
def test_frames_of_five_landmarks_follow_the_face(angle, scale, x, y):
    five = np.array([[0.3, 0.3], [0.7, 0.3], [0.5, 0.5], [0.35, 0.7], [0.65, 0.7]])
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    upright, found = five_frames(five[None])[0], five_frames((five @ turn.T + [x, y])[None])[0]
    expected = np.hstack([turn @ upright[:, :2], (turn @ upright[:, 2] + [x, y])[:, None]])
    np.testing.assert_allclose(found, expected, atol=1e-6 * max(scale, 500))


def test_five_points_from_sixty_eight(trees):
    points = np.arange(2 * 68, dtype=np.float32).reshape(1, 68, 2)
    five = trees["dlib-68"].five({"landmarks_68": points})
    np.testing.assert_allclose(five[0, :, 0], [77, 89, 60, 96, 108])
    assert trees["dlib-5"].five({"landmarks_5": points[:, :5]}) is None


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY", b"not arrays"])
def test_a_damaged_file(tmp_path, content):
    path = tmp_path / "trees.npz"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="fetch dlib-5 again"):
        RegressionTrees.open("dlib-5", path)


def test_a_file_that_would_run_code_does_not(tmp_path):
    path = tmp_path / "trees.npz"
    arrays = {key: np.array([print], dtype=object) for key in toy(0)}
    np.savez(path, **arrays)
    with pytest.raises(ModelError, match="fetch dlib-5 again"):
        RegressionTrees.open("dlib-5", path)

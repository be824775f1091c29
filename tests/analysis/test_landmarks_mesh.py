"""Face mesh and irises: the geometry of crops exactly, what the networks find by its meaning."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visavis.analysis.landmarks import open_landmarker
from visavis.analysis.landmarks.mesh import FaceMesh
from visavis.errors import InputError
from visavis.image import load_image
from visavis.models.session import EngineOptions
from visavis.pipeline import Analyzer
from visavis.types import Faces

OPTIONS = EngineOptions("openvino", "cpu", "f32", 1)
LEFT_CORNERS, RIGHT_CORNERS = [33, 133], [362, 263]


@pytest.fixture(scope="module")
def mesh(store):
    return open_landmarker("face-mesh", store, OPTIONS)


@pytest.fixture(scope="module")
def obama(store):
    return load_image(store.path("obama"))


@pytest.fixture(scope="module")
def face(store, obama):
    (found,) = (Analyzer(recognizer=None, store=store, threads=1, precision="f32").analyze(obama),)
    assert len(found) == 1
    return found


@pytest.fixture(scope="module")
def six(store):
    image = load_image(store.path("six-people"))
    return image, Analyzer(recognizer=None, store=store, threads=1, precision="f32").analyze(image)


def moved(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return (points @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)


def off(points: np.ndarray, expected: np.ndarray, five: np.ndarray) -> np.ndarray:
    """Return how far points are off in eye separations."""
    return np.linalg.norm(points - expected, axis=-1) / np.linalg.norm(five[1] - five[0])


class Fixed:
    """A session that finds the same points in every crop."""

    options = EngineOptions.choose(threads=1)

    def __init__(self, name: str, points: np.ndarray) -> None:
        self.name, self.points = name, points.astype(np.float32)
        self.seen: list[np.ndarray] = []

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        self.seen.append(images)
        return {self.name: np.repeat(self.points.reshape(1, -1), len(images), axis=0)}


@settings(max_examples=40)
@given(st.floats(-3.1, 3.1), st.floats(20, 300), st.floats(-200, 500), st.floats(-200, 500))
def test_points_go_back_to_where_they_were_seen(angle, side, x, y):
    # The corners and the middle of the crop, counted from a pixel's corner as the networks do.
    at = np.zeros((468, 3))
    at[:5, :2] = [[0, 0], [192, 0], [0, 192], [192, 192], [96, 96]]
    at[:5, 2] = 19.2
    at[LEFT_CORNERS], at[RIGHT_CORNERS] = [[60, 80, 0], [80, 80, 0]], [[110, 80, 0], [130, 80, 0]]
    eye = np.full((76, 3), 32.0)
    eye[71 + 1] = [42, 32, 0]  # to the right of the center
    eye[71 + 3] = [22, 32, 0]
    model = FaceMesh("mesh", Fixed("output_mesh", at), Fixed("Identity", eye))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    around = np.array([[-0.2, -0.2], [0.2, -0.2], [0, 0], [-0.15, 0.2], [0.15, 0.2]]) * side
    box = np.array([[x - side / 2, y - side / 2, x + side / 2, y + side / 2]], np.float32)
    faces = Faces(box, np.ones(1), (around @ turn.T + [x, y])[None])
    found = model.locate(np.zeros((300, 300, 3), np.uint8), faces)
    points, reach = found["landmarks_468"][0], 0.8 * side
    expected = np.array([[-1, -1], [1, -1], [-1, 1], [1, 1], [0, 0]]) * reach @ turn.T + [x, y]
    np.testing.assert_allclose(points[:5, :2], expected, atol=0.02 + 1e-3 * side)
    np.testing.assert_allclose(points[:5, 2], 0.1 * 2 * reach, rtol=1e-3)
    for iris, corners in zip(found["irises"][0], (LEFT_CORNERS, RIGHT_CORNERS), strict=True):
        middle = points[corners, :2].mean(axis=0)
        width = np.linalg.norm(np.diff(points[corners, :2], axis=0))
        np.testing.assert_allclose(iris[0], middle, atol=0.02 + 1e-3 * side)
        right = turn @ [10 / 64 * 2.3 * width, 0]
        np.testing.assert_allclose(iris[1], middle + right, atol=0.02 + 1e-3 * side, err_msg="right is right")
        np.testing.assert_allclose(iris[3], middle - right, atol=0.02 + 1e-3 * side)


class TestFaces:
    def test_what_lies_where(self, mesh, obama, face):
        found = mesh.locate(obama, face)
        points, irises = found["landmarks_468"][0], found["irises"][0]
        five = mesh.five(found)[0]
        assert off(five, face.landmarks[0], five).max() < 0.15, "about where the detector has them"
        for iris, corners in zip(irises, (LEFT_CORNERS, RIGHT_CORNERS), strict=True):
            outer, inner = points[corners, :2]
            assert outer[0] < iris[3, 0] < iris[0, 0] < iris[1, 0] < inner[0], "the iris lies between the corners"
            assert iris[2, 1] < iris[0, 1] < iris[4, 1]
            radii = np.linalg.norm(iris[1:] - iris[0], axis=1)
            assert radii.max() < 1.25 * radii.min(), "irises are round"
            # They measure 11.7 mm, pupils of men are some 64 mm apart.
            assert 0.13 < 2 * radii.mean() / np.linalg.norm(five[1] - five[0]) < 0.23
        assert points[1, 2] < points[152, 2] < max(points[234, 2], points[454, 2]), "nose before chin before ears"
        assert points[10, 1] < points[168, 1] < points[1, 1] < points[13, 1] < points[152, 1], "from top to bottom"
        assert points[234, 0] < points[33, 0] < points[263, 0] < points[454, 0], "from left to right"

    def test_dlib_sees_the_eyes_and_the_mouth_there_too(self, mesh, six, store, monkeypatch):
        monkeypatch.setenv("VISAVIS_ACCEPT_LICENSES", "dlib-68")
        image, faces = six
        other = open_landmarker("dlib-68", store, EngineOptions.choose(threads=1, precision="f32"))
        ours, theirs = mesh.five(mesh.locate(image, faces)), other.five(other.locate(image, faces))
        errors = np.array([off(a, b, b) for a, b in zip(ours, theirs, strict=True)])
        assert np.median(errors) < 0.08
        assert np.percentile(errors, 80) < 0.15

    def test_a_shifted_picture_shifts_the_points(self, mesh, obama, face):
        scene = np.zeros((obama.shape[0] + 90, obama.shape[1] + 60, 3), np.uint8)
        scene[90:, 60:] = obama
        by = np.array([60, 90], np.float32)
        here = mesh.locate(obama, face)
        there = mesh.locate(scene, face.replace(boxes=face.boxes + np.tile(by, 2), landmarks=face.landmarks + by))
        # A large face is shrunk by whole pixels, which start at the edge of the picture.
        np.testing.assert_allclose(there["landmarks_468"], here["landmarks_468"] + np.array([60, 90, 0]), atol=0.6)
        np.testing.assert_allclose(there["irises"], here["irises"] + by, atol=0.6)

    def test_a_mirrored_picture_mirrors_the_points(self, mesh, obama, face):
        w = obama.shape[1]
        boxes = face.boxes[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [w, 0, w, 0]
        five = face.landmarks[:, [1, 0, 2, 4, 3]] * [-1, 1] + [w - 1, 0]
        flipped = mesh.locate(np.ascontiguousarray(obama[:, ::-1]), face.replace(boxes=boxes, landmarks=five))
        here = mesh.locate(obama, face)
        expected = mesh.five(here)[0][[1, 0, 2, 4, 3]] * [-1, 1] + [w - 1, 0]
        assert off(mesh.five(flipped)[0], expected, expected[[1, 0]]).max() < 0.05
        irises = here["irises"][0][::-1][:, [0, 3, 2, 1, 4]] * [-1, 1] + [w - 1, 0]
        assert off(flipped["irises"][0], irises, expected[[1, 0]]).max() < 0.03

    @pytest.mark.parametrize("degrees", [25, -35])
    @pytest.mark.parametrize("known", [True, False])
    def test_a_tilted_face_is_seen_upright(self, mesh, obama, face, degrees, known):
        center = (face.boxes[0, :2] + face.boxes[0, 2:]) / 2
        matrix = cv2.getRotationMatrix2D([float(v) for v in center], degrees, 0.9)
        turned = cv2.warpAffine(obama, matrix, obama.shape[1::-1], flags=cv2.INTER_AREA)
        five = moved(face.landmarks[0], matrix)[None]
        found = mesh.locate(turned, face.replace(landmarks=five if known else None))
        expected = mesh.locate(obama, face)
        upright = mesh.five(expected)[0]
        assert off(mesh.five(found)[0], moved(upright, matrix), upright).max() < 0.12
        irises = moved(expected["irises"][0].reshape(-1, 2), matrix)
        # Their points turn with the head.
        assert off(found["irises"][0].reshape(-1, 2), irises, upright).max() < 0.06

    @pytest.mark.parametrize("degrees", [-60, 90, 180])
    def test_five_landmarks_find_a_face_on_its_side(self, mesh, obama, face, degrees):
        self.test_a_tilted_face_is_seen_upright(mesh, obama, face, degrees, True)

    def test_many_faces_are_found_as_one_by_one(self, mesh, six):
        image, faces = six
        many = Faces.concat([faces] * 3)
        together = mesh.locate(image, many)
        for i in range(len(faces)):
            alone = mesh.locate(image, faces[i : i + 1])
            for name, points in alone.items():
                np.testing.assert_allclose(together[name][i], points[0], atol=0.05)
                np.testing.assert_allclose(together[name][12 + i], points[0], atol=0.05)

    def test_a_face_at_the_edge_of_the_picture(self, mesh, obama, face):
        x1, y1 = (int(v) for v in face.boxes[0, :2])
        cut = np.ascontiguousarray(obama[y1 + 10 :, x1 + 20 :])
        shift = np.array([x1 + 20, y1 + 10], np.float32)
        boxes = np.clip(face.boxes - [*shift, *shift], 0, None)
        found = mesh.locate(cut, face.replace(boxes=boxes, landmarks=face.landmarks - shift))
        five = mesh.five(mesh.locate(obama, face))[0]
        assert off(mesh.five(found)[0], five - shift, five).max() < 0.2

    def test_a_large_face_is_the_same_face(self, mesh, obama, face):
        small = cv2.resize(obama, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA)
        large = cv2.resize(obama, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
        fives = []
        for image, scale in ((small, 0.4), (large, 3.0)):
            scaled = face.replace(boxes=face.boxes * scale, landmarks=(face.landmarks + 0.5) * scale - 0.5)
            fives.append((mesh.five(mesh.locate(image, scaled))[0] + 0.5) / scale - 0.5)
        assert off(fives[0], fives[1], fives[1]).max() < 0.03


class TestWhatIsGiven:
    def test_without_irises_the_mesh_is_the_same(self, mesh, store, obama, face):
        bare = open_landmarker("face-mesh", store, OPTIONS, irises=False)
        found, points = bare.locate(obama, face), mesh.locate(obama, face)
        assert found.keys() == {"landmarks_468"}
        np.testing.assert_array_equal(found["landmarks_468"], points["landmarks_468"])
        np.testing.assert_array_equal(bare.five(found), mesh.five(points))
        with pytest.raises(InputError, match="no setting 'iris'; did you mean irises"):
            open_landmarker("face-mesh", store, OPTIONS, iris=False)

    def test_no_faces(self, mesh, obama):
        for empty in (Faces.empty(), Faces(np.empty((0, 4)), np.empty(0))):
            found = mesh.locate(obama, empty)
            assert found["landmarks_468"].shape == (0, 468, 3)
            assert found["irises"].shape == (0, 2, 5, 2)
            assert mesh.five(found).shape == (0, 5, 2)

    @pytest.mark.parametrize("landmarks", [True, False])
    def test_odd_boxes_give_finite_points(self, mesh, obama, landmarks):
        rows = [[0, 0, 1, 1], [5, 5, 5, 5], [-900, -900, -800, -800], [1e6, 1e6, 2e6, 2e6], [-1e9, -1e9, 1e9, 1e9]]
        rows += [[900, 1130, 1000, 1200], [40, 40, 20, 20], [0, 0, 910, 1]]
        boxes = np.array(rows, np.float32)
        five = np.repeat(boxes[:, None, :2], 5, axis=1) if landmarks else None
        found = mesh.locate(obama, Faces(boxes, np.ones(len(boxes)), five))
        assert all(np.isfinite(points).all() for points in found.values())

    @pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1)])
    def test_tiny_pictures(self, mesh, size):
        found = mesh.locate(np.zeros((*size, 3), np.uint8), Faces(np.array([[0, 0, 30, 30]]), np.ones(1)))
        assert all(np.isfinite(points).all() for points in found.values())

    def test_a_gray_picture(self, mesh, obama, face):
        gray = np.dstack([cv2.cvtColor(obama, cv2.COLOR_RGB2GRAY)] * 3)
        colored = mesh.five(mesh.locate(obama, face))[0]
        assert off(mesh.five(mesh.locate(gray, face))[0], colored, colored).max() < 0.05

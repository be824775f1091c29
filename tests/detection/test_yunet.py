"""YuNet: decoding like OpenCV's, coordinates of the image given, every size of face and of picture."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from visavis.detection import open_detector
from visavis.detection.yunet import YuNet, decode
from visavis.errors import InputError, ModelError, UnknownModel
from visavis.geometry import iou
from visavis.image import load_image, resize
from visavis.models.session import EngineOptions

F32 = EngineOptions("openvino", "cpu", "f32", 1)


@pytest.fixture(scope="module")
def make(store):
    """Return a function that opens the detector with settings."""
    return lambda **settings: open_detector("yunet", store, F32, **settings)


@pytest.fixture(scope="module")
def detector(make):
    return make()


@pytest.fixture(scope="module")
def portraits(detector, lfw_images):
    """Return photos with exactly one face, and its box."""
    photos = lfw_images(60, seed=5)
    return [(photo, found) for photo, found in zip(photos, detector.detect(photos), strict=True) if len(found) == 1]


def opencv(store, image, score=0.6):
    """Return OpenCV's faces of an image as rows of x1, y1, x2, y2, ten landmarks and score."""
    height, width = image.shape[:2]
    theirs = cv2.FaceDetectorYN.create(str(store.path("yunet")), "", (width, height), score, 0.3)
    faces = theirs.detect(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1]
    if faces is None:
        return np.empty((0, 15), np.float32)
    faces[:, 2:4] += faces[:, :2]
    return faces[np.argsort(-faces[:, 14], kind="stable")]


def match(found, boxes):
    """Return the found face nearest to each box, all of which must overlap one."""
    overlap = iou(np.asarray(boxes, np.float32).reshape(-1, 4), found.boxes)
    assert (overlap.max(axis=1) > 0.5).all()
    return found[overlap.argmax(axis=1)]


def moved(places, dx, dy):
    """Return boxes or landmarks, shifted."""
    return places + np.resize([dx, dy], places.shape[-1])


class TestLikeOpenCV:
    @pytest.mark.parametrize("shape", [(250, 250), (256, 256), (199, 333), (640, 480), (97, 64)])
    def test_on_photos_of_one_view(self, detector, store, lfw_images, shape):
        seen = 0
        for image in lfw_images(25, seed=3):
            image = resize(image, shape[1], shape[0])
            ours, theirs = detector.detect([image])[0], opencv(store, image)
            inside = np.clip(theirs[:, :4], 0, [shape[1], shape[0]] * 2)
            assert len(ours) == len(theirs)
            np.testing.assert_allclose(ours.scores, theirs[:, 14], atol=1e-3)
            np.testing.assert_allclose(ours.boxes, inside, atol=0.05)
            np.testing.assert_allclose(ours.landmarks.reshape(-1, 10), theirs[:, 4:14], atol=0.05)
            seen += len(theirs)
        assert seen > 15

    def test_bf16_is_near(self, store, portraits):
        half = open_detector("yunet", store, EngineOptions("openvino", "cpu", "bf16", 1))
        for photo, found in portraits[:20]:
            near = match(half.detect([photo])[0], found.boxes)
            np.testing.assert_allclose(near.scores, found.scores, atol=0.03)
            np.testing.assert_allclose(near.landmarks, found.landmarks, atol=2.5)


class TestCoordinates:
    @pytest.mark.parametrize(("height", "width"), [(300, 700), (801, 333), (1080, 1921), (33, 650), (2000, 1000)])
    def test_of_the_image_given(self, make, portraits, height, width):
        detector = make()
        photo, found = portraits[0]
        side = min(height, width, 250)
        small = resize(photo, side, side)
        y, x = height - side, width - side
        scene = np.full((height, width, 3), 90, np.uint8)
        scene[y : y + side, x : x + side] = small
        (ours,) = match(detector.detect([scene])[0], found.boxes * side / 250 + [x, y, x, y])
        np.testing.assert_allclose(ours.landmarks, found.landmarks[0] * side / 250 + [x, y], atol=0.06 * side)

    @pytest.mark.parametrize("zoom", [0.4, 0.7, 1.3, 2.56, 4.0, 7.3])
    def test_scale_with_the_photo(self, detector, portraits, zoom):
        for photo, found in portraits[:3]:
            side = round(250 * zoom)
            ours = match(detector.detect([resize(photo, side, side)])[0], found.boxes * side / 250)
            face = float(found.boxes[0, 3] - found.boxes[0, 1]) * zoom
            np.testing.assert_allclose(ours.landmarks, found.landmarks * side / 250, atol=max(0.16 * face, 3))

    @pytest.mark.parametrize(("dx", "dy"), [(0, 0), (1, 0), (7, 19), (32, 64), (40, 3), (70, 70)])
    def test_move_with_the_photo(self, detector, portraits, dx, dy):
        photo, found = portraits[1]
        scene = np.zeros((320, 320, 3), np.uint8)
        scene[dy : dy + 250, dx : dx + 250] = photo
        ours = match(detector.detect([scene])[0], moved(found.boxes, dx, dy))
        np.testing.assert_allclose(ours.landmarks, moved(found.landmarks, dx, dy), atol=6)

    def test_boxes_end_at_the_image(self, detector, portraits):
        photo, found = portraits[2]
        x1, y1, x2, y2 = found.boxes[0].round().astype(int)
        cut = np.ascontiguousarray(photo[y1 + 5 : y2, x1 : x2 - 5])
        for faces in detector.detect([cut, resize(cut, 900, 1100)]):
            assert (faces.boxes >= 0).all()
            assert len(faces) == 1
        assert (detector.detect([cut])[0].boxes <= [cut.shape[1], cut.shape[0]] * 2).all()


class TestShapes:
    @pytest.mark.parametrize(
        "shape", [(1, 1), (2, 2), (1, 31), (33, 1), (1, 20_000), (20_000, 1), (3, 5000), (5000, 3), (1, 65_535)]
    )
    def test_slivers(self, detector, shape):
        image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
        (faces,) = detector.detect([image])
        assert len(faces) == 0
        assert faces.landmarks.shape == (0, 5, 2)

    def test_a_long_strip_of_faces(self, detector, portraits):
        photos = [portraits[i % len(portraits)] for i in range(24)]
        strip = np.concatenate([photo for photo, _ in photos], axis=1)
        expected = np.concatenate([moved(found.boxes, 250 * i, 0) for i, (_, found) in enumerate(photos)])
        (faces,) = detector.detect([strip])
        match(faces, expected)
        assert len(faces) <= len(expected) + 2

    def test_nothing_to_do(self, detector):
        assert detector.detect([]) == []

    def test_batches_equal_singles(self, detector, lfw_images):
        photos = lfw_images(11, seed=8)
        photos[3] = resize(photos[3], 130, 220)
        photos[7] = resize(photos[7], 130, 220)
        photos[9] = resize(photos[9], 700, 700)
        for together, photo in zip(detector.detect(photos), photos, strict=True):
            (alone,) = detector.detect([photo])
            np.testing.assert_allclose(together.boxes, alone.boxes, atol=0.01)
            np.testing.assert_allclose(together.scores, alone.scores, atol=1e-4)
            np.testing.assert_allclose(together.landmarks, alone.landmarks, atol=0.01)


def compose(portraits, height, shape, count, seed=0):
    """Lay faces of one height on gray ground; return the scene and their boxes."""
    rng = np.random.default_rng(seed)
    scene = np.full((*shape, 3), 96, np.uint8)
    scene += rng.integers(0, 12, shape, dtype=np.uint8)[..., None]
    boxes, taken = [], np.empty((0, 4), np.float32)
    while len(boxes) < count:
        photo, found = portraits[int(rng.integers(len(portraits)))]
        box = found.boxes[0]
        zoom, edge = height / (box[3] - box[1]), (0.3 if height < 500 else 0.1) * (box[3] - box[1])
        x1, y1 = np.maximum(box[:2] - edge, 0).astype(int)
        x2, y2 = np.minimum(box[2:] + edge, 250).astype(int)
        patch = resize(np.ascontiguousarray(photo[y1:y2, x1:x2]), round((x2 - x1) * zoom), round((y2 - y1) * zoom))
        y, x = rng.integers(0, np.array(shape) - patch.shape[:2] + 1)
        place = np.array([[x, y, x + patch.shape[1], y + patch.shape[0]]], np.float32)
        if len(taken) and iou(place, taken).max() > 0:
            continue
        taken = np.concatenate([taken, place])
        scene[y : y + patch.shape[0], x : x + patch.shape[1]] = patch
        boxes.append((box - [x1, y1, x1, y1]) * zoom + [x, y, x, y])
    return scene, np.array(boxes, np.float32)


class TestScales:
    @pytest.mark.parametrize(("height", "count"), [(20, 40), (40, 30), (150, 10), (300, 3), (600, 1), (900, 1)])
    def test_faces_of_every_height_in_three_megapixels(self, detector, portraits, height, count):
        scene, boxes = compose(portraits, height, (1500, 1900), count)
        (faces,) = detector.detect([scene])
        found = iou(boxes, faces.boxes).max(axis=1) > 0.4
        assert found.mean() >= 0.9
        assert len(faces) <= count + 1

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("height", "count"), [(20, 60), (30, 60), (100, 30), (260, 12), (420, 6), (700, 3), (1400, 1), (2500, 1)]
    )
    def test_faces_of_every_height_in_twelve_megapixels(self, detector, portraits, height, count):
        hits = others = total = 0
        for seed in range(3):
            scene, boxes = compose(portraits, height, (4000, 3264), count, seed)
            (faces,) = detector.detect([scene])
            hits += int((iou(boxes, faces.boxes).max(axis=1) > 0.4).sum())
            others += len(faces)
            total += count
        assert hits >= 0.93 * total
        assert others <= 1.04 * total + 1

    def test_small_and_large_faces_in_one_picture(self, detector, portraits):
        scene, small = compose(portraits, 24, (1500, 1900), 25)
        photo, found = portraits[3]
        scene[100:1400, 300:1600] = resize(photo, 1300, 1300)
        large = found.boxes * 5.2 + [300, 100, 300, 100]
        small = small[((small[:, :2] < [290, 90]) | (small[:, :2] > [1610, 1410])).any(axis=1)]
        (faces,) = detector.detect([scene])
        match(faces, large)
        assert (iou(small, faces.boxes).max(axis=1) > 0.4).mean() >= 0.9

    def test_each_face_once(self, detector, portraits):
        """A face on the seams of tiles is in up to four of them."""
        photo, found = portraits[4]
        for zoom, x, y in ((0.6, 820, 740), (1.0, 760, 800), (1.7, 800, 700)):
            side = round(250 * zoom)
            scene = np.full((1700, 1800, 3), 120, np.uint8)
            scene[y : y + side, x : x + side] = resize(photo, side, side)
            (faces,) = detector.detect([scene])
            assert len(match(faces, moved(found.boxes * zoom, x, y))) == len(faces) == 1

    def test_min_face_of_the_caller(self, make, portraits):
        scene, boxes = compose(portraits, 12, (400, 500), 12)
        assert (iou(boxes, make(min_face=8).detect([scene])[0].boxes).max(axis=1, initial=0) > 0.4).mean() >= 0.75
        assert len(make(min_face=60).detect([scene])[0]) == 0

    @pytest.mark.parametrize("degrees", [-20, -10, 10, 20])
    def test_tilted_heads(self, detector, portraits, degrees):
        found = 0
        for photo, faces in portraits[:12]:
            matrix = cv2.getRotationMatrix2D((125, 125), degrees, 1)
            turned = np.asarray(cv2.warpAffine(photo, matrix, (250, 250)))
            expected = np.concatenate([faces.landmarks[0], np.ones((5, 1))], axis=1) @ matrix.T
            (ours,) = detector.detect([turned])
            error = np.abs(ours.landmarks - expected).max(axis=(1, 2)).min(initial=999)
            found += error < 15
        assert found >= 11


class TestNoFace:
    def grounds(self):
        rng = np.random.default_rng(0)
        gradient = np.linspace(0, 255, 1000).astype(np.uint8)
        yield "black", np.zeros((700, 900, 3), np.uint8)
        yield "white", np.full((700, 900, 3), 255, np.uint8)
        yield "noise", rng.integers(0, 256, (700, 900, 3), dtype=np.uint8)
        yield "gray noise", np.repeat(rng.integers(0, 256, (700, 900, 1), dtype=np.uint8), 3, axis=2)
        yield "coarse noise", resize(rng.integers(0, 256, (70, 90, 3), dtype=np.uint8), 900, 700)
        yield "gradient", np.repeat(np.broadcast_to(gradient, (700, 1000))[..., None], 3, axis=2)
        yield "stripes", np.broadcast_to(np.uint8(np.arange(900) // 20 % 2 * 255)[None, :, None], (700, 900, 3))
        yield "checkers", np.uint8((np.indices((700, 900)) // 40).sum(0) % 2 * 255)[..., None].repeat(3, axis=2)

    def test_no_false_alarm(self, detector):
        for name, image in self.grounds():
            for size in (1, 3):
                picture = resize(np.ascontiguousarray(image), image.shape[1] // size, image.shape[0] // size)
                assert len(detector.detect([picture])[0]) == 0, name


class TestContract:
    def test_scores_fall(self, detector, store):
        picture = load_image(store.path("six-people"))
        (faces,) = detector.detect([picture])
        assert len(faces) == 6
        assert (np.diff(faces.scores) <= 0).all()

    def test_a_higher_score_keeps_the_surer_faces(self, make, lfw_images):
        photos = lfw_images(20, seed=2)
        for few, many in zip(make(score=0.85).detect(photos), make(score=0.6).detect(photos), strict=True):
            np.testing.assert_allclose(few.scores, many.scores[many.scores >= 0.85], atol=1e-6)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"score": 0}, "score lies in 0..1, not 0"),
            ({"score": 1.5}, "score lies in"),
            ({"score": float("nan")}, "score lies in"),
            ({"min_face": 2}, "min_face is a height in pixels, 5 to 2000, not 2"),
            ({"min_face": 1e9}, "min_face is"),
            ({"min_face": float("nan")}, "min_face is"),
        ],
    )
    def test_settings_out_of_range(self, make, settings, message):
        with pytest.raises(InputError, match=message):
            make(**settings)

    def test_names_that_are_no_detector(self, store):
        with pytest.raises(UnknownModel, match=r"is a model for recognition, not a detector; detectors: .*yunet"):
            open_detector("sface", store, F32)
        with pytest.raises(UnknownModel, match="did you mean yunet"):
            open_detector("yunett", store, F32)


class Fake:
    """A session that gives YuNet's maps as told: what a broken model file may do."""

    options = F32

    def __init__(self, **outputs):
        self.outputs = outputs

    def run(self, images):
        n, height, width = images.shape[:3]
        maps = {}
        for stride in (8, 16, 32):
            k = (height // stride) * (width // stride)
            for name, depth in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
                maps[f"{name}_{stride}"] = np.full((n, k, depth), self.outputs.get(name, 0), np.float32)
        return maps


class TestBrokenNetworks:
    def test_scores_that_are_no_numbers_are_no_faces(self):
        assert len(YuNet(Fake(cls=np.nan, obj=np.nan)).detect([np.zeros((64, 64, 3), np.uint8)])[0]) == 0

    @pytest.mark.parametrize("outputs", [{"bbox": np.nan}, {"kps": np.inf}])
    def test_places_that_are_no_numbers(self, outputs):
        with pytest.raises(ModelError, match="NaN"):
            YuNet(Fake(cls=1, obj=1, **outputs)).detect([np.zeros((64, 64, 3), np.uint8)])

    def test_sizes_beyond_all_bounds(self):
        (faces,) = YuNet(Fake(cls=1, obj=1, bbox=80)).detect([np.zeros((64, 64, 3), np.uint8)])
        assert (faces.boxes >= 0).all()
        assert (faces.boxes <= 64).all()

    def test_another_network(self):
        maps = Fake(cls=1).run(np.zeros((1, 64, 64, 3), np.uint8))
        with pytest.raises(ModelError, match="this is not YuNet"):
            decode(maps, 96, 64, 0.5)

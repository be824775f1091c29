"""The functions: equal to face_recognition's own results on sample photos, with dlib and without."""

from __future__ import annotations

import doctest
import inspect
import io
import re
import struct
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from conftest import missing

from visavis.compat import face_recognition
from visavis.compat.face_recognition import api, chips, models
from visavis.errors import ImageTooLarge, InputError, ModelError

SAMPLES = ("obama", "obama2", "biden", "obama-partial", "six-people")
OBAMA = (142, 617, 409, 349)


def with_dlib() -> None:
    try:
        import dlib  # noqa: F401
    except ImportError:
        missing("dlib is not installed; pip install dlib-bin")


class TestEqualsTheOriginal:
    """For the same boxes, without dlib."""

    pytestmark = pytest.mark.usefixtures("no_dlib")

    @pytest.mark.parametrize("name", SAMPLES)
    def test_pixels(self, photo, reference, name):
        assert list(photo(name).shape) == reference[name]["shape"]
        assert photo(name).mean() == pytest.approx(reference[name]["mean"], abs=0.05)

    @pytest.mark.parametrize("name", SAMPLES)
    def test_five_points(self, photo, reference, name):
        found = api.face_landmarks(photo(name), reference[name]["raw_boxes"], model="small")
        assert plain(found) == reference[name]["small"]

    @pytest.mark.parametrize("name", SAMPLES)
    def test_68_points(self, photo, reference, licensed, name):
        found = api.face_landmarks(photo(name), reference[name]["raw_boxes"])
        assert plain(found) == reference[name]["large"]
        assert [list(face) for face in found] == [list(face) for face in reference[name]["large"]], "in that order"

    @pytest.mark.parametrize("name", SAMPLES[:4])
    @pytest.mark.parametrize("model", ["small", "large"])
    def test_encodings(self, photo, reference, licensed, name, model):
        row = reference[name]
        ours = api.face_encodings(photo(name), row["raw_boxes"], model=model)
        theirs = np.array(row["encodings" if model == "small" else "encodings_large"])
        assert [encoding.shape for encoding in ours] == [(128,)] * len(theirs)
        assert all(encoding.dtype == np.float64 for encoding in ours)
        assert np.linalg.norm(ours - theirs, axis=1).max() < 2e-5

    def test_jitters(self, photo, reference):
        (theirs,) = reference["obama"]["encodings_100_jitters"]
        (ours,) = api.face_encodings(photo("obama"), [OBAMA], num_jitters=100)
        (plain_one,) = api.face_encodings(photo("obama"), [OBAMA])
        assert np.linalg.norm(ours - theirs) < 0.05 < np.linalg.norm(plain_one - theirs)
        first, again = (api.face_encodings(photo("obama"), [OBAMA], num_jitters=5)[0] for _ in range(2))
        np.testing.assert_array_equal(first, again)
        for few in (1, 0, -1, True):
            np.testing.assert_array_equal(api.face_encodings(photo("obama"), [OBAMA], few)[0], plain_one)


def plain(faces):
    return [{name: [list(point) for point in points] for name, points in face.items()} for face in faces]


class TestWithDlib:
    @pytest.fixture(autouse=True)
    def _needs_dlib(self):
        with_dlib()

    def test_hog_boxes_are_the_same(self, photo, reference):
        assert [list(box) for box in api.face_locations(photo("obama-partial"))] == reference["obama-partial"]["boxes"]
        (raw,) = api._raw_face_locations(photo("obama-partial"))
        assert list(api._rect_to_css(raw)) == reference["obama-partial"]["raw_boxes"][0]
        assert (raw.width(), raw.height(), raw.area()) == (248, 224, 248 * 224)

    def test_unknown_locations_are_looked_for_by_hog(self, photo, reference):
        (ours,) = api.face_encodings(photo("obama-partial"))
        assert np.linalg.norm(ours - reference["obama-partial"]["encodings"][0]) < 2e-5
        assert plain(api.face_landmarks(photo("obama-partial"), model="small")) == reference["obama-partial"]["small"]

    def test_gray(self, photo):
        gray = api.load_image_file(io.BytesIO(encoded(photo("obama-partial"), "PNG")), mode="L")
        assert gray.ndim == 2
        assert len(api.face_locations(gray)) == 1

    def test_yunet_on_request(self, photo):
        assert api.face_locations(photo("obama"), model="yunet") != [OBAMA]


class TestWithoutDlib:
    pytestmark = pytest.mark.usefixtures("no_dlib")

    @pytest.mark.parametrize("name", SAMPLES)
    def test_boxes_are_near_those_of_hog(self, photo, reference, name):
        from visavis.geometry import iou

        ours, theirs = api.face_locations(photo(name)), reference[name]["boxes"]
        assert len(ours) == len(theirs)
        overlap = iou(edges(ours), edges(theirs))
        assert (overlap.max(axis=1) > 0.6).all()
        assert all(type(side) is int for box in ours for side in box)

    def test_hog_and_other_names_mean_yunet(self, photo):
        boxes = api.face_locations(photo("obama2"))
        for model in ("hog", "yunet", "anything"):
            assert api.face_locations(photo("obama2"), model=model) == boxes

    def test_cnn_is_that_of_dlib(self, photo):
        image = photo("obama")
        assert api.face_locations(image, 0, model="cnn") == [(154, 611, 390, 375)]
        assert api.batch_face_locations([image, image], 0) == [[(154, 611, 390, 375)]] * 2
        assert api.batch_face_locations([]) == []
        (raw,) = api._raw_face_locations(image, 0, model="cnn")
        assert raw.rect == api._css_to_rect((154, 611, 390, 375))
        assert raw.confidence == pytest.approx(1.12, abs=0.02)

    def test_cnn_on_what_is_large_and_small(self, photo, lfw_photo):
        large = np.array(PIL.Image.fromarray(photo("six-people")).resize((2496, 1728)))
        assert len(api.face_locations(large, 0, model="cnn")) == 6
        small = api.load_image_file(io.BytesIO(lfw_photo("Colin_Powell", 2)))[::3, ::3]
        assert [len(api.face_locations(small, times, model="cnn")) for times in (0, 2)] == [0, 1]

    def test_decisions_at_the_usual_tolerance(self, photo):
        known = [api.face_encodings(photo(name))[0] for name in ("obama2", "biden")]
        (unknown,) = api.face_encodings(photo("obama"))
        assert [bool(same) for same in api.compare_faces(known, unknown)] == [True, False]

    def test_encodings_of_dlib_boxes_stay_valid(self, photo, reference):
        for name in ("obama", "obama2", "biden"):
            (ours,) = api.face_encodings(photo(name))
            assert np.linalg.norm(ours - reference[name]["encodings"][0]) < 0.3

    def test_boxes_are_cut_to_the_image(self, photo):
        image = photo("obama")[:, :480]  # half of the face
        for top, right, bottom, left in api.face_locations(image):
            assert 0 <= top < bottom <= image.shape[0]
            assert 0 <= left < right <= 480

    def test_more_enlarging_finds_smaller_faces(self, photo):
        small = np.array(PIL.Image.fromarray(photo("six-people")).resize((160, 111)))
        assert len(api.face_locations(small, 1)) < len(api.face_locations(small, 3)) == 6

    def test_no_face(self):
        blank = np.full((200, 300, 3), 127, np.uint8)
        assert api.face_locations(blank) == []
        assert api.face_encodings(blank) == []
        assert api.face_landmarks(blank, model="small") == []
        assert api.face_landmarks(blank) == []

    def test_no_locations_given(self, photo):
        assert api.face_encodings(photo("obama"), []) == []
        assert api.face_landmarks(photo("obama"), ()) == []


def edges(boxes):
    return np.array([(left, top, right, bottom) for top, right, bottom, left in boxes], np.float32)


class TestLicense:
    def test_the_large_model_says_how_to_accept(self, photo, monkeypatch, tmp_path):
        monkeypatch.delenv("VISAVIS_ACCEPT_LICENSES", raising=False)
        monkeypatch.setenv("VISAVIS_HOME", str(tmp_path))
        for use in (api.face_landmarks, lambda *args: api.face_encodings(*args, model="large")):
            with pytest.raises(ModelError, match=r"commercial.*models fetch dlib-68 --accept-license"):
                use(photo("obama"), [OBAMA])
        assert not list(tmp_path.rglob("*.npz"))


class TestDistances:
    def test_values(self):
        rng = np.random.default_rng(0)
        known, one = rng.normal(size=(5, 128)), rng.normal(size=128)
        expected = [np.sqrt(((row - one) ** 2).sum()) for row in known]
        for given in (known, list(known), tuple(known), known.tolist()):
            np.testing.assert_allclose(api.face_distance(given, one), expected)
            answers = api.compare_faces(given, one, tolerance=expected[2])
            assert type(answers) is list
            assert answers[2]
            assert answers == [value <= expected[2] for value in expected]

    def test_pairs_of_rows(self):
        rows = np.random.default_rng(0).normal(size=(3, 128))
        np.testing.assert_array_equal(api.face_distance(rows, rows), np.zeros(3))

    def test_nothing_known(self):
        for nothing in ([], np.array([]), np.empty((0, 128))):
            distances = api.face_distance(nothing, np.zeros(128))
            assert type(distances) is np.ndarray
            assert distances.shape == (0,)
            assert api.compare_faces(nothing, np.zeros(128)) == []

    @pytest.mark.parametrize(
        ("known", "one"),
        [
            ([np.zeros(128)], np.zeros(5)),
            (np.zeros(128), np.zeros(128)),
            ([np.zeros(128)], None),
            ([np.zeros(128)], "text"),
            ([[1.0], [1.0, 2.0]], np.zeros(1)),
            ({"ada": np.zeros(128)}.values(), np.zeros(128)),
        ],
    )
    def test_what_can_not_be_compared(self, known, one):
        with pytest.raises(api.ArgumentError, match="list of encodings"):
            api.face_distance(known, one)


class TestLoading:
    def test_transparency_is_dropped_and_modes(self, tmp_path):
        pixels = np.zeros((3, 4, 4), np.uint8)
        pixels[..., 0] = 200
        path = tmp_path / "a photo 照片.png"
        path.write_bytes(encoded(pixels, "PNG"))
        with path.open("rb") as file:
            for source in (path, str(path), file, io.BytesIO(path.read_bytes())):
                assert api.load_image_file(source)[0, 0].tolist() == [200, 0, 0]
        assert api.load_image_file(path, mode="L").shape == (3, 4)
        assert api.load_image_file(path, None).shape == (3, 4, 4)
        with pytest.raises(ValueError, match="mode"):
            api.load_image_file(path, mode="XYZ")

    def test_the_orientation_tag_is_left_alone(self):
        exif = PIL.Image.Exif()
        exif[0x0112] = 6
        turned = io.BytesIO()
        PIL.Image.fromarray(np.zeros((20, 10, 3), np.uint8)).save(turned, "JPEG", exif=exif)
        assert api.load_image_file(turned).shape == (20, 10, 3)

    def test_a_jpeg_that_was_cut_short(self, store, tmp_path, photo):
        data = store.path("obama").read_bytes()
        path = tmp_path / "cut.jpg"
        path.write_bytes(data[: len(data) // 2])
        cut = api.load_image_file(path)
        assert cut.shape == (1137, 910, 3)
        np.testing.assert_array_equal(cut[:200], photo("obama")[:200])
        assert (cut[-1] == 128).all()

    def test_what_is_no_image(self, tmp_path):
        (tmp_path / "text.jpg").write_text("not an image")
        (tmp_path / "empty.jpg").write_bytes(b"")
        with pytest.raises(FileNotFoundError):
            api.load_image_file(tmp_path / "missing.jpg")
        for name in ("text.jpg", "empty.jpg"):
            with pytest.raises(PIL.UnidentifiedImageError):
                api.load_image_file(tmp_path / name)
        (tmp_path / "cut.png").write_bytes(
            encoded(np.random.default_rng(0).integers(0, 255, (99, 99, 3), np.uint8), "PNG")[:900]
        )
        with pytest.raises(OSError, match="truncated"):
            api.load_image_file(tmp_path / "cut.png")

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
    def test_an_altered_image_is_read_or_refused(self, kind):
        data = encoded(np.random.default_rng(0).integers(0, 255, (50, 50, 3), np.uint8), kind)
        refused = 0
        for at in range(2, 300, 3):
            altered = bytearray(data)
            altered[at] ^= 0xFF
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    assert api.load_image_file(io.BytesIO(altered)).shape[2] == 3
            except (OSError, ImageTooLarge):
                refused += 1
        assert refused

    def test_a_header_that_claims_too_many_pixels(self):
        data = bytearray(encoded(np.zeros((9, 9, 3), np.uint8), "BMP"))
        data[18:26] = struct.pack("<ii", 60_000, 60_000)
        with pytest.raises(ImageTooLarge, match="more pixels than Pillow reads"):
            api.load_image_file(io.BytesIO(data))


def encoded(pixels, kind):
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


class TestBadInput:
    pytestmark = pytest.mark.usefixtures("no_dlib")

    @pytest.mark.parametrize(
        "image",
        [
            np.zeros((0,), np.uint8),
            np.zeros((9, 9, 2), np.uint8),
            np.zeros((9, 9, 4), np.uint8),
            np.zeros((1, 9, 9, 3), np.uint8),
            np.zeros((9, 9, 3)),
            np.zeros((9, 9, 3), np.float32),
            np.zeros((9, 9, 3), np.uint16),
            np.zeros((9, 9, 3), int),
            np.zeros((9, 9), bool),
            [[1, 2], [3, 4]],
            "photo.jpg",
            None,
            PIL.Image.new("RGB", (9, 9)),
        ],
        ids=lambda image: f"{type(image).__name__}{getattr(image, 'shape', '')}{getattr(image, 'dtype', '')}",
    )
    def test_what_is_no_8_bit_picture(self, image):
        wanted = "Unsupported image type" if isinstance(image, np.ndarray) else "numpy array"
        for error in (RuntimeError, TypeError, InputError):  # the first two are what dlib raises
            with pytest.raises(error, match=wanted):
                api.face_locations(image)
        for use in (api.face_encodings, api.face_landmarks, lambda image: api.batch_face_locations([image])):
            with pytest.raises(api.ArgumentError, match=wanted):
                use(image)

    @pytest.mark.parametrize(
        "shape", [(0, 0, 3), (0, 5, 3), (5, 0, 3), (0, 5), (1, 1, 3), (1, 400, 3), (2, 2), (7, 3, 1)]
    )
    def test_pictures_too_small_for_a_face(self, shape):
        image = np.zeros(shape, np.uint8)
        assert api.face_locations(image) == []
        assert api.batch_face_locations([image]) == [[]]
        assert api.face_encodings(image) == []
        # As dlib does, it guesses where a given box is.
        (encoding,) = api.face_encodings(image, [(0, 20, 20, 0)])
        assert np.isfinite(encoding).all()
        assert len(api.face_landmarks(image, [(0, 20, 20, 0)], model="small")) == 1

    def test_layouts_of_memory(self, photo):
        image = photo("obama")
        (expected,) = api.face_encodings(image, [OBAMA])
        frozen = image.copy()
        frozen.flags.writeable = False
        for same in (np.asfortranarray(image), image[::-1][::-1], frozen):
            np.testing.assert_array_equal(api.face_encodings(same, [OBAMA])[0], expected)

    def test_gray_is_taken_as_three_equal_channels(self, photo):
        gray = photo("obama")[..., 0]
        (expected,) = api.face_encodings(np.dstack([gray] * 3), [OBAMA])
        for same in (gray, gray[..., None]):
            np.testing.assert_array_equal(api.face_encodings(same, [OBAMA])[0], expected)

    @pytest.mark.parametrize(
        "box", [(1, 2, 3), (1.5, 2, 3, 4), "abcd", (np.nan,) * 4, None, 7, (10**9, 10**9, 10**9, 0), (None,) * 4]
    )
    def test_what_is_no_box(self, photo, box):
        for use in (api.face_encodings, lambda *args: api.face_landmarks(*args, model="small")):
            with pytest.raises(api.ArgumentError, match="box"):
                use(photo("obama"), [box])

    @pytest.mark.parametrize("box", [(9, 9, 9, 9), (90, 10, 10, 90), (-500, -400, -300, -450), (0, 5000, 5000, 0)])
    def test_odd_boxes_give_a_guess(self, photo, box):
        (encoding,) = api.face_encodings(photo("obama"), [box])
        assert np.isfinite(encoding).all()

    def test_kinds_of_boxes(self, photo):
        (expected,) = api.face_encodings(photo("obama"), [OBAMA])
        for box in (list(OBAMA), np.array(OBAMA), tuple(np.int32(side) for side in OBAMA), (*OBAMA, 7)):
            np.testing.assert_array_equal(api.face_encodings(photo("obama"), [box])[0], expected)
        np.testing.assert_array_equal(api.face_encodings(photo("obama"), np.array([OBAMA]))[0], expected)

    @pytest.mark.parametrize("times", [-1, 1.0, "1", None])
    def test_numbers_of_times(self, photo, times):
        with pytest.raises(api.ArgumentError, match="number_of_times_to_upsample"):
            api.face_locations(photo("obama"), times)

    def test_enlarging_beyond_memory(self, photo):
        with pytest.raises(ImageTooLarge, match="enlarge less"):
            api.face_locations(photo("obama"), 60)

    @pytest.mark.parametrize("jitters", [1.0, "2", None])
    def test_numbers_of_jitters(self, photo, jitters):
        with pytest.raises(api.ArgumentError, match="num_jitters"):
            api.face_encodings(photo("obama"), [OBAMA], jitters)

    def test_batches(self, photo):
        with pytest.raises(api.ArgumentError, match="same dimensions"):
            api.batch_face_locations([photo("obama"), photo("obama2")])
        with pytest.raises(api.ArgumentError, match="batch_size"):
            api.batch_face_locations([photo("obama")], 0, 0)

    def test_no_such_landmark_model(self, photo):
        with pytest.raises(ValueError, match=re.escape("['small', 'large']")):
            api.face_landmarks(photo("obama"), [OBAMA], model="medium")


class TestModule:
    def test_names_orders_and_defaults(self):
        def arguments(name):
            return [(p.name, p.default) for p in inspect.signature(getattr(face_recognition, name)).parameters.values()]

        needed = inspect.Parameter.empty
        for name, expected in {
            "load_image_file": [("file", needed), ("mode", "RGB")],
            "face_locations": [("img", needed), ("number_of_times_to_upsample", 1), ("model", "hog")],
            "batch_face_locations": [("images", needed), ("number_of_times_to_upsample", 1), ("batch_size", 128)],
            "face_landmarks": [("face_image", needed), ("face_locations", None), ("model", "large")],
            "face_encodings": [
                ("face_image", needed),
                ("known_face_locations", None),
                ("num_jitters", 1),
                ("model", "small"),
            ],
            "compare_faces": [("known_face_encodings", needed), ("face_encoding_to_check", needed), ("tolerance", 0.6)],
            "face_distance": [("face_encodings", needed), ("face_to_compare", needed)],
        }.items():
            assert arguments(name) == expected
        assert face_recognition.__version__ == "1.2.3"

    def test_importing_it_loads_numpy_alone(self):
        code = "import visavis.compat.face_recognition, sys; print(*sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        heavy = {"cv2", "PIL", "dlib", "onnx", "openvino", "onnxruntime", "sqlalchemy", "faiss", "typer", "click"}
        assert not heavy & set(done.stdout.split())

    def test_one_set_of_models_a_home(self, monkeypatch, tmp_path):
        first = models.default()
        assert models.default() is first
        monkeypatch.setenv("VISAVIS_HOME", str(tmp_path))
        other = models.default()
        assert other is not first
        assert other._store.home == tmp_path
        assert not list(tmp_path.iterdir())

    def test_shared_among_threads(self, no_dlib, lfw_images, monkeypatch, home):
        images = lfw_images(6, seed=3)
        expected = [api.face_encodings(image) for image in images]
        models._models.cache_clear()
        results = {}

        def work(i):
            results[i] = [api.face_encodings(image) for image in images]

        workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert sorted(results) == [0, 1, 2, 3]
        for found in results.values():
            for ours, theirs in zip(found, expected, strict=True):
                np.testing.assert_array_equal(ours, theirs)

    @pytest.mark.parametrize("module", [api, chips])
    def test_examples_in_docstrings(self, module):
        results = doctest.testmod(module)
        assert results.attempted > 0
        assert results.failed == 0

    def test_docs_name_every_function(self):
        text = (Path(__file__).parents[2] / "docs" / "face_recognition.md").read_text(encoding="utf-8")
        for name in face_recognition.__all__:
            assert f"`{name}" in text

"""Analyzer: one image, lists and streams give the same; verify; every registered model keeps its contract."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import visavis as vv
from visavis import pipeline
from visavis.errors import (
    CalibrationError,
    ImageError,
    InputError,
    ModelMismatch,
    NoFaceFound,
    SeveralFacesFound,
    UnknownModel,
)
from visavis.geometry import iou
from visavis.image import load_image, resize
from visavis.models.cards import builtin_cards
from visavis.models.store import Store
from visavis.pipeline import Analyzer, only_face
from visavis.recognition.compare import similarity
from visavis.types import Faces

BLANK = np.full((200, 300, 3), 127, np.uint8)


@pytest.fixture(scope="module")
def analyzer(store):
    return Analyzer(store=store, threads=1, precision="f32")


@pytest.fixture(scope="module")
def detect_only(store):
    return Analyzer(recognizer=None, store=store, threads=1, precision="f32")


@pytest.fixture(scope="module")
def six(store):
    """Return the path of a photo of six people."""
    return store.path("six-people")


@pytest.fixture(scope="module")
def powell(lfw):
    """Return two photos of one person, each with one face, encoded."""
    return [lfw.read(f"lfw-dev/Colin_Powell/Colin_Powell_{i:04d}.jpg") for i in (2, 4)]


@pytest.fixture(scope="module")
def photos(lfw_images, six):
    photos = lfw_images(18, seed=6)
    photos[4] = BLANK
    photos[11] = resize(load_image(six), 640, 443)
    return photos


@pytest.fixture(scope="module")
def singles(analyzer, photos):
    return [analyzer.analyze(photo) for photo in photos]


def assert_same(a: Faces, b: Faces) -> None:
    np.testing.assert_allclose(a.boxes, b.boxes, atol=0.01)
    np.testing.assert_allclose(a.scores, b.scores, atol=1e-4)
    np.testing.assert_allclose(a.landmarks, b.landmarks, atol=0.01)
    assert (a.embeddings is None) == (b.embeddings is None)
    if a.embeddings is not None and b.embeddings is not None:
        assert a.embeddings.model == b.embeddings.model
        assert ((a.embeddings.vectors * b.embeddings.vectors).sum(axis=1) > 0.9999).all()


class TestOneImage:
    def test_faces_with_embeddings(self, analyzer, six):
        faces = analyzer.analyze(six)
        assert len(faces) == 6
        assert faces.embeddings.vectors.shape == (6, 128)
        assert faces.embeddings.model == analyzer.model == "sface"
        assert (np.diff(faces.scores) <= 0).all()
        others = similarity(faces.embeddings, faces.embeddings)[~np.eye(6, dtype=bool)]
        assert others.max() < 0.4, "six different people"

    def test_path_text_bytes_and_array_are_the_same(self, analyzer, powell, tmp_path):
        path = tmp_path / "a photo 照片.jpg"
        path.write_bytes(powell[0])
        expected = analyzer.analyze(path)
        rgb = load_image(path)
        for source in (str(path), powell[0], rgb, np.asfortranarray(rgb), rgb[:, ::-1][:, ::-1]):
            assert_same(analyzer.analyze(source), expected)
        assert_same(analyzer.analyze(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), order="bgr"), expected)

    def test_no_face_is_an_empty_result(self, analyzer):
        faces = analyzer.analyze(BLANK)
        assert len(faces) == 0
        assert faces.embeddings.vectors.shape == (0, 128)
        assert faces.landmarks.shape == (0, 5, 2)

    def test_detection_alone(self, detect_only, analyzer, six):
        faces = detect_only.analyze(six)
        assert faces.embeddings is None
        np.testing.assert_allclose(faces.boxes, analyzer.analyze(six).boxes, atol=0.01)
        for use in (lambda: detect_only.model, lambda: detect_only.crop(BLANK, faces), lambda: detect_only.calibration):
            with pytest.raises(InputError, match="recognizer=None"):
                use()

    def test_crop_and_embed_are_what_analyze_does(self, analyzer, six):
        image = load_image(six)
        faces = analyzer.analyze(image)
        crops = analyzer.crop(image, faces)
        assert crops.shape == (6, 112, 112, 3)
        assert crops.dtype == np.uint8
        np.testing.assert_allclose(analyzer.embed(crops).vectors, faces.embeddings.vectors, atol=1e-4)

    def test_faces_without_landmarks_can_not_be_cropped(self, analyzer):
        with pytest.raises(InputError, match="without landmarks"):
            analyzer.crop(BLANK, Faces(np.zeros((1, 4)), np.zeros(1)))

    def test_the_image_is_left_as_it_was(self, analyzer, six):
        image = load_image(six)
        before = image.copy()
        image.flags.writeable = False
        analyzer.analyze(image)
        np.testing.assert_array_equal(image, before)

    @pytest.mark.parametrize("source", [b"", b"not an image", Path("missing.jpg"), "."])
    def test_what_can_not_be_read(self, analyzer, source):
        with pytest.raises(ImageError):
            analyzer.analyze(source)

    @pytest.mark.parametrize(
        "source",
        [np.zeros((5, 5)), np.zeros((5, 5, 3)), np.full((5, 5, 3), np.nan), 7, None, {}, np.zeros(0, np.uint8)],
    )
    def test_what_is_no_image(self, analyzer, source):
        with pytest.raises(InputError):
            analyzer.analyze(source)

    def test_an_unknown_order(self, analyzer):
        with pytest.raises(InputError, match="order"):
            analyzer.analyze(BLANK, order="gbr")


class TestMany:
    def test_a_list_gives_a_list_in_its_order(self, analyzer, photos, singles):
        for source in (photos, tuple(photos)):
            for together, alone in zip(analyzer.analyze(source), singles, strict=True):
                assert_same(together, alone)
        assert analyzer.analyze([]) == []

    @pytest.mark.parametrize("threads", [2, 3])
    def test_threads_change_nothing(self, store, photos, singles, threads):
        many = Analyzer(store=store, threads=threads, precision="f32")
        for together, alone in zip(many.analyze(photos), singles, strict=True):
            assert_same(together, alone)
        assert_same(many.analyze(photos[11]), singles[11])

    def test_a_stream_gives_the_same(self, analyzer, photos, singles):
        for keep in (False, True):
            results = list(analyzer.stream(iter(photos), keep_images=keep))
            for analysis, photo, alone in zip(results, photos, singles, strict=True):
                assert_same(analysis.faces, alone)
                assert analysis.error is None
                assert analysis.source is photo
                assert (analysis.image is not None) == keep

    def test_kept_images_are_what_was_analyzed(self, analyzer, six):
        (analysis,) = analyzer.stream([six], keep_images=True)
        np.testing.assert_array_equal(analysis.image, load_image(six))

    def test_errors_inside_a_stream_are_told_and_it_goes_on(self, analyzer, six, powell, tmp_path):
        (tmp_path / "text.jpg").write_text("not an image")
        sources = [powell[0], b"", six, tmp_path / "text.jpg", tmp_path / "missing.jpg", np.zeros((2, 2)), powell[1]]
        results = list(analyzer.stream(sources))
        assert [analysis.error is None for analysis in results] == [True, False, True, False, False, False, True]
        assert [len(analysis.faces) for analysis in results] == [1, 0, 6, 0, 0, 0, 1]
        assert [analysis.source is source for analysis, source in zip(results, sources, strict=True)] == [True] * 7
        assert all(isinstance(results[i].error, InputError) for i in (1, 3, 4, 5))
        with pytest.raises(ImageError):
            analyzer.analyze(sources)

    def test_a_stream_reads_as_it_goes(self, analyzer, powell):
        taken = 0

        def endless():
            nonlocal taken
            while True:
                taken += 1
                yield powell[0]

        stream = analyzer.stream(endless())
        assert taken == 0
        for done in range(1, 40):
            assert len(next(stream).faces) == 1
            assert taken <= done + 3 * pipeline._CHUNK
        stream.close()
        last = taken
        assert threads() == []
        assert taken == last

    def test_a_stream_dropped_half_way_leaves_no_thread(self, analyzer, powell):
        list(itertools.islice(analyzer.stream(itertools.repeat(powell[0])), 3))
        assert threads() == []

    def test_an_error_of_the_source_reaches_the_caller(self, analyzer, powell):
        def broken():
            yield powell[0]
            raise RuntimeError("the camera is gone")

        with pytest.raises(RuntimeError, match="the camera is gone"):
            list(analyzer.stream(broken()))
        assert threads() == []

    @pytest.mark.parametrize("source", ["photo.jpg", b"bytes", Path("photo.jpg"), BLANK])
    def test_one_image_is_no_stream(self, analyzer, source):
        with pytest.raises(InputError, match="stream takes several images"):
            next(analyzer.stream(source))

    def test_shared_among_threads(self, store, photos, singles):
        shared = Analyzer(store=store, threads=2, precision="f32")
        results = {}

        def work(i):
            results[i] = shared.analyze(photos[i]), shared.analyze(photos[:3])

        workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert sorted(results) == [0, 1, 2, 3]
        for i, (alone, some) in results.items():
            assert_same(alone, singles[i])
            for faces, expected in zip(some, singles, strict=False):
                assert_same(faces, expected)


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("visavis")]


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
def test_a_list_is_shared_out_evenly(workers):
    for n in range(1, 200):
        size = pipeline._chunk_size([b""] * n, workers)
        parts = [min(size, n - start) for start in range(0, n, size)]
        busiest = max(sum(parts[worker::workers]) for worker in range(workers))
        assert 1 <= size <= pipeline._CHUNK
        assert busiest <= n / workers + size
    assert pipeline._chunk_size(iter([b""] * 5), workers) == pipeline._CHUNK


class TestVerify:
    def test_one_person_and_two(self, analyzer, powell, lfw_photo):
        mated = analyzer.verify(*powell)
        assert mated.match
        assert mated.similarity > mated.threshold
        assert mated.fmr == pytest.approx(1e-4)
        assert mated.fmr_at_similarity < mated.fmr
        assert mated.model == "sface"
        other = analyzer.verify(powell[0], lfw_photo("Aaron_Pena", 1))
        assert not other.match
        assert other.threshold == mated.threshold
        assert other.similarity < mated.similarity

    def test_the_threshold_follows_the_rate(self, analyzer, powell):
        strict, loose = analyzer.verify(*powell, fmr=1e-5), analyzer.verify(*powell, fmr=1e-2)
        assert strict.threshold > loose.threshold
        assert analyzer.verify(*powell, threshold=0.99).match is False
        with pytest.raises(InputError, match="not fmr and threshold"):
            analyzer.verify(*powell, fmr=1e-3, threshold=0.4)
        with pytest.raises(CalibrationError, match="was not measured"):
            analyzer.verify(*powell, fmr=1e-12)

    def test_itself(self, analyzer, six, powell):
        assert analyzer.verify(powell[0], powell[0]).similarity == pytest.approx(1, abs=1e-5)
        assert analyzer.verify(six, six, largest=True).similarity == pytest.approx(1, abs=1e-5)

    def test_no_face(self, analyzer, powell, tmp_path):
        cv2.imwrite(str(tmp_path / "blank.png"), BLANK)
        with pytest.raises(NoFaceFound, match=r"no face found in .*blank\.png"):
            analyzer.verify(powell[0], tmp_path / "blank.png")
        with pytest.raises(NoFaceFound, match="no face found in the image"):
            analyzer.verify(BLANK, powell[0])

    def test_several_faces(self, analyzer, powell, six):
        with pytest.raises(SeveralFacesFound, match=r"6 faces in .*, where one is needed"):
            analyzer.verify(six, powell[0])
        assert not analyzer.verify(six, powell[0], largest=True).match

    def test_the_largest_is_the_largest(self):
        faces = Faces(np.array([[0, 0, 10, 10], [0, 0, 30, 20], [0, 0, 12, 12]]), np.array([0.9, 0.7, 0.8]))
        assert only_face(faces, largest=True).boxes.tolist() == [[0, 0, 30, 20]]

    def test_bgr_arrays(self, analyzer, powell):
        a, b = (cv2.imdecode(np.frombuffer(photo, np.uint8), cv2.IMREAD_COLOR) for photo in powell)
        expected = analyzer.verify(*powell)
        assert analyzer.verify(a, b, order="bgr").similarity == pytest.approx(expected.similarity, abs=0.01)

    def test_other_landmarks_have_error_rates_of_their_own(self, store, analyzer, powell, six):
        def named(*args, **kwargs):
            return Analyzer(*args, store=store, threads=1, precision="f32", **kwargs)

        assert analyzer.calibrated_as == "sface"
        assert named("yunet", landmarks="face-mesh").calibrated_as == "sface", "the detector's own points lay the crop"
        assert named("mtcnn", flip=True).calibrated_as == "sface+flip@mtcnn"
        assert named("haar").calibrated_as == "sface@face-mesh"
        assert named("haar", landmarks="dlib-5").calibrated_as == "sface@face-mesh", "dlib's five have no mouth"
        assert named("haar", landmarks="dlib-68").calibrated_as == "sface@dlib-68"
        for other in (named("mtcnn"), named("blazeface", flip=True)):
            table = other.calibration
            assert table.model == other.calibrated_as
            assert not np.array_equal(table.similarities, analyzer.calibration.similarities)
        with pytest.raises(CalibrationError, match="'dlib-resnet' with crops laid by mtcnn has no calibration"):
            named("mtcnn", "dlib-resnet").verify(*powell)
        assert named("mtcnn", "dlib-resnet").verify(*powell, threshold=0.9).fmr is None

    def test_needs_a_recognizer(self, detect_only, powell):
        with pytest.raises(InputError, match="recognizer=None"):
            detect_only.verify(*powell)

    def test_variants_never_mix(self, store, analyzer, powell):
        flipped = Analyzer(store=store, threads=1, precision="f32", flip=True)
        assert flipped.model == "sface+flip"
        with pytest.raises(ModelMismatch, match=r"'sface' can't be compared with those of 'sface\+flip'"):
            similarity(analyzer.analyze(powell[0]).embeddings, flipped.analyze(powell[1]).embeddings)


class TestModuleLevel:
    def test_analyze_and_verify(self, powell, six):
        assert len(vv.analyze(six)) == 6
        assert [len(faces) for faces in vv.analyze([powell[0], six])] == [1, 6]
        assert vv.verify(*powell).match
        assert not vv.verify(*powell, threshold=1).match


class TestSettings:
    def test_names_fail_at_once(self, store):
        with pytest.raises(UnknownModel, match="did you mean yunet"):
            Analyzer(detector="yunnet", store=store)
        with pytest.raises(UnknownModel, match="not a detector"):
            Analyzer(detector="sface", store=store)
        with pytest.raises(UnknownModel, match="not a recognizer"):
            Analyzer(recognizer="yunet", store=store)
        with pytest.raises(UnknownModel, match="not a recognizer"):
            Analyzer(recognizer="obama", store=store)

    def test_engine_settings_fail_at_once(self, store):
        with pytest.raises(InputError, match="precision must be one of"):
            Analyzer(precision="int8", store=store)
        with pytest.raises(InputError, match="threads must be"):
            Analyzer(threads=0, store=store)

    def test_nothing_is_loaded_or_made_before_the_first_image(self, tmp_path):
        lazy = Analyzer(store=Store(tmp_path / "home"), threads=1)
        assert lazy.model == "sface"
        assert lazy.calibration is not None
        assert not (tmp_path / "home").exists()

    def test_score_and_min_face_reach_the_detector(self, store, six):
        few = Analyzer(recognizer=None, score=0.925, store=store, threads=1, precision="f32").analyze(six)
        assert 0 < len(few) < 6
        assert few.scores.min() >= 0.925
        assert len(Analyzer(recognizer=None, min_face=600, store=store, threads=1).analyze(six)) == 0
        with pytest.raises(InputError, match="min_face"):
            Analyzer(min_face=-1, store=store, threads=1).analyze(six)

    def test_onnx_runtime_gives_the_same(self, store, analyzer, six):
        other = Analyzer(store=store, threads=1, engine="onnxruntime")
        assert_same(other.analyze(six), analyzer.analyze(six))


def save_recognizer(path: Path, side: int = 64, dimension: int = 24) -> None:
    """Write a small network: average pooling and one matrix."""
    weights = np.random.default_rng(0).normal(size=(3 * (side // 8) ** 2, dimension)).astype(np.float32)
    nodes = [
        helper.make_node("AveragePool", ["image"], ["pooled"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["embedding"]),
    ]
    graph = helper.make_graph(
        nodes, "toy",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, side, side])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [1, dimension])],
        [numpy_helper.from_array(weights, "weights")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, path)


@pytest.fixture(scope="module")
def own_store(store, tmp_path_factory):
    """Return a store that has the run's models and a recognizer of the user's own, "toy"."""
    home = tmp_path_factory.mktemp("own")
    file = home / "toy.onnx"
    save_recognizer(file)
    own = Store(home / "store")
    own.add(file, name="toy", size=(64, 64), mean=127.5, scale=1 / 127.5, order="bgr", alignment="arcface-112")
    for name in ("yunet", "sface"):
        (own.home / "models" / name).symlink_to(store.path(name).parent, target_is_directory=True)
    return own


class TestOwnRecognizer:
    def test_works_by_its_name(self, own_store, six):
        toy = Analyzer(recognizer="toy", store=own_store, threads=1, precision="f32")
        image = load_image(six)
        faces = toy.analyze(image)
        assert faces.embeddings.model == "toy"
        assert faces.embeddings.vectors.shape == (6, 24)
        crops = toy.crop(image, faces)
        assert crops.shape == (6, 64, 64, 3)
        blob = ((crops[..., ::-1].astype(np.float64) - 127.5) / 127.5).transpose(0, 3, 1, 2)
        pooled = blob.reshape(6, 3, 8, 8, 8, 8).mean(axis=(3, 5)).reshape(6, -1)
        weights = np.random.default_rng(0).normal(size=(192, 24)).astype(np.float32)
        expected = pooled @ weights
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        np.testing.assert_allclose(faces.embeddings.vectors, expected, atol=1e-3)

    def test_has_no_error_rates(self, own_store, powell):
        toy = Analyzer(recognizer="toy", store=own_store, threads=1, precision="f32")
        assert toy.calibration is None
        answer = toy.verify(*powell, threshold=0.5)
        assert answer.fmr is None
        assert answer.fmr_at_similarity is None
        with pytest.raises(CalibrationError, match="'toy' has no calibration"):
            toy.verify(*powell)


DETECTORS = sorted(card.id for card in builtin_cards().values() if card.task == "detection")
RECOGNIZERS = sorted(card.id for card in builtin_cards().values() if card.task == "recognition")


@pytest.mark.parametrize("name", DETECTORS)
class TestDetectorContract:
    def test_faces_lie_in_the_image(self, name, store, lfw_images, six):
        images = [*lfw_images(25, seed=9), load_image(six), BLANK]
        found = Analyzer(detector=name, recognizer=None, store=store, threads=1, precision="f32").analyze(images)
        assert sum(map(len, found)) >= 28
        gives_points = {faces.landmarks is not None for faces in found if len(faces)}
        assert gives_points == {builtin_cards()[name].five_points}
        for image, faces in zip(images, found, strict=True):
            height, width = image.shape[:2]
            assert (faces.boxes >= 0).all()
            assert (faces.boxes <= [width, height, width, height]).all()
            assert (faces.boxes[:, 2:] > faces.boxes[:, :2]).all()
            assert (np.diff(faces.scores) <= 0).all()
            overlap = iou(faces.boxes, faces.boxes) - np.eye(len(faces))
            assert (overlap < 0.5).all(), "each face once"
            if faces.landmarks is not None and len(faces):
                # Of a face that the picture cuts off, points may lie beyond the picture.
                low = np.where(faces.boxes[:, :2] > 0, faces.boxes[:, :2] - 5, -np.inf)[:, None]
                high = np.where(faces.boxes[:, 2:] < [width, height], faces.boxes[:, 2:] + 5, np.inf)[:, None]
                assert ((faces.landmarks >= low) & (faces.landmarks <= high)).mean() > 0.9
                left, right = faces.landmarks[:, 0], faces.landmarks[:, 1]
                assert (left[:, 0] < right[:, 0]).all(), "left is left in the image"
                assert (faces.landmarks[:, :2, 1].mean(1) < faces.landmarks[:, 3:, 1].mean(1)).all(), "eyes above mouth"

    def test_faces_move_with_the_picture(self, name, store, lfw_photo):
        detector = Analyzer(detector=name, recognizer=None, store=store, threads=1, precision="f32")
        photo = load_image(lfw_photo("Colin_Powell", 2))
        boxes = []
        for dx, dy in ((0, 0), (32, 64), (64, 32)):
            scene = np.zeros((350, 350, 3), np.uint8)
            scene[dy : dy + 250, dx : dx + 250] = photo
            (face,) = detector.analyze(scene)
            boxes.append(face.box - [dx, dy, dx, dy])
        # Windows and anchors stand in steps: HOG's of 8 pixels of 80.
        stepping = name in ("hog", "haar", "mmod", "mtcnn", "ssd-mobilenet")
        step = 0.1 * (face.box[3] - face.box[1]) if stepping else 4
        np.testing.assert_allclose(boxes[1:], boxes[:1] * 2, atol=step)


@pytest.mark.parametrize("name", [*RECOGNIZERS, "toy"])
class TestRecognizerContract:
    def test_embeddings(self, name, own_store, lfw_images):
        analyzer = Analyzer(recognizer=name, store=own_store, threads=1, precision="f32")
        found = Faces.concat(analyzer.analyze(lfw_images(12, seed=10)))
        vectors, card = found.embeddings.vectors, own_store.card(name)
        assert vectors.shape == (len(found), card.dimension)
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
        assert found.embeddings.model == name

    def test_flip_is_a_variant(self, name, own_store, powell):
        analyzer = Analyzer(recognizer=name, flip=True, store=own_store, threads=1, precision="f32")
        assert analyzer.analyze(powell[0]).embeddings.model == f"{name}+flip"
        assert analyzer.calibration is None or analyzer.calibration.model == f"{name}+flip"

    def test_a_photo_is_nearest_to_itself(self, name, own_store, lfw_images):
        analyzer = Analyzer(recognizer=name, store=own_store, threads=1, precision="f32")
        photos = lfw_images(8, seed=11)
        first = embeddings_of(analyzer, photos)
        again = embeddings_of(analyzer, [np.ascontiguousarray(photo[2:, 3:]) for photo in photos])
        assert similarity(first, again).argmax(axis=1).tolist() == list(range(len(first)))


def embeddings_of(analyzer: Analyzer, photos: list[np.ndarray]) -> vv.Embeddings:
    return vv.Embeddings.concat([only_face(faces, largest=True).embeddings for faces in analyzer.analyze(photos)])

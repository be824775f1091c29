"""MTCNN: the boxes of facenet-pytorch's, every kind of picture, and what its settings do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from visavis.cli import main
from visavis.detection import mtcnn, mtcnn_pyramid, open_detector
from visavis.errors import InputError, ModelError
from visavis.geometry import clip_boxes, iou
from visavis.image import load_image, resize, save_image
from visavis.models.session import EngineOptions
from visavis.pipeline import Analyzer
from visavis.types import Faces

F32 = EngineOptions("openvino", "cpu", "f32", 1)
REFERENCE = Path(__file__).resolve().parent.parent / "reference" / "mtcnn" / "faces.json"


@pytest.fixture(scope="module")
def make(store):
    """Return a function that opens the detector with settings."""
    return lambda **settings: open_detector("mtcnn", store, F32, **settings)


@pytest.fixture(scope="module")
def detector(make):
    return make()


@pytest.fixture(scope="module")
def six(store):
    return load_image(store.path("six-people"))


@pytest.fixture(scope="module")
def small(six):
    """Return it at half its size: the settings tests run it often."""
    return resize(six, 640, 443)


@pytest.fixture(scope="module")
def reference():
    """Return what facenet-pytorch found, a row a face: box, landmarks, probability; by the name of the photo."""
    rows = json.loads(REFERENCE.read_text())
    return {name: np.array(faces, np.float32).reshape(-1, 15) for name, faces in rows.items()}


@pytest.fixture(scope="module")
def picture(lfw, lfw_names, six):
    """Return a function that reads a photo of the reference."""
    members = {Path(name).stem: name for name in lfw_names}
    return lambda name: six if name == "six-people" else load_image(lfw.read(members[name]))


def same(a: Faces, b: Faces) -> None:
    np.testing.assert_allclose(a.boxes, b.boxes, atol=0.02)
    np.testing.assert_allclose(a.scores, b.scores, atol=1e-4)
    np.testing.assert_allclose(a.landmarks, b.landmarks, atol=0.02)


class TestLikeFacenet:
    """Boxes, landmarks and probabilities that tests/reference/mtcnn/make.py wrote."""

    def compare(self, found, reference, pictures):
        """Return the shares without a counterpart, theirs and ours, and the landmarks' errors in pixels."""
        lost = new = 0
        errors = []
        for faces, theirs, picture in zip(found, reference, pictures, strict=True):
            overlap = iou(clip_boxes(theirs[:, :4], *picture.shape[:2]), faces.boxes)
            pairs = np.argwhere(overlap > 0.95)
            assert len(set(pairs[:, 0])) == len(set(pairs[:, 1])) == len(pairs)
            lost += len(theirs) - len(pairs)
            new += len(faces) - len(pairs)
            for i, j in pairs:
                errors += np.linalg.norm(theirs[i, 4:14].reshape(5, 2) - faces.landmarks[j], axis=1).tolist()
                assert faces.scores[j] == pytest.approx(theirs[i, 14], abs=0.02)
        total = sum(map(len, reference))
        return lost / total, new / total, np.array(errors)

    def check(self, detector, reference, picture, names):
        pictures = [picture(name) for name in names]
        lost, new, errors = self.compare(detector.detect(pictures), [reference[n] for n in names], pictures)
        assert lost <= 0.01
        assert new <= 0.01
        assert len(errors) > 5 * len(names)
        assert np.median(errors) < 0.01, "a hundredth is how far the reference was rounded"
        assert np.quantile(errors, 0.99) < 1

    def test_on_some_photos(self, detector, reference, picture):
        self.check(detector, reference, picture, [*list(reference)[::12], "six-people"])

    @pytest.mark.slow
    def test_on_all_photos(self, detector, reference, picture):
        assert len(reference) == 501
        self.check(detector, reference, picture, list(reference))

    def test_one_by_one_is_the_same(self, detector, reference, picture):
        pictures = [picture(name) for name in list(reference)[:12]]
        for together, alone in zip(detector.detect(pictures), pictures, strict=True):
            same(together, detector.detect([alone])[0])

    def test_bf16_finds_the_same_faces(self, store, detector, picture, reference):
        half = open_detector("mtcnn", store, EngineOptions("openvino", "cpu", "bf16", 1))
        pictures = [picture(name) for name in list(reference)[:40]]
        pairs = list(zip(detector.detect(pictures), half.detect(pictures), strict=True))
        found = sum(int((iou(a.boxes, b.boxes).max(axis=1, initial=0) > 0.7).sum()) for a, b in pairs)
        assert found >= 0.95 * sum(len(a) for a, _ in pairs)
        assert sum(len(b) for _, b in pairs) <= 1.05 * sum(len(a) for a, _ in pairs)

    def test_onnx_runtime_gives_the_same(self, store, detector, small):
        pytest.importorskip("onnxruntime")
        other = open_detector("mtcnn", store, EngineOptions("onnxruntime", "cpu", "f32", 1))
        same(other.detect([small])[0], detector.detect([small])[0])


class TestPictures:
    @pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (19, 19), (19, 4000), (20, 20), (21, 333)])
    def test_too_small_for_a_face(self, detector, shape):
        for value in (0, 127, 255):
            (faces,) = detector.detect([np.full((*shape, 3), value, np.uint8)])
            assert len(faces) == 0
            assert faces.landmarks.shape == (0, 5, 2)

    def test_none_and_noise(self, detector):
        assert detector.detect([]) == []
        noise = np.random.default_rng(0).integers(0, 256, (5, 200, 170, 3), np.uint8)
        assert [len(faces) for faces in detector.detect([*noise])] == [0] * 5

    def test_pictures_of_all_sizes_together(self, detector, six, lfw_images):
        photos = lfw_images(5, seed=4)
        mixed = [
            photos[0],
            resize(six, 333, 217),
            photos[1],
            np.zeros((1, 1, 3), np.uint8),
            *photos[2:],
            photos[0].copy(),
        ]
        for together, alone in zip(detector.detect(mixed), mixed, strict=True):
            same(together, detector.detect([alone])[0])

    def test_small_pieces_give_the_same(self, detector, small, monkeypatch):
        whole = detector.detect([small])[0]
        assert len(whole) >= 5
        monkeypatch.setattr(mtcnn_pyramid, "_TABLE_PIXELS", 3000)
        monkeypatch.setattr(mtcnn_pyramid, "_SIDE", 128)
        monkeypatch.setattr(mtcnn, "_CROPS", {24: (16, 16), 48: (8, 8)})
        same(detector.detect([small])[0], whole)

    def test_too_many_candidates_leave_the_best(self, make, detector, six, monkeypatch):
        monkeypatch.setattr(mtcnn, "_MOST", 300)
        monkeypatch.setattr(mtcnn, "_HELD", 2000)
        many = make(thresholds=[0.0, 0.7, 0.9]).detect([six])[0]
        clear = [face for face in detector.detect([six])[0] if face.score > 0.97]
        assert len(clear) == 6
        assert (iou(np.stack([face.box for face in clear]), many.boxes).max(axis=1) > 0.6).all()

    def test_a_turned_picture_in_a_strided_array(self, detector, six):
        turned = np.ascontiguousarray(six[:, ::-1])
        same(detector.detect([six[:, ::-1]])[0], detector.detect([turned])[0])
        six.flags.writeable = False
        detector.detect([six])


class TestSettings:
    def test_min_face(self, make, small):
        every, large, huge = (make(min_face=m).detect([small])[0] for m in (20, 45, 300))
        assert len(every) == len(large) == 6
        assert (large.boxes[:, 3] - large.boxes[:, 1]).min() > 45
        assert len(huge) == 0

    def test_score_is_the_last_threshold(self, make, small):
        every, few = make().detect([small])[0], make(score=0.99).detect([small])[0]
        assert 0 < len(few) < len(every)
        assert few.scores.min() > 0.99
        same(few, make(thresholds=[0.6, 0.7, 0.99]).detect([small])[0])

    def test_factor(self, make, small):
        assert len(make(factor=0.85).detect([small])[0]) >= 6
        assert len(make(factor=0.3, min_face=20).detect([small])[0]) >= 3

    @pytest.mark.parametrize("nms", ["soft-linear", "soft-gaussian", ["soft-linear", "hard", "soft-gaussian"]])
    def test_soft_suppression_finds_each_face_once(self, make, detector, small, nms):
        hard, soft = detector.detect([small])[0], make(nms=nms).detect([small])[0]
        clear = hard[hard.scores > 0.9]
        assert len(clear) == 6
        assert ((iou(clear.boxes, soft.boxes) > 0.5).sum(axis=1) == 1).all()
        assert soft.scores.min() >= 0.5

    def test_a_low_cut_keeps_what_was_lowered(self, make, small):
        counts = [
            len(make(nms=["hard", "hard", "soft-gaussian"], cut=cut).detect([small])[0]) for cut in (0.01, 0.5, 0.9)
        ]
        assert counts[0] > counts[1] >= counts[2] > 0

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"min_face": 4}, "min_face, a height in pixels, lies in 5..2000, not 4"),
            ({"min_face": float("nan")}, "min_face"),
            ({"score": 1.5}, r"score lies in 0..1, not 1.5"),
            ({"factor": 1}, r"factor lies in 0.1..0.95, not 1"),
            ({"factor": "big"}, "factor"),
            ({"factor": True}, "factor"),
            ({"thresholds": 0.6}, "thresholds takes three, for P-, R- and O-Net, not 0.6"),
            ({"thresholds": [0.6, 0.7]}, "thresholds takes three"),
            ({"thresholds": [0.6, 0.7, 7]}, r"each of thresholds lies in 0..1, not 7"),
            ({"nms": "soft"}, "nms is one of hard, soft-linear, soft-gaussian"),
            ({"nms": ["hard", "hard"]}, "nms takes one value or three"),
            ({"nms": 3}, "nms is one of"),
            ({"nms": None}, "nms is one of"),
            ({"sigma": 0}, "sigma"),
            ({"overlap": -0.1}, "overlap"),
            ({"cut": [0.1, 0.2, 1.2]}, "each of cut"),
            ({"cut": None}, "each of cut"),
            ({"tresholds": [0.6, 0.7, 0.7]}, "did you mean thresholds"),
        ],
    )
    def test_wrong_values_say_what_is_right(self, store, settings, message):
        analyzer = Analyzer(detector="mtcnn", recognizer=None, detector_settings=settings, store=store, threads=1)
        with pytest.raises(InputError, match=message):
            analyzer.analyze(np.zeros((30, 30, 3), np.uint8))

    def test_from_the_command_line(self, small, tmp_path, capsys):
        save_image(tmp_path / "six.png", small)
        command = ["detect", str(tmp_path / "six.png"), "--detector", "mtcnn", "--json"]
        counts = []
        for more in ([], ["--detector-set", "thresholds=0.6,0.7,0.9999", "--detector-set", "nms=soft-linear"]):
            assert main([*command, *more]) == 0
            counts.append(len(json.loads(capsys.readouterr().out)["images"][0]["faces"]))
        assert counts[0] > counts[1]
        assert main([*command, "--detector-set", "nms=strict"]) == 2
        assert "nms is one of hard, soft-linear, soft-gaussian" in capsys.readouterr().err

    def test_networks_that_return_nan(self, detector):
        class Broken:
            options = F32

            def run(self, images):
                outputs = detector._pnet.run(images)
                outputs["prob"][:] = np.nan
                return outputs

        broken = mtcnn.MTCNN(Broken(), detector._rnet, detector._onet)
        with pytest.raises(ModelError, match="visavis models verify mtcnn"):
            broken.detect([np.zeros((60, 60, 3), np.uint8)])

"""The models behind the functions: loaded when first used, shared by all threads, one set a process."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.util import find_spec
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.analysis.landmarks.ert import RegressionTrees, box_frames, five_frames
from visavis.compat.face_recognition.shapes import Detection, Landmarks, Rectangle
from visavis.detection import Detector, open_detector
from visavis.models.loader import Loader
from visavis.models.session import EngineOptions, Session
from visavis.models.store import Store
from visavis.types import Image

__all__ = ["Models", "default"]

_BATCHES = (1, 4)
_TOGETHER = 16  # chips held at once, so that 1,000 jitters take no more memory than 16
# What YuNet looks for in place of an image enlarged n times: dlib's detectors see faces from 80 px on.
_SMALLEST, _ENLARGED = 80, 2


def default() -> Models:
    """Return the models of this process, from the store and with the settings that the environment names.

    ``VISAVIS_HOME``, ``VISAVIS_THREADS``, ``VISAVIS_PRECISION``, ``VISAVIS_ENGINE`` and ``VISAVIS_DEVICE`` are
    heeded; the precision is f32 where none is named, so that encodings agree with dlib's.
    """
    precision = os.environ.get("VISAVIS_PRECISION") or "f32"
    return _models(os.environ.get("VISAVIS_HOME"), EngineOptions.choose(precision=precision))


@cache
def _models(home: str | None, options: EngineOptions) -> Models:
    """Make the models once a home and setting: loading them takes longer than using them."""
    del home  # the store reads it itself; here it tells two sets apart
    return Models(Store(), options)


class Models:
    """Detectors, landmark models and the recognizer, each loaded on first use. Safe to share among threads."""

    def __init__(self, store: Store, options: EngineOptions) -> None:
        self._store = store
        self._options = options
        self._loaded: dict[Any, Any] = {}
        self._lock = threading.Lock()
        self._dlib = threading.Lock()  # its detectors keep what they work on in themselves

    def faces(self, images: Sequence[Image], upsample: int, model: str, batch: int = 128) -> list[list[Detection]]:
        """Return the faces of each image: by dlib where it is installed, else, or if ``model`` says so, by YuNet.

        Images have pixels. ``model`` is ``"hog"``, ``"cnn"`` or ``"yunet"``; with ``"cnn"`` all images have one size.
        """
        if model == "yunet" or find_spec("dlib") is None:
            return [[*self._yunet(image, upsample)] for image in images]
        if model == "cnn":
            network = self._get("cnn", self._load_cnn)
            with self._dlib:
                found = network(list(images), upsample, batch_size=batch)
            return [[Detection(_rectangle(face.rect), face.confidence) for face in faces] for faces in found]
        detector = self._get("hog", _load_hog)
        results = []
        for image in images:
            with self._dlib:
                rects, scores, _ = detector.run(image, upsample)
            results.append([Detection(_rectangle(rect), score) for rect, score in zip(rects, scores, strict=True)])
        return results

    def landmarks(self, image: Image, rectangles: Sequence[Rectangle], model: str) -> list[Landmarks]:
        """Return dlib's points, ``"dlib-5"`` or ``"dlib-68"``, of the faces in rectangles."""
        trees: RegressionTrees = self._get(model, lambda: RegressionTrees.open(model, self._store.path(model)))
        boxes = [(r.left(), r.top(), r.right() + 1, r.bottom() + 1) for r in rectangles]
        points = trees.predict(image, box_frames(np.array(boxes, np.float64).reshape(-1, 4)))
        whole = np.floor(points + 0.5).astype(np.int64)
        return [Landmarks(rectangle, row) for rectangle, row in zip(rectangles, whole, strict=True)]

    def encoding(self, chips: Iterable[Image]) -> npt.NDArray[np.float64]:
        """Return the mean of what dlib's recognizer makes of chips: float64 ``(128,)``, not of unit length."""
        session: Session = self._get("dlib-resnet", self._load_recognizer)
        rest, vectors = iter(chips), []
        while some := list(islice(rest, _TOGETHER)):
            (output,) = session.run(np.stack(some)).values()
            vectors.append(output)
        mean: npt.NDArray[np.float64] = np.concatenate(vectors).mean(axis=0).astype(np.float64)
        return mean

    def _yunet(self, image: Image, upsample: int) -> list[Detection]:
        """Return YuNet's faces in boxes such as dlib's detectors draw, on which its landmark models were trained."""
        smallest = None if upsample < _ENLARGED else max(_SMALLEST / 2 ** min(upsample, 4), 5.0)
        detector: Detector = self._get(
            smallest, lambda: open_detector("yunet", self._store, self._options, parallel=1, min_face=smallest)
        )
        (faces,) = detector.detect([image])
        assert faces.landmarks is not None
        frames = five_frames(faces.landmarks)
        centers = frames @ [0.5, 0.5, 1]
        halves = np.hypot(frames[:, 0, 0], frames[:, 1, 0])[:, None] / 2
        boxes = np.floor(np.concatenate([centers - halves, centers + halves], axis=1) + 0.5).astype(np.int64)
        return [
            Detection(Rectangle(*box), float(score)) for box, score in zip(boxes.tolist(), faces.scores, strict=True)
        ]

    def _load_cnn(self) -> Any:
        import dlib

        return dlib.cnn_face_detection_model_v1(str(self._store.path("mmod")))

    def _load_recognizer(self) -> Session:
        return Loader(self._store, self._options).session("dlib-resnet", batches=_BATCHES)

    def _get(self, name: Any, load: Any) -> Any:
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = load()
            return self._loaded[name]


def _load_hog() -> Any:
    import dlib

    return dlib.get_frontal_face_detector()


def _rectangle(rect: Any) -> Rectangle:
    return Rectangle(rect.left(), rect.top(), rect.right(), rect.bottom())

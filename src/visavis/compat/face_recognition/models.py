"""The models behind the functions: loaded when first used, shared by all threads, one set a process."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from importlib.util import find_spec
from itertools import islice
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from visavis.analysis.landmarks.ert import RegressionTrees, box_frames, five_frames
from visavis.compat.face_recognition.shapes import Detection, Landmarks, Rectangle
from visavis.detection import Detector, open_detector
from visavis.detection.hog import import_dlib
from visavis.detection.margin import margin_of
from visavis.detection.mmod import Mmod
from visavis.detection.views import View
from visavis.models.loader import Loader
from visavis.models.session import EngineOptions, Session
from visavis.models.store import Store
from visavis.types import Image

__all__ = ["Models", "default"]

_BATCHES = (1, 4)
_TOGETHER = 16  # chips held at once, so that 1,000 jitters take no more memory than 16
_SMALLEST = 80  # px: dlib's detectors see faces from here on, which is why images are enlarged for them
_SUREST = 1 - 1e-6  # beyond, a score no longer tells margins apart
_LEAST_FACE = 5.0  # px: no detector looks for smaller ones
_ENLARGED = 2  # times from which YuNet looks for smaller faces than it does by itself
_LONGEST = 1 << 14  # px of a side that OpenCV enlarges
_HALVING_SHIFT = np.array([1.25, 0.75, 1.25, 0.75])  # what dlib takes off when it halves a box
_WHOLE = 2**22  # pixels of a picture that MMOD sees in one look, which takes 0.5 GB


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
        self._dlib = threading.Lock()  # its detector keeps what it works on in itself

    def faces(self, image: Image, upsample: int, model: str) -> list[Detection]:
        """Return the faces of an image by ``"cnn"``, ``"yunet"``, or else by HOG where dlib is installed."""
        if model == "cnn":
            return self._mmod(image, upsample)
        if model == "yunet" or find_spec("dlib") is None:
            return self._yunet(image, upsample)
        detector = self._get("hog", lambda: import_dlib().get_frontal_face_detector())
        with self._dlib:
            rects, scores, _ = detector.run(image, upsample)
        found = zip(rects, scores, strict=True)
        return [Detection(Rectangle(r.left(), r.top(), r.right(), r.bottom()), score) for r, score in found]

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

    def _mmod(self, image: Image, upsample: int) -> list[Detection]:
        """Return what dlib's network sees in the enlarged picture, as a whole; in parts where that is very large."""
        height, width = (side << upsample for side in image.shape[:2])
        whole = height * width <= _WHOLE and max(height, width) <= _LONGEST
        smallest = _SMALLEST if whole else max(_SMALLEST / 2**upsample, _LEAST_FACE)
        detector: Mmod = self._get(("mmod", smallest), lambda: self._open("mmod", smallest))
        if whole:
            for _ in range(upsample):
                image = _enlarged(image)
            (faces,) = detector.look([image], View(1, width=image.shape[1], height=image.shape[0]))
        else:
            (faces,) = detector.detect([image])
        boxes = faces.boxes - np.array([0, 0, 1, 1])  # dlib's include their last row and column
        if whole and upsample:
            boxes = np.floor(boxes + 0.5)
            for _ in range(upsample):
                boxes = boxes / 2 - _HALVING_SHIFT
        return _detections(boxes, [margin_of(min(float(score), _SUREST)) for score in faces.scores])

    def _yunet(self, image: Image, upsample: int) -> list[Detection]:
        """Return YuNet's faces in boxes such as dlib's detectors draw, on which its landmark models were trained."""
        smallest = None if upsample < _ENLARGED else max(_SMALLEST / 2**upsample, _LEAST_FACE)
        detector: Detector = self._get(("yunet", smallest), lambda: self._open("yunet", smallest))
        (faces,) = detector.detect([image])
        assert faces.landmarks is not None
        frames = five_frames(faces.landmarks)
        centers = frames @ [0.5, 0.5, 1]
        halves = np.hypot(frames[:, 0, 0], frames[:, 1, 0])[:, None] / 2
        return _detections(np.concatenate([centers - halves, centers + halves], axis=1), faces.scores.tolist())

    def _open(self, name: str, smallest: float | None) -> Any:
        return open_detector(name, self._store, self._options, min_face=smallest)

    def _load_recognizer(self) -> Session:
        return Loader(self._store, self._options).session("dlib-resnet", batches=_BATCHES)

    def _get(self, name: Any, load: Callable[[], Any]) -> Any:
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = load()
            return self._loaded[name]


def _enlarged(image: Image) -> Image:
    """Return a picture at twice the size, as dlib enlarges it: corner pixels stay on the corners."""
    size = (2 * image.shape[1] + 2, 2 * image.shape[0] + 1)
    across, down = ((a - 1) / (b - 1) for a, b in zip(image.shape[1::-1], size, strict=True))
    matrix = np.array([[across, 0, 0], [0, down, 0]])
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(image, matrix, size, flags=how, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _detections(boxes: npt.NDArray[Any], confidences: Iterable[float]) -> list[Detection]:
    whole = np.floor(boxes + 0.5).astype(np.int64).tolist()
    return [Detection(Rectangle(*box), value) for box, value in zip(whole, confidences, strict=True)]

"""The Haar cascade of OpenCV (Viola and Jones 2001; Lienhart and Maydt 2002): frontal faces, boxes alone.

The cascade ``haarcascade_frontalface_alt2.xml`` comes with OpenCV's wheel. A window of 20 pixels passes it or not; how
far the sum of its last stage lies above that stage's threshold is its margin. A face is many windows that passed, and
its score is ``m / (m + 4)``, where m is the sum of their margins: 0.5 at m = 4.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from visavis.detection.settings import checked_min_face, checked_score, is_number
from visavis.errors import EngineError, InputError
from visavis.geometry import clip_boxes, nms
from visavis.models.cards import ModelCard
from visavis.models.loader import Loader
from visavis.types import Faces, FloatArray, Image

__all__ = ["HaarCascade", "group", "load"]

_FILE = "haarcascade_frontalface_alt2.xml"
_SCORE = 0.5
_MIN_FACE = 40.0
_HALF = 4.0  # sum of margins at a score of 0.5
_NMS_IOU = 0.3
_SIMILAR = 0.2  # windows are of one face where their sides differ by less, in sides of the window
_MOST_WINDOWS = 4000  # grouped in a picture: the best ones


def load(
    _card: ModelCard,
    _loader: Loader,
    *,
    score: float | None = None,
    min_face: float | None = None,
    scale_factor: float = 1.1,
) -> HaarCascade:
    """Load the detector; see `HaarCascade` for the settings."""
    return HaarCascade(
        _cascade_file(), score=_SCORE if score is None else score, min_face=min_face, scale_factor=scale_factor
    )


def _cascade_file() -> Path:
    folder = getattr(getattr(cv2, "data", None), "haarcascades", "")
    path = Path(folder) / _FILE
    if not folder or not path.is_file():
        raise EngineError(
            f"this OpenCV comes without its cascade {_FILE}, as Linux distributions' may and version 5 does: "
            "pip install 'opencv-python-headless<5'"
        )
    return path


def group(windows: npt.NDArray[Any], margins: npt.NDArray[Any]) -> tuple[FloatArray, FloatArray]:
    """Join windows of one face, as OpenCV's groupRectangles does.

    Parameters
    ----------
    windows
        ``(n, 4)``: x, y, width and height of windows that passed the cascade.
    margins
        ``(n,)``, above 0: how surely each passed.

    Returns
    -------
    The mean box ``(k, 4)`` of each group as x1, y1, x2, y2, and the sum of its margins ``(k,)``.

    Examples
    --------
    >>> import numpy as np
    >>> boxes, sums = group(np.array([[10, 10, 40, 40], [12, 10, 40, 40], [90, 9, 20, 20]]), np.array([1.0, 2.0, 0.5]))
    >>> boxes.tolist(), sums.tolist()
    ([[11.0, 10.0, 51.0, 50.0], [90.0, 9.0, 110.0, 29.0]], [3.0, 0.5])
    """
    sides = np.asarray(windows, np.float32)
    corners = np.concatenate([sides[:, :2], sides[:, :2] + sides[:, 2:]], axis=1)
    labels = _connected(corners, sides[:, 2:])
    count = labels.max(initial=-1) + 1
    members = np.maximum(np.bincount(labels, minlength=count), 1)
    boxes = np.stack([np.bincount(labels, corners[:, k], count) for k in range(4)], axis=1) / members[:, None]
    return boxes.astype(np.float32), np.bincount(labels, margins, count).astype(np.float32)


def _connected(corners: FloatArray, sides: FloatArray) -> npt.NDArray[np.intp]:
    """Number the groups of windows that are similar to each other, directly or through others."""
    labels = np.full(len(corners), -1, np.intp)
    following = 0
    for first in range(len(corners)):
        if labels[first] >= 0:
            continue
        labels[first] = following
        waiting = [first]
        while waiting:
            one = waiting.pop()
            rest = np.flatnonzero(labels < 0)
            allowed = _SIMILAR / 2 * np.minimum(sides[rest], sides[one]).sum(axis=1)
            similar = rest[np.abs(corners[rest] - corners[one]).max(axis=1, initial=0) <= allowed]
            labels[similar] = following
            waiting += similar.tolist()
        following += 1
    return labels


class HaarCascade:
    """The classic detector: no network, frontal upright faces alone. Safe to share among threads.

    Parameters
    ----------
    file
        An OpenCV cascade with stages of weak classifiers.
    score
        Least score of a face, 0..1; see this module for what it means.
    min_face
        Height in pixels of the smallest face looked for; None takes 40. The cost grows with its inverse square.
    scale_factor
        Ratio between the sizes of windows, 1.01 to 2: smaller finds a few more faces and takes longer.
    """

    name = "haar"

    def __init__(
        self,
        file: Path,
        *,
        score: float = _SCORE,
        min_face: float | None = None,
        scale_factor: float = 1.1,
    ) -> None:
        if not (is_number(scale_factor) and 1.01 <= scale_factor <= 2):
            raise InputError(f"scale_factor is a ratio of sizes, 1.01 to 2, not {scale_factor!r}")
        self._file = file
        self._score = checked_score(score)
        self._min_face = checked_min_face(min_face) or _MIN_FACE
        self._scale_factor = scale_factor
        self._threshold = _last_threshold(file)
        self._local = threading.local()  # a classifier serves one thread at a time

    def detect(self, images: Sequence[Image]) -> list[Faces]:
        """Return the faces of each RGB uint8 image, best score first."""
        return [self._detect(image) for image in images]

    def _detect(self, image: Image) -> Faces:
        side = max(round(self._min_face), 1)
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        # No grouping by OpenCV: asked for weights, it counts stages where it should count windows.
        windows, _, weights = self._classifier().detectMultiScale3(
            gray, self._scale_factor, 0, 0, (side, side), outputRejectLevels=True
        )
        windows = np.reshape(np.asarray(windows, np.float32), (-1, 4))
        margins = np.maximum(np.reshape(np.asarray(weights, np.float64), -1) - self._threshold, 0)
        best = np.argsort(-margins, kind="stable")[:_MOST_WINDOWS]
        boxes, sums = group(windows[best], margins[best])
        scores = (sums / (sums + _HALF)).astype(np.float32)
        surest = nms(boxes, scores, _NMS_IOU)
        kept = surest[scores[surest] >= self._score]
        return Faces(clip_boxes(boxes[kept], *image.shape[:2]), scores[kept])

    def _classifier(self) -> Any:
        if not hasattr(self._local, "classifier"):
            self._local.classifier = cv2.CascadeClassifier(str(self._file))
        return self._local.classifier


def _last_threshold(file: Path) -> float:
    """Return the threshold of a cascade's last stage."""
    try:
        storage = cv2.FileStorage(str(file), cv2.FILE_STORAGE_READ)
        stages = storage.getNode("cascade").getNode("stages")
        threshold = stages.at(stages.size() - 1).getNode("stageThreshold")
        if not threshold.isReal():
            raise SystemError("no stages")
        return float(threshold.real())
    except (cv2.error, SystemError):  # of the constructor, OpenCV's error comes inside the latter
        raise EngineError(f"OpenCV's {file.name} is no cascade: install opencv-python-headless anew") from None

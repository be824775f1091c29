"""SSD-MobileNetV1, the detector of face-api.js: MobileNetV1 at 512 x 512 with six box predictors.

The anchors are those of "SSD: Single Shot MultiBox Detector" (Liu and others, 2016) as TensorFlow's Object Detection
API makes them, with three small ones a cell of the finest grid.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from visavis.detection.squares import SquareDetector
from visavis.detection.views import Sight
from visavis.errors import ModelError
from visavis.models.cards import ModelCard
from visavis.models.loader import Loader
from visavis.types import Faces, FloatArray

__all__ = ["SIGHT", "anchors", "decode", "load"]

_SIDE = 512  # px of the network's input
_GRIDS = (32, 16, 8, 4, 2, 1)  # cells a side
_SCALES = (0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0)  # of a grid's anchors; the next grid's scale serves one anchor
_RATIOS = (2.0, 1 / 2, 3.0, 1 / 3)  # width to height
_FINEST = ((0.1, 1.0), (0.2, 2.0), (0.2, 1 / 2))  # scale and ratio of the finest grid's
_VARIANCES = np.array([10, 10, 5, 5], np.float32)  # the network gives offsets times these
_SCORE = 0.5
_BATCHES = (4, 1)

# Measured on lfw-dev faces scaled to each height, at score 0.5, one look: 20 px 0.55, 24 px 0.92, 28 to 200 px 0.83 (at
# 32 and 80 px, between the anchors' sizes) to 1.00, 240 px 0.90, 340 px 0.40. The whole picture is therefore shown at
# half the input's side, so that a face that fills it is seen.
SIGHT = Sight(
    smallest=28.0,
    coarse=_SIDE // 2,
    tile=_SIDE,
    overlap=160,
    min_face=40.0,
    fit=((20, 0.5), (40, 1.0), (200, 1.0), (280, 0.5)),
    square=True,
)


def load(
    card: ModelCard, loader: Loader, *, score: float | None = None, min_face: float | None = None
) -> SquareDetector:
    """Load the detector of face-api.js: boxes alone.

    Parameters
    ----------
    score
        Least score of a face, 0..1; 0.5 by default.
    min_face
        Height in pixels of the smallest face looked for. None takes 40 in pictures of more than 256 px, 28 in smaller
        ones.
    """
    return SquareDetector(
        card.id,
        loader.session(card.id, batches=_BATCHES),
        SIGHT,
        decode,
        batch=max(_BATCHES),
        score=_SCORE if score is None else score,
        min_face=min_face,
    )


def anchors() -> FloatArray:
    """Return the anchors, float32 ``(5118, 4)``: center y, center x, height, width in sides of the input.

    Examples
    --------
    >>> anchors().shape
    (5118, 4)
    >>> anchors()[0].tolist()
    [0.015625, 0.015625, 0.10000000149011612, 0.10000000149011612]
    """
    rows = []
    for k, cells in enumerate(_GRIDS):
        scale, following = _SCALES[k], _SCALES[k + 1]
        shapes = [(scale, 1.0), ((scale * following) ** 0.5, 1.0), *((scale, ratio) for ratio in _RATIOS)]
        sizes = [(s / ratio**0.5, s * ratio**0.5) for s, ratio in (shapes if k else _FINEST)]
        middle = (np.arange(cells) + 0.5) / cells
        y, x = np.meshgrid(middle, middle, indexing="ij")
        centers = np.repeat(np.stack([y, x], axis=-1).reshape(-1, 2), len(sizes), axis=0)
        rows.append(np.concatenate([centers, np.tile(sizes, (cells * cells, 1))], axis=1))
    return np.concatenate(rows).astype(np.float32)


def decode(outputs: Mapping[str, FloatArray], score: float) -> list[Faces]:
    """Turn the network's outputs into faces, before suppression.

    Parameters
    ----------
    outputs
        ``boxes`` ``(n, 5118, 4)``, offsets of the anchors' center and log size, and ``logits`` ``(n, 5118)``.
    score
        Faces below this are left out. A face's score is the sigmoid of its logit, 0..1.

    Returns
    -------
    One `Faces` an image, in pixels of the network's input.
    """
    priors = anchors()
    boxes, logits = outputs["boxes"], outputs["logits"]
    if boxes.shape[1:] != priors.shape or logits.shape[1:] != priors.shape[:1]:
        raise ModelError(f"this is not SSD-MobileNetV1: {boxes.shape[1:]} boxes for {len(priors)} anchors")
    found = []
    for logit, row in zip(logits, boxes, strict=True):
        scores = 1 / (1 + np.exp(-np.clip(logit, -80, 80)))
        best = np.flatnonzero(scores >= score)
        offsets, prior = row[best] / _VARIANCES, priors[best]
        center = prior[:, :2] + offsets[:, :2] * prior[:, 2:]
        half = np.exp(np.minimum(offsets[:, 2:], 10)) * prior[:, 2:] / 2
        if not (np.isfinite(offsets).all() and np.isfinite(logit).all()):
            raise ModelError(
                "SSD-MobileNet returned NaN or infinity; check its file: visavis models verify ssd-mobilenet"
            )
        corners = np.concatenate([center - half, center + half], axis=1)[:, [1, 0, 3, 2]]
        found.append(Faces(corners * _SIDE, scores[best]))
    return found

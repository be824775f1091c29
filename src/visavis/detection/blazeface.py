"""BlazeFace, the network of 256 x 256 pixels that came with MediaPipe (Bazarevsky and others, 2019).

Anchors stand on grids of 16 and 32 pixels, two and six to a cell; each has a score, the center and size of a box and
six points, all in pixels from its center.
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

_SIDE = 256  # px of the network's input
_GRIDS = ((16, 2), (32, 6))  # stride in px, anchors a cell
_SCORE = 0.6
_BATCHES = (8, 1)

# Recall of lfw-dev faces scaled to each height, score 0.5: 12 px 0.53, 16 to 160 px 1.00, 200 px 0.98, 240 px 0.97.
SIGHT = Sight(
    smallest=18.0,
    coarse=_SIDE,
    tile=_SIDE,
    overlap=64,
    min_face=40.0,
    fit=((14, 0.5), (28, 1.0), (160, 1.0), (256, 0.7)),
    square=True,
)


def load(
    card: ModelCard, loader: Loader, *, score: float | None = None, min_face: float | None = None
) -> SquareDetector:
    """Load the detector: very fast, for one to a few faces, with six points a face.

    The trait ``landmarks_6``, float32 ``(n, 6, 2)``, holds both eyes (left in the image first), the tip of the nose,
    the middle of the mouth and the tragi of both ears.

    Parameters
    ----------
    score
        Least score of a face, 0..1; 0.6 by default.
    min_face
        Height in pixels of the smallest face looked for. None takes 40 in pictures of more than 256 px, in which
        smaller faces cost many looks; in smaller ones what a single look finds.
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
    """Return the anchors' centers, float32 ``(896, 2)``: x and y in pixels of the network's input.

    Examples
    --------
    >>> anchors()[[0, 1, 2, -1]].tolist()
    [[8.0, 8.0], [8.0, 8.0], [24.0, 8.0], [240.0, 240.0]]
    """
    centers = []
    for stride, count in _GRIDS:
        middle = (np.arange(_SIDE // stride, dtype=np.float32) + 0.5) * stride
        y, x = np.meshgrid(middle, middle, indexing="ij")
        centers.append(np.repeat(np.stack([x, y], axis=-1).reshape(-1, 2), count, axis=0))
    return np.concatenate(centers)


def decode(outputs: Mapping[str, FloatArray], score: float) -> list[Faces]:
    """Turn the network's outputs into faces, before suppression.

    Parameters
    ----------
    outputs
        Of 896 anchors, in two arrays each: logits ``(n, k, 1)`` and ``(n, k, 16)`` with the box's center and size
        and six points.
    score
        Faces below this are left out. A face's score is the sigmoid of its logit, 0..1.

    Returns
    -------
    One `Faces` an image, in pixels of the network's input, with the trait ``landmarks_6``.
    """
    centers = anchors()
    logits, rows = (_joined(outputs, width, len(centers)) for width in (1, 16))
    found = []
    for logit, row in zip(logits[..., 0], rows, strict=True):
        scores = 1 / (1 + np.exp(-np.clip(logit, -80, 80)))
        best = np.flatnonzero(scores >= score)
        values, origin = row[best].reshape(-1, 8, 2), centers[best, None]
        middle, half = values[:, 0] + origin[:, 0], np.maximum(values[:, 1], 0) / 2
        points = values[:, 2:] + origin
        if not (np.isfinite(values).all() and np.isfinite(scores).all()):
            raise ModelError("BlazeFace returned NaN or infinity; check its file: visavis models verify blazeface")
        boxes = np.concatenate([middle - half, middle + half], axis=1)
        found.append(Faces(boxes, scores[best], traits={"landmarks_6": points}))
    return found


def _joined(outputs: Mapping[str, FloatArray], width: int, count: int) -> FloatArray:
    """Return the output of ``width`` numbers an anchor, fine grid first."""
    parts = sorted((out for out in outputs.values() if out.shape[-1] == width), key=lambda out: -out.shape[1])
    if sum(part.shape[1] for part in parts) != count:
        raise ModelError(f"this is not BlazeFace: {count} anchors have {width} numbers each there")
    return np.concatenate(parts, axis=1)

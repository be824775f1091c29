"""YuNet: a face detector of 75,856 weights (Wu, Peng, Yu: "YuNet: A Tiny Millisecond-level Face Detector", 2023).

The network sees faces of about 20 to 600 pixels; measured on lfw-dev faces scaled to each height, at score 0.7::

    height, px    12    16    20    30    50   100   400   600   800  1000
    recall      0.00  0.22  0.81  1.00  1.00  1.00  1.00  0.99  0.50  0.01

Larger pictures are therefore looked at more than once: whole, shrunk until the largest possible face is in that
range, and in overlapping tiles at full size, where small faces are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from visavis.detection.settings import checked_min_face, checked_score
from visavis.detection.views import Sight, View, look_by_size, place, plan, show
from visavis.errors import ModelError
from visavis.models.cards import ModelCard
from visavis.models.loader import Loader
from visavis.models.session import Session
from visavis.types import Faces, FloatArray, Image

__all__ = ["SIGHT", "YuNet", "decode", "load", "views"]

_STRIDES = (8, 16, 32)
_ALIGN = 32  # both sides of the network's input
_SCORE = 0.6
_BATCH = 8
_BATCH_PIXELS = 2**20  # of images run together: beyond, a batch gains nothing and takes memory

# Landmarks of very small and very large faces are rough, so the view in which a face has 64 to 400 pixels describes it.
SIGHT = Sight(
    smallest=28.0,
    coarse=640,
    tile=1664,
    overlap=256,
    min_face=20.0,
    fit=((16, 0.5), (64, 1.0), (2**8.64, 1.0), (2**9.64, 0.5)),
)


def load(card: ModelCard, loader: Loader, *, score: float | None = None, min_face: float | None = None) -> YuNet:
    """Load the detector; see `YuNet` for the settings."""
    return YuNet(loader.session(card.id), score=_SCORE if score is None else score, min_face=min_face)


def decode(outputs: Mapping[str, FloatArray], height: int, width: int, score: float) -> list[Faces]:
    """Turn YuNet's twelve output maps into faces, before suppression.

    Parameters
    ----------
    outputs
        ``cls_s``, ``obj_s`` ``(n, k, 1)``, ``bbox_s`` ``(n, k, 4)`` and ``kps_s`` ``(n, k, 10)`` for strides s of 8,
        16 and 32, where k counts the cells of an ``height/s`` x ``width/s`` grid, row by row.
    height, width
        Size of the network's input in pixels.
    score
        Faces below this are left out. A face's score is ``sqrt(cls * obj)``, 0..1.

    Returns
    -------
    One `Faces` an image, in pixels of the network's input.
    """
    image, faces = _decode(outputs, height, width, score)
    return [faces[image == i] for i in range(len(outputs["cls_8"]))]


def _decode(
    outputs: Mapping[str, FloatArray], height: int, width: int, score: float
) -> tuple[npt.NDArray[np.intp], Faces]:
    """Return the faces of a whole batch, as `decode`, and which image each is of."""
    images, faces = [], []
    for stride in _STRIDES:
        cls, obj = outputs[f"cls_{stride}"][..., 0], outputs[f"obj_{stride}"][..., 0]
        if cls.shape[1] != (height // stride) * (width // stride):
            raise ModelError(f"this is not YuNet: {cls.shape[1]} cells of {stride} px for {width}x{height} pixels")
        image, cell = np.nonzero(cls * obj >= score * score)  # few cells pass: the rest is done for those alone
        if not len(image):
            continue
        y, x = np.divmod(cell, width // stride)
        grid = np.stack([x, y], axis=1).astype(np.float32)
        raw = outputs[f"bbox_{stride}"][image, cell]
        center = (grid + raw[:, :2]) * stride
        half = np.exp(np.minimum(raw[:, 2:], 10)) * (stride / 2)  # e**10 strides is beyond any image
        boxes = np.concatenate([center - half, center + half], axis=1)
        points = (outputs[f"kps_{stride}"][image, cell].reshape(-1, 5, 2) + grid[:, None]) * stride
        if not (np.isfinite(boxes).all() and np.isfinite(points).all()):
            raise ModelError("YuNet returned NaN or infinity; check its file: visavis models verify yunet")
        scores = np.sqrt(np.clip(cls[image, cell], 0, 1) * np.clip(obj[image, cell], 0, 1))
        images.append(image)
        faces.append(Faces(boxes, scores, points))
    return np.concatenate([np.empty(0, np.intp), *images]), Faces.concat([Faces.empty(), *faces])


def views(height: int, width: int, min_face: float | None = None) -> list[View]:
    """Plan the looks at a picture; see `visavis.detection.views.plan`.

    None looks for faces from 20 px in pictures of more than 640 px, from 28 px in smaller ones.

    Examples
    --------
    >>> [round(view.scale, 2) for view in views(250, 250)]
    [1.0]
    >>> [round(view.scale, 2) for view in views(3000, 4000, min_face=56)]
    [0.16, 0.5, 0.5]
    """
    return plan(height, width, SIGHT, min_face)


class YuNet:
    """The default detector.

    Parameters
    ----------
    session
        The network, every axis free.
    score
        Least score of a face, 0..1.
    min_face
        Height in pixels of the smallest face looked for; see `views` for None. In large pictures the cost grows
        with ``1 / min_face**2``.
    """

    name = "yunet"

    def __init__(self, session: Session, *, score: float = _SCORE, min_face: float | None = None) -> None:
        self._session = session
        self._score = checked_score(score)
        self._min_face = checked_min_face(min_face)

    def detect(self, images: Sequence[Image]) -> list[Faces]:
        """Return the faces of each RGB uint8 image, best score first; images of one size are run together."""
        return look_by_size(
            images,
            lambda height, width: views(height, width, self._min_face),
            self._look,
            lambda height, width, _: min(_BATCH, _BATCH_PIXELS // (height * width)),
        )

    def _look(self, images: Sequence[Image], view: View) -> list[Faces]:
        """Return each image's faces in one view, in image pixels; their trait "fit" says how well it shows them."""
        padded = [-(-side // _ALIGN) * _ALIGN for side in view.shown]
        batch = np.zeros((len(images), *padded, 3), np.uint8)
        for row, image in zip(batch, images, strict=True):
            show(image, view, row)
        owner, faces = _decode(self._session.run(batch), padded[0], padded[1], self._score)
        return place(owner, faces, view, len(images), SIGHT)

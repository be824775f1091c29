"""YuNet: a face detector of 75,856 weights (Wu, Peng, Yu: "YuNet: A Tiny Millisecond-level Face Detector", 2023).

The network sees faces of about 20 to 600 pixels; measured on lfw-dev faces scaled to each height, at score 0.7::

    height, px    12    16    20    30    50   100   400   600   800  1000
    recall      0.00  0.22  0.81  1.00  1.00  1.00  1.00  0.99  0.50  0.01

Larger pictures are therefore looked at more than once: whole, shrunk until the largest possible face is in that
range, and in overlapping tiles at full size, where small faces are.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from visavis.errors import InputError, ModelError
from visavis.geometry import area, clip_boxes, intersection, nms
from visavis.models.cards import ModelCard
from visavis.models.loader import Loader
from visavis.models.session import Session
from visavis.types import Faces, FloatArray, Image

__all__ = ["View", "YuNet", "decode", "load", "views"]

_STRIDES = (8, 16, 32)
_ALIGN = 32  # both sides of the network's input
_NMS_IOU = 0.3
_SCORE = 0.6
_BATCH = 8
_BATCH_PIXELS = 2**20  # of images run together: beyond, a batch gains nothing and takes memory

_SMALLEST = 28.0  # px a face needs in the finest view to be found reliably
_DEFAULT_MIN_FACE = 20.0
_COARSE_SIDE = 640  # long side of the coarsest view: a face that fills it is still seen
_TILE = 1664  # px of a view's side, which bounds memory
_OVERLAP = 256  # px between tiles; a larger face is seen whole by a coarser view
_SCALE_STEP = _OVERLAP / _SMALLEST  # between views: a face as large as the overlap in one is found in the next

# How well a view shows a face, by the log2 of its longer side there: landmarks of very small and very large faces
# are rough, so the view in which a face has 64 to 400 pixels describes it.
_FIT_LOG2_SIDE = np.array([4.0, 6.0, 8.64, 9.64], np.float32)
_FIT = np.array([0.5, 1.0, 1.0, 0.5], np.float32)
# A box that touches a side at which a tile was cut off shows part of a face that is whole in another view; one that
# comes near it (in sides of the box) may, and gives way to another view's.
_CUT = 2.0
_NEAR_CUT = 0.1


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


@dataclass(frozen=True)
class View:
    """A part of an image at a scale: ``pixel = offset + view pixel / scale``."""

    scale: float
    x: int = 0
    y: int = 0
    width: int = 0
    height: int = 0
    inner: tuple[bool, bool, bool, bool] = (False, False, False, False)  # which sides cut through the image


def views(height: int, width: int, min_face: float | None = None) -> list[View]:
    """Plan what to look at so that faces from ``min_face`` pixels to the whole frame lie in the network's range.

    The finest scale shows ``min_face`` at `_SMALLEST` pixels, tiled where it is large; a coarse look at the whole
    picture finds what is too large for that. Further looks fill a gap between the two in very large pictures.
    None looks for faces from 20 px in pictures larger than `_COARSE_SIDE`, from `_SMALLEST` in smaller ones, where
    enlarging would double the cost of every portrait.

    Examples
    --------
    >>> [round(view.scale, 2) for view in views(250, 250)]
    [1.0]
    >>> [round(view.scale, 2) for view in views(3000, 4000, min_face=56)]
    [0.16, 0.5, 0.5]
    """
    longest = max(height, width)
    if min_face is None:
        min_face = _DEFAULT_MIN_FACE if longest > _COARSE_SIDE else _SMALLEST
    finest, coarse = _SMALLEST / min_face, _COARSE_SIDE / longest
    if finest <= coarse:
        return _tiles(height, width, finest)
    steps = math.ceil(math.log(finest / coarse) / math.log(_SCALE_STEP))
    scales = (coarse * (finest / coarse) ** (i / steps) for i in range(steps + 1))
    return [view for scale in scales for view in _tiles(height, width, scale)]


def _tiles(height: int, width: int, scale: float) -> list[View]:
    rows, columns = (_cuts(side, _TILE / scale, _OVERLAP / scale) for side in (height, width))
    return [
        View(scale, x1, y1, x2 - x1, y2 - y1, (x1 > 0, y1 > 0, x2 < width, y2 < height))
        for y1, y2 in rows
        for x1, x2 in columns
    ]


def _cuts(length: int, tile: float, overlap: float) -> list[tuple[int, int]]:
    """Cut a side into equal overlapping pieces no longer than ``tile``."""
    count = max(1, math.ceil((length - overlap) / (tile - overlap)))
    piece = math.ceil((length + (count - 1) * overlap) / count)
    step = (length - piece) / max(count - 1, 1)
    return [(round(i * step), min(round(i * step) + piece, length)) for i in range(count)]


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
        if not 0 < score <= 1:
            raise InputError(f"the detector's score lies in 0..1, not {score}")
        if min_face is not None and not 5 <= min_face <= 2000:
            raise InputError(f"min_face is a height in pixels, 5 to 2000, not {min_face}")
        self._session = session
        self._score = score
        self._min_face = min_face

    def detect(self, images: Sequence[Image]) -> list[Faces]:
        """Return the faces of each RGB uint8 image, best score first; images of one size are run together."""
        groups: dict[tuple[int, int], list[int]] = defaultdict(list)
        for i, image in enumerate(images):
            groups[(image.shape[0], image.shape[1])].append(i)
        found: list[Faces] = [Faces.empty()] * len(images)
        for (height, width), members in groups.items():
            plan = views(height, width, self._min_face)
            step = max(1, min(_BATCH, _BATCH_PIXELS // (height * width)))
            for start in range(0, len(members), step):
                batch = members[start : start + step]
                seen = [self._look([images[i] for i in batch], view) for view in plan]
                for row, i in enumerate(batch):
                    found[i] = _merge([looks[row] for looks in seen], height, width)
        return found

    def _look(self, images: Sequence[Image], view: View) -> list[Faces]:
        """Return each image's faces in one view, in image pixels; their trait "fit" says how well it shows them."""
        height, width = max(round(view.height * view.scale), 1), max(round(view.width * view.scale), 1)
        padded = (-(-height // _ALIGN) * _ALIGN, -(-width // _ALIGN) * _ALIGN)
        batch = np.zeros((len(images), *padded, 3), np.uint8)
        for row, image in zip(batch, images, strict=True):
            part = image[view.y : view.y + view.height, view.x : view.x + view.width]
            row[:height, :width] = part if part.shape[:2] == (height, width) else _resize(part, height, width)
        # Per axis, as the sides were rounded to whole pixels.
        back = np.array([view.width / width, view.height / height], np.float32)
        offset = np.array([view.x, view.y], np.float32)
        owner, faces = _decode(self._session.run(batch), *padded, self._score)
        side = (faces.boxes[:, 2:] - faces.boxes[:, :2]).max(axis=1, initial=1)
        fit = np.interp(np.log2(side), _FIT_LOG2_SIDE, _FIT)
        if any(view.inner):
            gap = _gap_to_cut(faces.boxes, height, width, view.inner)
            fit[gap < _NEAR_CUT * side] /= 2
            owner, faces, fit = owner[gap >= _CUT], faces[gap >= _CUT], fit[gap >= _CUT]
        assert faces.landmarks is not None
        faces = Faces(
            boxes=faces.boxes * np.tile(back, 2) + np.tile(offset, 2),
            scores=faces.scores,
            landmarks=faces.landmarks * back + offset,
            traits={"fit": fit},
        )
        looks = []
        for i in range(len(images)):
            mine = np.flatnonzero(owner == i)
            looks.append(faces[mine[nms(faces.boxes[mine], faces.scores[mine], _NMS_IOU)]])
        return looks


def _resize(image: Image, height: int, width: int) -> Image:
    how = cv2.INTER_AREA if height < image.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=how), np.uint8)


def _gap_to_cut(
    boxes: FloatArray, height: int, width: int, inner: tuple[bool, bool, bool, bool]
) -> npt.NDArray[np.float32]:
    """Return each box's gap in pixels to the nearest side where the tile, not the image, ends."""
    gaps = np.stack([boxes[:, 0], boxes[:, 1], width - boxes[:, 2], height - boxes[:, 3]], axis=1)
    return np.asarray(np.where(inner, gaps, np.inf).min(axis=1, initial=np.inf))


def _merge(looks: Sequence[Faces], height: int, width: int) -> Faces:
    """Join what the views found of one image, each face from the view that saw it best."""
    faces = looks[0] if len(looks) == 1 else Faces.concat(looks)
    if len(looks) > 1 and len(faces):
        faces = faces[nms(faces.boxes, faces.scores * faces.traits["fit"], _NMS_IOU)]
        faces = faces[~_parts(faces)]
    boxes = clip_boxes(faces.boxes, height, width)
    visible = area(boxes) > 0.25 * area(faces.boxes)
    best_first = np.argsort(-faces.scores, kind="stable")
    return faces.replace(boxes=boxes, traits={})[best_first[visible[best_first]]]


def _parts(faces: Faces) -> npt.NDArray[np.bool_]:
    """Tell which boxes lie inside a larger, surer face: an eye or half a face that looks like a small one."""
    size, scores = area(faces.boxes), faces.scores
    inside = intersection(faces.boxes, faces.boxes) > 0.7 * size[:, None]
    outdone = (size[None, :] > 2 * size[:, None]) & (scores[None, :] >= scores[:, None])
    return np.asarray((inside & outdone).any(axis=1))

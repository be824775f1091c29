"""MTCNN: a cascade of three small networks, with hard or soft suppression after each.

Zhang, Zhang, Li, Qiao: "Joint Face Detection and Alignment using Multi-task Cascaded Convolutional Networks", IEEE
Signal Processing Letters 23 (2016). P-Net slides over the picture at many scales and proposes boxes, R-Net refuses
most of them, O-Net decides and finds five landmarks; each also corrects the boxes. Weights, thresholds and arithmetic,
to the odd pixel added to a width, are facenet-pytorch's, so that boxes are too (tests/detection/test_mtcnn.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from visavis.detection.mtcnn_pyramid import CELL, STRIDE, Canvas, Sampler, canvases, levels
from visavis.errors import InputError, ModelError
from visavis.geometry import Over, clip_boxes, nms_within, soft_nms
from visavis.models.cards import ModelCard
from visavis.models.loader import Loader
from visavis.models.session import Session
from visavis.types import Faces, FloatArray, Image

__all__ = ["MTCNN", "Settings", "Suppression", "load"]

Index = npt.NDArray[np.intp]
Suppression = Literal["hard", "soft-linear", "soft-gaussian"]
_SUPPRESSIONS = ("hard", "soft-linear", "soft-gaussian")

_BATCH_PIXELS = 2**22  # of pictures handled together; a larger one is handled alone
_BATCH = 16  # pictures handled together at most
_MOST = 10_000  # candidates of a scale, and of a picture, that suppression looks at: the best
_HELD = 200_000  # candidates held before the worst are let go: 8 MB
# Crops a network takes at once, and the step in their number: each new number takes the engine 10 ms.
_CROPS = {24: (64, 8), 48: (32, 4)}
_ONE_PIXEL = np.array([0, 0, 1, 1], np.float32)


@dataclass(frozen=True)
class Settings:
    """How MTCNN searches; checked when made.

    Parameters
    ----------
    min_face
        Height in pixels of the smallest face looked for, 5 to 2000. The cost grows with its inverse square.
    factor
        Scale from one level of the pyramid to the next, 0.1 to 0.95: closer to 1 finds more faces, and costs more.
    thresholds
        Least probability of a face after P-, R- and O-Net, 0..1 each.
    nms
        How boxes that overlap a better one are handled after each network: ``"hard"`` drops them as published (IoU
        above 0.5 in a level, 0.7 over all levels and after R-Net, and 0.7 of the smaller box after O-Net),
        ``"soft-linear"`` and ``"soft-gaussian"`` lower their scores, see `visavis.geometry.soft_nms`.
        One for all stages, or three.
    overlap
        IoU from which soft-linear lowers a score, 0..1.
    sigma
        Width of soft-gaussian's curve, above 0: smaller lowers more.
    cut
        Where suppression is soft, a box whose lowered score is below this is dropped, 0..1; one for all stages, or
        three.

    Raises
    ------
    InputError
        If a value is not one of these.
    """

    min_face: float = 20.0
    factor: float = 0.709
    thresholds: tuple[float, float, float] = (0.6, 0.7, 0.7)
    nms: tuple[Suppression, Suppression, Suppression] = ("hard", "hard", "hard")
    overlap: float = 0.3
    sigma: float = 0.5
    cut: tuple[float, float, float] = (0.3, 0.3, 0.5)

    def __post_init__(self) -> None:
        _number("min_face, a height in pixels,", self.min_face, 5, 2000)
        _number("factor", self.factor, 0.1, 0.95)
        _number("overlap", self.overlap, 0, 1)
        _number("sigma", self.sigma, 0.01, 100)
        for name in ("thresholds", "cut"):
            values = _three(name, getattr(self, name), alone=name == "cut")
            object.__setattr__(self, name, tuple(_number(f"each of {name}", v, 0, 1) for v in values))
        nms = _three("nms", self.nms, alone=True)
        for name in nms:
            if name not in _SUPPRESSIONS:
                raise InputError(f"nms is one of {', '.join(_SUPPRESSIONS)}, for all stages or for each, not {name!r}")
        object.__setattr__(self, "nms", nms)


def _number(name: str, value: Any, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not low <= value <= high:
        raise InputError(f"MTCNN's {name} lies in {low}..{high}, not {value!r}")
    return float(value)


def _three(name: str, value: Any, *, alone: bool) -> tuple[Any, Any, Any]:
    if alone and (isinstance(value, (str, int, float)) or value is None):
        return (value, value, value)
    if not isinstance(value, (list, tuple)) or len(value) != 3:
        raise InputError(f"MTCNN's {name} takes {'one value or ' * alone}three, for P-, R- and O-Net, not {value!r}")
    return (value[0], value[1], value[2])


def load(
    card: ModelCard,
    loader: Loader,
    *,
    score: float | None = None,
    min_face: float | None = None,
    factor: float = Settings.factor,
    thresholds: Sequence[float] = Settings.thresholds,
    nms: str | Sequence[str] = Settings.nms,
    overlap: float = Settings.overlap,
    sigma: float = Settings.sigma,
    cut: float | Sequence[float] = Settings.cut,
) -> MTCNN:
    """Load the detector; see `Settings`. ``score`` stands in for the third threshold."""
    final = _three("thresholds", thresholds, alone=False)
    if score is not None:
        final = (*final[:2], _number("score", score, 0, 1))
    smallest = Settings.min_face if min_face is None else min_face
    settings = Settings(smallest, factor, final, nms, overlap, sigma, cut)  # type: ignore[arg-type]
    pnet, rnet, onet = (loader.session(loader.part(card, end)) for end in ("pnet", "rnet", "onet"))
    return MTCNN(pnet, rnet, onet, settings)


@dataclass(frozen=True)
class _Candidates:
    """Boxes, their scores and the pictures they are of; what a network corrects them by; five points."""

    image: Index
    boxes: FloatArray
    scores: FloatArray
    shift: FloatArray
    points: FloatArray

    @classmethod
    def none(cls) -> _Candidates:
        empty = np.empty((0, 4), np.float32)
        return cls(np.empty(0, np.intp), empty, empty[:, 0], empty, np.empty((0, 10), np.float32))

    def __getitem__(self, rows: slice | npt.NDArray[Any]) -> _Candidates:
        return _Candidates(**{name: column[rows] for name, column in vars(self).items()})

    def __len__(self) -> int:
        return len(self.scores)


class MTCNN:
    """The cascade.

    Parameters
    ----------
    pnet, rnet, onet
        Its networks; P-Net takes float32 images of any size, the others crops of 24 and 48 pixels.
    settings
        How it searches.
    """

    name = "mtcnn"

    def __init__(self, pnet: Session, rnet: Session, onet: Session, settings: Settings | None = None) -> None:
        self._pnet, self._rnet, self._onet = pnet, rnet, onet
        self._settings = settings or Settings()

    def detect(self, images: Sequence[Image]) -> list[Faces]:
        """Return the faces of each RGB uint8 image, best score first; small images are handled together."""
        found: list[Faces] = []
        for batch in _batches(images):
            found += self._together([Sampler(image) for image in batch])
        return found

    def _together(self, samplers: Sequence[Sampler]) -> list[Faces]:
        faces = self._decide(samplers, self._refine(samplers, self._propose(samplers)))
        found = []
        for i, sampler in enumerate(samplers):
            mine = faces[np.flatnonzero(faces.image == i)]
            boxes = clip_boxes(mine.boxes, sampler.height, sampler.width)
            inside = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
            points = mine.points.reshape(-1, 2, 5).transpose(0, 2, 1)
            best_first = np.argsort(-mine.scores, kind="stable")
            rows = best_first[inside[best_first]]
            found.append(Faces(boxes[rows], np.clip(mine.scores[rows], 0, 1), points[rows]))
        return found

    def _propose(self, samplers: Sequence[Sampler]) -> _Candidates:
        """Run P-Net over all pictures at all scales."""
        s = self._settings
        scales = [levels(p.height, p.width, s.min_face, s.factor) for p in samplers]
        most_levels = max(map(len, scales), default=0) or 1
        held: list[tuple[Index, _Candidates]] = []
        count = 0
        for canvas in canvases(scales, [(p.height, p.width) for p in samplers]):
            seen = self._run(self._pnet, canvas.pixels(samplers))
            held.append(_proposals(canvas, seen, s.thresholds[0], most_levels))
            count += len(held[-1][1])
            if count > _HELD:
                held = [_best(*_joined(held))]
                count = len(held[0][1])
        level, found = _best(*_joined(held))
        found = self._suppressed(0, found, level, 0.5)
        found = _best(found.image, found)[1]
        found = self._suppressed(0, found, found.image, 0.7)
        sides = found.boxes[:, 2:] - found.boxes[:, :2]
        return _moved(found, found.boxes + found.shift * np.tile(sides, 2))

    def _refine(self, samplers: Sequence[Sampler], found: _Candidates) -> _Candidates:
        """Let R-Net refuse and correct boxes."""
        found = self._judged(self._rnet, samplers, _squared(found), 24, self._settings.thresholds[1])
        found = self._suppressed(1, found, found.image, 0.7)
        return _squared(_corrected(found))

    def _decide(self, samplers: Sequence[Sampler], found: _Candidates) -> _Candidates:
        """Let O-Net decide and find landmarks."""
        found = self._judged(self._onet, samplers, found, 48, self._settings.thresholds[2])
        sides = np.repeat(found.boxes[:, 2:] - found.boxes[:, :2] + 1, 5, axis=1)
        points = sides * found.points + np.repeat(found.boxes[:, :2], 5, axis=1) - 1
        found = _corrected(_Candidates(found.image, found.boxes, found.scores, found.shift, points))
        return self._suppressed(2, found, found.image, 0.7, over="smaller")

    def _judged(
        self, network: Session, samplers: Sequence[Sampler], found: _Candidates, side: int, threshold: float
    ) -> _Candidates:
        """Return the candidates whose part of the picture a network takes for a face."""
        found = found[np.argsort(found.image, kind="stable")]
        corners = np.empty((len(found), 4), np.intp)
        for i, sampler in enumerate(samplers):
            rows = found.image == i
            whole = np.trunc(np.clip(found.boxes[rows], -(2**30), 2**30)).astype(np.intp)
            low = np.maximum(whole[:, :2], 1) - 1
            corners[rows] = np.concatenate([low, np.minimum(whole[:, 2:], [sampler.width, sampler.height])], axis=1)
        inside = (corners[:, 2] > corners[:, 0]) & (corners[:, 3] > corners[:, 1])
        found, corners = found[inside], corners[inside]
        most, step = _CROPS[side]
        parts = [_Candidates.none()]
        for start in range(0, len(found), most):
            chunk, cut = found[start : start + most], corners[start : start + most]
            crops = np.zeros((-(-len(chunk) // step) * step, side, side, 3), np.float32)
            for i in np.unique(chunk.image):
                crops[: len(chunk)][chunk.image == i] = samplers[i].crops(cut[chunk.image == i], side)
            outputs = {name: values[: len(chunk)] for name, values in self._run(network, crops).items()}
            points = outputs.get("points", chunk.points)
            judged = _Candidates(chunk.image, chunk.boxes, outputs["prob"][:, 1], outputs["reg"], points)
            parts.append(judged[judged.scores > threshold])
        return _concat(parts)

    def _suppressed(
        self, stage: int, found: _Candidates, groups: Index, threshold: float, over: Over = "union"
    ) -> _Candidates:
        s = self._settings
        if s.nms[stage] == "hard":
            # The share of the smaller box is taken of boxes that end one pixel further.
            boxes = found.boxes + _ONE_PIXEL if over == "smaller" else found.boxes
            return found[nms_within(boxes, found.scores, groups, threshold, over=over)]
        parts = [_Candidates.none()]
        for group in np.unique(groups):
            rows = np.flatnonzero(groups == group)
            kept, lowered = soft_nms(
                found.boxes[rows],
                found.scores[rows],
                method="linear" if s.nms[stage] == "soft-linear" else "gaussian",
                threshold=s.overlap,
                sigma=s.sigma,
                score_cut=s.cut[stage],
            )
            part = found[rows[kept]]
            parts.append(_Candidates(part.image, part.boxes, lowered, part.shift, part.points))
        return _concat(parts)

    @staticmethod
    def _run(network: Session, pixels: FloatArray) -> dict[str, FloatArray]:
        outputs = network.run(pixels)
        if not all(np.isfinite(values).all() for values in outputs.values()):
            raise ModelError("MTCNN returned NaN or infinity; check its files: visavis models verify mtcnn")
        return outputs


def _batches(images: Sequence[Image]) -> Iterator[list[Image]]:
    batch: list[Image] = []
    pixels = 0
    for image in images:
        more = image.shape[0] * image.shape[1]
        if batch and (pixels + more > _BATCH_PIXELS or len(batch) == _BATCH):
            yield batch
            batch, pixels = [], 0
        batch.append(image)
        pixels += more
    if batch:
        yield batch


def _proposals(
    canvas: Canvas, outputs: dict[str, FloatArray], threshold: float, most_levels: int
) -> tuple[Index, _Candidates]:
    """Return P-Net's boxes on a canvas, in pixels of their pictures, and the level of a picture each is of."""
    probability = outputs["prob"][:, 1]
    owner = canvas.owners(*probability.shape[1:])
    page, rows, columns = np.nonzero((probability >= threshold) & (owner >= 0))
    tile = owner[page, rows, columns]

    def of(value: Any, kind: Any = np.intp) -> npt.NDArray[Any]:
        return np.array([value(t) for t in canvas.tiles], kind)[tile]

    y = STRIDE * rows - of(lambda t: t.y - t.row)
    x = STRIDE * columns - of(lambda t: t.x - t.column)
    scale = of(lambda t: t.scale, np.float32)[:, None]
    corner = np.stack([x, y], axis=1).astype(np.float32)
    boxes = np.floor(np.concatenate([(corner + 1) / scale, (corner + CELL) / scale], axis=1))
    image = of(lambda t: t.image)
    found = _Candidates(
        image,
        boxes,
        probability[page, rows, columns],
        outputs["reg"][page, :, rows, columns],
        np.empty((len(rows), 10), np.float32),
    )
    return image * most_levels + of(lambda t: t.level), found


def _best(groups: Index, found: _Candidates) -> tuple[Index, _Candidates]:
    """Keep the `_MOST` best of each group."""
    if len(found) <= _MOST:
        return groups, found
    order = np.lexsort((-found.scores, groups))
    begin = np.searchsorted(groups[order], groups[order])
    rows = np.sort(order[np.arange(len(order)) - begin < _MOST])
    return groups[rows], found[rows]


def _joined(parts: Sequence[tuple[Index, _Candidates]]) -> tuple[Index, _Candidates]:
    groups = [np.empty(0, np.intp), *(group for group, _ in parts)]
    return np.concatenate(groups), _concat([_Candidates.none(), *(part for _, part in parts)])


def _concat(parts: Sequence[_Candidates]) -> _Candidates:
    return _Candidates(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in vars(parts[0])})


def _moved(found: _Candidates, boxes: FloatArray) -> _Candidates:
    return _Candidates(found.image, boxes, found.scores, found.shift, found.points)


def _corrected(found: _Candidates) -> _Candidates:
    """Move the corners as the network says: in widths and heights, where a box is counted one pixel larger."""
    sides = found.boxes[:, 2:] - found.boxes[:, :2] + 1
    return _moved(found, found.boxes + found.shift * np.tile(sides, 2))


def _squared(found: _Candidates) -> _Candidates:
    """Grow boxes to squares about their centers."""
    sides = found.boxes[:, 2:] - found.boxes[:, :2]
    side = sides.max(axis=1, keepdims=True, initial=0)
    corner = found.boxes[:, :2] + sides * np.float32(0.5) - side * np.float32(0.5)
    return _moved(found, np.concatenate([corner, corner + side], axis=1))

"""A recognizer that joins several: what one network confuses another often tells apart.

A part's embedding, scaled to the square root of its weight, is joined to those of the others. The cosine of two such
vectors is the weighted mean of the parts' cosines, so joining features and joining scores come to the same, and a
fused embedding can be stored, searched and compared like any other.

All parts are cut from one crop, wider and finer than theirs, by a fixed transform from template to template: so a
fusion takes one crop a face, as every recognizer does. Which parts, weights and crops: data on the card, chosen as
docs/accuracy.md tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from visavis.alignment import TEMPLATES, similarity_transform
from visavis.errors import ModelError
from visavis.models.cards import ModelCard
from visavis.models.loader import Loader
from visavis.recognition import network
from visavis.recognition.base import Recognizer
from visavis.types import Embeddings, FloatArray, Image

__all__ = ["FusionRecognizer", "Part", "between", "cut", "fused", "load"]


@dataclass(frozen=True)
class Part:
    """A recognizer of a fusion.

    Attributes
    ----------
    recognizer
        What embeds the part's crops.
    weight
        Its share of the similarity; shares need not add up to 1.
    scales
        Of each crop whose embedding is added: how much larger the face is in it than the recognizer's template says.
    center
        The mean of its embeddings ``(d,)``, which is taken off: what all faces share says nothing of whose they are.
    """

    recognizer: Recognizer
    weight: float
    scales: tuple[float, ...] = (1.0,)
    center: FloatArray | None = None


def load(card: ModelCard, loader: Loader, *, flip: bool = False) -> FusionRecognizer:
    """Load a fusion: ``settings`` of its card hold ``weights`` by part, and ``scales`` and ``centers`` of some.

    Raises
    ------
    ModelError
        If a part has no weight, a setting is of no part, or a center is not as long as the part's embeddings.
    """
    weights, scales, centers = (dict(card.settings.get(name, {})) for name in ("weights", "scales", "centers"))
    if weights.keys() != set(card.parts) or (scales.keys() | centers.keys()) - weights.keys():
        raise ModelError(f"the card of {card.id!r} must give each of its parts a weight: {', '.join(card.parts)}")
    for name, center in centers.items():
        dimension = loader.store.card(name).dimension
        if len(center) != dimension:
            raise ModelError(
                f"on the card of {card.id!r} the center of {name!r} has {len(center)} numbers, not {dimension}"
            )
    parts = [
        Part(
            network.load(loader.store.card(name), loader, flip=flip),
            float(weights[name]),
            tuple(scales.get(name, (1.0,))),
            np.asarray(centers[name], np.float32) if name in centers else None,
        )
        for name in card.parts
    ]
    return FusionRecognizer(f"{card.id}+flip" if flip else card.id, card.alignment, parts)


class FusionRecognizer:
    """Several recognizers as one.

    Parameters
    ----------
    model
        Card id and variant.
    alignment
        The template of the crops it takes, which has to show what the parts' own show.
    parts
        The recognizers with their weights, which need not add up to 1.

    Raises
    ------
    ModelError
        If there is no part, or a weight is not a positive number.
    """

    def __init__(self, model: str, alignment: str, parts: Sequence[Part]) -> None:
        weights = [part.weight for part in parts]
        if not parts or not np.isfinite(weights).all() or min(weights) <= 0 or not all(part.scales for part in parts):
            raise ModelError(f"{model} needs parts with crops and positive weights, not {weights}")
        self.model = model
        self.alignment = alignment
        self.size = TEMPLATES[alignment][0]
        self.parts = tuple(parts)
        self._matrices = [[between(alignment, part.recognizer, scale) for scale in part.scales] for part in parts]

    def embed(self, crops: Image) -> Embeddings:
        """Return an embedding a crop.

        Parameters
        ----------
        crops
            RGB uint8 ``(n, size, size, 3)``, aligned by `alignment`; n may be 0.

        Returns
        -------
        Embeddings of as many numbers as the parts' together. Part k's stretch has the length
        ``sqrt(weight[k] / sum(weights))``.

        Raises
        ------
        InputError
            If the crops have another size or type.
        ModelError
            If a part's answer is not a finite vector a crop.
        """
        network.check_crops(crops, self.size, self.model)
        looks = [
            [part.recognizer.embed(cut(crops, matrix, part.recognizer.size)).vectors for matrix in matrices]
            for part, matrices in zip(self.parts, self._matrices, strict=True)
        ]
        joined = fused(looks, [part.weight for part in self.parts], [part.center for part in self.parts])
        return Embeddings.normalized(joined, self.model)


def fused(
    looks: Sequence[Sequence[FloatArray]], weights: Sequence[float], centers: Sequence[FloatArray | None]
) -> FloatArray:
    """Join the embeddings of parts.

    Parameters
    ----------
    looks
        Of each part its embeddings ``(n, d)``, one array a crop.
    weights, centers
        Of each part; see `Part`.

    Returns
    -------
    Float32 ``(n, sum of d)``, rows of length ``sqrt(sum(weights))``.

    Examples
    --------
    >>> import numpy as np
    >>> joined = fused([[np.array([[3.0, 4.0]])], [np.array([[2.0]])]], [0.25, 0.75], [None, None])
    >>> joined.astype(float).round(3).tolist()
    [[0.3, 0.4, 0.866]]
    """
    stretches = []
    for crops, weight, center in zip(looks, weights, centers, strict=True):
        mean = _unit(np.sum([_unit(vectors) for vectors in crops], axis=0))
        stretches.append(np.sqrt(weight) * (mean if center is None else _unit(mean - center)))
    return np.asarray(np.concatenate(stretches, axis=1), np.float32)


def between(alignment: str, recognizer: Recognizer, scale: float = 1.0) -> npt.NDArray[np.float64]:
    """Return the transform ``(2, 3)`` from a crop of ``alignment`` to the recognizer's own, with the face scaled."""
    _, source = TEMPLATES[alignment]
    side, points = TEMPLATES[recognizer.alignment]
    middle = (recognizer.size - 1) / 2
    target = (points.astype(np.float64) * (recognizer.size / side) - middle) * scale + middle
    matrix: npt.NDArray[np.float64] = similarity_transform(source[None], target)[0]
    return matrix


def cut(crops: Image, matrix: npt.NDArray[np.float64], size: int) -> Image:
    """Cut a smaller crop out of each of ``crops``: uint8 ``(n, size, size, 3)``."""
    out = np.empty((len(crops), size, size, 3), np.uint8)
    for small, crop in zip(out, crops, strict=True):
        cv2.warpAffine(crop, matrix, (size, size), dst=small, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return out


def _unit(vectors: FloatArray) -> FloatArray:
    unit: FloatArray = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return unit

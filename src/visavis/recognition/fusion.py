"""A recognizer that joins several: what one network confuses another often tells apart.

A part's embedding, scaled to the square root of its weight, is joined to those of the others. The cosine of two such
vectors is the weighted mean of the parts' cosines, so joining features and joining scores come to the same, and a
fused embedding can be stored, searched and compared like any other.

All parts are cut from one crop, wider and finer than theirs, by a fixed transform from template to template: so a
fusion takes one crop a face, as every recognizer does. Which parts, weights and crops: data on the card, chosen as
docs/accuracy.md tells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from visavis.alignment import TEMPLATES, similarity_transform
from visavis.errors import InputError, ModelError
from visavis.models.cards import ModelCard
from visavis.models.loader import Loader
from visavis.recognition import network
from visavis.recognition.base import Recognizer
from visavis.types import Embeddings, FloatArray, Image

__all__ = ["Crop", "FusionRecognizer", "Part", "load"]


@dataclass(frozen=True)
class Crop:
    """How a part's crop differs from its template: the face ``scale`` times as large, moved by ``shift`` of its side."""

    scale: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Part:
    """A recognizer of a fusion, its share of the similarity, and the crops whose embeddings it adds up."""

    recognizer: Recognizer
    weight: float
    crops: tuple[Crop, ...] = (Crop(),)


def load(card: ModelCard, loader: Loader, *, flip: bool = False) -> FusionRecognizer:
    """Load a fusion: ``settings`` of its card hold ``weights`` by part, and ``crops`` where they are not the usual one.

    Raises
    ------
    ModelError
        If a part has no weight, or a weight is not positive.
    """
    weights: Mapping[str, Any] = card.settings.get("weights", {})
    crops: Mapping[str, Any] = card.settings.get("crops", {})
    if weights.keys() != set(card.parts) or crops.keys() - weights.keys():
        raise ModelError(f"the card of {card.id!r} must give each of its parts a weight: {', '.join(card.parts)}")
    parts = []
    for name in card.parts:
        part = loader.store.card(name)
        cuts = [Crop(float(row.get("scale", 1.0)), tuple(row.get("shift", (0.0, 0.0)))) for row in crops.get(name, [{}])]
        parts.append(Part(network.load(part, loader, flip=flip), float(weights[name]), tuple(cuts)))
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
        if not parts or not np.isfinite(weights).all() or min(weights) <= 0 or not all(part.crops for part in parts):
            raise ModelError(f"{model} needs parts with crops and positive weights, not {weights}")
        self.model = model
        self.alignment = alignment
        self.size = TEMPLATES[alignment][0]
        self.parts = tuple(parts)
        self._matrices = [[_between(alignment, part.recognizer, crop) for crop in part.crops] for part in parts]

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
        if crops.ndim != 4 or crops.shape[1:] != (self.size, self.size, 3) or crops.dtype != np.uint8:
            wants = f"(n, {self.size}, {self.size}, 3)"
            raise InputError(f"{self.model} takes uint8 crops {wants}, not {crops.dtype} {crops.shape}")
        stretches = []
        for part, matrices in zip(self.parts, self._matrices, strict=True):
            looks = [part.recognizer.embed(_cut(crops, matrix, part.recognizer.size)) for matrix in matrices]
            vectors: FloatArray = np.sum([look.vectors for look in looks], axis=0)
            stretches.append(np.sqrt(part.weight) * Embeddings.normalized(vectors, self.model).vectors)
        return Embeddings.normalized(np.concatenate(stretches, axis=1), self.model)


def _between(alignment: str, recognizer: Recognizer, crop: Crop) -> npt.NDArray[np.float64]:
    """Return the transform ``(2, 3)`` from a crop of ``alignment`` to a crop of the recognizer's own."""
    _, source = TEMPLATES[alignment]
    side, points = TEMPLATES[recognizer.alignment]
    target = points.astype(np.float64) * (recognizer.size / side)
    middle = (recognizer.size - 1) / 2
    target = (target - middle) * crop.scale + middle + np.asarray(crop.shift) * recognizer.size
    matrix: npt.NDArray[np.float64] = similarity_transform(source[None], target)[0]
    return matrix


def _cut(crops: Image, matrix: npt.NDArray[np.float64], size: int) -> Image:
    out = np.empty((len(crops), size, size, 3), np.uint8)
    for cut, crop in zip(out, crops, strict=True):
        cv2.warpAffine(crop, matrix, (size, size), dst=cut, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return out

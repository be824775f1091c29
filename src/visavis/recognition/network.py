"""Recognizers that are one network on an aligned crop: SFace, ArcFace, FaceNet, AdaFace and a user's own.

What sets them apart is data, on their card: input size, channel order, mean and scale.
"""

from __future__ import annotations

import numpy as np

from visavis.errors import InputError, ModelError
from visavis.models.cards import ModelCard
from visavis.models.loader import Loader
from visavis.models.session import Session
from visavis.types import Embeddings, FloatArray, Image

__all__ = ["BATCHES", "NetworkRecognizer", "check_crops", "load"]

BATCHES = (1, 4)
"""Batch sizes compiled for: a lone face, and the size from which SFace gains no more than 2 %."""


def load(card: ModelCard, loader: Loader, *, flip: bool = False) -> NetworkRecognizer:
    """Load a recognizer that is one network."""
    return NetworkRecognizer(card, loader.session(card.id, batches=BATCHES), flip=flip)


class NetworkRecognizer:
    """A recognizer described by its card.

    Parameters
    ----------
    card
        The model's card; its ``input`` and ``alignment`` say what the network takes.
    session
        The network.
    flip
        Embed each crop and its mirror image and add the two before normalizing: twice the cost, a little more
        accuracy. The model name becomes ``"<id>+flip"``.
    """

    def __init__(self, card: ModelCard, session: Session, *, flip: bool = False) -> None:
        if card.input is None or card.input.size[0] != card.input.size[1]:
            raise ModelError(f"{card.id!r} has no square input size on its card, so it can't be a recognizer")
        self.model = f"{card.id}+flip" if flip else card.id
        self.alignment = card.alignment
        self.size = card.input.size[0]
        self.dimension = card.dimension
        self._session = session
        self._flip = flip

    def embed(self, crops: Image) -> Embeddings:
        """Return an embedding a crop.

        Parameters
        ----------
        crops
            RGB uint8 ``(n, size, size, 3)``, aligned by `alignment`; n may be 0.

        Raises
        ------
        InputError
            If the crops have another size or type.
        ModelError
            If the network's output is not a finite vector a crop.
        """
        check_crops(crops, self.size, self.model)
        if not len(crops):
            return Embeddings(np.empty((0, self.dimension or 0), np.float32), self.model)
        vectors = self._vectors(crops)
        if self._flip:
            vectors = vectors + self._vectors(np.ascontiguousarray(crops[:, :, ::-1]))
        if not np.isfinite(vectors).all() or not vectors.any(axis=1).all():
            raise ModelError(f"{self.model} returned NaN, infinity or only zeros; check its mean and scale")
        return Embeddings.normalized(vectors, self.model)

    def _vectors(self, crops: Image) -> FloatArray:
        outputs = list(self._session.run(crops).values())
        if len(outputs) != 1 or outputs[0].ndim != 2 or len(outputs[0]) != len(crops):
            shapes = ", ".join(str(output.shape) for output in outputs)
            raise ModelError(f"{self.model} must return one vector a crop, not {shapes}")
        return outputs[0]


def check_crops(crops: Image, size: int, model: str) -> None:
    """Raise `InputError`, naming the model, unless crops are uint8 ``(n, size, size, 3)``."""
    if crops.ndim != 4 or crops.shape[1:] != (size, size, 3) or crops.dtype != np.uint8:
        raise InputError(f"{model} takes uint8 crops (n, {size}, {size}, 3), not {crops.dtype} {crops.shape}")

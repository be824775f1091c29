"""Landmark models: the box of a face to the points of it."""

from __future__ import annotations

from typing import Any

from visavis.analysis.landmarks.base import Landmarker
from visavis.models.cards import ModelCard
from visavis.models.loader import Loader, load_code
from visavis.models.session import EngineOptions
from visavis.models.store import Store

__all__ = ["Landmarker", "landmarker_card", "open_landmarker"]


def landmarker_card(name: str, store: Store) -> ModelCard:
    """Return the card of a landmark model; `UnknownModel` if none has that name."""
    return store.card_for(name, "landmarks", "landmark model")


def open_landmarker(
    name: str, store: Store, options: EngineOptions, *, parallel: int = 1, **settings: Any
) -> Landmarker:
    """Load the landmark model of a card.

    Parameters
    ----------
    settings
        What the model itself takes, such as the face mesh's ``irises``.

    Raises
    ------
    UnknownModel
        If no landmark model has that name.
    InputError
        If the model has no such setting.
    """
    card = landmarker_card(name, store)
    landmarker: Landmarker = load_code(__name__, card, Loader(store, options, parallel), settings)
    return landmarker

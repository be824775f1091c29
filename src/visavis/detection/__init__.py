"""Detectors: images to boxes, scores and landmarks."""

from __future__ import annotations

from typing import Any

from visavis.detection.base import Detector
from visavis.models.cards import ModelCard
from visavis.models.loader import Loader, load_code
from visavis.models.session import EngineOptions
from visavis.models.store import Store

__all__ = ["Detector", "detector_card", "open_detector"]


def detector_card(name: str, store: Store) -> ModelCard:
    """Return the card of a detector; `UnknownModel` if no detector has that name."""
    return store.card_for(name, "detection", "detector")


def open_detector(name: str, store: Store, options: EngineOptions, *, parallel: int = 1, **settings: Any) -> Detector:
    """Load the detector of a card: the function ``load`` of the module in this package that its card names.

    Parameters
    ----------
    name
        Card id, such as ``"yunet"``.
    parallel
        How many threads will call it at once.
    settings
        What the detector itself takes: ``score`` and ``min_face``, which all take, and its own.

    Raises
    ------
    UnknownModel
        If no detector has that name.
    InputError
        If the detector has no such setting, or not of that value.
    """
    card = detector_card(name, store)
    detector: Detector = load_code(__name__, card, Loader(store, options, parallel), settings)
    return detector

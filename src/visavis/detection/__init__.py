"""Detectors: images to boxes, scores and landmarks."""

from __future__ import annotations

from typing import Any

from visavis.detection.base import Detector
from visavis.errors import UnknownModel
from visavis.models.cards import ModelCard
from visavis.models.session import EngineOptions, open_session
from visavis.models.store import Store

__all__ = ["Detector", "detector_card", "open_detector"]


def detector_card(name: str, store: Store) -> ModelCard:
    """Return the card of a detector; `UnknownModel` if no detector has that name."""
    return store.card_for(name, "detection", "detector")


def open_detector(name: str, store: Store, options: EngineOptions, *, parallel: int = 1, **settings: Any) -> Detector:
    """Load the detector of a card.

    Parameters
    ----------
    name
        Card id, such as ``"yunet"``.
    parallel
        How many threads will call it at once.
    settings
        What the detector itself takes, such as YuNet's ``score`` and ``min_face``.

    Raises
    ------
    UnknownModel
        If no detector has that name.
    """
    card = detector_card(name, store)
    assert card.input is not None
    session = open_session(store.path(name), card.input, options, parallel=parallel, cache_dir=store.compiled_dir())
    return _build(card, session, settings)


def _build(card: ModelCard, session: Any, settings: dict[str, Any]) -> Detector:
    if card.id == "yunet":
        from visavis.detection.yunet import YuNet

        return YuNet(session, **settings)
    raise UnknownModel(f"this visavis has no code for the detector {card.id!r}")

"""Recognizers: aligned crops to embeddings, and what their similarity is worth."""

from __future__ import annotations

from visavis.models.cards import ModelCard
from visavis.models.loader import Loader, load_code
from visavis.models.session import EngineOptions
from visavis.models.store import Store
from visavis.recognition.base import Recognizer

__all__ = ["Recognizer", "open_recognizer", "recognizer_card"]


def recognizer_card(name: str, store: Store) -> ModelCard:
    """Return the card of a recognizer; `UnknownModel` if no recognizer has that name."""
    return store.card_for(name, "recognition", "recognizer")


def open_recognizer(
    name: str, store: Store, options: EngineOptions, *, parallel: int = 1, flip: bool = False
) -> Recognizer:
    """Load the recognizer of a card: ``"sface"``, or one added with ``visavis models add``.

    A card that names no code is of one network on an aligned crop (`visavis.recognition.network`).

    Raises
    ------
    UnknownModel
        If no recognizer has that name.
    """
    card = recognizer_card(name, store)
    recognizer: Recognizer = load_code(
        __name__, card, Loader(store, options, parallel), {"flip": flip}, default="network"
    )
    return recognizer

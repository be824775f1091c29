"""Recognizers: aligned crops to embeddings, and what their similarity is worth."""

from __future__ import annotations

from visavis.models.cards import ModelCard
from visavis.models.session import EngineOptions, open_session
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

    Raises
    ------
    UnknownModel
        If no recognizer has that name.
    """
    from visavis.recognition.network import BATCHES, NetworkRecognizer

    card = recognizer_card(name, store)
    assert card.input is not None
    session = open_session(
        store.path(name), card.input, options, batches=BATCHES, parallel=parallel, cache_dir=store.compiled_dir()
    )
    return NetworkRecognizer(card, session, flip=flip)

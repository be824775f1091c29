"""Recognizers: aligned crops to embeddings, and what their similarity is worth."""

from __future__ import annotations

from visavis.errors import UnknownModel
from visavis.models.session import EngineOptions, open_session
from visavis.models.store import Store
from visavis.recognition.base import Recognizer

__all__ = ["Recognizer", "open_recognizer"]


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

    card = store.card(name)
    if card.task != "recognition" or card.input is None:
        names = sorted(c.id for c in store.cards().values() if c.task == "recognition")
        raise UnknownModel(f"{name!r} is a model for {card.task}, not a recognizer; recognizers: {', '.join(names)}")
    session = open_session(
        store.path(name), card.input, options, batches=BATCHES, parallel=parallel, cache_dir=store.compiled_dir()
    )
    return NetworkRecognizer(card, session, flip=flip)

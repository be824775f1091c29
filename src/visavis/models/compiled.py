"""Compiled models kept between runs, so that a start takes 0.15 s and not 0.4.

An engine's own cache loads what a broken disk or a killed process left and then returns wrong numbers; an entry
here carries its hash, appears under its name complete or not at all, and is dropped when it does not fit.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import time
from pathlib import Path
from typing import Any

__all__ = ["entry", "read", "write"]

_LIMIT = 512 * 2**20  # bytes of all entries; SFace takes about 37 MB of it
_ABANDONED = 3600  # seconds after which a half-written entry belongs to a process that was killed
_DIGEST = hashlib.sha256().digest_size


def entry(root: Path, model: Path, key: object) -> Path:
    """Return the file that holds ``model``, compiled for ``key``: anything JSON-ready that the result depends on.

    The model counts as the same while its path, size and time of change are.
    """
    found = model.stat()
    name = json.dumps([str(model.resolve()), found.st_size, found.st_mtime_ns, key], sort_keys=True)
    return root / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.blob"


def read(file: Path) -> tuple[Any, bytes] | None:
    """Return what was written with a blob and the blob, or None where there is none that is whole."""
    try:
        data = file.read_bytes()
    except OSError:
        return None
    body = memoryview(data)[_DIGEST:]
    if len(body) < 4 or hashlib.sha256(body).digest() != data[:_DIGEST]:
        return None
    with contextlib.suppress(OSError):
        os.utime(file)  # the bound drops what was not used for longest
    start = 4 + int.from_bytes(body[:4], "little")
    return json.loads(bytes(body[4:start])), bytes(body[start:])


def write(file: Path, facts: object, blob: bytes) -> None:
    """Keep a blob and a few JSON-ready facts about it; without a word where that fails, as it is but a cache."""
    head = json.dumps(facts).encode()
    head = len(head).to_bytes(4, "little") + head
    digest = hashlib.sha256(head)
    digest.update(blob)
    partial = file.with_name(f"{secrets.token_hex(8)}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("xb") as out:
                out.writelines((digest.digest(), head, blob))
            partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)
        _prune(file.parent)
    except OSError:
        return


def _prune(root: Path) -> None:
    """Keep the whole bounded, whatever engine, CPU or model it was compiled for."""
    held = []
    for path in root.iterdir():
        with contextlib.suppress(OSError):  # another process may be pruning too
            found = path.stat()
            if path.suffix == ".blob":
                held.append((found.st_mtime_ns, found.st_size, path))
            elif path.suffix == ".part" and found.st_mtime < time.time() - _ABANDONED:
                path.unlink()
    total = 0
    for _, size, path in sorted(held, reverse=True):
        total += size
        if total > _LIMIT:
            with contextlib.suppress(OSError):
                path.unlink()

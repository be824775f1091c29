"""Compiled models kept between runs, so that a start takes 0.15 s and not 0.4.

An engine's own cache loads what a broken disk or a killed process left and then returns wrong numbers; an entry
here carries its hash, appears under its name complete or not at all, and is dropped when it does not fit.

Entries are mapped, not read: an engine keeps the original weights beside those it has rearranged for the CPU, and
mapped ones take no memory once it is done with them (`forget`). That halves what a model takes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import os
import secrets
import sys
import time
from pathlib import Path
from typing import Any

__all__ = ["entry", "forget", "read", "write"]

_LIMIT = 512 * 2**20  # bytes of all entries; SFace takes about 37 MB of it
_ABANDONED = 3600  # seconds after which a half-written entry belongs to a process that was killed
_DIGEST = hashlib.sha256().digest_size
_ALIGN = 4096  # of the blob in its file, and so of the weights in memory
_LAYOUT = 2  # of an entry: digest, length of the facts, facts, zeros up to _ALIGN, blob


def entry(root: Path, model: Path, key: object) -> Path:
    """Return the file that holds ``model``, compiled for ``key``: anything JSON-ready that the result depends on.

    The model counts as the same while its path, size and time of change are.
    """
    found = model.stat()
    name = json.dumps([_LAYOUT, str(model.resolve()), found.st_size, found.st_mtime_ns, key], sort_keys=True)
    return root / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.blob"


def read(file: Path) -> tuple[Any, memoryview] | None:
    """Return what was written with a blob and the blob, or None where there is none that is whole.

    The blob is the file, mapped copy-on-write: hold it for as long as anything uses it.
    """
    try:
        with file.open("rb") as opened:
            data = memoryview(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_COPY))
    except (OSError, ValueError):  # ValueError: an empty file
        return None
    start = _DIGEST + 4
    if len(data) < start or hashlib.sha256(data[_DIGEST:]).digest() != data[:_DIGEST]:
        return None
    with contextlib.suppress(OSError):
        os.utime(file)  # the bound drops what was not used for longest
    end = start + int.from_bytes(data[_DIGEST:start], "little")
    return json.loads(bytes(data[start:end])), data[-(-end // _ALIGN) * _ALIGN :]


def forget(blob: memoryview) -> None:
    """Let the system take a blob's pages; what is still needed of them comes back from the file."""
    if sys.platform == "linux":  # elsewhere this may also drop pages that were written to
        blob.obj.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]


def write(file: Path, facts: object, blob: bytes | memoryview) -> None:
    """Keep a blob and a few JSON-ready facts about it; without a word where that fails, as it is but a cache."""
    head = json.dumps(facts).encode()
    head = len(head).to_bytes(4, "little") + head
    head += bytes(-(_DIGEST + len(head)) % _ALIGN)
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

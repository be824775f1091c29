"""What is needed to do a measurement again: versions of what measured, hashes of what was measured."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from visavis.errors import InputError
from visavis.files import printable_path, reason, sha256_of

__all__ = ["hash_of_names", "hashes", "versions"]


def versions(*packages: str) -> list[tuple[str, str]]:
    """Return the versions of visavis, Python, NumPy and other packages that are there.

    Examples
    --------
    >>> [name for name, _ in versions("no-such-package")]
    ['visavis', 'Python', 'numpy']
    """
    found = []
    for name in ("visavis", "Python", "numpy", *packages):
        if name == "Python":
            found.append((name, platform.python_version()))
            continue
        try:
            found.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            continue
    return found


def hashes(files: Iterable[str | os.PathLike[str] | None]) -> list[tuple[str, str]]:
    """Return the SHA-256 of files by their names; folders, and None, are passed over.

    Raises
    ------
    InputError
        If a file can't be read.
    """
    found = []
    for path in (Path(file) for file in files if file is not None):
        if not path.is_file():
            continue
        try:
            found.append((f"SHA-256 of {path.name}", sha256_of(path)))
        except OSError as error:
            raise InputError(f"{printable_path(path)} can't be read: {reason(error)}") from None
    return found


def hash_of_names(names: Iterable[str]) -> str:
    """Return the SHA-256 of names, one a line in UTF-8: tells two sets of photos apart where there is no one file.

    Examples
    --------
    >>> hash_of_names(["ada/1.jpg", "bob/1.jpg"])[:12]
    'f46cad0dfaf9'
    """
    digest = hashlib.sha256()
    for name in names:
        digest.update(name.encode("utf-8", "surrogateescape") + b"\n")
    return digest.hexdigest()

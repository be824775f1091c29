"""Arrays of NumPy's ``.npz`` files from anywhere: nothing is unpickled, and nothing unpacks to more than it should."""

from __future__ import annotations

import os
import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.errors import InputError
from visavis.files import reason

__all__ = ["MALFORMED", "read_arrays"]

MALFORMED = (
    *(OSError, ValueError, KeyError, EOFError, TypeError, AttributeError, ArithmeticError, RuntimeError, MemoryError),
    *(zipfile.BadZipFile, zlib.error, tokenize.TokenError),
)
"""What NumPy and zipfile raise for a damaged or crafted file."""

_RATIO = 100  # of unpacked to packed bytes: 16 million names of 20 letters have 24, a file made to fill memory 1,000
_SMALL = 64 * 2**20  # bytes that may be unpacked of any file


def read_arrays(
    path: str | os.PathLike[str], needed: Sequence[str], optional: Sequence[str] = ()
) -> dict[str, npt.NDArray[Any]]:
    """Return arrays of a ``.npz`` file by name; of the optional ones those that there are.

    Raises
    ------
    InputError
        If it can't be read, is damaged, lacks one that is needed, holds objects, or would unpack to far more bytes than
        it has. The message says why in words that complete "FILE is no ...: ".
    """
    try:
        with Path(path).open("rb") as file, zipfile.ZipFile(file) as archive:
            members = {member.filename: member for member in archive.infolist()}
            wanted = [*needed, *(name for name in optional if f"{name}.npy" in members)]
            if missing := [name for name in needed if f"{name}.npy" not in members]:
                raise InputError(f"it has no array {missing[0]!r}")
            size = sum(members[f"{name}.npy"].file_size for name in wanted)
            if size > max(_SMALL, _RATIO * os.fstat(file.fileno()).st_size):
                raise InputError(f"it would unpack to {size} bytes, over {_RATIO} times what it has")
            return {name: _array(archive, members[f"{name}.npy"]) for name in wanted}
    except InputError:
        raise
    except MALFORMED as error:
        raise InputError(" ".join(reason(error).split())[:200]) from None


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> npt.NDArray[Any]:
    with archive.open(member) as file:
        array: npt.NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    if array.size > member.file_size:
        raise InputError(f"its array {member.filename!r} has elements of no bytes")
    return array

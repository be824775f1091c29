"""Names for pictures that are made of others, none of which may replace another on any file system."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

__all__ = ["free_names"]

_FACE = re.compile(r"~face[0-9]+$")  # as crops of a photo's further faces are called


def free_names(sources: Sequence[str], given: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return for each photo a path without suffix: its own, unless two would get the same one.

    Case makes no difference, and no name with ``.jpg`` or ``.png`` is that of a folder.

    Parameters
    ----------
    sources
        Paths in one folder, with forward slashes.
    given
        Names that some of them have already.

    Examples
    --------
    >>> free_names(["ada/1.jpg", "ada/1.png", "ada/2.jpg"])
    {'ada/1.jpg': 'ada/1', 'ada/1.png': 'ada/1~2', 'ada/2.jpg': 'ada/2'}
    """
    taken = {str(folder).casefold() for source in sources for folder in PurePosixPath(source).parents}
    names = dict(given or {})
    taken |= {name.casefold() for name in names.values()}
    for source in sources:
        if source in names:
            continue
        plain, number = str(PurePosixPath(source).with_suffix("")), 1
        if _FACE.search(plain):
            plain += "~"
        name = plain
        while name.casefold() in taken or f"{name}.jpg".casefold() in taken or f"{name}.png".casefold() in taken:
            number += 1
            name = f"{plain}~{number}"
        taken.add(name.casefold())
        names[source] = name
    return names

"""People's names: one spelling for each, and none that could pass for another or break a line."""

from __future__ import annotations

import unicodedata

from visavis.errors import InputError

__all__ = ["MAX_NAME", "checked_name"]

MAX_NAME = 200
"""Characters a name, external id or collection name may have."""

# Direction overrides make one name look like another; joiners (also of category Cf) are part of Persian,
# Hindi, emoji.
_FORBIDDEN_FORMAT = frozenset(map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFEFF)))


def checked_name(value: object, what: str = "a subject's name") -> str:
    """Return a name in Unicode's composed form (NFC), so that one name typed two ways is one name.

    Raises
    ------
    InputError
        If it is empty, longer than `MAX_NAME`, begins or ends with a space, or holds control characters, line
        breaks or direction overrides.

    Examples
    --------
    >>> checked_name("Zoe" + chr(0x308)) == "Zo" + chr(0xEB)
    True
    """
    if not isinstance(value, str):
        raise InputError(f"{what} must be text, not {type(value).__name__}")
    name = unicodedata.normalize("NFC", value)
    if not name or len(name) > MAX_NAME:
        raise InputError(f"{what} must have 1 to {MAX_NAME} characters, not {len(name)}")
    if name != name.strip():
        raise InputError(f"{what} must not begin or end with a space: {name!r}")
    for character in name:
        if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in _FORBIDDEN_FORMAT:
            raise InputError(f"{what} must not hold control characters, such as {character!r} in {name!a}")
    return name

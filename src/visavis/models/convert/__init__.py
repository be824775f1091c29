"""Converters: each turns the bytes of a package's member into the bytes of the file that is run.

A card names its converter; the table below says where it lives, so that only the one needed is imported.
"""

from __future__ import annotations

from importlib import import_module

from visavis.errors import InputError

__all__ = ["CONVERTERS", "convert"]

CONVERTERS = {
    "onnx-float32": "visavis.models.convert.fold:float32_any_batch",
    "onnx-float32-any-size": "visavis.models.convert.fold:float32_any_size",
}


def convert(converter: str, data: bytes) -> bytes:
    """Run ``converter`` (a key of `CONVERTERS`, or "" for none) over a member's bytes.

    Raises
    ------
    InputError
        If there is no such converter, or the bytes are not what it takes.
    """
    if not converter:
        return data
    if converter not in CONVERTERS:
        raise InputError(f"no converter {converter!r}; there are {', '.join(CONVERTERS)}")
    module, _, function = CONVERTERS[converter].partition(":")
    converted: bytes = getattr(import_module(module), function)(data)
    return converted

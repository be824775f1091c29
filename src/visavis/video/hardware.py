"""Decoding on graphics processors and other hardware, where FFmpeg and the machine have it."""

from __future__ import annotations

import functools
from typing import Any

from visavis.errors import InputError
from visavis.video.decoding import failures, require_library

__all__ = ["accelerator", "hardware_decoders", "known_hardware"]

_ORDER = ("videotoolbox", "d3d11va", "cuda", "vaapi", "qsv", "dxva2", "d3d12va", "vulkan")


def known_hardware() -> list[str]:
    """Return the names of hardware that this FFmpeg was built for, those tried first at the front."""
    require_library()
    from av.codec.hwaccel import hwdevices_available

    built = hwdevices_available()
    return [name for name in _ORDER if name in built] + [name for name in built if name not in _ORDER]


@functools.cache
def hardware_decoders() -> tuple[str, ...]:
    """Return the names of hardware that decodes H.264 on this machine: ``cuda``, ``vaapi``, ``videotoolbox``...

    Each that FFmpeg knows is asked for a device; most machines have one or none.
    """
    found = []
    for name in known_hardware():
        try:
            _accelerator(name).create(_codec("h264"))
        except failures():
            continue
        except NotImplementedError:  # it decodes, but not this
            continue
        found.append(name)
    return tuple(found)


def accelerator(wanted: str) -> Any:
    """Return what `av.open` is to decode on, which falls back to software by itself; None for software alone.

    Parameters
    ----------
    wanted
        ``"auto"``: the first of `hardware_decoders`; ``"none"``; or a name of `known_hardware`.

    Raises
    ------
    InputError
        If FFmpeg doesn't know hardware of that name.
    """
    if wanted == "none":
        return None
    if wanted == "auto":
        return _accelerator(hardware_decoders()[0]) if hardware_decoders() else None
    if wanted not in (known := known_hardware()):
        raise InputError(
            f"no hardware {wanted!r}; this FFmpeg knows {', '.join(known) or 'none'}; or take auto or none"
        )
    return _accelerator(wanted) if wanted in hardware_decoders() else None


def _accelerator(name: str) -> Any:
    from av.codec.hwaccel import HWAccel

    return HWAccel(name, allow_software_fallback=True)


def _codec(name: str) -> Any:
    from av.codec import Codec

    return Codec(name, "r")

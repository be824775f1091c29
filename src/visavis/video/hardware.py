"""Decoding on graphics processors and other hardware, where FFmpeg and the machine have it."""

from __future__ import annotations

import functools
from typing import Any

from visavis.video.decoding import require_library, works

__all__ = ["HARDWARE", "accelerator", "hardware_decoders"]

HARDWARE = ("videotoolbox", "d3d11va", "cuda", "vaapi", "qsv", "dxva2", "d3d12va", "vulkan", "vdpau", "drm", "amf")
"""FFmpeg's names of hardware that can decode, those tried first at the front."""


@functools.cache
def hardware_decoders() -> tuple[str, ...]:
    """Return the names of hardware that decodes H.264 on this machine: ``cuda``, ``vaapi``, ``videotoolbox``...

    Each that this FFmpeg was built for is asked for a device; most machines have one or none.
    """
    require_library()
    from av.codec.hwaccel import hwdevices_available

    return tuple(name for name in HARDWARE if name in hwdevices_available() and works(_accelerator(name)))


def accelerator(wanted: str) -> Any:
    """Return what `av.open` is to decode on, which falls back to software by itself; None for software alone.

    Parameters
    ----------
    wanted
        ``"auto"``: the first of `hardware_decoders`; ``"none"``; or a name of `HARDWARE`, which is left alone where
        the machine doesn't have it.
    """
    if wanted == "none":
        return None
    if wanted == "auto":
        return _accelerator(hardware_decoders()[0]) if hardware_decoders() else None
    return _accelerator(wanted) if wanted in hardware_decoders() else None


def _accelerator(name: str) -> Any:
    from av.codec.hwaccel import HWAccel

    return HWAccel(name, allow_software_fallback=True)

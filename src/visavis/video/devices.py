"""Cameras of this machine, as FFmpeg's devices: v4l2 on Linux, AVFoundation on macOS, DirectShow on Windows."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from visavis.errors import SourceError
from visavis.video.decoding import failures, require_library
from visavis.video.opening import opened_within

__all__ = ["camera_names", "camera_of", "opened_device"]

_FORMATS = {"Linux": "v4l2", "Darwin": "avfoundation", "Windows": "dshow"}
_LISTED = Path("/sys/class/video4linux")


@contextmanager
def opened_device(address: str, name: str, size: str | None, fps: float | None, timeout: float) -> Iterator[Any]:
    """Open a camera of this machine: ``camera:0``, ``camera:NAME`` or its path.

    Parameters
    ----------
    size, fps
        What it is asked for.

    Raises
    ------
    SourceError
        If there is none, or it can't be opened.
    """
    require_library()
    import av

    form = _FORMATS.get(platform.system(), "")
    if not any(form in known.split(",") for known in av.formats_available):
        raise SourceError(f"{name} can't be opened: this FFmpeg reads no cameras; take PyAV's own wheel, or a stream")
    fps = fps or (30.0 if form == "avfoundation" else None)  # which takes no camera without being told a rate it has
    options = ({"video_size": size} if size else {}) | ({"framerate": f"{fps:g}"} if fps else {})
    with opened_within(camera_of(address, name), name, timeout, {"format": form, "options": options}) as container:
        yield container


def camera_of(address: str, name: str) -> str:
    """Return what FFmpeg calls a camera of this machine.

    Raises
    ------
    SourceError
        If there is none of that name.
    """
    wanted, system = address.removeprefix("camera:"), platform.system()
    if system == "Darwin" or wanted.startswith("/dev/"):
        return wanted  # AVFoundation takes numbers and names
    if system == "Linux" and wanted.isdecimal():
        return f"/dev/video{wanted}"
    known = camera_names()
    names = list(known)
    if system == "Windows" and wanted.isdecimal() and int(wanted) < len(names):
        wanted = names[int(wanted)]
    if wanted not in known:
        raise SourceError(f"{name} can't be found; there are {', '.join(names) or 'no cameras'}")
    return known[wanted]


def camera_names() -> dict[str, str]:
    """Return the names of the cameras of this machine, and what FFmpeg calls each; on Linux and Windows."""
    if platform.system() == "Linux":
        found: dict[str, str] = {}
        for path in sorted(_LISTED.glob("video*/name"), key=lambda path: (len(path.parent.name), path.parent.name)):
            try:
                found.setdefault(path.read_text("utf-8", "replace").strip(), f"/dev/{path.parent.name}")
            except OSError:
                continue  # unplugged while we looked
        return found
    import av

    listed = getattr(av, "enumerate_input_devices", None)  # PyAV 17.0 has it not
    try:
        devices = listed(_FORMATS[platform.system()]) if listed and platform.system() in _FORMATS else []
    except failures():
        return {}
    return {device.name: f"video={device.name}" for device in devices if "video" in device.media_types}

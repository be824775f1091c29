"""What a worker is told: which cameras, with which models and whose faces."""

from __future__ import annotations

from dataclasses import dataclass, field

from visavis.video.cameras import Camera, Models
from visavis.video.sources import Source

__all__ = ["Task"]


@dataclass(frozen=True)
class Task:
    """What a worker is told.

    Attributes
    ----------
    cameras, sources
        One source a camera.
    models, threads
        What finds and embeds faces, on how many cores.
    gallery, collection, fpir
        Who is enrolled.
    snapshots
        Folder for pictures of events.
    folders
        Where the memory for pictures may lie.
    """

    cameras: tuple[Camera, ...]
    sources: tuple[Source, ...]
    models: Models = field(default_factory=Models)
    threads: int = 1
    gallery: str | None = None
    collection: str = "default"
    fpir: float | None = None
    snapshots: str | None = None
    folders: tuple[str, ...] = ()

"""A watch under test: its events collected, and waiting for what it does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import psutil

from tests.films import film, moving
from visavis.events.event import Event
from visavis.image import load_image, resize
from visavis.types import Image
from visavis.video.cameras import Camera
from visavis.video.status import CameraStatus
from visavis.video.watch import Watch

PATIENCE = 90.0  # seconds: tests share the machine


def until(true: Callable[[], Any], what: str) -> Any:
    """Wait until something holds, and return it."""
    end = time.monotonic() + PATIENCE
    while not (found := true()):
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.05)
    return found


def portrait(path: Path, photo: bytes, *, seconds: int = 4, size: tuple[int, int] = (320, 240), **how: Any) -> Path:
    """Film a photo that moves to and fro, so that it can be played over and over without a jump."""
    width, height = size
    there = moving(load_image(photo), 5 * seconds, width=width, height=height, step=2)
    return film(path, there + there[::-1], options={"preset": "ultrafast", "g": "10"}, **how)


def larger(image: Image, factor: int) -> Image:
    return resize(image, image.shape[1] * factor, image.shape[0] * factor)


class Watched:
    """Cameras being watched, and the events so far."""

    def __init__(self, cameras: Iterable[Camera], **how: Any) -> None:
        self.watch = Watch(list(cameras), **how)
        self.events: list[Event] = []
        self.thread = threading.Thread(target=self._collect, daemon=True)
        self.thread.start()

    def _collect(self) -> None:
        for event in self.watch.events():
            self.events.append(event)

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, *_: object) -> None:
        self.watch.close()
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()

    def status(self, camera: str) -> CameraStatus:
        return next(status for status in self.watch.status() if status.name == camera)

    def of(self, camera: str, *kinds: str, after: int = 0) -> list[Event]:
        """Return the events of these kinds, from the one of this number on."""
        return [e for e in self.events[after:] if e.camera == camera and (not kinds or e.kind in kinds)]

    def goes_on(self, camera: str, frames: int = 5) -> None:
        """Wait until more frames of a camera were looked at."""
        now = self.status(camera).frames
        until(lambda: self.status(camera).frames >= now + frames, f"frames of {camera}")

    def captures(self) -> dict[int, int]:
        """Return the ids of the processes that capture, and of the worker above each, in the order of its cameras."""
        return {
            child.pid: worker
            for worker in self.watch.processes
            for child in sorted(psutil.Process(worker).children(), key=lambda child: child.create_time())
        }

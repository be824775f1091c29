"""Small pictures of what cameras see, with names, for whoever looks at the moment: made beside the work."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from visavis.drawing import Label, Lettering, Style, annotate
from visavis.image import resize
from visavis.models.durable import new_file
from visavis.types import Faces, Image
from visavis.video.conversion import shrunk_size
from visavis.video.following import Seen
from visavis.video.identity import UNSEEN, Person

__all__ = ["Previews", "label_of"]

_LONGEST = 960  # pixels
_EVERY = 0.1  # seconds between two pictures of a camera
_QUALITY = 80


def label_of(person: Person, unknown: str = "unknown") -> Label | None:
    """Return what is written at a face of this person; nothing while it is not known who it is."""
    if person.subject is None:
        return Label(unknown, known=False) if person.known else None
    return Label(person.subject, "" if person.similarity is None else f"{person.similarity:.2f}")


class Previews:
    """Draws, in a thread of its own, the newest picture of each camera that somebody looks at.

    Parameters
    ----------
    folder
        Where the pictures go, as JPEG files that are written whole; the caller's alone.
    made
        Called with the camera and its picture's path, from that thread.
    """

    def __init__(self, folder: Path, made: Callable[[str, str], None]) -> None:
        self._folder, self._made = folder, made
        self._until: dict[str, float] = {}
        self._due: dict[str, float] = {}
        self._jobs: dict[str, tuple[Image, Faces, list[Label | None]]] = {}
        self._files: dict[str, Path] = {}
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def want(self, camera: str, seconds: float) -> None:
        """Make pictures of a camera for so long."""
        self._until[camera] = time.monotonic() + seconds

    def offer(self, camera: str, image: Image, seen: Seen) -> None:
        """Take a frame and what it showed, where somebody looks and a picture is due. The image is not kept."""
        now = time.monotonic()
        if self._due.get(camera, 0.0) > now or camera in self._jobs:
            return
        if self._until.get(camera, 0.0) < now:
            self._remove(camera)
            return
        self._due[camera] = now + _EVERY
        height, width = image.shape[:2]
        w, h = shrunk_size(width, height, _LONGEST)
        small = resize(image, w, h) if (w, h) != (width, height) else image.copy()
        scale = np.array([w / width, h / height] * 2, np.float32)
        ids = [] if seen.faces.track_ids is None else seen.faces.track_ids.tolist()
        labels = [label_of(seen.people.get(track, UNSEEN)) for track in ids]
        with self._changed:
            self._jobs[camera] = (small, Faces(seen.faces.boxes * scale, seen.faces.scores), labels)
            self._changed.notify()
        if self._thread is None:
            self._thread = threading.Thread(target=self._draw, daemon=True)
            self._thread.start()

    def _remove(self, camera: str) -> None:
        """Delete a picture that nobody looks at any more: it names people, who may be forgotten meanwhile."""
        path = self._files.pop(camera, None)
        if path is not None:
            with contextlib.suppress(OSError):
                path.unlink()

    def _draw(self) -> None:
        style, lettering = Style(landmarks=False), Lettering()
        while True:
            with self._changed:
                while not self._jobs:
                    self._changed.wait()
                camera = next(iter(self._jobs))
                image, faces, labels = self._jobs[camera]
            picture = annotate(image, faces, labels, style=style, lettering=lettering)
            done, data = cv2.imencode(
                ".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
            )
            assert done
            path = self._files.setdefault(camera, self._folder / f"view-{next(self._numbers)}.jpg")
            try:
                with new_file(path, 0o600, synced=False) as file:
                    file.write(data.tobytes())
                self._made(camera, str(path))
            except OSError:  # no room, or somebody reads it (Windows): the next one may do
                pass
            with self._changed:
                del self._jobs[camera]

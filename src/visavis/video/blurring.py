"""Videos in which faces can't be told any more: covered in every frame, for publishing.

Faces are covered as `visavis.video.courses` says they were there: where they were found, between sightings, and for a
moment before the first and after the last. What was found once and never became a track is covered, too.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np
import numpy.typing as npt

from visavis.errors import InputError
from visavis.types import Image
from visavis.video.courses import Places, courses
from visavis.video.frames import Frame
from visavis.video.identity import UNSEEN
from visavis.video.recording import Progress, Recording
from visavis.video.rendering import Rendered, render

__all__ = ["METHODS", "Blurred", "Method", "Whom", "blur_video", "cover"]

Method = Literal["pixelate", "blur", "solid"]
METHODS: tuple[Method, ...] = get_args(Method)
"""``pixelate``: a few squares of one color; ``blur``: the same few colors, with soft steps; ``solid``: gray, so that
nothing of the face is left."""

# Colors across a face; docs/video.md has what is told from how many. Soft steps tell more than hard ones.
_CELLS: Mapping[Method, int] = {"pixelate": 5, "blur": 4}
_GAP = 3.0  # seconds without a sighting through which a face is covered on its way
_AROUND = 0.5  # seconds before the first and after the last sighting of a track
_AROUND_SINGLE = 0.2  # and of a face that never became one: mostly it is none
_MARGIN = 0.3  # of a box's sides, around it: hair, ears and what a box trembles by
_LOOSE = 0.5  # where the face was not found but must have been near
_GRAY = 96


@dataclass(frozen=True)
class Whom:
    """Whose faces are covered.

    Attributes
    ----------
    kind
        ``all``; ``unknown``: whoever got no name; ``only`` and ``all_but``: those of ``names``, or everybody else. What
        never became a track has no name: it is covered unless ``only`` was asked for.
    names
        As enrolled.

    Examples
    --------
    >>> whom = Whom("all_but", ("ada",))
    >>> whom.covers("ada"), whom.covers("bob"), whom.covers(None)
    (False, True, True)
    """

    kind: Literal["all", "unknown", "only", "all_but"] = "all"
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.kind in ("only", "all_but")) != bool(self.names):
            raise InputError("names go with 'only' and 'all_but', and these need names")

    def covers(self, subject: str | None) -> bool:
        """Return whether the face of this subject, None without a name, is covered."""
        if self.kind == "unknown":
            return subject is None
        return self.kind == "all" or (subject in self.names) == (self.kind == "only")


@dataclass(frozen=True)
class Blurred:
    """What came of covering faces.

    Attributes
    ----------
    rendered
        The new video.
    tracks, single
        Tracks that were covered, and faces that never became one.
    frames
        Frames in which a face was covered.
    bridged
        Of these, frames in which one of a track was covered that was not found in that frame, only before or after.
    shown
        Names of the people who were left as they are.
    """

    rendered: Rendered
    tracks: int
    single: int
    frames: int
    bridged: int
    shown: tuple[str, ...]


def cover(
    image: Image, box: npt.ArrayLike, method: Method = "pixelate", *, margin: float = _MARGIN, cells: int | None = None
) -> None:
    """Cover a face in an image, in place.

    Parameters
    ----------
    image
        RGB uint8 ``(h, w, 3)``, written to.
    box
        x1, y1, x2, y2 pixels of the face; what lies outside of the image is left out.
    margin
        Share of its sides that is covered around it.
    cells
        Colors across the longer side of the face that are left of it, whatever its size in pixels; by default
        5 squares, or 4 of a blur.

    Examples
    --------
    >>> noise = np.random.default_rng(0).integers(0, 256, (100, 100, 3)).astype(np.uint8)
    >>> cover(noise, (20, 20, 70, 70), margin=0, cells=5)
    >>> len(np.unique(noise[20:70, 20:70].reshape(-1, 3), axis=0))
    25
    """
    corners = np.asarray(box, np.float64)
    sides = corners[2:] - corners[:2]
    (x1, y1), (x2, y2) = corners[:2] - margin * sides, corners[2:] + margin * sides
    left, top = max(math.floor(x1), 0), max(math.floor(y1), 0)
    part = image[top : max(math.ceil(y2), 0), left : max(math.ceil(x2), 0)]
    if not part.size:
        return
    if method == "solid":
        part[:] = _GRAY
        return
    cell = max(float(sides.max()) / (cells or _CELLS[method]), 1.0)
    height, width = part.shape[:2]
    few = cv2.resize(part, (max(round(width / cell), 1), max(round(height / cell), 1)), interpolation=cv2.INTER_AREA)
    how = cv2.INTER_NEAREST if method == "pixelate" else cv2.INTER_LINEAR
    part[:] = cv2.resize(few, (width, height), interpolation=how)


def blur_video(
    recording: Recording,
    out: str | os.PathLike[str],
    whom: Whom | None = None,
    *,
    method: Method = "pixelate",
    quality: int = 20,
    sound: bool = True,
    threads: int = 1,
    progress: Progress | None = None,
) -> Blurred:
    """Write a recording's video with faces covered.

    Raises
    ------
    InputError
        As `visavis.video.rendering.render`; if the method is unknown; or if somebody is to be shown, or alone to be
        covered, who was not recognized in the video: a name with a typing error would cover nobody.
    EngineError, StorageError
        As `visavis.video.rendering.render`.
    """
    whom = whom or Whom()
    if method not in METHODS:
        raise InputError(f"a method is one of {', '.join(METHODS)}, not {method!r}")
    subjects = {track: person.subject for track, person in recording.people.items()}
    covered = [
        course
        for course in courses(recording, gap=max(_GAP, 2.5 * recording.every))
        if whom.covers(subjects.get(course.track, UNSEEN.subject))
    ]
    tracked = Places([course for course in covered if course.track], around=max(_AROUND, recording.every))
    single = [course for course in covered if not course.track]
    alone = Places(single, around=max(_AROUND_SINGLE, recording.every))
    frames = bridged = 0

    def draw(frame: Frame) -> Image:
        nonlocal frames, bridged
        places = tracked.at(frame.time)
        bridged += any(not place.found for place in places)
        places += alone.at(frame.time)
        if not places:
            return frame.image
        frames += 1
        image = frame.image if frame.image.flags.writeable else frame.image.copy()
        for place in places:
            cover(image, place.box, method, margin=_MARGIN if place.found else _LOOSE)
        return image

    rendered = render(
        recording.path,
        out,
        draw,
        rotate=recording.rotate,
        quality=quality,
        sound=sound,
        threads=threads,
        progress=progress,
    )
    tracks = {course.track for course in covered if course.track}
    shown = {name for track, name in subjects.items() if name is not None and track not in tracks}
    return Blurred(rendered, len(tracks), len(single), frames, bridged, tuple(sorted(shown)))

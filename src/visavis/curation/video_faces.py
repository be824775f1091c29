"""The best faces of a video: upright, followed from frame to frame, the sharpest of each track, none twice.

`faces_of_video` is a pure function of one file, for any job that goes through many.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from visavis.alignment import align
from visavis.analysis.quality import FaceQuality, measure, worth
from visavis.errors import InputError
from visavis.geometry import iou
from visavis.pipeline import Analyzer
from visavis.types import Embeddings, Faces, FloatArray, Image
from visavis.video.frames import TURNS, Frame, frames, turned, until_problem
from visavis.video.orientation import Orientation, orientation
from visavis.video.resemblance import Resemblance, resemblance

__all__ = ["Rotate", "VideoFace", "faces_of_video"]

Rotate = Literal["auto", 0, 90, 180, 270]

_OVERLAP = 0.3  # IoU of two boxes in one place
_ALIKE = 0.9  # similarity of embeddings, and correlation of thumbnails, from which two crops are one picture
_THUMB = 16


@dataclass(frozen=True, eq=False)
class VideoFace:
    """A face of a video.

    Attributes
    ----------
    time, frame
        Seconds since the first frame, and the frame's number; see `visavis.video.frames.Frame`.
    track
        1, 2, ...: faces of one track were seen one after the other and are one person's.
    seen
        In how many of the frames looked at the track's face was found.
    box, landmarks
        ``(4,)`` and ``(5, 2)`` pixels of the upright frame.
    turned
        Degrees clockwise by which frames were turned beyond what the container says.
    quality, worth
        See `worth`.
    crop
        Uint8 ``(size, size, 3)``, aligned as "arcface-112".
    picture
        The whole upright frame as JPEG, where it was asked for.
    """

    time: float
    frame: int
    track: int
    seen: int
    box: FloatArray
    landmarks: FloatArray
    score: float
    turned: int
    quality: FaceQuality
    worth: float
    embedding: Embeddings
    crop: Image
    picture: bytes | None = None


def faces_of_video(
    path: str | os.PathLike[str],
    analyzer: Analyzer,
    *,
    every: float = 0.5,
    rotate: Rotate | Orientation = "auto",
    per_track: int = 1,
    size: int = 112,
    min_worth: float = 0.0,
    whole: bool = False,
    gap: float = 2.0,
    threads: int = 1,
    say: Callable[[str], None] | None = None,
) -> Iterator[VideoFace]:
    """Give the best faces of a video, a track as soon as it has ended, in bounded memory.

    A face belongs to a track whose last face it overlaps or resembles. Of each track the faces of most `worth` are
    kept, and none that looks like one kept already: nearly the same embedding and nearly the same picture.

    Parameters
    ----------
    analyzer
        With a recognizer.
    every
        Seconds between the frames looked at; 0 looks at each.
    rotate
        Degrees clockwise to turn frames beyond what the container says; ``"auto"`` finds out, see `orientation`.
    per_track
        How many faces to keep of a track, at most.
    size
        Side of the crops.
    min_worth
        Faces of less `worth` are not kept.
    whole
        Keep the whole frames too.
    gap
        Seconds after which a track that was not seen again has ended.
    threads
        To decode with; the analyzer has its own.
    say
        Called with what is under way.

    Raises
    ------
    InputError
        As `visavis.video.frames.frames`. Of a video that was cut off, the faces there are come first.
    """
    if per_track < 1 or size < 16 or not 0 <= min_worth <= 1 or not gap >= 0:
        raise InputError(
            "per_track is at least 1, size at least 16, min_worth from 0 to 1, gap at least 0: "
            f"not {per_track}, {size}, {min_worth}, {gap}"
        )
    if isinstance(rotate, Orientation):
        how = rotate
    elif rotate == "auto":
        how = orientation(path, analyzer, every=every, threads=threads)
        if not how.found:
            return
    elif rotate in TURNS:
        how = Orientation(rotate)
    else:
        raise InputError(f"rotate is auto, 0, 90, 180 or 270, not {rotate!r}")
    taken = _Taken()
    tracks: list[_Track] = []
    number = 0
    same = resemblance(analyzer)
    problem: list[InputError] = []
    source = until_problem(frames(path, every=every, start=how.start, threads=threads), problem)
    for frame, faces in _analyzed(source, analyzer, how.turned):
        if say is not None:
            say(f"{Path(path).name}: {frame.time:.0f} s, {len(taken)} faces")
        ended = [track for track in tracks if frame.time - track.time > max(gap, 2 * every)]
        tracks = [track for track in tracks if track not in ended]
        for track in ended:
            yield from taken.of(track)
        if faces.embeddings is None or faces.landmarks is None or not len(faces):
            continue
        found = _candidates(frame, faces, how.turned, size, whole)
        for face, known in zip(found, _assigned(tracks, faces, same), strict=True):
            if known is None:
                number += 1
                tracks.append(known := _Track(number, face))
            known.add(face, per_track, min_worth)
    for track in tracks:
        yield from taken.of(track)
    if problem:
        raise problem[0]


def _analyzed(source: Iterator[Frame], analyzer: Analyzer, turn: int) -> Iterator[tuple[Frame, Faces]]:
    waiting: deque[Frame] = deque()

    def images() -> Iterator[Image]:
        for frame in source:
            waiting.append(replace(frame, image=turned(frame.image, turn)))
            yield waiting[-1].image

    for analysis in analyzer.stream(images(), keep_images=True):
        frame = waiting.popleft()
        if analysis.error is not None:
            raise analysis.error
        yield frame, analysis.faces


def _candidates(frame: Frame, faces: Faces, turn: int, size: int, whole: bool) -> list[VideoFace]:
    assert faces.landmarks is not None
    assert faces.embeddings is not None
    crops = align(frame.image, faces.landmarks, size=size)
    qualities = measure(frame.image, faces.landmarks)
    picture = _jpeg(frame.image) if whole else None
    return [
        VideoFace(
            time=round(frame.time, 6),
            frame=frame.number,
            track=0,
            seen=0,
            box=faces.boxes[i],
            landmarks=faces.landmarks[i],
            score=float(faces.scores[i]),
            turned=turn,
            quality=quality,
            worth=worth(quality, size),
            embedding=faces.embeddings[i],
            crop=crops[i].copy(),
            picture=picture,
        )
        for i, quality in enumerate(qualities)
    ]


def _jpeg(image: Image) -> bytes:
    done, encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 92])
    if not done:
        raise InputError(f"a frame of {image.shape[1]}x{image.shape[0]} can't be written as JPEG")
    return encoded.tobytes()


def _assigned(tracks: list[_Track], faces: Faces, same: Resemblance) -> list[_Track | None]:
    """Return the track of each face: the best pair first, by overlap plus similarity; None where it begins one."""
    found: list[_Track | None] = [None] * len(faces)
    if not tracks or faces.embeddings is None:
        return found
    overlap = iou(faces.boxes, np.stack([track.box for track in tracks]))
    similar = faces.embeddings.vectors @ np.stack([track.vector for track in tracks]).T
    total = np.where(
        (similar >= same.anywhere) | ((overlap >= _OVERLAP) & (similar >= same.in_place)), overlap + similar, -np.inf
    )
    while np.isfinite(total).any():
        i, j = np.unravel_index(int(total.argmax()), total.shape)
        found[int(i)] = tracks[int(j)]
        total[i] = total[:, j] = -np.inf
    return found


class _Track:
    """A face followed: where and when it was last, what it looks like, its best pictures."""

    def __init__(self, number: int, face: VideoFace) -> None:
        self.number = number
        self.seen = 0
        self.best: list[_Look] = []
        self._sum = np.zeros_like(face.embedding.vectors[0])

    def add(self, face: VideoFace, keep: int, min_worth: float) -> None:
        self.box, self.time = face.box, face.time
        self.seen += 1
        self._sum = self._sum + face.embedding.vectors[0]
        self.vector = self._sum / max(float(np.linalg.norm(self._sum)), 1e-9)
        if face.worth < min_worth or (len(self.best) >= keep and face.worth <= self.best[-1].face.worth):
            return
        look = _Look(face, _thumbnail(face.crop))
        twins = [other for other in self.best if look.alike(other)]
        if any(twin.face.worth >= face.worth for twin in twins):
            return
        others = [other for other in self.best if other not in twins]
        self.best = sorted([*others, look], key=lambda kept: -kept.face.worth)[:keep]


@dataclass(frozen=True, eq=False)
class _Look:
    """A face with its thumbnail, gray and equalized: what tells whether two crops are one picture."""

    face: VideoFace
    thumbnail: npt.NDArray[np.float32]

    def alike(self, other: _Look) -> bool:
        similarity = float(self.face.embedding.vectors[0] @ other.face.embedding.vectors[0])
        return similarity >= _ALIKE and float(self.thumbnail @ other.thumbnail) >= _ALIKE


def _thumbnail(crop: Image) -> npt.NDArray[np.float32]:
    """Return a crop's gray thumbnail ``(256,)``, of mean 0 and length 1, so that a product is a correlation."""
    gray: Any = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(gray, (_THUMB, _THUMB), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
    small = small - small.mean()
    return np.asarray(small / max(float(np.linalg.norm(small)), 1e-6), np.float32)


class _Taken:
    """What was given already, as embeddings and thumbnails alone: no crop is held."""

    def __init__(self) -> None:
        self._number = 0
        self._rows: list[npt.NDArray[np.float32]] = []  # embeddings and thumbnails, grown by doubling

    def __len__(self) -> int:
        return self._number

    def of(self, track: _Track) -> Iterator[VideoFace]:
        for look in track.best:
            row = (look.face.embedding.vectors[0], look.thumbnail)
            if self._holds(row):
                continue
            if not self._rows or self._number == len(self._rows[0]):
                more = [np.zeros((max(self._number, 64), len(part)), np.float32) for part in row]
                self._rows = (
                    [np.concatenate(pair) for pair in zip(self._rows, more, strict=True)] if self._rows else more
                )
            for rows, part in zip(self._rows, row, strict=True):
                rows[self._number] = part
            self._number += 1
            yield replace(look.face, track=track.number, seen=track.seen)

    def _holds(self, row: tuple[npt.NDArray[np.float32], ...]) -> bool:
        alike = [rows[: self._number] @ part >= _ALIKE for rows, part in zip(self._rows, row, strict=False)]
        return bool(alike) and bool((alike[0] & alike[1]).any())

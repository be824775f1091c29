"""Which way up: photos and videos on their side or head, told by the faces found in them."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from visavis.errors import InputError
from visavis.image import resize
from visavis.pipeline import Analyzer
from visavis.types import Faces, Image
from visavis.video.frames import TURNS, frames, turned

__all__ = ["Orientation", "orientation", "turn_scores", "upright"]

# One frame decides rightly with YuNet and MTCNN, but BlazeFace takes a tenth of LFW's photos for turned ones; five
# frames together decide rightly with each of them (benchmarks/video_faces.py).
_VOTES = 5
_TRY_AFTER = 5  # frames without a face after which other turns are tried; then after twice as many, and so on
_TRIED_SIDE = 1280  # longest side of frames held for that
_LEAST_SCORE = 0.6  # of a face that speaks for a turn


@dataclass(frozen=True)
class Orientation:
    """How the frames of a video have to be turned, and why.

    Attributes
    ----------
    turned
        Degrees clockwise, beyond what the container says.
    votes
        Of each turn, the sum over frames of the best face's score.
    frames
        How many frames voted.
    start
        Seconds before which no face was found, however turned.
    """

    turned: int
    votes: dict[int, float] = field(default_factory=dict)
    frames: int = 0
    start: float = 0.0

    @property
    def found(self) -> bool:
        """Whether a face was found at all."""
        return self.frames > 0


def turn_scores(image: Image, analyzer: Analyzer, turns: Sequence[int] = TURNS) -> dict[int, float]:
    """Return the best face's score of an image in each turn, 0 where no face is found: the highest is upright.

    For photos as for frames. A detector may find a face upside down too, but with a lower score.
    """
    return {turn: _best_score(analyzer.analyze(turned(image, turn))) for turn in turns}


def upright(image: Image, analyzer: Analyzer) -> tuple[Image, int]:
    """Return a photo turned so that its faces are upright, and by how many degrees clockwise; as it is without any."""
    scores = turn_scores(image, analyzer)
    best = max(TURNS, key=lambda turn: (scores[turn], -turn))
    best = best if scores[best] >= _LEAST_SCORE else 0
    return turned(image, best), best


def orientation(
    path: str | os.PathLike[str], analyzer: Analyzer, *, every: float = 0.5, threads: int = 1
) -> Orientation:
    """Find out how a video has to be turned so that faces are upright.

    Frames are looked at as the container says first. Five in which a face is found, in all four turns, decide by the
    sum of their best scores. While none is found, other turns are tried now and then: on the last of 5 frames without,
    of 10, 20, and so on. A video that shows no face is looked at once, to its end.

    Raises
    ------
    InputError
        As `visavis.video.frames.frames`; but of a video that was cut off, what there is decides.
    """
    votes, voted, start, empty, limit = dict.fromkeys(TURNS, 0.0), 0, None, 0, _TRY_AFTER
    counts = dict.fromkeys(TURNS, 0)
    held: deque[Image] = deque(maxlen=_TRY_AFTER)

    def vote(images: Iterable[Image], turns: Sequence[int]) -> int:
        speaking = 0
        for image in images:
            scores = turn_scores(image, analyzer, turns)
            for turn, score in scores.items():
                votes[turn] += score if score >= _LEAST_SCORE else 0.0
                counts[turn] += score >= _LEAST_SCORE
            speaking += any(score >= _LEAST_SCORE for score in scores.values())
        return speaking

    looked = 0
    rest = frames(path, every=every, threads=threads)
    while voted < _VOTES:
        try:
            frame = next(rest, None)
        except InputError:
            if not looked:
                raise
            frame = None
        if frame is None:
            break
        looked += 1
        image = _shrunk(frame.image)
        if _best_score(analyzer.analyze(image)) >= _LEAST_SCORE:
            start = frame.time if start is None else start
            voted += vote([image], TURNS)
            continue
        held.append(image)
        empty += 1
        if empty == limit:
            voted += vote(held, TURNS[1:])
            held.clear()
            limit *= 2
    if voted < _VOTES and held:
        voted += vote(held, TURNS[1:])
    best = max(TURNS, key=lambda turn: (votes[turn], -turn))
    if best and counts[best] < min(2, looked):  # one face in one turned frame of many is mostly none
        best = 0
        voted = counts[0]
    return Orientation(
        best,
        {turn: round(score, 3) for turn, score in votes.items()},
        voted,
        (start or 0.0) if best == 0 else 0.0,
    )


def _best_score(faces: Faces) -> float:
    return float(faces.scores.max()) if len(faces) else 0.0


def _shrunk(image: Image) -> Image:
    height, width = image.shape[:2]
    share = _TRIED_SIDE / max(height, width)
    return image if share >= 1 else resize(image, max(round(width * share), 1), max(round(height * share), 1))

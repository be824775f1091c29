"""How well faces were followed: IDF1, and the CLEAR MOT figures.

IDF1 asks whether each person had one track throughout: people and tracks are paired once for the whole sequence, so
that the most boxes agree (Ristani, Solera, Zou, Cucchiara, Tomasi: "Performance Measures and a Data Set for
Multi-Target, Multi-Camera Tracking", ECCV workshops 2016). MOTA asks frame by frame how many faces were missed, how
many boxes are false, and how often a person's track changed (Bernardin and Stiefelhagen: "Evaluating Multiple Object
Tracking Performance: The CLEAR MOT Metrics", EURASIP JIVP 2008). MOTP is the mean IoU of what was matched, as the MOT
challenge has it; the paper's own is a mean of errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.errors import EngineError, InputError
from visavis.geometry import iou

__all__ = ["TrackingQuality", "Trajectories", "tracking_quality"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Rows = npt.NDArray[np.intp]
_MOSTLY, _HARDLY = 0.8, 0.2  # Wu and Nevatia, CVPR 2006: tracked for more, for less of the time
_LIMIT = 2**24  # people times tracks


@dataclass(frozen=True, eq=False)
class Trajectories:
    """Boxes of several frames that belong to people, or to tracks: n rows in any order.

    Attributes
    ----------
    frames, ids
        ``(n,)`` whole numbers: the frame, and whose box it is. One id has one box in a frame at most.
    boxes
        ``(n, 4)``: x1, y1, x2, y2.
    ignored
        ``(n,)``, of ground truth: which need not be found; a box on one of them is not false either. None: none.

    Raises
    ------
    InputError
        If lengths differ, a box is not finite or an id has two boxes in one frame.

    Examples
    --------
    >>> len(Trajectories([0, 1], [7, 7], [[0, 0, 2, 2], [1, 0, 3, 2]]))
    2
    """

    frames: Ints
    ids: Ints
    boxes: Floats
    ignored: npt.NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        frames, ids = _whole("frames", self.frames), _whole("ids", self.ids)
        n = len(frames)
        try:
            boxes = np.asarray(self.boxes, np.float64).reshape(-1, 4)
        except (TypeError, ValueError):
            raise InputError("boxes are rows of four numbers: x1, y1, x2, y2") from None
        ignored = np.zeros(n, bool) if self.ignored is None else np.asarray(self.ignored, bool)
        if not len(ids) == len(boxes) == n or ignored.shape != (n,):
            raise InputError(
                f"{n} frames need as many ids, boxes and marks, not {len(ids)}, {len(boxes)} and {ignored.shape}"
            )
        if not np.isfinite(boxes).all():
            raise InputError("boxes must be finite, but hold NaN or infinity")
        order = np.lexsort((ids, frames))
        twice = (np.diff(frames[order]) == 0) & (np.diff(ids[order]) == 0)
        if twice.any():
            row = order[int(twice.argmax())]
            raise InputError(f"id {ids[row]} has two boxes in frame {frames[row]}")
        for name, column in zip(("frames", "ids", "boxes", "ignored"), (frames, ids, boxes, ignored), strict=True):
            object.__setattr__(self, name, column[order])

    def __len__(self) -> int:
        return len(self.frames)


def _whole(name: str, given: Any) -> Ints:
    values = np.asarray(given)
    if values.ndim != 1 or (values.size and values.dtype.kind not in "iu"):
        raise InputError(f"{name} must be a row of whole numbers, not {values.dtype} {values.shape}")
    return values.astype(np.int64)


@dataclass(frozen=True)
class TrackingQuality:
    """Counts of one sequence, or of several added up, and what is made of them.

    Attributes
    ----------
    people, tracks
        How many ids the ground truth has, and the output.
    truth, output
        How many boxes they have.
    matched, overlap
        Boxes of the output that lie on a face, and the sum of their IoU.
    switches
        How often a person was matched to another track than the last time.
    fragmentations
        How often a person who was matched before, and then was not, was matched again.
    mostly_tracked, mostly_lost
        People matched in more than 80 %, in less than 20 % of their boxes.
    id_matched
        Boxes that agree when each person is given one track for the whole sequence.

    Examples
    --------
    >>> box = [[0, 0, 2, 2]] * 4
    >>> truth = Trajectories([0, 1, 2, 3], [1, 1, 1, 1], box)
    >>> quality = tracking_quality(truth, Trajectories([0, 1, 2, 3], [5, 5, 5, 6], box))
    >>> quality.switches, quality.mota, quality.idf1
    (1, 0.75, 0.75)
    """

    people: int = 0
    tracks: int = 0
    truth: int = 0
    output: int = 0
    matched: int = 0
    overlap: float = 0.0
    switches: int = 0
    fragmentations: int = 0
    mostly_tracked: int = 0
    mostly_lost: int = 0
    id_matched: int = 0

    def __add__(self, other: TrackingQuality) -> TrackingQuality:
        return TrackingQuality(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def misses(self) -> int:
        """Faces that no box of the output was matched to."""
        return self.truth - self.matched

    @property
    def false_positives(self) -> int:
        """Boxes of the output that were matched to no face."""
        return self.output - self.matched

    @property
    def mota(self) -> float | None:
        """1 less misses, false positives and switches over faces: at most 1, may be negative; None without faces."""
        wrong = self.misses + self.false_positives + self.switches
        return 1 - wrong / self.truth if self.truth else None

    @property
    def motp(self) -> float | None:
        """Mean IoU of the matched; None where none was."""
        return self.overlap / self.matched if self.matched else None

    @property
    def idf1(self) -> float | None:
        """Harmonic mean of `idp` and `idr`; None where there is no box at all."""
        both = self.truth + self.output
        return 2 * self.id_matched / both if both else None

    @property
    def idp(self) -> float | None:
        """Share of the output's boxes that agree; None without any."""
        return self.id_matched / self.output if self.output else None

    @property
    def idr(self) -> float | None:
        """Share of the faces that agree; None without any."""
        return self.id_matched / self.truth if self.truth else None

    def to_dict(self) -> dict[str, Any]:
        """Return counts and rates, JSON-ready."""
        rates = ("idf1", "idp", "idr", "mota", "motp", "misses", "false_positives")
        return {f.name: getattr(self, f.name) for f in fields(self)} | {name: getattr(self, name) for name in rates}


def tracking_quality(truth: Trajectories, output: Trajectories, least_overlap: float = 0.5) -> TrackingQuality:
    """Compare tracks with the truth.

    A box may be matched to a face where their IoU is ``least_overlap`` or more. Frame by frame, a person stays with the
    track of the frame before where that still holds; the others are paired for the highest sum of IoU. Boxes on faces
    that are `Trajectories.ignored` are left out first, as the MOT challenge does.

    Parameters
    ----------
    truth, output
        Frames that one of the two has not hold nothing of it.
    least_overlap
        Above 0, at most 1.

    Raises
    ------
    InputError
        If ``least_overlap`` is out of range, or there are so many people and tracks that they can't be paired.
    EngineError
        If scipy is missing.

    Examples
    --------
    >>> truth = Trajectories([0, 0], [1, 2], [[0, 0, 4, 4], [9, 9, 12, 12]], ignored=[False, True])
    >>> tracking_quality(truth, Trajectories([0], [8], [[0, 0, 4, 3]])).to_dict()["motp"]
    0.75
    """
    if not 0 < least_overlap <= 1:
        raise InputError(f"least_overlap is an IoU above 0, at most 1, not {least_overlap}")
    assert truth.ignored is not None
    people, tracks = np.unique(truth.ids[~truth.ignored]), np.unique(output.ids)
    if len(people) * len(tracks) > _LIMIT:
        raise InputError(f"{len(people)} people and {len(tracks)} tracks are too many to pair; compare parts of it")
    kept = np.ones(len(output), bool)
    now = np.full(len(people), -1)  # the track of each person in the last frame that had boxes on both sides
    ever = now.copy()
    faces, found = np.zeros(len(people), np.int64), np.zeros(len(people), np.int64)
    together = np.zeros((len(people), len(tracks)), np.int64)
    starts = np.zeros(len(people), np.int64)
    overlap, switches = 0.0, 0
    for rows, columns in _frames(truth, output):
        shared = np.asarray(iou(truth.boxes[rows], output.boxes[columns]), np.float64)  # type: ignore[arg-type]
        shared = np.where(shared >= least_overlap, shared, 0.0)
        left_out = truth.ignored[rows]
        if left_out.any():
            a, b = _paired(shared)
            on_ignored = b[left_out[a]]
            kept[columns[on_ignored]] = False
            shared = np.delete(shared, on_ignored, axis=1)[~left_out]
            rows, columns = rows[~left_out], np.delete(columns, on_ignored)
        who, which = np.searchsorted(people, truth.ids[rows]), np.searchsorted(tracks, output.ids[columns])
        faces[who] += 1
        if not len(who) or not len(which):
            continue
        a, b = np.nonzero(shared)
        together[who[a], which[b]] += 1
        goes_on = (now[who][:, None] == which[None, :]) & (shared > 0)
        a, b = _paired(shared, goes_on)
        overlap += float(shared[a, b].sum())
        who, which = who[a], which[b]
        found[who] += 1
        switches += int(((ever[who] >= 0) & (ever[who] != which)).sum())
        starts[who] += now[who] < 0
        now[:] = -1
        now[who] = ever[who] = which
    share = found / np.maximum(faces, 1)
    a, b = _assignment(together)
    return TrackingQuality(
        people=len(people),
        tracks=len(np.unique(output.ids[kept])),
        truth=int(faces.sum()),
        output=int(kept.sum()),
        matched=int(found.sum()),
        overlap=overlap,
        switches=switches,
        fragmentations=int(np.maximum(starts - 1, 0).sum()),
        mostly_tracked=int((share > _MOSTLY).sum()),
        mostly_lost=int((share < _HARDLY).sum()),
        id_matched=int(together[a, b].sum()),
    )


def _frames(truth: Trajectories, output: Trajectories) -> Iterator[tuple[Rows, Rows]]:
    """Give the rows of each frame that either has."""
    for frame in np.union1d(truth.frames, output.frames):
        first, second = (np.searchsorted(part.frames, [frame, frame + 1]) for part in (truth, output))
        yield np.arange(*first, dtype=np.intp), np.arange(*second, dtype=np.intp)


def _paired(shared: Floats, first: npt.NDArray[np.bool_] | None = None) -> tuple[Rows, Rows]:
    """Return pairs of rows and columns that overlap: as many ``first`` as there can be, then the closest."""
    a, b = _assignment(shared if first is None else shared + first * 1000.0)
    real = shared[a, b] > 0
    return a[real], b[real]


def _assignment(worth: npt.NDArray[Any]) -> tuple[Rows, Rows]:
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError:
        raise EngineError("measuring tracks needs scipy: pip install 'visavis[evaluate]'") from None
    a, b = linear_sum_assignment(worth, maximize=True)
    return a, b

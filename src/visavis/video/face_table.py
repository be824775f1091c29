"""A table of all faces found in a video: 36 bytes a face, so that hours of it fit into memory."""

from __future__ import annotations

from array import array
from collections import deque
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.geometry import iou
from visavis.types import Faces, FloatArray
from visavis.video.frames import Frame

__all__ = ["FaceTable"]

_BACK = 16  # frames looked at through which a track is traced back to where it was not yet one
_SAME_FACE = 0.3  # IoU with the frame before from which a face is traced back


class FaceTable:
    """A table that grows by rows of a few bytes, and traces new tracks back through its last rows."""

    def __init__(self) -> None:
        self._frames, self._tracks = array("i"), array("i")
        self._times, self._boxes, self._scores = array("d"), array("f"), array("f")
        self._last: deque[tuple[int, int]] = deque(maxlen=_BACK)  # where the rows of a frame begin and end
        self._known: set[int] = set()

    def add(self, frame: Frame, faces: Faces, tracks: npt.NDArray[np.int32]) -> None:
        """Add the faces of the next frame with the track of each, 0 for none."""
        n = len(faces)
        self._frames.extend([frame.number] * n)
        self._times.extend([frame.time] * n)
        self._tracks.extend(tracks.tolist())
        self._boxes.frombytes(faces.boxes.tobytes())
        self._scores.frombytes(faces.scores.tobytes())
        for i, track in enumerate(tracks.tolist()):
            if track and track not in self._known:
                self._known.add(track)
                self._trace_back(track, faces.boxes[i])
        self._last.append((len(self._frames) - n, len(self._frames)))

    def _trace_back(self, track: int, box: FloatArray) -> None:
        for begin, end in reversed(self._last):
            free = [row for row in range(begin, end) if not self._tracks[row]]
            boxes = np.array([self._boxes[4 * row : 4 * row + 4] for row in free], np.float32).reshape(-1, 4)
            overlap = iou(box[None], boxes)[0] if free else np.zeros(0)
            if not free or float(overlap.max()) < _SAME_FACE:
                return
            nearest = int(overlap.argmax())
            self._tracks[free[nearest]] = track
            box = boxes[nearest]

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """Return the columns by their names in `visavis.video.recording.Recording`; nothing can be added afterwards."""
        return {
            "frames": np.frombuffer(self._frames, np.int32),
            "times": np.frombuffer(self._times, np.float64),
            "tracks": np.frombuffer(self._tracks, np.int32),
            "boxes": np.frombuffer(self._boxes, np.float32).reshape(-1, 4),
            "scores": np.frombuffer(self._scores, np.float32),
        }

"""Runs trackers of other packages on scenes of benchmarks/tracking.py, in the environment that has them.

    PEER_PYTHON tracking_peer.py JOBS.json RESULT.npz

Needs NumPy and the package alone: `trackers` for sort, bytetrack and ocsort, `edgefirst-tracker` for edgefirst,
`cjm-byte-track` for cjm. A job is a tracker's name, its settings, a scene's file and how often faces are looked for.
"""

import json
import sys
import time
import warnings

import numpy as np

RATE = 25.0


def of_trackers(kind, every, settings):
    import supervision as sv
    from trackers import ByteTrackTracker, OCSORTTracker, SORTTracker

    made = {"sort": SORTTracker, "bytetrack": ByteTrackTracker, "ocsort": OCSORTTracker}[kind]
    tracker = made(frame_rate=RATE / every, **settings)

    def update(boxes, scores, at):
        rows = np.arange(len(boxes))
        faces = sv.Detections(boxes, confidence=scores, class_id=np.zeros(len(boxes), int), data={"row": rows})
        done = tracker.update(faces, timestamp=at)
        ids = np.full(len(boxes), -1)
        if len(done):
            ids[done.data["row"]] = done.tracker_id
        return ids

    return update


def edgefirst(settings):
    from edgefirst.tracker import ByteTrack

    tracker = ByteTrack(**settings)
    names = {}
    scale = np.array([640, 480, 640, 480], np.float32)  # it takes shares of the sides

    def update(boxes, scores, at):
        given = (boxes / scale).astype(np.float32)
        found = tracker.update(given, scores.astype(np.float32), np.zeros(len(boxes), np.uintp), int(at * 1e9))
        return np.array([-1 if f is None else names.setdefault(str(f.uuid), len(names)) for f in found], int)

    return update


def cjm(settings):
    from cjm_byte_track.core import BYTETracker

    tracker = BYTETracker(frame_rate=30, **settings)

    def update(boxes, scores, _):
        ids = np.full(len(boxes), -1)
        if not len(boxes):
            tracker.update(np.zeros((0, 5)), (480, 640), (480, 640))
            return ids
        tracks = tracker.update(np.column_stack([boxes, scores]).astype(float), (480, 640), (480, 640))
        # It gives smoothed boxes: the face of each is the nearest.
        for track in tracks:
            ids[np.abs(boxes - track.tlbr).sum(axis=1).argmin()] = track.track_id
        return ids

    return update


def made(kind, every, settings):
    if kind in ("edgefirst", "cjm"):
        return {"edgefirst": edgefirst, "cjm": cjm}[kind](settings)
    return of_trackers(kind, every, settings)


def run(job):
    """Return rows of frame, face and id, and the seconds each frame took."""
    with np.load(job["scene"]) as file:
        frames, frame, box, score = (file[name] for name in ("frames", "d_frame", "d_box", "d_score"))
    update = made(job["kind"], job["every"], job["settings"])
    starts = np.searchsorted(frame, np.arange(int(frames) + 1))
    rows, spent = [], []
    for number in range(0, int(frames), job["every"]):
        a, b = starts[number], starts[number + 1]
        begin = time.perf_counter()
        ids = update(box[a:b].copy(), score[a:b].copy(), number / RATE)
        spent.append(time.perf_counter() - begin)
        rows += [(number, a + i, int(known)) for i, known in enumerate(ids) if known >= 0]
    return np.array(rows, np.int64).reshape(-1, 3), np.array(spent)


def main():
    warnings.simplefilter("ignore")
    with open(sys.argv[1]) as file:  # noqa: PTH123
        jobs = json.load(file)
    done = {}
    for i, job in enumerate(jobs):
        done[f"rows_{i}"], done[f"spent_{i}"] = run(job)
    np.savez(sys.argv[2], **done)


if __name__ == "__main__":
    main()

"""How well faces are followed, and at what cost: ours, plain overlap, and trackers of other packages.

    python benchmarks/tracking.py [--peer-python PYTHON KIND[,KIND...]] ... [--scenes N] [--choose] [--cost]

prints the tables of docs/tracking.md. Films of crowds (tests/crowd_video.py) are rendered, YuNet finds the faces and
SFace embeds them, in float32; every tracker gets the same faces. Faces are looked for in every 1st, 2nd, 3rd and 5th
frame, and the frames looked at are what is judged. Settings are chosen on films of one half of the people, by the mean
IDF1 of all four; what is printed was measured on films of the other half, with other seeds.

--peer-python runs other trackers in an environment of theirs, as many as wanted:
    --peer-python /tmp/a/bin/python sort,bytetrack,ocsort   (PyPI trackers)
    --peer-python /tmp/b/bin/python edgefirst               (PyPI edgefirst-tracker)
    --peer-python /tmp/c/bin/python cjm                     (PyPI cjm-byte-track)
--choose prints what other settings of ours give on the half where settings are chosen.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from tracking_scenes import HERE, Scene, scene

from visavis.evaluation.tracking import TrackingQuality, Trajectories, tracking_quality
from visavis.geometry import iou
from visavis.types import Faces
from visavis.video.resemblance import Resemblance, resemblance
from visavis.video.tracking import Track, Tracker, Tracking

EVERY = (1, 2, 3, 5)
RATE = 25.0
CHOSEN_ON, MEASURED_ON = (0, range(6)), (1, range(10, 20))  # half of the people, and seeds
PEER_GRIDS = {
    "sort": {
        "lost_track_buffer": (30, 60, 150),
        "minimum_iou_threshold": (0.1, 0.3),
        "track_activation_threshold": (0.25, 0.6),
        "minimum_consecutive_frames": (1, 2),
    },
    "bytetrack": {
        "lost_track_buffer": (30, 60, 150),
        "minimum_iou_threshold": (0.1, 0.3),
        "track_activation_threshold": (0.6, 0.7),
        "minimum_consecutive_frames": (1, 2),
    },
    "ocsort": {
        "lost_track_buffer": (30, 60, 150),
        "minimum_iou_threshold": (0.1, 0.3),
        "direction_consistency_weight": (0.1, 0.2),
        "minimum_consecutive_frames": (1, 2),
    },
    "edgefirst": {
        "lifespan_ns": (500_000_000, 2_000_000_000, 5_000_000_000),
        "iou": (0.05, 0.1, 0.25),
        "high_conf": (0.6, 0.7),
        "update": (0.25, 0.5, 0.9),
    },
    "cjm": {"track_buffer": (15, 30, 75), "match_thresh": (0.8, 0.9, 0.95), "track_thresh": (0.5, 0.6)},
}
OWN_STEPS = {
    "gap": (2.0, 3.0, 10.0),
    "confirm": (1, 3),
    "start": (0.5, 0.7, 0.8),
    "fresh": (0.1, 0.4),
    "reach": (15.0, 30.0),
    "doubt": (0.0, 3.0, 20.0),
    "weight": (2.0, 8.0),
    "hold": (0.0, 0.4),
    "every": (0.04, 0.2),
}
OWN_MOTION_STEPS = {
    "noise": (0.03, 0.08),
    "size_noise": (0.05, 0.15),
    "speed": (1.0, 4.0),
    "push": (2.0, 8.0),
    "size_push": (0.25, 1.0),
    "fade": (0.25, 1.0),
}


class Greedy:
    """Boxes that overlap most, one after the other; no motion, no similarity."""

    def __init__(self, overlap: float, confirm: int, gap: float) -> None:
        self.overlap, self.confirm, self.gap = overlap, confirm, gap
        self.tracks: dict[int, Track] = {}
        self._new: list[Track] = []
        self._next = 1

    def update(self, at: float, faces: Faces, look: object = None) -> np.ndarray:  # noqa: ARG002
        faces_ids = np.zeros(len(faces), np.int64)
        known = [*self.tracks.values(), *self._new]
        free = {i for i in range(len(faces)) if faces.scores[i] >= 0.6}
        shared = iou(faces.boxes, np.array([track.box for track in known], np.float32).reshape(-1, 4))
        while shared.size and shared.max() >= self.overlap:
            i, j = (int(k) for k in np.unravel_index(int(shared.argmax()), shared.shape))
            shared[i] = shared[:, j] = -1
            free.discard(i)
            track = known[j]
            track.box, track.last, track.seen = faces.boxes[i], at, track.seen + 1
            if not track.id and track.seen >= self.confirm:
                track.id, self._next = self._next, self._next + 1
                self.tracks[track.id] = track
            faces_ids[i] = track.id
        self._new = [track for track in self._new if not track.id and track.last == at]
        self._new += [Track(0, faces.boxes[i], at, at) for i in free]
        return faces_ids

    def ended(self, at: float) -> None:
        for track in [track for track in self.tracks.values() if at - track.last > self.gap]:
            del self.tracks[track.id]


class Templates:
    """What tracks look like: means of their best looks, taken at first, when a better one comes, and now and then."""

    def __init__(self) -> None:
        self.looks: dict[int, list[tuple[float, np.ndarray]]] = {}
        self.taken: dict[int, float] = {}

    def add(self, track: Track, worth: float, vector: np.ndarray, at: float) -> int:
        looks = self.looks.setdefault(track.id, [])
        if worth <= 0 or (len(looks) >= 2 and worth < 1.15 * looks[0][0] and at - self.taken[track.id] < 2.0):
            return 0
        looks.append((worth, vector))
        looks.sort(key=lambda look: -look[0])
        del looks[5:]
        self.taken[track.id] = at
        total = np.sum([worth * vector for worth, vector in looks], axis=0)
        track.template = (total / np.linalg.norm(total)).astype(np.float32)
        return 1


def follow(
    film: Scene, tracker: Tracker | Greedy, every: int, similarity: bool, between: bool = False
) -> tuple[Trajectories, int, int]:
    """Return what a tracker makes of a film, how many faces it looked at itself, and how many made templates.

    With ``between``, the frames in which faces are not looked for have what the tracker expects.
    """
    starts = np.searchsorted(film.d_frame, np.arange(int(film.frames) + 1))
    rows: list[tuple[int, int]] = []
    boxes: list[np.ndarray] = []
    templates, looked, made = Templates(), 0, 0
    for number in range(int(film.frames)):
        at = number / RATE
        if number % every:
            if between:
                expected = tracker.expected(at)
                rows += [(number, int(track)) for track in expected.track_ids]
                boxes += list(expected.boxes)
            continue
        mine = np.arange(starts[number], starts[number + 1])

        def look(wanted: np.ndarray, mine: np.ndarray = mine) -> np.ndarray:
            nonlocal looked
            looked += len(wanted)
            return film.d_vector[mine[wanted]]

        ids = tracker.update(at, Faces(film.d_box[mine], film.d_score[mine]), look if similarity else None)
        for i in np.flatnonzero(ids):
            rows.append((number, int(ids[i])))
            boxes.append(film.d_box[mine[i]])
            if similarity:
                made += templates.add(tracker.tracks[int(ids[i])], film.d_worth[mine[i]], film.d_vector[mine[i]], at)
        tracker.ended(at)
    columns = np.array(rows, np.int64).reshape(-1, 2)
    return Trajectories(columns[:, 0], columns[:, 1], np.array(boxes).reshape(-1, 4)), looked, made


def truth(film: Scene, every: int) -> Trajectories:
    rows = film.t_frame % every == 0
    return Trajectories(film.t_frame[rows], film.t_id[rows], film.t_box[rows], film.t_ignored[rows])


def minutes(films: Sequence[Scene]) -> float:
    return sum(int(film.frames) for film in films) / RATE / 60


def judged(films: Sequence[Scene], make: Callable[[], Tracker | Greedy], similarity: bool) -> list[TrackingQuality]:
    return [
        sum(
            (tracking_quality(truth(f, every), follow(f, make(), every, similarity)[0]) for f in films),
            TrackingQuality(),
        )
        for every in EVERY
    ]


def mean_idf1(parts: Sequence[TrackingQuality]) -> float:
    return float(np.mean([part.idf1 or 0.0 for part in parts]))


def peers(python: str, jobs: list[dict], paths: dict[Path, Scene]) -> list[tuple[TrackingQuality, float]]:
    """Return how each job went, and microseconds a frame."""
    with tempfile.TemporaryDirectory() as folder:
        wanted, given = Path(folder) / "jobs.json", Path(folder) / "done.npz"
        wanted.write_text(json.dumps(jobs))
        subprocess.run([python, str(HERE / "tracking_peer.py"), str(wanted), str(given)], check=True)
        done = np.load(given)
        found = []
        for i, job in enumerate(jobs):
            film, rows = paths[Path(job["scene"])], done[f"rows_{i}"]
            output = Trajectories(rows[:, 0], rows[:, 2], film.d_box[rows[:, 1]])
            found.append(
                (tracking_quality(truth(film, job["every"]), output), 1e6 * float(np.median(done[f"spent_{i}"])))
            )
    return found


def judged_peer(python: str, kind: str, settings: list[dict], paths: dict[Path, Scene]) -> list[list[TrackingQuality]]:
    """Return for each of the settings what it gives for each of EVERY."""
    jobs = [
        {"kind": kind, "every": every, "settings": chosen, "scene": str(path)}
        for chosen in settings
        for every in EVERY
        for path in paths
    ]
    flat = [quality for quality, _ in peers(python, jobs, paths)]
    sums = [sum(flat[i : i + len(paths)], TrackingQuality()) for i in range(0, len(flat), len(paths))]
    return [sums[i : i + len(EVERY)] for i in range(0, len(sums), len(EVERY))]


def row(name: str, parts: Sequence[TrackingQuality], length: float) -> None:
    cells = [f"{part.idf1:.3f} | {part.mota:.3f} | {part.switches / length:.1f}" for part in parts]
    print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def compare(options: argparse.Namespace, same: Resemblance) -> None:
    chosen_on, measured_on = (
        dict(scene(half, seed, options.seconds) for seed in seeds[: options.scenes])
        for half, seeds in (CHOSEN_ON, MEASURED_ON)
    )
    tune, test = list(chosen_on.values()), list(measured_on.values())
    length = minutes(test)
    print(
        f"{len(tune)} films to choose on, {len(test)} to measure on ({60 * length:.0f} s, "
        f"{sum(int((~f.t_ignored).sum()) for f in test)} faces)\n"
    )
    print("| tracker |" + "".join(f" IDF1, every {k} | MOTA | switches/min |" for k in EVERY))
    print("|---|" + "---:|---:|---:|" * len(EVERY))
    grid = [
        dict(zip(("overlap", "confirm", "gap"), v, strict=True))
        for v in product((0.1, 0.3), (1, 2, 3), (0.5, 2.0, 5.0))
    ]
    best = max(grid, key=lambda k: mean_idf1(judged(tune, lambda: Greedy(**k), False)))
    row("overlap alone", judged(test, lambda: Greedy(**best), False), length)
    chosen = {"overlap alone": best}
    for python, kinds in options.peer_python or []:
        for kind in kinds.split(","):
            names = PEER_GRIDS[kind]
            settings = [dict(zip(names, values, strict=True)) for values in product(*names.values())]
            scores = [mean_idf1(parts) for parts in judged_peer(python, kind, settings, chosen_on)]
            chosen[kind] = settings[int(np.argmax(scores))]
            row(kind, judged_peer(python, kind, [chosen[kind]], measured_on)[0], length)
    row("ours, by place alone", judged(test, lambda: Tracker(same=same), False), length)
    row("ours", judged(test, lambda: Tracker(same=same), True), length)
    print("\nSettings chosen:")
    for name, settings in chosen.items():
        print(f"- {name}: {', '.join(f'{k}={v}' for k, v in settings.items())}")
    more(test, same, length)


def more(films: Sequence[Scene], same: Resemblance, length: float) -> None:
    print(
        "\n| faces looked for in every | embedded a minute for the tracker | for templates | share of faces "
        "| IDF1 of all frames | MOTA of all frames |"
    )
    print("|---|---:|---:|---:|---:|---:|")
    for every in EVERY:
        looked = made = faces = 0
        quality = TrackingQuality()
        for film in films:
            output, a, b = follow(film, Tracker(same=same), every, True, between=True)
            looked, made = looked + a, made + b
            faces += int((film.d_frame % every == 0).sum())
            quality += tracking_quality(truth(film, 1), output)
        print(
            f"| {every} | {looked / length:.0f} | {made / length:.0f} | {(looked + made) / faces:.1%} "
            f"| {quality.idf1:.3f} | {quality.mota:.3f} |"
        )


def choose(options: argparse.Namespace, same: Resemblance) -> None:
    half, seeds = CHOSEN_ON
    films = [scene(half, seed, options.seconds)[1] for seed in seeds[: options.scenes]]
    length, base = minutes(films), Tracking()

    def tell(name: str, how: Tracking) -> None:
        with_it, without = (judged(films, lambda: Tracker(how, same), similar) for similar in (True, False))
        switches = sum(part.switches for part in with_it) / len(EVERY) / length
        print(f"| {name} | {mean_idf1(with_it):.3f} | {switches:.1f} | {mean_idf1(without):.3f} |", flush=True)

    print("| setting | mean IDF1 | switches/min | IDF1 by place alone |\n|---|---:|---:|---:|")
    tell("as chosen", base)
    for name, values in OWN_STEPS.items():
        for value in values:
            tell(f"{name} {value:g}", replace(base, **{name: value}))
    for name, values in OWN_MOTION_STEPS.items():
        for value in values:
            tell(f"{name} {value:g}", replace(base, motion=replace(base.motion, **{name: value})))


def march(count: int, frames: int) -> Scene:
    """Return faces that walk side by side, found in each frame with a little noise."""
    rng = np.random.default_rng(0)
    start = np.stack(np.meshgrid(np.arange(count) % 10 * 120.0, np.arange(count) // 10 * 150.0), -1)[0]
    start[:, 1] = np.arange(count) // 10 * 150.0
    steps = np.arange(frames)[:, None, None] * rng.uniform(-2, 2, (count, 2))
    corner = start + steps + rng.normal(0, 1, (frames, count, 2))
    boxes = np.concatenate([corner, np.add(corner, [80, 100])], axis=2).reshape(-1, 4).astype(np.float32)
    rows = np.repeat(np.arange(frames), count)
    ones, vectors = np.ones(len(rows)), np.zeros((len(rows), 128), np.float32)
    vectors[np.arange(len(rows)), np.tile(np.arange(count), frames) % 128] = 1
    whose = np.tile(np.arange(count), frames)
    return Scene(
        np.array(frames), rows, whose, boxes, ones < 0, rows, boxes, 0.9 * ones.astype(np.float32), ones, vectors
    )


def cost(options: argparse.Namespace, same: Resemblance) -> None:
    print("\n| tracker | us a frame, 5 faces | 50 faces | 300 faces |\n|---|---:|---:|---:|")
    films = {count: march(count, 200) for count in (5, 50, 300)}

    def timed(make: Callable[[], Tracker | Greedy], film: Scene) -> float:
        tracker, spent = make(), []
        starts = np.searchsorted(film.d_frame, np.arange(int(film.frames) + 1))
        for number in range(int(film.frames)):
            mine = np.arange(starts[number], starts[number + 1])
            faces = Faces(film.d_box[mine], film.d_score[mine])
            begin = time.perf_counter()
            ids = tracker.update(number / RATE, faces, lambda rows, mine=mine: film.d_vector[mine[rows]])
            spent.append(time.perf_counter() - begin)
            for i, track in enumerate(ids):
                if track:
                    tracker.tracks[int(track)].template = film.d_vector[mine[i]]
        return 1e6 * float(np.median(spent))

    for name, make in (("overlap alone", lambda: Greedy(0.3, 1, 2.0)), ("ours", lambda: Tracker(same=same))):
        print(f"| {name} | " + " | ".join(f"{timed(make, film):.0f}" for film in films.values()) + " |", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        paths = {Path(folder) / f"{count}.npz": film for count, film in films.items()}
        for path, film in paths.items():
            film.save(path)
        for python, kinds in options.peer_python or []:
            for kind in kinds.split(","):
                jobs = [{"kind": kind, "every": 1, "settings": {}, "scene": str(path)} for path in paths]
                print(
                    f"| {kind} | " + " | ".join(f"{us:.0f}" for _, us in peers(python, jobs, paths)) + " |", flush=True
                )


def real_clip() -> None:
    """Follow the one real clip that a package has: a man who talks in a car."""
    from visavis.models.store import Store
    from visavis.pipeline import Analyzer
    from visavis.video.frames import frames

    analyzer = Analyzer(threads=1, precision="f32")
    tracker = Tracker(same=resemblance(analyzer))
    faces, tracked = 0, []
    for frame in frames(Store().path("carphone")):
        found = analyzer.detect([frame.image])[0]
        faces += len(found)
        tracked += [int(track) for track in tracker.update(frame.time, found) if track]
    print(f"\ncarphone: {frame.number + 1} frames, {faces} faces found, {len(tracked)} in {len(set(tracked))} track(s)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", nargs=2, action="append", metavar=("PYTHON", "KINDS"))
    parser.add_argument("--scenes", type=int, default=10, help="films of each half, at most")
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--choose", action="store_true")
    parser.add_argument("--cost", action="store_true", help="time and the real clip alone")
    options = parser.parse_args()
    from visavis.pipeline import Analyzer

    same = resemblance(Analyzer(threads=1, precision="f32"))
    if options.choose:
        choose(options, same)
        return
    if not options.cost:
        compare(options, same)
    cost(options, same)
    real_clip()


if __name__ == "__main__":
    main()

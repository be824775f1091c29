"""Measure the detector over the scales: recall by face height, false alarms, time. Prints Markdown tables.

Scenes of 12 megapixels are composed from LFW photos (lfw-dev.zip in VISAVIS_DATA): faces scaled to a height and laid
on a patchwork of pieces of other photos in which the detector, looking for faces from 10 px at a score of 0.15, saw
none. A face counts as found where a box overlaps its own by an IoU of 0.4; every other box is a false alarm.

    python benchmarks/detection_scales.py [--faces 60] [--score 0.6] [--min-face 20]
"""

from __future__ import annotations

import argparse
import os
import time
import zipfile
from pathlib import Path

import numpy as np

from visavis.detection import open_detector
from visavis.geometry import iou
from visavis.image import load_image, resize
from visavis.models.session import EngineOptions, cpu_name
from visavis.models.store import Store

DATA = Path(os.environ.get("VISAVIS_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
SCENE = (3000, 4000)
HEIGHTS = (14, 16, 18, 20, 22, 24, 28, 36, 50, 80, 120, 180, 250, 300, 400, 500, 600, 800, 1200, 1800, 2500, 2900)
SCORES = (0.5, 0.6, 0.7, 0.8, 0.9)
PIECE = (83, 46)  # height and width of a background piece in an LFW photo
ZOOMS = (0.5, 1, 2, 4, 8)  # at which background is shown


class Detector:
    """Detectors of several settings on one session."""

    def __init__(self, store: Store, precision: str = "f32") -> None:
        self.store, self.options = store, EngineOptions("openvino", "cpu", precision, 1)

    def __call__(self, **settings: float):
        return open_detector("yunet", self.store, self.options, **settings)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=60, help="faces a height")
    parser.add_argument("--score", type=float, default=None, help="of the recall table; default: the detector's own")
    parser.add_argument("--min-face", type=float, default=None)
    args = parser.parse_args()
    make = Detector(Store())
    photos = read_photos(1200)
    faces, background = gather(make, photos)
    settings = {} if args.min_face is None else {"min_face": args.min_face}
    print(f"{len(faces)} faces, {len(background)} pieces of background; {cpu_name()}, one thread\n")
    print_recall(make(score=SCORES[0], **settings), faces, background, args.faces)
    print_false_alarms(make(score=SCORES[0], **settings), background)
    print_times(make.store, faces, background, settings)


def read_photos(count: int) -> list[np.ndarray]:
    with zipfile.ZipFile(DATA / "lfw-dev.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        picked = np.random.default_rng(1).choice(len(names), count, replace=False)
        return [load_image(archive.read(names[i])) for i in picked]


def gather(make: Detector, photos: list[np.ndarray]) -> tuple[list[tuple[np.ndarray, np.ndarray]], list[np.ndarray]]:
    """Return (photo, box of its face) where it shows but one, and face-free pieces."""
    faces, pieces = [], []
    plain, eager = make(score=0.5), make(score=0.15, min_face=10)
    h, w = PIECE
    corners = [(x, y) for x in (0, 250 - w) for y in (0, 83, 166)]
    for photo in photos:
        (face,), (seen,) = plain.detect([photo]), eager.detect([photo])
        if len(face) == 1 and (seen.scores > 0.3).sum() == 1:
            faces.append((photo, face.boxes[0]))
        boxes = seen.boxes
        grown = boxes + np.concatenate([boxes[:, :2] - boxes[:, 2:], boxes[:, 2:] - boxes[:, :2]], axis=1) * 0.4
        for x, y in corners:
            piece = np.array([[x, y, x + w, y + h]], np.float32)
            if not len(boxes) or iou(piece, grown).max() == 0:
                pieces.append(photo[y : y + h, x : x + w])
    return faces, pieces


def patchwork(background: list[np.ndarray], zoom: float, rng: np.random.Generator) -> np.ndarray:
    height, width = SCENE
    h, w = round(PIECE[0] * zoom), round(PIECE[1] * zoom)
    scene = np.empty((-(-height // h) * h, -(-width // w) * w, 3), np.uint8)
    for y in range(0, height, h):
        for x in range(0, width, w):
            piece = background[rng.integers(len(background))][:, :: rng.choice([-1, 1])]
            scene[y : y + h, x : x + w] = resize(np.ascontiguousarray(piece), w, h)
    return np.ascontiguousarray(scene[:height, :width])


def compose(
    faces: list[tuple[np.ndarray, np.ndarray]],
    background: list[np.ndarray],
    size: int,
    count: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Return a scene and the boxes of the faces laid into it, each ``size`` pixels high."""
    scene = patchwork(background, 2, rng)
    taken = np.empty((0, 4), np.float32)
    boxes = []
    margin = min(0.3, (SCENE[0] / size - 1) / 2.1)  # around a face, in its heights
    for i in rng.permutation(len(faces)):
        photo, box = faces[i]
        zoom = size / (box[3] - box[1])
        edge = margin * (box[3] - box[1])
        x1, y1 = np.maximum(box[:2] - edge, 0).astype(int)
        x2, y2 = np.minimum(box[2:] + edge, 250).astype(int)
        free = np.array(SCENE) - [round((y2 - y1) * zoom), round((x2 - x1) * zoom)]
        if free.min() < 0:
            continue
        patch = resize(np.ascontiguousarray(photo[y1:y2, x1:x2]), *(SCENE - free)[::-1].tolist())
        for _ in range(20):
            y, x = rng.integers(0, free + 1)
            place = np.array([[x, y, x + patch.shape[1], y + patch.shape[0]]], np.float32)
            if not len(taken) or iou(place, taken).max() == 0:
                scene[y : y + patch.shape[0], x : x + patch.shape[1]] = patch
                taken = np.concatenate([taken, place])
                boxes.append((box - np.array([x1, y1, x1, y1])) * zoom + np.array([x, y, x, y]))
                break
        else:
            break
        if len(boxes) == count:
            break
    return scene, np.array(boxes, np.float32).reshape(-1, 4)


def print_recall(detector, faces, background, wanted: int, heights=HEIGHTS) -> None:
    print("| face height, px | faces | " + " | ".join(f"recall at {s}" for s in SCORES) + " | false alarms at 0.6 |")
    print("|---:|---:|" + "---:|" * (len(SCORES) + 1))
    rng = np.random.default_rng(2)
    for size in heights:
        count, others, hits = 0, 0, np.zeros(len(SCORES), int)
        for _ in range(12):
            scene, boxes = compose(faces, background, size, min(wanted - count, 60), rng)
            found = detector.detect([scene])[0]
            overlap = iou(boxes, found.boxes)
            for k, score in enumerate(SCORES):
                hits[k] += int((overlap[:, found.scores >= score].max(axis=1, initial=0) > 0.4).sum())
            others += int((overlap.max(axis=0, initial=0) <= 0.4)[found.scores >= 0.6].sum())
            count += len(boxes)
            if count >= wanted:
                break
        shares = " | ".join(f"{h / max(count, 1):.2f}" for h in hits)
        print(f"| {size} | {count} | {shares} | {others} |", flush=True)


def print_false_alarms(detector, background, repeats: int = 2) -> None:
    print("\n| background shown at | megapixels | " + " | ".join(f"{s}" for s in SCORES) + " |")
    print("|---:|---:|" + "---:|" * len(SCORES))
    rng = np.random.default_rng(3)
    sums = np.zeros(len(SCORES))
    area = SCENE[0] * SCENE[1] / 1e6 * repeats
    for zoom in ZOOMS:
        alarms = np.zeros(len(SCORES), int)
        for _ in range(repeats):
            scores = detector.detect([patchwork(background, zoom, rng)])[0].scores
            alarms += [(scores >= s).sum() for s in SCORES]
        sums += alarms
        print(f"| {zoom} x | {area:.0f} | " + " | ".join(str(a) for a in alarms) + " |", flush=True)
    print("| a megapixel | | " + " | ".join(f"{a / area / len(ZOOMS):.3f}" for a in sums) + " |\n")


def print_times(store: Store, faces, background, settings) -> None:
    rng = np.random.default_rng(4)
    scene, _ = compose(faces, background, 120, 20, rng)
    pictures = [("250 x 250", faces[0][0])] + [
        (f"{w} x {h}", resize(scene, w, h)) for w, h in ((640, 480), (1280, 720), (1920, 1080), (4000, 3000))
    ]
    print("| picture | f32, ms | bf16, ms |\n|---:|---:|---:|")
    rows = {name: [] for name, _ in pictures}
    for precision in ("f32", "bf16"):
        detector = Detector(store, precision)(**settings)
        for name, picture in pictures:
            laps = []
            for _ in range(8 if picture.size > 10**7 else 40):
                start = time.process_time()  # of one thread: what it would take on a machine that does nothing else
                detector.detect([picture])
                laps.append(time.process_time() - start)
            rows[name].append(1e3 * min(laps))
    for name, laps in rows.items():
        print(f"| {name} | " + " | ".join(f"{lap:.1f}" for lap in laps) + " |")


if __name__ == "__main__":
    main()

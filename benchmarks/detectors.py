"""Compare detectors on LFW photos and on a photo of six people: faces found, false alarms and time.

    python benchmarks/detectors.py yunet haar ssd-mobilenet
    python benchmarks/detectors.py --set min_face=60 --photos 100 yunet
    python benchmarks/detectors.py --sizes --photos 20 yunet haar

Without names, all detectors that can be had are compared. LFW's photos were cut around the face that a detector of
2001 found: 250 pixels are 2.2 sides of its box, which therefore lies the same in every photo and is no detector's here.
A face is found where a box has its center within 35 px of that box's, and a side (the root of its area) of 0.5 to 1.5
times its 113.6 px. Any other box is unconfirmed if no other detector of the run has one there (IoU of 0.2), nor YuNet
at a score of 0.3: mostly false alarms, sometimes a face that one detector alone sees. Among the six people a face is
found where a box has an IoU of 0.3 with YuNet's. Times are CPU time of one thread, one photo at a time.

With --sizes, the share of central faces found of photos scaled so that the face has each height, in a gray picture of
1600 x 1200 pixels.

Photos are of people picked at random, one each; with --part tuning of others, for choosing settings. Needs
lfw-dev.zip, see CONTRIBUTING.md.
"""

from __future__ import annotations

import argparse
import ast
import time
from typing import Any

import cv2
import numpy as np
from lfw import Lfw

from visavis.detection import Detector, open_detector
from visavis.errors import VisavisError
from visavis.geometry import area, iou
from visavis.image import load_image, resize
from visavis.models.session import EngineOptions
from visavis.models.store import Store
from visavis.types import Faces, FloatArray, Image

CENTER, SIDE = 125.0, 250 / 2.2
SEED = 3
HEIGHTS = (20, 28, 40, 60, 100, 200, 400, 800)
WITNESS = {"score": 0.3, "min_face": 14.0}  # YuNet's settings where it confirms what others find


def pick(lfw: Any, count: int, part: str) -> list[Image]:
    """Return a photo each of ``count`` people; no one is in both parts."""
    people, firsts = np.unique(lfw.people, return_index=True)
    order = np.random.default_rng(SEED).permutation(len(people))
    return [load_image(lfw.read(firsts[i])) for i in (order[:count] if part == "report" else order[-count:])]


def is_central(boxes: FloatArray) -> np.ndarray:
    """Tell which boxes are of the face that an LFW photo was cut around."""
    near = np.abs((boxes[:, :2] + boxes[:, 2:]) / 2 - CENTER).max(axis=1, initial=0) <= 35
    sides = np.sqrt(area(boxes)) / SIDE
    return near & (sides >= 0.5) & (sides <= 1.5)


def scene(photo: Image, height: int) -> Image:
    """Return a picture with the photo in its middle, scaled so that its face has that height in pixels."""
    scaled = resize(photo, *(2 * [round(250 * height / SIDE)]))
    picture = np.full((1200, 1600, 3), 100, np.uint8)
    top, left = ((room - scaled.shape[0]) // 2 for room in picture.shape[:2])
    inside = scaled[max(-top, 0) : max(-top, 0) + 1200, max(-left, 0) : max(-left, 0) + 1600]
    picture[max(top, 0) :, max(left, 0) :][: inside.shape[0], : inside.shape[1]] = inside
    return picture


def sizes(detectors: dict[str, Detector], photos: list[Image]) -> None:
    """Print the share of faces found at each height."""
    print(f"| face height, px ({len(photos)} faces each) |", *(f"{height} |" for height in HEIGHTS))
    print("|---|" + "---:|" * len(HEIGHTS))
    for name, detector in detectors.items():
        shares = []
        for height in HEIGHTS:
            found = [detector.detect([scene(photo, height)])[0].boxes for photo in photos]
            back = [(boxes - np.tile([800, 600], 2)) / height * SIDE + CENTER for boxes in found]
            shares.append(np.mean([is_central(boxes).any() for boxes in back]))
        print(f"| {name} |", *(f"{share:.2f} |" for share in shares), flush=True)


def unconfirmed(found: dict[str, list[Faces]], name: str) -> int:
    """Count the boxes of one detector, but for central faces, where no other detector has one."""
    others = [other for other in found if other != name and not (name == "yunet" and other == "witness")]
    count = 0
    for i, faces in enumerate(found[name]):
        boxes = faces.boxes[~is_central(faces.boxes)]
        seen = np.concatenate([np.empty((0, 4), np.float32), *(found[other][i].boxes for other in others)])
        count += int((iou(boxes, seen).max(axis=1, initial=0) < 0.2).sum())
    return count


def timed(detector: Detector, images: list[Image]) -> tuple[list[Faces], float]:
    """Return the faces of each image, and CPU milliseconds an image."""
    detector.detect(images[:1])  # the first call compiles
    start = time.process_time()
    found = [detector.detect([image])[0] for image in images]
    return found, 1e3 * (time.process_time() - start) / len(images)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="DETECTOR")
    parser.add_argument("--photos", type=int, default=300)
    parser.add_argument("--part", choices=("report", "tuning"), default="report")
    parser.add_argument("--precision", default="f32")
    parser.add_argument("--sizes", action="store_true")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of all detectors")
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    store = Store()
    options = EngineOptions.choose(threads=1, precision=asked.precision)
    settings = {name: ast.literal_eval(value) for name, _, value in (text.partition("=") for text in asked.set)}
    names = asked.names or [card.id for card in store.cards().values() if card.task == "detection"]

    images = pick(Lfw.open(), asked.photos, asked.part)
    detectors = {}
    for name in names:
        try:
            detectors[name] = open_detector(name, store, options, **settings)
        except VisavisError as error:
            print(f"{name}: {error}")
    if asked.sizes:
        sizes(detectors, images)
        return
    six = load_image(store.path("six-people"))
    truth = open_detector("yunet", store, options).detect([six])[0]
    found = {"witness": open_detector("yunet", store, options, **WITNESS).detect(images)}
    rows = []
    for name, detector in detectors.items():
        found[name], ms = timed(detector, images)
        (group,), group_ms = timed(detector, [six])
        hits = int((iou(truth.boxes, group.boxes).max(axis=1, initial=0) >= 0.3).sum())
        rows.append((name, ms, hits, len(group) - hits, group_ms))
    print(f"| detector | central face found, of {len(images)} | unconfirmed | ms | of six people | more | ms |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name, ms, hits, more, group_ms in rows:
        central = sum(bool(is_central(faces.boxes).any()) for faces in found[name])
        print(f"| {name} | {central} | {unconfirmed(found, name)} | {ms:.1f} | {hits} | {more} | {group_ms:.0f} |")


if __name__ == "__main__":
    main()

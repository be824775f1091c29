"""What Soft-NMS gains where faces overlap: synthetic crowds of LFW faces, pasted one over another.

    python benchmarks/crowds.py [--pairs 50]     prints the tables of docs/detection.md, draws docs/images/soft-nms.png

A scene holds two faces of different people on a gray ground, one before the other; how far their boxes overlap is known
(their IoU). What is pasted is the truth: a face is an LFW photo's box by YuNet, with a fifth more
around it, cut out as an ellipse, so that the ground truth owes nothing to MTCNN. A box counts as a face where its IoU
with a true box is at least 0.5, each true box once; all others are false. Where soft suppression cuts (`cut`) is chosen
on scenes of one half of the people, by the best F1 over all overlaps, and measured on the other half.
"""

from __future__ import annotations

import argparse
import zipfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from contender import DATA
from PIL import Image, ImageDraw, ImageFont

from visavis.geometry import iou
from visavis.image import load_image
from visavis.pipeline import Analyzer

PICTURE = Path(__file__).resolve().parent.parent / "docs" / "images" / "soft-nms.png"
SLICES = ((0.0, 0.1), (0.1, 0.2), (0.2, 0.3), (0.3, 0.4), (0.4, 0.5), (0.5, 0.6))
CUTS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
SIDE = 420


@dataclass
class Scene:
    image: np.ndarray
    boxes: np.ndarray
    slice: int


def cutouts(count: int, seed: int) -> tuple[list[list], list[list]]:
    """Return faces of two halves of the people, a list a half: pixels, mask, and the face's box in them."""
    rng = np.random.default_rng(seed)
    finder = Analyzer(recognizer=None, threads=1, precision="f32")
    halves: tuple[list[list], list[list]] = ([], [])
    with zipfile.ZipFile(DATA / "lfw-dev.zip") as archive:
        by_person: dict[str, list[str]] = {}
        for name in sorted(archive.namelist()):
            if name.endswith(".jpg"):
                by_person.setdefault(name.split("/")[1], []).append(name)
        people = sorted(by_person)
        for k in rng.permutation(len(people)):
            half = halves[k % 2]
            if len(half) == count:
                continue
            image = load_image(archive.read(by_person[people[k]][0]))
            faces = finder.analyze(image)
            if len(faces) != 1:
                continue
            x1, y1, x2, y2 = faces.boxes[0]
            grow = 0.2 * np.array([x2 - x1, y2 - y1])
            low = np.floor(np.maximum(np.array([x1, y1]) - grow, 0)).astype(int)
            high = np.ceil(np.minimum(np.array([x2, y2]) + grow, 250)).astype(int)
            part = image[low[1] : high[1], low[0] : high[0]]
            mask = np.zeros(part.shape[:2], np.uint8)
            center = (part.shape[1] // 2, part.shape[0] // 2)
            cv2.ellipse(mask, center, center, 0, 0, 360, 255, -1, cv2.LINE_AA)
            half.append([part, mask, faces.boxes[0] - np.tile(low, 2)])
            if min(map(len, halves)) == count:
                break
    return halves


def paste(canvas: np.ndarray, face: list, height: float, x: float, y: float) -> np.ndarray:
    """Draw a face whose box is ``height`` high with its corner at x, y; return that box."""
    part, mask, box = face
    scale = height / (box[3] - box[1])
    size = (round(part.shape[1] * scale), round(part.shape[0] * scale))
    part, mask = (cv2.resize(a, size, interpolation=cv2.INTER_AREA) for a in (part, mask))
    left, top = round(x - box[0] * scale), round(y - box[1] * scale)
    y1, x1, y2, x2 = max(top, 0), max(left, 0), min(top + size[1], SIDE), min(left + size[0], SIDE)
    inside = (slice(y1 - top, y2 - top), slice(x1 - left, x2 - left))
    alpha = mask[inside][..., None] / 255
    canvas[y1:y2, x1:x2] = (part[inside] * alpha + canvas[y1:y2, x1:x2] * (1 - alpha)).astype(np.uint8)
    return box * scale + np.tile([left, top], 2)


def scene(faces: list[list], rng: np.random.Generator, low: float, high: float, index: int) -> Scene:
    """Return two faces whose boxes have an IoU between two values, the second over the first."""
    while True:
        canvas = np.full((SIDE, SIDE, 3), rng.integers(60, 190), np.uint8)
        a, b = rng.choice(len(faces), 2, replace=False)
        heights = rng.uniform(60, 110) * np.array([1, rng.uniform(0.75, 1.3)])
        angle, apart = rng.uniform(0, 2 * np.pi), rng.uniform(0.05, 1.3) * heights.mean()
        at = np.array([SIDE, SIDE]) / 2 - heights[0] / 2
        first = paste(canvas, faces[a], heights[0], *at)
        second = paste(canvas, faces[b], heights[1], *(at + apart * np.array([np.cos(angle), np.sin(angle)])))
        boxes = np.stack([first, second]).astype(np.float32)
        inside = boxes.min() >= 0 and boxes.max() <= SIDE
        if inside and low <= iou(boxes[:1], boxes[1:])[0, 0] < high:
            return Scene(canvas, boxes, index)


def scenes(faces: list[list], pairs: int, seed: int) -> list[Scene]:
    rng = np.random.default_rng(seed)
    return [scene(faces, rng, *limits, k) for k, limits in enumerate(SLICES) for _ in range(pairs)]


def judge(found: list, scenes: list[Scene], cut: float) -> np.ndarray:
    """Return for each scene how many true faces were found, and how many boxes are false, at a score."""
    rows = []
    for faces, truth in zip(found, scenes, strict=True):
        overlap = iou(truth.boxes, faces.boxes[faces.scores >= cut])
        hits = 0
        while overlap.size and overlap.max() >= 0.5:
            i, j = np.unravel_index(overlap.argmax(), overlap.shape)
            overlap[i], overlap[:, j] = 0, 0
            hits += 1
        rows.append((hits, int((faces.scores >= cut).sum()) - hits))
    return np.array(rows)


def f1(rows: np.ndarray) -> float:
    hits, false = rows.sum(axis=0)
    return 2 * hits / (hits + false + 2 * len(rows))


def interval(values: np.ndarray, per: np.ndarray, rng: np.random.Generator) -> tuple[float, float, float]:
    """Return a ratio of sums over scenes, with its 95 % interval by bootstrap over scenes."""
    draws = rng.integers(0, len(values), (1000, len(values)))
    ratios = values[draws].sum(axis=1) / np.maximum(per[draws].sum(axis=1), 1)
    return values.sum() / max(per.sum(), 1), *np.quantile(ratios, [0.025, 0.975])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--pairs", type=int, default=50, help="scenes of each overlap; half as many to choose the cut on"
    )
    options = parser.parse_args()
    halves = cutouts(300, seed=0)
    tune, test = scenes(halves[0], options.pairs // 2, 0), scenes(halves[1], options.pairs, 1)
    stages = {"last stage": ["hard", "hard"], "all stages": None}
    kinds: dict[str, dict] = {"hard (as published)": {}}
    for kind in ("soft-linear", "soft-gaussian"):
        for name, before in stages.items():
            nms = [*before, kind] if before else kind
            kinds[f"{kind}, {name}"] = {"nms": nms, "cut": [0.3, 0.3, min(CUTS)]}
    results, cuts = {}, {}
    for name, setting in kinds.items():
        detector = Analyzer("mtcnn", None, threads=1, precision="f32", detector_settings=setting)
        cuts[name] = 0.0
        if setting:
            found = detector.analyze([s.image for s in tune])
            cuts[name] = max(CUTS, key=lambda cut: f1(judge(found, tune, cut)))
        results[name] = judge(detector.analyze([s.image for s in test]), test, cuts[name])
        print(name, "cut", cuts[name], f"F1 {f1(results[name]):.4f}", flush=True)
    report(results, cuts, test)


def report(results: dict[str, np.ndarray], cuts: dict[str, float], test: list[Scene]) -> None:
    rng = np.random.default_rng(0)
    which = np.array([s.slice for s in test])
    two = np.full(len(test), 2)
    curves = {}
    print("\n| suppression | cut | " + " | ".join(f"IoU {a} to {b}" for a, b in SLICES) + " | all |")
    print("|---|--:|" + "---|" * (len(SLICES) + 1))
    for title in ("recall", "precision"):
        for name, rows in results.items():
            per = two if title == "recall" else rows.sum(axis=1)
            groups = [which == k for k in range(len(SLICES))] + [which >= 0]
            cells = [interval(rows[g, 0], per[g], rng) for g in groups]
            curves[title, name] = cells[:-1]
            texts = " | ".join(f"{v:.3f} ({a:.3f} to {b:.3f})" for v, a, b in cells)
            print(f"| {title}: {name} | {cuts[name] or '-'} | {texts} |")
    base = results["hard (as published)"]
    for name, rows in list(results.items())[1:]:
        draws = rng.integers(0, len(test), (2000, len(test)))
        gain = (rows[:, 0] - base[:, 0]) / 2
        low, high = np.quantile(gain[draws].mean(axis=1), [0.025, 0.975])
        print(f"{name}: recall {gain.mean():+.4f} ({low:+.4f} to {high:+.4f}) over hard, on the same scenes")
    draw(curves, list(results))


def draw(curves: dict, names: list[str]) -> None:
    """Plot recall and precision by overlap."""
    zoom, width, height, pad = 2, 460, 330, 60
    colors = ("#1b1b1b", "#c8102e", "#f08a24", "#1f5fbf", "#38a3a5")
    picture = Image.new("RGB", (2 * (width + pad) * zoom + 40 * zoom, (height + 150) * zoom), "white")
    pen = ImageDraw.Draw(picture)

    def font(size: int):
        return ImageFont.load_default(size * zoom)

    low = min(0.5, min(v[1] for cells in curves.values() for v in cells))
    low = np.floor(low * 10) / 10
    for panel, title in enumerate(("recall", "precision")):
        left, top = (pad + panel * (width + pad)) * zoom, 40 * zoom

        def x(k: int, shift: float = 0.0, left: int = left) -> float:
            return left + (k + 0.5) * width * zoom / len(SLICES) + shift * zoom

        def y(value: float, top: int = top) -> float:
            return top + (1 - (value - low) / (1 - low)) * height * zoom

        pen.text((left, top - 32 * zoom), title, "black", font(18))
        for tick in np.arange(low, 1.001, 0.1):
            pen.line([left, y(tick), left + width * zoom, y(tick)], "#dddddd", zoom)
            pen.text((left - 30 * zoom, y(tick) - 8 * zoom), f"{tick:.1f}", "#444444", font(12))
        for k, (a, b) in enumerate(SLICES):
            pen.text((x(k) - 28 * zoom, top + (height + 6) * zoom), f"{a} to {b}", "#444444", font(12))
        pen.text((left + 120 * zoom, top + (height + 26) * zoom), "IoU of the two faces' boxes", "#444444", font(13))
        for n, name in enumerate(names):
            cells, shift = curves[title, name], (n - 2) * 4
            pen.line([(x(k, shift), y(v[0])) for k, v in enumerate(cells)], colors[n], 2 * zoom)
            for k, (v, a, b) in enumerate(cells):
                pen.line([x(k, shift), y(a), x(k, shift), y(b)], colors[n], zoom)
                r = 3 * zoom
                pen.ellipse([x(k, shift) - r, y(v) - r, x(k, shift) + r, y(v) + r], colors[n])
    for n, name in enumerate(names):
        at = ((pad + (n % 3) * 330) * zoom, (height + 95 + 22 * (n // 3)) * zoom)
        pen.line([at[0], at[1] + 8 * zoom, at[0] + 24 * zoom, at[1] + 8 * zoom], colors[n], 3 * zoom)
        pen.text((at[0] + 32 * zoom, at[1]), name, "black", font(13))
    PICTURE.parent.mkdir(exist_ok=True)
    picture.save(PICTURE, optimize=True)


if __name__ == "__main__":
    main()

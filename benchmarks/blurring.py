"""What recognition still tells from covered faces: pairs of lfw-dev photos, one of each covered.

    python benchmarks/blurring.py [--people 300] [--cells 4 5 6 8 10 12 16]

Faces keep the landmarks they had before they were covered: whoever attacks knows where the eyes were. Of each number of
colors across a face: the share of pairs that are verified at FMR 1e-4, of a photo with itself before it was covered;
how often the right person of all comes first; how often where the attacker's photos are covered in the same way; and
in how many of 100 photos a face is still found, and verified then.
"""

from __future__ import annotations

import argparse
from collections import defaultdict

import numpy as np

from visavis.datasets.lfw import Lfw
from visavis.image import load_image
from visavis.pipeline import Analyzer
from visavis.recognition.compare import operating_point
from visavis.types import Faces, FloatArray, Image
from visavis.video.blurring import Method, cover

Shown = tuple[Image, Faces]
METHODS: tuple[Method, ...] = ("pixelate", "blur")


def pairs(analyzer: Analyzer, people: int) -> tuple[list[Shown], list[Shown]]:
    lfw, photos = Lfw.open(), defaultdict(list)
    for i, name in enumerate(lfw.photos):
        photos[str(name).rsplit("_", 1)[0]].append(i)
    several = [rows[:2] for rows in photos.values() if len(rows) > 1]
    found: tuple[list[Shown], list[Shown]] = ([], [])
    for k in np.random.default_rng(0).permutation(len(several))[:people]:
        images = [load_image(lfw.read(i)) for i in several[k]]
        both = analyzer.detect(images)
        if all(len(faces) for faces in both):
            for side, image, faces in zip(found, images, both, strict=True):
                i = int(np.abs(faces.boxes.reshape(-1, 2, 2).mean(axis=1) - 125).sum(axis=1).argmin())
                side.append((image, faces[i : i + 1]))
    return found


def embedded(analyzer: Analyzer, shown: list[Shown]) -> FloatArray:
    return np.concatenate([analyzer.embed(analyzer.crop(image, faces)).vectors for image, faces in shown])


def covered(shown: list[Shown], method: Method, cells: int) -> list[Shown]:
    done = []
    for image, faces in shown:
        image = image.copy()
        cover(image, faces.boxes[0], method, cells=cells)
        done.append((image, faces))
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=300)
    parser.add_argument("--cells", type=int, nargs="*", default=[4, 5, 6, 8, 10, 12, 16])
    options = parser.parse_args()
    analyzer = Analyzer(threads=1)
    threshold = operating_point(analyzer.calibration, fmr=1e-4, model=analyzer.calibrated_as).threshold
    probes, gallery = pairs(analyzer, options.people)
    own, known = embedded(analyzer, probes), embedded(analyzer, gallery)
    rows = np.arange(len(own))
    print("| | pairs verified | itself verified | right one first | first, gallery covered too | found | verified |")
    print("|---|---:|---:|---:|---:|---:|---:|")

    def line(name: str, shown: list[Shown], same: FloatArray) -> None:
        told = embedded(analyzer, shown)
        found = [analyzer.analyze(image) for image, _ in shown[:100]]
        verified = sum(
            faces.embeddings is not None and len(faces) > 0 and (faces.embeddings.vectors @ own[i]).max() >= threshold
            for i, faces in enumerate(found)
        )
        shares = [
            ((told * known).sum(axis=1) >= threshold).mean(),
            ((told * own).sum(axis=1) >= threshold).mean(),
            ((told @ known.T).argmax(axis=1) == rows).mean(),
            ((told @ same.T).argmax(axis=1) == rows).mean(),
        ]
        cells = " | ".join(f"{100 * share:.1f} %" for share in shares)
        print(f"| {name} | {cells} | {sum(len(faces) > 0 for faces in found)} | {verified} |", flush=True)

    line("not covered", probes, known)
    for method in METHODS:
        for cells in options.cells:
            same = embedded(analyzer, covered(gallery, method, cells))
            line(f"{method}, {cells} colors across", covered(probes, method, cells), same)


if __name__ == "__main__":
    main()

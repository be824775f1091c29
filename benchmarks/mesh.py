"""What a printed mesh costs a recognizer: mated pairs of LFW still found, one photo of each under a mesh.

    python benchmarks/mesh.py [--pairs N] [--recognizer NAME] [--data lfw-dev]

Crops are aligned on the clean photo, so that only recognition is measured, then laid under a mesh of each kind and
embedded again. Accepted is the share of mated pairs at the threshold of an FMR of 1e-4.
"""

from __future__ import annotations

import argparse
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from visavis.datasets.lfw import Lfw, central
from visavis.datasets.mesh import KINDS, apply, mesh_overlay, random_mesh, seed_of
from visavis.image import load_image
from visavis.pipeline import Analyzer
from visavis.recognition.compare import operating_point


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="lfw-dev")
    parser.add_argument("--pairs", type=int, default=500)
    parser.add_argument("--recognizer", default="sface")
    options = parser.parse_args()
    lfw = Lfw.open(options.data)
    analyzer = Analyzer(recognizer=options.recognizer, threads=1)
    pairs = lfw.view2()
    rows = np.random.default_rng(0).permutation(np.flatnonzero(pairs.mated))[: options.pairs]
    crops, vectors = [], []
    for a, b in pairs.photos[rows]:
        sides = []
        for photo in (a, b):
            image = load_image(lfw.read(int(photo)))
            sides.append((image, central(analyzer.analyze(image), image.shape[1], image.shape[0])))
        if all(len(faces) for _, faces in sides):
            crops.append((lfw.photos[a], analyzer.crop(*sides[0])[0]))
            vectors.append(sides[1][1].embeddings.vectors[0])
    partners = np.stack(vectors)
    threshold = operating_point(analyzer.calibration, fmr=1e-4).threshold
    print(f"{len(crops)} mated pairs, {options.recognizer}, threshold {threshold:.3f} (FMR 1e-4)\n")
    print("| one photo is | accepted | mean similarity | covered, mean |\n|---|---:|---:|---:|")
    for kind in (None, *KINDS):
        laid, covered = [], []
        for name, crop in crops:
            color, alpha = random_mesh(seed_of(name), (kind or "line",)).draw(len(crop))
            laid.append(apply(crop, color, alpha) if kind else crop)
            covered.append(float(alpha.mean()) if kind else 0.0)
        found = np.concatenate([analyzer.embed(np.stack(laid[i : i + 64])).vectors for i in range(0, len(laid), 64)])
        similar = (found * partners).sum(axis=1)
        name = f"under {kind}s" if kind else "clean"
        print(f"| {name} | {np.mean(similar >= threshold):.1%} | {similar.mean():.2f} | {np.mean(covered):.0%} |")
    start = time.perf_counter()
    for seed in range(200):
        mesh_overlay(112, seed)
    print(f"\n{(time.perf_counter() - start) / 200 * 1e3:.1f} ms a mesh of 112x112")


if __name__ == "__main__":
    main()

"""Measure how well faces are grouped to people, and what 100,000 faces take.

    python benchmarks/clustering.py                       choose on one half of lfw-dev's people, report on the other
    python benchmarks/clustering.py --embeddings FILE     the same, of embeddings kept before (see `Embedded.save`)
    python benchmarks/clustering.py --sweep               also every setting that was looked at, on the first half
    python benchmarks/clustering.py --time 100000         time and peak memory of so many made-up faces

People are dealt to two halves by a seed. Settings are looked at on the first half alone, the second is reported.
Average linkage takes the FMR of `visavis.clustering.fmr_for`, whose one number was chosen over parts of the first
half of five sizes; every other method the FMR that was best on the first half. Thresholds are those of the recognizer's
calibration. That table was measured on all of lfw-dev, the second half included: it says what a similarity is worth,
not which was best. Intervals are draws of people.

Faces for --time are made up from those of lfw-dev, as there is no album of that size here. A person is a draw of the
normal distribution that has the mean and covariance of the mean faces of lfw-dev's people, and has as many faces as one
of those by chance. A face is its person and the residual of a face of lfw-dev around its own person, drawn by chance.
The output says how much strangers, and faces of one person, resemble each other, and how much in lfw-dev.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from lfw import Lfw

from visavis.clustering import cluster, fmr_for
from visavis.evaluation.clustering import ClusterQuality, bcubed, cluster_quality
from visavis.models.cards import builtin_cards
from visavis.protocols.embedding import Embedded, embed_photos
from visavis.recognition.compare import fmr_at, threshold_at

SEED = 2026
FMRS = (1e-2, 1e-3, 5e-4, 2e-4, 1e-4, 5e-5, 2e-5, 1e-5, 5e-6, 2e-6, 1e-6)
MIN_SAMPLES = (2, 3, 5)
STRANGERS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1)  # of which `fmr_for` takes the best
PARTS = (0.01, 0.03, 0.1, 0.3, 1)  # of the people of the first half
DRAWS = 20  # of each part
CALIBRATION = builtin_cards()["sface"].calibrations["sface"]


def average(faces: np.ndarray, threshold: float) -> np.ndarray:
    return cluster(faces, threshold=threshold)


def dbscan(min_samples: int) -> Callable[[np.ndarray, float], np.ndarray]:
    return lambda faces, threshold: cluster(faces, threshold=threshold, method="dbscan", min_faces=min_samples)


def components(faces: np.ndarray, threshold: float) -> np.ndarray:
    """Return the connected components of all pairs that reach a threshold."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import connected_components

    return connected_components(csr_matrix(faces @ faces.T >= threshold))[1]


def hdbscan(min_samples: int) -> Callable[[np.ndarray, float], np.ndarray]:
    """Return scikit-learn's HDBSCAN, which takes no threshold, on all pairs."""
    from sklearn.cluster import HDBSCAN

    def grouped(faces: np.ndarray, _: float) -> np.ndarray:
        apart = np.clip(1 - faces.astype(np.float64) @ faces.T, 0, 2)
        made = HDBSCAN(min_cluster_size=2, min_samples=min_samples, metric="precomputed", copy=False)
        return made.fit(apart).labels_

    return grouped


def chinese_whispers(faces: np.ndarray, threshold: float) -> np.ndarray:
    """Return the groups of Chinese whispers (Biemann, TextGraphs 2006), 20 rounds: as dlib groups faces."""
    similar = faces @ faces.T
    near = [np.flatnonzero(row >= threshold) for row in similar]
    labels, rng = np.arange(len(faces)), np.random.default_rng(SEED)
    for _ in range(20):
        for i in rng.permutation(len(faces)):
            others = near[i][near[i] != i]
            if len(others):
                told, which = np.unique(labels[others], return_inverse=True)
                labels[i] = told[np.bincount(which, weights=similar[i, others]).argmax()]
    return labels


METHODS: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "average linkage": average,
    **{f"DBSCAN, {n} faces": dbscan(n) for n in MIN_SAMPLES},
    "connected components": components,
    "Chinese whispers": chinese_whispers,
    **{f"HDBSCAN, {n} samples": hdbscan(n) for n in (1, 2, 3, 5)},
}


def halves(people: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which photos are of the first and of the second half of the people."""
    names, number = np.unique(people, return_inverse=True)
    first = (np.random.default_rng(SEED).permutation(len(names)) < len(names) // 2)[number]
    return first, ~first


def quality(vectors: np.ndarray, people: np.ndarray, sweep: bool) -> None:
    first, second = halves(people)
    for name, part in (("first", first), ("second", second)):
        print(f"{name} half: {part.sum():,} photos of {len(np.unique(people[part])):,} people")
    sizes(vectors[first], people[first])
    chosen = {}
    for name, method in METHODS.items():
        rates = (1e-4,) if name.startswith("HDBSCAN") else FMRS
        found = []
        for fmr in rates:
            made = cluster_quality(method(vectors[first], threshold_at(CALIBRATION, fmr)), people[first], repeats=2)
            found.append((made.faces["f"].value, fmr))
            if sweep:
                print(_row(f"{name}, FMR {fmr:.0e}, first half", made))
        chosen[name] = fmr_for(int(second.sum())) if name == "average linkage" else max(found)[1]
    print("\n| method | FMR chosen | BCubed precision | recall | F | pairwise precision | recall | F | seconds |")
    print("|---|---:|---:|---:|---|---:|---:|---|---:|")
    for name, method in METHODS.items():
        start = time.perf_counter()
        labels = method(vectors[second], threshold_at(CALIBRATION, chosen[name]))
        seconds = time.perf_counter() - start
        rate = "none" if name.startswith("HDBSCAN") else f"{chosen[name]:.0e}"
        print(f"{_row(f'{name} | {rate}', cluster_quality(labels, people[second]))[:-1]}| {seconds:.1f} |")


def sizes(vectors: np.ndarray, people: np.ndarray) -> None:
    """Print how good average linkage is on parts of the people for each number of strangers, and at a fixed FMR."""
    names, rng = np.unique(people), np.random.default_rng(SEED)
    print("\nBCubed F of average linkage, first half, by how many strangers reach a face's threshold; at a fixed FMR")
    print("| faces | " + " | ".join(map(str, STRANGERS)) + " | FMR 1e-3 | FMR 1e-4 |\n" + "|---:" * 10 + "|")
    means = []
    for share in PARTS:
        rows = []
        for _ in range(DRAWS if share < 1 else 1):
            part = np.isin(people, rng.choice(names, int(share * len(names)), replace=False))
            n = int(part.sum())
            rates = [*(float(np.clip(c / n, CALIBRATION.fmr[-1], 1e-3)) for c in STRANGERS), 1e-3, 1e-4]
            found = [cluster(vectors[part], threshold=threshold_at(CALIBRATION, rate)) for rate in rates]
            rows.append([n, *(bcubed(labels, people[part]).f for labels in found)])
        n, *values = np.mean(rows, axis=0)
        means.append(values)
        print(f"| {n:.0f} | " + " | ".join(f"{value:.2%}" for value in values) + " |", flush=True)
    print("| mean | " + " | ".join(f"{value:.2%}" for value in np.mean(means, axis=0)) + " |")


def _row(title: str, found: ClusterQuality) -> str:
    cells = []
    for measure in (found.faces, found.pairs):
        f = measure["f"]
        cells += [f"{measure[part].value:.2%}" for part in ("precision", "recall")]
        cells.append(f"{f.value:.2%} ({f.low:.1%} to {f.high:.1%})")
    return f"| {title} | " + " | ".join(cells) + " |"


def made_up(vectors: np.ndarray, people: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return about ``number`` faces of the statistics of lfw-dev, and their people; see this file's head."""
    rng = np.random.default_rng(SEED)
    _, who, sizes = np.unique(people, return_inverse=True, return_counts=True)
    sums = np.zeros((len(sizes), vectors.shape[1]))
    np.add.at(sums, who, vectors)
    means = sums / sizes[:, None]
    several = sizes[who] >= 3
    # The mean of k faces takes a part of their spread with it: give it back.
    residuals = ((vectors - means[who]) * np.sqrt(sizes / np.maximum(sizes - 1, 1))[who, None])[several]
    centers = means[sizes >= 3]
    spread = np.cov(centers.T) - np.cov(residuals.T) * (1 / sizes[sizes >= 3]).mean()
    count = np.array([], np.intp)
    while count.sum() < number:
        count = np.append(count, rng.choice(sizes, 1000))
    count = count[: int(np.searchsorted(np.cumsum(count), number)) + 1]
    values, axes = np.linalg.eigh(spread)
    scaled = axes * np.sqrt(np.maximum(values, 0))
    drawn = centers.mean(axis=0) + rng.standard_normal((len(count), len(values))) @ scaled.T
    owner = np.repeat(np.arange(len(count)), count)[:number]
    out = np.empty((len(owner), vectors.shape[1]), np.float32)
    for start in range(0, len(owner), 4096):
        rows = owner[start : start + 4096]
        out[start : start + 4096] = drawn[rows] + residuals[rng.integers(0, len(residuals), len(rows))]
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    return out, owner


def _mated(rows: np.ndarray, who: np.ndarray) -> np.ndarray:
    """Return the similarity of faces that follow each other and are of one person."""
    return np.einsum("ij,ij->i", rows[:-1], rows[1:])[who[:-1] == who[1:]]


def timed(vectors: np.ndarray, people: np.ndarray, number: int, method: str) -> None:
    faces, owner = made_up(vectors, people, number)
    rng, strangers = np.random.default_rng(1), []
    for _ in range(40):  # in parts, so that the peak of memory is that of the clustering
        one, other = rng.integers(0, len(faces), (2, 50_000))
        strangers.append(np.einsum("ij,ij->i", faces[one], faces[other])[owner[one] != owner[other]])
    both = [_mated(rows[:20_000], who[:20_000]) for rows, who in ((faces, owner), (vectors, people))]
    at = np.array([threshold_at(CALIBRATION, rate) for rate in (1e-2, 1e-3, 1e-4)])
    made = ", ".join(f"{np.mean(np.concatenate(strangers) >= t):.1e}" for t in at)
    real = ", ".join(f"{rate:.1e}" for rate in fmr_at(CALIBRATION, at))
    print(f"{len(faces):,} made-up faces of {len(np.unique(owner)):,} people; pairs of strangers that reach the")
    print(
        f"thresholds of lfw-dev: {made} (there {real}); median similarity of a person's faces: "
        f"{np.median(both[0]):.3f} (there {np.median(both[1]):.3f})"
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    fmr = max(fmr_for(number, method), float(CALIBRATION.fmr[-1]))  # type: ignore[arg-type]
    start, busy = time.perf_counter(), time.process_time()
    labels = cluster(faces, threshold=threshold_at(CALIBRATION, fmr), method=method)  # type: ignore[arg-type]
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"{method}, FMR {fmr:.0e}: {seconds:.0f} s ({busy:.0f} s of CPU), peak memory {peak / 1024:.0f} MB "
        f"({before / 1024:.0f} MB before)"
    )
    print(_row("made up", cluster_quality(labels, owner, repeats=20)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--embeddings", type=Path)
    parser.add_argument("--sweep", action="store_true")
    parser.add_argument("--time", type=int, metavar="FACES")
    parser.add_argument("--method", default="average", choices=("average", "dbscan"))
    options = parser.parse_args()
    lfw = Lfw.open()
    if options.embeddings is None:
        from visavis import Analyzer

        embedded = embed_photos(lfw, Analyzer(precision="f32"), choose="central")
    else:
        embedded = Embedded.load(options.embeddings).at(lfw.photos)
    people = np.array(lfw.people)[embedded.found]
    vectors = embedded.vectors[embedded.found]
    if options.time:
        timed(vectors, people, options.time, options.method)
    else:
        quality(vectors, people, options.sweep)


if __name__ == "__main__":
    sys.exit(main())

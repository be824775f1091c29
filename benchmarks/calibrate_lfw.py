"""Measure recognizers' false match rates on all non-mated pairs of lfw-dev.

    python benchmarks/calibrate_lfw.py                         print SFace's tables of docs/calibration.md
    python benchmarks/calibrate_lfw.py dlib-resnet             those of another recognizer, or of several
    python benchmarks/calibrate_lfw.py dlib-resnet --write     also put them into src/visavis/models/calibrations.toml
    python benchmarks/calibrate_lfw.py --detector mtcnn        those of crops laid by MTCNN's landmarks

Each recognizer is measured plain and with ``flip``. Crops laid by the landmarks of another model than YuNet give other
rates, so they have tables of their own: ``sface@mtcnn``, and ``sface@face-mesh`` for detectors that find boxes alone,
measured with BlazeFace. The tables of those that were not asked for stay as they are.

f32, detectors at their defaults, the central face of each photo. Intervals: 95 %, percentiles of `REPEATS` seeded draws
of subjects, not of pairs: a person is in thousands of pairs, so pairs are not independent.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import numpy as np
from lfw import ROOT, Lfw, embeddings, ten_fold

from visavis import Analyzer, Embeddings
from visavis.evaluation.verification import pair_similarities

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

RATES = (
    0.9, 0.7, 0.5, 0.3, 0.2, 1e-1, 5e-2, 2e-2, 1e-2, 5e-3, 2e-3, 1e-3, 5e-4, 2e-4, 1e-4,
    5e-5, 2e-5, 1e-5, 5e-6, 2e-6, 1e-6,
)  # fmt: skip
REPEATS = 400
HEADER = "# Written by benchmarks/calibrate_lfw.py --write. A point is: similarity, FMR, 95 % interval of the FMR.\n"
TARGET = ROOT / "src" / "visavis" / "models" / "calibrations.toml"
ERRORS = Path(__file__).with_name("lfw_label_errors.toml")


class Pairs:
    """All pairs of photos, less those whose label is known to be wrong."""

    def __init__(self, photos: list[str], people: list[str], errors: dict[str, list[dict[str, object]]]) -> None:
        names, self.person = np.unique(people, return_inverse=True)
        self.subjects = len(names)
        number = {name: i for i, name in enumerate(names)}
        where = {photo: i for i, photo in enumerate(photos)}
        first, second = np.triu_indices(len(photos), 1)
        self.mated = self.person[first] == self.person[second]
        dropped = np.zeros(len(photos), bool)
        dropped[[where[str(row["photo"])] for row in errors.get("wrong_photo", []) if row["photo"] in where]] = True
        keep = ~(dropped[first] | dropped[second])
        for row in errors.get("same_person", []):
            a, b = (number.get(name, -1) for name in row["names"])  # type: ignore[attr-defined]
            keep &= ~(
                ((self.person[first] == a) & (self.person[second] == b))
                | ((self.person[first] == b) & (self.person[second] == a))
            )
        for row in errors.get("two_people", []):
            a, b = (where.get(photo, -1) for photo in row["photos"])  # type: ignore[attr-defined]
            keep &= ~((first == min(a, b)) & (second == max(a, b)))
        self.first, self.second, self.mated = first[keep], second[keep], self.mated[keep]

    def similarities(self, vectors: np.ndarray) -> np.ndarray:
        """Return the similarity of each pair, in blocks."""
        out = np.empty(len(self.first), np.float32)
        for start in range(0, len(out), 2**20):
            part = slice(start, start + 2**20)
            out[part] = np.einsum("ij,ij->i", vectors[self.first[part]], vectors[self.second[part]])
        return out


def thresholds(nonmated: np.ndarray) -> np.ndarray:
    """Return for each of `RATES` the least similarity that no more than that share of pairs reach."""
    ordered = np.sort(nonmated)[::-1]
    allowed = [int(rate * len(ordered)) for rate in RATES]
    # Just above the first pair that must not match, so that ties at it are refused.
    return np.array([np.nextafter(ordered[k], np.float32(2)) for k in allowed], np.float64)


def intervals(pairs: Pairs, similarity: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the 2.5th and 97.5th percentile of each threshold's false match rate over draws of subjects."""
    other = ~pairs.mated
    level = np.searchsorted(at, similarity[other], side="right")  # how many thresholds the pair reaches
    both = pairs.person[pairs.first[other]] * pairs.subjects + pairs.person[pairs.second[other]]
    rng = np.random.default_rng(2026)
    share = np.full(pairs.subjects, 1 / pairs.subjects)
    draws = np.array([rng.multinomial(pairs.subjects, share) for _ in range(REPEATS)], np.float64)
    order = np.argsort(level, kind="stable")
    ends = np.searchsorted(level[order], np.arange(len(at) + 2))
    # Pairs of each two people that reach a threshold, as a matrix: a draw weighs its rows and its columns.
    reach = np.zeros((pairs.subjects, pairs.subjects))
    weights = []
    for k in reversed(range(len(at) + 1)):
        reach += np.bincount(both[order[ends[k] : ends[k + 1]]], minlength=reach.size).reshape(reach.shape)
        weights.append(((draws @ reach) * draws).sum(axis=1))
    rates = np.array(weights[-2::-1]) / weights[-1]
    low, high = np.percentile(rates, [2.5, 97.5], axis=1)
    return low, high


def report(title: str, pairs: Pairs, vectors: np.ndarray, *, bootstrap: bool = True) -> list[list[float]]:
    """Print one table and return its points."""
    similarity = pairs.similarities(vectors)
    nonmated, mated = similarity[~pairs.mated], similarity[pairs.mated]
    at = thresholds(nonmated)
    low, high = intervals(pairs, similarity, at) if bootstrap else (np.zeros(len(at)),) * 2
    print(f"\n### {title}: {len(mated):,} mated, {len(nonmated):,} non-mated pairs of {pairs.subjects:,} people\n")
    print("| FMR | threshold | 95 % interval of the FMR | FNMR | FNMR, mean of people |\n|---:|---:|---|---:|---:|")
    person = pairs.person[pairs.first[pairs.mated]]
    count = np.bincount(person, minlength=pairs.subjects)
    points = []
    for rate, t, lo, hi in zip(RATES, at, low, high, strict=True):
        if rate <= 0.1:
            interval = f"{lo:.1e} to {hi:.1e}" if bootstrap else ""
            missed = np.bincount(person, weights=mated < t, minlength=pairs.subjects)[count > 0] / count[count > 0]
            print(f"| {rate:.0e} | {t:.4f} | {interval} | {np.mean(mated < t):.3%} | {missed.mean():.2%} |")
        points.append([round(float(t), 5), rate, float(f"{lo:.3g}"), float(f"{hi:.3g}")])
    return points


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recognizers", nargs="*", default=["sface"], help="card ids; default sface")
    parser.add_argument("--detector", default="yunet", help="whose boxes and landmarks lay the crops")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    lfw = Lfw.open()
    for name in options.recognizers:
        for flip in (False, True):
            variant, table = calibrate(lfw, name, flip, options.detector)
            if options.write:
                TARGET.write_text(with_table(TARGET.read_text("utf-8"), name, variant, table), "utf-8")
                print(f"\nwrote {variant} into {TARGET.relative_to(ROOT)}")


def calibrate(lfw: Lfw, name: str, flip: bool, detector: str) -> tuple[str, str]:
    """Print the tables of one variant of a recognizer, and return its name and the one that is kept, as TOML."""
    names, owners = lfw.photos, lfw.people
    known = tomllib.loads(ERRORS.read_text("utf-8"))
    analyzer = Analyzer(detector, name, precision="f32", flip=flip)
    found, kept = embeddings(lfw, analyzer)
    variant = analyzer.calibrated_as
    print(f"\n{variant}: a face in {len(kept):,} of {len(lfw.members):,} photos")
    accuracy = _view2(lfw, found, kept)
    error = accuracy.std(ddof=1) / len(accuracy) ** 0.5
    print(f"10-fold accuracy on the 3,000 pairs: {accuracy.mean():.3%}, standard error {error:.3%}")
    photos = [names[i] for i in kept]
    people = [owners[i] for i in kept]
    report(f"{variant}, labels as they are", Pairs(photos, people, {}), found.vectors, bootstrap=False)
    pairs = Pairs(photos, people, known)
    points = report(f"{variant}, label errors left out", pairs, found.vectors)
    return variant, "".join(
        [
            f'\n[{name}."{variant}"]\ndata = "lfw-dev"\n',
            'note = "half of LFW, all pairs, label errors left out; see docs/calibration.md"\n',
            f"mated_pairs = {int(pairs.mated.sum())}\nnonmated_pairs = {int((~pairs.mated).sum())}\n",
            "points = [\n" + "".join(f"    {point},\n" for point in points) + "]\n",
        ]
    )


def with_table(text: str, name: str, variant: str, table: str) -> str:
    """Return the file's text with the table of a variant put in, in place of the one it had."""
    head, *others = re.split(r"(?m)^(?=\n\[)", text)
    mine = [i for i, other in enumerate(others) if other.startswith(f'\n[{name}."{variant}"]')]
    at = (
        mine[0]
        if mine
        else 1 + max((i for i, o in enumerate(others) if o.startswith(f"\n[{name}.")), default=len(others))
    )
    return "".join([head or HEADER, *others[:at], table, *others[at + len(mine) :]])


def _view2(lfw: Lfw, found: Embeddings, kept: np.ndarray) -> np.ndarray:
    pairs, mated, fold = lfw.pairs()
    vectors = np.zeros((len(lfw.members), found.dimension), np.float32)
    vectors[kept] = found.vectors
    there = np.isin(np.arange(len(vectors)), kept)  # a photo without a face matches nobody
    return ten_fold(pair_similarities(vectors, pairs, there), mated, fold)


if __name__ == "__main__":
    main()

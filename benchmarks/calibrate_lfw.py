"""Measure recognizers' false match rates on all non-mated pairs of lfw-dev.

    python benchmarks/calibrate_lfw.py                         print SFace's tables of docs/calibration.md
    python benchmarks/calibrate_lfw.py dlib-resnet             those of another recognizer, or of several
    python benchmarks/calibrate_lfw.py dlib-resnet --write     also put them into src/visavis/models/calibrations.toml
    python benchmarks/calibrate_lfw.py --detector mtcnn        those of crops laid by MTCNN's landmarks

Each recognizer is measured plain and with ``flip``. Crops laid by the landmarks of another model than YuNet give other
rates, so they have tables of their own: ``sface@mtcnn``, and ``sface@face-mesh`` for detectors that find boxes alone,
measured with BlazeFace. The tables of those that were not asked for stay as they are.

f32, detectors at their defaults, the central face of each photo. What is measured, and how, is
`visavis.evaluation.calibration`, which `visavis calibrate` runs on anybody's own photos.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import numpy as np
from lfw import ROOT, Lfw, embeddings, ten_fold

from visavis import Analyzer, Embeddings
from visavis.evaluation.calibration import Measured, measure
from visavis.evaluation.verification import pair_similarities

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HEADER = "# Written by benchmarks/calibrate_lfw.py --write. A point is: similarity, FMR, 95 % interval of the FMR.\n"
TARGET = ROOT / "src" / "visavis" / "models" / "calibrations.toml"
ERRORS = Path(__file__).with_name("lfw_label_errors.toml")


def wrong_photos(photos: np.ndarray, errors: dict[str, list[dict[str, object]]]) -> np.ndarray:
    """Return which photos show somebody else: they are left out of all pairs."""
    return np.isin(photos, [str(row["photo"]) for row in errors["wrong_photo"]])


def wrong_pairs(
    photos: np.ndarray, people: np.ndarray, errors: dict[str, list[dict[str, object]]]
) -> list[tuple[int, int]]:
    """Return the rows of pairs to leave out: of one person under two names, and of two people under one."""
    pairs: list[tuple[int, int]] = []
    for row in errors["same_person"]:
        a, b = (np.flatnonzero(people == name).tolist() for name in row["names"])  # type: ignore[attr-defined]
        pairs += [(i, j) for i in a for j in b]
    where = {str(photo): i for i, photo in enumerate(photos)}
    for row in errors["two_people"]:
        first, second = (where.get(photo) for photo in row["photos"])  # type: ignore[attr-defined]
        pairs += [] if first is None or second is None else [(first, second)]
    return pairs


def report(title: str, found: Measured, subjects: int) -> list[list[float]]:
    """Print one table and return its points."""
    pairs = f"{found.mated_pairs:,} mated, {found.nonmated_pairs:,} non-mated pairs of {subjects:,} people"
    print(f"\n### {title}: {pairs}\n")
    print("| FMR | threshold | 95 % interval of the FMR | FNMR | FNMR, mean of people |\n|---:|---:|---|---:|---:|")
    for point in found.points:
        if point.fmr <= 0.1:
            interval = f"{point.low:.1e} to {point.high:.1e}"
            print(
                f"| {point.fmr:.0e} | {point.threshold:.4f} | {interval} | {point.fnmr:.3%} | {point.fnmr_people:.2%} |"
            )
    return [[round(p.threshold, 5), p.fmr, float(f"{p.low:.3g}"), float(f"{p.high:.3g}")] for p in found.points]


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
    photos, people = np.array(names)[kept], np.array(owners)[kept]
    subjects, number = np.unique(people, return_inverse=True)
    report(f"{variant}, labels as they are", measure(found.vectors, number), len(subjects))
    right = ~wrong_photos(photos, known)
    cleaned = measure(found.vectors[right], number[right], excluded=wrong_pairs(photos[right], people[right], known))
    points = report(f"{variant}, label errors left out", cleaned, len(subjects))
    return variant, "".join(
        [
            f'\n[{name}."{variant}"]\ndata = "lfw-dev"\n',
            'note = "half of LFW, all pairs, label errors left out; see docs/calibration.md"\n',
            f"mated_pairs = {cleaned.mated_pairs}\nnonmated_pairs = {cleaned.nonmated_pairs}\n",
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

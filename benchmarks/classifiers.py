"""Compare gallery search, kNN and SVMs at naming faces, some of them of strangers, on lfw-dev.

    python benchmarks/classifiers.py              the tables of docs/classification.md
    python benchmarks/classifiers.py --splits 2   quicker

Each split draws people with photos enough, trains on some photos of each and probes with up to 10 others; everybody
else is a stranger, with up to 3 photos. Everything learnt (machines, thresholds, probabilities) comes from the training
photos alone, so strangers are people that no part of it has seen. SFace f32, YuNet, the central face; photos whose
label is known to be wrong are left out, and people under two names are one (lfw_label_errors.toml). Times are CPU
seconds; set OMP_NUM_THREADS=1 for those of one thread.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lfw import ROOT, Lfw, embeddings

from visavis import Analyzer, Embeddings, open_gallery
from visavis.classification import Classifier
from visavis.recognition.compare import CalibrationWarning

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CACHE = ROOT / "benchmarks" / ".cache" / "classifiers-sface.npz"
ERRORS = Path(__file__).with_name("lfw_label_errors.toml")
FPIR = 0.01
PROBES, STRANGER_PHOTOS = 10, 3
PROTOCOLS = ((1, 400), (2, 200), (4, 20), (4, 100), (10, 30))  # training photos a person, people
METHODS = ("gallery", "knn", "svm", "rbf")


@dataclass(frozen=True)
class Answers:
    """What a contender says of faces: the first person, the similarity with them, whether it names them."""

    best: np.ndarray
    similarity: np.ndarray
    known: np.ndarray
    probability: np.ndarray | None = None
    score: np.ndarray | None = None


@dataclass(frozen=True)
class Outcome:
    """A contender's figures on one split."""

    rank1: float
    tpir_at: float
    threshold: float
    rule: str
    tpir: float
    fpir: float
    train_s: float
    predict_ms: float
    tpir_by_score: float = np.nan
    brier: float = np.nan
    calibration_error: float = np.nan


def load() -> tuple[Embeddings, np.ndarray]:
    """Return an embedding a photo and its person, from the cache where there is one."""
    if not CACHE.is_file():
        lfw = Lfw.open()
        found, kept = embeddings(lfw, Analyzer(precision="f32"))
        CACHE.parent.mkdir(exist_ok=True)
        np.savez(CACHE, vectors=found.vectors, people=np.array(lfw.people)[kept], photos=np.array(lfw.photos)[kept])
    with np.load(CACHE) as cached:
        vectors, people, photos = cached["vectors"], cached["people"], cached["photos"]
    known = tomllib.loads(ERRORS.read_text("utf-8"))
    wrong = np.isin(photos, [row["photo"] for row in known["wrong_photo"]])
    for row in known["same_person"]:
        people = np.where(np.isin(people, row["names"]), row["names"][0], people)
    return Embeddings(vectors[~wrong], "sface"), people[~wrong]


def gallery(templates: Embeddings, names: list[str], probes: list[Embeddings]) -> tuple[list[Answers], float, float]:
    """Enroll and identify by the gallery's own rule, at its stated FPIR."""
    with tempfile.TemporaryDirectory() as folder, open_gallery(Path(folder) / "people.db") as opened:
        start = time.process_time()
        for name in dict.fromkeys(names):
            opened.enroll(name, templates[np.array(names) == name])
        trained = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CalibrationWarning)
            found = [opened.identify(part, top=1, fpir=FPIR) for part in probes]
        done = time.process_time()
    answers = [
        Answers(np.array([row[0] for row in one.subjects]), one.similarities[:, 0].astype(float), one.counts > 0)
        for one in found
    ]
    return answers, trained - start, done - trained


def outcome(
    method: str, train: tuple[Embeddings, list[str]], mated: tuple[Embeddings, np.ndarray], strangers: Embeddings
) -> Outcome:
    """Train one contender and measure it."""
    templates, names = train
    probes, truth = mated
    if method == "gallery":
        (known, others), trained, predicted = gallery(templates, names, [probes, strangers])
        rule, threshold = "calibration", np.nan
    else:
        start = time.process_time()
        classifier = Classifier.train(templates, names, method=method, fpir=FPIR)
        trained = time.process_time() - start
        start = time.process_time()
        both = [classifier.predict(part) for part in (probes, strangers)]
        predicted = time.process_time() - start
        known, others = (
            Answers(
                np.array(one.people)[one.best],
                one.similarities,
                one.known,
                one.probabilities.max(axis=1),
                one.scores.max(axis=1),
            )
            for one in both
        )
        rule, threshold = classifier.reject.rule, classifier.reject.threshold
    right = known.best == truth
    brier, error = np.nan, np.nan
    if known.probability is not None and np.isfinite(known.probability).all():
        brier, error = reliability(known.probability, right, others.probability)
    return Outcome(
        rank1=right.mean(),
        tpir_at=tpir_at(right, known.similarity, others.similarity),
        tpir_by_score=np.nan if method in ("gallery", "knn") else tpir_at(right, known.score, others.score),
        threshold=threshold,
        rule=rule,
        tpir=(right & known.known).mean(),
        fpir=others.known.mean(),
        train_s=trained,
        predict_ms=1e3 * predicted / (len(probes) + len(strangers)),
        brier=brier,
        calibration_error=error,
    )


def tpir_at(right: np.ndarray, mated: np.ndarray, strangers: np.ndarray) -> float:
    """Return the TPIR at the threshold that lets just `FPIR` of the strangers through."""
    threshold = np.sort(strangers)[::-1][int(FPIR * len(strangers))]  # the first that must not pass
    return float((right & (mated > threshold)).mean())


def reliability(mated: np.ndarray, right: np.ndarray, strangers: np.ndarray) -> tuple[float, float]:
    """Return the Brier score and the expected calibration error (10 bins), strangers weighing half."""
    p = np.concatenate([mated, strangers])
    hit = np.concatenate([right, np.zeros(len(strangers), bool)])
    weight = np.concatenate([np.full(len(mated), 0.5 / len(mated)), np.full(len(strangers), 0.5 / len(strangers))])
    bins = np.minimum((p * 10).astype(int), 9)
    gap = np.bincount(bins, weight * (p - hit), minlength=10)
    return float(weight @ (p - hit) ** 2), float(np.abs(gap).sum())


def split(people: np.ndarray, photos: int, number: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw rows to train on, to probe with, and of strangers."""
    rng = np.random.default_rng([seed, photos, number])
    names, counts = np.unique(people, return_counts=True)
    chosen = rng.permutation(names[counts > photos])[:number]
    train, probes, strangers = [], [], []
    for name in names:
        rows = rng.permutation(np.flatnonzero(people == name))
        if name in chosen:
            train.append(rows[:photos])
            probes.append(rows[photos : photos + PROBES])
        else:
            strangers.append(rows[:STRANGER_PHOTOS])
    return np.concatenate(train), np.concatenate(probes), np.concatenate(strangers)


def spread(values: list[float]) -> str:
    """Return the mean of splits and the interval that holds 95 % of them."""
    low, high = np.percentile(values, [2.5, 97.5])
    return f"{100 * np.mean(values):.2f} ({100 * low:.2f} to {100 * high:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, default=10)
    splits = parser.parse_args().splits
    found, people = load()
    results: dict[tuple[int, int, str], list[Outcome]] = {}
    for photos, number in PROTOCOLS:
        for seed in range(splits):
            rows, probes, strangers = split(people, photos, number, seed)
            data = (found[rows], people[rows].tolist()), (found[probes], people[probes]), found[strangers]
            for method in METHODS:
                results.setdefault((photos, number, method), []).append(outcome(method, *data))
        print(f"{photos} photos of {number} people, last split: {len(probes)} mated probes,", end=" ", file=sys.stderr)
        print(f"{len(strangers)} of strangers", file=sys.stderr)
    print(f"Means of {splits} splits, in brackets the interval that holds 95 % of them; rates in %.\n")
    print("| photos, people | method | right name first | TPIR at FPIR 1 % | gain on the gallery | by the margin |")
    print("|---|---|---|---|---|---|")
    for (photos, number, method), done in results.items():
        base = results[photos, number, "gallery"]
        gain = spread([a.tpir_at - b.tpir_at for a, b in zip(done, base, strict=True)]) if method != "gallery" else ""
        margin = [one.tpir_by_score for one in done]
        own = spread(margin) if np.isfinite(margin).all() else ""
        cells = (spread([one.rank1 for one in done]), spread([one.tpir_at for one in done]), gain, own)
        print(f"| {photos}, {number} | {method} | {' | '.join(cells)} |")
    print("\n| photos, people | method | rule | FPIR, 1 % wanted | TPIR |\n|---|---|---|---|---|")
    for (photos, number, method), done in results.items():
        cells = (done[0].rule, spread([one.fpir for one in done]), spread([one.tpir for one in done]))
        print(f"| {photos}, {number} | {method} | {' | '.join(cells)} |")
    print("\n| photos, people | method | Brier score | calibration error, % | training, CPU s | a face, CPU ms |")
    print("|---|---|---:|---:|---:|---:|")
    for (photos, number, method), done in results.items():
        brier, error = np.mean([one.brier for one in done]), np.mean([one.calibration_error for one in done])
        told = f"{brier:.4f} | {100 * error:.2f}" if np.isfinite(brier) else " | "
        trained, predicted = (np.median([getattr(one, name) for one in done]) for name in ("train_s", "predict_ms"))
        print(f"| {photos}, {number} | {method} | {told} | {trained:.2f} | {predicted:.3f} |")


if __name__ == "__main__":
    main()

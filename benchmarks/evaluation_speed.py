"""Speed and memory of evaluation: ten folds of LFW's size, and all against all.

    python benchmarks/evaluation_speed.py                      # the table, as Markdown
    python benchmarks/evaluation_speed.py --json               # the figures
    python benchmarks/evaluation_speed.py --photos 4000        # smaller

Embeddings are drawn at random, people about as alike as SFace finds them; time and memory don't depend on whose they
are. Each row runs in a process of its own, from embeddings in memory to rates; beside visavis stands what people write
with NumPy and scikit-learn. visavis also gives intervals by a bootstrap over subjects (400 draws), the other way none.
scikit-learn's roc_curve of all pairs of 20,000 photos takes more than 10 GB, so that it is given fewer photos
(--peer-photos); rates are compared there.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

DIMENSION = 128
FARS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
LFW_PHOTOS, LFW_PEOPLE, FOLDS, EACH = 13_233, 5_749, 10, 300


class Watch:
    """Seconds by the clock and of all cores together: the latter hold on a busy machine too."""

    def __init__(self) -> None:
        self._clock, self._cpu = time.perf_counter(), time.process_time()

    def took(self) -> dict[str, float]:
        return {"seconds": time.perf_counter() - self._clock, "cpu_s": time.process_time() - self._cpu}


def photos_of_people(photos: int, people: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    owner = np.sort(np.concatenate([np.arange(people), rng.integers(0, people, photos - people)]))
    vectors = rng.standard_normal((people, DIMENSION), dtype=np.float32)[owner]
    vectors += 0.75 * rng.standard_normal((photos, DIMENSION), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), owner


def lfw_pairs(owner: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return pairs as View 2 has them: ten folds of people, 300 mated and 300 non-mated pairs each."""
    rng = np.random.default_rng(seed)
    fold_of = rng.integers(0, FOLDS, owner.max() + 1)
    pairs, mated = [], []
    for fold in range(FOLDS):
        inside = np.flatnonzero(fold_of[owner] == fold)
        drawn = inside[rng.integers(0, len(inside), (200_000, 2))]
        drawn = drawn[drawn[:, 0] != drawn[:, 1]]
        same = owner[drawn[:, 0]] == owner[drawn[:, 1]]
        first = inside[:-1][owner[inside[:-1]] == owner[inside[1:]]]
        twins = np.stack([first, first + 1], axis=1)[:EACH]
        pairs += [twins, drawn[~same][: 2 * EACH - len(twins)]]
        mated += [np.ones(len(twins), bool), np.zeros(2 * EACH - len(twins), bool)]
    return np.concatenate(pairs), np.concatenate(mated), np.repeat(np.arange(FOLDS), 2 * EACH)


def ours_ten_fold(vectors: np.ndarray, owner: np.ndarray) -> dict[str, Any]:
    from visavis.evaluation.rates import Scores, evaluate_scores
    from visavis.evaluation.verification import pair_similarities

    pairs, mated, folds = lfw_pairs(owner)
    watch = Watch()
    similarities = pair_similarities(vectors, pairs)
    result = evaluate_scores(Scores(similarities, mated, owner[pairs], folds=folds))
    took = watch.took()
    assert result.accuracy is not None
    return {**took, "pairs": len(pairs), "accuracy": result.accuracy.mean, "auc": result.auc.value}


def peers_ten_fold(vectors: np.ndarray, owner: np.ndarray) -> dict[str, Any]:
    """Try 400 thresholds a fold, as evaluation scripts of face recognition have done since FaceNet's."""
    from sklearn.metrics import roc_auc_score, roc_curve

    pairs, mated, folds = lfw_pairs(owner)
    watch = Watch()
    apart = np.square(vectors[pairs[:, 0]] - vectors[pairs[:, 1]]).sum(axis=1)
    tried = np.arange(0, 4, 0.01)
    shares = []
    for fold in range(FOLDS):
        train, test = folds != fold, folds == fold
        right = [((apart[train] < t) == mated[train]).mean() for t in tried]
        shares.append(((apart[test] < tried[np.argmax(right)]) == mated[test]).mean())
    roc_curve(mated, -apart)
    auc = roc_auc_score(mated, -apart)
    took = watch.took()
    return {**took, "pairs": len(pairs), "accuracy": float(np.mean(shares)), "auc": float(auc)}


def ours_all_pairs(vectors: np.ndarray, owner: np.ndarray) -> dict[str, Any]:
    from visavis.evaluation.all_pairs import evaluate_all_pairs

    watch = Watch()
    result = evaluate_all_pairs(vectors, owner, FARS)
    took = watch.took()
    tar = {f"{rate.far:g}": rate.tar.value for rate in result.rates if rate.tar is not None}
    pairs = result.mated + result.nonmated
    return {**took, "pairs": pairs, "tar": tar, "auc": result.auc.value, "eer": result.eer.value}


def peers_all_pairs(vectors: np.ndarray, owner: np.ndarray) -> dict[str, Any]:
    from sklearn.metrics import auc, roc_curve

    watch = Watch()
    i, j = np.triu_indices(len(owner), 1)
    similarities = (vectors @ vectors.T)[i, j]
    fpr, tpr, _ = roc_curve(owner[i] == owner[j], similarities, drop_intermediate=False)
    nonmated = int((owner[i] != owner[j]).sum())
    tar = {
        f"{far:g}": float(tpr[np.searchsorted(fpr, far + 1e-12, "right") - 1]) for far in FARS if far * nonmated >= 3
    }
    eer = float(fpr[np.argmin(np.abs(fpr - 1 + tpr))])
    took = watch.took()
    return {**took, "pairs": len(i), "tar": tar, "auc": float(auc(fpr, tpr)), "eer": eer}


PARTS = {one.__name__: one for one in (ours_ten_fold, peers_ten_fold, ours_all_pairs, peers_all_pairs)}


def peak_mb() -> float | None:
    """Return the most memory this process held, in units of 10**6 bytes."""
    try:
        lines = Path("/proc/self/status").read_text("ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024 / 1e6
    except (OSError, StopIteration):
        return None  # only Linux says it


def in_own_process(part: str, photos: int, people: int, threads: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--part", part, "--photos", str(photos), "--people", str(people)]
    pinned = {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
    done = subprocess.run(command, env={**os.environ, **pinned}, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=20_000)
    parser.add_argument("--people", type=int)
    parser.add_argument("--peer-photos", type=int, default=6_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    people = options.people or max(options.photos // 5, 2)
    if options.part:
        found = PARTS[options.part](*photos_of_people(options.photos, people))
        print(json.dumps({**found, "peak_mb": peak_mb()}))
        return
    few = min(options.peer_photos, options.photos)
    rows = []
    for title, part, photos, of in (
        ("ten folds, visavis", "ours_ten_fold", LFW_PHOTOS, LFW_PEOPLE),
        ("ten folds, NumPy and scikit-learn", "peers_ten_fold", LFW_PHOTOS, LFW_PEOPLE),
        ("all against all, visavis", "ours_all_pairs", options.photos, people),
        ("all against all, visavis", "ours_all_pairs", few, max(few // 5, 2)),
        ("all against all, NumPy and scikit-learn", "peers_all_pairs", few, max(few // 5, 2)),
    ):
        print(f"{title}, {photos:,} photos", file=sys.stderr)
        rows.append({"what": title, "photos": photos, **in_own_process(part, photos, of, options.threads)})
    small, peer = rows[3], rows[4]
    agree = max(abs(small["tar"][far] - peer["tar"][far]) for far in small["tar"])
    if options.json:
        print(json.dumps({"threads": options.threads, "rows": rows, "tar_apart": agree}))
        return
    print("| | photos | pairs | seconds | CPU s | peak MB |\n|---|--:|--:|--:|--:|--:|")
    for row in rows:
        peak = "" if row["peak_mb"] is None else f"{row['peak_mb']:,.0f}"
        took = f"{row['seconds']:.2f} | {row['cpu_s']:.2f}"
        print(f"| {row['what']} | {row['photos']:,} | {row['pairs']:,} | {took} | {peak} |")
    print(f"\n{options.threads} threads. TAR of the last two rows lies apart by {agree:.1e} at most.")


if __name__ == "__main__":
    main()

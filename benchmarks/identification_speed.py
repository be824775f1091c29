"""Identification rates: probes searched in a gallery and among up to a million distractors, time and memory.

    python benchmarks/identification_speed.py                # the table, as Markdown
    python benchmarks/identification_speed.py --largest 10000 --probes 200
    python benchmarks/identification_speed.py --pairs 15658489      # IJB-C's 1:1, without the photos

Vectors are random: only their number matters here. Distractors, against which the mated half of the probes is ranked,
lie in a file that is memory-mapped, as those that are brought along do. Each row runs in a process of its own; memory
(Linux) is what it held at most beyond what it held before the search, without the mapped file, whose pages the system
may drop at any time. Beside it stands what the whole matrix of similarities would take. Run it with OMP_NUM_THREADS=1
and OPENBLAS_NUM_THREADS=1: NumPy's own threads can't be set once it is loaded.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from visavis.evaluation.identification import closed_set, open_set
from visavis.evaluation.rates import Scores, evaluate_scores
from visavis.evaluation.searching import against_distractors, search

DIMENSION = 128


def people(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Return random directions."""
    vectors = rng.standard_normal((rows, DIMENSION), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def write_distractors(path: Path, rows: int) -> None:
    """Write random vectors in parts."""
    rng = np.random.default_rng(1)
    target = np.lib.format.open_memmap(path, "w+", np.float32, (rows, DIMENSION))
    for start in range(0, rows, 50_000):
        target[start : start + 50_000] = people(rng, len(target[start : start + 50_000]))
    target.flush()


class Memory:
    """Samples the memory of this process that is no file's, every ten milliseconds, in a thread of its own."""

    def __init__(self) -> None:
        self._before = self._highest = self._held()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    @property
    def extra_mb(self) -> float:
        """What was held at most beyond what was held before."""
        return (self._highest - self._before) / 1024

    def _watch(self) -> None:
        while not self._done.wait(0.01):
            self._highest = max(self._highest, self._held())

    def _held(self) -> int:
        lines = Path("/proc/self/status").read_text("ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))


def measure(job: dict[str, object]) -> dict[str, object]:
    """Run one row, in this process."""
    rng = np.random.default_rng(0)
    probes, gallery = int(str(job["probes"])), int(str(job["gallery"]))
    enrolled = people(rng, gallery)
    persons = np.concatenate([rng.integers(0, gallery, probes // 2), gallery + np.arange(probes - probes // 2)])
    mated = 0.75 * enrolled[persons[: probes // 2]] + 0.6 * people(rng, probes // 2)
    looked = np.concatenate([mated, people(rng, probes - probes // 2)])
    looked = (looked / np.linalg.norm(looked, axis=1, keepdims=True)).astype(np.float32)
    ranked = None
    with Memory() as memory:
        start = time.perf_counter()
        found = search(looked, persons, enrolled, np.arange(gallery))
        searched = time.perf_counter() - start
        start = time.perf_counter()
        closed_set(found.ranks, found.subjects, found.size)
        open_set(found)
        rates = time.perf_counter() - start
        if job["distractors"]:
            start = time.perf_counter()
            against_distractors(found, looked, np.load(str(job["distractors"]), mmap_mode="r"))
            ranked = time.perf_counter() - start
    return {**job, "search_s": searched, "rates_s": rates, "distractors_s": ranked, "extra_mb": memory.extra_mb}


def measure_pairs(pairs: int) -> dict[str, object]:
    """Measure verification on random similarities of so many pairs: as many subjects and mated ones as in IJB-C."""
    rng = np.random.default_rng(0)
    people, mated = 3531, np.arange(pairs) < pairs // 800
    similarities = rng.normal(np.where(mated, 0.6, 0), 0.1)
    first = rng.integers(0, people, pairs)
    second = np.where(mated, first, (first + rng.integers(1, people, pairs)) % people)
    with Memory() as memory:
        start = time.perf_counter()
        evaluate_scores(Scores(similarities, mated, np.stack([first, second], axis=1)))
        seconds = time.perf_counter() - start
    return {"pairs": pairs, "seconds": seconds, "extra_mb": memory.extra_mb}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--largest", type=int, default=1_000_000, help="distractors, and templates of the gallery")
    parser.add_argument("--probes", type=int, default=4000)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    parser.add_argument("--pairs", type=int, help="instead: measure verification 1:1 on so many random pairs")
    options = parser.parse_args()
    if options.pairs:
        row = measure_pairs(options.pairs)
        print(json.dumps(row) if options.json else "{pairs:,} pairs: {seconds:.1f} s, {extra_mb:.0f} MB".format(**row))
        return
    if options.job:
        print(json.dumps(measure(json.loads(options.job))))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "distractors.npy"
        write_distractors(file, options.largest)
        small = max(options.largest // 100, 10)
        for gallery, distractors in ((small, file), (options.largest, None)):
            job = {"probes": options.probes, "gallery": gallery, "distractors": str(distractors or "")}
            command = [sys.executable, __file__, "--job", json.dumps(job)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            row = json.loads(done.stdout)
            row["distractors"] = options.largest if distractors else 0
            row["matrix_mb"] = options.probes * max(gallery, row["distractors"]) * 4 / 2**20
            rows.append(row)
    if options.json:
        print(json.dumps(rows))
        return
    print("| probes | gallery | distractors | search | rates | ranks among distractors | memory | whole matrix |")
    print("|---:|---:|---:|---:|---:|---:|---:|---:|")
    for row in rows:
        among = "" if row["distractors_s"] is None else f"{row['distractors_s']:.2f} s"
        print(
            f"| {row['probes']:,} | {row['gallery']:,} | {row['distractors']:,} | {row['search_s']:.2f} s "
            f"| {row['rates_s']:.2f} s | {among} | {row['extra_mb']:.0f} MB | {row['matrix_mb']:,.0f} MB |"
        )


if __name__ == "__main__":
    main()

"""Identification: exact top-5 search against a FAISS flat scan, and the opening of a large gallery.

    python benchmarks/search.py            # the tables, as Markdown
    python benchmarks/search.py --json     # the figures

Everything runs on one thread, in one process, in turns: each round times every contender on one probe after the
other, so that a busy machine slows them alike. Figures are medians over the rounds. Run it with OMP_NUM_THREADS=1
and OPENBLAS_NUM_THREADS=1: NumPy's own threads can't be set once it is loaded.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import faiss
import numpy as np
from sqlalchemy import insert

from visavis.database.file import DatabaseFile
from visavis.gallery import open_gallery
from visavis.gallery.index import TemplateIndex
from visavis.gallery.schema import CONTENTS, subjects
from visavis.gallery.store import NewTemplate, insert_many, make_collection
from visavis.types import Embeddings

DIMENSION = 128
TOP = 5


@dataclass(frozen=True)
class SearchRow:
    """Milliseconds a probe over one gallery size, and whether the answers agreed."""

    templates: int
    faiss_flat_ms: float
    flat_ms: float
    eight_bit_ms: float
    codes_s: float
    group_faiss_ms: float
    group_ms: float
    same_answers: bool

    @property
    def speedup(self) -> float:
        """How many times faster than the FAISS flat scan the search is as it runs for good (codes where they pay)."""
        return self.faiss_flat_ms / min(self.flat_ms, self.eight_bit_ms)


@dataclass(frozen=True)
class OpeningRow:
    """Seconds from a closed file to the first answer, and what the file and the process take."""

    templates: int
    file_mb: float
    open_s: float
    open_cpu_s: float
    resident_mb: float


def people(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Return templates: as far apart as different people's are on average."""
    vectors = rng.standard_normal((rows, DIMENSION), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def probes_for(rng: np.random.Generator, templates: np.ndarray, count: int) -> np.ndarray:
    """Return probes, half of enrolled people (similarity about 0.6) and half of strangers."""
    mated = templates[rng.integers(0, len(templates), count // 2)] * 0.75
    probes = np.concatenate([mated + people(rng, len(mated)), people(rng, count - len(mated))])
    return (probes / np.linalg.norm(probes, axis=1, keepdims=True)).astype(np.float32)


def search(templates: int, *, rounds: int = 31, seed: int = 0) -> SearchRow:
    """Time the search over one gallery size."""
    faiss.omp_set_num_threads(1)
    rng = np.random.default_rng(seed)
    vectors = people(rng, templates)
    probes = probes_for(rng, vectors, rounds + 1)
    group = probes_for(rng, vectors, 10)
    reference = faiss.IndexFlatIP(DIMENSION)
    reference.add(vectors)
    flat, coded = (TemplateIndex(DIMENSION, templates) for _ in range(2))
    for index in (flat, coded):
        index.add(np.arange(templates), np.arange(templates), vectors)
    flat.eight_bit = False
    del vectors
    start = time.perf_counter()
    coded.make_codes()
    codes_s = time.perf_counter() - start
    same = True
    for probe in probes:
        ids = {int(i) for i in reference.search(probe[None], TOP)[1][0]}
        same &= all({int(i) for i in index.search(probe[None], TOP)[0][0]} == ids for index in (flat, coded))
    contenders = (
        lambda p: reference.search(p, TOP),
        lambda p: flat.search(p, TOP),
        lambda p: coded.search(p, TOP),
    )
    single = in_turns(contenders, [probe[None] for probe in probes], rounds)
    groups = in_turns((contenders[0], contenders[2]), [group], max(3, rounds // 6))
    return SearchRow(templates, *single, codes_s, *groups, same)


def in_turns(
    contenders: tuple[Callable[[np.ndarray], object], ...], inputs: list[np.ndarray], rounds: int
) -> list[float]:
    """Return each contender's median milliseconds; the first round warms up and is left out."""
    times: list[list[float]] = [[] for _ in contenders]
    for number in range(rounds + 1):
        for taken, contender in zip(times, contenders, strict=True):
            start = time.perf_counter()
            contender(inputs[number % len(inputs)])
            taken.append(time.perf_counter() - start)
    return [float(np.median(taken[1:])) * 1e3 for taken in times]


def fill(path: Path, templates: int) -> np.ndarray:
    """Write a gallery of so many subjects with a template each; return the last template."""
    rng = np.random.default_rng(1)
    database = DatabaseFile(path, CONTENTS, create=True)
    vectors = people(rng, 1)
    for start in range(0, templates, 50_000):
        vectors = people(rng, min(50_000, templates - start))
        with database.writing() as connection:
            collection = make_collection(connection, "default")
            owners = range(start + 1, start + 1 + len(vectors))  # ids of a new file begin at 1
            rows = [
                {"id": i, "collection": collection, "name": f"subject {i}", "metadata": "{}", "created": 0}
                for i in owners
            ]
            connection.execute(insert(subjects), rows)
            new = {owner: [NewTemplate(vector)] for owner, vector in zip(owners, vectors, strict=True)}
            insert_many(connection, collection, "benchmark", new)
    database.close()
    return vectors[-1:]


def opening(templates: int, folder: Path | None = None) -> OpeningRow:
    """Time how long a gallery of so many templates takes from a closed file to its first answer."""
    import psutil

    with tempfile.TemporaryDirectory(dir=folder) as where:
        path = Path(where) / "people.db"
        probe = Embeddings(fill(path, templates), "benchmark")
        before = psutil.Process().memory_info().rss
        start, busy = time.perf_counter(), time.process_time()
        with open_gallery(path) as gallery:
            found = gallery.identify(probe, top=1, threshold=0.5)
            seconds, busy = time.perf_counter() - start, time.process_time() - busy
            resident = psutil.Process().memory_info().rss - before
        assert found.best == (f"subject {templates}",)
        return OpeningRow(templates, path.stat().st_size / 1e6, seconds, busy, resident / 1e6)


def markdown(rows: list[SearchRow], opened: list[OpeningRow]) -> str:
    """Return the figures as two tables."""
    lines = [
        "| templates | FAISS flat | visavis, flat | visavis, 8-bit first pass | times FAISS | same answers "
        "| 10 probes: FAISS | visavis |",
        "|--:|--:|--:|--:|--:|:-:|--:|--:|",
    ]
    lines += [
        f"| {r.templates:,} | {r.faiss_flat_ms:.2f} ms | {r.flat_ms:.2f} ms | {r.eight_bit_ms:.2f} ms "
        f"| {r.speedup:.1f} | {'yes' if r.same_answers else 'NO'} | {r.group_faiss_ms:.1f} ms | {r.group_ms:.1f} ms |"
        for r in rows
    ]
    lines += ["", "| templates | file | open, to the first answer | of it CPU | memory |", "|--:|--:|--:|--:|--:|"]
    lines += [
        f"| {r.templates:,} | {r.file_mb:.0f} MB | {r.open_s:.2f} s | {r.open_cpu_s:.2f} s | {r.resident_mb:.0f} MB |"
        for r in opened
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--open", type=int, nargs="*", default=[1_000_000], help="gallery sizes to open; none skips")
    options = parser.parse_args()
    rows = [search(size) for size in options.sizes]
    opened = [opening(size) for size in options.open]
    if options.json:
        figures = {"search": [asdict(row) for row in rows], "opening": [asdict(row) for row in opened]}
        print(json.dumps(figures, indent=1))
    else:
        print(markdown(rows, opened))


if __name__ == "__main__":
    main()

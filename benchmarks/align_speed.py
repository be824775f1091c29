"""Measure how fast `visavis datasets align` is, and how many cores it keeps busy.

    python benchmarks/align_speed.py                     10,000 photos: lfw-dev, over and over (docs/building.md)
    python benchmarks/align_speed.py --photos 1000       fewer
    python benchmarks/align_speed.py --workers 1 2       with so many processes
    python benchmarks/align_speed.py --in-threads        with as many threads of one process instead

Cores used are the processor time of all processes over the time on the clock, from the start of the first photo to the
finished manifest, models loaded included. On a machine that does something else at the same time they come out lower:
what others took is told beside, and how long a core was idle, which is what alignment left unused.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from lfw import Lfw

from visavis.curation.alignment import Aligner, Recipe, align_folder
from visavis.curation.crops import CropShape
from visavis.image import find_images
from visavis.models.session import EngineOptions, cpu_name, usable_cores


def busy() -> tuple[float, float]:
    """Return the seconds that all processors of the machine were busy, and idle, since it started."""
    fields = [float(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    tick = os.sysconf("SC_CLK_TCK")
    idle = fields[3] + fields[4]
    return (sum(fields) - idle) / tick, idle / tick


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--photos", type=int, default=10_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, usable_cores()])
    parser.add_argument("--size", default="112x112")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--in-threads", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder) / "photos"
        lay_out(photos, options.photos)
        print(f"{options.photos:,} photos of lfw-dev, crops of {options.size}, {cpu_name()}")
        print("workers  photos/s  cores used  of cores  others took  idle")
        for workers in options.workers:
            engine = EngineOptions.choose(threads=workers, precision=options.precision)
            out = Path(folder) / f"out-{workers}"
            times, before, start = os.times(), busy(), time.perf_counter()
            recipe = Recipe(CropShape.of(options.size))
            if options.in_threads:
                done = in_threads(photos, out, recipe, workers, engine)
            else:
                done = sum(1 for _ in align_folder(photos, out, recipe, workers=workers, options=engine))
            wall = time.perf_counter() - start
            used = sum(os.times()[:4]) - sum(times[:4])
            worked, idle = (now - then for now, then in zip(busy(), before, strict=True))
            others, cores = max(worked - used, 0), min(workers, usable_cores())
            print(
                f"{workers:7}  {done / wall:8.0f}  {used / wall:10.2f}  {used / wall / cores:8.0%}  "
                f"{others / wall:6.2f} cores  {idle / (worked + idle):4.0%}"
            )


def in_threads(photos: Path, out: Path, recipe: Recipe, workers: int, engine: EngineOptions) -> int:
    """Do what a process does with each unit in a thread, all with one set of models."""
    out.mkdir()
    names = [path.relative_to(photos).as_posix() for path in find_images([photos])]
    job = {"root": str(photos), "out": str(out), "partial": str(out), "recipe": recipe.to_dict()}
    aligner = Aligner({**job, "engine": {**asdict(engine), "threads": 1}})
    units = [[[name, name.removesuffix(".jpg")] for name in names[i : i + 8]] for i in range(0, len(names), 8)]
    with ThreadPoolExecutor(workers) as pool:
        return sum(len(rows) for rows in pool.map(aligner, units))


def lay_out(folder: Path, number: int) -> None:
    """Write so many photos: all of lfw-dev, and again under other names until there are enough."""
    lfw = Lfw.open()
    for i in range(number):
        turn, photo = divmod(i, len(lfw.photos))
        path = folder / f"{lfw.people[photo]}~{turn}" / f"{lfw.photos[photo]}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(lfw.read(photo))


if __name__ == "__main__":
    main()

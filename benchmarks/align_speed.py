"""Measure how fast `visavis datasets align` is, and how many cores it keeps busy.

    python benchmarks/align_speed.py                     10,000 photos: lfw-dev, over and over (docs/building.md)
    python benchmarks/align_speed.py --photos 1000       fewer
    python benchmarks/align_speed.py --workers 1 2       with so many processes

Cores used are the processor time of all processes over the time on the clock, from the start of the first photo to the
finished manifest, models loaded included. On a machine that does something else at the same time they come out lower:
the share of the processor that others took is told beside.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from lfw import Lfw

from visavis.curation.alignment import Recipe, align_folder
from visavis.curation.crops import CropShape
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
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder) / "photos"
        lay_out(photos, options.photos)
        print(f"{options.photos:,} photos of lfw-dev, crops of {options.size}, {cpu_name()}")
        print("workers  photos/s  cores used  of cores  others took")
        for workers in options.workers:
            engine = EngineOptions.choose(threads=workers, precision=options.precision)
            out = Path(folder) / f"out-{workers}"
            times, others, start = os.times(), busy()[0], time.perf_counter()
            recipe = Recipe(CropShape.of(options.size))
            done = sum(1 for _ in align_folder(photos, out, recipe, workers=workers, options=engine))
            wall = time.perf_counter() - start
            used = sum(os.times()[:4]) - sum(times[:4])
            others = max(busy()[0] - others - used, 0)
            cores = min(workers, usable_cores())
            print(
                f"{workers:7}  {done / wall:8.0f}  {used / wall:10.2f}  {used / wall / cores:8.0%}  "
                f"{others / wall:6.2f} cores"
            )


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

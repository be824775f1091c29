"""Resident memory while analyzing many photos.

    python benchmarks/memory.py --photos 10000 --precision bf16 --threads 2

The LFW photos in turn, and every 500th time a 12-megapixel enlargement of one; results are dropped at once. Prints
JSON: resident MB after so many photos, and the peak.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Iterator

import psutil
from contender import photos
from PIL import Image

from visavis import Analyzer

MARKS = (100, 1_000, 2_500, 5_000, 10_000)


def endless(data: list[bytes]) -> Iterator[bytes]:
    enlarged = io.BytesIO()
    Image.open(io.BytesIO(data[0])).resize((4000, 3000)).save(enlarged, "JPEG", quality=85)
    i = 0
    while True:
        i += 1
        yield enlarged.getvalue() if i % 500 == 0 else data[i % len(data)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=10_000)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    analyzer = Analyzer(threads=options.threads, precision=options.precision)
    process = psutil.Process()
    marks = {}
    stream = analyzer.stream(endless(photos(100)))
    for count, analysis in enumerate(stream, 1):
        if analysis.error is not None:
            raise analysis.error
        if count in MARKS:
            marks[count] = process.memory_info().rss / 1e6
        if count >= options.photos:
            break
    marks[count] = process.memory_info().rss / 1e6
    print(json.dumps({"marks": marks, "peak": _peak(process)}))


def _peak(process: psutil.Process) -> float:
    if sys.platform == "win32":
        return float(process.memory_info().peak_wset) / 1e6
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


if __name__ == "__main__":
    main()

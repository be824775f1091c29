"""Resident memory while analyzing many photos.

    python benchmarks/memory.py --photos 10000 --precision bf16

The LFW photos in turn, and every 500th time a 12-megapixel enlargement of one; one thread, results dropped at once.
Prints JSON: resident MB after so many photos.
"""

from __future__ import annotations

import argparse
import io
import json
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
    options = parser.parse_args()
    analyzer = Analyzer(threads=1, precision=options.precision)
    process = psutil.Process()
    marks = {}
    stream = analyzer.stream(endless(photos(1_000)))
    for count, analysis in enumerate(stream, 1):
        if analysis.error is not None:
            raise analysis.error
        if count in MARKS:
            marks[count] = process.memory_info().rss / 1e6
        if count >= options.photos:
            break
    marks[count] = process.memory_info().rss / 1e6
    print(json.dumps(marks))


if __name__ == "__main__":
    main()

"""Reading records from a warm cache: .rec against mxnet's own Python reader, TFRecord against the package tfrecord.

    python benchmarks/record_reading.py                                  # the tables, as Markdown
    python benchmarks/record_reading.py --mxnet /path/to/python          # a Python that has mxnet 1.9.1 and numpy<1.24
    python benchmarks/record_reading.py --json

A file of crops as training sets have them (112x112 JPEG, made by noise, about 4 KB) is written by visavis, and read
from end to end and in random order by its index, headers taken apart. mxnet can't be installed beside a current NumPy,
so it runs in a process of its own, which takes turns with this one, round by round. Figures are the median round's.
TFRecord is read with both checksums of every record checked by visavis; the package tfrecord checks none. "as examples"
also takes the protocol buffer apart: visavis all its features, the package the two asked for. Everything runs on one
thread.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from visavis.datasets.containers.image_records import write_rec
from visavis.datasets.containers.recordio import Record, RecordFile, records
from visavis.datasets.containers.samples import Sample
from visavis.datasets.containers.tfrecord import decode_example, read_records, write_tfrecord

SIDE = 112
A_PERSON = 20  # photos
KINDS = 64  # different crops, so that making them takes no time

MXNET = """
import sys, time
from mxnet import recordio
rec, idx, order = sys.argv[1:]
order = [int(key) for key in open(order)]
def sequential():
    file, count = recordio.MXRecordIO(rec, "r"), 0
    while (data := file.read()) is not None:
        recordio.unpack(data)
        count += 1
    return count
indexed = recordio.MXIndexedRecordIO(idx, rec, "r")
def shuffled():
    for key in order:
        recordio.unpack(indexed.read_idx(key))
    return len(order)
work = {"sequential": sequential, "shuffled": shuffled}
for line in sys.stdin:
    start = time.perf_counter()
    count = work[line.strip()]()
    print(count / (time.perf_counter() - start), flush=True)
"""

CHECK = """
import json, sys
import numpy as np
from mxnet import recordio
rec, idx = sys.argv[1:]
indexed, found = recordio.MXIndexedRecordIO(idx, rec, "r"), {}
for key in indexed.keys:
    header, image = recordio.unpack(indexed.read_idx(key))
    found[key] = [np.atleast_1d(header.label).astype(float).tolist(), header.id, image.hex()]
file, count = recordio.MXRecordIO(rec, "r"), 0
while file.read() is not None:
    count += 1
print(json.dumps({"by index": found, "in order": count}))
"""


def crops(number: int) -> Iterator[Sample]:
    rng = np.random.default_rng(0)
    images = []
    for _ in range(KINDS):
        rough = rng.integers(0, 256, (SIDE // 8, SIDE // 8, 3), np.uint8)
        image = cv2.resize(rough, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        images.append(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes())
    for i in range(number):
        person = f"{i // A_PERSON:06d}"
        yield Sample(f"{person}/{i}", images[i % KINDS], person)


def agrees(folder: Path, mxnet: str) -> int:
    """Let mxnet read, by the index and in order, records that have to be split; return how many it read as they are."""
    rng = random.Random(0)
    magic = struct.pack("<I", 0xCED7230A)
    pieces = [lambda: magic, lambda: b"a", lambda: b"bcde", lambda: rng.randbytes(rng.randint(0, 9))]
    samples = [
        Sample(f"{i // 7}/{i}", b"".join(rng.choice(pieces)() for _ in range(rng.randint(1, 12))) + b"x", f"{i // 7}")
        for i in range(3000)
    ]
    path = folder / "split.rec"
    write_rec(path, samples)
    command = [mxnet, "-c", CHECK, path, path.with_suffix(".idx")]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    with RecordFile(path) as file:
        ours = {str(key): [list((r := file.record(key)).labels), r.id, r.image.hex()] for key in file.keys.tolist()}
    if found["by index"] != ours or found["in order"] != len(ours):
        raise SystemExit("mxnet reads something else than was written")
    return len(ours)


def rate(work: Callable[[], int]) -> float:
    start = time.perf_counter()
    count = work()
    return count / (time.perf_counter() - start)


def measured(contenders: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Return the records/s of each contender's median round; they take turns."""
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, contender in contenders.items():
            value = contender()
            if number:  # the first round warms the cache
                found[name].append(value)
    return {name: statistics.median(values) for name, values in found.items()}


def rec(folder: Path, number: int, rounds: int, mxnet: str | None) -> dict[str, float]:
    path = folder / "train.rec"
    write_rec(path, crops(number))
    file = RecordFile(path)
    order = np.random.default_rng(1).permutation(file.photos).tolist()
    (folder / "order").write_text("\n".join(map(str, order)))

    def sequential() -> int:
        return sum(1 for payload in records(path) if Record.unpack(payload))

    def shuffled() -> int:
        return sum(1 for key in order if file.record(key))

    contenders = {"sequential": lambda: rate(sequential), "shuffled": lambda: rate(shuffled)}
    if mxnet is None:
        return measured(contenders, rounds)
    command = [mxnet, "-c", MXNET, path, path.with_suffix(".idx"), folder / "order"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None
        assert other.stdout is not None

        def ask(what: str) -> float:
            other.stdin.write(f"{what}\n")
            other.stdin.flush()
            return float(other.stdout.readline())

        contenders |= {f"mxnet {what}": lambda what=what: ask(what) for what in ("sequential", "shuffled")}
        try:
            return measured(contenders, rounds)
        finally:
            other.stdin.close()


def tfrecord(folder: Path, number: int, rounds: int) -> dict[str, float]:
    from tfrecord.reader import tfrecord_iterator, tfrecord_loader

    path = folder / "train.tfrecord"
    write_tfrecord(path, crops(number))

    wanted = {"image/encoded": "byte", "image/class/label": "int"}

    def theirs_as_examples() -> int:
        return sum(1 for _ in tfrecord_loader(str(path), None, wanted))

    return measured(
        {
            "records, checked": lambda: rate(lambda: sum(1 for _ in read_records(path))),
            "as examples, checked": lambda: rate(lambda: sum(1 for p in read_records(path) if decode_example(p))),
            "tfrecord records, unchecked": lambda: rate(lambda: sum(1 for _ in tfrecord_iterator(str(path)))),
            "tfrecord as examples, unchecked": lambda: rate(theirs_as_examples),
        },
        rounds,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=50_000, help="records in each file")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mxnet", help="a Python that has mxnet")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.mxnet:
            print(f"mxnet reads {agrees(Path(folder), arguments.mxnet):,} records as they are", file=sys.stderr)
        found = {
            "rec": rec(Path(folder), arguments.number, arguments.rounds, arguments.mxnet),
            "tfrecord": tfrecord(Path(folder), arguments.number, arguments.rounds),
        }
        size = (Path(folder) / "train.rec").stat().st_size / arguments.number
    if arguments.json:
        json.dump({"number": arguments.number, "bytes": size, **found}, sys.stdout, indent=1)
        return
    print(f"{arguments.number:,} records of {size:,.0f} bytes, warm cache, one thread, records/s\n")
    for title, rows in found.items():
        print(f"| {title} | records/s |\n|---|---:|")
        for name, value in rows.items():
            print(f"| {name} | {value:,.0f} |")
        print()


if __name__ == "__main__":
    main()

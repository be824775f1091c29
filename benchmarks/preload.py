"""Images a second from a packed data set against reading JPEGs, by one process and by two, and the memory they share.

    python benchmarks/preload.py [--photos N] [--seconds S] [--data lfw-dev]

Each process takes photos at random, as training does, for some seconds. Crops of 112x112 are made of the data set
first: as JPEG files in a folder a person, packed as pixels, and packed encoded. Everything has been read once before,
so disks don't count. Memory is the resident and the proportional size (a page shared by two processes counts half for
each) of what each process has mapped of the packed file, from /proc/PID/smaps: Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np

from visavis.datasets.packed import PackedFaces
from visavis.datasets.packing import pack, samples_of
from visavis.datasets.photos import PeopleFolder, open_photos
from visavis.image import load_image, resize, save_image

SIZE = 112


def prepare(data: str, photos: int, folder: Path) -> None:
    """Write the central part of each photo as a crop of SIZE: what counts here is its size and that it is a face."""
    source = open_photos(data)
    for i in range(min(photos, len(source.photos))):
        image = load_image(source.read(i))
        height, width = image.shape[:2]
        side = min(height, width) * 6 // 10
        top, left = (height - side) // 2, (width - side) // 2
        target = folder / "jpeg" / source.people[i] / f"{i:06d}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        save_image(
            target, resize(np.ascontiguousarray(image[top : top + side, left : left + side]), SIZE, SIZE), quality=95
        )
    crops = PeopleFolder.open(folder / "jpeg")
    pack(samples_of(crops), folder / "pixels.pack")
    pack(samples_of(crops), folder / "encoded.pack", encoded=True)


def take(how: str, folder: Path, seconds: float, seed: int) -> dict[str, float]:
    """Take photos at random for some seconds; return how many and what is mapped of the packed file."""
    cv2.setNumThreads(1)
    if how == "jpeg":
        files = PeopleFolder.open(folder / "jpeg")
        n, read = len(files.photos), lambda i: load_image(files.read(i))
    else:
        faces = PackedFaces.open(folder / f"{how}.pack")
        n, read = len(faces), lambda i: faces[i][0]
    rng = np.random.default_rng(seed)
    for i in range(n):  # all once: neither the disk nor the first touch of a page counts
        read(i)
    print("ready", flush=True)
    sys.stdin.readline()
    start, taken, total = time.perf_counter(), 0, 0
    while time.perf_counter() - start < seconds:
        for i in rng.integers(n, size=256):
            total += int(read(int(i))[0, 0, 0])
        taken += 256
    rate = taken / (time.perf_counter() - start)
    print(json.dumps({"rate": rate}), flush=True)
    sys.stdin.readline()
    print(json.dumps(mapped(f"{how}.pack")), flush=True)
    return {}


def mapped(name: str) -> dict[str, float]:
    """Return the resident and proportional megabytes of a file in this process."""
    sums, inside = {"Rss": 0, "Pss": 0}, False
    try:
        lines = Path("/proc/self/smaps").read_text().splitlines()
    except OSError:
        return {}
    for line in lines:
        word = line.split()[0]
        if not word.endswith(":"):
            inside = line.endswith(name)
        elif inside and word[:-1] in sums:
            sums[word[:-1]] += int(line.split()[1])
    return {key: value / 1024 for key, value in sums.items()}


def together(how: str, folder: Path, seconds: float, number: int) -> tuple[float, list[dict[str, float]]]:
    """Run processes at once; return their images a second in sum, and what each has mapped."""
    command = [sys.executable, __file__, "--take", how, "--folder", str(folder), "--seconds", str(seconds)]
    children = [
        subprocess.Popen([*command, "--seed", str(i)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for i in range(number)
    ]

    def each(tell: bool) -> list[str]:
        for child in children:
            if tell:
                print(file=child.stdin, flush=True)
        return [child.stdout.readline() for child in children]

    each(False)
    rates = [json.loads(line)["rate"] for line in each(True)]
    memory = [json.loads(line) for line in each(True)]
    for child in children:
        child.communicate()
    return sum(rates), memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="lfw-dev")
    parser.add_argument("--photos", type=int, default=4000)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--take", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.take:
        take(options.take, options.folder, options.seconds, options.seed)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(options.data, options.photos, folder)
        sizes = {how: (folder / f"{how}.pack").stat().st_size / 1e6 for how in ("pixels", "encoded")}
        sizes["jpeg"] = sum(file.stat().st_size for file in folder.glob("jpeg/*/*.jpg")) / 1e6
        print(f"{options.photos} crops of {SIZE}x{SIZE}, taken at random, {options.seconds:g} s each\n")
        print(
            "| | images/s, one process | two | against JPEG files | MB on disk | resident MB | shared out (PSS), two |"
        )
        print("|---|---:|---:|---:|---:|---:|---:|")
        base = 0.0
        for how, title in (("jpeg", "JPEG files"), ("encoded", "packed, encoded"), ("pixels", "packed, pixels")):
            one, _ = together(how, folder, options.seconds, 1)
            two, memory = together(how, folder, options.seconds, 2)
            base = base or one
            resident = f"{memory[0]['Rss']:.0f} each" if memory[0].get("Rss") else ""
            shared = " + ".join(f"{part['Pss']:.0f}" for part in memory) if memory[0].get("Pss") else ""
            row = [title, f"{one:,.0f}", f"{two:,.0f}", f"{one / base:.1f}x", f"{sizes[how]:.0f}", resident, shared]
            print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()

"""Measure how many duplicates `visavis datasets duplicates` finds, and how many photos it groups wrongly.

    python benchmarks/duplicates.py              the tables of docs/datasets.md, on half of lfw-dev's people
    python benchmarks/duplicates.py --choose     the other half, on which the threshold was chosen
    python benchmarks/duplicates.py --lfw        the groups of lfw-dev as it is
    python benchmarks/duplicates.py --scale N    time and memory of grouping N made-up fingerprints

A photo of each of 100 people gets variants; all photos of these people are in the folder too, so that different photos
of one person could be grouped wrongly. A group is false if it joins different photos of LFW.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from lfw import Lfw
from PIL import Image

from visavis.datasets import duplicates
from visavis.image import load_image, save_image

PEOPLE = 100


def crop(image: np.ndarray, rng: np.random.Generator, least: float, most: float) -> np.ndarray:
    """Cut a share of each side away, at a random place."""
    height, width = image.shape[:2]
    h, w = (round(side * (1 - rng.uniform(least, most))) for side in (height, width))
    y, x = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
    return np.ascontiguousarray(image[y : y + h, x : x + w])


def resized(image: np.ndarray, factor: float) -> np.ndarray:
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=how)


def gamma(image: np.ndarray, power: float) -> np.ndarray:
    return np.asarray(255 * (image / 255) ** power, np.uint8)


Rng = np.random.Generator
Change = Callable[[np.ndarray, Rng], np.ndarray]


def always(change: Callable[[np.ndarray], np.ndarray]) -> Change:
    """Make a change that needs no chance one like the others."""
    return lambda image, _: change(image)


CHANGES: dict[str, tuple[Change, int]] = {
    "JPEG quality 75": (always(lambda image: image), 75),
    "JPEG quality 30": (always(lambda image: image), 30),
    "half the size": (always(lambda image: resized(image, 0.5)), 90),
    "twice the size": (always(lambda image: resized(image, 2)), 90),
    "cropped by up to 5 %": (lambda image, rng: crop(image, rng, 0.005, 0.05), 90),
    "cropped by 5 to 10 %": (lambda image, rng: crop(image, rng, 0.05, 0.10), 90),
    "cropped by 10 to 15 %": (lambda image, rng: crop(image, rng, 0.10, 0.15), 90),
    "brighter by 40 of 255": (always(lambda image: cv2.convertScaleAbs(image, beta=40)), 90),
    "darker by 40 %": (always(lambda image: cv2.convertScaleAbs(image, alpha=0.6)), 90),
    "gamma 0.6": (always(lambda image: gamma(image, 0.6)), 90),
    "gray": (always(lambda image: cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)), 90),
    "cropped by up to 5 %, half the size, quality 50": (
        lambda image, rng: resized(crop(image, rng, 0.005, 0.05), 0.5),
        50,
    ),
    "mirrored": (always(lambda image: np.ascontiguousarray(image[:, ::-1])), 90),
    "mirrored, cropped by up to 5 %": (lambda image, rng: crop(image[:, ::-1], rng, 0.005, 0.05), 90),
}


def write_folder(lfw: Lfw, folder: Path, half: int) -> dict[Path, tuple[str, str]]:
    """Write photos and variants; return which photo of LFW each file shows and how it was made."""
    photos = defaultdict(list)
    for i, person in enumerate(lfw.people):
        photos[person].append(i)
    people = np.random.default_rng(2026).permutation(sorted(photos))[half::2][:PEOPLE]
    made: dict[Path, tuple[str, str]] = {}

    def put(name: str, how: str, data: bytes, suffix: str = ".jpg") -> None:
        path = folder / f"{name}.{len(made)}{suffix}"
        path.write_bytes(data)
        made[path] = name, how

    for person in people:
        for i in photos[person]:
            put(lfw.photos[i], "original", lfw.read(i))
        i = photos[person][0]
        name, image, rng = lfw.photos[i], load_image(lfw.read(i)), np.random.default_rng(i)
        put(name, "copied", lfw.read(i))
        path = folder / f"{name}.png"
        save_image(path, image)
        made[path] = name, "saved as PNG"
        for how, (change, quality) in CHANGES.items():
            encoded = io.BytesIO()
            Image.fromarray(change(image, rng)).save(encoded, "JPEG", quality=quality)
            put(name, how, encoded.getvalue())
        encoded = io.BytesIO()
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(np.rot90(image)).save(encoded, "JPEG", quality=90, exif=exif)
        put(name, "turned, with EXIF orientation", encoded.getvalue())
    return made


def read(paths: list[Path]) -> tuple[list[duplicates.Fingerprint], float]:
    """Return the fingerprints, and the seconds a thousand photos took on one thread."""
    start = time.perf_counter()
    prints = [found for _, found in duplicates.fingerprints(paths, mirrored=True)]
    assert all(isinstance(found, duplicates.Fingerprint) for found in prints)
    return prints, 1000 * (time.perf_counter() - start) / len(paths)  # type: ignore[return-value]


def measure(lfw: Lfw, half: int, thresholds: list[float]) -> None:
    with tempfile.TemporaryDirectory() as name:
        made = write_folder(lfw, Path(name), half)
        prints, seconds = read(list(made))
        kinds = list(dict.fromkeys(how for _, how in made.values() if how != "original"))
        originals = [found for found in prints if made[found.path][1] == "original"]
        print(f"{len(originals):,} photos of {PEOPLE} people; fingerprints: {seconds:.1f} ms a photo, one thread")
        shares: dict[str, list[float]] = {kind: [] for kind in kinds}
        false: dict[float, set[tuple[str, ...]]] = {}
        for threshold in thresholds:
            false[threshold] = set()
            for kind in kinds:  # each alone among the originals, so that no other variant stands between
                variants = [found for found in prints if made[found.path][1] == kind]
                groups = duplicates.group([*originals, *variants], threshold=threshold)
                together = {path: g for g, group in enumerate(groups) for path in paths(group)}
                home = {made[found.path][0]: together.get(found.path, -1) for found in originals}
                hits = [together.get(found.path, -2) == home[made[found.path][0]] for found in variants]
                shares[kind].append(float(np.mean(hits)))
                shown = (tuple(sorted({made[path][0] for path in paths(group)})) for group in groups)
                false[threshold] |= {photos for photos in shown if len(photos) > 1}
        print("\n| variant |" + "".join(f" {threshold} |" for threshold in thresholds))
        print("|---|" + "---:|" * len(thresholds))
        for kind, row in shares.items():
            print(f"| {kind} |" + "".join(f" {share:.1%} |" for share in row))
        for threshold, photos in false.items():
            print(f"\nthreshold {threshold}: {len(photos)} groups of different photos of LFW")
            for group in sorted(photos):
                print("   ", ", ".join(group))


def paths(group: duplicates.Group) -> list[Path]:
    return [group.keep.path, *(other.photo.path for other in group.others)]


def whole(lfw: Lfw, threshold: float) -> None:
    """Print the groups of lfw-dev as it is."""
    with tempfile.TemporaryDirectory() as name:
        files = []
        for i, photo in enumerate(lfw.photos):
            files.append(Path(name) / f"{photo}.jpg")
            files[-1].write_bytes(lfw.read(i))
        prints, seconds = read(files)
        start = time.perf_counter()
        groups = duplicates.group(prints, threshold=threshold)
        took = time.perf_counter() - start
        print(
            f"{len(files):,} photos, {len(groups)} groups; fingerprints {seconds:.1f} ms a photo, grouping {took:.0f} s"
        )
        for group in groups:
            print(" ", group.keep.path.stem)
            for other in group.others:
                print(f"    {other.kind}, {other.similarity:.3f}: {other.photo.path.stem}")


def scale(number: int) -> None:
    """Group made-up fingerprints, a tenth of them a few bits from another, with every confirmation refused."""
    import psutil

    rng = np.random.default_rng(0)
    looks = len(list(duplicates._places()))
    hashes = rng.integers(0, 256, (number, looks, 32), np.uint8)
    hashes[: number // 10] = hashes[number // 10 : 2 * (number // 10)]
    hashes[: number // 10, :, 0] ^= 21
    prints = [
        duplicates.Fingerprint(Path(f"{i}.jpg"), (0, i), 4000, 3000, i, b"", i.to_bytes(8, "big"), 0.0, hashes[i])
        for i in range(number)
    ]
    before = psutil.Process().memory_info().rss / 1e6
    start = time.process_time()
    duplicates.group(prints)
    seconds, after = time.process_time() - start, psutil.Process().memory_info().rss / 1e6
    print(
        f"{number:,} fingerprints: {seconds:.0f} s of processor time, {before:.0f} MB before and {after:.0f} MB after"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--choose", action="store_true")
    parser.add_argument("--lfw", action="store_true")
    parser.add_argument("--scale", type=int, metavar="N")
    parser.add_argument("--threshold", type=float, default=duplicates.THRESHOLD)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    if options.scale:
        scale(options.scale)
    elif options.lfw:
        whole(Lfw.open(), options.threshold)
    elif options.choose:
        measure(Lfw.open(), 1, [0.95, 0.9, 0.8])
    else:
        measure(Lfw.open(), 0, [options.threshold])


if __name__ == "__main__":
    sys.exit(main())

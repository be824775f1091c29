"""Faces of videos: how surely a turned one is set upright, how fast frames are gone through, in how much memory.

    python benchmarks/video_faces.py [--photos N] [--detector NAME ...] [--seconds S ...]

Turned: photos of lfw-dev in all four turns, a picture alone and five people's pictures as one film; wrong is where
another turn than the upright one got the highest score. Film: an LFW photo moving over gray, 640x480, 30 frames a
second, H.264, made here; looked at twice a second, on one thread. Memory is the peak of a process that does
nothing else.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import av
import numpy as np

from visavis.curation.video_faces import faces_of_video
from visavis.datasets.lfw import Lfw
from visavis.image import load_image, resize
from visavis.pipeline import Analyzer
from visavis.video.orientation import turn_scores


def turns(detector: str, photos: int) -> None:
    lfw = Lfw.open()
    analyzer = Analyzer(detector, None, threads=1)
    rows = np.random.default_rng(1).choice(len(lfw.photos), photos, replace=False)
    scores = np.array([list(turn_scores(load_image(lfw.read(int(i))), analyzer).values()) for i in rows])
    films = scores[: photos // 5 * 5].reshape(-1, 5, 4).sum(axis=1)
    alone, five = ((part.argmax(axis=1) != 0).sum() for part in (scores, films))
    print(f"| {detector} | {alone} of {len(scores)} | {five} of {len(films)} |")


def film(path: Path, seconds: int) -> None:
    lfw = Lfw.open()
    photo = resize(load_image(lfw.read(0)), 400, 400)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
        for i in range(30 * seconds):
            picture = np.full((480, 640, 3), 96, np.uint8)
            left = abs(i % 480 - 240)
            picture[40:440, left : left + 400] = photo
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture)):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def go_through(path: str) -> None:
    analyzer = Analyzer(threads=1)
    analyzer.analyze(np.zeros((64, 64, 3), np.uint8))
    start = time.perf_counter()
    found = list(faces_of_video(path, analyzer))
    spent = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{spent:.1f} s | {len(found)} | {peak:.0f} MB", end="")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--detector", nargs="*", default=["yunet", "mtcnn", "blazeface"])
    parser.add_argument("--seconds", type=int, nargs="*", default=[20, 120])
    parser.add_argument("--film", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.film:
        go_through(options.film)
        return
    print("| detector | photos turned wrongly | films of five frames turned wrongly |\n|---|---:|---:|")
    for detector in options.detector:
        turns(detector, options.photos)
    print("\n| film | time | faces kept | peak memory |\n|---|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        for seconds in options.seconds:
            path = Path(folder) / f"{seconds}.mp4"
            film(path, seconds)
            done = subprocess.run(
                [sys.executable, __file__, "--film", str(path)], capture_output=True, text=True, check=True
            )
            print(f"| {seconds} s, {30 * seconds} frames | {done.stdout} |")


if __name__ == "__main__":
    main()

"""What a picture costs between the decoder and the array it ends in, step by step.

    python benchmarks/picture_copies.py [--width 1920] [--height 1080] [--rounds 60]

One thread, frames of H.264 decoded beforehand and kept. `Picture.draw` converts to RGB in FFmpeg's memory, and copies
that into the caller's array: the second line less the first is what writing twice costs. The third is how PyAV's own
methods do it, which set swscale up anew for each frame.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from visavis.image import resize
from visavis.video.conversion import Converter, Upright


def coded(width: int, height: int, count: int) -> list[Any]:
    ground = resize(np.random.default_rng(0).integers(0, 256, (108, 192, 3)).astype(np.uint8), width, height)
    coder = av.CodecContext.create("libx264", "w")
    coder.width, coder.height, coder.pix_fmt, coder.time_base = width, height, "yuv420p", Fraction(1, 25)
    coder.options = {"preset": "veryfast", "bf": "0"}
    packets = []
    for i in range(count):
        frame = av.VideoFrame.from_ndarray(np.roll(ground, 3 * i, 1))
        frame.pts = i
        packets += coder.encode(frame)
    return [*packets, *coder.encode()]


def median(act: Callable[[Any], object], frames: list[Any], rounds: int) -> float:
    taken = []
    for i in range(rounds):
        start = time.perf_counter()
        act(frames[i % len(frames)])
        taken.append(time.perf_counter() - start)
    return 1e3 * statistics.median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("width", 1920), ("height", 1080), ("rounds", 60)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    packets = coded(args.width, args.height, 30)
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    start = time.perf_counter()
    frames = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    decoding = 1e3 * (time.perf_counter() - start) / len(frames)
    into, small = np.empty((args.height, args.width, 3), np.uint8), np.empty((360, 640, 3), np.uint8)
    high = np.empty((args.width, args.height, 3), np.uint8)
    scaler, converter, quarter, turning = VideoReformatter(), Converter(), Converter(), Converter()
    rows: dict[str, Callable[[Any], object]] = {
        "to RGB, in FFmpeg's memory": lambda frame: scaler.reformat(frame, format="rgb24", threads=1),
        "`Picture.draw`": lambda frame: converter.draw(frame, 1.0, Upright(), into),
        "`frame.to_ndarray` and a copy": lambda frame: np.copyto(into, frame.to_ndarray(format="rgb24")),
        "`Picture.draw`, turned by 90 degrees": lambda frame: turning.draw(frame, 1.0, Upright().turned(90), high),
        "`Picture.draw`, longest=640": lambda frame: quarter.draw(frame, 1.0, Upright(), small),
        "a copy alone": lambda _: np.copyto(into, source),
    }
    source = np.zeros_like(into)
    print(f"{args.width}x{args.height}, {len(frames)} frames, one thread; PyAV {av.__version__}\n")
    print(f"| step | ms a frame |\n|---|--:|\n| decoding, as a comparison | {decoding:.2f} |")
    for name, act in rows.items():
        act(frames[0])
        print(f"| {name} | {median(act, frames, args.rounds):.2f} |")


if __name__ == "__main__":
    main()

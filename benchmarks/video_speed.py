"""How fast a video file is followed: 1080p25 with up to five faces, on one core and on two, and by face_recognition.

    python benchmarks/video_speed.py [--seconds 20] [--rounds 3] [--min-face 60 80 120] [--film FILE]

The film is made here, of lfw-dev photos that move over a wall, leave and come back: H.264, 1920x1080, 25 frames a
second, faces 130 to 190 pixels high, seeded. Each contender runs in a process of its own, pinned to its cores, and is
timed in turns; figures are medians of the rounds. face_recognition gets decoded frames and does what its examples do:
`face_locations` and `face_encodings` of each; it is timed on a few frames, as one takes it a second. It gets an
environment of its own, made at the first run (benchmarks/run.py). Only the standard library is imported by then.

Stages are timed apart in one process on one core, each over all frames: decoding, conversion to RGB, detection, and
following, which is tracking, choosing what to embed, embedding, and asking who it is.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
WIDTH, HEIGHT, RATE = 1920, 1080, 25
PEER = "face_recognition, each frame"
PEER_FRAMES = 5


def make_film(path: Path, seconds: int) -> None:
    import av
    import numpy as np

    from visavis.datasets.lfw import Lfw
    from visavis.image import load_image, resize

    lfw = Lfw.open()
    photos = [resize(load_image(lfw.read(i)), 400, 400) for i in (0, 700, 1400, 2100, 2800)]
    wall = np.full((HEIGHT, WIDTH, 3), 96, np.uint8)
    wall += (
        np.random.default_rng(0)
        .integers(0, 32, (HEIGHT // 8, WIDTH // 8, 3))
        .astype(np.uint8)
        .repeat(8, 0)
        .repeat(8, 1)
    )
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"preset": "veryfast", "crf": "21"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(seconds * RATE):
            picture, time_ = wall.copy(), number / RATE
            for i, photo in enumerate(photos):
                if i and (time_ / 4 + i / 5) % 1 < 0.15 * (i % 3):  # away for a moment
                    continue
                x = round(i * (WIDTH - 400) / 4 * 0.98 + 15 * np.sin(time_ * 1.3 + i) + 15)
                y = round((HEIGHT - 400) * (0.5 + 0.45 * np.sin(time_ * 0.9 + 2 * i)))
                x = min(max(x, 0), WIDTH - 400)
                picture[y : y + 400, x : x + 400] = photo
            frame = av.VideoFrame.from_ndarray(picture)
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def raw_frames(film: Path, count: int, out: Path) -> None:
    from visavis.video.frames import frames

    with out.open("wb") as file:
        for frame in frames(film, every=0.8):
            file.write(frame.image.tobytes())
            count -= 1
            if not count:
                return


def follow(film: str, threads: int, min_face: float) -> dict[str, Any]:
    """Record the film; return frames a second, not counting the loading of models."""
    from visavis.pipeline import Analyzer
    from visavis.video.recording import record

    analyzer = Analyzer(threads=threads, min_face=min_face)
    _warm(analyzer, threads)
    start = time.perf_counter()
    found = record(film, analyzer)
    spent = time.perf_counter() - start
    return {"fps": found.looked / spent, "tracks": len(found.people), "faces": len(found), "embedded": found.embedded}


def _warm(analyzer: Any, threads: int) -> None:
    import numpy as np

    empty = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    analyzer.detect([empty], parallel=threads)
    analyzer.embed(np.zeros((1, 112, 112, 3), np.uint8))


def stages(film: str, min_face: float) -> dict[str, Any]:
    """Return milliseconds a frame of each stage."""
    from visavis.pipeline import Analyzer
    from visavis.video.decoding import Decoder
    from visavis.video.following import Follower
    from visavis.video.frames import Frame, opened_file

    analyzer = Analyzer(threads=1, min_face=min_face)
    _warm(analyzer, 1)
    follower = Follower(analyzer)
    spent = dict.fromkeys(("decode", "convert", "detect", "follow"), 0.0)
    frames = embedded = 0
    with opened_file(film) as container:
        pictures = Decoder(container, film).pictures()
        while True:
            clock = [time.perf_counter()]
            picture = next(pictures, None)
            clock.append(time.perf_counter())
            if picture is None:
                break
            image = picture.image()
            clock.append(time.perf_counter())
            (faces,) = analyzer.detect([image])
            clock.append(time.perf_counter())
            embedded += follower.step(Frame(picture.number, picture.time, image), faces).embedded
            clock.append(time.perf_counter())
            for i, name in enumerate(spent):
                spent[name] += clock[i + 1] - clock[i]
            frames += 1
    return {name: 1000 * seconds / frames for name, seconds in spent.items()} | {
        "embedded_per_frame": embedded / frames
    }


def peer(raw: str) -> dict[str, Any]:
    """face_recognition's way: detect and encode each frame. Without its decoding, which it leaves to OpenCV."""
    import face_recognition as fr
    import numpy as np

    pictures = np.memmap(raw, np.uint8, "r").reshape(-1, HEIGHT, WIDTH, 3)
    fr.face_encodings(np.array(pictures[0][::8, ::8]))
    start, faces = time.perf_counter(), 0
    for picture in pictures:
        image = np.array(picture)
        faces += len(fr.face_encodings(image, fr.face_locations(image)))
    return {"fps": len(pictures) / (time.perf_counter() - start), "faces": faces}


def run(kind: str, python: Path, cores: list[int], *arguments: object) -> dict[str, Any]:
    threads = {name: str(len(cores)) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    command = [str(python), "-W", "ignore", __file__, "--kind", kind, "--cores", *map(str, cores), "--arguments"]
    done = subprocess.run(
        [*command, *map(str, arguments)], stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, **threads}
    )
    return json.loads(done.stdout.splitlines()[-1])


def measure(options: argparse.Namespace, film: Path, raw: Path) -> None:
    from run import peer_python

    usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    one, two = usable[:1], usable[:2]
    here = Path(sys.executable)
    contenders = {}
    for least in options.min_face:
        name = f"visavis, faces from {least:.0f} px"
        contenders[f"{name}, one core"] = ("follow", here, one, film, 1, least)
        if len(two) == 2:
            contenders[f"{name}, two cores"] = ("follow", here, two, film, 2, least)
    contenders[PEER] = ("peer", peer_python(), one, raw)
    laps: dict[str, list[dict[str, Any]]] = {name: [] for name in contenders}
    for _ in range(options.rounds):
        for name, (kind, python, cores, *arguments) in contenders.items():
            laps[name].append(run(kind, python, cores, *arguments))
    fps = {name: statistics.median(lap["fps"] for lap in of) for name, of in laps.items()}
    print("| | frames/s | least to most | times real time | times face_recognition | tracks | embedded |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name, of in laps.items():
        rates = [lap["fps"] for lap in of]
        print(
            f"| {name} | {fps[name]:.3g} | {min(rates):.3g} to {max(rates):.3g} | {fps[name] / RATE:.2f} | "
            f"{fps[name] / fps[PEER]:.1f} | {of[0].get('tracks', '')} | {of[0].get('embedded', '')} |"
        )
    print("\nMilliseconds a frame on one core:\n")
    print("| faces from | decode | convert to RGB | detect | track, embed and name | embedded a frame |")
    print("|---|---:|---:|---:|---:|---:|")
    for least in options.min_face:
        of = run("stages", here, one, film, least)
        print(
            f"| {least:.0f} px | {of['decode']:.1f} | {of['convert']:.1f} | {of['detect']:.1f} | {of['follow']:.1f} | "
            f"{of['embedded_per_frame']:.3f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--min-face", type=float, nargs="*", default=[60.0, 80.0, 120.0])
    parser.add_argument("--film", type=Path, help="one of 1920x1080 instead of the one made")
    parser.add_argument("--kind", help=argparse.SUPPRESS)
    parser.add_argument("--cores", type=int, nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--arguments", nargs="*", default=[], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.kind:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, options.cores)
        given = options.arguments
        if options.kind == "follow":
            result = follow(given[0], int(given[1]), float(given[2]))
        else:
            result = stages(given[0], float(given[1])) if options.kind == "stages" else peer(given[0])
        print(json.dumps(result))
        return
    with tempfile.TemporaryDirectory() as folder:
        film = options.film or Path(folder) / "film.mp4"
        if options.film is None:
            make_film(film, options.seconds)
        raw = Path(folder) / "frames.raw"
        raw_frames(film, PEER_FRAMES, raw)
        measure(options, film, raw)


if __name__ == "__main__":
    main()

"""How many cameras this machine watches in real time, how fast it recovers from faults, and whether memory stays flat.

    python benchmarks/cameras.py [--seconds 20] [--workers 1 2] [--detect-every 1 3] [--min-face 60] [--most 24]
    python benchmarks/cameras.py --faults
    python benchmarks/cameras.py --soak 60

Cameras are films played at their speed, over and over: 1280x720, 25 frames a second, H.264, made here of lfw-dev
photos that move over a wall, one or two faces of 90 to 150 pixels at a time, seeded. Everything they need runs here:
decoding, detection, tracking, embedding, and search among 1,000 templates. A number of cameras is sustained where of
each camera 95 % of the frames were looked at, and 95 % of those within 300 ms of being decoded, at 22.5 frames a
second or more (counts are told once a second, and a film begins anew); one camera more is tried until that fails.
face_recognition does what its examples do, `face_locations` and `face_encodings` of each decoded frame, in a process a
core, in an environment of its own, made at the first run (benchmarks/run.py). Only the standard library is imported by
then. --faults prints how long it takes until a camera's pictures come again; --soak prints memory once a minute.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
WIDTH, HEIGHT, RATE = 1280, 720, 25
LIMIT, ENOUGH = 0.3, 0.95
FILMS, FILM_SECONDS, TEMPLATES = 4, 60, 1000
PEER_FRAMES = 12
WARM_SECONDS = 6.0


def make_films(folder: Path) -> list[Path]:
    import av
    import numpy as np

    from visavis.datasets.lfw import Lfw
    from visavis.image import load_image, resize

    lfw, rng, made = Lfw.open(), np.random.default_rng(0), []
    for film in range(FILMS):
        rows = rng.choice(len(lfw.photos), 2, replace=False)
        photos = [resize(load_image(lfw.read(int(i))), side, side) for i, side in zip(rows, (220, 320), strict=True)]
        wall = np.full((HEIGHT, WIDTH, 3), 96, np.uint8)
        wall += rng.integers(0, 32, (HEIGHT // 8, WIDTH // 8, 3)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
        made.append(folder / f"film-{film}.mp4")
        with av.open(str(made[-1]), "w") as container:
            stream = container.add_stream("libx264", rate=RATE, options={"preset": "veryfast", "bf": "0", "g": "50"})
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            for number in range(FILM_SECONDS * RATE):
                picture, time_ = wall.copy(), number / RATE
                for i, photo in enumerate(photos):
                    if i and time_ % 10 > 6:  # the second one goes and comes back
                        continue
                    room = WIDTH // 2 - len(photo)
                    x = round(i * WIDTH / 2 + room * (0.5 + 0.5 * np.sin(time_ * 0.6 + i + film)))
                    y = round((HEIGHT - len(photo)) * (0.5 + 0.45 * np.sin(time_ * 0.4 + 2 * i)))
                    picture[y : y + len(photo), x : x + len(photo)] = photo
                frame = av.VideoFrame.from_ndarray(picture)
                frame.pts, frame.time_base = number, Fraction(1, RATE)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return made


def make_gallery(folder: Path) -> Path:
    """Make a gallery of chance."""
    import numpy as np

    from visavis import Embeddings, open_gallery

    vectors = np.random.default_rng(0).normal(size=(TEMPLATES, 128)).astype(np.float32)
    with open_gallery(folder / "people.db") as gallery:
        gallery.enroll("somebody", Embeddings.normalized(vectors, "sface"))
    return folder / "people.db"


def enroll_ada(gallery: Path, film: Path) -> None:
    """Enroll the first person of a film."""
    from visavis import Analyzer, open_gallery
    from visavis.video.frames import frames

    analyzer = Analyzer(threads=1, min_face=60)
    faces = analyzer.analyze(next(frames(film)).image)
    with open_gallery(gallery) as people:
        people.enroll("ada", faces[:1].embeddings)


def cameras(films: list[Path], number: int, options: argparse.Namespace, every: int = 1) -> list[Any]:
    from visavis.video.cameras import Camera

    return [
        Camera(
            name=f"camera-{i}",
            source=str(films[i % len(films)]),
            as_camera=True,
            loop=True,
            min_face=options.min_face or None,
            detect_every=every,
        )
        for i in range(number)
    ]


def processes(watch: Any) -> dict[str, list[Any]]:
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        workers = [psutil.Process(pid) for pid in watch.processes]
        return {
            "main": [psutil.Process()],
            "workers": workers,
            "captures": [child for worker in workers for child in worker.children()],
        }
    return {}


def memory(watch: Any) -> dict[str, float]:
    """Return MiB of each kind of process: what is shared is counted in parts."""
    import psutil

    found = {}
    for kind, running in processes(watch).items():
        total = 0
        for process in running:
            with contextlib.suppress(psutil.NoSuchProcess):
                told = process.memory_full_info()
                total += getattr(told, "pss", told.rss)
        found[kind] = total / 2**20
    return found


class Drained:
    """Takes a watch's events, as a program that stores them does."""

    def __init__(self, watch: Any) -> None:
        self.events: list[Any] = []
        self._watch = watch
        threading.Thread(target=self._drain, daemon=True).start()

    def _drain(self) -> None:
        for event in self._watch.events():
            self.events.append((time.time(), event))

    def until(self, kind: str, camera: str, after: float, seconds: float = 120.0) -> float:
        """Return when the first such event after a time came."""
        end = time.time() + seconds
        while time.time() < end:
            for came, event in list(self.events):
                if came > after and event.kind == kind and event.camera == camera:
                    return came
            time.sleep(0.01)
        raise SystemExit(f"no {kind} of {camera} within {seconds:.0f} s")


def started(watch: Any) -> None:
    end = time.time() + 120
    while any(status.frames < 10 for status in watch.status()):
        if time.time() > end:
            raise SystemExit(f"the cameras did not start: {watch.status()}")
        time.sleep(0.1)


def sustained(
    films: list[Path], gallery: Path, number: int, workers: int, every: int, options: argparse.Namespace
) -> bool:
    """Watch so many cameras, print a row, and return whether the machine kept up."""
    from visavis.video.watch import Watch

    with Watch(cameras(films, number, options, every), gallery=gallery, workers=workers) as watch:
        drained = Drained(watch)
        started(watch)
        time.sleep(WARM_SECONDS)
        before, clock = {status.name: status for status in watch.status()}, time.monotonic()
        busy = [process for running in processes(watch).values() for process in running]
        spent = -sum(sum(process.cpu_times()[:2]) for process in busy)
        p50s, p95s = [], []
        for _ in range(max(int(options.seconds // 10), 1)):  # the status speaks of the last ten seconds
            time.sleep(10.0)
            p50s.append([status.latency_p50_s or 9.9 for status in watch.status()])
            p95s.append([status.latency_p95_s or 9.9 for status in watch.status()])
        status, passed = watch.status(), time.monotonic() - clock
        spent += sum(sum(process.cpu_times()[:2]) for process in busy)
        used = memory(watch)
    looked = [now.frames - before[now.name].frames for now in status]
    dropped = [now.dropped - before[now.name].dropped for now in status]
    share = min(done / max(done + lost, 1) for done, lost in zip(looked, dropped, strict=True))
    worst = max(map(max, p95s))
    good = share >= ENOUGH and worst < LIMIT and min(looked) / passed > 0.9 * RATE
    row = [
        workers,
        every,
        number,
        f"{sum(looked) / passed:.0f}",
        f"{100 * sum(dropped) / sum(looked + dropped):.1f}",
        f"{1000 * statistics.median(p50s[-1]):.0f}",
        f"{1000 * worst:.0f}",
        f"{spent / passed:.2f}",
        " + ".join(f"{used[kind]:.0f}" for kind in ("main", "workers", "captures")),
        len(drained.events),
        "yes" if good else "no",
    ]
    print(f"| {' | '.join(map(str, row))} |", flush=True)
    return good


def peer(raw: str) -> None:
    """face_recognition's way. Without its decoding, which it leaves to OpenCV."""
    import face_recognition as fr
    import numpy as np

    pictures = np.memmap(raw, np.uint8, "r").reshape(-1, HEIGHT, WIDTH, 3)
    fr.face_encodings(np.array(pictures[0][::8, ::8]))
    print("ready", flush=True)
    sys.stdin.readline()
    start, faces = time.perf_counter(), 0
    for picture in pictures:
        image = np.array(picture)
        faces += len(fr.face_encodings(image, fr.face_locations(image)))
    print(json.dumps({"fps": len(pictures) / (time.perf_counter() - start), "faces": faces}), flush=True)


def peer_rate(films: list[Path], folder: Path) -> float:
    """Return the frames a second that face_recognition looks at on all cores."""
    from run import peer_python

    from visavis.models.session import usable_cores
    from visavis.video.frames import frames

    raw = folder / "frames.raw"
    with raw.open("wb") as file:
        for frame, _ in zip(frames(films[0], every=FILM_SECONDS / PEER_FRAMES), range(PEER_FRAMES), strict=False):
            file.write(frame.image.tobytes())
    command = [str(peer_python()), "-W", "ignore", __file__, "--peer", str(raw)]
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **one})
        for _ in range(usable_cores())
    ]
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in running:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [json.loads(process.communicate()[0]) for process in running]
    print(
        f"face_recognition: {sum(answer['fps'] for answer in answers):.2f} frames/s on {len(running)} cores, "
        f"{answers[0]['faces']} faces in {PEER_FRAMES} frames\n",
        flush=True,
    )
    return sum(answer["fps"] for answer in answers)


def capacity(folder: Path, options: argparse.Namespace) -> None:
    films = make_films(folder)
    gallery = make_gallery(folder)
    baseline = 0.0 if options.no_peer else peer_rate(films, folder)
    print(
        "| workers | faces looked for in every | cameras | frames/s | dropped % | p50 ms | worst camera's p95 ms "
        "| cores busy | MiB of main, workers, captures | events | kept up |"
    )
    print("|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|")
    best: dict[tuple[int, int], int] = {}
    for every in options.detect_every:
        for workers in options.workers:
            number, last = options.least, 0
            while number <= options.most:
                if not sustained(films, gallery, number, workers, every, options):
                    break
                last, number = number, number + 1
            best[workers, every] = last
    print()
    for (workers, every), number in best.items():
        ratio = f", {number * RATE / baseline:.0f} times face_recognition's frames/s" if baseline else ""
        print(f"{workers} workers, faces in every {every}: {number} cameras, {number * RATE} frames/s{ratio}")


def faults(folder: Path, options: argparse.Namespace) -> None:
    """Print the seconds from each fault until pictures of the camera come again."""
    from visavis.video.watch import Watch

    films = make_films(folder)
    gallery = make_gallery(folder)
    rows: dict[str, list[float]] = {}
    with Watch(cameras(films, 2, options), gallery=gallery, workers=2) as watch:
        drained = Drained(watch)
        started(watch)
        time.sleep(2)

        def back(what: str, fault: Any, camera: str = "camera-0", kind: str = "camera_back") -> None:
            now = time.time()
            fault()
            rows.setdefault(what, []).append(drained.until(kind, camera, now) - now)
            time.sleep(3)

        def capture() -> Any:
            return processes(watch)["workers"][0].children()[0]

        for _ in range(options.rounds):
            back("capture process killed (-9)", lambda: capture().kill())
            back("worker killed (-9)", lambda: os.kill(watch.processes[0], signal.SIGKILL))
            back("capture process hangs (stopped)", lambda: capture().suspend())
        back("somebody is enrolled, and named", lambda: enroll_ada(gallery, films[0]), kind="identified")
    print("| fault | seconds until pictures come again | least to most |\n|---|---:|---|")
    for what, found in rows.items():
        print(f"| {what} | {statistics.median(found):.1f} | {min(found):.1f} to {max(found):.1f} |")


def soak(folder: Path, options: argparse.Namespace) -> None:
    from visavis.video.watch import Watch

    films = make_films(folder)
    with Watch(cameras(films, 2, options), gallery=make_gallery(folder), workers=2) as watch:
        drained = Drained(watch)
        started(watch)
        print("| minute | main MiB | workers MiB | captures MiB | open files | frames | events |")
        print("|---:|---:|---:|---:|---:|---:|---:|")
        for minute in range(int(options.soak) + 1):
            used, running = memory(watch), processes(watch)
            files = sum(process.num_fds() for kind in running.values() for process in kind)
            print(
                f"| {minute} | {used['main']:.0f} | {used['workers']:.0f} | {used['captures']:.0f} | {files} "
                f"| {sum(status.frames for status in watch.status())} | {len(drained.events)} |",
                flush=True,
            )
            if minute < options.soak:
                time.sleep(60)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--detect-every", type=int, nargs="*", default=[1, 3])
    parser.add_argument("--min-face", type=float, default=60.0, help="0 for the detector's own")
    parser.add_argument("--least", type=int, default=1, help="cameras to begin with")
    parser.add_argument("--most", type=int, default=24)
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--faults", action="store_true")
    parser.add_argument("--rounds", type=int, default=3, help="of --faults")
    parser.add_argument("--soak", type=float, metavar="MINUTES")
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        peer(options.peer)
        return
    with tempfile.TemporaryDirectory() as folder:
        if options.faults:
            faults(Path(folder), options)
        elif options.soak:
            soak(Path(folder), options)
        else:
            capacity(Path(folder), options)


if __name__ == "__main__":
    main()

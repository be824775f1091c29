"""MTCNN here and in facenet-pytorch, side by side: one thread, one core, timed in turns.

    python benchmarks/mtcnn_speed.py [--rounds 7] [--photos 96]

facenet-pytorch 2.6.0 runs on torch 2.13 in an environment of its own, made at the first run, with what it takes from
torchvision supplied (tests/reference/mtcnn/facenet.py; that takes 6 % of its time). Both get decoded pictures: LFW
photos one by one, LFW photos in lists of 16, and the group photo of the card six-people.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import time
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = HERE / ".cache" / "facenet"
TASKS = ("LFW, one by one", "LFW, lists of 16", "group photo")
CONTENDERS = ("facenet-pytorch", "visavis f32", "visavis bf16")


def peer_python() -> Path:
    """Return the Python of the environment with torch, and facenet-pytorch unpacked beside it."""
    python = CACHE / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not (CACHE / "ready").is_file():
        venv.create(CACHE, with_pip=True, clear=True)
        pip = [str(python), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, "torch==2.13.0", "numpy", "pillow"], check=True)
        subprocess.run([*pip, "--no-deps", "--target", str(CACHE / "wheel"), "facenet-pytorch==2.6.0"], check=True)
        (CACHE / "ready").touch()
    return python


def contend(name: str, photos: int, group: str) -> None:
    """Be one contender: say "ready", then for each "go" print the seconds a picture of each task."""
    import numpy as np
    from contender import photos as encoded
    from PIL import Image

    def decoded(data: bytes) -> np.ndarray:
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))

    pictures = [decoded(data) for data in encoded(photos)]
    big = decoded(Path(group).read_bytes())
    if name == "facenet-pytorch":
        sys.path.insert(0, str(HERE.parent / "tests" / "reference" / "mtcnn"))
        import facenet
        import torch

        torch.set_num_threads(1)
        mtcnn = facenet.load(CACHE / "wheel").MTCNN(keep_all=True, device="cpu")

        def one(picture: np.ndarray) -> int:
            boxes = mtcnn.detect(picture, landmarks=True)[0]
            return 0 if boxes is None else len(boxes)

        def several(batch: list[np.ndarray]) -> int:
            found = mtcnn.detect([Image.fromarray(picture) for picture in batch], landmarks=True)[0]
            return sum(0 if boxes is None else len(boxes) for boxes in found)
    else:
        from visavis.detection import open_detector
        from visavis.models.session import EngineOptions
        from visavis.models.store import Store

        detector = open_detector("mtcnn", Store(), EngineOptions("openvino", "cpu", name.split()[-1], 1))

        def one(picture: np.ndarray) -> int:
            return len(detector.detect([picture])[0])

        def several(batch: list[np.ndarray]) -> int:
            return sum(map(len, detector.detect(batch)))

    def lap() -> dict[str, tuple[float, float, int]]:
        work = {
            TASKS[0]: (len(pictures), lambda: sum(map(one, pictures))),
            TASKS[1]: (len(pictures), lambda: sum(several(pictures[i : i + 16]) for i in range(0, len(pictures), 16))),
            TASKS[2]: (1, lambda: one(big)),
        }
        taken = {}
        for task, (count, run) in work.items():
            start, cpu = time.perf_counter(), time.process_time()
            faces = run()
            taken[task] = ((time.perf_counter() - start) / count, (time.process_time() - cpu) / count, faces)
        return taken

    lap()
    print("ready", flush=True)
    for _ in sys.stdin:
        print(json.dumps(lap()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--photos", type=int, default=96)
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--contend", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contend:
        contend(options.contend[0], options.photos, options.contend[1])
        return
    from visavis.models.store import Store

    group = str(Store().path("six-people"))
    pin = ["taskset", "-c", str(options.core)] if sys.platform == "linux" else []
    running = {}
    for name in CONTENDERS:
        python = str(peer_python()) if name == "facenet-pytorch" else sys.executable
        command = [*pin, python, "-W", "ignore", str(HERE / "mtcnn_speed.py"), "--photos", str(options.photos)]
        process = subprocess.Popen(
            [*command, "--contend", name, group],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        assert process.stdout is not None
        if process.stdout.readline().strip() != "ready":
            raise SystemExit(f"{name!r} did not start")
        running[name] = process
    laps: dict[str, list[dict]] = {name: [] for name in CONTENDERS}
    for _ in range(options.rounds):
        for name, process in running.items():
            assert process.stdin is not None
            assert process.stdout is not None
            print("go", file=process.stdin, flush=True)
            laps[name].append(json.loads(process.stdout.readline()))
    for process in running.values():
        assert process.stdin is not None
        process.stdin.close()
        process.wait()
    print("| one thread | " + " | ".join(f"{task}, CPU ms | times" for task in TASKS) + " |")
    print("|---|" + "--:|---|" * len(TASKS))
    for name in CONTENDERS:
        cells = []
        for task in TASKS:
            mine, theirs = ([lap[task][1] for lap in laps[n]] for n in (name, CONTENDERS[0]))
            ratios = [b / a for a, b in zip(mine, theirs, strict=True)]
            cells.append(f"{statistics.median(mine) * 1e3:.1f}")
            times = f"{statistics.median(theirs) / statistics.median(mine):.1f}"
            cells.append("1" if name == CONTENDERS[0] else f"{times} ({min(ratios):.1f} to {max(ratios):.1f})")
        print(f"| {name} | " + " | ".join(cells) + " |")
    print({name: {task: laps[name][0][task][2] for task in TASKS} for name in CONTENDERS}, "faces")


if __name__ == "__main__":
    main()

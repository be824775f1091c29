"""All benchmarks of docs/benchmarks.md in one run, side by side; about a quarter of an hour on two cores.

    make bench                            measure, and write the tables between the markers of docs/benchmarks.md
    python benchmarks/run.py --quick      a smoke run: few photos, small galleries, printed and not written

Contenders run in processes of their own, pinned to cores, and are timed in turns, so that a busy machine slows them
alike; figures are medians of the rounds. face_recognition gets an environment of its own, made at the first run.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from contender import CONTENDERS

from visavis.models.session import cpu_name, usable_cores
from visavis.models.store import Store

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "benchmarks.md"
START, END = "<!-- measured: written by make bench -->", "<!-- end of what was measured -->"
PEER = "face_recognition, 1 thread"
_PEER_PACKAGES = ("dlib-bin", "numpy", "pillow", "click", "setuptools<81", "face_recognition_models==0.3.0")


def peer_python() -> Path:
    """Return the Python of the environment that has face_recognition on dlib-bin, made on first use."""
    folder = HERE / ".cache" / "face_recognition"
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not (folder / "ready").is_file():
        venv.create(folder, with_pip=True, clear=True)
        pip = [str(python), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, *_PEER_PACKAGES], check=True)
        subprocess.run([*pip, "--no-deps", "face_recognition==1.3.0"], check=True)
        (folder / "ready").touch()
    return python


@dataclass
class Running:
    """A contender's process and what its passes took, in milliseconds a photo."""

    process: subprocess.Popen[str]
    photos: int
    laps: list[float]
    faces: int = 0

    @classmethod
    def start(cls, name: str, photos: int) -> Running:
        python = peer_python() if name == PEER else Path(sys.executable)
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0, 1]
        used = cores[:2] if "2 threads" in name else cores[:1]
        threads = {key: str(len(used)) for key in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        command = [str(python), "-W", "ignore", str(HERE / "contender.py"), name, "--photos", str(photos), "--cores"]
        process = subprocess.Popen(
            [*command, *map(str, used)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **threads},
        )
        running = cls(process, photos, [])
        if running._line() != "ready":
            raise SystemExit(f"{name!r} did not start")
        return running

    def lap(self) -> None:
        assert self.process.stdin is not None
        print("go", file=self.process.stdin, flush=True)
        answer = json.loads(self._line())
        self.laps.append(answer["seconds"] * 1e3 / self.photos)
        self.faces = answer["faces"]

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


def photo_to_embeddings(photos: int, rounds: int) -> str:
    """Return the table of all contenders, beside OpenCV and face_recognition."""
    running = {name: Running.start(name, max(5, photos // 5) if name == PEER else photos) for name in CONTENDERS}
    for _ in range(rounds):
        for contender in running.values():
            contender.lap()
    for contender in running.values():
        contender.stop()
    median = {name: statistics.median(contender.laps) for name, contender in running.items()}
    lines = [
        "| | ms a photo | least to most | faces | times OpenCV | times face_recognition |",
        "|---|--:|---|--:|--:|--:|",
    ]
    for name, contender in running.items():
        lines.append(
            f"| {name} | {median[name]:.1f} | {min(contender.laps):.1f} to {max(contender.laps):.1f} "
            f"| {contender.faces} in {contender.photos} | {median['OpenCV, 1 thread'] / median[name]:.1f} "
            f"| {median[PEER] / median[name]:.1f} |"
        )
    gains = [
        f"{p}: {median[f'visavis {p}, 1 thread, list'] / median[f'visavis {p}, 2 threads, list']:.2f}"
        for p in ("bf16", "f32")
    ]
    return "\n".join([*lines, "", f"Two threads against one, lists: {', '.join(gains)} times as fast."])


def networks() -> str:
    """Return the table of the networks alone and their share of the machine's limit."""
    found = json.loads(_output("networks.py"))
    peaks = ", ".join(f"{precision} {peak:.0f} GFLOP/s" for precision, peak in found["peaks"].items())
    lines = [
        f"Best matrix product, one thread: {peaks}.",
        "",
        "| network | engine | ms an image | GFLOP/s | share of the limit |",
        "|---|---|--:|--:|--:|",
    ]
    lines += [
        f"| {r['network']} | {r['engine']} | {r['ms']:.2f} | {r['gflops']:.0f} | {r['share']:.0%} |"
        for r in found["rows"]
    ]
    return "\n".join(lines)


def starting(rounds: int) -> str:
    """Return the table of start-up times, medians of fresh processes in turns."""
    store = Store()
    photos = [str(store.path("obama")), str(store.path("obama2"))]
    commands = {
        "python alone": [sys.executable, "-c", "pass"],
        "`import visavis`": [sys.executable, "-c", "import visavis"],
        "`visavis --help`": [sys.executable, "-m", "visavis", "--help"],
        "second `visavis verify` (two photos, 1 to 3 megapixels)": [sys.executable, "-m", "visavis", "verify", *photos],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds + 1):
        for name, command in commands.items():
            start = time.perf_counter()
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
            times[name].append(time.perf_counter() - start)
    bare = statistics.median(times["python alone"][1:])
    lines = ["| | seconds | over python alone |", "|---|--:|--:|"]
    for name, taken in times.items():
        seconds = statistics.median(taken[1:])
        lines.append(f"| {name} | {seconds:.3f} | {seconds - bare:.3f} |")
    return "\n".join(lines)


def memory(photos: int) -> str:
    """Return the table of resident memory over many photos."""
    rows = {p: json.loads(_output("memory.py", "--photos", str(photos), "--precision", p)) for p in ("bf16", "f32")}
    marks = list(rows["f32"])
    lines = ["| after photos | " + " | ".join(f"{int(m):,}" for m in marks) + " |", "|---|" + "--:|" * len(marks)]
    for precision, row in rows.items():
        lines.append(f"| resident, {precision}, MB | " + " | ".join(f"{row[m]:.0f}" for m in marks) + " |")
    return "\n".join(lines)


def searching(quick: bool) -> str:
    """Return the tables of searching and opening galleries."""
    sizes = ["--sizes", "10000", "--open", "10000"] if quick else []
    return _output("search.py", *sizes)


def _output(script: str, *arguments: str) -> str:
    cores = sorted(os.sched_getaffinity(0))[:1] if hasattr(os, "sched_getaffinity") else []

    def pin() -> None:
        if cores:
            os.sched_setaffinity(0, cores)

    done = subprocess.run(
        [sys.executable, str(HERE / script), *arguments],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=pin if os.name == "posix" else None,
    )
    return done.stdout.strip()


def machine() -> str:
    """Describe what was measured on."""
    names = ("visavis", "openvino", "onnxruntime", "opencv-python-headless", "faiss-cpu", "numpy")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    today = datetime.datetime.now(datetime.timezone.utc).date()
    return (
        f"{cpu_name()}, {usable_cores()} cores; {platform.system()}, Python {platform.python_version()}; {versions}; "
        f"{today}. LFW photos (250 x 250) as encoded JPEG in memory."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smoke run, printed and not written")
    options = parser.parse_args()
    quick = options.quick
    parts = [START, "", machine()]
    for title, make in (
        ("Photo to embeddings", lambda: photo_to_embeddings(10 if quick else 150, 2 if quick else 9)),
        ("The networks alone", networks),
        ("Search", lambda: searching(quick)),
        ("Start-up", lambda: starting(2 if quick else 9)),
        ("Memory", lambda: memory(200 if quick else 10_000)),
    ):
        print(f"{title} ...", file=sys.stderr, flush=True)
        parts += ["", f"## {title}", "", make()]
    text = "\n".join([*parts, "", END])
    print(text)
    if not quick:
        _write(text)


def _write(text: str) -> None:
    page = PAGE.read_text("utf-8")
    head, rest = page.split(START)
    tail = rest.split(END)[1]
    with tempfile.NamedTemporaryFile("w", dir=PAGE.parent, delete=False, encoding="utf-8") as new:
        new.write(head + text + tail)
    Path(new.name).replace(PAGE)


if __name__ == "__main__":
    main()

"""All benchmarks of docs/benchmarks.md in one run, side by side; about a quarter of an hour on two cores.

    make bench                            measure, and write the tables between the markers of docs/benchmarks.md
    python benchmarks/run.py --quick      a smoke run: few photos, small galleries, printed and not written

Contenders run in processes of their own, pinned to cores, and are timed in turns, so that a busy machine slows them
alike; figures are medians of the rounds. face_recognition gets an environment of its own, made at the first run.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import venv
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import budgets
from contender import CONTENDERS, DATA

from visavis.models.engines import engine_states
from visavis.models.session import cpu_name, usable_cores
from visavis.models.store import Store

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "benchmarks.md"
START, END = "<!-- measured: written by make bench -->", "<!-- end of what was measured -->"
OPENCV, PEER = "OpenCV, 1 thread", "face_recognition, 1 thread"
_ENOUGH_CORES = 1.9  # for two threads to show what they can
_PEER_PACKAGES = ("dlib-bin", "numpy", "pillow", "click", "setuptools<81", "face_recognition_models==0.3.0")


Figures = dict[str, float]
"""What a section measured of the promises in budgets.py."""


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
    cpu: list[float]
    faces: int = 0

    @classmethod
    def start(cls, name: str, photos: int) -> Running:
        python = peer_python() if name == PEER else Path(sys.executable)
        used = _cores(2 if "2 threads" in name else 1)
        threads = {key: str(len(used)) for key in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        command = [str(python), "-W", "ignore", str(HERE / "contender.py"), name, "--photos", str(photos), "--cores"]
        process = subprocess.Popen(
            [*command, *map(str, used)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **threads},
        )
        running = cls(process, photos, [], [])
        if running._line() != "ready":
            raise SystemExit(f"{name!r} did not start")
        return running

    def lap(self) -> None:
        assert self.process.stdin is not None
        print("go", file=self.process.stdin, flush=True)
        answer = json.loads(self._line())
        self.laps.append(answer["seconds"] * 1e3 / self.photos)
        self.cpu.append(answer["cpu"] * 1e3 / self.photos)
        self.faces = answer["faces"]

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


def photo_to_embeddings(photos: int, rounds: int) -> tuple[str, Figures]:
    """Return the table of all contenders, beside OpenCV and face_recognition."""
    names = [name for name in CONTENDERS if "bf16" not in name or "bf16" in _precisions()]
    try:
        peer_python()
    except subprocess.CalledProcessError as error:
        print(f"face_recognition can't be installed and is left out: {error}", file=sys.stderr)
        names.remove(PEER)
    running = {name: Running.start(name, photos) for name in names}
    free = []
    for _ in range(rounds):
        for contender in running.values():
            contender.lap()
        free.append(_free_cores())
    for contender in running.values():
        contender.stop()
    median = {name: statistics.median(contender.laps) for name, contender in running.items()}

    def times(name: str, than: str) -> str:
        """Say how many times as fast as another a contender is, with the least and most of any round."""
        if than not in running:
            return "not measured"
        ratios = [b / a for a, b in zip(running[name].laps, running[than].laps, strict=True)]
        return f"{median[than] / median[name]:.1f} ({min(ratios):.1f} to {max(ratios):.1f})"

    lines = [
        "| | ms a photo | least to most | CPU ms | faces | times OpenCV | times face_recognition |",
        "|---|--:|---|--:|--:|--:|--:|",
    ]
    for name, contender in running.items():
        lines.append(
            f"| {name} | {median[name]:.1f} | {min(contender.laps):.1f} to {max(contender.laps):.1f} "
            f"| {statistics.median(contender.cpu):.1f} | {contender.faces} in {contender.photos} "
            f"| {times(name, OPENCV)} | {times(name, PEER)} |"
        )
    figures = {}
    for p in _precisions():
        one, two = f"visavis {p}, 1 thread, list", f"visavis {p}, 2 threads, list"
        figures[f"opencv {p}"] = median[OPENCV] / median[one]
        if PEER in median:
            figures[f"peer {p}"] = median[PEER] / median[one]
        lines += ["", f"Two threads in {p} are {times(two, one)} times as fast as one."]
        if statistics.median(free) >= _ENOUGH_CORES:
            figures[f"threads {p}"] = median[one] / median[two]
    lines += [
        "",
        f"Two threads of plain hashing got {statistics.median(free):.2f} cores "
        f"({min(free):.2f} to {max(free):.2f}) in the "
        f"same rounds; below {_ENOUGH_CORES} the machine can't tell how well two threads do.",
    ]
    busy = max(median[name] / statistics.median(running[name].cpu) for name in names if "1 thread" in name)
    if busy > 1.1:
        lines += ["", f"The machine was busy: wall time was up to {busy:.1f} times CPU time."]
    return "\n".join(lines), figures


def networks() -> tuple[str, Figures]:
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
    return "\n".join(lines), {}


def profile(photos: int) -> tuple[str, Figures]:
    """Return where the time goes: the stages of a photo, and the layers of the networks."""
    found = json.loads(_output("stages.py", "--photos", str(photos)))
    stages = found["stages"]
    lines = ["| CPU ms a photo, one thread, list | " + " | ".join(stages) + " |", "|---|" + "--:|" * len(stages)]
    for stage in stages["f32"]:
        cells = [f"{taken[stage]:.2f} ({taken[stage] / sum(taken.values()):.0%})" for taken in stages.values()]
        lines.append(f"| {stage} | " + " | ".join(cells) + " |")
    lines += ["", "| layers | share of FLOPs | share of time | GFLOP/s | share of the limit |", "|---|--:|--:|--:|--:|"]
    lines += [
        f"| {r['network']}, {r['precision']}: {r['kind']} | {r['flops']:.0%} | {r['time']:.0%} | {r['gflops']:.0f} "
        f"| {r['share']:.0%} |"
        for r in found["layers"]
    ]
    return "\n".join(lines), {}


def starting(rounds: int) -> tuple[str, Figures]:
    """Return the table of start-up times, medians of fresh processes in turns."""
    store = Store()
    photos = [str(store.path("obama")), str(store.path("obama2"))]
    visavis = [sys.executable, "-m", "visavis"]
    commands = {
        "python": ("python alone", [sys.executable, "-c", "pass"]),
        "import": ("`import visavis`", [sys.executable, "-c", "import visavis"]),
        "help": ("`visavis --help`", [*visavis, "--help"]),
        "verify": ("second `visavis verify` (two photos, 1 to 3 megapixels)", [*visavis, "verify", *photos]),
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds + 1):
        for name, (_title, command) in commands.items():
            start = time.perf_counter()
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
            times[name].append(time.perf_counter() - start)
    median = {name: statistics.median(taken[1:]) for name, taken in times.items()}
    lines = ["| | seconds | least to most | over python alone |", "|---|--:|---|--:|"]
    for name, (title, _command) in commands.items():
        least, most = min(times[name][1:]), max(times[name][1:])
        lines.append(
            f"| {title} | {median[name]:.3f} | {least:.3f} to {most:.3f} | {median[name] - median['python']:.3f} |"
        )
    return "\n".join(lines), {**median, "import": median["import"] - median["python"]}


def memory(photos: int) -> tuple[str, Figures]:
    """Return the table of resident memory over many photos."""
    marks, rows, figures = [], [], {}
    for precision in _precisions():
        for threads in (1, 2):
            found = json.loads(
                _output(
                    *("memory.py", "--photos", str(photos), "--precision", precision, "--threads", str(threads)),
                    cores=threads,
                )
            )
            resident = {int(mark): megabytes for mark, megabytes in found["marks"].items()}
            marks = list(resident)
            cells = " | ".join(f"{megabytes:.0f}" for megabytes in resident.values())
            rows.append(f"| {precision}, {threads} thread{'s' * (threads > 1)} | {cells} | {found['peak']:.0f} |")
            if photos == 10_000:
                most = max(resident.values())
                figures[f"memory {precision}"] = max(most, figures.get(f"memory {precision}", most))
                gained = resident[10_000] - resident[2_500]
                figures[f"growth {precision}"] = max(gained, figures.get(f"growth {precision}", gained))
    head = "| resident MB after photos | " + " | ".join(f"{mark:,}" for mark in marks) + " | peak |"
    return "\n".join([head, "|---|" + "--:|" * (len(marks) + 1), *rows]), figures


def searching(quick: bool) -> tuple[str, Figures]:
    """Return the tables of searching and opening galleries."""
    from search import OpeningRow, SearchRow, markdown

    sizes = ["--sizes", "10000", "--open", "10000"] if quick else []
    found = json.loads(_output("search.py", "--json", *sizes))
    rows, opened = [SearchRow(**row) for row in found["search"]], [OpeningRow(**row) for row in found["opening"]]
    figures = {}
    if not quick:
        largest = rows[-1]
        figures = {
            "flat search": largest.faiss_flat_ms / largest.flat_ms,
            "8-bit search": largest.faiss_flat_ms / largest.eight_bit_ms,
            "opening": opened[-1].open_s,
        }
    return markdown(rows, opened), figures


def _precisions() -> list[str]:
    """Return what is measured here: f32, and bf16 where the CPU computes it."""
    native = {name for state in engine_states() for name in state.capabilities}
    return ["bf16", "f32"] if "BF16" in native else ["f32"]


def _free_cores() -> float:
    """Return how many cores two threads of plain hashing get now: what two threads could gain here at best."""
    data, until = bytes(2**20), time.perf_counter() + 1.0

    def work() -> None:
        while time.perf_counter() < until:
            hashlib.sha256(data).digest()

    start, cpu = time.perf_counter(), time.process_time()
    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (time.process_time() - cpu) / (time.perf_counter() - start)


def _cores(count: int) -> list[int]:
    """Return the first cores this process may use; where a system can't pin, as many numbers."""
    return sorted(os.sched_getaffinity(0))[:count] if hasattr(os, "sched_getaffinity") else list(range(count))


def _output(script: str, *arguments: str, cores: int = 1) -> str:
    used = _cores(cores)

    def pin() -> None:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, used)

    done = subprocess.run(
        [sys.executable, str(HERE / script), *arguments],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": str(len(used)), "OPENBLAS_NUM_THREADS": str(len(used))},
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
    if not (DATA / "lfw-dev.zip").is_file():
        raise SystemExit(f"lfw-dev.zip is not in {DATA}; set VISAVIS_DATA to the folder that has it")
    figures: Figures = {}
    parts = []
    for title, make in (
        ("Photo to embeddings", lambda: photo_to_embeddings(10 if quick else 100, 2 if quick else 7)),
        ("Where the time goes", lambda: profile(10 if quick else 100)),
        ("The networks alone", networks),
        ("Search", lambda: searching(quick)),
        ("Start-up", lambda: starting(2 if quick else 9)),
        ("Memory", lambda: memory(200 if quick else 10_000)),
    ):
        print(f"{title} ...", file=sys.stderr, flush=True)
        table, found = make()
        figures |= found
        parts += ["", f"## {title}", "", table]
    summary = ["", "## Budgets", "", budgets.table(figures)]
    text = "\n".join([START, "", machine(), *summary, *parts, "", END])
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

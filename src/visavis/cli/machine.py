"""``visavis doctor`` and ``visavis bench``: what this machine runs models on, and how fast."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from visavis.cli.faces import counted
from visavis.cli.options import Json, Machine, Recognition, unpacked
from visavis.cli.report import Column, Report
from visavis.errors import EngineError, InputError, VisavisError

if TYPE_CHECKING:
    from visavis.models.cards import ModelCard
    from visavis.models.engines import EngineState
    from visavis.models.session import EngineOptions
    from visavis.models.store import Store
    from visavis.pipeline import Analyzer
    from visavis.types import Image

__all__ = ["bench", "doctor"]

_LIBRARIES = (
    *("numpy", "opencv-python-headless", "pillow", "onnx", "openvino", "onnxruntime", "onnxruntime-gpu"),
    *("sqlalchemy", "faiss-cpu", "typer", "rich", "pip", "dlib-bin", "scikit-learn", "scikit-image", "ImageHash"),
)
_VARIABLES = {
    "engine": "VISAVIS_ENGINE",
    "device": "VISAVIS_DEVICE",
    "precision": "VISAVIS_PRECISION",
    "threads": "VISAVIS_THREADS",
}
_MODELS = {
    "detection": ("visavis.detection", ""),
    "landmarks": ("visavis.analysis.landmarks", ""),
    "recognition": ("visavis.recognition", "network"),
}
"""Each task with the package that holds its code, and the module of a card that names none."""
_SIDE = 640  # of the picture that detectors are measured on
_SAMPLE = "obama"
_BATCH = 8  # of the crops that recognizers are measured on
_PHOTOS = 200  # that `bench` takes of those it is given
_LOOK_SECONDS = 0.3  # that a model may take in `doctor`, which looks at all
_SECONDS = 1.0  # that a measurement may take, warm-up apart


@unpacked
def doctor(as_json: Json = False, *, machine: Machine) -> None:
    """Show what visavis runs on here, why, and what is wrong. Never uses the network.

    Exit code: 0 nothing wrong, 1 a problem was found (each is listed), 2 error.

    \b
    Examples:
      visavis doctor
      visavis doctor --threads 1 --precision f32
    """
    from visavis.models.engines import cpu_features, engine_states
    from visavis.models.session import EngineOptions, cpu_name, usable_cores
    from visavis.models.store import Store

    with Report("doctor", as_json=as_json) as report:
        store, engines = Store(), engine_states()
        problems = [*store.problems(), *_engine_problems(engines)]
        options: EngineOptions | None = None
        try:
            options = EngineOptions.choose(
                engine=machine.engine,
                device=machine.device,
                precision=machine.precision,
                threads=machine.threads,
            )
        except VisavisError as error:
            problems.append(str(error))
        home = _home(store)
        if not home["writable"]:
            problems.append(f"{store.home} can't be written: no model can be stored; set VISAVIS_HOME")
        models = [_measured(store, card, options, problems) for card in store.cards().values()]
        chosen = {} if options is None else _chosen(options, machine, engines)
        content: dict[str, Any] = {
            "chosen": chosen,
            "cpu": {
                "name": cpu_name(),
                "cores": os.cpu_count(),
                "usable_cores": usable_cores(),
                "features": list(cpu_features()),
            },
            "engines": [
                {
                    "name": engine.name,
                    "version": engine.version,
                    "devices": list(engine.devices),
                    "capabilities": list(engine.capabilities),
                }
                for engine in engines
            ],
            "python": {"version": platform.python_version(), "platform": platform.platform()},
            "video": _video(),
            "libraries": _versions(),
            "home": home,
            "models": [model for model in models if model is not None],
            "problems": problems,
        }
        report.fields(**content)
        if not as_json:
            _show(report, content)
    raise typer.Exit(1 if problems else 0)


def _show(report: Report, found: dict[str, Any]) -> None:
    from visavis import __version__

    cpu, home = found["cpu"], found["home"]
    report.line(f"visavis {__version__} on Python {found['python']['version']}, {found['python']['platform']}")
    report.facts(
        [
            ("cpu", f"{cpu['name']}, {cpu['usable_cores']} of {cpu['cores']} cores usable"),
            ("cpu features", " ".join(cpu["features"]) or "not listed by this system"),
            *((what, f"{choice['value']}: {choice['why']}") for what, choice in found["chosen"].items()),
        ]
    )
    report.line()
    report.line("Engines")
    report.facts((engine["name"], _engine_line(engine)) for engine in found["engines"])
    report.line()
    report.line("Video")
    report.facts([("decoder", _video_line(found["video"]))])
    report.line()
    report.line("Models")
    report.facts((model["id"], _model_line(model)) for model in found["models"])
    report.line()
    report.line("Storage")
    report.facts(
        [
            ("home", f"{home['path']} ({home['why']}){'' if home['writable'] else ', not writable'}"),
            ("models", _size(home["models_bytes"])),
            ("compiled models", _size(home["compiled_bytes"])),
        ]
    )
    report.line()
    report.line("Libraries")
    report.facts((name, version) for name, version in found["libraries"].items())
    report.line()
    report.line("No problem found." if not found["problems"] else "Problems")
    for problem in found["problems"]:
        report.line(f"  {problem}")


def _chosen(options: EngineOptions, machine: Machine, engines: tuple[EngineState, ...]) -> dict[str, dict[str, str]]:
    """Return what runs models and why: an argument, an environment variable or the default."""
    native = next((e for e in engines if e.name == options.engine), None)
    bf16 = native is not None and "BF16" in native.capabilities
    defaults = {
        "engine": "default where it is installed" if options.engine == "openvino" else "default for this machine",
        "device": "default",
        "precision": "default",
        "threads": "default: all cores this process may use",
    }
    chosen = {}
    for name, variable in _VARIABLES.items():
        given, set_here = getattr(machine, name) is not None, os.environ.get(variable)
        why = f"argument --{name}" if given else f"environment {variable}" if set_here else defaults[name]
        chosen[name] = {"value": str(getattr(options, name)), "why": why}
    if options.precision == "auto":
        native_text = "this CPU computes bf16 natively" if bf16 else "this CPU has no native bf16"
        if options.engine != "openvino":
            bf16, native_text = False, f"{options.engine} runs f32"
        chosen["precision"]["value"] = f"auto = {'bf16' if bf16 else 'f32'}"
        chosen["precision"]["why"] += f"; {native_text}"
    return chosen


def _engine_problems(engines: tuple[EngineState, ...]) -> list[str]:
    broken = [engine for engine in engines if engine.problem]
    problems = [f"{engine.name} is installed but can't be loaded: {engine.problem}" for engine in broken]
    if not any(engine.version and not engine.problem for engine in engines):
        problems.append("no inference engine works: pip install openvino, or pip install onnxruntime")
    return problems


def _engine_line(engine: dict[str, Any]) -> str:
    if engine["version"] is None:
        return f"not installed: pip install {engine['name']}"
    natively = f", computes {' '.join(engine['capabilities'])}" if engine["capabilities"] else ""
    choose = f"--engine {engine['name']} or VISAVIS_ENGINE={engine['name']}"
    return f"{engine['version']}, devices {' '.join(engine['devices']) or 'none'}{natively}; choose by {choose}"


def _video() -> dict[str, Any] | None:
    """Return what decodes videos here; None without PyAV."""
    from visavis.video.hardware import hardware_decoders

    try:
        hardware = hardware_decoders()
    except EngineError:
        return None
    import av

    return {"pyav": av.__version__, "ffmpeg": av.ffmpeg_version_info, "hardware": list(hardware)}


def _video_line(video: dict[str, Any] | None) -> str:
    if video is None:
        return "not installed: pip install 'visavis[video]'"
    return f"PyAV {video['pyav']} with FFmpeg {video['ffmpeg']}, decodes on {', '.join(video['hardware']) or 'the CPU'}"


def _model_line(model: dict[str, Any]) -> str:
    if model["why"]:
        return str(model["why"])
    if model["ms"] is None:
        return f"{model['state']}" + (f": visavis models fetch {model['id']}" if model["state"] != "ready" else "")
    precision = f", {model['precision']}" if model["precision"] else ""  # what is no network has none
    return f"{model['ms']:.2f} ms {model['per']}{precision}"


def _home(store: Store) -> dict[str, Any]:
    home = store.home
    standing = next((folder for folder in (home, *home.parents) if folder.exists()), home)
    return {
        "path": str(home),
        "why": "environment VISAVIS_HOME" if os.environ.get("VISAVIS_HOME") else "default",
        "exists": home.is_dir(),
        "writable": standing.is_dir() and os.access(standing, os.W_OK),
        "models_bytes": _bytes_in(home / "models"),
        "compiled_bytes": _bytes_in(store.compiled_dir()),
    }


def _bytes_in(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_size  # noqa: PTH118
            except OSError:
                continue  # it went while we were looking
    return total


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"


def _versions() -> dict[str, str]:
    from importlib import metadata

    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _measured(
    store: Store, card: ModelCard, options: EngineOptions | None, problems: list[str]
) -> dict[str, Any] | None:
    """Return the state of a model and, where it is there, the time of a run; None for what is no model of its own."""
    if card.task not in _MODELS:
        return None
    row: dict[str, Any] = {"id": card.id, "task": card.task, "why": "", "ms": None, "per": "", "precision": ""}
    try:
        held = store.verify(card.id)
        row["state"] = held.state
        if held.state in ("damaged", "outdated"):
            problems.append(f"model {card.id!r} is {held.state}: visavis models fetch {card.id}")
        row["why"] = store.unusable(card.id)
        if held.state == "ready" and not row["why"] and options is not None:
            row |= _timed(card, options, store)
    except VisavisError as error:
        row.setdefault("state", "unreadable")
        problems.append(str(error))
    except Exception as error:  # noqa: BLE001 (whatever a model stumbles over is what is wrong here)
        problems.append(f"model {card.id!r} can't be run: {type(error).__name__}: {error}")
    return row


def _timed(card: ModelCard, options: EngineOptions, store: Store) -> dict[str, Any]:
    """Return the time that a model takes as it is used, whatever it consists of, and what its networks compute in."""
    import numpy as np

    from visavis.models.loader import Loader, load_code
    from visavis.models.session import Session
    from visavis.types import Faces

    used: set[str] = set()

    class Watched(Loader):
        def session(self, name: str, **how: Any) -> Session:
            session = super().session(name, **how)
            used.add(session.options.precision)
            return session

    package, default = _MODELS[card.task]
    model = load_code(package, card, Watched(store, options), {}, default=default)
    number = 1
    if card.task == "recognition":
        number, per = _BATCH, f"a face, {_BATCH} at once"
        crops = np.random.default_rng(0).integers(0, 256, (number, model.size, model.size, 3), np.uint8)
        seconds = _median(lambda: model.embed(crops), _LOOK_SECONDS)
    elif card.task == "landmarks":
        per = "a face"
        box = Faces(np.array([[0.2, 0.2, 0.8, 0.8]]) * _SIDE, np.ones(1, np.float32))
        picture = _picture(store)
        seconds = _median(lambda: model.locate(picture, box), _LOOK_SECONDS)
    else:
        per = f"a {_SIDE}x{_SIDE} picture"
        pictures = [_picture(store)]
        seconds = _median(lambda: model.detect(pictures), _LOOK_SECONDS)
    return {"ms": round(1e3 * seconds / number, 3), "per": per, "precision": ", ".join(sorted(used))}


def _picture(store: Store) -> Image:
    """Return a picture to detect in: a sample photo where it is here, as what there is to find takes time."""
    import numpy as np

    from visavis.image import load_image, resize

    if store.state(_SAMPLE).state == "ready":
        photo = load_image(store.path(_SAMPLE))
        side = min(photo.shape[:2])
        return resize(np.ascontiguousarray(photo[:side, :side]), _SIDE, _SIDE)
    steps = np.linspace(0, 255, _SIDE).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(steps[:, None], (_SIDE, _SIDE, 3)))


def _median(act: Callable[[], object], seconds: float = _SECONDS) -> float:
    """Return the median time of a call in seconds, after a warm-up."""
    import statistics

    act()
    act()
    times: list[float] = []
    until = time.perf_counter() + seconds
    while len(times) < 3 or (time.perf_counter() < until and len(times) < 200):
        start = time.perf_counter()
        act()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


@unpacked
def bench(
    images: Annotated[
        list[str] | None,
        typer.Argument(metavar="[IMAGE]", help="Photos to measure on; without, the sample photo obama."),
    ] = None,
    as_json: Json = False,
    *,
    models: Recognition,
    machine: Machine,
) -> None:
    """Measure how fast this machine is.

    From a photo to embeddings (decode, detect, align, embed): one photo at a time (latency) and many in a stream
    (throughput), in each precision that the CPU computes natively. A quick look: `make bench` in a checkout
    compares with other packages.

    \b
    Examples:
      visavis bench
      visavis bench photos/ --threads 1
    """
    from visavis.files import find_images
    from visavis.models.store import Store

    columns = [
        Column("precision", 9),
        Column("threads", 7, right=True),
        Column("ms/photo", 9, right=True),
        Column("photos/s", 9, right=True),
        Column("faces/s", 9, right=True),
    ]
    with Report("bench", as_json=as_json, columns=columns, items="results") as report:
        paths = list(islice(find_images(images), _PHOTOS)) if images else [Store().path(_SAMPLE)]
        if not paths:
            raise InputError("no image to measure on was found")
        report.fields(photos=len(paths), detector=models.detector, recognizer=models.recognizer)
        for precision in [machine.precision] if machine.precision else _precisions(machine):
            result = _bench(models.analyzer(replace(machine, precision=precision)), paths)
            figures = (f"{result[name]:,.1f}" for name in ("ms_per_photo", "photos_per_s", "faces_per_s"))
            report.row(precision, str(result["threads"]), *figures, item={"precision": precision, **result})
        report.note(
            f"ms/photo: one at a time, median over {counted(len(paths), 'photo')}, from the file to embeddings\n"
            "photos/s, faces/s: many photos in a stream"
        )


def _precisions(machine: Machine) -> list[str]:
    from visavis.models.engines import engine_states
    from visavis.models.session import EngineOptions

    engine = EngineOptions.choose(engine=machine.engine, device=machine.device).engine
    state = next(state for state in engine_states() if state.name == engine)
    return ["f32", "bf16"] if "BF16" in state.capabilities else ["f32"]


def _bench(analyzer: Analyzer, paths: list[Path]) -> dict[str, Any]:
    one = cycle(paths)
    latency = _median(lambda: analyzer.analyze(next(one)), 2 * _SECONDS)
    number = max(len(paths), min(round(2 * _SECONDS * analyzer.options.threads / latency), 2_000))
    for _ in analyzer.stream(paths[:1]):  # loads the sessions that streams use
        pass
    start = time.perf_counter()
    faces = sum(len(analysis.faces) for analysis in analyzer.stream(islice(cycle(paths), number)))
    seconds = time.perf_counter() - start
    return {
        "threads": analyzer.options.threads,
        "ms_per_photo": round(1e3 * latency, 3),
        "photos_per_s": round(number / seconds, 2),
        "faces_per_s": round(faces / seconds, 2),
    }

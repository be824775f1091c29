"""Inference sessions: one small protocol, two engines.

A session takes what every network here takes, a batch of RGB uint8 images, and does the network's own channel
order, mean and scale on the way in, so that no caller handles preprocessing. OpenVINO is the default on CPUs; ONNX
Runtime serves GPUs and the machines OpenVINO has no wheel for.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import platform
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from visavis.errors import EngineError, InputError
from visavis.models import compiled
from visavis.models.cards import InputSpec
from visavis.types import FloatArray, Image

__all__ = [
    "EngineOptions",
    "Session",
    "cpu_name",
    "import_onnxruntime",
    "import_openvino",
    "open_session",
    "usable_cores",
]

Engine = Literal["openvino", "onnxruntime"]
_ENGINES = ("openvino", "onnxruntime")
_PRECISIONS = ("auto", "f32", "bf16")
_PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
}


class Session(Protocol):
    """A loaded network. Safe to call from several threads at once."""

    options: EngineOptions

    def run(self, images: Image | FloatArray) -> dict[str, FloatArray]:
        """Run a batch of RGB images ``(n, h, w, 3)``, 0..255, and return its outputs by name.

        Uint8, unless the `InputSpec` says float32.
        """
        ...


@dataclass(frozen=True)
class EngineOptions:
    """Which engine runs a model, how exactly and on how many cores.

    Parameters
    ----------
    engine
        ``"openvino"`` or ``"onnxruntime"``.
    device
        ``"cpu"``, or with ONNX Runtime ``"cuda"``, ``"tensorrt"``, ``"coreml"``, ``"directml"`` where its build has it.
    precision
        ``"f32"``, ``"bf16"`` or ``"auto"``: bf16 where the CPU computes it natively, else f32.
    threads
        CPU cores used, at least 1.

    Raises
    ------
    InputError
        If a value is none of those that exist, or they don't go together.
    """

    engine: str
    device: str = "cpu"
    precision: str = "auto"
    threads: int = 1

    def __post_init__(self) -> None:
        _one_of("device", self.device, tuple(_PROVIDERS))
        _one_of("precision", self.precision, _PRECISIONS)
        _one_of("engine", self.engine, _ENGINES)
        if self.engine == "openvino" and self.device != "cpu":
            raise InputError(f"device {self.device!r} needs engine='onnxruntime'; OpenVINO runs on the cpu here")
        if self.engine == "onnxruntime" and self.precision == "bf16":
            raise InputError("precision 'bf16' needs engine='openvino'")
        if not isinstance(self.threads, int) or self.threads < 1:
            raise InputError(f"threads must be a whole number of at least 1, not {self.threads!r}")

    @classmethod
    def choose(
        cls,
        *,
        engine: str | None = None,
        device: str | None = None,
        precision: str | None = None,
        threads: int | None = None,
    ) -> EngineOptions:
        """Fill what the caller left open from the environment, then from what is installed.

        ``VISAVIS_ENGINE``, ``VISAVIS_DEVICE``, ``VISAVIS_PRECISION`` and ``VISAVIS_THREADS`` are read.

        Raises
        ------
        InputError
            If a value is none of those that exist, or they don't go together.
        EngineError
            If the engine is not installed.
        """
        device = device or os.environ.get("VISAVIS_DEVICE") or "cpu"
        engine = engine or os.environ.get("VISAVIS_ENGINE") or None
        precision = precision or os.environ.get("VISAVIS_PRECISION") or "auto"
        if threads is None and os.environ.get("VISAVIS_THREADS"):
            try:
                threads = int(os.environ["VISAVIS_THREADS"])
            except ValueError:
                raise InputError(
                    f"VISAVIS_THREADS must be a whole number, not {os.environ['VISAVIS_THREADS']!r}"
                ) from None
        if engine is None:
            engine = "onnxruntime" if device != "cpu" or not _installed("openvino") else "openvino"
        chosen = cls(engine, device, precision, usable_cores() if threads is None else threads)
        if not _installed(engine):
            raise EngineError(f"{engine} is not installed: pip install {engine}")
        return chosen


def _one_of(what: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise InputError(f"{what} must be one of {', '.join(allowed)}, not {value!r}")


def _installed(engine: str) -> bool:
    from importlib.util import find_spec

    return find_spec(engine) is not None


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_name() -> str:
    """Return the processor's model name, as well as the system tells it."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    # Not platform.processor(): it starts a child process on systems other than Windows.
    return os.environ.get("PROCESSOR_IDENTIFIER") or platform.machine()


def _cpu_key() -> str:
    """Return what tells CPUs apart that need different code: name and features, which a hypervisor may mask."""
    wanted = ("model name", "flags", "Features", "CPU part", "isa")
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
            first = itertools.takewhile(str.strip, lines)  # one paragraph a core
            return "".join(line for line in first if line.startswith(wanted))
    except OSError:
        return cpu_name()


def open_session(
    path: Path,
    spec: InputSpec,
    options: EngineOptions,
    *,
    batches: Sequence[int] | None = None,
    parallel: int = 1,
    cache_dir: Path | None = None,
) -> Session:
    """Load an ONNX network.

    Parameters
    ----------
    path
        The ONNX file; one image input, NCHW or NHWC as ``spec`` says, first axis free.
    spec
        Its channel order, mean and scale.
    options
        Engine, device, precision and threads.
    batches
        Batch sizes to compile for, each on first use; a batch is cut into them. None keeps every axis free, for
        networks that take images of any size. Fixed sizes run up to twice as fast in OpenVINO.
    parallel
        How many calls will run at the same time; ``options.threads`` are shared among them.
    cache_dir
        Where compiled models are kept between runs; None keeps none.

    Raises
    ------
    EngineError
        If the engine or device can't be had, or the engine refuses the model.
    """
    if options.engine == "openvino":
        return _OpenVinoSession(path, spec, options, batches, parallel, cache_dir)
    return _OnnxRuntimeSession(path, spec, options, parallel)


def import_openvino() -> Any:
    """Import OpenVINO without its telemetry: the one place that does.

    Importing it otherwise starts a child process, writes an id into the home folder and calls out.
    """
    blocked = "openvino_telemetry" not in sys.modules
    if blocked:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # makes its import fail, which it allows
    try:
        import openvino
    except ImportError as error:
        raise EngineError(
            f"OpenVINO can't be loaded ({error}): pip install openvino, or engine='onnxruntime'"
        ) from None
    finally:
        if blocked:
            sys.modules.pop("openvino_telemetry", None)
    return openvino


def import_onnxruntime() -> Any:
    """Import ONNX Runtime without its telemetry: the one place that does.

    Its 1.31 otherwise writes a device id and a queue of events into the home folder, to be sent to its maker.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when the library starts; older ones ignore it
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineError(f"ONNX Runtime can't be loaded ({error}): pip install onnxruntime") from None
    return onnxruntime


_Loaded = tuple[list[str], Any, memoryview | None]  # output names, the model, and the memory it refers to


class _OpenVinoSession:
    def __init__(
        self,
        path: Path,
        spec: InputSpec,
        options: EngineOptions,
        batches: Sequence[int] | None,
        parallel: int,
        cache_dir: Path | None,
    ) -> None:
        self._ov = import_openvino()
        self._core = self._ov.Core()
        self._spec = spec
        self._batches = sorted(batches) if batches else None
        self._path = path
        self._cache_dir = cache_dir
        self._lock = threading.Lock()
        self._compiled: dict[tuple[int, ...], _Loaded] = {}
        self._local = threading.local()
        precision = options.precision
        if precision == "auto":
            precision = "bf16" if "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"
        self.options = replace(options, precision=precision)
        self._config = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": options.threads,
            "NUM_STREAMS": min(parallel, options.threads),
            # Code for the last four or so shapes of YuNet; for 600, unbounded, it took 700 MB.
            "CPU_RUNTIME_CACHE_CAPACITY": 256,
            "ENABLE_CPU_PINNING": False,  # several processes would pin themselves to the same core
        }

    def run(self, images: Image | FloatArray) -> dict[str, FloatArray]:
        images = _checked(images, self._spec)
        if self._batches is None:
            return self._infer((), images)
        parts = []
        for start, stop, batch in _chunks(len(images), self._batches):
            chunk = images[start:stop]
            if stop - start < batch:
                padding = np.zeros((batch - (stop - start), *images.shape[1:]), images.dtype)
                chunk = np.concatenate([chunk, padding])
            parts.append({name: out[: stop - start] for name, out in self._infer(chunk.shape, chunk).items()})
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _infer(self, shape: tuple[int, ...], images: npt.NDArray[Any]) -> dict[str, FloatArray]:
        names, model, blob = self._model(shape)
        requests: dict[tuple[int, ...], Any] = self._local.__dict__.setdefault("requests", {})
        first = shape not in requests
        if first:
            requests[shape] = model.create_infer_request()  # a request serves one thread at a time
        try:
            results = requests[shape].infer([images], share_inputs=True, share_outputs=False)
        except RuntimeError as error:
            raise EngineError(f"OpenVINO failed on {self._path.name}: {_first_line(error)}") from None
        if first and blob is not None:
            compiled.forget(blob)  # by now its weights lie rearranged in memory of the engine's own
        return dict(zip(names, (np.asarray(value) for value in results.values()), strict=True))

    def _model(self, shape: tuple[int, ...]) -> _Loaded:
        """Return the model compiled for a shape; ``()`` leaves every axis free."""
        with self._lock:
            if shape not in self._compiled:
                try:
                    self._compiled[shape] = self._kept(shape) if self._cache_dir else self._build(shape)
                except (RuntimeError, OSError) as error:
                    raise EngineError(f"OpenVINO can't load {self._path.name}: {_first_line(error)}") from None
            return self._compiled[shape]

    def _kept(self, shape: tuple[int, ...]) -> _Loaded:
        assert self._cache_dir is not None
        key = [self._ov.__version__, _cpu_key(), self._config, repr(self._spec), shape]
        file = compiled.entry(self._cache_dir, self._path, key)
        held = self._held(file)
        if held is None:
            names, model, _ = self._build(shape)
            with contextlib.suppress(RuntimeError):  # some models can't be exported
                compiled.write(file, names, model.export_model().getbuffer())
            held = self._held(file) or (names, model, None)  # what was kept takes half the memory
        return held

    def _held(self, file: Path) -> _Loaded | None:
        held = compiled.read(file)
        if held is None:
            return None
        names, blob = held
        weights = self._ov.Tensor(np.frombuffer(blob, np.uint8), shared_memory=True)
        try:
            return names, self._core.import_model(weights, "CPU", self._config), blob
        except RuntimeError:  # another build of the engine may refuse it: compile anew
            return None

    def _build(self, shape: tuple[int, ...]) -> _Loaded:
        ov, spec = self._ov, self._spec
        model = self._core.read_model(self._path)
        # A tensor may bear several names; the result node keeps the one the ONNX graph gives its output.
        names = [result.get_friendly_name().split("/sink_port_")[0] for result in model.get_results()]
        steps = ov.preprocess.PrePostProcessor(model)
        element = ov.Type.u8 if spec.dtype == "uint8" else ov.Type.f32
        steps.input().tensor().set_element_type(element).set_layout(ov.Layout("NHWC"))
        if spec.order == "bgr":
            steps.input().tensor().set_color_format(ov.preprocess.ColorFormat.RGB)
            steps.input().preprocess().convert_color(ov.preprocess.ColorFormat.BGR)
        convert = steps.input().preprocess().convert_element_type(ov.Type.f32)
        if any(spec.mean):
            convert = convert.mean(list(spec.mean))
        if spec.scale != (1.0, 1.0, 1.0):
            convert.scale([1.0 / s for s in spec.scale])
        steps.input().model().set_layout(ov.Layout(spec.layout.upper()))
        model = steps.build()
        if shape:
            model.reshape(list(shape))
        return names, self._core.compile_model(model, "CPU", self._config), None


def _chunks(n: int, batches: Sequence[int]) -> list[tuple[int, int, int]]:
    """Cut n rows into (start, stop, batch), largest batches first; what is less than the smallest is padded.

    To pad a larger one doesn't pay: SFace takes longer for four rows at once than for three, one by one.
    """
    cuts, start = [], 0
    while start < n:
        batch = max((b for b in batches if b <= n - start), default=batches[0])
        cuts.append((start, min(start + batch, n), batch))
        start += batch
    return cuts


class _OnnxRuntimeSession:
    def __init__(self, path: Path, spec: InputSpec, options: EngineOptions, parallel: int) -> None:
        ort = import_onnxruntime()
        provider = _PROVIDERS[options.device]
        if provider not in ort.get_available_providers():
            raise EngineError(
                f"this build of ONNX Runtime has no {provider}; it has {', '.join(ort.get_available_providers())}"
            )
        settings = ort.SessionOptions()
        settings.intra_op_num_threads = max(options.threads // parallel, 1)
        settings.inter_op_num_threads = 1
        settings.log_severity_level = 3
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(str(path), settings, providers=[provider])
        except Exception as error:  # noqa: BLE001  (ONNX Runtime's errors share no base class)
            raise EngineError(f"ONNX Runtime can't load {path.name}: {_first_line(error)}") from None
        if self._session.get_providers()[0] != provider:  # it falls back to the CPU in silence
            raise EngineError(f"ONNX Runtime could not start {options.device}; see its log for the missing library")
        self._spec = spec
        self._input = self._session.get_inputs()[0].name
        self._outputs = [output.name for output in self._session.get_outputs()]
        self._path = path
        self.options = replace(options, precision="f32")

    def run(self, images: Image | FloatArray) -> dict[str, FloatArray]:
        images = _checked(images, self._spec)
        try:
            results = self._session.run(None, {self._input: network_input(images, self._spec)})
        except Exception as error:  # noqa: BLE001
            raise EngineError(f"ONNX Runtime failed on {self._path.name}: {_first_line(error)}") from None
        return dict(zip(self._outputs, results, strict=True))


def network_input(images: npt.NDArray[Any], spec: InputSpec) -> FloatArray:
    """Return a batch of RGB images ``(n, h, w, 3)`` as the float32 array a network takes.

    Examples
    --------
    >>> import numpy as np
    >>> network_input(np.zeros((1, 4, 5, 3), np.uint8), InputSpec((5, 4))).shape
    (1, 3, 4, 5)
    """
    batch = images[..., ::-1] if spec.order == "bgr" else images
    pixels = batch.astype(np.float32)
    if any(spec.mean):
        pixels -= np.asarray(spec.mean, np.float32)
    if spec.scale != (1.0, 1.0, 1.0):
        pixels *= np.asarray(spec.scale, np.float32)
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2) if spec.layout == "nchw" else pixels)


def _checked(images: npt.NDArray[Any], spec: InputSpec) -> npt.NDArray[Any]:
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.dtype(spec.dtype) or not images.size:
        raise InputError(f"a session takes {spec.dtype} images (n, h, w, 3), not {images.dtype} {images.shape}")
    for side, wanted in zip(images.shape[1:3], spec.size, strict=True):
        if side != wanted if wanted else side % spec.multiple:
            rule = f"of {spec.size}" if wanted else f"whose sides {spec.multiple} divides"
            raise InputError(f"this network takes images {rule}, not {images.shape[1:3]}")
    return np.ascontiguousarray(images)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__

"""What this machine offers to run models on: engines, their devices, and what its CPU can do."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from visavis.errors import EngineError
from visavis.models.session import _PROVIDERS, import_onnxruntime, import_openvino

__all__ = ["EngineState", "cpu_features", "engine_states"]

# What makes inference fast, of all that processors list: names as Linux spells them.
_FEATURES = (
    *("sse4_2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "avx512_fp16"),
    *("amx_tile", "amx_int8", "amx_bf16", "asimd", "asimdhp", "asimddp", "bf16", "i8mm", "sve", "sve2"),
)


@dataclass(frozen=True)
class EngineState:
    """One inference engine as it is installed here.

    Attributes
    ----------
    name
        ``"openvino"`` or ``"onnxruntime"``.
    version
        None where it is not installed.
    devices
        What ``VISAVIS_DEVICE`` may be with it.
    capabilities
        Number formats it computes natively on this CPU, in the engine's own words (OpenVINO only).
    problem
        Why it is installed but can't be loaded, or an empty text.
    """

    name: str
    version: str | None = None
    devices: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    problem: str = ""


def engine_states() -> tuple[EngineState, ...]:
    """Load each engine that is installed and ask what it offers. Nothing is downloaded."""
    return (_openvino(), _onnxruntime())


def cpu_features() -> tuple[str, ...]:
    """Return the CPU's instruction sets that matter here, as Linux names them; none on other systems."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ()
    listed: set[str] = set()
    for line in text.splitlines():
        if line.lower().startswith(("flags", "features")):
            listed.update(line.partition(":")[2].split())
    return tuple(name for name in _FEATURES if name in listed)


def _openvino() -> EngineState:
    if find_spec("openvino") is None:
        return EngineState("openvino")
    try:
        openvino = import_openvino()
        found = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    except (EngineError, RuntimeError) as error:
        return EngineState("openvino", _version("openvino"), problem=str(error).splitlines()[0])
    return EngineState("openvino", _version("openvino"), ("cpu",), tuple(sorted(found)))


def _onnxruntime() -> EngineState:
    if find_spec("onnxruntime") is None:
        return EngineState("onnxruntime")
    try:
        runtime = import_onnxruntime()
        offered = set(runtime.get_available_providers())
    except (EngineError, AttributeError, RuntimeError) as error:
        return EngineState("onnxruntime", _version("onnxruntime"), problem=str(error).splitlines()[0])
    devices = tuple(device for device, provider in _PROVIDERS.items() if provider in offered)
    return EngineState("onnxruntime", str(runtime.__version__), devices)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return f"unknown, on Python {platform.python_version()}"

"""The networks alone, in several engines, against what the machine can do at matrix products.

    python benchmarks/networks.py

One thread on one core. FLOPs are counted from the ONNX graph (two per multiply-add of convolutions and matrix
products). The limit is the best rate that OpenVINO reaches on chains of matrix products in the same run: a single
one spends much of its time on converting what goes in and comes out, which a network does once.
"""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import cv2
import numpy as np
import onnx
from onnx import shape_inference

from visavis.models.session import EngineOptions, import_openvino, open_session
from visavis.models.store import Store

ROUNDS = 25


def work(path: Path, shape: tuple[int, int, int, int]) -> dict[str, float]:
    """Count the FLOPs of one run at an input shape NCHW, by kind of layer."""
    model = onnx.load(path)
    for axis, side in zip(model.graph.input[0].type.tensor_type.shape.dim, shape, strict=True):
        axis.ClearField("dim_param")
        axis.dim_value = side
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    graph = shape_inference.infer_shapes(model).graph
    sizes = {
        value.name: [d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in [*graph.value_info, *graph.output]
    }
    weights = {w.name: list(w.dims) for w in graph.initializer}
    total: dict[str, float] = defaultdict(float)
    for node in graph.node:
        if node.op_type == "Conv":
            _, channels, *window = weights[node.input[1]]
            groups = next((a.i for a in node.attribute if a.name == "group"), 1)
            pointwise = "1x1 convolution" if window == [1, 1] else "other convolution"
            kind = "depthwise convolution" if groups > 1 else pointwise
            total[kind] += 2 * float(np.prod(sizes[node.output[0]])) * channels * float(np.prod(window))
        elif node.op_type == "Gemm":
            total["dense"] += 2 * shape[0] * float(np.prod(weights[node.input[1]]))
    return dict(total)


def precisions() -> list[str]:
    """Return what this CPU computes natively, most exact first."""
    native = import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return ["f32", "bf16"] if "BF16" in native else ["f32"]


def in_turns(contenders: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return each contender's median seconds, timed in turns after two warm-up rounds."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS + 2):
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return {name: float(np.median(taken[2:])) for name, taken in times.items()}


def gemm_peak(precision: str) -> float:
    """Return the best GFLOP/s over a few sizes: ``m`` rows through ``depth`` products with ``n`` x ``n`` weights."""
    ov = import_openvino()
    core, best, rng = ov.Core(), 0.0, np.random.default_rng(0)
    for m, n, depth in ((512, 512, 16), (512, 1024, 8), (1024, 1024, 4), (2048, 512, 8)):
        a = product = ov.opset13.parameter([m, n], ov.Type.f32)
        for _ in range(depth):
            weights = rng.standard_normal((n, n), dtype=np.float32) / np.sqrt(np.float32(n))
            product = ov.opset13.matmul(product, ov.opset13.constant(weights), False, False)
        model = ov.Model([product], [a])
        config = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": precision, "NUM_STREAMS": 1}
        request = core.compile_model(model, "CPU", config).create_infer_request()
        data = np.ones((m, n), np.float32)
        for _ in range(ROUNDS):
            start = time.perf_counter()
            request.infer([data], share_inputs=True)
            best = max(best, 2 * m * n * n * depth / (time.perf_counter() - start) / 1e9)
    return best


def measure() -> dict[str, object]:
    """Return the peaks and a row a network, size and engine."""
    store = Store()
    peaks = {precision: gemm_peak(precision) for precision in precisions()}
    rows = []
    cv2.setNumThreads(1)
    for name, batch, side in (("yunet", 1, 256), ("yunet", 1, 640), ("sface", 1, 112), ("sface", 8, 112)):
        card, path = store.card(name), store.path(name)
        images = np.random.default_rng(0).integers(0, 255, (batch, side, side, 3), np.uint8)
        contenders: dict[str, Callable[[], object]] = {}
        for engine, precision in [("openvino", p) for p in peaks] + [("onnxruntime", "f32")]:
            options = EngineOptions(engine, "cpu", precision, 1)
            session = open_session(path, card.input, options, batches=(batch,) if name == "sface" else None)
            contenders[f"{engine} {precision}"] = partial(session.run, images)
        net = cv2.dnn.readNetFromONNX(str(path))
        outputs = net.getUnconnectedOutLayersNames()

        def opencv(net=net, outputs=outputs, images=images, swap=name == "yunet") -> None:
            net.setInput(cv2.dnn.blobFromImages(list(images), swapRB=swap))
            net.forward(outputs)

        contenders["OpenCV f32"] = opencv
        done = sum(work(path, (batch, 3, side, side)).values())
        for engine, seconds in in_turns(contenders).items():
            rate = done / seconds / 1e9
            peak = peaks.get(engine.split()[-1], peaks["f32"])
            rows.append(
                {
                    "network": f"{name}, {batch} x {side} x {side}",
                    "engine": engine,
                    "ms": seconds * 1e3 / batch,
                    "gflops": rate,
                    "share": rate / peak,
                }
            )
    return {"peaks": peaks, "rows": rows}


if __name__ == "__main__":
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    print(json.dumps(measure(), indent=1))

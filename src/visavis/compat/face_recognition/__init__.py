"""face_recognition 1.3.0, as a program knows it, on visavis: see docs/face_recognition.md.

``import visavis.compat.face_recognition as face_recognition`` in a program of your own. Programs that shall stay as
they are: call `install` before they import face_recognition, or run them by
``python -m visavis.compat.face_recognition PROGRAM.py``.
"""

from __future__ import annotations

import sys
from importlib import import_module

from visavis.compat.face_recognition.api import (
    batch_face_locations,
    compare_faces,
    face_distance,
    face_encodings,
    face_landmarks,
    face_locations,
    load_image_file,
)

__all__ = [
    "batch_face_locations",
    "compare_faces",
    "face_distance",
    "face_encodings",
    "face_landmarks",
    "face_locations",
    "install",
    "load_image_file",
]

__version__ = "1.2.3"  # what face_recognition 1.3.0 says of itself


def install() -> None:
    """Let ``import face_recognition`` mean this package, with its ``api`` and its two programs, in this process.

    Calling it again changes nothing.

    Raises
    ------
    InputError
        If another face_recognition was imported already: whoever did so would go on using that.
    """
    from visavis.errors import InputError

    package = sys.modules[__name__]
    if sys.modules.get("face_recognition", package) is not package:
        raise InputError("face_recognition was imported before; call install() ahead of every import of it")
    names = ("", ".api", ".face_detection_cli", ".face_recognition_cli")
    sys.modules.update({f"face_recognition{name}": import_module(f"{__name__}{name}") for name in names})

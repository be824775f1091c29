"""The program ``face_recognition``: who is in photos, by a folder with a photo a person."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import PurePath
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.compat.face_recognition import api
from visavis.compat.face_recognition.programs import Program, cpus, images_in, over_images, truth, warn
from visavis.errors import InputError

__all__ = ["image_files_in_folder", "main", "scan_known_people"]

_LARGEST = 1600  # px of a side: larger pictures are shrunk, to run faster

image_files_in_folder = images_in


def scan_known_people(known_people_folder: str) -> tuple[list[str], list[npt.NDArray[np.float64]]]:
    """Return the names and encodings of a folder with a photo a person, each named as its file."""
    names, known = [], []
    for file in images_in(known_people_folder):
        try:
            encodings = api.face_encodings(api.load_image_file(file))
        except (InputError, OSError) as error:
            warn(f"{file} can't be used ({error})")
            continue
        if len(encodings) > 1:
            print(f"WARNING: More than one face found in {file}. Only considering the first face.")
        if not encodings:
            print(f"WARNING: No faces found in {file}. Ignoring file.")
            continue
        names.append(PurePath(file).stem)
        known.append(encodings[0])
    return names, known


def _lines(
    file: str, names: list[str], known: list[npt.NDArray[np.float64]], tolerance: float, show_distance: bool
) -> list[str]:
    """Return a line a match: the file, a name and, on request, the distance."""
    import PIL.Image

    def line(name: str, distance: Any) -> str:
        return f"{file},{name},{distance}" if show_distance else f"{file},{name}"

    image = api.load_image_file(file)
    if max(image.shape) > _LARGEST:
        picture = PIL.Image.fromarray(image)
        picture.thumbnail((_LARGEST, _LARGEST), PIL.Image.Resampling.LANCZOS)
        image = np.array(picture)
    lines: list[str] = []
    encodings = api.face_encodings(image)
    for encoding in encodings:
        distances = api.face_distance(known, encoding)
        near = np.flatnonzero(distances <= tolerance)
        lines += [line(names[i], distances[i]) for i in near] or [line("unknown_person", None)]
    return lines if encodings else [line("no_persons_found", None)]


def _run(options: argparse.Namespace) -> int:
    names, known = scan_known_people(options.known_people_folder)
    work = partial(_lines, names=names, known=known, tolerance=options.tolerance, show_distance=options.show_distance)
    return over_images(work, options.image_to_check, options.cpus)


main = Program("face_recognition", _run, "Print FILE,NAME for each face that is known.")
main.add("known_people_folder", help="folder with a photo a person, each named as its file")
main.add("image_to_check", help="image, or folder of images")
main.add("--cpus", type=cpus, default=1, help="processes over a folder's images; -1: one a core (default: 1)")
main.add("--tolerance", type=float, default=0.6, help="largest distance of one person's faces (default: 0.6)")
main.add(
    "--show-distance", type=truth, default=False, metavar="BOOLEAN", help="print the distance too (default: false)"
)
main.add("--help", action="help", help="Show this message and exit.")

if __name__ == "__main__":
    main()

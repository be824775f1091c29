"""The program ``face_detection``: where the faces of photos are."""

from __future__ import annotations

import argparse
from functools import partial

from visavis.compat.face_recognition import api
from visavis.compat.face_recognition.programs import Program, cpus, images_in, over_images

__all__ = ["image_files_in_folder", "main"]

image_files_in_folder = images_in


def _lines(file: str, model: str, upsample: int) -> list[str]:
    """Return a line a face: the file, then top, right, bottom and left."""
    boxes = api.face_locations(api.load_image_file(file), number_of_times_to_upsample=upsample, model=model)
    return [",".join(map(str, (file, *box))) for box in boxes]


def _run(options: argparse.Namespace) -> int:
    work = partial(_lines, model=options.model, upsample=options.upsample)
    return over_images(work, options.image_to_check, options.cpus)


main = Program("face_detection", _run, "Print FILE,TOP,RIGHT,BOTTOM,LEFT for each face.")
main.add("image_to_check", help="image, or folder of images")
main.add("--cpus", type=cpus, default=1, help="processes over a folder's images; -1: one a core (default: 1)")
main.add("--model", default="hog", help="'hog', 'cnn' or 'yunet' (default: hog)")
main.add("--upsample", type=int, default=0, help="how often the image is enlarged to find small faces (default: 0)")
main.add("--help", action="help", help="Show this message and exit.")

if __name__ == "__main__":
    main()

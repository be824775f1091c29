"""Enroll people from folders and name the faces of a photo.

Run: python examples/name_faces.py PEOPLE/ PHOTO.jpg NAMED.jpg, where PEOPLE has a sub-folder a person.
"""

import sys
import tempfile
from pathlib import Path

import visavis as vv
from visavis.drawing import annotate, labels_for
from visavis.image import find_images, load_image, save_image


def main(people: str, photo: str, named: str) -> None:
    analyzer = vv.Analyzer()
    image = load_image(photo)
    with (
        tempfile.TemporaryDirectory() as folder,  # give a path that stays, and people are enrolled once only
        vv.open_gallery(Path(folder) / "people.db", analyzer=analyzer) as gallery,
    ):
        for person in sorted(path for path in Path(people).iterdir() if path.is_dir()):
            for source in find_images([person]):
                try:
                    gallery.enroll(person.name, source)
                except vv.InputError as error:  # no face, several, too small, blurred or turned
                    print(f"left out: {error}")
        found = gallery.identify(image, fpir=0.01)  # 1 stranger's face in 100 may get a name

    for face in found.to_dict():
        best = face["candidates"][0]
        print(f"{face['subject'] or 'unknown'} (nearest: {best['subject']}, similarity {best['similarity']})")
    print(f"threshold {found.threshold:.3f}, FPIR {found.fpir:.2g}")
    save_image(named, annotate(image, found.faces, labels_for(found)))


if __name__ == "__main__":
    main(*sys.argv[1:4])

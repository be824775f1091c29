"""Scenes whose faces are known, as a data set to measure detectors on: faces over one another, and faces of all sizes.

    python benchmarks/annotated_scenes.py OUT [--pairs 10] [--faces 20]
    visavis evaluate detection OUT/truth.json OUT/pictures --detector mtcnn --score 0.05

The scenes are those of crowds.py (two faces whose boxes overlap by a known IoU) and detection_scales.py (12 megapixels
of background with faces of one height), made of LFW photos. The boxes of the second were drawn by YuNet on the photos
before they were scaled and pasted, so they favor it in how a face is framed; those of the first too.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import crowds
import detection_scales as scales
import numpy as np

from visavis.datasets.annotations import Annotation, write_annotations
from visavis.image import save_image
from visavis.models.store import Store

HEIGHTS = (16, 24, 36, 50, 80, 120, 250, 500)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pairs", type=int, default=10, help="scenes of two faces a range of overlap")
    parser.add_argument("--faces", type=int, default=20, help="faces a height")
    args = parser.parse_args()
    pictures = args.out / "pictures"
    for folder in ("crowds", "scales"):
        (pictures / folder).mkdir(parents=True, exist_ok=True)
    items = []
    for i, scene in enumerate(crowds.scenes(crowds.cutouts(60, 1)[0], args.pairs, 2)):
        name = f"crowds/{i:03d}.png"
        save_image(pictures / name, scene.image)
        items.append(Annotation(name, scene.boxes, crowds.SIDE, crowds.SIDE))
    faces, background = scales.gather(scales.Detector(Store()), scales.read_photos(200))
    rng = np.random.default_rng(2)
    for height in HEIGHTS:
        scene, boxes = scales.compose(faces, background, height, args.faces, rng)
        name = f"scales/{height:04d}.png"
        save_image(pictures / name, scene)
        items.append(Annotation(name, boxes, scene.shape[1], scene.shape[0]))
    write_annotations(args.out / "truth.json", items, "coco")
    print(f"{len(items)} pictures with {sum(map(len, items))} faces in {args.out}")


if __name__ == "__main__":
    main()

"""Write the pictures that face_api.mjs looks at: sample photos, shrunk to 512 x 512 pixels, padded at the bottom."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from visavis.image import load_image
from visavis.models.store import Store
from visavis.types import Image

NAMES = ("obama", "biden", "six-people")


def square(image: Image, side: int = 512) -> Image:
    """Return a picture shrunk to ``side`` pixels on its long side, black at the right or at the bottom."""
    scale = side / max(image.shape[:2])
    height, width = (round(length * scale) for length in image.shape[:2])
    padded = np.zeros((side, side, 3), np.uint8)
    padded[:height, :width] = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return padded


if __name__ == "__main__":
    for name in NAMES:
        Path(f"{name}.rgb").write_bytes(square(load_image(Store().path(name))).tobytes())

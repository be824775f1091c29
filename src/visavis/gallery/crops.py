"""Kept crops: the piece of a photo around a face, from which templates of another model can be made later.

A crop is cut out straight, larger than any recognizer's aligned crop, with the five landmarks in its own
pixels. So it serves recognizers of every alignment and size.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from visavis.alignment import TEMPLATES, similarity_transform
from visavis.errors import InputError
from visavis.types import Faces, FloatArray, Image

__all__ = ["MAX_PNG", "MAX_SIDE", "Crop", "cut", "read"]

MAX_SIDE = 400
"""Pixels a kept crop's side has at most; larger ones are shrunk to it (140 px between the eyes: four times SFace's)."""
MAX_PNG = 4 * MAX_SIDE * MAX_SIDE
_MARGIN = 0.3  # of the aligned crop's side, all around: recognizers' crops differ in how much hair and neck they show


@dataclass(frozen=True, eq=False)
class Crop:
    """A piece of a photo as PNG, and the landmarks of its face ``(5, 2)`` in its pixels."""

    png: bytes
    landmarks: FloatArray


def cut(image: Image, landmarks: FloatArray) -> Crop:
    """Cut the surroundings of a face with landmarks ``(5, 2)`` out of an image.

    At the face's own resolution nothing is resampled, so a template made from the crop is the one made from
    the photo.
    """
    side, points = TEMPLATES["arcface-112"]
    to_image = cv2.invertAffineTransform(similarity_transform(landmarks[None], points)[0])
    low, high = -_MARGIN * side, (1 + _MARGIN) * side
    corners = np.array([[low, low, 1], [high, low, 1], [low, high, 1], [high, high, 1]]) @ to_image.T
    height, width = image.shape[:2]
    x1, y1 = np.clip(np.floor(corners.min(axis=0)).astype(int), 0, (width - 1, height - 1))
    x2, y2 = np.clip(np.ceil(corners.max(axis=0)).astype(int), (x1 + 1, y1 + 1), (width, height))
    piece = image[y1:y2, x1:x2]
    points = np.asarray(landmarks, np.float64) - (x1, y1)
    factor = max(piece.shape[:2]) / MAX_SIDE
    if factor > 1:
        size = (max(1, round(piece.shape[1] / factor)), max(1, round(piece.shape[0] / factor)))
        points = (points + 0.5) * (size[0] / piece.shape[1], size[1] / piece.shape[0]) - 0.5
        piece = np.asarray(cv2.resize(piece, size, interpolation=cv2.INTER_AREA), np.uint8)
    done, png = cv2.imencode(".png", piece[..., ::-1])
    if not done:
        raise InputError(f"a crop of {piece.shape[1]}x{piece.shape[0]} pixels can't be written as PNG")
    return Crop(png.tobytes(), points.astype(np.float32))


def read(crop: Crop) -> tuple[Image, Faces]:
    """Return a kept crop's image and its one face, as an analyzer takes them."""
    from visavis.image import load_image

    image = load_image(crop.png, max_pixels=MAX_SIDE * MAX_SIDE)
    points = np.asarray(crop.landmarks, np.float32).reshape(1, 5, 2)
    box = np.concatenate([points[0].min(axis=0), points[0].max(axis=0)])
    return image, Faces(box[None], np.ones(1, np.float32), points)

"""Alignment: five landmarks to the upright crop a recognizer was trained on.

The crop is a similarity transform (rotation, one scale, shift) of the image, fitted to a template of five points in
the least-squares sense (Umeyama, "Least-squares estimation of transformation parameters between two point patterns",
PAMI 1991).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from visavis.errors import InputError
from visavis.types import FloatArray, Image

__all__ = ["TEMPLATES", "align", "crop", "similarity_transform", "template_points"]

# Where the five points lie in a crop of side 112 (ArcFace: Deng et al., CVPR 2019; also SFace, AdaFace, MagFace).
_ARCFACE_112 = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)
# Where they lie, at the median, in dlib's face chips of side 150 and padding 0.25. dlib cuts those around points of its
# own, corners of the eyes and base of the nose; derived by benchmarks/dlib_template.py.
_DLIB_150 = (
    (46.3817, 44.8813),
    (102.6357, 44.9837),
    (73.9985, 77.3793),
    (49.9495, 102.2157),
    (99.2646, 102.9028),
)
# ArcFace's crop at 1.75 times its resolution, with a margin of 14 pixels (above 9, below 19), so that it shows all of
# dlib's too: a fusion cuts its parts' crops from it.
_WIDE_224 = tuple((14 + 1.75 * (x + 0.5) - 0.5, 9 + 1.75 * (y + 0.5) - 0.5) for x, y in _ARCFACE_112)
TEMPLATES = MappingProxyType(
    {
        "arcface-112": (112, np.array(_ARCFACE_112, np.float32)),
        "dlib-150": (150, np.array(_DLIB_150, np.float32)),
        "wide-224": (224, np.array(_WIDE_224, np.float32)),
    }
)
for _, _points in TEMPLATES.values():
    _points.flags.writeable = False
"""Template name to its side in pixels and its five points ``(5, 2)``."""

# Sampling one pixel in three or more skips detail; shrink by averaging first. Below this factor the plain warp
# equals what recognizers were evaluated with.
_SHRINK_FROM = 2.0
_LEAST_ZOOM = 1e-4  # points spread wider than any image: no face


def similarity_transform(landmarks: npt.ArrayLike, template: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the similarity transform that takes landmarks onto a template.

    Parameters
    ----------
    landmarks
        Points of n faces, ``(n, p, 2)``, in pixels.
    template
        Where they shall lie, ``(p, 2)``.

    Returns
    -------
    Float64 ``(n, 2, 3)``: matrices that map ``(x, y, 1)`` of the image to the crop. Reflections are never fitted.
    Points that all coincide give a pure shift at the scale of 1.

    Examples
    --------
    >>> import numpy as np
    >>> square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    >>> (similarity_transform(2.0 * square[None] + 3, square)[0].round(6) + 0.0).tolist()
    [[0.5, 0.0, -1.5], [0.0, 0.5, -1.5]]
    """
    source = np.asarray(landmarks, np.float64)
    target = np.asarray(template, np.float64)
    if source.ndim != 3 or source.shape[1:] != target.shape or target.shape[-1] != 2:
        raise InputError(f"landmarks must have shape (n, {len(target)}, 2), not {source.shape}")
    if not np.isfinite(source).all():
        raise InputError("landmarks must be finite, but hold NaN or infinity")
    # In the plane the closed form needs no SVD: with points as complex numbers, the transform is z -> a*z + b.
    z = source[..., 0] + 1j * source[..., 1]
    w = target[..., 0] + 1j * target[..., 1]
    z_mean, w_mean = z.mean(axis=1, keepdims=True), w.mean()
    spread = (np.abs(z - z_mean) ** 2).sum(axis=1)
    shared = (np.conj(z - z_mean) * (w - w_mean)).sum(axis=1)
    degenerate = spread < 1e-12
    a = np.where(degenerate, 1.0, shared / np.where(degenerate, 1.0, spread))
    b = w_mean - a * z_mean[:, 0]
    return np.stack([np.stack([a.real, -a.imag, b.real], axis=-1), np.stack([a.imag, a.real, b.imag], axis=-1)], axis=1)


def align(image: Image, landmarks: FloatArray, template: str = "arcface-112", size: int | None = None) -> Image:
    """Cut one upright crop a face out of an image.

    Parameters
    ----------
    image
        RGB uint8 ``(h, w, 3)``.
    landmarks
        Float32 ``(n, 5, 2)``, pixels of that image.
    template
        A name in `TEMPLATES`.
    size
        Side of the crops in pixels; None takes the template's own. The template is scaled with it.

    Returns
    -------
    Uint8 ``(n, size, size, 3)``. What lies outside the image is black. A face more than twice as large as the crop
    is first shrunk by averaging, so that a 4,000 px face doesn't alias.

    Raises
    ------
    InputError
        If the template is unknown, or the landmarks have another shape or are not finite.
    """
    if template not in TEMPLATES:
        raise InputError(f"no alignment template {template!r}; there are {', '.join(TEMPLATES)}")
    side, points = TEMPLATES[template]
    size = size or side
    return crop(image, similarity_transform(landmarks, points * (size / side)), size)


def template_points(
    height: int, width: int, *, margin: float = 0.0, template: str = "arcface-112"
) -> npt.NDArray[np.float64]:
    """Return where the five points lie in a crop of any size: the template scaled to its height, in the middle.

    Parameters
    ----------
    height, width
        Of the crop, pixels.
    margin
        What is shown around the template's square, both sides together, as a share of its side: at 0.5 the square
        takes two thirds of the crop's height.
    template
        A name in `TEMPLATES`.

    Returns
    -------
    Float64 ``(5, 2)``.

    Notes
    -----
    At 112 x 96 the points are those of SphereFace (Liu et al., CVPR 2017), from which ArcFace made its own by moving
    them 8 pixels to the right.

    Examples
    --------
    >>> template_points(112, 96)[0].round(4).tolist()
    [30.2946, 51.6963]
    """
    if template not in TEMPLATES:
        raise InputError(f"no alignment template {template!r}; there are {', '.join(TEMPLATES)}")
    if height < 1 or width < 1 or not 0 <= margin < float("inf"):
        raise InputError(f"a crop of {height}x{width} pixels and a margin of {margin} can't be laid out")
    side, points = TEMPLATES[template]
    scale = height / (side * (1 + margin))
    middle = (np.array([width, height]) - side * scale) / 2
    return np.asarray(points * scale + middle, np.float64)


def crop(image: Image, matrices: npt.NDArray[np.float64], size: int | tuple[int, int]) -> Image:
    """Cut rectangles out of an image, turned and scaled.

    Parameters
    ----------
    image
        RGB uint8 ``(h, w, 3)``.
    matrices
        Float64 ``(n, 2, 3)``: similarity transforms that map ``(x, y, 1)`` of the image to the crop; mirrored or not.
    size
        Side of the crops in pixels, or their height and width.

    Returns
    -------
    Uint8 ``(n, height, width, 3)``, black outside of the image; what is shrunk to half or less is averaged.
    """
    height, width = (size, size) if isinstance(size, int) else size
    crops = np.zeros((len(matrices), height, width, 3), np.uint8)
    for target, matrix in zip(crops, matrices, strict=True):
        part = _warp(image, matrix, height, width)
        if part is not None:
            target[:] = part
    return crops


def _warp(image: Image, matrix: npt.NDArray[np.float64], height: int, width: int) -> Image | None:
    """Return the crop, or None where the image has nothing to show in it."""
    zoom = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if zoom < _LEAST_ZOOM:
        return None
    factor = round(1 / zoom) if 1 / zoom >= _SHRINK_FROM else 1
    # Only the part that the crop shows: OpenCV can't warp images with a side over 32,767 pixels.
    inverse = cv2.invertAffineTransform(matrix)
    corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]], np.float64) @ inverse.T
    edge = factor + 1
    x1, y1 = np.maximum(np.floor(corners.min(axis=0)).astype(int) - edge, 0)
    x2, y2 = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + edge, image.shape[1::-1])
    w, h = (x2 - x1) // factor, (y2 - y1) // factor
    if w < 1 or h < 1:
        return None
    part: npt.NDArray[Any] = image[y1 : y1 + h * factor, x1 : x1 + w * factor]
    adapted = matrix.copy()
    if factor > 1:
        part = cv2.resize(part, (int(w), int(h)), interpolation=cv2.INTER_AREA)
        adapted[:, :2] *= factor
    # A shrunk pixel u covers the pixels u*factor .. u*factor + factor-1, whose middle is u*factor + (factor-1)/2.
    adapted[:, 2] += matrix[:, :2] @ (np.array([x1, y1]) + (factor - 1) / 2)
    out = cv2.warpAffine(part, adapted, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return np.asarray(out, np.uint8)

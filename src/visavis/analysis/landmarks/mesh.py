"""Face mesh: 468 points in three dimensions, and the irises, by MediaPipe's networks.

An upright square around a face goes into the mesh network, and an upright square around each eye of the mesh into the
iris network (Kartynnik et al., "Real-time facial surface geometry from monocular video on mobile GPUs", 2019;
Ablavatski et al., "Real-time pupil tracking from monocular video for digital puppetry", 2020).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from visavis.alignment import crop
from visavis.models.cards import ModelCard
from visavis.models.loader import Loader
from visavis.models.session import Session
from visavis.types import Faces, FloatArray, Image

__all__ = ["FaceMesh", "load"]

Matrices = npt.NDArray[np.float64]

_SIDE, _EYE_SIDE = 192, 64
_FACE_ZOOM, _EYE_ZOOM = 1.6, 2.3  # side of a crop in box sides, and in eye widths
_LEVEL_DEG, _LOOKS = 10.0, 3  # a face that turns out to be tilted more is looked at again, so much turned back
_TOGETHER = 16  # faces at once

# Points of the mesh; "left" is the left of the image, the person's right.
_LEFT_EYE, _RIGHT_EYE = (33, 133, 159, 145), (263, 362, 386, 374)
_NOSE, _MOUTH = (1, 4), (61, 291)
_CORNERS = np.array([[33, 133], [362, 263]])


def load(card: ModelCard, loader: Loader, *, irises: bool = True) -> FaceMesh:
    """Load the two networks that a card names, or the mesh's alone where no irises are wanted."""
    # Coordinates of the 8 bits that bf16 has would jump by half a pixel of the crop.
    exact = replace(loader, options=replace(loader.options, precision="f32"))
    ends = ("mesh-net", "iris-net") if irises else ("mesh-net",)
    return FaceMesh(card.id, *(exact.session(exact.part(card, end), batches=(1, 4)) for end in ends))


class FaceMesh:
    """A mesh network and an iris network; see the module.

    Parameters
    ----------
    name
        Card id.
    mesh, iris
        Sessions of the two networks; without the second no irises are looked for.
    """

    def __init__(self, name: str, mesh: Session, iris: Session | None = None) -> None:
        self.name = name
        self._mesh = mesh
        self._iris = iris

    def locate(self, image: Image, faces: Faces) -> dict[str, FloatArray]:
        """Return the mesh of each face, and the irises where they are looked for.

        Returns
        -------
        ``landmarks_468``
            ``(n, 468, 3)``: x and y in pixels of the image, z in the same unit, smaller towards the camera, 0 at the
            head's middle.
        ``irises``
            ``(n, 2, 5, 2)``: of the left and the right eye in the image, the center and the points at its right, top,
            left and bottom.
        """
        n = len(faces)
        mesh, irises = np.empty((n, 468, 3), np.float32), np.empty((n, 2, 5, 2), np.float32)
        for start in range(0, n, _TOGETHER):
            rows = slice(start, start + _TOGETHER)
            mesh[rows] = self._points(image, faces[rows])
            if self._iris is not None:
                irises[rows] = self._irises(self._iris, image, mesh[rows])
        return {"landmarks_468": mesh} if self._iris is None else {"landmarks_468": mesh, "irises": irises}

    def five(self, points: Mapping[str, FloatArray]) -> FloatArray:
        """Return the five landmarks, ``(n, 5, 2)``, from what `locate` returned."""
        return _five(points["landmarks_468"])

    def _points(self, image: Image, faces: Faces) -> FloatArray:
        boxes = faces.boxes.astype(np.float64)
        centers = (boxes[:, :2] + boxes[:, 2:]) / 2
        sides = _FACE_ZOOM * (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
        if faces.landmarks is not None:
            return self._look(image, _square(centers, sides, _tilts(faces.landmarks), _SIDE))
        tilts = np.zeros(len(boxes))
        points = self._look(image, _square(centers, sides, tilts, _SIDE))
        for _ in range(_LOOKS - 1):
            seen = _tilts(_five(points))
            again = np.abs(np.angle(np.exp(1j * (seen - tilts)))) > np.radians(_LEVEL_DEG)
            if not again.any():
                break
            tilts[again] = seen[again]
            points[again] = self._look(image, _square(centers[again], sides[again], tilts[again], _SIDE))
        return points

    def _look(self, image: Image, matrices: Matrices) -> FloatArray:
        out = self._mesh.run(crop(image, matrices, _SIDE))["output_mesh"].reshape(-1, 468, 3)
        scale = np.hypot(matrices[:, 0, 0], matrices[:, 1, 0])
        z = out[..., 2] / scale[:, None]
        return np.concatenate([_back(matrices, out[..., :2]), z[..., None]], axis=-1).astype(np.float32)

    def _irises(self, network: Session, image: Image, mesh: FloatArray) -> FloatArray:
        corners = mesh[:, _CORNERS, :2].astype(np.float64)  # face, eye, corner
        across = corners[:, :, 1] - corners[:, :, 0]
        tilts = np.arctan2(across[..., 1], across[..., 0]).reshape(-1)
        sides = _EYE_ZOOM * np.linalg.norm(across, axis=-1).reshape(-1)
        matrices = _square(corners.mean(axis=2).reshape(-1, 2), sides, tilts, _EYE_SIDE)
        # The network knows a person's left eye, at the right of the image; the other it sees in a mirror.
        mirrored = np.arange(len(matrices)) % 2 == 0
        matrices[mirrored, 0] *= -1
        matrices[mirrored, 0, 2] += _EYE_SIDE - 1
        out = network.run(crop(image, matrices, _EYE_SIDE))["Identity"].reshape(-1, 76, 3)[:, 71:, :2]
        points = _back(matrices, out)
        points[mirrored] = points[mirrored][:, [0, 3, 2, 1, 4]]
        return points.reshape(-1, 2, 5, 2).astype(np.float32)


def _five(mesh: FloatArray) -> FloatArray:
    p = mesh[..., :2]
    means = [p[:, list(around)].mean(axis=1) for around in (_LEFT_EYE, _RIGHT_EYE, _NOSE)]
    return np.stack([*means, p[:, _MOUTH[0]], p[:, _MOUTH[1]]], axis=1)


def _tilts(five: FloatArray) -> npt.NDArray[np.float64]:
    across = five[:, 1].astype(np.float64) - five[:, 0]
    return np.asarray(np.arctan2(across[:, 1], across[:, 0]))


def _square(centers: Matrices, sides: Matrices, tilts: Matrices, size: int) -> Matrices:
    """Return the transforms ``(n, 2, 3)`` from the image to crops of tilted squares."""
    scale = size / np.maximum(sides, 1e-3)
    cos, sin = scale * np.cos(tilts), scale * np.sin(tilts)
    turn = np.stack([np.stack([cos, sin], axis=-1), np.stack([-sin, cos], axis=-1)], axis=1)
    shift = (size - 1) / 2 - (turn @ centers[..., None])[..., 0]
    return np.concatenate([turn, shift[..., None]], axis=-1)


def _back(matrices: Matrices, points: npt.NDArray[np.floating]) -> Matrices:
    """Return points ``(n, p, 2)`` that a network found in crops, in pixels of the image.

    The networks count from a pixel's corner: 0.5 is the middle of the first one.
    """
    centered = points.astype(np.float64) - 0.5 - matrices[:, None, :, 2]
    return np.asarray(centered @ np.linalg.inv(matrices[:, :, :2]).transpose(0, 2, 1))

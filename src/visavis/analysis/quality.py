"""How usable a face is for recognition: its size, sharpness and turn, and the gate that refuses poor ones.

All three are measured from the image and the five landmarks, with no further model. The head's roll is not a
quality: alignment takes it out.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import cv2
import numpy as np
import numpy.typing as npt

from visavis.alignment import align
from visavis.errors import InputError
from visavis.types import FloatArray, Image

__all__ = ["FaceQuality", "QualityGate", "eye_distance", "measure", "sharpness", "turn", "worth"]

# Five points of a head in units of the distance between the eyes: x right, y down, z away from the camera. x and y are
# the mean of 419 frontal LFW faces as YuNet marks them, made symmetric. z puts the nose tip 0.43 before the eyes and
# the corners of the mouth 0.1, as average heads have it (27 mm and 6 mm at 63 mm between the pupils).
_HEAD = np.array([[-0.5, 0.0, 0.0], [0.5, 0.0, 0.0], [0.0, 0.548, -0.43], [-0.428, 0.97, -0.10], [0.428, 0.97, -0.10]])
_TAPS = 9  # Crete et al.
_EYES = 35.24  # pixels between the eyes of a crop of 112: a larger face shows no more in it
_HEAD_CENTERED = _HEAD - _HEAD.mean(axis=0)
_HEAD_INVERSE = np.linalg.pinv(_HEAD_CENTERED)  # (3, 5)


@dataclass(frozen=True)
class FaceQuality:
    """What was measured of one face.

    Attributes
    ----------
    eye_distance_px
        Pixels between the eyes' centers, corrected for the turn: what it would be if the face looked at the
        camera.
    sharpness
        0 to 1; see `sharpness`.
    yaw_deg
        Turn to the side, -90..90; positive when the nose points to the right of the image.
    pitch_deg
        Nod, -90..90; positive when the face looks up.
    """

    eye_distance_px: float
    sharpness: float
    yaw_deg: float
    pitch_deg: float

    def to_dict(self) -> dict[str, float]:
        """Return the fields, rounded."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


@dataclass(frozen=True)
class QualityGate:
    """What a face must reach to be enrolled.

    The defaults were chosen on LFW photographs (docs/gallery.md has the measurements): they let through
    nearly every ordinary portrait, and refuse what loses recognition.

    Parameters
    ----------
    min_eye_distance_px
        Least `FaceQuality.eye_distance_px`.
    min_sharpness
        Least `FaceQuality.sharpness`.
    max_yaw_deg, max_pitch_deg
        Most a face may be turned or nodded, either way.
    rival_size
        Another face counts as a second person when its box's side is at least this share of the largest's:
        people far in the background don't.

    Examples
    --------
    >>> QualityGate().problems(FaceQuality(11.0, 0.5, 0.0, 0.0))
    ('the face is too small: 11 px between the eyes, at least 16 needed',)
    """

    min_eye_distance_px: float = 16.0
    min_sharpness: float = 0.33
    max_yaw_deg: float = 50.0
    max_pitch_deg: float = 35.0
    rival_size: float = 0.5

    def problems(self, quality: FaceQuality) -> tuple[str, ...]:
        """Return what is wrong, each with by how much; nothing where the face passes."""
        found = []
        if quality.eye_distance_px < self.min_eye_distance_px:
            found.append(
                f"the face is too small: {quality.eye_distance_px:.0f} px between the eyes, "
                f"at least {self.min_eye_distance_px:.0f} needed"
            )
        if quality.sharpness < self.min_sharpness:
            found.append(
                f"the face is blurred: sharpness {quality.sharpness:.3g}, at least {self.min_sharpness:.3g} needed"
            )
        if abs(quality.yaw_deg) > self.max_yaw_deg:
            side = "right" if quality.yaw_deg > 0 else "left"
            found.append(
                f"the face is turned too far: {abs(quality.yaw_deg):.0f}° to the {side} of the image, "
                f"at most {self.max_yaw_deg:.0f}°"
            )
        if abs(quality.pitch_deg) > self.max_pitch_deg:
            way = "up" if quality.pitch_deg > 0 else "down"
            found.append(
                f"the face looks too far {way}: {abs(quality.pitch_deg):.0f}°, at most {self.max_pitch_deg:.0f}°"
            )
        return tuple(found)

    def rivals(self, boxes: npt.ArrayLike) -> int:
        """Return how many of these boxes ``(n, 4)`` are of comparable size with the largest, itself included."""
        b = np.asarray(boxes, np.float64).reshape(-1, 4)
        sides = np.sqrt(np.maximum(b[:, 2] - b[:, 0], 0) * np.maximum(b[:, 3] - b[:, 1], 0))
        return int((sides >= self.rival_size * sides.max()).sum()) if len(sides) else 0


def eye_distance(landmarks: FloatArray) -> npt.NDArray[np.float64]:
    """Return the distance between the eyes' centers of n faces, pixels ``(n,)``, from landmarks ``(n, 5, 2)``."""
    points = _checked(landmarks)
    return np.asarray(np.linalg.norm(points[:, 1] - points[:, 0], axis=1))


def sharpness(crops: Image) -> npt.NDArray[np.float64]:
    """Return how sharp aligned crops are: how much of their neighboring pixels' difference a blur takes away.

    One minus the blur of Crete et al., "The blur effect: perception and estimation with a new no-reference perceptual
    blur metric" (SPIE 2007): the crop is averaged over nine pixels along one axis, the loss of difference between
    neighbors along that axis is taken relative to the difference there was, and the blurrier axis counts. It needs no
    contrast to be set and sees motion blur. On degraded LFW photos it ordered faces by recognition loss better than
    the Laplacian's variance, Tenengrad or high-pass energy (docs/gallery.md).

    Parameters
    ----------
    crops
        RGB uint8 ``(n, 112, 112, 3)``, aligned as "arcface-112"; the middle, where the face is, is measured. A small
        face that was enlarged to fill its crop is as blurred as it looks there.

    Returns
    -------
    Float64 ``(n,)``, 0 (plain) to 1.

    Examples
    --------
    >>> noise = np.random.default_rng(0).integers(0, 256, (1, 112, 112, 3)).astype(np.uint8)
    >>> blurred = cv2.GaussianBlur(noise[0], (0, 0), 3)[None]
    >>> bool(sharpness(noise)[0] > 0.8 > 0.6 > sharpness(blurred)[0])
    True
    """
    if crops.ndim != 4 or crops.shape[-1] != 3 or crops.dtype != np.uint8:
        raise InputError(f"crops must be uint8 of shape (n, side, side, 3), not {crops.dtype} {crops.shape}")
    values = np.zeros(len(crops))
    for i, crop in enumerate(crops):
        margin = len(crop) // 7
        gray = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32)[margin:-margin, margin:-margin]
        values[i] = min(_lost_difference(gray), _lost_difference(gray.T))
    return values


def _lost_difference(gray: npt.NDArray[np.float32]) -> float:
    """Return the share of the rows' neighbor differences that averaging takes away: much of it from a sharp picture."""
    averaged = cv2.blur(gray, (_TAPS, 1))
    before, after = np.abs(np.diff(gray, axis=1)), np.abs(np.diff(averaged, axis=1))
    return float(np.maximum(0, before - after).sum() / max(float(before.sum()), 1.0))


def turn(landmarks: FloatArray) -> npt.NDArray[np.float64]:
    """Return the yaw and pitch of faces from their five landmarks.

    A rigid mean head is fitted under scaled orthography: least squares give the first two rows of the camera
    matrix, the nearest rotation gives the angles (the POS step of DeMenthon and Davis, "Model-based object
    pose in 25 lines of code", IJCV 1995). Heads differ from the mean one: expect errors of some ten degrees,
    less in yaw than in pitch.

    Parameters
    ----------
    landmarks
        Float ``(n, 5, 2)``, pixels: left eye, right eye, nose, left and right mouth corner.

    Returns
    -------
    Float64 ``(n, 2)``: yaw (positive: the nose points to the right of the image) and pitch (positive: up),
    degrees.
    """
    points = _checked(landmarks)
    centered = points - points.mean(axis=1, keepdims=True)
    rows = np.einsum("kp,npc->nck", _HEAD_INVERSE, centered)  # (n, 2, 3): scale times the rotation's first two rows
    u, _, vt = np.linalg.svd(rows, full_matrices=False)
    first, second = np.moveaxis(u @ vt, 1, 0)
    third = np.cross(first, second)
    # As nod, then turn, then tilt (which leaves the third row alone): (sin yaw, -sin pitch cos yaw, cos pitch cos yaw).
    yaw = np.degrees(np.arcsin(np.clip(third[:, 0], -1, 1)))
    pitch = np.degrees(np.arctan2(-third[:, 1], third[:, 2]))
    return np.stack([yaw, np.clip(pitch, -90, 90)], axis=1)


def measure(image: Image, landmarks: FloatArray) -> tuple[FaceQuality, ...]:
    """Measure every face of an image.

    Parameters
    ----------
    image
        RGB uint8 ``(h, w, 3)``.
    landmarks
        Float32 ``(n, 5, 2)``, pixels of that image.
    """
    points = _checked(landmarks)
    if not len(points):
        return ()
    angles = turn(landmarks)
    # A turned head's eyes look closer together; beyond 60 degrees the correction would mostly amplify errors.
    facing = eye_distance(landmarks) / np.cos(np.radians(np.minimum(np.abs(angles[:, 0]), 60)))
    details = sharpness(align(image, np.asarray(landmarks, np.float32)))
    return tuple(
        FaceQuality(float(size), float(detail), float(yaw), float(pitch))
        for size, detail, (yaw, pitch) in zip(facing, details, angles, strict=True)
    )


def worth(quality: FaceQuality, size: int = 112) -> float:
    """Return how much a face is worth keeping: its sharpness, times its size, times how frontal it is; 0..1.

    Size counts up to that of the crop; frontal is the cosine of yaw times that of pitch.

    Examples
    --------
    >>> worth(FaceQuality(eye_distance_px=70.0, sharpness=0.5, yaw_deg=60.0, pitch_deg=0.0))
    0.25
    """
    large = min(quality.eye_distance_px / (_EYES * size / 112), 1.0)
    frontal = math.cos(math.radians(quality.yaw_deg)) * math.cos(math.radians(quality.pitch_deg))
    return round(quality.sharpness * large * max(frontal, 0.0), 4)


def _checked(landmarks: FloatArray) -> npt.NDArray[np.float64]:
    points = np.asarray(landmarks, np.float64)
    if points.ndim != 3 or points.shape[1:] != (5, 2) or not np.isfinite(points).all():
        raise InputError(f"landmarks must be finite numbers of shape (n, 5, 2), not {points.shape}")
    return points

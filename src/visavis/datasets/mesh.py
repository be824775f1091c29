"""Meshes as they are printed over identity photos (网纹): fine curved lines over the whole face, half transparent.

For training a network that takes them off: a clean photo, and the same under meshes of random geometry, thickness,
color and opacity. A mesh is a few families of lines. What real ones look like is described by Zhang et al., "DeMeshNet:
Blind face inpainting for deep MeshFace verification" (IEEE TIFS, 2018); theirs were not at hand, and nothing of them is
in here.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import cv2
import numpy as np
import numpy.typing as npt

from visavis.errors import InputError
from visavis.types import FloatArray, Image

__all__ = ["KINDS", "Family", "Kind", "Mesh", "apply", "mesh_overlay", "random_mesh", "seed_of"]

Kind = Literal["line", "wave", "guilloche"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""Straight lines; waves; waves wound about each other, in bands or about a center."""

_SCALE = 4  # lines are drawn at this many times the size and averaged
_FRACTION = 4  # bits of a pixel that OpenCV is given
_MAX_SIDE = 8192
_MAX_ASPECT = 8
_POINTS = 160  # of a line across the picture
_CALM = 0.6  # wavelength of rings, as share of the picture's side, from which waves swing in full
# What is printed is mostly white or gray, sometimes a pale or dark color.
_GRAYS = (255, 255, 245, 225, 205, 180, 130, 90)
_COLORS = ((150, 190, 235), (160, 215, 175), (235, 170, 170), (215, 190, 140), (70, 110, 170), (90, 140, 110))
_COLORED = 0.3  # share of meshes that are


@dataclass(frozen=True)
class Family:
    """Lines that run side by side; lengths are shares of the picture's shorter side, angles in radians.

    Attributes
    ----------
    angle
        Which way the lines run.
    spacing, thickness
        From line to line, and of a line.
    waves
        Of the curve that all lines follow: (amplitude, wavelength, phase) each.
    drift
        By how much the first wave's phase moves on from line to line: neighbors swing apart and together.
    center
        Shares of width and height about which the lines are bent to rings; None for lines across.
    """

    angle: float
    spacing: float
    thickness: float
    waves: tuple[tuple[float, float, float], ...] = ()
    drift: float = 0.0
    center: tuple[float, float] | None = None


@dataclass(frozen=True)
class Mesh:
    """What a mesh is made of.

    Attributes
    ----------
    color
        RGB, 0..255.
    opacity
        0..1, of the lines where they are densest.
    fading
        By how much opacity falls off here and there, 0..1, along a slow wave across the picture.
    fade_angle
        Which way that goes, radians.
    """

    kind: Kind
    color: tuple[int, int, int]
    opacity: float
    families: tuple[Family, ...]
    fading: float = 0.0
    fade_angle: float = 0.0

    def draw(self, size: int | tuple[int, int]) -> tuple[npt.NDArray[np.uint8], FloatArray]:
        """Return the color ``(3,)`` uint8, and how much of it covers each pixel: float32 ``(h, w)``, 0..1.

        Raises
        ------
        InputError
            If a side is not from 1 to 8,192 pixels, or one is over 8 times the other.
        """
        height, width = (size, size) if isinstance(size, int) else size
        if not (1 <= height <= _MAX_SIDE and 1 <= width <= _MAX_SIDE):
            raise InputError(f"a mesh has sides of 1 to {_MAX_SIDE} pixels, not {width}x{height}")
        if max(height, width) > _MAX_ASPECT * min(height, width):  # the number of lines grows with its square
            raise InputError(
                f"a picture of {width}x{height} is no face: one side is over {_MAX_ASPECT} times the other"
            )
        # Large pictures hold more pixels a line: less has to be averaged.
        scale = _SCALE if max(height, width) <= 1024 else 2 if max(height, width) <= 4096 else 1
        canvas = np.zeros((height * scale, width * scale), np.uint8)
        for family in self.families:
            side = min(canvas.shape)
            thick = max(round(family.thickness * side), 1)
            points = [np.round(line * 2**_FRACTION).astype(np.int32) for line in _lines(family, canvas.shape)]
            cv2.polylines(canvas, points, family.center is not None, 255, thick, cv2.LINE_AA, _FRACTION)
        covered = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        return np.array(self.color, np.uint8), np.asarray(
            covered * self.opacity * self._faded(height, width), np.float32
        )

    def _faded(self, height: int, width: int) -> FloatArray:
        y, x = np.mgrid[:height, :width].astype(np.float32) / max(height, width)
        along = x * math.cos(self.fade_angle) + y * math.sin(self.fade_angle)
        return np.asarray(1 - self.fading * (0.5 + 0.5 * np.sin(2 * math.pi * along)), np.float32)

    def to_dict(self) -> dict[str, Any]:
        """Return the parameters, rounded."""
        return _rounded(asdict(self))  # type: ignore[no-any-return]


def mesh_overlay(
    size: int | tuple[int, int], seed: int | Sequence[int], kind: Kind | None = None
) -> tuple[npt.NDArray[np.uint8], FloatArray]:
    """Return a random mesh: its color ``(3,)`` uint8 and how much of it covers each pixel, float32 ``(h, w)``, 0..1.

    Parameters
    ----------
    size
        Side in pixels, or height and width.
    seed
        The same seed gives the same bytes.
    kind
        One of `KINDS`; any of them without it.

    Examples
    --------
    >>> color, alpha = mesh_overlay(112, seed=7, kind="wave")
    >>> color.shape, alpha.shape, 0.02 < float(alpha.mean()) < 0.6
    ((3,), (112, 112), True)
    """
    return random_mesh(seed, (kind,) if kind else KINDS).draw(size)


def apply(image: Image, color: npt.NDArray[np.uint8], alpha: FloatArray) -> Image:
    """Return an image with a mesh laid over it.

    Parameters
    ----------
    image
        RGB uint8 ``(h, w, 3)``.
    color, alpha
        As `mesh_overlay` gives them, of the image's size.

    Examples
    --------
    >>> photo = np.full((2, 2, 3), 100, np.uint8)
    >>> apply(photo, np.array([200, 200, 200], np.uint8), np.full((2, 2), 0.5, np.float32))[0, 0].tolist()
    [150, 150, 150]
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise InputError(f"an image must be uint8 (h, w, 3), not {image.dtype} {image.shape}")
    if alpha.shape != image.shape[:2]:
        raise InputError(f"a mesh over an image of {image.shape[:2]} needs that shape, not {alpha.shape}")
    share = alpha[..., None]
    return np.rint(image * (1 - share) + color.astype(np.float32) * share).astype(np.uint8)


def random_mesh(seed: int | Sequence[int], kinds: Sequence[Kind] = KINDS) -> Mesh:
    """Return a mesh drawn at random, the same for the same seed.

    Raises
    ------
    InputError
        If there is no such kind.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        raise InputError(f"kinds of mesh are {', '.join(KINDS)}, not {unknown[0] if unknown else 'none'}")
    rng = np.random.default_rng(seed)
    kind = kinds[int(rng.integers(len(kinds)))]
    make = {"line": _line_families, "wave": _wave_families, "guilloche": _guilloche_families}[kind]
    if rng.random() < _COLORED:
        red, green, blue = _COLORS[int(rng.integers(len(_COLORS)))]
    else:
        red = green = blue = _GRAYS[int(rng.integers(len(_GRAYS)))]
    return Mesh(
        kind=kind,
        color=(red, green, blue),
        opacity=float(rng.uniform(0.3, 0.8)),
        families=make(rng),
        fading=float(rng.uniform(0, 0.5)),
        fade_angle=float(rng.uniform(0, 2 * math.pi)),
    )


def seed_of(key: str, seed: int = 0, number: int = 0) -> tuple[int, int, int]:
    """Return the seed of a picture's mesh from its name, so that it does not matter when it is made.

    Examples
    --------
    >>> seed_of("ada/1.jpg") == seed_of("ada/1.jpg"), seed_of("ada/1.jpg") == seed_of("ada/2.jpg")
    (True, False)
    """
    if seed < 0 or number < 0:
        raise InputError(f"a seed is 0 or more, not {min(seed, number)}")
    return seed, int.from_bytes(hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()[:8], "big"), number


def _line_families(rng: np.random.Generator) -> tuple[Family, ...]:
    """Return straight lines, hardly bent, often with a second family across."""
    angle = rng.uniform(0, math.pi)
    first = Family(
        angle=float(angle),
        spacing=float(rng.uniform(0.035, 0.09)),
        thickness=float(rng.uniform(0.004, 0.014)),
        waves=((float(rng.uniform(0, 0.012)), float(rng.uniform(0.6, 1.6)), float(rng.uniform(0, 2 * math.pi))),),
    )
    if rng.random() < 0.35:
        return (first,)
    across = float(angle + rng.uniform(math.radians(40), math.radians(140)))
    return first, Family(across, first.spacing * float(rng.uniform(0.8, 1.25)), first.thickness, first.waves)


def _wave_families(rng: np.random.Generator) -> tuple[Family, ...]:
    """Return waves; mostly two families that mirror each other, so that they form a net of eyes."""
    angle = float(rng.normal(0, 0.35) + rng.choice([0, math.pi / 2]))
    spacing = float(rng.uniform(0.04, 0.09))
    length = float(rng.uniform(0.18, 0.55))
    phase = float(rng.uniform(0, 2 * math.pi))
    amplitude = float(spacing * rng.uniform(0.4, 1.3))
    slow = (float(rng.uniform(0, 0.05)), float(rng.uniform(0.7, 1.8)), float(rng.uniform(0, 2 * math.pi)))
    thickness = float(rng.uniform(0.004, 0.013))
    drift = float(rng.choice([0.0, rng.uniform(-0.5, 0.5)]))
    first = Family(angle, spacing, thickness, ((amplitude, length, phase), slow), drift)
    if rng.random() < 0.2:
        return (first,)
    if rng.random() < 0.6:  # the same waves, half a wave on
        return first, Family(angle, spacing, thickness, ((amplitude, length, phase + math.pi), slow), drift)
    across = angle + float(rng.uniform(math.radians(50), math.radians(130)))
    return first, Family(across, spacing, thickness, ((amplitude, length, phase), slow), drift)


def _guilloche_families(rng: np.random.Generator) -> tuple[Family, ...]:
    """Return waves wound about each other as on banknotes: across in bands, or in rings about the face."""
    strands = int(rng.integers(2, 5))
    thickness = float(rng.uniform(0.003, 0.008))
    if rng.random() < 0.5:
        center = (float(rng.uniform(0.35, 0.65)), float(rng.uniform(0.35, 0.65)))
        spacing, petals = float(rng.uniform(0.09, 0.17)), int(rng.integers(6, 15))
        amplitude = float(spacing * rng.uniform(0.6, 1.4))
        turn = float(rng.uniform(0, 2 * math.pi))
        drift = float(rng.uniform(-0.4, 0.4))
        return tuple(
            Family(0.0, spacing, thickness, ((amplitude, 1 / petals, turn + 2 * math.pi * i / strands),), drift, center)
            for i in range(strands)
        )
    angle = float(rng.normal(0, 0.5))
    spacing = float(rng.uniform(0.09, 0.18))
    waves = (float(spacing * rng.uniform(0.45, 0.8)), float(rng.uniform(0.22, 0.5)), float(rng.uniform(0, 2 * math.pi)))
    slow = (float(rng.uniform(0, 0.06)), float(rng.uniform(0.7, 1.6)), float(rng.uniform(0, 2 * math.pi)))
    return tuple(
        Family(angle, spacing, thickness, ((waves[0], waves[1], waves[2] + 2 * math.pi * i / strands), slow))
        for i in range(strands)
    )


def _lines(family: Family, shape: tuple[int, ...]) -> list[npt.NDArray[np.float64]]:
    """Return the points ``(p, 2)`` of each line of a family on a canvas."""
    height, width = shape[:2]
    side = min(height, width)
    reach = math.hypot(height, width) / side / 2 + sum(amplitude for amplitude, _, _ in family.waves)
    if family.center is not None:
        return _rings(family, width, height, 2 * reach)
    count = math.ceil(reach / family.spacing)
    u = np.linspace(-reach, reach, _points(family, 2 * reach))
    cos, sin = math.cos(family.angle), math.sin(family.angle)
    lines = []
    for j in range(-count, count + 1):
        v = np.full_like(u, j * family.spacing)
        for i, (amplitude, length, phase) in enumerate(family.waves):
            v += amplitude * np.sin(2 * math.pi * u / length + phase + (family.drift * j if i == 0 else 0.0))
        x, y = width / 2 + side * (u * cos - v * sin), height / 2 + side * (u * sin + v * cos)
        lines.append(np.stack([x, y], axis=1))
    return lines


def _rings(family: Family, width: int, height: int, reach: float) -> list[npt.NDArray[np.float64]]:
    """Return rings about a center; wavelengths are then shares of a turn."""
    assert family.center is not None
    side = min(width, height)
    t = np.linspace(0, 1, 720, endpoint=False)
    lines = []
    for j in range(1, math.ceil(reach / family.spacing) + 1):
        r = np.full_like(t, j * family.spacing)
        for amplitude, length, phase in family.waves:
            # Near the center a wave has less room to swing.
            room = min(1.0, 2 * math.pi * j * family.spacing * length / _CALM)
            r += amplitude * room * np.sin(2 * math.pi * t / length + phase + family.drift * j)
        x = width * family.center[0] + side * r * np.cos(2 * math.pi * t)
        lines.append(np.stack([x, height * family.center[1] + side * r * np.sin(2 * math.pi * t)], axis=1))
    return lines


def _points(family: Family, length: float) -> int:
    shortest = min((wave for _, wave, _ in family.waves), default=1.0)
    return max(_POINTS, math.ceil(24 * length / shortest))


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(part) for part in value]
    return round(value, 5) if isinstance(value, float) else value

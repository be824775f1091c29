"""Several looks at one picture: a network sees faces of a certain range of sizes, pictures have all sizes.

A picture is looked at whole, shrunk until the largest possible face is in the network's range, and in overlapping
tiles, where small faces are. Each face is then described by the view that showed it best. docs/detection.md explains
the plan by YuNet's.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import cv2
import numpy as np
import numpy.typing as npt

from visavis.geometry import area, clip_boxes, intersection, nms
from visavis.types import Faces, FloatArray, Image

__all__ = ["Sight", "View", "look_by_size", "look_in_squares", "merge", "place", "plan", "show"]

_NMS_IOU = 0.3
# A box that touches a side at which a tile was cut off shows part of a face that is whole in another view; one that
# comes near it (in sides of the box) may, and gives way to another view's.
_CUT = 2.0
_NEAR_CUT = 0.1


@dataclass(frozen=True)
class Sight:
    """What a network sees in one look, in pixels of its input.

    Attributes
    ----------
    smallest
        Height a face needs in the finest view to be found reliably.
    coarse
        Long side of the coarsest view: a face that fills it is still seen.
    tile
        Longest side of a view, which bounds memory.
    overlap
        Between tiles; a larger face is seen whole by a coarser view.
    min_face
        Height in pixels of the picture of the smallest face looked for in pictures larger than ``coarse``, unless
        the caller says otherwise.
    fit
        How well a view shows a face, by its longer side there: pairs of a side and 0..1, joined by straight lines
        over the side's logarithm. The best view describes the face.
    square
        Whether the network's input is a square of fixed size, which a small picture is then enlarged to fill.
    """

    smallest: float
    coarse: int
    tile: int
    overlap: int
    min_face: float
    fit: tuple[tuple[float, float], ...]
    square: bool = False

    @property
    def step(self) -> float:
        """Largest ratio between the scales of two views: a face too large for one is large enough in the next."""
        return self.overlap / self.smallest

    def fitness(self, side: FloatArray) -> npt.NDArray[np.float64]:
        """Return how well a view shows faces of the given sides."""
        sides, values = np.array(self.fit, np.float32).T
        return np.asarray(np.interp(np.log2(side), np.log2(sides), values))


@dataclass(frozen=True)
class View:
    """A part of an image at a scale: ``pixel = offset + view pixel / scale``."""

    scale: float
    x: int = 0
    y: int = 0
    width: int = 0
    height: int = 0
    inner: tuple[bool, bool, bool, bool] = (False, False, False, False)  # which sides cut through the image
    limit: int | None = None  # what its sides, rounded to whole pixels, must not exceed

    @property
    def shown(self) -> tuple[int, int]:
        """Height and width of the view in pixels of the network's input."""
        height, width = (max(round(side * self.scale), 1) for side in (self.height, self.width))
        return (height, width) if self.limit is None else (min(height, self.limit), min(width, self.limit))


def plan(height: int, width: int, sight: Sight, min_face: float | None = None) -> list[View]:
    """Plan what to look at so that faces from ``min_face`` pixels to the whole frame lie in the network's range.

    The finest scale shows ``min_face`` at ``sight.smallest`` pixels, tiled where it is large; a coarse look at the
    whole picture finds what is too large for that. Further looks fill a gap between the two in very large pictures.
    None looks for faces of the sight's own ``min_face`` in pictures larger than ``sight.coarse``, and of
    ``sight.smallest`` in smaller ones, where enlarging would multiply the cost of every portrait.
    """
    longest = max(height, width)
    if min_face is None:
        min_face = sight.min_face if longest > sight.coarse else sight.smallest
    finest, coarse = sight.smallest / min_face, sight.coarse / longest
    if finest <= coarse:
        return _tiles(height, width, coarse if sight.square else finest, sight)
    steps = math.ceil(math.log(finest / coarse) / math.log(sight.step))
    scales = (coarse * (finest / coarse) ** (i / steps) for i in range(steps + 1))
    return [view for scale in scales for view in _tiles(height, width, scale, sight)]


def _tiles(height: int, width: int, scale: float, sight: Sight) -> list[View]:
    rows, columns = (_cuts(side, sight.tile / scale, sight.overlap / scale) for side in (height, width))
    limit = sight.tile if sight.square else None
    return [
        View(scale, x1, y1, x2 - x1, y2 - y1, (x1 > 0, y1 > 0, x2 < width, y2 < height), limit)
        for y1, y2 in rows
        for x1, x2 in columns
    ]


def _cuts(length: int, tile: float, overlap: float) -> list[tuple[int, int]]:
    """Cut a side into equal overlapping pieces no longer than ``tile``."""
    count = max(1, math.ceil((length - overlap) / (tile - overlap) - 1e-6))  # a side of just a tile is one piece
    piece = math.ceil((length + (count - 1) * overlap) / count)
    step = (length - piece) / max(count - 1, 1)
    return [(round(i * step), min(round(i * step) + piece, length)) for i in range(count)]


def show(image: Image, view: View, into: Image) -> None:
    """Draw a view of an image into the upper left corner of ``into``."""
    height, width = view.shown
    part = image[view.y : view.y + view.height, view.x : view.x + view.width]
    if part.shape[:2] != (height, width):
        how = cv2.INTER_AREA if height < part.shape[0] else cv2.INTER_LINEAR
        part = np.asarray(cv2.resize(part, (width, height), interpolation=how), np.uint8)
    into[:height, :width] = part


def place(owner: npt.NDArray[np.intp], faces: Faces, view: View, count: int, sight: Sight) -> list[Faces]:
    """Return each of ``count`` images' faces in a view, suppressed, in pixels of the image.

    Parameters
    ----------
    owner
        Which image each face is of.
    faces
        What the network saw, in pixels of its input. Its traits, if any, are points.

    Returns
    -------
    `Faces` whose trait ``fit`` says how well the view shows them; those cut off by a tile's side are left out.
    """
    height, width = view.shown
    # Per axis, as the sides were rounded to whole pixels.
    back = np.array([view.width / width, view.height / height], np.float32)
    offset = np.array([view.x, view.y], np.float32)
    side = (faces.boxes[:, 2:] - faces.boxes[:, :2]).max(axis=1, initial=1)
    fit = sight.fitness(side)
    if any(view.inner):
        gap = _gap_to_cut(faces.boxes, height, width, view.inner)
        fit[gap < _NEAR_CUT * side] /= 2
        owner, faces, fit = owner[gap >= _CUT], faces[gap >= _CUT], fit[gap >= _CUT]
    faces = Faces(
        boxes=faces.boxes * np.tile(back, 2) + np.tile(offset, 2),
        scores=faces.scores,
        landmarks=None if faces.landmarks is None else faces.landmarks * back + offset,
        traits={name: points * back + offset for name, points in faces.traits.items()} | {"fit": fit},
    )
    looks = []
    for i in range(count):
        mine = np.flatnonzero(owner == i)
        looks.append(faces[mine[nms(faces.boxes[mine], faces.scores[mine], _NMS_IOU)]])
    return looks


def _gap_to_cut(
    boxes: FloatArray, height: int, width: int, inner: tuple[bool, bool, bool, bool]
) -> npt.NDArray[np.float32]:
    """Return each box's gap in pixels to the nearest side where the tile, not the image, ends."""
    gaps = np.stack([boxes[:, 0], boxes[:, 1], width - boxes[:, 2], height - boxes[:, 3]], axis=1)
    return np.asarray(np.where(inner, gaps, np.inf).min(axis=1, initial=np.inf))


def merge(looks: Sequence[Faces], height: int, width: int) -> Faces:
    """Join what the views found of one image, each face from the view that saw it best; best score first."""
    faces = looks[0] if len(looks) == 1 else Faces.concat(looks)
    if len(looks) > 1 and len(faces):
        faces = faces[nms(faces.boxes, faces.scores * faces.traits["fit"], _NMS_IOU)]
        faces = faces[~_parts(faces)]
    boxes = clip_boxes(faces.boxes, height, width)
    visible = area(boxes) > 0.25 * area(faces.boxes)
    best_first = np.argsort(-faces.scores, kind="stable")
    points = {name: values for name, values in faces.traits.items() if name != "fit"}
    return faces.replace(boxes=boxes, traits=points)[best_first[visible[best_first]]]


def _parts(faces: Faces) -> npt.NDArray[np.bool_]:
    """Tell which boxes lie inside a larger, surer face: an eye or half a face that looks like a small one."""
    size, scores = area(faces.boxes), faces.scores
    inside = intersection(faces.boxes, faces.boxes) > 0.7 * size[:, None]
    outdone = (size[None, :] > 2 * size[:, None]) & (scores[None, :] >= scores[:, None])
    return np.asarray((inside & outdone).any(axis=1))


def look_by_size(
    images: Sequence[Image],
    views: Callable[[int, int], list[View]],
    look: Callable[[Sequence[Image], View], list[Faces]],
    together: Callable[[int, int, list[View]], int],
) -> list[Faces]:
    """Return the faces of each image, found by a network that takes any size; images of one size are run together.

    Parameters
    ----------
    views
        Height and width of an image to what to look at.
    look
        Images of one size to the faces of each in a view, as `place` gives them.
    together
        How many images of a height and width, looked at in these views, to run at once; less than 1 counts as 1.
    """
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for i, image in enumerate(images):
        groups[(image.shape[0], image.shape[1])].append(i)
    found: list[Faces] = [Faces.empty()] * len(images)
    for (height, width), members in groups.items():
        planned = views(height, width)
        step = max(1, together(height, width, planned))
        for start in range(0, len(members), step):
            batch = members[start : start + step]
            seen = [look([images[i] for i in batch], view) for view in planned]
            for row, i in enumerate(batch):
                found[i] = merge([looks[row] for looks in seen], height, width)
    return found


def look_in_squares(
    images: Sequence[Image],
    sight: Sight,
    min_face: float | None,
    see: Callable[[Image], list[Faces]],
    batch: int,
) -> list[Faces]:
    """Return the faces of each image, found by a network whose input is a square of ``sight.tile`` pixels.

    Parameters
    ----------
    see
        Squares ``(n, tile, tile, 3)`` to the faces in each, in pixels of it.
    batch
        How many squares it gets at most at once.
    """
    looks: list[list[Faces]] = [[] for _ in images]
    todo: Iterator[tuple[int, View]] = (
        (i, view) for i, image in enumerate(images) for view in plan(image.shape[0], image.shape[1], sight, min_face)
    )
    while some := list(islice(todo, batch)):
        squares = np.zeros((len(some), sight.tile, sight.tile, 3), np.uint8)
        for square, (i, view) in zip(squares, some, strict=True):
            show(images[i], view, square)
        for (i, view), faces in zip(some, see(squares), strict=True):
            looks[i] += place(np.zeros(len(faces), np.intp), faces, view, 1, sight)
    return [merge(found, *image.shape[:2]) for found, image in zip(looks, images, strict=True)]

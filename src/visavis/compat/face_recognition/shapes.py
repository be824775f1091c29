"""Rectangles, detections and landmarks as dlib names their parts: what the private functions return."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Detection", "Landmarks", "Point", "Rectangle"]


class Point(NamedTuple):
    """A pixel."""

    x: int
    y: int


class Rectangle:
    """A rectangle of whole pixels, which includes its right column and its bottom row."""

    __slots__ = ("_sides",)

    def __init__(self, left: int, top: int, right: int, bottom: int) -> None:
        self._sides = (left, top, right, bottom)

    def left(self) -> int:
        """Return the first column."""
        return self._sides[0]

    def top(self) -> int:
        """Return the first row."""
        return self._sides[1]

    def right(self) -> int:
        """Return the last column."""
        return self._sides[2]

    def bottom(self) -> int:
        """Return the last row."""
        return self._sides[3]

    def width(self) -> int:
        """Return the number of columns."""
        return self._sides[2] - self._sides[0] + 1

    def height(self) -> int:
        """Return the number of rows."""
        return self._sides[3] - self._sides[1] + 1

    def area(self) -> int:
        """Return the number of pixels."""
        return self.width() * self.height()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rectangle) and self._sides == other._sides

    def __hash__(self) -> int:
        return hash(self._sides)

    def __repr__(self) -> str:
        return "rectangle({},{},{},{})".format(*self._sides)


class Detection(NamedTuple):
    """A face that the detector called ``"cnn"`` found."""

    rect: Rectangle
    confidence: float


class Landmarks:
    """The 5 or 68 points of a face."""

    def __init__(self, rect: Rectangle, points: npt.NDArray[np.int64]) -> None:
        self.rect = rect
        self.points = points

    @property
    def num_parts(self) -> int:
        """How many points there are."""
        return len(self.points)

    def part(self, index: int) -> Point:
        """Return one point."""
        x, y = self.points[index].tolist()
        return Point(x, y)

    def parts(self) -> list[Point]:
        """Return all points."""
        return [self.part(i) for i in range(len(self.points))]

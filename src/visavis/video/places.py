"""Places in a camera's view: lines to cross and zones to stay in, and the plane geometry they need."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from visavis.errors import InputError
from visavis.names import checked_name
from visavis.settings import Seconds

__all__ = ["Direction", "Line", "LineState", "Point", "Zone", "beyond", "crossed", "within"]

Point = tuple[float, float]
"""x to the right, y down: of a place in shares 0..1 of the frame's sides, in the functions here in pixels."""
Direction = Literal["left", "right"]

_MOST_CORNERS = 1000


@dataclass(frozen=True)
class Line:
    """A line across a camera's view, that faces may cross.

    Attributes
    ----------
    name
        What events call it.
    a, b
        Its ends, in shares 0..1 of the frame's width and height. ``right`` is on the right of someone who walks in the
        picture from ``a`` to ``b``.

    Examples
    --------
    >>> Line("door", (0.5, 1.0), (0.5, 0.0))
    Line(name='door', a=(0.5, 1.0), b=(0.5, 0.0))
    """

    name: str
    a: Point
    b: Point

    def __post_init__(self) -> None:
        checked_name(self.name, "a line's name")
        a, b = _points((self.a, self.b), f"line {self.name!r}")
        if a == b:
            raise InputError(f"line {self.name!r} begins and ends at {list(a)}; give two places")
        object.__setattr__(self, "a", a)
        object.__setattr__(self, "b", b)


@dataclass(frozen=True)
class Zone:
    """A part of a camera's view, in which faces may stay.

    Attributes
    ----------
    name
        What events call it.
    polygon
        Its corners, three or more, in shares 0..1 of the frame's width and height. Where its sides cross each other,
        the even-odd rule says what is inside.
    seconds
        How long a face must be in it for a ``dwell`` event: one for each time it goes in.

    Examples
    --------
    >>> Zone("counter", ((0.0, 0.5), (1.0, 0.5), (1.0, 1.0), (0.0, 1.0)), seconds=30).seconds
    30.0
    """

    name: str
    polygon: tuple[Point, ...]
    seconds: Seconds = 10.0

    def __post_init__(self) -> None:
        checked_name(self.name, "a zone's name")
        corners = _points(self.polygon, f"zone {self.name!r}")
        if not 3 <= len(corners) <= _MOST_CORNERS:
            raise InputError(f"zone {self.name!r} needs 3 to {_MOST_CORNERS} corners, not {len(corners)}")
        if _area(corners) == 0:
            raise InputError(f"zone {self.name!r} has no area: all its corners lie on one line")
        seconds = _number(self.seconds)
        if seconds is None or seconds < 0:
            raise InputError(f"zone {self.name!r} needs seconds of 0 or more, not {self.seconds!r}")
        object.__setattr__(self, "polygon", corners)
        object.__setattr__(self, "seconds", seconds)


def _points(given: object, what: str) -> tuple[Point, ...]:
    """Return places given as lists or tuples, checked."""
    if not isinstance(given, Sequence) or isinstance(given, (str, bytes)):
        raise InputError(f"{what} needs places such as [0.5, 1.0], not {given!r}")
    found = []
    for place in given:
        values = [_number(value) for value in place] if isinstance(place, (list, tuple)) else []
        if len(values) != 2 or not all(value is not None and 0 <= value <= 1 for value in values):
            raise InputError(
                f"{what} needs places of two numbers from 0 to 1, shares of the frame's width and height, not {place!r}"
            )
        found.append((values[0], values[1]))
    return tuple(found)  # type: ignore[arg-type]


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def _area(corners: Sequence[Point]) -> float:
    """Return the sum of what triangles over neighboring corners cover: 0 where all corners lie on one line."""
    return sum(abs(_turn(corners[0], p, q)) for p, q in pairwise(corners[1:]))


def _turn(a: Point, b: Point, p: Point) -> float:
    """Return twice the signed area of a, b, p: positive where p is to the right of the way from a to b (y is down)."""
    return (b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0])


def beyond(a: Point, b: Point, p: Point) -> float:
    """Return how far ``p`` is to the right of the endless line through ``a`` and ``b``; negative: to the left.

    Examples
    --------
    >>> beyond((0, 0), (10, 0), (3, 4)), beyond((10, 0), (0, 0), (3, 4))
    (4.0, -4.0)
    """
    return _turn(a, b, p) / math.dist(a, b)


@dataclass(frozen=True)
class LineState:
    """How one face stands to one line.

    Attributes
    ----------
    side
        On which it was clearly seen last: 1 right, -1 left, 0 on neither yet.
    point
        Where it was seen last.
    between
        Whether the last way from one side to the other led between the line's ends.
    """

    side: int = 0
    point: Point | None = None
    between: bool = False


def crossed(a: Point, b: Point, before: LineState, p: Point, margin: float) -> tuple[LineState, Direction | None]:
    """Follow a point past the line from ``a`` to ``b``.

    Parameters
    ----------
    before
        What the last call returned; `LineState` of nothing for the first.
    p
        Where the point is now.
    margin
        How far beyond the line it must be to count as on that side: whoever stands on the line crosses nothing.

    Returns
    -------
    The new state, and to which side it crossed, if it did: it was clearly on one side, is clearly on the other, and
    went between the line's ends.

    Examples
    --------
    >>> state, gone = crossed((5, 9), (5, 0), LineState(), (0, 4), margin=1)
    >>> state, gone = crossed((5, 9), (5, 0), state, (5.5, 4), margin=1)
    >>> gone
    >>> crossed((5, 9), (5, 0), state, (7, 4), margin=1)[1]
    'right'
    """
    here = beyond(a, b, p)
    between = before.between
    if before.point is not None:
        there = beyond(a, b, before.point)
        if (there < 0) != (here < 0):
            share = there / (there - here)
            at = (
                before.point[0] + share * (p[0] - before.point[0]),
                before.point[1] + share * (p[1] - before.point[1]),
            )
            between = 0 <= _along(a, b, at) <= 1
    if abs(here) <= margin:
        return LineState(before.side, p, between), None
    side = 1 if here > 0 else -1
    gone = between and before.side == -side
    return LineState(side, p, between), ("right" if side > 0 else "left") if gone else None


def _along(a: Point, b: Point, p: Point) -> float:
    """Return where p is between a (0) and b (1)."""
    along = (b[0] - a[0]) * (p[0] - a[0]) + (b[1] - a[1]) * (p[1] - a[1])
    return along / math.dist(a, b) ** 2


def within(polygon: Sequence[Point], p: Point, margin: float = 0.0) -> bool:
    """Return whether a point is in a polygon (even-odd rule), or at most ``margin`` outside of it.

    Examples
    --------
    >>> square = [(0, 0), (10, 0), (10, 10), (0, 10)]
    >>> within(square, (5, 5)), within(square, (12, 5)), within(square, (12, 5), margin=3)
    (True, False, True)
    """
    inside = False
    for a, b in _sides(polygon):
        if (a[1] > p[1]) != (b[1] > p[1]) and p[0] < a[0] + (p[1] - a[1]) / (b[1] - a[1]) * (b[0] - a[0]):
            inside = not inside
    return inside or (margin > 0 and any(_far(a, b, p) <= margin for a, b in _sides(polygon)))


def _sides(polygon: Sequence[Point]) -> Iterable[tuple[Point, Point]]:
    return zip(polygon, [*polygon[1:], polygon[0]], strict=True)


def _far(a: Point, b: Point, p: Point) -> float:
    """Return how far p is from the line between a and b, ends included."""
    if a == b:
        return math.dist(a, p)
    share = min(max(_along(a, b, p), 0.0), 1.0)
    return math.dist((a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1])), p)

"""Lines and zones: plane geometry against OpenCV and cutting segments, and what a user may give."""

from __future__ import annotations

import itertools
import math

import cv2
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from visavis.errors import InputError
from visavis.settings import filled
from visavis.video.places import Line, LineState, Zone, beyond, crossed, within

A, B = (100.0, 200.0), (100.0, 0.0)  # upwards in the picture: right is where x is larger
COORDINATES = st.integers(0, 200).map(float)
POINTS = st.tuples(COORDINATES, COORDINATES)


def walk(points: list[tuple[float, float]], a: tuple = A, b: tuple = B, margin: float = 5.0) -> list[str]:
    state, gone = LineState(), []
    for point in points:
        state, way = crossed(a, b, state, point, margin)
        gone += [way] if way else []
    return gone


def test_right_is_on_the_right_of_the_way_from_a_to_b() -> None:
    assert walk([(50, 100), (150, 100)]) == ["right"]
    assert walk([(150, 100), (50, 100)]) == ["left"]
    assert walk([(50, 100), (150, 100)], a=B, b=A) == ["left"]
    assert walk([(100, 50), (100, 150)], a=(0, 100), b=(200, 100)) == ["right"], "walking to the right, down is right"


def test_who_stands_on_the_line_crosses_nothing() -> None:
    standing = [(100 + x, 100) for x in (-4, 4, -3, 2, 5, -5, 0, 1)]
    assert walk([(50, 100), *standing]) == []
    assert walk([(50, 100), *standing, (106, 100)]) == ["right"]
    assert walk([(50, 100), *standing, (94, 100)]) == [], "it went back"
    assert walk([*standing, (106, 100)]) == [], "it was on no side before"


def test_past_the_ends_is_not_across() -> None:
    assert walk([(50, 100), (50, 250), (150, 250), (150, 100)]) == []
    assert walk([(50, 100), (50, 250), (150, 250), (150, 100), (50, 100)]) == ["left"]


def test_it_counts_where_it_went_through_also_within_the_margin() -> None:
    """It passes the line below its end, then goes up along it, and only then is clearly on the other side."""
    assert walk([(50, 250), (98, 250), (102, 250), (102, 100), (150, 100)]) == []
    assert walk([(50, 100), (98, 100), (102, 100), (102, 250), (150, 250)]) == ["right"]


def test_a_leap_over_the_line_counts() -> None:
    assert walk([(0, 100), (200, 100), (0, 100)]) == ["right", "left"]


@given(st.lists(POINTS, max_size=30), POINTS, POINTS, st.floats(0, 30))
def test_crossings_alternate(points: list, a: tuple, b: tuple, margin: float) -> None:
    """Who crossed to the right comes back over the line, or around it, before crossing to the right again."""
    assume(a != b)
    state = LineState()
    for point in points:
        before = state
        state, way = crossed(a, b, before, point, margin)
        here = beyond(a, b, point)
        assert state.side == (before.side if abs(here) <= margin else math.copysign(1, here))
        if way is not None:
            assert before.side == (-1 if way == "right" else 1)
            assert state.side == -before.side


@given(POINTS, POINTS, st.lists(POINTS, min_size=2, max_size=12))
def test_without_a_margin_crossings_are_where_segments_cut(a: tuple, b: tuple, points: list) -> None:
    assume(a != b)
    assume(all(beyond(a, b, point) != 0 for point in points))
    found = []
    state = LineState()
    for point in points:
        state, way = crossed(a, b, state, point, 0.0)
        found.append(way is not None)

    def turn(p: tuple, q: tuple, r: tuple) -> float:
        return (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])

    cut = [False]
    for p, q in itertools.pairwise(points):
        ends = turn(p, q, a) * turn(p, q, b)
        assume(ends != 0)
        cut.append(turn(a, b, p) * turn(a, b, q) < 0 and ends < 0)
    assert found == cut


@given(st.lists(POINTS, min_size=3, max_size=7, unique=True), POINTS, st.integers(0, 40))
def test_within_as_opencv_says(polygon: list, point: tuple, margin: int) -> None:
    """OpenCV measures how far a point is from a contour: positive inside, by the even-odd rule."""
    contour = np.array(polygon, np.float32)
    far = cv2.pointPolygonTest(contour, point, measureDist=True)
    if far == 0:
        return  # on the border either is right
    assume(abs(far + margin) > 1e-3)
    assert within(polygon, point, float(margin)) == (far > 0 or (margin > 0 and -far <= margin))


def test_places_come_from_settings_as_plain_lists() -> None:
    line = filled(Line, {"name": "door", "a": [0.5, 1], "b": [0.5, 0.0]}, "cameras.toml")
    assert line == Line("door", (0.5, 1.0), (0.5, 0.0))
    zone = filled(Zone, {"name": "till", "polygon": [[0, 0], [1, 0], [1, 1]], "seconds": 5}, "cameras.toml")
    assert zone == Zone("till", ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0)), 5.0)


NAN = float("nan")


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((0, 0), (0, 0)),
        ((0, 0), (1.1, 0)),
        ((0, 0), (NAN, 0)),
        ((0, 0), (0, 0, 1)),
        ((0, 0), "01"),
        ((0, 0), 5),
        ((0, -0.1), (1, 1)),
        ((True, 0), (1, 1)),
    ],
)
def test_lines_that_are_none_are_refused(a: object, b: object) -> None:
    with pytest.raises(InputError, match="line 'door'"):
        Line("door", a, b)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("polygon", "seconds"),
    [
        ([(0, 0), (1, 1)], 1),
        ([(0, 0), (0.5, 0.5), (1, 1)], 1),
        ([(0, 0), (0, 0), (0, 0)], 1),
        ([(0, 0), (1, 0), (1, 640)], 1),
        ([(0, 0), (1, 0), (1, 1)], -1),
        ([(0, 0), (1, 0), (1, 1)], NAN),
        ([(0, 0), (1, 0), (1, 1)], "5"),
        ([(0.001 * i, 0.5 * (i % 2)) for i in range(1001)], 1),
        ("abc", 1),
        (7, 1),
    ],
)
def test_zones_that_are_none_are_refused(polygon: object, seconds: object) -> None:
    with pytest.raises(InputError, match="zone 'till'"):
        Zone("till", polygon, seconds)  # type: ignore[arg-type]


def test_a_place_needs_a_name() -> None:
    with pytest.raises(InputError, match="name"):
        Line("", (0, 0), (1, 1))
    with pytest.raises(InputError, match="name"):
        Zone("\n", ((0, 0), (1, 0), (1, 1)))

"""The plan of views: what it covers, at which scales, and what it costs."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from visavis.detection import blazeface, ssd_mobilenet, yunet
from visavis.detection import views as views_module
from visavis.detection.views import View
from visavis.detection.yunet import views

sides = st.integers(1, 9000) | st.integers(1, 65_535)
smallest = st.none() | st.floats(8, 400)


def in_view(view: View, box: tuple[float, float, float, float]) -> bool:
    x1, y1, x2, y2 = box
    return x1 >= view.x and y1 >= view.y and x2 <= view.x + view.width and y2 <= view.y + view.height


def by_scale(plan: list[View]) -> dict[float, list[View]]:
    return {view.scale: [other for other in plan if other.scale == view.scale] for view in plan}


@settings(max_examples=60)
@given(height=sides, width=sides, min_face=smallest)
def test_every_view_lies_in_the_image_and_in_memory(height, width, min_face):
    assume(height * width <= 10**8)
    for view in views(height, width, min_face):
        assert view.x >= 0 <= view.y
        assert view.width >= 1 <= view.height
        assert view.x + view.width <= width
        assert view.y + view.height <= height
        assert view.width * view.scale <= yunet.SIGHT.tile + view.scale + 1
        assert view.height * view.scale <= yunet.SIGHT.tile + view.scale + 1
        assert view.inner == (
            view.x > 0,
            view.y > 0,
            view.x + view.width < width,
            view.y + view.height < height,
        )


@settings(max_examples=60)
@given(height=sides, width=sides, min_face=smallest)
def test_the_views_of_each_scale_cover_the_image(height, width, min_face):
    assume(height * width <= 10**8)
    for plan in by_scale(views(height, width, min_face)).values():
        rows = sorted({(view.y, view.y + view.height) for view in plan})
        columns = sorted({(view.x, view.x + view.width) for view in plan})
        assert len(plan) == len(rows) * len(columns)
        for cuts, length in ((rows, height), (columns, width)):
            assert cuts[0][0] == 0
            assert cuts[-1][1] == length
            for (_, end), (start, _) in pairwise(cuts):
                assert (end - start) * plan[0].scale >= yunet.SIGHT.overlap - 2 * plan[0].scale


@settings(max_examples=100)
@given(
    height=sides,
    width=sides,
    min_face=smallest,
    where=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    size=st.floats(0, 1),
)
def test_every_face_lies_whole_in_a_view_that_shows_it_well(height, width, min_face, where, size):
    """From min_face to the largest that fits, there is a view with 28 to 640 px of it, uncut."""
    assume(height * width <= 10**8)
    plan = views(height, width, min_face)
    least = max(min_face or (20 if max(height, width) > 640 else 28), 1)
    largest = min(height, width)
    assume(largest >= least)
    face = least + size * (largest - least)
    x, y = where[0] * (width - face), where[1] * (height - face)
    box = (x, y, x + face, y + face)
    shown = [view.scale * face for view in plan if in_view(view, box)]
    assert any(yunet.SIGHT.smallest - 0.5 <= pixels <= yunet.SIGHT.coarse + 0.5 for pixels in shown)


def test_a_portrait_is_looked_at_once():
    for height, width in ((250, 250), (112, 112), (480, 640), (640, 480), (1, 1)):
        assert views(height, width) == [View(1.0, 0, 0, width, height)]


@pytest.mark.parametrize(
    ("shape", "scales", "count"),
    [
        ((720, 1280), [0.5, 1.4], 3),
        ((1080, 1920), [640 / 1920, 1.4], 3),
        ((3000, 4000), [0.16, 1.4], 13),
        ((4000, 6000), [640 / 6000, (640 / 6000 * 1.4) ** 0.5, 1.4], 27),
    ],
)
def test_usual_pictures(shape, scales, count):
    plan = views(*shape)
    assert sorted(by_scale(plan)) == pytest.approx(scales, rel=1e-6)
    assert len(plan) == count


@pytest.mark.parametrize("min_face", [28, 40, 56, 200])
def test_fewer_pixels_where_only_larger_faces_matter(min_face):
    def cost(plan):
        return sum(view.width * view.height * view.scale**2 for view in plan)

    assert cost(views(3000, 4000, min_face)) < cost(views(3000, 4000, min_face - 8)) <= cost(views(3000, 4000, 8))


def test_each_scale_hands_over_to_the_next():
    for longest in np.geomspace(641, 65_535, 40).astype(int):
        scales = sorted(by_scale(views(100, int(longest))))
        ratios = [b / a for a, b in pairwise(scales)]
        assert all(1 < ratio <= yunet.SIGHT.step * (1 + 1e-9) for ratio in ratios)
        assert scales[0] * longest == pytest.approx(640)
        assert scales[-1] == pytest.approx(1.4)


SQUARES = [blazeface.SIGHT, ssd_mobilenet.SIGHT]


@settings(max_examples=60)
@given(st.sampled_from(SQUARES), st.integers(1, 3000), st.integers(1, 3000), st.none() | st.floats(12, 300), st.data())
def test_networks_of_one_size_see_every_face_whole(sight, height, width, min_face, data):
    plan = views_module.plan(height, width, sight, min_face)
    assert all(max(view.shown) <= sight.tile for view in plan)
    least = min_face or (sight.min_face if max(height, width) > sight.coarse else sight.smallest)
    assume(least <= min(height, width))
    side = data.draw(st.floats(least, min(height, width)))
    x, y = data.draw(st.floats(0, width - side)), data.draw(st.floats(0, height - side))
    shown = [side * view.scale for view in plan if in_view(view, (x, y, x + side, y + side))]
    assert any(sight.smallest * 0.98 <= pixels <= sight.coarse + 1 for pixels in shown)

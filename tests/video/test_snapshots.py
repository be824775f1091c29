"""Pictures of events."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

from visavis.errors import InputError
from visavis.image import load_image
from visavis.models.store import Store
from visavis.pipeline import Analyzer
from visavis.types import Image
from visavis.video.snapshots import cut


def opened(data: bytes) -> Image:
    picture = Pillow.open(io.BytesIO(data))
    assert picture.format == "JPEG"
    assert not picture.getexif(), "nothing turns it, and nothing tells of the camera"
    return np.asarray(picture.convert("RGB"))


def test_the_face_and_half_of_its_sides_around_it() -> None:
    frame = np.zeros((400, 600, 3), np.uint8)
    frame[100:200, 300:380] = (200, 30, 30)
    picture = opened(cut(frame, (300, 100, 380, 200)))
    assert picture.shape == (200, 160, 3)
    assert np.abs(picture[100, 80].astype(int) - (200, 30, 30)).max() < 12, "RGB stays RGB"
    assert picture[5, 5].max() < 12


def test_what_lies_outside_of_the_frame_is_left_out() -> None:
    frame = np.zeros((100, 100, 3), np.uint8)
    assert opened(cut(frame, (-30, -30, 30, 30), margin=0.0)).shape == (30, 30, 3)
    assert opened(cut(frame, (80, 90, 200, 300))).shape[:2] == (100, 80)


@given(
    st.tuples(*[st.floats(-50, 350)] * 2), st.tuples(*[st.floats(0.5, 500)] * 2), st.floats(0, 3), st.integers(1, 400)
)
def test_its_size_is_bounded(corner: tuple, sides: tuple, margin: float, side: int) -> None:
    frame = np.zeros((200, 300, 3), np.uint8)
    box = (*corner, corner[0] + sides[0], corner[1] + sides[1])
    if min(300 - corner[0], 200 - corner[1], box[2], box[3]) <= 0:  # its own corner is outside
        return
    picture = opened(cut(frame, box, margin=margin, side=side))
    assert min(picture.shape[:2]) >= 1
    assert max(picture.shape[:2]) <= side


@pytest.mark.parametrize("box", [(0, 0, 1), (0, 0, np.nan, 4), (500, 500, 600, 600), (-9, -9, -5, -5), (5, 5, 5, 5)])
def test_boxes_elsewhere_are_refused(box: tuple[float, ...]) -> None:
    with pytest.raises(InputError):
        cut(np.zeros((100, 100, 3), np.uint8), box, margin=0)


def test_of_a_real_photo_the_face_can_be_found_again(store: Store) -> None:
    photo = load_image(store.path("obama"))
    analyzer = Analyzer(recognizer=None, threads=1, precision="f32", store=store)
    box = analyzer.analyze(photo).boxes[0].tolist()
    data = cut(photo, box)
    assert len(data) < 40_000
    picture = opened(data)
    assert max(picture.shape[:2]) == 320
    found = analyzer.analyze(picture)
    assert len(found) == 1
    center = (found.boxes[0, :2] + found.boxes[0, 2:]) / 2
    assert np.abs(center - np.array(picture.shape[1::-1]) / 2).max() < 20

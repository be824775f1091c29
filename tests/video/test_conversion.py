"""Colors, sizes and turns of pictures, against formulas of the standards and against numpy."""

from __future__ import annotations

import numpy as np
import pytest
from av.video.frame import VideoFrame
from hypothesis import given
from hypothesis import strategies as st

from visavis.errors import InputError
from visavis.types import Image
from visavis.video.conversion import Converter, Upright, fitted, shrunk_size, square_size, turned

COLORS = [(200, 30, 60), (20, 180, 90), (40, 50, 220), (128, 128, 128), (255, 255, 255), (220, 170, 140), (0, 0, 0)]
# Luma's shares of red and blue: ITU-R BT.601, BT.709 and BT.2020.
SHARES = {"601": (0.299, 0.114), "709": (0.2126, 0.0722), "2020": (0.2627, 0.0593)}
TO_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])  # ITU-R BT.2087


def plain(
    rgb: tuple[float, ...], width: int, height: int, *, shares: str, full: bool = False, bits: int = 8
) -> VideoFrame:
    """Return a frame of one color, 0..255 a channel, encoded as the standards have it."""
    red, blue = SHARES[shares]
    r, g, b = (value / 255 for value in rgb)
    luma = red * r + (1 - red - blue) * g + blue * b
    chroma = (b - luma) / (2 * (1 - blue)), (r - luma) / (2 * (1 - red))
    values = [(255 if full else 219) * luma + (0 if full else 16)]
    values += [(255 if full else 224) * value + 128 for value in chroma]
    frame = VideoFrame(width, height, "yuv420p" if bits == 8 else "yuv420p10le")
    for plane, value in zip(frame.planes, values, strict=True):
        kind = np.uint8 if bits == 8 else np.uint16
        level = round(value * 2 ** (bits - 8))
        plane.update(np.full(plane.buffer_size // kind().itemsize, level, kind).tobytes())
    frame.color_range = 2 if full else 1
    return frame


def drawn(frame: VideoFrame, width: int, height: int, turn: Upright | None = None, ratio: float = 1.0) -> Image:
    into = np.full((height, width, 3), 77, np.uint8)
    Converter().draw(frame, ratio, turn or Upright(), into)
    return into


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(("shares", "code"), [("601", 5), ("601", 6), ("709", 1), ("2020", 9)])
def test_colors_are_those_of_the_standard_that_the_video_names(shares: str, code: int, full: bool, bits: int) -> None:
    for rgb in COLORS:
        frame = plain(rgb, 64, 48, shares=shares, full=full, bits=bits)
        frame.colorspace = code
        for size in ((64, 48), (32, 24)):  # converted alone, and shrunk at it
            assert np.abs(drawn(frame, *size).astype(int) - rgb).max() <= 3, (rgb, size)


@pytest.mark.parametrize(("width", "height", "shares"), [(1280, 720, "709"), (720, 576, "601"), (320, 240, "601")])
def test_a_video_that_names_none_is_taken_for_what_its_size_has(width: int, height: int, shares: str) -> None:
    for rgb in COLORS[:3]:
        assert np.abs(drawn(plain(rgb, width, height, shares=shares), width, height).astype(int) - rgb).max() <= 3


def pq(light: np.ndarray) -> np.ndarray:
    """Encode candela per square meter: SMPTE ST 2084."""
    power = (light / 10_000) ** (2610 / 16384)
    return np.asarray(((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32))


def hlg(light: np.ndarray) -> np.ndarray:
    """Encode light of a scene, 0..1: ITU-R BT.2100."""
    return np.where(
        light <= 1 / 12,
        np.sqrt(3 * light),
        0.17883277 * np.log(np.maximum(12 * light - 0.28466892, 1e-9)) + 0.55991073,
    )


@pytest.mark.parametrize(
    ("kind", "code", "most"), [("pq", 16, 16), pytest.param("hlg", 18, 32, marks=pytest.mark.slow)]
)
def test_hdr_is_shown_as_standard_pictures_are(kind: str, code: int, most: int) -> None:
    converter = Converter()  # which takes seconds to make itself a table, once
    for rgb in COLORS[3:6]:
        light = TO_2020 @ (((np.array(rgb) / 255 + 0.055) / 1.055) ** 2.4)  # sRGB, IEC 61966-2-1
        # ITU-R BT.2408: white of 203 candela, and of 75 % of the signal.
        encoded = pq(203 * light) if kind == "pq" else hlg(0.265 * light)
        frame = plain(tuple(255 * encoded), 64, 48, shares="2020", bits=10)
        frame.colorspace, frame.color_primaries, frame.color_trc = 9, 9, code
        into = np.zeros((48, 64, 3), np.uint8)
        converter.draw(frame, 1.0, Upright(), into)
        # How light is mapped is not laid down in full; untouched, white would come out as 146 or 189.
        assert np.abs(into.astype(int) - rgb).max() <= most, rgb


@given(
    st.integers(1, 9),
    st.integers(1, 7),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from([0, 90, 180, 270]),
)
def test_laying_upright_and_turning_is_numpys(
    height: int, width: int, transposed: bool, sideways: bool, upside_down: bool, degrees: int
) -> None:
    image = np.arange(height * width * 3, dtype=np.uint8).reshape(height, width, 3)
    first = image.transpose(1, 0, 2) if transposed else image
    first = first[:, ::-1] if sideways else first
    first = first[::-1] if upside_down else first
    expected = turned(np.ascontiguousarray(first), degrees)
    into = np.zeros_like(expected)
    Upright(transposed, sideways, upside_down).turned(degrees).draw(image, into)
    assert np.array_equal(into, expected)


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 3000), st.integers(1, 3000))
def test_what_is_fitted_lies_inside_and_touches_two_sides(w: int, h: int, into_w: int, into_h: int) -> None:
    left, top, width, height = fitted(w, h, into_w, into_h)
    assert left >= 0
    assert top >= 0
    assert left + width <= into_w
    assert top + height <= into_h
    assert width == into_w or height == into_h
    small = shrunk_size(w, h, into_w)
    assert max(small) <= max(into_w, 1)
    assert min(small) >= 1


def test_a_frame_of_another_shape_gets_black_bars() -> None:
    frame = VideoFrame.from_ndarray(np.full((48, 48, 3), 200, np.uint8))
    image = drawn(frame, 96, 48)
    assert image[:, :24].max() == image[:, -24:].max() == 0
    assert image[:, 24:-24].min() == 200
    # As it lies, it is high; turned it is wide.
    image = drawn(VideoFrame.from_ndarray(np.full((96, 24, 3), 200, np.uint8)), 96, 24, Upright().turned(90))
    assert image.min() == 200


def test_pixels_that_are_not_square() -> None:
    assert square_size(720, 576, 64 / 45) == (1024, 576)
    assert square_size(176, 144, 0.5) == (176, 288)
    assert square_size(176, 144, 1e9) == (176, 144)
    image = drawn(VideoFrame.from_ndarray(np.full((48, 48, 3), 200, np.uint8)), 96, 48, ratio=2.0)
    assert image.min() == 200


def test_a_frame_is_drawn_into_the_very_array() -> None:
    ring = np.zeros((3, 48, 64, 3), np.uint8)
    for turn in (Upright(), Upright().turned(180), Upright(sideways=True)):
        ring[:] = 0
        Converter().draw(VideoFrame.from_ndarray(np.full((48, 64, 3), 200, np.uint8)), 1.0, turn, ring[1])
        assert ring[1].min() == 200
        assert ring[0].max() == ring[2].max() == 0


def test_turns_that_are_none() -> None:
    with pytest.raises(InputError, match="turned by 0, 90, 180 or 270"):
        turned(np.zeros((2, 2, 3), np.uint8), 45)

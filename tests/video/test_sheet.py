"""The people of a video on one picture."""

from __future__ import annotations

from datetime import datetime, timezone

import numpy as np
import pytest

from visavis.errors import InputError
from visavis.image import encode_image
from visavis.types import Image
from visavis.video.identity import Person
from visavis.video.recording import Look, Recording
from visavis.video.sheet import Appearance, appearances, contact_sheet


def look(color: tuple[int, int, int], worth: float = 0.5, size: tuple[int, int] = (64, 64)) -> Look:
    return Look(1.0, worth, encode_image(np.full((*size, 3), color, np.uint8)))


def recording(tracks: list[int], times: list[float], people: dict[int, Person], looks: dict[int, Look]) -> Recording:
    n = len(tracks)
    return Recording(
        *("a.mp4", None, datetime.now(timezone.utc), n, max(times, default=0.0), 0.0, 0),  # type: ignore[arg-type]
        frames=np.arange(n, dtype=np.int32),
        times=np.array(times),
        tracks=np.array(tracks, np.int32),
        boxes=np.zeros((n, 4), np.float32),
        scores=np.ones(n, np.float32),
        people=people,
        events=(),
        looks=looks,
    )


def test_a_person_is_there_once_and_each_track_without_a_name() -> None:
    ada = Person("ada", 0.7, 1e-6, True)
    found = recording(
        [0, 2, 1, 2, 1, 3, 4, 4],
        [0.0, 1, 2, 3, 4, 5, 6, 7],
        {1: ada, 2: Person(known=True), 3: ada, 4: Person()},
        {1: look((9, 9, 9), 0.4), 3: look((200, 9, 9), 0.6), 2: look((9, 9, 9))},
    )
    first, second, third = appearances(found)
    assert (first.subject, first.known, first.tracks, first.first, first.last) == (None, True, (2,), 1.0, 3.0)
    assert (second.subject, second.tracks, second.first, second.last) == ("ada", (1, 3), 2.0, 5.0)
    assert second.look is not None
    assert second.look.worth == 0.6
    assert (third.subject, third.known, third.look) == (None, False, None)
    assert [one.tracks for one in appearances(found, per_track=True)] == [(2,), (1,), (3,), (4,)]
    assert appearances(recording([], [], {}, {})) == []


def ink(sheet: Image, top: int, bottom: int, left: int, right: int) -> int:
    return int((sheet[top:bottom, left:right].max(axis=2) < 190).sum())


def test_each_has_a_cell_with_picture_name_and_times() -> None:
    colors = [(220, 20, 20), (20, 220, 20), (20, 20, 220)]
    names = ["il", "王芳 Ⅲ", "Wolfeschlegelsteinhausenbergerdorff Hubert Blaine"]
    found = [
        Appearance(name, True, (i + 1,), 10.0 * i, 4000.0, look(color, size=(64, 40 + 12 * i)))
        for i, (name, color) in enumerate(zip(names, colors, strict=True))
    ]
    sheet = contact_sheet(found, side=100)
    pitch = (sheet.shape[1] - 8) // 3
    for i, color in enumerate(colors):
        x = 8 + i * pitch
        assert np.abs(sheet[58, x + 50].astype(int) - color).max() < 12  # the picture, centered
        names_ink, times_ink = ink(sheet, 108, 124, x, x + 100), ink(sheet, 124, 136, x, x + 100)
        assert min(names_ink, times_ink) >= 8  # "il" has few pixels
        assert ink(sheet, 108, sheet.shape[0], x + 101, x + 108) == 0  # a long name ends in its cell
    assert contact_sheet(found, side=100, title="a.mp4").shape[0] > sheet.shape[0]


@pytest.mark.parametrize(("number", "side"), [(1, 256), (5, 32), (300, 200)])
def test_a_sheet_of_any_number_has_its_bounds(number: int, side: int) -> None:
    sheet = contact_sheet([Appearance(None, True, (i,), 0.0, 1.0) for i in range(1, number + 1)], side=side)
    assert max(sheet.shape) <= 12_500
    assert sheet.dtype == np.uint8


def test_nobody_makes_no_sheet() -> None:
    with pytest.raises(InputError, match="somebody"):
        contact_sheet([])

"""Whole sources: files, photos and standard input, none of whose frames is left out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import cv2
import numpy as np
import pytest
from films import film, moving

from visavis.errors import InputError
from visavis.image import load_image
from visavis.pipeline import Analyzer
from visavis.video.lookout import Lookout
from visavis.video.reading import follow_source
from visavis.video.sources import Source

NOON = datetime(2026, 5, 1, 12, tzinfo=timezone.utc)


@pytest.fixture(scope="module")
def analyzer() -> Analyzer:
    return Analyzer(recognizer=None, threads=1, precision="f32")


def lookout(analyzer: Analyzer) -> Lookout:
    return Lookout("here", analyzer, start=NOON)


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory, lfw_photo: Callable[[str, int], bytes]) -> Path:
    photo = load_image(lfw_photo("Al_Sharpton", 2))
    return film(tmp_path_factory.mktemp("film") / "door.mp4", moving(photo, 20), options={"g": "4"})


def test_every_frame_of_a_file_in_order_and_everybody_leaves(door: Path, analyzer: Analyzer) -> None:
    found = list(follow_source(Source.parse(str(door)), lookout(analyzer), analyzer))
    assert [None if frame is None else frame.number for frame, _, _ in found] == [*range(20), None]
    events = [event.kind for _, _, events in found for event in events]
    assert events == ["appeared", "left"]


def test_threads_change_nothing(door: Path, analyzer: Analyzer) -> None:
    both = Analyzer(recognizer=None, threads=2, precision="f32")
    one, two = (
        [seen.faces.boxes.round(2).tolist() for _, seen, _ in follow_source(Source.parse(str(door)), lookout(a), a)]
        for a in (analyzer, both)
    )
    assert one == two


def test_some_frames_only(door: Path, analyzer: Analyzer) -> None:
    def numbers(**options: float) -> list[int]:
        found = follow_source(Source.parse(str(door)), lookout(analyzer), analyzer, **options)  # type: ignore[arg-type]
        return [frame.number for frame, _, _ in found if frame is not None]

    assert numbers(detect_every=5) == [0, 5, 10, 15]
    assert numbers(every=0.5) == [0, 5, 10, 15]


def test_after_a_gap_in_a_film_frames_come_no_closer(tmp_path: Path, analyzer: Analyzer) -> None:
    times = [0.0, 0.1, 0.2, 5.31, 5.4, 5.5, 5.6]
    path = film(tmp_path / "a.mkv", [np.zeros((64, 64, 3), np.uint8)] * len(times), times=times)
    found = follow_source(Source.parse(str(path)), lookout(analyzer), analyzer, every=0.5)
    assert [frame.number for frame, _, _ in found if frame is not None] == [0, 3, 5]


def test_photos_of_a_folder(tmp_path: Path, analyzer: Analyzer, lfw_photo: Callable[[str, int], bytes]) -> None:
    photo = cv2.imdecode(np.frombuffer(lfw_photo("Al_Sharpton", 2), np.uint8), cv2.IMREAD_COLOR)
    for i in range(4):
        cv2.imwrite(str(tmp_path / f"{i}.png"), photo)
    found = list(follow_source(Source.parse(str(tmp_path), fps=2), lookout(analyzer), analyzer))
    assert [frame.time for frame, _, _ in found if frame is not None] == [0.0, 0.5, 1.0, 1.5]
    assert [event.kind for _, _, events in found for event in events] == ["appeared", "left"]


def test_a_file_that_was_cut_off_is_told_after_what_there_is(door: Path, tmp_path: Path, analyzer: Analyzer) -> None:
    cut = tmp_path / "cut.mp4"
    data = door.read_bytes()
    cut.write_bytes(data[: len(data) * 7 // 10])
    found = follow_source(Source.parse(str(cut)), lookout(analyzer), analyzer)
    kinds = []
    with pytest.raises(InputError, match="cut off or damaged"):  # noqa: PT012 (it comes last)
        for _, _, events in found:
            kinds += [event.kind for event in events]
    assert kinds == ["appeared", "left"]


def test_it_can_be_stopped(door: Path, analyzer: Analyzer) -> None:
    stop = threading.Event()
    frames, kinds = 0, []
    for frame, _, events in follow_source(Source.parse(str(door)), lookout(analyzer), analyzer, stop=stop):
        frames += frame is not None
        kinds += [event.kind for event in events]
        if frames == 8:
            stop.set()
    assert frames == 8
    assert kinds == ["appeared", "left"]

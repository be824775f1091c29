"""A whole file as one value: complete, the same on any number of threads, whatever the file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import av
import numpy as np
import pytest
from films import film, moving

from visavis.curation.workers import run_units
from visavis.errors import InputError
from visavis.gallery import open_gallery
from visavis.image import load_image
from visavis.models.store import Store
from visavis.pipeline import Analyzer
from visavis.types import Image
from visavis.video.courses import Places, courses
from visavis.video.frames import frames
from visavis.video.recording import Recording, follow_video, record

Photo = Callable[[str, int], bytes]


@pytest.fixture(scope="module")
def analyzer() -> Analyzer:
    return Analyzer(threads=1, precision="f32", min_face=28)


@pytest.fixture(scope="module")
def sharpton(lfw_photo: Photo) -> Image:
    return load_image(lfw_photo("Al_Sharpton", 2))


@pytest.fixture(scope="module")
def carphone(store: Store) -> Path:
    return store.path("carphone")


@pytest.fixture(scope="module")
def recorded(carphone: Path, analyzer: Analyzer) -> Recording:
    return record(carphone, analyzer, looks=True)


def test_every_frame_is_looked_at_and_a_track_reaches_back_to_its_first(carphone: Path, recorded: Recording) -> None:
    times = [frame.time for frame in frames(carphone)]
    assert recorded.looked == len(times) == 120
    assert recorded.seconds == times[-1]
    assert recorded.frames.tolist() == list(range(120))  # one face in each
    assert recorded.times.tolist() == times
    assert set(recorded.tracks.tolist()) == set(recorded.people) == {1}  # also in frames before it was sure to be one
    assert recorded.problem is None
    assert [event.kind for event in recorded.events][:1] == ["appeared"]
    assert [event.kind for event in recorded.events][-1:] == ["left"]
    assert recorded.embedded < 60  # of 120
    assert load_image(recorded.looks[1].jpeg).shape[0] >= 60


def test_who_is_looked_for_rarely_is_followed_all_the_same(tmp_path: Path, analyzer: Analyzer, sharpton: Image) -> None:
    path = film(tmp_path / "slow.mkv", [sharpton] * 8, times=[3.0 * i for i in range(8)])
    found = record(path, analyzer, every=6)  # a track ends after 5 s, where faces are looked for more often
    assert found.tracks.tolist() == [1, 1, 1, 1]


def test_threads_make_no_difference(carphone: Path, recorded: Recording) -> None:
    other = record(carphone, Analyzer(threads=2, precision="f32", min_face=28))
    assert np.array_equal(other.frames, recorded.frames)
    assert np.array_equal(other.tracks, recorded.tracks)
    assert np.abs(other.boxes - recorded.boxes).max() < 0.5
    assert [event.kind for event in other.events] == [event.kind for event in recorded.events]


def test_frames_are_given_as_they_come_with_an_end(carphone: Path, analyzer: Analyzer, recorded: Recording) -> None:
    said: list[tuple[float, float | None]] = []
    seen = list(follow_video(carphone, analyzer, every=0.5, progress=lambda *at: said.append(at)))
    assert [one.number for one, _ in seen] == [0, 15, 30, 45, 60, 75, 90, 105, -1]
    assert [at for at, _ in said] == [one.time for one, _ in seen[:-1]]
    assert {whole for _, whole in said} == {recorded.info.seconds}
    assert seen[-1][1][-1].kind == "left"


def test_plain_values_in_and_out_for_other_jobs(carphone: Path, recorded: Recording) -> None:
    settings = {"analyzer": {"threads": 1, "precision": "f32", "min_face": 28}, "every": 0.2}
    ((path, found),) = run_units("visavis.video.recording:recorder", settings, [str(carphone)], workers=1)
    assert path == found["video"] == str(carphone)
    assert found == json.loads(json.dumps(found, allow_nan=False))
    assert found["frames_looked_at"] == len(found["frame"]) == len(found["box"]) == 20
    assert found["box"][0] == pytest.approx(recorded.boxes[0].tolist(), abs=0.01)
    assert found["people"]["1"]["subject"] is None
    with pytest.raises(InputError, match="not 'evry'"):
        next(run_units("visavis.video.recording:recorder", {"evry": 1}, ["x"], workers=1))


def test_the_name_known_in_the_end_holds_for_the_whole_track(
    tmp_path: Path, analyzer: Analyzer, sharpton: Image, lfw_photo: Photo
) -> None:
    path = film(tmp_path / "a.mp4", moving(sharpton, 12))
    with open_gallery(tmp_path / "g.db", analyzer=analyzer) as gallery:
        gallery.enroll("Al", lfw_photo("Al_Sharpton", 1))
        found = record(path, analyzer, gallery, start=datetime(2026, 5, 1, tzinfo=timezone.utc))
    assert found.subjects == ("Al",)
    assert found.tracks.tolist() == [1] * 12
    assert found.people[1].subject == "Al"
    (identified,) = [event for event in found.events if event.kind == "identified"]
    assert identified.offset_s is not None
    assert identified.offset_s > 0  # it took a look or two
    assert identified.time.isoformat().startswith("2026-05-01T00:00:0")


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_of_a_file_cut_off_there_is_what_could_be_read(
    tmp_path: Path, analyzer: Analyzer, sharpton: Image, suffix: str
) -> None:
    whole = film(tmp_path / f"a{suffix}", moving(sharpton, 30), options={"g": "5"}).read_bytes()
    (tmp_path / f"cut{suffix}").write_bytes(whole[: len(whole) * 6 // 10])
    found = record(tmp_path / f"cut{suffix}", analyzer)
    assert 5 < found.looked < 28
    assert found.problem is not None
    assert "cut off" in found.problem
    assert len(found) == found.looked
    assert found.events[-1].kind == "left"
    with pytest.raises(InputError, match="cut off"):
        list(follow_video(tmp_path / f"cut{suffix}", analyzer))


def test_what_is_no_video_is_refused(tmp_path: Path, analyzer: Analyzer, lfw_photo: Photo) -> None:
    (tmp_path / "still.mp4").write_bytes(lfw_photo("Al_Sharpton", 1))
    (tmp_path / "empty.mp4").touch()
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        stream.layout = "mono"
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 8000
        container.mux(stream.encode(silence))
        container.mux(stream.encode(None))
    cases = {"still.mp4": "still picture", "empty.mp4": "empty", "sound.mp4": "no video but sound", "none.mp4": "read"}
    for name, says in cases.items():
        with pytest.raises(InputError, match=says):
            record(tmp_path / name, analyzer)


def test_nobody_and_hardly_a_picture_are_fine(tmp_path: Path, analyzer: Analyzer) -> None:
    gray = film(tmp_path / "gray.mp4", [np.full((120, 160, 3), 96, np.uint8)] * 3)
    found = record(gray, analyzer)
    assert (found.looked, len(found), dict(found.people), found.events) == (3, 0, {}, ())
    assert courses(found) == []
    tiny = film(tmp_path / "tiny.mkv", [np.zeros((1, 1, 3), np.uint8)] * 2, codec="ffv1", pixels="yuv444p")
    assert record(tiny, analyzer).looked == 2


def test_the_day_is_the_container_s_else_the_file_s(tmp_path: Path, analyzer: Analyzer) -> None:
    path = tmp_path / "dated.mp4"
    with av.open(str(path), "w") as container:
        container.metadata["creation_time"] = "2024-02-03T10:20:30.000000Z"
        stream = container.add_stream("libx264", rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for _ in range(10):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8))))
        container.mux(stream.encode(None))
    assert record(path, analyzer, every=1).start.isoformat() == "2024-02-03T10:20:30+00:00"
    plain = film(tmp_path / "plain.mp4", [np.zeros((64, 64, 3), np.uint8)] * 10)
    os.utime(plain, (1_700_000_001, 1_700_000_001))
    assert record(plain, analyzer, every=1).start.timestamp() == pytest.approx(1_700_000_000, abs=0.2)


def test_turned_frames_are_recorded_upright(tmp_path: Path, analyzer: Analyzer, sharpton: Image) -> None:
    upright = moving(sharpton, 5)
    lying = film(tmp_path / "lying.mp4", [np.ascontiguousarray(np.rot90(frame)) for frame in upright])
    found = record(lying, analyzer, rotate=90)
    (expected,) = analyzer.detect([upright[0]])
    assert len(found) == 5
    assert np.abs(found.boxes[0] - expected.boxes[0]).max() < 6


def test_faces_are_on_their_way_between_sightings() -> None:
    found = Recording(
        *("a.mp4", None, datetime.now(timezone.utc), 4, 3.0, 0.0, 0),  # type: ignore[arg-type]
        frames=np.array([0, 1, 3, 9, 3], np.int32),
        times=np.array([0.0, 1.0, 3.0, 9.0, 3.0]),
        tracks=np.array([1, 1, 1, 1, 0], np.int32),
        boxes=np.array([[0, 0, 10, 10], [10, 0, 20, 10], [30, 0, 40, 10], [0, 0, 1, 1], [5, 5, 6, 6]], np.float32),
        scores=np.ones(5, np.float32),
        people={},
        events=(),
    )
    parts = courses(found, gap=3.0)
    assert [(part.track, part.times.tolist()) for part in parts] == [(1, [0, 1, 3]), (0, [3]), (1, [9])]
    places = Places(parts, around=0.5)
    there = {time: places.at(time) for time in (0.0, 2.0, 3.0, 3.4, 3.6, 8.6, 9.5, 9.6)}
    assert [(place.box.tolist(), place.found) for place in there[2.0]] == [([20, 0, 30, 10], False)]
    assert [(place.track, place.found) for place in there[3.0]] == [(1, True), (0, True)]
    assert [place.found for place in there[3.4]] == [False, False]
    assert there[3.6] == there[9.6] == []
    assert len(there[8.6]) == len(there[9.5]) == 1

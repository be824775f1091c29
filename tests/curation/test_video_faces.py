"""Faces of videos: upright however they were filmed, followed, the best of each track, none twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from films import film, moving
from hypothesis import given
from hypothesis import strategies as st

from visavis.alignment import align
from visavis.analysis.quality import FaceQuality, measure, worth
from visavis.curation.video_faces import faces_of_video
from visavis.errors import InputError
from visavis.image import load_image
from visavis.models.store import Store
from visavis.pipeline import Analyzer
from visavis.types import Image
from visavis.video.frames import frames, turned
from visavis.video.orientation import Orientation, orientation, turn_scores, upright

Photo = Callable[[str, int], bytes]


@pytest.fixture(scope="module")
def analyzer() -> Analyzer:
    return Analyzer(threads=1, precision="f32")


@pytest.fixture(scope="module")
def pacheco(lfw_photo: Photo) -> Image:
    return load_image(lfw_photo("Abel_Pacheco", 1))


@pytest.fixture(scope="module")
def sharpton(lfw_photo: Photo) -> Image:
    return load_image(lfw_photo("Al_Sharpton", 2))


def test_a_real_video_gives_its_one_person_once(store: Store, analyzer: Analyzer) -> None:
    path = store.path("carphone")
    (face,) = faces_of_video(path, analyzer, every=0.25, rotate=0, whole=True)
    assert (face.track, face.seen, face.turned) == (1, 16, 0)
    picture = next(frame for frame in frames(path) if frame.number == face.frame)
    assert picture.time == pytest.approx(face.time, abs=1e-5)
    assert np.array_equal(align(picture.image, face.landmarks[None])[0], face.crop)
    assert face.picture is not None
    assert load_image(face.picture).shape == picture.image.shape
    # No other frame looked at shows a better face.
    for frame in frames(path, every=0.25):
        faces = analyzer.analyze(frame.image)
        assert faces.landmarks is not None
        assert all(worth(quality) <= face.worth for quality in measure(frame.image, faces.landmarks))


def test_several_of_a_track_are_different_pictures(store: Store, analyzer: Analyzer) -> None:
    found = list(faces_of_video(store.path("carphone"), analyzer, every=0.2, rotate=0, per_track=4))
    assert 2 <= len(found) <= 4
    assert {face.track for face in found} == {1}
    assert sorted(found, key=lambda face: -face.worth) == found
    assert len({face.frame for face in found}) == len(found)


@pytest.mark.parametrize("way", [90, 180, 270])
def test_videos_on_their_side_are_turned_upright(tmp_path: Path, analyzer: Analyzer, pacheco: Image, way: int) -> None:
    upright = moving(pacheco, 12, step=6)
    path = film(tmp_path / "turned.mp4", [turned(frame, way) for frame in upright])
    found = orientation(path, analyzer, every=0.2)
    assert found.turned == 360 - way
    assert max(found.votes, key=lambda turn: found.votes[turn]) == found.turned
    (face,) = faces_of_video(path, analyzer, every=0.2)
    assert face.turned == 360 - way
    expected = analyzer.analyze(upright[face.frame])
    assert np.abs(face.box - expected.boxes[0]).max() < 8  # of the upright frame
    assert face.embedding.vectors[0] @ analyzer.analyze(pacheco).embeddings.vectors[0] > 0.8
    # Told how to turn it, or not to, nothing is tried.
    assert [f.turned for f in faces_of_video(path, analyzer, every=0.2, rotate=(360 - way))] == [360 - way]


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_what_the_container_says_is_done_first(
    tmp_path: Path, analyzer: Analyzer, pacheco: Image, rotation: int
) -> None:
    # As a phone does: the sensor's pixels lie on their side, and the display matrix (counterclockwise) says so.
    path = film(tmp_path / "phone.mp4", [turned(frame, rotation) for frame in moving(pacheco, 6)], rotation=rotation)
    assert orientation(path, analyzer, every=0.2).turned == 0
    (face,) = faces_of_video(path, analyzer, every=0.2)
    assert face.turned == 0


def test_a_wrong_display_matrix_is_repaired(tmp_path: Path, analyzer: Analyzer, pacheco: Image) -> None:
    path = film(tmp_path / "wrong.mp4", moving(pacheco, 6), rotation=90)  # upright pixels, said to lie on their side
    assert orientation(path, analyzer, every=0.2).turned == 90


def test_faces_that_come_late_are_turned_too(tmp_path: Path, analyzer: Analyzer, pacheco: Image) -> None:
    rng = np.random.default_rng(0)
    empty = [cv2.GaussianBlur(rng.integers(0, 256, (320, 240, 3)).astype(np.uint8), (0, 0), 9) for _ in range(7)]
    path = film(tmp_path / "late.mp4", [*empty, *(turned(frame, 270) for frame in moving(pacheco, 6))])
    found = orientation(path, analyzer, every=0.1)
    assert found.turned == 90
    assert {face.turned for face in faces_of_video(path, analyzer, every=0.1)} == {90}


def test_photos_are_turned_by_the_same_rule(analyzer: Analyzer, sharpton: Image) -> None:
    for way in (0, 90, 180, 270):
        scores = turn_scores(turned(sharpton, way), analyzer)
        assert max(scores, key=lambda turn: scores[turn]) == (360 - way) % 360
        image, degrees = upright(turned(sharpton, way), analyzer)
        assert degrees == (360 - way) % 360
        assert np.array_equal(image, sharpton)
    blank = np.full((90, 120, 3), 7, np.uint8)
    assert upright(blank, analyzer)[1] == 0


def test_no_face_however_turned(tmp_path: Path, analyzer: Analyzer) -> None:
    path = film(tmp_path / "gray.mp4", [np.full((120, 160, 3), 90, np.uint8)] * 12)
    found = orientation(path, analyzer, every=0.1)
    assert not found.found
    assert found.turned == 0
    assert list(faces_of_video(path, analyzer, every=0.1)) == []
    assert list(faces_of_video(path, analyzer, every=0.1, rotate=90)) == []


def test_people_are_told_apart_at_a_cut(tmp_path: Path, analyzer: Analyzer, pacheco: Image, sharpton: Image) -> None:
    shown = [*moving(pacheco, 6), *moving(sharpton, 6), *moving(pacheco, 6, step=7)]
    path = film(tmp_path / "cut.mp4", shown)
    found = list(faces_of_video(path, analyzer, every=0.1, rotate=0))
    # The first comes back within the time that a track is waited for, and belongs to it.
    assert [(face.track, face.seen) for face in found] == [(1, 12), (2, 6)]
    # Waited for no longer, it is a new track, whose picture is there already.
    found = list(faces_of_video(path, analyzer, every=0.1, rotate=0, gap=0.3))
    assert [(face.track, face.seen) for face in found] == [(1, 6), (2, 6)]


def test_two_at_once_are_two_tracks(tmp_path: Path, analyzer: Analyzer, pacheco: Image, sharpton: Image) -> None:
    both = [np.hstack(pair) for pair in zip(moving(pacheco, 8), moving(sharpton, 8), strict=True)]
    found = list(faces_of_video(film(tmp_path / "two.mp4", both), analyzer, every=0.1, rotate=0))
    assert sorted((face.track, face.seen) for face in found) == [(1, 8), (2, 8)]
    sides = {bool(face.box[0] > 320) for face in found}
    assert sides == {False, True}


def test_the_sharpest_is_kept(tmp_path: Path, analyzer: Analyzer, pacheco: Image) -> None:
    shown = [frame if i == 5 else cv2.GaussianBlur(frame, (0, 0), 2.5) for i, frame in enumerate(moving(pacheco, 9))]
    (face,) = faces_of_video(film(tmp_path / "focus.mp4", shown, options={"crf": "10"}), analyzer, every=0, rotate=0)
    assert face.frame == 5
    assert list(faces_of_video(tmp_path / "focus.mp4", analyzer, every=0, rotate=0, min_worth=0.99)) == []


def test_a_video_cut_off_gives_what_there_is(tmp_path: Path, analyzer: Analyzer, pacheco: Image) -> None:
    rng = np.random.default_rng(0)
    noise = [np.clip(f + rng.normal(0, 12, f.shape), 0, 255).astype(np.uint8) for f in moving(pacheco, 30)]
    whole = film(tmp_path / "whole.mp4", noise, options={"g": "5", "bf": "0"}).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    found = []
    with pytest.raises(InputError, match="cut off"):
        found.extend(faces_of_video(tmp_path / "cut.mp4", analyzer, every=0.2))
    rest = faces_of_video(tmp_path / "cut.mp4", analyzer, every=0.2)
    assert next(rest).track == 1


@given(st.floats(0, 500), st.floats(0, 1), st.floats(-90, 90), st.floats(-90, 90), st.integers(16, 512))
def test_worth_lies_between_0_and_1(eyes: float, sharp: float, yaw: float, pitch: float, size: int) -> None:
    value = worth(FaceQuality(eyes, sharp, yaw, pitch), size)
    assert 0 <= value <= 1
    assert value <= worth(FaceQuality(eyes, sharp, 0, 0), size)
    assert value <= worth(FaceQuality(eyes, 1, yaw, pitch), size)
    assert value <= worth(FaceQuality(eyes + 1, sharp, yaw, pitch), size)


@pytest.mark.parametrize(
    "given_", [{"per_track": 0}, {"size": 8}, {"min_worth": 2.0}, {"gap": float("nan")}, {"rotate": 45}]
)
def test_settings_out_of_range(tmp_path: Path, analyzer: Analyzer, given_: dict[str, float]) -> None:
    with pytest.raises(InputError):
        next(faces_of_video(tmp_path / "any.mp4", analyzer, **given_))  # type: ignore[arg-type]


def test_an_orientation_found_before_is_taken(store: Store, analyzer: Analyzer) -> None:
    late = list(faces_of_video(store.path("carphone"), analyzer, rotate=Orientation(0, frames=1, start=2.0)))
    assert late[0].time >= 2.0

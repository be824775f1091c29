"""Faces covered for publishing: nobody is recognized afterwards, in no frame, by the models that found them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from films import film, moving
from hypothesis import given
from hypothesis import strategies as st

from visavis.errors import InputError
from visavis.image import load_image, resize
from visavis.pipeline import Analyzer
from visavis.recognition.compare import operating_point
from visavis.types import Image
from visavis.video.blurring import METHODS, Method, Whom, blur_video, cover
from visavis.video.frames import frames
from visavis.video.identity import Person
from visavis.video.recording import Recording, record

Photo = Callable[[str, int], bytes]


@pytest.fixture(scope="module")
def analyzer() -> Analyzer:
    return Analyzer(threads=1, precision="f32", min_face=28, score=0.4)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, lfw_photo: Photo, analyzer: Analyzer) -> Recording:
    """Return the recording of two people side by side; the right one can't be found for half a second."""
    left, right = (
        moving(load_image(lfw_photo(name, number)), 16, width=260, step=1)
        for name, number in (("Al_Sharpton", 2), ("Abel_Pacheco", 1))
    )
    for picture in right[6:11]:
        picture[60:180] = resize(picture[60:180], 30, 3).repeat(40, axis=0)[:120, :1].repeat(260, axis=1)
    path = film(
        tmp_path_factory.mktemp("blur") / "two.mp4", [np.hstack(both) for both in zip(left, right, strict=True)]
    )
    return record(path, analyzer)


def named(recording: Recording) -> Recording:
    """Return it with the name of the person on the left."""
    left = int(recording.tracks[recording.boxes[:, 0].argmin()])
    people = {
        track: Person("Al", 0.7, 1e-6, True) if track == left else Person(known=True) for track in recording.people
    }
    return replace(recording, people=people)


def test_the_film_is_what_it_should_be(two: Recording) -> None:
    assert sorted({track for track in two.tracks.tolist() if track}) == [1, 2]
    hidden = set(range(16)) - set(two.frames[(two.boxes[:, 0] > 260) & (two.tracks > 0)].tolist())
    assert hidden == {6, 7, 8, 9, 10}


@pytest.mark.parametrize("method", METHODS)
def test_nobody_is_verified_afterwards(two: Recording, tmp_path: Path, analyzer: Analyzer, method: Method) -> None:
    done = blur_video(two, tmp_path / "b.mp4", method=method, quality=4)
    assert (done.tracks, done.frames, done.bridged, done.shown) == (2, 16, 5, ())
    threshold = operating_point(analyzer.calibration, fmr=1e-4, model=analyzer.calibrated_as).threshold
    for before, after in zip(frames(two.path), frames(tmp_path / "b.mp4"), strict=True):
        faces = analyzer.analyze(before.image)
        assert faces.embeddings is not None
        # Whoever knows where the eyes were sees no more than who has to find the face.
        told = analyzer.embed(analyzer.crop(after.image, faces)).vectors
        assert (told * faces.embeddings.vectors).sum(axis=1).max() < 0.7 * threshold
        found = analyzer.analyze(after.image)
        assert found.embeddings is not None
        if len(found):
            assert (found.embeddings.vectors @ faces.embeddings.vectors.T).max() < threshold


def test_a_face_is_covered_on_its_way_too(two: Recording, tmp_path: Path) -> None:
    blur_video(two, tmp_path / "b.mp4", method="solid", quality=4)
    for after in frames(tmp_path / "b.mp4"):
        rows = [row for row in np.flatnonzero(two.tracks) if abs(int(two.frames[row]) - after.number) <= 5]
        for side in (0, 260):
            near = [row for row in rows if side <= two.boxes[row, 0] < side + 260]
            x1, y1, x2, y2 = two.boxes[near[0]].round().astype(int)
            assert np.abs(after.image[y1:y2, x1:x2].astype(int) - 96).max() < 12


def test_who_is_to_be_shown_is_shown(two: Recording, tmp_path: Path) -> None:
    recording = named(two)
    first = next(frames(two.path)).image.astype(int)

    def changed(whom: Whom) -> list[bool]:
        done = blur_video(recording, tmp_path / "b.mp4", whom, quality=4)
        assert done.shown == (() if whom.covers("Al") else ("Al",))
        after = next(frames(tmp_path / "b.mp4")).image.astype(int)
        return [bool(np.abs(part).mean() > 4) for part in np.split(after - first, 2, axis=1)]

    assert changed(Whom()) == [True, True]
    assert changed(Whom("unknown")) == [False, True]
    assert changed(Whom("only", ("Al",))) == [True, False]
    assert changed(Whom("all_but", ("Al", "Bob"))) == [False, True]


def test_what_never_became_a_track_is_covered(two: Recording, tmp_path: Path) -> None:
    one = np.flatnonzero(two.frames == 8)[:1]
    place = np.array([[200, 10, 230, 40]], np.float32)
    single = replace(
        two,
        frames=two.frames[one],
        times=two.times[one],
        tracks=two.tracks[one] * 0,
        boxes=place,
        scores=two.scores[one],
    )
    for whom in (Whom(), Whom("unknown"), Whom("all_but", ("Al",))):
        done = blur_video(single, tmp_path / "b.mp4", whom, method="solid", quality=4)
        assert (done.tracks, done.single, done.bridged) == (0, 1, 0)
        assert done.frames == 5  # 0.2 s before and after too
        shown = [
            np.abs(frame.image[12:38, 202:228].astype(int) - 96).max() > 12 for frame in frames(tmp_path / "b.mp4")
        ]
        assert [number for number, open_ in enumerate(shown) if not open_] == [6, 7, 8, 9, 10]
    assert blur_video(single, tmp_path / "b.mp4", Whom("only", ("Al",))).frames == 0


@given(
    box=st.tuples(*[st.floats(-50, 150)] * 2, *[st.floats(0, 200)] * 2),
    margin=st.floats(0, 1),
    method=st.sampled_from(METHODS),
)
def test_a_cover_stays_in_its_place(box: tuple[float, ...], margin: float, method: Method) -> None:
    x, y, width, height = box
    noise = np.random.default_rng(0).integers(0, 256, (80, 100, 3)).astype(np.uint8)
    after = noise.copy()
    cover(after, (x, y, x + width, y + height), method, margin=margin)
    mask = np.zeros(noise.shape[:2], bool)
    left, top = (int(np.floor(low - margin * side)) for low, side in ((x, width), (y, height)))
    right, bottom = (int(np.ceil(low + (1 + margin) * side)) for low, side in ((x, width), (y, height)))
    mask[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = True
    assert np.array_equal(after[~mask], noise[~mask])


@pytest.mark.parametrize("side", [20, 57, 200, 900])
def test_as_little_is_left_of_a_large_face_as_of_a_small_one(side: int) -> None:
    noise: Image = np.random.default_rng(0).integers(0, 256, (1000, 1000, 3)).astype(np.uint8)
    cover(noise, (10, 10, 10 + side, 10 + side), margin=0)
    colors = noise[10 : 10 + side, 10 : 10 + side].astype(np.int32) @ [1 << 16, 1 << 8, 1]
    assert len(np.unique(colors)) <= 25


def test_mistakes_are_told(two: Recording, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="pixelate, blur, solid"):
        blur_video(two, tmp_path / "b.mp4", method="smear")  # type: ignore[arg-type]
    for kind, names in (("all", ("Al",)), ("only", ()), ("all_but", ())):
        with pytest.raises(InputError, match="need names"):
            Whom(kind, names)  # type: ignore[arg-type]
    assert not (tmp_path / "b.mp4").exists()

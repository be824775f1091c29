"""Followers on films of crowds whose truth is known: docs/tracking.md has the measurements these floors lie below."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from crowd_video import HIDDEN, RATE, Crowd, Person, Shown, cast

from visavis.evaluation.tracking import TrackingQuality, Trajectories, tracking_quality
from visavis.geometry import iou
from visavis.models.store import Store
from visavis.pipeline import Analyzer
from visavis.types import Faces
from visavis.video.following import Follower
from visavis.video.frames import Frame, frames

SEEDS, SECONDS, EVERY = (20, 21), 8.0, 3


@pytest.fixture(scope="module")
def analyzer(home: Path) -> Analyzer:
    return Analyzer(threads=1, precision="f32", store=Store(home))


@pytest.fixture(scope="module")
def people(lfw: zipfile.ZipFile, analyzer: Analyzer) -> list[Person]:
    return cast(lfw, analyzer, 5, seed=20, half=1)


@pytest.fixture(scope="module")
def films(people: list[Person], analyzer: Analyzer) -> list[tuple[Crowd, list[Shown], list[Faces]]]:
    found = []
    for seed in SEEDS:
        crowd = Crowd(people, seed, seconds=SECONDS)
        shown = list(crowd.frames(EVERY))
        found.append((crowd, shown, analyzer.detect([frame.image for frame in shown])))
    return found


def followed(shown: list[Shown], found: list[Faces], analyzer: Analyzer) -> tuple[Trajectories, int]:
    """Return the tracks of a film, and how many faces were embedded."""
    follower = Follower(analyzer)
    rows, boxes, embedded = [], [], 0
    for frame, faces in zip(shown, found, strict=True):
        seen = follower.step(Frame(frame.number, frame.time, frame.image), faces)
        assert seen.faces.track_ids is not None
        rows += [(frame.number, track) for track in seen.faces.track_ids.tolist()]
        boxes += seen.faces.boxes.tolist()
        embedded += seen.embedded
    columns = np.array(rows).reshape(-1, 2)
    return Trajectories(columns[:, 0], columns[:, 1], np.array(boxes)), embedded


def test_similarity_makes_tracks_of_crowds_better(
    films: list[tuple[Crowd, list[Shown], list[Faces]]], analyzer: Analyzer
) -> None:
    by_place, with_looks, embedded, faces = TrackingQuality(), TrackingQuality(), 0, 0
    for crowd, shown, found in films:
        truth = crowd.truth(shown)
        output, looked = followed(shown, found, analyzer)
        with_looks += tracking_quality(truth, output)
        blind = Analyzer(recognizer=None, threads=1, precision="f32", store=analyzer.store)
        by_place += tracking_quality(truth, followed(shown, found, blind)[0])
        embedded, faces = embedded + looked, faces + sum(map(len, found))
    assert with_looks.switches < by_place.switches
    assert with_looks.idf1 is not None
    assert by_place.idf1 is not None
    assert with_looks.mota is not None
    assert with_looks.idf1 > max(by_place.idf1, 0.8)
    assert by_place.idf1 > 0.5
    assert with_looks.mota > 0.75
    assert embedded < faces / 2  # one look a face and frame is what tracking saves


def test_the_real_clip_is_one_person(home: Path, analyzer: Analyzer) -> None:
    follower = Follower(analyzer)
    tracks = [
        int(track) for frame in frames(Store(home).path("carphone")) for track in follower.step(frame).faces.track_ids
    ]
    assert set(tracks) == {1}
    assert len(tracks) > 110


def test_a_crowd_is_the_same_for_the_same_seed(people: list[Person]) -> None:
    first, again, other = (list(Crowd(people, seed, seconds=6).frames(25)) for seed in (7, 7, 8))
    assert all((a.image == b.image).all() and (a.boxes == b.boxes).all() for a, b in zip(first, again, strict=True))
    assert all((a.image != b.image).any() for a, b in zip(first, other, strict=True))


def test_the_truth_about_a_crowd_agrees_with_a_detector(films: list[tuple[Crowd, list[Shown], list[Faces]]]) -> None:
    wholly, overlaps = 0, []
    for crowd, shown, found in films:
        truth = crowd.truth(shown)
        assert truth.ignored is not None
        visible = np.concatenate([frame.visible for frame in shown])
        assert (visible >= 0).all()
        assert (visible <= 1).all()
        assert (visible < 1 - HIDDEN).sum() == truth.ignored.sum()
        for frame, faces in zip(shown, found, strict=True):
            clear = frame.boxes[frame.visible > 0.95].astype(np.float32)
            best = iou(clear, faces.boxes).max(axis=1, initial=0)
            wholly += len(clear)
            overlaps += best[best > 0.5].tolist()
    assert len(overlaps) > 0.95 * wholly
    assert np.mean(overlaps) > 0.75


def test_halves_share_nobody_and_films_can_be_written(
    lfw: zipfile.ZipFile, people: list[Person], analyzer: Analyzer, tmp_path: Path
) -> None:
    others = cast(lfw, analyzer, 5, seed=20, half=0)
    assert not {person.name for person in people} & {person.name for person in others}
    crowd = Crowd(people, 3, seconds=0.4)
    read = list(frames(crowd.write(tmp_path / "crowd.mp4")))
    assert [frame.number for frame in read] == list(range(10))
    assert read[-1].time == pytest.approx(9 / RATE)
    drawn = [shown.image for shown in crowd.frames()]
    assert np.abs(read[5].image.astype(int) - drawn[5]).mean() < 12

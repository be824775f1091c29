"""Tracks of boxes whose truth is known, with and without what faces look like."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visavis.errors import InputError, VisavisError
from visavis.pipeline import Analyzer
from visavis.recognition.compare import fmr_at
from visavis.types import Faces, FloatArray
from visavis.video.resemblance import Resemblance, resemblance
from visavis.video.tracking import Tracker, Tracking

SAME = Resemblance(0.4, 0.3)
STEP = 0.04


def box(x: float, y: float = 100.0, side: float = 60.0) -> list[float]:
    return [x, y, x + side, y + 1.2 * side]


def faces(*boxes: list[float], scores: Sequence[float] | None = None) -> Faces:
    given = np.array(boxes, np.float32).reshape(-1, 4)
    return Faces(given, np.array([0.9] * len(given) if scores is None else scores, np.float32))


class People:
    """Looks of people, by number: unit vectors that differ, and a count of who was looked at."""

    def __init__(self, *who: int) -> None:
        self.who, self.looked = who, 0

    def __call__(self, rows: np.ndarray) -> FloatArray:
        self.looked += len(rows)
        return np.eye(8, dtype=np.float32)[[self.who[row] for row in rows]]


def seen(tracker: Tracker, time: float, found: Faces, who: Sequence[int] = ()) -> tuple[list[int], int]:
    """Let a tracker take a frame, and keep what its tracks look like, as a follower does."""
    look = People(*who)
    ids = tracker.update(time, found, look if who else None).tolist()
    for track, person in zip(ids, who, strict=False):
        if track:
            tracker.tracks[track].template = np.eye(8, dtype=np.float32)[person]
    return ids, look.looked


def test_two_who_cross_keep_their_tracks_by_where_they_go() -> None:
    tracker = Tracker()
    for k in range(50):
        ids = tracker.update(k * STEP, faces(box(100 + 6 * k), box(400 - 6 * k, 130))).tolist()
    assert ids == [1, 2]


@pytest.mark.parametrize("every", [1, 2, 3, 5])
def test_fast_faces_are_followed_where_only_some_frames_are_looked_at(every: int) -> None:
    tracker = Tracker(Tracking(confirm=2))
    for k in range(0, 60, every):
        ids = tracker.update(k * STEP, faces(box(10 + 10 * k), box(10 + 10 * k, 300))).tolist()
    assert ids == [1, 2]


def test_uneven_time_steps_are_taken_as_they_are() -> None:
    rng = np.random.default_rng(3)
    tracker, time = Tracker(), 0.0
    for _ in range(60):
        time += float(rng.choice([0.01, 0.04, 0.3]))
        ids = tracker.update(time, faces(box(60 * time), box(900 - 60 * time, 120))).tolist()
    assert ids == [1, 2]


def test_a_face_of_low_score_goes_on_with_a_track_and_begins_none() -> None:
    tracker = Tracker(Tracking(confirm=1))
    for k in range(5):
        tracker.update(k * STEP, faces(box(100)))
    assert tracker.update(5 * STEP, faces(box(101), box(400), scores=[0.3, 0.3])).tolist() == [1, 0]
    for k in range(6, 20):
        assert tracker.update(k * STEP, faces(box(400), scores=[0.3])).tolist() == [0]
    assert tracker.update(20 * STEP, faces(box(101), scores=[0.3])).tolist() == [0]  # lost by now
    assert tracker.update(21 * STEP, faces(box(101))).tolist() == [1]


def test_a_face_seen_once_is_no_track() -> None:
    tracker = Tracker(Tracking(confirm=3))
    ids = [tracker.update(k * STEP, faces(box(100)) if k != 1 else faces()).tolist() for k in range(5)]
    assert ids == [[0], [], [0], [0], [1]]


def test_two_who_change_places_unseen_are_told_apart_by_their_looks() -> None:
    together, apart = faces(box(100), box(180)), [0, 1]
    outcome = {}
    for similarity in (True, False):
        tracker = Tracker(same=SAME)
        for k in range(10):
            seen(tracker, k * STEP, together, apart if similarity else ())
        outcome[similarity], _ = seen(tracker, 1.0, faces(box(100), box(180)), [1, 0] if similarity else ())
    assert outcome == {True: [2, 1], False: [1, 2]}


def test_who_comes_back_elsewhere_keeps_the_id_before_a_new_one_is_given() -> None:
    tracker, ids = Tracker(same=SAME), []
    for k in range(10):
        seen(tracker, k * STEP, faces(box(100)), [3])
    for k in range(10):
        found, _ = seen(tracker, 2 + k * STEP, faces(box(3000, 2000)), [3])
        ids += found
    assert ids == [1] * 10
    assert tracker.tracks[1].first == 0
    np.testing.assert_allclose(tracker.expected(2 + 10 * STEP).boxes[0], box(3000, 2000), atol=2)  # nobody ran there


def test_a_new_face_waits_for_a_better_look_while_somebody_is_missing() -> None:
    tracker = Tracker(Tracking(confirm=1, hold=0.12, every=0.08), SAME)
    for k in range(10):
        seen(tracker, k * STEP, faces(box(100)), [3])
    ids, looked = zip(
        *(seen(tracker, 2 + k * STEP, faces(box(3000)), [5 if k < 2 else 3]) for k in range(5)), strict=True
    )
    assert ids == ([0], [0], [1], [1], [1])
    assert looked == (1, 0, 1, 0, 0)
    ids, _ = zip(*(seen(tracker, 4 + k * STEP, faces(box(9000)), [5]) for k in range(5)), strict=True)
    assert ids == ([0], [0], [0], [2], [2])


def test_of_two_who_resemble_the_missing_one_only_one_can_be() -> None:
    tracker = Tracker(Tracking(confirm=1), SAME)
    for k in range(10):
        seen(tracker, k * STEP, faces(box(100)), [3])
    assert seen(tracker, 2, faces(box(100), box(5000)), [3, 3])[0] == [1, 2]


def test_a_face_between_two_who_were_near_each_other_goes_to_the_one_it_resembles() -> None:
    for person in (0, 1):
        tracker = Tracker(same=SAME)
        for k in range(10):
            seen(tracker, k * STEP, faces(box(100), box(150)), [0, 1])
        assert seen(tracker, 14 * STEP, faces(box(125)), [person])[0] == [person + 1]


def test_a_track_beside_which_a_second_face_comes_up_keeps_its_own() -> None:
    tracker = Tracker(same=SAME)
    for k in range(10):
        seen(tracker, k * STEP, faces(box(100)), [0])
    assert seen(tracker, 14 * STEP, faces(box(104), box(90)), [1, 0])[0] == [0, 1]


def test_who_comes_back_as_somebody_else_or_after_too_long_is_a_new_track() -> None:
    for person, away in ((4, 2.0), (3, 9.0)):
        tracker = Tracker(Tracking(gap=5.0), SAME)
        for k in range(10):
            seen(tracker, k * STEP, faces(box(100)), [3])
        ids = [seen(tracker, away + k * STEP, faces(box(110)), [person])[0][0] for k in range(10)]
        assert set(ids) == {0, 2}


def test_without_looks_a_face_near_the_lost_one_is_taken_for_it() -> None:
    tracker = Tracker()
    for k in range(10):
        tracker.update(k * STEP, faces(box(100)))
    assert tracker.update(1.0, faces(box(105))).tolist() == [1]


def test_plain_frames_cost_no_look() -> None:
    tracker, looked = Tracker(same=SAME), 0
    for k in range(50):
        looked += seen(tracker, k * STEP, faces(box(100 + k), box(400 - k), box(250, 350)), [0, 1, 2])[1]
    assert looked == 0


def test_tracks_end_after_the_gap_and_ids_are_never_used_again() -> None:
    tracker = Tracker(Tracking(gap=1.0, confirm=1))
    tracker.update(0, faces(box(100)))
    assert tracker.ended(1.0) == []
    (track,) = tracker.ended(1.1)
    assert (track.id, track.first, track.last, track.seen) == (1, 0, 0, 1)
    assert tracker.update(1.2, faces(box(100))).tolist() == [2]
    assert [track.id for track in tracker.ended(np.inf)] == [2]
    assert tracker.tracks == {}


def test_a_jump_ahead_begins_anew_and_one_back_counts_as_no_time() -> None:
    tracker = Tracker(Tracking(gap=2.0, confirm=1))
    tracker.update(0, faces(box(100)))
    assert tracker.update(3600, faces(box(100))).tolist() == [2]
    assert tracker.update(10, faces(box(101))).tolist() == [2]
    assert tracker.tracks[2].last == 3600
    with pytest.raises(InputError, match="finite"):
        tracker.update(float("nan"), faces())


def test_after_a_restart_times_may_begin_again() -> None:
    tracker = Tracker(Tracking(confirm=1))
    tracker.update(50, faces(box(100)))
    assert [track.id for track in tracker.restart()] == [1]
    assert tracker.update(0, faces(box(100))).tolist() == [2]
    assert tracker.tracks[2].last == 0


def test_faces_are_expected_between_the_frames_looked_at() -> None:
    tracker = Tracker(Tracking(confirm=2))
    assert len(tracker.expected(0)) == 0
    for k in range(0, 50, 5):
        tracker.update(k * STEP, faces(box(100 + 4 * k), scores=[0.8]))
    expected = tracker.expected(47 * STEP)
    assert expected.track_ids is not None
    assert expected.track_ids.tolist() == [1]
    assert expected.scores.tolist() == pytest.approx([0.8])
    np.testing.assert_allclose(expected.boxes[0], box(100 + 4 * 47), atol=6)
    tracker.update(50 * STEP, faces())
    assert len(tracker.expected(50 * STEP)) == 1  # for a moment only
    assert len(tracker.expected(55 * STEP)) == 0
    for time in (10.0, 11.0, 12.0):
        tracker.update(time, faces(box(100)))
    assert len(tracker.expected(12.8)) == 1  # nobody looked since


def test_hundreds_of_faces_keep_their_tracks() -> None:
    rng = np.random.default_rng(0)
    corner = np.stack(np.meshgrid(np.arange(20) * 100.0, np.arange(15) * 120.0), -1).reshape(-1, 2)
    speed, tracker = rng.uniform(-2, 2, (300, 2)), Tracker()
    for k in range(20):
        order = rng.permutation(300)
        where = (corner + k * speed)[order]
        ids = tracker.update(k * STEP, faces(*np.concatenate([where, np.add(where, [60, 75])], axis=1).tolist()))
        if k == 1:
            first = dict(zip(order.tolist(), ids.tolist(), strict=True))
    assert dict(zip(order.tolist(), ids.tolist(), strict=True)) == first
    assert sorted(first.values()) == list(range(1, 301))


def test_what_is_out_of_range_is_refused() -> None:
    for wrong in ({"gap": -1}, {"start": 1.5}, {"confirm": -1}, {"reach": float("nan")}, {"hold": -0.1}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            Tracking(**wrong)
    with pytest.raises(InputError, match="in_place is at most anywhere"):
        Resemblance(0.3, 0.4)


def test_without_scipy_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = Tracker()
    tracker.update(0, faces(box(100), box(130)))
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(VisavisError, match=r"pip install 'visavis\[video\]'"):
        tracker.update(STEP, faces(box(101), box(131)))


def test_resemblance_is_read_off_the_calibration() -> None:
    analyzer = Analyzer()
    same = resemblance(analyzer)
    assert analyzer.calibration is not None
    assert fmr_at(analyzer.calibration, [same.anywhere, same.in_place]) == pytest.approx([1e-3, 1e-2])
    assert resemblance(Analyzer("ssd-mobilenet", landmarks="dlib-68")) == Resemblance()


coordinates = st.floats(-2000, 2000, width=32)
frame = st.lists(
    st.tuples(coordinates, coordinates, st.floats(0, 500, width=32), st.floats(0, 1, width=32)), max_size=5
)


@given(st.lists(st.tuples(st.floats(0, 3), frame, st.booleans()), max_size=12))
def test_whatever_comes_no_id_is_given_twice_and_all_is_finite(
    frames: list[tuple[float, list[tuple[float, float, float, float]], bool]],
) -> None:
    tracker, time, gone = Tracker(Tracking(confirm=1)), 0.0, set()
    for step, rows, similarity in frames:
        time += step
        found = faces(*([x, y, x + side, y + side] for x, y, side, _ in rows), scores=[row[3] for row in rows])
        ids, _ = seen(tracker, time, found, [i % 8 for i in range(len(rows))] if similarity else ())
        given_ids = [track for track in ids if track]
        assert len(ids) == len(rows)
        assert len(set(given_ids)) == len(given_ids)
        assert not gone & set(given_ids)
        assert set(given_ids) <= set(tracker.tracks)
        for i, track in enumerate(ids):
            if track:
                assert tracker.tracks[track].box.tolist() == found.boxes[i].tolist()
        gone |= {track.id for track in tracker.ended(time)}
        expected = tracker.expected(time + 0.1)
        assert np.isfinite(expected.boxes).all()
        assert set(expected.track_ids.tolist()) <= set(tracker.tracks)

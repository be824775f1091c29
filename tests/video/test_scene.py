"""Frames to events: who appears leaves once, names as they are known, lines and zones as faces move."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visavis.errors import InputError
from visavis.events.event import Event
from visavis.types import Faces
from visavis.video.following import Seen
from visavis.video.identity import UNSEEN, Person
from visavis.video.scene import Line, Scene, Zone
from visavis.video.tracking import Track

START = datetime(2026, 5, 1, 8, tzinfo=timezone.utc)
SIZE = (200, 100)
ADA = Person("ada", 0.61234, 1.23456e-5, known=True)


def seen(
    time: float,
    places: dict[int, tuple[float, float]] | None = None,
    people: dict[int, Person] | None = None,
    ended: tuple[int, ...] = (),
    *,
    looked: bool = True,
    size: tuple[int, int] = SIZE,
) -> Seen:
    """Return what a frame showed: centers of faces 20 pixels wide and high."""
    places = places or {}
    boxes = np.array([[x - 10, y - 10, x + 10, y + 10] for x, y in places.values()], np.float32).reshape(-1, 4)
    faces = Faces(boxes, np.full(len(boxes), 0.9, np.float32), track_ids=np.array(list(places), np.int64))
    gone = tuple(Track(i, np.zeros(4, np.float32), 0.0, time) for i in ended)
    return Seen(round(time * 10), time, faces, people or {}, gone, 0, size, looked)


def scene(**places: list) -> Scene:
    return Scene("door", START, "run-1", **places)


def told(events: list[Event]) -> list[tuple]:
    return [(event.kind, event.track, event.subject) for event in events]


def test_a_visit() -> None:
    watched = scene()
    assert told(watched.step(seen(0.5, {7: (50, 50)}))) == [("appeared", 7, None)]
    assert watched.step(seen(0.6, {7: (50, 50)})) == []
    (named,) = watched.step(seen(0.7, {7: (60, 50)}, {7: ADA}))
    assert (named.kind, named.subject, named.similarity, named.fmr) == ("identified", "ada", 0.6123, 1.23e-5)
    assert (named.camera, named.run, named.time, named.offset_s) == (
        "door",
        "run-1",
        START + timedelta(seconds=0.7),
        0.7,
    )
    assert named.box == (50.0, 40.0, 70.0, 60.0)
    assert watched.step(seen(0.9, {}, {7: ADA})) == []
    (left,) = watched.step(seen(3.0, {}, {7: ADA}, ended=(7,)))
    assert (left.kind, left.subject, left.similarity, left.seconds, left.box) == ("left", "ada", 0.6123, 0.2, None)
    assert (left.time, left.offset_s) == (START + timedelta(seconds=0.7), 0.7), "when it was seen last"


def test_times_of_a_camera_are_its_own() -> None:
    watched = scene()
    first = START + timedelta(hours=3)
    watched.step(seen(0.0, {1: (50, 50)}), first)
    watched.step(seen(0.1, {1: (50, 50)}), first + timedelta(seconds=0.125))
    (left,) = watched.step(seen(9.0, ended=(1,)), first + timedelta(seconds=9))
    assert (left.time, left.offset_s) == (first + timedelta(seconds=0.125), 0.1)


def test_unknown_then_named_then_corrected() -> None:
    watched = scene()
    stages = [UNSEEN, Person(known=True), Person(known=True), ADA, ADA]
    stages += [Person("bob", 0.7, None, known=True, corrects="ada")] * 2
    events = [e for i, one in enumerate(stages) for e in watched.step(seen(i / 10, {1: (50, 50)}, {1: one}))]
    assert told(events) == [
        ("appeared", 1, None),
        ("unknown", 1, None),
        ("identified", 1, "ada"),
        ("identified", 1, "bob"),
    ]
    assert [event.corrects for event in events] == [None, None, None, "ada"]


def test_a_name_taken_back_is_told() -> None:
    watched = scene()
    watched.step(seen(0.0, {1: (50, 50)}, {1: ADA}))
    events = watched.step(seen(0.1, {1: (50, 50)}, {1: Person(known=True, corrects="ada")}))
    assert [(event.kind, event.subject, event.corrects) for event in events] == [("unknown", None, "ada")]
    assert watched.step(seen(0.2, {1: (50, 50)}, {1: Person(known=True, corrects="ada")})) == []


@pytest.mark.parametrize("before", [ADA, Person("ada", 0.6, None, known=True, corrects="bob")])
def test_of_an_erased_person_nothing_more_is_told(before: Person) -> None:
    watched = scene(zones=[Zone("all", ((0, 0), (1, 0), (1, 1), (0, 1)), 1)])
    watched.step(seen(0.0, {1: (50, 50)}, {1: before}))
    events = watched.step(seen(0.5, {1: (50, 50)}, {1: Person(known=True)}))
    events += watched.step(seen(1.5, {1: (50, 50)}, {1: Person(known=True)}))
    events += watched.step(seen(5.0, {}, {1: Person(known=True)}, ended=(1,)))
    assert told(events) == [("dwell", 1, None), ("left", 1, None)]
    assert not any(name in event.to_dict().values() for event in events for name in ("ada", "bob"))


def test_who_left_is_told_before_what_the_frame_shows() -> None:
    watched = scene()
    watched.step(seen(0.0, {1: (50, 50), 2: (150, 50)}))
    assert told(watched.step(seen(3.0, {3: (50, 50)}, ended=(2, 1)))) == [
        ("left", 2, None),
        ("left", 1, None),
        ("appeared", 3, None),
    ]


def test_a_track_that_no_frame_showed_does_not_leave() -> None:
    assert scene().step(seen(3.0, ended=(1,))) == []


def test_frames_in_which_nobody_looked_tell_nothing() -> None:
    watched = scene(lines=[Line("middle", (0.5, 1), (0.5, 0))])
    assert watched.step(seen(0.0, {1: (50, 50)}, looked=False)) == []
    watched.step(seen(0.1, {1: (50, 50)}))
    assert watched.step(seen(0.2, {1: (150, 50)}, looked=False)) == []
    assert [(e.kind, e.direction) for e in watched.step(seen(0.3, {1: (150, 50)}))] == [("line_crossed", "right")]


def test_a_line_is_crossed_once_each_way() -> None:
    watched = scene(lines=[Line("middle", (0.5, 1), (0.5, 0)), Line("low", (0, 0.9), (1, 0.9))])
    xs = [50, 90, 99, 101, 98.5, 101.5, 110, 120, 101, 99, 101, 110, 60]
    events = [e for i, x in enumerate(xs) for e in watched.step(seen(i / 10, {1: (x, 50)}, {1: ADA}))]
    crossed = [event for event in events if event.kind == "line_crossed"]
    assert [(e.place, e.direction, e.offset_s, e.subject) for e in crossed] == [
        ("middle", "right", 0.6, "ada"),
        ("middle", "left", 1.2, "ada"),
    ]


def test_lines_stay_where_they_are_when_the_frame_changes_its_size() -> None:
    watched = scene(lines=[Line("middle", (0.5, 1), (0.5, 0))])
    watched.step(seen(0.0, {1: (90, 50)}))
    watched.step(seen(0.1, {1: (180, 100)}, size=(400, 200)))
    (event,) = watched.step(seen(0.2, {1: (220, 100)}, size=(400, 200)))
    assert (event.place, event.direction) == ("middle", "right")


def test_dwell_is_told_once_a_stay() -> None:
    watched = scene(zones=[Zone("left half", ((0, 0), (0.5, 0), (0.5, 1), (0, 1)), 1.0)])
    stays = []
    for i in range(60):
        inside = i < 25 or 35 <= i < 50
        x = (50 if inside else 150) if i % 2 else (99 if inside else 130)
        events = watched.step(seen(i / 10, {1: (x, 50)}))
        stays += [(event.place, event.offset_s, event.seconds) for event in events if event.kind == "dwell"]
    assert stays == [("left half", 1.0, 1.0), ("left half", 4.5, 1.0)]


def test_trembling_on_a_zones_border_is_staying() -> None:
    watched = scene(zones=[Zone("left half", ((0, 0), (0.5, 0), (0.5, 1), (0, 1)), 1.0)])
    events = [e for i in range(40) for e in watched.step(seen(i / 10, {1: (99 if i % 2 else 101, 50)}))]
    assert [(e.kind, e.seconds) for e in events if e.kind == "dwell"] == [("dwell", 1.0)]


def test_two_places_of_one_name_are_refused() -> None:
    with pytest.raises(InputError, match="two places named 'here'"):
        scene(lines=[Line("here", (0, 0), (1, 1))], zones=[Zone("here", ((0, 0), (1, 0), (1, 1)))])


NAMES = st.sampled_from([None, "ada", "bob"])
FRAMES = st.lists(
    st.tuples(
        st.dictionaries(st.integers(1, 4), st.tuples(st.integers(0, 200), st.integers(0, 100)), max_size=4),
        st.dictionaries(st.integers(1, 4), NAMES, max_size=4),
        st.sets(st.integers(1, 4), max_size=2),
        st.booleans(),
        st.floats(0.01, 3),
    ),
    max_size=40,
)


@given(FRAMES)
def test_whoever_appeared_leaves_once_and_all_is_told_in_between(frames: list) -> None:
    square = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
    watched = scene(lines=[Line("middle", (0.5, 1), (0.5, 0))], zones=[Zone("left half", square, 2.0)])
    number = {i: i for i in range(1, 5)}  # whose tracks end get new ids, as a tracker gives them
    people: dict[int, Person] = {}
    shown: dict[int, list[float]] = {}
    events: list[tuple[float, Event]] = []
    time = 0.0
    for places, names, ending, looked, passed in frames:
        time += passed
        ended = tuple(number[i] for i in sorted(ending))
        now_people = dict(people)
        for i in ending:
            people.pop(number[i], None)
            number[i] += 10
        here = {number[i]: (float(x), float(y)) for i, (x, y) in places.items()}
        for i, name in names.items():
            if number[i] in here:
                people[number[i]] = Person(name, name and 0.5, None, known=True) if name else UNSEEN
        if looked:
            for track in here:
                shown.setdefault(track, []).append(time)
        step = watched.step(seen(time, here, {**now_people, **people}, ended, looked=looked))
        events += [(time, event) for event in step]
    rest = tuple(number.values())
    events += [(time, event) for event in watched.step(seen(time, {}, people, rest))]
    ids = [event.id for _, event in events]
    assert len(set(ids)) == len(ids)
    assert {event.track for _, event in events} == set(shown)
    for track, times in shown.items():
        mine = [(at, event) for at, event in events if event.track == track]
        kinds = [event.kind for _, event in mine]
        assert kinds[0] == "appeared"
        assert kinds[-1] == "left"
        assert kinds.count("appeared") == kinds.count("left") == 1
        assert mine[-1][1].offset_s == pytest.approx(times[-1], abs=1e-6)
        assert mine[-1][1].seconds == pytest.approx(times[-1] - times[0], abs=1e-3)
        for at, event in mine[:-1]:
            assert at in times
            assert event.offset_s == pytest.approx(at, abs=1e-6)
            assert event.box is not None
            assert event.time == START + timedelta(seconds=at)
        ways = [event.direction for _, event in mine if event.kind == "line_crossed"]
        middle = [x for x, y in pairwise(ways) if x == y]
        assert not middle, "the line has no way around: back before again"
        names = [event.subject for _, event in mine if event.kind == "identified"]
        assert None not in names

"""Visits, timelines and attendance lists: hand-made days, and what holds for any events."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from tests.events.conftest import START
from visavis.events.event import Event
from visavis.events.timeline import Attendance, Visit, attendance, timeline, visits

Visits = Callable[..., list[Event]]


def span(subject: str | None, camera: str, start: float, end: float, track: int = 0) -> Visit:
    return Visit(subject, camera, START + timedelta(seconds=start), START + timedelta(seconds=end), "r", track)


def test_a_day_at_two_doors(visit: Visits) -> None:
    events = [
        *visit("r", 1, "ada", at=0),  # 0..2
        *visit("r", 2, "bob", "ada", at=30),  # 30..33, corrected
        *visit("r", 3, at=40),  # 40..41, unknown
        *visit("s", 1, "ada", camera="gate", at=31),  # 31..33 at the same time as bob, who was ada
        *visit("r", 4, "bob", at=1000, left=False),  # 1000..1001, goes on
        Event("camera_lost", "door", START + timedelta(seconds=50)),
    ]
    found = visits(events)
    assert [(one.subject, one.camera, one.track, one.seconds, one.open) for one in found] == [
        ("ada", "door", 1, 2.0, False),
        ("ada", "door", 2, 3.0, False),
        ("ada", "gate", 1, 2.0, False),
        (None, "door", 3, 1.0, False),
        ("bob", "door", 4, 1.0, True),
    ]
    assert found[0].similarity == 0.6
    assert found[3].similarity is None
    stays = timeline(found)
    assert [(one.subject, one.camera, one.visits, one.seconds, one.open) for one in stays] == [
        ("ada", "door", 2, 33.0, False),
        ("ada", "gate", 1, 2.0, False),
        (None, "door", 1, 1.0, False),
        ("bob", "door", 1, 1.0, True),
    ]
    assert [one.visits for one in timeline(found, join=timedelta(seconds=27)) if one.subject == "ada"] == [1, 1, 1]
    assert [one.visits for one in timeline(found, join=timedelta(seconds=28)) if one.subject == "ada"] == [2, 1]
    ada, bob = attendance(found)
    assert ada == Attendance("ada", START, START + timedelta(seconds=33), timedelta(seconds=5), 3)
    assert (bob.subject, bob.minutes, bob.visits) == ("bob", 1 / 60, 1)
    assert ada.to_dict() == {
        "subject": "ada",
        "first_seen": "2026-05-01T08:00:00.000000Z",
        "last_seen": "2026-05-01T08:00:33.000000Z",
        "minutes": round(5 / 60, 3),
        "visits": 3,
    }
    assert stays[0].to_dict()["from"] == "2026-05-01T08:00:00.000000Z"
    assert found[0].to_dict()["seconds"] == 2.0


def test_who_was_there_when_the_program_was_killed_is_not_there_for_ever(visit: Visits) -> None:
    killed = [*visit("r", 1, "ada", at=0, left=False), *visit("r", 2, at=30)]
    (ada, _) = visits(killed)
    assert ada.open  # as far as anybody knows
    again = visit("s", 1, "ada", at=50, left=False)
    assert [(one.run, one.track, one.open) for one in visits([*again, *killed])] == [
        ("r", 1, False),
        ("r", 2, False),
        ("s", 1, True),
    ]
    (stay,) = [one for one in timeline(visits([*killed, *again])) if one.subject == "ada"]
    assert (stay.visits, stay.open, stay.seconds) == (2, True, 51.0)
    # Two programs at one camera, and another camera, end nothing.
    both = visits([*killed, *visit("s", 1, "bob", at=29), *visit("t", 1, "bob", camera="gate", at=90)])
    assert [one.open for one in both if one.run == "r"] == [True, False]


def test_nothing_gives_nothing() -> None:
    assert visits([]) == []
    assert timeline([]) == []
    assert attendance([]) == []


def test_the_similarity_is_of_the_name_that_counts(visit: Visits) -> None:
    first, second, third, last = visit("r", 1, "bob", "ada")
    (found,) = visits([first, replace(second, similarity=0.9), replace(third, similarity=0.5), last])
    assert (found.subject, found.similarity) == ("ada", 0.5)


def test_a_name_that_was_taken_back_does_not_count(visit: Visits) -> None:
    first, second, last = visit("r", 1, "bob")
    back = Event("unknown", "door", second.time + timedelta(milliseconds=1), "r", 1, corrects="bob")
    (found,) = visits([first, second, back, replace(last, subject=None)])
    assert (found.subject, found.similarity) == (None, None)


names = st.sampled_from(["ada", "bob", None])
moments = st.integers(0, 300)
events = st.lists(
    st.builds(
        lambda kind, at, track, subject, camera: Event(
            kind, camera, START + timedelta(seconds=at), camera, track, subject
        ),
        st.sampled_from(["appeared", "identified", "left", "dwell"]),
        moments,
        st.integers(0, 4),
        names,
        st.sampled_from(["door", "gate"]),
    ),
    max_size=30,
)


@given(events, st.integers(0, 1000))
def test_visits_hold_all_events_in_any_order(some: list[Event], seed: int) -> None:
    found = visits(some)
    keys = {(event.run, event.track) for event in some}
    assert len(found) == len(keys) == len({(one.run, one.track) for one in found})
    for one in found:
        own = [event for event in some if (event.run, event.track) == (one.run, one.track)]
        times = [event.time for event in own]
        assert (one.start, one.end) == (min(times), max(times))
        assert one.open == all(event.kind != "left" for event in own)
        named = [event for event in own if event.subject]
        assert (one.subject is None) == (not named)
        if named:
            newest = max(event.time for event in named)
            assert one.subject in {event.subject for event in named if event.time == newest}
    distinct = {(event.run, event.track, event.time): event for event in some}  # order decides among equal times
    shuffled = list(distinct.values())
    random.Random(seed).shuffle(shuffled)
    assert visits(shuffled) == visits(distinct.values())


spans = st.lists(
    st.builds(
        lambda subject, camera, start, length, track: span(subject, camera, start, start + length, track),
        names,
        st.sampled_from(["door", "gate"]),
        moments,
        st.integers(0, 100),
        st.integers(0, 9),
    ),
    max_size=15,
)


@given(spans, st.integers(0, 120))
def test_stays_join_what_is_near_and_nothing_else(some: list[Visit], join: int) -> None:
    gap = timedelta(seconds=join)
    stays = timeline(some, gap)
    assert sum(stay.visits for stay in stays) == len(some)
    assert [stay.start for stay in stays] == sorted(stay.start for stay in stays)
    assert sum(stay.subject is None for stay in stays) == sum(one.subject is None for one in some)
    for one in some:
        assert any(
            (stay.subject, stay.camera) == (one.subject, one.camera) and stay.start <= one.start and one.end <= stay.end
            for stay in stays
        )
    for a in stays:
        for b in stays:
            if a is not b and a.subject and (a.subject, a.camera) == (b.subject, b.camera) and a.start <= b.start:
                assert b.start - a.end > gap


@given(spans)
def test_time_counts_once_however_many_cameras_saw_it(some: list[Visit]) -> None:
    found = {one.subject: one for one in attendance(some)}
    assert list(found) == sorted({one.subject for one in some if one.subject})
    for subject, one in found.items():
        own = [visit for visit in some if visit.subject == subject]
        seconds = {
            second
            for visit in own
            for second in range(int((visit.start - START).total_seconds()), int((visit.end - START).total_seconds()))
        }
        assert one.present == timedelta(seconds=len(seconds)), "counted second by second"
        assert (one.first, one.last) == (min(v.start for v in own), max(v.end for v in own))
        assert one.present <= one.last - one.first
        assert one.visits == len(own)


def test_times_of_other_zones_are_the_same_moment() -> None:
    there = datetime(2026, 5, 1, 10, tzinfo=timezone(timedelta(hours=2)))
    (one,) = visits([Event("appeared", "door", there, "r", 1)])
    assert one.start == START

"""The time of pictures, whatever their stamps say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visavis.video import clock as timing
from visavis.video.clock import Clock


class Wall:
    """A clock on the wall that a test sets."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Wall:
    wall = Wall()
    monkeypatch.setattr(timing, "time", wall)
    return wall


def test_a_files_stamps_count_from_the_first() -> None:
    clock = Clock(0.04, live=False)
    assert [clock.tick(stamp) for stamp in (7.0, 7.04, 9.5)] == pytest.approx([0.0, 0.04, 2.5])
    assert clock.tick(None) == pytest.approx(2.54)
    assert clock.tick(9.6) == pytest.approx(2.6)


def test_a_joined_file_goes_on() -> None:
    clock = Clock(0.04, live=False)
    assert [clock.tick(stamp) for stamp in (0.0, 0.04, 0.0, 0.04, 0.08)] == pytest.approx([0, 0.04, 0.08, 0.12, 0.16])


def test_stamps_in_another_order_make_a_film_no_longer() -> None:
    clock = Clock(0.04, live=False)
    order = [0, 2, 1, 4, 5, 3, 6, 8, 7, 10, 11, 9]
    times = [clock.tick(0.04 * i) for i in order]
    assert times == pytest.approx([0.04 * max(order[: i + 1]) for i in range(len(order))])


def test_rare_stamps_correct_an_announced_rate_that_is_wrong() -> None:
    clock = Clock(0.04, live=False)  # 25 are announced, and 50 come
    times = [clock.tick(0.02 * i if i % 10 == 0 else None) for i in range(501)]
    assert times[-1] == pytest.approx(10.0, abs=0.4)


def test_a_camera_that_sets_its_clock_goes_on_by_the_wall(wall: Wall) -> None:
    clock, times = Clock(0.04, live=True), []
    for i in range(200):
        stamp = 0.04 * i + (0 if i < 50 else 86_400 if i < 100 else -3600)
        times.append(clock.tick(stamp))
        wall.now += 0.04
    assert times == pytest.approx([0.04 * i for i in range(200)], abs=0.05)
    assert clock.behind < 0.1


def test_a_streams_stamps_in_another_order_do_not_let_time_run_away(wall: Wall) -> None:
    clock, time = Clock(0.04, live=True), 0.0
    for i in range(0, 400, 4):  # pictures with B-frames, stamped by a server in the order of storing
        for k in (0, 2, 1, 3):
            time = clock.tick(0.04 * (i + k))
            wall.now += 0.04
    assert time == pytest.approx(0.04 * 399, abs=0.1)


def test_a_streams_stamp_that_stands_still_does_not_stop_time(wall: Wall) -> None:
    clock, time = Clock(0.04, live=True), 0.0
    clock.tick(0.0)
    for _ in range(250):
        wall.now += 0.04
        time = clock.tick(0.4)
    assert time == pytest.approx(10.0, abs=1.1)


def test_a_first_picture_without_a_stamp(wall: Wall) -> None:
    clock = Clock(0.04, live=True)
    assert [clock.tick(stamp) for stamp in (None, 0.0, 0.04)] == pytest.approx([0.0, 0.04, 0.08])


def test_without_stamps_live_pictures_have_the_walls_time(wall: Wall) -> None:
    clock, times = Clock(0.04, live=True), []
    for _ in range(5):
        times.append(clock.tick(None))
        wall.now += 0.2
    assert times == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])


def test_what_comes_late_is_behind_and_a_slow_clock_is_not(wall: Wall) -> None:
    clock = Clock(0.04, live=True)
    for i in range(50_000):  # a camera's clock that loses half a millisecond a second
        clock.tick(0.04 * i * 0.9995)
        wall.now += 0.04
    assert clock.behind < 0.01
    wall.now += 3.0  # a stall of the network, or of us
    clock.tick(0.04 * 50_000 * 0.9995)
    assert clock.behind == pytest.approx(3.0, abs=0.1)
    clock.forgive()
    assert clock.behind == 0


@given(st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), max_size=60), st.booleans())
def test_time_never_runs_back(stamps: list[float | None], live: bool) -> None:
    clock, before = Clock(0.04, live=live), -1.0
    for stamp in stamps:
        now = clock.tick(stamp)
        assert now > before if live else now >= before
        before = now

"""The Kalman filter of boxes, against the textbook's matrices and what must hold for any span of time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import expm

from visavis.video.motion import Motion, begun, boxes_of, moved, seen_at, surprise

HOW = Motion()
BOX = np.array([[100.0, 50, 160, 130]])


def matrices(t: float, push: float) -> tuple[np.ndarray, np.ndarray]:
    """Return transition and noise of value and speed over a time, by van Loan's method (1978)."""
    a = np.array([[0, 1], [0, -1 / HOW.fade]])
    block = np.block([[-a, np.array([[0, 0], [0, push]])], [np.zeros((2, 2)), a.T]]) * t
    power = expm(block)
    f = power[2:, 2:].T
    return f, f @ power[:2, 2:]


def scalar(state: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    return state[:2, k], np.array([[state[2, k], state[3, k]], [state[3, k], state[4, k]]])


def test_equals_the_textbooks_matrices() -> None:
    rng = np.random.default_rng(0)
    state, x, p = begun(BOX, HOW), None, None
    for _ in range(30):
        t = float(rng.choice([0.033, 0.04, 0.2, 1.3]))
        seen = boxes_of(state).astype(np.float64) + rng.normal(0, 2, 4)
        for k, (push, noise) in enumerate([(HOW.push, HOW.noise)] * 2 + [(HOW.size_push, HOW.size_noise)] * 2):
            ahead, after = moved(state, t, HOW), seen_at(moved(state, t, HOW), seen, HOW)
            x, p = scalar(state[0], k)
            f, q = matrices(t, (push * np.exp(state[0, 0, 3]) if k < 2 else push) ** 2)
            x, p = f @ x, f @ p @ f.T + q
            np.testing.assert_allclose(scalar(ahead[0], k)[0], x, rtol=1e-9, atol=1e-6)
            np.testing.assert_allclose(scalar(ahead[0], k)[1], p, rtol=1e-7)
            sides = seen[0, 2:] - seen[0, :2]
            z = [*(seen[0, :2] + seen[0, 2:]) / 2, *np.log(sides)][k]
            r = (noise * sides[1] if k < 2 else noise) ** 2
            gain = p[:, 0] / (p[0, 0] + r)
            np.testing.assert_allclose(scalar(after[0], k)[0], x + gain * (z - x[0]), rtol=1e-9, atol=1e-6)
            np.testing.assert_allclose(scalar(after[0], k)[1], p - np.outer(gain, p[0]), rtol=1e-6, atol=1e-9)
        state = after


def test_surprise_is_the_likelihood() -> None:
    """Of a normal distribution, as scipy has it."""
    from scipy.stats import multivariate_normal

    states = moved(begun(np.concatenate([BOX, BOX + 40]), HOW), 0.3, HOW)
    faces = np.array([[105.0, 55, 160, 140], [150, 90, 215, 160], [0, 0, 30, 30]])
    off, spread = surprise(states, faces, HOW)
    for j, state in enumerate(states):
        height = np.exp(state[0, 3])
        noise = np.array([HOW.noise * height] * 2 + [HOW.size_noise] * 2) ** 2
        model = multivariate_normal(state[0], np.diag(state[2] + noise))
        for i, box in enumerate(faces):
            z = [*(box[:2] + box[2:]) / 2, *np.log(box[2:] - box[:2])]
            twice = -2 * model.logpdf(z) - 4 * np.log(2 * np.pi)
            assert off[i, j] + spread[j] + 4 * np.log(height) == pytest.approx(twice)


spans = st.floats(0, 20)


@given(spans, spans)
def test_two_steps_are_one_step_of_both_times(first: float, second: float) -> None:
    start = begun(BOX, HOW)
    start[:, 1, :2] = [30, -20]  # the size stays, which the unit of length is taken from
    np.testing.assert_allclose(
        moved(moved(start, first, HOW), second, HOW), moved(start, first + second, HOW), rtol=1e-6, atol=1e-9
    )


@given(st.lists(st.tuples(st.lists(st.floats(-1e7, 1e7), min_size=4, max_size=4), st.floats(-5, 1e9)), max_size=8))
def test_any_boxes_at_any_times_stay_finite_and_upright(steps: list[tuple[list[float], float]]) -> None:
    state = begun(BOX, HOW)
    for box, time in steps:
        state = seen_at(moved(state, time, HOW), np.array([box]), HOW)
        found = boxes_of(moved(state, time, HOW))
        assert np.isfinite(state).all()
        assert np.isfinite(found).all()
        assert (found[:, 2:] >= found[:, :2]).all()
        assert (state[:, [2, 4]] >= 0).all()


def test_a_steady_walk_is_expected_where_it_goes() -> None:
    state = begun(BOX, HOW)
    for k in range(1, 30):
        state = seen_at(moved(state, 0.04, HOW), np.add(BOX, [5.0 * k, 0, 5.0 * k, 0]), HOW)
    ahead = boxes_of(moved(state, 0.08, HOW))[0]
    assert ahead[0] == pytest.approx(100 + 5 * 31, abs=2.5)
    assert ahead[1] == pytest.approx(50, abs=0.5)

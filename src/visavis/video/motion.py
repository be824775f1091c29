"""How faces move: a Kalman filter for many boxes at once, over any span of time.

A box is its center's x and y and the logarithms of its width and height, each moving by itself, with a speed that is
driven by white noise and fades away by itself (an Ornstein-Uhlenbeck process). So one face is a small array of plain
numbers, a step takes the time that passed as it is, and no box turns out empty or infinite. Lengths are in heights of
the face, so that near and far faces are treated alike.

Kalman: "A new approach to linear filtering and prediction problems", 1960. Singer, "Estimating optimal tracking filter
performance for manned maneuvering targets", 1970, has the same for accelerations that fade.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Motion", "States", "begun", "boxes_of", "moved", "seen_at", "surprise"]

States = npt.NDArray[np.float64]
"""``(n, 5, 4)``: value, speed, and the variances and covariance of the two, of x, y, log width and log height."""

_VALUE, _SPEED, _VALUE_VAR, _SHARED_VAR, _SPEED_VAR = range(5)
_LONGEST = 60.0  # seconds: further ahead nothing is known better
_LOG_SIDE = (-7.0, 17.0)  # sides of 0.001 to 24 million pixels


@dataclass(frozen=True)
class Motion:
    """What is assumed of faces; lengths in heights of the face. Chosen by benchmarks/tracking.py.

    Attributes
    ----------
    noise, size_noise
        Standard deviation of a detected center, and of the logarithm of a detected side.
    speed, size_speed
        Of the speed of a face seen for the first time, a second.
    push, size_push
        Standard deviation of what the speed gains in a second.
    fade
        Seconds in which a speed is expected to fall to a third.
    """

    noise: float = 0.05
    size_noise: float = 0.1
    speed: float = 2.0
    size_speed: float = 0.3
    push: float = 4.0
    size_push: float = 0.5
    fade: float = 0.5


def _measured(boxes: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return boxes ``(n, 4)`` as center and logarithms of the sides."""
    given = np.asarray(boxes, np.float64)
    sides = np.maximum(given[:, 2:] - given[:, :2], 1e-3)
    return np.concatenate([(given[:, :2] + given[:, 2:]) / 2, np.log(sides)], axis=1)


def _units(heights: npt.NDArray[np.float64], length: float, size: float) -> npt.NDArray[np.float64]:
    """Return variances ``(n, 4)`` of deviations given in heights, and of logarithms."""
    found = np.full((len(heights), 4), size * size)
    found[:, :2] = np.square(length * np.exp(heights))[:, None]
    return found


def begun(boxes: npt.ArrayLike, how: Motion) -> States:
    """Return the states of faces ``(n, 4)`` seen for the first time."""
    values = _measured(boxes)
    states = np.zeros((len(values), 5, 4))
    states[:, _VALUE] = values
    states[:, _VALUE_VAR] = _units(values[:, 3], how.noise, how.size_noise)
    states[:, _SPEED_VAR] = _units(values[:, 3], how.speed, how.size_speed)
    return states


def moved(states: States, seconds: npt.ArrayLike, how: Motion) -> States:
    """Return the states ``seconds`` later, ``(n,)`` or one for all; a time before counts as none."""
    t = np.clip(np.broadcast_to(np.asarray(seconds, np.float64), len(states)), 0, _LONGEST)[:, None]
    left = np.exp(-t / how.fade)  # of the speed
    way = how.fade * (1 - left)
    push = _units(states[:, _VALUE, 3], how.push, how.size_push)
    value_var, shared, speed_var = states[:, _VALUE_VAR], states[:, _SHARED_VAR], states[:, _SPEED_VAR]
    speed_gain = how.fade * (1 - left * left) / 2
    value_gain = np.maximum(how.fade * how.fade * (t - 2 * way + speed_gain), 0)
    after = np.empty_like(states)
    after[:, _VALUE] = states[:, _VALUE] + way * states[:, _SPEED]
    after[:, _VALUE, 2:] = np.clip(after[:, _VALUE, 2:], *_LOG_SIDE)
    after[:, _SPEED] = left * states[:, _SPEED]
    after[:, _VALUE_VAR] = value_var + 2 * way * shared + way * way * speed_var + push * value_gain
    after[:, _SHARED_VAR] = left * (shared + way * speed_var) + push * way * way / 2
    after[:, _SPEED_VAR] = left * left * speed_var + push * speed_gain
    return after


def seen_at(states: States, boxes: npt.ArrayLike, how: Motion) -> States:
    """Return states, moved to the time of ``boxes`` ``(n, 4)``, after the faces were seen there."""
    values = _measured(boxes)
    value_var, shared = states[:, _VALUE_VAR], states[:, _SHARED_VAR]
    total = value_var + _units(values[:, 3], how.noise, how.size_noise)
    gain, speed_gain = value_var / total, shared / total
    off = values - states[:, _VALUE]
    after = np.empty_like(states)
    after[:, _VALUE] = states[:, _VALUE] + gain * off
    after[:, _SPEED] = states[:, _SPEED] + speed_gain * off
    after[:, _VALUE_VAR] = (1 - gain) * value_var
    after[:, _SHARED_VAR] = (1 - gain) * shared
    after[:, _SPEED_VAR] = np.maximum(states[:, _SPEED_VAR] - speed_gain * shared, 0)
    return after


def surprise(states: States, boxes: npt.ArrayLike, how: Motion) -> tuple[npt.NDArray[np.float64], ...]:
    """Return how far each box ``(m, 4)`` is from where each state expects its face, and how little that says.

    Returns
    -------
    The squared deviation in standard deviations ``(m, n)``, whose mean is 4 for a face's own box, and the logarithm of
    the expected variance ``(n,)``, in heights of the face. Their sum is twice the negative logarithm of the likelihood,
    but for a constant.
    """
    values = _measured(boxes)
    heights = states[:, _VALUE, 3]
    total = states[:, _VALUE_VAR] + _units(heights, how.noise, how.size_noise)
    off = np.zeros((len(values), len(states)))
    for value, mean, variance in zip(
        values.T, states[:, _VALUE].T, total.T, strict=True
    ):  # hundreds of faces: no (m, n, 4)
        off += np.square(value[:, None] - mean) / variance
    return off, np.log(total).sum(axis=1) - 4 * heights


def boxes_of(states: States) -> npt.NDArray[np.float32]:
    """Return the boxes ``(n, 4)`` that states stand for."""
    values = states[:, _VALUE]
    half = np.exp(np.clip(values[:, 2:], *_LOG_SIDE)) / 2
    return np.concatenate([values[:, :2] - half, values[:, :2] + half], axis=1).astype(np.float32)

"""The settings that every detector takes, checked in one place."""

from __future__ import annotations

from numbers import Real
from typing import Any

from visavis.errors import InputError

__all__ = ["checked_min_face", "checked_score", "is_number"]


def is_number(value: Any) -> bool:
    """Return whether a setting is a number; a truth value is none, and a word may come from the command line."""
    return isinstance(value, Real) and not isinstance(value, bool)


def checked_score(score: float) -> float:
    """Return the least score of a face; `InputError` unless it lies above 0 and up to 1."""
    if not (is_number(score) and 0 < score <= 1):
        raise InputError(f"the detector's score lies in 0..1, not {score!r}")
    return score


def checked_min_face(min_face: float | None) -> float | None:
    """Return the height in pixels of the smallest face; `InputError` unless it is None or 5 to 2000."""
    if min_face is not None and not (is_number(min_face) and 5 <= min_face <= 2000):
        raise InputError(f"min_face is a height in pixels, 5 to 2000, not {min_face!r}")
    return min_face

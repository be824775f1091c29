"""Moments as databases keep them: microseconds since 1970 in UTC."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

__all__ = ["from_micros", "micros_now", "to_micros"]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def micros_now() -> int:
    """Return the time, as microseconds since 1970 in UTC."""
    return to_micros(datetime.now(timezone.utc))


def to_micros(moment: datetime) -> int:
    """Return a moment as microseconds since 1970 in UTC."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def from_micros(value: int) -> datetime:
    """Return the UTC moment that lies ``value`` microseconds after 1970 began."""
    return _EPOCH + timedelta(microseconds=value)

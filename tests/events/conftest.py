"""What tests of stores of events share: a place for one, on either kind of database, and visits to fill it with."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from visavis.events.event import Event

START = datetime(2026, 5, 1, 8, tzinfo=timezone.utc)


@pytest.fixture(params=["file", "server"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return where to open a store: a file, and a PostgreSQL server."""
    if request.param == "file":
        return str(tmp_path / "events.db")
    address: str = request.getfixturevalue("postgres")
    return address


@pytest.fixture
def visit() -> Callable[..., list[Event]]:
    """Return a function that makes a visit's events: it appears, gets names one after the other, and leaves."""

    def make(
        run: str, track: int, *names: str, camera: str = "door", at: float = 0.0, left: bool = True
    ) -> list[Event]:
        def event(kind: str, after: float, **more: object) -> Event:
            moment = START + timedelta(seconds=at + after)
            return Event(kind, camera, moment, run, track, **more)  # type: ignore[arg-type]

        events = [event("appeared", 0)]
        for number, name in enumerate(names):
            corrected = names[number - 1] if number else None
            events.append(event("identified", number + 1, subject=name, similarity=0.6, corrects=corrected))
        if left:
            last = names[-1] if names else None
            events.append(event("left", len(names) + 1, subject=last, seconds=len(names) + 1.0))
        return events

    return make

"""An event: what happened before a camera, when, and to whom."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime, timezone
from typing import Any, Literal, get_args

from visavis.errors import InputError
from visavis.names import checked_name

__all__ = ["KINDS", "Event", "EventKind"]

EventKind = Literal["appeared", "identified", "unknown", "left", "line_crossed", "dwell", "camera_lost", "camera_back"]
KINDS: tuple[EventKind, ...] = get_args(EventKind)
"""Kinds of events, in the order in which a visit makes them."""


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    Attributes
    ----------
    kind
        ``appeared``: a face is followed from here on. ``identified``: it has a name, or another one than before
        (``corrects``). ``unknown``: it was seen well enough, and is nobody enrolled; also where its name is taken back
        (``corrects``). ``left``: it was not seen for a while. ``line_crossed`` and ``dwell``: see ``place``.
        ``camera_lost``, ``camera_back``: of the camera itself.
    camera
        The camera's name; of a file, its path.
    time
        UTC.
    run, track
        A start of the camera, and the track in it: together they name a visit for ever.
    subject
        Who, as enrolled; None where no name is known (yet).
    similarity, fmr
        Mean similarity of the track's looks with that subject's nearest template, and the FMR measured at it, which is
        an upper bound here (docs/identity.md); None where there is no subject or the model was not calibrated.
    offset_s
        Seconds since the first frame.
    box
        x1, y1, x2, y2 of the face in pixels of the upright frame.
    place, direction
        Name of the line or zone; for a line the side to which it was crossed: ``left`` or ``right`` of its direction.
    seconds
        For ``dwell`` how long the face has been in the zone, for ``left`` how long the visit was.
    corrects
        The name given before, which was wrong.
    snapshot
        Name of the picture kept of it, in the folder of snapshots.
    detail
        What was wrong with a camera.
    id
        32 hexadecimal digits, made here: whoever gets an event twice knows it by them.

    Examples
    --------
    >>> event = Event("identified", "door", datetime(2026, 5, 1, 8, tzinfo=timezone.utc), subject="ada", id="0" * 32)
    >>> event.to_dict()["time"], Event.from_dict(event.to_dict()) == event
    ('2026-05-01T08:00:00.000000Z', True)
    """

    kind: EventKind
    camera: str
    time: datetime
    run: str = ""
    track: int | None = None
    subject: str | None = None
    similarity: float | None = None
    fmr: float | None = None
    offset_s: float | None = None
    box: tuple[float, float, float, float] | None = None
    place: str | None = None
    direction: str | None = None
    seconds: float | None = None
    corrects: str | None = None
    snapshot: str | None = None
    detail: str | None = None
    id: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"an event is one of {', '.join(KINDS)}, not {self.kind!r}")
        if self.time.tzinfo is None:
            raise InputError("an event's time needs its time zone; times are UTC")
        for field in ("subject", "corrects"):
            if getattr(self, field) is not None:
                object.__setattr__(self, field, checked_name(getattr(self, field)))
        object.__setattr__(self, "time", self.time.astimezone(timezone.utc))
        object.__setattr__(self, "id", self.id or secrets.token_hex(16))

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that are known, as JSON has them; times as RFC 3339, UTC, to the microsecond."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        found["time"] = self.time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        found["box"] = None if self.box is None else [round(value, 1) for value in self.box]
        return {name: value for name, value in found.items() if value not in (None, "")}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Event:
        """Return the event that `to_dict` wrote; `InputError` where that is not one."""
        try:
            known = {field.name: values[field.name] for field in fields(cls) if field.name in values}
            known["time"] = datetime.strptime(known["time"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
            if "box" in known:
                x1, y1, x2, y2 = map(float, known["box"])
                known["box"] = (x1, y1, x2, y2)
            return cls(**known)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"this is no event: {error}") from None

    def with_snapshot(self, name: str | None) -> Event:
        """Return the event with the name of its picture, or without one."""
        return replace(self, snapshot=name)

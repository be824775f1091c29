"""Rules: who is told of which event, when, and in what words. Pure functions of an event, a time and what was sent."""

from __future__ import annotations

import difflib
import re
import string
import zoneinfo
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone, tzinfo
from fnmatch import fnmatchcase
from typing import Literal, TypeAlias

from visavis.errors import InputError
from visavis.events.event import Event, EventKind
from visavis.names import checked_name
from visavis.settings import Seconds

__all__ = ["FIELDS", "Cooling", "Rule", "Rules", "Span", "Topic", "filled_in", "unenrolled"]

Topic: TypeAlias = tuple[str, str | None, str]
"""What a cool-down is about: a rule's name, a subject (None: whoever has no name), a camera."""

Cooling: TypeAlias = Mapping[Topic, datetime]
"""When a rule last sent something about a topic."""

FIELDS = (
    *("who", "camera", "place", "kind", "date", "time", "rule", "similarity", "fmr", "seconds", "direction"),
    *("corrects", "detail"),
)
"""What titles and messages may name in braces."""

When = Literal[EventKind, "any"]

_WORDS = ("anyone", "known", "unknown")
_WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY = 24 * 60
_SPAN = re.compile(r"(\d{1,2}):(\d{2})\s*[-–]\s*(\d{1,2}):(\d{2})", re.ASCII)
_LONGEST_TEXT = 1000
_MOST_RULES = 1000

# What is said where a rule says nothing: a title and a message for each kind.
_SAID: dict[EventKind, tuple[str, str]] = {
    "appeared": ("Somebody at {camera}", "{date} {time}"),
    "identified": ("{who} at {camera}", "{date} {time}"),
    "unknown": ("Somebody unknown at {camera}", "{date} {time}"),
    "left": ("{who} left {camera}", "{date} {time}, after {seconds} s"),
    "line_crossed": ("{who} crossed {place} at {camera}", "{date} {time}, to the {direction}"),
    "dwell": ("{who} stays in {place} at {camera}", "{date} {time}, for {seconds} s"),
    "camera_lost": ("No pictures from {camera}", "{date} {time} {detail}"),
    "camera_back": ("Pictures from {camera} again", "{date} {time}"),
}


@dataclass(frozen=True)
class Span:
    """Hours of the day, in minutes since midnight: from ``start`` until before ``end``, over midnight if that is less.

    Examples
    --------
    >>> Span.parse("22:00-06:00")
    Span(start=1320, end=360)
    """

    start: int
    end: int

    @classmethod
    def parse(cls, text: str) -> Span:
        """Return the span of a text such as ``"22:00-06:00"``; ``24:00`` may end one."""
        found = _SPAN.fullmatch(text.strip())
        hours = f"hours are written as '08:00-18:30' or, over midnight, '22:00-06:00', not {text!r}"
        if found is None:
            raise InputError(hours)
        start, end = (60 * int(found[i]) + int(found[i + 1]) for i in (1, 3))
        if start >= _DAY or end > _DAY or int(found[2]) > 59 or int(found[4]) > 59:
            raise InputError(hours)
        if start == end:
            raise InputError(f"{text!r} is no time at all; leave it out to mean the whole day")
        return cls(start, end)

    def holds(self, minute: int, today: bool = True, yesterday: bool = True) -> bool:
        """Return whether a minute of the day lies in it, if it may begin ``today`` or may have begun ``yesterday``."""
        if self.start < self.end:
            return today and self.start <= minute < self.end
        return (today and minute >= self.start) or (yesterday and minute < self.end)


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Whom to tell of what: a ``[[rule]]`` of the settings. docs/notifications.md says what each key means.

    Attributes
    ----------
    name
        Its own, among the rules.
    to
        Names of targets.
    who
        Subjects, or ``anyone``, ``known``, ``unknown``.
    where
        Names of cameras, lines and zones; ``*``, ``?`` and ``[...]`` as in a shell.
    when
        Kinds of events, or ``any``.
    hours, days, timezone
        When it is in force, by the clock on the wall there; None: of this machine. Hours over midnight belong to the
        day on which they begin.
    cool_down
        Seconds of an event's time for which it says nothing more about the same subject at the same camera.
    quiet
        Hours in which it sends nothing.
    title, message
        With names of `FIELDS` in braces.
    snapshot
        Whether the picture goes with it.
    """

    name: str
    to: tuple[str, ...]
    who: tuple[str, ...] = ("anyone",)
    where: tuple[str, ...] = ("*",)
    when: tuple[When, ...] = ("identified", "unknown")
    hours: tuple[str, ...] = ()
    days: tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...] = ()
    timezone: str | None = None
    cool_down: Seconds = 0.0
    quiet: tuple[str, ...] = ()
    title: str | None = None
    message: str | None = None
    snapshot: bool = False
    spans: tuple[Span, ...] = field(init=False, repr=False)
    silent: tuple[Span, ...] = field(init=False, repr=False)
    zone: tzinfo | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        checked_name(self.name, "a rule's name")
        for key in ("to", "who", "where", "when"):
            if not getattr(self, key):
                raise InputError(f"{key} is an empty list, so nobody would ever be told")
        who = tuple(checked_name(who) for who in self.who)
        if set(who) == {"unknown"} and set(self.when) == {"appeared"}:
            raise InputError(
                'this never happens: who has just appeared may be anybody; with who = "unknown", when = "unknown"'
            )
        if not 0 <= self.cool_down <= 366 * 86400:
            raise InputError("cool_down must be at most a year")
        for text in (self.title, self.message):
            if text is not None:
                filled_in(text, dict.fromkeys(FIELDS, ""))
        object.__setattr__(self, "who", who)
        object.__setattr__(self, "spans", tuple(map(Span.parse, self.hours)))
        object.__setattr__(self, "silent", tuple(map(Span.parse, self.quiet)))
        object.__setattr__(self, "zone", _zone(self.timezone))

    def fits(self, event: Event) -> bool:
        """Return whether it is about such an event, whatever was sent before and whatever the time is now."""
        return (
            ("any" in self.when or event.kind in self.when)
            and any(_is(event, who) for who in self.who)
            and any(_at(event, where) for where in self.where)
            and self._in_force(event.time.astimezone(self.zone))
        )

    def is_quiet(self, now: datetime) -> bool:
        """Return whether these are quiet hours."""
        minute = _minute(now.astimezone(self.zone))
        return any(span.holds(minute) for span in self.silent)

    def quiet_until(self, now: datetime) -> datetime | None:
        """Return when the quiet hours end that it is in; None outside of them, and where they never end."""
        if not self.is_quiet(now):
            return None
        start = now.astimezone(timezone.utc).replace(second=0, microsecond=0)
        minutes = (start + timedelta(minutes=i) for i in range(1, 2 * _DAY))
        return next((minute for minute in minutes if not self.is_quiet(minute)), None)

    def topic(self, event: Event) -> Topic:
        """Return what a cool-down after this event is about."""
        return self.name, event.subject, event.camera

    def words(self, event: Event) -> tuple[str, str]:
        """Return the title and the message about an event."""
        title, message = _SAID[event.kind]
        if self.message is not None:
            title, message = self.name, self.message
        values = self._values(event)
        return filled_in(title if self.title is None else self.title, values), filled_in(message, values)

    def _in_force(self, local: datetime) -> bool:
        days = [not self.days or _WEEK[(local.weekday() - back) % 7] in self.days for back in (0, 1)]
        return any(span.holds(_minute(local), *days) for span in self.spans) if self.spans else days[0]

    def _values(self, event: Event) -> dict[str, str]:
        local = event.time.astimezone(self.zone)
        return {
            "who": event.subject or ("somebody unknown" if event.kind == "unknown" else "somebody"),
            "camera": event.camera,
            "place": event.place or "",
            "kind": event.kind,
            "date": f"{local:%Y-%m-%d}",
            "time": f"{local:%H:%M:%S}",
            "rule": self.name,
            "similarity": "" if event.similarity is None else f"{event.similarity:.2f}",
            "fmr": "" if event.fmr is None else f"{event.fmr:.2g}",
            "seconds": "" if event.seconds is None else f"{event.seconds:.0f}",
            "direction": event.direction or "",
            "corrects": event.corrects or "",
            "detail": event.detail or "",
        }


@dataclass(frozen=True)
class Rules:
    """The rules of a watch, in the order of the file.

    Examples
    --------
    >>> rules = Rules((Rule(name="visitors", who=("unknown",), to=("phone",), cool_down=600),))
    >>> now = datetime(2026, 5, 1, 8, tzinfo=timezone.utc)
    >>> event = Event("unknown", "door", now, track=1)
    >>> rules.targets(event, now, {})
    ('phone',)
    >>> rules.targets(event, now, {("visitors", None, "door"): now - timedelta(minutes=5)})
    ()
    """

    rules: tuple[Rule, ...] = ()

    def __post_init__(self) -> None:
        names = [rule.name for rule in self.rules]
        if len(names) > _MOST_RULES:
            raise InputError(f"there are {len(names)} rules; {_MOST_RULES} is the limit")
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"two rules are named {name!r}; each needs a name of its own")

    def fired(self, event: Event, now: datetime, cooling: Cooling) -> tuple[Rule, ...]:
        """Return the rules that send an event now.

        Parameters
        ----------
        now
            Decides about quiet hours; ``hours``, ``days`` and cool-downs go by the event's time.
        cooling
            What was sent before: keys are `Rule.topic`, values times of events.
        """
        return tuple(
            rule
            for rule in self.rules
            if rule.fits(event) and not rule.is_quiet(now) and not _cools(rule, event, cooling)
        )

    def targets(self, event: Event, now: datetime, cooling: Cooling) -> tuple[str, ...]:
        """Return the names of the targets that get an event now, each once: see `fired`."""
        return tuple(dict.fromkeys(target for rule in self.fired(event, now, cooling) for target in rule.to))

    def behind(self, event: Event, target: str, now: datetime) -> Rule | None:
        """Return the rule in whose words a target is told of an event: the first that fits, and is not quiet.

        Where all that fit are quiet now, it is one of those; None where none fits (any more).
        """
        fitting = [rule for rule in self.rules if target in rule.to and rule.fits(event)]
        return next((rule for rule in fitting if not rule.is_quiet(now)), fitting[0] if fitting else None)

    @property
    def longest_cool_down(self) -> timedelta:
        """How far back what was sent still counts."""
        return timedelta(seconds=max((rule.cool_down for rule in self.rules), default=0.0))

    def check_targets(self, names: Collection[str]) -> None:
        """Raise `InputError` if a rule sends to a target that isn't there."""
        for rule in self.rules:
            for name in rule.to:
                if name not in names:
                    raise InputError(f"rule {rule.name!r}: there is no target {name!r}{_nearest(name, names)}")

    def check_places(self, names: Collection[str]) -> None:
        """Raise `InputError` if a rule is about a place that is neither a camera nor a line or zone of one."""
        for rule in self.rules:
            for where in rule.where:
                if not any(_matches(name, where) for name in names):
                    what = "camera, line or zone"
                    raise InputError(f"rule {rule.name!r}: there is no {what} {where!r}{_nearest(where, names)}")


def unenrolled(rules: Rules, names: Collection[str]) -> tuple[str, ...]:
    """Return a warning for each person that a rule waits for and who isn't enrolled.

    Examples
    --------
    >>> unenrolled(Rules((Rule(name="friends", who=("adda",), to=("phone",)),)), ["ada", "grace"])
    ("rule 'friends' waits for 'adda', who isn't enrolled; did you mean 'ada'?",)
    """
    return tuple(
        f"rule {rule.name!r} waits for {who!r}, who isn't enrolled{_nearest(who, names, listed=False)}"
        for rule in rules.rules
        for who in rule.who
        if who not in _WORDS and who not in names
    )


def filled_in(template: str, values: Mapping[str, str]) -> str:
    """Return a text with the values of the names in braces; nothing else of Python's formats is understood.

    Raises
    ------
    InputError
        If a name is unknown, or a brace stands alone.

    Examples
    --------
    >>> filled_in("{who} at {camera}", {"who": "ada", "camera": "door"})
    'ada at door'
    """
    if len(template) > _LONGEST_TEXT:
        raise InputError(f"a message of {len(template)} characters is too long; {_LONGEST_TEXT} is the limit")
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError:
        raise InputError(f"a brace stands alone in {template!r}; write it twice to mean the brace itself") from None
    for _, name, form, conversion in parts:
        if name is not None and (form or conversion):
            raise InputError(f"nothing but a name may stand in braces: {{{name}}}")
        if name is not None and name not in values:
            near = difflib.get_close_matches(name, values, 1)
            hint = f"did you mean {{{near[0]}}}?" if near else f"there are {', '.join(f'{{{key}}}' for key in values)}"
            raise InputError(f"nothing is called {{{name}}}; {hint}")
    return "".join(text + (values[name] if name is not None else "") for text, name, _, _ in parts)


def _is(event: Event, who: str) -> bool:
    if who == "anyone":
        return True
    if who == "known":
        return event.subject is not None
    if who == "unknown":  # who has just appeared was not looked at yet; and cameras are nobody
        return event.subject is None and event.track is not None and event.kind != "appeared"
    return event.subject == who


def _at(event: Event, where: str) -> bool:
    return _matches(event.camera, where) or (event.place is not None and _matches(event.place, where))


def _matches(name: str, pattern: str) -> bool:
    return name == pattern or fnmatchcase(name, pattern)


def _cools(rule: Rule, event: Event, cooling: Cooling) -> bool:
    # Events of several sources arrive slightly out of order, and a clock may be set back: the time between counts.
    sent = cooling.get(rule.topic(event))
    return sent is not None and abs(event.time - sent) < timedelta(seconds=rule.cool_down)


def _minute(local: datetime) -> int:
    return 60 * local.hour + local.minute


def _zone(name: str | None) -> tzinfo | None:
    """Return a time zone of the IANA database; None is the machine's own."""
    if name is None:
        return None
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):  # OSError: the name of a folder of zones
        zones = zoneinfo.available_timezones()
        hint = _nearest(name, zones, listed=False) or "; an example is 'Europe/Berlin'"
        missing = "" if zones else ", as this system has none; pip install tzdata"
        raise InputError(f"there is no time zone {name!r}{missing or hint}") from None


def _nearest(name: str, known: Iterable[str], *, listed: bool = True) -> str:
    known = sorted(known)
    near = difflib.get_close_matches(name, known, 1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; there are {', '.join(map(repr, known[:10]))}" if known and listed else ""

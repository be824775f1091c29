"""Rules: who is told of what, and when, by the clock on the wall."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visavis.errors import InputError
from visavis.events.event import KINDS, Event
from visavis.events.rules import FIELDS, Rule, Rules, Span, filled_in, unenrolled

UTC = timezone.utc
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)  # a Friday
BERLIN = ZoneInfo("Europe/Berlin")


def event(kind="identified", camera="door", time=NOON, track=1, **fields):
    subject = {"subject": "ada"} if kind == "identified" else {}
    return Event(kind, camera, time, "run", track, **{**subject, **fields})


def rule(**fields):
    return Rule(**{"name": "rule", "to": ("phone",), **fields})


def lost(**fields):
    return event("camera_lost", track=None, detail="no route to host", **fields)


# ---- who, where, when


@pytest.mark.parametrize(
    ("who", "told"),
    [
        ("anyone", {"identified", "unknown", "left", "left of ada", "appeared", "camera_lost"}),
        ("known", {"identified", "left of ada"}),
        ("unknown", {"unknown", "left"}),
        ("ada", {"identified", "left of ada"}),
        ("bob", set()),
    ],
)
def test_who(who, told):
    happened = {
        "identified": event(),
        "unknown": event("unknown"),
        "left": event("left"),
        "left of ada": event("left", subject="ada"),
        "appeared": event("appeared"),
        "camera_lost": lost(),
    }
    asked = rule(who=(who,), when=("any",))
    assert {name for name, one in happened.items() if asked.fits(one)} == told


def test_a_rule_that_says_nothing_tells_who_came_and_nothing_else():
    assert [kind for kind in KINDS if rule().fits(event(kind))] == ["identified", "unknown"]


def test_names_are_compared_in_their_composed_form():
    assert rule(who=("Zoe\u0308",)).fits(event(subject="Zo\u00eb"))


@pytest.mark.parametrize(
    ("where", "camera", "place", "told"),
    [
        ("door", "door", None, True),
        ("door", "front door", None, False),
        ("*door", "front door", None, True),
        ("gate", "yard", "gate", True),
        ("yard", "yard", "gate", True),
        ("Door", "door", None, False),
        ("films/[1].mp4", "films/[1].mp4", None, True),
        ("cam?", "cam1", None, True),
    ],
)
def test_where(where, camera, place, told):
    assert rule(where=(where,), when=("any",)).fits(event("line_crossed", camera=camera, place=place)) is told


# ---- hours, days, quiet hours


def test_hours_over_midnight_belong_to_the_day_on_which_they_begin():
    night = rule(hours=("22:00-06:00",), days=("fri",), timezone="UTC")
    friday = NOON.replace(hour=0)
    told = [hour for hour in range(72) if night.fits(event(time=friday + timedelta(hours=hour)))]
    assert told == list(range(22, 30))


def test_days_without_hours_go_from_midnight_to_midnight_there():
    friday = rule(days=("fri",), timezone="Asia/Tokyo")
    start = datetime(2026, 4, 30, tzinfo=UTC)
    told = [hour for hour in range(72) if friday.fits(event(time=start + timedelta(hours=hour)))]
    assert told == list(range(15, 39))  # Tokyo is 9 hours ahead


def test_the_end_of_hours_is_not_among_them():
    lunch = rule(hours=("12:00-13:00", "20:00-24:00"), timezone="UTC")
    at = {text: lunch.fits(event(time=NOON.replace(hour=int(text[:2]), minute=int(text[3:])))) for text in (
        "11:59", "12:00", "12:59", "13:00", "19:59", "20:00", "23:59", "00:00",
    )}  # fmt: skip
    assert [text for text, told in at.items() if told] == ["12:00", "12:59", "20:00", "23:59"]


minutes = st.integers(0, 24 * 60 - 1)


def clock(minute):
    return f"{minute // 60:02}:{minute % 60:02}"


@given(
    minutes,
    minutes,
    st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC"]),
    st.datetimes(datetime(2025, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC)),
)
def test_hours_go_by_the_clock_on_the_wall_whatever_it_is_set_to(start, end, zone, moment):
    if start == end:
        return
    wall = moment.astimezone(ZoneInfo(zone)).strftime("%H:%M")  # as text, hours of a day are in their order
    first, last = clock(start), clock(end)
    inside = first <= wall < last if first < last else wall >= first or wall < last
    assert rule(hours=(f"{first}-{last}",), timezone=zone).fits(event(time=moment)) is inside
    assert rule(quiet=(f"{first}-{last}",), timezone=zone).is_quiet(moment) is inside


def test_hours_when_the_clock_is_put_forward_and_back():
    night = rule(hours=("02:00-03:00",), timezone="Europe/Berlin")

    def told(day):
        start = datetime(2026, *day, tzinfo=BERLIN).astimezone(UTC)
        return sum(night.fits(event(time=start + timedelta(minutes=i))) for i in range(20 * 60))

    assert told((3, 28)) == 60
    assert told((3, 29)) == 0  # that hour is left out
    assert told((10, 25)) == 120  # and here it comes twice


@given(minutes, minutes, st.datetimes(datetime(2026, 3, 28), datetime(2026, 3, 30), timezones=st.just(UTC)))
def test_quiet_hours_end_at_the_first_minute_that_is_not_quiet(start, end, now):
    if start == end:
        return
    silent = rule(quiet=(f"{clock(start)}-{clock(end)}",), timezone="Europe/Berlin")
    until = silent.quiet_until(now)
    assert (until is not None) == silent.is_quiet(now)
    if until is not None:
        assert now < until
        assert not silent.is_quiet(until)
        assert silent.is_quiet(until - timedelta(minutes=1))


def test_quiet_hours_go_by_the_time_of_sending_and_hours_by_that_of_the_event():
    rules = Rules((rule(hours=("08:00-18:00",), quiet=("23:00-07:00",), timezone="UTC"),))
    assert rules.targets(event(), NOON, {}) == ("phone",)
    assert rules.targets(event(), NOON.replace(hour=23), {}) == ()
    assert rules.targets(event(time=NOON.replace(hour=7)), NOON, {}) == ()


def test_quiet_hours_that_never_end_have_no_end():
    assert rule(quiet=("00:00-12:00", "12:00-24:00")).quiet_until(NOON) is None


# ---- cool-down


def sent_of(rules, happened):
    """Return which events are sent, by a plain replay."""
    cooling, sent = {}, []
    for one in happened:
        for fired in rules.fired(one, one.time, cooling):
            cooling[fired.topic(one)] = one.time
            sent.append(one)
    return sent


def test_a_cool_down_is_counted_from_what_was_sent_and_not_from_what_was_kept_back():
    happened = [event(time=NOON + timedelta(minutes=4 * i)) for i in range(7)]
    sent = sent_of(Rules((rule(cool_down=600),)), happened)
    assert [(one.time - NOON).seconds // 60 for one in sent] == [0, 12, 24]


def test_each_rule_person_and_camera_cools_down_by_itself():
    happened = [
        event(),
        event(subject="bob"),
        event(camera="yard"),
        event("unknown"),
        event("unknown", track=2),
        event(),
    ]
    rules = Rules((rule(cool_down=600), rule(name="other", cool_down=600, who=("ada",), where=("door",))))
    assert sent_of(rules, happened) == [happened[0], *happened[:4]]


@given(st.lists(st.tuples(st.integers(0, 5000), st.sampled_from("ab"), st.sampled_from("xy"))), st.integers(1, 900))
def test_no_two_notices_of_one_topic_are_closer_than_the_cool_down(times, cool_down):
    happened = [event(time=NOON + timedelta(seconds=s), subject=who, camera=where) for s, who, where in sorted(times)]
    sent = sent_of(Rules((rule(cool_down=cool_down),)), happened)
    for one in happened:
        near = [
            other
            for other in sent
            if (other.subject, other.camera) == (one.subject, one.camera)
            and abs(other.time - one.time) < timedelta(seconds=cool_down)
        ]
        assert near == [one] if one in sent else near  # kept back only for one that was sent


def test_a_clock_put_back_by_a_day_silences_nobody():
    cooling = {("rule", "ada", "door"): NOON + timedelta(days=1)}
    assert Rules((rule(cool_down=600),)).targets(event(), NOON, cooling) == ("phone",)


def test_a_target_of_several_rules_is_told_once():
    rules = Rules((rule(to=("phone", "mail")), rule(name="second", to=("mail", "log"))))
    assert rules.targets(event(), NOON, {}) == ("phone", "mail", "log")


# ---- words


def test_words_by_rule_and_by_default():
    crossed = event("line_crossed", place="gate", direction="left", subject="ada", similarity=0.712, fmr=1e-5)
    assert rule(timezone="Europe/Berlin").words(crossed) == (
        "ada crossed gate at door",
        "2026-05-01 14:00:00, to the left",
    )
    own = rule(message="{who} ({similarity}, FMR {fmr}) {{{kind}}}", timezone="UTC")
    assert own.words(crossed) == ("rule", "ada (0.71, FMR 1e-05) {line_crossed}")
    assert replace(own, title="{camera}").words(crossed)[0] == "door"
    assert rule(timezone="UTC").words(lost()) == ("No pictures from door", "2026-05-01 12:00:00 no route to host")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_words(kind):
    title, message = rule().words(event(kind, place="gate", seconds=3.2, direction="left"))
    assert title
    assert message
    assert "{" not in title + message


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        ("{wo} came", r"nothing is called \{wo\}; did you mean \{who\}\?"),
        ("{who.__class__}", r"nothing is called \{who.__class__\}; "),
        ("{0}", r"nothing is called \{0\}"),
        ("{}", r"nothing is called \{\}"),
        ("{who!r}", "nothing but a name may stand in braces"),
        ("{who:>999999999}", "nothing but a name may stand in braces"),
        ("{who", "a brace stands alone"),
        ("}", "a brace stands alone"),
        ("x" * 1001, "1001 characters is too long"),
    ],
)
def test_messages_that_can_not_be_filled_in(message, problem):
    with pytest.raises(InputError, match=problem):
        rule(message=message)


@given(st.text(max_size=40), st.text(max_size=20))
def test_templates_are_filled_in_or_refused_and_values_are_never_read_as_templates(template, value):
    try:
        found = filled_in(template, dict.fromkeys(FIELDS, value))
    except InputError:
        return
    assert "{{" in template or "}}" in template or found == template or value in found
    assert filled_in("{who}", {"who": "{camera}"}) == "{camera}"


# ---- mistakes


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"hours": ("8-18",)}, "hours are written as '08:00-18:30'"),
        ({"hours": ("24:00-06:00",)}, "hours are written as"),
        ({"hours": ("08:60-09:00",)}, "hours are written as"),
        ({"quiet": ("08:00-08:00",)}, "no time at all; leave it out"),
        ({"timezone": "Europe/Berln"}, "no time zone 'Europe/Berln'; did you mean 'Europe/Berlin'"),
        ({"timezone": "Europe"}, "no time zone 'Europe'"),
        ({"timezone": "../../etc/passwd"}, "no time zone"),
        ({"timezone": ""}, "no time zone"),
        ({"who": ("unknown",), "when": ("appeared",)}, "this never happens"),
        ({"to": ()}, "to is an empty list"),
        ({"who": ()}, "who is an empty list"),
        ({"who": ("a\nb",)}, "control characters"),
        ({"name": ""}, "a rule's name"),
        ({"cool_down": -1}, "cool_down"),
        ({"cool_down": float("inf")}, "cool_down"),
    ],
)
def test_rules_that_make_no_sense(fields, problem):
    with pytest.raises(InputError, match=problem):
        rule(**fields)


def test_two_rules_of_one_name_are_refused():
    with pytest.raises(InputError, match="two rules are named 'rule'"):
        Rules((rule(), rule()))


def test_a_target_or_place_that_is_not_there_is_named_with_the_nearest():
    rules = Rules((rule(where=("dor",)),))
    rules.check_targets(["phone"])
    with pytest.raises(InputError, match="rule 'rule': there is no target 'phone'; did you mean 'phones'"):
        rules.check_targets(["phones", "mail"])
    with pytest.raises(InputError, match="no camera, line or zone 'dor'; did you mean 'door'"):
        rules.check_places(["door", "yard"])
    Rules((rule(where=("d*",)),)).check_places(["door"])
    with pytest.raises(InputError, match="no camera, line or zone 'x\\*'; there are 'door'"):
        Rules((rule(where=("x*",)),)).check_places(["door"])


def test_who_is_not_enrolled_is_told_with_the_nearest_name():
    rules = Rules((rule(who=("ada", "bbo", "unknown")), rule(name="all")))
    assert unenrolled(rules, ["ada", "bob"]) == (
        "rule 'rule' waits for 'bbo', who isn't enrolled; did you mean 'bob'?",
    )
    assert unenrolled(rules, []) == (
        "rule 'rule' waits for 'ada', who isn't enrolled",
        "rule 'rule' waits for 'bbo', who isn't enrolled",
    )


@given(st.text(max_size=12))
def test_spans_are_read_or_refused(text):
    try:
        span = Span.parse(text)
    except InputError:
        return
    assert 0 <= span.start < 24 * 60
    assert 0 <= span.end <= 24 * 60

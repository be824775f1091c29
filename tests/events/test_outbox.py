"""The outbox: nothing is lost and nothing sent twice, whatever is down, locked, full or killed."""

from __future__ import annotations

import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from events.receivers import free_port, mqtt_broker, web_server
from visavis.errors import DeliveryError
from visavis.events import courier
from visavis.events.courier import Backoff
from visavis.events.event import Event
from visavis.events.outbox import Outbox
from visavis.events.rules import Rule, Rules
from visavis.events.store import open_events
from visavis.events.targets.base import Target
from visavis.events.targets.files import JsonlFile
from visavis.events.targets.mqtt import Mqtt
from visavis.events.targets.webhook import Webhook

UTC = timezone.utc
SOON = Backoff(first=0.02, most=0.05)
ALL = {"when": ("any",)}


def event(number=0, subject="ada", camera="door", **fields):
    moment = datetime.now(UTC) - timedelta(minutes=1) + timedelta(milliseconds=number)
    return Event("identified", camera, moment, "run", number, subject, **fields)


def rules(*targets, **fields):
    return Rules((Rule(**{"name": "rule", "to": targets, **ALL, **fields}),))


def until(done):
    end = time.monotonic() + 30
    while not done():
        assert time.monotonic() < end
        time.sleep(0.01)


def delivered(outbox, store):
    """Wait until all that was put is kept, and sent or given up."""
    assert outbox.flush(30)
    until(lambda: not store.pending())


def keys(requests):
    return [request.headers["Idempotency-Key"] for request in requests]


@pytest.fixture
def store(tmp_path):
    with open_events(tmp_path / "events.db") as opened:
        yield opened


class Broken(Target):
    """A target whose library fails in a way that nobody foresaw."""

    where = "broken"

    def __init__(self, failures):
        super().__init__()
        self.left, self.sent = failures, []

    def send(self, notice):
        if self.left:
            self.left -= 1
            raise KeyError("hunter2")
        self.sent.append(notice)


# ---- delivering


def test_each_target_gets_each_event_once_in_order_and_is_marked(store, tmp_path):
    happened = [event(i) for i in range(30)]
    with web_server() as server, mqtt_broker() as broker:
        targets = {
            "hook": Webhook(webhook=server.url),
            "mqtt": Mqtt(mqtt=f"mqtt://127.0.0.1:{broker.port}/x"),
            "file": JsonlFile(jsonl=str(tmp_path / "events.jsonl")),
        }
        with Outbox(store, targets, rules(*targets)) as outbox:
            for one in happened:
                outbox.put(one)
                outbox.put(one)  # whoever says it twice
            delivered(outbox, store)
            assert {status.sent for status in outbox.status()} == {30}
    ids = [one.id for one in happened]
    assert keys(server.requests) == ids
    assert [line.split('"id": "')[1][:32] for line in (tmp_path / "events.jsonl").read_text().splitlines()] == ids
    assert [one.id for one in store.events()] == ids


def test_who_is_told_what_the_rules_say(store):
    table = Rules(
        (
            Rule(name="ada", to=("one",), who=("ada",), message="{who} ({camera})", timezone="UTC"),
            Rule(name="all", to=("one", "two"), message="somebody"),
        )
    )
    with web_server() as server:
        targets = {name: Webhook(webhook=f"{server.url}/{name}") for name in ("one", "two", "three")}
        with Outbox(store, targets, table) as outbox:
            for one in (event(1), event(2, "bob"), Event("left", "door", datetime.now(UTC), "run", 3)):
                outbox.put(one)
        assert outbox.flush(0)
    told = {(request.path, request.json["message"]) for request in server.requests}
    assert told == {("/one", "ada (door)"), ("/two", "somebody"), ("/one", "somebody")}
    assert len(server.requests) == 4
    assert len(store) == 3  # kept, told or not


def test_pictures_go_with_the_rules_that_say_so(store):
    store.snapshots.mkdir()
    (store.snapshots / "a.jpg").write_bytes(b"picture")
    (store.snapshots.parent / "secret.jpg").write_bytes(b"hunter2")
    with web_server() as server:
        targets = {"with": Webhook(webhook=f"{server.url}/with"), "without": Webhook(webhook=f"{server.url}/without")}
        table = Rules((Rule(name="a", to=("with",), snapshot=True), Rule(name="b", to=("without",))))
        with Outbox(store, targets, table) as outbox:
            outbox.put(event(1, snapshot="a.jpg"))
            outbox.put(event(2, snapshot="../secret.jpg"))
            outbox.put(event(3, snapshot="gone.jpg"))
    pictures = Counter((request.path, "picture" in request.json) for request in server.requests)
    assert pictures == {("/with", True): 1, ("/with", False): 2, ("/without", False): 3}


def test_a_network_that_is_down_for_a_while_loses_nothing_repeats_nothing_and_holds_up_nobody(store):
    happened, told = [event(i) for i in range(12)], []
    with web_server() as server, web_server() as other:
        targets = {"hook": Webhook(webhook=server.url), "other": Webhook(webhook=other.url)}
        with Outbox(store, targets, rules(*targets), say=told.append, backoff=SOON) as outbox:
            for one in happened[:4]:
                outbox.put(one)
            server.wait_for(4)
            server.stop()
            for one in happened[4:]:
                outbox.put(one)
            other.wait_for(12)
            until(lambda: sum("connection refused" in line for line in told) and outbox.status()[0].problem)
            assert outbox.status()[0].waiting == 8
            assert outbox.status()[1].problem is None
            server.start()
            server.wait_for(12)
            until(lambda: not store.pending())
            assert outbox.status()[0].problem is None
    assert keys(server.requests) == keys(other.requests) == [one.id for one in happened]
    assert [line.partition(": ")[2].partition(" ")[0] for line in told] == [server.url, "delivers"]


def test_a_target_that_never_answers_holds_up_nobody(store):
    with socket.create_server(("127.0.0.1", 0)) as silent, web_server() as server:
        dead = Webhook(webhook=f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=0.3)
        with Outbox(store, {"dead": dead, "hook": Webhook(webhook=server.url)}, rules("dead", "hook")) as outbox:
            for i in range(5):
                outbox.put(event(i))
            server.wait_for(5)
            outbox.close(0.1)
    assert store.pending() == {"dead": 5}


def test_what_a_server_refuses_is_given_up_after_a_few_tries_and_counted(store):
    bad, good, told = event(1), event(2), []

    def answer(request):
        return (422 if request.json["id"] == bad.id else 204), {}

    with (
        web_server(answer) as server,
        Outbox(store, {"hook": Webhook(webhook=server.url)}, rules("hook"), say=told.append, backoff=SOON) as outbox,
    ):
        outbox.put(bad)
        outbox.put(good)
        delivered(outbox, store)
        [status] = outbox.status()
        assert (status.sent, status.given_up) == (1, 1)
    assert keys(server.requests) == [bad.id] * 3 + [good.id]
    assert store.given_up() == {"hook": 1}
    assert any("gave up" in line and "422" in line for line in told)
    with Outbox(store, {"hook": Webhook(webhook=server.url)}, rules("hook")) as outbox:
        assert outbox.status()[0].given_up == 1  # also after a start
    assert len(store) == 2


def test_a_notice_that_one_server_never_takes_does_not_block_those_behind_it(store):
    bad, others = event(1), [event(i) for i in range(2, 6)]

    def answer(request):
        return (500 if request.json["id"] == bad.id else 204), {}

    with (
        web_server(answer) as server,
        Outbox(store, {"hook": Webhook(webhook=server.url)}, rules("hook"), backoff=SOON) as outbox,
    ):
        for one in (bad, *others):
            outbox.put(one)
        delivered(outbox, store)
    assert [key for key in keys(server.requests) if key != bad.id] == [one.id for one in others]
    assert keys(server.requests).count(bad.id) == courier._STUBBORN + 1
    assert store.given_up() == {"hook": 1}


def test_a_long_outage_gives_up_nothing_early(store):
    with web_server(lambda _: (503, {})) as server:
        with Outbox(store, {"hook": Webhook(webhook=server.url)}, rules("hook"), backoff=SOON) as outbox:
            happened = [event(i) for i in range(3)]
            for one in happened:
                outbox.put(one)
            server.wait_for(3 * courier._STUBBORN)
            server.answer = lambda _: (204, {})
            until(lambda: not store.pending())
        assert store.given_up() == {}
        assert outbox.status()[0].sent == 3
    assert set(keys(server.requests)) == {one.id for one in happened}


def test_a_server_that_asks_for_time_gets_it(store):
    asked = []

    def answer(_):
        asked.append(time.monotonic())
        return (503, {"Retry-After": "1"}) if len(asked) == 1 else (204, {})

    with (
        web_server(answer) as server,
        Outbox(store, {"hook": Webhook(webhook=server.url)}, rules("hook"), backoff=SOON) as outbox,
    ):
        outbox.put(event(1))
        outbox.put(event(2))
        server.wait_for(3)
    assert asked[1] - asked[0] >= 1


def test_a_clock_that_is_put_back_holds_up_nothing(store):
    tried, waits = (replace(event(i), time=datetime.now(UTC)) for i in range(2))
    with web_server() as server:
        server.stop()
        with Outbox(store, {"hook": Webhook(webhook=server.url)}, rules("hook"), backoff=SOON) as outbox:
            outbox.put(tried)
            outbox.put(waits)
            until(lambda: outbox.status()[0].problem and outbox.status()[0].waiting == 2)
    found = store.due(datetime.now(UTC) - timedelta(days=1))
    assert [one.event for one in found] == [tried, waits]
    assert found[0].attempts


def test_what_is_too_old_is_given_up(store):
    target = Webhook(webhook=f"http://127.0.0.1:{free_port()}", give_up=1)
    with Outbox(store, {"hook": target}, rules("hook"), backoff=SOON) as outbox:
        for i in range(20):
            outbox.put(event(i))
        until(lambda: store.given_up() == {"hook": 20})
        assert outbox.status()[0].waiting == 0


def test_a_mistake_in_a_library_costs_a_try_and_not_the_thread(store):
    target, told = Broken(2), []
    with Outbox(store, {"broken": target}, rules("broken"), say=told.append, backoff=SOON) as outbox:
        outbox.put(event())
        until(lambda: target.sent)
    assert told == ["broken: broken: KeyError; it is tried again", "broken: delivers again"]


def test_who_is_erased_while_a_target_is_down_is_not_told_of(store):
    with web_server() as server:
        server.stop()
        with Outbox(store, {"hook": Webhook(webhook=server.url)}, rules("hook"), backoff=SOON) as outbox:
            outbox.put(event(1))
            outbox.put(event(2, "bob"))
            until(lambda: outbox.status()[0].problem)
            store.erase("ada")
            server.start()
            until(lambda: not store.pending())
    assert [request.json["subject"] for request in server.requests] == ["bob"]


def test_two_programs_at_one_store_do_not_send_the_same(tmp_path):
    two_programs(tmp_path / "events.db")


@pytest.mark.slow  # the server takes 10 s to start and to stop
def test_two_programs_at_one_server_do_not_send_the_same(postgres):
    two_programs(postgres)


def two_programs(where):
    with web_server() as server:
        outboxes = []
        for _ in range(2):
            opened = open_events(where)
            outboxes.append((opened, Outbox(opened, {"hook": Webhook(webhook=server.url)}, rules("hook"), poll=0.05)))
        happened = [event(i) for i in range(40)]
        for i, one in enumerate(happened):
            outboxes[i % 2][1].put(one)
        server.wait_for(40)
        for _, outbox in outboxes:
            outbox.close(20)
        for opened, _ in outboxes:
            assert not opened.pending()
            opened.close()
    assert Counter(keys(server.requests)) == dict.fromkeys((one.id for one in happened), 1)


def test_notices_for_a_target_that_is_no_more_are_told_of(store):
    with Outbox(store, {"old": Webhook(webhook=f"http://127.0.0.1:{free_port()}")}, rules("old")) as outbox:
        outbox.put(event())
        outbox.close(0.5)
    told = []
    with Outbox(store, {}, Rules(), say=told.append) as outbox:
        assert outbox.status() == []
    assert told == ["notices that wait for the target 'old', which is no more: 1; name one so to have them sent"]


# ---- closing


def test_closing_tries_once_more_and_leaves_the_rest_to_the_next_start(tmp_path):
    never = Backoff(first=1000, most=1000)
    with web_server() as server, open_events(tmp_path / "events.db") as store:
        server.stop()
        targets = {"hook": Webhook(webhook=server.url), "dead": Webhook(webhook=f"http://127.0.0.1:{free_port()}")}
        told = []
        outbox = Outbox(store, targets, rules(*targets), say=told.append, backoff=never)
        happened = [event(i) for i in range(5)]
        for one in happened:
            outbox.put(one)
        until(lambda: all(status.problem for status in outbox.status()))
        server.start()
        outbox.close(20)
        outbox.close(20)
        outbox.put(event(9))
        assert outbox.lost == 1
        assert keys(server.requests) == [one.id for one in happened]
        assert store.pending() == {"dead": 5}
        assert "dead: notices that wait for the next start: 5" in told
        assert told[-1] == "events are lost, 1 by now: the outbox is closed"
    with web_server() as back, open_events(tmp_path / "events.db") as store:
        with Outbox(store, {"dead": Webhook(webhook=back.url)}, rules("dead")):
            back.wait_for(5)
        assert keys(back.requests) == [one.id for one in happened]


# ---- a process that is killed

CHILD = """
import os, signal, sys
from datetime import datetime, timezone
from visavis.events import courier
from visavis.events.event import Event
from visavis.events.outbox import Outbox
from visavis.events.rules import Rule, Rules
from visavis.events.store import EventStore, open_events
from visavis.events.targets.webhook import Webhook

path, url, how = sys.argv[1:]
courier._LEASE = 0.0
if how == "before marking":
    EventStore.delivered = lambda self, id: os.kill(os.getpid(), signal.SIGKILL)
store = open_events(path)
rules = Rules((Rule(name="rule", to=("hook",), when=("any",)),))
outbox = Outbox(store, {"hook": Webhook(webhook=url, timeout=0.5)}, rules)
for number in range(8):
    outbox.put(Event("identified", "door", datetime.now(timezone.utc), "run", number, "ada", id=f"{number:032x}"))
assert outbox.flush(60)
print("kept", flush=True)
sys.stdin.read()
"""


def child(store, url, how):
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(store), url, how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_what_a_killed_process_kept_is_sent_by_the_next(tmp_path):
    ids = [f"{number:032x}" for number in range(8)]
    with web_server() as server:
        server.stop()
        process = child(tmp_path / "events.db", server.url, "with the network down")
        assert process.stdout.readline() == "kept\n"
        process.send_signal(signal.SIGKILL)
        process.communicate()
        server.start()
        with open_events(tmp_path / "events.db") as store:
            assert [one.id for one in store.events()] == ids
            with Outbox(store, {"hook": Webhook(webhook=server.url)}, rules("hook"), poll=0.1):
                server.wait_for(8)
                until(lambda: not store.pending())
    assert sorted(keys(server.requests)) == ids


def test_what_was_sent_when_the_process_was_killed_is_sent_again_with_the_same_key(tmp_path):
    with web_server() as server:
        process = child(tmp_path / "events.db", server.url, "before marking")
        process.wait(60)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        [first] = keys(server.requests)
        with open_events(tmp_path / "events.db") as store:
            kept = [one.id for one in store.events()]
            with Outbox(store, {"hook": Webhook(webhook=server.url)}, rules("hook"), poll=0.1):
                until(lambda: not store.pending())
    assert first == f"{0:032x}"
    assert Counter(keys(server.requests)) == Counter([first, *kept])


# ---- a store that can't be written


def test_events_wait_while_another_program_holds_the_store(tmp_path, store):
    told = []
    with web_server() as server:
        store._database.raw.execute("PRAGMA busy_timeout=20")  # a test has no patience
        holder = sqlite3.connect(tmp_path / "events.db", isolation_level=None)
        with Outbox(store, {"hook": Webhook(webhook=server.url)}, rules("hook"), say=told.append, bound=5) as outbox:
            holder.execute("BEGIN IMMEDIATE")
            happened = [event(i) for i in range(8)]
            for one in happened:
                outbox.put(one)
            until(lambda: outbox.problem)
            assert "events.db" in outbox.problem
            assert outbox.lost == 3  # more than there is room for
            assert not outbox.flush(0.01)
            holder.execute("ROLLBACK")
            assert outbox.flush(30)
            assert outbox.problem is None
            server.wait_for(5)
        holder.close()
        assert keys(server.requests) == [one.id for one in happened[:5]]
    assert told[0] == "events are lost, 1 by now: too many wait for the store already"
    assert told[1].startswith("events wait in memory: ")
    assert told[2] == "events are kept again"


def test_events_wait_while_the_disk_is_full(store):
    raw = store._database.raw
    with web_server() as server, Outbox(store, {"hook": Webhook(webhook=server.url)}, rules("hook")) as outbox:
        (pages,) = raw.execute("PRAGMA page_count").fetchone()
        raw.execute(f"PRAGMA max_page_count={pages}")  # what SQLite then says is what it says of a full disk
        large = [event(i, detail="x" * 4000) for i in range(20)]
        for one in large:
            outbox.put(one)
        until(lambda: outbox.problem)
        assert "full" in outbox.problem
        raw.execute("PRAGMA max_page_count=100000")
        assert outbox.flush(30)
        server.wait_for(20)
    assert keys(server.requests) == [one.id for one in large]
    assert outbox.lost == 0


def test_what_no_store_takes_is_counted_and_the_rest_goes_on(store):
    told = []
    with Outbox(store, {}, Rules(), say=told.append) as outbox:
        outbox.put(Event("left", "door", datetime.now(UTC), "run", 2**64))
        outbox.put(event(1))
        assert outbox.flush(30)
        assert outbox.lost == 1
    assert told == [f"an event can't be kept: a track's number has at most 63 bits, not {2**64}"]
    assert len(store) == 1


def test_a_store_locked_when_a_notice_has_arrived_does_not_send_it_twice(store, monkeypatch):
    mark, failures = store.delivered, iter([True, True, False])

    def delivered(id):
        if next(failures, False):
            raise DeliveryError("the store is locked")
        mark(id)

    monkeypatch.setattr(store, "delivered", delivered)
    monkeypatch.setattr(courier, "_LEASE", 0.0)
    with web_server() as server:
        target = Webhook(webhook=server.url, timeout=0.1)
        with Outbox(store, {"hook": target}, rules("hook"), backoff=SOON, poll=0.05) as outbox:
            outbox.put(event())
            until(lambda: len(store) and not store.pending())
    assert len(server.requests) == 1


# ---- cool-downs and quiet hours


def told_of(store, server, table, *happened):
    with Outbox(store, {"hook": Webhook(webhook=server.url)}, table) as outbox:
        for one in happened:
            outbox.put(one)
        assert outbox.flush(30)
    return [request.json["subject"] for request in server.requests]


def test_a_cool_down_outlives_the_process_and_an_erased_person_has_none(store):
    table = rules("hook", name="if ada comes", cool_down=600)
    with web_server() as server:
        assert told_of(store, server, table, event(1), event(2), event(3, "bob")) == ["ada", "bob"]
        assert re.fullmatch(r'\{("\w{32}": \["\w{16}"\](, )?)+\}', store.value("cooling")), "ids and digests alone"
        assert told_of(store, server, table, event(4), event(5, "bob")) == ["ada", "bob"]
        store.erase("ada")
        assert told_of(store, server, table, event(6), event(7, "bob")) == ["ada", "bob", "ada"]
        store.set_value("cooling", "[{]")
        assert told_of(store, server, table, event(8, "eve")) == ["ada", "bob", "ada", "eve"]
        store.set_value("cooling", '{"a": 1}')
        assert told_of(store, server, table, event(9, "fay"))[-1] == "fay"


def test_a_film_of_long_ago_cools_down_by_its_own_time(store):
    start = datetime(2001, 5, 1, tzinfo=UTC)
    film = [
        Event("identified", "film", start + timedelta(minutes=4 * i), "run", i, "ada", detail=str(i)) for i in range(7)
    ]
    with web_server() as server:
        told_of(store, server, rules("hook", cool_down=600), event(100, "bob"), *film, event(101, "eve"))
    assert [request.json.get("detail") for request in server.requests] == [None, "0", "3", "6", None]


def around(now):
    return (f"{now - timedelta(hours=2):%H:%M}-{now + timedelta(hours=2):%H:%M}",)


def test_quiet_hours_drop_what_happens_in_them_and_hold_what_still_waits(store):
    loud = Rule(name="loud", to=("hook",), who=("eve",), message="loud")
    normal = Rule(name="normal", to=("hook",))
    silent = Rule(name="normal", to=("hook",), quiet=around(datetime.now(UTC)), timezone="UTC")
    with web_server() as server:
        server.stop()
        with Outbox(store, {"hook": Webhook(webhook=server.url)}, Rules((normal,)), backoff=SOON) as outbox:
            outbox.put(event(1))
            until(lambda: outbox.status()[0].problem)
        server.start()
        assert told_of(store, server, Rules((silent, loud)), event(2, "bob"), event(3, "eve")) == ["eve"]
        assert server.requests[0].json["message"] == "loud"
        assert store.pending() == {"hook": 1}
        assert store.next_due() > datetime.now(UTC) + timedelta(hours=1)
        assert len(store) == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs signals of POSIX")
def test_threads_do_not_keep_a_program_alive(tmp_path):
    code = CHILD.replace("sys.stdin.read()", "")
    process = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "events.db"), f"http://127.0.0.1:{free_port()}", "at its end"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (process.returncode, process.stdout, process.stderr) == (0, "kept\n", "")

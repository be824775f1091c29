"""The outbox: events to the store, and from there to everybody who is to be told, until they have them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from types import TracebackType

from visavis.errors import EventsOutOfReach, EventStoreBusy, StorageError, VisavisError
from visavis.events.courier import Backoff, Courier, TargetStatus
from visavis.events.event import Event
from visavis.events.rules import Rule, Rules, Topic
from visavis.events.store import EventStore
from visavis.events.targets.base import Target

__all__ = ["Outbox"]

_BOUND = 10_000
_TOPICS = 2_000  # most cool-downs that are kept
_COOLING = "cooling"  # the key under which the store keeps what was sent last
_PASSING = (StorageError, EventStoreBusy, EventsOutOfReach)  # the store may be itself again later
_STORE_BACKOFF = Backoff(first=0.5, most=15.0)


class Outbox:
    """Keeps events and has them delivered: each to the targets that the rules give, at least once, in order.

    `put` never waits and never fails: a thread writes to the store, and one for each target delivers. What the store
    has survives this process. While it can't be written, events wait in memory.

    Parameters
    ----------
    store
        Stays open for as long as the outbox.
    targets
        By name. They are closed with the outbox.
    rules
        Which name the targets.
    say
        Is told of problems, and when they are over: a line each, no secrets. Called by several threads.
    bound
        Most events that wait in memory for the store.
    backoff
        How long a target that failed is left alone.
    poll
        Seconds between looks at the store for what other processes put there.
    """

    def __init__(
        self,
        store: EventStore,
        targets: Mapping[str, Target],
        rules: Rules,
        *,
        say: Callable[[str], None] = lambda _: None,
        bound: int = _BOUND,
        backoff: Backoff | None = None,
        poll: float = 2.0,
    ) -> None:
        rules.check_targets(targets)
        self._store, self._rules, self._say, self._bound = store, rules, say, bound
        self._waiting: deque[Event] = deque()
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._deadline = float("inf")
        self._lost = 0
        self._problem: str | None = None
        self._cooling: dict[Topic, datetime] = {}
        self._sent: dict[Topic, tuple[str, datetime]] = {}  # the event that a cool-down goes back to; when it came
        for target in targets.values():
            target.attach(store)
        self._remember()
        self._couriers = {
            name: Courier(name, target, store, rules, say, backoff or Backoff(), poll)
            for name, target in targets.items()
        }
        left = {name: count for name, count in store.pending().items() if name not in targets}
        for name, count in left.items():
            say(f"notices that wait for the target {name!r}, which is no more: {count}; name one so to have them sent")
        self._writer = threading.Thread(target=self._write, name="visavis-outbox", daemon=True)
        self._writer.start()
        for courier in self._couriers.values():
            courier.start()

    def put(self, event: Event) -> None:
        """Take an event, at once. It is on disk when `flush` says so."""
        with self._changed:
            if self._closing.is_set() or len(self._waiting) >= self._bound:
                self._lost += 1
                if self._lost == 1 or self._lost % 1000 == 0:
                    why = "the outbox is closed" if self._closing.is_set() else "too many wait for the store already"
                    self._say(f"events are lost, {self._lost} by now: {why}")
                return
            self._waiting.append(event)
            self._changed.notify_all()

    def flush(self, timeout: float) -> bool:
        """Wait until every event that was put is in the store; return whether it is so in time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting, timeout)

    @property
    def lost(self) -> int:
        """Events that were neither kept nor sent: the store could not be written for long."""
        return self._lost

    @property
    def problem(self) -> str | None:
        """Why the store can't be written now."""
        return self._problem

    def status(self) -> list[TargetStatus]:
        """Return how it stands with each target. Reads no file: it may be asked often."""
        return [courier.status() for courier in self._couriers.values()]

    def close(self, timeout: float = 5.0) -> None:
        """Take no more; write what waits, give each target what is due, and end: within ``timeout`` seconds.

        What could not be delivered stays in the store for the next start. Closing twice is fine.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            if self._closing.is_set():
                return
            self._deadline = deadline
            self._closing.set()
            self._changed.notify_all()
        self._writer.join(timeout)
        if self._waiting:
            self._lost += len(self._waiting)
            self._say(f"events that were not kept: {len(self._waiting)}; {self._problem or 'there was no time'}")
        for courier in self._couriers.values():
            courier.close(deadline)
        for courier in self._couriers.values():
            courier.join()

    def __enter__(self) -> Outbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ---- the thread that writes

    def _write(self) -> None:
        failures = 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing.is_set())
                if not self._waiting:
                    return
                event = self._waiting[0]
            try:
                self._keep(event)
            except _PASSING as error:
                failures += 1
                self._trouble(str(error))
                if self._rest_is_late(_STORE_BACKOFF.delay(failures)):
                    return
                continue
            except Exception as error:  # noqa: BLE001 - one event must not end the thread that keeps all others
                self._lost += 1
                what = str(error) if isinstance(error, VisavisError) else type(error).__name__
                self._say(f"an event can't be kept: {what}")
            else:
                failures = 0
                self._trouble(None)
            with self._changed:
                self._waiting.popleft()
                self._changed.notify_all()

    def _keep(self, event: Event) -> None:
        fired = self._rules.fired(event, datetime.now(timezone.utc), self._cooling)
        targets = dict.fromkeys(target for rule in fired for target in rule.to)
        if not self._store.add(event, targets):
            return
        for target in targets:
            self._couriers[target].news()
        if cooling := [rule.topic(event) for rule in fired if rule.cool_down]:
            for topic in cooling:
                self._cools(topic, event)
            with contextlib.suppress(VisavisError):  # the next one keeps it; at worst a notice comes early once
                self._memorize()

    def _rest_is_late(self, pause: float) -> bool:
        """Wait, and return whether there is no time left for another try."""
        self._closing.wait(pause)
        if self._closing.is_set():
            time.sleep(max(min(pause, self._deadline - time.monotonic()), 0.0))
        return time.monotonic() >= self._deadline

    def _trouble(self, problem: str | None) -> None:
        if problem != self._problem:
            self._say(f"events wait in memory: {problem}" if problem else "events are kept again")
        self._problem = problem

    # ---- cool-downs that outlive the process: by ids of events, so that erasing a person's events ends theirs

    def _cools(self, topic: Topic, event: Event) -> None:
        for state in (self._cooling, self._sent):
            state.pop(topic, None)  # so that the oldest stand first
        self._cooling[topic] = event.time
        self._sent[topic] = event.id, datetime.now(timezone.utc)

    def _memorize(self) -> None:
        # By when events came: those of films may have happened years ago.
        oldest = datetime.now(timezone.utc) - self._rules.longest_cool_down
        over = [topic for topic, (_, came) in self._sent.items() if came < oldest]
        for topic in over or list(self._sent)[:-_TOPICS]:
            del self._cooling[topic], self._sent[topic]
        kept: dict[str, list[str]] = {}
        for (rule, _, _), (event, _) in self._sent.items():
            kept.setdefault(event, []).append(_digest(rule))
        self._store.set_value(_COOLING, json.dumps(kept))

    def _remember(self) -> None:
        try:
            kept: dict[str, list[str]] = json.loads(self._store.value(_COOLING) or "{}")
            rules: dict[str, Rule] = {_digest(rule.name): rule for rule in self._rules.rules}
            for event in self._store.of_ids(kept):
                for rule in (rules[digest] for digest in kept[event.id] if digest in rules):
                    self._cools(rule.topic(event), event)
        except (ValueError, TypeError, AttributeError):
            return  # a damaged entry costs a notice that comes early


def _digest(rule: str) -> str:
    """Return what stands for a rule's name, which may hold a person's."""
    return hashlib.sha256(rule.encode()).hexdigest()[:16]

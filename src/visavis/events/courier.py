"""One target's deliveries: a thread that sends what is due, in order, and lets one that failed rest for a while."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from visavis.errors import DeliveryError, VisavisError
from visavis.events.event import Event
from visavis.events.rules import Rule, Rules
from visavis.events.store import Delivery, EventStore
from visavis.events.targets.base import Notice, Target

__all__ = ["Backoff", "Courier", "TargetStatus"]

_REFUSALS = 3  # after so many answers that say no for good, a notice is given up
_STUBBORN = 8  # when a notice fails so often, the one behind it is tried, too
_LONGEST_ASKED = 3600.0  # of what a receiver asks to wait
_ANY_TIME = datetime.fromtimestamp(0, timezone.utc)  # due by any clock, also one that is put back
_LEASE = 60.0  # plus the target's timeout; what a killed process was sending is due again then


@dataclass(frozen=True)
class Backoff:
    """How long to wait after failures: twice as long each time, and not all at the same moment.

    Examples
    --------
    >>> [round(Backoff(jitter=0).delay(failures)) for failures in (1, 2, 3, 20)]
    [2, 4, 8, 300]
    """

    first: float = 2.0
    most: float = 300.0
    jitter: float = 0.5

    def delay(self, failures: int) -> float:
        """Return seconds to wait after so many failures in a row, 1 or more."""
        whole = min(self.first * 2.0 ** min(failures - 1, 60), self.most)
        return whole * (1 - self.jitter * random.random())


@dataclass(frozen=True)
class TargetStatus:
    """How it stands with a target.

    Attributes
    ----------
    name, where
        The target, and where it sends to; no secrets.
    waiting
        Notices that are still to be delivered.
    sent
        Notices delivered since the start.
    given_up
        Notices given up that the store still has.
    problem
        Why the last try failed; None when it did not.
    """

    name: str
    where: str
    waiting: int
    sent: int
    given_up: int
    problem: str | None


class Courier:
    """Delivers to one target, in a thread of its own: a dead one holds up no other."""

    def __init__(
        self,
        name: str,
        target: Target,
        store: EventStore,
        rules: Rules,
        say: Callable[[str], None],
        backoff: Backoff,
        poll: float,
    ) -> None:
        self._name, self._target, self._store, self._rules = name, target, store, rules
        self._say, self._backoff, self._poll = say, backoff, poll
        self._words = Rule(name="visavis", to=(name,))  # where no rule knows an event any more
        self._news = threading.Event()
        self._closing = threading.Event()
        self._deadline = float("inf")
        self._failures = 0
        self._stuck = False  # by the store, not by the target
        self._delivered: set[int] = set()  # sent, though the store doesn't know yet
        self._waiting = store.pending().get(name, 0)
        self._sent, self._given_up = 0, store.given_up().get(name, 0)
        self._problem: str | None = None
        self._thread = threading.Thread(target=self._run, name=f"visavis-to-{name}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def news(self) -> None:
        """Say that there is something new to deliver."""
        self._waiting += 1
        self._news.set()

    def status(self) -> TargetStatus:
        """Return how it stands."""
        return TargetStatus(
            self._name, self._target.where, max(self._waiting, 0), self._sent, self._given_up, self._problem
        )

    def close(self, deadline: float) -> None:
        """Try once more what is due, and end; at ``deadline`` of `time.monotonic` at the latest."""
        self._deadline = deadline
        self._closing.set()
        self._news.set()

    def join(self) -> None:
        """Wait for the end, until the deadline."""
        self._thread.join(max(self._deadline - time.monotonic(), 0.0))
        if self._waiting > 0:
            self._say(f"{self._name}: notices that wait for the next start: {self._waiting}")

    # ---- the thread

    def _run(self) -> None:
        while True:
            last = self._closing.is_set()  # before the round: the one after it is the last
            pause = self._round()
            if last:
                break
            if pause is None:
                self._news.wait(self._poll)
            else:
                self._closing.wait(pause)
            self._news.clear()
        with contextlib.suppress(Exception):
            self._target.close()

    def _round(self) -> float | None:
        """Send what is due; return how long to leave the target alone, None: until there is news."""
        try:
            while time.monotonic() < self._deadline:
                claimed = self._claimed(1)
                if not claimed:
                    if self._stuck:
                        self._stuck = False
                        self._trouble(None)
                    self._waiting = self._store.pending().get(self._name, 0)
                    return None
                if claimed[0].attempts + 1 >= _STUBBORN:
                    claimed += self._claimed(1)
                failure = self._deliver_all(claimed)
                if failure is not None:
                    self._failures += 1
                    return max(self._backoff.delay(self._failures), min(failure.retry_after or 0.0, _LONGEST_ASKED))
        except Exception as error:  # noqa: BLE001 - the store is locked, full or gone; what was claimed is due again later
            self._failures += 1
            self._stuck = True
            self._trouble(str(error) if isinstance(error, VisavisError) else type(error).__name__)
            return self._backoff.delay(self._failures)
        return None

    def _claimed(self, count: int) -> list[Delivery]:
        lease = timedelta(seconds=_LEASE + self._target.timeout)
        return self._store.due(_now(), count, targets=[self._name], lease=lease)

    def _deliver_all(self, claimed: list[Delivery]) -> DeliveryError | None:
        """Deal with a delivery and, where it has failed often, with the next: taken, that shows whose fault it is."""
        head, *behind = claimed
        failure = self._deliver(head)
        for delivery in behind:
            before = self._sent
            other = self._deliver(delivery)
            if failure is not None and not failure.final and self._sent > before:
                failure = self._deliver(head)  # an outage may have ended just between the two
                if failure is not None and not failure.final:
                    self._give_up(head, f"refused {head.attempts + 2} times, and then the next was taken")
                    failure = None
            failure = failure or other
        return failure

    def _deliver(self, delivery: Delivery) -> DeliveryError | None:
        """Deal with one delivery; return why the target can't be reached now, None where it can be gone on with."""
        now = _now()
        rule = self._rules.behind(delivery.event, self._name, now)
        if delivery.id in self._delivered:
            self._settled(delivery)
        elif now - delivery.queued > timedelta(seconds=self._target.give_up):
            self._give_up(delivery, f"not delivered in {self._target.give_up / 3600:.3g} h")
        elif rule is not None and (until := rule.quiet_until(now)) is not None:
            self._store.postponed(delivery.id, until)
        else:
            return self._send(delivery, rule)
        return None

    def _send(self, delivery: Delivery, rule: Rule | None) -> DeliveryError | None:
        try:
            self._target.send(self._notice(delivery.event, rule))
        except DeliveryError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - a library's mistake costs a try, not the thread; its text may be secret
            failure = DeliveryError(f"{self._target.where}: {type(error).__name__}")
        else:
            self._delivered.add(delivery.id)
            self._settled(delivery)
            self._sent += 1
            self._failures = 0
            self._trouble(None)
            return None
        self._trouble(str(failure))
        if failure.final and delivery.attempts + 1 >= _REFUSALS:
            self._give_up(delivery, str(failure))
        else:
            self._store.failed(delivery.id, _ANY_TIME, str(failure))  # how long it rests is for us to say
        return failure

    def _settled(self, delivery: Delivery) -> None:
        self._store.delivered(delivery.id)
        self._delivered.discard(delivery.id)
        self._waiting -= 1

    def _give_up(self, delivery: Delivery, problem: str) -> None:
        self._store.failed(delivery.id, None, problem)
        self._waiting -= 1
        self._given_up += 1
        self._say(f"{self._name}: gave up a notice of {delivery.event.time:%Y-%m-%d %H:%M:%S} UTC: {problem}")

    def _notice(self, event: Event, rule: Rule | None) -> Notice:
        title, message = (rule or self._words).words(event)
        return Notice(event, title, message, self._picture(event) if rule is not None and rule.snapshot else None)

    def _picture(self, event: Event) -> Path | None:
        name, folder = event.snapshot, self._store.snapshots
        if name is None or folder is None or Path(name).name != name:
            return None
        return folder / name

    def _trouble(self, problem: str | None) -> None:
        if problem != self._problem and time.monotonic() < self._deadline:  # after it nobody listens any more
            self._say(f"{self._name}: {problem}; it is tried again" if problem else f"{self._name}: delivers again")
        self._problem = problem


def _now() -> datetime:
    return datetime.now(timezone.utc)

"""Settings of who is told of what: the tables ``[[rule]]`` and ``[targets.NAME]`` of a file."""

from __future__ import annotations

import copy
import difflib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from visavis.errors import DeliveryError, InputError
from visavis.events.event import Event
from visavis.events.rules import Rule, Rules
from visavis.events.targets.base import Notice, Target
from visavis.events.targets.files import CsvFile, JsonlFile
from visavis.events.targets.mqtt import Mqtt
from visavis.events.targets.push import Push
from visavis.events.targets.webhook import Webhook
from visavis.names import checked_name
from visavis.settings import filled, read_toml

__all__ = ["Alerts", "alerts_of", "read_alerts", "try_targets"]

_KINDS: dict[str, type[Target]] = {
    "apprise": Push,
    "webhook": Webhook,
    "mqtt": Mqtt,
    "jsonl": JsonlFile,
    "csv": CsvFile,
}
_LISTS = ("to", "who", "where", "when", "hours", "days", "quiet")  # keys of a rule that take one text as well


@dataclass(frozen=True)
class Alerts:
    """Who is told of what.

    Attributes
    ----------
    rules
        In the order of the file.
    targets
        Those they send to, by name, ready to send.
    """

    rules: Rules = field(default_factory=Rules)
    targets: Mapping[str, Target] = field(default_factory=dict)


@dataclass(frozen=True)
class _File:
    rule: tuple[Rule, ...] = ()
    targets: Mapping = field(default_factory=dict)  # type: ignore[type-arg]  # filled in one by one, by their kinds


def read_alerts(path: str | os.PathLike[str]) -> Alerts:
    """Read a file of rules and targets: docs/notifications.md lists its keys.

    Raises
    ------
    InputError
        Naming the file, the place, the key and its line; a target that can't be used, one that a rule names and isn't
        there, or an environment variable that isn't set. Nothing that may be secret is shown.
    EngineError
        If a target needs a package that is not installed.
    """
    return alerts_of(read_toml(path), Path(path).name)


def alerts_of(table: Mapping[str, Any], where: str) -> Alerts:
    """Return the rules and targets of the tables ``rule`` and ``targets``, as `read_alerts` does.

    Parameters
    ----------
    where
        What messages call the file.
    """
    given = copy.copy(table) if isinstance(table, dict) else dict(table)
    if isinstance(given.get("rule"), list):
        given["rule"] = [_listed(rule) for rule in given["rule"]]
    found = filled(_File, given, where)
    targets: dict[str, Target] = {}
    several: dict[str, tuple[str, ...]] = {}
    for name, settings in found.targets.items():
        made = _targets(name, settings, f"{where}: targets.{name}")
        several[name] = tuple(made)
        targets |= made
    rules = Rules(found.rule)
    try:
        rules.check_targets(several)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    each = (replace(rule, to=tuple(target for name in rule.to for target in several[name])) for rule in rules.rules)
    return Alerts(Rules(tuple(each)), targets)


def try_targets(targets: Mapping[str, Target]) -> Iterator[tuple[str, str | None]]:
    """Send a test notice to each target; yield its name and what went wrong, None: it has arrived.

    One after the other, as they are asked for. A file gets no row: it is only seen whether it can be written.
    """
    event = Event("camera_back", "test", datetime.now(timezone.utc))
    for name, target in targets.items():
        try:
            target.send(Notice(event, "visavis: a test", f"Notices for {name} arrive here.", test=True))
        except DeliveryError as error:
            yield name, str(error)
        except Exception as error:  # noqa: BLE001 - of a library; its text may hold a secret
            yield name, f"{target.where}: {type(error).__name__}"
        else:
            yield name, None
        finally:
            target.close()


def _listed(rule: Any) -> Any:
    """Return a rule's table in which one text is a list of one."""
    if not isinstance(rule, dict):
        return rule
    rule = copy.copy(rule)
    rule.update({key: [rule[key]] for key in _LISTS if isinstance(rule.get(key), str)})
    return rule


def _targets(name: str, settings: Any, where: str) -> dict[str, Target]:
    """Return the targets of one table: several, named ``phone``, ``phone.2``, where ``apprise`` lists several."""
    if checked_name(name, "a target's name") and "." in name:
        raise InputError(f"{where}: a target's name must not hold a dot")
    if not isinstance(settings, Mapping):
        raise InputError(f"{where}: must be a table [targets.{name}]")
    kinds = [kind for kind in _KINDS if kind in settings]
    if len(kinds) != 1:
        raise InputError(f"{where}: {_which(settings, kinds)}")
    kind = kinds[0]
    given = settings[kind]
    if kind != "apprise" or not isinstance(given, list):
        return {name: filled(_KINDS[kind], settings, where)}
    if not given:
        raise InputError(f"{where}: apprise is an empty list")
    made = {}
    for number, address in enumerate(given, 1):
        one = copy.copy(settings) if isinstance(settings, dict) else dict(settings)
        one[kind] = address
        made[name if number == 1 else f"{name}.{number}"] = filled(_KINDS[kind], one, where)
    return made


def _which(settings: Iterable[str], kinds: list[str]) -> str:
    if kinds:
        return f"one target is one of {' and '.join(kinds)}; make two of it, each with its own name"
    for key in settings:
        near = difflib.get_close_matches(key, _KINDS, 1)
        if near:
            return f"unknown key {key!r}; did you mean {near[0]!r}?"
    return f"says not what it is: it needs one of the keys {', '.join(_KINDS)}"

"""What a watch is told: the settings of its file, and what the command line says instead or beside."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from visavis.cli.options import plain_setting
from visavis.errors import InputError
from visavis.events.alerts import Alerts, alerts_of, read_alerts
from visavis.events.rules import Rules
from visavis.events.targets.base import Target
from visavis.video.cameras import Camera, Models, Settings, View, camera_name, checked_camera_name, read_settings
from visavis.video.frames import VIDEO_SUFFIXES, find_videos
from visavis.video.places import Line, Zone

__all__ = ["composed", "is_whole", "needs_store"]

_NAMED = re.compile(r"([^=/\\:?]{1,64})=(.+)", re.DOTALL)
_ZONE_SECONDS = 10.0


def composed(
    config: str | None,
    sources: Sequence[str],
    general: Mapping[str, Any],
    look: Mapping[str, Any],
    models: Mapping[str, Any],
    notify: str | None = None,
    every_event_to: Mapping[str, str | None] | None = None,
    *,
    trying: bool = False,
) -> Settings:
    """Return the settings of a watch.

    Parameters
    ----------
    config
        A settings file; its cameras come first.
    sources
        Further cameras and files, as ``SOURCE`` or ``NAME=SOURCE``.
    general, look, models
        What the command line says of `Settings`, of every camera's `View` and of `Models`: it wins over the file.
    notify
        A file of rules and targets, beside those of the settings.
    every_event_to
        Targets that get every event: ``{"webhook": "https://..."}``.
    trying
        Targets are only tried, so that no camera is needed.

    Raises
    ------
    InputError
        If something of it can't be, or there is nothing to watch.
    """
    settings = Settings() if config is None else read_settings(config)
    view = _view(look)
    if "min_face" in models:
        view["min_face"] = models["min_face"]
    cameras = [replace(camera, **view) for camera in settings.cameras]
    taken = [camera.name for camera in cameras]
    for name, source in _named(sources):
        if name is None:
            name = source if _is_path(source) else camera_name(source, taken)
        taken.append(name)
        cameras.append(Camera(name=name, source=source, **view))
    if not cameras and not trying:
        raise InputError("nothing to watch: give a source, such as camera:0 or party.mp4, or --config cameras.toml")
    settings = replace(settings, cameras=tuple(cameras), models=_models(settings.models, models), **general)
    sinks = {"jsonl": settings.jsonl, "csv": settings.csv, **(every_event_to or {})}
    settings = replace(settings, alerts=_alerts(settings, notify, sinks))
    if settings.events is None and needs_store(settings):
        beside = Path() if config is None else Path(config).parent
        settings = replace(settings, events=str(beside / "events.db"))
    return settings


def needs_store(settings: Settings) -> bool:
    """Return whether something is to be kept or sent."""
    kept = settings.events is not None or settings.keep_days is not None
    return kept or bool(settings.alerts.rules.rules) or any(camera.snapshots for camera in settings.cameras)


def _alerts(settings: Settings, notify: str | None, sinks: Mapping[str, str | None]) -> Alerts:
    """Return all rules and targets: of the settings, of a file of rules, and of options that send every event."""
    parts = [settings.alerts, *([read_alerts(notify)] if notify is not None else [])]
    for kind, where in sinks.items():
        if where is not None:
            name = f"every event to {kind}"
            rule = {"name": name, "to": [name], "when": ["any"]}
            try:
                parts.append(alerts_of({"targets": {name: {kind: where}}, "rule": [rule]}, f"--{kind}"))
            except InputError as error:
                raise InputError(str(error).replace(f" targets.{name}:", "")) from None
    rules = Rules(tuple(rule for part in parts for rule in part.rules.rules))
    targets: dict[str, Target] = {}
    for part in parts:
        for name, target in part.targets.items():
            if name in targets:
                raise InputError(f"two targets are named {name!r}: in the settings and in {notify}; rename one")
            targets[name] = target
    if settings.cameras:
        rules.check_places(settings.places)
    return Alerts(rules, targets)


def is_whole(camera: Camera) -> bool:
    """Return whether a camera is one that is gone through from end to end: a file, photos, standard input."""
    source = camera.parsed()
    return source.ends and not source.live


def _named(sources: Iterable[str]) -> Iterator[tuple[str | None, str]]:
    """Give each source with the name in front of it; of a folder of videos each video."""
    for text in dict.fromkeys(sources):
        named = _NAMED.fullmatch(text)
        if named and not os.path.lexists(text):
            yield checked_camera_name(named[1]), _device(named[2])
        elif text != "-" and Path(text).is_dir() and _holds_videos(Path(text)):
            yield from ((None, str(path)) for path in find_videos([text]))
        else:
            yield None, _device(text)


def _device(text: str) -> str:
    return f"camera:{text}" if text.isdecimal() and not os.path.lexists(text) else text


def _holds_videos(folder: Path) -> bool:
    return any(path.suffix.lower() in VIDEO_SUFFIXES for path in folder.rglob("*"))


def _is_path(source: str) -> bool:
    return Path(source).expanduser().exists()


def _view(look: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the command line says of every camera."""
    view = {name: value for name, value in look.items() if name not in ("line", "zone", "dwell")}
    if "line" in look:
        view["lines"] = tuple(_line(text) for text in look["line"])
    if "zone" in look:
        seconds = look.get("dwell", _ZONE_SECONDS)
        view["zones"] = tuple(_zone(text, seconds) for text in look["zone"])
    elif "dwell" in look:
        view["dwell"] = look["dwell"]
    View(**view)  # checked here, before there is a camera to be named in the message
    return view


def _line(text: str) -> Line:
    name, values = _place("--line", text)
    if len(values) != 4:
        raise InputError(f"--line takes NAME=X1,Y1,X2,Y2, not {text!r}")
    return Line(name, (values[0], values[1]), (values[2], values[3]))


def _zone(text: str, seconds: float) -> Zone:
    name, values = _place("--zone", text)
    if len(values) < 6 or len(values) % 2:
        raise InputError(f"--zone takes NAME=X1,Y1,X2,Y2,X3,Y3 and more corners, not {text!r}")
    return Zone(name, tuple(zip(values[::2], values[1::2], strict=True)), seconds)


def _place(option: str, text: str) -> tuple[str, list[float]]:
    name, _, numbers = text.rpartition("=")
    try:
        return name, [float(number) for number in numbers.split(",")]
    except ValueError:
        raise InputError(f"{option} takes a name, = and numbers with commas between, not {text!r}") from None


def _models(models: Models, said: Mapping[str, Any]) -> Models:
    names = {"detector", "recognizer", "flip", "landmarks", "score", "precision", "engine", "device"}
    changes = {name: value for name, value in said.items() if name in names}
    if "detector_set" in said:
        changes["settings"] = {**models.settings, **dict(map(plain_setting, said["detector_set"] or ()))}
    return replace(models, **changes)

"""Settings of a watch: ``cameras.toml`` into cameras, and where their events go."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from visavis.errors import InputError
from visavis.events.alerts import Alerts, alerts_of
from visavis.gallery import Gallery
from visavis.names import checked_name
from visavis.pipeline import Analyzer
from visavis.settings import Location, Seconds, Table, filled, located, read_toml
from visavis.video.following import Following
from visavis.video.identity import Naming
from visavis.video.lookout import Lookout
from visavis.video.places import Line, Zone
from visavis.video.sources import Source
from visavis.video.tracking import Tracking

__all__ = ["Camera", "Models", "Settings", "View", "camera_name", "checked_camera_name", "read_settings"]

_MOST_CAMERAS = 1000
_NO_FILE_NAME = frozenset('/\\:*?"<>|')
_DEVICE_NAMES = frozenset(
    {"con", "prn", "aux", "nul", *(f"{port}{i}" for port in ("com", "lpt") for i in range(1, 10))}
)


@dataclass(frozen=True, kw_only=True)
class View:
    """How a camera is looked at.

    Attributes
    ----------
    rotate
        Degrees clockwise to turn frames beyond what the source says.
    fps
        Most frames a second that are looked at; None: all.
    detect_every
        Faces are looked for in every such frame.
    min_face
        Height in pixels of the smallest face looked for; None: `visavis.video.following.smallest_face`.
    longest
        Frames are shrunk until their longer side has at most so many pixels; None: as they come.
    hardware, timeout, transport, certificates, size
        As `visavis.video.sources.Source` takes them.
    lines, zones
        Where to look for ``line_crossed`` and ``dwell``: ``[[camera.line]]``, ``[[camera.zone]]``.
    dwell
        A ``dwell`` event, place ``view``, for who stays in the whole picture so long.
    gap
        Seconds unseen after which somebody has left; None: the tracker's own. At least 2.5 frames at ``fps``.
    snapshots
        Keep a picture of the face with each event.
    as_camera, loop
        Play a file as a camera would give it: at its own speed, dropping frames; over and over. Other sources heed
        neither.
    """

    rotate: Literal[0, 90, 180, 270] = 0
    fps: float | None = None
    detect_every: int = 1
    min_face: float | None = None
    longest: int | None = None
    hardware: str = "auto"
    timeout: Seconds = 10.0
    transport: Literal["tcp", "udp"] = "tcp"
    certificates: str | None = None
    size: str | None = None
    lines: tuple[Line, ...] = field(default=(), metadata={"key": "line"})
    zones: tuple[Zone, ...] = field(default=(), metadata={"key": "zone"})
    dwell: Seconds | None = None
    gap: Seconds | None = None
    snapshots: bool = False
    as_camera: bool = False
    loop: bool = False

    def __post_init__(self) -> None:
        _within("fps", self.fps, 0.01, 1000)
        _within("detect_every", self.detect_every, 1, 1000)
        _within("min_face", self.min_face, 1, 100_000)
        _within("longest", self.longest, 32, 100_000)
        _within("timeout", self.timeout, 0.1, 3600)
        _within("dwell", self.dwell, 0.1, 7 * 86400)
        _within("gap", self.gap, 0.05, 3600)
        names = [*(line.name for line in self.lines), *(zone.name for zone in self.all_zones)]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"there are two places named {name!r}; events couldn't tell them apart")

    @property
    def all_zones(self) -> tuple[Zone, ...]:
        """Zones, with the one that ``dwell`` stands for."""
        if self.dwell is None:
            return self.zones
        return (*self.zones, Zone(VIEW, ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)), self.dwell))


VIEW = "view"
"""What events call the whole picture."""


@dataclass(frozen=True, kw_only=True)
class Camera(View):
    """A camera, or a file.

    Attributes
    ----------
    name
        What events and the status call it.
    source
        As `visavis.video.sources.Source.parse` takes it. It may hold a password: show its ``name``, never this.
    """

    name: str
    source: str = field(repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_name(self.name, "a camera's name")
        if not self.source:
            raise InputError("a source must not be empty")

    def parsed(self) -> Source:
        """Return the source, to be opened as the camera says.

        Raises
        ------
        InputError
            If there is no such file or kind of address.
        """
        source = Source.parse(
            self.source,
            rotate=self.rotate,
            longest=self.longest,
            hardware=self.hardware,
            timeout=self.timeout,
            transport=self.transport,
            certificates=self.certificates,
            size=self.size,
        )
        if source.kind not in ("file", "images"):
            return source  # what reads it leaves out frames by the budget itself
        fps = self.fps if source.kind == "images" else None  # photos get their times from it
        return replace(source, pace=self.as_camera or self.loop, loop=self.loop, fps=fps)

    def lookout(self, analyzer: Analyzer, gallery: Gallery | None, fpir: float | None, start: datetime) -> Lookout:
        """Return what follows the faces in its pictures and tells what happens.

        Parameters
        ----------
        fpir
            Share of strangers who may get a name; None: the usual one.
        start
            UTC of second 0 of the pictures' times.
        """
        tracking = Tracking() if self.gap is None else Tracking(gap=self.gap)
        tracking = tracking.looking_every(1 / self.fps if self.fps else 0.0)
        naming = Naming() if fpir is None else Naming(fpir=fpir)
        how = Following(self.detect_every, tracking, naming)
        return Lookout(self.name, analyzer, gallery, how, start=start, lines=self.lines, zones=self.all_zones)


@dataclass(frozen=True, kw_only=True)
class Models:
    """What finds and embeds faces: see `visavis.pipeline.Analyzer`."""

    detector: str = "yunet"
    recognizer: str = "sface"
    flip: bool = False
    landmarks: str | None = None
    score: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    precision: str | None = None
    engine: str | None = None
    device: str | None = None

    def __post_init__(self) -> None:
        _within("score", self.score, 0, 1)

    def analyzer(self, *, min_face: float | None = None, threads: int | None = None) -> Analyzer:
        """Return what looks for faces of at least so many pixels' height, on so many cores."""
        return Analyzer(
            self.detector,
            self.recognizer,
            flip=self.flip,
            landmarks=self.landmarks,
            score=self.score,
            min_face=min_face,
            detector_settings=self.settings,
            threads=threads,
            precision=self.precision,
            engine=self.engine,
            device=self.device,
        )


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All that a watch is told.

    Attributes
    ----------
    cameras
        Each with a name of its own.
    gallery, collection
        Who is enrolled; without a gallery nobody is named.
    fpir
        Share of strangers who may get a name; None: the gallery's own.
    events
        Store of events: a path, or an address of PostgreSQL.
    pictures
        Folder of snapshots; None: beside the store's file.
    keep_days
        Events, snapshots and deliveries older than so many days are deleted.
    jsonl, csv
        Files that events are appended to.
    live
        Port of the live view.
    workers
        How many processes look for faces; None: by the cores.
    models
        What finds and embeds faces.
    alerts
        Who is told of what: the tables ``[[rule]]`` and ``[targets.NAME]``.
    """

    cameras: tuple[Camera, ...] = field(default=(), metadata={"key": "camera"})
    gallery: Location | None = field(default=None, repr=False)  # an address may hold a password
    collection: str = "default"
    fpir: float | None = None
    events: Location | None = field(default=None, repr=False)
    pictures: Location | None = None
    keep_days: float | None = None
    jsonl: Location | None = None
    csv: Location | None = None
    live: int | None = None
    workers: int | None = None
    models: Models = field(default_factory=Models)
    alerts: Alerts = field(default_factory=Alerts, repr=False)

    def __post_init__(self) -> None:
        checked_name(self.collection, "a collection's name")
        _within("fpir", self.fpir, 1e-9, 1)
        _within("keep_days", self.keep_days, 0.001, 36500)
        _within("live", self.live, 0, 65535)
        _within("workers", self.workers, 1, 256)
        if len(self.cameras) > _MOST_CAMERAS:
            raise InputError(f"there are {len(self.cameras)} cameras; one watch takes {_MOST_CAMERAS}")
        seen: dict[str, int] = {}
        for number, camera in enumerate(self.cameras, 1):
            first = seen.setdefault(camera.name.casefold(), number)
            if first != number:
                raise InputError(
                    f"cameras {first} and {number} are both named {camera.name!r}; each needs its own name"
                )

    @property
    def places(self) -> tuple[str, ...]:
        """Names of all cameras, lines and zones: what rules may be about."""
        names = [camera.name for camera in self.cameras]
        for camera in self.cameras:
            names += [*(line.name for line in camera.lines), *(zone.name for zone in camera.all_zones)]
        return tuple(dict.fromkeys(names))


def read_settings(path: str | os.PathLike[str]) -> Settings:
    """Read ``cameras.toml``; docs/watch.md lists its keys.

    Raises
    ------
    InputError
        Naming the file, the place, the key and its line.

    Examples
    --------
    >>> settings = read_settings("cameras.toml")                 # doctest: +SKIP
    >>> [camera.name for camera in settings.cameras]             # doctest: +SKIP
    ['door', 'yard']
    """
    table = read_toml(path)
    where = Path(path).name
    general = table.pop("defaults", {})
    filled(View, general, f"{where}: defaults")
    listed = [camera for camera in _list(table.get("camera")) if isinstance(camera, Table)]
    for given in listed:
        for key, value in general.items():
            given.setdefault(key, value)
        if "source" in given:
            given["source"] = _source(given["source"], table.folder)
    alerts = alerts_of({key: table.pop(key) for key in ("rule", "targets") if key in table}, where)
    settings = replace(filled(Settings, table, where), alerts=alerts)
    for number, (camera, given) in enumerate(zip(settings.cameras, listed, strict=True), 1):
        try:
            checked_camera_name(camera.name)
        except InputError as error:
            raise InputError(f"{where}: camera {number}: {error}{given.at('name')}") from None
    return settings


def checked_camera_name(name: str) -> str:
    """Return a camera's name that may be a file's name anywhere, or raise `InputError`.

    Examples
    --------
    >>> checked_camera_name("front door")
    'front door'
    """
    checked_name(name, "a camera's name")
    if any(character in _NO_FILE_NAME for character in name):
        raise InputError(
            f"a camera's name must not hold any of / \\ : * ? \" < > |, so that files can be named by it: {name!r}"
        )
    if name.startswith(".") or name.endswith(".") or name.partition(".")[0].lower() in _DEVICE_NAMES or len(name) > 64:
        raise InputError(f"a camera's name must be one that a file may have, of at most 64 characters, not {name!r}")
    return name


def camera_name(source: str, taken: Iterable[str] = ()) -> str:
    """Return a name for a live source that was given without one: never with what may be a password.

    Examples
    --------
    >>> camera_name("rtsp://admin:secret@10.0.0.5:554/stream1"), camera_name("0"), camera_name("0", ["camera-0"])
    ('10.0.0.5', 'camera-0', 'camera-0-2')
    """
    stem = _host(source) if "://" in source else "stdin" if source == "-" else Path(source).name
    stem = f"camera-{stem}" if stem.isdecimal() else stem
    name = "".join("-" if character in _NO_FILE_NAME else character for character in stem).strip(" .")[:60] or "camera"
    used = {other.casefold() for other in taken}
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    return next(name for name in names if name.casefold() not in used)


def _host(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _source(value: Any, folder: Path) -> Any:
    """Return a source as it is taken on the command line, files by the folder of the settings."""
    if type(value) is int:
        return f"camera:{value}"
    if not isinstance(value, str) or value in ("", "-") or value.startswith("camera:"):
        return value
    return located(value, folder)


def _within(name: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not low <= value <= high:
        raise InputError(f"{name} must be from {low:g} to {high:g}, not {value:g}")

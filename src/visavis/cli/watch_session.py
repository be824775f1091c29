"""A watch from start to end: what it needs is opened, cameras and files give events, and all is closed in order."""

from __future__ import annotations

import contextlib
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from visavis.cli.faces import counted
from visavis.cli.models import under_way
from visavis.cli.options import GalleryFile, Machine
from visavis.cli.report import Report
from visavis.cli.watch_settings import is_whole
from visavis.cli.watch_table import Progress, Screen, Totals, event_row
from visavis.errors import InputError, ModelMismatch, StorageError, VisavisError
from visavis.events.alerts import try_targets
from visavis.events.event import Event
from visavis.events.keeping import Keeping
from visavis.events.rules import unenrolled
from visavis.files import reason
from visavis.pipeline import FILLER, Analyzer
from visavis.video.cameras import Camera, Settings
from visavis.video.conversion import shrunk_size
from visavis.video.decoding import require_library
from visavis.video.following import smallest_face
from visavis.video.identity import Naming
from visavis.video.live_view import LiveView
from visavis.video.naming import require_names
from visavis.video.reading import follow_source
from visavis.video.snapshots import kept
from visavis.video.watch import Watch

if TYPE_CHECKING:
    from visavis.gallery import Gallery
    from visavis.types import Image
    from visavis.video.decoding import VideoInfo

__all__ = ["run"]

_TICK_SECONDS = 0.25
_END_SECONDS = 10.0


def run(report: Report, settings: Settings, machine: Machine) -> int:
    """Watch until all files have been gone through and, with cameras, until somebody ends it.

    Returns
    -------
    The exit code.
    """
    require_library()
    whole = [camera for camera in settings.cameras if is_whole(camera)]
    live = [camera for camera in settings.cameras if camera not in whole]
    analyzer = settings.models.analyzer(threads=machine.threads)
    with contextlib.ExitStack() as stack:
        gallery = _gallery(stack, report, settings, analyzer)
        _fetch(settings, analyzer)
        keeping = _keeping(stack, report, settings, gallery)
        watch = None
        if live:
            watch = stack.enter_context(
                Watch(
                    live,
                    models=settings.models,
                    gallery=settings.gallery,
                    collection=settings.collection,
                    fpir=settings.fpir,
                    snapshots=None if keeping is None else keeping.pictures,
                    workers=settings.workers,
                    threads=machine.threads,
                )
            )
            if settings.live is not None:
                view = stack.enter_context(LiveView(watch, settings.live))
                report.say(f"live view: {view.url}")
        elif settings.live is not None:
            report.warn("the live view shows cameras, and there is none; play files as cameras with --as-camera")
        session = _Session(report, settings, analyzer, gallery, keeping, whole, watch)
        with _ended_by_signals(session.stop):
            session.run()
    return session.end()


def tried(report: Report, settings: Settings) -> int:
    """Send a test to every target; return the exit code: 1 where one did not arrive."""
    if not settings.alerts.targets:
        raise InputError("there is no target to try: give --notify, --webhook or --mqtt, or settings that have some")
    for name, problem in try_targets(settings.alerts.targets):
        where = settings.alerts.targets[name].where
        report.skipped += problem is not None
        report.done += 1
        report.say(f"{name}: {problem or f'arrived at {where}'}")
        report.item({"target": name, "where": where, **({"problem": problem} if problem else {})})
    return 1 if report.skipped else 0


class _Session:
    def __init__(
        self,
        report: Report,
        settings: Settings,
        analyzer: Analyzer,
        gallery: Gallery | None,
        keeping: Keeping | None,
        whole: Sequence[Camera],
        watch: Watch | None,
    ) -> None:
        self._report, self._settings = report, settings
        self._analyzer, self._gallery, self._keeping = analyzer, gallery, keeping
        self._whole, self._watch = whole, watch
        self._threads = analyzer.options.threads
        self._totals = Totals()
        self._screen = Screen(report, self._totals)
        self._happened: queue.Queue[Event | Exception | None] = queue.Queue(1000)
        self._stopped = threading.Event()
        self._files = frozenset(camera.name for camera in whole)
        self._frames = 0
        self._cut_short = False
        self._given_in_part = 0

    def stop(self) -> None:
        """Begin to end; may be called by a signal handler."""
        self._stopped.set()
        if self._watch is not None:
            self._watch.stop()

    def run(self) -> None:
        """Show and keep events until there will be none any more."""
        givers = [threading.Thread(target=self._give, args=[self._read], daemon=True)] if self._whole else []
        if self._watch is not None:
            givers.append(threading.Thread(target=self._give, args=[self._watch.events], daemon=True))
        running = len(givers)
        try:
            with self._screen.shown():
                for giver in givers:
                    giver.start()
                while running:
                    with contextlib.suppress(queue.Empty):
                        happened = self._happened.get(timeout=_TICK_SECONDS)
                        if isinstance(happened, Event):
                            self._take(happened)
                        elif happened is None:
                            running -= 1
                        else:
                            raise happened
                    if self._keeping is not None:
                        self._totals.pending = self._keeping.pending
                    self._screen.update([] if self._watch is None else self._watch.status())
        finally:
            self._leave(givers)

    def _leave(self, givers: Sequence[threading.Thread]) -> None:
        """Wait until nobody uses what is closed next; after a failure somebody may still want to give."""
        self.stop()
        deadline = time.monotonic() + _END_SECONDS
        while any(giver.is_alive() for giver in givers) and time.monotonic() < deadline:
            with contextlib.suppress(queue.Empty):
                self._happened.get(timeout=_TICK_SECONDS)
        if self._gallery is not None and self._totals.people:
            with contextlib.suppress(VisavisError):  # whoever was erased or renamed meanwhile is not told of at the end
                self._totals.people &= {subject.name for subject in self._gallery.list()}

    def end(self) -> int:
        """Say what came together, and return the exit code."""
        totals, report = self._totals, self._report
        totals.pending = 0 if self._keeping is None else self._keeping.pending
        status = [] if self._watch is None else self._watch.status()
        frames = self._frames + sum(camera.frames for camera in status)
        dropped = sum(camera.dropped for camera in status)
        words = [
            counted(frames, "frame"),
            *([f"{dropped} dropped"] if dropped else []),
            counted(totals.events, "event"),
        ]
        seen = sorted(totals.people) + ([f"{totals.unknown} unknown"] if totals.unknown else [])
        waiting = f"; {counted(totals.pending, 'notice')} left for the next start" if totals.pending else ""
        report.say(f"{', '.join(words)}{'; seen: ' + ', '.join(seen) if seen else ''}{waiting}")
        report.fields(
            cameras=[camera.to_dict() for camera in status],
            files=sorted(self._files),
            frames=frames,
            dropped=dropped,
            events=totals.events,
            people=sorted(totals.people),
            unknown=totals.unknown,
            pending=totals.pending,
        )
        if self._cut_short and self._watch is None:
            return 130
        code = report.end()
        return min(code, 1) if self._given_in_part else code  # something of a file that was cut off was told

    def _give(self, events: Any) -> None:
        """Hand the events of a source of them to the main thread, and say when it has ended."""
        try:
            for event in events():
                self._happened.put(event)
        except Exception as error:  # noqa: BLE001 (raised again where the command's errors are told)
            self._happened.put(error)
        finally:
            self._happened.put(None)

    def _take(self, event: Event) -> None:
        if self._keeping is not None:
            self._keeping.put(event)
        self._totals.add(event)
        piped = not sys.stdout.isatty()
        calibration = self._analyzer.calibration
        cells = event_row(event, calibration, file=event.camera in self._files, piped=piped)
        self._report.row(*cells, item=event.to_dict())

    def _read(self) -> Iterator[Event]:
        """Go through the files, one after the other."""
        for camera in self._whole:
            if self._stopped.is_set():
                self._cut_short = True
                return
            before = self._frames
            try:
                yield from self._read_one(camera)
            except VisavisError as error:
                in_part = self._frames > before
                self._report.skipped += 1
                self._given_in_part += in_part
                self._report.say(f"{'cut short' if in_part else 'skipped'}: {error}")
                item = {"source": camera.name, "error": {"type": type(error).__name__, "message": str(error)}}
                self._report.item(item)
            self._report.done += 1

    def _read_one(self, camera: Camera) -> Iterator[Event]:
        source = camera.parsed()
        progress = self._screen.progress = Progress(camera.name)
        start, info = _start(source)
        if info is not None and self._keeping is not None:
            until = start + timedelta(seconds=(info.seconds or 0.0) + 1.0)
            with contextlib.suppress(VisavisError):  # a store that is held costs the warning, not the film
                if any(self._keeping.store.events(cameras=[camera.name], since=start, until=until, limit=1)):
                    self._report.warn(f"{camera.name} was gone through before: its events will be in the store twice")
        size = camera.min_face
        if size is None and info is not None:
            size = smallest_face(*shrunk_size(info.width, info.height, camera.longest))
        analyzer = self._settings.models.analyzer(min_face=size, threads=self._threads)
        lookout = camera.lookout(analyzer, self._gallery, self._settings.fpir, start)
        every = 1 / camera.fps if camera.fps and source.kind != "images" else 0.0
        looked = follow_source(
            source, lookout, analyzer, detect_every=camera.detect_every, every=every, stop=self._stopped
        )
        folder = self._keeping.pictures if self._keeping is not None and camera.snapshots else None
        for frame, _, events in looked:
            if frame is not None:
                self._frames += 1
                progress.at(frame.time, None if info is None else info.seconds)
            for event in events:
                yield event if frame is None or folder is None else self._pictured(event, frame.image, folder)
        self._cut_short = self._stopped.is_set()

    def _pictured(self, event: Event, image: Image, folder: Path) -> Event:
        try:
            return kept(event, image, folder)
        except OSError as error:  # a full disk costs pictures, not events
            self._report.warn(f"no snapshots: {reason(error)}")
            return event


def _keeping(
    stack: contextlib.ExitStack, report: Report, settings: Settings, gallery: Gallery | None
) -> Keeping | None:
    """Open the store of events, where something is to be kept or sent, and let the gallery know of it."""
    if settings.events is None:
        return None
    pictures = any(camera.snapshots for camera in settings.cameras)
    keep = None if settings.keep_days is None else timedelta(days=settings.keep_days)
    keeping = Keeping(
        settings.events, settings.alerts, keep=keep, pictures=settings.pictures or pictures, say=report.say
    )
    stack.enter_context(keeping)
    report.say(f"events are kept in {keeping.store.where}")
    report.fields(store=str(keeping.store.where))
    if gallery is not None:
        try:
            gallery.remember_events(settings.events)
        except StorageError as error:
            report.warn(f"erasing people from the gallery won't reach their events: {error}")
    return keeping


def _start(source: Any) -> tuple[datetime, VideoInfo | None]:
    """Return when a source's first picture was taken, and what its container says, where it is a file."""
    from visavis.video.frames import video
    from visavis.video.recording import started

    if source.kind != "file":
        return datetime.now(timezone.utc), None
    info = video(source.address)
    return started(source.address, info), info


def _gallery(stack: contextlib.ExitStack, report: Report, settings: Settings, analyzer: Analyzer) -> Gallery | None:
    """Open the gallery, and refuse one that can't name anybody."""
    if settings.gallery is None:
        return None
    gallery = stack.enter_context(GalleryFile(settings.gallery, settings.collection).open(analyzer))
    models = gallery.models
    if models and analyzer.model not in models:
        raise ModelMismatch(
            f"{settings.gallery} holds templates of {', '.join(models)}, not of {analyzer.model}; "
            f"watch with --recognizer {next(iter(models))}, or remake it: visavis gallery remake"
        )
    require_names(gallery, analyzer, Naming() if settings.fpir is None else Naming(fpir=settings.fpir))
    if not models:
        report.warn(f"{settings.gallery} holds nobody yet, so everybody is unknown")
    for warning in unenrolled(settings.alerts.rules, [subject.name for subject in gallery.list()]):
        report.warn(warning)
    return gallery


def _fetch(settings: Settings, analyzer: Analyzer) -> None:
    """Fetch models here, where it can be told what is under way, and not in each process."""
    models, store = settings.models, analyzer.store
    names = [models.detector, models.recognizer, *([models.landmarks] if models.landmarks else [])]
    if not any(store.card(name).five_points for name in names):
        names.append(FILLER)
    with under_way() as progress:
        for name in names:
            store.fetch(name, progress=progress)


@contextlib.contextmanager
def _ended_by_signals(stop: Any) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the watch in order; a second one ends it at once."""
    asked = False

    def handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        stop()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signals = [signal.SIGINT, signal.SIGTERM]
    before = [signal.signal(number, handle) for number in signals]
    try:
        yield
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)

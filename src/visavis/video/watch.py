"""Cameras watched at once: processes that capture and look for faces, kept alive, and the events that come of it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import queue
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

from visavis.errors import InputError
from visavis.events.event import Event
from visavis.models.session import usable_cores
from visavis.processes import line, python
from visavis.video.cameras import Camera, Models
from visavis.video.shared_frames import memory_folders
from visavis.video.status import CameraStatus
from visavis.video.task import Task

__all__ = ["Watch"]

_WAITS = (0.2, 1.0, 5.0, 15.0, 30.0)  # seconds before a worker is started again, for the nth time in a row
_CALM_SECONDS = 60.0
_CLOSE_SECONDS = 10.0
_HELD_EVENTS = 10_000  # that nobody took yet; then workers wait, and drop frames


class Watch:
    """Watches cameras until it is closed, or until all its sources have ended.

    Parameters
    ----------
    cameras
        Each with a name of its own.
    models
        What finds and embeds faces.
    gallery, collection, fpir
        Who is enrolled, and the share of strangers who may get a name. Without a gallery nobody is named. Who is
        enrolled or erased while it runs is heeded.
    snapshots
        Folder for pictures of events, for cameras that keep some.
    workers
        How many processes look for faces; None: one a core, and not more than there are cameras. With one a camera,
        the cameras share nothing.

    Raises
    ------
    InputError
        If there is no camera, or two have one name.

    Examples
    --------
    >>> with Watch([Camera(name="door", source="rtsp://...")], gallery="people.db") as watch:  # doctest: +SKIP
    ...     for event in watch.events():
    ...         print(event.camera, event.kind, event.subject)
    """

    def __init__(
        self,
        cameras: Sequence[Camera],
        *,
        models: Models | None = None,
        gallery: str | os.PathLike[str] | None = None,
        collection: str = "default",
        fpir: float | None = None,
        snapshots: str | os.PathLike[str] | None = None,
        workers: int | None = None,
    ) -> None:
        names = [camera.name for camera in cameras]
        if not names or len(set(names)) < len(names):
            raise InputError("a watch needs cameras, each with a name of its own")
        sources = [camera.parsed() for camera in cameras]
        cores = usable_cores()
        number = min(workers or cores, len(cameras))
        self._status = {name: CameraStatus(name) for name in names}
        self._live: dict[str, bool | None] = dict.fromkeys(names)
        self._restarts = dict.fromkeys(names, 0)  # of processes that have ended
        self._visits: dict[tuple[str, str, int], Event] = {}
        self._lock = threading.Lock()
        self._events: queue.Queue[Event | None] = queue.Queue(_HELD_EVENTS)
        self._closing = threading.Event()
        self._crews = [
            _Crew(
                self,
                Task(
                    tuple(cameras[i::number]),
                    tuple(sources[i::number]),
                    models or Models(),
                    max(cores // number, 1),
                    None if gallery is None else os.fspath(gallery),
                    collection,
                    fpir,
                    None if snapshots is None else os.fspath(snapshots),
                ),
            )
            for i in range(number)
        ]
        for crew in self._crews:
            crew.start()

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ---- what happens
    # -----------------------------------------------------------------------------------------------

    def next(self, timeout: float | None = None) -> Event | None:
        """Return the next event; None after ``timeout`` seconds without one, and when there will be none any more."""
        with contextlib.suppress(queue.Empty):
            event = self._events.get(timeout=timeout)
            if event is None:
                self._events.put(None)
            return event
        return None

    def events(self) -> Iterator[Event]:
        """Give events as they happen, until the watch is closed or all sources have ended."""
        while (event := self.next()) is not None:
            yield event

    def status(self) -> list[CameraStatus]:
        """Return how each camera is doing, in the order in which they were given."""
        with self._lock:
            return list(self._status.values())

    @property
    def ended(self) -> bool:
        """Whether all sources have ended: those of files played as cameras do."""
        return all(status.state == "ended" for status in self.status())

    @property
    def processes(self) -> list[int]:
        """Ids of the processes that look for faces; each has one a camera below it."""
        return [crew.child.pid for crew in self._crews if crew.child is not None]

    def stop(self) -> None:
        """Begin to end: may be called by a signal handler. `events` goes on to the last event."""
        self._closing.set()
        for crew in self._crews:
            crew.stop()

    def close(self) -> None:
        """End all processes; the last events can be taken afterwards. Closing twice is fine."""
        self.stop()
        for crew in self._crews:
            crew.join()

    # ---- what the workers tell: called by the threads of the crews
    # -------------------------------------------------

    def _tell(self, event: Event) -> None:
        if event.track is not None:
            visit = (event.camera, event.run, event.track)
            with self._lock:
                if event.kind == "left":
                    self._visits.pop(visit, None)
                elif event.subject is not None or visit not in self._visits:
                    self._visits[visit] = event
        self._events.put(event)

    def _state(self, name: str, state: str, why: str) -> None:
        """Take note of a camera's state; tell when it is lost, and when it is back."""
        with self._lock:
            self._status[name] = replace(self._status[name], state=state, problem=why)
            was, now = self._live[name], {"live": True, "lost": False}.get(state, self._live[name])
            self._live[name] = now
        if now is False and was is not False:
            self._tell(Event("camera_lost", name, datetime.now(timezone.utc), detail=why or None))
        elif now and was is False:
            self._tell(Event("camera_back", name, datetime.now(timezone.utc)))

    def _report(self, status: CameraStatus) -> None:
        with self._lock:
            self._status[status.name] = replace(status, restarts=status.restarts + self._restarts[status.name])

    def _died(self, names: Sequence[str], why: str) -> None:
        """Take note that a worker has ended. Whoever was before its cameras leaves: it can't tell any more."""
        with self._lock:
            left = [self._visits.pop(visit) for visit in list(self._visits) if visit[0] in names]
            for name in names:
                self._restarts[name] = self._status[name].restarts + 1
        now = datetime.now(timezone.utc)
        for event in left:
            self._tell(Event("left", event.camera, now, event.run, event.track, event.subject, detail=why))
        for name in names:
            self._state(name, "lost", why)

    def _ended(self, name: str) -> bool:
        with self._lock:
            return self._status[name].state == "ended"

    def _crew_ended(self) -> None:
        if all(crew.over for crew in self._crews):
            self._events.put(None)


class _Crew:
    """A worker process, started again when it dies, and the thread that listens to it."""

    def __init__(self, watch: Watch, task: Task) -> None:
        self._watch, self._task = watch, task
        self.names = [camera.name for camera in task.cameras]
        self.child: subprocess.Popen[bytes] | None = None
        self.over = False
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        child = self.child
        if child is not None and child.stdin is not None:
            with contextlib.suppress(OSError):
                child.stdin.close()

    def join(self) -> None:
        self._thread.join(_CLOSE_SECONDS)
        if self._thread.is_alive() and self.child is not None:
            self.child.kill()
            self._thread.join()

    def _run(self) -> None:
        failures = 0
        while not self._stopped.is_set():
            began = time.monotonic()
            why = self._serve()
            if self._stopped.is_set() or why is None:
                break
            failures = 0 if time.monotonic() - began > _CALM_SECONDS else failures
            self._watch._died(self.names, why)
            self._stopped.wait(_WAITS[min(failures, len(_WAITS) - 1)])
            failures += 1
        self.over = True
        self._watch._crew_ended()

    def _serve(self) -> str | None:
        """Run the worker until it ends; return why it did, None where all its sources have ended."""
        folders = [Path(tempfile.mkdtemp(prefix="visavis-", dir=folder)) for folder in memory_folders()]
        why = None
        try:
            child = self.child = python("visavis.video.worker", "main")
            assert child.stdin is not None
            assert child.stdout is not None
            task = replace(self._task, folders=tuple(str(folder) for folder in folders))
            with contextlib.suppress(OSError):
                child.stdin.write(line(dataclasses.asdict(task)))
                child.stdin.flush()
            if self._stopped.is_set():
                child.stdin.close()
            with child.stdout:
                for text in child.stdout:
                    if text.endswith(b"\n"):
                        why = self._heed(json.loads(text)) or why
            code = child.wait()
            with contextlib.suppress(OSError):
                child.stdin.close()
        finally:
            for folder in folders:
                shutil.rmtree(folder, ignore_errors=True)
        if why is None and all(self._watch._ended(name) for name in self.names):
            return None
        return why or f"its process ended ({code})"

    def _heed(self, told: dict[str, Any]) -> str | None:
        if "event" in told:
            self._watch._tell(Event.from_dict(told["event"]))
        elif "state" in told:
            self._watch._state(*told["state"])
        elif "status" in told:
            for values in told["status"]:
                self._watch._report(CameraStatus.from_dict(values))
        elif "failed" in told:
            return str(told["failed"])
        return None

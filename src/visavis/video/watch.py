"""Cameras watched at once: processes that capture and look for faces, kept alive, and the events that come of it."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

from visavis import errors
from visavis.errors import EngineError, InputError, VisavisError
from visavis.events.event import Event
from visavis.models.session import usable_cores
from visavis.video.cameras import Camera, Models
from visavis.video.crew import Crew
from visavis.video.status import CameraStatus
from visavis.video.task import Task

__all__ = ["Watch"]

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
    threads
        CPU cores that all workers together use; None: all.

    Raises
    ------
    InputError
        If there is no camera, two have one name, or a source can't be one.

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
        threads: int | None = None,
    ) -> None:
        names = [camera.name for camera in cameras]
        if not names or len(set(names)) < len(names):
            raise InputError("a watch needs cameras, each with a name of its own")
        sources = [camera.parsed() for camera in cameras]
        cores = threads or usable_cores()
        number = min(workers or cores, len(cameras))
        self._status = {name: CameraStatus(name) for name in names}
        self._live: dict[str, bool | None] = dict.fromkeys(names)
        self._restarts = dict.fromkeys(names, 0)  # of processes that have ended
        self._visits: dict[tuple[str, str, int], Event] = {}
        self._lock = threading.Lock()
        self._events = queue.SimpleQueue[Event | None]()
        self._closing = threading.Event()
        self._problem: VisavisError | None = None
        self._crews = [
            Crew(
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
                self._heed,
                self._died,
                self._crew_ended,
            )
            for i in range(number)
        ]
        self._views = {name: _View(crew) for crew in self._crews for name in crew.names}
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
        """Return the next event; None after ``timeout`` seconds without one, and when there will be none any more.

        Raises
        ------
        VisavisError
            What kept the watch from starting: a gallery or model that can't be had.
        """
        with contextlib.suppress(queue.Empty):
            event = self._events.get(timeout=timeout)
            if event is None:
                self._events.put(None)
                if self._problem is not None:
                    raise self._problem
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
    def closed(self) -> bool:
        """Whether it was told to end."""
        return self._closing.is_set()

    @property
    def processes(self) -> list[int]:
        """Ids of the processes that look for faces; each has one a camera below it."""
        return [crew.child.pid for crew in self._crews if crew.child is not None]

    def picture(
        self, camera: str, *, after: int | None = None, timeout: float | None = None
    ) -> tuple[int, bytes] | None:
        """Return a camera's next picture, small and with names, as JPEG. They are made while they are asked for.

        Parameters
        ----------
        camera
            Its name.
        after
            Number of the picture that is known already; None: what comes from now on.
        timeout
            Seconds to wait for one.

        Returns
        -------
        The picture's number, and the picture; None where none came.
        """
        view = self._views[camera]
        view.crew.want(camera)
        with view.changed:
            known = view.number if after is None else after
            if not view.changed.wait_for(lambda: view.number > known or self.closed, timeout) or self.closed:
                return None
            try:
                return view.number, Path(view.path).read_bytes()
            except OSError:  # its process has ended
                return None

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
    # --------------------------------------------------------------

    def _heed(self, crew: Crew, told: dict[str, Any]) -> None:
        if "event" in told:
            self._tell(Event.from_dict(told["event"]))
        elif "state" in told:
            self._state(*told["state"])
        elif "status" in told:
            for values in told["status"]:
                self._report(CameraStatus.from_dict(values))
        elif "picture" in told:
            name, path = told["picture"]
            view = self._views[name]
            with view.changed:
                view.path, view.number = path, view.number + 1
                view.changed.notify_all()
        elif "failed" in told and not crew.started:  # what keeps one worker from starting keeps all of them
            kind, text = told["failed"]
            self._problem = self._problem or getattr(errors, kind, EngineError)(text)
            self.stop()

    def _tell(self, event: Event) -> None:
        if event.track is not None:
            visit = (event.camera, event.run, event.track)
            with self._lock:
                if event.kind == "left":
                    self._visits.pop(visit, None)
                elif event.subject is not None or visit not in self._visits:
                    self._visits[visit] = event
        while self._events.qsize() >= _HELD_EVENTS and not self._closing.wait(0.05):
            pass
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

    def _died(self, crew: Crew, why: str) -> None:
        """Take note that a worker has ended. Whoever was before its cameras leaves: it can't tell any more."""
        names = crew.names
        with self._lock:
            left = [self._visits.pop(visit) for visit in list(self._visits) if visit[0] in names]
            for name in names:
                self._restarts[name] = self._status[name].restarts + 1
        now = datetime.now(timezone.utc)
        for event in left:
            self._tell(Event("left", event.camera, now, event.run, event.track, event.subject, detail=why))
        for name in names:
            self._state(name, "lost", why)

    def _crew_ended(self) -> None:
        if all(crew.over for crew in self._crews):
            self._events.put(None)


class _View:
    """The newest picture of a camera for those who look."""

    def __init__(self, crew: Crew) -> None:
        self.crew = crew
        self.changed = threading.Condition()
        self.number, self.path = 0, ""

"""A process that looks for faces in the pictures of some cameras, in fair turns.

Lines of JSON on standard input: first what to do, then which cameras somebody looks at. Standard output: ``event``,
``state`` of a camera when it changes, and ``status`` of all once a second.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import threading
import time
import traceback
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np

from visavis.errors import VisavisError
from visavis.events.event import Event
from visavis.files import reason
from visavis.gallery import Gallery, open_gallery
from visavis.pipeline import Analyzer
from visavis.processes import answers, line, restored
from visavis.types import Image
from visavis.video.cameras import Camera
from visavis.video.feed import Feed, Taken
from visavis.video.following import Seen, smallest_face
from visavis.video.frames import Frame
from visavis.video.lookout import Lookout
from visavis.video.preview import Previews
from visavis.video.snapshots import kept
from visavis.video.status import CameraStatus, Window, quantile
from visavis.video.task import Task
from visavis.video.tracking import Tracking

__all__ = ["main"]

_TEND_SECONDS = 0.2
_STATUS_SECONDS = 1.0
_END_SECONDS = 8.0  # that a worker gets to end in order when its parent has gone


class _Watched:
    """One camera: its feed, what follows its faces, and how it does."""

    def __init__(self, camera: Camera, feed: Feed) -> None:
        self.camera, self.feed = camera, feed
        self.lookout: Lookout | None = None
        self.served = 0.0
        self.told: tuple[str, str] = ("starting", "")
        self.frames = self.tracks = self.faces = 0
        self.people: tuple[str, ...] = ()
        self.problem = self.unsaved = ""
        self._last_track = 0
        self._latencies, self._looked, self._came = Window(), Window(), Window()
        self._came_before = 0

    def saw(self, taken: Taken, seen: Seen) -> None:
        now = time.monotonic()
        self.frames += 1
        self.faces = len(seen.faces)
        ended = {track.id for track in seen.ended}
        names = (person.subject for track, person in seen.people.items() if track not in ended)
        self.people = tuple(sorted({name for name in names if name is not None}))
        newest = max(seen.people, default=0)
        self.tracks += max(newest - self._last_track, 0)
        self._last_track = max(newest, self._last_track)
        self._latencies.add(now, now - taken.arrived)
        self._looked.add(now, 1)

    def forget(self) -> None:
        """Begin anew: the next track is the first again."""
        self.people, self.faces, self._last_track = (), 0, 0

    def status(self) -> CameraStatus:
        now = time.monotonic()
        self._came.add(now, self.feed.came - self._came_before)
        self._came_before = self.feed.came
        latencies = self._latencies.values(now)
        return CameraStatus(
            self.camera.name,
            self.feed.state,
            round(self._came.rate(now), 2),
            round(self._looked.rate(now), 2),
            quantile(latencies, 0.5),
            quantile(latencies, 0.95),
            self.frames,
            self.feed.dropped,
            self.tracks,
            self.people,
            self.faces,
            self.feed.restarts,
            self.feed.why or self.problem or self.unsaved,
        )


class _Worker:
    def __init__(self, task: Task, pipe: IO[bytes]) -> None:
        self._task, self._pipe = task, pipe
        self._changed = threading.Condition()
        self.stop = False
        folders = [Path(folder) for folder in task.folders]
        self._cameras = [
            _Watched(camera, Feed(source, camera.fps, folders, self.wake))
            for camera, source in zip(task.cameras, task.sources, strict=True)
        ]
        self._analyzers: dict[float, Analyzer] = {}
        self._gallery: Gallery | None = None
        self._telling = threading.Lock()
        self._folders = folders
        self.previews = Previews(folders[0], lambda camera, path: self._tell({"picture": [camera, path]}))

    def abandon(self) -> None:
        """End at once, whatever is under way."""
        self._clear()
        os._exit(1)

    def _clear(self) -> None:
        for folder in self._folders:  # our parent does so, too, unless it has gone
            shutil.rmtree(folder, ignore_errors=True)

    def wake(self) -> None:
        with self._changed:
            self._changed.notify()

    def run(self) -> None:
        """Look at pictures until told to stop."""
        for watched in self._cameras:  # as for small frames; how large they are tells the first one
            analyzer = self._analyzer(watched.camera.min_face or smallest_face(0, 0))
        if self._task.gallery is not None:
            self._gallery = open_gallery(self._task.gallery, collection=self._task.collection, analyzer=analyzer)
        tended = told = 0.0
        try:
            while not (self.stop or self._all_ended):
                now = time.monotonic()
                if now - tended >= _TEND_SECONDS:
                    tended = now
                    self._tend(now)
                if now - told >= _STATUS_SECONDS:
                    told = now
                    self._tell({"status": [watched.status().to_dict() for watched in self._cameras]})
                due = self._next()
                if due is not None:
                    self._look(due)
            for watched in self._cameras:
                self._finish(watched)
        finally:
            for watched in self._cameras:
                watched.feed.close()
            self._tell({"status": [watched.status().to_dict() for watched in self._cameras]})
            self._clear()
        if not self.stop:
            self._tell({"done": True})

    @property
    def _all_ended(self) -> bool:
        return all(watched.told[0] == "ended" and watched.lookout is None for watched in self._cameras)

    def _next(self) -> _Watched | None:
        """Return the camera with a picture whose last turn is the longest ago; wait a moment for one."""
        with self._changed:
            ready = [watched for watched in self._cameras if watched.feed.ready_since is not None]
            if not ready:
                self._changed.wait(_TEND_SECONDS)
                return None
            return min(ready, key=lambda watched: watched.served)

    def _tend(self, now: float) -> None:
        for watched in self._cameras:
            feed = watched.feed
            feed.tend(now)
            if feed.state == "ended" and feed.ready_since is not None:
                continue  # its last picture has not had its turn
            if watched.told != (feed.state, feed.why):
                watched.told = (feed.state, feed.why)
                self._tell({"state": [watched.camera.name, feed.state, feed.why]})
            gap = watched.camera.gap or Tracking().gap
            away = now - watched.served > gap and feed.state != "live"
            if watched.lookout is not None and feed.ready_since is None and (away or feed.state == "ended"):
                self._finish(watched)

    def _look(self, watched: _Watched) -> None:
        taken = watched.feed.take()
        watched.served = time.monotonic()
        if taken is None:
            return
        try:
            if watched.lookout is None:
                watched.lookout = self._lookout(watched.camera, taken)
            seen, events = watched.lookout.step(Frame(taken.number, taken.time, taken.image), taken.at)
            for event in events:
                self._event(watched, event, taken.image)
            watched.problem = seen.problem or ""
            watched.saw(taken, seen)
            self.previews.offer(watched.camera.name, taken.image, seen)
        except VisavisError as error:
            watched.problem = str(error)
        except Exception as error:  # noqa: BLE001 (a fault of ours in one camera's picture must not end the others)
            if not watched.problem:
                traceback.print_exc()
            watched.problem = f"a frame could not be looked at: {error}"

    def _finish(self, watched: _Watched) -> None:
        """Let everybody leave, as no pictures come."""
        if watched.lookout is None:
            return
        lookout, watched.lookout = watched.lookout, None
        watched.forget()
        for event in lookout.finish()[1]:
            self._event(watched, event, None)

    def _event(self, watched: _Watched, event: Event, image: Image | None) -> None:
        if watched.camera.snapshots and self._task.snapshots and image is not None:
            try:
                event, watched.unsaved = kept(event, image, Path(self._task.snapshots)), ""
            except OSError as error:
                watched.unsaved = f"no snapshots: {reason(error)}"
        self._tell({"event": event.to_dict()})

    def _lookout(self, camera: Camera, first: Taken) -> Lookout:
        at = datetime.fromtimestamp(first.at - first.time, timezone.utc)
        height, width = first.image.shape[:2]
        analyzer = self._analyzer(camera.min_face or smallest_face(width, height))
        return camera.lookout(analyzer, self._gallery, self._task.fpir, at)

    def _analyzer(self, size: float) -> Analyzer:
        if size not in self._analyzers:
            made = self._task.models.analyzer(min_face=size, threads=self._task.threads)
            made.analyze(np.zeros((64, 64, 3), np.uint8))  # what loads later keeps a frame waiting
            made.detect([np.zeros((64, 64, 3), np.uint8)])
            self._analyzers[size] = made
        return self._analyzers[size]

    def _tell(self, what: dict[str, Any]) -> None:
        with contextlib.suppress(OSError), self._telling:  # the parent has gone: the end of our input says so, too
            self._pipe.write(line(what))
            self._pipe.flush()


def main() -> None:
    """Serve one parent until it closes our standard input, or has gone."""
    pipe = answers()
    cv2.setNumThreads(1)
    worker = _Worker(restored(Task, json.loads(sys.stdin.buffer.readline())), pipe)

    def heed() -> None:
        for text in sys.stdin.buffer:
            worker.previews.want(*json.loads(text)["want"])
        threading.Timer(_END_SECONDS, worker.abandon).start()
        worker.stop = True
        worker.wake()

    threading.Thread(target=heed, daemon=True).start()
    try:
        worker.run()
    except VisavisError as error:
        with contextlib.suppress(OSError):
            pipe.write(line({"failed": [type(error).__name__, str(error)]}))
            pipe.flush()
    os._exit(0)

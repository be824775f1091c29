"""A worker process kept running: started, listened to, and started again when it dies or hangs."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

from visavis.files import reason
from visavis.processes import line, python
from visavis.video.shared_frames import frame_folders
from visavis.video.task import Task

__all__ = ["Crew"]

_WAITS = (0.2, 1.0, 5.0, 15.0, 30.0)  # seconds before a worker is started again, for the nth time in a row
_CALM_SECONDS = 60.0  # after which a failure is the first again
_SILENT_SECONDS = 30.0  # without a sign of life, which comes every second
_CLOSE_SECONDS = 10.0
_WANT_SECONDS = 4.0  # for which pictures are made after somebody asked for one


class Crew:
    """One worker and the cameras it works for.

    Parameters
    ----------
    task
        What it is told.
    heed
        Called with each thing it tells.
    died
        Called with this crew and a reason when it has ended and will be started again.
    over
        Called when it has ended for good: it was told to, or its sources have ended.

    Attributes
    ----------
    names
        Of its cameras.
    child
        The process that runs, or ran last.
    started
        Whether it ever came so far as to look for pictures.
    over
        Whether it has ended for good.
    """

    def __init__(
        self,
        task: Task,
        heed: Callable[[Crew, dict[str, Any]], None],
        died: Callable[[Crew, str], None],
        ended: Callable[[], None],
    ) -> None:
        self._task, self._tell, self._died, self._ended = task, heed, died, ended
        self.names = [camera.name for camera in task.cameras]
        self.child: subprocess.Popen[bytes] | None = None
        self.started = self.over = False
        self._stopped = threading.Event()
        self._writing = threading.RLock()  # a signal handler may come in between
        self._heard: float | None = None  # when the process, once it had started, gave a sign of life
        self._wanted: dict[str, float] = {}
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Start the process, and the threads that listen to it and look after it."""
        self._thread.start()
        threading.Thread(target=self._look_after, daemon=True).start()

    def stop(self) -> None:
        """Tell the process to end in order."""
        self._stopped.set()
        self._close_input()

    def join(self) -> None:
        """Wait until it has ended; end it where that takes too long."""
        self._thread.join(_CLOSE_SECONDS)
        if self._thread.is_alive() and self.child is not None:
            self.child.kill()
            self._thread.join()

    def want(self, camera: str) -> None:
        """Have pictures of a camera made for a while."""
        now = time.monotonic()
        if now - self._wanted.get(camera, 0.0) > _WANT_SECONDS / 4:
            self._wanted[camera] = now
            self._write({"want": [camera, _WANT_SECONDS]})

    def _run(self) -> None:
        failures = 0
        while not self._stopped.is_set():
            began = time.monotonic()
            try:
                why = self._serve()
            except OSError as error:  # no room, no process to be had: later there may be
                why = f"its process can't be started: {reason(error)}"
            if self._stopped.is_set() or why is None:
                break
            failures = 0 if time.monotonic() - began > _CALM_SECONDS else failures
            self._died(self, why)
            self._stopped.wait(_WAITS[min(failures, len(_WAITS) - 1)])
            failures += 1
        self.over = True
        self._stopped.set()
        self._ended()

    def _look_after(self) -> None:
        while not self._stopped.wait(1.0):
            heard, child = self._heard, self.child
            if heard is not None and child is not None and time.monotonic() - heard > _SILENT_SECONDS:
                self._heard = None
                child.kill()

    def _serve(self) -> str | None:
        """Run the worker until it ends; return why it did, None where all its sources have ended."""
        why, done = "", False
        with frame_folders() as folders:
            try:
                child = self.child = python("visavis.video.worker", "main")
                task = dataclasses.replace(self._task, folders=tuple(str(folder) for folder in folders))
                self._write(dataclasses.asdict(task))
                if self._stopped.is_set():
                    self._close_input()
                assert child.stdout is not None
                with child.stdout:
                    for text in child.stdout:
                        if not text.endswith(b"\n"):  # it died at it
                            break
                        told = json.loads(text)
                        if "status" in told:
                            self._heard, self.started = time.monotonic(), True
                        why, done = told.get("failed", [why])[-1], "done" in told
                        self._tell(self, told)
                code = child.wait()
                self._close_input()
            finally:
                self._heard = None
                self._wanted.clear()
        return None if done else why or f"its process ended ({code})"

    def _write(self, what: dict[str, Any]) -> None:
        with self._writing, contextlib.suppress(OSError, ValueError):  # it has ended, which its output tells
            if self.child is not None and self.child.stdin is not None:
                self.child.stdin.write(line(what))
                self.child.stdin.flush()

    def _close_input(self) -> None:
        with self._writing, contextlib.suppress(OSError):
            if self.child is not None and self.child.stdin is not None:
                self.child.stdin.close()

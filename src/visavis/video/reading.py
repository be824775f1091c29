"""A whole source at once, frame by frame: files, folders of photos and standard input, of which nothing is left out."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from visavis.events.event import Event
from visavis.pipeline import Analyzer
from visavis.video.following import Seen
from visavis.video.frames import Frame
from visavis.video.lookout import Lookout
from visavis.video.picture import every_so_often
from visavis.video.recording import detected
from visavis.video.sources import Source, pictures

__all__ = ["follow_source"]


def follow_source(
    source: Source,
    lookout: Lookout,
    analyzer: Analyzer,
    *,
    detect_every: int = 1,
    every: float = 0.0,
    stop: threading.Event | None = None,
) -> Iterator[tuple[Frame | None, Seen, list[Event]]]:
    """Give each frame looked at, what it shows and what happens in it, holding a few frames at a time.

    Faces are looked for on all of the analyzer's threads, and followed in the order of the frames. The last one given
    has no frame: it ends the tracks.

    Parameters
    ----------
    source
        Opened once, and read to its end.
    detect_every, every
        Only each such frame is looked at, and one in so many seconds.
    stop
        Ends the reading early: what is under way is finished.

    Raises
    ------
    InputError
        If it can't be read; of a file that was cut off, after all that could be read.
    """
    stop = stop or threading.Event()
    problem: list[Exception] = []

    def frames() -> Iterator[Frame]:
        some = (picture for picture in pictures(source, stop) if picture.number % detect_every == 0)
        try:
            for picture in every_so_often(some, every):
                yield Frame(picture.number, picture.time, picture.image())
        except Exception as error:  # noqa: BLE001 (told again below, when what came before it is done)
            problem.append(error)

    for frame, faces in detected(frames(), analyzer):
        yield frame, *lookout.step(frame, faces=faces)
        if stop.is_set():
            break
    yield None, *lookout.finish()
    if problem:
        raise problem[0]

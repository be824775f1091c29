"""One camera or file from frames to events: what live workers and whole files share."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime, timezone

from visavis.errors import InputError
from visavis.events.event import Event
from visavis.gallery import Gallery
from visavis.pipeline import Analyzer
from visavis.types import Faces
from visavis.video.following import Follower, Following, Seen
from visavis.video.frames import Frame
from visavis.video.places import Line, Zone
from visavis.video.scene import Scene

__all__ = ["Lookout"]


class Lookout:
    """Follows what one camera or file shows, and tells what happens there.

    It opens, writes and sends nothing: frames go in, what they showed and the events come out.

    Parameters
    ----------
    camera
        What its events are called by: a camera's name, a file's path.
    analyzer
        Finds faces; with a recognizer, embeds them too.
    gallery
        Gives the names; None: nobody gets one.
    how
        How faces are followed and named.
    lines, zones
        Where to look for ``line_crossed`` and ``dwell``.
    start
        UTC of second 0 of the frames' times.
    run
        Tells this start from others of the same camera; made here where none is given.

    Attributes
    ----------
    follower, scene
        Its two parts.
    """

    def __init__(
        self,
        camera: str,
        analyzer: Analyzer,
        gallery: Gallery | None = None,
        how: Following | None = None,
        *,
        start: datetime,
        lines: Sequence[Line] = (),
        zones: Sequence[Zone] = (),
        run: str = "",
    ) -> None:
        if start.tzinfo is None:
            raise InputError("start needs its time zone; times are UTC")
        self.follower = Follower(analyzer, gallery, how)
        self.scene = Scene(camera, start, run or secrets.token_hex(8), lines=lines, zones=zones)

    def step(self, frame: Frame, at: float | None = None, faces: Faces | None = None) -> tuple[Seen, list[Event]]:
        """Take the next frame; return what it showed and the events that came of it, to be written in this order.

        Parameters
        ----------
        frame
            Upright; its image is not kept. A picture of an event can be cut from it, see `visavis.video.snapshots`.
        at
            When it was taken, seconds since the epoch, UTC; None: ``start`` and the frame's time.
        faces
            Of the frame, where somebody detected them already.
        """
        seen = self.follower.step(frame, faces)
        return seen, self.scene.step(seen, None if at is None else datetime.fromtimestamp(at, timezone.utc))

    def finish(self) -> tuple[Seen, list[Event]]:
        """End all tracks, as the source has ended: everybody leaves. Frames may come again afterwards."""
        seen = self.follower.finish()
        return seen, self.scene.step(seen)

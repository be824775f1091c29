"""The people of a video on one picture: the best look at each, with the name and when they were seen."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from visavis.drawing import Lettering
from visavis.drawing.shapes import Color, blend
from visavis.errors import InputError
from visavis.image import load_image, resize
from visavis.types import Image
from visavis.video.identity import UNSEEN
from visavis.video.recording import Look, Recording

__all__ = ["Appearance", "appearances", "clock", "contact_sheet", "names_of"]

_PAPER: Color = (250, 250, 250)
_INK: Color = (24, 26, 30)
_FAINT: Color = (106, 110, 118)
_EMPTY: Color = (225, 227, 230)
_LONGEST = 12_000  # pixels of a sheet's side


@dataclass(frozen=True)
class Appearance:
    """Somebody in a video.

    Attributes
    ----------
    subject
        The name; None where there is none, and then it is one track.
    known
        Whether enough was seen to tell: without a ``subject`` it is nobody enrolled.
    tracks
        Their numbers, in the order in which they came.
    first, last
        Seconds of the first and the last sighting.
    look
        The best picture, where pictures were kept.
    """

    subject: str | None
    known: bool
    tracks: tuple[int, ...]
    first: float
    last: float
    look: Look | None = None


def appearances(recording: Recording, *, per_track: bool = False) -> list[Appearance]:
    """Return who is in a recording, in the order in which they came: a person once, and each track without a name.

    Parameters
    ----------
    per_track
        Give each track of a person on its own.
    """
    spans: dict[int, tuple[float, float]] = {}
    order = np.argsort(recording.tracks, kind="stable")  # times rise within a track
    tracks, starts = np.unique(recording.tracks[order], return_index=True)
    for track, rows in zip(tracks.tolist(), np.split(order, starts[1:]), strict=True) if len(order) else ():
        if track:
            spans[track] = (float(recording.times[rows[0]]), float(recording.times[rows[-1]]))
    groups: dict[object, list[int]] = defaultdict(list)
    for track in sorted(spans, key=lambda track: spans[track]):
        subject = recording.people.get(track, UNSEEN).subject
        groups[track if per_track or subject is None else subject].append(track)
    found = []
    for members in groups.values():
        person = recording.people.get(members[0], UNSEEN)
        looks = [recording.looks[track] for track in members if track in recording.looks]
        found.append(
            Appearance(
                person.subject,
                person.known,
                tuple(members),
                min(spans[track][0] for track in members),
                max(spans[track][1] for track in members),
                max(looks, key=lambda look: look.worth, default=None),
            )
        )
    return found


def names_of(found: Sequence[Appearance], unknown: str = "unknown") -> list[str]:
    """Return what each is called: who has no name is counted.

    Examples
    --------
    >>> names_of([Appearance(None, True, (1,), 0, 1), Appearance("ada", True, (2,), 0, 1)])
    ['unknown 1', 'ada']
    """
    names, strangers = [], 0
    for one in found:
        strangers += one.subject is None
        names.append(one.subject or f"{unknown} {strangers}")
    return names


def clock(seconds: float) -> str:
    """Return a time in a video as players show it.

    Examples
    --------
    >>> clock(7.9), clock(75), clock(3671.2)
    ('0:07', '1:15', '1:01:11')
    """
    whole = int(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def contact_sheet(
    found: Sequence[Appearance],
    *,
    title: str = "",
    side: int = 200,
    unknown: str = "unknown",
    lettering: Lettering | None = None,
) -> Image:
    """Return a picture with a cell for each appearance: its best look, the name, when it was first and last seen.

    Parameters
    ----------
    title
        Stands above; nothing leaves it out.
    side
        Pixels of a look; less where a sheet of so many would get too large.
    unknown
        What is written for who has no name, with a number behind it.

    Raises
    ------
    InputError
        If there is nobody.
    """
    if not found:
        raise InputError("a contact sheet needs somebody to show")
    lettering = lettering or Lettering()
    columns = min(len(found), max(4, math.ceil(math.sqrt(1.4 * len(found)))))
    rows = math.ceil(len(found) / columns)
    side = max(min(side, _LONGEST // columns - 16, int(_LONGEST / rows / 1.4)), 16)
    em, gap = max(round(0.085 * side), 8), max(round(0.08 * side), 2)
    width, height = side + gap, side + round(3.4 * em) + gap
    head = round(2.4 * em) + gap if title else gap
    sheet = np.full((head + rows * height, gap + columns * width, 3), _PAPER, np.uint8)
    if title:
        _write(sheet, title, gap, gap + round(1.3 * em), 1.25 * em, sheet.shape[1] - 2 * gap, _INK, lettering)
    for i, (one, name) in enumerate(zip(found, names_of(found, unknown), strict=True)):
        x, y = gap + i % columns * width, head + i // columns * height
        sheet[y : y + side, x : x + side] = _EMPTY
        if one.look is not None:
            picture = _fitted(load_image(one.look.jpeg), side)
            top, left = (side - picture.shape[0]) // 2, (side - picture.shape[1]) // 2
            sheet[y + top : y + top + picture.shape[0], x + left : x + left + picture.shape[1]] = picture
        _write(sheet, name, x, y + side + round(1.4 * em), em, side, _INK if one.subject else _FAINT, lettering)
        when = f"{clock(one.first)} – {clock(one.last)}"
        _write(sheet, when, x, y + side + round(2.7 * em), 0.82 * em, side, _FAINT, lettering)
    lettering.warn()
    return sheet


def _fitted(image: Image, side: int) -> Image:
    share = side / max(image.shape[:2])
    return resize(image, max(round(image.shape[1] * share), 1), max(round(image.shape[0] * share), 1))


def _write(
    sheet: Image, text: str, x: int, baseline: int, em: float, width: float, color: Color, lettering: Lettering
) -> None:
    line = lettering.line(text, em)
    if line.width > width:  # smaller before shorter
        line = lettering.line(text, max(0.75 * em, em * width / line.width), width)
    if line.text:
        mask, (left, top) = line.mask()
        blend(sheet, (x - left, baseline - top), mask, color)

"""One picture of a source, decoded and not converted yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from visavis.errors import InputError
from visavis.types import Image

__all__ = ["Picture", "every_so_often"]


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture of a source, decoded but not converted yet.

    It may be kept, and drawn later or never; it holds the decoder's memory as long.

    Attributes
    ----------
    number
        0 for the first of the source, counted as they are shown.
    time
        Seconds since the first, from its own time stamp: right at a variable frame rate too.
    at
        When it was decoded: seconds since 1970, UTC.
    width, height
        Upright, in square pixels, turned and shrunk as was asked.
    """

    number: int
    time: float
    at: float
    width: int
    height: int
    _draw: Callable[[Image], None] = field(repr=False)

    def draw(self, into: Image) -> None:
        """Convert it straight into an array.

        Parameters
        ----------
        into
            Uint8 ``(height, width, 3)``, contiguous; RGB afterwards.

        Raises
        ------
        InputError
            If the array is another.
        """
        if into.shape != (self.height, self.width, 3) or into.dtype != np.uint8 or not into.flags.c_contiguous:
            raise InputError(
                f"a picture of {self.width}x{self.height} is drawn into a contiguous uint8 array of shape "
                f"({self.height}, {self.width}, 3), not {into.dtype} {into.shape}"
            )
        self._draw(into)

    def image(self) -> Image:
        """Return it as a new array, RGB uint8 ``(height, width, 3)``."""
        into = np.empty((self.height, self.width, 3), np.uint8)
        self._draw(into)
        return into


def every_so_often(pictures: Iterable[Picture], seconds: float) -> Iterator[Picture]:
    """Give the first picture at or after each multiple of so many seconds; with 0, all."""
    step = -1
    for picture in pictures:
        # Time stamps are rounded to the container's ticks, mostly of a millisecond or less.
        due = int((picture.time + 1e-3) // seconds) if seconds else picture.number
        if due != step:
            step = due
            yield picture

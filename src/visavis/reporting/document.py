"""What a report holds: sections of text, tables, curves and pictures, and everything measured as plain values.

A document is made by whoever measured something, and knows nothing of how it is shown: `visavis.reporting.page` writes
it as one HTML file that needs no other, and its ``results`` as JSON beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from visavis.errors import InputError

__all__ = [
    "Bars",
    "Curve",
    "Document",
    "Figure",
    "Part",
    "Picture",
    "Pictures",
    "Scale",
    "Section",
    "Spans",
    "Table",
    "Text",
]

Scale = Literal["linear", "log", "probit"]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Text:
    """A paragraph, plain text."""

    text: str


@dataclass(frozen=True)
class Table:
    """Rows of cells under column titles; numbers are given as they are to be read.

    Attributes
    ----------
    numeric
        Which columns stand to the right; by default all but the first.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    numeric: Sequence[bool] | None = None

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise InputError(f"the table {self.title!r} has {len(self.columns)} columns and a row of {len(row)}")


@dataclass(frozen=True, eq=False)
class Curve:
    """A line of a figure: ``x``, ``y`` ``(n,)``, and where known the band ``low`` to ``high`` around y."""

    name: str
    x: Floats
    y: Floats
    low: Floats | None = None
    high: Floats | None = None


@dataclass(frozen=True, eq=False)
class Figure:
    """Curves on common axes.

    Attributes
    ----------
    x_scale, y_scale
        ``"log"`` leaves out what is 0, ``"probit"`` what is 0 or 1: nothing of the kind has a place there.
    description
        What is seen, in words, for who can't see it.
    steps
        Each value holds until the next x, as in a histogram; drawn without markers.
    x_limits, y_limits
        What is shown, lowest and highest; by default everything.
    """

    title: str
    x_label: str
    y_label: str
    curves: Sequence[Curve]
    x_scale: Scale = "linear"
    y_scale: Scale = "linear"
    description: str = ""
    steps: bool = False
    x_limits: tuple[float, float] | None = None
    y_limits: tuple[float, float] | None = None


@dataclass(frozen=True, eq=False)
class Bars:
    """Values of named things side by side, with intervals where known: ``values`` ``(series, n)``."""

    title: str
    y_label: str
    names: Sequence[str]
    series: Sequence[str]
    values: Floats
    low: Floats | None = None
    high: Floats | None = None
    y_scale: Scale = "linear"
    description: str = ""


@dataclass(frozen=True, eq=False)
class Spans:
    """From when to when, of named things one below the other: ``spans`` has a list of begins and ends for each name."""

    title: str
    x_label: str
    names: Sequence[str]
    spans: Sequence[Sequence[tuple[float, float]]]
    description: str = ""


@dataclass(frozen=True, eq=False)
class Picture:
    """An RGB array ``(h, w, 3)`` uint8, with what stands below it."""

    image: npt.NDArray[np.uint8]
    caption: str = ""


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures that belong together, a row each: the two photos of a pair, the faces of a cluster."""

    title: str
    rows: Sequence[Sequence[Picture]]
    captions: Sequence[str] = ()
    note: str = ""


Part = Text | Table | Figure | Bars | Spans | Pictures


@dataclass(frozen=True)
class Section:
    """Parts under a heading."""

    title: str
    parts: Sequence[Part]


@dataclass(frozen=True)
class Document:
    """A report.

    Attributes
    ----------
    title, summary
        What was measured, and what came out, in a sentence or two.
    sections
        What is shown.
    facts
        Settings, versions, hashes: what is needed to do it again.
    results
        Everything measured, as plain values: the JSON file.
    """

    title: str
    summary: str
    sections: Sequence[Section]
    facts: Sequence[tuple[str, str]] = ()
    results: dict[str, Any] = field(default_factory=dict)

"""Names in any script, set in one line as anti-aliased masks and shortened to fit."""

from __future__ import annotations

import os
import re
import unicodedata
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from visavis.drawing.fonts import Font, Fonts

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

__all__ = ["FontWarning", "Lettering", "Line", "clean"]

_MAX_CHARACTERS = 200
_MAX_MARKS = 3  # combining marks on one letter; no script of names has more
_JOINERS = "\u200c\u200d"  # Persian and Indic names need them
# Letters that Unicode does not take apart, for a machine without any font that has them.
_PLAIN = str.maketrans(
    {"Ł": "L", "ł": "l", "Ø": "O", "ø": "o", "Đ": "D", "đ": "d", "Ħ": "H", "ħ": "h", "ı": "i", "ß": "ss"}
    | {"Æ": "Ae", "æ": "ae", "Œ": "Oe", "œ": "oe", "Þ": "Th", "þ": "th", "Ð": "D", "ð": "d", "·": ".", "’": "'"}
)


class FontWarning(UserWarning):
    """A name has characters that no font at hand can draw."""


def clean(text: str) -> str:
    """Return ``text`` as one harmless line of at most 200 characters, in composed form.

    Line breaks and tabs become spaces. Control, direction-override and unassigned characters go, and so do
    combining marks beyond three on a letter.

    Examples
    --------
    >>> clean(" Ada" + chr(10) + "Lovelace" + chr(0))
    'Ada Lovelace'
    """
    kept: list[str] = []
    marks = 0
    for character in unicodedata.normalize("NFC", text[: 4 * _MAX_CHARACTERS]):
        category = unicodedata.category(character)
        if character.isspace():
            character = " "
        elif (category[0] == "C" and character not in _JOINERS) or "\ufe00" <= character <= "\ufe0f":
            continue
        marks = marks + 1 if category == "Mn" else 0
        if marks <= _MAX_MARKS:
            kept.append(character)
    line = " ".join("".join(kept).split())
    return line if len(line) <= _MAX_CHARACTERS else line[: _MAX_CHARACTERS - 1].rstrip() + "…"


@dataclass(frozen=True)
class Line:
    """Text set at one size: runs of one font each, and their width together in pixels."""

    text: str
    size: int
    runs: tuple[tuple[FreeTypeFont, str], ...]
    width: float

    def mask(self) -> tuple[npt.NDArray[np.float32], tuple[int, int]]:
        """Return coverage 0..1, float32 ``(h, w)``, and where in it the baseline begins (x, y)."""
        from PIL import Image as Pillow
        from PIL import ImageDraw

        origin = (self.size, 2 * self.size)  # room for what leans out of the line
        sheet = Pillow.new("L", (int(self.width) + 2 * self.size + 1, 3 * self.size))
        pen, x = ImageDraw.Draw(sheet), float(origin[0])
        for font, text in self.runs:
            pen.text((x, origin[1]), text, font=font, fill=255, anchor="ls")
            x += font.getlength(text)
        return np.asarray(sheet, np.float32) / np.float32(255), origin


class Lettering:
    """Sets names in lines. Keep one for many pictures: it looks up each font once, and warns once.

    A font is chosen for the whole name where one covers it, so that accents and mixed scripts look alike.
    Right-to-left names are in visual order where Pillow was built with Raqm, as its wheels are.

    Parameters
    ----------
    font
        A font file to prefer; by default Pillow's own for ASCII, then the system's, then the model store's.
    fetch
        Whether to fetch a font into the model store when a name can't be drawn otherwise.

    Raises
    ------
    InputError
        If ``font`` is missing or not a font.

    Examples
    --------
    >>> Lettering().line("Ada Lovelace", size=20, width=90).text
    'Ada Lov…'
    """

    def __init__(self, font: str | os.PathLike[str] | None = None, *, fetch: bool = True) -> None:
        self._fonts = Fonts(font, fetch=fetch)
        self._undrawable: set[str] = set()
        self._warned: set[str] = set()

    def line(self, text: str, size: float, width: float = float("inf")) -> Line:
        """Set ``text`` at ``size`` pixels an em; what exceeds ``width`` pixels gives way to an ellipsis."""
        em = max(1, round(size))
        whole = self._set(clean(text), em)
        if whole.width <= width:
            return whole
        best, low, high = Line("", em, (), 0.0), 1, len(whole.text) - 1
        while low <= high:  # the longest beginning that fits
            middle = end = (low + high) // 2
            while end and unicodedata.category(whole.text[end])[0] == "M":
                end -= 1  # an accent stays with its letter
            part = self._set(whole.text[:end].rstrip() + "…", em)
            if part.width <= width and end:
                best, low = part, middle + 1
            else:
                high = middle - 1
        return best

    def warn(self) -> None:
        """Warn of the scripts that could not be drawn since the last call, once each."""
        scripts = {unicodedata.name(c, "unnamed").split()[0].lower() for c in self._undrawable} - self._warned
        self._undrawable.clear()
        if scripts:
            self._warned |= scripts
            which = ", ".join(sorted(scripts))
            why = "".join(f"; fetching {name}: {error}" for name, error in self._fonts.failures.items())
            message = f"no font at hand has all characters of a name ({which}); give a font file that does{why}"
            warnings.warn(message, FontWarning, stacklevel=3)

    def _set(self, text: str, em: int) -> Line:
        runs = tuple((font.at(em), part) for font, part in self._runs(text))
        return Line(text, em, runs, sum(font.getlength(part) for font, part in runs))

    def _runs(self, text: str) -> list[tuple[Font, str]]:
        """Split text into runs of one font: one run if a font has it all, else by word, else by character."""
        whole = self._fonts.covering(text)
        if whole is not None:
            return [(whole, text)]
        runs: list[tuple[Font, str]] = []
        for word in re.findall(r"\s+|\S+", text):
            font = self._fonts.covering(word)
            pieces = [(font, word)] if font is not None else map(self._piece, word)
            for chosen, piece in pieces:
                if runs and (chosen is runs[-1][0] or piece.isspace()):
                    runs[-1] = (runs[-1][0], runs[-1][1] + piece)
                else:
                    runs.append((chosen, piece))
        return runs

    def _piece(self, character: str) -> tuple[Font, str]:
        font = self._fonts.covering(character)
        if font is not None:
            return font, character
        self._undrawable.add(character)
        letters = unicodedata.normalize("NFKD", character.translate(_PLAIN))
        plain = "".join(c for c in letters if self._fonts.built_in.has(c))
        return self._fonts.built_in, plain or character  # better a letter without its accent than none

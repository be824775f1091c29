"""Which font can draw a name: the caller's, Pillow's own, the system's, or one from the model store."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visavis.errors import InputError, VisavisError

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

__all__ = ["Font", "Fonts"]

_BY_SCRIPT = -1  # index in a Noto CJK collection: 0 Japanese, 1 Korean, 2 Simplified Chinese
_KANA = re.compile("[\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f]")
_HANGUL = re.compile("[\u1100-\u11ff\u3130-\u318f\uac00-\ud7ff]")

# Where systems keep fonts, best first. Paths of all platforms stand together: what is absent is skipped.
SYSTEM_FONTS: tuple[tuple[str, int], ...] = (
    # Latin, Greek, Cyrillic, some with Arabic and Hebrew
    ("/usr/share/fonts/truetype/noto/NotoSans-Regular.ttf", 0),
    ("/usr/share/fonts/google-noto-vf/NotoSans[wght].ttf", 0),
    ("/usr/share/fonts/noto/NotoSans-Regular.ttf", 0),
    ("/System/Library/Fonts/HelveticaNeue.ttc", 0),
    ("C:/Windows/Fonts/segoeui.ttf", 0),
    ("/usr/share/fonts/truetype/liberation/LiberationSans-Regular.ttf", 0),
    ("/usr/share/fonts/liberation-sans/LiberationSans-Regular.ttf", 0),
    ("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf", 0),
    ("/usr/share/fonts/dejavu-sans-fonts/DejaVuSans.ttf", 0),
    ("/usr/share/fonts/TTF/DejaVuSans.ttf", 0),
    # Chinese, Japanese, Korean
    ("/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc", _BY_SCRIPT),
    ("/usr/share/fonts/noto-cjk/NotoSansCJK-Regular.ttc", _BY_SCRIPT),
    ("/usr/share/fonts/google-noto-cjk/NotoSansCJK-Regular.ttc", _BY_SCRIPT),
    ("/usr/share/fonts/google-noto-sans-cjk-vf-fonts/NotoSansCJK-VF.ttc", _BY_SCRIPT),
    ("/System/Library/Fonts/PingFang.ttc", 0),
    ("/System/Library/Fonts/Hiragino Sans GB.ttc", 0),
    ("/System/Library/Fonts/STHeiti Light.ttc", 0),
    ("/System/Library/Fonts/AppleSDGothicNeo.ttc", 0),
    ("/System/Library/Fonts/Supplemental/Arial Unicode.ttf", 0),
    ("C:/Windows/Fonts/msyh.ttc", 0),
    ("C:/Windows/Fonts/YuGothM.ttc", 0),
    ("C:/Windows/Fonts/malgun.ttf", 0),
    ("C:/Windows/Fonts/simsun.ttc", 0),
    ("/usr/share/fonts/truetype/wqy/wqy-microhei.ttc", 0),
    ("/usr/share/fonts/truetype/wqy/wqy-zenhei.ttc", 0),
    ("/usr/share/fonts/wenquanyi/wqy-microhei/wqy-microhei.ttc", 0),
    ("/usr/share/fonts/truetype/droid/DroidSansFallbackFull.ttf", 0),
    # Other scripts
    ("/usr/share/fonts/truetype/noto/NotoSansArabic-Regular.ttf", 0),
    ("/usr/share/fonts/truetype/noto/NotoSansHebrew-Regular.ttf", 0),
    ("/usr/share/fonts/truetype/noto/NotoSansDevanagari-Regular.ttf", 0),
    ("/usr/share/fonts/truetype/noto/NotoSansThai-Regular.ttf", 0),
    ("/System/Library/Fonts/Supplemental/Arial.ttf", 0),
    ("/System/Library/Fonts/Kohinoor.ttc", 0),
    ("/System/Library/Fonts/Thonburi.ttc", 0),
    ("C:/Windows/Fonts/Nirmala.ttc", 0),
    ("C:/Windows/Fonts/Nirmala.ttf", 0),
    ("C:/Windows/Fonts/LeelawUI.ttf", 0),
)

# Fonts of the model store, each with the characters that are worth fetching it.
STORE_FONTS: tuple[tuple[str, int, re.Pattern[str]], ...] = (
    ("noto-sans", 0, re.compile("[\u00a1-\u052f\u0900-\u097f\u1c80-\u1fff\u2c60-\u2c7f\ua640-\ua69f]")),
    (
        "noto-sans-cjk",
        _BY_SCRIPT,
        re.compile(
            "[\u1100-\u11ff\u2e80-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\uff01-\uffee\U00020000-\U0003ffff]"
        ),
    ),
)

_PROBE = 24  # pixels an em at which characters are looked up
_UNASSIGNED = "\U0010ffff"  # no font has it: its picture is the font's sign for a missing character
_INVISIBLE = "\u200c\u200d"  # joiners, which shape their neighbors


@dataclass
class Font:
    """A font file, at any size, and which characters it can draw."""

    path: str | None  # None: the one that Pillow carries, ASCII only
    index: int = 0
    _sizes: dict[int, FreeTypeFont] = field(default_factory=dict)
    _has: dict[str, bool] = field(default_factory=dict)
    _missing: Any = None

    def at(self, size: int) -> FreeTypeFont:
        """Return the font at ``size`` pixels an em; OSError if the file is not a font."""
        from PIL import ImageFont

        if size not in self._sizes:
            if self.path is None:
                font = ImageFont.load_default(size)
                assert isinstance(font, ImageFont.FreeTypeFont), "this Pillow was built without FreeType"
            else:
                font = ImageFont.truetype(self.path, size, self.index)
                _set_medium_weight(font)
            self._sizes[size] = font
        return self._sizes[size]

    def has(self, character: str) -> bool:
        """Say whether the font draws ``character`` as something other than its sign for a missing one."""
        if character.isspace() or character in _INVISIBLE:
            return True
        if character not in self._has:
            self._missing = self._missing or self._picture(_UNASSIGNED)
            self._has[character] = self._picture(character) != self._missing
        return self._has[character]

    def _picture(self, character: str) -> tuple[tuple[int, int], bytes]:
        mask = self.at(_PROBE).getmask(character)
        return mask.size, bytes(mask)


def _set_medium_weight(font: FreeTypeFont) -> None:
    """Give a variable font a weight that reads well on a plate; some start at their thinnest."""
    try:
        axes: Any = font.get_variation_axes()
        font.set_variation_by_axes(
            [min(500, axis["maximum"]) if axis["name"] == b"Weight" else axis["default"] for axis in axes]
        )
    except (OSError, NotImplementedError):  # not a variable font
        return


class Fonts:
    """The fonts at hand, opened when a character first needs them.

    Parameters
    ----------
    font
        A font file of the caller's, preferred to all others.
    fetch
        Whether a font may be fetched into the model store when a name can't be drawn otherwise.

    Raises
    ------
    InputError
        If ``font`` is missing or not a font.
    """

    def __init__(self, font: str | os.PathLike[str] | None = None, *, fetch: bool = True) -> None:
        self.built_in = Font(None)
        self.failures: dict[str, str] = {}  # store fonts that could not be had, and why
        self._opened: dict[tuple[str, int], Font | None] = {}
        self._stored: list[tuple[str, int]] = []
        self._wanted = dict.fromkeys((row[0] for row in STORE_FONTS) if fetch else ())
        self._own: Font | None = None
        if font is not None:
            self._own = Font(os.fspath(font))
            try:
                self._own.at(_PROBE)
            except (OSError, ValueError) as error:
                name = os.fspath(font)
                raise InputError(f"{name!r} is no usable font ({error}); give a .ttf, .otf or .ttc") from None

    def covering(self, text: str) -> Font | None:
        """Return the first font that has every character of ``text``; one from the store if it must be."""
        font = self._covering(text)
        if font is None and self._fetch(text):
            font = self._covering(text)
        return font

    def _covering(self, text: str) -> Font | None:
        return next((font for font in self._all(text) if all(map(font.has, text))), None)

    def _all(self, text: str) -> Iterator[Font]:
        if self._own is not None:
            yield self._own
        yield self.built_in
        for path, index in (*SYSTEM_FONTS, *self._stored):
            if index == _BY_SCRIPT:
                index = 0 if _KANA.search(text) else 1 if _HANGUL.search(text) else 2
            if (path, index) not in self._opened:
                self._opened[path, index] = _usable(Font(path, index))
            font = self._opened[path, index]
            if font is not None:
                yield font

    def _fetch(self, text: str) -> bool:
        """Get the store's fonts for characters that no font at hand has; say whether there is a new one."""
        from visavis.models.store import Store

        missing = "".join(c for c in set(text) if self._covering(c) is None)
        fetched = False
        for name, index, worth in STORE_FONTS:
            if name in self._wanted and worth.search(missing):
                del self._wanted[name]
                try:
                    self._stored.append((str(Store().path(name)), index))
                    fetched = True
                except VisavisError as error:
                    self.failures[name] = str(error)
        return fetched


def _usable(font: Font) -> Font | None:
    if font.path is None or not Path(font.path).is_file():
        return None
    try:
        font.at(_PROBE)
    except (OSError, ValueError):
        return None
    return font

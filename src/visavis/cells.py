"""Cells of CSV files that people open in spreadsheets: none of them is computed."""

from __future__ import annotations

import re

__all__ = ["harmless", "unharmed"]

_FORMULA = re.compile(r"'*[=+\-@\t\r]")  # what spreadsheets compute, and what was kept from that before


def harmless(cell: object) -> object:
    """Return a cell of a CSV file that people open: text that a spreadsheet would compute gets an apostrophe.

    A photo may be called ``=HYPERLINK(...)``. Numbers stay as they are. `unharmed` gives the text back.

    Examples
    --------
    >>> harmless("=1+1.jpg"), harmless("ada/-1.jpg"), harmless(-0.25)
    ("'=1+1.jpg", 'ada/-1.jpg', -0.25)
    """
    return f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) else cell


def unharmed(cell: str) -> str:
    """Return the text that `harmless` was given.

    Examples
    --------
    >>> unharmed("'=1+1.jpg"), unharmed("'s-Gravenhage")
    ('=1+1.jpg', "'s-Gravenhage")
    """
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell

"""A document as one HTML file that needs no other and runs no script, and its results as JSON beside it."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import math
import os
import tempfile
import unicodedata
from collections.abc import Callable, Mapping
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import numpy as np

from visavis.errors import EngineError, InputError, StorageError
from visavis.files import printable_path
from visavis.models.durable import write_whole
from visavis.reporting import plots
from visavis.reporting.document import Bars, Document, Figure, Part, Picture, Pictures, Spans, Table, Text

__all__ = ["SCHEMA", "json_path", "render", "require_target", "write"]

SCHEMA = 1
"""Version of the JSON file's shape: raised when a field changes its meaning or goes, not when one is added."""

_SIDE = 224  # pixels of a picture's longer side on the page: sharp at the size of 112 it is shown in
_PICTURES = 2000  # on a page: some 20 MB
_QUALITY = 80
_DIRECTIONS = {*"\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"}


def write(document: Document, path: str | os.PathLike[str]) -> None:
    """Write a document as ``FILE.html`` and its results as ``FILE.json``, each whole or not at all.

    Parameters
    ----------
    path
        The page, ``.html`` or ``.htm``. Missing folders above it are made.

    Raises
    ------
    InputError
        If it has another suffix, or the document holds what can't be shown.
    StorageError
        If it can't be written; what was there before stays.
    EngineError
        If a package of ``visavis[evaluate]`` is missing.
    """
    require_target(path)
    page, data = render(document), _json(document)
    for target, content in ((Path(path), page), (json_path(path), data)):
        try:
            write_whole(target, content)
        except OSError as error:
            raise StorageError(f"{printable_path(target)} can't be written: {error.strerror or error}") from None


def require_target(path: str | os.PathLike[str]) -> None:
    """Raise what `write` would raise of the path and the packages: to be called before long work.

    Raises
    ------
    InputError, StorageError, EngineError
        As `write`.
    """
    plots.require_library()
    _environment()
    path = Path(path)
    name = printable_path(path)
    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"a report is an HTML page: name it as report.html, not {name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise StorageError(f"{name} can't be written: {error.strerror or error}") from None
    for target in (path, json_path(path)):
        if target.is_dir():
            raise InputError(f"{printable_path(target)} is a folder; give the report another name")


def json_path(path: str | os.PathLike[str]) -> Path:
    """Return where the results of a page lie.

    Examples
    --------
    >>> json_path("lfw.html").name
    'lfw.json'
    """
    return Path(path).with_suffix(".json")


def render(document: Document) -> bytes:
    """Return a document as an HTML file, UTF-8; the same document gives the same bytes.

    Raises
    ------
    InputError
        If a figure's arrays differ in length, or a picture is no RGB uint8 array.
    EngineError
        If a package of ``visavis[evaluate]`` is missing.
    """
    environment = _environment()
    figures, pictures = iter(range(1_000_000)), iter(range(1_000_000))
    environment.globals.update(
        kind=_kind,
        svg=lambda part: plots.svg(part, f"f{next(figures)}"),
        style=plots.style,
        data_uri=_data_uri,
        shown=lambda _: next(pictures) < _PICTURES,
        limit=_PICTURES,
        figure_names=_figure_names,
        numeric=_numeric,
        css=resources.files("visavis.reporting").joinpath("page.css").read_text("utf-8"),
    )
    template = resources.files("visavis.reporting").joinpath("page.html.jinja").read_text("utf-8")
    text: str = environment.from_string(template).render(document=document)
    return text.encode("utf-8")


def _environment() -> Any:
    try:
        import jinja2
    except ImportError as error:
        raise EngineError(f"reports need {error.name}: pip install 'visavis[evaluate]'") from None
    return jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_visible
    )


def _visible(value: Any) -> Any:
    """Return a text without what a page can't hold or what would turn the direction of its neighbors."""
    if type(value) is not str:  # what is markup already is kept
        return value
    return "".join(
        "\ufffd" if c in _DIRECTIONS or (unicodedata.category(c) in ("Cc", "Cs") and c != "\n") else c for c in value
    )


_KINDS: Mapping[type, str] = {
    Text: "text",
    Table: "table",
    Figure: "figure",
    Bars: "figure",
    Spans: "figure",
    Pictures: "pictures",
}


def _kind(part: Part) -> str:
    if type(part) not in _KINDS:
        raise InputError(f"a section holds texts, tables, figures, bars, spans and pictures, not {type(part).__name__}")
    return _KINDS[type(part)]


def _figure_names(part: Figure | Bars | Spans) -> list[str]:
    if isinstance(part, Spans):
        return []  # they stand beside their bars
    return [curve.name for curve in part.curves] if isinstance(part, Figure) else list(part.series)


def _numeric(table: Table) -> list[bool]:
    given = table.numeric
    return [i > 0 for i in range(len(table.columns))] if given is None else list(given)


def _data_uri(picture: Picture) -> str:
    """Return a picture as the address that holds it, shrunk to what a page shows."""
    from PIL import Image as Pillow

    image = np.asarray(picture.image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise InputError(f"a picture is uint8 (h, w, 3), not {image.dtype} {image.shape}")
    shrunk = Pillow.fromarray(np.ascontiguousarray(image))
    shrunk.thumbnail((_SIDE, _SIDE), Pillow.Resampling.LANCZOS)
    file = io.BytesIO()
    shrunk.save(file, "JPEG", quality=_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def _json(document: Document) -> bytes:

    content = {
        "visavis": metadata.version("visavis"),
        "schema": SCHEMA,
        "title": document.title,
        "summary": document.summary,
        "facts": [{"name": name, "value": value} for name, value in document.facts],
        "results": _plain(document.results),
    }
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1)
    return (text + "\n").encode("utf-8", "backslashreplace")  # a lone surrogate becomes JSON's own escape


def _plain(value: Any) -> Any:
    """Return a value as strict JSON knows it: NaN and infinity become null."""
    if isinstance(value, (bool, int, str)) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return _plain(value.tolist())
    to_dict: Callable[[], Any] | None = getattr(value, "to_dict", None)
    if to_dict is not None:
        return _plain(to_dict())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(dataclasses.asdict(value))
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise InputError(f"results hold plain values, not {type(value).__name__}")

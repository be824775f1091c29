"""Figures as SVG that a page holds in itself: its colors follow the page, its text stays text.

The colors are those of Okabe and Ito ("Color Universal Design", 2008), told apart with any color vision; dashes and
markers differ as well, so that a print in gray can be read. The same figure gives the same bytes.
"""

from __future__ import annotations

import html
import io
import math
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.errors import EngineError, InputError
from visavis.reporting.document import Bars, Curve, Figure, Scale, Spans

__all__ = ["Style", "described", "require_library", "style", "svg"]

Floats = npt.NDArray[np.float64]

_WIDTH, _HEIGHT = 5.0, 3.5  # inches of 72 points: text of 10 points stays legible on a phone
_INK, _GRID = "#1a1a1b", "#d9d9da"
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", _INK)
_DASHES = ((), (6.0, 2.0), (2.0, 1.5), (6.0, 2.0, 1.5, 2.0), (10.0, 3.0))
_MARKERS = {
    "o": "M9 6a3 3 0 1 1 -6 0a3 3 0 1 1 6 0z",
    "s": "M3 3h6v6h-6z",
    "^": "M6 2.5l3.5 6.5h-7z",
    "D": "M6 2l4 4l-4 4l-4 -4z",
    "v": "M6 9.5l3.5 -6.5h-7z",
    "X": "M3 2l3 2.5l3 -2.5l1 1l-2.5 3l2.5 3l-1 1l-3 -2.5l-3 2.5l-1 -1l2.5 -3l-2.5 -3z",
    "P": "M5 2h2v3h3v2h-3v3h-2v-3h-3v-2h3z",
    "p": "M6 2l4 3l-1.5 4.7h-5l-1.5 -4.7z",
}
"""Each marker of matplotlib's, and its outline in a box of 12 for the legend."""
_HATCHES = {
    "": "",
    "///": "M4 12L16 0M12 12L24 0M20 12L32 0M28 12L36 4",
    "...": "M8 3h1M16 3h1M24 3h1M32 3h1M12 8h1M20 8h1M28 8h1",
    "\\\\\\": "M4 0L16 12M12 0L24 12M20 0L32 12M28 0L36 8",
    "xxx": "M4 12L16 0L28 12L36 4M4 0L16 12L28 0L36 8",
    "---": "M4 3H36M4 6H36M4 9H36",
    "|||": "M10 0V12M16 0V12M22 0V12M28 0V12",
}
"""Each hatch of matplotlib's, and what the legend shows of it in a box of 40 x 12."""
_GRAIN = 400  # places told apart along an axis: more points than that show nothing more
_PROBITS = (1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95, 0.99, 0.999, 1 - 1e-4, 1 - 1e-5, 1 - 1e-6)
_LONGEST = 40  # characters of a bar's name


@dataclass(frozen=True)
class Style:
    """How the curve or bars of a number look: the CSS color, the dashes, the outlines of marker and hatch."""

    color: str
    dashes: tuple[float, ...]
    outline: str
    hatch: str


def require_library() -> None:
    """Raise `EngineError`, which says what to install, where matplotlib or SciPy is missing."""
    try:
        import matplotlib  # noqa: F401
        import scipy.special  # noqa: F401
    except ImportError as error:
        raise EngineError(f"reports need {error.name}: pip install 'visavis[evaluate]'") from None


def style(number: int) -> Style:
    """Return the looks of the curve of a number, from 0 on; 280 differ."""
    color = _css(_COLORS[number % len(_COLORS)])
    markers, hatches = list(_MARKERS.values()), list(_HATCHES.values())
    dashes = _DASHES[number % len(_DASHES)]
    return Style(color, dashes, markers[number % len(markers)], hatches[number % len(hatches)])


def described(part: Figure | Bars | Spans) -> str:
    """Return what a figure shows, in words: its own description, else its title, axes and curves."""
    if part.description:
        return part.description
    if isinstance(part, Spans):
        return f"{part.title}: {part.x_label}; {', '.join(part.names)}"
    names = [curve.name for curve in part.curves] if isinstance(part, Figure) else list(part.series)
    axes = f"{part.y_label} against {part.x_label}" if isinstance(part, Figure) else part.y_label
    return f"{part.title}: {axes}; {', '.join(names)}"


def svg(part: Figure | Bars | Spans, prefix: str = "f") -> str:
    """Return a figure as an ``<svg>`` element for an HTML page.

    Parameters
    ----------
    prefix
        What its ids begin with, different for each figure of a page.

    Raises
    ------
    InputError
        If a curve's arrays differ in length, or the values of bars in shape.
    EngineError
        If matplotlib is missing.
    """
    require_library()
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    settings = {
        "svg.fonttype": "none",
        "svg.hashsalt": prefix,
        "text.parse_math": False,
        "font.size": 10,
        "axes.edgecolor": _INK,
        "axes.labelcolor": _INK,
        "text.color": _INK,
        "xtick.color": _INK,
        "ytick.color": _INK,
        "hatch.color": _INK,
        "hatch.linewidth": 0.5,
        "grid.color": _GRID,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    # Letters that matplotlib's own font lacks are drawn by the reader's browser, which has them.
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        height = _HEIGHT if isinstance(part, Figure) else _bars_height(part)
        canvas = Canvas(figsize=(_WIDTH, height), layout="constrained")
        axes = canvas.add_subplot()
        if isinstance(part, Figure):
            _draw_curves(axes, part)
        elif isinstance(part, Spans):
            _draw_spans(axes, part)
        else:
            _draw_bars(axes, part)
        file = io.StringIO()
        canvas.savefig(file, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format")))
    return _for_page(file.getvalue(), part, prefix)


def _draw_curves(axes: Any, figure: Figure) -> None:
    curves = [_checked(figure, curve) for curve in figure.curves]
    axes.grid(True, linewidth=0.6)
    axes.set_axisbelow(True)
    xs = [curve.x for curve in curves]
    ys = [array for curve in curves for array in (curve.y, curve.low, curve.high) if array is not None]
    x_limits = figure.x_limits or _limits(xs, figure.x_scale)
    y_limits = figure.y_limits or _limits(ys, figure.y_scale)
    _scale(axes.xaxis, figure.x_scale, x_limits)
    _scale(axes.yaxis, figure.y_scale, y_limits)
    for number, curve in enumerate(curves):
        color, dashes = _COLORS[number % len(_COLORS)], _DASHES[number % len(_DASHES)]
        marker = list(_MARKERS)[number % len(_MARKERS)]
        x, y, low, high = _thinned(curve, figure, x_limits, y_limits)
        if low is not None and high is not None:
            step = {"step": "post"} if figure.steps else {}
            axes.fill_between(x, low, high, color=color, alpha=0.18, linewidth=0, **step)
        drawn = {"color": color, "linewidth": 1.5, "linestyle": (0, dashes) if dashes else "-"}
        if figure.steps:
            axes.step(x, y, where="post", **drawn)
        else:
            few = np.isfinite(y).sum() <= 12  # matplotlib spaces no marks on a line of nothing
            every = None if few else (0.02 + 0.03 * (number % 4), 0.16)
            axes.plot(x, y, marker=marker, markersize=4.5, markevery=every, **drawn)
    axes.set_xlabel(figure.x_label)
    axes.set_ylabel(figure.y_label)
    axes.set_xlim(*_widened(x_limits, figure.x_scale))
    axes.set_ylim(*_widened(y_limits, figure.y_scale))


def _checked(figure: Figure, curve: Curve) -> Curve:
    arrays = {name: getattr(curve, name) for name in ("x", "y", "low", "high")}
    arrays = {name: None if a is None else np.asarray(a, np.float64) for name, a in arrays.items()}
    shapes = {a.shape for a in arrays.values() if a is not None}
    if len(shapes) != 1 or len(next(iter(shapes))) != 1:
        raise InputError(f"{curve.name!r} in the figure {figure.title!r} has arrays of shapes {sorted(shapes)}")
    return Curve(curve.name, **arrays)


def _thinned(
    curve: Curve, figure: Figure, x_limits: tuple[float, float], y_limits: tuple[float, float]
) -> tuple[Floats, Floats, Floats | None, Floats | None]:
    """Return the points of a curve that can be told apart, those that have no place on the axes moved to their edge."""
    x, y = _clipped(curve.x, figure.x_scale, x_limits), _clipped(curve.y, figure.y_scale, y_limits)
    low, high = (None if band is None else _clipped(band, figure.y_scale, y_limits) for band in (curve.low, curve.high))
    if figure.y_scale != "linear":  # a line to the edge says that the curve goes on below; one along it would be a rate
        inside = np.pad(curve.y > 0, 1)
        y = np.where(inside[:-2] | inside[1:-1] | inside[2:], y, np.nan)
    if len(x) > _GRAIN:
        across = [_places(x, figure.x_scale, x_limits), _places(y, figure.y_scale, y_limits)]
        changed = np.any([np.diff(places, prepend=np.nan) != 0 for places in across], axis=0)
        keep = changed | np.append(changed[1:], True)  # the last point before a change too: corners stay corners
        x, y, low, high = (a if a is None else a[keep] for a in (x, y, low, high))  # type: ignore[assignment]
    return x, y, low, high


def _places(values: Floats, scale: Scale, limits: tuple[float, float]) -> Floats:
    forward = _transform(scale)
    start, end = forward(np.array(limits))
    return np.asarray(np.round((forward(values) - start) / ((end - start) or 1) * _GRAIN))


def _transform(scale: Scale) -> Callable[[Floats], Floats]:
    if scale == "linear":
        return lambda values: values
    if scale == "log":
        return np.log10
    from scipy.special import ndtri

    return lambda values: np.asarray(ndtri(values))


def _limits(arrays: Sequence[Floats], scale: Scale) -> tuple[float, float]:
    """Return the lowest and highest value that the scale can show."""
    values = np.concatenate([array[np.isfinite(array)] for array in arrays] or [np.empty(0)])
    if scale != "linear":
        values = values[values > 0]
    if scale == "probit":
        values = values[values < 1]
    if not len(values):
        return (0.0, 1.0) if scale == "linear" else (0.01, 0.5)
    low, high = float(values.min()), float(values.max())
    if scale == "log":
        low, high = 10 ** np.floor(np.log10(low) + 1e-9), max(high, 10 ** np.floor(np.log10(low) + 1 + 1e-9))
    if low == high:
        span = 0.5 if scale == "linear" else low / 2
        low, high = low - span, min(high + span, 1 - 1e-9) if scale == "probit" else high + span
    return float(low), float(high)


def _widened(limits: tuple[float, float], scale: Scale) -> tuple[float, float]:
    """Return limits with a little air, so that no line lies on an axis."""
    low, high = limits
    if scale == "linear":
        air = 0.03 * (high - low)
        return low - air, high + air
    if scale == "log":
        factor = (high / low) ** 0.03
        return low / factor, high * factor
    from scipy.special import ndtr, ndtri

    ends = ndtri(np.array(limits))
    air = 0.03 * float(ends[1] - ends[0])
    return float(ndtr(ends[0] - air)), float(ndtr(ends[1] + air))


def _clipped(values: Floats, scale: Scale, limits: tuple[float, float]) -> Floats:
    if scale == "linear":
        return values
    low, high = _widened(limits, scale)
    return np.clip(values, low, high)


def _scale(axis: Any, scale: Scale, limits: tuple[float, float]) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

    if scale == "log":
        axis.axes.set(**{f"{axis.axis_name}scale": "log"})
        first, last = (round(float(v)) for v in np.floor(np.log10(np.array(limits)) + 1e-9))
        every = max((last - first) // 7 + 1, 1)
        axis.set_major_locator(FixedLocator([10.0**power for power in range(first, last + 2, every)]))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(_number))
    elif scale == "probit":
        from scipy.special import ndtr, ndtri

        functions = (lambda v: ndtri(np.clip(v, 1e-12, 1 - 1e-12)), ndtr)
        getattr(axis.axes, f"set_{axis.axis_name}scale")("function", functions=functions)
        low, high = _widened(limits, scale)
        axis.set_major_locator(FixedLocator([tick for tick in _PROBITS if low <= tick <= high]))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(_number))
    else:
        axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))


def _number(value: float, _: Any = None) -> str:
    """Return a rate as a tick says it.

    Examples
    --------
    >>> _number(1e-5), _number(0.001), _number(0.05), _number(0.999), _number(100)
    ('1e-5', '0.001', '0.05', '0.999', '100')
    """
    if 0 < value < 0.001 * (1 - 1e-9):
        mantissa, _, exponent = f"{value:.0e}".partition("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{value:.7g}"


def _bars_height(bars: Bars | Spans) -> float:
    rows = len(bars.names) * (len(bars.series) + 0.7 if isinstance(bars, Bars) else 1.7)
    return float(np.clip(0.8 + 0.17 * rows, 1.6, 40))


def _draw_bars(axes: Any, bars: Bars) -> None:
    """Draw names from top to bottom: horizontal bars leave room for them."""
    values = np.asarray(bars.values, np.float64)
    shape = (len(bars.series), len(bars.names))
    low, high = (None if band is None else np.asarray(band, np.float64) for band in (bars.low, bars.high))
    if any(a is not None and a.shape != shape for a in (values, low, high)):
        raise InputError(f"the bars {bars.title!r} need values {shape}, not {values.shape}")
    limits = _limits([a.ravel() for a in (values, low, high) if a is not None], bars.y_scale)
    if bars.y_scale == "linear":
        limits = (min(limits[0], 0.0), max(limits[1], 0.0))
    _scale(axes.xaxis, bars.y_scale, limits)
    thick = 0.8 / max(len(bars.series), 1)
    for number in range(len(bars.series)):
        at = np.arange(len(bars.names)) + (number - (len(bars.series) - 1) / 2) * thick
        shown = _clipped(values[number], bars.y_scale, limits)
        color = _COLORS[number % len(_COLORS)]
        if bars.y_scale == "linear":
            hatch = list(_HATCHES)[number % len(_HATCHES)]
            axes.barh(at, shown, thick * 0.9, color=color, hatch=hatch, edgecolor=_INK, linewidth=0.5)
        else:  # a bar would have to begin at 0, which has no place here
            axes.plot(shown, at, linestyle="", marker=list(_MARKERS)[number % len(_MARKERS)], markersize=5, color=color)
        if low is not None and high is not None:
            ends = [_clipped(band[number], bars.y_scale, limits) for band in (low, high)]
            axes.hlines(at, *ends, colors=_INK, linewidth=1)
            axes.plot(np.concatenate(ends), np.tile(at, 2), linestyle="", marker="|", markersize=4, color=_INK)
    _name_rows(axes, bars.names)
    axes.set_xlim(*(_widened(limits, bars.y_scale) if bars.y_scale != "linear" else (limits[0], limits[1] * 1.03)))
    axes.set_xlabel(bars.y_label)


def _draw_spans(axes: Any, part: Spans) -> None:
    if len(part.spans) != len(part.names):
        raise InputError(f"the spans {part.title!r} need a list for each of {len(part.names)} names")
    ends = [end for spans in part.spans for span in spans for end in span]
    if not all(math.isfinite(end) for end in ends) or any(low > high for spans in part.spans for low, high in spans):
        raise InputError(f"the spans {part.title!r} must be finite and end after they begin")
    low, high = min(ends, default=0.0), max(ends, default=0.0)
    for number, spans in enumerate(part.spans):
        lengths = [(begin, end - begin) for begin, end in spans]
        # The edge keeps a moment of a long day visible.
        axes.broken_barh(lengths, (number - 0.35, 0.7), color=_COLORS[0], edgecolor=_COLORS[0], linewidth=1)
    _name_rows(axes, part.names)
    axes.set_xlim(low, max(high, low + 1e-3))
    axes.set_xlabel(part.x_label)


def _name_rows(axes: Any, given: Sequence[str]) -> None:
    """Write names at the left of rows, the first on top."""
    axes.grid(True, axis="x", linewidth=0.6)
    axes.set_axisbelow(True)
    names = [name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…" for name in given]
    axes.set_yticks(np.arange(len(names)), names)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(max(len(names), 1) - 0.5, -0.5)


def _css(color: str) -> str:
    """Return a color as the page may change it for a dark screen."""
    if color == _INK:
        return "currentColor"
    return f"var(--grid,{color})" if color == _GRID else f"var(--series-{_COLORS.index(color) + 1},{color})"


def _for_page(text: str, part: Figure | Bars | Spans, prefix: str) -> str:
    """Return matplotlib's file as an element: no prolog, no metadata, no style of its own, ids of its own."""
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<style[^>]*>.*?</style>", "", text, flags=re.DOTALL)
    head, _, rest = text.partition(">")
    box = re.search(r'viewBox="[\d. ]+"', head)
    assert box is not None
    used = set(re.findall(r'(?:url\(#|xlink:href="#)([^)"]+)', rest))
    rest = re.sub(r' id="([^"]*)"', lambda m: f' id="{prefix}-{m[1]}"' if m[1] in used else "", rest)
    rest = re.sub(r'(url\(#|xlink:href="#)', lambda m: m[1].replace("xlink:", "") + prefix + "-", rest)
    rest = re.sub(r" font-family: [^;\"]*(;|(?=\"))", "", rest)
    rest = re.sub(r'(?<= d=")[^"]*', lambda m: " ".join(m[0].split()), rest)
    rest = re.sub(r' (?:d|x|y|transform)="[^"]*"', lambda m: re.sub(r"(\.\d\d)\d+", r"\1", m[0]), rest)
    for color in (*_COLORS, _GRID):
        rest = re.sub(rf"(?<=: ){color}(?=[;\"])", _css(color), rest)
    return f'<svg {box[0]} role="img" aria-label="{html.escape(described(part))}">{rest}'

"""What figures draw, read back from the SVG, against what they were given."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from scipy.special import ndtri

from visavis.errors import InputError
from visavis.reporting.document import Bars, Curve, Figure, Scale, Spans
from visavis.reporting.plots import described, style, svg


def lines(text: str, number: int) -> np.ndarray:
    """Return the points (n, 2) of the curve of a number, in the SVG's own units."""
    color = re.escape(style(number).color)
    paths = re.findall(rf'<path d="([^"]*)" clip-path="[^"]*" style="fill: none;[^"]*stroke: {color}', text)
    assert len(paths) == 1
    return np.array([[float(v) for v in point] for point in re.findall(r"[ML] (\S+) (\S+)", paths[0])])


def ticks(text: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", text)


FORWARD = {"linear": lambda v: v, "log": np.log10, "probit": ndtri}


@pytest.mark.parametrize("scale", ["linear", "log", "probit"])
def test_points_lie_where_their_values_say(scale: Scale) -> None:
    x = np.geomspace(1e-4, 0.9, 12)
    y = np.linspace(0.2, 0.8, 12) ** 2
    drawn = lines(svg(Figure("t", "x", "y", [Curve("a", x, y)], scale, scale)), 0)
    for given, seen in ((FORWARD[scale](x), drawn[:, 0]), (FORWARD[scale](y), drawn[:, 1])):
        slope, offset = np.polyfit(given, seen, 1)
        assert np.abs(slope * given + offset - seen).max() < 0.05
    assert drawn[-1, 0] > drawn[0, 0]  # to the right
    assert drawn[-1, 1] < drawn[0, 1]  # and up


def test_a_curve_of_many_points_is_thinned_where_nobody_sees_it() -> None:
    x = np.geomspace(1e-6, 1, 300_000)
    y = x**0.3
    text = svg(Figure("t", "x", "y", [Curve("a", x, y, y * 0.9, y)], "log"))
    assert len(text) < 200_000
    few = lines(svg(Figure("t", "x", "y", [Curve("a", x[::100], y[::100], y[::100], y[::100])], "log")), 0)
    many = lines(text, 0)
    assert np.abs(np.interp(many[:, 0], few[:, 0], few[:, 1]) - many[:, 1]).max() < 1.5


def test_what_has_no_place_lies_at_the_edge() -> None:
    drawn = lines(svg(Figure("t", "x", "y", [Curve("a", np.array([0, 1e-3, 1]), np.array([0, 0.5, 1]))], "log")), 0)
    assert np.isfinite(drawn).all()
    assert drawn[0, 0] < drawn[1, 0] < drawn[2, 0]


def test_a_rate_of_zero_is_not_drawn_as_a_rate() -> None:
    y = np.array([0.5, 0.1, 0.01, 0, 0, 0, 0])
    drawn = lines(svg(Figure("t", "x", "y", [Curve("a", np.arange(7.0), y)], y_scale="log")), 0)
    assert len(drawn) == 4  # three rates, and the way down to the edge


def test_rates_are_written_as_rates() -> None:
    x = np.geomspace(1e-6, 0.5, 20)
    assert {"1e-6", "0.01"} <= set(ticks(svg(Figure("t", "x", "y", [Curve("a", x, x)], "log"))))
    assert {"1e-4", "0.01", "0.2"} <= set(ticks(svg(Figure("t", "x", "y", [Curve("a", x, x)], "probit"))))


def test_limits() -> None:
    x = np.linspace(0, 10, 11)
    text = svg(Figure("t", "x", "y", [Curve("a", x, x)], x_limits=(0, 4), y_limits=(0, 4)))
    assert {"2", "4"} <= set(ticks(text))
    assert "10" not in ticks(text)


@pytest.mark.parametrize("scale", ["linear", "log", "probit"])
@pytest.mark.parametrize("values", [[], [0.0], [0.3], [0.2, 0.2], [np.nan, 0.5], [0.0, 0.0], [1.0, 1.0]])
def test_curves_of_little(scale: Scale, values: list[float]) -> None:
    array = np.array(values, float)
    figure = Figure("t", "x", "y", [Curve("a", array, array, array, array)], scale, scale)
    assert svg(figure).endswith("</svg>")
    assert svg(Figure("t", "x", "y", [], scale, scale)).endswith("</svg>")


def test_arrays_of_unequal_length() -> None:
    with pytest.raises(InputError, match="'a' in the figure 't'"):
        svg(Figure("t", "x", "y", [Curve("a", np.zeros(3), np.zeros(2))]))
    with pytest.raises(InputError, match=r"need values \(1, 2\)"):
        svg(Bars("t", "y", ["a", "b"], ["s"], np.zeros((2, 2))))


def test_lengths_of_bars() -> None:
    text = svg(Bars("t", "y", ["a", "b", "c"], ["s"], np.array([[0.1, 0.2, 0.4]])))
    paths = re.findall(rf'<path d="([^"]*)"[^>]*style="fill: {re.escape(style(0).color)}', text)
    ends = [[float(v) for v in re.findall(r"[ML] (\S+) ", path)] for path in paths]
    lengths = np.array([max(row) - min(row) for row in ends])
    assert lengths / lengths[0] == pytest.approx([1, 2, 4], rel=2e-3)


def test_intervals_of_bars_are_drawn_on_each_scale() -> None:
    values = np.array([[1e-3, 2e-3], [1e-2, 0.0]])
    for scale in ("linear", "log"):
        bars = Bars("t", "y", ["a", "b"], ["s", "u"], values, values / 2, values * 2, scale)  # type: ignore[arg-type]
        assert svg(bars).count("<path") > 8


def test_looks_differ() -> None:
    assert len({(s.color, s.dashes, s.outline) for s in map(style, range(280))}) == 280


def test_the_same_figure_is_the_same_text_and_holds_no_date() -> None:
    figure = Figure("t", "x", "y", [Curve("a", np.arange(3.0), np.arange(3.0))])
    assert svg(figure) == svg(figure)
    assert "metadata" not in svg(figure)
    assert "<style" not in svg(figure)  # it would hold for the whole page


def test_it_is_well_formed_and_says_what_it_shows() -> None:
    figure = Figure('"<t>"', "$x_1$", "王", [Curve("a&b", np.arange(3.0), np.arange(3.0))])
    root = ElementTree.fromstring(svg(figure))
    assert root.attrib["aria-label"] == described(figure) == '"<t>": 王 against $x_1$; a&b'
    words = ["".join(text.itertext()) for text in root.iter("text")]
    assert "$x_1$" in words
    assert "王" in words


def test_spans_stand_beside_their_names() -> None:
    part = Spans("Stays", "minutes", ["ada", "王芳"], [[(0.0, 2.0), (5.0, 5.0)], [(1.0, 9.0)]])
    drawn = svg(part)
    assert "ada" in drawn
    assert "王芳" in drawn
    assert described(part) == "Stays: minutes; ada, 王芳"
    assert "<svg" in svg(Spans("None", "minutes", [], []))
    for wrong in ([[(0.0, 1.0)]], [[(1.0, 0.0)], []], [[(0.0, float("nan"))], []]):
        with pytest.raises(InputError, match="the spans"):
            svg(Spans("Stays", "minutes", ["ada", "bob"], wrong))

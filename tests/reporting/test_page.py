"""The page is whole in itself, escapes everything, and says in words what it shows."""

from __future__ import annotations

import base64
import io
import json
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from visavis.errors import EngineError, InputError, StorageError
from visavis.evaluation.intervals import Estimate
from visavis.reporting import page
from visavis.reporting.document import (
    Bars,
    Curve,
    Document,
    Figure,
    Part,
    Picture,
    Pictures,
    Section,
    Table,
    Text,
)

EVIL = "<script>alert('x')</script> \"&' 王芳"
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """What a browser sees: elements with their attributes, and text by element."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(content.decode("utf-8"))
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and data.strip():
            self.texts.append((self._open[-1], data.strip()))

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def said(self, tag: str) -> list[str]:
        return [text for name, text in self.texts if name == tag]


def document(*parts: Part, name: str = "plain", **results: object) -> Document:
    return Document(name, name, [Section(name, parts)], [(name, name)], dict(results))


def everything(name: str) -> Document:
    x = np.geomspace(1e-4, 1, 50)
    image = np.arange(300 * 200 * 3, dtype=np.uint8).reshape(300, 200, 3)
    return document(
        Text(name),
        Table(name, [name, "b"], [[name, "1"], ["c", "2"]], note=name),
        Figure(name, name, name, [Curve(name, x, x**0.1, x**0.1 - 0.01, x**0.1), Curve("b", x, x)], "log"),
        Figure(name, name, name, [Curve(name, x[:-1], 0.1 * x[:-1])], "probit", "probit", description=name),
        Bars(name, name, [name, "men"], [name, "other"], np.array([[0.1, 0.2], [0.3, 0.1]])),
        Pictures(name, [[Picture(image, name), Picture(image)]], [name], note=name),
        name=name,
    )


def test_nothing_from_outside_and_nothing_that_runs() -> None:
    content = page.render(everything(EVIL))
    found = Page(content)
    tags = {tag for tag, _ in found.elements}
    assert not tags & {"script", "link", "iframe", "object", "embed", "base", "form", "foreignobject"}
    for tag, attributes in found.elements:
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("src", "href", "xlink:href", "srcset", "action"):
            if name in attributes:
                assert attributes[name].startswith(("#", "data:image/")), (tag, attributes[name])
    assert b"http:" not in content
    assert b"https:" not in content
    assert b"@import" not in content
    assert b"url(" not in content.replace(b"url(#", b"")
    policy = next(m["content"] for m in found.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert "script-src" not in policy  # so that the default, none, holds


def test_names_are_shown_as_they_are() -> None:
    found = Page(page.render(everything(EVIL)))
    for tag in ("title", "h1", "h2", "h3", "p", "caption", "th", "td", "figcaption", "li", "a", "text"):
        assert EVIL in found.said(tag), tag
    assert EVIL in [image["alt"] for image in found.all("img")]


def test_links_lead_to_places_on_the_page_and_ids_are_unique() -> None:
    found = Page(page.render(everything("a")))
    ids = [attributes["id"] for _, attributes in found.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = {a["href"][1:] for tag in ("a", "use") for a in found.all(tag)}
    assert len(found.all("a")) == 2
    assert wanted <= set(ids)


def test_figures_and_pictures_are_described() -> None:
    found = Page(page.render(everything("a")))
    figures = [svg for svg in found.all("svg") if svg.get("role") == "img"]
    assert [svg["aria-label"] for svg in figures] == ["a: a against a; a, b", "a", "a: a; a, other"]
    assert all(svg.get("aria-hidden") == "true" for svg in found.all("svg") if "role" not in svg)
    assert [image["alt"] for image in found.all("img")] == ["a", "a"]


def test_numbers_stand_to_the_right() -> None:
    table = Table("t", ["name", "n", "words"], [["a", "1", "x"]], numeric=[False, True, False])
    found = Page(page.render(document(table)))
    assert [cell.get("class") for cell in found.all("td")] == ["number", None, None]  # the last: a fact
    assert [cell.get("scope") for cell in found.all("th")] == ["col"] * 3 + ["row"] * 2


def test_the_same_document_gives_the_same_bytes() -> None:
    assert page.render(everything("a")) == page.render(everything("a"))


def test_pictures_are_shrunk() -> None:
    image = np.zeros((3000, 1500, 3), np.uint8)
    image[:, :, 0] = 255
    found = Page(page.render(document(Pictures("p", [[Picture(image)]]))))
    data = base64.b64decode(found.all("img")[0]["src"].partition("base64,")[2])
    with Image.open(io.BytesIO(data)) as shown:
        assert shown.format == "JPEG"
        assert shown.size == (112, 224)
        red, green, blue = shown.convert("RGB").getpixel((50, 100))  # type: ignore[misc]
    assert red > 240
    assert max(green, blue) < 15


def test_too_many_pictures_are_left_out_and_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "_PICTURES", 2)
    dot = Picture(np.zeros((4, 4, 3), np.uint8))
    found = Page(page.render(document(Pictures("p", [[dot, dot], [dot]]))))
    assert len(found.all("img")) == 2
    assert found.said("span") == ["not shown: more than 2 pictures"]


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)])
def test_what_is_no_picture(image: np.ndarray) -> None:
    with pytest.raises(InputError, match="a picture is uint8"):
        page.render(document(Pictures("p", [[Picture(image)]])))


@given(st.text(max_size=30))
def test_any_name_is_written(name: str) -> None:
    content = page.render(document(Text("x" + name), Table("t", ["a"], [[name]]), name=name or "x"))
    Page(content)
    assert "\x00" not in content.decode("utf-8")


def test_control_characters_and_turned_directions_are_not_passed_on() -> None:
    text = page.render(document(Text("a\x00b\u202ec\udcffd\x1b[0m"))).decode("utf-8")
    assert "a\ufffdb\ufffdc\ufffdd\ufffd[0m" in text


def test_json_beside_the_page(tmp_path: Path) -> None:
    values = {
        "nan": float("nan"),
        "infinite": [np.inf, -np.inf],
        "scalar": np.float32(0.5),
        "flag": np.bool_(True),
        "array": np.array([[1, 2], [3, 4]]),
        "nans": np.array([np.nan, 1.0]),
        "path": Path("a"),
        "name": "王\udcff",
        3: None,
    }
    target = tmp_path / "new" / "report.html"
    page.write(Document("t", "s", [], [("version", "1")], {"values": values}), target)
    assert sorted(file.name for file in target.parent.iterdir()) == ["report.html", "report.json"]

    def never(name: str) -> float:
        raise AssertionError(name)

    found = json.loads((target.parent / "report.json").read_text("utf-8"), parse_constant=never)
    assert found["schema"] == page.SCHEMA
    assert found["facts"] == [{"name": "version", "value": "1"}]
    assert found["results"]["values"] == {
        "nan": None,
        "infinite": [None, None],
        "scalar": 0.5,
        "flag": True,
        "array": [[1, 2], [3, 4]],
        "nans": [None, 1.0],
        "path": "a",
        "name": "王\udcff",
        "3": None,
    }


def test_results_that_are_no_values(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="plain values, not object"):
        page.write(document(what=object()), tmp_path / "a.html")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["report.pdf", "report", "report.json"])
def test_a_page_is_html(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"name it as report\.html"):
        page.write(document(), tmp_path / name)


def test_a_folder_where_the_page_should_lie(tmp_path: Path) -> None:
    (tmp_path / "a.html").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        page.require_target(tmp_path / "a.html")
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="can't be written"):
        page.require_target(tmp_path / "file" / "a.html")


def _full(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a.html"
    page.write(document(name="first"), target)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    monkeypatch.setattr("visavis.models.durable.os.fsync", _full)
    with pytest.raises(StorageError, match="No space left"):
        page.write(document(name="second"), target)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", ["jinja2", "matplotlib"])
def test_a_missing_package(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(EngineError, match=r"pip install 'visavis\[evaluate\]'"):
        page.require_target(tmp_path / "a.html")


def test_what_was_there_stays_when_the_next_can_not_be_made(tmp_path: Path) -> None:
    page.write(document(name="first"), tmp_path / "a.html")
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    wrong = Figure("f", "x", "y", [Curve("c", np.ones(2), np.ones(3))])
    with pytest.raises(InputError, match="arrays of shapes"):
        page.write(document(wrong), tmp_path / "a.html")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_folder_where_the_results_should_lie(tmp_path: Path) -> None:
    (tmp_path / "a.json").mkdir()
    with pytest.raises(InputError, match=r"a\.json.* is a folder"):
        page.require_target(tmp_path / "a.html")


@pytest.mark.parametrize("name", ["$x^2$", "{{ 7 * 7 }}", "</style><b>", "]]>", "<!-- "])
def test_names_mean_nothing_to_what_writes_them(name: str) -> None:
    """Neither to the template, nor to matplotlib, whose dollar signs begin formulas."""
    found = Page(page.render(everything(name)))
    assert name.strip() in found.said("text")
    assert found.said("h1") == [name.strip()]


def test_results_are_told_by_those_who_measured(tmp_path: Path) -> None:
    page.write(document(share=Estimate(0.5, 0.25, 0.75), text=Text("a")), tmp_path / "a.html")
    found = json.loads((tmp_path / "a.json").read_text("utf-8"))["results"]
    assert found == {"share": {"value": 0.5, "low": 0.25, "high": 0.75, "level": 0.95}, "text": {"text": "a"}}


def test_a_part_of_another_kind() -> None:
    render: Callable[..., bytes] = page.render
    with pytest.raises(InputError, match="not str"):
        render(document("text"))  # type: ignore[arg-type]

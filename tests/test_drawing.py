"""Drawing faces and names: read by people, so checked by what ends up as pixels."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from PIL import ImageFont

from visavis.drawing import FontWarning, Label, Lettering, Style, annotate, compose_group, fonts, labels_for
from visavis.drawing.annotation import _ink_on, _Mark, _place
from visavis.drawing.lettering import clean
from visavis.drawing.shapes import blend, dot, fill, stroke
from visavis.errors import InputError
from visavis.models.store import Store
from visavis.types import Candidates, Faces

GRAY = 96
plain = Lettering(fetch=False)


def canvas(h: int, w: int) -> np.ndarray:
    return np.full((h, w, 3), GRAY, np.uint8)


def some_faces(*boxes: tuple[float, float, float, float]) -> Faces:
    rows = np.array(boxes, np.float32).reshape(-1, 4)
    at = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]], np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        points = rows[:, None, :2] + at * (rows[:, None, 2:] - rows[:, None, :2])
    return Faces(rows, np.full(len(rows), 0.9), np.nan_to_num(points, nan=0, posinf=1e30, neginf=-1e30))


def plates(picture: np.ndarray, faces: Faces, labels: list[Label | None], lettering: Lettering = plain) -> list:
    h, w = picture.shape[:2]
    marks = [_Mark.of(box, label, w, h, 1.0) for box, label in zip(faces.boxes, labels, strict=True)]
    return _place([mark for mark in marks if mark is not None], w, h, lettering)


coordinates = st.one_of(
    st.floats(-50, 350, width=32), st.floats(-(2.0**100), 2.0**100, width=32), st.sampled_from([0.0, 1.0, 200.0, -0.5])
)
boxes = st.lists(st.tuples(coordinates, coordinates, coordinates, coordinates), max_size=6)
names = st.one_of(st.text(max_size=40), st.sampled_from(["Ada", "unknown", "x" * 500, "", "a\nb\x00c"]))


# -- annotate --------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), boxes, st.data())
def test_any_boxes_on_any_picture(h: int, w: int, rows: list, data: st.DataObject) -> None:
    faces = some_faces(*rows)
    label = st.one_of(st.none(), names, st.builds(Label, names, st.sampled_from(["", "0.71"]), st.booleans()))
    labels = data.draw(st.lists(label, min_size=len(faces), max_size=len(faces)))
    picture = canvas(h, w)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FontWarning)
        drawn = annotate(picture, faces, labels, lettering=plain)
    assert drawn.shape == picture.shape
    assert drawn.dtype == np.uint8
    assert (picture == GRAY).all(), "the picture given was drawn on"


@settings(max_examples=100, deadline=None)
@given(boxes, st.data())
def test_pixels_away_from_boxes_dots_and_plates_keep_their_value(rows: list, data: st.DataObject) -> None:
    h, w = data.draw(st.integers(20, 220)), data.draw(st.integers(20, 220))
    faces = some_faces(*rows)
    labels = [Label("Ada Lovelace", "0.71")] * len(faces)
    drawn = annotate(canvas(h, w), faces, list(labels), lettering=plain)
    allowed = np.zeros((h, w), bool)
    y, x = np.mgrid[0:h, 0:w] + 0.5
    for mark in (_Mark.of(box, None, w, h, 1.0) for box in faces.boxes):
        if mark is not None:
            x1, y1, x2, y2 = mark.box
            m = 2.2 * mark.line + 2
            outer = (x > x1 - m) & (x < x2 + m) & (y > y1 - m) & (y < y2 + m)
            c = m + 0.08 * mark.side  # a rounded corner lies inside the sharp one
            allowed |= outer & ~((x > x1 + c) & (x < x2 - c) & (y > y1 + c) & (y < y2 - c))
            for px, py in some_faces(*rows).landmarks.reshape(-1, 2).astype(float):
                allowed |= np.hypot(x - px, y - py) < 2 * mark.dot + 2
    for plate in plates(drawn, faces, list(labels)):
        x1, y1, x2, y2 = plate.box
        m = 2 + 0.06 * plate.name.size
        allowed |= (x > x1 - m) & (x < x2 + m) & (y > y1 - m) & (y < y2 + m)
    changed = (drawn != GRAY).any(axis=2)
    assert not (changed & ~allowed).any()


@settings(max_examples=150, deadline=None)
@given(st.integers(8, 500), st.integers(8, 500), boxes, st.text(max_size=60))
def test_plates_keep_inside_the_picture(h: int, w: int, rows: list, name: str) -> None:
    faces = some_faces(*rows)
    lettering = Lettering(fetch=False)
    for plate in plates(canvas(h, w), faces, [Label(name, "0.71")] * len(faces), lettering):
        x1, y1, x2, y2 = plate.box
        assert x1 >= 0
        assert y1 >= 0
        assert x2 <= w
        assert y2 <= h


def test_plates_keep_apart_and_off_other_faces_where_there_is_room() -> None:
    rows = [(120 + 260 * i, 100 + 240 * j, 210 + 260 * i, 210 + 240 * j) for j in range(4) for i in range(5)]
    faces = some_faces(*rows)
    found = plates(canvas(1000, 1400), faces, [Label("Ada Lovelace", "0.71")] * 20)
    assert len(found) == 20
    assert {plate.name.text for plate in found} == {"Ada Lovelace"}
    rects = [plate.box for plate in found]
    for i, a in enumerate(rects):
        for b in [*rects[i + 1 :], *rows]:
            assert a[0] >= b[2] or b[0] >= a[2] or a[1] >= b[3] or b[1] >= a[3]


def test_a_crowd_that_leaves_no_room_still_gets_every_name() -> None:
    rows = [(60 * i, 70 * j, 60 * i + 62, 70 * j + 72) for j in range(5) for i in range(8)]
    found = plates(canvas(350, 480), some_faces(*rows), [Label("Wolfeschlegelstein", "0.71")] * 40)
    assert len(found) == 40
    assert all(plate.name.text for plate in found)


@pytest.mark.parametrize(
    ("h", "w", "side", "low", "high"),
    [(200, 200, 80, 10, 16), (150, 200, 20, 10, 16), (480, 640, 150, 10, 24), (4000, 6000, 400, 60, 160)],
)
def test_lettering_suits_the_picture(h: int, w: int, side: int, low: float, high: float) -> None:
    (plate,) = plates(canvas(h, w), some_faces((w / 3, h / 3, w / 3 + side, h / 3 + side)), [Label("Ada")])
    assert low <= plate.name.size <= high
    assert plate.name.text == "Ada"


def test_lines_grow_with_the_face_within_bounds() -> None:
    lines = [
        _Mark.of(np.array([10, 10, 10 + s, 10 + s], np.float32), None, 6000, 4000, 1.0).line for s in (20, 600, 3900)
    ]
    assert 8 <= lines[0] <= lines[1] <= lines[2] <= 30
    assert _Mark.of(np.array([5, 5, 100, 100], np.float32), None, 200, 200, 1.0).line <= 2


def test_a_picture_too_small_for_letters_gets_a_box() -> None:
    faces = some_faces((2, 2, 9, 9))
    assert plates(canvas(12, 12), faces, [Label("Ada")]) == []
    assert (annotate(canvas(12, 12), faces, ["Ada"], lettering=plain) != GRAY).any()


def test_boxes_only_without_labels() -> None:
    faces = some_faces((40, 40, 100, 100))
    drawn = annotate(canvas(150, 150), faces)
    assert (drawn == np.array(Style().plain)).all(axis=2).any()
    bare = annotate(canvas(150, 150), faces.replace(landmarks=None))
    assert (drawn[50:90, 50:90] != GRAY).any()
    assert (bare[50:90, 50:90] == GRAY).all()
    np.testing.assert_array_equal(bare, annotate(canvas(150, 150), faces, style=Style(landmarks=False)))


def test_no_faces_is_the_picture() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    np.testing.assert_array_equal(annotate(picture, Faces.empty(), []), picture)


def test_known_and_unknown_differ_in_color() -> None:
    faces = some_faces((40, 60, 100, 120), (140, 60, 200, 120))
    drawn = annotate(canvas(200, 260), faces, [Label("Ada"), Label("unknown", known=False)], lettering=plain)
    known = (drawn == np.array(Style().known)).all(axis=2)
    unknown = (drawn == np.array(Style().unknown)).all(axis=2)
    assert known[:, :125].sum() > 200
    assert unknown[:, 125:].sum() > 200
    assert not known[:, 125:].any()


def relative_luminance(color: tuple[int, int, int]) -> float:
    """WCAG 2.1's definition, written anew."""
    c = np.array(color) / 255
    return float(np.where(c <= 0.03928, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize(
    "color", [Style().known, Style().unknown, Style().plain, (255, 255, 255), (0, 0, 0), (9, 99, 9)]
)
def test_letters_stand_out_from_their_plate(color: tuple[int, int, int]) -> None:
    low, high = sorted((relative_luminance(color), relative_luminance(_ink_on(color))))
    assert (high + 0.05) / (low + 0.05) >= 4.5  # WCAG AA


@pytest.mark.parametrize("background", [0, 128, 255, "known", "unknown", "noise"])
def test_boxes_stand_out_from_any_background(background: object) -> None:
    picture = canvas(200, 200)
    if isinstance(background, int):
        picture[...] = background
    elif background == "noise":
        picture = np.random.default_rng(0).integers(0, 256, picture.shape, np.uint8)
    else:
        picture[...] = getattr(Style(), str(background))
    for known in (True, False):
        drawn = annotate(picture, some_faces((50, 60, 150, 160)).replace(landmarks=None), [Label("", known=known)])
        across = drawn[110, 40:65].astype(int) - picture[110, 40:65].astype(int)
        assert np.abs(across).sum(axis=1).max() > 90


@pytest.mark.parametrize("labels", [["Ada"], ["a", "b", "c"], "ab"])
def test_labels_are_one_a_face(labels: object) -> None:
    with pytest.raises(InputError, match="one a face"):
        annotate(canvas(50, 50), some_faces((1, 1, 9, 9), (20, 20, 30, 30)), labels)  # type: ignore[arg-type]


@pytest.mark.parametrize("picture", [np.zeros((5, 5, 4), np.uint8), np.zeros((5, 5, 3)), np.zeros((0, 5, 3), np.uint8)])
def test_the_picture_must_be_one(picture: np.ndarray) -> None:
    with pytest.raises(InputError):
        annotate(picture, Faces.empty())


def test_labels_for_candidates() -> None:
    found = Candidates(
        subjects=(("ada", "bob"), ("bob",), ()),
        similarities=np.array([[0.714, 0.2], [0.3, -1], [-1, -1]]),
        counts=np.array([1, 0, 0]),
        threshold=0.5,
        fmr=None,
        fpir=None,
        model="sface",
    )
    assert labels_for(found) == [Label("ada", "0.71"), Label("unknown", known=False), Label("unknown", known=False)]


def test_the_same_faces_give_the_same_picture() -> None:
    faces = some_faces((30, 40, 90, 100), (80, 50, 140, 120), (100, 20, 160, 70))
    first = annotate(canvas(200, 200), faces, ["Ada", "Bob", "Eve"])
    np.testing.assert_array_equal(first, annotate(canvas(200, 200), faces, ["Ada", "Bob", "Eve"]))


# -- names --------------------------------------------------


@given(st.text(max_size=1000))
def test_clean_names_are_one_harmless_line(text: str) -> None:
    line = clean(text)
    assert len(line) <= 200
    assert line == line.strip()
    assert all(c == " " or c in "\u200c\u200d" or c.isprintable() for c in line)
    assert clean(line) == line


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        ("Ada\r\nLovelace", "Ada Lovelace"),
        ("\x1b[31mred\x07", "[31mred"),
        ("a\u202egpj.exe", "agpj.exe"),  # no direction override
        ("e\u0301", "é"),
        ("z" + "\u0300" * 50, "z" + "\u0300" * 3),
        ("\ud800x", "x"),
        ("贝拉克·奥巴马", "贝拉克·奥巴马"),
        ("\u3000 张  三 ", "张 三"),
    ],
)
def test_clean(given_text: str, expected: str) -> None:
    assert clean(given_text) == expected


@settings(max_examples=100, deadline=None)
@given(
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=80), st.integers(8, 60), st.integers(0, 900)
)
@example("I 0", 8, 8)
def test_a_line_fits_its_width(text: str, size: int, width: int) -> None:
    line = plain.line(text, size, width)
    assert line.width <= width
    if line.text != clean(text):
        assert line.text == "" or (line.text[-1] == "…" and clean(text).startswith(line.text[:-1]))
        cut = max(1, len(line.text))
        longer = clean(text)[: cut + (clean(text)[cut - 1] == " ")] + "…"  # a space is never the last before it
        assert plain.line(longer, size).width > width or len(longer) > len(clean(text))


def test_an_accent_is_not_cut_from_its_letter() -> None:
    text = "q\u0301" * 20
    line = plain.line(text, 20, 100)
    assert line.text.endswith("…")
    assert line.text[:-1].endswith("q\u0301")


def test_letters_do_not_leave_their_mask() -> None:
    mask, (left, baseline) = plain.line("Ågjpqy|Ñ", 40).mask()
    assert mask.min() == 0
    assert mask.max() > 0.9
    for edge in (mask[0], mask[-1], mask[:, 0], mask[:, -1]):
        assert not edge.any()
    assert mask[baseline + 2 :].any(), "descenders"
    assert not mask[:, : left - 4].any()


# -- fonts --------------------------------------------------


@pytest.fixture
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without fonts, an empty home and a package index that has nothing."""
    monkeypatch.setattr(fonts, "SYSTEM_FONTS", ())
    monkeypatch.setenv("VISAVIS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    (tmp_path / "wheels").mkdir()
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    return tmp_path


@pytest.fixture
def no_system_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "SYSTEM_FONTS", ())


def test_chinese_is_drawn_and_not_as_boxes(no_system_fonts: None) -> None:
    """With the store's font, against the same file drawn by Pillow itself."""
    lettering = Lettering()
    line = lettering.line("贝拉克·奥巴马", 32)
    lettering.warn()
    reference = ImageFont.truetype(str(Store().path("noto-sans-cjk")), 32, index=2)
    assert [(run[0].getname()[0], run[1]) for run in line.runs] == [("Noto Sans CJK SC", "贝拉克·奥巴马")]
    assert line.width == pytest.approx(reference.getlength("贝拉克·奥巴马"))
    masks = {c: lettering.line(c, 32).mask()[0] for c in "贝拉克奥巴马"}
    missing = bytes(reference.getmask("\U0010ffff"))
    for character, mask in masks.items():
        assert mask.sum() > 50
        assert bytes(reference.getmask(character)) != missing
        assert abs(mask.sum() - np.array(reference.getmask(character)).sum() / 255) < 2, character
    pictures = [mask.tobytes() for mask in masks.values()]
    assert len(set(pictures)) == len(pictures), "two characters look alike"


def test_chinese_reaches_the_picture(no_system_fonts: None) -> None:
    faces = some_faces((60, 60, 120, 130))
    kept = Lettering()
    a, b = (annotate(canvas(200, 240), faces, [name], lettering=kept) for name in ("奥巴马", "张学友"))
    assert a.shape == b.shape
    assert 30 < (a != b).any(axis=2).sum() < 2000


@pytest.mark.parametrize(
    ("name", "font"),
    [
        ("Ada Lovelace", "Aileron"),
        ("Ångström Łukasz", "Noto Sans"),
        ("Иван Петров", "Noto Sans"),
        ("Νίκος", "Noto Sans"),
        ("Nguyễn Thị Minh", "Noto Sans"),
        ("김철수", "Noto Sans CJK KR"),
        ("田中 さくら", "Noto Sans CJK JP"),
        ("李娜", "Noto Sans CJK SC"),
        ("Barack 奥巴马", "Noto Sans CJK SC"),
    ],
)
def test_each_script_has_a_font(name: str, font: str, no_system_fonts: None) -> None:
    lettering = Lettering()
    line = lettering.line(name, 24)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lettering.warn()
    assert [(run[0].getname()[0], run[1]) for run in line.runs] == [(font, name)]


def test_a_name_that_needs_two_fonts(no_system_fonts: None) -> None:
    line = Lettering().line("Łukasz 奥巴马", 24)
    assert [run[1] for run in line.runs] == ["Łukasz ", "奥巴马"]
    assert line.width == pytest.approx(sum(font.getlength(text) for font, text in line.runs))


def test_nothing_is_fetched_for_ascii(bare_machine: Path) -> None:
    annotate(canvas(200, 200), some_faces((50, 60, 120, 130)), [Label("Ada Lovelace", "0.71")])
    assert not (bare_machine / "home").exists()


def test_without_any_font_it_warns_once_and_draws_on(bare_machine: Path) -> None:
    faces = some_faces((20, 60, 80, 130), (120, 60, 180, 130))
    kept = Lettering()
    with pytest.warns(FontWarning) as caught:
        drawn = annotate(canvas(200, 200), faces, ["奥巴马", "김철수"], lettering=kept)
    assert drawn.shape == (200, 200, 3)
    (message,) = [str(warning.message) for warning in caught]
    assert "cjk" in message
    assert "hangul" in message
    assert "noto-sans-cjk" in message
    assert "奥" not in message
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # not again in the next of ten thousand pictures, nor another try to fetch
        annotate(canvas(200, 200), faces, ["奥巴马", "김철수"], lettering=kept)


def test_without_any_font_accents_are_left_out(bare_machine: Path) -> None:
    line = Lettering(fetch=False).line("Ångström Łukasz Ærø", 24)
    assert "".join(run[1] for run in line.runs) == "Angstrom Lukasz Aero"
    assert line.text == "Ångström Łukasz Ærø"


def test_the_callers_font_comes_first(no_system_fonts: None) -> None:
    own = Store().path("noto-sans")
    assert [run[0].path for run in Lettering(own).line("Ada", 24).runs] == [str(own)]


@pytest.mark.parametrize("content", [None, b"", b"not a font at all"])
def test_a_font_that_is_none(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "x.ttf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"x\.ttf"):
        Lettering(path)


def test_a_broken_system_font_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken.ttf").write_bytes(b"junk" * 100)
    monkeypatch.setattr(fonts, "SYSTEM_FONTS", ((str(tmp_path / "broken.ttf"), 0), (os.devnull, 0)))
    assert Lettering(fetch=False).line("Å", 24).text == "Å"


# -- shapes --------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.floats(-20, 80), st.floats(-20, 80), st.floats(1, 90), st.floats(1, 90), st.floats(0, 40), st.floats(0.5, 9))
def test_strips_draw_what_the_whole_would(x: float, y: float, w: float, h: float, radius: float, line: float) -> None:
    """The outline is drawn in strips; it must equal the outline drawn as fill minus fill on a fine grid."""
    assume(min(w, h) > line + 1)
    picture = np.zeros((64, 64, 3), np.uint8)
    stroke(picture, (x, y, x + w, y + h), radius, [(line, (255, 255, 255), 1.0)])
    fine = 4
    sub = (np.arange(64 * fine) + 0.5) / fine
    r = min(radius, w / 2, h / 2)
    qx = np.abs(sub[None, :] - x - w / 2) - w / 2 + r
    qy = np.abs(sub[:, None] - y - h / 2) - h / 2 + r
    gap = np.hypot(np.maximum(qx, 0), np.maximum(qy, 0)) + np.minimum(np.maximum(qx, qy), 0) - r
    exact = (np.abs(gap) < line / 2).reshape(64, fine, 64, fine).mean(axis=(1, 3))
    assert np.abs(picture[..., 0] / 255 - exact).max() < 0.45  # corners thinner than a pixel
    assert np.abs(picture[..., 0] / 255 - exact).mean() < 0.02


def test_a_disk_has_its_area() -> None:
    picture = np.zeros((60, 60, 3), np.uint8)
    dot(picture, (30.3, 29.6), 20.0, (255, 255, 255))
    assert picture[..., 0].sum() / 255 == pytest.approx(np.pi * 400, rel=0.01)


def test_opacity_and_order() -> None:
    picture = np.zeros((20, 20, 3), np.uint8)
    fill(picture, (5, 5, 15, 15), 0, (200, 100, 50), 0.5)
    assert picture[10, 10].tolist() == [100, 50, 25]
    assert picture[2, 2].tolist() == [0, 0, 0]


@given(st.integers(-30, 30), st.integers(-30, 30))
def test_blending_beyond_the_edge(x: int, y: int) -> None:
    picture = np.zeros((10, 12, 3), np.uint8)
    blend(picture, (x, y), np.ones((7, 9), np.float32), (255, 255, 255))
    expected = np.zeros((10, 12), np.uint8)
    expected[max(y, 0) : max(y + 7, 0), max(x, 0) : max(x + 9, 0)] = 255
    np.testing.assert_array_equal(picture[..., 0], expected)


# -- composed pictures --------------------------------------------------


def test_a_composed_group_says_so() -> None:
    photos = [np.full((300, 240, 3), value, np.uint8) for value in (40, 120, 200)]
    group = compose_group(photos, height=150)
    assert group.shape[1] == 360
    assert [int(group[70, x, 0]) for x in (60, 180, 300)] == [40, 120, 200]
    strip = group[150:]
    assert strip.shape[0] >= 24
    assert (strip.max(axis=2) > 200).sum() > 100, "no letters in the caption"
    other = compose_group(photos, "Composed for a test", height=150)
    assert (other[150:] != strip).any()
    np.testing.assert_array_equal(other[:150], group[:150])


def test_a_composed_group_of_any_shapes() -> None:
    shapes = [(1, 1), (2000, 30), (30, 2000), (64, 64), (500, 100), (7, 9), (100, 100)]
    group = compose_group([np.full((*shape, 3), 90, np.uint8) for shape in shapes], height=64)
    assert group.ndim == 3
    assert group.dtype == np.uint8


def test_full_length_portraits_are_cut_below() -> None:
    portrait = np.zeros((400, 100, 3), np.uint8)
    portrait[:100] = 200
    group = compose_group([portrait], height=133)
    assert group.shape[1] == 100
    assert group[90, 50, 0] == 200


def test_a_group_needs_someone() -> None:
    with pytest.raises(InputError):
        compose_group([])
    with pytest.raises(InputError):
        compose_group([canvas(9, 9)], height=5)

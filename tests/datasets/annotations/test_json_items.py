"""Large JSON files, an item at a time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visavis.datasets.annotations import json_items as module
from visavis.datasets.annotations.json_items import json_items
from visavis.errors import InputError

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(VALUES, max_size=8), st.integers(1, 40), st.sampled_from([None, 1]))
def test_a_list_comes_item_by_item_however_it_is_cut(
    tmp_path_factory: pytest.TempPathFactory, values: list[object], chunk: int, indent: int | None
) -> None:
    path = tmp_path_factory.mktemp("json") / "a.json"
    path.write_text(json.dumps(values, indent=indent), encoding="utf-8")
    before = module._CHUNK
    module._CHUNK = chunk
    try:
        assert [item for _, _, item in json_items(path)] == values
        path.write_text(json.dumps({"first": 1, "items": values, "last": {"a": []}}, indent=indent), encoding="utf-8")
        wanted = [("first", 0, 1), *(("items", i, value) for i, value in enumerate(values)), ("last", 0, {"a": []})]
        assert list(json_items(path)) == wanted
    finally:
        module._CHUNK = before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it is cut off"),
        ("7", "begins with neither"),
        ("[1, 2", "cut off"),
        ('[{"a": 1', "item.0.: it is cut off or damaged"),
        ("[1 2]", "a comma is missing"),
        ("[1,]", "a value is missing"),
        ("[1] 2", "something follows its end"),
        ('{"a": [1], "b": NaN}', "NaN is no JSON"),
        ("[1e999]", "too large"),
        ('{"images": [{"a": Infinity}]}', "images.0.*Infinity"),
        ("[" + "[" * 100_000, "nests too deep"),
        ('{"a" 1}', "':' is missing"),
        ('[{"a": tru}]', "damaged"),
    ],
)
def test_what_is_no_json_is_refused_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=said):
        list(json_items(path))


def test_other_bytes_a_huge_item_and_no_file_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b'["\xff\xfe"]')
    with pytest.raises(InputError, match="no text in UTF-8"):
        list(json_items(path))
    with pytest.raises(InputError, match="is no file"):
        list(json_items(tmp_path / "other.json"))
    monkeypatch.setattr(module, "_MAX_ITEM", 1000)
    monkeypatch.setattr(module, "_CHUNK", 100)
    path.write_text(json.dumps(["a" * 5000]))
    with pytest.raises(InputError, match="over 1000 characters"):
        list(json_items(path))

"""Columns of CSV files: what spreadsheets and other programs write, and what is no CSV."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from visavis.cells import harmless, unharmed
from visavis.datasets import columns
from visavis.datasets.columns import numbers, read_columns
from visavis.errors import InputError


def write(folder: Path, content: bytes) -> Path:
    path = folder / "some.csv"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "content",
    [
        b"score,kind\n0.5,print\n0.7,bona fide\n",
        b"\xef\xbb\xbfScore;Kind\r\n0.5;print\r\n0.7;bona fide\r\n",  # a spreadsheet's, with its mark of order
        b"kind\tnote\tSCORE\nprint\tx\t0.5\n\nbona fide\t\t0.7\n\n",
        b'"kind","score"\n" print ","0.5"\n"bona fide",0.7',
    ],
)
def test_columns_by_name(tmp_path: Path, content: bytes) -> None:
    found = read_columns(write(tmp_path, content), ("score", "kind"), ("group",))
    assert found == {"score": ["0.5", "0.7"], "kind": ["print", "bona fide"]}


@given(
    st.lists(st.tuples(*[st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=9)] * 2))
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_what_pythons_writer_writes(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    rows = [row for row in rows if all(cell.strip() for cell in row)]
    path = tmp_path / "written.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("truth", "predicted"), *rows])
    if not rows:
        with pytest.raises(InputError, match="no rows"):
            read_columns(path, ("truth", "predicted"))
        return
    found = read_columns(path, ("truth", "predicted"))
    assert list(zip(found["truth"], found["predicted"], strict=True)) == [tuple(c.strip() for c in row) for row in rows]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "needs a column 'score'"),
        (b"score,kind\n", "no rows"),
        (b"score\n1\n", "needs a column 'kind'"),
        (b"score,kind,Score\n1,a,2\n", "'score' twice"),
        (b"score,kind\n1\n", "line 2 of"),
        (b"score,kind\n1,a\n1,a,b\n", "line 3 of"),
        (b"score,kind\n,a\n", "line 2 of"),
        (b"score,kind\n1,\xff\n", "UTF-8"),
        (b"score,kind\n1,a\0b\n", "null character"),
        (b'score,kind\n1,"a"b\n', "no CSV"),
        (b"score,kind\n" + b"1" * 70000 + b",a\n", "more than 65536 characters"),
    ],
)
def test_what_is_no_csv(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(InputError) as raised:
        read_columns(write(tmp_path, content), ("score", "kind"))
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (tmp_path, tmp_path / "missing.csv"):
        with pytest.raises(InputError, match="is no file"):
            read_columns(path, ("score",))
    monkeypatch.setattr(columns, "_MAX_BYTES", 8)
    with pytest.raises(InputError, match="more than 8 bytes"):
        read_columns(write(tmp_path, b"score\n1\n2\n"), ("score",))


@pytest.mark.parametrize("cell", ["x", "nan", "inf", "1e999", "-1", "1_0 0"])
def test_cells_that_are_no_number(cell: str) -> None:
    with pytest.raises(InputError, match="has the score"):
        numbers(["0.5", cell], "score", "s.csv", low=0, high=1)


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''@x"])
def test_what_a_spreadsheet_would_compute(cell: str) -> None:
    assert harmless(cell) == "'" + cell
    assert unharmed("'" + cell) == cell


@given(st.text())
def test_every_text_comes_back(cell: str) -> None:
    kept = harmless(cell)
    assert isinstance(kept, str)
    assert kept[:1] not in ("=", "+", "-", "@", "\t", "\r")
    assert unharmed(kept) == cell

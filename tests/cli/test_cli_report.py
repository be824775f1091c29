"""How results are written: rates, tables on terminals of any width, pipes, JSON that grows."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from visavis.cli.report import Column, Report, _fit, _Table, measured, printable, rate, rate_at
from visavis.errors import ImageError, InputError, StorageError
from visavis.models.cards import Calibration

TABLE = Calibration("toy", "toy", 10, 10, np.array([0.1, 0.3]), np.array([1e-1, 1e-3]))


@pytest.mark.parametrize(
    ("value", "text"),
    [(1e-4, "1e-4"), (2.34e-5, "2.3e-5"), (9.96e-5, "1e-4"), (0.012, "0.012"), (1.0, "1"), (None, "unknown")],
)
def test_rates_are_short(value: float | None, text: str) -> None:
    assert rate(value) == text


def test_a_rate_beyond_what_was_measured_is_a_bound() -> None:
    assert rate_at(1.0000000000000004e-3, TABLE) == "< 1e-3"
    assert rate_at(1.0, TABLE) == "> 0.1"
    assert rate_at(5e-3, TABLE) == "5e-3"
    assert rate_at(None, None) == "unknown"
    assert rate_at(float("nan"), None) == "unknown"
    assert measured(TABLE) == {"data": "toy", "lowest": 1e-3, "highest": 1e-1}
    assert measured(None) is None


@given(st.text(max_size=40), st.integers(2, 30), st.sampled_from(["start", "end"]))
def test_a_cell_never_exceeds_its_width(text: str, width: int, keep: str) -> None:
    shown = printable(text)
    fitted = _fit(shown, width, keep)
    assert cell_len(fitted) <= width
    if cell_len(shown) <= width:
        assert fitted == shown


def test_figures_are_never_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where columns don't fit side by side, they stand below each other."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    columns = [
        Column("what", 16),
        Column("of"),
        Column("value", 9, right=True),
        Column("95 % interval", 18, right=True),
    ]
    cells = ["balanced accuracy", "", "93.750%", "74.17% .. 100.00%"]
    for width in (40, 80):
        console = Console(file=io.StringIO(), width=width)
        table = _Table(columns)
        table.row(cells, console)
        table.row(cells, console)
        lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
        assert max(map(len, lines)) <= width
        assert sum("93.750%" in line for line in lines) == 2
        assert sum("74.17% .. 100.00%" in line for line in lines) == 2
        assert sum("95 % interval" in line for line in lines) == (2 if width == 40 else 1)


@given(st.text(max_size=60))
def test_printable_text_stays_on_its_line_and_keeps_letters(text: str) -> None:
    shown = printable(text)
    assert len(shown.splitlines()) <= 1
    assert "\x1b" not in shown
    assert "\t" not in shown
    assert shown.isascii() or not text.isascii()


def test_printable_leaves_names_alone() -> None:
    for name in ("王芳", "José", "محمد", "สมชาย", "👩‍👧 Ada"):
        assert printable(name) == name
    assert printable("a\u202eb") == "a\\u202eb"
    assert printable("\udcff") == "\\udcff"


def write(as_json: bool, monkeypatch: pytest.MonkeyPatch, encoding: str = "utf-8") -> tuple[bytes, Report]:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding, errors="backslashreplace"))
    report = Report("toy", as_json=as_json, columns=[Column("who"), Column("n", 3)], items="things")
    with report:
        report.fields(head=1)
        report.row("王芳", "1", item={"who": "王芳"})
        report.skip(Path("x.jpg"), ImageError("'x.jpg' is bad"))
        report.row("b\tc", "2", item={"who": "b\tc"})
        report.fields(tail=2)
        report.line("for people")
    sys.stdout.flush()
    return raw.getvalue(), report


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "gbk"])
def test_a_document_grows_item_by_item(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data, _ = write(True, monkeypatch, encoding)
    document = json.loads(data.decode(encoding))
    assert list(document) == ["visavis", "schema", "command", "head", "things", "tail", "skipped", "warnings"]
    error = {"type": "ImageError", "message": "'x.jpg' is bad"}
    assert document["things"] == [{"who": "王芳"}, {"image": "x.jpg", "error": error}, {"who": "b\tc"}]
    assert document["skipped"] == 1
    lines = data.decode(encoding).splitlines()
    assert json.loads(lines[5].rstrip(",")) == {"who": "王芳"}  # an item a line


def test_a_pipe_gets_tabs_and_no_header(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    data, _ = write(False, monkeypatch)
    assert data.decode() == "王芳\t1\nb\\tc\t2\nfor people\n"
    assert capsys.readouterr().err == "visavis: skipped: 'x.jpg' is bad\n"


@pytest.mark.parametrize("items", [0, 1, 2])
def test_an_error_closes_the_document(items: int, capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        with Report("toy", as_json=True, items="things") as report:
            for i in range(items):
                report.item({"i": i})
            raise StorageError("the disk is full")

    with pytest.raises(StorageError):
        work()
    document = json.loads(capsys.readouterr().out)
    assert document["error"] == {"type": "StorageError", "message": "the disk is full"}
    assert len(document["things"]) == items


@pytest.mark.parametrize(("good", "bad", "code"), [(3, 0, 0), (3, 1, 1), (0, 2, 2), (0, 1, 2)])
def test_the_exit_code_says_whether_all_some_or_none_were_done(
    good: int, bad: int, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with Report("toy", as_json=False) as report:
        for i in report.track(range(good + bad), lambda: good + bad, "doing"):
            if i < bad:
                report.skip(i, InputError(f"{i} is bad"))
        assert report.end() == code
    said = capsys.readouterr().err
    assert (f"{bad} of {good + bad} files skipped" in said) == (bad > 0 and good + bad > 1)


def screen(columns: int, *arguments: object) -> list[str]:
    """Run a command on a terminal of that many columns and return the lines it leaves there."""
    pty = pytest.importorskip("pty")
    import fcntl
    import struct
    import termios

    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm", "PYTHONUTF8": "1"}
    environment.pop("COLUMNS", None)
    command = [sys.executable, "-m", "visavis", *map(str, arguments)]
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment) as process:
        os.close(slave)
        data = b""
        while True:
            try:
                chunk = os.read(master, 65536)
            except OSError:  # the other side has closed
                break
            if not chunk:
                break
            data += chunk
        process.wait(120)
    os.close(master)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", lambda m: "\r" if m[0][-1] == "K" else "", data.decode())
    return [line.rstrip("\r").rpartition("\r")[2].rstrip() for line in text.replace("\r\n", "\n").split("\n")]


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
@pytest.mark.parametrize("columns", [60, 80, 140])
def test_tables_fit_the_terminal(columns: int, photos: Path, people: Path) -> None:
    lines = screen(columns, "identify", photos / "probes", photos, "-g", people)
    assert max(map(cell_len, lines)) <= columns
    (header,) = [line for line in lines if line.startswith("photo")]
    assert header.split() == ["photo", "face", "who", "similarity", "FMR"]
    rows = [line for line in lines if ".jpg" in line]
    assert any("阿贝尔" in row and "Pacheco_2.jpg" in row for row in rows)
    ends = {cell_len(row) for row in rows}
    assert ends == {cell_len(header)}  # columns stand under each other, wide characters or not
    assert any("threshold" in line for line in lines)
    listed = screen(columns, "gallery", "ls", "-g", people)
    assert max(map(cell_len, listed)) <= columns
    assert any(line.startswith("阿贝尔") for line in listed)


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
@pytest.mark.parametrize("columns", [60, 140])
@pytest.mark.parametrize("command", [["doctor"], ["models", "ls"], ["gallery", "show", "阿贝尔", "-g"]])
def test_other_output_fits_too(columns: int, command: list[str], people: Path, run: Callable[..., Any]) -> None:
    assert run("models", "fetch", "yunet", "sface").code == 0
    arguments: list[object] = [*command, people] if command[-1] == "-g" else [*command]
    assert max(map(cell_len, screen(columns, *arguments))) <= columns

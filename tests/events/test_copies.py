"""Files that hold copies of events: whole lines whatever happens, changed whole or not at all."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.events.conftest import START
from visavis.errors import InputError, StorageError
from visavis.events.copies import COLUMNS, Copy, CopyKind, csv_line, json_line
from visavis.events.event import Event

Visits = Callable[..., list[Event]]
KINDS: tuple[CopyKind, ...] = get_args(CopyKind)
kinds = pytest.mark.parametrize("kind", KINDS)


def copy_at(path: Path, kind: CopyKind) -> Copy:
    return Copy(path, kind, lambda _: True)


def rows(path: Path, kind: CopyKind) -> list[dict[str, Any]]:
    """Return what another reader makes of a file."""
    with path.open(encoding="utf-8", newline="") as file:
        if kind == "jsonl":
            return [json.loads(line) for line in file]
        return [{name: cell for name, cell in row.items() if cell} for row in csv.DictReader(file, strict=True)]


@kinds
def test_lines_are_read_by_other_readers(tmp_path: Path, visit: Visits, kind: CopyKind) -> None:
    copy = copy_at(tmp_path / "events", kind)
    events = [
        replace(event, box=(1.0, 2.5, 3.0, 4.0), detail='a "b"; c,d') for event in visit("r", 1, "Zoë 阿贝尔", "=1+1")
    ]
    for event in events:
        assert copy.append(event)
    found = rows(tmp_path / "events", kind)
    assert [row["id"] for row in found] == [event.id for event in events]
    assert [row.get("subject") for row in found] == [
        event.subject if kind == "jsonl" or event.subject != "=1+1" else "'=1+1" for event in events
    ]
    assert {row["detail"] for row in found} == {'a "b"; c,d'}
    assert found[0]["box"] == ([1.0, 2.5, 3.0, 4.0] if kind == "jsonl" else "1.0 2.5 3.0 4.0")
    assert found[0]["time"] == "2026-05-01T08:00:00.000000Z"
    assert [values.get("subject") for values in copy.fields()] == [event.subject for event in events]
    if os.name == "posix":
        assert (tmp_path / "events").stat().st_mode & 0o777 == 0o600


@given(st.text(st.characters(), max_size=30), st.floats())
def test_any_text_is_one_line_and_comes_back(text: str, number: float) -> None:
    event = Event("dwell", "c", START, "r", 1, similarity=number, detail=text or None)
    line, row = json_line(event.to_dict()), csv_line(event.to_dict())
    assert line.count(b"\n") == row.count(b"\n") == 1
    assert line.endswith(b"\n")
    shown = json.loads(line).get("detail", "")
    assert shown.encode("utf-8", "backslashreplace").decode() == text.encode("utf-8", "backslashreplace").decode()
    (cells,) = csv.reader([row.decode()], strict=True)
    assert len(cells) == len(COLUMNS)
    assert cells[COLUMNS.index("id")] == event.id
    assert not cells[COLUMNS.index("detail")].startswith(("=", "+", "-", "@", "\t"))


@kinds
@pytest.mark.parametrize("cut", [1, 5, 60])
def test_a_line_that_was_cut_short_goes(tmp_path: Path, visit: Visits, kind: CopyKind, cut: int) -> None:
    path = tmp_path / "events"
    copy = copy_at(path, kind)
    first, second, third = visit("r", 1, "ada")
    copy.append(first)
    copy.append(second)
    path.write_bytes(path.read_bytes()[:-cut])
    copy.append(third)
    assert [row["id"] for row in rows(path, kind)] == [first.id, third.id]
    path.write_bytes(path.read_bytes()[:-cut])
    assert copy.rewrite(lambda values: values) == 0
    assert [row["id"] for row in rows(path, kind)] == [first.id], "half a line may hold half a name"


@kinds
def test_lines_are_changed_and_taken_out(tmp_path: Path, visit: Visits, kind: CopyKind) -> None:
    path = tmp_path / "events"
    copy = copy_at(path, kind)
    assert copy.rewrite(lambda _: None) == 0, "no file, nothing to do"
    assert list(copy.fields()) == []
    events = visit("r", 1, "=ada") + visit("r", 2, "bob")
    for event in events:
        copy.append(event)
    path.chmod(0o640)
    before, inode = path.read_bytes(), path.stat().st_ino
    assert copy.rewrite(lambda values: values) == 0
    assert (path.read_bytes(), path.stat().st_ino) == (before, inode), "nothing to change, nothing is written"
    found = copy.rewrite(
        lambda values: None if values.get("subject") == "bob" else values,
        lambda values: {**values, "subject": "=Ada"} if "subject" in values else values,
    )
    assert found == 4
    assert [values.get("subject") for values in copy.fields()] == [None, "=Ada", "=Ada", None]
    assert path.stat().st_mode & 0o777 == 0o640 or os.name == "nt"
    assert sorted(file.name for file in tmp_path.iterdir()) in ([".events.lock", "events"], ["events"])


@kinds
def test_what_is_no_event_is_dropped_when_a_file_is_rewritten(tmp_path: Path, visit: Visits, kind: CopyKind) -> None:
    path = tmp_path / "events"
    copy = copy_at(path, kind)
    events = visit("r", 1, "ada")
    copy.append(events[0])
    rubbish = [b"\n", b"half of ada\n", b"\xff\xfe\n", b"[1]\n", b"x" * 600_000 + b"\n", b'"' * 99 + b"\n", b"\0\n"]
    with path.open("ab") as file:
        file.writelines(rubbish)
    copy.append(events[1])
    assert [values["id"] for values in copy.fields()] == [event.id for event in events[:2]]
    assert copy.rewrite(lambda values: values) == 0
    assert [row["id"] for row in rows(path, kind)] == [event.id for event in events[:2]]


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("csv", b"name,phone\r\nada,1\r\n"),
        ("csv", ",".join(COLUMNS[:-1]).encode() + b"\r\n"),
        ("jsonl", b'{"name": "ada"}\n'),
        ("jsonl", b"ada\n"),
        ("jsonl", b"\x89PNG\r\n\x1a\n"),
    ],
)
def test_a_file_of_something_else_is_left_as_it_is(tmp_path: Path, kind: CopyKind, content: bytes) -> None:
    path = tmp_path / "mine"
    path.write_bytes(content)
    with pytest.raises(InputError, match="name another file"):
        copy_at(path, kind).check()
    assert path.read_bytes() == content


def test_wrong_places(tmp_path: Path, visit: Visits) -> None:
    with pytest.raises(InputError, match="one of jsonl, csv"):
        Copy(tmp_path / "x", "xlsx", lambda _: True)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no regular file"):
        copy_at(tmp_path, "csv").check()
    lost = copy_at(tmp_path / "no" / "events.csv", "csv")
    for act in (lost.check, lambda: lost.append(visit("r", 1)[0])):
        with pytest.raises(StorageError, match="doesn't exist; make it first"):
            act()


@kinds
def test_a_full_disk_leaves_whole_lines(small_disk: Path, kind: CopyKind) -> None:
    path = small_disk / "events"
    copy = copy_at(path, kind)
    event = Event("camera_lost", "door", START, detail="x" * 4000)
    told = 0
    with pytest.raises(StorageError, match="no space left"):  # noqa: PT012 (which of them fails is not known before)
        for _ in range(1000):
            copy.append(event)
            told += 1
    assert told > 20
    assert len(rows(path, kind)) == told
    before = path.read_bytes()
    with pytest.raises(StorageError, match="no space left"):
        copy.rewrite(lambda values: {**values, "detail": "y"} if values else values)
    assert path.read_bytes() == before
    assert not (small_disk / ".events.part").exists()


APPEND = """
    import sys
    from datetime import datetime, timezone
    from pathlib import Path
    from visavis.events.copies import Copy
    from visavis.events.event import Event

    path, kind, worker = sys.argv[1:]
    copy = Copy(Path(path), kind, lambda _: True)
    for i in range(40):
        copy.append(Event("appeared", worker, datetime(2026, 5, 1, tzinfo=timezone.utc), worker, i))
"""


@kinds
def test_programs_append_while_another_rewrites(tmp_path: Path, kind: CopyKind) -> None:
    path = tmp_path / "events"
    copy = copy_at(path, kind)
    copy.append(Event("appeared", "me", START + timedelta(days=1)))
    command = [sys.executable, "-c", textwrap.dedent(APPEND), str(path), kind]
    workers = [subprocess.Popen([*command, f"w{i}"], stderr=subprocess.PIPE) for i in range(2)]
    rounds = 0
    while any(worker.poll() is None for worker in workers):
        rounds += 1
        mark = str(rounds)
        copy.rewrite(lambda values, mark=mark: {**values, "place": mark})
    assert [worker.communicate()[1] for worker in workers] == [b"", b""]
    assert rounds > 2
    found = rows(path, kind)
    assert sorted((row["camera"], int(row.get("track", 0))) for row in found) == [
        ("me", 0),
        *((f"w{w}", i) for w in range(2) for i in range(40)),
    ]

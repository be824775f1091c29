from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import visavis
from visavis.errors import StorageError
from visavis.models import durable
from visavis.models.durable import locked, work_folder, write_whole

SOURCE = str(Path(visavis.__file__).parents[1])
HOLD = """
import sys
from pathlib import Path
from visavis.models.durable import locked, work_folder
with locked(Path(sys.argv[1]) / "a.lock"), work_folder(Path(sys.argv[1]) / "work") as folder:
    (folder / "half").write_bytes(b"x" * 1000)
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        env={**os.environ, "PYTHONPATH": SOURCE},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_reader_sees_the_old_or_the_new(tmp_path: Path) -> None:
    path = tmp_path / "file"
    versions = {bytes([k]) * 300_000 for k in range(20)}
    write_whole(path, next(iter(versions)))
    done = threading.Event()

    def write() -> None:
        for data in versions:
            write_whole(path, data)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        assert path.read_bytes() in versions
    writer.join()
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()  # can't be replaced by a file
    with pytest.raises(OSError, match=r"file"):
        write_whole(tmp_path / "file", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_lock_keeps_others_out_until_its_holder_dies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable, "_LOCK_SECONDS", 0.2)
    process = holder(tmp_path)
    with pytest.raises(StorageError, match="another process has held"), locked(tmp_path / "a.lock"):
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    with locked(tmp_path / "a.lock"):
        pass


def test_work_of_the_living_is_kept_and_of_the_dead_removed(tmp_path: Path) -> None:
    root = tmp_path / "work"
    process = holder(tmp_path)
    with work_folder(root) as mine:
        assert mine.is_dir()
        assert len(list(root.glob("*/half"))) == 1
    assert len(list(root.glob("*/half"))) == 1
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    with work_folder(root) as mine:
        assert [path for path in root.iterdir() if path.is_dir()] == [mine]
    assert list(root.iterdir()) == []


def test_work_is_removed_when_it_fails(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_bytes(b"x")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), work_folder(tmp_path) as folder:
        fail(folder)
    assert list(tmp_path.iterdir()) == []

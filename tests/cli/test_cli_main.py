"""The command line as a whole: help, quick start, mistakes, signals, pipes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from visavis import __version__
from visavis.cli import app

Run = Callable[..., Any]
HEAVY = ("numpy", "cv2", "PIL", "openvino", "onnxruntime", "onnx", "faiss", "sqlalchemy", "rich", "platformdirs")


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


ALL = dict(commands(typer.main.get_command(app)))


def test_the_commands_are_those_agreed_on() -> None:
    top = {path[0] for path in ALL}
    agreed = {"detect", "verify", "enroll", "identify", "find", "gallery", "models", "demo", "doctor", "bench"}
    assert top == agreed | {"classify", "cluster", "calibrate", "datasets", "evaluate", "events", "video", "watch"}
    gallery, models = ({path[1] for path in ALL if path[0] == group} for group in ("gallery", "models"))
    assert gallery >= {"ls", "show", "rm", "export", "import", "erase", "rename"}
    assert models >= {"ls", "fetch", "show", "verify", "add", "rm", "compare"}
    measured = {path[1] for path in ALL if path[0] == "evaluate"}
    assert measured >= {
        "verification",
        "identification",
        "detection",
        "landmarks",
        "attacks",
        "traits",
        "groups",
        "ijb",
    }


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_explains_itself_with_an_example(path: tuple[str, ...], run: Run) -> None:
    shown = run(*path, "--help")
    assert shown.code == 0
    assert "Example" in shown.out
    assert f"visavis {' '.join(path)}" in shown.out.split("Example", 1)[1]
    assert max(map(len, shown.out.splitlines())) <= 80
    assert "--json" in shown.out
    for parameter in ALL[path].params:
        assert parameter.name == "help" or parameter.help, f"{path} {parameter.name} has no help"


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_help_fits_a_narrow_terminal(path: tuple[str, ...], run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert max(map(len, run(*path, "--help").out.splitlines())) <= 60


@pytest.mark.parametrize("arguments", [["--help"], ["detect", "--help"], ["--version"], []])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    program = (
        "import sys; from visavis.cli import main; code = main(sys.argv[1:]); "
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert "visavis" in done.stdout


def test_version(outside: Run) -> None:
    assert outside("--version").out == f"visavis {__version__}\n"


def test_a_group_alone_shows_its_help(run: Run) -> None:
    for group in ("gallery", "models"):
        shown = run(group)
        assert shown.code == 0
        assert "Commands:" in shown.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonsense"], "No such command 'nonsense'; see visavis --help"),
        (["detect"], "Missing argument 'IMAGE'; see visavis detect --help"),
        (["detect", "--nonsense", "x.jpg"], "see visavis detect --help"),
        (["detect", "x.jpg", "--threads", "zero"], "'--threads'"),
        (["detect", "x.jpg", "--score", "7"], "'--score'"),
        (["identify", "x.jpg"], "--gallery"),
        (["detect", "x.jpg"], "no such image or folder: 'x.jpg'"),
        (["detect", "no/*.jpg"], "no such image or folder: 'no/*.jpg'"),
        (["detect", "https://example.org/a.jpg"], "download it"),
        (["verify", "a.jpg", "b.jpg"], "'a.jpg' does not exist"),
        (["verify", "a.jpg", "b.jpg", "--recognizer", "sfase"], "did you mean sface"),
        (["verify", "a.jpg", "b.jpg", "--precision", "f8"], "precision must be one of auto, f32, bf16"),
        (["verify", "a.jpg", "b.jpg", "--engine", "tf"], "engine must be one of"),
        (["enroll", "ada", "-g", "x.db"], "give a name and photos"),
        (["enroll", "ada", "x.jpg", "-g", "x.db", "--metadata", "{"], "--metadata is no JSON"),
        (["gallery", "ls", "-g", "x.db"], "there is no gallery x.db"),
        (["gallery", "import", "x.zip", "-g", "x.db"], "there is no file x.zip"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], said: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.code == 2
    assert result.out == ""
    assert result.err.startswith("visavis: ")
    assert said in result.err
    assert result.err.count("\n") == 1
    assert not list(tmp_path.iterdir())  # nothing was made


def test_a_mistake_in_a_second_process(outside: Run) -> None:
    result = outside("verify", "a.jpg", "b.jpg")
    assert (result.code, result.out) == (2, "")
    assert result.err == "visavis: 'a.jpg' does not exist; check the path\n"


def test_with_json_an_error_is_json_too(run: Run) -> None:
    result = run("verify", "a.jpg", "b.jpg", "--json")
    assert result.code == 2
    assert result.json["error"] == {"type": "ImageError", "message": "'a.jpg' does not exist; check the path"}
    assert result.err.startswith("visavis: ")


@pytest.mark.parametrize("as_json", [False, True])
def test_the_reader_of_a_pipe_may_leave(photos: Path, as_json: bool) -> None:
    many = [str(photos / "probes")] * 10
    command = [sys.executable, "-m", "visavis", "detect", *many, *(["--json"] if as_json else [])]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()
        assert process.wait(120) == 141
    assert said == b""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send")
def test_an_interrupt_is_quiet(photos: Path) -> None:
    many = [str(photos / "probes")] * 400
    command = [sys.executable, "-m", "visavis", "detect", *many, "--json"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(8)][-1]
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
        assert process.returncode == 130
    assert said == b""


def test_python_warnings_do_not_leak(outside: Run, photos: Path, people: Path) -> None:
    photo = photos / "probes" / "Al_Sharpton_2.jpg"
    result = outside("identify", photo, "-g", people, "--fpir", "1e-7")
    assert result.code == 0
    assert result.err.startswith("visavis: warning: FPIR 1e-07 over 3 templates needs FMR")
    assert result.err.count("\n") == 1
    document = outside("identify", photo, photo, "-g", people, "--fpir", "1e-7", "--json").json
    assert len(document["warnings"]) == 1
    assert document["fpir"] > 1e-7

"""Photos of a few people, a gallery of some of them, and two ways to run a command: in this process and outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from visavis.cli import main

PEOPLE = {"Abel_Pacheco": "阿贝尔", "Al_Sharpton": "Al Sharpton", "Ali_Naimi": "Ali Naimi"}
"""LFW people and the names they are enrolled under."""
STRANGERS = ("Ahmed_Chalabi", "Alejandro_Toledo")


@dataclass(frozen=True)
class Result:
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        document = json.loads(self.out)
        assert document["schema"] == 1
        assert document["visavis"]
        return document

    @property
    def rows(self) -> list[list[str]]:
        return [line.split("\t") for line in self.out.splitlines()]


Run = Callable[..., Result]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs a command in this process."""

    def call(*arguments: object) -> Result:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return Result(code, said.out, said.err)

    return call


@pytest.fixture
def outside() -> Run:
    """Return a function that runs a command in a process of its own, as a user would."""

    def call(*arguments: object, **environment: str) -> Result:
        done = subprocess.run(
            [sys.executable, "-m", "visavis", *map(str, arguments)],
            capture_output=True,
            env={**os.environ, "PYTHONUTF8": "1", **environment},
            stdin=subprocess.DEVNULL,
            timeout=300,
            check=False,
        )
        result = Result(done.returncode, done.stdout.decode("utf-8"), done.stderr.decode("utf-8"))
        assert "Traceback" not in result.err
        return result

    return call


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory, lfw: zipfile.ZipFile) -> Path:
    """Return a folder: people/NAME/1.jpg to enroll, probes/ with two more of each and of strangers."""
    folder = tmp_path_factory.mktemp("photos")

    def copy(person: str, number: int, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(lfw.read(f"lfw-dev/{person}/{person}_{number:04d}.jpg"))

    for person, name in PEOPLE.items():
        copy(person, 1, folder / "people" / name / "1.jpg")
    for person in (*PEOPLE, *STRANGERS):
        for number in (2, 4):
            copy(person, number, folder / "probes" / f"{person}_{number}.jpg")
    return folder


@pytest.fixture(scope="session")
def broken(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """Return a folder with two good photos, one of them under a Chinese name, and three bad ones."""
    folder = tmp_path_factory.mktemp("broken")
    good = (photos / "probes" / "Al_Sharpton_2.jpg").read_bytes()
    (folder / "照片 一").mkdir()
    (folder / "good.jpg").write_bytes(good)
    (folder / "照片 一" / "good.jpg").write_bytes(good)
    (folder / "zero.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("this is no picture", encoding="utf-8")
    (folder / "cut.jpg").write_bytes(good[: len(good) // 2])
    return folder


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory, photos: Path, home: Path) -> Path:
    """Return a gallery with `PEOPLE`, each from one photo; not to be changed."""
    file = tmp_path_factory.mktemp("gallery") / "people.db"
    before = {name: os.environ.get(name) for name in ("VISAVIS_HOME", "VISAVIS_PRECISION")}
    os.environ.update(VISAVIS_HOME=str(home), VISAVIS_PRECISION="f32")
    try:
        assert main(["enroll", "--from", str(photos / "people"), "--gallery", str(file)]) == 0
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    return file

"""Fixtures that tests share: the development data, and one home with the models fetched once a run."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("VISAVIS_DATA") or ROOT.parent / "shared" / "data")


def missing(reason: str) -> None:
    """Skip, but fail where CI=true promises that everything is there."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a VISAVIS_HOME shared by the run and all its workers; models land there once."""
    shared = os.environ.get("VISAVIS_TEST_HOME")
    if shared:
        return Path(shared)
    base = tmp_path_factory.getbasetemp()
    # Under pytest-xdist each worker has a folder of its own below the run's.
    return (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "visavis-home"


@pytest.fixture(autouse=True)
def _use_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep every test off the user's own cache, and exact: f32 on one thread unless it says otherwise."""
    monkeypatch.setenv("VISAVIS_HOME", str(home))
    monkeypatch.setenv("VISAVIS_PRECISION", "f32")
    monkeypatch.setenv("VISAVIS_THREADS", "1")
    monkeypatch.delenv("VISAVIS_ENGINE", raising=False)
    monkeypatch.delenv("VISAVIS_DEVICE", raising=False)


@pytest.fixture(scope="session")
def lfw() -> zipfile.ZipFile:
    """Return the open lfw-dev.zip: lfw-dev/NAME/NAME_0001.jpg and pairs.txt."""
    path = DATA / "lfw-dev.zip"
    if not path.is_file():
        missing(f"lfw-dev.zip is not in {DATA}; set VISAVIS_DATA to the folder that has it")
    return zipfile.ZipFile(path)


@pytest.fixture(scope="session")
def lfw_photo(lfw: zipfile.ZipFile) -> Callable[[str, int], bytes]:
    """Return a function (name, number) -> encoded JPEG bytes of an LFW photo."""
    return lambda name, number: lfw.read(f"lfw-dev/{name}/{name}_{number:04d}.jpg")


@pytest.fixture(scope="session")
def lfw_names(lfw: zipfile.ZipFile) -> list[str]:
    """Return the members of all LFW photos, sorted."""
    return sorted(name for name in lfw.namelist() if name.endswith(".jpg"))

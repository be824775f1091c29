"""The examples run as their first lines say, on the sample photos."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from visavis.image import load_image
from visavis.models.store import Store

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


@pytest.fixture(scope="module")
def sample(home: Path) -> dict[str, Path]:
    store = Store(home)
    return {name: store.path(name) for name in ("yunet", "sface", "obama", "obama2", "biden", "six-people")}


def run(name: str, *arguments: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=os.environ, check=False)


def test_verify_two_photos(sample: dict[str, Path]) -> None:
    same = run("verify_two_photos", sample["obama"], sample["obama2"])
    assert same.returncode == 0, same.stderr
    assert same.stdout.startswith("the same person\nsimilarity 0.7")
    other = run("verify_two_photos", sample["obama"], sample["biden"])
    assert other.returncode == 1
    assert other.stdout.startswith("different people")
    several = run("verify_two_photos", sample["obama"], sample["six-people"])
    assert several.returncode == 1
    assert "6 faces" in several.stderr
    assert "Traceback" not in several.stderr


def test_name_faces(sample: dict[str, Path], tmp_path: Path) -> None:
    for name, photos in {"Barack Obama": ["obama"], "Joe Biden": ["biden"]}.items():
        (tmp_path / "people" / name).mkdir(parents=True)
        for photo in photos:
            shutil.copy(sample[photo], tmp_path / "people" / name)
    (tmp_path / "people" / "Joe Biden" / "broken.jpg").write_bytes(b"")
    done = run("name_faces", tmp_path / "people", sample["obama2"], tmp_path / "named.jpg")
    assert done.returncode == 0, done.stderr
    assert "Barack Obama (nearest: Barack Obama, similarity 0.7" in done.stdout
    assert "left out:" in done.stdout
    assert load_image(tmp_path / "named.jpg").shape == load_image(sample["obama2"]).shape


def test_blur_strangers(sample: dict[str, Path], tmp_path: Path) -> None:
    done = run("blur_strangers", sample["obama"], sample["six-people"], tmp_path / "safe.png")
    assert done.returncode == 0, done.stderr
    assert "6 faces, 6 of them blurred" in done.stdout
    before, after = load_image(sample["six-people"]), load_image(tmp_path / "safe.png")
    changed = (before != after).any(axis=2).mean()
    assert 0.03 < changed < 0.25
    mine = run("blur_strangers", sample["obama"], sample["obama2"], tmp_path / "me.png")
    assert "1 faces, 0 of them blurred" in mine.stdout
    assert np.array_equal(load_image(tmp_path / "me.png"), load_image(sample["obama2"]))

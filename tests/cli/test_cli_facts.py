"""What reports say of how they were made, and that rates are measured in f32."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from visavis.cli.options import Machine
from visavis.models.store import Store

Run = Callable[..., Any]
TRUTH = {
    "images": [{"id": 1, "file_name": "six.jpg", "width": 1280, "height": 886}],
    "annotations": [
        {
            "id": 1,
            "image_id": 1,
            "category_id": 1,
            "bbox": [745, 345, 101, 133],
            "num_keypoints": 5,
            "keypoints": [771, 396, 2, 819, 395, 2, 796, 423, 2, 776, 447, 2, 814, 446, 2],
        }
    ],
    "categories": [{"id": 1, "name": "face"}],
}


@pytest.fixture
def work(store: Store, photos: Path, tmp_path: Path) -> Path:
    """Return a folder with an annotated picture, photos of people, pairs and labels."""
    (tmp_path / "pictures").mkdir()
    shutil.copy(store.fetch("six-people"), tmp_path / "pictures/six.jpg")
    (tmp_path / "truth.json").write_text(json.dumps(TRUTH))
    for photo in sorted((photos / "probes").glob("*.jpg")):
        person, _, number = photo.stem.rpartition("_")
        (tmp_path / "people" / person).mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, tmp_path / "people" / person / f"{number}.jpg")
    rows = [f"0.{9 - i % 7},{i % 2},{'fm'[i % 3 == 0]},{'fm'[i % 3 == 0]}" for i in range(40)]
    (tmp_path / "pairs.csv").write_text("similarity,mated,sex_a,sex_b\n" + "\n".join(rows))
    return tmp_path


def facts(page: Path) -> dict[str, str]:
    found = json.loads(page.with_suffix(".json").read_text("utf-8"))["facts"]
    return {one["name"]: one["value"] for one in found}


def test_rates_are_measured_in_f32_unless_told_otherwise() -> None:
    assert Machine().exact == Machine(precision="f32")
    assert Machine(threads=2, precision="bf16").exact == Machine(threads=2, precision="bf16")


@pytest.mark.parametrize(
    ("command", "models"),
    [
        (["detection", "truth.json", "pictures"], ["yunet"]),
        (["landmarks", "truth.json", "pictures"], ["yunet"]),
        (["identification", "people", "--strangers", "0.4", "--fpir", "0.3"], ["yunet", "sface"]),
    ],
)
def test_reports_of_models_tell_them_by_hash(
    run: Run, work: Path, store: Store, monkeypatch: pytest.MonkeyPatch, command: list[str], models: list[str]
) -> None:
    pytest.importorskip("jinja2")
    monkeypatch.chdir(work)
    result = run("evaluate", *command, "--threads", "1", "--report", "page.html", "--json")
    assert result.code == 0, result.err
    told = facts(work / "page.html")
    assert {"made", "command", "visavis", "numpy", "openvino"} <= set(told)
    assert (told["precision"], told["threads"]) == ("f32", "1")
    for name in models:
        assert told[f"SHA-256 of {name}"] == store.card(name).member_sha256


@pytest.mark.parametrize("command", [["detection", "truth.json", "pictures"], ["landmarks", "truth.json", "pictures"]])
def test_models_run_as_told(run: Run, work: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]) -> None:
    asked = []

    class Stop(Exception):
        pass

    def analyzer(*_: Any, precision: str | None, **__: Any) -> None:
        asked.append(precision)
        raise Stop

    monkeypatch.chdir(work)
    monkeypatch.setattr("visavis.pipeline.Analyzer", analyzer)
    for options in ([], ["--precision", "auto"]):
        with pytest.raises(Stop):
            run("evaluate", *command, *options)
    assert asked == ["f32", "auto"]


def test_reports_of_files_tell_them_by_hash(run: Run, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jinja2")
    monkeypatch.chdir(work)
    assert run("evaluate", "groups", "pairs.csv", "--threshold", "0.5", "--report", "page.html").code == 0
    told = facts(work / "page.html")
    assert {"SHA-256 of pairs.csv", "made", "command", "visavis", "scipy"} <= set(told)
    assert "precision" not in told


def test_a_calibration_tells_what_it_was_made_of(run: Run, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jinja2")
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(40), 3)
    vectors = rng.normal(size=(40, 128))[people] + 0.7 * rng.normal(size=(120, 128))
    names = [f"{person}/{i}.jpg" for i, person in enumerate(people)]
    np.savez(work / "mine.npz", names=np.array(names), vectors=vectors.astype(np.float32))
    (work / "people.csv").write_text("photo,person\n" + "\n".join(f"{name},p{name.split('/')[0]}" for name in names))
    monkeypatch.chdir(work)
    arguments = [
        "calibrate",
        "--embeddings",
        "mine.npz",
        "--labels",
        "people.csv",
        "--dry-run",
        "--report",
        "page.html",
    ]
    assert run(*arguments, "--dry-run", "--report", "page.html").code == 0
    told = facts(work / "page.html")
    assert {"SHA-256 of mine.npz", "SHA-256 of people.csv", "made", "command", "visavis", "numpy"} <= set(told)

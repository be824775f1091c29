"""``visavis demo``, ``doctor`` and ``bench``."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from visavis.image import load_image
from visavis.models.cards import ModelCard, builtin_cards

Run = Callable[..., Any]

NO_NETWORK = {
    "PIP_NO_INDEX": "1",
    "PIP_FIND_LINKS": os.devnull,
    "PIP_CONFIG_FILE": os.devnull,
    "HTTP_PROXY": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
}


def test_the_demo_names_two_and_leaves_six_unknown(outside: Run, tmp_path: Path) -> None:
    out = tmp_path / "demo-output"
    result = outside("demo", "--out", out)
    assert result.code == 0, result.err
    assert "all six strangers stayed unknown" in result.out
    document = json.loads((out / "demo.json").read_text(encoding="utf-8"))
    assert document["mistakes"] == []
    assert document["fmr"] == pytest.approx(1e-4)
    found = {photo["title"]: [face["subject"] for face in photo["faces"]] for photo in document["photos"]}
    assert found["composed group"] == ["Barack Obama", "Joe Biden", "Barack Obama"]
    assert found["six strangers"] == [None] * 6
    assert list(found.values())[:2] == [["Barack Obama"]] * 2
    for photo in document["photos"]:
        assert photo["ms"] > 0
        assert load_image(photo["picture"]).shape[0] > 500
    written = {path.name for path in out.iterdir()}
    assert written == {"obama-2.jpg", "obama-3.jpg", "composed-group.jpg", "six-strangers.jpg", "demo.json", "photos"}
    copied = {path.name for path in (out / "photos").iterdir()}
    assert copied == {"obama.jpg", "obama2.jpg", "obama3.jpg", "biden.jpg", "six-people.jpg"}


def test_a_second_demo_needs_no_network(outside: Run, run: Run, tmp_path: Path) -> None:
    assert run("demo", "--out", tmp_path / "first").code == 0
    result = outside("demo", "--out", tmp_path / "second", "--json", **NO_NETWORK)
    assert result.code == 0, result.err
    assert result.err == ""
    assert len(result.json["photos"]) == 4
    assert result.json["mistakes"] == []


def test_a_first_demo_without_network_says_so(outside: Run, tmp_path: Path) -> None:
    result = outside("demo", "--out", tmp_path / "out", VISAVIS_HOME=str(tmp_path / "home"), **NO_NETWORK)
    assert result.code == 2
    assert result.err.splitlines()[-1].startswith("visavis: ")


def test_the_demo_owns_up_to_a_mistake(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    module = importlib.import_module("visavis.cli.demo")
    monkeypatch.setattr(module, "_FMR", 0.1)  # so loose that strangers get names
    result = run("demo", "--out", tmp_path, "--json")
    assert result.code == 1
    assert result.json["mistakes"]
    assert "visavis: wrong: six strangers: face " in result.err


# ---- doctor ----------------------------------------------------------------------------------------------------


def test_doctor_says_what_was_chosen_and_why(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("models", "fetch", "yunet", "sface").code == 0
    monkeypatch.setattr("visavis.cli.machine._SECONDS", 0.05)
    monkeypatch.delenv("VISAVIS_PRECISION")
    result = run("doctor", "--json", "--engine", "openvino")
    assert result.code == 0
    chosen = result.json["chosen"]
    assert chosen["engine"] == {"value": "openvino", "why": "argument --engine"}
    assert chosen["threads"] == {"value": "1", "why": "environment VISAVIS_THREADS"}
    assert chosen["precision"]["why"].startswith("default; this CPU ")
    bf16 = "BF16" in result.json["engines"][0]["capabilities"]
    assert chosen["precision"]["value"] == f"auto = {'bf16' if bf16 else 'f32'}"
    models = {model["id"]: model for model in result.json["models"]}
    for name in ("yunet", "sface"):
        assert models[name]["state"] == "ready"
        assert models[name]["ms"] > 0
        assert models[name]["precision"] == ("bf16" if bf16 else "f32")
    assert result.json["home"]["models_bytes"] > 30e6
    assert result.json["libraries"]["numpy"]
    assert result.json["video"]["pyav"]
    assert isinstance(result.json["video"]["hardware"], list)
    assert result.json["problems"] == []


def test_doctor_times_models_of_every_kind(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("models", "fetch", "face-mesh", "obama").code == 0
    monkeypatch.setattr("visavis.cli.machine._LOOK_SECONDS", 0.01)
    ready = ("face-mesh", "haar", "hog")  # networks that are parts; a file of a library; a library
    chosen = {name: card for name, card in builtin_cards().items() if name in ready}
    monkeypatch.setattr("visavis.models.store.builtin_cards", lambda: chosen | _parts_of(chosen))
    result = run("doctor", "--json")
    models = {model["id"]: model for model in result.json["models"]}
    assert set(models) == {*ready}, "parts are shown with the model that runs them"
    assert all(models[name]["ms"] > 0 for name in ready), result.json["problems"]
    assert models["face-mesh"]["per"] == "a face"
    assert models["haar"]["per"] == "a 640x640 picture"
    assert (models["face-mesh"]["precision"], models["haar"]["precision"]) == ("f32", "")
    monkeypatch.setattr("visavis.models.store._library_there", lambda card: not card.library)
    lacking = {model["id"]: model for model in run("doctor", "--json").json["models"]}
    assert lacking["hog"]["why"] == "hog needs the package dlib: pip install 'visavis[dlib]'"
    assert lacking["hog"]["ms"] is None


def _parts_of(cards: dict[str, ModelCard]) -> dict[str, ModelCard]:
    return {part: builtin_cards()[part] for card in cards.values() for part in card.parts} | {
        "obama": builtin_cards()["obama"]
    }


def test_doctor_survives_a_model_that_fails(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("models", "fetch", "yunet").code == 0

    def failing(*_: Any, **__: Any) -> None:
        raise RuntimeError("no such layer")

    monkeypatch.setattr("visavis.models.loader.load_code", failing)
    monkeypatch.setattr("visavis.models.store.builtin_cards", lambda: {"yunet": builtin_cards()["yunet"]})
    result = run("doctor", "--json")
    assert result.code == 1
    assert result.json["problems"] == ["model 'yunet' can't be run: RuntimeError: no such layer"]


def test_doctor_on_an_empty_home_touches_nothing(outside: Run, tmp_path: Path) -> None:
    result = outside("doctor", VISAVIS_HOME=str(tmp_path / "new"), **NO_NETWORK)
    assert result.code == 0, result.err
    assert "absent: visavis models fetch yunet" in result.out
    assert "VISAVIS_ENGINE=onnxruntime" in result.out or "not installed: pip install onnxruntime" in result.out
    assert not (tmp_path / "new").exists()


def test_doctor_finds_problems(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    import shutil

    assert run("models", "fetch", "yunet").code == 0
    shutil.copytree(home / "models" / "yunet", tmp_path / "models" / "yunet")
    with (tmp_path / "models" / "yunet" / "yunet.onnx").open("r+b") as file:
        file.write(b"damaged")
    (tmp_path / "models" / "mine").mkdir()
    (tmp_path / "models" / "mine" / "card.toml").write_text("not a card", encoding="utf-8")
    monkeypatch.setenv("VISAVIS_HOME", str(tmp_path))
    monkeypatch.setenv("VISAVIS_THREADS", "many")
    result = run("doctor", "--json")
    assert result.code == 1
    problems = "\n".join(result.json["problems"])
    assert "'yunet' is damaged" in problems
    assert "card.toml" in problems
    assert "VISAVIS_THREADS" in problems


def test_bench_measures(run: Run, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("visavis.cli.machine._SECONDS", 0.05)
    result = run("bench", photos / "probes", "--precision", "f32", "--json")
    assert result.code == 0
    (row,) = result.json["results"]
    assert row["precision"] == "f32"
    assert row["threads"] == 1
    assert min(row["ms_per_photo"], row["photos_per_s"], row["faces_per_s"]) > 0
    assert run("bench", photos / "none").code == 2

"""``visavis models compare``."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from typing import Any

import pytest
from conftest import DATA

Run = Callable[..., Any]


@pytest.fixture(autouse=True)
def _data(lfw: zipfile.ZipFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISAVIS_DATA", str(DATA))
    monkeypatch.setattr("visavis.protocols.comparison.measure", lambda *_: (12.3, 200.0))


def test_a_table(run: Run) -> None:
    arguments = ("models", "compare", "--pairs", "20", "--detectors", "yunet", "--recognizers", "sface")
    result = run(*arguments, "--json")
    assert result.code == 0, result.err
    assert (result.json["data"], result.json["pairs"], result.json["far"]) == ("lfw-dev", 20, 1e-3)
    (row,) = result.json["rows"]
    assert (row["detector"], row["recognizer"], row["ms"], row["peak_mb"]) == ("yunet", "sface", 12.3, 200)
    assert row["accuracy"]["low"] < row["accuracy"]["value"] <= row["accuracy"]["high"]
    ((*cells,),) = run(*arguments).rows
    assert cells[:2] == ["yunet", "sface"]
    assert cells[2] == f"{100 * row['accuracy']['value']:.2f}"
    assert cells[-3:] == ["yes", str(row["photos"]), "MIT, Apache-2.0"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--detectors", "sface"], "not a detector"),
        (["--recognizers", ","], "names with commas between"),
        (["--data", "none"], "no data set 'none'"),
        (["--pairs", "0"], "--pairs"),
        (["--detectors", "yunett"], "did you mean yunet?"),
    ],
)
def test_mistakes(run: Run, arguments: list[str], message: str) -> None:
    result = run("models", "compare", *arguments)
    assert result.code == 2
    assert message in result.err
    assert result.err.count("\n") == 1


def test_a_license_that_was_not_accepted_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "visavis.models.store.Store.unusable",
        lambda self, name: "" if name in ("yunet", "sface") else f"{name} is not for you",
    )
    result = run("models", "compare", "--pairs", "20", "--json")
    assert result.code == 0
    assert [row["detector"] for row in result.json["rows"]] == ["yunet"]
    left_out = {item["id"]: item["why"] for item in result.json["left_out"]}
    assert left_out["haar"] == "haar is not for you"
    assert "haar left out: haar is not for you" in result.err

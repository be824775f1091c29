"""docs/cli.md says what the commands do: every command, every field, every variable."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

DOCS = (Path(__file__).resolve().parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
ALWAYS = {"visavis", "schema", "command", "warnings", "skipped"}


def documented(command: str) -> set[str]:
    """Return the names that the table of JSON fields gives for a command."""
    table = DOCS.split("## JSON", 1)[1]
    row = next(line for line in table.splitlines() if re.match(rf"\| [^|]*`{command}`", line))
    return set(re.findall(r"`([a-z_0-9]+)`", row))


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("detect", ["{photo}"]),
        ("verify", ["{photo}", "{photo}"]),
        ("find", ["{photo}", "{photo}"]),
        ("identify", ["{photo}", "-g", "{people}"]),
        ("cluster", ["{photo}", "{photo}"]),
        ("gallery ls", ["-g", "{people}"]),
        ("gallery show", ["Ali Naimi", "-g", "{people}"]),
        ("models ls", []),
        ("datasets duplicates", ["{photo}", "{photo}"]),
        ("datasets show", ["{photo.parent}"]),
        ("datasets align", ["{folder}", "--out", "{out}"]),
        ("datasets clean", ["{folder}", "--list", "{out}"]),
        ("datasets split", ["{folder}", "--out", "{out}"]),
        ("datasets statistics", ["{folder}"]),
    ],
)
def test_the_fields_are_documented(
    command: str, arguments: list[str], run: Callable[..., Any], photos: Path, people: Path, tmp_path: Path
) -> None:
    places = {"photo": photos / "probes" / "Al_Sharpton_2.jpg", "people": people}
    places |= {"folder": photos / "people", "out": tmp_path / "out"}
    document = run(*command.split(), *(a.format(**places) for a in arguments), "--json").json
    names = set(document) - ALWAYS
    for items in document.values():
        if isinstance(items, list) and items and isinstance(items[0], dict):
            names |= set(items[0])
    known = documented(command)
    if command == "gallery show":
        known |= documented("gallery ls")
    assert names <= known


def test_every_variable_is_documented() -> None:
    source = Path(__file__).resolve().parents[2] / "src"
    used = {name for path in source.rglob("*.py") for name in re.findall(r"VISAVIS_[A-Z_]+", path.read_text("utf-8"))}
    assert used - set(re.findall(r"VISAVIS_[A-Z_]+", DOCS)) == set()
    assert os.environ["VISAVIS_HOME"]

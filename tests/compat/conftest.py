"""Fixtures of the tests of drop-in modules."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from visavis.compat.face_recognition import api
from visavis.models.store import Store
from visavis.types import Image

REFERENCE = Path(__file__).parent / "reference" / "face_recognition.json"


@pytest.fixture(scope="session")
def reference() -> dict[str, Any]:
    """Return what face_recognition 1.3.0 and dlib 20.0.1 said of sample photos."""
    return json.loads(REFERENCE.read_text())


@pytest.fixture(scope="session")
def photo(store: Store) -> Any:
    """Return a function from a sample's name to its pixels."""
    kept: dict[str, Image] = {}

    def load(name: str) -> Image:
        if name not in kept:
            kept[name] = api.load_image_file(store.path(name))
        return kept[name]

    return load


@pytest.fixture
def no_dlib(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have dlib not be installed."""
    monkeypatch.setitem(sys.modules, "dlib", None)


@pytest.fixture
def licensed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accept the license of the 68-point model."""
    monkeypatch.setenv("VISAVIS_ACCEPT_LICENSES", "dlib-68")

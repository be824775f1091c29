"""The public names: all there, loaded only when used, and nothing more."""

from __future__ import annotations

import doctest
import importlib
import json
import subprocess
import sys

import pytest

import visavis as vv
from visavis import errors

NAMES = {
    "Analysis", "Analyzer", "Candidates", "Embeddings", "Face", "Faces", "Gallery", "Verification",
    "analyze", "open_gallery", "verify",
}  # fmt: skip
ERRORS = {name for name in errors.__all__ if name[0].isupper()}


def test_the_contract():
    assert set(vv.__all__) == NAMES | ERRORS
    assert len(vv.__all__) == len(set(vv.__all__))


@pytest.mark.parametrize("name", sorted(NAMES | ERRORS))
def test_every_name_can_be_used(name):
    value = getattr(vv, name)
    assert callable(value)
    assert value.__doc__
    assert name in dir(vv)


def test_an_unknown_name():
    with pytest.raises(AttributeError, match="module 'visavis' has no attribute 'detect'"):
        vv.detect  # noqa: B018


def test_star_import_gives_the_contract():
    names: dict[str, object] = {}
    exec("from visavis import *", names)
    assert {name for name in names if not name.startswith("__")} == NAMES | ERRORS


def test_the_version_is_that_of_the_package():
    from importlib.metadata import version

    assert vv.__version__ == version("visavis")


@pytest.mark.parametrize(
    ("statement", "allowed"),
    [
        ("import visavis", set()),
        ("import visavis; visavis.ImageError; visavis.VisavisError; dir(visavis)", set()),
        ("import visavis; visavis.Faces", {"numpy"}),
        ("import visavis; visavis.Analyzer", {"numpy", "cv2"}),
    ],
)
def test_what_a_name_loads(statement, allowed):
    heavy = {
        "numpy", "cv2", "PIL", "openvino", "onnxruntime", "onnx", "faiss", "sqlalchemy", "typer", "rich", "torch",
        "filelock", "platformdirs", "ssl", "asyncio",
    }  # fmt: skip
    script = f"import json, sys; {statement}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert loaded & heavy <= allowed


@pytest.mark.parametrize(
    "name",
    [
        "types", "geometry", "alignment", "errors", "pipeline", "models.session", "detection.yunet",
        "recognition.compare", "image",
    ],
)  # fmt: skip
def test_examples_in_docstrings(name):
    results = doctest.testmod(importlib.import_module(f"visavis.{name}"))
    assert results.attempted > 0
    assert results.failed == 0

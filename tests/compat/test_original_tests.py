"""face_recognition 1.3.0's own tests, unmodified, with ``import face_recognition`` meaning ours."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from conftest import missing

import visavis.compat.face_recognition as ours

DOCS = Path(__file__).parents[2] / "docs" / "face_recognition.md"
ON_PATH = Path(ours.__file__).with_name("on_path")
COUNT = 30
WITHOUT_DLIB = "sys.modules['dlib'] = None"


@pytest.fixture(scope="module")
def suite(archives, tmp_path_factory):
    """Return the folder of the package's tests, as it ships them."""
    folder = tmp_path_factory.mktemp("original")
    with tarfile.open(next(archives.glob("face_recognition-*.tar.gz"))) as sdist:
        for member in sdist:
            path = Path(member.name)
            if member.isfile() and path.parts[1] == "tests" and path.suffix in (".py", ".jpg", ".png"):
                target = folder.joinpath(*path.parts[1:])
                target.parent.mkdir(parents=True, exist_ok=True)
                file = sdist.extractfile(member)
                assert file is not None
                target.write_bytes(file.read())
    return folder


def outcomes(suite, prelude="", *arguments, **environment):
    """Run the tests in a process of their own, and return the name of each with whether it passed."""
    report = suite / "report.xml"
    options = ["-q", "-p", "no:cacheprovider", f"--junitxml={report}", "tests/test_face_recognition.py", *arguments]
    code = f"import sys; {prelude}; import pytest; sys.exit(pytest.main({options!r}))"
    variables = {**os.environ, "PYTHONPATH": str(ON_PATH), "VISAVIS_ACCEPT_LICENSES": "dlib-68", **environment}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=suite, env=variables, capture_output=True, text=True, timeout=1500
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    cases = ElementTree.parse(report).getroot().iter("testcase")
    return {case.get("name"): not [*case.iter("failure"), *case.iter("error")] for case in cases}


def listed():
    """Return the tests that docs/face_recognition.md says can't hold without dlib."""
    text = DOCS.read_text(encoding="utf-8")
    return set(re.findall(r"^\| `(test_\w+)` \|", text, re.M))


def test_without_dlib_all_but_those_listed_pass(suite):
    """Leave out those that take long: test_without_dlib_in_full runs them."""
    results = outcomes(suite, WITHOUT_DLIB, "-k", "not cnn and not tolerance and not big_image and not folder")
    assert len(results) == COUNT - 7
    assert {name for name, passed in results.items() if not passed} == listed()


@pytest.mark.slow
def test_without_dlib_in_full(suite):
    results = outcomes(suite, WITHOUT_DLIB)
    assert len(results) == COUNT
    assert {name for name, passed in results.items() if not passed} == listed()


def test_with_dlib_boxes_and_landmarks_are_the_originals(suite):
    needs_dlib()
    results = outcomes(suite, "pass", "-k", "test_face_locations or test_face_landmarks")
    assert len(results) == 3
    assert [name for name, passed in results.items() if not passed] == []


@pytest.mark.slow
def test_with_dlib_all_pass(suite):
    needs_dlib()
    results = outcomes(suite, "pass")
    assert len(results) == COUNT
    assert [name for name, passed in results.items() if not passed] == []


def needs_dlib():
    try:
        import dlib  # noqa: F401
    except ImportError:
        missing("dlib is not installed; pip install dlib-bin")

"""CONTRIBUTING.md's example: a detector is one file and one card, and nothing else."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import DATA, ROOT, missing

NAME = "opencv-yunet"


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the package with the example's two files put where CONTRIBUTING.md says, and nothing changed."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8").split("## A new detector", 1)[1]
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    (card,) = re.findall(r"```toml\n(.*?)```", text, flags=re.DOTALL)
    folder = tmp_path_factory.mktemp("extended")
    package = folder / "visavis"
    shutil.copytree(ROOT / "src" / "visavis", package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "detection" / "opencv_yunet.py").write_text(code, "utf-8")
    (package / "models" / "catalog" / "opencv_yunet.toml").write_text(card, "utf-8")
    return folder


def python(extended: Path, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {
        **os.environ,
        "PYTHONPATH": str(extended),
        "VISAVIS_HOME": str(home),
        "VISAVIS_TEST_HOME": str(home),
        "VISAVIS_DATA": str(DATA),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return subprocess.run(
        [sys.executable, *arguments], env=env, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False
    )


def test_it_keeps_the_contract(extended: Path, home: Path) -> None:
    if not (DATA / "lfw-dev.zip").is_file():
        missing(f"lfw-dev.zip is not in {DATA}")
    options = ("-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-k", f"DetectorContract and {NAME}")
    done = python(extended, home, "-m", "pytest", *options, "tests/test_pipeline.py")
    assert done.returncode == 0, done.stdout
    assert re.search(r"\b[2-9] passed", done.stdout), done.stdout


def test_every_way_to_it_works(extended: Path, home: Path, tmp_path: Path) -> None:
    from visavis.models.store import Store

    photo = str(Store(home).path("six-people"))
    program = f"import visavis as vv; print(len(vv.Analyzer(detector={NAME!r}, threads=1).analyze({photo!r})))"
    done = python(extended, home, "-c", program)
    assert done.stdout == "6\n", done.stderr
    detect = ("-m", "visavis", "detect", photo, "--detector", NAME, "--json")
    assert json.loads(python(extended, home, *detect, "--detector-set", "overlap=0.4").stdout)["faces"] == 6
    wrong = python(extended, home, *detect, "--detector-set", "overlaps=0.4")
    assert wrong.returncode == 2
    assert f"{NAME} has no setting 'overlaps'; did you mean overlap?" in wrong.stderr
    shown = json.loads(python(extended, home, "-m", "visavis", "models", "show", NAME, "--json").stdout)["model"]
    assert (shown["parts"], shown["state"]) == (["yunet"], "ready")

"""A newcomer's first minutes: `make demo` from a bare checkout and an empty home, on the oldest and newest Python."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, missing

OLDEST, NEWEST = "3.10", "3.13"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        sys.platform == "win32", reason="make is for Linux and macOS; README.md has the commands for Windows"
    ),
]


def interpreter(version: str) -> str:
    """Return a Python of that version: the one running, one on the path, or one of pyenv's."""
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        return sys.executable
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [shutil.which(f"python{version}")]
    candidates += [str(found) for found in sorted(pyenv.glob(f"{version}.*/bin/python"))]
    for candidate in candidates:
        if candidate is None:
            continue
        asked = subprocess.run(
            [candidate, "-c", "import sys; print(*sys.version_info[:2], sep='.')"],
            capture_output=True,
            text=True,
        )
        if asked.stdout.strip() == version:
            return candidate
    missing(f"Python {version} is not installed")
    raise AssertionError


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_demo_from_nothing(version: str, tmp_path: Path) -> None:
    python = interpreter(version)
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    for name in ("src", "pyproject.toml", "Makefile", "README.md", "LICENSE"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, checkout / name)
    home = tmp_path / "home"
    home.mkdir()
    drop = ("VISAVIS_", "XDG_", "VIRTUAL_ENV", "PYTHONPATH")
    env = {name: value for name, value in os.environ.items() if not name.startswith(drop)}
    env |= {"HOME": str(home), "TMPDIR": str(tmp_path)}

    installed = _make(checkout, env, python, ".venv/.installed")
    assert installed.returncode == 0, installed.stdout + installed.stderr
    before = {path.name for path in home.iterdir()}  # what pip and the tools it asks leave is theirs

    first = _make(checkout, env, python)
    assert first.returncode == 0, first.stdout + first.stderr
    answer = json.loads((checkout / "demo-output" / "demo.json").read_text("utf-8"))
    assert "unknown" in first.stdout
    written = [path for path in (checkout / "demo-output").iterdir() if path.is_file()]
    assert {path.suffix for path in written} == {".jpg", ".json"}
    assert len(written) >= 5
    assert answer["schema"] >= 1
    assert {path.name for path in home.iterdir()} - before <= {".cache", "Library"}

    # The second run finds everything here: no index, and proxies that lead nowhere.
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    offline = env | nowhere | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path / "empty")}
    second = _make(checkout, offline, python)
    assert second.returncode == 0, second.stdout + second.stderr


def _make(checkout: Path, env: dict[str, str], python: str, target: str = "demo") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", target, f"PYTHON={python}"],
        cwd=checkout,
        env=env,
        capture_output=True,
        text=True,
        timeout=900,
    )

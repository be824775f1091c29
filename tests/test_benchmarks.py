"""The benchmarks run and fill their tables; what they measure is for docs/benchmarks.md, never asserted."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import DATA, ROOT, missing


@pytest.mark.slow
def test_a_quick_run_fills_every_table(home: Path) -> None:
    if not (DATA / "lfw-dev.zip").is_file():
        missing(f"lfw-dev.zip is not in {DATA}")
    env = os.environ | {"VISAVIS_HOME": str(home), "VISAVIS_DATA": str(DATA)}
    command = [sys.executable, str(ROOT / "benchmarks" / "run.py"), "--quick"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr
    sections = re.split(r"^## ", done.stdout, flags=re.MULTILINE)[1:]
    titles = [section.splitlines()[0] for section in sections]
    assert titles == [
        "Budgets",
        "Photo to embeddings",
        "Where the time goes",
        "The networks alone",
        "Search",
        "Start-up",
        "Memory",
    ]
    for section in sections:
        table = [line for line in section.splitlines() if line.startswith("|")]
        measured = [row for row in table if re.search(r"\| [<-]?\d", row)]
        assert measured, section

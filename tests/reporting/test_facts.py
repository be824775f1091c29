"""Versions and hashes of a report."""

from __future__ import annotations

import hashlib
import platform
from pathlib import Path

import numpy as np

from visavis.reporting.facts import hashes, versions


def test_versions() -> None:
    found = dict(versions("scipy", "no-such-package"))
    assert found["numpy"] == np.__version__
    assert found["Python"] == platform.python_version()
    assert "no-such-package" not in found


def test_hashes(tmp_path: Path) -> None:
    content = bytes(range(256)) * 9000
    (tmp_path / "a.csv").write_bytes(content)
    found = hashes([tmp_path / "a.csv", None, tmp_path])
    assert found == [("SHA-256 of a.csv", hashlib.sha256(content).hexdigest())]

"""The table that a calibration keeps, held against the pairs it was measured on."""

from __future__ import annotations

import numpy as np
import pytest

from visavis.protocols.calibration import calibrate
from visavis.protocols.embedding import Embedded


@pytest.mark.parametrize("seed", range(3))
def test_kept_thresholds_let_through_no_more_than_they_say(seed: int) -> None:
    rng = np.random.default_rng(seed)
    people = np.repeat(np.arange(80), 4)
    raw = rng.normal(size=(80, 16))[people] + 0.8 * rng.normal(size=(320, 16))
    vectors = (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)
    names = tuple(f"{row}.jpg" for row in range(320))
    done = calibrate(Embedded(names, vectors, np.ones(320, bool), "own"), [str(p) for p in people], data="own")
    a, b = np.triu_indices(320, 1)
    others = (vectors @ vectors.T)[a, b][people[a] != people[b]].astype(np.float64)
    for threshold, point in zip(done.table.similarities, done.measured.points, strict=True):
        assert 0 <= threshold - point.threshold < 1.1e-5
        assert (others >= threshold).sum() <= point.fmr * len(others) * (1 + 1e-12)

from __future__ import annotations

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visavis.errors import CalibrationError, InputError, ModelMismatch
from visavis.models.cards import Calibration, builtin_cards
from visavis.recognition.compare import (
    CalibrationWarning,
    fmr_at,
    fmr_for_fpir,
    fpir_of,
    operating_point,
    similarity,
    threshold_at,
    verification,
)
from visavis.types import Embeddings

SFACE = builtin_cards()["sface"].calibrations["sface"]


def row(*values: float, model: str = "sface") -> Embeddings:
    return Embeddings.normalized([values], model)


def test_similarity_is_the_cosine() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(4, 16)), rng.normal(size=(3, 16))
    expected = [[x @ y / math.sqrt(x @ x) / math.sqrt(y @ y) for y in b] for x in a]
    got = similarity(Embeddings.normalized(a, "m"), Embeddings.normalized(b, "m"))
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_similarity_never_leaves_its_range() -> None:
    e = Embeddings.normalized(np.full((1, 511), 0.1), "m")
    assert -1 <= float(similarity(e, e)[0, 0]) <= 1


def test_a_rate_that_was_not_measured_tells_the_way_back() -> None:
    with pytest.raises(CalibrationError, match=r"was not measured for 'sface': .* or give a threshold$"):
        threshold_at(SFACE, 1e-12)
    own = replace(SFACE, model="sface+flip", data="door", measured="2026-11-22 06:10 UTC")
    with pytest.raises(CalibrationError, match=r"door covers .*: visavis calibrate --remove sface$"):
        threshold_at(own, 1e-12)


def test_models_and_variants_do_not_mix() -> None:
    with pytest.raises(ModelMismatch, match=r"'sface'.*'sface\+flip'"):
        similarity(row(1, 0), row(1, 0, model="sface+flip"))
    with pytest.raises(ModelMismatch, match="2 and of 3"):
        similarity(row(1, 0), row(1, 0, 0))


@given(st.floats(1e-6, 0.9))
def test_threshold_and_rate_are_inverse(fmr: float) -> None:
    assert math.isclose(float(fmr_at(SFACE, threshold_at(SFACE, fmr))), fmr, rel_tol=1e-6)


@given(st.floats(-1, 1), st.floats(-1, 1))
def test_rate_falls_as_the_threshold_rises(a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert fmr_at(SFACE, low) >= fmr_at(SFACE, high)


def test_rates_outside_the_measured_range() -> None:
    assert fmr_at(SFACE, -1.0) == 1.0
    assert fmr_at(SFACE, 1.0) == pytest.approx(1e-6)  # an upper bound: nothing stricter was measured
    with pytest.raises(CalibrationError, match=r"1e-07 was not measured"):
        threshold_at(SFACE, 1e-7)
    for wrong in (0.0, 1.0, -0.1, float("nan")):
        with pytest.raises(InputError):
            threshold_at(SFACE, wrong)


@given(st.floats(1e-9, 0.5), st.integers(1, 10**7))
def test_fpir_inverts_fmr(fpir: float, templates: int) -> None:
    assert math.isclose(fpir_of(fmr_for_fpir(fpir, templates), templates), fpir, rel_tol=1e-9)


def test_fpir_by_simulation() -> None:
    rng = np.random.default_rng(1)
    hits = (rng.random((20_000, 50)) < 0.004).any(axis=1).mean()
    assert fpir_of(0.004, 50) == pytest.approx(hits, abs=0.01)


def test_identification_threshold_grows_with_the_gallery() -> None:
    small = operating_point(SFACE, fpir=0.01, templates=10)
    large = operating_point(SFACE, fpir=0.01, templates=1000)
    assert small.threshold < large.threshold
    assert small.fpir == pytest.approx(0.01)
    assert large.fmr == pytest.approx(1e-5, rel=0.01)


def test_fpir_beyond_the_calibration_says_so() -> None:
    with pytest.warns(CalibrationWarning, match=r"needs FMR 1\.0e-08.*FPIR here is 0\.63"):
        point = operating_point(SFACE, fpir=0.01, templates=1_000_000)
    assert point.fmr == pytest.approx(1e-6)
    assert point.fpir == pytest.approx(1 - math.exp(-1), abs=1e-3)


def test_one_template_gallery_needs_no_strict_threshold() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        point = operating_point(SFACE, fpir=0.99, templates=1)
    assert point.fmr == pytest.approx(0.9)


def test_uncalibrated_models_state_no_rate() -> None:
    point = operating_point(None, threshold=0.4, templates=10)
    assert (point.fmr, point.fpir) == (None, None)
    with pytest.raises(CalibrationError, match="'mine' has no calibration"):
        operating_point(None, fmr=1e-3, model="mine")
    answer = verification(row(1, 0, model="mine"), row(1, 0.1, model="mine"), None, threshold=0.9)
    assert answer.match
    assert (answer.fmr, answer.fmr_at_similarity) == (None, None)


@pytest.mark.parametrize(
    "given_",
    [{}, {"fmr": 1e-3, "threshold": 0.4}, {"fpir": 0.1}, {"threshold": 1.5}, {"threshold": float("nan")}],
)
def test_operating_points_that_make_no_sense(given_: dict[str, float]) -> None:
    with pytest.raises(InputError):
        operating_point(SFACE, **given_)


def test_verification_states_both_rates() -> None:
    angle = math.acos(0.5)
    answer = verification(row(1, 0), row(math.cos(angle), math.sin(angle)), SFACE)
    assert answer.match
    assert answer.similarity == pytest.approx(0.5, abs=1e-6)
    assert answer.fmr == 1e-4
    assert answer.fmr_at_similarity is not None
    assert 1e-6 < answer.fmr_at_similarity < 1e-4
    with pytest.raises(InputError, match="one face with one face"):
        verification(Embeddings.concat([row(1, 0)] * 2), row(1, 0), SFACE)


@pytest.mark.parametrize(
    ("similarities", "fmr"),
    [
        ([0.1], [0.5]),
        ([0.3, 0.1], [0.1, 0.01]),
        ([0.1, 0.3], [0.1, 0.2]),
        ([0.1, 0.3], [0.1, 0.0]),
        ([0.1, 0.3, 0.4], [0.1, 0.01]),
    ],
)
def test_a_calibration_must_fall_as_similarity_rises(similarities: list[float], fmr: list[float]) -> None:
    with pytest.raises(InputError, match="calibration needs"):
        Calibration("m", "toy", 1, 1, np.array(similarities), np.array(fmr))


def test_the_card_brackets_each_rate() -> None:
    for calibration in builtin_cards()["sface"].calibrations.values():
        assert calibration.fmr_low is not None
        assert calibration.fmr_high is not None
        assert (calibration.fmr_low <= calibration.fmr).all()
        assert (calibration.fmr_high >= calibration.fmr * 0.99).all()
        assert calibration.nonmated_pairs > 23_000_000

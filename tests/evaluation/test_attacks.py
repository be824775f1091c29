"""Presentation attack detection by hand, by counting, and against scikit-learn's ROC curve."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import roc_curve

from visavis.errors import InputError
from visavis.evaluation.attacks import Presentations, evaluate_attacks

LIVE = [0.9, 0.8, 0.7, 0.6, 0.5, 0.95, 0.85, 0.75, 0.65, 0.1]
PRINT = [0.1, 0.2, 0.3, 0.4, 0.05]
REPLAY = [0.55, 0.62, 0.2, 0.1]
KINDS = ["bona fide"] * 10 + ["print"] * 5 + ["replay"] * 4


def test_by_hand() -> None:
    found = evaluate_attacks(Presentations.of(LIVE + PRINT + REPLAY, KINDS), 0.5)
    assert [(kind.name, kind.attacks, kind.apcer.value) for kind in found.kinds] == [
        ("replay", 4, 0.5),
        ("print", 5, 0),
    ]
    assert (found.bona_fide, found.bpcer.value, found.acer) == (10, 0.1, 0.3)
    assert not found.chosen_here
    exact = binomtest(2, 4).proportion_ci(0.95, "exact")
    assert (found.apcer.low, found.apcer.high) == pytest.approx((exact.low, exact.high))
    # No replay passes above 0.62, and below that a quarter of them would: four attacks can't show 10 %.
    assert [(at.apcer, at.threshold, at.bpcer.value, at.supported) for at in found.at] == [
        (0.1, 0.65, 0.3, False),
        (0.05, 0.65, 0.3, False),
        (0.01, 0.65, 0.3, False),
    ]
    assert found.to_dict()["worst_kind"] == "replay"


def test_the_threshold_of_a_development_set() -> None:
    development = Presentations.of(LIVE + PRINT + REPLAY, KINDS)
    here = evaluate_attacks(development)
    assert here.chosen_here
    assert here.threshold == here.eer_threshold == development.eer()[1]
    elsewhere = evaluate_attacks(
        Presentations.of([0.7, 0.3, 0.65, 0.1], ["bona fide"] * 2 + ["mask"] * 2), here.threshold
    )
    assert (elsewhere.apcer.value, elsewhere.bpcer.value) == (0.5, 0.5)


def test_scores_of_attacks() -> None:
    scores = np.array(LIVE + PRINT + REPLAY)
    one = evaluate_attacks(Presentations.of(scores, KINDS), 0.5)
    other = evaluate_attacks(Presentations.of(-scores, KINDS, higher="attack"), 0.5)
    assert one.to_dict() == other.to_dict()


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40), st.integers(-3, 3))
@settings(max_examples=50)
def test_eer_of_one_kind_lies_on_the_roc_curve(seed: int, live: int, attacks: int, apart: int) -> None:
    rng = np.random.default_rng(seed)
    scores = np.concatenate([rng.integers(0, 12, live) + apart, rng.integers(0, 12, attacks)]) / 10
    given_ = Presentations.of(scores, ["bona fide"] * live + ["print"] * attacks)
    found = evaluate_attacks(given_)
    fpr, tpr, _ = roc_curve(np.arange(live + attacks) < live, scores, drop_intermediate=False)
    # Between the points of the curve both rates are straight: where they meet
    grid = np.linspace(0, 1, 2001)
    points = np.concatenate(
        [
            a + (b - a) * grid[:, None]
            for a, b in zip(*(np.c_[fpr, 1 - tpr][i:j] for i, j in ((0, -1), (1, None))), strict=True)
        ]
    )
    nearest = points[np.argmin(np.abs(points[:, 0] - points[:, 1]))]
    assert found.eer == pytest.approx(nearest.mean(), abs=1e-3)
    assert found.kinds[0].eer == pytest.approx(found.eer)
    passed, rejected = scores[live:] >= found.threshold, scores[:live] < found.threshold
    assert (found.apcer.value, found.bpcer.value) == pytest.approx((passed.mean(), rejected.mean()))


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
@settings(max_examples=50)
def test_bpcer_at_apcer_by_counting(seed: int, kinds: int) -> None:
    rng = np.random.default_rng(seed)
    names = np.array(["bona fide"] * 20 + [f"kind {i}" for i in rng.integers(0, kinds, 30)])
    scores = rng.integers(0, 20, 50) / 20
    found = evaluate_attacks(Presentations.of(scores, names), apcers=[0.3, 0.1])
    attacks = [scores[names == kind.name] for kind in found.kinds]
    for at in found.at:
        fits = [t for t in [*np.unique(scores), np.inf] if max((a >= t).mean() for a in attacks) <= at.apcer + 1e-12]
        assert at.bpcer.value == pytest.approx((scores[:20] < min(fits)).mean())
        assert max((a >= at.threshold).mean() for a in attacks) <= at.apcer + 1e-12
    assert found.apcer.value == max(kind.apcer.value for kind in found.kinds)
    assert (np.diff(found.apcer_curve) <= 0).all()
    assert (np.diff(found.bpcer_curve) >= 0).all()


def test_constant_scores_tell_nothing() -> None:
    found = evaluate_attacks(Presentations.of([1.0] * 6, ["bona fide"] * 3 + ["print"] * 3))
    assert found.eer == 0.5
    assert [at.bpcer.value for at in found.at] == [1, 1, 1]


@pytest.mark.parametrize(
    ("scores", "kinds", "said"),
    [
        ([0.1, np.nan], ["bona fide", "print"], "presentation 1 (counted from 0) is nan"),
        ([0.1], ["bona fide", "print"], "a score and a kind each"),
        ([0.1, 0.2], ["bona fide", "bona fide"], "without attacks"),
        ([0.1, 0.2], ["live", "print"], "'live', 'print'"),
        ([], [], "there are none"),
    ],
)
def test_presentations_that_can_not_be_measured(scores: list[float], kinds: list[str], said: str) -> None:
    with pytest.raises(InputError) as raised:
        Presentations.of(scores, kinds)
    assert said in str(raised.value)


def test_thresholds_that_are_none() -> None:
    given_ = Presentations.of([1, 0], ["bona fide", "print"])
    with pytest.raises(InputError, match="finite score"):
        evaluate_attacks(given_, np.nan)
    with pytest.raises(InputError, match=r"0\.\.1"):
        evaluate_attacks(given_, apcers=[1.5])
    with pytest.raises(InputError, match="stands for"):
        Presentations.of([1, 0], ["bona fide", "print"], higher="spoof")  # type: ignore[arg-type]

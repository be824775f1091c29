"""Errors of landmarks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visavis.errors import InputError
from visavis.evaluation.landmarks import LandmarkErrors, landmark_errors, norms

FIVE = np.array([[[0, 0], [30, 40], [15, 30], [5, 60], [25, 60]]], float)


def test_sizes_of_a_face() -> None:
    assert norms(FIVE, "inter-ocular").tolist() == [50]
    assert norms(FIVE, "box").tolist() == [pytest.approx(np.sqrt(30 * 60))]
    assert norms(FIVE, "diagonal").tolist() == [pytest.approx(np.hypot(30, 60))]
    assert norms(FIVE, "box", [[0, 0, 40, 90]]).tolist() == [60]
    assert norms(FIVE, "diagonal", [[0, 0, 30, 40]]).tolist() == [50]
    sixty_eight = np.zeros((1, 68, 2))
    sixty_eight[0, 45] = [3, 4]
    assert norms(sixty_eight, "inter-ocular").tolist() == [5]
    assert np.isnan(norms(np.full((1, 5, 2), np.nan), "box")).all()


def test_errors_by_hand() -> None:
    truth = np.concatenate([FIVE, FIVE, FIVE])
    truth[1, 4] = np.nan  # not marked: counts for nothing
    found = truth + np.array([3.0, 4.0])
    found[1] = truth[1]
    found[2] = np.nan
    errors = landmark_errors(found, truth, norms(np.concatenate([FIVE] * 3), "inter-ocular"))
    assert errors.faces.tolist() == [0.1, 0, np.inf]
    assert np.isnan(errors.points[1, 4])
    assert errors.nme == pytest.approx(0.05)
    assert errors.failure_rate(0.05) == pytest.approx(2 / 3)
    assert errors.failure_rate(0.1) == pytest.approx(1 / 3)
    assert errors.auc(0.2) == pytest.approx((0.5 + 1 + 0) / 3)
    assert errors.by_point.tolist() == pytest.approx([0.05, 0.05, 0.05, 0.05, 0.1])
    assert errors.to_dict()["without_landmarks"] == 1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.floats(0.01, 1))
def test_the_area_is_that_under_the_curve(values: list[float], limit: float) -> None:
    errors = LandmarkErrors(np.zeros((len(values), 0)), np.array(values))
    at, share = errors.ced(limit, steps=4000)
    trapezoids = ((share[1:] + share[:-1]) / 2 * np.diff(at)).sum()
    assert errors.auc(limit) == pytest.approx(trapezoids / limit, abs=0.01)
    assert share[-1] == pytest.approx(1 - errors.failure_rate(limit))
    assert (np.diff(share) >= 0).all()


def test_a_face_without_size_is_not_measured() -> None:
    errors = landmark_errors(FIVE, FIVE, [0.0])
    assert np.isnan(errors.faces).all()
    assert errors.nme is None
    with pytest.raises(InputError, match="nothing to measure"):
        errors.failure_rate()


def test_mistakes_are_refused() -> None:
    with pytest.raises(InputError, match="where the eyes are among 7 points"):
        norms(np.zeros((1, 7, 2)), "inter-ocular")
    with pytest.raises(InputError, match="inter-ocular, box or diagonal"):
        norms(FIVE, "nose")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="1 faces need as many boxes, not 2"):
        norms(FIVE, "box", np.zeros((2, 4)))
    with pytest.raises(InputError, match="differ"):
        landmark_errors(FIVE, FIVE[:, :4], [1.0])
    with pytest.raises(InputError, match="finite or NaN"):
        landmark_errors(np.full((1, 5, 2), np.inf), FIVE, [1.0])
    with pytest.raises(InputError, match="above 0"):
        LandmarkErrors(np.zeros((1, 0)), np.zeros(1)).auc(0)

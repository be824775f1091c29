"""IDF1 and CLEAR MOT, against another's results, cases worked out by hand, and what must always hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visavis.errors import InputError
from visavis.evaluation.tracking import TrackingQuality, Trajectories, tracking_quality

# How it was made stands in the file.
REFERENCE = json.loads((Path(__file__).parent / "references" / "tracking.json").read_text())
BOX = [0.0, 0, 10, 10]


def table(rows: list[list[int]]) -> Trajectories:
    columns = np.array(rows, np.int64).reshape(-1, 6)
    return Trajectories(columns[:, 0], columns[:, 1], columns[:, 2:])


def one_place(frames: list[int], ids: list[int], **columns: Any) -> Trajectories:
    return Trajectories(frames, ids, [BOX] * len(frames), **columns)


@pytest.mark.parametrize("scene", REFERENCE["scenes"])
def test_equals_another_implementation(scene: dict[str, Any]) -> None:
    quality = tracking_quality(table(scene["truth"]), table(scene["output"]))
    found = {
        "MOTA": quality.mota,
        "MOTP": quality.motp,
        "CLR_TP": quality.matched,
        "CLR_FN": quality.misses,
        "CLR_FP": quality.false_positives,
        "IDSW": quality.switches,
        "Frag": quality.fragmentations,
        "MT": quality.mostly_tracked,
        "ML": quality.mostly_lost,
        "IDF1": quality.idf1,
        "IDP": quality.idp,
        "IDR": quality.idr,
        "IDTP": quality.id_matched,
    }
    assert found == pytest.approx(scene["expected"], abs=1e-9)


def test_a_switch_late_or_early_counts_alike_in_mota_and_not_in_idf1() -> None:
    """Ristani et al., figure 1: of two trackers with one switch each, the one that is right for longer is better."""
    truth = one_place(list(range(10)), [1] * 10)
    late, early = (one_place(list(range(10)), [5] * k + [6] * (10 - k)) for k in (9, 5))
    a, b = tracking_quality(truth, late), tracking_quality(truth, early)
    assert (a.switches, b.switches) == (1, 1)
    assert a.mota == b.mota == pytest.approx(0.9)
    assert (a.idf1, b.idf1) == pytest.approx((0.9, 0.5))


def test_a_person_stays_with_their_track_though_another_comes_closer() -> None:
    """Bernardin and Stiefelhagen, section 2.1.3: a pair that still holds is kept before the closest is looked for."""
    truth = Trajectories([0, 1], [1, 1], [BOX, BOX])
    output = Trajectories([0, 1, 1], [5, 5, 6], [BOX, [2, 0, 12, 10], BOX])
    quality = tracking_quality(truth, output)
    assert (quality.switches, quality.false_positives, quality.misses) == (0, 1, 0)
    assert quality.motp == pytest.approx((1 + 80 / 120) / 2)


def test_a_switch_is_found_over_a_gap_and_counted_as_a_fragment_too() -> None:
    quality = tracking_quality(one_place([0, 1, 2, 3], [1] * 4), one_place([0, 3], [5, 6]))
    assert (quality.switches, quality.misses, quality.mostly_tracked, quality.mostly_lost) == (1, 2, 0, 0)
    assert quality.mota == 0.25
    # Frames in which nothing was found at all don't end a match, as in TrackEval.
    assert quality.fragmentations == 0
    far = [100.0, 100, 110, 110]
    elsewhere = Trajectories([0, 1, 2, 3], [5, 7, 7, 6], [BOX, far, far, BOX])
    assert tracking_quality(one_place([0, 1, 2, 3], [1] * 4), elsewhere).fragmentations == 1


def test_two_who_swap_tracks_are_two_switches() -> None:
    other = [50.0, 0, 60, 10]
    truth = Trajectories([0, 0, 1, 1], [1, 2, 1, 2], [BOX, other] * 2)
    output = Trajectories([0, 0, 1, 1], [5, 6, 6, 5], [BOX, other] * 2)
    quality = tracking_quality(truth, output)
    assert (quality.switches, quality.mota, quality.idf1) == (2, 0.5, 0.5)


def test_faces_to_be_ignored_are_neither_found_nor_missed_nor_false() -> None:
    far = [100.0, 100, 110, 110]
    truth = Trajectories([0, 1, 2], [1, 1, 1], [BOX] * 3, ignored=[False, True, False])
    whole = tracking_quality(truth, one_place([0, 1, 2], [5, 5, 5]))
    assert (whole.truth, whole.output, whole.mota, whole.idf1, whole.mostly_tracked) == (2, 2, 1, 1, 1)
    missed = tracking_quality(truth, one_place([0, 2], [5, 5]))
    assert missed == whole
    false = tracking_quality(truth, Trajectories([0, 1, 2], [5, 5, 5], [BOX, far, BOX]))
    assert (false.misses, false.false_positives) == (0, 1)


def test_without_boxes_rates_are_unknown() -> None:
    nothing = Trajectories([], [], [])
    empty = tracking_quality(nothing, nothing)
    assert empty == TrackingQuality()
    assert {empty.mota, empty.motp, empty.idf1, empty.idp, empty.idr} == {None}
    missed = tracking_quality(one_place([0], [1]), nothing)
    assert (missed.mota, missed.idf1, missed.mostly_lost) == (0, 0, 1)
    false = tracking_quality(nothing, one_place([0], [1]))
    assert (false.mota, false.false_positives, false.idp) == (None, 1, 0)
    assert json.loads(json.dumps(false.to_dict()))["idf1"] == 0


def test_sequences_add_up() -> None:
    parts = [tracking_quality(table(s["truth"]), table(s["output"])) for s in REFERENCE["scenes"][:3]]
    total = sum(parts, TrackingQuality())
    assert total.switches == sum(part.switches for part in parts)
    joined = tuple(
        table(
            [
                [f + 1000 * i, k + 1000 * i, *box]
                for i, s in enumerate(REFERENCE["scenes"][:3])
                for f, k, *box in s[side]
            ]
        )
        for side in ("truth", "output")
    )
    assert tracking_quality(*joined).to_dict() == pytest.approx(total.to_dict())


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        (([0, 0], [1, 1], [BOX, BOX]), "id 1 has two boxes in frame 0"),
        (([0, 1], [1], [BOX, BOX]), "as many ids"),
        (([0], [1], [[0, 0, float("nan"), 1]]), "NaN"),
        (([0.5], [1], [BOX]), "whole numbers"),
        (([0], [1], [[0, 0, 1]]), "four numbers"),
        (([0], [1], [["a", 0, 1, 1]]), "four numbers"),
        ((np.zeros((1, 1), int), [1], [BOX]), "whole numbers"),
    ],
)
def test_bad_input_says_what_is_wrong(columns: tuple[Any, Any, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Trajectories(*columns)


def test_an_overlap_out_of_range_and_too_many_tracks_are_refused() -> None:
    with pytest.raises(InputError, match="above 0"):
        tracking_quality(one_place([0], [1]), one_place([0], [1]), 0.0)
    many = Trajectories(np.arange(5000), np.arange(5000), np.tile(BOX, (5000, 1)))
    with pytest.raises(InputError, match="too many"):
        tracking_quality(many, many)


rows = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(0, 12), st.integers(0, 12)),
    unique_by=lambda row: row[:2],
    max_size=24,
)


def trajectories(given: list[tuple[int, int, int, int]]) -> Trajectories:
    return table([[f, k, x, y, x + 10, y + 10] for f, k, x, y in given])


@given(rows, rows, st.permutations(range(4)))
def test_names_and_order_do_not_matter_and_rates_keep_their_bounds(
    a: list[tuple[int, int, int, int]], b: list[tuple[int, int, int, int]], names: list[int]
) -> None:
    truth, output = trajectories(a), trajectories(b)
    quality = tracking_quality(truth, output)
    renamed = trajectories([(f, names[k], x, y) for f, k, x, y in reversed(b)])
    again = tracking_quality(truth, renamed)
    assert again.id_matched == quality.id_matched
    assert 0 <= quality.id_matched <= min(quality.truth, quality.output)
    assert 0 <= quality.matched <= min(quality.truth, quality.output)
    assert quality.switches <= quality.matched
    assert quality.motp is None or 0.5 <= quality.motp <= 1 + 1e-9
    assert quality.mostly_tracked + quality.mostly_lost <= quality.people


@given(rows)
def test_the_truth_itself_is_perfect(a: list[tuple[int, int, int, int]]) -> None:
    quality = tracking_quality(trajectories(a), trajectories(a))
    assert quality.idf1 in (1, None)
    assert quality.id_matched == quality.truth
    # Where two people lie over each other, a person may be matched to the other's box; never so in the first frame.
    assert quality.matched == quality.truth

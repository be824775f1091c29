"""The search is exact: whatever its first pass computes, the answer is the one a float64 scan of everything gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visavis.errors import ModelMismatch
from visavis.gallery import index as index_module
from visavis.gallery.index import EightBitPass, TemplateIndex, float_slack


def unit(rng: np.random.Generator, rows: int, dimension: int) -> np.ndarray:
    vectors = rng.standard_normal((rows, dimension))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def renormalized(vectors: np.ndarray) -> np.ndarray:
    wide = vectors.astype(np.float64)
    return (wide / np.linalg.norm(wide, axis=1, keepdims=True)).astype(np.float32)


def brute_force(vectors, owners, probes, k):
    """Every similarity in float64, the best of each subject, sorted by similarity and then by id."""
    rows = []
    for probe in probes.astype(np.float64):
        scores = vectors.astype(np.float64) @ probe
        best: dict[int, float] = {}
        for owner, score in zip(owners.tolist(), scores.tolist(), strict=True):
            best[owner] = max(best.get(owner, -2.0), score)
        rows.append(sorted(best.items(), key=lambda item: (-item[1], item[0]))[:k])
    return rows


def assert_exact(index: TemplateIndex, probes: np.ndarray, k: int) -> None:
    subjects, similarities = index.search(probes, k)
    expected = brute_force(index.vectors, index.owners, probes, k)
    assert subjects.shape == similarities.shape == (len(probes), min(k, len(set(index.owners.tolist()))))
    for i, row in enumerate(expected):
        # Two float64 sums may differ in the last bits, so subjects may swap only where they tie to 1e-12.
        np.testing.assert_allclose(similarities[i], [score for _, score in row], rtol=0, atol=1e-12)
        scores = dict(brute_force(index.vectors, index.owners, probes[i : i + 1], len(set(index.owners.tolist())))[0])
        for subject, (wanted, score) in zip(subjects[i].tolist(), row, strict=True):
            assert subject == wanted or abs(scores[subject] - score) < 1e-12
        assert len(set(subjects[i].tolist())) == len(row)


def filled(vectors: np.ndarray, owners: np.ndarray, *, codes: bool) -> TemplateIndex:
    index = TemplateIndex(vectors.shape[1])
    index.add(np.arange(1, len(vectors) + 1), owners, vectors)
    if codes:
        assert index.make_codes()
    return index


@pytest.mark.parametrize("codes", [False, True])
@pytest.mark.parametrize(("rows", "dimension"), [(1, 8), (7, 128), (300, 128), (3000, 128), (2500, 512), (2100, 100)])
def test_equals_a_float64_scan(codes: bool, rows: int, dimension: int) -> None:
    rng = np.random.default_rng(rows)
    index = filled(unit(rng, rows, dimension), rng.integers(0, max(1, rows // 3), rows), codes=codes)
    assert_exact(index, unit(rng, 20, dimension), 5)


@pytest.mark.parametrize("codes", [False, True])
def test_near_ties_are_told_apart(codes: bool) -> None:
    """Thousands of templates that lie within a millionth of each other, far closer than 8 bits resolve."""
    rng = np.random.default_rng(1)
    center = unit(rng, 1, 128)
    vectors = np.concatenate([renormalized(center + 1e-6 * rng.standard_normal((4000, 128))), unit(rng, 1000, 128)])
    index = filled(vectors, np.arange(5000), codes=codes)
    probes = np.concatenate([center, renormalized(center + 1e-6 * unit(rng, 3, 128)), vectors[:2]])
    assert_exact(index, probes, 5)


@pytest.mark.parametrize("codes", [False, True])
def test_exact_ties_come_in_the_order_of_ids(codes: bool) -> None:
    rng = np.random.default_rng(2)
    same = np.repeat(unit(rng, 1, 64), 3000, axis=0)
    index = filled(same, np.arange(3000)[::-1].copy(), codes=codes)
    subjects, similarities = index.search(same[:1], 4)
    assert subjects.tolist() == [[0, 1, 2, 3]]
    assert np.ptp(similarities) == 0


@pytest.mark.parametrize("codes", [False, True])
def test_k_counts_subjects_when_one_has_nearly_all_templates(codes: bool) -> None:
    rng = np.random.default_rng(3)
    crowd = renormalized(unit(rng, 1, 128) + 0.3 * unit(rng, 5000, 128))
    others = unit(rng, 6, 128)
    index = filled(np.concatenate([crowd, others]), np.array([7] * 5000 + [1, 2, 3, 4, 5, 6]), codes=codes)
    assert_exact(index, crowd[:3], 5)


@pytest.mark.parametrize("codes", [False, True])
def test_vectors_made_to_defeat_rounding(codes: bool) -> None:
    """One huge component makes the 8-bit step coarse, so that every small component rounds away."""
    rng = np.random.default_rng(4)
    small = 0.003 * rng.standard_normal((3000, 128))
    small[:, 0] = 1.0
    index = filled(renormalized(small), np.arange(3000), codes=codes)
    hostile = np.zeros((1, 128))
    hostile[0, 1:] = rng.standard_normal(127)
    assert_exact(index, np.concatenate([renormalized(small[:4]), renormalized(hostile)]), 5)


def test_the_error_bound_holds_for_every_row() -> None:
    rng = np.random.default_rng(5)
    for dimension in (32, 100, 128, 512):
        vectors = np.concatenate([unit(rng, 2000, dimension), np.eye(dimension, dtype=np.float32)])
        probes = np.concatenate([unit(rng, 30, dimension), -vectors[:5], np.eye(dimension, dtype=np.float32)[:5]])
        eight_bit = EightBitPass(vectors)
        scores, bounds = eight_bit.scores(probes)
        off = np.abs(scores.astype(np.float64) - probes.astype(np.float64) @ vectors.astype(np.float64).T).max(axis=1)
        assert (off <= bounds).all()
        assert (bounds < 0.1).all(), "a bound that rules nothing out would be of no use"


def test_a_pass_that_breaks_its_bound_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(6)
    index = filled(unit(rng, 500, 64), np.arange(500), codes=True)
    true_scores = EightBitPass.scores

    def saturated(self: EightBitPass, probes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.minimum(true_scores(self, probes)[0], 0.2), np.full(len(probes), 0.01)

    monkeypatch.setattr(EightBitPass, "scores", saturated)
    assert not index.make_codes()
    assert_exact(index, unit(rng, 3, 64), 5)


def test_flat_scores_stay_within_their_slack() -> None:
    rng = np.random.default_rng(7)
    for dimension in (8, 128, 2048):
        vectors, probe = unit(rng, 2000, dimension), unit(rng, 1, dimension)
        off = np.abs((vectors @ probe[0]).astype(np.float64) - vectors.astype(np.float64) @ probe[0].astype(np.float64))
        assert off.max() < float_slack(dimension)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_history_of_additions_and_removals(data: st.DataObject) -> None:
    """Clustered templates, several a subject, added, removed, coded and searched in any order."""
    seed = data.draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    dimension = data.draw(st.sampled_from([4, 16, 33, 128]))
    centers = unit(rng, 4, dimension)
    index = TemplateIndex(dimension)
    held: dict[int, tuple[int, bytes]] = {}
    next_id = 1
    for _ in range(data.draw(st.integers(1, 6))):
        action = data.draw(st.sampled_from(["add", "add", "keep", "codes", "search"]))
        if action == "add":
            count = data.draw(st.integers(1, 400))
            spread = data.draw(st.sampled_from([1e-7, 1e-3, 1.0]))
            around = centers[rng.integers(0, 4, count)]
            vectors = renormalized(around + spread * rng.standard_normal((count, dimension)))
            owners = rng.integers(0, data.draw(st.integers(1, 50)), count)
            ids = np.arange(next_id, next_id + count)
            next_id += count
            index.add(ids, owners, vectors)
            held.update({int(i): (int(o), v.tobytes()) for i, o, v in zip(ids, owners, vectors, strict=True)})
        elif action == "keep" and held:
            kept = [i for i in held if rng.random() < data.draw(st.sampled_from([0.0, 0.5, 0.95]))]
            assert index.keep(kept) == len(held) - len(kept)
            held = {i: held[i] for i in kept}
        elif action == "codes" and held:
            assert index.make_codes()
        assert len(index) == len(held)
        rows = zip(index.ids.tolist(), index.owners.tolist(), index.vectors, strict=True)
        assert {i: (o, v.tobytes()) for i, o, v in rows} == held
        if held:
            probes = np.concatenate([centers[:1], index.vectors[:1], unit(rng, 1, dimension)])
            assert_exact(index, probes, data.draw(st.integers(1, 8)))
        else:
            assert index.search(centers, 3)[0].shape == (4, 0)


def test_nothing_of_a_removed_template_stays_in_memory() -> None:
    rng = np.random.default_rng(8)
    index = filled(unit(rng, 3000, 128), np.arange(3000), codes=True)
    gone = index.vectors[[0, 1500, 2999]].copy()
    index.keep(np.setdiff1d(np.arange(1, 3001), [1, 1501, 3000]))
    assert index._codes is None
    memory = index._vectors.tobytes()
    for vector in gone:
        assert vector[:4].tobytes() not in memory


def test_codes_are_made_once_they_have_paid_and_cover_growth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "EIGHT_BIT_FROM", 3000)
    rng = np.random.default_rng(9)
    index = filled(unit(rng, 4000, 64), np.arange(4000), codes=False)
    probes = unit(rng, 8, 64)
    index.search(probes[:1], 5)
    assert index._codes is None, "one probe is answered at once, without preparation"
    for _ in range(5):
        index.search(probes, 5)
    assert index._codes is not None
    assert index._codes.rows == 4000
    index.add(np.arange(4001, 8001), np.arange(4000, 8000), unit(rng, 4000, 64))
    assert_exact(index, probes, 5)  # half by codes, half by a flat scan
    for _ in range(20):
        index.search(probes, 5)
    assert index._codes.rows == 8000
    assert_exact(index, probes, 5)


def test_without_openvino_the_scan_is_flat_and_the_answer_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from visavis.errors import EngineError
    from visavis.models import session

    def missing() -> None:
        raise EngineError("OpenVINO can't be loaded")

    monkeypatch.setattr(session, "import_openvino", missing)
    rng = np.random.default_rng(10)
    index = filled(unit(rng, 3000, 64), np.arange(3000), codes=False)
    assert not index.make_codes()
    assert_exact(index, unit(rng, 4, 64), 5)


def test_another_dimension_is_refused() -> None:
    index = filled(unit(np.random.default_rng(11), 3, 8), np.arange(3), codes=False)
    with pytest.raises(ModelMismatch, match="16"):
        index.search(unit(np.random.default_rng(0), 1, 16), 1)
    with pytest.raises(ModelMismatch, match="16"):
        index.add([9], [9], unit(np.random.default_rng(0), 1, 16))

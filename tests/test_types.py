"""Faces, embeddings and decisions: what they refuse, how they are indexed, joined and written out."""

from __future__ import annotations

import json
import pickle
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from visavis.errors import InputError, ModelMismatch
from visavis.types import Candidates, Embeddings, Face, Faces, Verification


def some_faces(n: int, seed: int = 0, *, full: bool = True) -> Faces:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 100, (n, 2))
    columns = {}
    if full:
        columns = {
            "landmarks": rng.uniform(0, 100, (n, 5, 2)),
            "embeddings": Embeddings.normalized(rng.normal(size=(n, 8)), "toy"),
            "track_ids": np.arange(n),
            "traits": {"yaw_deg": rng.normal(size=n), "age_years": rng.integers(0, 90, n)},
        }
    return Faces(np.concatenate([corner, corner + rng.uniform(1, 50, (n, 2))], axis=1), rng.uniform(0, 1, n), **columns)


def assert_same(a: Faces, b: Faces) -> None:
    np.testing.assert_array_equal(a.boxes, b.boxes)
    np.testing.assert_array_equal(a.scores, b.scores)
    for name in ("landmarks", "track_ids"):
        left, right = getattr(a, name), getattr(b, name)
        assert (left is None) == (right is None)
        if left is not None:
            np.testing.assert_array_equal(left, right)
    assert (a.embeddings is None) == (b.embeddings is None)
    if a.embeddings is not None and b.embeddings is not None:
        assert a.embeddings.model == b.embeddings.model
        np.testing.assert_array_equal(a.embeddings.vectors, b.embeddings.vectors)
    assert a.traits.keys() == b.traits.keys()
    for name in a.traits:
        np.testing.assert_array_equal(a.traits[name], b.traits[name])


class TestFacesRefuse:
    @pytest.mark.parametrize(
        ("columns", "message"),
        [
            ({"boxes": np.zeros((2, 5))}, r"boxes must have shape \(n, 4\), not \(2, 5\)"),
            ({"boxes": np.zeros(4)}, r"boxes must have shape \(n, 4\), not \(4,\)"),
            ({"boxes": [[1, 2], [3]]}, "boxes must be an array of numbers"),
            ({"boxes": [["a", "b", "c", "d"]] * 2}, "boxes must be numbers, not <U1"),
            ({"boxes": np.zeros((2, 4), complex)}, "boxes must be numbers, not complex128"),
            ({"boxes": np.full((2, 4), np.nan)}, "boxes must be finite"),
            ({"boxes": np.full((2, 4), 1e300)}, "boxes must be finite"),
            ({"scores": np.zeros(3)}, r"scores must have shape \(2,\), not \(3,\)"),
            ({"scores": np.zeros((2, 1))}, r"scores must have shape \(2,\), not \(2, 1\)"),
            ({"scores": [0.5, 1.5]}, r"scores must lie in 0\.\.1, not 0.5\.\.1.5"),
            ({"scores": [0.5, -0.1]}, r"scores must lie in 0\.\.1"),
            ({"scores": [0.5, np.inf]}, "scores must be finite"),
            ({"landmarks": np.zeros((2, 5, 3))}, r"landmarks must have shape \(2, 5, 2\), not \(2, 5, 3\)"),
            ({"landmarks": np.zeros((1, 5, 2))}, r"landmarks must have shape \(2, 5, 2\), not \(1, 5, 2\)"),
            ({"landmarks": np.full((2, 5, 2), np.nan)}, "landmarks must be finite"),
            ({"embeddings": Embeddings(np.eye(3), "m")}, "embeddings must have 2 rows, one a face, not 3"),
            ({"track_ids": [1]}, r"track_ids must have shape \(2,\), not \(1,\)"),
            ({"track_ids": [1.5, 2.0]}, "track_ids must be whole numbers, not float64"),
            ({"track_ids": [np.nan, 2.0]}, "track_ids must be whole numbers"),
            ({"traits": {"age_years": [1, 2, 3]}}, r"trait 'age_years' must have 2 rows, one a face, not shape \(3,\)"),
            ({"traits": {"age_years": 7}}, r"trait 'age_years' must have 2 rows, one a face, not shape \(\)"),
        ],
    )
    def test_a_wrong_column(self, columns, message):
        good = {"boxes": np.zeros((2, 4)), "scores": np.zeros(2)}
        with pytest.raises(InputError, match=message):
            Faces(**{**good, **columns})

    def test_attributes_and_arrays_are_frozen(self):
        faces = some_faces(3)
        with pytest.raises(AttributeError):
            faces.scores = np.zeros(3)  # type: ignore[misc]
        for array in (faces.boxes, faces.scores, faces.landmarks, faces.track_ids, faces.traits["yaw_deg"]):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 0
        with pytest.raises(ValueError, match="read-only"):
            faces[1].box[0] = 0
        with pytest.raises(ValueError, match="read-only"):
            faces.embeddings.vectors[0] = 0

    def test_the_array_given_stays_writable(self):
        boxes = np.zeros((1, 4), np.float32)
        Faces(boxes, np.zeros(1, np.float32))
        boxes[0] = 1


class TestFacesIndex:
    def test_an_integer_gives_a_face(self):
        faces = some_faces(4)
        for index in (1, -3, np.int64(1), np.uint8(1), np.intp(-3)):
            face = faces[index]
            assert isinstance(face, Face)
            np.testing.assert_array_equal(face.box, faces.boxes[1])
            np.testing.assert_array_equal(face.landmarks, faces.landmarks[1])
            np.testing.assert_array_equal(face.embedding.vectors, faces.embeddings.vectors[1:2])
            assert face.score == pytest.approx(float(faces.scores[1]))
            assert face.track_id == 1
            assert face.traits["age_years"] == faces.traits["age_years"][1]
        assert face.width == pytest.approx(float(faces.boxes[1, 2] - faces.boxes[1, 0]))
        assert face.height == pytest.approx(float(faces.boxes[1, 3] - faces.boxes[1, 1]))

    @pytest.mark.parametrize("index", [4, -5, np.int64(99)])
    def test_an_integer_outside(self, index):
        with pytest.raises(IndexError):
            some_faces(4)[index]
        with pytest.raises(IndexError):
            some_faces(4).embeddings[index]

    @pytest.mark.parametrize(
        ("index", "rows"),
        [
            (slice(1, 3), [1, 2]),
            (slice(None, None, -1), [3, 2, 1, 0]),
            ([0, 2], [0, 2]),
            ((3, -1), [3, 3]),
            ([], []),
            (np.array([], np.intp), []),
            (np.array([]), []),
            (np.array([2, 0], np.uint8), [2, 0]),
            (np.array([True, False, False, True]), [0, 3]),
            ([True, False, False, True], [0, 3]),
            (np.zeros(4, bool), []),
        ],
    )
    def test_rows(self, index, rows):
        faces = some_faces(4)
        chosen = faces[index]
        assert isinstance(chosen, Faces)
        np.testing.assert_array_equal(chosen.boxes, faces.boxes[rows].reshape(-1, 4))
        np.testing.assert_array_equal(chosen.track_ids, rows)
        np.testing.assert_array_equal(faces.embeddings[index].vectors, faces.embeddings.vectors[np.array(rows, int)])

    @pytest.mark.parametrize("index", [[True], np.ones(5, bool), np.ones((4, 1), bool), 1.0, [0.5], "0", [[0]], None])
    def test_what_is_no_index(self, index):
        for rows in (some_faces(4), some_faces(4).embeddings):
            with pytest.raises(InputError, match=r"mask|whole numbers"):
                rows[index]

    def test_iteration_gives_each_face_once(self):
        faces = some_faces(3)
        assert [face.track_id for face in faces] == [0, 1, 2]
        assert list(Faces.empty()) == []

    @given(mask=hnp.arrays(bool, st.integers(0, 8)))
    def test_a_mask_and_its_opposite_hold_every_row(self, mask):
        faces = some_faces(len(mask))
        back = Faces.concat([faces[mask], faces[~mask]])
        order = np.concatenate([np.flatnonzero(mask), np.flatnonzero(~mask)])
        assert_same(back, faces[order])


class TestFacesJoin:
    @given(cuts=st.lists(st.integers(0, 9), max_size=4), full=st.booleans())
    def test_cutting_and_joining_gives_the_same(self, cuts, full):
        faces = some_faces(9, full=full)
        edges = [0, *sorted(cuts), 9]
        assert_same(Faces.concat([faces[a:b] for a, b in pairwise(edges)]), faces)

    def test_nothing_and_empties(self):
        assert len(Faces.concat([])) == 0
        assert len(Faces.concat([Faces.empty(), Faces.empty()])) == 0
        assert_same(Faces.concat([Faces.empty(), some_faces(2)]), some_faces(2))

    def test_a_column_that_one_part_lacks_is_dropped(self):
        joined = Faces.concat([some_faces(2), some_faces(3, full=False)])
        assert len(joined) == 5
        assert joined.landmarks is None
        assert joined.embeddings is None
        assert joined.track_ids is None
        assert joined.traits == {}

    def test_embeddings_of_two_models_never_join(self):
        a = some_faces(1)
        b = a.replace(embeddings=Embeddings(a.embeddings.vectors, "other"))
        with pytest.raises(ModelMismatch, match="'toy' can't be compared with those of 'other'"):
            Faces.concat([a, b])


class TestFacesReplace:
    def test_exchanges_a_column_and_leaves_the_original(self):
        faces = some_faces(2)
        other = faces.replace(scores=[0.25, 0.75])
        np.testing.assert_array_equal(other.scores, np.float32([0.25, 0.75]))
        np.testing.assert_array_equal(other.boxes, faces.boxes)
        assert not np.array_equal(faces.scores, other.scores)

    def test_checks_anew(self):
        with pytest.raises(InputError, match="scores must have shape"):
            some_faces(2).replace(scores=[0.5])

    def test_an_unknown_column(self):
        with pytest.raises(InputError, match="no column 'score'"):
            some_faces(2).replace(score=[1, 1])


class TestFacesOut:
    def test_to_dict_is_strict_json(self):
        faces = some_faces(2).replace(traits={"yaw_deg": [np.nan, 3.5], "is_blurred": [True, False], "box3": np.eye(2)})
        rows = json.loads(json.dumps(faces.to_dict(embeddings=True), allow_nan=False))
        assert rows[0]["traits"] == {"yaw_deg": None, "is_blurred": True, "box3": [1.0, 0.0]}
        assert rows[1]["track_id"] == 1
        assert rows[1]["box"] == pytest.approx(faces.boxes[1].tolist(), abs=0.006)
        assert np.shape(rows[0]["landmarks"]) == (5, 2)
        assert rows[0]["embedding"]["model"] == "toy"
        assert rows[0]["embedding"]["vector"] == pytest.approx(faces.embeddings.vectors[0].tolist())

    def test_embeddings_only_on_request(self):
        assert "embedding" not in some_faces(1).to_dict()[0]
        assert Faces.empty().to_dict() == []

    def test_survives_pickling(self):
        faces = some_faces(3)
        assert_same(pickle.loads(pickle.dumps(faces)), faces)

    def test_dtypes(self):
        faces = some_faces(1)
        assert faces.boxes.dtype == faces.scores.dtype == faces.landmarks.dtype == np.float32
        assert faces.track_ids.dtype == np.int64
        assert Faces.empty().landmarks.shape == (0, 5, 2)


class TestEmbeddings:
    @pytest.mark.parametrize(
        ("vectors", "message"),
        [
            (np.ones(3), r"vectors must have shape \(n, n\), not \(3,\)"),
            (np.array([[1.0, 1.0]]), "vectors must have length 1, but one is off by 0.414"),
            (np.array([[np.nan, 1.0]]), "vectors must be finite"),
            ([["x"]], "vectors must be numbers"),
        ],
    )
    def test_refuse(self, vectors, message):
        with pytest.raises(InputError, match=message):
            Embeddings(vectors, "m")

    def test_need_a_model(self):
        with pytest.raises(InputError, match="model must name"):
            Embeddings(np.eye(2), "")

    def test_no_direction(self):
        with pytest.raises(InputError, match="zero vector"):
            Embeddings.normalized(np.zeros((1, 4)), "m")

    @given(
        hnp.arrays(
            np.float64,
            st.tuples(st.integers(0, 5), st.integers(1, 6)),
            elements=st.floats(-1e6, 1e6).filter(lambda v: abs(v) > 1e-6),
        )
    )
    def test_normalized_keeps_direction(self, raw):
        made = Embeddings.normalized(raw, "m")
        assert made.vectors.dtype == np.float32
        lengths = np.linalg.norm(raw, axis=1)
        np.testing.assert_allclose(made.vectors * lengths[:, None], raw, rtol=1e-5, atol=1e-6 * lengths.max(initial=0))

    def test_concat(self):
        a = Embeddings(np.eye(3)[:1], "m")
        b = Embeddings(np.eye(3)[1:], "m")
        np.testing.assert_array_equal(Embeddings.concat([a, b]).vectors, np.eye(3))
        with pytest.raises(InputError, match="at least one"):
            Embeddings.concat([])
        with pytest.raises(ModelMismatch, match="can't be compared"):
            Embeddings.concat([a, Embeddings(np.eye(3), "m+flip")])
        with pytest.raises(ModelMismatch, match="of 3 and of 2 numbers"):
            Embeddings.concat([a, Embeddings(np.eye(2), "m")])

    def test_rounding_of_half_precision_passes(self):
        vectors = np.random.default_rng(0).normal(size=(50, 128))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        Embeddings(vectors.astype(np.float16), "m")


CANDIDATES = {
    "subjects": (("ada", "bob"), ("bob",), ()),
    "similarities": np.array([[0.9, 0.2], [0.3, -1], [-1, -1]]),
    "counts": [1, 0, 0],
    "threshold": 0.5,
    "fmr": 1e-4,
    "fpir": 0.01,
    "model": "toy",
}


class TestCandidates:
    def test_best_is_known_or_none(self):
        found = Candidates(**CANDIDATES)
        assert found.best == ("ada", None, None)
        assert len(found) == 3

    def test_to_dict_is_strict_json(self):
        rates = np.array([[1e-6, 0.2], [0.1, np.nan], [np.nan, np.nan]])
        rows = json.loads(json.dumps(Candidates(**CANDIDATES, fmr_at_similarity=rates).to_dict(), allow_nan=False))
        assert rows[0]["subject"] == "ada"
        assert rows[0]["candidates"][0] == {
            "subject": "ada",
            "similarity": 0.9,
            "match": True,
            "fmr_at_similarity": 1e-6,
        }
        assert rows[1] == {
            "subject": None,
            "candidates": [{"subject": "bob", "similarity": 0.3, "match": False, "fmr_at_similarity": 0.1}],
        }
        assert rows[2] == {"subject": None, "candidates": []}

    @pytest.mark.parametrize(
        ("columns", "message"),
        [
            ({"similarities": np.zeros((2, 2))}, r"similarities must have shape \(3, n\), not \(2, 2\)"),
            ({"similarities": np.zeros((3, 1))}, "subjects has rows of 2, similarities only 1 columns"),
            ({"counts": [1, 0]}, r"counts must have shape \(3,\), not \(2,\)"),
            ({"counts": [3, 0, 0]}, r"counts must lie in 0\.\.2"),
            ({"counts": [0, 0, 1]}, r"counts must lie in 0\.\.0"),
            ({"counts": [0, -1, 0]}, r"counts must lie in 0\.\.1"),
            ({"fmr_at_similarity": np.zeros((3, 3))}, r"fmr_at_similarity must have shape \(3, 2\), not \(3, 3\)"),
            ({"faces": Faces.empty()}, "faces must have 3 rows, one a probe, not 0"),
        ],
    )
    def test_refuse(self, columns, message):
        with pytest.raises(InputError, match=message):
            Candidates(**{**CANDIDATES, **columns})


def test_verification_to_dict_is_json():
    answer = Verification(0.61, 0.45, True, 1e-4, None, "toy")
    assert json.loads(json.dumps(answer.to_dict(), allow_nan=False)) == {
        "similarity": 0.61,
        "threshold": 0.45,
        "match": True,
        "fmr": 1e-4,
        "fmr_at_similarity": None,
        "model": "toy",
    }

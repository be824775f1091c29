"""What is marked on one picture."""

from __future__ import annotations

import numpy as np
import pytest

from visavis.datasets.annotations import Annotation
from visavis.errors import InputError
from visavis.types import Faces


def test_columns_are_checked() -> None:
    with pytest.raises(InputError, match=r"box 2 of a\.jpg has a negative size: 5, 0, 4, 9"):
        Annotation("a.jpg", np.array([[0, 0, 1, 1], [5, 0, 4, 9]]))
    with pytest.raises(InputError, match="NaN"):
        Annotation("a.jpg", np.array([[0, 0, np.nan, 1]]))
    with pytest.raises(InputError, match="infinity"):
        Annotation("a.jpg", np.array([[0, 0, 1e300, 1]]))
    with pytest.raises(InputError, match="scores must have shape"):
        Annotation("a.jpg", np.array([[0, 0, 1, 1]]), scores=np.array([0.1, 0.2]))
    with pytest.raises(InputError, match="1 boxes and 2 labels"):
        Annotation("a.jpg", np.array([[0, 0, 1, 1]]), labels=("face", "face"))
    with pytest.raises(InputError, match="trait 'blur' must have 1 rows"):
        Annotation("a.jpg", np.array([[0, 0, 1, 1]]), traits={"blur": np.zeros(2)})
    with pytest.raises(InputError, match="both width and height"):
        Annotation("a.jpg", np.empty((0, 4)), width=4)
    with pytest.raises(InputError, match="0 x 4"):
        Annotation("a.jpg", np.empty((0, 4)), width=0, height=4)


def test_rows_are_taken_with_all_their_columns() -> None:
    item = Annotation(
        "a.jpg",
        np.array([[0, 0, 1, 1], [0, 0, 2, 2]]),
        labels=("a", "b"),
        scores=np.array([0.1, 0.2]),
        landmarks=np.full((2, 5, 2), np.nan),
        traits={"blur": np.array([1, 2])},
    )
    part = item.take(np.array([False, True]))
    assert part.labels == ("b",)
    assert part.scores.tolist() == [pytest.approx(0.2)]
    assert part.landmarks.shape == (1, 5, 2)
    assert part.trait("blur").tolist() == [2]
    assert part.trait("pose").tolist() == [0]


def test_repair_cuts_to_the_picture_and_drops_what_is_empty() -> None:
    item = Annotation("a.jpg", np.array([[-5, 0, 20, 9], [3, 3, 3, 8], [30, 0, 40, 9]]), 20, 10)
    assert item.outside.tolist() == [True, False, True]
    assert item.empty.tolist() == [False, True, False]
    assert item.repaired().boxes.tolist() == [[0, 0, 20, 9]]
    assert Annotation("a.jpg", item.boxes).outside.any() == np.False_  # how large the picture is, nobody said


def test_a_detectors_faces_become_an_annotation() -> None:
    faces = Faces(np.array([[1, 2, 3, 4]]), np.array([0.5]), np.ones((1, 5, 2)))
    item = Annotation.of_faces("a.jpg", faces, width=9, height=8)
    assert item.boxes.tolist() == [[1, 2, 3, 4]]
    assert item.scores.tolist() == [0.5]
    assert item.landmarks.shape == (1, 5, 2)


@pytest.mark.parametrize("name", ["", "../a.jpg", "/etc/a.jpg", "a/../../b.jpg"])
def test_a_name_never_leads_out_of_the_folder(name: str) -> None:
    with pytest.raises(InputError, match="path below a folder"):
        Annotation(name, np.empty((0, 4)))

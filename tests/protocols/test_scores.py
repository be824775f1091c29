"""Pairs and labels of other systems as CSV files."""

from __future__ import annotations

from pathlib import Path

import pytest

from visavis.errors import InputError
from visavis.protocols.scores import read_labels, read_scores

PAIRS = """similarity,mated,subject_a,subject_b,fold,sex_a,sex_b
0.9,1,ada,ada,1,f,f
0.2,0,ada,bob,1,f,m
0.8,genuine,bob,bob,2,m,m
0.1,Impostor,eve,bob,2,,m
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "file.csv"
    path.write_text(text, "utf-8")
    return path


def test_pairs_with_everything(tmp_path: Path) -> None:
    file = read_scores(written(tmp_path, PAIRS))
    assert file.scores.similarities.tolist() == [0.9, 0.2, 0.8, 0.1]
    assert file.scores.mated.tolist() == [True, False, True, False]
    assert file.subjects == ("ada", "bob", "eve")
    assert file.scores.subjects is not None
    assert file.scores.folds is not None
    assert file.scores.subjects.tolist() == [[0, 0], [0, 1], [1, 1], [2, 1]]
    assert file.scores.folds.tolist() == [0, 0, 1, 1]
    assert file.labels["sex"].tolist() == [["f", "f"], ["f", "m"], ["m", "m"], ["", "m"]]


def test_pairs_with_the_least(tmp_path: Path) -> None:
    file = read_scores(written(tmp_path, "Mated;Similarity;model\nyes;83,2\n".replace("83,2", "83.2;x") + "no;12;x\n"))
    assert file.scores.similarities.tolist() == [83.2, 12]
    assert (file.scores.subjects, file.scores.folds, file.labels) == (None, None, {})
    told = read_scores(written(tmp_path, "similarity\tsubject_a\tsubject_b\n0.9\tx\tx\n0.1\tx\ty\n"))
    assert told.scores.mated.tolist() == [True, False]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("similarity\n0.5\n", "needs a column 'mated'"),
        ("mated\n1\n", "needs a column 'similarity'"),
        ("similarity,mated,subject_a\n0.5,1,ada\n", "only one of the columns subject_a and subject_b"),
        ("similarity,mated\n0.5,1\nnan,0\n", "row 2 .*no number"),
        ("similarity,mated\n0.5,1\n1e999,0\n", "row 2 .*no number"),
        ("similarity,mated\n0.5,1\nhigh,0\n", "row 2 .*'high'"),
        ("similarity,mated\n0.5,1\n0.4,maybe\n", "row 2 .*'maybe'.*write 1 or 0"),
        ("similarity,mated\n0.5,1\n0.4\n", "line 3"),
        ("similarity,mated\n0.5,1\n0.4,\n", "line 3 .*empty 'mated'"),
        ("similarity,mated\n0.5,1\n0.4,1\n", "mated and non-mated pairs"),
        ("similarity,mated,subject_a,subject_b\n0.5,1,a,b\n0.4,0,a,b\n", "pair 0 .*its subjects say otherwise"),
        ("similarity,mated\n", "no rows"),
        ("", "'similarity'|'mated'"),
        ("similarity,mated\n" + "0" * 70_000 + ",1\n", "line 2 .*characters"),
    ],
)
def test_what_is_no_file_of_pairs(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_scores(written(tmp_path, text))


def test_what_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes(b"similarity,mated\n\xff\xfe,1\n")
    with pytest.raises(InputError, match="UTF-8"):
        read_scores(path)
    path.write_bytes(b"PK\x03\x04\0\0")
    with pytest.raises(InputError, match="null character"):
        read_scores(path)
    with pytest.raises(InputError, match="no file"):
        read_scores(tmp_path)


def test_labels_of_photos_and_of_subjects(tmp_path: Path) -> None:
    photos = read_labels(written(tmp_path, "photo,subject,Camera\na1,ada,left\na2,ada,\nb1,bob,right\n"))
    assert (photos.key, photos.subjects) == ("photo", {"a1": "ada", "a2": "ada", "b1": "bob"})
    assert photos.of("Camera", ["b1", "a2", "zz"]).tolist() == ["right", "", ""]
    subjects = read_labels(written(tmp_path, "subject,sex,age\nada,f,30-39\nada,f,\n"))
    assert (subjects.key, subjects.labels) == ("subject", {"sex": {"ada": "f"}, "age": {"ada": "30-39"}})
    with pytest.raises(InputError, match="no label 'height'; there are: sex, age"):
        subjects.of("height", ["ada"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,sex\nada,f\n", "'photo' or 'subject'"),
        ("photo,subject\na1,ada\n", "no column of labels"),
        ("subject,sex\nada,f\nada,m\n", "of 'ada' that sex is 'f', and 'm'"),
        ("subject,sex\n,f\n", "empty 'subject'"),
    ],
)
def test_what_are_no_labels(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_labels(written(tmp_path, text))

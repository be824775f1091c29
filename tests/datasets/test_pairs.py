"""Pairs drawn for any data set: properties, LFW's layout by three readers, and what can't be drawn."""

from __future__ import annotations

import itertools
import math
import re
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from visavis.datasets.lfw import Lfw, Pairs, parse_pairs
from visavis.datasets.pairs import fits_lfw, lfw_text, list_text, make_pairs, parse_list
from visavis.errors import InputError
from visavis.image import load_image

counts_of = st.lists(st.integers(1, 9), min_size=2, max_size=40)


def spread(counts: list[int]) -> tuple[list[str], list[str]]:
    people = [f"P{k}" for k, n in enumerate(counts) for _ in range(n)]
    photos = [f"P{k}_{i + 1:04d}" for k, n in enumerate(counts) for i in range(n)]
    return people, photos


def largest(error: InputError) -> int:
    found = re.search(r"at most ([0-9,]+) pairs", str(error))
    return int(found[1].replace(",", "")) if found else 0


@given(counts_of, st.integers(1, 5), st.integers(1, 40), st.integers(0, 3), st.booleans())
def test_pairs_are_what_they_say(counts: list[int], folds: int, each: int, seed: int, disjoint: bool) -> None:
    people, photos = spread(counts)
    try:
        pairs = make_pairs(people, folds=folds, each=each, seed=seed, disjoint=disjoint)
    except InputError as error:
        each = largest(error)
        if not each:
            with pytest.raises(InputError):
                make_pairs(people, folds=folds, each=1, seed=seed, disjoint=disjoint)
            return
        pairs = make_pairs(people, folds=folds, each=each, seed=seed, disjoint=disjoint)  # what it says is possible
    names = np.array(people)[pairs.photos]
    assert ((names[:, 0] == names[:, 1]) == pairs.mated).all()
    unordered = {tuple(sorted(pair)) for pair in pairs.photos.tolist()}
    assert len(unordered) == len(pairs) == 2 * folds * each, "no pair twice"
    assert all(a != b for a, b in unordered)
    kinds = Counter(zip(pairs.folds.tolist(), pairs.mated.tolist(), strict=True))
    assert kinds == {(fold, kind): each for fold in range(folds) for kind in (True, False)}
    if disjoint:
        where: dict[str, set[int]] = {}
        for row, fold in zip(names, pairs.folds.tolist(), strict=True):
            for name in row:
                where.setdefault(name, set()).add(fold)
        assert all(len(inside) == 1 for inside in where.values())
    again = make_pairs(people, folds=folds, each=each, seed=seed, disjoint=disjoint)
    np.testing.assert_array_equal(again.photos, pairs.photos)
    # Three readers of LFW's layout: ours, scikit-learn's rules and one written here.
    text = lfw_text(pairs, photos, people)
    read = parse_pairs(text, photos)
    for name in ("photos", "mated", "folds"):
        np.testing.assert_array_equal(getattr(read, name), getattr(pairs, name))
    lines = [line.split("\t") for line in text.splitlines()]
    assert [int(word) for word in lines[0]] == ([folds, each] if folds > 1 else [each])
    independent = [
        (f"{w[0]}_{int(w[1]):04d}", f"{w[-2] if len(w) == 4 else w[0]}_{int(w[-1]):04d}", len(w) == 3)
        for w in lines[1:]
    ]
    expected = [(photos[a], photos[b], bool(m)) for (a, b), m in zip(pairs.photos, pairs.mated, strict=True)]
    assert independent == expected
    plain = parse_list(list_text(pairs, photos), photos)
    for name in ("photos", "mated", "folds"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(pairs, name))


@given(counts_of)
def test_every_pair_can_be_drawn(counts: list[int]) -> None:
    """Of one fold exactly as many pairs can be had as there are."""
    people, _ = spread(counts)
    mated = sum(math.comb(n, 2) for n in counts)
    other = math.comb(len(people), 2) - mated
    assume(min(mated, other) > 0)
    pairs = make_pairs(people, folds=1, each=min(mated, other))
    kind = mated < other
    drawn = {tuple(pair) for pair in pairs.photos[pairs.mated == kind].tolist()}
    every = {
        pair for pair in itertools.combinations(range(len(people)), 2) if (people[pair[0]] == people[pair[1]]) == kind
    }
    if mated != other:
        assert drawn == every
    with pytest.raises(InputError, match=f"at most {min(mated, other):,} pairs"):
        make_pairs(people, folds=1, each=min(mated, other) + 1)


def test_a_person_with_hundreds_of_photos_does_not_fill_the_list() -> None:
    people = ["many"] * 300 + [f"p{k}" for k in range(100) for _ in range(2)]
    pairs = make_pairs(people, folds=1, each=80)
    names = np.array(people)[pairs.photos]
    assert (names[pairs.mated][:, 0] == "many").sum() <= 1
    assert (names[~pairs.mated] == "many").any(axis=1).sum() < 10


def test_spellings_of_one_name_are_not_taken_for_two_people() -> None:
    people = ["Nan Wang", "Nan Wang", "Wang_Nan", "Wang_Nan", "Ada", "Ada"]
    pairs = make_pairs(people, folds=1, each=3)
    names = np.array(people)[pairs.photos]
    assert (names[~pairs.mated] == "Ada").any(axis=1).all()


def test_what_can_not_be_drawn() -> None:
    with pytest.raises(InputError, match="3 people, 1 of them with two photos or more, give not one pair"):
        make_pairs(["a", "a", "b", "c"], folds=2, each=1)
    with pytest.raises(InputError, match="give no pair of each kind"):
        make_pairs([], folds=1, each=1)
    with pytest.raises(InputError, match="at least 1 fold"):
        make_pairs(["a"], folds=0)


def test_layouts_that_names_do_not_allow() -> None:
    pairs = Pairs(np.array([[0, 1], [0, 2]]), np.array([True, False]), np.array([0, 0]))
    people = ["a b", "a b", "c"]
    photos = ["a b_0001", "a b_0002", "c_0001"]
    assert not fits_lfw(photos, people)
    with pytest.raises(InputError, match="plain list"):
        lfw_text(pairs, photos, people)
    for name in ("1", "c_1", "c_0001 ", "d_0001", "c_00001"):
        assert not fits_lfw([name], ["c"])
    uneven = Pairs(pairs.photos, np.array([False, True]), pairs.folds)
    with pytest.raises(InputError, match="plain list"):
        lfw_text(uneven, ["A_0001", "A_0002", "B_0001"], ["A", "A", "B"])
    with pytest.raises(InputError, match="tab or a line break"):
        list_text(pairs, ["a\tb", "c", "d"])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no pair"),
        ("a b\n", "line 1 .* is no pair"),
        ("a b 1\na b 2\n", "line 2"),
        ("a\tb\t1\tx\n", "line 1"),
        ("a b 1 0\na c 1 0\n", "line 2 .* not there: 'c'"),
    ],
)
def test_lists_that_are_none(text: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        parse_list(text, ["a", "b"])


def test_lfw_itself(lfw: zipfile.ZipFile, tmp_path: Path) -> None:
    """The real data set: new pairs are of the size of its own, and scikit-learn reads them with real photos."""
    data = Lfw.open(lfw.filename or "")
    pairs = make_pairs(data.people, folds=10, each=150)
    own = data.view2()
    assert len(pairs) == len(own)
    text = lfw_text(pairs, data.photos, data.people)
    assert text.startswith("10\t150\n")
    np.testing.assert_array_equal(parse_pairs(text, data.photos).photos, pairs.photos)
    # scikit-learn takes the n-th file of a person's folder for its photo n: people whose photos are all there.
    reader = pytest.importorskip("sklearn.datasets._lfw")._fetch_lfw_pairs
    few = [i for i, person in enumerate(data.people) if person in {"Abdullah", "Ahmed_Chalabi", "Aaron_Sorkin"}]
    few = [
        i
        for n, i in enumerate(few)
        if int(data.photos[i][-4:]) == 1 + sum(data.people[j] == data.people[i] for j in few[:n])
    ]
    people, photos = [data.people[i] for i in few], [data.photos[i] for i in few]
    small = make_pairs(people, folds=1, each=3)
    (tmp_path / "pairs.txt").write_text(lfw_text(small, photos, people))
    for i, photo in zip(few, photos, strict=True):
        folder = tmp_path / "photos" / data.people[i]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{photo}.jpg").write_bytes(data.read(i))
    images, target, _ = reader(str(tmp_path / "pairs.txt"), str(tmp_path / "photos"), color=True)
    assert target.tolist() == [1, 1, 1, 0, 0, 0]
    for shown, pair in zip(images, small.photos.tolist(), strict=True):
        for picture, i in zip(shown, pair, strict=True):
            expected = load_image(data.read(few[i]))
            assert np.abs(255 * picture - expected).max() < 3


@pytest.mark.parametrize("fold", ["9" * 20, "9" * 5000, "\u00b2", "-1"])
def test_a_fold_that_is_no_number_of_one(fold: str) -> None:
    with pytest.raises(InputError, match="line 1 of the list is no pair"):
        parse_list(f"a\tb\t1\t{fold}", ["a", "b"])

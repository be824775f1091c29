"""Splits by person: properties for any data, and real photos placed."""

from __future__ import annotations

import errno
import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visavis.datasets.photos import PeopleFolder, open_photos
from visavis.datasets.placing import photo_files, place_files
from visavis.datasets.splits import name_key, same_files, same_people, split_people
from visavis.errors import InputError, StorageError

SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}
people_of = st.lists(st.integers(1, 20), min_size=3, max_size=60).map(
    lambda counts: [f"p{k}" for k, n in enumerate(counts) for _ in range(n)]
)


@given(people_of, st.integers(0, 5), st.integers(1, 3), st.one_of(st.none(), st.integers(3, 8)), st.randoms())
def test_nobody_is_in_two_parts_and_nothing_is_lost(people, seed, at_least, at_most, random) -> None:  # type: ignore[no-untyped-def]
    counts = Counter(people)
    enough = [person for person, number in counts.items() if number >= at_least]
    if len(enough) < 3:
        with pytest.raises(InputError, match="can't be split"):
            split_people(people, SHARES, seed=seed, at_least=at_least, at_most=at_most)
        return
    photos = [f"{person}/{i}" for i, person in enumerate(people)]
    split = split_people(people, SHARES, seed=seed, at_least=at_least, at_most=at_most, photos=photos)
    where: dict[str, set[str]] = {}
    for part, rows in split.parts.items():
        for row in rows:
            where.setdefault(people[row], set()).add(part)
    assert all(len(parts) == 1 for parts in where.values())
    assert set(where) == set(enough)
    everything = np.concatenate([*split.parts.values(), split.left_out])
    assert sorted(everything) == list(range(len(people)))
    used = Counter(people[row] for rows in split.parts.values() for row in rows)
    assert all(used[person] == min(counts[person], at_most or counts[person]) for person in enough)
    for part, share in SHARES.items():
        number = len({people[row] for row in split.parts[part]})
        assert number >= 1
        assert abs(number - share * len(enough)) <= 2, "parts have their share of the people"
    # The order of the photos decides nothing.
    order = list(range(len(people)))
    random.shuffle(order)
    names = [photos[i] for i in order]
    again = split_people(
        [people[i] for i in order], SHARES, seed=seed, at_least=at_least, at_most=at_most, photos=names
    )
    for part, rows in split.parts.items():
        assert {photos[row] for row in rows} == {names[row] for row in again.parts[part]}


def test_parts_get_people_with_few_and_with_many_photos() -> None:
    people = [f"p{k}" for k in range(1000) for _ in range([1, 2, 4, 8, 16][k % 5])]
    split = split_people(people, SHARES)
    for part, share in SHARES.items():
        counts = Counter(Counter(people[row] for row in split.parts[part]).values())
        for number in (1, 2, 4, 8, 16):
            assert abs(counts[number] - 200 * share) <= 1


def test_the_seed_decides() -> None:
    people = [f"p{k}" for k in range(100)]
    first, again, other = (split_people(people, SHARES, seed=seed).parts["test"].tolist() for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_spellings_of_a_name_stay_together() -> None:
    people = ["Nan Wang", "wang_nan", "Jose\u0301 Ruiz", "Jos\u00e9 Ruiz", "JOSE-RUIZ", *map(str, range(20))]
    assert len({name_key(name) for name in people}) == 22
    assert same_people(people) == [
        ("JOSE-RUIZ", "Jose\u0301 Ruiz"),
        ("JOSE-RUIZ", "Jos\u00e9 Ruiz"),
        ("Nan Wang", "wang_nan"),
    ]
    for seed in range(5):
        split = split_people(people, SHARES, seed=seed, same=same_people(people))
        parts = {people[row]: part for part, rows in split.parts.items() for row in rows.tolist()}
        assert parts["Nan Wang"] == parts["wang_nan"]
        assert len({parts[name] for name in people[2:5]}) == 1
        assert sorted(map(len, split.together)) == [2, 3]
    assert name_key("---") == ("---",)


def test_settings_that_make_no_split() -> None:
    people = ["a", "b", "b"]
    for shares in ({}, {"train": 0.0}, {"train": float("nan")}, {"train": -1}):
        with pytest.raises(InputError, match="share above 0"):
            split_people(people, shares)
    with pytest.raises(InputError, match="at most"):
        split_people(people, {"a": 1}, at_least=3, at_most=2)
    with pytest.raises(InputError, match="2 people can't be split into 3 parts"):
        split_people(people, SHARES)
    with pytest.raises(InputError, match="each photo needs a person"):
        split_people(people, {"a": 1}, photos=["x"])


@pytest.fixture
def album(tmp_path: Path) -> Path:
    folder = tmp_path / "album"
    for person in ("Ada", "Bob", "Cleo"):
        (folder / person).mkdir(parents=True)
        for number in (1, 2):
            (folder / person / f"{number}.jpg").write_bytes(f"{person} {number}".encode())
    shutil.copy(folder / "Ada" / "1.jpg", folder / "Bob" / "same.jpg")
    return folder


def test_the_same_file_in_two_folders(album: Path) -> None:
    assert same_files(PeopleFolder.open(album)) == [("Ada", "Bob")]


def test_photos_are_linked_or_copied(album: Path, tmp_path: Path) -> None:
    files = photo_files(open_photos(album))
    assert place_files(files, tmp_path / "linked", texts={"note.txt": "hello\n"}) == 0
    assert (tmp_path / "linked" / "Ada" / "1.jpg").samefile(album / "Ada" / "1.jpg")
    copied = place_files(files, tmp_path / "copied", link=False)
    assert copied == sum(path.stat().st_size for path in album.rglob("*.jpg"))
    assert not (tmp_path / "copied" / "Ada" / "1.jpg").samefile(album / "Ada" / "1.jpg")
    with pytest.raises(InputError, match="there already"):
        place_files(files, tmp_path / "copied")


@pytest.mark.parametrize("where", ["../out.jpg", "/etc/out.jpg", "a/../../b.jpg", "a\\..\\b.jpg", "", "a\0.jpg"])
def test_no_path_leaves_the_folder(where: str, album: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no path inside"):
        place_files([(album / "Ada" / "1.jpg", where)], tmp_path / "deep" / "out")
    assert not (tmp_path / "deep" / "out").exists()


def test_two_photos_of_one_place_are_refused(album: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="rename one"):
        place_files([(album / "Ada" / "1.jpg", "a.jpg"), (album / "Ada" / "2.jpg", "A.jpg")], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_leaves_nothing(album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: Path, target: Path) -> None:
        Path(target).write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(StorageError, match="full"):
        place_files(photo_files(open_photos(album)), tmp_path / "out", link=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["album"]


def test_a_folder_only_partly_in_lfws_layout_loses_no_photo(album: Path) -> None:
    (album / "Ada" / "Ada_0001.jpg").write_bytes(b"x")
    assert len(open_photos(album).photos) == 8

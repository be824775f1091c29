"""Identification on photos of people: how they are dealt, and what comes out on lfw-dev."""

from __future__ import annotations

import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visavis.datasets.lfw import Lfw
from visavis.errors import InputError
from visavis.evaluation.searching import against_distractors, search
from visavis.pipeline import Analyzer
from visavis.protocols.embedding import Embedded, embed_photos
from visavis.protocols.identification import identification, open_vectors, split_people


@given(
    st.lists(st.sampled_from("abcdefghij"), min_size=1, max_size=60),
    st.integers(1, 3),
    st.sampled_from([0.0, 0.2, 0.5, 0.9]),
    st.sampled_from([None, 1, 2]),
    st.integers(0, 5),
)
@settings(max_examples=80)
def test_a_split_keeps_people_apart(
    people: list[str], enrolled: int, strangers: float, probes: int | None, seed: int
) -> None:
    try:
        split = split_people(people, enrolled=enrolled, strangers=strangers, probes=probes, seed=seed)
    except InputError as error:
        assert any(word in str(error) for word in ("nobody", "no mated probes"))  # noqa: PT017 (some drawn are too few)
        return
    gallery, mated, nonmated = (
        Counter(people[i] for i in rows) for rows in (split.gallery, split.mated, split.nonmated)
    )
    assert not set(gallery) & set(nonmated)
    assert set(mated) <= set(gallery)
    assert set(gallery) | set(nonmated) == set(people)
    assert len({*split.gallery, *split.probes}) == len(split.gallery) + len(split.probes), "no photo twice"
    counts = Counter(people)
    assert all(gallery[one] == min(enrolled, counts[one]) for one in gallery)
    left = {one: counts[one] - gallery[one] for one in gallery} | {one: counts[one] for one in nonmated}
    most = probes or len(people)
    assert all((mated + nonmated)[one] == min(left[one], most) for one in left)
    again = split_people(people, enrolled=enrolled, strangers=strangers, probes=probes, seed=seed)
    assert (again.probes == split.probes).all()


def test_another_seed_deals_otherwise() -> None:
    people = [f"p{i // 4}" for i in range(200)]
    galleries = {tuple(split_people(people, seed=seed).gallery) for seed in range(5)}
    assert len(galleries) == 5


@pytest.mark.parametrize(
    ("people", "options", "said"),
    [
        (["a", "b"], {"strangers": 0}, "no mated probes"),
        (["a", "a"], {"strangers": 0.1}, "keeps nobody out"),
        (["a", "a", "b"], {"strangers": 1}, "0..1"),
        (["a", "a"], {"enrolled": 0}, "at least one photo"),
        (["a", "a"], {"probes": 0}, "at least one photo"),
        (["a"], {"strangers": 0.9}, "nobody is left"),
    ],
)
def test_people_that_can_not_be_dealt(people: list[str], options: dict[str, float], said: str) -> None:
    with pytest.raises(InputError) as raised:
        split_people(people, **options)  # type: ignore[arg-type]
    assert said in str(raised.value)


@pytest.fixture(scope="module")
def some(lfw: zipfile.ZipFile, tmp_path_factory: pytest.TempPathFactory, home: Path) -> tuple[Lfw, Embedded]:
    """Return forty people of lfw-dev with three photos each, and their embeddings."""
    assert lfw.filename is not None
    whole = Lfw.open(lfw.filename)
    counts = Counter(whole.people)
    chosen = [one for one, count in counts.items() if count >= 3][:40]
    members = [
        member
        for one in chosen
        for member in [m for m, person in zip(whole.members, whole.people, strict=True) if person == one][:3]
    ]
    data = Lfw(whole.path, members, whole.archive)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VISAVIS_HOME", str(home))
        return data, embed_photos(data, Analyzer(threads=1, precision="f32"), choose="central")


def test_lfw(some: tuple[Lfw, Embedded]) -> None:
    data, embedded = some
    split = split_people(data.people, enrolled=2, seed=3)
    assert (len(split.gallery), len(split.mated), len(split.nonmated)) == (40, 20, 60)
    distractors = np.random.default_rng(0).standard_normal((1000, 128)).astype(np.float32)
    found = identification(embedded, data.people, split, fpirs=[0.1], distractors=distractors)
    people = np.array(data.people)
    matrix = embedded.vectors[split.probes] @ embedded.vectors[split.gallery].T
    for i, row in enumerate(matrix):
        own = people[split.gallery] == people[split.probes[i]]
        if own.any():
            others = [row[people[split.gallery] == one].max() for one in set(people[split.gallery][~own])]
            assert found.searched.ranks[i] == 1 + sum(other >= row[own].max() for other in others)
        assert found.searched.best[i] == pytest.approx(row.max(), abs=1e-6)
    assert found.closed.rank(1).value >= 0.95
    assert found.open is not None
    (point,) = found.open.points
    assert point.fpir.value <= 0.1
    assert point.tpir.value >= 0.95
    assert 0.2 < point.threshold < 0.6
    assert [one.size for one in found.distractors] == [1, 10, 100, 1000]
    assert found.distractors[-1].rates.rank(1).value >= 0.95
    assert found.without == (0, 0)
    assert found.to_dict()["photos"] == {"gallery": 40, "mated": 20, "nonmated": 60}


def test_lost_photos_count(some: tuple[Lfw, Embedded]) -> None:
    data, embedded = some
    split = split_people(data.people, seed=3)
    lost = Embedded(embedded.names, embedded.vectors, embedded.found.copy(), embedded.model)
    lost.found[split.mated[:2]] = False
    lost.found[split.gallery[0]] = False
    found = identification(lost, data.people, split)
    whole = identification(embedded, data.people, split)
    assert found.without == (1, 2)
    assert found.closed.probes == whole.closed.probes
    assert found.closed.rank(1).value < whole.closed.rank(1).value
    with pytest.raises(InputError, match="has an embedding"):
        identification(
            Embedded(embedded.names, embedded.vectors, np.zeros(len(embedded), bool), "none"), data.people, split
        )
    with pytest.raises(InputError, match="a person each"):
        identification(embedded, data.people[1:], split)


def test_the_means_of_templates(some: tuple[Lfw, Embedded]) -> None:
    data, embedded = some
    split = split_people(data.people, enrolled=2, strangers=0)
    found = identification(embedded, data.people, split, fusion="mean")
    assert found.open is None
    people = np.array(data.people)
    row = embedded.vectors[split.mated[0]] @ embedded.vectors[split.gallery].T
    own = row[people[split.gallery] == people[split.mated[0]]]
    assert found.searched.own[0] == pytest.approx(own.mean(), abs=1e-6)


def test_vectors_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "d.npy"
    np.save(path, np.eye(3, dtype=np.float16))
    vectors = open_vectors(path)
    assert isinstance(vectors, np.memmap)
    eye = np.eye(3, dtype=np.float32)
    found = search(eye, [0, 1, 2], eye, [0, 1, 2])
    assert against_distractors(found, eye, vectors).ranks[-1].tolist() == [2, 2, 2], "they are as alike as the own"


@pytest.mark.parametrize("header", [b"PK\x03\x04 is no zip", b"{'descr': '<f4', 'shape': (1,", b"(" * 5000])
def test_headers_that_are_damaged(tmp_path: Path, header: bytes) -> None:
    start = b"" if header[:2] == b"PK" else b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little")
    (tmp_path / "d.npy").write_bytes(start + header)
    with pytest.raises(InputError):
        open_vectors(tmp_path / "d.npy")


@pytest.mark.parametrize("kind", ["missing", "empty", "cut", "object", "npz", "flat", "whole", "folder"])
def test_files_that_hold_no_vectors(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "d.npy"
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "folder":
        path.mkdir()
    elif kind == "npz":
        with path.open("wb") as file:
            np.savez(file, a=np.eye(2))
    elif kind != "missing":
        arrays = {"object": np.array([[{}]], object), "flat": np.ones(3), "whole": np.eye(3, dtype=int)}
        np.save(path, arrays.get(kind, np.eye(50)), allow_pickle=True)
        if kind == "cut":
            path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"d\.npy"):
        open_vectors(path)

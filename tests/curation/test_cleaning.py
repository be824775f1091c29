"""Label noise found: made-up people whose answer is known, and real photos with noise put among them."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visavis.curation.cleaning import Suspect, alike_people, find_suspects, folders
from visavis.curation.cleaning_page import cleaning_document
from visavis.curation.inspection import Inspected, inspect_photos
from visavis.curation.suspects import apply_suspects, read_suspects, write_suspects
from visavis.datasets.photos import PeopleFolder
from visavis.errors import InputError, StorageError
from visavis.pipeline import Analyzer

LEVELS = {"apart": 0.3, "same": 0.51, "match": 0.45}


def crowd(people: list[str], seed: int = 0, spread: float = 0.5) -> np.ndarray:
    """Return an embedding for each entry: near a direction of the person's own, all of them at right angles."""
    rng = np.random.default_rng(seed)
    names = sorted(set(people))
    axes = np.linalg.qr(rng.normal(size=(256, len(names))))[0].T
    noise = rng.normal(size=(len(people), 256)) / 16
    vectors = np.array([axes[names.index(person)] for person in people]) + spread * noise
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def suspects(labels: list[str], vectors: np.ndarray) -> list[Suspect]:
    photos = [f"{label}/{i}" for i, label in enumerate(labels)]
    return find_suspects(photos, labels, vectors, vectors.any(axis=1), **LEVELS)[0]


def test_the_mean_similarity_to_the_folder_is_that_of_all_pairs() -> None:
    truth = ["a"] * 6 + ["b"] * 3 + ["c"]
    vectors = crowd([*truth[:4], "x", "y", *truth[6:]])
    known = folders(truth, vectors, np.ones(10, bool), 0.3)
    assert known.core.tolist() == [True] * 4 + [False] * 2 + [True] * 4
    for i in range(6):
        others = [j for j in range(4) if j != i]
        assert known.own[i] == pytest.approx((vectors[others] @ vectors[i]).mean(), abs=1e-6)
    assert np.isnan(known.own[9]), "a single photo has nothing to be compared with"
    assert known.names == ["a", "b", "c"]
    assert known.clear.all()


def test_photos_in_another_folder_are_found_and_sent_back() -> None:
    truth = [name for name in "abcdefgh" for _ in range(5)]
    labels = list(truth)
    labels[0], labels[7], labels[20] = "b", "c", "f"  # a photo of a, of b and of e
    found = suspects(labels, crowd(truth))
    assert {(s.photo, s.reason, s.suggestion, s.target) for s in found} == {
        ("b/0", "wrong person", "move", "a"),
        ("c/7", "wrong person", "move", "b"),
        ("f/20", "wrong person", "move", "e"),
    }
    assert all(s.similarity is not None and s.similarity < 0.3 for s in found)


def test_a_stranger_is_to_be_removed() -> None:
    truth = ["a"] * 4 + ["stranger"] + ["b"] * 3
    (found,) = suspects(["a"] * 5 + ["b"] * 3, crowd(truth))
    assert (found.photo, found.suggestion, found.target) == ("a/4", "remove", "")


def test_a_folder_that_falls_apart_is_to_be_looked_at_unless_one_side_is_known() -> None:
    truth = ["a", "x", "b", "b", "b"]
    found = suspects(["a", "a", "b", "b", "b"], crowd(truth))
    assert {(s.photo, s.reason, s.suggestion) for s in found} == {
        ("a/0", "unlike each other", "look"),
        ("a/1", "unlike each other", "look"),
    }
    truth[1] = "b"
    (known,) = suspects(["a", "a", "b", "b", "b"], crowd(truth))
    assert (known.photo, known.suggestion, known.target) == ("a/1", "move", "b")


def test_one_person_in_two_folders() -> None:
    truth = ["a"] * 7 + ["b"] * 3 + ["c"]
    labels = ["a"] * 4 + ["a2"] * 2 + ["a3"] + ["b"] * 3 + ["c"]
    found = suspects(labels, crowd(truth))
    assert {(s.person, s.suggestion, s.target) for s in found} == {
        ("a2", "merge", "a"),
        ("a3", "merge", "a"),
        ("a3", "look", "a2"),
    } or {(s.person, s.suggestion, s.target) for s in found} == {
        ("a2", "merge", "a"),
        ("a3", "look", "a"),
        ("a3", "merge", "a2"),
    }
    vectors = crowd(truth)
    (first, *_) = alike_people(labels, vectors, np.ones(11, bool), 0.51)
    one, two = (vectors[[i for i, label in enumerate(labels) if label == name]] for name in first[:2])
    assert first[2] == pytest.approx((one @ two.T).mean(), abs=1e-4)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=12), st.integers(0, 9))
def test_clean_folders_are_left_alone(counts: list[int], seed: int) -> None:
    labels = [f"p{k}" for k, n in enumerate(counts) for _ in range(n)]
    assert suspects(labels, crowd(labels, seed)) == []


def test_photos_without_a_face_say_nothing() -> None:
    labels = ["a"] * 3 + ["b"] * 3
    vectors = crowd(labels)
    vectors[[0, 3, 4, 5]] = 0
    assert suspects(labels, vectors) == []
    assert suspects([], np.zeros((0, 8), np.float32)) == []
    with pytest.raises(InputError, match="as many embeddings"):
        folders(labels, vectors[:2], np.ones(6, bool), 0.3)


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory, lfw: zipfile.ZipFile) -> Path:
    """Return real photos: one of Abdullah among Abdoulaye Wade's, Wade in a second folder, and a file that is none."""
    folder = tmp_path_factory.mktemp("noisy") / "photos"

    def put(person: str, number: int, where: str) -> None:
        (folder / where).mkdir(parents=True, exist_ok=True)
        data = lfw.read(f"lfw-dev/{person}/{person}_{number:04d}.jpg")
        (folder / where / f"{person}_{number}.jpg").write_bytes(data)

    for number in (1, 2, 3):
        put("Abdullah", number, "Abdullah")
        put("Ahmed_Chalabi", number, "Ahmed Chalabi")
    put("Abdullah", 4, "Wade")
    put("Abdoulaye_Wade", 1, "Wade")
    put("Abdoulaye_Wade", 4, "Wade")
    put("Abdoulaye_Wade", 2, "Second")
    put("Abdoulaye_Wade", 3, "Second")
    (folder / "Second" / "bad.jpg").write_bytes(b"nothing")
    return folder


@pytest.fixture
def seen(noisy: Path) -> Inspected:
    return inspect_photos(PeopleFolder.open(noisy), Analyzer(threads=1, precision="f32"), face="central")


def test_real_photos(noisy: Path, seen: Inspected, tmp_path: Path) -> None:
    from visavis.curation.duplicates import unclear_suspects

    data = seen.data
    found, known = find_suspects(data.photos, data.people, seen.vectors, seen.found, **LEVELS)
    assert {(s.suggestion, s.photo or s.person, s.target) for s in found} == {
        ("move", "Wade/Abdullah_4.jpg", "Abdullah"),
        ("merge", "Second", "Wade"),
    } or {(s.suggestion, s.photo or s.person, s.target) for s in found} == {
        ("move", "Wade/Abdullah_4.jpg", "Abdullah"),
        ("merge", "Wade", "Second"),
    }
    unreadable = [s for s in unclear_suspects(seen) if s.reason == "unreadable"]
    assert [s.photo for s in unreadable] == ["Second/bad.jpg"]
    several = {s.photo for s in unclear_suspects(seen) if s.reason == "several faces"}
    assert several == {photo for photo, number in zip(data.photos, seen.faces, strict=True) if number > 1}
    left = {s.photo for s in unclear_suspects(seen, known, LEVELS["apart"]) if s.reason == "several faces"}
    assert left <= {s.photo for s in found}, "a face like the others of its folder is the person's"
    document = cleaning_document("photos", seen, [*found, *unreadable], known, [("model", seen.model)])
    assert document.results["counts"] == {"wrong person": 1, "same person": 1, "unreadable": 1}
    pictures = [part for section in document.sections for part in section.parts if hasattr(part, "rows")]
    assert any(
        picture.image.shape == (112, 112, 3)
        for part in pictures
        for row in part.rows
        for picture in row
        if hasattr(picture, "image")
    )

    write_suspects(tmp_path / "list.csv", [*found, *unreadable])
    before = {path: path.read_bytes() for path in noisy.rglob("*.jpg")}
    done = apply_suspects(data, read_suspects(tmp_path / "list.csv"), tmp_path / "clean")
    assert (done["kept"] + done["moved"], done["removed"]) == (11, 1)
    assert {path: path.read_bytes() for path in noisy.rglob("*.jpg")} == before, "nothing is changed"
    clean = {p.relative_to(tmp_path / "clean").as_posix() for p in (tmp_path / "clean").rglob("*.jpg")}
    assert len({name.split("/")[0] for name in clean}) == 3
    assert "Abdullah/Abdullah_4.jpg" in clean
    again = inspect_photos(PeopleFolder.open(tmp_path / "clean"), Analyzer(threads=1, precision="f32"), face="central")
    left, _ = find_suspects(again.data.photos, again.data.people, again.vectors, again.found, **LEVELS)
    assert left == []


def test_aligned_crops_need_no_detector(noisy: Path, tmp_path: Path) -> None:
    from visavis.curation.alignment import Recipe, align_folder

    list(align_folder(noisy, tmp_path / "crops", Recipe(face="central"), workers=1))
    crops = PeopleFolder.open(tmp_path / "crops")
    seen = inspect_photos(crops, Analyzer(threads=1, precision="f32"), face="aligned")
    assert seen.found.all()
    found, _ = find_suspects(crops.photos, crops.people, seen.vectors, seen.found, **LEVELS)
    assert ("move", "Wade/Abdullah_4.jpg", "Abdullah") in {(s.suggestion, s.photo, s.target) for s in found}


class Photos:
    """Photos that are never read."""

    photos = ("a/1.jpg", "a/2.jpg", "b/1.jpg", "c/1.jpg")
    people = ("a", "a", "b", "c")


@pytest.fixture
def album(tmp_path: Path) -> PeopleFolder:
    for photo in Photos.photos:
        path = tmp_path / "album" / photo
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photo.encode())
    return PeopleFolder.open(tmp_path / "album")


def test_moved_photos_get_a_name_of_their_own(album: PeopleFolder, tmp_path: Path) -> None:
    rows = [
        Suspect("wrong person", "move", "b", "b/1.jpg", None, "a"),
        Suspect("same person", "merge", "c", "", None, "b"),
        Suspect("duplicate", "look", "a", "a/2.jpg"),
    ]
    done = apply_suspects(album, rows, tmp_path / "out", link=False)
    assert done == {"kept": 2, "moved": 2, "removed": 0, "copied_bytes": 28}
    found = {p.relative_to(tmp_path / "out").as_posix(): p.read_text() for p in (tmp_path / "out").rglob("*.jpg")}
    assert found == {"a/1.jpg": "a/1.jpg", "a/2.jpg": "a/2.jpg", "a/1~2.jpg": "b/1.jpg", "b/1.jpg": "c/1.jpg"}


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([Suspect("no face", "remove", "a", "a/9.jpg")], "not there: 'a/9.jpg'"),
        ([Suspect("same person", "merge", "z", "", None, "a")], "not there: 'z'"),
        ([Suspect("wrong person", "move", "a", "a/1.jpg", None, "../../x")], "not there"),
        ([Suspect("wrong person", "move", "a", "a/1.jpg", None, "..")], "not there"),
        (
            [Suspect("same person", "merge", "a", "", None, "b"), Suspect("same person", "merge", "b", "", None, "a")],
            "into itself",
        ),
        ([Suspect("no face", "remove", "", photo) for photo in Photos.photos], "removes every photo"),
    ],
)
def test_lists_that_can_not_be_applied(rows: list[Suspect], told: str, album: PeopleFolder, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=told):
        apply_suspects(album, rows, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_list_keeps_odd_names(tmp_path: Path) -> None:
    odd = [Suspect("wrong person", "move", 'a "b", c', "a/\u7167\u7247\n1.jpg", 0.25, "=SUM(A1)", "note, with comma")]
    write_suspects(tmp_path / "list.csv", odd)
    assert ",'=SUM(A1)," in (tmp_path / "list.csv").read_text("utf-8"), "a spreadsheet would compute it"
    (back,) = read_suspects(tmp_path / "list.csv")
    assert (back.person, back.photo, back.target) == (odd[0].person, odd[0].photo, odd[0].target)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no list of suspects"),
        ("a,b,c\n1,2,3\n", "no list of suspects"),
        ("suggestion,person,photo,target\ndelete,a,a/1.jpg,\n", "line 2 .* a suggestion is"),
        ("suggestion,person,photo,target\nmove,a,a/1.jpg,\n", "line 2 .* needs a target"),
        ("suggestion,person,photo,target\nmove\n", "can't be read|needs a target"),
        ('suggestion,person,photo,target\nremove,"a,a/1.jpg,\n', "can't be read"),
    ],
)
def test_files_that_are_no_list(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(InputError, match=told):
        read_suspects(tmp_path / "list.csv")
    with pytest.raises(InputError, match="does not exist"):
        read_suspects(tmp_path / "none.csv")
    with pytest.raises(StorageError):
        write_suspects(tmp_path / "none" / "list.csv", [])


def test_duplicates_keep_the_one_that_fits(noisy: Path, tmp_path: Path) -> None:
    from visavis.curation.duplicates import count_duplicates, duplicate_suspects

    photos = tmp_path / "photos"
    shutil.copytree(noisy, photos)
    shutil.copy(photos / "Abdullah" / "Abdullah_1.jpg", photos / "Ahmed Chalabi" / "a.jpg")
    shutil.copy(photos / "Abdullah" / "Abdullah_2.jpg", photos / "Abdullah" / "copy.jpg")
    data = PeopleFolder.open(photos)
    seen = inspect_photos(data, Analyzer(threads=1, precision="f32"), face="central")
    known = folders(data.people, seen.vectors, seen.found, 0.3)
    found = {(s.photo, s.target, s.suggestion) for s in duplicate_suspects(seen, known)}
    assert ("Ahmed Chalabi/a.jpg", "Abdullah/Abdullah_1.jpg", "remove") in found
    assert len(found) == count_duplicates(seen) == 2

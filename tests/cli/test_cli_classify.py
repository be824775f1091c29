"""``visavis classify``: from folders of photos to names, and back to forgetting."""

from __future__ import annotations

import json
import shutil
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.test_cli_docs import ALWAYS, documented
from visavis.classification import Classifier
from visavis.image import load_image, save_image
from visavis.models.store import Store
from visavis.pipeline import Analyzer, only_face
from visavis.types import Embeddings

Run = Callable[..., Any]

NAMES = {"Abel_Pacheco": "阿贝尔", "Al_Sharpton": "Al Sharpton", "Ali_Naimi": "Zoë"}
STRANGER = "Ahmed_Chalabi"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, lfw: zipfile.ZipFile) -> Path:
    """Return a folder: people/NAME/ with two photos each to train on, probes/NAME/ with two more, and of a stranger."""
    folder = tmp_path_factory.mktemp("folders")

    def copy(person: str, number: int, target: Path) -> None:
        target.mkdir(parents=True, exist_ok=True)
        (target / f"{number}.jpg").write_bytes(lfw.read(f"lfw-dev/{person}/{person}_{number:04d}.jpg"))

    for person, name in NAMES.items():
        for number in (1, 3):
            copy(person, number, folder / "people" / name)
        copy(person, 2, folder / "probes" / name)
    for number in (1, 2):
        copy(STRANGER, number, folder / "probes" / STRANGER)
    return folder


@pytest.fixture(scope="module")
def classifier(folders: Path, store: Store) -> Classifier:
    paths = sorted((folders / "people").glob("*/*.jpg"))
    faces = Analyzer(precision="f32", threads=1, store=store).analyze(paths)
    rows = [only_face(found, largest=True).embeddings for found in faces]
    return Classifier.train(Embeddings.concat([row for row in rows if row]), [path.parent.name for path in paths])


@pytest.fixture
def trained(classifier: Classifier, tmp_path: Path) -> Path:
    """Return a classifier's file, to be changed."""
    classifier.save(tmp_path / "people.vvc")
    return tmp_path / "people.vvc"


@pytest.mark.parametrize("method", ["knn", "svm", "rbf"])
def test_train_predict_evaluate(method: str, run: Run, folders: Path, tmp_path: Path) -> None:
    file = tmp_path / "people.vvc"
    done = run("classify", "train", folders / "people", "-o", file, "--method", method, "--largest", "--json")
    assert done.code == 0, done.err
    assert (done.json["people"], done.json["templates"], done.json["model"]) == (3, 6, "sface")
    assert done.json["rule"] == "calibration"
    assert done.json["fpir"] == pytest.approx(0.01)
    assert done.json["validation"]["photos"] == 6
    assert {item["subject"] for item in done.json["images"]} == set(NAMES.values())

    found = run("classify", "predict", folders / "probes", "-c", file, "--json", "--out", tmp_path / "out")
    assert found.code == 0
    assert found.json["threshold"] == done.json["threshold"]
    for item in found.json["images"]:
        name = Path(item["image"]).parent.name
        said = {face["subject"] for face in item["faces"]} - {None}
        assert said == ({name} if name != STRANGER else set())
        assert load_image(item["picture"]).shape == load_image(item["image"]).shape
        for face in item["faces"]:
            (candidate,) = face["candidates"]
            assert 0 < candidate["probability"] < 1
            assert face["subject"] in (None, candidate["subject"])
    assert found.json["named"] == 3

    measured = run("classify", "evaluate", folders / "probes", "-c", file, "--largest", "--json")
    assert measured.code == 0
    assert measured.json["accuracy"]["value"] == 1
    assert (measured.json["faces"], measured.json["strangers"]) == (3, 2)
    assert measured.json["fpir"]["value"] == 0
    assert measured.json["expected_fpir"] == done.json["fpir"]
    assert {one["subject"]: one["enrolled"] for one in measured.json["people"]}[STRANGER] is False
    assert measured.json["confusions"] == []


def test_what_people_read(run: Run, folders: Path, trained: Path) -> None:
    done = run("classify", "train", folders / "people", "--out", trained, "--largest", "--method", "svm")
    facts = dict(done.rows)
    assert facts["method"] == "svm on sface"
    assert facts["trained on"] == "6 photos of 3 people"
    assert facts["right name"] == "100.0% of 6 held-out photos (cross-validated)"
    assert facts["expected FPIR"] == "at most 0.01, by the recognizer's calibration"
    assert "templates of these people's faces" in facts["privacy"]
    row = run("classify", "predict", folders / "probes" / "Zoë" / "2.jpg", "-c", trained).rows[0]
    assert row[1:3] == ["1", "Zoë"]
    assert row[-2:] == ["svm", "sface"]
    assert len(row) == 9
    ranked = run("classify", "predict", folders / "probes" / "Zoë" / "2.jpg", "-c", trained, "--top", 3).rows[:3]
    assert [cells[3] for cells in ranked] == ["1", "2", "3"]
    assert {cells[4] for cells in ranked} == set(NAMES.values())
    people = run("classify", "evaluate", folders / "probes", "-c", trained, "--largest").rows
    assert sorted(people)[0] == [STRANGER, "no", "2", "2", "0", "2"]


def test_another_detector_than_in_training_is_said(run: Run, folders: Path, trained: Path) -> None:
    photo = folders / "probes" / "Zoë" / "2.jpg"
    for how in (("predict", photo), ("evaluate", folders / "probes", "--largest")):
        document = run("classify", *how, "-c", trained, "--detector", "mtcnn", "--json").json
        assert any("trained as sface and is used as sface@mtcnn" in text for text in document["warnings"])
    assert "trained as" not in run("classify", "predict", photo, "-c", trained).err


def test_show_lists_whose_faces_it_holds(run: Run, trained: Path) -> None:
    shown = run("classify", "show", trained)
    assert shown.rows == [[name, "2"] for name in sorted(NAMES.values())]
    document = run("classify", "show", trained, "--json").json
    assert [one["subject"] for one in document["subjects"]] == sorted(NAMES.values())
    assert document["settings"]["neighbors"] == 5
    assert document["made_with"]["visavis"]


def test_forget(run: Run, folders: Path, trained: Path) -> None:
    assert "阿贝尔" in trained.read_bytes().decode("utf-8", errors="ignore")
    done = run("classify", "forget", trained, "阿贝尔")
    assert done.code == 0
    assert done.out == f"forgot 阿贝尔; {trained} was trained anew on 4 templates of others\n"
    assert "阿贝尔".encode() not in trained.read_bytes()
    found = run("classify", "predict", folders / "probes" / "阿贝尔", "-c", trained, "--json").json
    assert found["named"] == 0
    before = trained.read_bytes()
    gone = run("classify", "forget", trained, "阿贝尔")
    assert gone.code == 2
    assert "is not among the classifier's 2 people" in gone.err
    assert trained.read_bytes() == before


def test_a_messy_folder(run: Run, folders: Path, broken: Path, tmp_path: Path) -> None:
    """What can't be used is listed and skipped; the rest is trained on."""
    source = tmp_path / "source"
    shutil.copytree(folders / "people", source)
    (source / "only broken").mkdir()
    for name in ("zero.jpg", "text.jpg"):
        shutil.copy(broken / name, source / "only broken")
    (source / "empty").mkdir()
    (source / ".hidden").mkdir()
    (source / "two\tlines").mkdir()
    shutil.copy(broken / "good.jpg", source / "two\tlines")
    shutil.copy(broken / "good.jpg", source / "stray.jpg")
    (source / unicodedata.normalize("NFD", "Zoë")).mkdir()
    shutil.copy(folders / "probes" / "Zoë" / "2.jpg", source / unicodedata.normalize("NFD", "Zoë"))
    shutil.copy(source / "Al Sharpton" / "1.jpg", source / "Al Sharpton" / "again.jpg")
    (source / "thief").mkdir()
    shutil.copy(source / "阿贝尔" / "1.jpg", source / "thief" / "stolen.jpg")
    landscape = source / "Al Sharpton" / "landscape.png"
    image = load_image(source / "Al Sharpton" / "1.jpg").copy()
    image[:] = 127
    save_image(landscape, image)
    done = run("classify", "train", source, "--out", tmp_path / "x.vvc", "--largest", "--json")
    assert done.code == 1
    assert done.json["skipped"] == 5
    for said in (
        "1 file directly in",
        "'only broken' is left out: no photo could be used",
        "'empty' is left out: there is no photo",
        "must not hold control characters",
        "two folders are spelled 'Zoë'",
        "again.jpg is the same picture as",
        "'thief' is left out",
    ):
        assert any(said in warning for warning in done.json["warnings"]), said
    errors = {Path(item["image"]).name: item["error"]["type"] for item in done.json["images"] if "error" in item}
    assert errors == {
        "zero.jpg": "ImageError",
        "text.jpg": "ImageError",
        "landscape.png": "NoFaceFound",
        "stolen.jpg": "InputError",
        "1.jpg": "InputError",
    }
    assert Classifier.load(tmp_path / "x.vvc").counts == {"Al Sharpton": 2, "Zoë": 3, "阿贝尔": 1}


def test_several_faces_are_skipped_unless_the_largest_is_wanted(run: Run, lfw: zipfile.ZipFile, tmp_path: Path) -> None:
    folder = tmp_path / "people" / "alan"
    folder.mkdir(parents=True)
    (folder / "two.jpg").write_bytes(lfw.read("lfw-dev/Alan_Greenspan/Alan_Greenspan_0002.jpg"))
    refused = run("classify", "train", tmp_path / "people", "--out", tmp_path / "x.vvc")
    assert refused.code == 2
    assert "2 faces of similar size in" in refused.err
    assert "not one of 1 photo shows one face" in refused.err
    assert run("classify", "train", tmp_path / "people", "--out", tmp_path / "x.vvc", "--largest").code == 0


def test_a_person_in_two_folders_is_told(run: Run, folders: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(folders / "people", source)
    (source / "another name").mkdir()
    (source / "Zoë" / "3.jpg").rename(source / "another name" / "3.jpg")
    done = run("classify", "train", source, "--out", tmp_path / "x.vvc", "--largest")
    assert done.code == 0
    assert "'Zoë' and 'another name' look alike" in done.err


def test_one_person_or_one_photo(run: Run, folders: Path, tmp_path: Path) -> None:
    source, file = tmp_path / "source", tmp_path / "x.vvc"
    shutil.copytree(folders / "people" / "Zoë", source / "Zoë")
    done = run("classify", "train", source, "--out", file, "--largest")
    assert done.code == 0
    assert dict(done.rows)["trained on"] == "2 photos of 1 person"
    assert "none" in dict(done.rows)["probabilities"]
    for method in ("svm", "rbf"):
        refused = run("classify", "train", source, "--out", file, "--method", method)
        assert refused.code == 2
        assert (
            refused.err == f"visavis: {method} tells people apart, so it needs two or more; for one person, train knn\n"
        )
    shutil.copytree(folders / "people" / "阿贝尔", source / "阿贝尔")
    for person in source.iterdir():
        (person / "3.jpg").unlink()
    done = run("classify", "train", source, "--out", file, "--method", "svm", "--largest")
    assert done.code == 0
    assert dict(done.rows)["accuracy"] == "unknown: it takes two photos of a person to measure it"
    face = run("classify", "predict", folders / "probes" / "Zoë", "-c", file, "--json").json["images"][0]["faces"][0]
    assert face["subject"] == "Zoë"
    assert face["candidates"][0]["probability"] is None


def test_the_recognizer_is_the_classifiers_own(run: Run, folders: Path, tmp_path: Path) -> None:
    file = tmp_path / "flip.vvc"
    assert run("classify", "train", folders / "people", "--out", file, "--flip", "--largest").code == 0
    document = run("classify", "predict", folders / "probes" / "Zoë", "-c", file, "--json").json
    assert document["model"] == "sface+flip"
    assert document["named"] == 1


def test_a_recognizer_that_is_not_there(run: Run, folders: Path, trained: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.vvc"
    with zipfile.ZipFile(trained) as archive, zipfile.ZipFile(other, "w") as target:
        for name in archive.namelist():
            data = archive.read(name)
            if name == "header.json":
                data = json.dumps(json.loads(data) | {"model": "somebody-elses"}).encode()
            target.writestr(name, data)
    for command in ("predict", "evaluate"):
        refused = run("classify", command, folders / "probes", "-c", other)
        assert refused.code == 2
        assert "no recognizer 'somebody-elses'" in refused.err


def test_training_photos_flatter(run: Run, folders: Path, trained: Path) -> None:
    done = run("classify", "evaluate", folders / "people", "-c", trained, "--largest", "--json")
    assert any("6 photos of these were trained on" in warning for warning in done.json["warnings"])


def test_broken_files_are_skipped(run: Run, broken: Path, trained: Path) -> None:
    done = run("classify", "predict", broken, "-c", trained, "--json")
    assert done.code == 1
    assert done.json["skipped"] == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "nowhere", "--out", "x.vvc"], "nowhere can't be read: no such file"),
        (["train", ".", "--out", "x.vvc"], "needs a sub-folder a person"),
        (["train", ".", "--out", "none/x.vvc"], "there is no folder none"),
        (["train", ".", "--out", "photo.jpg"], "exists and is no classifier"),
        (["predict", "photo.jpg", "-c", "none.vvc"], "there is no classifier"),
        (["predict", "photo.jpg", "-c", "photo.jpg"], "is not a classifier, or damaged"),
        (["evaluate", ".", "-c", "photo.jpg"], "is not a classifier, or damaged"),
        (["show", "photo.jpg"], "is not a classifier, or damaged"),
        (["forget", "photo.jpg", "ada"], "is not a classifier, or damaged"),
        (["train", "people", "--out", "x.vvc", "--method", "forest"], "method must be one of knn, svm, rbf"),
        (["train", "people", "--out", "x.vvc", "--fpir", "2"], "fpir must lie between 0 and 1"),
        (["train", "people", "--out", "x.vvc", "--reject", "people"], "can't be learnt from"),
    ],
)
def test_mistakes(
    arguments: list[str], said: str, run: Run, folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(folders / "people" / "Zoë" / "1.jpg", tmp_path / "photo.jpg")
    if "people" in arguments[:2]:
        shutil.copytree(folders / "people" / "Al Sharpton", tmp_path / "people" / "Al Sharpton")
    before = (tmp_path / "photo.jpg").read_bytes()
    result = run("classify", *arguments)
    assert result.code == 2
    assert said in result.err
    assert result.err.strip().splitlines()[-1].startswith("visavis: ")
    assert (tmp_path / "photo.jpg").read_bytes() == before
    assert not (tmp_path / "x.vvc").exists()


def test_the_fields_are_documented(run: Run, folders: Path, trained: Path) -> None:
    train = run("classify", "train", folders / "people", "-o", trained, "--largest", "--json").json
    predict = run("classify", "predict", folders / "probes" / "Zoë", "-c", trained, "--json").json
    evaluate = run("classify", "evaluate", folders / "probes", "-c", trained, "--largest", "--json").json
    show = run("classify", "show", trained, "--json").json
    forget = run("classify", "forget", trained, "Zoë", "--json").json
    for document in (train, predict, evaluate, show, forget):
        names = set(document) - ALWAYS
        for value in document.values():
            for part in value if isinstance(value, list) else [value]:
                names |= set(part) - ALWAYS if isinstance(part, dict) else set()
        known = documented(document["command"])
        if document["command"] in ("classify show", "classify forget"):
            known |= documented("classify train") | {"neighbors", "c", "gamma", "reject", "visavis", "numpy"}
        assert names <= known, document["command"]

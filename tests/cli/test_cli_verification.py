"""``visavis evaluate verification``."""

from __future__ import annotations

import csv
import io
import json
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from visavis.alignment import align
from visavis.image import load_image
from visavis.models.store import Store
from visavis.pipeline import Analyzer
from visavis.protocols.embedding import Embedded

Run = Callable[..., Any]
COMMAND = ("evaluate", "verification")
DOCS = (Path(__file__).resolve().parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
PEOPLE = ("Abel_Pacheco", "Ahmed_Chalabi", "Al_Sharpton", "Alejandro_Toledo", "Ali_Naimi")
ALWAYS = {"visavis", "schema", "command", "warnings", "skipped", "value", "low", "high", "level"}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, lfw: zipfile.ZipFile) -> Path:
    """Return ten photos of five people in LFW's layout, five mated and five non-mated pairs."""
    root = tmp_path_factory.mktemp("lfw") / "small"
    for name in PEOPLE:
        (root / name).mkdir(parents=True)
        for number in (1, 2):
            member = f"{name}/{name}_{number:04d}.jpg"
            (root / member).write_bytes(lfw.read(f"lfw-dev/{member}"))
    lines = ["5\t1"]
    for i, name in enumerate(PEOPLE):
        lines += [f"{name}\t1\t2", f"{name}\t1\t{PEOPLE[i - 1]}\t2"]
    (root / "pairs.txt").write_text("\n".join(lines) + "\n")
    return root


def made_up(path: Path, names: list[str], seed: int = 0, noise: float = 0.1) -> Path:
    """Write embeddings that lie around a direction a person, as any other program would."""
    people = {person: i for i, person in enumerate(sorted({name.rpartition("_")[0] for name in names}))}
    directions = np.random.default_rng(3).standard_normal((len(people), 32))
    vectors = np.array([directions[people[name.rpartition("_")[0]]] for name in names])
    vectors = vectors + noise * np.random.default_rng(seed).standard_normal(vectors.shape)
    np.savez(path, names=np.array(names), vectors=vectors)
    return path


def names_of(root: Path) -> list[str]:
    return sorted(path.stem for path in root.rglob("*.jpg"))


def fields_of(value: Any) -> set[str]:
    if isinstance(value, list):
        return set().union(*map(fields_of, value))
    if isinstance(value, dict):
        return set(value) | set().union(*map(fields_of, value.values()))
    return set()


def documented() -> set[str]:
    row = next(line for line in DOCS.split("## JSON", 1)[1].splitlines() if "| `evaluate verification` |" in line)
    return set(re.findall(r"`([a-z_0-9]+)`", row))


def test_a_model_on_photos(run: Run, small: Path, tmp_path: Path) -> None:
    page, kept = tmp_path / "out" / "lfw.html", tmp_path / "kept"
    result = run(*COMMAND, small, "--report", page, "--save-embeddings", kept, "--far", "0.3", "--json")
    assert result.code == 0, result.err
    found = result.json
    (model,) = found["models"]
    assert (found["data"], model["model"], model["mated_pairs"], model["nonmated_pairs"]) == ("small", "sface", 5, 5)
    assert len(model["accuracy"]["folds"]) == 5
    assert model["auc"]["value"] == 1
    assert fields_of(found) - ALWAYS <= documented()
    embedded = Embedded.load(kept / "sface.npz")
    assert sorted(embedded.names) == names_of(small)
    again = run(*COMMAND, small, "--embeddings", kept / "sface.npz", "--far", "0.3", "--json").json
    assert again["models"] == found["models"]
    text = page.read_text("utf-8")
    assert text.count("data:image/jpeg") == 20
    assert "Abel_Pacheco_0001" in text
    written = json.loads(page.with_suffix(".json").read_text("utf-8"))
    facts = {one["name"]: one["value"] for one in written["facts"]}
    store = Store()
    for name in ("yunet", "sface"):
        assert facts[f"SHA-256 of {name}"] == store.card(name).member_sha256
    assert (facts["precision"], facts["face of a photo"]) == ("f32", "central")
    assert written["results"]["models"][0]["auc"]["value"] == 1
    rows = run(*COMMAND, small, "--embeddings", kept / "sface.npz").rows
    assert rows[0][:2] == ["sface", "accuracy"]
    assert {row[1] for row in rows} >= {"EER", "AUC"}


def test_view_1(run: Run, small: Path, tmp_path: Path) -> None:
    root, names = tmp_path / "both", names_of(small)
    for name in names:
        folder = root / name.rpartition("_")[0]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.jpg").write_bytes(b"only its name is needed")
    a, b, c = PEOPLE[:3]
    (root / "pairs.txt").write_text(f"1\n{a}\t1\t2\n{a}\t1\t{b}\t1\n")
    (root / "pairsDevTrain.txt").write_text(f"1\n{b}\t1\t2\n{b}\t1\t{c}\t1\n")
    (root / "pairsDevTest.txt").write_text(f"1\n{c}\t1\t2\n{c}\t1\t{a}\t1\n")
    arguments = [*COMMAND, root, "--embeddings", made_up(tmp_path / "mine.npz", names), "--far", "0.9"]
    page = tmp_path / "both.html"
    found = run(*arguments, "--report", page, "--no-pictures", "--json").json
    view1 = found["models"][0]["view1"]
    assert (view1["train_accuracy"], view1["accuracy"]["value"]) == (1, 1)
    assert fields_of(found) - ALWAYS <= documented()
    assert "View 1" in page.read_text("utf-8")
    assert run(*arguments).rows[0][:2] == ["mine", "accuracy, View 1"]


def test_several_models(run: Run, lfw: zipfile.ZipFile, tmp_path: Path) -> None:
    names = sorted(Path(name).stem for name in lfw.namelist() if name.endswith(".jpg"))
    good, bad = made_up(tmp_path / "good.npz", names), made_up(tmp_path / "bad.npz", names, 1, 1.5)
    page = tmp_path / "two.html"
    arguments = [*COMMAND, lfw.filename, "--embeddings", good, "--embeddings", f"worse={bad}", "--far", "0.01"]
    result = run(*arguments, "--report", page, "--no-pictures", "--json")
    assert result.code == 0, result.err
    found = result.json
    assert [one["model"] for one in found["models"]] == ["good", "worse"]
    accuracy = next(one for one in found["comparison"]["differences"] if one["metric"] == "accuracy")
    assert accuracy["high"] < 0 or accuracy["low"] > 0
    assert fields_of(found) - ALWAYS <= documented()
    text = page.read_text("utf-8")
    assert "data:image" not in text
    assert "Do the models differ?" in text
    facts = {one["name"] for one in json.loads(page.with_suffix(".json").read_text("utf-8"))["facts"]}
    assert facts >= {"SHA-256 of lfw-dev.zip", "SHA-256 of good.npz", "SHA-256 of bad.npz"}
    assert "precision" not in facts
    assert "need different names" in run(*COMMAND, lfw.filename, "--embeddings", good, "--embeddings", good).err


def test_embeddings_of_other_photos(run: Run, small: Path, tmp_path: Path) -> None:
    names = names_of(small)
    file = made_up(tmp_path / "mine.npz", names[2:])
    found = run(*COMMAND, small, "--embeddings", file, "--json").json
    assert any("mine lacks 2 photos of 10" in text for text in found["warnings"])
    assert found["models"][0]["photos_without_embedding"] == 2
    made_up(file, [f"x/{name}" for name in names])
    result = run(*COMMAND, small, "--embeddings", file)
    assert result.code == 2
    assert f"its names are as 'x/{names[0]}', where '{names[0]}' is needed" in result.err
    np.savez(file, names=np.array(names), vectors=np.full((10, 3), np.nan))
    assert "NaN" in run(*COMMAND, small, "--embeddings", file).err
    np.savez(file, names=np.array(names), vectors=np.ones((10, 3)) * 1j)
    assert "complex" in run(*COMMAND, small, "--embeddings", file).err
    np.savez(file, names=np.array(names), vectors=np.zeros((10, 3)))
    assert "mine found no face in any photo" in run(*COMMAND, small, "--embeddings", file).err
    np.savez(file, names=np.array(names), vectors=np.ones((10, 3)))
    constant = run(*COMMAND, small, "--embeddings", file, "--json")
    assert (constant.code, constant.json["models"][0]["auc"]["value"]) == (0, 0.5)
    assert any("the same" in text for text in constant.json["warnings"])


def test_a_bin_of_photos(run: Run, small: Path, tmp_path: Path) -> None:
    photo = (small / PEOPLE[0] / f"{PEOPLE[0]}_0001.jpg").read_bytes()
    path = tmp_path / "photos.bin"
    path.write_bytes(pickle.dumps(([photo] * 40, [True, False] * 10)))
    result = run(*COMMAND, path)
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "takes uint8 crops" in result.err
    assert "visavis datasets align" in result.err


def test_a_bin_of_aligned_crops(run: Run, small: Path, tmp_path: Path) -> None:
    """As InsightFace's tools make one: JPEG of crops of 112 pixels, pickled."""
    analyzer = Analyzer(recognizer=None)
    crops, mated = [], []
    for i, name in enumerate(PEOPLE):
        for other, number in ((name, 2), (PEOPLE[i - 1], 2)):
            for person, k in ((name, 1), (other, number)):
                image = load_image(small / person / f"{person}_{k:04d}.jpg")
                faces = analyzer.analyze(image)
                largest = int(np.argmax(faces.boxes[:, 3] - faces.boxes[:, 1]))
                file = io.BytesIO()
                Pillow.fromarray(align(image, faces.landmarks[largest : largest + 1])[0]).save(file, "JPEG", quality=95)
                crops.append(file.getvalue())
            mated.append(other == name)
    path = tmp_path / "five.bin"
    with path.open("wb") as file_:
        pickle.dump((crops, mated), file_)
    result = run(*COMMAND, path, "--report", tmp_path / "bin.html", "--json")
    assert result.code == 0, result.err
    (model,) = result.json["models"]
    assert (model["model"], model["mated_pairs"], model["nonmated_pairs"], model["auc"]["value"]) == ("sface", 5, 5, 1)
    assert len(model["accuracy"]["folds"]) == 10
    assert (tmp_path / "bin.html").read_text("utf-8").count("data:image/jpeg") == 20
    facts = json.loads((tmp_path / "bin.json").read_text("utf-8"))["facts"]
    assert not any("yunet" in one["name"] for one in facts)
    small_crop = io.BytesIO()
    Pillow.new("RGB", (80, 80)).save(small_crop, "JPEG")
    path.write_bytes(pickle.dumps(([*crops[:4], *[small_crop.getvalue()] * 2], [True, False, False])))
    refused = run(*COMMAND, path)
    assert refused.code == 2
    assert "10 folds" in refused.err
    path.write_bytes(pickle.dumps(([*crops[:19], small_crop.getvalue()], mated)))
    refused = run(*COMMAND, path)
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "one size" in refused.err or "112" in refused.err
    path.write_bytes(b"cos\nsystem\n(S'echo'\ntR.")
    assert run(*COMMAND, path).code == 2


def test_all_pairs(run: Run, small: Path, tmp_path: Path) -> None:
    file = made_up(tmp_path / "mine.npz", names_of(small))
    arguments = [*COMMAND, small, "--all-pairs", "--embeddings", file, "--far", "0.1"]
    (model,) = run(*arguments, "--json").json["models"]
    assert (model["mated_pairs"], model["nonmated_pairs"], model["auc"]["value"]) == (5, 40, 1)
    assert model["accuracy"] is None
    page = tmp_path / "all.html"
    assert run(*arguments, "--report", page).code == 0
    assert page.read_text("utf-8").count("data:image/jpeg") == 2 * (5 + 12)


def test_scores(run: Run, tmp_path: Path) -> None:
    file, page = tmp_path / "theirs.csv", tmp_path / "theirs.html"
    rng = np.random.default_rng(0)
    with file.open("w", newline="") as target:
        writer = csv.writer(target)
        writer.writerow(["similarity", "mated", "fold"])
        for fold in range(10):
            writer.writerows([[80 + rng.normal(), 1, fold] for _ in range(20)])
            writer.writerows([[60 + rng.normal(), 0, fold] for _ in range(20)])
    result = run(*COMMAND, "--scores", file, "--far", "0.02", "--report", page, "--json")
    assert result.code == 0, result.err
    found = result.json
    (model,) = found["models"]
    assert (found["data"], model["model"], model["auc"]["value"], len(model["accuracy"]["folds"])) == (
        "theirs.csv",
        "theirs",
        1,
        10,
    )
    assert model["accuracy"]["mean"] > 0.99
    assert "Hardest" not in page.read_text("utf-8")
    assert fields_of(found) - ALWAYS <= documented()


def test_photos_that_are_not_there(run: Run, small: Path, tmp_path: Path) -> None:
    listing = tmp_path / "list.txt"
    names = names_of(small)
    listing.write_text(
        f"{names[0]} {names[1]} 1\n{names[2]} {names[3]} 1\n{names[0]} {names[2]} 0\n{names[0]} Nobody_0001 0\n"
    )
    file = made_up(tmp_path / "mine.npz", names)
    arguments = [*COMMAND, small, "--pairs", listing, "--embeddings", file]
    refused = run(*arguments)
    assert refused.code == 2
    assert "1 photo that is not in" in refused.err
    assert "Nobody_0001" in refused.err
    found = run(*arguments, "--skip-missing", "--json")
    assert found.code == 0
    assert found.json["photos_missing"] == ["Nobody_0001"]
    assert [found.json["models"][0][key] for key in ("mated_pairs", "nonmated_pairs")] == [2, 1]
    assert any("1 photo" in text for text in found.json["warnings"])


def test_a_photo_that_can_not_be_read(run: Run, small: Path, tmp_path: Path) -> None:
    root = tmp_path / "broken"
    for name in names_of(small)[:4]:
        person = name.rpartition("_")[0]
        (root / person).mkdir(parents=True, exist_ok=True)
        (root / person / f"{name}.jpg").write_bytes((small / person / f"{name}.jpg").read_bytes())
    a, b = PEOPLE[:2]
    (root / a / f"{a}_0002.jpg").write_bytes(b"no photo")
    (root / "pairs.txt").write_text(f"1\n{a}\t1\t2\n{a}\t1\t{b}\t1\n")
    result = run(*COMMAND, root, "--far", "0.5", "--json")
    assert result.code == 1
    assert result.json["skipped"] == 1
    assert result.json["models"][0]["photos_without_embedding"] == 1
    assert any(f"{a}_0002" in text for text in result.json["warnings"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--model", "sface+"], "RECOGNIZER[+flip][@DETECTOR]"),
        (["--model", "@mtcnn"], "RECOGNIZER[+flip][@DETECTOR]"),
        (["--model", "sface@"], "RECOGNIZER[+flip][@DETECTOR]"),
        (["--model", "sface+flop"], "RECOGNIZER[+flip][@DETECTOR]"),
        (["--model", "no-such"], "no-such"),
        (["--model", "sface@sface"], "not a detector"),
        (["--model", "sface", "--model", "sface"], "different names"),
        (["--model", "sface", "--model", "sface@mtcnn", "--aligned"], "different names"),
        (["--embeddings", "none.npz"], "none.npz"),
        (["--embeddings", "mine="], "mine="),
        (["--far", "1.5"], "--far"),
        (["--pairs", "none.txt"], "none.txt"),
        (["--pairs", "none.txt", "--all-pairs"], "give one"),
        (["--scores", "x.csv"], "in its place"),
        (["--report", "report.pdf"], "report.pdf"),
        (["--save-embeddings", "{small}/pairs.txt/below", "--embeddings", "none.npz"], "none.npz"),
    ],
)
def test_mistakes(run: Run, small: Path, options: list[str], said: str) -> None:
    result = run(*COMMAND, small, *(option.format(small=small) for option in options))
    assert result.code == 2
    assert said in result.err
    assert result.err.count("\n") == 1
    assert not result.out


def test_a_folder_that_can_not_be_made_is_told_before_the_work(run: Run, small: Path) -> None:
    result = run(*COMMAND, small, "--save-embeddings", small / "pairs.txt" / "below")
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "pairs.txt" in result.err


def test_neither_data_nor_scores(run: Run) -> None:
    result = run(*COMMAND)
    assert result.code == 2
    assert "give DATA" in result.err


@pytest.mark.parametrize(
    ("spec", "model", "named"),
    [
        ("sface", "sface", {"yunet", "sface"}),
        ("sface+flip", "sface+flip", {"yunet", "sface"}),
        ("sface@mtcnn", "sface@mtcnn", {"mtcnn-pnet", "mtcnn-rnet", "mtcnn-onet", "sface"}),
    ],
)
def test_names_of_models(run: Run, small: Path, tmp_path: Path, spec: str, model: str, named: set[str]) -> None:
    listing, page = tmp_path / "two.txt", tmp_path / "two.html"
    names = names_of(small)
    listing.write_text(f"{names[0]} {names[1]} 1\n{names[0]} {names[2]} 0\n")
    arguments = ["--pairs", listing, "--model", spec, "--far", "0.5", "--report", page, "--json"]
    result = run(*COMMAND, small, *arguments)
    assert result.code == 0, result.err
    assert [one["model"] for one in result.json["models"]] == [model]
    facts = json.loads(page.with_suffix(".json").read_text("utf-8"))["facts"]
    hashed = {one["name"].removeprefix("SHA-256 of ") for one in facts if re.fullmatch("[0-9a-f]{64}", one["value"])}
    assert hashed == {*named, "two.txt", "the photos' names"}

"""``visavis evaluate identification``, attacks and traits."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Run = Callable[..., Any]
DOCS = (Path(__file__).resolve().parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")


def documented(command: str) -> set[str]:
    """Return the names that docs/cli.md gives for a command's JSON."""
    row = next(line for line in DOCS.split("## JSON", 1)[1].splitlines() if re.match(rf"\| [^|]*`{command}`", line))
    return set(re.findall(r"`([a-z_0-9]+)`", row))


def names(value: Any) -> set[str]:
    """Return the names of all fields of a document, at any depth."""
    if isinstance(value, list):
        return set().union(*map(names, value))
    if isinstance(value, dict):
        return set(value) | set().union(*map(names, value.values()))
    return set()


ALWAYS = {"visavis", "schema", "command", "warnings", "skipped", "value", "low", "high", "level"}


@pytest.fixture
def people_folder(photos: Path, tmp_path: Path) -> Path:
    """Return a folder a person: three people with two photos, two with two more."""
    folder = tmp_path / "set"
    for photo in sorted((photos / "probes").glob("*.jpg")):
        person, _, number = photo.stem.rpartition("_")
        (folder / person).mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, folder / person / f"{number}.jpg")
    return folder


def test_a_folder_of_people(run: Run, people_folder: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "others.npy", np.random.default_rng(0).standard_normal((30, 128)).astype(np.float32))
    page = tmp_path / "out" / "id.html"
    arguments = ["evaluate", "identification", people_folder, "--strangers", "0.4", "--fpir", "0.3"]
    result = run(*arguments, "--distractors", tmp_path / "others.npy", "--report", page, "--json")
    assert result.code == 0, result.err
    found = result.json
    assert found["photos"] == {"gallery": 3, "mated": 3, "nonmated": 4}
    assert found["closed_set"]["rank1"]["value"] == 1
    assert [point["wanted_fpir"] for point in found["open_set"]["points"]] == [0.3]
    assert [one["distractors"] for one in found["distractors"]] == [1, 10, 30]
    assert names(found) - ALWAYS <= documented("evaluate identification")
    text = page.read_text("utf-8")
    for title in (
        "Cumulative match characteristic",
        "Strangers let through",
        "over the threshold",
        "Rank 1 among distractors",
    ):
        assert title in text
    assert text.count("<svg") >= 4
    written = json.loads(page.with_suffix(".json").read_text("utf-8"))["results"]
    assert written["closed_set"] == found["closed_set"]
    rows = run(*arguments).rows
    assert [row[0] for row in rows] == ["rank", "rank", "TPIR", "DIR, rank 1"]


def test_embeddings_of_a_file(run: Run, people_folder: Path, tmp_path: Path) -> None:
    photos = sorted(path.relative_to(people_folder).as_posix() for path in people_folder.rglob("*.jpg"))
    people = [photo.partition("/")[0] for photo in photos]
    directions = dict(zip(sorted(set(people)), np.eye(5), strict=True))
    file = tmp_path / "mine.npz"
    np.savez(file, names=np.array(photos), vectors=np.array([directions[person] for person in people]))
    arguments = ["evaluate", "identification", people_folder, "--embeddings", file, "--strangers", "0.4"]
    found = run(*arguments, "--json").json
    assert found["model"] == "mine"
    assert found["closed_set"]["rank1"]["value"] == 1
    assert found["open_set"]["points"][0]["tpir"]["value"] == 1
    assert any("can't show FPIR 0.1, 0.01, 1e-3" in text for text in found["warnings"])
    assert not any(point["supported"] for point in found["open_set"]["points"])
    page = tmp_path / "few.html"
    rows = [row for row in run(*arguments, "--report", page).rows if row[0] in ("TPIR", "DIR, rank 1")]
    assert len(rows) == 6
    assert all(row[2:] == ["", "", "not measurable"] for row in rows)
    assert page.read_text("utf-8").count("not measurable") == 9
    np.savez(file, names=np.array(photos[1:]), vectors=np.array([directions[person] for person in people[1:]]))
    assert any(f"as {photos[0]}" in text for text in run(*arguments, "--json").json["warnings"])
    np.savez(file, names=np.array([f"x{photo}" for photo in photos]), vectors=np.eye(10))
    assert "has none of the photos" in run(*arguments).err
    np.savez(file, names=np.array([photos[0]] * 10), vectors=np.eye(10))
    assert "twice" in run(*arguments).err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--strangers", "0.99"], "nobody is left to enroll"),
        (["--enroll", "2"], "no mated probes"),
        (["--strangers", "0", "--distractors", "{folder}/none.npy"], "none.npy"),
        (["--embeddings", "{folder}/none.npz"], "none.npz"),
        (["--fpir", "2"], "--fpir"),
        (["--fusion", "median"], "--fusion"),
        (["--report", "{folder}/report.pdf"], "report.pdf"),
    ],
)
def test_mistakes(run: Run, people_folder: Path, options: list[str], said: str) -> None:
    filled = [option.format(folder=people_folder) for option in options]
    result = run("evaluate", "identification", people_folder, *filled)
    assert result.code == 2
    assert said in result.err
    assert result.err.count("\n") == 1
    assert not result.out


SCORES = "score,kind\n0.9,live\n0.8,live\n0.4,live\n0.1,print\n0.5,print\n0.2,mask\n0.3,mask\n"


def test_attacks(run: Run, tmp_path: Path) -> None:
    file, page = tmp_path / "test.csv", tmp_path / "attacks.html"
    file.write_text(SCORES)
    result = run("evaluate", "attacks", file, "--bona-fide", "live", "--threshold", "0.45", "--report", page, "--json")
    assert result.code == 0, result.err
    found = result.json
    assert (found["worst_kind"], found["apcer"]["value"], found["attacks"]) == ("print", 0.5, 4)
    assert found["bpcer"]["value"] == pytest.approx(1 / 3)
    assert found["acer"] == pytest.approx((0.5 + 1 / 3) / 2)
    assert found["threshold_from"] == "given"
    assert names(found) - ALWAYS <= documented("evaluate attacks")
    assert "<svg" in page.read_text("utf-8")
    negated = tmp_path / "negated.csv"
    negated.write_text(re.sub(r"^(0\.)", r"-\1", SCORES, flags=re.MULTILINE))
    other = run(
        "evaluate", "attacks", negated, "--bona-fide", "live", "--threshold", "-0.45", "--attack-scores", "--json"
    ).json
    assert other["threshold"] == -0.45
    assert (other["apcer"], other["bpcer"], other["eer"]) == (found["apcer"], found["bpcer"], found["eer"])
    assert other["eer_threshold"] == -found["eer_threshold"]
    rows = run("evaluate", "attacks", file, "--bona-fide", "live", "--development", file).rows
    assert [row[0] for row in rows] == ["APCER", "APCER", "BPCER", "ACER", "EER", "BPCER10", "BPCER20", "BPCER100"]
    here = run("evaluate", "attacks", file, "--bona-fide", "live")
    assert "chosen on these very presentations" in here.err


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        (SCORES, [], "'live'"),
        ("score,kind\n0.1,live\n", ["--bona-fide", "live"], "without attacks"),
        ("score,kind\n0.1,print\n", ["--bona-fide", "live"], "no presentation"),
        ("score,kind\nnan,live\n", [], "row 1"),
        ("score\n1\n", [], "needs a column 'kind'"),
        (SCORES, ["--threshold", "0.5", "--development", "x.csv"], "give one"),
        (SCORES, ["--bona-fide", "live", "--threshold", "nan"], "finite"),
    ],
)
def test_attacks_that_can_not_be_measured(
    run: Run, tmp_path: Path, content: str, options: list[str], said: str
) -> None:
    file = tmp_path / "test.csv"
    file.write_text(content)
    result = run("evaluate", "attacks", file, *options)
    assert result.code == 2
    assert said in result.err
    assert result.err.count("\n") == 1


def test_traits(run: Run, tmp_path: Path) -> None:
    file, page = tmp_path / "test.csv", tmp_path / "traits.html"
    file.write_text("truth,predicted,group\nhappy,happy,a\nhappy,sad,b\nsad,sad,a\nsad,angry,b\n")
    result = run("evaluate", "traits", file, "--report", page, "--json")
    assert result.code == 0, result.err
    found = result.json
    assert (found["kind"], found["accuracy"]["value"], found["balanced_accuracy"]) == ("classes", 0.5, 0.5)
    assert found["confusion"] == [[0, 0, 0], [0, 1, 1], [1, 0, 1]]
    assert [(one["group"], one["accuracy"]["value"]) for one in found["groups"]] == [("a", 1), ("b", 0)]
    assert any("'angry'" in text for text in found["warnings"])
    assert names(found) - ALWAYS <= documented("evaluate traits")
    assert "Confusion" in page.read_text("utf-8")
    assert run("evaluate", "traits", file).rows[0][:4] == ["all", "accuracy", "", "4"]


def test_ages(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "ages.csv"
    file.write_text("predicted;truth\n21;20\n30;30\n46;40\n48;50\n")
    found = run("evaluate", "traits", file, "--age", "--within", "2", "--within", "5", "--json").json
    assert (found["kind"], found["mae_years"]["value"], found["bias_years"]) == ("age", 2.25, 1.25)
    assert [(one["years"], one["value"]) for one in found["cumulative_score"]] == [(2, 0.75), (5, 0.75)]
    assert names(found) - ALWAYS <= documented("evaluate traits")
    file.write_text("predicted;truth\n21;old\n")
    assert "row 1" in run("evaluate", "traits", file, "--age").err
    assert "--age" in run("evaluate", "traits", file, "--within", "2").err

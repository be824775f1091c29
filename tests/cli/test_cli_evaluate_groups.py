"""``visavis evaluate groups``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from visavis.evaluation.all_pairs import evaluate_all_pairs
from visavis.protocols.embedding import Embedded

from .test_cli_evaluate_identification import ALWAYS, documented, names

Run = Callable[..., Any]


@pytest.fixture
def embeddings(tmp_path: Path) -> Path:
    """Return embeddings of 40 people's photos, named as folders and as LFW does."""
    rng = np.random.default_rng(1)
    owner = np.arange(400) % 40
    vectors = (rng.normal(size=(40, 16))[owner] + 0.8 * rng.normal(size=(400, 16))).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    photos = tuple(f"p{who}/{i}" if who % 2 else f"p{who}_{i:04d}" for i, who in enumerate(owner))
    path = tmp_path / "made.npz"
    Embedded(photos, vectors, np.arange(400) % 50 != 3, "mine").save(path)
    return path


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "labels.csv"
    rows = [f"p{who},{'f' if who < 20 else 'm'},{'x' if who == 0 else ''}" for who in range(40)]
    path.write_text("\n".join(["subject,sex,other", *rows]), "utf-8")
    return path


def test_embeddings_by_group(run: Run, embeddings: Path, labels: Path, tmp_path: Path) -> None:
    page = tmp_path / "groups.html"
    arguments = ["evaluate", "groups", embeddings, "--labels", labels, "--fmr", "0.01"]
    result = run(*arguments, "--by", "Sex", "--report", page, "--json")
    assert result.code == 0, result.err
    found = result.json
    loaded = Embedded.load(embeddings)
    owner = np.array([name.replace("/", "_").partition("_")[0] for name in loaded.names])
    whole = evaluate_all_pairs(loaded.vectors, owner, [0.01], found=loaded.found, repeats=1)
    assert found["threshold"] == whole.rates[0].threshold
    assert whole.rates[0].fmr is not None
    assert found["fmr"] == whole.rates[0].fmr.value
    [sex] = found["labels"]
    assert [one["groups"] for one in sex["within"] + sex["between"]] == [["f"], ["m"], ["f", "m"]]
    total = sum(one["nonmated_pairs"] for one in sex["within"] + sex["between"])
    assert total == found["nonmated_pairs"] == whole.nonmated
    mean = sum(one["nonmated_pairs"] * one["fmr"]["value"] for one in sex["within"] + sex["between"]) / total
    assert mean == pytest.approx(found["fmr"])
    assert sex["fmr_differential"]["max_by_min"] >= 1
    assert names(found) - ALWAYS <= documented("evaluate groups")
    text = page.read_text("utf-8")
    assert text.count("<svg") == 2
    assert "Between groups" in text
    assert json.loads(page.with_suffix(".json").read_text("utf-8"))["results"]["labels"] == found["labels"]


def test_a_group_without_non_mated_pairs_says_so(run: Run, embeddings: Path, labels: Path) -> None:
    result = run("evaluate", "groups", embeddings, "--labels", labels, "--by", "other", "--threshold", "0.4")
    assert result.code == 0
    assert [row[2:] for row in result.rows][1] == ["FMR", "0", "no pairs", ""]
    assert "no non-mated pairs within x, so no FMR" in result.err
    assert "left out: a side has no other" in result.err


def test_pairs_that_carry_their_labels(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = ["similarity,mated,light_a,light_b"]
    rows += [f"{rng.normal(i % 2):.4f},{i % 2},{'day' if i % 3 else 'night'},day" for i in range(600)]
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("\n".join(rows), "utf-8")
    found = run("evaluate", "groups", pairs, "--threshold", "0.5", "--json").json
    [light] = found["labels"]
    assert light["interval"] == "exact binomial"
    assert [(one["groups"], one["mated_pairs"]) for one in light["within"]] == [(["day"], 200), (["night"], 0)]
    assert light["within"][1]["fnmr"] is None
    assert light["between"][0]["mated_pairs"] == 100  # of photos: one person by day and by night
    assert "no mated pairs within night" in found["warnings"][0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{pairs}"], "threshold or a false match rate"),
        (["{pairs}", "--fmr", "0.5", "--threshold", "0.5"], "not both"),
        (["{pairs}", "--fmr", "1e-3"], "takes 3,000 (rule of three)"),
        (["{pairs}", "--fmr", "2"], "between 0 and 1"),
        (["{pairs}", "--threshold", "0.5"], "carry no labels"),
        (["{pairs}", "--threshold", "0.5", "--labels", "{labels}"], "need subject_a and subject_b"),
        (["{embeddings}", "--threshold", "0.5"], "need --labels"),
        (["{embeddings}", "--labels", "{labels}", "--by", "age", "--threshold", "0.5"], "no label 'age'"),
        (["{labels}", "--threshold", "0.5"], "needs a column 'mated'"),
        (["missing.npz", "--labels", "{labels}", "--threshold", "0.5"], "missing.npz"),
        (["{strange}", "--labels", "{labels}", "--threshold", "0.5"], "does not tell its subject"),
        (["{embeddings}", "--labels", "{labels}", "--threshold", "nan"], "threshold must be a number"),
    ],
)
def test_mistakes_are_one_line(
    run: Run, embeddings: Path, labels: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    pairs, strange = tmp_path / "pairs.csv", tmp_path / "strange.npz"
    pairs.write_text("similarity,mated\n0.9,1\n0.1,0\n0.2,0\n", "utf-8")
    np.savez(strange, names=np.array(["one", "two"]), vectors=np.eye(2, dtype=np.float32))
    files = {"pairs": pairs, "embeddings": embeddings, "labels": labels, "strange": strange}
    result = run("evaluate", "groups", *(argument.format(**files) for argument in arguments))
    assert result.code == 2
    assert message in result.err
    assert len(result.err.splitlines()) == 1

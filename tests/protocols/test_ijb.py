"""The protocols of IJB on real photos laid out as IJB is, and against loops over templates."""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from visavis.cli import main
from visavis.datasets.ijb import Ijb
from visavis.datasets.lfw import Lfw, central
from visavis.errors import InputError
from visavis.pipeline import Analyzer
from visavis.protocols.embedding import Embedded
from visavis.protocols.ijb import embed_ijb, evaluate_ijb

PEOPLE = 24


@pytest.fixture(scope="module")
def folder(lfw: zipfile.ZipFile, tmp_path_factory: pytest.TempPathFactory, home: Path) -> Path:
    """Return lfw-dev's photos as IJB-C: of each of 24 people a gallery template of two photos and a probe of two.

    The lists are written here, from what is published of their layout.
    """
    assert lfw.filename is not None
    data = Lfw.open(lfw.filename)
    people = [one for one, count in Counter(data.people).items() if count >= 4][:PEOPLE]
    root = tmp_path_factory.mktemp("IJBC")
    (root / "meta").mkdir()
    (root / "loose_crop").mkdir()
    points, media = [], []
    galleries: tuple[list[str], list[str]] = ([], [])
    probes, number = [], 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VISAVIS_HOME", str(home))
        analyzer = Analyzer(recognizer=None, threads=1, precision="f32")
        for subject, person in enumerate(people):
            rows = [i for i, name in enumerate(data.people) if name == person][:4]
            for turn, i in enumerate(rows):
                photo = data.read(i)
                face = central(analyzer.analyze(photo))
                number += 1
                (root / "loose_crop" / f"{number}.jpg").write_bytes(photo)
                assert face.landmarks is not None
                xy = " ".join(f"{value:.3f}" for value in face.landmarks[0].ravel())
                points.append(f"{number}.jpg {xy} {face.scores[0]:.4f}")
                template = 2 * subject + 1 + turn // 2
                media.append(f"{number}.jpg {template} {10 * template + (turn % 2 if subject % 3 else 0)}")
            galleries[subject % 2].append(f"{2 * subject + 1},{subject + 500},img/1.jpg")
            probes.append(f"{2 * subject + 2},{subject + 500},img/2.jpg")
    pairs = [f"{2 * a + 1} {2 * b + 2} {int(a == b)}" for a in range(PEOPLE) for b in range(PEOPLE)]
    header = "TEMPLATE_ID,SUBJECT_ID,FILENAME"
    for name, lines in {
        "name_5pts_score.txt": points,
        "face_tid_mid.txt": media,
        "template_pair_label.txt": pairs,
        "1N_gallery_G1.csv": [header, *galleries[0]],
        "1N_gallery_G2.csv": [header, *galleries[1]],
        "1N_probe_mixed.csv": [header, *probes],
    }.items():
        (root / "meta" / f"ijbc_{name}").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="module")
def embedded(folder: Path, home: Path) -> Embedded:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VISAVIS_HOME", str(home))
        return embed_ijb(Ijb.open(folder), Analyzer(threads=1, precision="f32"))


def templates(embedded: Embedded, data: Ijb) -> dict[int, Any]:
    """Return templates as a loop makes them, weighted by the detector's scores."""
    made = {}
    weighted = embedded.vectors * data.scores[:, None]
    for template in np.unique(data.templates):
        inside = data.templates == template
        means = [weighted[inside & (data.media == medium)].mean(axis=0) for medium in np.unique(data.media[inside])]
        made[int(template)] = np.sum(means, axis=0) / np.linalg.norm(np.sum(means, axis=0))
    return made


def test_crops_are_those_of_the_detector(folder: Path, embedded: Embedded) -> None:
    data = Ijb.open(folder)
    analyzer = Analyzer(threads=1, precision="f32")
    for i in (0, 7):
        face = central(analyzer.analyze(data.read(i)))
        assert face.embeddings is not None
        assert float(face.embeddings.vectors[0] @ embedded.vectors[i]) > 0.999


def test_both_protocols(folder: Path, embedded: Embedded) -> None:
    data = Ijb.open(folder)
    found = evaluate_ijb(data, embedded.vectors, embedded.model, found=embedded.found)
    made = templates(embedded, data)
    assert found.verification is not None
    assert (found.verification.mated, found.verification.nonmated) == (PEOPLE, PEOPLE * (PEOPLE - 1))
    assert found.verification.subjects == PEOPLE, "known from the lists of 1:N"
    non = [made[2 * a + 1] @ made[2 * b + 2] for a in range(PEOPLE) for b in range(PEOPLE) if a != b]
    yes = np.array([made[2 * a + 1] @ made[2 * a + 2] for a in range(PEOPLE)])
    tenth = found.verification.rates[0]
    assert tenth.far == 0.1
    assert tenth.tar is not None
    assert tenth.threshold is not None
    assert (np.array(non) >= tenth.threshold - 1e-6).mean() <= 0.1
    assert tenth.tar.value == pytest.approx((yes >= tenth.threshold - 1e-6).mean())
    assert [rate.supported for rate in found.verification.rates] == [True, True, False, False, False, False]
    assert [one.name for one in found.galleries] == ["G1", "G2"]
    for parity, gallery in enumerate(found.galleries):
        subjects = range(parity, PEOPLE, 2)
        matrix = np.array([[made[2 * p + 2] @ made[2 * g + 1] for g in subjects] for p in range(PEOPLE)])
        ranks = [1 + int((matrix[p] > matrix[p, k]).sum()) for k, p in enumerate(subjects)]
        assert gallery.closed.rank(1).value == np.mean(np.array(ranks) == 1)
        assert (gallery.closed.probes, gallery.open.nonmated) == (PEOPLE // 2, PEOPLE // 2)
        strangers = matrix[1 - parity :: 2].max(axis=1)
        point = gallery.open.points[0]
        assert (point.wanted, point.supported) == (0.1, False)
        assert (strangers >= point.threshold - 1e-6).mean() <= 0.1
    assert found.joined is not None
    assert (found.joined.gallery, found.joined.probes) == (PEOPLE, PEOPLE)
    assert found.joined.rank(1).value > 0.9
    assert set(found.means()) == {"rank1", "rank5", "rank10", "tpir@0.1", "tpir@0.01"}
    assert (found.templates, found.without, found.photos_without) == (2 * PEOPLE, 0, 0)


def test_norms_as_weights(folder: Path, embedded: Embedded) -> None:
    data = Ijb.open(folder)
    lengths = np.random.default_rng(0).uniform(0.5, 2, (len(data.photos), 1))
    given = evaluate_ijb(data, embedded.vectors * lengths, "x", weighting="norm")
    plain = evaluate_ijb(data, embedded.vectors * lengths, "x", weighting="none")
    same = evaluate_ijb(data, embedded.vectors, "x", weighting="none")
    assert plain.to_dict() == same.to_dict()
    assert given.to_dict()["galleries"] != same.to_dict()["galleries"]


def test_lost_photos_are_never_accepted(folder: Path, embedded: Embedded) -> None:
    data = Ijb.open(folder)
    there = embedded.found.copy()
    there[data.templates == 2] = False  # the first subject's probe
    found = evaluate_ijb(data, embedded.vectors, "x", found=there)
    assert (found.without, found.photos_without) == (1, 2)
    assert found.joined is not None
    assert found.joined.rank(1).value <= 1 - 1 / PEOPLE
    assert found.verification is not None
    assert found.verification.rates[0].tar is not None
    assert found.verification.rates[0].tar.value <= 1 - 1 / PEOPLE


def test_what_can_not_be_measured(folder: Path, embedded: Embedded, tmp_path: Path) -> None:
    data = Ijb.open(folder)
    with pytest.raises(InputError, match=f"lists {4 * PEOPLE} photos"):
        evaluate_ijb(data, embedded.vectors[1:], "x")
    with pytest.raises(InputError, match="has an embedding"):
        evaluate_ijb(data, np.zeros_like(embedded.vectors), "x")
    bare = tmp_path / "bare"
    (bare / "meta").mkdir(parents=True)
    for name in ("name_5pts_score", "face_tid_mid"):
        (bare / "meta" / f"ijbc_{name}.txt").write_bytes((folder / "meta" / f"ijbc_{name}.txt").read_bytes())
    with pytest.raises(InputError, match="neither the pairs"):
        evaluate_ijb(Ijb.open(bare), embedded.vectors, "x")
    with pytest.raises(InputError, match=r"1\.jpg"):
        embed_ijb(Ijb.open(bare), Analyzer(threads=1, precision="f32"))


Said = Callable[..., dict[str, Any]]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    """Return a function that runs visavis evaluate ijb and gives its JSON document."""

    def run(*arguments: object) -> dict[str, Any]:
        capsys.readouterr()
        code = main(["evaluate", "ijb", *map(str, arguments), "--json"])
        out = capsys.readouterr().out
        document: dict[str, Any] = json.loads(out)
        return {"code": code, **document}

    return run


def test_the_command(folder: Path, embedded: Embedded, tmp_path: Path, said: Said) -> None:
    page = tmp_path / "ijb.html"
    one = said(folder, "--report", page)
    assert one["code"] == 0
    assert (one["data"], one["model"], one["weighting"]) == ("IJB-C", "sface", "score")
    assert "<svg" in page.read_text("utf-8")
    assert json.loads(page.with_suffix(".json").read_text("utf-8"))["results"]["data"] == "IJB-C"
    np.save(tmp_path / "v.npy", embedded.vectors)
    embedded.save(tmp_path / "v.npz")
    for file in ("v.npy", "v.npz"):
        other = said(folder, "--embeddings", tmp_path / file)
        assert other["means"] == one["means"]
        assert other["verification"] == one["verification"]
    assert said(folder, "--embeddings", tmp_path / "v.npy", "--weights", "score+norm")["code"] == 0
    refused = said(folder, "--embeddings", tmp_path / "v.npz", "--weights", "norm")
    assert refused["code"] == 2
    assert "FILE.npy" in refused["error"]["message"]
    np.save(tmp_path / "short.npy", embedded.vectors[:5])
    assert "has 5 rows" in said(folder, "--embeddings", tmp_path / "short.npy")["error"]["message"]
    assert "not IJB's layout" in said(tmp_path)["error"]["message"]

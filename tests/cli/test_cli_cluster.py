"""visavis cluster on real photos: people found, looked at, enrolled and named; and what may go wrong."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Run
from visavis.curation.album import Album
from visavis.image import load_image

PEOPLE = {"Abel_Pacheco": 4, "Al_Sharpton": 5, "Ali_Naimi": 3}


@pytest.fixture(scope="module")
def album(lfw: zipfile.ZipFile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with photos of three people, and one of a fourth."""
    folder = tmp_path_factory.mktemp("album")
    for person, count in [*PEOPLE.items(), ("Alejandro_Toledo", 1)]:
        for number in range(1, count + 1):
            name = f"{person}_{number:04d}.jpg"
            (folder / name).write_bytes(lfw.read(f"lfw-dev/{person}/{name}"))
    return folder


@pytest.fixture(scope="module")
def kept(album: Path, home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a result, made once."""
    from visavis.cli import main

    out = tmp_path_factory.mktemp("kept") / "out"
    patch = pytest.MonkeyPatch()
    patch.setenv("VISAVIS_HOME", str(home))
    patch.setenv("VISAVIS_PRECISION", "f32")
    assert main(["cluster", str(album), "--out", str(out)]) == 0
    patch.undo()
    return out


def of(path: str) -> str:
    return Path(path).stem[:-5]


def test_people_are_found_and_everything_is_told(album: Path, run: Run) -> None:
    document = run("cluster", album, "--json").json
    by_cluster: dict[int, set[str]] = {}
    for face in document["faces"]:
        if face["cluster"] is not None:
            by_cluster.setdefault(face["cluster"], set()).add(of(face["image"]))
    named = {frozenset(people) for people in by_cluster.values()}
    assert {frozenset([person]) for person in PEOPLE} <= named
    sizes = [person["faces"] for person in document["people"]]
    assert sizes == sorted(sizes, reverse=True)
    assert sum(sizes) == document["grouped"]
    assert document["read"] == 13
    apart = [face for face in document["faces"] if face["problems"]]
    assert document["apart"]["faces"] == len(apart)
    assert all(face["cluster"] is None for face in apart)
    assert document["measured_on"] == "lfw-dev"
    assert document["fmr"] == pytest.approx(1e-3)
    for person in document["people"]:
        best = person["best"]
        (face,) = [f for f in document["faces"] if (f["image"], f["face"]) == (best["image"], best["face"])]
        assert face["cluster"] == person["cluster"]
        assert not face["problems"]


def test_the_result_is_kept_with_a_page(kept: Path, album: Path, run: Run) -> None:
    page = (kept / "people.html").read_text("utf-8")
    assert "Cluster 1 (" in page
    assert (kept / "people.json").is_file()
    found = Album.load(kept / "clusters.npz")
    if os.name == "posix":
        assert (kept / "clusters.npz").stat().st_mode & 0o777 == 0o600
    assert len(found.photos) == 13
    assert found.model == "sface"
    again = run("cluster", "--from", kept)
    direct = run("cluster", album)
    assert again.rows == direct.rows
    assert again.code == 0
    assert len(again.rows[0]) == 6


def test_clusters_get_names_without_another_analysis_and_are_known_then(
    kept: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from visavis.pipeline import Analyzer

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("analyzed again")

    monkeypatch.setattr(Analyzer, "_get_detector", refuse)
    monkeypatch.setattr(Analyzer, "_get_recognizer", refuse)
    people = tmp_path / "people.db"
    first = run("cluster", "--from", kept, "--enroll", "1=Ada", "--enroll", "2=王芳", "-g", people, "--faces", "3")
    assert first.code == 0
    assert "cluster 1: 3 faces enrolled as Ada" in first.err
    assert [row[3] for row in first.rows][:3] == ["Ada", "王芳", ""]
    second = run("cluster", "--from", kept, "-g", people)
    assert [row[3] for row in second.rows] == [row[3] for row in first.rows]
    listed = run("gallery", "show", "Ada", "-g", people, "--json").json
    assert len(listed["templates"]) == 3


def test_enrolled_clusters_are_identified_in_photos(kept: Path, album: Path, tmp_path: Path, run: Run) -> None:
    people = tmp_path / "people.db"
    rows = run("cluster", "--from", kept, "--enroll", "1=first", "-g", people).rows
    who = of(rows[0][4])
    photo = next(path for path in sorted(album.iterdir()) if of(str(path)) == who)
    assert run("identify", photo, "-g", people).rows[0][2] == "first"


def test_crops_go_into_a_folder_a_cluster_and_photos_stay(kept: Path, album: Path, tmp_path: Path, run: Run) -> None:
    before = {path: path.read_bytes() for path in album.iterdir()}
    out = tmp_path / "out"
    assert run("cluster", album, "--out", out, "--crops").code == 0
    found = Album.load(out / "clusters.npz")
    folders = sorted(path for path in (out / "crops").iterdir())
    assert len(folders) == found.labels.max() + 1
    assert [len(list(folder.iterdir())) for folder in folders] == np.bincount(found.labels[found.labels >= 0]).tolist()
    assert load_image(next(folders[0].iterdir())).shape == (224, 224, 3)
    assert {path: path.read_bytes() for path in album.iterdir()} == before
    again = run("cluster", "--from", out, "--crops")
    assert again.code == 2
    assert "crops is there already" in again.err


def test_another_threshold_groups_the_kept_result_anew(kept: Path, run: Run) -> None:
    before = (kept / "clusters.npz").read_bytes()
    strict = run("cluster", "--from", kept, "--threshold", "0.95", "--json").json
    assert strict["grouped"] == 0
    assert strict["people"] == []
    (kept / "clusters.npz").write_bytes(before)
    dbscan = run("cluster", "--from", kept, "--method", "dbscan", "--all-faces", "--json").json
    assert dbscan["method"] == "dbscan"
    assert dbscan["apart"]["faces"] == 0
    (kept / "clusters.npz").write_bytes(before)


def test_what_can_not_be_read_is_skipped_and_counted(album: Path, tmp_path: Path, run: Run) -> None:
    broken, photo = tmp_path / "broken.jpg", next(iter(sorted(album.iterdir())))
    broken.write_bytes(photo.read_bytes()[:500])
    plain = run("cluster", broken, photo)
    assert plain.code == 1
    assert "skipped" in plain.err
    document = run("cluster", broken, photo, "--json").json
    assert document["skipped"] == 1
    assert document["read"] == 1
    assert run("cluster", broken).code == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give folders or photos"),
        (["{album}", "--from", "{kept}"], "leave out DIR"),
        (["--from", "{album}"], "no result of visavis cluster"),
        (["{album}", "--crops"], "--crops writes into the folder of --out"),
        (["{album}", "--out", "{album}/out"], "is searched"),
        (["--from", "{kept}", "--enroll", "1=Ada"], "needs the gallery"),
        (["--from", "{kept}", "--enroll", "Ada", "-g", "{kept}/x.db"], "takes CLUSTER=NAME"),
        (["--from", "{kept}", "--enroll", "0=Ada", "-g", "{kept}/x.db"], "takes CLUSTER=NAME"),
        (["--from", "{kept}", "--enroll", "99=Ada", "-g", "{kept}/x.db"], "no cluster 99"),
        (["--from", "{kept}", "--enroll", "1=Ada", "--enroll", "1=Bob", "-g", "{kept}/x.db"], "two names"),
        (["--from", "{kept}", "-g", "{kept}/none.db"], "no gallery"),
        (["--from", "{kept}", "--fmr", "1e-4", "--threshold", "0.4"], "give one of"),
        (["{album}", "--fmr", "1e-9"], "was not measured"),
        (["{album}", "--recognizer", "dlib-resnet", "--detector", "mtcnn"], "no calibration"),
        (["{album}", "-g", "{kept}/none.db"], "no gallery"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], said: str, album: Path, kept: Path, run: Run) -> None:
    result = run("cluster", *(text.format(album=album, kept=kept) for text in arguments))
    assert result.code == 2
    assert said in result.err
    assert len(result.err.splitlines()) == 1


def test_a_damaged_or_crafted_result_is_refused(kept: Path, tmp_path: Path, run: Run) -> None:
    whole = (kept / "clusters.npz").read_bytes()
    found = Album.load(kept / "clusters.npz")
    target = tmp_path / "clusters.npz"
    with np.load(kept / "clusters.npz") as arrays:
        columns = dict(arrays)
    crafted = [
        {**columns, "labels": columns["labels"][:-1]},
        {**columns, "photo": columns["photo"] + 1000},
        {**columns, "vectors": columns["vectors"] * np.nan},
        {**columns, "photos": np.array(["a", object()], object)},
        {name: column for name, column in columns.items() if name != "boxes"},
        {**columns, "told": np.array("[]")},
        {**columns, "told": np.array("[" * 100_000)},
        {**columns, "writer": np.array("somebody")},
    ]
    for content in (whole[: len(whole) // 2], b"", b"nothing"):
        target.write_bytes(content)
        assert run("cluster", "--from", tmp_path).code == 2
    for arrays in crafted:
        np.savez(target, **arrays)
        result = run("cluster", "--from", tmp_path)
        assert result.code == 2
        assert "no result of visavis cluster" in result.err
    assert len(found) == len(columns["labels"])


def test_photos_that_are_gone_are_left_out_of_the_page(kept: Path, tmp_path: Path, run: Run) -> None:
    found = Album.load(kept / "clusters.npz")
    moved = Album(**{**vars(found), "root": str(tmp_path), "photos": tuple("gone.jpg" for _ in found.photos)})
    moved.save(tmp_path / "clusters.npz")
    assert list(moved.crops(range(len(moved)))) == []
    assert run("cluster", "--from", tmp_path, "--out", tmp_path / "out").code == 0

"""``visavis enroll``, ``identify`` and ``gallery`` with real photos and real gallery files."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from visavis.gallery import open_gallery
from visavis.image import load_image
from visavis.pipeline import Analyzer

Run = Callable[..., Any]


@pytest.fixture
def copy(people: Path, tmp_path: Path) -> Path:
    """Return a copy of the gallery, to be changed."""
    return Path(shutil.copy(people, tmp_path / "copy.db"))


# ---- enroll ----------------------------------------------------------------------------------------------------


def test_enroll_one_person(run: Run, photos: Path, tmp_path: Path) -> None:
    file, photo = tmp_path / "people.db", photos / "people" / "Ali Naimi" / "1.jpg"
    arguments = ("enroll", "李四", photo, "-g", file, "--external-id", "42", "--metadata", '{"team": "红"}')
    first = run(*arguments, "--json")
    assert first.code == 0
    assert first.err == f"visavis: made the gallery {file}\n"
    (item,) = first.json["enrolled"]
    assert (item["image"], item["subject"], item["created"], item["templates"]) == (str(photo), "李四", True, 1)
    assert first.json["subjects_in_gallery"] == 1
    more = run("enroll", "李四", photos / "probes" / "Ali_Naimi_4.jpg", "-g", file)
    assert more.code == 0
    assert more.err == ""
    assert more.rows[0][0] == "李四"
    assert more.rows[0][2] == "added"
    shown = run("gallery", "show", "李四", "-g", file, "--json").json
    assert shown["external_id"] == "42"
    assert shown["metadata"] == {"team": "红"}
    assert len(shown["templates"]) == 2


def test_enroll_a_folder(run: Run, photos: Path, broken: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(photos / "people", source)
    shutil.copy(broken / "zero.jpg", source / "Ali Naimi")
    shutil.copy(broken / "good.jpg", source / "stray.jpg")
    (source / ".hidden").mkdir()
    (source / "empty").mkdir()
    result = run("enroll", "--from", source, "-g", tmp_path / "people.db", "--json")
    assert result.code == 1
    assert result.json["skipped"] == 1
    assert result.json["subjects"] == result.json["new_subjects"] == 3
    assert "visavis: warning: 1 file directly in" in result.err
    assert result.err.endswith("visavis: 1 of 4 files skipped\n")
    names = [row[0] for row in run("gallery", "ls", "-g", tmp_path / "people.db").rows]
    assert names == sorted(path.name for path in (photos / "people").iterdir())


def test_a_refused_face_is_skipped_unless_forced(run: Run, lfw: Any, tmp_path: Path) -> None:
    photo = tmp_path / "two.jpg"
    photo.write_bytes(lfw.read("lfw-dev/Alan_Greenspan/Alan_Greenspan_0002.jpg"))
    refused = run("enroll", "alan", photo, "-g", tmp_path / "x.db")
    assert refused.code == 2
    assert "2 faces of similar size" in refused.err
    assert run("gallery", "ls", "-g", tmp_path / "x.db", "--json").json["subjects"] == []
    forced = run("enroll", "alan", photo, "-g", tmp_path / "x.db", "--force", "--json")
    assert forced.code == 0
    assert "took the largest of 2 faces" in forced.err
    assert any("took the largest" in warning for warning in forced.json["warnings"])


def test_a_face_under_a_second_name_is_told(run: Run, copy: Path, photos: Path) -> None:
    result = run("enroll", "somebody else", photos / "probes" / "Ali_Naimi_4.jpg", "-g", copy)
    assert result.code == 0
    assert "visavis: warning: somebody else: " in result.err
    assert "looks like 'Ali Naimi'" in result.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--from", "nowhere"], "can't be read"),
        (["ada", "--from", "."], "leave out SUBJECT"),
        (["--from", "."], "a sub-folder a person"),
        (["ada"], "give a name and photos"),
        (["ada", "empty"], "no image in empty"),
        (["ada", "x", "--metadata", "[1]"], "must be a JSON object"),
    ],
)
def test_enroll_mistakes(
    arguments: list[str], said: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    result = run("enroll", *arguments, "-g", "people.db")
    assert result.code == 2
    assert said in result.err
    assert result.err.count("\n") == 1
    assert not (tmp_path / "people.db").exists()


# ---- identify --------------------------------------------------------------------------------------------------


def test_identify_names_the_enrolled_and_nobody_else(outside: Run, photos: Path, people: Path, tmp_path: Path) -> None:
    result = outside("identify", photos / "probes", "-g", people, "--json", "--out", tmp_path / "out")
    assert result.code == 0
    document = result.json
    assert document["model"] == "sface"
    assert document["subjects"] == 3
    assert document["fpir"] == pytest.approx(0.01)
    assert document["fmr"] == pytest.approx(0.01 / 3, rel=0.02)
    found = {
        Path(item["image"]).stem: {face["subject"] for face in item["faces"]} - {None} for item in document["images"]
    }
    expected = {"Abel_Pacheco": {"阿贝尔"}, "Al_Sharpton": {"Al Sharpton"}, "Ali_Naimi": {"Ali Naimi"}}
    for stem, names in found.items():
        assert names == expected.get(stem[:-2], set()), stem
    for item in document["images"]:
        assert load_image(item["picture"]).shape == load_image(item["image"]).shape
        for face in item["faces"]:
            (candidate,) = face["candidates"]
            assert candidate["match"] == (candidate["similarity"] >= document["threshold"] - 5e-5)
            assert 0 < candidate["fmr_at_similarity"] <= 1
    assert document["named"] == 6


def test_the_commands_agree_with_the_library(run: Run, photos: Path, people: Path) -> None:
    photo = photos / "probes" / "Abel_Pacheco_2.jpg"
    document = run("identify", photo, "-g", people, "--top", "3", "--fmr", "1e-4", "--json").json
    with open_gallery(people, analyzer=Analyzer(), create=False) as gallery:
        found = gallery.identify(photo, top=3, fmr=1e-4)
    assert document["threshold"] == pytest.approx(found.threshold)
    faces = document["images"][0]["faces"]
    assert [{key: face[key] for key in ("subject", "candidates")} for face in faces] == found.to_dict()


def test_identify_piped(run: Run, photos: Path, people: Path) -> None:
    photo = photos / "probes" / "Abel_Pacheco_2.jpg"
    (best,) = run("identify", photo, "-g", people).rows[:1]
    assert best[:3] == [str(photo), "1", "阿贝尔"]
    assert best[-1] == "sface"
    assert len(best) == 9
    ranked = run("identify", photo, "-g", people, "--top", "2").rows
    assert [row[2] for row in ranked[:2]] == ["1", "2"]
    assert ranked[0][6] == "yes"


def test_identify_makes_no_gallery(run: Run, photos: Path, tmp_path: Path) -> None:
    result = run("identify", photos / "probes", "-g", tmp_path / "none.db")
    assert result.code == 2
    assert "there is no gallery" in result.err
    assert "visavis enroll" in result.err
    assert not list(tmp_path.iterdir())


def test_identify_with_something_that_is_no_gallery(run: Run, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.db").write_text("my notes " * 100, encoding="utf-8")
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("create table mine (x)")
    other.close()
    for name in ("notes.db", "other.db"):
        before = (tmp_path / name).read_bytes()
        result = run("identify", photos / "probes", "-g", tmp_path / name)
        assert result.code == 2
        assert result.err.count("\n") == 1
        assert (tmp_path / name).read_bytes() == before


def test_identify_with_another_model_says_which_there_are(run: Run, photos: Path, people: Path) -> None:
    result = run("identify", photos / "probes", "-g", people, "--flip")
    assert result.code == 2
    assert "templates of sface, none of 'sface+flip'" in result.err


def test_identify_among_nobody(run: Run, photos: Path, tmp_path: Path) -> None:
    with open_gallery(tmp_path / "empty.db"):
        pass
    result = run("identify", photos / "probes" / "Ali_Naimi_2.jpg", "-g", tmp_path / "empty.db", "--json")
    assert result.code == 0
    assert "holds nobody" in result.err
    face = result.json["images"][0]["faces"][0]
    assert (face["subject"], face["candidates"]) == (None, [])


def test_identify_goes_on_after_broken_files(run: Run, broken: Path, people: Path) -> None:
    result = run("identify", broken, "-g", people, "--json")
    assert result.code == 1
    assert result.json["skipped"] == 3
    assert result.json["named"] == 2
    assert result.err.count("skipped: ") == 3


def test_the_gallery_may_come_from_the_environment(
    run: Run, photos: Path, people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISAVIS_GALLERY", str(people))
    assert run("identify", photos / "probes" / "Ali_Naimi_2.jpg").rows[0][2] == "Ali Naimi"


# ---- gallery ---------------------------------------------------------------------------------------------------


def test_gallery_ls(run: Run, people: Path) -> None:
    listed = run("gallery", "ls", "-g", people)
    assert [row[:2] for row in listed.rows] == [["Al Sharpton", "1"], ["Ali Naimi", "1"], ["阿贝尔", "1"]]
    document = run("gallery", "ls", "-g", people, "--json").json
    assert document["collection"] == "default"
    assert [one["subject"] for one in document["subjects"]] == ["Al Sharpton", "Ali Naimi", "阿贝尔"]
    assert document["subjects"][0]["counts"] == {"sface": 1}


def test_gallery_rename_and_rm(run: Run, copy: Path) -> None:
    assert run("gallery", "rename", "Ali Naimi", "阿里", "-g", copy).out == "Ali Naimi is now 阿里\n"
    taken = run("gallery", "rename", "Al Sharpton", "阿里", "-g", copy)
    assert taken.code == 2
    assert "is enrolled already" in taken.err
    assert run("gallery", "rm", "阿里", "Al Sharpton", "-g", copy).code == 0
    assert [row[0] for row in run("gallery", "ls", "-g", copy).rows] == ["阿贝尔"]
    gone = run("gallery", "rm", "阿里", "-g", copy, "--json")
    assert gone.code == 2
    missing = "no subject '阿里' is enrolled; `visavis gallery ls` lists who is"
    assert gone.json["error"] == {"type": "UnknownSubject", "message": missing}


def test_gallery_rm_of_a_template(run: Run, copy: Path, photos: Path) -> None:
    assert run("enroll", "Ali Naimi", photos / "probes" / "Ali_Naimi_4.jpg", "-g", copy).code == 0
    templates = run("gallery", "show", "Ali Naimi", "-g", copy, "--json").json["templates"]
    assert run("gallery", "rm", "Ali Naimi", "--template", templates[0]["id"], "-g", copy).code == 0
    left = run("gallery", "show", "Ali Naimi", "-g", copy, "--json").json["templates"]
    assert left == templates[1:]
    assert run("gallery", "rm", "a", "b", "--template", 1, "-g", copy).code == 2


def test_gallery_erase_leaves_no_name(run: Run, copy: Path) -> None:
    assert "阿贝尔".encode() in copy.read_bytes()
    erased = run("gallery", "erase", "阿贝尔", "-g", copy, "--json")
    assert erased.code == 0
    (item,) = erased.json["erased"]
    assert item["subject"] == "阿贝尔"
    assert item["events"] == 0, "no camera was ever watched with this gallery"
    for file in copy.parent.iterdir():
        assert "阿贝尔".encode() not in file.read_bytes()
    assert run("gallery", "erase", "阿贝尔", "-g", copy).code == 2


def test_gallery_export_and_import(run: Run, people: Path, tmp_path: Path) -> None:
    exported, other = tmp_path / "people.zip", tmp_path / "other.db"
    assert run("gallery", "export", exported, "-g", people, "--json").json["subjects"] == 3
    assert run("gallery", "import", exported, "-g", other).code == 0
    assert [row[0] for row in run("gallery", "ls", "-g", other).rows] == ["Al Sharpton", "Ali Naimi", "阿贝尔"]
    refused = run("gallery", "import", exported, "-g", other)
    assert refused.code == 2
    skipped = run("gallery", "import", exported, "-g", other, "--existing", "skip", "--json")
    assert skipped.code == 0
    assert sorted(skipped.json["skipped_subjects"]) == ["Al Sharpton", "Ali Naimi", "阿贝尔"]
    assert run("gallery", "import", exported, "-g", other, "--existing", "maybe").code == 2


def test_collections_are_separate(run: Run, copy: Path, photos: Path) -> None:
    photo = photos / "probes" / "Ahmed_Chalabi_2.jpg"
    assert run("enroll", "ahmed", photo, "-g", copy, "--collection", "guests").code == 0
    assert [row[0] for row in run("gallery", "ls", "-g", copy, "--collection", "guests").rows] == ["ahmed"]
    document = run("gallery", "ls", "-g", copy, "--json").json
    assert document["collections"] == ["default", "guests"]
    assert len(document["subjects"]) == 3


def test_gallery_remake_from_kept_crops(run: Run, photos: Path, tmp_path: Path) -> None:
    file = tmp_path / "kept.db"
    assert run("enroll", "--from", photos / "people", "-g", file, "--keep-crops").code == 0
    done = run("gallery", "remake", "--flip", "-g", file, "--json")
    assert done.code == 0
    assert done.json == done.json | {"model": "sface+flip", "templates": 3, "without": []}
    counts = json.loads(run("gallery", "ls", "-g", file, "--json").out)["subjects"][0]["counts"]
    assert counts == {"sface": 1, "sface+flip": 1}

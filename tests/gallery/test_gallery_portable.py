"""Export and import: everything comes back, and a damaged or hostile file changes nothing."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from visavis.errors import InputError, NotAGallery, StorageError, SubjectExists
from visavis.gallery import Gallery, open_gallery
from visavis.gallery.crops import MAX_PNG, Crop
from visavis.gallery.store import NewTemplate, insert_templates, make_collection, require_subject


@pytest.fixture
def full(gallery, person) -> Gallery:
    """A gallery with two models, two kept crops, odd names and metadata."""
    gallery.enroll("ada", person(1, 3), external_id="x-1", metadata={"a": [1, None, "ü"]})
    gallery.enroll("张伟", person(2, 2))
    gallery.enroll("张伟", person(2, 1, model="other", dimension=64))
    with gallery._database.writing() as connection:
        collection = make_collection(connection, "default")
        for name, number in (("ada", 1), ("张伟", 2)):
            crop = Crop(PNG + bytes([number]) * 100, np.full((5, 2), number, np.float32))
            template = NewTemplate(person(number, take=8).vectors[0], {"sharpness": 0.25, "yaw_deg": -3.5}, crop)
            owner = require_subject(connection, collection, name).id
            insert_templates(connection, collection, owner, "test-model", [template])
    return gallery


PNG = b"\x89PNG\r\n\x1a\n"


def everything(gallery: Gallery) -> list[object]:
    """Return all a gallery holds but its row ids."""
    raw = gallery._database.raw
    subjects = [gallery.show(subject.name) for subject in gallery.list()]
    told = [
        (s.name, s.external_id, s.metadata, s.created, [(t.model, t.created, t.quality, t.has_crop) for t in made])
        for s in subjects
        for made in [s.templates]
    ]
    owner = "JOIN subjects s ON s.id = t.subject"
    vectors = raw.execute(f"SELECT s.name, t.model, t.vector FROM templates t {owner}").fetchall()
    pictures = raw.execute(f"SELECT s.name, t.png, t.landmarks FROM crops t {owner}").fetchall()
    return [told, sorted(vectors), sorted(pictures)]


def test_all_comes_back(full, tmp_path) -> None:
    written = full.export(tmp_path / "out.zip")
    assert (written.subjects, written.templates, written.crops) == (2, 8, 2)
    with open_gallery(tmp_path / "new.db") as new:
        assert new.import_from(tmp_path / "out.zip") == written
        for subject in new.list():
            ours, theirs = new.show(subject.name), full.show(subject.name)
            assert ours.created == theirs.created
        mine, theirs = everything(new), everything(full)
        # Templates come back model by model: sort each subject's.
        for side in (mine, theirs):
            side[0] = [(*row[:4], sorted(map(str, row[4]))) for row in side[0]]
        assert mine == theirs


def test_the_format_is_as_documented(full, tmp_path) -> None:
    """Read with the standard library and NumPy alone, as docs/gallery.md tells other programs to."""
    full.export(tmp_path / "out.zip")
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        manifest = json.loads(archive.read("manifest.json"))
        assert (manifest["format"], manifest["version"], manifest["collection"]) == ("visavis-gallery", 1, "default")
        subjects = [json.loads(line) for line in archive.read("subjects.jsonl").splitlines()]
        templates = [json.loads(line) for line in archive.read("templates.jsonl").splitlines()]
        crops = [json.loads(line) for line in archive.read("crops.jsonl").splitlines()]
        arrays = {
            entry["model"]: np.load(io.BytesIO(archive.read(entry["vectors"])), allow_pickle=False)
            for entry in manifest["models"]
        }
        assert [s["name"] for s in subjects] == ["ada", "张伟"]
        assert subjects[0]["external_id"] == "x-1"
        assert {name: array.shape for name, array in arrays.items()} == {"other": (1, 64), "test-model": (7, 128)}
        assert [t["model"] for t in templates] == ["other"] + ["test-model"] * 7
        assert templates[-1]["quality"] == {"sharpness": 0.25, "yaw_deg": -3.5}
        assert crops[templates[-1]["crop"]]["landmarks"] == [[2.0, 2.0]] * 5
        assert archive.read(f"crops/{templates[-1]['crop']}.png").startswith(PNG)
    if os.name != "nt":
        assert (tmp_path / "out.zip").stat().st_mode & 0o777 == 0o600


def test_an_empty_gallery_travels_too(gallery, tmp_path) -> None:
    assert gallery.export(tmp_path / "out.zip").subjects == 0
    assert gallery.import_from(tmp_path / "out.zip").subjects == 0


def test_what_to_do_with_subjects_that_exist(full, person, tmp_path) -> None:
    full.export(tmp_path / "out.zip")
    with open_gallery(tmp_path / "new.db") as new:
        new.enroll("ada", person(5))
        with pytest.raises(SubjectExists, match="ada"):
            new.import_from(tmp_path / "out.zip")
        assert len(new) == 1
        skipped = new.import_from(tmp_path / "out.zip", existing="skip")
        assert skipped.skipped == ("ada",)
        assert (skipped.subjects, skipped.templates, skipped.crops) == (1, 4, 1)
        assert new.show("ada").counts == {"test-model": 1}
        merged = new.import_from(tmp_path / "out.zip", existing="merge")
        assert (merged.templates, merged.crops) == (4, 1), "what is there already is not added again"
        assert new.show("ada").counts == {"test-model": 5}
        assert new.import_from(tmp_path / "out.zip", existing="merge").templates == 0
        with pytest.raises(InputError, match="existing"):
            new.import_from(tmp_path / "out.zip", existing="overwrite")
        new.enroll("bob", person(7), external_id="y")
        new.erase("ada")
        new.enroll("carol", person(8), external_id="x-1")
        with pytest.raises(SubjectExists, match="x-1"):
            new.import_from(tmp_path / "out.zip", existing="skip")


def test_an_export_into_another_collection(full, path, tmp_path) -> None:
    full.export(tmp_path / "out.zip")
    with open_gallery(path, collection="copy") as copy:
        copy.import_from(tmp_path / "out.zip")
        assert len(copy) == len(full) == 2


def rewritten(source: Path, change: Callable[[dict[str, bytes]], None]) -> None:
    with zipfile.ZipFile(source) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def edit(member: str, old: bytes, new: bytes) -> Callable[[dict[str, bytes]], None]:
    def change(members: dict[str, bytes]) -> None:
        assert old in members[member], (member, members[member][:300])
        members[member] = members[member].replace(old, new)

    return change


def put(member: str, data: bytes) -> Callable[[dict[str, bytes]], None]:
    return lambda members: members.update({member: data})


def npy(array: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


HOSTILE: dict[str, Callable[[dict[str, bytes]], object]] = {
    "no manifest": lambda m: m.pop("manifest.json"),
    "no subjects": lambda m: m.pop("subjects.jsonl"),
    "no vectors": lambda m: m.pop("vectors/1.npy"),
    "no picture": lambda m: m.pop("crops/0.png"),
    "another format": edit("manifest.json", b'"visavis-gallery"', b'"photos"'),
    "a newer version": edit("manifest.json", b'"version": 1', b'"version": 2'),
    "manifest is a list": put("manifest.json", b"[1, 2]"),
    "manifest is noise": put("manifest.json", b"\xff\x00\x01"),
    "manifest is huge": put("manifest.json", b" " * (3 << 20) + b"{}"),
    "too few subjects": edit("manifest.json", b'"subjects": 2', b'"subjects": 3'),
    "too many subjects": edit("manifest.json", b'"subjects": 2', b'"subjects": 1'),
    "negative": edit("manifest.json", b'"subjects": 2', b'"subjects": -2'),
    "astronomical": edit("manifest.json", b'"templates": 7', b'"templates": 99999999999999'),
    "a wrong count": edit("manifest.json", b'"templates": 7', b'"templates": 6'),
    "a wrong dimension": edit("manifest.json", b'"dimension": 128', b'"dimension": 127'),
    "a dimension of zero": edit("manifest.json", b'"dimension": 128', b'"dimension": 0'),
    "text for a number": edit("manifest.json", b'"subjects": 2', b'"subjects": "2"'),
    "models is text": edit("manifest.json", b'"models": [', b'"models": "x", "others": ['),
    "a member outside": edit("manifest.json", b"vectors/1.npy", b"../../etc/passwd"),
    "a line cut off": edit("subjects.jsonl", b'"metadata":', b'"meta'),
    "a line that is a number": edit("subjects.jsonl", b"{", b"7,{"),
    "a control character": edit("subjects.jsonl", b'"ada"', b'"a\\u0000da"'),
    "a name too long": edit("subjects.jsonl", b'"ada"', b'"' + b"x" * 500 + b'"'),
    "a name that is no text": edit("subjects.jsonl", b'"ada"', b"[1]"),
    "no name": edit("subjects.jsonl", b'"name"', b'"nom"'),
    "one name twice": edit("subjects.jsonl", "张伟".encode(), b"ada"),
    "metadata no object": edit("subjects.jsonl", b'"metadata":{}', b'"metadata":[]'),
    "a line too long": edit("subjects.jsonl", b'"x-1"', b'"' + b"x" * 600_000 + b'"'),
    "time is noise": edit("subjects.jsonl", b'"created":"20', b'"created":"yesterday 20'),
    "time without zone": edit("templates.jsonl", b"+00:00", b""),
    "an owner that isn't": edit("templates.jsonl", b'"subject":1', b'"subject":9'),
    "an owner below zero": edit("templates.jsonl", b'"subject":1', b'"subject":-1'),
    "another model's line": edit("templates.jsonl", b'"other"', b'"third"'),
    "a crop that isn't": edit("templates.jsonl", b'"crop":1', b'"crop":5'),
    "a crop of two people": edit("templates.jsonl", b'"crop":1', b'"crop":0'),
    "quality no numbers": edit("templates.jsonl", b"0.25", b'"sharp"'),
    "too many templates": lambda m: m.update({"templates.jsonl": m["templates.jsonl"] * 2}),
    "landmarks infinite": edit("crops.jsonl", b"2.0", b"1e999"),
    "landmarks missing": edit("crops.jsonl", b"[2.0,2.0],", b""),
    "not a picture": put("crops/0.png", b"GIF89a" + bytes(100)),
    "a picture too large": put("crops/0.png", PNG + bytes(MAX_PNG)),
    "vectors pickled": put("vectors/1.npy", npy(np.array([{"a": 1}] * 7, object), allow_pickle=True)),
    "vectors of doubles": put("vectors/1.npy", npy(np.ones((7, 128)))),
    "vectors not of length one": put("vectors/1.npy", npy(np.ones((7, 128), "<f4"))),
    "vectors not numbers": put("vectors/1.npy", npy(np.full((7, 128), np.nan, "<f4"))),
    "vectors cut short": lambda m: m.update({"vectors/1.npy": m["vectors/1.npy"][:-4]}),
    "vectors in columns": put("vectors/1.npy", npy(np.asfortranarray(np.eye(7, 128, dtype="<f4")))),
    "vectors noise": put("vectors/1.npy", os.urandom(4000)),
    "a header that runs code": put(
        "vectors/1.npy", b"\x93NUMPY\x01\x00\x4e\x00" + b"__import__('os').abort()".ljust(77) + b"\n"
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_file_changes_nothing(full, person, tmp_path, kind) -> None:
    file = tmp_path / "out.zip"
    full.export(file)
    rewritten(file, HOSTILE[kind])
    with open_gallery(tmp_path / "new.db") as new:
        new.enroll("bob", person(5))
        before = everything(new)
        with pytest.raises((NotAGallery, InputError, SubjectExists), match=r"out\.zip"):
            new.import_from(file)
        assert everything(new) == before
        assert new._database.raw.execute("SELECT count(*) FROM crops").fetchone() == (0,)
        assert new.identify(person(5), threshold=0.5).best == ("bob",)


@pytest.mark.parametrize("data", [b"", b"PK", b"no archive", PNG + bytes(100)])
def test_no_archive_at_all(gallery, tmp_path, data) -> None:
    (tmp_path / "out.zip").write_bytes(data)
    with pytest.raises(NotAGallery, match=r"out\.zip"):
        gallery.import_from(tmp_path / "out.zip")


def test_cut_off_and_bit_flipped_archives(full, tmp_path) -> None:
    file = tmp_path / "out.zip"
    full.export(file)
    data = file.read_bytes()
    rng = np.random.default_rng(0)
    with open_gallery(tmp_path / "new.db") as new:
        for cut in (10, len(data) // 2, len(data) - 5):
            file.write_bytes(data[:cut])
            with pytest.raises(NotAGallery):
                new.import_from(file)
        for position in rng.integers(0, len(data), 60).tolist():
            flipped = bytearray(data)
            flipped[position] ^= 1 << int(rng.integers(8))
            file.write_bytes(flipped)
            try:
                new.import_from(file)
            except (NotAGallery, InputError, SubjectExists):
                assert len(new) == 0
            else:  # a bit that carries nothing, such as a time stamp of the archive
                for subject in new.list():
                    new.remove(subject.name)


def test_a_bomb_is_not_unpacked(full, tmp_path) -> None:
    """A member that would unpack to gigabytes is read no further than it may be long."""
    file = tmp_path / "out.zip"
    full.export(file)
    rewritten(file, put("subjects.jsonl", b'{"name":"' + b"a" * 300_000_000))
    assert file.stat().st_size < 1_000_000
    with open_gallery(tmp_path / "new.db") as new, pytest.raises(NotAGallery, match="too long a line"):
        new.import_from(file)


def test_places_that_cannot_be_written_or_read(gallery, tmp_path) -> None:
    with pytest.raises(StorageError):
        gallery.export(tmp_path / "no" / "out.zip")
    with pytest.raises(StorageError):
        gallery.import_from(tmp_path / "missing.zip")
    with pytest.raises(StorageError):
        gallery.import_from(tmp_path)
    assert [file.name for file in tmp_path.iterdir() if "part" in file.name] == []


def test_an_export_replaces_an_older_one_whole(full, tmp_path) -> None:
    (tmp_path / "out.zip").write_bytes(b"an older file, longer than nothing" * 10_000)
    full.export(tmp_path / "out.zip")
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert archive.testzip() is None

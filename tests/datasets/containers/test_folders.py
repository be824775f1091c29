"""Photos as plain files, and files that are whole or not there."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.datasets.containers.conftest import picture
from visavis.datasets.containers import folders, staging
from visavis.datasets.containers.folders import (
    class_folders,
    lfw_pairs,
    read_flat,
    read_folders,
    read_lfw,
    write_flat,
    write_folders,
    write_lfw,
)
from visavis.datasets.containers.samples import Classes, Sample, image_suffix
from visavis.datasets.containers.staging import staged
from visavis.datasets.lfw import Lfw
from visavis.errors import InputError, StorageError


def listing(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_folder_a_class(tmp_path: Path, people: list[Sample]) -> None:
    (written,) = write_folders(tmp_path / "photos", people)
    assert listing(written) == sorted(f"{s.key}.{'png' if i % 2 else 'jpg'}" for i, s in enumerate(people))
    found = list(read_folders(written))
    assert sorted(found, key=lambda s: s.key) == sorted(people, key=lambda s: s.key)
    assert [sample.key for sample in found] == [s.key for s in read_folders(written)]
    assert class_folders(written) == ["Ada Lovelace", "bob", "王芳"]
    (written / ".hidden").mkdir()
    (written / "note.txt").write_text("no photo")
    (written / "top.jpg").write_bytes(picture(9))
    (written / "bob" / "deep").mkdir()
    (written / "bob" / "deep" / "z.jpg").write_bytes(picture(8))
    assert {s.key: s.label for s in read_folders(written)}["bob/deep/z"] == "bob"
    assert {s.key: s.label for s in read_folders(written)}["top"] is None
    assert {s.label for s in read_flat(written)} == {None}


def test_names_without_their_class(tmp_path: Path) -> None:
    write_folders(
        tmp_path / "photos", [Sample("1", picture(1), "ada"), Sample("x/1", picture(2), "bob"), Sample("1", picture(3))]
    )
    assert listing(tmp_path / "photos") == ["1.jpg", "ada/1.jpg", "bob/x/1.jpg"]


def test_lfw_layout(tmp_path: Path, people: list[Sample]) -> None:
    (written,) = write_lfw(tmp_path / "lfw", people)
    assert [path.rpartition("/")[2] for path in listing(written)] == [
        *("Ada_Lovelace_0001.jpg", "Ada_Lovelace_0002.png", "Ada_Lovelace_0003.jpg"),
        *("bob_0001.png", "bob_0002.jpg", "王芳_0001.png", "王芳_0002.jpg"),
    ]
    opened = Lfw.open(written)
    assert opened.people == [sample.label for sample in read_lfw(written)]
    again = list(read_lfw(written))
    assert [sample.key for sample in again][:2] == ["Ada_Lovelace/Ada_Lovelace_0001", "Ada_Lovelace/Ada_Lovelace_0002"]
    (kept,) = write_lfw(tmp_path / "kept", [again[1], again[0], again[4]])
    assert listing(kept) == [
        "Ada_Lovelace/Ada_Lovelace_0001.jpg",
        "Ada_Lovelace/Ada_Lovelace_0002.png",
        "bob/bob_0002.jpg",
    ]
    for wrong, says in (
        ([Sample("a", picture(1))], "has no label"),
        ([Sample("a", picture(1), "a b"), Sample("b", picture(1), "a_b")], "would both be 'a_b'"),
        ([Sample("a", picture(1), "a/b")], "can't be the name of a folder"),
    ):
        with pytest.raises(InputError, match=says):
            write_lfw(tmp_path / "wrong", wrong)
        assert not (tmp_path / "wrong").exists()


def test_pairs_of_lfw(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for i, name in enumerate(["ada/ada_0001", "ada/ada_0002", "bob/bob_0001"]):
            archive.writestr(f"set/{name}.jpg", picture(i))
        archive.writestr("set/pairs.txt", "1 1\nada 1 2\nada 1 bob 1\n")
    found = list(lfw_pairs(tmp_path / "set.zip"))
    assert [sample.key for sample in found] == [
        "000000-mated-a",
        "000000-mated-b",
        "000001-nonmated-a",
        "000001-nonmated-b",
    ]
    assert [sample.image for sample in found] == [picture(0), picture(1), picture(0), picture(2)]


@pytest.mark.parametrize(
    ("key", "label", "says"),
    [
        ("a", "..", "can't be the name of a folder"),
        ("a", "x/y", "can't be the name of a folder"),
        ("a", ".ssh", "hidden or refused"),
        (".a", None, "hidden or refused"),
        ("ab:c", None, "hidden or refused"),
        ("a?", None, "hidden or refused"),
        ("a /b", None, "hidden or refused"),
        ("CON", None, "a device on Windows"),
        ("lpt1/a", None, "a device on Windows"),
        ("é" * 130, None, "longer than a file's name may be"),
    ],
)
def test_names_that_no_file_should_have(tmp_path: Path, key: str, label: str | None, says: str) -> None:
    with pytest.raises(InputError, match=says):
        write_folders(tmp_path / "photos", [Sample(key, picture(1), label)])
    assert list(tmp_path.iterdir()) == []
    bad: list[InputError] = []
    write_folders(tmp_path / "photos", [Sample(key, picture(1), label), Sample("good", picture(2))], bad=bad.append)
    assert listing(tmp_path / "photos") == ["good.jpg"]
    assert len(bad) == 1


@pytest.mark.parametrize(
    "key", ["", "/etc/a", "../a", "a/../../b", "a//b", "./a", "a/.", "a\\b", "C:a", "a\0b", "a\nb", "x" * 1001]
)
def test_keys_that_are_none(key: str) -> None:
    with pytest.raises(InputError, match="no key of a sample"):
        Sample(key, b"")


def test_joiners_are_part_of_names() -> None:
    name = "می\u200cخواهم"
    assert Sample(f"{name}/1", b"", name).label == name


@pytest.mark.parametrize("label", ["", "a\nb", "a\tb", "x" * 1001])
def test_labels_that_are_none(label: str) -> None:
    with pytest.raises(InputError, match="is no name"):
        Sample("a", b"", label)


def test_two_photos_of_one_name(tmp_path: Path) -> None:
    twins = [
        Sample("a", picture(1)),
        Sample("a", picture(2)),
        Sample("a.jpg/b", picture(3)),
        Sample("a", picture(1, ".png")),
    ]
    with pytest.raises(InputError, match=r"two photos would be called 'a\.jpg'"):
        write_flat(tmp_path / "photos", twins)
    bad: list[InputError] = []
    write_flat(tmp_path / "photos", twins, bad=bad.append)
    assert listing(tmp_path / "photos") == ["a.jpg", "a.png"]
    assert len(bad) == 2


def test_photos_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ada").mkdir()
    (tmp_path / "ada" / "1.jpg").write_bytes(picture(1))
    (tmp_path / "ada" / "2.jpg").symlink_to("nowhere")
    (tmp_path / "ada" / "3.jpg").write_bytes(bytes(1001))
    monkeypatch.setattr(folders, "MAX_IMAGE", 1000)
    with pytest.raises(InputError, match="does not exist"):
        list(read_folders(tmp_path))
    bad: list[InputError] = []
    assert [sample.key for sample in read_folders(tmp_path, bad=bad.append)] == ["ada/1"]
    assert len(bad) == 2
    with pytest.raises(InputError, match="is no folder"):
        list(read_folders(tmp_path / "ada" / "1.jpg"))


def test_suffixes_by_contents() -> None:
    for suffix in (".jpg", ".png", ".webp", ".bmp", ".ppm", ".tif"):
        assert image_suffix(picture(1, suffix)) == suffix
    assert image_suffix(b"") is None
    assert image_suffix(b"\0\0\0\x18ftypavif") == ".avif"
    assert image_suffix(b"\0\0\0\x18ftypheic") == ".heic"


def test_class_ids(tmp_path: Path) -> None:
    assert Classes.of(["0", "1", "10"]).id("10") == 10
    assert [Classes.of(names).numbered for names in (["007", "1"], ["a"], [], ["-1"], ["9" * 19])] == [False] * 5
    with pytest.raises(InputError, match="label 'ada' is no number, though those before it were"):
        Classes(numbered=True).id("ada")
    file = tmp_path / "labels.txt"
    file.write_bytes("\ufeffada\r\n王芳\r\n".encode())
    assert Classes.load(file).names == ["ada", "王芳"]
    file.write_text("ada\nbob\nada\n")
    with pytest.raises(InputError, match=r"labels\.txt': a class is named twice"):
        Classes.load(file)
    file.write_text("")
    with pytest.raises(InputError, match="class 0 has no name: the labels file has 0"):
        Classes.load(file).name(0)


def test_nothing_appears_when_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(staging.shutil, "disk_usage", lambda path: usage._replace(free=3_200_000))
    with pytest.raises(
        StorageError, match=r"photos' needs about 10\.4 GB and its disk has 3\.2 MB free; nothing was written"
    ):
        write_folders(tmp_path / "photos", [], needed=10_400_000_000)
    assert list(tmp_path.iterdir()) == []


CHILD = """
import resource, sys, time
from pathlib import Path
from visavis.datasets.containers import CONTAINERS
from visavis.datasets.containers.samples import Sample
from visavis.errors import VisavisError

def many():
    for i in range(200):
        if i == 100 and sys.argv[3] == "wait":
            print("half way", flush=True)
            time.sleep(60)
        yield Sample(f"ada/{i}", bytes([255, 216, 255]) + i.to_bytes(4, "big") * 5000, "ada")

if sys.argv[3] == "full":
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
try:
    CONTAINERS[sys.argv[1]].write(Path(sys.argv[2]), many(), needed=5_000_000)
except VisavisError as error:
    print(type(error).__name__, error)
"""
NAMES = {"rec": "x.rec", "tfrecord": "x.tfrecord", "webdataset": "x.tar"}


@pytest.mark.skipif(os.name == "nt", reason="limits of file sizes are POSIX")
def test_nothing_appears_when_writing_fails_midway(tmp_path: Path) -> None:
    for kind, name in NAMES.items():
        place = tmp_path / kind
        result = subprocess.run(
            [sys.executable, "-c", CHILD, kind, place / name, "full"], capture_output=True, text=True, check=True
        )
        assert result.stdout.startswith("StorageError"), result.stderr
        assert "can't be written: the disk is full; about 5.0 MB are needed, and nothing was kept" in result.stdout
        assert list(place.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX")
def test_nothing_appears_when_killed_and_the_next_cleans_up(tmp_path: Path) -> None:
    place = tmp_path / "x.rec"
    child = subprocess.Popen([sys.executable, "-c", CHILD, "rec", place, "wait"], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"half way\n"
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert [path.name for path in tmp_path.iterdir()] == [".visavis-unfinished"]
    assert list(read_flat(tmp_path)) == []
    with staged(tmp_path / "y") as stage:
        stage.path("y").write_bytes(b"whole")
    assert {path.name for path in tmp_path.iterdir()} == {"y"}


def test_files_that_are_there_already(tmp_path: Path, people: list[Sample]) -> None:
    (tmp_path / "photos").mkdir()
    write_folders(tmp_path / "photos", people)
    with pytest.raises(InputError, match="photos' is there already"):
        write_folders(tmp_path / "photos", people)
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(InputError, match="dangling' is there already"):
        write_folders(tmp_path / "dangling", people)
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="can't be written"):
        write_folders(tmp_path / "file" / "photos", people)

    def interrupted() -> Iterator[Sample]:
        yield people[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_folders(tmp_path / "new", interrupted())
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / ".visavis-unfinished").exists()

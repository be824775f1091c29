"""Finding images in files, folders and patterns."""

from __future__ import annotations

import os
import sys
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visavis.errors import ImageError
from visavis.files import find_images, printable_path
from visavis.image import load_image


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in (
        "b.jpg",
        "a.PNG",
        "notes.txt",
        ".hidden.jpg",
        "sub/c.webp",
        "sub/deep/er/d.JPEG",
        ".cache/e.jpg",
        "人 脸/张三.jpg",
        "[odd]/f*.jpg",
        "empty/readme.md",
    ):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    return tmp_path


def names(tree: Path, *given: str | Path) -> list[str]:
    return [path.relative_to(tree).as_posix() for path in find_images(given)]


EVERYTHING = ["[odd]/f*.jpg", "a.PNG", "b.jpg", "sub/c.webp", "sub/deep/er/d.JPEG", "人 脸/张三.jpg"]


def test_a_folder_gives_its_images_sorted_without_hidden_ones(tree: Path) -> None:
    assert names(tree, tree) == EVERYTHING
    assert names(tree, str(tree) + "/") == EVERYTHING
    assert list(find_images([tree / "empty"])) == []


def test_a_named_file_is_given_back_whatever_it_is(tree: Path) -> None:
    assert names(tree, tree / "notes.txt", tree / ".hidden.jpg", tree / "b.jpg") == [
        "notes.txt",
        ".hidden.jpg",
        "b.jpg",
    ]
    assert names(tree, tree / "[odd]" / "f*.jpg") == ["[odd]/f*.jpg"]  # a real name, not a pattern


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jpg", ["b.jpg"]),
        ("*", ["a.PNG", "b.jpg"]),
        ("*/*", ["[odd]/f*.jpg", "sub/c.webp", "人 脸/张三.jpg"]),
        ("**/*.jpg", ["[odd]/f*.jpg", "b.jpg", "人 脸/张三.jpg"]),
        ("**", EVERYTHING),
        ("sub/**/d.*", ["sub/deep/er/d.JPEG"]),
        ("?.jpg", ["b.jpg"]),
        ("[ab].*", ["a.PNG", "b.jpg"]),
        (".cache/*", [".cache/e.jpg"]),
        ("人*/张?.jpg", ["人 脸/张三.jpg"]),
    ],
)
def test_patterns(tree: Path, pattern: str, expected: list[str]) -> None:
    assert names(tree, tree / pattern) == expected


def test_relative_patterns(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    assert list(find_images(["*.jpg"])) == [Path("b.jpg")]
    assert len(list(find_images(["."]))) == len(EVERYTHING)
    assert len(list(find_images("."))) == len(EVERYTHING)  # one path instead of a list


def test_missing_ones_are_named_before_the_first_file(tree: Path) -> None:
    with pytest.raises(ImageError) as error:
        find_images([tree / "b.jpg", tree / "gone.jpg", tree / "*.gif", tree / "no" / "*"])
    text = str(error.value)
    assert "gone.jpg" in text
    assert "*.gif" in text
    assert "\n" not in text
    assert "b.jpg" not in text
    with pytest.raises(ImageError, match="and 95 more"):
        find_images([f"nowhere/{i}.jpg" for i in range(100)])


def test_a_web_address_is_no_path() -> None:
    with pytest.raises(ImageError, match="web address"):
        find_images(["https://example.org/a.jpg"])


@pytest.mark.parametrize("path", ["a\0b", "x" * 5000])
def test_impossible_paths_are_an_error_of_the_image(path: str) -> None:
    with pytest.raises(ImageError):
        [load_image(file) for file in find_images([path])]


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")
def test_links(tree: Path) -> None:
    (tree / "sub" / "loop").symlink_to(tree)
    (tree / "sub" / "self").symlink_to(tree / "sub")
    (tree / "z-again").symlink_to(tree / "sub" / "deep")
    (tree / "dangling.jpg").symlink_to(tree / "nowhere.jpg")
    (tree / "link.jpg").symlink_to(tree / "b.jpg")
    found = names(tree, tree)
    assert len(found) == len(set(found)) == len(EVERYTHING) + 2
    assert "dangling.jpg" in found
    assert "link.jpg" in found
    assert len(names(tree, tree / "**" / "*.JPEG")) == 1
    with pytest.raises(ImageError, match=r"dangling\.jpg.*does not exist"):
        load_image(tree / "dangling.jpg")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX pipes")
def test_a_pipe_among_the_photos_is_listed_and_refused_when_loaded(tree: Path) -> None:
    os.mkfifo(tree / "pipe.jpg")
    assert "pipe.jpg" in names(tree, tree)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX users")
def test_a_folder_that_may_not_be_listed_is_reported_by_loading_it(tree: Path) -> None:
    tree_is_open = [tree, *tree.parents]
    locked = tree / "sub"
    locked.chmod(0)
    root = os.geteuid() == 0
    if root:
        modes = {p: p.stat().st_mode for p in tree_is_open if p.stat().st_uid == 0 and not p.stat().st_mode & 0o005}
        for p in modes:
            p.chmod(0o755)
        os.seteuid(65534)
    try:
        found = names(tree, tree)
        with pytest.raises(ImageError, match="can't be listed"):
            load_image(locked)
        with pytest.raises(ImageError, match="ermission denied"):
            [load_image(file) for file in find_images([locked / "c.webp"])]
    finally:
        if root:
            os.seteuid(0)
            for p, mode in modes.items():
                p.chmod(mode)
        locked.chmod(0o755)
    assert found == ["[odd]/f*.jpg", "a.PNG", "b.jpg", "sub", "人 脸/张三.jpg"]


def test_many_files_come_as_a_stream(tmp_path: Path) -> None:
    for folder in range(3):
        (tmp_path / str(folder)).mkdir()
        for i in range(4000):
            (tmp_path / str(folder) / f"{i:05d}.jpg").touch()
    stream = find_images([tmp_path])
    assert [path.name for path in islice(stream, 2)] == ["00000.jpg", "00001.jpg"]
    (tmp_path / "2" / "00007.jpg").unlink()  # a folder is read when its turn comes
    assert sum(1 for _ in stream) == 12_000 - 3


@given(st.text(max_size=600))
def test_a_printable_path_is_one_short_line(text: str) -> None:
    shown = printable_path(text)
    assert shown.isprintable()
    assert len(shown) < 2500
    shown.encode()

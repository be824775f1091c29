"""Duplicates: what is the same is grouped, what is not is left apart, and nothing is touched."""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from visavis.datasets.duplicates import (
    Fingerprint,
    Group,
    _hashed,
    _Links,
    _shrunk,
    fingerprints,
    group,
    structural,
)
from visavis.errors import EngineError, ImageError, InputError
from visavis.image import load_image, save_image


def photo(lfw: zipfile.ZipFile, name: str, number: int = 1) -> bytes:
    return lfw.read(f"lfw-dev/{name}/{name}_{number:04d}.jpg")


def groups_of(folder: Path, *, mirrored: bool = False, threshold: float = 0.9) -> list[Group]:
    found = [found for _, found in fingerprints(sorted(folder.rglob("*.*")), mirrored=mirrored)]
    assert all(isinstance(one, Fingerprint) for one in found)
    return group(found, threshold=threshold)


def kinds(found: Group) -> dict[str, str]:
    return {other.photo.path.name: other.kind for other in found.others}


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "encoded again": lambda image: image,
    "smaller": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "larger": lambda image: cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC),
    "cropped a little": lambda image: image[5:-3, 7:-2],
    "a corner of it": lambda image: image[:226, 24:],
    "brighter": lambda image: cv2.convertScaleAbs(image, beta=40),
    "darker": lambda image: cv2.convertScaleAbs(image, alpha=0.6),
    "gray": lambda image: np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_photo_meets_its_original(change: str, lfw: zipfile.ZipFile, tmp_path: Path) -> None:
    for name in ("Abel_Pacheco", "Al_Sharpton", "Ali_Naimi"):
        for number in (1, 2):
            (tmp_path / f"{name}.{number}.jpg").write_bytes(photo(lfw, name, number))
    image = load_image(photo(lfw, "Al_Sharpton", 2))
    save_image(tmp_path / "changed.jpg", np.ascontiguousarray(CHANGES[change](image)), quality=60)
    (found,) = groups_of(tmp_path)
    together = {found.keep.path.name, *kinds(found)}
    assert together == {"Al_Sharpton.2.jpg", "changed.jpg"}
    assert found.others[0].kind == "near"
    assert 0.9 < found.others[0].similarity <= 1
    largest = {"smaller": "Al_Sharpton.2.jpg", "larger": "changed.jpg", "a corner of it": "Al_Sharpton.2.jpg"}
    assert found.keep.path.name == largest.get(change, found.keep.path.name)


def test_photos_of_one_person_are_not_duplicates(lfw: zipfile.ZipFile, tmp_path: Path) -> None:
    for number in range(1, 25):
        (tmp_path / f"{number}.jpg").write_bytes(photo(lfw, "Colin_Powell", number))
    assert groups_of(tmp_path, mirrored=True) == []


def test_copies_and_the_same_pixels(lfw: zipfile.ZipFile, tmp_path: Path) -> None:
    data = photo(lfw, "Al_Sharpton")
    (tmp_path / "one.jpg").write_bytes(data)
    (tmp_path / "two.jpg").write_bytes(data)
    save_image(tmp_path / "three.png", load_image(data))
    turned = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(np.ascontiguousarray(load_image(data)[::-1, ::-1])).save(turned, "PNG", exif=exif)
    (tmp_path / "upside down, says its EXIF.png").write_bytes(turned.getvalue())
    (found,) = groups_of(tmp_path)
    assert len(found.others) == 3
    assert {other.similarity for other in found.others} == {1.0}
    assert set(kinds(found).values()) <= {"same file", "same pixels"}
    assert len({found.keep.pixels, *(other.photo.pixels for other in found.others)}) == 1


def test_mirrored_photos_only_where_asked_for(lfw: zipfile.ZipFile, tmp_path: Path) -> None:
    image = load_image(photo(lfw, "Al_Sharpton"))
    save_image(tmp_path / "as it was.png", image)
    save_image(tmp_path / "small.png", cv2.resize(image, (200, 200), interpolation=cv2.INTER_AREA))
    save_image(tmp_path / "mirrored.jpg", np.ascontiguousarray(image[4:, ::-1][:, 6:]))
    (without,) = groups_of(tmp_path)
    assert kinds(without) == {"small.png": "near"}
    (found,) = groups_of(tmp_path, mirrored=True)
    assert found.keep.path.name == "as it was.png"
    assert kinds(found) == {"small.png": "near", "mirrored.jpg": "mirrored"}


def test_links_to_a_file_are_not_copies_of_it(lfw: zipfile.ZipFile, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(photo(lfw, "Al_Sharpton"))
    (tmp_path / "a link.jpg").symlink_to(tmp_path / "photo.jpg")
    (tmp_path / "hard.jpg").hardlink_to(tmp_path / "photo.jpg")
    assert groups_of(tmp_path) == []
    (tmp_path / "copy.jpg").write_bytes(photo(lfw, "Al_Sharpton"))
    (found,) = groups_of(tmp_path)
    assert kinds(found) == {next(iter(kinds(found))): "same file"}
    assert not found.keep.path.is_symlink()


def test_what_can_not_be_read_is_given_back(lfw: zipfile.ZipFile, tmp_path: Path) -> None:
    data = photo(lfw, "Al_Sharpton")
    bad = {"cut.jpg": data[:2000], "empty.jpg": b"", "text.jpg": b"text", "good.jpg": data}
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
    found = {path.name: found for path, found in fingerprints(sorted(tmp_path.iterdir()), threads=2)}
    assert list(found) == sorted(bad)
    assert isinstance(found.pop("good.jpg"), Fingerprint)
    assert all(isinstance(error, ImageError) for error in found.values())


def test_plain_pictures_have_nothing_to_compare(tmp_path: Path) -> None:
    for value in (0, 128, 255):
        save_image(tmp_path / f"{value}.png", np.full((60, 80, 3), value, np.uint8))
    save_image(tmp_path / "128 again.png", np.full((60, 80, 3), 128, np.uint8))
    (found,) = groups_of(tmp_path)
    assert len(found.others) == 1
    assert found.others[0].photo.pixels == found.keep.pixels
    assert group([]) == []


def test_the_structural_measure_finds_the_part(lfw: zipfile.ZipFile) -> None:
    gray = cv2.cvtColor(load_image(photo(lfw, "Al_Sharpton")), cv2.COLOR_RGB2GRAY)
    other = cv2.cvtColor(load_image(photo(lfw, "Ali_Naimi")), cv2.COLOR_RGB2GRAY)
    whole, part = _shrunk(gray), _shrunk(gray[20:, :230])
    assert structural(whole, whole) == pytest.approx(1, abs=1e-6)
    assert structural(whole, part) > 0.9
    assert structural(whole, np.ascontiguousarray(part[:, ::-1])) < 0.3
    assert structural(whole, np.ascontiguousarray(whole[:, ::-1]), flipped=True) == pytest.approx(1, abs=1e-6)
    assert structural(whole, _shrunk(other)) < 0.4
    assert structural(whole, np.ascontiguousarray(np.rot90(whole))) < 0.4
    assert structural(whole, None) == 0


def test_the_hash_is_that_of_the_library(lfw: zipfile.ZipFile) -> None:
    import imagehash

    gray = cv2.cvtColor(load_image(photo(lfw, "Al_Sharpton")), cv2.COLOR_RGB2GRAY)
    expected = imagehash.dhash(Image.fromarray(gray), hash_size=16)
    assert bytes(_hashed(gray)).hex() == str(expected)


def test_connected_photos_know_who_is_mirrored() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        truth = rng.integers(0, 2, 12).astype(bool)
        links = _Links(12)
        for _ in range(30):
            a, b = rng.choice(6, 2, replace=False) + 6 * int(rng.integers(2))
            links.join(int(a), int(b), 0.9, mirrored=bool(truth[a] ^ truth[b]))
        for members in links.groups():
            flips = np.array([links.find(i)[1] for i in members])
            assert len({links.find(i)[0] for i in members}) == 1
            assert ((flips ^ truth[members]) == (flips[0] ^ truth[members[0]])).all()


@pytest.mark.parametrize("threshold", [0, -1, 1.5, float("nan")])
def test_a_threshold_is_a_share(threshold: float) -> None:
    with pytest.raises(InputError, match="structural similarity"):
        group([], threshold=threshold)


@pytest.mark.parametrize("package", ["imagehash", "skimage"])
def test_a_missing_library_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(EngineError, match=r"pip install 'visavis\[datasets\]'"):
        list(fingerprints([]))

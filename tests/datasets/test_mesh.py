"""Meshes over faces: the same seed the same bytes, fine lines over the whole picture, within their stated ranges."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visavis.curation.mesh_pairs import mesh_folder
from visavis.datasets.mesh import KINDS, Family, Kind, Mesh, apply, mesh_overlay, random_mesh, seed_of
from visavis.errors import InputError
from visavis.image import load_image, save_image

kinds = st.sampled_from(KINDS)
seeds = st.one_of(st.integers(0, 2**64), st.tuples(st.integers(0, 9), st.integers(0, 2**63), st.integers(0, 99)))


@settings(max_examples=50)
@given(seeds, kinds, st.integers(1, 120), st.floats(0.125, 8))
def test_the_same_seed_gives_the_same_bytes(seed: int, kind: Kind, height: int, aspect: float) -> None:
    width = min(max(round(height * aspect), -(-height // 8)), 8 * height)
    color, alpha = mesh_overlay((height, width), seed, kind)
    again = mesh_overlay((height, width), seed, kind)
    assert (color.dtype, color.shape) == (np.uint8, (3,))
    assert (alpha.dtype, alpha.shape) == (np.float32, (height, width))
    assert np.array_equal(color, again[0])
    assert alpha.tobytes() == again[1].tobytes()
    assert 0 <= alpha.min() <= alpha.max() <= 0.8001


@settings(max_examples=60)
@given(seeds, kinds)
def test_lines_are_fine_and_everywhere(seed: int, kind: Kind) -> None:
    mesh = random_mesh(seed, (kind,))
    _, alpha = mesh.draw(112)
    assert mesh.kind == kind
    assert 0.3 <= mesh.opacity <= 0.8
    drawn = alpha > 0.1 * mesh.opacity
    quarters = [drawn[y : y + 56, x : x + 56].mean() for y in (0, 56) for x in (0, 56)]
    assert min(quarters) > 0.02  # over the whole face
    assert 0.05 < drawn.mean() < 0.97
    assert len(np.unique(alpha)) > 20  # edges are soft


@given(seeds)
def test_any_kind_comes_and_parameters_are_plain(seed: int) -> None:
    mesh = random_mesh(seed)
    found = json.loads(json.dumps(mesh.to_dict()))
    assert found["kind"] in KINDS
    assert all(0 <= value <= 255 for value in found["color"])
    assert found["families"]


def test_all_kinds_and_both_colored_and_gray_ones_come() -> None:
    meshes = [random_mesh(seed) for seed in range(200)]
    assert {mesh.kind for mesh in meshes} == set(KINDS)
    gray = [len(set(mesh.color)) == 1 for mesh in meshes]
    assert 100 < sum(gray) < 180
    assert len({mesh.families for mesh in meshes}) == 200


def test_a_line_lies_where_it_should() -> None:
    """By hand: one family of level lines, 0.25 of 100 pixels apart, 0.04 thick, from the middle."""
    mesh = Mesh("line", (255, 255, 255), 1.0, (Family(0.0, 0.25, 0.04),))
    _, alpha = mesh.draw(100)
    rows = alpha.mean(axis=1)
    assert np.abs(alpha - rows[:, None]).max() < 0.02  # but for how OpenCV rounds edges
    inside = [y for y in range(100) if rows[y] > 0.5]
    assert all(min(abs(y + 0.5 - line) for line in (0, 25, 50, 75, 100)) <= 2.5 for y in inside)
    assert rows.sum() == pytest.approx(4 * 4, abs=2)  # three whole lines and two halves


def test_larger_pictures_show_the_same_mesh() -> None:
    small, large = (random_mesh(3, ("wave",)).draw(size)[1] for size in (112, 448))
    shrunk = cv2.resize(large, (112, 112), interpolation=cv2.INTER_AREA)
    assert np.corrcoef(small.ravel(), shrunk.ravel())[0, 1] > 0.95


@given(st.integers(0, 255), st.integers(0, 255), st.floats(0, 1, width=32))
def test_laying_it_over_is_a_mean(pixel: int, color: int, share: float) -> None:
    image = np.full((3, 4, 3), pixel, np.uint8)
    laid = apply(image, np.full(3, color, np.uint8), np.full((3, 4), share, np.float32))
    assert laid.dtype == np.uint8
    assert np.abs(laid - (pixel * (1 - share) + color * share)).max() <= 0.5001
    assert np.array_equal(image, np.full((3, 4, 3), pixel, np.uint8))


def test_what_is_refused() -> None:
    with pytest.raises(InputError, match="line, wave, guilloche"):
        mesh_overlay(112, 0, "net")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="sides of 1 to"):
        mesh_overlay((0, 5), 0)
    with pytest.raises(InputError, match="sides of 1 to"):
        mesh_overlay(10**6, 0)
    with pytest.raises(InputError, match="no face"):
        mesh_overlay((1, 9), 0)
    with pytest.raises(InputError, match="seed"):
        seed_of("a", -1)
    color, alpha = mesh_overlay(8, 0)
    with pytest.raises(InputError, match="needs that shape"):
        apply(np.zeros((9, 8, 3), np.uint8), color, alpha)
    with pytest.raises(InputError, match="uint8"):
        apply(np.zeros((8, 8, 3), np.float32), color, alpha)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, lfw_photo: Callable[[str, int], bytes]) -> Path:
    folder = tmp_path_factory.mktemp("faces")
    (folder / "王芳").mkdir()
    for i in range(3):
        (folder / "王芳" / f"{i}.jpg").write_bytes(lfw_photo("Abel_Pacheco", i + 1))
    save_image(folder / "王芳" / "0.png", load_image(folder / "王芳" / "1.jpg"))
    (folder / "cut.jpg").write_bytes(lfw_photo("Abel_Pacheco", 1)[:900])
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_pairs_are_the_same_whoever_makes_them(photos: Path, tmp_path: Path) -> None:
    rows = list(mesh_folder(photos, tmp_path / "one", per_image=2, workers=1))
    assert [row["source"] for row in rows] == ["cut.jpg", "王芳/0.jpg", "王芳/0.png", "王芳/1.jpg", "王芳/2.jpg"]
    assert [row["error"] is None for row in rows] == [False, True, True, True, True]
    assert list(mesh_folder(photos, tmp_path / "two", per_image=2, workers=2)) == rows
    one = tree(tmp_path / "one")
    assert one == tree(tmp_path / "two")
    assert sum(name.endswith(".png") for name in one) == 4 * 3 + 1
    lines = [json.loads(line) for line in one["manifest.jsonl"].decode().splitlines()]
    assert len(lines) == 8
    for line in lines:
        clean, laid = load_image(tmp_path / "one" / line["clean"]), load_image(tmp_path / "one" / line["mesh"])
        assert np.array_equal(clean, load_image(photos / line["source"]))
        number = int(Path(line["mesh"]).stem.rsplit("-", 1)[1])
        mesh = random_mesh(seed_of(line["source"], 0, number))
        assert mesh.to_dict() == {key: line[key] for key in mesh.to_dict()}
        assert np.array_equal(laid, apply(clean, *mesh.draw(clean.shape[:2])))
    other = list(mesh_folder(photos, tmp_path / "other", seed=1, kinds=("line",), workers=1))
    assert {pair["kind"] for row in other for pair in row["pairs"]} == {"line"}


def test_folders_that_lie_in_each_other(photos: Path, tmp_path: Path) -> None:
    for out in (photos, photos / "out", photos.parent):
        with pytest.raises(InputError, match="apart"):
            mesh_folder(photos, out)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no photo"):
        mesh_folder(tmp_path / "empty", tmp_path / "out")


def test_another_process_draws_the_same() -> None:
    code = "import hashlib; from visavis.datasets.mesh import *; "
    code += "print(hashlib.sha256(b''.join(mesh_overlay(64, s)[1].tobytes() for s in range(9))).hexdigest())"
    run = [subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout for _ in range(2)]
    assert run[0] == run[1]

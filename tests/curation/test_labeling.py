"""The labeling loop: boxes out, corrections back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visavis.curation.labeling import common_folder, compare, cut_faces, label_pictures
from visavis.datasets.annotations import Annotation
from visavis.errors import ImageError, InputError
from visavis.image import load_image, save_image
from visavis.models.store import Store
from visavis.pipeline import Analyzer


def boxes(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 4)


def test_kept_moved_added_removed() -> None:
    first = Annotation("a.png", boxes([0, 0, 40, 40], [100, 0, 140, 40], [200, 0, 240, 40], [300, 0, 340, 40]))
    after = Annotation("a.png", boxes([105, 2, 145, 42], [0.3, 0, 40, 39.6], [500, 0, 540, 40], [330, 0, 370, 40]))
    (changed,) = compare([first], [after]).pictures
    assert changed.kept.tolist() == [0]
    assert changed.moved.tolist() == [1]
    assert changed.removed.tolist() == [2, 3]  # the last was moved so far that it is another
    assert changed.added.tolist() == [2, 3]
    result = compare([first], [after])
    assert result.precision.value == 0.5
    assert result.recall.value == 0.5
    assert result.to_dict()["moved"] == 1


def test_each_box_is_paired_once_best_first() -> None:
    first = Annotation("a.png", boxes([0, 0, 10, 10], [1, 0, 11, 10]))
    after = Annotation("a.png", boxes([1, 0, 11, 10]))
    (changed,) = compare([first], [after]).pictures
    assert (changed.kept.tolist(), changed.removed.tolist()) == ([1], [0])


def test_pictures_that_one_side_lacks() -> None:
    first = [Annotation(name, boxes([0, 0, 9, 9])) for name in ("x/a.png", "x/b.png", "y/b.png")]
    result = compare(first, [Annotation("a.png", boxes([0, 0, 9, 9])), Annotation("new.png", boxes([0, 0, 9, 9]))])
    assert [p.image for p in result.pictures] == ["x/a.png"]  # an upload keeps only the last part of a path
    assert [item.image for item in result.corrected] == ["x/a.png", "new.png"]
    assert result.untouched == ("x/b.png", "y/b.png")
    assert result.new == ("new.png",)
    assert result.precision.value == 1
    with pytest.raises(InputError, match="not one picture"):
        compare(first, [Annotation("b.png", boxes())])  # which of the two?
    with pytest.raises(InputError, match="anybody has worked on"):
        compare(first, [])
    with pytest.raises(InputError, match=r"x/a\.png twice"):
        compare(first, [Annotation("a.png", boxes()), Annotation("x/a.png", boxes())])


def test_without_boxes_there_is_no_share() -> None:
    result = compare([Annotation("a.png", boxes())], [Annotation("a.png", boxes())])
    assert result.precision is None
    assert result.recall is None
    assert result.to_dict()["iou"] is None


@given(st.integers(0, 10**6), st.integers(0, 6), st.integers(0, 6))
def test_every_box_is_accounted_for(seed: int, before: int, after: int) -> None:
    rng = np.random.default_rng(seed)

    def some(n: int) -> np.ndarray:
        low = rng.uniform(0, 60, (n, 2))
        return np.concatenate([low, low + rng.uniform(5, 40, (n, 2))], axis=1)

    old, new = some(before), some(after)
    (changed,) = compare([Annotation("a", old)], [Annotation("a", new)]).pictures
    still = len(changed.kept) + len(changed.moved)
    assert still + len(changed.removed) == before
    assert still + len(changed.added) == after
    assert (changed.overlaps >= 0.5).all()
    (same,) = compare([Annotation("a", old)], [Annotation("a", old[::-1])]).pictures
    assert len(same.kept) == before


def test_faces_are_cut_with_a_margin(tmp_path: Path) -> None:
    image = np.zeros((50, 80, 3), np.uint8)
    image[10:20, 30:40] = 255
    (tmp_path / "in/sub").mkdir(parents=True)
    save_image(tmp_path / "in/sub/a.png", image)
    item = Annotation("sub/a.png", boxes([30, 10, 40, 20], [75, 45, 95, 60], [5, 5, 5, 9]), 80, 50)
    assert list(cut_faces([item], tmp_path / "in", tmp_path / "out", margin=0.2)) == [("sub/a.png", 2)]
    first, second = (load_image(tmp_path / f"out/sub/a_{i}.png") for i in (1, 2))
    assert first.shape == (14, 14, 3)
    assert first[2:12, 2:12].min() == 255
    assert second.shape == (6, 6, 3)
    with pytest.raises(InputError, match="would replace those of another"):
        list(cut_faces([item, item], tmp_path / "in", tmp_path / "out"))
    with pytest.raises(ImageError, match="does not exist"):
        list(cut_faces([Annotation("gone.png", item.boxes)], tmp_path / "in", tmp_path / "out"))


def test_detectors_boxes_get_names_below_their_folder(tmp_path: Path, store: Store) -> None:
    six = store.fetch("six-people")
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "c").mkdir()
    save_image(tmp_path / "a/b/six.png", load_image(six))
    (tmp_path / "c/broken.png").write_bytes(b"no picture")
    paths = [tmp_path / "a/b/six.png", tmp_path / "c/broken.png"]
    folder = common_folder(paths)
    assert folder == tmp_path
    analyzer = Analyzer(recognizer=None, threads=1, precision="f32", store=store)
    (_, item), (path, error) = label_pictures(paths, folder, analyzer)
    assert (item.image, len(item), item.width, item.height) == ("a/b/six.png", 6, 1280, 886)
    assert item.landmarks is None
    assert item.scores.min() > 0.6
    assert path == paths[1]
    assert isinstance(error, ImageError)
    (_, item), _ = label_pictures(paths, folder, analyzer, points=True)
    assert item.landmarks.shape == (6, 5, 2)

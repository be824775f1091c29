"""The pyramid: means as torch defines them, and every place P-Net looks at exactly once, as if alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visavis.detection import mtcnn_pyramid
from visavis.detection.mtcnn_pyramid import Sampler, canvases, levels


def adaptive(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Average as the documentation of torch's AdaptiveAvgPool2d says, window by window."""

    def window(i, n, m):
        return slice(int(np.floor(i * n / m)), int(np.ceil((i + 1) * n / m)))

    h, w = image.shape[:2]
    return np.array(
        [
            [image[window(r, h, height), window(c, w, width)].mean(axis=(0, 1)) for c in range(width)]
            for r in range(height)
        ]
    )


@settings(max_examples=40)
@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    size=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    seed=st.integers(0, 99),
    table=st.sampled_from([16, 2**22]),
)
def test_resizing_is_adaptive_averaging(shape, size, seed, table):
    image = np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)
    before = mtcnn_pyramid._TABLE_PIXELS
    mtcnn_pyramid._TABLE_PIXELS = table
    try:
        sampler = Sampler(image)
        expected = adaptive(image, *size)
        np.testing.assert_allclose(sampler.resize(*size), expected, rtol=1e-5, atol=1e-3)
        part = sampler.resize(*size, slice(size[0] // 3, None), slice(0, size[1] // 2 + 1))
        np.testing.assert_allclose(part, expected[size[0] // 3 :, : size[1] // 2 + 1], rtol=1e-5, atol=1e-3)
    finally:
        mtcnn_pyramid._TABLE_PIXELS = before


@pytest.mark.parametrize("table", [64, 2**22])
def test_crops_are_adaptive_averages(monkeypatch, table):
    monkeypatch.setattr(mtcnn_pyramid, "_TABLE_PIXELS", table)
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (70, 90, 3), np.uint8)
    corners = np.array([[0, 0, 90, 70], [3, 5, 4, 6], [10, 20, 34, 44], [60, 1, 90, 13], [5, 5, 40, 69]])
    for side in (24, 48):
        found = Sampler(image).crops(corners, side)
        for crop, (x1, y1, x2, y2) in zip(found, corners, strict=True):
            np.testing.assert_allclose(crop, adaptive(image[y1:y2, x1:x2], side, side), rtol=1e-5, atol=1e-3)
        assert Sampler(image).crops(corners[:0], side).shape == (0, side, side, 3)


def test_sums_that_overflow_are_still_right():
    white = np.full((3000, 1300, 3), 255, np.uint8)  # 3.9 million pixels: a sum of 10**9, and of twice that
    assert np.unique(Sampler(white).resize(13, 13)).tolist() == [255]


@settings(max_examples=25)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 250), st.integers(1, 250)), min_size=1, max_size=3),
    copies=st.sampled_from([1, 1, 4, 6]),
    min_face=st.sampled_from([12, 20, 33]),
    side=st.sampled_from([64, 128, 768]),
)
def test_each_cell_is_seen_once(sizes, copies, min_face, side):
    sizes = sizes * copies
    scales = [levels(h, w, min_face, 0.709) for h, w in sizes]
    seen = {
        (i, k): np.zeros(tuple(-(-(int(n * s + 1) - 2) // 2) - 4 for n in size), int)
        for i, size in enumerate(sizes)
        for k, s in enumerate(scales[i])
    }
    before = mtcnn_pyramid._SIDE
    mtcnn_pyramid._SIDE = side
    try:
        for canvas in canvases(scales, sizes):
            rows, columns = (-(-(n - 2) // 2) - 4 for n in (canvas.height, canvas.width))
            owner = canvas.owners(rows, columns)
            assert owner.shape == (canvas.pages, rows, columns)
            for page, r, c in np.argwhere(owner >= 0):
                t = canvas.tiles[owner[page, r, c]]
                assert t.page == page
                assert t.y % 2 == t.x % 2 == t.row % 2 == t.column % 2 == 0
                seen[t.image, t.level][r - (t.y - t.row) // 2, c - (t.x - t.column) // 2] += 1
            for t in canvas.tiles:  # none reaches beyond its canvas, or its level
                assert t.y + t.height <= canvas.height
                assert t.x + t.width <= canvas.width
                assert t.row + t.height <= t.size[0]
                assert t.column + t.width <= t.size[1]
    finally:
        mtcnn_pyramid._SIDE = before
    assert all((counts == 1).all() for counts in seen.values())


def test_tiles_of_a_canvas_do_not_overlap():
    sizes = [(100 + 7 * i, 260 - 9 * i) for i in range(20)]
    for canvas in canvases([levels(h, w, 20, 0.709) for h, w in sizes], sizes):
        used = np.zeros((canvas.pages, canvas.height, canvas.width), int)
        for t in canvas.tiles:
            used[t.page, t.y : t.y + t.height, t.x : t.x + t.width] += 1
        assert used.max() == 1


@pytest.mark.parametrize("shape", [(250, 250), (97, 331), (151, 64), (40, 40)])
def test_a_canvas_shows_pnet_what_the_level_alone_does(store, shape):
    """Cells at odd ends see one row or column that is not there, and must not see a neighbor instead."""
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(store.path("mtcnn-pnet")), providers=["CPUExecutionProvider"])

    def probabilities(pixels):
        blob = (pixels.astype(np.float32) - 127.5) * np.float32(0.0078125)
        return session.run(["prob"], {"image": np.ascontiguousarray(blob.transpose(0, 3, 1, 2))})[0][:, 1]

    sampler = Sampler(np.random.default_rng(3).integers(0, 256, (*shape, 3), np.uint8))
    scales = [levels(*shape, 20, 0.709)]
    alone = {
        k: probabilities(sampler.resize(*(int(n * s + 1) for n in shape))[None])[0] for k, s in enumerate(scales[0])
    }
    for canvas in canvases(scales, [shape]):
        found = probabilities(canvas.pixels([sampler]))
        owner = canvas.owners(*found.shape[1:])
        for page, r, c in np.argwhere(owner >= 0):
            t = canvas.tiles[owner[page, r, c]]
            expected = alone[t.level][r - (t.y - t.row) // 2, c - (t.x - t.column) // 2]
            assert found[page, r, c] == pytest.approx(expected, abs=1e-5)

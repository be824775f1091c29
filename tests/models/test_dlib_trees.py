"""dlib's shape predictors to arrays: what is read, and that nothing else than one is."""

from __future__ import annotations

import io
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visavis.errors import InputError
from visavis.models.convert import convert, suffix
from visavis.models.convert.dlib_trees import regression_trees


def integer(value: int) -> bytes:
    size = max(1, (abs(value).bit_length() + 7) // 8)
    return bytes([size | (0x80 if value < 0 else 0)]) + abs(value).to_bytes(size, "little")


def floating(value: float) -> bytes:
    """Write a number as dlib does: the mantissa's trailing zero bytes go into the exponent."""
    mantissa, exponent = math.frexp(float(np.float32(value)))
    whole, exponent = int(mantissa * 2**24), exponent - 24
    while whole and whole % 256 == 0:
        whole, exponent = whole // 256, exponent + 8
    return integer(whole) + integer(exponent)


def counted(items: list[bytes]) -> bytes:
    return integer(len(items)) + b"".join(items)


def matrix(values: np.ndarray) -> bytes:
    return integer(-values.size) + integer(-1) + b"".join(floating(v) for v in values.reshape(-1))


def model(stages: int = 2, trees: int = 3, depth: int = 2, pixels: int = 6, points: int = 4, seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    splits = 2**depth - 1
    return {
        "mean": rng.uniform(0, 1, (points, 2)).astype(np.float32),
        "anchors": rng.integers(0, points, (stages, pixels)),
        "offsets": rng.normal(0, 0.1, (stages, pixels, 2)).astype(np.float32),
        "first": rng.integers(0, pixels, (stages, trees, splits)),
        "second": rng.integers(0, pixels, (stages, trees, splits)),
        "thresholds": rng.normal(0, 60, (stages, trees, splits)).astype(np.float32),
        "leaves": rng.normal(0, 0.01, (stages, trees, splits + 1, points, 2)).astype(np.float32),
    }


def serialized(m: dict, version: int = 1) -> bytes:
    """Write a model as dlib's ``serialize(shape_predictor)`` does."""

    def tree(stage: int, t: int) -> bytes:
        splits = zip(m["first"][stage, t], m["second"][stage, t], m["thresholds"][stage, t], strict=True)
        nodes = [integer(int(a)) + integer(int(b)) + floating(c) for a, b, c in splits]
        return counted(nodes) + counted([matrix(leaf) for leaf in m["leaves"][stage, t]])

    stages, trees = m["first"].shape[:2]
    return (
        integer(version)
        + matrix(m["mean"])
        + counted([counted([tree(s, t) for t in range(trees)]) for s in range(stages)])
        + counted([counted([integer(int(a)) for a in row]) for row in m["anchors"]])
        + counted([counted([floating(x) + floating(y) for x, y in row]) for row in m["offsets"]])
    )


def arrays(data: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(regression_trees(data)), allow_pickle=False) as file:
        return {name: file[name] for name in file}


@settings(max_examples=25)
@given(
    st.integers(1, 3), st.integers(1, 5), st.integers(1, 4), st.integers(1, 300), st.integers(1, 9), st.integers(0, 99)
)
def test_what_was_written_is_read(stages, trees, depth, pixels, points, seed):
    m = model(stages, trees, depth, pixels, points, seed)
    read = arrays(serialized(m))
    assert sorted(read) == sorted(m)
    for name in ("mean", "anchors", "offsets", "first", "second", "leaves"):
        np.testing.assert_array_equal(read[name], m[name], err_msg=name)
    differences = np.arange(-255, 256)
    above = differences > m["thresholds"][..., None]
    np.testing.assert_array_equal(differences > read["thresholds"][..., None], above)
    assert {name: array.dtype.name for name, array in read.items()} == {
        "mean": "float32",
        "anchors": "uint16",
        "offsets": "float32",
        "first": "uint16",
        "second": "uint16",
        "thresholds": "int16",
        "leaves": "float32",
    }


def test_the_converter_of_the_cards():
    data = serialized(model())
    assert suffix("dlib-trees") == ".npz"
    assert convert("dlib-trees", data) == regression_trees(data), "and the same bytes each time"


class TestDamage:
    def test_cut_short_anywhere(self):
        data = serialized(model(points=2, pixels=3))
        for end in range(len(data)):
            with pytest.raises(InputError):
                regression_trees(data[:end])
        assert arrays(data)["mean"].shape == (2, 2)

    def test_something_follows(self):
        with pytest.raises(InputError, match="1 bytes more"):
            regression_trees(serialized(model()) + b"\0")

    @pytest.mark.parametrize("version", [0, 2, -1, 2**40])
    def test_another_version(self, version):
        with pytest.raises(InputError, match="another version"):
            regression_trees(serialized(model(), version))

    @pytest.mark.parametrize(
        "data", [b"", b"\0", b"PK\x03\x04" + b"\0" * 99, b"\x80\x02}q\0.", b"{}", b"\xff" * 4096, b"\x01\x01" * 4096]
    )
    def test_something_else(self, data):
        with pytest.raises(InputError):
            regression_trees(data)

    def test_any_byte_altered_is_refused_or_gives_finite_arrays(self):
        data = serialized(model(stages=1, trees=2, pixels=3, points=2))
        for at in range(len(data)):
            for value in (0x00, 0x01, 0x08, 0x7F, 0x81, 0x88, 0xFF):
                altered = data[:at] + bytes([value]) + data[at + 1 :]
                try:
                    read = arrays(altered)
                except InputError:
                    continue
                assert all(np.isfinite(array).all() for array in read.values())
                assert max(read["first"].max(), read["second"].max()) < read["anchors"].shape[1]
                assert read["anchors"].max() < len(read["mean"])

    @pytest.mark.parametrize("huge", [2**20, 2**31, 2**62])
    def test_huge_counts_take_no_memory(self, huge):
        m = model()
        mean = matrix(m["mean"])
        claims = [
            integer(1) + integer(-huge) + integer(-1),
            integer(1) + mean + integer(huge),
            integer(1) + mean + integer(2) + integer(huge),
            integer(1) + mean + integer(2) + integer(3) + integer(huge),
            integer(1) + mean + integer(2) + integer(4096) + integer(15),
        ]
        tracemalloc.start()
        for claim in claims:
            with pytest.raises(InputError):
                regression_trees(claim + b"\x01\x01" * 1000)
        assert tracemalloc.get_traced_memory()[1] < 10e6
        tracemalloc.stop()

    @pytest.mark.parametrize(("name", "value"), [("first", 6), ("second", 6), ("anchors", 4)])
    def test_indices_beyond_what_there_is(self, name, value):
        m = model(pixels=6, points=4)
        m[name].flat[1] = value
        with pytest.raises(InputError, match="not among its"):
            regression_trees(serialized(m))
        m[name].flat[1] = -1
        with pytest.raises(InputError, match="not among its"):
            regression_trees(serialized(m))

    @pytest.mark.parametrize("name", ["mean", "offsets", "leaves"])
    def test_points_out_of_any_picture(self, name):
        m = model()
        m[name].flat[2] = 1e6
        with pytest.raises(InputError, match="out of any picture"):
            regression_trees(serialized(m))

    def test_trees_that_are_not_full_or_too_deep(self):
        with pytest.raises(InputError, match="31 splits"):
            regression_trees(serialized(model(depth=5)))
        data = serialized(model(stages=1, trees=1, depth=2))
        start = len(integer(1) + matrix(model()["mean"]) + integer(1) + integer(1))
        with pytest.raises(InputError, match="not full"):
            regression_trees(data[:start] + integer(2) + data[start + 2 :])

    def test_stages_of_different_size(self):
        one, two = model(stages=1, trees=3), model(stages=1, trees=4)
        mean = integer(1) + matrix(one["mean"])
        forests = [serialized(m)[len(mean) + 2 :] for m in (one, two)]
        tails = [
            counted([counted([integer(int(a)) for a in row]) for row in m["anchors"]])
            + counted([counted([floating(x) + floating(y) for x, y in row]) for row in m["offsets"]])
            for m in (one, two)
        ]
        cut = [forest[: len(forest) - len(tail)] for forest, tail in zip(forests, tails, strict=True)]
        anchors = counted([counted([integer(int(a)) for a in one["anchors"][0]])] * 2)
        offsets = counted([counted([floating(x) + floating(y) for x, y in one["offsets"][0]])] * 2)
        with pytest.raises(InputError, match="differ in size"):
            regression_trees(mean + integer(2) + cut[0] + cut[1] + anchors + offsets)


def test_the_real_file_of_five_points(store):
    with np.load(store.path("dlib-5"), allow_pickle=False) as file:
        shapes = {name: file[name].shape for name in file}
    assert shapes == {
        "mean": (5, 2),
        "anchors": (15, 800),
        "offsets": (15, 800, 2),
        "first": (15, 500, 15),
        "second": (15, 500, 15),
        "thresholds": (15, 500, 15),
        "leaves": (15, 500, 16, 5, 2),
    }

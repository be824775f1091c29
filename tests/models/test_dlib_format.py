"""What dlib's serialize writes is read back, one by one and many at once, and nothing else is believed."""

from __future__ import annotations

import contextlib
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from visavis.errors import InputError
from visavis.models.convert import dlib_format
from visavis.models.convert.dlib_format import DlibReader


def integer(value: int) -> bytes:
    size = max(1, (abs(value).bit_length() + 7) // 8)
    return bytes([size | (0x80 if value < 0 else 0)]) + abs(value).to_bytes(size, "little")


def floating(value: float) -> bytes:
    mantissa, exponent = math.frexp(value)
    return integer(int(mantissa * 2**53)) + integer(exponent - 53)


def text(value: str) -> bytes:
    return integer(len(value)) + value.encode("latin-1")


def tensor(values: np.ndarray) -> bytes:
    return b"".join(map(integer, (2, *values.shape))) + values.astype("<f4").tobytes()


wholes = st.one_of(st.integers(-(2**63) + 1, 2**63 - 1), st.integers(-300, 300))
reals = st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False)


@given(st.lists(wholes, max_size=60), st.integers(0, 20))
def test_integers(values, ahead):
    data = b"".join(map(integer, values)) + bytes(ahead)
    one_by_one, together = DlibReader(data), DlibReader(data)
    assert [one_by_one.integer() for _ in values] == values
    assert together.integers(len(values)).tolist() == values
    assert one_by_one.position == together.position == len(data) - ahead
    assert together.left == ahead


@given(st.integers(1, 64), st.lists(wholes, min_size=1, max_size=60))
def test_integers_over_the_edges_of_blocks(block, values):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dlib_format, "_BLOCK", block + 8)  # at least one number fits
        assert DlibReader(b"".join(map(integer, values))).integers(len(values)).tolist() == values


@given(st.lists(reals, min_size=1, max_size=40))
def test_floats(values):
    reader = DlibReader(b"".join(map(floating, values)))
    assert reader.floats(len(values)).tolist() == values
    reader.end()


def test_many_numbers_are_those_read_one_by_one(dlib_file):
    data = dlib_file("dlib-5").read_bytes()[:600_000]
    one_by_one, together = DlibReader(data), DlibReader(data)
    count = 100_000
    assert together.integers(count).tolist() == [one_by_one.integer() for _ in range(count)]
    assert together.position == one_by_one.position


float32s = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(hnp.arrays(np.float32, st.tuples(*[st.integers(0, 4)] * 4), elements=float32s))
def test_tensors_names_and_truth(values):
    reader = DlibReader(text("con_4") + tensor(values) + b"10")
    assert reader.string() == "con_4"
    np.testing.assert_array_equal(reader.tensor(), values)
    assert (reader.boolean(), reader.boolean()) == (True, False)
    reader.end()


@given(st.integers(0, 200), st.data())
def test_cut_anywhere(count, data):
    whole = text("kind") + floating(0.1) + tensor(np.ones((1, 2, 3, 4))) + b"".join(map(integer, range(count)))
    cut = data.draw(st.integers(0, len(whole) - 1))
    reader = DlibReader(whole[:cut])
    with pytest.raises(InputError):  # noqa: PT012  (which of them fails depends on the cut)
        reader.string()
        reader.floating()
        reader.tensor()
        reader.integers(count)
        reader.count(10**6)


@given(st.binary(max_size=200), st.sampled_from(["integer", "count", "floating", "string", "boolean", "tensor"]))
def test_any_bytes_are_read_or_refused(data, method):
    reader = DlibReader(data)
    with contextlib.suppress(InputError):
        getattr(reader, method)()
    assert 0 <= reader.position <= len(data)


@given(st.binary(max_size=300), st.integers(0, 60))
def test_any_bytes_are_read_alike_one_by_one_and_together(data, count):
    def outcome(read):
        try:
            return read(DlibReader(data))
        except InputError:
            return None

    singly = outcome(lambda reader: [reader.integer() for _ in range(count)])
    if singly is None or max(map(abs, singly), default=0) < 2**63:
        assert outcome(lambda reader: reader.integers(count).tolist()) == singly


@pytest.mark.parametrize(
    ("data", "method", "message"),
    [
        (integer(-1), "count", "-1 items"),
        (integer(2**62) + b"abc", "count", "items are said to follow in 3 bytes"),
        (integer(2**62) + b"abc", "string", "items are said to follow"),
        (text("a" * 300), "string", "a name of 300 letters"),
        (b"".join(map(integer, (2, 2**40, 2**20, 1, 1))), "tensor", "are needed and 0 are left"),
        (b"".join(map(integer, (2, 0, 2**40, 1, 1))) + b"12", "boolean", "no truth value"),
        (b"".join(map(integer, (2, 0, 2**62, 2**62, 1))), "tensor", "impossible sides"),
        (b"".join(map(integer, (3, 1, 1, 1, 1))), "tensor", "expected 2"),
        (b"".join(map(integer, (2, -1, 1, 1, 1))), "tensor", "-1 items"),
        (tensor(np.full((1, 1, 1, 1), np.nan)), "tensor", "NaN"),
        (integer(1) + integer(32000), "floating", "not finite"),
        (integer(1) + integer(20000), "floating", "not finite"),
        (integer(1) + integer(-(2**62)), "floating", "not finite"),
        (b"\x09" + bytes(9), "integer", "no whole number at byte 0"),
        (b"\x00" + bytes(9), "integer", "no whole number at byte 0"),
        (b"0.5 ", "floating", "no whole number"),  # dlib's oldest files were text
        (b"\x08" + b"\xff" * 8, "integer", None),
        (b"", "integer", "cut short"),
        (b"", "end", None),
        (b"1", "end", "1 bytes more"),
    ],
)
def test_what_is_stated_is_not_believed(data, method, message):
    tracemalloc.start()
    try:
        if message is None:
            getattr(DlibReader(data), method)()
        else:
            with pytest.raises(InputError, match=message):
                getattr(DlibReader(data), method)()
        assert tracemalloc.get_traced_memory()[1] < 10**6
    finally:
        tracemalloc.stop()


def test_absurd_numbers_of_numbers_take_no_memory():
    for read in (DlibReader(bytes(100)).integers, DlibReader(bytes(100)).floats):
        with pytest.raises(InputError, match="cut short"):
            read(10**15)
    with pytest.raises(InputError, match="more than 63 bits"):
        DlibReader(b"\x08" + b"\xff" * 8).integers(1)


def test_a_version_or_kind_that_was_not_expected():
    assert DlibReader(integer(2)).expect(1, 2) == 2
    assert DlibReader(text("con_4")).expect("con_4") == "con_4"
    with pytest.raises(InputError, match="expected 1 or 2 in this dlib file, found 3"):
        DlibReader(integer(3)).expect(1, 2)
    with pytest.raises(InputError, match="expected 'con_4' in this dlib file, found 'con_5'"):
        DlibReader(text("con_5")).expect("con_4")

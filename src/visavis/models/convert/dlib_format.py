"""Reading what dlib's ``serialize`` writes, without dlib.

A whole number is a control byte, whose low four bits say how many bytes follow and whose high bit is its sign, and
those bytes, least significant first. A floating-point number is two whole numbers, mantissa and exponent of two, with
exponents 32000 and up for what is not finite. A string or list is its length and its items. A tensor is a version, four
sides and raw little-endian float32. (dlib/serialize.h and dlib/dnn/tensor.h of dlib 19 and 20.)

What a file states is never believed: a count is held against the bytes that are left before any memory is taken.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from visavis.errors import InputError
from visavis.types import FloatArray

__all__ = ["DlibReader"]

_SIGN = 0x80
_RESERVED = 0x70
_LONGEST = 8  # bytes of a whole number
_NOT_FINITE = 32000  # from this exponent on: infinity, minus infinity, NaN
_TENSOR_VERSION = 2
_LONGEST_NAME = 256
_BLOCK = 2**16  # bytes among which whole numbers are looked for together


class DlibReader:
    """Reads values one after another from the bytes of a dlib file.

    Parameters
    ----------
    data
        The whole file.

    Raises
    ------
    InputError
        From every method: if the file ends too early or holds something else there.

    Examples
    --------
    >>> reader = DlibReader(bytes([1, 5, 0x81, 7, 2, 0, 1, 1, 3, 0x81, 1, 1, 2]) + b"ok")
    >>> reader.integers(3).tolist(), reader.floating(), reader.string()
    ([5, -7, 256], 1.5, 'ok')
    """

    def __init__(self, data: bytes) -> None:
        self._data = np.frombuffer(data, np.uint8)
        self._at = 0

    @property
    def position(self) -> int:
        """How many bytes were read."""
        return self._at

    @property
    def left(self) -> int:
        """How many bytes are left."""
        return len(self._data) - self._at

    def integer(self) -> int:
        """Read a whole number of at most 64 bits."""
        length = int(self._take(1)[0])
        negative, length = bool(length & _SIGN), length & ~_SIGN
        if length & _RESERVED or not 1 <= length <= _LONGEST:
            raise InputError(f"not a dlib file: no whole number at byte {self._at - 1}")
        value = int.from_bytes(self._take(length).tobytes(), "little")
        return -value if negative else value

    def count(self, each: int = 1) -> int:
        """Read the number of items that follow, of which each takes at least ``each`` bytes."""
        value = self.integer()
        if value < 0 or value * each > self.left:
            raise InputError(f"cut short or not a dlib file: {value} items are said to follow in {self.left} bytes")
        return value

    def integers(self, count: int) -> npt.NDArray[np.int64]:
        """Read ``count`` whole numbers, int64 ``(count,)``: for many, ten times faster than one by one."""
        self._require(2 * count)
        values = np.empty(count, np.int64)
        done = 0
        while done < count:
            room = min(_BLOCK, (1 + _LONGEST) * (count - done))
            starts, end = _chain(self._data[self._at : self._at + room])
            starts = starts[: count - done]
            if len(starts) == 0:
                raise InputError(f"cut short or not a dlib file: no whole number at byte {self._at}")
            block = self._data[self._at :]
            control = block[starts]
            lengths = control & ~np.uint8(_SIGN)
            if done + len(starts) == count:
                end = int(starts[-1]) + 1 + int(lengths[-1])
            found = np.zeros(len(starts), np.uint64)
            for i in range(int(lengths.max())):
                longer = np.flatnonzero(lengths > i)
                found[longer] |= block[starts[longer] + 1 + i].astype(np.uint64) << np.uint64(8 * i)
            if (found > np.iinfo(np.int64).max).any():
                raise InputError("not a dlib file: a whole number of more than 63 bits")
            part = values[done : done + len(starts)]
            part[:] = found.astype(np.int64)
            np.negative(part, out=part, where=control >= _SIGN)
            done += len(starts)
            self._at += end
        return values

    def floating(self) -> float:
        """Read a finite floating-point number."""
        return float(self.floats(1)[0])

    def floats(self, count: int) -> npt.NDArray[np.float64]:
        """Read ``count`` finite floating-point numbers, float64 ``(count,)``."""
        self._require(4 * count)
        return from_parts(self.integers(2 * count).reshape(-1, 2))

    def boolean(self) -> bool:
        """Read a truth value."""
        letter = self._take(1).tobytes()
        if letter not in (b"0", b"1"):
            raise InputError(f"not a dlib file: no truth value at byte {self._at - 1}")
        return letter == b"1"

    def string(self) -> str:
        """Read a name of at most 256 letters."""
        length = self.count()
        if length > _LONGEST_NAME:
            raise InputError(f"not a dlib file: a name of {length} letters")
        return self._take(length).tobytes().decode("latin-1")

    def expect(self, *allowed: int | str) -> int | str:
        """Read a version (whole number) or a kind (string), and refuse what is none of ``allowed``."""
        read = self.string() if isinstance(allowed[0], str) else self.integer()
        if read not in allowed:
            raise InputError(f"expected {' or '.join(map(repr, allowed))} in this dlib file, found {read!r}")
        return read

    def tensor(self) -> FloatArray:
        """Read a tensor: float32 ``(samples, channels, rows, columns)``, all finite. It shares the file's memory."""
        self.expect(_TENSOR_VERSION)
        sides = [self.count(0) for _ in range(4)]
        raw = self._take(4 * math.prod(sides)).view("<f4")
        try:
            values = raw.reshape(sides)
        except ValueError:  # no numbers, and a side beyond all arrays
            raise InputError("not a dlib file: a tensor of impossible sides") from None
        if not np.isfinite(values).all():
            raise InputError("not a dlib file: a tensor holds NaN or infinity")
        return values.astype(np.float32, copy=False)

    def end(self) -> None:
        """Refuse what follows."""
        if self.left:
            raise InputError(f"{self.left} bytes more than this dlib file should have")

    def _take(self, count: int) -> npt.NDArray[np.uint8]:
        self._require(count)
        self._at += count
        return self._data[self._at - count : self._at]

    def _require(self, count: int) -> None:
        if count > self.left:
            raise InputError(f"cut short: {count} bytes are needed and {self.left} are left of this dlib file")


def from_parts(parts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the numbers of mantissas and exponents ``(..., 2)``: ``mantissa * 2**exponent``, all finite.

    Examples
    --------
    >>> from_parts(np.array([[3, -1], [-1, 4]])).tolist()
    [1.5, -16.0]
    """
    mantissa, exponent = parts[..., 0], parts[..., 1]
    if (np.abs(exponent) >= _NOT_FINITE).any():
        raise InputError("not a dlib file: a number that is not finite")
    with np.errstate(over="ignore", under="ignore"):
        values = np.ldexp(mantissa.astype(np.float64), exponent.astype(np.int32))
    if not np.isfinite(values).all():
        raise InputError("not a dlib file: a number that is not finite")
    return np.asarray(values, np.float64)


def _chain(block: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.intp], int]:
    """Return where whole numbers start that lie one after another in a block from its first byte, and their end.

    Each start tells the next one, so a loop would take them in turn. Instead jumps are doubled: from the start of
    the first 2**k numbers, a jump of 2**k numbers leads to those of the next 2**k.
    """
    size = len(block)
    if not size:
        return np.empty(0, np.intp), 0
    lengths = (block & ~np.uint8(_SIGN)).astype(np.intp)
    # What is no number, or reaches over the block's end, leads to the end and stays there.
    jump = np.full(size + 1, size)
    after = np.arange(1, size + 1) + lengths
    whole = (lengths >= 1) & (lengths <= _LONGEST) & (after <= size)
    jump[:size][whole] = after[whole]
    starts = np.zeros(1, np.intp)
    while True:
        more = jump[starts]
        more = more[more < size]
        if not len(more):
            break
        starts = np.concatenate([starts, more])
        jump = jump.take(jump)
    starts = starts[whole[starts]]
    return starts, int(after[starts[-1]]) if len(starts) else 0

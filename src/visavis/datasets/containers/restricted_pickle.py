"""Pickles of lists of bytes, read by a machine that can do nothing else.

A pickle is a program: Python's own reader imports and calls whatever it names. This one knows lists, tuples, bytes,
text, whole numbers, booleans and NumPy's arrays and scalars of them, and refuses everything else by name before
anything is done. It imports nothing and calls nothing that a file names: NumPy's names stand for functions written
here. Long strings of bytes are not loaded: a `Span` says where in the file they lie.

All protocols (0 to 5), of Python 2 and 3. Source: the list of opcodes in CPython's ``pickletools``, and how NumPy
reduces arrays (``numpy.core.multiarray._reconstruct``, ``scalar`` and ``numpy.core.numeric._frombuffer``).
"""

from __future__ import annotations

import codecs
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from visavis.errors import InputError

__all__ = ["Array", "Span", "read_pickle"]

_MAX_STEPS = 5_000_000  # opcodes: 2.5 million photos as bytes, 200,000 as arrays; below 1 GB whatever they make
_MAX_BYTES = 64 * 2**20  # of one string
_MAX_MADE = 2**30  # bytes of all strings that are no `Span`: those of protocols 0 to 2, where text stands for bytes
_LOADED = 64  # bytes up to which a string is read at once
_MAX_DIMENSIONS = 4
_MARK = object()
_KINDS = {"b1": "?", "i1": "b", "u1": "B", "i2": "h", "u2": "H", "i4": "i", "u4": "I", "i8": "q", "u8": "Q"}


@dataclass(frozen=True)
class Span:
    """Bytes of a file that were not read."""

    offset: int
    length: int

    def read(self, file: BinaryIO) -> bytes:
        """Return them."""
        file.seek(self.offset)
        return file.read(self.length)


@dataclass
class _Type:
    """What a file says of an array's elements: a key of `_KINDS`, and ``<`` or ``>``."""

    name: str
    order: str = "<"

    def build(self, state: Any) -> None:
        if not (isinstance(state, tuple) and len(state) >= 2 and _text(state[1]) in ("<", ">", "|", "=")):
            raise InputError("it describes no type of array elements")
        self.order = ">" if _text(state[1]) == ">" else "<"


@dataclass
class Array:
    """A NumPy array whose elements may still lie in the file."""

    shape: tuple[int, ...] = ()
    type: _Type | None = None
    data: Any = b""

    def build(self, state: Any) -> None:
        """Take the state that NumPy gave: version, shape, type, whether Fortran's order, and the elements."""
        if not (isinstance(state, tuple) and len(state) == 5):
            raise InputError("it holds an array of no known form")
        _, shape, kind, fortran, data = state
        sizes = shape if isinstance(shape, tuple) else ()
        length = data.length if isinstance(data, Span) else len(data) if isinstance(data, bytes) else -1
        known = isinstance(shape, tuple) and len(sizes) <= _MAX_DIMENSIONS and isinstance(kind, _Type)
        if not known or not all(isinstance(size, int) and 0 <= size <= _MAX_BYTES for size in sizes) or length < 0:
            raise InputError("it holds an array of no known form")
        number = 1
        for size in sizes:
            number *= size
        if number * int(kind.name[1]) != length:
            raise InputError(f"it holds an array of shape {sizes} in {length} bytes")
        if fortran and sum(size > 1 for size in sizes) > 1:
            raise InputError("it holds an array in Fortran's order")
        self.shape, self.type, self.data = sizes, kind, data

    def load(self, file: BinaryIO) -> npt.NDArray[Any]:
        """Return it as an array."""
        if self.type is None:
            raise InputError("it holds an array without elements")
        data = self.data.read(file) if isinstance(self.data, Span) else self.data
        return np.frombuffer(data, np.dtype(self.type.order + _KINDS[self.type.name])).reshape(self.shape)


def read_pickle(file: BinaryIO, size: int) -> Any:
    """Return what a pickle holds.

    Parameters
    ----------
    file
        Open for reading bytes, seekable, at the beginning of the pickle.
    size
        Bytes the file has.

    Returns
    -------
    Lists, tuples, ints, bools, None, text, `Array`, and bytes: short ones themselves, long ones as a `Span`.

    Raises
    ------
    InputError
        If it names anything else, is cut off, malformed, or makes more objects than 5 million. The message says what
        is wrong in a form that completes "FILE is refused: ...".

    Examples
    --------
    >>> import io, pickle
    >>> data = pickle.dumps(([b"first", b"second"], [True]))
    >>> read_pickle(io.BytesIO(data), len(data))
    ([b'first', b'second'], [True])
    """
    return _Machine(file, size).run()


class _Machine:
    """The stack, the memo and the file of one pickle."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file = file
        self.size = size
        self.made = 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        for _ in range(_MAX_STEPS):
            start = self.file.tell()
            opcode = self.take(1)
            if opcode == b".":
                return self.pop()
            step = _STEPS.get(opcode)
            if step is None:
                raise InputError(f"it holds {_REFUSED.get(opcode, f'the unknown opcode {opcode!r}')} (byte {start})")
            try:
                step(self)
            except InputError as error:
                raise InputError(f"{error} (byte {start})") from None
            except (IndexError, KeyError, TypeError, ValueError, AttributeError, OverflowError):
                raise InputError(f"it is malformed (byte {start})") from None
        raise InputError(f"it holds more than {_MAX_STEPS:,} objects")

    def take(self, length: int) -> bytes:
        data = self.file.read(length)
        if len(data) != length:
            raise InputError(f"it is cut off after {self.size} bytes")
        return data

    def number(self, layout: str) -> int:
        return int(struct.unpack(layout, self.take(struct.calcsize(layout)))[0])

    def line(self, limit: int) -> bytes:
        line = self.file.readline(limit + 1)
        self.spend(len(line))
        if not line.endswith(b"\n"):
            raise InputError(f"it holds a line of more than {limit} bytes" if len(line) > limit else "it is cut off")
        return line[:-1]

    def blob(self, length: int) -> bytes | Span:
        start = self.file.tell()
        if not 0 <= length <= self.size - start:
            raise InputError(f"it announces {length} bytes and has {self.size - start} left: it is cut off or damaged")
        if length > _MAX_BYTES:
            raise InputError(f"it holds a string of {length} bytes; {_MAX_BYTES} are the limit")
        if length <= _LOADED:
            return self.take(length)
        self.file.seek(start + length)
        return Span(start, length)

    def text(self, length: int) -> str:
        found = self.blob(length)
        self.spend(length)
        data = found.read(self.file) if isinstance(found, Span) else found
        return data.decode("utf-8", "surrogatepass")

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise InputError("it is malformed")
        return self.stack.pop()

    def top(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise InputError("it is malformed")
        return self.stack[-1]

    def since_mark(self) -> list[Any]:
        at = len(self.stack) - 1
        while at >= 0 and self.stack[at] is not _MARK:
            at -= 1
        if at < 0:
            raise InputError("it is malformed")
        values = self.stack[at + 1 :]
        del self.stack[at:]
        return values

    def several(self, number: int) -> None:
        values = tuple(self.pop() for _ in range(number))
        self.push(values[::-1])

    def append(self, values: list[Any]) -> None:
        target = self.top()
        if type(target) is not list:
            raise InputError(f"it appends to a {type(target).__name__}")
        target.extend(values)

    def find(self, module: str, name: str) -> None:
        function = _NAMES.get((module, name))
        if function is None:
            raise InputError(f"it wants to run {module}.{name}, which no list of photos needs: nothing was run")
        self.push(function)

    def call(self) -> None:
        arguments, function = self.pop(), self.pop()
        if function not in _CALLABLE or type(arguments) is not tuple:
            raise InputError("it calls something that is no function")
        self.push(function(self, *arguments))

    def build(self) -> None:
        state, target = self.pop(), self.top()
        if not isinstance(target, (Array, _Type)):
            raise InputError(f"it sets the state of a {type(target).__name__}")
        target.build(state)

    def spend(self, length: int) -> None:
        """Count bytes that are made or loaded, before they are."""
        self.made += length
        if self.made > _MAX_MADE:
            raise InputError(f"it makes more than {_MAX_MADE} bytes")


def _text(value: Any) -> str:
    """Return a name, which Python 2 wrote as bytes."""
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _encode(machine: _Machine, text: Any, encoding: Any) -> bytes:
    if _text(encoding).replace("-", "").lower() != "latin1":
        raise InputError("it encodes text as something else than Latin-1")
    machine.spend(len(text))
    return str(text).encode("latin-1")


def _bytes(machine: _Machine, *arguments: Any) -> Any:
    if not arguments:
        return b""
    first, *rest = arguments
    return _encode(machine, first, *rest) if isinstance(first, str) else _checked_bytes(first)


def _checked_bytes(value: Any) -> bytes | Span:
    if not isinstance(value, (bytes, Span)):
        raise InputError(f"it makes bytes of a {type(value).__name__}")
    return value


def _dtype(_: _Machine, name: Any, *__: Any) -> _Type:
    spelled = _text(name)
    if spelled not in _KINDS:
        raise InputError(f"it holds an array of {spelled!r}, neither whole numbers nor booleans")
    return _Type(spelled)


def _reconstruct(_: _Machine, kind: Any, *__: Any) -> Array:
    if kind is not _ndarray:
        raise InputError("it holds an array of no known form")
    return Array()


def _ndarray(*_: Any) -> None:
    raise InputError("it makes an array directly")


def _scalar(machine: _Machine, kind: Any, data: Any) -> int | bool:
    array = Array()
    array.build((1, (), kind, False, data))
    value: int | bool = array.load(machine.file).item()
    return value


def _frombuffer(_: _Machine, data: Any, kind: Any, shape: Any, order: Any, *__: Any) -> Array:
    array = Array()
    array.build((1, shape, kind, _text(order) != "C", data))
    return array


_NAMES: dict[tuple[str, str], Callable[..., Any]] = {
    ("_codecs", "encode"): _encode,
    ("numpy", "dtype"): _dtype,
    ("numpy", "ndarray"): _ndarray,
    **{(module, kind): _bytes for module in ("builtins", "__builtin__") for kind in ("bytes", "bytearray")},
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _frombuffer for core in ("core", "_core")},
}
_CALLABLE = [_encode, _bytes, _dtype, _reconstruct, _scalar, _frombuffer]


def _int(machine: _Machine) -> None:
    line = machine.line(32)
    machine.push(bool(int(line)) if line in (b"00", b"01") else int(line))


def _string(machine: _Machine) -> None:
    """Take a string of Python 2's protocol 0, a literal in quotes."""
    line = machine.line(4 * _MAX_BYTES).strip()
    if len(line) < 2 or line[:1] not in (b"'", b'"') or line[-1:] != line[:1]:
        raise InputError("it holds a string without quotes")
    machine.push(codecs.escape_decode(line[1:-1])[0])


def _long(machine: _Machine) -> None:
    length = machine.number("<B")
    if length > 8:
        raise InputError(f"it holds a number of {length} bytes")
    machine.push(int.from_bytes(machine.take(length), "little", signed=True))


def _put(machine: _Machine, index: int) -> None:
    machine.memo[index] = machine.top()


def _stack_global(machine: _Machine) -> None:
    name, module = machine.pop(), machine.pop()
    machine.find(_text(module)[:100], _text(name)[:100])


def _protocol(machine: _Machine) -> None:
    if (number := machine.number("<B")) > 5:
        raise InputError(f"it is of protocol {number}; 5 is the highest known")


def _global(machine: _Machine) -> None:
    module, name = machine.line(200), machine.line(200)
    machine.find(_text(module), _text(name))


def _unicode_line(machine: _Machine) -> None:
    machine.push(machine.line(4 * _MAX_BYTES).decode("raw-unicode-escape"))


_STEPS: dict[bytes, Callable[[_Machine], None]] = {
    b"\x80": _protocol,
    b"\x95": lambda m: (m.number("<Q"), None)[1],  # a frame: how many bytes follow
    b"(": lambda m: m.push(_MARK),
    b"0": lambda m: (m.pop(), None)[1],
    b"1": lambda m: (m.since_mark(), None)[1],
    b"2": lambda m: m.push(m.top()),
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"I": _int,
    b"L": lambda m: m.push(int(m.line(32).rstrip(b"L"))),
    b"J": lambda m: m.push(m.number("<i")),
    b"K": lambda m: m.push(m.number("<B")),
    b"M": lambda m: m.push(m.number("<H")),
    b"\x8a": _long,
    b"S": _string,
    b"T": lambda m: m.push(m.blob(m.number("<i"))),
    b"U": lambda m: m.push(m.blob(m.number("<B"))),
    b"B": lambda m: m.push(m.blob(m.number("<I"))),
    b"C": lambda m: m.push(m.blob(m.number("<B"))),
    b"\x8e": lambda m: m.push(m.blob(m.number("<Q"))),
    b"\x96": lambda m: m.push(m.blob(m.number("<Q"))),  # a bytearray
    b"V": _unicode_line,
    b"X": lambda m: m.push(m.text(m.number("<I"))),
    b"\x8c": lambda m: m.push(m.text(m.number("<B"))),
    b"\x8d": lambda m: m.push(m.text(m.number("<Q"))),
    b"]": lambda m: m.push([]),
    b"l": lambda m: m.push(m.since_mark()),
    b"a": lambda m: m.append([m.pop()]),
    b"e": lambda m: m.append(m.since_mark()),
    b")": lambda m: m.push(()),
    b"t": lambda m: m.push(tuple(m.since_mark())),
    b"\x85": lambda m: m.several(1),
    b"\x86": lambda m: m.several(2),
    b"\x87": lambda m: m.several(3),
    b"p": lambda m: _put(m, int(m.line(32))),
    b"q": lambda m: _put(m, m.number("<B")),
    b"r": lambda m: _put(m, m.number("<I")),
    b"\x94": lambda m: _put(m, len(m.memo)),
    b"g": lambda m: m.push(m.memo[int(m.line(32))]),
    b"h": lambda m: m.push(m.memo[m.number("<B")]),
    b"j": lambda m: m.push(m.memo[m.number("<I")]),
    b"c": _global,
    b"\x93": _stack_global,
    b"R": lambda m: m.call(),
    b"b": lambda m: m.build(),
}
_REFUSED = {
    **dict.fromkeys((b"F", b"G"), "a number with a fraction"),
    **dict.fromkeys((b"}", b"d", b"s", b"u"), "a dictionary"),
    **dict.fromkeys((b"\x8f", b"\x90", b"\x91"), "a set"),
    **dict.fromkeys((b"i", b"o", b"\x81", b"\x92"), "an object of a class"),
    **dict.fromkeys((b"P", b"Q", b"\x97", b"\x98"), "a reference out of the file"),
    **dict.fromkeys((b"\x82", b"\x83", b"\x84"), "an extension"),
    b"\x8b": "a very long number",
}

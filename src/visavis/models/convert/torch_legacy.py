"""Tensors out of torch's first file format (``torch.save`` before 1.6), without torch and without unpickling.

The file is five pickles and then raw numbers (torch/serialization.py, ``_legacy_save``): a magic number, a protocol
version, the machine's byte order and sizes, the saved object, the keys of its storages, and for each key, in that
order, its length as a 64-bit integer and its elements. A pickle is a program. This one is read by an interpreter of
its own that knows the few instructions a dictionary of tensors is made of; it imports nothing, calls nothing and
refuses all else by name.
"""

from __future__ import annotations

import math
import pickletools
import struct
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.errors import InputError

__all__ = ["read_state_dict"]

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_MAX_BYTES = 256 * 2**20
_MAX_STEPS = 200_000  # instructions of one pickle: a tensor takes about 35
_MAX_AXES = 8

_ELEMENTS = {
    "torch FloatStorage": "<f4",
    "torch DoubleStorage": "<f8",
    "torch HalfStorage": "<f2",
    "torch LongStorage": "<i8",
    "torch IntStorage": "<i4",
    "torch ByteStorage": "u1",
}
_TENSOR = "torch._utils _rebuild_tensor_v2"
_DICT = "collections OrderedDict"
_KNOWN = {_TENSOR, _DICT, *_ELEMENTS}


@dataclass(frozen=True)
class _Name:
    """What a pickle would import; here a name and nothing more."""

    name: str


@dataclass(frozen=True)
class _Storage:
    key: str
    element: str
    count: int


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Mark:
    pass


def read_state_dict(data: bytes) -> dict[str, npt.NDArray[Any]]:
    """Return the tensors of a saved ``state_dict``, by name, as arrays of their own.

    Parameters
    ----------
    data
        The file: what ``torch.save(model.state_dict(), file)`` wrote before torch 1.6, or with
        ``_use_new_zipfile_serialization=False``; little-endian.

    Raises
    ------
    InputError
        If it is not such a file, is truncated or too large, or holds anything but a dictionary of dense tensors.
        Nothing in the file is ever imported or called.

    Examples
    --------
    >>> read_state_dict(b"PK")
    Traceback (most recent call last):
    ...
    visavis.errors.InputError: a .pt file of torch's zip format; its older format is needed
    """
    if data[:2] == b"PK":
        raise InputError("a .pt file of torch's zip format; its older format is needed")
    if len(data) > _MAX_BYTES:
        raise InputError(f"a .pt file of {len(data) / 2**20:.0f} MB; {_MAX_BYTES // 2**20} MB are the limit")
    file = BytesIO(data)
    if _read(file) != _MAGIC:
        raise InputError("not a .pt file of torch: its magic number is missing")
    if _read(file) != _PROTOCOL:
        raise InputError(f"a .pt file of another protocol than {_PROTOCOL}")
    system, tensors, keys = _read(file), _read(file), _read(file)
    if not (isinstance(system, dict) and system.get("little_endian") is True):
        raise InputError("a .pt file of a big-endian machine can't be read")
    if not (isinstance(tensors, dict) and all(isinstance(k, str) for k in tensors)):
        raise InputError("this .pt file holds no dictionary of tensors")
    for name, value in tensors.items():
        if not isinstance(value, _Tensor):
            raise InputError(f"{name[:80]!r} in this .pt file is no dense tensor")
    storages = _storages(file, keys, tensors)
    arrays: dict[str, npt.NDArray[Any]] = {}
    room = _MAX_BYTES  # tensors may share a storage: a small file could ask for any amount of memory
    for name, tensor in tensors.items():
        arrays[name] = _array(name, tensor, storages)
        room -= arrays[name].nbytes
        if room < 0:
            raise InputError(f"the tensors of this .pt file take over {_MAX_BYTES // 2**20} MB, which is the limit")
    return arrays


def _storages(file: BytesIO, keys: Any, tensors: dict[str, _Tensor]) -> dict[str, npt.NDArray[Any]]:
    wanted = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    if not isinstance(keys, list) or len(keys) != len(wanted) or {k for k in keys if isinstance(k, str)} != set(wanted):
        raise InputError("this .pt file is corrupt: its list of storages doesn't fit its tensors")
    found = {}
    for key in keys:
        storage = wanted[key]
        header = file.read(8)
        size = storage.count * np.dtype(storage.element).itemsize
        if len(header) < 8 or struct.unpack("<q", header)[0] != storage.count:
            raise InputError("this .pt file is truncated or corrupt: a storage has another length than its tensors say")
        raw = file.read(size)
        if len(raw) != size:
            raise InputError("this .pt file is truncated: its last numbers are missing")
        found[key] = np.frombuffer(raw, storage.element)
    if file.read(1):
        raise InputError("this .pt file is corrupt: it goes on after its last storage")
    return found


def _array(name: str, tensor: _Tensor, storages: dict[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
    numbers = storages[tensor.storage.key]
    last = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.strides, strict=True))
    empty = 0 in tensor.shape
    # A stride of 0 repeats numbers: a small file could ask for any amount of memory.
    if not empty and (last >= len(numbers) or math.prod(tensor.shape) > len(numbers)):
        raise InputError(f"this .pt file is corrupt: tensor {name[:80]!r} reaches beyond its storage")
    if empty:
        if math.prod(max(side, 1) for side in tensor.shape) > _MAX_BYTES:
            raise InputError(f"this .pt file is corrupt: tensor {name[:80]!r} has an impossible shape")
        return np.zeros(tensor.shape, numbers.dtype)
    size = numbers.dtype.itemsize
    steps = tuple(step * size for step in tensor.strides)
    view: npt.NDArray[Any] = np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.shape, steps)
    copied: npt.NDArray[Any] = view.copy()
    return copied


def _read(file: BytesIO) -> Any:
    """Return what the pickle at the file's position describes, and move behind it."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    try:
        for step, (opcode, argument, _) in enumerate(pickletools.genops(file)):
            if step > _MAX_STEPS:
                raise InputError(f"this .pt file has over {_MAX_STEPS} instructions: not what torch writes")
            if opcode.name == "STOP":
                (result,) = stack
                return result
            do = _INSTRUCTIONS.get(opcode.name)
            if do is None:
                raise InputError(
                    f"this .pt file holds the instruction {opcode.name}, which no dictionary of tensors has"
                )
            do(stack, memo, argument)
    except InputError:
        raise
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError, RecursionError, MemoryError):
        pass
    raise InputError("not a .pt file of torch, or a truncated or corrupt one")


def _from_mark(stack: list[Any]) -> list[Any]:
    at = len(stack) - 1  # looked for from the end: from the start, a file of marks would take hours
    while not isinstance(stack[at], _Mark):
        at -= 1
        if at < 0:
            raise IndexError
    items = stack[at + 1 :]
    del stack[at:]
    return items


def _last(stack: list[Any], count: int) -> list[Any]:
    if len(stack) < count:
        raise IndexError
    items = stack[len(stack) - count :]
    del stack[len(stack) - count :]
    return items


def _global(stack: list[Any], _memo: dict[int, Any], name: str) -> None:
    if name not in _KNOWN:
        raise InputError(
            f"this .pt file asks for {name.replace(' ', '.')[:80]!r}, which no dictionary of tensors needs"
        )
    stack.append(_Name(name))


def _reduce(stack: list[Any], _memo: dict[int, Any], _argument: Any) -> None:
    function, arguments = _last(stack, 2)
    if function == _Name(_DICT) and arguments == ():
        stack.append({})
    elif function == _Name(_TENSOR) and isinstance(arguments, tuple):
        stack.append(_tensor(*arguments))
    else:
        raise InputError("this .pt file makes something that is neither a dictionary nor a tensor")


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_gradient: Any) -> _Tensor:
    numbers = (offset, *shape, *strides)
    if not all(isinstance(n, int) and 0 <= n < 2**40 for n in numbers) or not isinstance(storage, _Storage):
        raise ValueError
    if len(shape) != len(strides) or len(shape) > _MAX_AXES:
        raise ValueError
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _storage(stack: list[Any], _memo: dict[int, Any], _argument: Any) -> None:
    word, kind, key, _place, count, view = stack.pop()
    if word != "storage" or not isinstance(kind, _Name) or kind.name not in _ELEMENTS or view is not None:
        raise InputError("this .pt file holds a storage of a kind that is not known")
    if not (isinstance(key, str) and isinstance(count, int) and 0 <= count <= _MAX_BYTES):
        raise ValueError
    stack.append(_Storage(key, _ELEMENTS[kind.name], count))


def _set_items(stack: list[Any], pairs: list[Any]) -> None:
    target = stack[-1]
    if not isinstance(target, dict) or len(pairs) % 2:
        raise ValueError
    for key, value in zip(pairs[::2], pairs[1::2], strict=True):
        target[key if isinstance(key, (str, int)) else _refuse()] = value


def _refuse() -> str:
    raise ValueError


def _append(stack: list[Any], items: list[Any]) -> None:
    if not isinstance(stack[-1], list):
        raise ValueError
    stack[-1] += items


def _build(stack: list[Any], _memo: dict[int, Any], _argument: Any) -> None:
    """Drop the attributes of a dictionary: torch keeps the versions of its modules there."""
    target, _attributes = _last(stack, 2)
    if not isinstance(target, dict):
        raise InputError("this .pt file sets attributes of something other than a dictionary")
    stack.append(target)


_Instruction = Callable[[list[Any], dict[int, Any], Any], None]


def _push(stack: list[Any], _memo: dict[int, Any], value: Any) -> None:
    stack.append(value)


def _put(stack: list[Any], memo: dict[int, Any], index: int) -> None:
    memo[index] = stack[-1]


def _get(stack: list[Any], memo: dict[int, Any], index: int) -> None:
    stack.append(memo[index])


_INSTRUCTIONS: dict[str, _Instruction] = {
    "PROTO": lambda _stack, _memo, _version: None,
    "MARK": lambda stack, _memo, _: stack.append(_Mark()),
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE"), _push),
    "NONE": lambda stack, _memo, _: stack.append(None),
    "NEWTRUE": lambda stack, _memo, _: stack.append(True),
    "NEWFALSE": lambda stack, _memo, _: stack.append(False),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), _put),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), _get),
    "EMPTY_DICT": lambda stack, _memo, _: stack.append({}),
    "EMPTY_LIST": lambda stack, _memo, _: stack.append([]),
    "EMPTY_TUPLE": lambda stack, _memo, _: stack.append(()),
    "TUPLE": lambda stack, _memo, _: stack.append(tuple(_from_mark(stack))),
    "TUPLE1": lambda stack, _memo, _: stack.append(tuple(_last(stack, 1))),
    "TUPLE2": lambda stack, _memo, _: stack.append(tuple(_last(stack, 2))),
    "TUPLE3": lambda stack, _memo, _: stack.append(tuple(_last(stack, 3))),
    "SETITEM": lambda stack, _memo, _: _set_items(stack, _last(stack, 2)),
    "SETITEMS": lambda stack, _memo, _: _set_items(stack, _from_mark(stack)),
    "APPEND": lambda stack, _memo, _: _append(stack, _last(stack, 1)),
    "APPENDS": lambda stack, _memo, _: _append(stack, _from_mark(stack)),
    "GLOBAL": _global,
    "REDUCE": _reduce,
    "BINPERSID": _storage,
    "BUILD": _build,
}

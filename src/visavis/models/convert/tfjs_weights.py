"""Weights of TensorFlow.js: a manifest in JSON says where in one or more binary files each tensor lies, and how.

The format is described by its reader's types, `WeightsManifestConfig` of @tensorflow/tfjs-core: groups of ``paths``,
whose files are read as one, and ``weights`` that follow each other in them without gaps, little-endian. Quantized
weights are stored as float16, or as uint8 or uint16 ``q`` for ``q * scale + min``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.errors import InputError

__all__ = ["parse_json", "read_manifest", "read_weights"]

Array = npt.NDArray[Any]

_JSON_LIMIT = 1 << 24  # bytes; the largest model of the packages has 0.6 MB of JSON
_MOST_WEIGHTS = 20_000
_MOST_AXES = 8
_STORED = {"float32": "<f4", "int32": "<i4"}
_QUANTIZED = {"float16": "<f2", "uint8": "<u1", "uint16": "<u2"}


def parse_json(data: bytes) -> Any:
    """Return the value a JSON file holds.

    Raises
    ------
    InputError
        If it is not JSON, or larger than any model's.
    """
    if len(data) > _JSON_LIMIT:
        raise InputError(f"a TensorFlow.js model has at most {_JSON_LIMIT >> 20} MB of JSON, not {len(data) >> 20}")
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"not JSON, or a truncated file: {str(error)[:100]}") from None


def read_manifest(data: bytes, files: Mapping[str, bytes]) -> dict[str, Array]:
    """Return the tensors of a weight manifest that is a file of its own; see `read_weights`."""
    return read_weights(parse_json(data), files)


def read_weights(manifest: Any, files: Mapping[str, bytes]) -> dict[str, Array]:
    """Return the tensors that a parsed manifest describes, by name.

    Parameters
    ----------
    manifest
        The list of groups: a ``*-weights_manifest.json``, or ``weightsManifest`` of a ``model.json``.
    files
        The binary files by the names that the manifest gives them.

    Returns
    -------
    Float32 and int32 arrays in the shapes stated. Together they take at most four times the files' size, since every
    byte of a tensor has to be there.

    Raises
    ------
    InputError
        If a file is missing or of another size than its weights, or a shape or dtype is impossible.

    Examples
    --------
    >>> weight = {"name": "w", "shape": [2], "dtype": "float32",
    ...           "quantization": {"dtype": "uint8", "scale": 0.5, "min": -1.0}}
    >>> read_weights([{"paths": ["w.bin"], "weights": [weight]}], {"w.bin": bytes([0, 4])})
    {'w': array([-1.,  1.], dtype=float32)}
    """
    tensors: dict[str, Array] = {}
    try:
        for group in manifest:
            _read_group(group, files, tensors)
    except InputError:
        raise
    except (KeyError, TypeError, AttributeError, IndexError, ValueError, OverflowError) as error:
        raise InputError(f"not a TensorFlow.js weight manifest: it lacks or misstates {error}") from None
    if not tensors:
        raise InputError("not a TensorFlow.js weight manifest: it lists no weights")
    return tensors


def _read_group(group: Mapping[str, Any], files: Mapping[str, bytes], tensors: dict[str, Array]) -> None:
    paths, weights = group["paths"], group["weights"]
    for path in paths:
        if path not in files:
            raise InputError(f"the file {str(path)[:80]!r}, which the weight manifest names, is missing")
    data = b"".join(files[path] for path in paths)
    if len(tensors) + len(weights) > _MOST_WEIGHTS:
        raise InputError(f"more than {_MOST_WEIGHTS} weights: not a model for here")
    offset = 0
    for weight in weights:
        name = weight["name"]
        if not isinstance(name, str) or name in tensors:
            raise InputError(f"each weight has a name of its own, unlike {str(name)[:80]!r}")
        shape, kind = _shape(weight), _stored(weight)
        size = math.prod(shape) * kind.itemsize
        if offset + size > len(data):
            raise InputError(
                f"weight {name[:80]!r} of shape {_short(shape)} ends beyond its file of {len(data):,} bytes: "
                "truncated, or not the file of this manifest"
            )
        raw = np.frombuffer(data, kind, math.prod(shape), offset).reshape(shape)
        tensors[name] = _restored(raw, weight)
        offset += size
    if offset != len(data):
        raise InputError(
            f"{', '.join(paths)} has {len(data):,} bytes, but its weights {offset:,}: not of this manifest"
        )


def _shape(weight: Mapping[str, Any]) -> tuple[int, ...]:
    shape = tuple(weight["shape"])
    if len(shape) > _MOST_AXES or not all(type(side) is int and 0 <= side < 2**31 for side in shape):
        raise InputError(f"weight {weight['name'][:80]!r} has the impossible shape {_short(shape)}")
    return shape


def _stored(weight: Mapping[str, Any]) -> np.dtype[Any]:
    """Return the dtype a weight has in the file."""
    dtype, quantization = weight["dtype"], weight.get("quantization")
    if dtype not in _STORED:
        raise InputError(f"weight {weight['name'][:80]!r} has the dtype {str(dtype)[:40]!r}, not float32 or int32")
    if quantization is None:
        return np.dtype(_STORED[dtype])
    if quantization["dtype"] not in _QUANTIZED:
        kind = str(quantization["dtype"])[:40]
        raise InputError(f"weight {weight['name'][:80]!r} is quantized to {kind!r}, not {', '.join(_QUANTIZED)}")
    return np.dtype(_QUANTIZED[quantization["dtype"]])


def _restored(raw: Array, weight: Mapping[str, Any]) -> Array:
    """Undo the quantization; as TensorFlow.js does, in float64 before it is rounded to the weight's dtype."""
    values: Array = raw
    if raw.dtype.kind == "u":
        scale, least = (weight["quantization"][key] for key in ("scale", "min"))
        if not all(isinstance(v, (int, float)) and math.isfinite(v) and abs(v) < 1e30 for v in (scale, least)):
            raise InputError(
                f"weight {weight['name'][:80]!r} has the impossible scale {scale!r:.40} or min {least!r:.40}"
            )
        values = raw * float(scale) + float(least)
    if weight["dtype"] == "int32":
        values = np.round(values).clip(-(2.0**31), 2**31 - 1)
        return values.astype(np.int32)
    restored = values.astype(np.float32)
    if not np.isfinite(restored).all():
        raise InputError(f"weight {weight['name'][:80]!r} holds NaN or infinity: a damaged file")
    return restored


def _short(shape: tuple[Any, ...]) -> str:
    return str(list(shape))[:80]

"""Converters: each turns the bytes of a package's member into the bytes of the file that is run.

A card names its converter; the table below says where it lives, so that only the one needed is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from visavis.errors import InputError

__all__ = ["CONVERTERS", "convert", "suffix"]

CONVERTERS = {
    "onnx-float32": ("visavis.models.convert.fold:float32_any_batch", ".onnx"),
    "onnx-float32-any-size": ("visavis.models.convert.fold:float32_any_size", ".onnx"),
    "dlib-mmod": ("visavis.models.convert.dlib_mmod:dlib_mmod", ".onnx"),
    "dlib-resnet": ("visavis.models.convert.dlib_resnet:dlib_resnet", ".onnx"),
    "tflite": ("visavis.models.convert.tflite:to_onnx", ".onnx"),
    "dlib-trees": ("visavis.models.convert.dlib_trees:regression_trees", ".npz"),
    "tfjs-graph": ("visavis.models.convert.tfjs_graph:graph_model", ".onnx"),
    "ssd-mobilenet": ("visavis.models.convert.ssd_mobilenet:ssd_mobilenet", ".onnx"),
    "mtcnn-pnet": ("visavis.models.convert.mtcnn:pnet", ".onnx"),
    "mtcnn-rnet": ("visavis.models.convert.mtcnn:rnet", ".onnx"),
    "mtcnn-onet": ("visavis.models.convert.mtcnn:onet", ".onnx"),
}
"""Converter to its function and to the ending of the files it makes."""


def suffix(converter: str) -> str:
    """Return the ending of what a converter makes; that of an ONNX file for one that there is not."""
    return CONVERTERS[converter][1] if converter in CONVERTERS else ".onnx"


def convert(converter: str, data: bytes, companions: Mapping[str, bytes] | None = None) -> bytes:
    """Run ``converter`` (a key of `CONVERTERS`, or "" for none) over a member's bytes.

    Parameters
    ----------
    companions
        The files beside the member that its card names, by name. A converter gets them as its second argument
        where there are any.

    Raises
    ------
    InputError
        If there is no such converter, or the bytes are not what it takes.
    """
    if not converter:
        return data
    if converter not in CONVERTERS:
        raise InputError(f"no converter {converter!r}; there are {', '.join(CONVERTERS)}")
    module, _, function = CONVERTERS[converter][0].partition(":")
    converted: bytes = getattr(import_module(module), function)(data, *([companions] if companions else []))
    return converted

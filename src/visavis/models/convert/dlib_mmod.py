"""dlib's MMOD face detector (``mmod_human_face_detector.dat``) to ONNX.

A network of seven convolutions (King, "Max-Margin Object Detection", 2015) that slides a window of 80 x 80 pixels over
a picture in steps of 8. The plan of its layers is that of dlib's ``dnn_mmod_face_detection_ex.cpp``.
"""

from __future__ import annotations

from collections.abc import Iterator

from visavis.errors import InputError
from visavis.models.convert.dlib_format import DlibReader
from visavis.models.convert.dlib_network import Layer, Network, Value, read_mean, read_network, read_versions

__all__ = ["dlib_mmod"]

_WINDOW = 80
_CONVOLUTIONS = ((16, 5, 2), (32, 5, 2), (32, 5, 2), (45, 5, 1), (45, 5, 1), (45, 5, 1))
"""From the input outwards: filters, window and stride; each is followed by an affine layer and a ReLU."""


def dlib_mmod(data: bytes) -> bytes:
    """Convert the file to ONNX: ``image (n, 3, h, w)`` to ``margin (n, 1, rows, columns)``, all sides free.

    The image is RGB less dlib's means, divided by 256. The margin at row r and column c is that of a window centered
    on the pixel ``(8 c + 14, 8 r + 14)``.

    Raises
    ------
    InputError
        If the file is another, cut short, or not of dlib.
    """
    reader = DlibReader(data)
    plan = list(_plan())
    reader.expect(1)
    reader.expect("loss_mmod_")
    reader.expect(1)
    if reader.integers(2).tolist() != [_WINDOW, _WINDOW]:
        raise InputError(f"not dlib's face detector: its window is not of {_WINDOW} pixels")
    reader.floats(3)  # what training weighed
    reader.floats(4)  # which overlaps it left out
    read_versions(reader, plan)
    reader.expect("input_rgb_image_pyramid")
    read_mean(reader)
    network = Network(Value("image", 3, 0))
    read_network(reader, plan, network)
    return network.to_onnx("margin", ("n", 3, "h", "w"), ("n", 1, "rows", "columns"))


def _plan() -> Iterator[Layer]:
    """Yield the layers from the input outwards."""
    for filters, window, stride in _CONVOLUTIONS:
        yield from (Layer("con", filters, window, stride), Layer("affine"), Layer("relu"))
    yield Layer("con", 1, 9)

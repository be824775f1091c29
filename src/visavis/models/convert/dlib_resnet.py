"""dlib's face recognition ResNet (``dlib_face_recognition_resnet_model_v1.dat``) to ONNX, exactly.

The network is the ResNet-34 of He et al. ("Deep Residual Learning for Image Recognition", CVPR 2016) with 29 layers
and half the filters. Where a block has fewer channels, rows or columns than what is added to it, dlib takes the
missing ones for zero. The plan of its layers is that of dlib's ``dnn_face_recognition_ex.cpp``.
"""

from __future__ import annotations

from collections.abc import Iterator

from visavis.models.convert.dlib_format import DlibReader
from visavis.models.convert.dlib_network import Layer, Network, Value, read_mean, read_network, read_versions

__all__ = ["dlib_resnet"]

_SIDE = 150
_DIMENSION = 128
_LEVELS = ((32, 3, False), (64, 4, True), (128, 3, True), (256, 3, True), (256, 1, True))
"""From the input outwards: filters, residual blocks, and whether the first of them halves rows and columns."""


def dlib_resnet(data: bytes) -> bytes:
    """Convert the file to ONNX: ``image (n, 3, 150, 150)`` to ``embedding (n, 128)``, batch axis free.

    The image is RGB less dlib's means, divided by 256: what the card's ``input`` does.

    Raises
    ------
    InputError
        If the file is another, cut short, or not of dlib.
    """
    reader = DlibReader(data)
    plan = list(_plan())
    reader.expect(1)
    reader.expect("loss_metric_2")
    reader.floats(2)  # margin and threshold of the loss
    read_versions(reader, plan)
    reader.expect("input_rgb_image_sized")
    read_mean(reader)
    reader.expect(_SIDE)
    reader.expect(_SIDE)
    network = Network(Value("image", 3, _SIDE))
    read_network(reader, plan, network)
    return network.to_onnx("embedding", ("n", 3, _SIDE, _SIDE), ("n", _DIMENSION))


def _plan() -> Iterator[Layer]:
    """Yield the layers from the input outwards."""
    yield from (Layer("con", 32, 7, 2), Layer("affine"), Layer("relu"), Layer("max_pool", 0, 3, 2))
    for filters, blocks, halves in _LEVELS:
        for i in range(blocks):
            down = halves and i == 0
            yield Layer("tag", 1)
            yield from (Layer("con", filters, 3, 2 if down else 1), Layer("affine"), Layer("relu"))
            yield from (Layer("con", filters, 3), Layer("affine"))
            if down:
                yield from (Layer("tag", 2), Layer("skip", 1), Layer("avg_pool", 0, 2, 2), Layer("add_prev", 2))
            else:
                yield Layer("add_prev", 1)
            yield Layer("relu")
    yield from (Layer("avg_pool"), Layer("fc", _DIMENSION))

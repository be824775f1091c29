"""A user's own recognizer: what is checked of its ONNX file, and how its card is written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from visavis.alignment import TEMPLATES
from visavis.errors import EngineError, InputError
from visavis.models.cards import InputSpec, ModelCard, triple
from visavis.types import FloatArray

__all__ = ["card_toml", "prepare_recognizer"]

_FILE_LIMIT = 1 << 30  # bytes; ArcFace's ResNet-100 has a quarter of it
_BATCH_LIMIT = 256
_FLOAT32 = 1  # onnx.TensorProto.FLOAT


def prepare_recognizer(
    file: Path,
    work: Path,
    *,
    name: str,
    size: tuple[int, int],
    mean: float | Sequence[float],
    scale: float | Sequence[float],
    order: Literal["rgb", "bgr"],
    alignment: str,
    license: str = "unknown",
    commercial_use: bool | None = None,
    dimension: int | None = None,
    title: str = "",
    output: str | None = None,
) -> tuple[ModelCard, bytes]:
    """Check a recognizer against what the user says of it; return its card and the ONNX bytes to store.

    The parameters are those of `visavis.models.store.Store.add`; ``work`` is a folder for a passing file. The
    network is run: its batch axis is made free, and a batch must give what single faces give.

    Raises
    ------
    InputError
        If the file is not an ONNX network, or not as described.
    """
    if alignment not in TEMPLATES:
        raise InputError(f"no alignment template {alignment!r}; there are {', '.join(TEMPLATES)}")
    if min(size) < 16 or size[0] != size[1]:
        raise InputError(f"faces are cropped to squares of at least 16 pixels, not {size[0]}x{size[1]}")
    data = _read(file)
    try:
        model, layout, batch = _one_image_in_one_vector_out(data, size, output)
        spec = InputSpec(size=size, order=order, mean=triple(mean), scale=triple(scale), layout=layout)
        ready: bytes = model.SerializeToString(deterministic=True)
        found = _run(data, batch, ready, spec, work)
        if dimension is not None and dimension != found:
            raise InputError(f"its embeddings have {found} numbers, not {dimension}")
    except InputError as error:
        raise InputError(f"{file.name}: {error}") from None
    card = ModelCard(
        id=name,
        task="recognition",
        title=title or file.name,
        license=license or "unknown",
        commercial_use=commercial_use,
        member_sha256=hashlib.sha256(data).hexdigest(),
        input=spec,
        output=f"{found} numbers a face, to be scaled to unit length; cosine similarity compares them",
        alignment=alignment,
        dimension=found,
        user_added=True,
    )
    return card, ready


def card_toml(card: ModelCard) -> str:
    """Write a user's card as the TOML text that `visavis.models.cards.parse_cards` reads.

    Floats are written so that they read back to the same bits.
    """
    assert card.input is not None
    fields: dict[str, Any] = {
        "task": card.task,
        "title": card.title,
        "license": card.license,
        "commercial_use": card.commercial_use,
        "member_sha256": card.member_sha256,
        "output": card.output,
        "alignment": card.alignment,
        "dimension": card.dimension,
    }
    taken: dict[str, Any] = {
        "size": list(card.input.size),
        "order": card.input.order,
        "mean": list(card.input.mean),
        "scale": list(card.input.scale),
        "layout": card.input.layout,
    }
    lines = [f'["{card.id}"]', *_rows(fields), "", f'["{card.id}".input]', *_rows(taken)]
    return "\n".join(lines) + "\n"


def _rows(fields: dict[str, Any]) -> list[str]:
    # JSON's strings, numbers, booleans and lists of them are TOML too, but for the DEL character.
    values = {key: json.dumps(value, ensure_ascii=False) for key, value in fields.items()}
    return [f"{key} = {value}".replace("\x7f", "\\u007f") for key, value in values.items() if value != "null"]


def _read(file: Path) -> bytes:
    try:
        size = file.stat().st_size
        if not file.is_file():
            raise InputError(f"{file} is not a file")
        if size > _FILE_LIMIT:
            raise InputError(f"{file} has {size >> 20} MB; at most {_FILE_LIMIT >> 20} MB are taken")
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"can't read {file}: {error.strerror or error}") from None


def _one_image_in_one_vector_out(
    data: bytes, size: tuple[int, int], output: str | None
) -> tuple[Any, Literal["nchw", "nhwc"], int]:
    """Return the network with a free batch axis, its input's layout and the batch it declares, 1 for any."""
    from visavis.models.convert.fold import fold_constants, free_axes, load_model

    model = load_model(data)
    fold_constants(model)
    graph = model.graph
    if len(graph.input) != 1:
        raise InputError(f"it has {len(graph.input)} inputs; a recognizer takes one image")
    image = graph.input[0].type.tensor_type
    dims = [dim.dim_value or dim.dim_param or "?" for dim in image.shape.dim]
    shape = "x".join(map(str, dims))
    if len(dims) != 4 or image.elem_type != _FLOAT32:
        raise InputError(f"its input is {shape}; float32 images of four axes are needed")
    if dims[1] == 3 and dims[3] != 3:
        layout: Literal["nchw", "nhwc"] = "nchw"
    elif dims[3] == 3 and dims[1] != 3:
        layout = "nhwc"
    else:
        raise InputError(f"its input is {shape}; which axis holds the three colors can't be told")
    sides = dims[2:] if layout == "nchw" else dims[1:3]
    if any(isinstance(found, int) and found != wanted for found, wanted in zip(sides, size, strict=True)):
        raise InputError(f"its input is {sides[0]}x{sides[1]} pixels, not {size[0]}x{size[1]}")

    names = [value.name for value in graph.output]
    if output is not None and output not in names:
        raise InputError(f"it has no output {output!r}; there are {', '.join(names)}")
    if output is None and len(names) > 1:
        raise InputError(f"it has several outputs ({', '.join(names)}); say which is the embedding")
    for value in [value for value in graph.output if output is not None and value.name != output]:
        graph.output.remove(value)
    free_axes(model, ("n",))
    batch = dims[0] if isinstance(dims[0], int) else 1
    if batch > _BATCH_LIMIT:
        raise InputError(f"it takes {batch} faces at once; export it with a free batch axis")
    return model, layout, batch


def _run(given: bytes, batch: int, ready: bytes, spec: InputSpec, work: Path) -> int:
    """Run the network on noise, as given and made ready; return the length of its embedding."""
    from visavis.models.session import EngineOptions, open_session

    (work / "given.onnx").write_bytes(given)
    (work / "ready.onnx").write_bytes(ready)
    images = np.random.default_rng(0).integers(0, 256, (3, *spec.size, 3), np.uint8)
    options = EngineOptions.choose(precision="f32")
    try:
        session = open_session(work / "ready.onnx", spec, options)
        single = [next(iter(session.run(images[k : k + 1]).values())) for k in range(len(images))]
        (name,) = session.run(images[:1])
        before = open_session(work / "given.onnx", spec, options).run(images[[0] * batch])[name]
    except EngineError as error:
        raise InputError(f"it does not run: {error}") from None
    if single[0].ndim != 2 or len(single[0]) != 1 or single[0].shape[1] < 2:
        shape = "x".join(map(str, single[0].shape))
        raise InputError(f"a face gives an output of {shape}; a recognizer gives one row of numbers, 1xd")
    if not np.isfinite(single).all():
        raise InputError("it gives NaN or infinity for pixels of 0 to 255; check its mean and scale")
    if not _close(single[0], before[:1]):
        raise InputError("it gives other results once its constants are folded; please report this network")
    try:
        (together,) = session.run(images).values()
    except EngineError as error:
        raise InputError(f"it takes one face at a time ({error}); export it with a free batch axis") from None
    if not _close(together, np.concatenate(single)):
        raise InputError("a batch gives other results than single faces; export it with a free batch axis")
    return int(together.shape[1])


def _close(a: FloatArray, b: FloatArray) -> bool:
    return a.shape == b.shape and bool(np.abs(a - b).max() <= 1e-3 * np.abs(b).max())

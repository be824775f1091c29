"""WIDER FACE: ground truth as .txt and .mat, and predictions as a folder an event and a file a picture.

http://shuoyang1213.me/WIDERFACE (Yang et al., "WIDER FACE: A Face Detection Benchmark", CVPR 2016). Boxes are left,
top, width and height in pixels.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.datasets.annotations.annotation import Annotation, corners
from visavis.datasets.annotations.text import (
    MAX_BOXES,
    Folder,
    checked_name,
    limited_count,
    lines_of,
    new_file,
    numbers,
    short,
)
from visavis.errors import EngineError, InputError
from visavis.files import IMAGE_SUFFIXES, printable_path, reason

__all__ = ["FLAGS", "read", "write", "write_predictions"]

FLAGS = ("blur", "expression", "illumination", "invalid", "occlusion", "pose")
"""What follows a box in ``wider_face_*_bbx_gt.txt``, in this order; 0 is clear, typical, normal, valid, none."""
DIFFICULTIES = ("easy", "medium", "hard")
_MAX_MAT = 256 * 2**20  # bytes of a .mat, and 1 GiB unpacked; WIDER FACE's have 1 MB
_MAX_UNPACKED = 2**30


def read(path: Path) -> Iterator[Annotation]:
    """Read ground truth or predictions.

    Parameters
    ----------
    path
        ``wider_face_val_bbx_gt.txt``; ``wider_face_val.mat``; ``wider_easy_val.mat`` (or medium, hard), whose list of
        faces that count becomes the trait ``easy``; a folder with all three, whose lists become three traits; or a
        folder of predictions.

    Raises
    ------
    InputError
        If a file can't be read, with the line where it broke.
    """
    if path.is_dir():
        lists = [path / f"wider_{name}_val.mat" for name in DIFFICULTIES]
        there = [file for file in lists if file.is_file()]
        return _joined(there) if there else _predictions(path)
    return _mat(path) if path.suffix.lower() == ".mat" else _ground_truth(path)


def _blocks(path: Path) -> Iterator[tuple[str, list[list[float]]]]:
    """Yield the name and the rows of each picture of a list."""
    lines = lines_of(path)
    following = next(lines, None)
    while following is not None:
        name, at = following
        count_text, count_at = next(lines, ("", f"{at}, then the end of the file"))
        count = limited_count(count_text, count_at)
        # A picture without faces has, in the published lists, one row of zeros.
        rows: list[list[float]] = []
        for _ in range(count):
            text, row_at = next(lines, ("", f"{path.name}, its end"))
            if not text:
                raise InputError(f"{path.name} is cut off: {name} announces {count} boxes and has {len(rows)}")
            rows.append(numbers(text.split(), row_at, (4, 5, 10)))
            if rows[-1][2] < 0 or rows[-1][3] < 0:
                raise InputError(f"{row_at}: a box of negative size: {short(text)}")
            if len(rows[-1]) != len(rows[0]):
                raise InputError(f"{row_at}: {len(rows[-1])} numbers where the line before has {len(rows[0])}")
        yield checked_name(name, at), rows
        following = next(lines, None)
        if not count and following is not None and following[0].split() == ["0"] * 10:
            following = next(lines, None)


def _ground_truth(path: Path) -> Iterator[Annotation]:
    for name, rows in _blocks(path):
        values = np.array(rows, np.float64).reshape(len(rows), -1 if rows else 10)
        flags = values[:, 4:] if values.shape[1] == 10 else np.zeros((len(rows), 0))
        traits = {flag: flags[:, k].astype(np.int16) for k, flag in enumerate(FLAGS) if k < flags.shape[1]}
        scores = values[:, 4].astype(np.float32) if values.shape[1] == 5 else None
        yield Annotation(name, corners(values[:, :4]), scores=scores, traits=traits)


def _predictions(folder: Path) -> Iterator[Annotation]:
    files = sorted(folder.glob("*/*.txt"))
    if not files:
        raise InputError(
            f"{printable_path(folder)} holds no predictions as EVENT/PICTURE.txt, and no wider_easy_val.mat"
        )
    for file in files:
        rows: list[list[float]] = []
        lines = lines_of(file)
        said, _ = next(lines, ("", ""))
        text, at = next(lines, ("", f"{file.name}, its end"))
        count = limited_count(text, at)
        for text, at in lines:
            rows.append(numbers(text.split(), at, (5,)))
            if rows[-1][2] < 0 or rows[-1][3] < 0:
                raise InputError(f"{at}: a box of negative size: {short(text)}")
        if len(rows) != count:
            raise InputError(f"{file.parent.name}/{file.name} announces {count} boxes and has {len(rows)}")
        values = np.array(rows, np.float64).reshape(-1, 5)
        # The first line spells the picture's name in many ways: the file's own counts, and the suffix that it may say.
        suffix = PurePosixPath(said).suffix if PurePosixPath(said).suffix.lower() in IMAGE_SUFFIXES else ".jpg"
        name = f"{file.parent.name}/{file.stem}{suffix}"
        yield Annotation(name, corners(values[:, :4]), scores=values[:, 4].astype(np.float32))


def _mat(path: Path, trait: str | None = None) -> Iterator[Annotation]:
    content = _load(path)
    # wider_easy_val.mat: the middle word names the difficulty, and gt_list the faces that count.
    word = path.stem.split("_")[1] if path.stem.count("_") >= 2 else ""
    trait = trait or (word if word in DIFFICULTIES else "counted")
    listed = content.get("gt_list")
    try:
        for e, event in enumerate(_cells(content["event_list"])):
            files, boxes = _cells(content["file_list"][e]), _cells(content["face_bbx_list"][e])
            counted = None if listed is None else _cells(listed[e])
            flags = {
                name: _cells(content[f"{name}_label_list"][e]) for name in FLAGS if f"{name}_label_list" in content
            }
            for f, file in enumerate(files):
                values = np.asarray(boxes[f], np.float64).reshape(-1, 4)
                if len(values) > MAX_BOXES or not np.isfinite(values).all():
                    raise InputError(f"{path.name}: the boxes of {_word(file)} are too many, or not finite")
                traits: dict[str, npt.NDArray[Any]] = {
                    name: np.asarray(column[f]).reshape(-1).astype(np.int16) for name, column in flags.items()
                }
                if counted is not None:
                    rows = np.asarray(counted[f]).reshape(-1).astype(np.int64)
                    if len(rows) and (rows.min() < 1 or rows.max() > len(values)):
                        raise InputError(f"{path.name}: gt_list of {_word(file)} counts boxes that are not there")
                    mask = np.zeros(len(values), bool)
                    mask[rows - 1] = True  # MATLAB counts from 1
                    traits[trait] = mask
                name = checked_name(f"{_word(event)}/{_word(file)}.jpg", path.name)
                yield Annotation(name, corners(values), traits=traits)
    except (KeyError, IndexError, ValueError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path.name} is no ground truth of WIDER FACE: {reason(error)}") from None


def _joined(files: list[Path]) -> Iterator[Annotation]:
    """Read the lists of several difficulties, which name the same pictures in the same order."""
    names = [file.stem.split("_")[1] for file in files]
    rows = [_mat(file, name) for file, name in zip(files, names, strict=True)]
    for first in rows[0]:
        traits = dict(first.traits)
        for file, name, other in zip(files[1:], names[1:], rows[1:], strict=True):
            match = next(other, None)
            if match is None or match.image != first.image or len(match) != len(first):
                raise InputError(f"{file.name} names other pictures or boxes than {files[0].name}, at {first.image}")
            traits[name] = match.traits[name]
        yield first.replace(traits=traits)


def _cells(value: Any) -> list[Any]:
    """Return what a cell array of MATLAB holds; a cell may hold the array itself."""
    array = np.asarray(value)
    while array.dtype == object and array.size == 1 and np.asarray(array.flat[0]).dtype == object:
        array = np.asarray(array.flat[0])
    return list(array.reshape(-1)) if array.dtype == object else [array]


def _word(value: Any) -> str:
    array = np.asarray(value)
    while array.dtype == object and array.size == 1:
        array = np.asarray(array.flat[0])
    if array.dtype.kind != "U" or array.size != 1:
        raise ValueError("a name is missing")
    return str(array.flat[0])


def _load(path: Path) -> dict[str, Any]:
    """Read a MATLAB file (level 5, what version 7 writes), after measuring what it unpacks to."""
    try:
        from scipy.io import loadmat
        from scipy.io.matlab import MatReadError
    except ImportError:
        raise EngineError(
            "reading .mat needs the package scipy; install it with: pip install 'visavis[evaluate]'"
        ) from None
    try:
        if not path.is_file():
            raise InputError(f"{printable_path(path)} is no file; check the path")
        if path.stat().st_size > _MAX_MAT:
            raise InputError(f"{path.name} has over {_MAX_MAT} bytes, the limit for ground truth in a .mat")
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{printable_path(path)} can't be read: {reason(error)}") from None
    if not data.startswith(b"MATLAB 5.0"):
        raise InputError(f"{path.name} is no MATLAB file of level 5 (version 6 or 7); save it as one")
    _measure(data, path.name)
    import io

    try:
        return dict(loadmat(io.BytesIO(data), chars_as_strings=True, squeeze_me=False, struct_as_record=True))
    except (MatReadError, ValueError, TypeError, KeyError, IndexError, OSError, zlib.error, MemoryError) as error:
        raise InputError(f"{path.name} is damaged: {reason(error)}") from None
    except Exception as error:  # noqa: BLE001 (the reader raises whatever the bytes lead it into)
        raise InputError(f"{path.name} is damaged: {type(error).__name__}") from None


def _measure(data: bytes, name: str) -> None:
    """Refuse a file whose elements unpack to more than `_MAX_UNPACKED`, without unpacking them into memory."""
    order = "little" if data[126:128] == b"IM" else "big"
    at, total = 128, 0
    while at + 8 <= len(data):
        kind = int.from_bytes(data[at : at + 4], order)  # type: ignore[arg-type]
        size = int.from_bytes(data[at + 4 : at + 8], order)  # type: ignore[arg-type]
        if kind == 15:  # miCOMPRESSED
            unpacker = zlib.decompressobj()
            rest = data[at + 8 : at + 8 + size]
            try:
                while rest:
                    total += len(unpacker.decompress(rest, 2**20))
                    rest = unpacker.unconsumed_tail
                    if total > _MAX_UNPACKED:
                        raise InputError(f"{name} unpacks to over {_MAX_UNPACKED} bytes; that is no list of faces")
            except zlib.error as error:
                raise InputError(f"{name} is damaged: {error}") from None
        at += 8 + size


def write(path: Path, items: Iterable[Annotation]) -> None:
    """Write ``wider_face_*_bbx_gt.txt``: whole pixels, as the original; traits of WIDER FACE are kept."""
    with new_file(path) as file:
        for item in items:
            file.write(f"{item.image}\n{len(item)}\n")
            rows = np.rint(item.boxes).astype(np.int64)
            flags = np.stack([item.trait(name).astype(np.int64) for name in FLAGS], axis=1)
            for box, flag in zip(rows, flags, strict=True):
                words = [box[0], box[1], box[2] - box[0], box[3] - box[1], *flag]
                file.write(" ".join(map(str, words)) + "\n")
            if not len(item):
                file.write("0 0 0 0 0 0 0 0 0 0\n")


def write_predictions(path: Path, items: Iterable[Annotation]) -> None:
    """Write ``EVENT/PICTURE.txt``, as the evaluation of WIDER FACE reads them; boxes without a score get 1."""
    folder = Folder(path)
    for item in items:
        parts = item.image.rsplit("/", 2)
        if len(parts) != 2 or not parts[1].lower().endswith(tuple(IMAGE_SUFFIXES)):
            raise InputError(f"{item.image} is no EVENT/PICTURE.jpg, which predictions for WIDER FACE need")
        stem = parts[1].rsplit(".", 1)[0]
        scores = np.ones(len(item)) if item.scores is None else item.scores
        with folder.file(f"{parts[0]}/{stem}.txt", item.image) as file:
            file.write(f"{item.image}\n{len(item)}\n")
            for i in np.argsort(-scores, kind="stable"):
                x1, y1, x2, y2 = (float(v) for v in item.boxes[i])
                file.write(f"{x1:.2f} {y1:.2f} {x2 - x1:.2f} {y2 - y1:.2f} {float(scores[i]):.6f}\n")

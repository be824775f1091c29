"""TensorFlow's records: ``.tfrecord`` files of ``tf.train.Example``, read and written without TensorFlow.

A record is its length (8 bytes), a checksum of that, the payload, and a checksum of it: CRC-32C, rotated and offset so
that checksums of checksums don't cancel. The payload is a protocol buffer, a map from names to lists of bytes, floats
or integers. Source: ``tensorflow/core/lib/io/record_writer.h`` and ``tensorflow/core/example/*.proto``.
"""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import count, islice
from pathlib import Path
from typing import Any, BinaryIO

from visavis.datasets.containers.samples import (
    MAX_IMAGE,
    Bad,
    Classes,
    Sample,
    find_labels,
    image_suffix,
    labels_path,
    put_each,
    read_each,
    usable_key,
)
from visavis.datasets.containers.shards import Shards, find_shards
from visavis.datasets.containers.staging import staged
from visavis.errors import EngineError, InputError
from visavis.files import printable_path, reason

__all__ = ["Keys", "decode_example", "encode_example", "read_records", "read_tfrecord", "write_tfrecord"]

_START = struct.Struct("<QI")
_SUM = struct.Struct("<I")
_LIMIT = MAX_IMAGE + 2**20  # the image and what is said of it
_BUFFER = 2**20
_GZIP = b"\x1f\x8b"
_KINDS = {"bytes_list": 1, "float_list": 2, "int64_list": 3}  # fields of tensorflow.Feature

Value = list[bytes] | list[float] | list[int]


@dataclass(frozen=True)
class Keys:
    """Names of the features of an example; the defaults are those of TensorFlow's own tools."""

    image: str = "image/encoded"
    label: str = "image/class/label"
    text: str = "image/class/text"
    name: str = "image/filename"


def read_records(path: str | os.PathLike[str]) -> Iterator[bytes]:
    """Yield the payloads of a file, compressed with gzip or not, checking both checksums of each.

    Raises
    ------
    InputError
        If the file can't be read, is cut off or damaged, or a checksum is wrong: after all records before that place.
        The message names the record, counted from 0, and the byte where it begins (of the unpacked file).
    """
    path = Path(path)
    for number, (start, payload) in enumerate(_framed(path)):
        if isinstance(payload, InputError):
            raise _wrong(path, number, start, payload)
        yield payload


def _framed(path: Path) -> Iterator[tuple[int, bytes | InputError]]:
    """Yield each record's first byte, and its payload or that its checksum is wrong; raise where no more can follow."""
    crc = _checksum()
    number = start = 0
    try:
        with path.open("rb", buffering=_BUFFER) as raw, _unpacked(raw) as file:
            while head := file.read(_START.size):
                if len(head) < _START.size:
                    raise _wrong(path, number, start, "is cut off")
                length, announced = _START.unpack(head)
                if crc(head[:8]) != announced:
                    raise _wrong(path, number, start, "has a length whose checksum is wrong: the file is damaged")
                if length > _LIMIT:
                    raise _wrong(path, number, start, f"has {length} bytes; {_LIMIT} are the limit")
                body = file.read(length + _SUM.size)
                if len(body) < length + _SUM.size:
                    raise _wrong(path, number, start, "is cut off")
                payload = body[:length]
                right = crc(payload) == _SUM.unpack_from(body, length)[0]
                yield start, payload if right else InputError("has a wrong checksum: its contents are damaged")
                number, start = number + 1, start + _START.size + len(body)
    except EOFError:
        raise _wrong(path, number, start, "is cut off") from None
    except (OSError, zlib.error) as error:
        raise _wrong(path, number, start, f"can't be read: {reason(error)}") from None


def _wrong(path: Path, number: int, start: int, what: object) -> InputError:
    return InputError(f"record {number} of {printable_path(path)}, at byte {start}, {what}")


def _unpacked(file: BinaryIO) -> Any:
    packed = file.read(2) == _GZIP
    file.seek(0)
    return gzip.GzipFile(fileobj=file, mode="rb") if packed else file


@lru_cache(maxsize=1)
def _checksum() -> Any:
    """Return a function from bytes to TensorFlow's masked CRC-32C of them."""
    try:
        import google_crc32c
    except ImportError as error:
        raise EngineError(f"TFRecord files need {error.name}: pip install 'visavis[datasets]'") from None
    value = google_crc32c.value

    def masked(data: bytes) -> int:
        crc = int(value(data))
        return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF

    return masked


@lru_cache(maxsize=1)
def _example() -> Any:
    """Return the class of ``tensorflow.Example``, made from its definition in a pool of its own."""
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    except ImportError:
        raise EngineError("TFRecord files need protobuf: pip install 'visavis[datasets]'") from None
    file = descriptor_pb2.FileDescriptorProto(name="visavis/example.proto", package="tensorflow", syntax="proto3")
    types = descriptor_pb2.FieldDescriptorProto
    scalars = {"BytesList": types.TYPE_BYTES, "FloatList": types.TYPE_FLOAT, "Int64List": types.TYPE_INT64}

    def field(message: Any, name: str, number: int, kind: int, of: str = "", *, many: bool = False) -> Any:
        label = types.LABEL_REPEATED if many else types.LABEL_OPTIONAL
        added = message.field.add(name=name, number=number, type=kind, label=label)
        if of:
            added.type_name = f".tensorflow.{of}"
        return added

    for name, kind in scalars.items():
        field(file.message_type.add(name=name), "value", 1, kind, many=True)
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for (name, number), of in zip(_KINDS.items(), scalars, strict=True):
        field(feature, name, number, types.TYPE_MESSAGE, of).oneof_index = 0
    features = file.message_type.add(name="Features")
    field(features, "feature", 1, types.TYPE_MESSAGE, "Features.FeatureEntry", many=True)
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    field(entry, "key", 1, types.TYPE_STRING)
    field(entry, "value", 2, types.TYPE_MESSAGE, "Feature")
    field(file.message_type.add(name="Example"), "features", 1, types.TYPE_MESSAGE, "Features")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.Example"))


def decode_example(payload: bytes) -> dict[str, Value]:
    """Return the features of a ``tf.train.Example``.

    Raises
    ------
    InputError
        If it is none. The message completes "record 7 ... ".
    """
    from google.protobuf.message import DecodeError

    kind = _example()
    try:
        example = kind.FromString(payload)
    except DecodeError:
        raise InputError("is no tf.train.Example") from None
    found: dict[str, Value] = {}
    for name, feature in example.features.feature.items():
        which = feature.WhichOneof("kind")
        found[name] = [] if which is None else list(getattr(feature, which).value)
    return found


def encode_example(features: Mapping[str, Value]) -> bytes:
    """Return a ``tf.train.Example`` of lists of bytes, floats or integers, the same bytes for the same features.

    Examples
    --------
    >>> decode_example(encode_example({"image/class/label": [7]}))
    {'image/class/label': [7]}
    """
    example = _example()()
    for name, values in features.items():
        first = values[0] if values else b""
        which = "bytes_list" if isinstance(first, bytes) else "float_list" if isinstance(first, float) else "int64_list"
        getattr(example.features.feature[name], which).value.extend(values)
    data: bytes = example.SerializeToString(deterministic=True)
    return data


def read_tfrecord(
    path: str | os.PathLike[str], *, keys: Keys | None = None, bad: Bad | None = None
) -> Iterator[Sample]:
    """Yield the photos of a file, or of all files of a pattern, in bounded memory.

    A label is the text of the class, else its name in ``NAME.tfrecord.labels.txt``, else its id. Other features are
    kept as ``metadata``, but for those of bytes that are no text.

    Parameters
    ----------
    keys
        Names of the features.
    bad
        Called for each record with a wrong checksum or without a photo, instead of raising.

    Raises
    ------
    InputError
        As `read_records`.
    """
    path, keys = Path(path), keys or Keys()
    classes = Classes.load(find_labels(path))
    total = count()

    def sample(item: tuple[Path, int, int, bytes | InputError]) -> Sample:
        shard, number, start, payload = item
        row = next(total)
        try:
            if isinstance(payload, InputError):
                raise payload
            return _sample(decode_example(payload), keys, classes, row)
        except InputError as error:
            raise _wrong(shard, number, start, error) from None

    records = ((shard, i, *found) for shard in find_shards(path) for i, found in enumerate(_framed(shard)))
    yield from read_each(records, sample, bad)


def _sample(features: dict[str, Value], keys: Keys, classes: Classes, number: int) -> Sample:
    image = next(iter(features.get(keys.image, ())), None)
    if not isinstance(image, bytes):
        raise InputError(f"has no photo named {keys.image!r}, only {', '.join(sorted(features))[:200] or 'nothing'}")
    text = next(iter(features.get(keys.text, ())), None)
    ids = features.get(keys.label, [])
    label = text.decode("utf-8", "replace") if isinstance(text, bytes) and text else None
    if label is None and len(ids) == 1 and isinstance(ids[0], int):
        label = classes.name(ids[0])
    name = next(iter(features.get(keys.name, ())), None)
    key = usable_key(name.decode("utf-8", "replace") if isinstance(name, bytes) else "", number)
    used = (keys.image, keys.text, keys.name, "image/format")
    others = {
        other: plain
        for other, values in sorted(features.items())
        if other not in used and (other != keys.label or len(ids) != 1) and (plain := _plain(values)) is not None
    }
    return Sample(key, image, label, others)


def _plain(values: Value) -> Any:
    """Return a feature as JSON knows values, a single one without its list; None where it can't be."""
    plain: list[Any] = []
    for value in values:
        if isinstance(value, bytes):
            try:
                plain.append(value.decode())
            except UnicodeDecodeError:
                return None
        else:
            plain.append(value)
    return plain[0] if len(plain) == 1 else plain


def write_tfrecord(
    path: str | os.PathLike[str],
    samples: Iterable[Sample],
    *,
    keys: Keys | None = None,
    classes: Classes | None = None,
    shard_size: int | None = None,
    needed: int | None = None,
    bad: Bad | None = None,
) -> list[Path]:
    """Write photos as examples; a path that ends with ``.gz`` is compressed. Return the paths written.

    Each example has the encoded photo, its format and name, and where there is a label its class id and text; numbers,
    text and lists of either in ``metadata`` become features of their own.

    Parameters
    ----------
    keys
        Names of the features.
    classes
        Class ids of labels; by default 0, 1, ... as labels come.
    shard_size
        Samples a file: ``train.tfrecord`` becomes ``train-00000-of-00005.tfrecord`` and so on.
    needed
        About how many bytes will be written, for a disk that has not as many free.
    bad
        Called for each sample that can't be written, instead of raising.

    Raises
    ------
    InputError
        If it is there already.
    StorageError
        If the disk is full or can't be written to; no file appears then.
    """
    path, keys = Path(path), keys or Keys()
    classes = Classes() if classes is None else classes
    crc = _checksum()
    shards = Shards(path, shard_size, counted=True)
    with staged(shards.first, needed) as staging:
        labels = labels_path(path).name
        staging.path(labels)  # refuses one that is there before any work is done
        for place, part in shards.split(samples, staging):
            with place.open("wb", buffering=_BUFFER) as raw, _packed(raw, path) as file:

                def put(sample: Sample, file: Any = file) -> None:
                    payload = encode_example(_features(sample, keys, classes))
                    length = struct.pack("<Q", len(payload))
                    file.write(length + _SUM.pack(crc(length)))
                    file.write(payload)
                    file.write(_SUM.pack(crc(payload)))

                put_each(part, put, bad)
        classes.save(staging.path(labels))
    return staging.placed


def _packed(file: BinaryIO, path: Path) -> Any:
    # No name and time inside: the same photos give the same bytes.
    return gzip.GzipFile("", "wb", 1, file, mtime=0) if path.suffix == ".gz" else file


def _features(sample: Sample, keys: Keys, classes: Classes) -> dict[str, Value]:
    suffix = image_suffix(sample.image) or ".jpg"
    features: dict[str, Value] = {
        keys.image: [sample.image],
        keys.name: [f"{sample.key}{suffix}".encode()],
        "image/format": [{".jpg": b"jpeg"}.get(suffix, suffix[1:].encode())],
    }
    if sample.label is not None:
        features[keys.label] = [classes.id(sample.label)]
        features[keys.text] = [sample.label.encode()]
    for name, value in sample.metadata.items():
        if name not in features and (values := _listed(value)) is not None:
            features[name] = values
    return features


def _listed(value: Any) -> Value | None:
    """Return a value of metadata as a feature; None where features can't hold it."""
    values = list(islice(value, 2**20)) if isinstance(value, (list, tuple)) else [value]
    if all(isinstance(item, int) and -(2**63) <= item < 2**63 for item in values):
        return [int(item) for item in values]
    if all(isinstance(item, (int, float)) for item in values):
        return [float(item) for item in values]
    if all(isinstance(item, str) for item in values):
        return [item.encode("utf-8", "replace") for item in values]
    return None

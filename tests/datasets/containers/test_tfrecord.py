"""TFRecord against the package tfrecord, with wrong checksums and cut off."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tfrecord import example_pb2
from tfrecord.reader import tfrecord_iterator, tfrecord_loader
from tfrecord.writer import TFRecordWriter

from tests.datasets.containers.conftest import picture
from visavis.datasets.containers.samples import Classes, Sample
from visavis.datasets.containers.tfrecord import (
    Keys,
    decode_example,
    encode_example,
    read_records,
    read_tfrecord,
    write_tfrecord,
)
from visavis.errors import InputError


def by_package(path: Path, compression: str | None = None) -> list[dict[str, Any]]:
    """Return the features of each record as the package tfrecord and its protocol buffers read them."""
    found = []
    for view in tfrecord_iterator(str(path), compression_type=compression):
        example = example_pb2.Example()
        example.ParseFromString(bytes(view))
        features = {}
        for name, feature in example.features.feature.items():
            which = feature.WhichOneof("kind")
            features[name] = list(getattr(feature, which).value) if which else []
        found.append(features)
    return found


def written_by_package(path: Path, rows: list[dict[str, Any]]) -> Path:
    writer = TFRecordWriter(str(path))
    for row in rows:
        writer.write(row)
    writer.close()
    return path


def test_the_package_reads_ours(tmp_path: Path, people: list[Sample]) -> None:
    files = write_tfrecord(tmp_path / "train.tfrecord", people)
    assert sorted(file.name for file in files) == ["train.tfrecord", "train.tfrecord.labels.txt"]
    found = by_package(tmp_path / "train.tfrecord")
    assert [row["image/encoded"] for row in found] == [[sample.image] for sample in people]
    assert [row["image/class/label"] for row in found] == [[0], [0], [0], [1], [1], [2], [2]]
    assert [row["image/class/text"][0].decode() for row in found] == [sample.label for sample in people]
    assert found[1]["image/filename"] == [b"Ada Lovelace/v1.5 b.png"]
    assert [row["image/format"] for row in found[:2]] == [[b"jpeg"], [b"png"]]
    loaded = list(
        tfrecord_loader(str(tmp_path / "train.tfrecord"), None, {"image/encoded": "byte", "image/class/label": "int"})
    )
    assert [bytes(row["image/encoded"]) for row in loaded] == [sample.image for sample in people]
    assert list(read_tfrecord(tmp_path / "train.tfrecord")) == people


def test_ours_reads_the_package(tmp_path: Path) -> None:
    rows = [
        {
            "image/encoded": (picture(i), "byte"),
            "image/class/label": (i + 5, "int"),
            "image/object/bbox/xmin": ([0.25, 0.5], "float"),
            "image/height": (8, "int"),
            "image/colorspace": (b"RGB", "byte"),
            "raw": (b"\xff\xfe", "byte"),
        }
        for i in range(4)
    ]
    path = written_by_package(tmp_path / "theirs.tfrecord", rows)
    found = list(read_tfrecord(path))
    assert [sample.image for sample in found] == [picture(i) for i in range(4)]
    assert [sample.label for sample in found] == ["5", "6", "7", "8"]
    assert [sample.key for sample in found] == [f"{i:08d}" for i in range(4)]
    about = {"image/object/bbox/xmin": [0.25, 0.5], "image/height": 8, "image/colorspace": "RGB"}
    assert found[0].metadata == about, "bytes that are no text are left out"
    (tmp_path / "theirs.tfrecord.labels.txt").write_text("\n".join("abcdefghi") + "\n")
    assert [sample.label for sample in read_tfrecord(path)] == ["f", "g", "h", "i"]


def test_paths_of_other_machines_are_no_keys(tmp_path: Path) -> None:
    names = [b"ada/1.jpg", b"/home/me/2.jpg", b"..\\3.jpg", b"\xff.jpg", b"", b"../5.jpg"]
    rows = [{"image/encoded": (picture(1), "byte"), "image/filename": (name, "byte")} for name in names]
    path = written_by_package(tmp_path / "theirs.tfrecord", rows)
    keys = ["ada/1", "00000001", "00000002", "\ufffd", "00000004", "00000005"]
    assert [sample.key for sample in read_tfrecord(path)] == keys


def test_names_of_features_can_be_others(tmp_path: Path) -> None:
    keys = Keys(image="jpeg", label="id", text="who", name="file")
    path = written_by_package(tmp_path / "other.tfrecord", [{"jpeg": (picture(1), "byte"), "id": (3, "int")}])
    assert next(read_tfrecord(path, keys=keys)).label == "3"
    with pytest.raises(InputError, match=r"record 0 .* has no photo named 'image/encoded', only id, jpeg"):
        list(read_tfrecord(path))
    sample = Sample("a/b", picture(2), "ada")
    write_tfrecord(tmp_path / "made.tfrecord", [sample], keys=keys)
    assert set(by_package(tmp_path / "made.tfrecord")[0]) == {"jpeg", "id", "who", "file", "image/format"}
    assert list(read_tfrecord(tmp_path / "made.tfrecord", keys=keys)) == [sample]


VALUES = st.one_of(
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4),
    st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=4),
    st.lists(st.binary(max_size=20), min_size=1, max_size=4),
)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), VALUES, max_size=5))
def test_examples_are_those_of_the_package(features: dict[str, Any]) -> None:
    data = encode_example(features)
    example = example_pb2.Example()
    example.ParseFromString(data)
    assert {
        name: list(getattr(f, f.WhichOneof("kind") or "int64_list").value)
        for name, f in example.features.feature.items()
    } == features
    assert decode_example(example.SerializeToString()) == features


@given(st.lists(st.binary(max_size=200), max_size=5), st.booleans())
def test_frames_are_those_of_the_package(
    tmp_path_factory: pytest.TempPathFactory, payloads: list[bytes], packed: bool
) -> None:
    path = tmp_path_factory.mktemp("tf") / "made.tfrecord"
    data = b""
    for payload in payloads:
        length = struct.pack("<Q", len(payload))
        data += length + TFRecordWriter.masked_crc(length) + payload + TFRecordWriter.masked_crc(payload)
    path.write_bytes(gzip.compress(data) if packed else data)
    assert list(read_records(path)) == payloads


def test_metadata_comes_back_as_far_as_features_can_hold_it(tmp_path: Path) -> None:
    about = {
        "age": 31,
        "scores": [0.5, 0.25],
        "tags": ["glasses", "眼镜"],
        "none": [],
        "box": {"x": 1},
        "nothing": None,
    }
    write_tfrecord(tmp_path / "made.tfrecord", [Sample("a", picture(1), None, about)])
    found = next(read_tfrecord(tmp_path / "made.tfrecord"))
    assert found.metadata == {"age": 31, "scores": [0.5, 0.25], "tags": ["glasses", "眼镜"], "none": []}
    assert found.label is None


def test_compressed(tmp_path: Path, people: list[Sample]) -> None:
    write_tfrecord(tmp_path / "train.tfrecord.gz", people)
    assert (tmp_path / "train.tfrecord.gz").read_bytes()[:2] == b"\x1f\x8b"
    assert [row["image/encoded"][0] for row in by_package(tmp_path / "train.tfrecord.gz", "gzip")] == [
        sample.image for sample in people
    ]
    assert list(read_tfrecord(tmp_path / "train.tfrecord.gz")) == people
    again = tmp_path / "again"
    write_tfrecord(again / "train.tfrecord.gz", people)
    assert (again / "train.tfrecord.gz").read_bytes() == (tmp_path / "train.tfrecord.gz").read_bytes()


def test_shards(tmp_path: Path, people: list[Sample]) -> None:
    files = write_tfrecord(tmp_path / "train.tfrecord", people, shard_size=3)
    names = [f"train-0000{i}-of-00003.tfrecord" for i in range(3)]
    assert sorted(file.name for file in files) == [*names, "train.tfrecord.labels.txt"]
    assert [len(by_package(tmp_path / name)) for name in names] == [3, 3, 1]
    assert list(read_tfrecord(tmp_path / "train-*-of-*.tfrecord")) == people
    assert list(read_tfrecord(tmp_path / "train-?????-of-00003.tfrecord")) == people
    assert list(read_tfrecord(tmp_path / names[1])) == people[3:6], "one alone finds its labels too"
    with pytest.raises(InputError, match="is there already"):
        write_tfrecord(tmp_path / "train.tfrecord", people, shard_size=100)
    (tmp_path / names[1]).unlink()
    with pytest.raises(InputError, match=r"of 3 shards .* some are missing"):
        list(read_tfrecord(tmp_path / "train-*-of-*.tfrecord"))


@pytest.fixture
def three(tmp_path: Path) -> tuple[Path, list[int]]:
    """Return a file of three photos without labels and where its records begin."""
    path = tmp_path / "three.tfrecord"
    write_tfrecord(path, [Sample(str(i), picture(i)) for i in range(3)])
    data, starts, at = path.read_bytes(), [], 0
    while at < len(data):
        starts.append(at)
        at += 16 + struct.unpack_from("<Q", data, at)[0]
    return path, [*starts, len(data)]


@pytest.mark.parametrize("packed", [False, True])
def test_cut_off(three: tuple[Path, list[int]], packed: bool) -> None:
    path, starts = three
    whole = path.read_bytes()
    for at in [1, 8, 11, starts[1] - 1, starts[1] + 5, starts[2] + 12, starts[2] + 40, starts[3] - 1]:
        path.write_bytes(gzip.compress(whole[:at]) if packed else whole[:at])
        complete = sum(start <= at for start in starts[1:])
        found: list[Sample] = []
        with pytest.raises(InputError, match=f"record {complete} of .*, at byte {starts[complete]}, is cut off"):
            found.extend(read_tfrecord(path))
        assert [sample.key for sample in found] == [str(i) for i in range(complete)]


def test_a_compressed_file_cut_off(three: tuple[Path, list[int]]) -> None:
    path, _ = three
    packed = gzip.compress(path.read_bytes())
    path.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(InputError, match=r"record \d of .*, at byte \d+, is cut off"):
        list(read_tfrecord(path))
    path.write_bytes(packed[:40] + b"\0\0\0\0" + packed[44:])
    with pytest.raises(InputError, match=r"record \d of .*, at byte \d+, "):
        list(read_tfrecord(path))


def flipped(path: Path, at: int) -> None:
    with path.open("rb+") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))


def test_wrong_checksums(three: tuple[Path, list[int]]) -> None:
    path, starts = three
    whole = path.read_bytes()
    for at in (starts[1] + 12, starts[2] - 5, starts[2] - 1):  # the payload's first and last byte, its checksum
        flipped(path, at)
        found: list[Sample] = []
        with pytest.raises(InputError, match=f"record 1 of .*, at byte {starts[1]}, has a wrong checksum"):
            found.extend(read_tfrecord(path))
        assert [sample.key for sample in found] == ["0"]
        bad: list[InputError] = []
        assert [sample.key for sample in read_tfrecord(path, bad=bad.append)] == ["0", "2"]
        assert len(bad) == 1
        path.write_bytes(whole)
    for at in (starts[1], starts[1] + 7, starts[1] + 8):  # the length and its checksum: nothing after can be found
        flipped(path, at)
        bad = []
        with pytest.raises(InputError, match=f"record 1 of .*, at byte {starts[1]}, has a length whose checksum"):
            list(read_tfrecord(path, bad=bad.append))
        assert bad == []
        path.write_bytes(whole)


def test_a_length_that_is_too_large(tmp_path: Path) -> None:
    length = struct.pack("<Q", 2**40)
    (tmp_path / "bad.tfrecord").write_bytes(length + TFRecordWriter.masked_crc(length))
    with pytest.raises(InputError, match=r"record 0 .* has 1099511627776 bytes; 68157440 are the limit"):
        list(read_records(tmp_path / "bad.tfrecord"))


def test_records_that_are_no_examples(tmp_path: Path) -> None:
    def frame(payload: bytes) -> bytes:
        length = struct.pack("<Q", len(payload))
        return length + TFRecordWriter.masked_crc(length) + payload + TFRecordWriter.masked_crc(payload)

    path = tmp_path / "bad.tfrecord"
    good = encode_example({"image/encoded": [picture(1)]})
    numbers = encode_example({"image/encoded": [1, 2]})
    path.write_bytes(frame(b"\xff\xff\xff") + frame(b"") + frame(numbers) + frame(good))
    bad: list[InputError] = []
    assert len(list(read_tfrecord(path, bad=bad.append))) == 1
    assert [str(error).partition(", at byte")[2].partition(", ")[2] for error in bad] == [
        "is no tf.train.Example",
        "has no photo named 'image/encoded', only nothing",
        "has no photo named 'image/encoded', only image/encoded",
    ]
    for name in ("none.tfrecord", "."):
        with pytest.raises(InputError, match=r"does not exist|can't be read"):
            list(read_tfrecord(tmp_path / name))
    path.write_bytes(b"")
    assert list(read_tfrecord(path)) == []


def test_class_ids_of_a_labels_file_stay(tmp_path: Path, people: list[Sample]) -> None:
    write_tfrecord(tmp_path / "a.tfrecord", people, classes=Classes(["x", "bob", "y"]))
    labels = [row["image/class/label"] for row in by_package(tmp_path / "a.tfrecord")]
    assert labels == [[3], [3], [3], [4], [4], [1], [1]]
    assert (tmp_path / "a.tfrecord.labels.txt").read_text("utf-8").split("\n")[:4] == ["x", "bob", "y", "Ada Lovelace"]


def test_reading_and_writing_take_no_memory(tmp_path: Path) -> None:
    import tracemalloc

    image = picture(1) + bytes(40_000)

    def many() -> Iterator[Sample]:
        for i in range(1000):
            yield Sample(f"{i}", image, str(i // 10))

    tracemalloc.start()
    try:
        write_tfrecord(tmp_path / "many.tfrecord", many())
        count = sum(1 for _ in read_tfrecord(tmp_path / "many.tfrecord"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 1000
    assert peak < 16e6

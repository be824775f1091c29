"""RecordIO against files that mxnet wrote, a reader written from its struct layout, and damage."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.datasets.containers.conftest import picture
from visavis.datasets.containers import recordio
from visavis.datasets.containers.image_records import read_rec, write_rec
from visavis.datasets.containers.recordio import Record, RecordFile, records
from visavis.datasets.containers.samples import Classes, Sample
from visavis.errors import InputError
from visavis.image import load_image

FIXTURES = Path(__file__).parent / "fixtures"
MAGIC = struct.pack("<I", 0xCED7230A)


def by_mxnet_rules(path: Path) -> dict[int, tuple[list[float], int, bytes]]:
    """Read .rec by .idx as mxnet 1.9's recordio.py and dmlc's recordio.h say: MXIndexedRecordIO.read_idx and unpack."""
    data = path.read_bytes()
    found = {}
    for line in path.with_suffix(".idx").read_text().splitlines():
        key, at = map(int, line.strip().split("\t"))
        payload = b""
        while True:
            magic, word = struct.unpack_from("II", data, at)
            assert magic == 0xCED7230A
            flag, length = (word >> 29) & 7, word & ((1 << 29) - 1)
            payload += data[at + 8 : at + 8 + length]
            at += 8 + ((length + 3) >> 2 << 2)
            if flag in (0, 3):
                break
            payload += MAGIC
        flag, label, number, _ = struct.unpack("IfQQ", payload[: struct.calcsize("IfQQ")])
        rest = payload[struct.calcsize("IfQQ") :]
        labels = np.frombuffer(rest, np.float32, flag).tolist() if flag > 0 else [label]
        found[key] = (labels, number, rest[flag * 4 :] if flag > 0 else rest)
    return found


def test_reads_what_mxnet_wrote() -> None:
    made = list(read_rec(FIXTURES / "faces.rec"))
    assert [(sample.key, sample.label) for sample in made] == [
        ("00000001", "0"),
        ("00000002", "0"),
        ("00000003", "1"),
        ("00000004", "2"),
        ("00000005", "2"),
        ("00000006", "2"),
    ]
    assert [int(load_image(sample.image)[0, 0, 0]) for sample in made] == [10, 20, 100, 200, 210, 220]
    assert made[2].metadata == {"labels": [1.0, 1.0]}
    assert made[0].metadata == {}
    with RecordFile(FIXTURES / "faces.rec") as file:
        assert len(file) == 10
        assert file.photos.tolist() == [1, 2, 3, 4, 5, 6]
        assert file.people == {0: range(1, 3), 1: range(3, 4), 2: range(4, 7)}
        assert [file.record(key).image for key in (6, 1)] == [made[5].image, made[0].image]


def test_reads_records_that_mxnet_split() -> None:
    held = [MAGIC, MAGIC * 3, b"abcd" + MAGIC, MAGIC + b"xy", b"ab" + MAGIC + b"cd"]
    held += [b"abcd" + MAGIC + b"efgh" + MAGIC + b"i", *(bytes(range(n)) for n in range(10))]
    assert list(records(FIXTURES / "split.rec")) == held
    with RecordFile(FIXTURES / "split.rec") as file:
        assert [file.read(key) for key in range(len(held))] == held


def test_writes_mxnets_very_bytes(tmp_path: Path) -> None:
    """The file made by mxnet, read and written again, is the same in every byte, index included."""
    made = list(read_rec(FIXTURES / "faces.rec"))
    write_rec(tmp_path / "faces.rec", made, classes=Classes(numbered=True))
    for suffix in (".rec", ".idx"):
        assert (tmp_path / f"faces{suffix}").read_bytes() == (FIXTURES / f"faces{suffix}").read_bytes()


PIECES = st.lists(st.one_of(st.just(MAGIC), st.binary(max_size=9)), max_size=8).map(b"".join)
ROWS = st.lists(
    st.tuples(st.sampled_from("abc"), PIECES.map(lambda data: b"\xff\xd8\xff" + data)), min_size=1, max_size=9
)


@settings(max_examples=30)
@given(ROWS)
def test_round_trip_by_mxnet_rules(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, bytes]]) -> None:
    path = tmp_path_factory.mktemp("rec") / "made.rec"
    samples = [Sample(f"{label}/{i}", image, label) for i, (label, image) in enumerate(rows)]
    write_rec(path, samples)
    assert list(read_rec(path)) == samples
    found = by_mxnet_rules(path)
    ids = {label: i for i, label in enumerate(dict.fromkeys(label for label, _ in rows))}
    for i, (label, image) in enumerate(rows, 1):
        assert found[i] == ([float(ids[label])], i, image)
    with RecordFile(path) as file:
        assert {key: file.record(key).image for key in file.keys.tolist()} == {
            key: row[2] for key, row in found.items()
        }
        assert file.photos.tolist() == list(range(1, len(rows) + 1))
        runs = [label for i, (label, _) in enumerate(rows) if i == 0 or rows[i - 1][0] != label]
        together = len(runs) == len(ids)
        assert len(file.people) == (len(ids) if together else 0)
        for number, keys in file.people.items():
            assert all(found[key][0] == [number] for key in keys)


def test_keeps_keys_labels_and_names(tmp_path: Path, people: list[Sample]) -> None:
    files = write_rec(tmp_path / "train.rec", people)
    assert sorted(file.name for file in files) == ["train.idx", "train.lst", "train.rec", "train.rec.labels.txt"]
    assert list(read_rec(tmp_path / "train.rec")) == people
    assert (tmp_path / "train.rec.labels.txt").read_text("utf-8") == "Ada Lovelace\n王芳\nbob\n"
    assert (tmp_path / "train.lst").read_text("utf-8").splitlines()[1] == "2\t0\tAda Lovelace/v1.5 b.png"
    (tmp_path / "train.lst").unlink()
    (tmp_path / "train.rec.labels.txt").unlink()
    bare = list(read_rec(tmp_path / "train.rec"))
    assert [sample.label for sample in bare] == ["0", "0", "0", "1", "1", "2", "2"]
    assert [sample.key for sample in bare][:2] == ["00000001", "00000002"]


def test_lists_of_other_files_are_not_believed(tmp_path: Path, people: list[Sample]) -> None:
    write_rec(tmp_path / "train.rec", people)
    for listing, key in (
        ("0\t/data/faces/a.jpg\t0\n", "00000001"),  # InsightFace's own form
        ("7\t0\tada/1.jpg\n", "00000001"),  # of other records
        ("1\t0\t/data/faces/a.jpg\n", "00000001"),  # of another machine
        ("1\t0\t../../a.jpg\n", "00000001"),
        ("1\t0\tsub\\a.jpg\n", "sub/a"),  # written on Windows
        ("1\t0\t1\t0.5\tada/one.jpg\n", "ada/one"),  # several labels
    ):
        (tmp_path / "train.lst").write_text(listing)
        assert next(read_rec(tmp_path / "train.rec")).key == key
    (tmp_path / "train.lst").write_text("x" * 10_000)
    with pytest.raises(InputError, match=r"line 1 .* has more than 4096 bytes"):
        next(read_rec(tmp_path / "train.rec"))


def test_several_labels_come_back(tmp_path: Path) -> None:
    samples = [
        Sample("a", picture(1), None, {"labels": [0.5, 0.25, 8.0]}),
        Sample("b", picture(2), "x", {"labels": [0.0, 3.0]}),
        Sample("c", picture(3), None),
    ]
    write_rec(tmp_path / "boxes.rec", samples)
    assert list(read_rec(tmp_path / "boxes.rec")) == samples
    assert by_mxnet_rules(tmp_path / "boxes.rec")[1][0] == [0.5, 0.25, 8.0]
    with RecordFile(tmp_path / "boxes.rec") as file:
        assert file.people == {}, "photos without class have no ranges"


@given(st.data())
def test_cut_off_anywhere(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("rec") / "cut.rec"
    whole = (FIXTURES / "faces.rec").read_bytes()
    starts = sorted(int(line.split()[1]) for line in (FIXTURES / "faces.idx").read_text().splitlines())
    at = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:at])
    before = [start for start in starts if start < at]
    complete = sum(end <= at for end in [*starts[1:], len(whole)])
    found: list[bytes] = []
    if at in (*starts, len(whole)):
        found.extend(records(path))
    else:
        with pytest.raises(InputError, match=f"record {complete} of .*cut.rec', at byte {before[-1]}, is cut off"):
            found.extend(records(path))
    assert len(found) == complete


def damaged(path: Path, at: int, data: bytes) -> Path:
    shutil.copy(FIXTURES / "faces.rec", path)
    shutil.copy(FIXTURES / "faces.idx", path.with_suffix(".idx"))
    with path.open("rb+") as file:
        file.seek(at)
        file.write(data)
    return path


@pytest.mark.parametrize(
    ("at", "data", "says"),
    [
        (148, b"xxxx", "record 1 .*, at byte 148, does not begin with RecordIO's magic number"),
        (
            152,
            struct.pack("<I", 2**29 - 1),
            "record 1 .*, at byte 148, announces 536870911 bytes; 67108864 are the limit",
        ),
        (152, struct.pack("<I", 100_000), "record 1 .*, at byte 148, is cut off"),
        (152, struct.pack("<I", 3 << 29 | 140), "record 1 .* a part of a split record out of order"),
        (152, struct.pack("<I", 7 << 29 | 140), "record 1 .* a part of a split record out of order"),
        (152, struct.pack("<I", 1 << 29 | 140), "record 1 .* a part of a split record out of order"),
    ],
)
def test_damage_that_ends_reading(tmp_path: Path, at: int, data: bytes, says: str) -> None:
    path = damaged(tmp_path / "bad.rec", at, data)
    found: list[Sample] = []
    with pytest.raises(InputError, match=says):
        found.extend(read_rec(path))
    assert len(found) == 1, "what came before is kept"
    with RecordFile(path) as file, pytest.raises(InputError, match=says.replace("record 1 ", "record 2 ")):
        file.read(2)


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (struct.pack("<I", 2**31), "announces 2147483648 labels"),
        (struct.pack("<I", 100), "announces 100 labels in"),
        (struct.pack("<If", 0, float("nan")), "has the label nan"),
        (struct.pack("<If", 0, float("inf")), "has the label inf"),
        (struct.pack("<If", 0, 1e9), "has the label 1000000000.0"),
    ],
)
def test_damage_of_one_record(tmp_path: Path, header: bytes, says: str) -> None:
    path = damaged(tmp_path / "bad.rec", 148 + 8, header)
    with pytest.raises(InputError, match=rf"record 1 of .*bad.rec', at byte 148, {says}"):
        list(read_rec(path))
    bad: list[InputError] = []
    assert [sample.key for sample in read_rec(path, bad=bad.append)] == [f"{i:08d}" for i in (1, 3, 4, 5, 6)]
    assert len(bad) == 1


def test_records_without_photo(tmp_path: Path) -> None:
    (tmp_path / "short.rec").write_bytes(MAGIC + struct.pack("<I", 4) + b"abcd")
    with pytest.raises(InputError, match="has 4 bytes, too few for the header"):
        list(read_rec(tmp_path / "short.rec"))
    payload = Record((1.0,), 5, 0, b"").pack()
    (tmp_path / "none.rec").write_bytes(MAGIC + struct.pack("<I", len(payload)) + payload)
    with pytest.raises(InputError, match=r"record 0 .* holds no image"):
        list(read_rec(tmp_path / "none.rec"))
    (tmp_path / "empty.rec").write_bytes(b"")
    assert list(read_rec(tmp_path / "empty.rec")) == []
    for path in (tmp_path / "missing.rec", tmp_path):
        with pytest.raises(InputError, match="can't be read"):
            list(read_rec(path))


@pytest.mark.parametrize(
    ("index", "key", "says"),
    [
        ("1\t99999999\n", 1, "says that record 1 lies at byte 99999999; the file has 1056"),
        ("1\t-5\n", 1, "lies at byte -5"),
        ("1\t4\n", 1, "record 1 .*, at byte 4, does not begin with"),
        ("1\t1052\n", 1, "record 1 .*, at byte 1052, is cut off"),
        ("1\t0\n", 2, "has no record 2 in its index"),
        ("1\t0\nabc\n", 1, "line 2 of .* is no key and offset"),
        ("1\t99999999999999999999999\n", 1, "line 1 of .* is no key and offset"),
        ("1 2 3\n", 1, "line 1 of .* is no key and offset"),
    ],
)
def test_an_index_that_leads_astray(tmp_path: Path, index: str, key: int, says: str) -> None:
    shutil.copy(FIXTURES / "faces.rec", tmp_path / "faces.rec")
    (tmp_path / "faces.idx").write_text(index)
    with pytest.raises(InputError, match=says), RecordFile(tmp_path / "faces.rec") as file:
        file.read(key)


def test_ranges_that_lead_astray(tmp_path: Path) -> None:
    def made(name: str, *rows: tuple[int, Record]) -> RecordFile:
        path, at = tmp_path / f"{name}.rec", 0
        with path.open("wb") as out, path.with_suffix(".idx").open("w") as index:
            for key, record in rows:
                payload = record.pack()
                index.write(f"{key}\t{at}\n")
                at += out.write(MAGIC + struct.pack("<I", len(payload)) + payload + b"\0" * (-len(payload) % 4))
        return RecordFile(path)

    photo = (1, Record((0.0,), 1, 0, picture(1)))
    with made("far", photo, (0, Record((2.0, 1e7), 0, 0, b""))) as file:
        assert file.photos.tolist() == [1]
        with pytest.raises(InputError, match="has no record 2"):
            _ = file.people
    with made("nan", photo, (0, Record((float("nan"), 3.0), 0, 0, b""))) as file:
        assert file.people == {}
    with made("photo", photo, (0, Record((1.0, 2.0), 0, 0, b""))) as file, pytest.raises(InputError, match="of whom"):
        _ = file.people
    with pytest.raises(InputError, match="can't be read"):
        RecordFile(FIXTURES / "none.rec", FIXTURES / "faces.idx")
    (tmp_path / "empty.rec").touch()
    with pytest.raises(InputError, match="can't be read: cannot mmap an empty file"):
        RecordFile(tmp_path / "empty.rec", FIXTURES / "faces.idx")


def test_reading_and_writing_take_no_memory(tmp_path: Path) -> None:
    """40 MB of photos pass through while a few hundred KB are held."""
    import tracemalloc

    image = picture(1) + bytes(40_000)

    def many() -> Iterator[Sample]:
        for i in range(1000):
            yield Sample(f"{i // 10}/{i}", image, str(i // 10))

    tracemalloc.start()
    try:
        write_rec(tmp_path / "many.rec", many())
        count = sum(1 for _ in read_rec(tmp_path / "many.rec"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 1000
    assert peak < 8e6


def test_several_processes_and_threads_share_a_file() -> None:
    from concurrent.futures import ThreadPoolExecutor

    with RecordFile(FIXTURES / "faces.rec") as file, ThreadPoolExecutor(4) as pool:
        keys = [1 + i % 6 for i in range(600)]
        found: list[Any] = list(pool.map(lambda key: file.record(key).id, keys))
    assert found == keys


def test_parts_that_hold_nothing_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recordio, "MAX_IMAGE", 10_000)
    frame = struct.Struct("<II")
    first, middle = frame.pack(0xCED7230A, 1 << 29), frame.pack(0xCED7230A, 2 << 29)
    (tmp_path / "x.rec").write_bytes(first + middle * 5000)
    with pytest.raises(InputError, match="10000 are the limit"):
        list(records(tmp_path / "x.rec"))

"""WebDataset shards against the package webdataset and Python's own tarfile, cut off and crafted."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import webdataset
from webdataset.autodecode import Decoder, imagehandler
from webdataset.tariterators import group_by_keys, tar_file_expander

from tests.datasets.containers.conftest import picture
from visavis.datasets.containers import webdataset as module
from visavis.datasets.containers.samples import Sample
from visavis.datasets.containers.webdataset import read_webdataset, write_webdataset
from visavis.errors import InputError


def by_package(*paths: Path) -> list[dict[str, Any]]:
    """Return the samples of shards by the package's own rules; it would leave files open that it opened itself."""
    found: list[dict[str, Any]] = []
    for path in paths:
        with path.open("rb") as file:
            found += group_by_keys(tar_file_expander([{"url": str(path), "stream": file}]))
    return found


def made(
    path: Path, *members: tuple[str | tarfile.TarInfo, bytes], mode: Any = "w", form: int = tarfile.PAX_FORMAT
) -> Path:
    with tarfile.open(path, mode, format=form) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name) if isinstance(name, str) else name
            if isinstance(name, str):
                info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def test_the_package_reads_ours(tmp_path: Path, people: list[Sample]) -> None:
    files = write_webdataset(tmp_path / "train.tar", people)
    assert sorted(file.name for file in files) == ["train.tar", "train.tar.labels.txt"]
    found = by_package(tmp_path / "train.tar")
    assert [row["__key__"] for row in found][:3] == ["Ada Lovelace/1", "Ada Lovelace/v1_5 b", "Ada Lovelace/3"]
    assert [row.get("jpg", row.get("png")) for row in found] == [sample.image for sample in people]
    assert [row["cls"] for row in found] == [b"0", b"0", b"0", b"1", b"1", b"2", b"2"]
    assert "json" not in found[0]
    assert json.loads(found[1]["json"]) == {"key": "Ada Lovelace/v1.5 b"}
    assert list(read_webdataset(tmp_path / "train.tar")) == people


def test_the_package_decodes_ours(tmp_path: Path) -> None:
    write_webdataset(tmp_path / "one.tar", [Sample("a/b", picture(7), "ada", {"age": 31})])
    row = Decoder([imagehandler("rgb8")])(by_package(tmp_path / "one.tar")[0])
    assert row["jpg"].shape == (8, 8, 3)
    assert (row["cls"], row["json"]) == (0, {"age": 31})


def test_ours_reads_the_package(tmp_path: Path) -> None:
    with webdataset.ShardWriter(str(tmp_path / "theirs-%06d.tar"), maxcount=3, verbose=0) as sink:
        for i in range(7):
            sink.write({"__key__": f"face{i:04d}", "png": picture(i, ".png"), "cls": i % 2, "json": {"age": i}})
    for name in ("theirs-%06d.tar", "theirs-{000000..000002}.tar", "theirs-*.tar", "theirs-00000?.tar"):
        found = list(read_webdataset(tmp_path / name))
        assert [sample.image for sample in found] == [picture(i, ".png") for i in range(7)]
        assert [sample.key for sample in found] == [f"face{i:04d}" for i in range(7)]
        assert [sample.label for sample in found] == [str(i % 2) for i in range(7)]
        assert [sample.metadata for sample in found] == [{"age": i} for i in range(7)]


def test_shards(tmp_path: Path, people: list[Sample]) -> None:
    files = write_webdataset(tmp_path / "train-%06d.tar", people, shard_size=3)
    assert sorted(file.name for file in files) == [*(f"train-00000{i}.tar" for i in range(3)), "train.tar.labels.txt"]
    assert [row["__key__"] for row in by_package(*sorted(tmp_path.glob("train*.tar")))][-1] == "bob/y"
    assert list(read_webdataset(tmp_path / "train-%06d.tar")) == people
    assert list(read_webdataset(tmp_path / "train-000001.tar")) == people[3:6]
    write_webdataset(tmp_path / "other.tar", people, shard_size=7)
    assert [file.name for file in tmp_path.glob("other*.tar")] == ["other-000000.tar"], "no empty shard at the end"
    (tmp_path / "train-000001.tar").unlink()
    with pytest.raises(InputError, match=r"shard .*train-000001.tar' is missing, though others"):
        list(read_webdataset(tmp_path / "train-%06d.tar"))
    with pytest.raises(InputError, match="say how many samples each gets"):
        write_webdataset(tmp_path / "x-%06d.tar", people)
    with pytest.raises(InputError, match="at least 1 sample, not 0"):
        write_webdataset(tmp_path / "x.tar", people, shard_size=0)
    for name in ("y-%06d.tar", "y-{3..1}.tar", "y-{0..99999999}.tar", "y*.tar", "y.tar"):
        with pytest.raises(InputError, match=r"does not exist|names no row"):
            list(read_webdataset(tmp_path / name))


@pytest.mark.parametrize("name", ["train.tar.gz", "train.tgz"])
def test_compressed(tmp_path: Path, people: list[Sample], name: str) -> None:
    write_webdataset(tmp_path / name, people)
    assert (tmp_path / name).read_bytes()[:2] == b"\x1f\x8b"
    assert list(read_webdataset(tmp_path / name)) == people
    assert len(by_package(tmp_path / name)) == len(people)


def test_where_labels_come_from(tmp_path: Path) -> None:
    image = picture(1)
    path = made(
        tmp_path / "x.tar",
        *[("a.jpg", image), ("a.cls", b"7\n")],
        *[("b.JPG", image), ("b.cls", b"ada")],
        *[("c.jpg", image), ("c.json", b'{"label": "bob", "age": 3}')],
        *[("d.jpg", image), ("d.txt", "王芳\n".encode())],
        *[("e.jpg", image), ("e.cls", b"1"), ("e.txt", b"a face\nin a crowd")],
        *[("f.jpg", image), ("f.txt", b"two\nlines")],
        *[("g.jpg", image), ("g.cls", b"-1")],
        *[("h.jpg", image), ("h.json", b"[1, 2]")],
        *[("./i.jpg", image), ("./i.seg.png", b"no photo"), ("./i.mask.npy", b"")],
        *[("dir.v2/j.jpg", image)],
        *[("__note__.txt", b"of the shard"), ("README", b"no suffix"), (".hidden.jpg", image)],
    )
    found = {sample.key: (sample.label, sample.metadata) for sample in read_webdataset(path)}
    assert found == {
        "a": ("7", {}),
        "b": ("ada", {}),
        "c": ("bob", {"age": 3}),
        "d": ("王芳", {}),
        "e": ("1", {"text": "a face\nin a crowd"}),
        "f": (None, {"text": "two\nlines"}),
        "g": (None, {}),
        "h": (None, {"json": [1, 2]}),
        "i": (None, {}),
        "dir.v2/j": (None, {}),
    }
    (tmp_path / "x.tar.labels.txt").write_text("zero\none\n")
    with pytest.raises(InputError, match=r"sample 0 .*, at byte 0, class 7 has no name"):
        list(read_webdataset(path))


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_kind_of_tar(tmp_path: Path, form: int) -> None:
    folder = "f" * 90
    path = made(
        tmp_path / "x.tar", (f"{folder}/a.jpg", picture(1)), (f"{folder}/{'b' * 60}.png", picture(2, ".png")), form=form
    )
    assert [sample.image for sample in read_webdataset(path)] == [picture(1), picture(2, ".png")]


def test_nothing_leads_out_of_its_folder(tmp_path: Path) -> None:
    link = tarfile.TarInfo("z.jpg")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    device = tarfile.TarInfo("y.jpg")
    device.type = tarfile.CHRTYPE
    hard = tarfile.TarInfo("w.jpg")
    hard.type, hard.linkname = tarfile.LNKTYPE, "ok.jpg"
    names = ["../a.jpg", "/b.jpg", "c/../../d.jpg", "e\\..\\f.jpg", "C:/g.jpg", "h\ni.jpg"]
    path = made(
        tmp_path / "bad.tar",
        ("ok.jpg", picture(1)),
        (link, b""),
        (device, b""),
        (hard, b""),
        *((n, picture(2)) for n in names),
    )
    bad: list[InputError] = []
    assert [sample.key for sample in read_webdataset(path, bad=bad.append)] == ["ok"]
    assert len(bad) == len(names)
    with pytest.raises(InputError, match=r"sample 1 of .*, at byte \d+, '\.\./a' is no key of a sample"):
        list(read_webdataset(path))


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ([("a.cls", b"1")], "'a', has no image, only cls"),
        ([("a.jpg", b"x"), ("a.json", b"{")], "has a .json that is none"),
        ([("a.jpg", b"x"), ("a.json", b"[" * 100_000)], "has a .json that is none"),
        ([("a.jpg", b"x"), ("a.json", b"9" * 5000)], "has a .json that is none"),
        ([("a.jpg", b"x"), ("a.cls", b"1" * 2**21)], "has a text of more than"),
        ([("a.jpg", b"x"), ("a.jpg", b"y")], "has two members 'jpg'"),
        ([("a.jpg", b"x"), ("a.cls", b"two\nlines")], "the label of 'a' is no name"),
    ],
)
def test_bad_samples(tmp_path: Path, members: list[tuple[str, bytes]], says: str) -> None:
    path = made(tmp_path / "bad.tar", *members, ("b.jpg", picture(1)))
    with pytest.raises(InputError, match=rf"sample 0 of .*bad.tar', at byte 0, {says}"):
        list(read_webdataset(path))
    bad: list[InputError] = []
    assert [sample.key for sample in read_webdataset(path, bad=bad.append)] == ["b"]
    assert len(bad) == 1


@pytest.mark.parametrize("packed", [False, True])
def test_cut_off(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / "cut.tar"
    write_webdataset(path, [Sample(f"{i}", picture(i), str(i)) for i in range(3)])
    whole = path.read_bytes()
    with tarfile.open(path) as archive:
        members = archive.getmembers()
    ends = [member.offset_data + (member.size + 511) // 512 * 512 for member in members]
    last = max(ends)
    for at in [
        1,
        511,
        513,
        700,
        ends[0],
        ends[0] + 100,
        ends[1],
        ends[1] + 1,
        ends[2] + 513,
        last - 1,
        last,
        last + 511,
    ]:
        path.write_bytes(gzip.compress(whole[:at]) if packed else whole[:at])
        found: list[Sample] = []
        with pytest.raises(
            InputError, match=r"sample \d of .*cut.tar' can't be read at byte \d+: .* cut off"
        ) as caught:
            found.extend(read_webdataset(path))
        number = int(str(caught.value).split()[1])
        byte = int(str(caught.value).partition("at byte ")[2].partition(":")[0])
        assert len(found) == number
        assert byte <= at
        # A sample whose members all came but which nothing follows may be whole or not: it is not given.
        assert len(found) in (sum(end <= at for end in ends) // 2, sum(end <= at for end in ends) // 2 - 1)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="can't be read at byte 0: the archive is cut off or damaged: empty file"):
        list(read_webdataset(path))
    path.write_bytes(gzip.compress(whole)[:-200])
    with pytest.raises(InputError, match=r"sample \d of .* can't be read at byte"):
        list(read_webdataset(path))


def test_damaged_headers(tmp_path: Path) -> None:
    path = tmp_path / "bad.tar"
    write_webdataset(path, [Sample(f"{i}", picture(i)) for i in range(3)])
    with tarfile.open(path) as archive:
        second = archive.getmembers()[1].offset
    whole = path.read_bytes()
    path.write_bytes(whole[: second + 10] + b"\xff" + whole[second + 11 :])
    with pytest.raises(
        InputError, match=rf"sample 0 of .* can't be read at byte {second}: the archive is cut off or damaged"
    ):
        list(read_webdataset(path))
    (tmp_path / "text.tar").write_bytes(b"hello" * 500)
    with pytest.raises(InputError, match=r"sample 0 of .* can't be read at byte 0"):
        list(read_webdataset(tmp_path / "text.tar"))


def test_crafted_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_IMAGE", 10_000)
    monkeypatch.setattr(module, "_MAX_READ", 20_000)
    large = made(tmp_path / "large.tar", ("a.jpg", bytes(20_000)), ("b.jpg", picture(1)))
    bad: list[InputError] = []
    assert [sample.key for sample in read_webdataset(large, bad=bad.append)] == ["b"]
    assert "has 20000 bytes; 10000 are the limit" in str(bad[0])

    def crafted(name: str, size: int, kind: bytes = tarfile.REGTYPE, after: bytes = b"") -> Path:
        info = tarfile.TarInfo("a.jpg")
        info.type, info.size = kind, size
        (tmp_path / name).write_bytes(info.tobuf(tarfile.GNU_FORMAT) + after)
        return tmp_path / name

    for path in (
        crafted("a header of a terabyte.tar", 2**40, tarfile.XHDTYPE),
        crafted("a name of a terabyte.tar", 2**40, tarfile.GNUTYPE_LONGNAME),
        crafted("a photo of a terabyte.tar", 2**40),
        crafted("a negative size.tar", -1024, after=bytes(4096)),
    ):
        with pytest.raises(InputError, match=r"sample 0 of .* can't be read at byte"):
            list(read_webdataset(path, bad=lambda error: None))


def test_keys_that_would_be_one(tmp_path: Path) -> None:
    twins = [Sample("a.b", picture(1)), Sample("a_b", picture(2)), Sample("c", picture(3))]
    with pytest.raises(InputError, match="two photos have the key 'a_b'"):
        write_webdataset(tmp_path / "x.tar", twins)
    assert not list(tmp_path.iterdir())
    bad: list[InputError] = []
    write_webdataset(tmp_path / "x.tar", twins, bad=bad.append)
    assert [sample.key for sample in read_webdataset(tmp_path / "x.tar")] == ["a.b", "c"]
    with pytest.raises(InputError, match="can't be written as JSON"):
        write_webdataset(tmp_path / "y.tar", [Sample("a", b"", None, {"bytes": b""})])


def test_reading_and_writing_take_no_memory(tmp_path: Path) -> None:
    import tracemalloc

    image = picture(1) + bytes(40_000)

    def many() -> Iterator[Sample]:
        for i in range(1000):
            yield Sample(f"{i}", image, str(i // 10))

    tracemalloc.start()
    try:
        write_webdataset(tmp_path / "many.tar", many())
        count = sum(1 for _ in read_webdataset(tmp_path / "many.tar"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 1000
    assert peak < 8e6


def test_a_sample_of_many_members_takes_no_memory(tmp_path: Path) -> None:
    import tracemalloc

    members = [("a.jpg", picture(1)), *((f"a.x{i}", bytes(2**20)) for i in range(150)), ("a.png", bytes(2**20))]
    path = made(tmp_path / "many.tar", *members, ("a.cls", b"1"), ("a.json", b'{"age": 7}'))
    tracemalloc.start()
    try:
        (sample,) = read_webdataset(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (sample.image, sample.label, sample.metadata) == (picture(1), "1", {"age": 7})
    assert peak < 8e6

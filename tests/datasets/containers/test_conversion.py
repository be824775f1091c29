"""Every format to every other and back; what formats are taken for; and the commands."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.datasets.containers.conftest import picture
from visavis.cli import main
from visavis.datasets.containers import CONTAINERS, named, recognized
from visavis.datasets.containers.conversion import contents, convert
from visavis.datasets.containers.samples import Sample
from visavis.errors import InputError

NAMES = {
    "folders": "photos",
    "flat": "photos",
    "lfw": "photos",
    "bin": "made.bin",
    "rec": "made.rec",
    "tfrecord": "made.tfrecord",
    "webdataset": "made.tar",
}
IMAGES = st.binary(max_size=40).map(lambda data: b"\xff\xd8\xff" + data)
WORDS = st.sampled_from(["ada", "Bob_B", "王芳", "x y", "7", "12", "v1.5", "Zoë"])
NUMBERS = st.integers(1, 9999)


def rows_of(data: st.DataObject, kinds: set[str]) -> list[Sample]:
    """Draw samples that all of these formats can hold, in the order in which folders give them."""
    if "bin" in kinds:
        pairs = data.draw(st.lists(st.tuples(st.booleans(), IMAGES, IMAGES), min_size=1, max_size=4))
        return [
            Sample(f"{i:06d}-{'mated' if mated else 'nonmated'}-{side}", image)
            for i, (mated, *images) in enumerate(pairs)
            for side, image in zip("ab", images, strict=True)
        ]
    drawn = data.draw(st.lists(st.tuples(WORDS, NUMBERS), min_size=1, max_size=8, unique=True))
    labeled = "flat" not in kinds
    samples = []
    for word, number in drawn:
        label = word.replace(" ", "_") if "lfw" in kinds else word
        key = (
            f"{label}/{label}_{number:04d}"
            if "lfw" in kinds
            else f"{label}/{number}"
            if labeled
            else f"{label}-{number}"
        )
        samples.append(Sample(key, data.draw(IMAGES), label if labeled else None))
    return samples


# Not between these: pairs without people, people without pairs, and photos of nobody.
APART = ({"bin", "lfw"}, {"flat", "lfw"})
PAIRS = [(a, b) for a in NAMES for b in NAMES if {a, b} not in APART]


@pytest.mark.parametrize(("first", "second"), PAIRS)
@settings(max_examples=5)
@given(data=st.data())
def test_there_and_back(tmp_path_factory: pytest.TempPathFactory, first: str, second: str, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("pair")
    samples = rows_of(data, {first, second})
    paths = [folder / f"{i}" / NAMES[kind] for i, kind in enumerate((first, second, first))]
    CONTAINERS[first].write(paths[0], samples)
    for source, target, kinds in ((paths[0], paths[1], (first, second)), (paths[1], paths[2], (second, first))):
        done = convert(source, target, source_format=kinds[0], target_format=kinds[1])
        assert done.samples == len(samples)
        assert done.bytes == sum(len(sample.image) for sample in samples)
    for path, kind in zip(paths, (first, second, first), strict=True):
        found = list(CONTAINERS[kind].read(path))
        assert sorted(found, key=lambda s: s.key) == sorted(samples, key=lambda s: s.key)


def test_order_is_kept_between_streams(tmp_path: Path, people: list[Sample]) -> None:
    CONTAINERS["rec"].write(tmp_path / "a.rec", people[::-1])
    for source, target in (
        ("a.rec", "b.tar"),
        ("b.tar", "c.tfrecord.gz"),
        ("c.tfrecord.gz", "d.tgz"),
        ("d.tgz", "e.rec"),
    ):
        convert(tmp_path / source, tmp_path / target)
        kind, path = recognized(tmp_path / target)
        assert list(kind.read(path)) == people[::-1]


def test_class_ids_are_kept(tmp_path: Path, people: list[Sample]) -> None:
    CONTAINERS["rec"].write(tmp_path / "a.rec", people)
    labels = (tmp_path / "a.rec.labels.txt").read_text("utf-8")
    done = convert(tmp_path / "a.rec", tmp_path / "b.tar", shard_size=2)
    assert done.classes == 3
    assert (tmp_path / "b.tar.labels.txt").read_text("utf-8") == labels
    (tmp_path / "a.rec.labels.txt").unlink()
    convert(tmp_path / "a.rec", tmp_path / "numbers")
    assert sorted(path.name for path in (tmp_path / "numbers").iterdir()) == ["0", "1", "2"]
    shutil.rmtree(tmp_path / "numbers" / "1")
    convert(tmp_path / "numbers", tmp_path / "c.rec")
    assert not (tmp_path / "c.rec.labels.txt").exists(), "folders named by numbers are class ids"
    assert {sample.label for sample in CONTAINERS["rec"].read(tmp_path / "c.rec")} == {"0", "2"}


def test_from_lfw_to_bin(tmp_path: Path) -> None:
    photos = [
        Sample(f"{who}/{who}_000{n}", picture(i), who)
        for i, (who, n) in enumerate([("ada", 1), ("ada", 2), ("bob", 1)])
    ]
    CONTAINERS["lfw"].write(tmp_path / "set", photos)
    with pytest.raises(InputError, match=r"has no pairs\.txt"):
        convert(tmp_path / "set", tmp_path / "set.bin")
    (tmp_path / "set" / "pairs.txt").write_text("1 1\nada 1 2\nada 2 bob 1\n")
    done = convert(tmp_path / "set", tmp_path / "set.bin")
    assert (done.source, done.target, done.samples) == ("lfw", "bin", 4)
    bins, issame = pickle.loads((tmp_path / "set.bin").read_bytes())
    assert bins == [picture(0), picture(1), picture(1), picture(2)]
    assert issame == [True, False]
    CONTAINERS["folders"].write(tmp_path / "other", [Sample("x/1", picture(1), "x")])
    with pytest.raises(InputError, match="'x/1' says of none"):
        convert(tmp_path / "other", tmp_path / "other.bin")


def test_formats_are_known_by_contents(tmp_path: Path, people: list[Sample], pair_samples: list[Sample]) -> None:
    for kind, name in NAMES.items():
        samples = pair_samples if kind in ("bin", "flat") else people
        CONTAINERS[kind].write(tmp_path / kind / name, samples)
        assert recognized(tmp_path / kind / name)[0].name == kind
        if (tmp_path / kind / name).is_file():
            shutil.copy(tmp_path / kind / name, tmp_path / f"{kind} without a suffix")
            assert recognized(tmp_path / f"{kind} without a suffix")[0].name == kind
    (tmp_path / "old.bin").write_bytes(pickle.dumps(([b"a", b"b"], [np.bool_(True)]), protocol=0))
    assert recognized(tmp_path / "old.bin")[0].name == "bin"
    (tmp_path / "empty.rec").touch()
    (tmp_path / "text").write_text("hello, this is a text that is no data set")
    (tmp_path / "bad.gz").write_bytes(b"\x1f\x8b\x08\x00nothing")
    for name, says in (
        ("empty.rec", "is empty"),
        ("text", "of no format"),
        ("bad.gz", "can't be read"),
        ("none", "no data set"),
    ):
        with pytest.raises(InputError, match=says):
            recognized(tmp_path / name)


def test_formats_are_known_by_names() -> None:
    assert {name: named(Path(name)).name for name in NAMES.values()} == {
        **{name: kind for kind, name in NAMES.items()},
        "photos": "folders",
    }
    assert named(Path("photos v1.5")).name == "folders"
    with pytest.raises(InputError, match="ends like no format"):
        named(Path("photos.zip"))


def cut(path: Path, by: int) -> None:
    path.write_bytes(path.read_bytes()[:-by])


@pytest.mark.parametrize(("kind", "by", "left"), [("rec", 300, 6), ("tfrecord", 10, 6), ("webdataset", 10_300, 6)])
def test_what_came_before_damage_is_kept(tmp_path: Path, people: list[Sample], kind: str, by: int, left: int) -> None:
    source = tmp_path / NAMES[kind]
    CONTAINERS[kind].write(source, people)
    whole = source.stat().st_size
    if kind == "webdataset":  # behind the members come zeros, as many as fill a block of 10240
        data = source.read_bytes().rstrip(b"\0")
        by = whole - len(data) + 600
    if kind == "rec":  # behind the photos come InsightFace's records of ranges
        last = [int(line.split()[1]) for line in source.with_suffix(".idx").read_text().splitlines()][6]
        by = whole - last - 50
    cut(source, by)
    before = source.read_bytes()
    with pytest.raises(InputError, match=r"(record|sample) 6 of .* at byte \d+"):
        convert(source, tmp_path / "out.rec")
    assert not (tmp_path / "out.rec").exists()
    bad: list[InputError] = []
    done = convert(source, tmp_path / "out.rec", bad=bad.append)
    assert done.samples == left
    assert len(bad) == 1
    assert list(CONTAINERS["rec"].read(tmp_path / "out.rec")) == people[:left]
    assert source.read_bytes() == before


def test_samples_that_are_no_images(tmp_path: Path) -> None:
    CONTAINERS["rec"].write(
        tmp_path / "a.rec", [Sample("a", b"text"), Sample("b", picture(1)), Sample("c", b"GIF8"), Sample("d", b"x")]
    )
    with pytest.raises(InputError, match="'a' is no image: it begins with b'text'"):
        convert(tmp_path / "a.rec", tmp_path / "photos")
    bad: list[InputError] = []
    assert convert(tmp_path / "a.rec", tmp_path / "photos", bad=bad.append).samples == 2
    assert sorted(path.name for path in (tmp_path / "photos").iterdir()) == ["b.jpg", "c.gif"]
    assert len(bad) == 2
    CONTAINERS["rec"].write(tmp_path / "none.rec", [Sample("a", b"text")])
    with pytest.raises(InputError, match="holds no photo that can be used"):
        convert(tmp_path / "none.rec", tmp_path / "none", bad=bad.append)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no photo that can be used"):
        convert(tmp_path / "empty", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_samples_that_cannot_be_written_are_not_counted(tmp_path: Path) -> None:
    CONTAINERS["rec"].write(
        tmp_path / "a.rec", [Sample("a", picture(1)), Sample("a", picture(2)), Sample("CON", picture(3))]
    )
    bad: list[InputError] = []
    done = convert(tmp_path / "a.rec", tmp_path / "photos", bad=bad.append)
    assert (done.samples, done.bytes, len(bad)) == (1, len(picture(1)), 2)


def test_a_link_that_leads_nowhere(tmp_path: Path, people: list[Sample]) -> None:
    CONTAINERS["folders"].write(tmp_path / "photos", people)
    (tmp_path / "photos" / "bob" / "z.jpg").symlink_to("nowhere")
    with pytest.raises(InputError, match=r"z\.jpg' does not exist"):
        convert(tmp_path / "photos", tmp_path / "a.rec")
    bad: list[InputError] = []
    assert convert(tmp_path / "photos", tmp_path / "a.rec", bad=bad.append).samples == len(people)
    assert len(bad) == 1


def test_misuse(tmp_path: Path, people: list[Sample]) -> None:
    CONTAINERS["rec"].write(tmp_path / "a.rec", people)
    for options, says in (
        ({"shard_size": 3}, "rec is always one file"),
        ({"target_format": "zip"}, "there is no format 'zip'; there are folders, flat"),
        ({"source_format": "tfrecord"}, "record 0 .* has a length whose checksum is wrong"),
        ({"source_format": "bin"}, "is refused"),
        ({"source_format": "webdataset"}, "sample 0 .* can't be read at byte 0"),
        ({"source_format": "folders"}, "is no folder"),
    ):
        with pytest.raises(InputError, match=says):
            convert(tmp_path / "a.rec", tmp_path / "b.rec", **options)
        assert not (tmp_path / "b.rec").exists()
    with pytest.raises(InputError, match="is there already"):
        convert(tmp_path / "a.rec", tmp_path / "a.rec")


def test_contents(tmp_path: Path, people: list[Sample]) -> None:
    CONTAINERS["webdataset"].write(tmp_path / "a.tar", [*people, Sample("last", picture(1))])
    found = contents(tmp_path / "a.tar")
    assert (found.format, found.samples, found.unlabeled) == ("webdataset", 8, 1)
    assert found.labels == {"Ada Lovelace": 3, "王芳": 2, "bob": 2}
    assert found.kinds == {"jpg": 5, "png": 3}
    assert found.keys == [sample.key for sample in people[:5]]
    sizes = [len(sample.image) for sample in people] + [len(picture(1))]
    assert (found.bytes, found.smallest, found.largest) == (sum(sizes), min(sizes), max(sizes))


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["datasets", *map(str, arguments)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def documented(command: str) -> set[str]:
    text = (Path(__file__).resolve().parents[3] / "docs" / "cli.md").read_text("utf-8").split("## JSON", 1)[1]
    row = next(line for line in text.splitlines() if line.startswith(f"| `{command}` |"))
    return set(re.findall(r"`([a-z_]+)`", row)) | {"visavis", "schema", "command", "warnings", "skipped"}


def test_the_commands(tmp_path: Path, run: Run, people: list[Sample]) -> None:
    CONTAINERS["folders"].write(tmp_path / "photos", people)
    code, out, err = run("convert", tmp_path / "photos", tmp_path / "a.tar", "--shard-size", 3, "--json")
    assert (code, err) == (0, "")
    found: dict[str, Any] = json.loads(out)
    assert set(found) <= documented("datasets convert")
    assert (found["samples"], found["classes"], found["source_format"], found["target_format"]) == (
        7,
        3,
        "folders",
        "webdataset",
    )
    assert len(found["files"]) == 4
    code, out, _ = run("show", tmp_path / "a-%06d.tar", "--json")
    assert code == 0
    assert set(json.loads(out)) <= documented("datasets show")
    assert json.loads(out)["samples"] == 7
    code, out, _ = run("convert", tmp_path / "a-%06d.tar", tmp_path / "b.rec")
    assert dict(line.split("\t") for line in out.splitlines())["photos"] == "7"
    code, _, err = run("convert", tmp_path / "a-%06d.tar", tmp_path / "b.rec")
    assert code == 2
    assert err.count("\n") == 1
    assert "is there already" in err


def test_the_command_keeps_what_came_before(tmp_path: Path, run: Run, people: list[Sample]) -> None:
    CONTAINERS["tfrecord"].write(tmp_path / "a.tfrecord", people)
    cut(tmp_path / "a.tfrecord", 10)
    code, _, err = run("convert", tmp_path / "a.tfrecord", tmp_path / "photos")
    assert code == 2
    assert "record 6 of" in err
    code, out, err = run("convert", tmp_path / "a.tfrecord", tmp_path / "photos", "--skip-bad", "--json")
    assert code == 1
    assert (json.loads(out)["samples"], json.loads(out)["left_out"]) == (6, 1)
    assert "left out: record 6 of" in json.loads(out)["warnings"][0]
    code, out, _ = run("show", tmp_path / "a.tfrecord", "--skip-bad")
    assert code == 1
    assert "left out\t1" in out
    (tmp_path / "empty").mkdir()
    code, _, err = run("show", tmp_path / "empty")
    assert code in (0, 2)


def test_many_reasons_are_told_in_few_lines(tmp_path: Path, run: Run) -> None:
    CONTAINERS["rec"].write(
        tmp_path / "a.rec", [Sample(f"{i}", b"text") for i in range(20)] + [Sample("x", picture(1))]
    )
    code, _, err = run("convert", tmp_path / "a.rec", tmp_path / "photos", "--skip-bad")
    assert code == 1
    assert err.count("left out") == 6

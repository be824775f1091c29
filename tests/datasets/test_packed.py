"""Packed data sets: what goes in comes out, shared by processes, whole or not there, checked when opened."""

from __future__ import annotations

import hashlib
import json
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from visavis.datasets.packed import MAGIC, START, PackedFaces
from visavis.datasets.packing import Photo, pack, samples_of
from visavis.datasets.photos import open_photos
from visavis.errors import ImageError, InputError, StorageError
from visavis.image import load_image, save_image

Lfw = Callable[[str, int], bytes]


def png(image: np.ndarray) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        save_image(Path(folder) / "a.png", image)
        return (Path(folder) / "a.png").read_bytes()


@pytest.fixture(scope="module")
def photos(lfw_photo: Lfw) -> list[Photo]:
    people = ("Abel_Pacheco", "Al_Sharpton", "Ali_Naimi")
    return [Photo(f"{name}/{i}", lfw_photo(name, i), name) for name in people for i in (1, 2, 3)]


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory, photos: list[Photo]) -> Path:
    path = tmp_path_factory.mktemp("packed") / "faces.pack"
    pack(photos, path, threads=2)
    return path


def test_real_photos_come_back(packed: Path, photos: list[Photo]) -> None:
    faces = PackedFaces.open(packed)
    assert len(faces) == 9
    assert faces.shape == (250, 250)
    assert faces.people == ("Abel_Pacheco", "Al_Sharpton", "Ali_Naimi")
    assert faces.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    for i, photo in enumerate(photos):
        image, label = faces[i]
        assert np.array_equal(image, load_image(photo.image))
        assert faces.people[label] == photo.label
        assert faces.key(i) == photo.key
    assert [label for _, label in faces] == faces.labels.tolist()
    faces.verify()
    with pytest.raises(ValueError, match="read-only"):
        faces.images[0, 0, 0, 0] = 1
    with pytest.raises(IndexError):
        faces[9]


def test_numpy_alone_can_read_it(packed: Path, photos: list[Photo]) -> None:
    """As docs/preload.md describes the format."""
    data = packed.read_bytes()
    assert data[:8] == MAGIC
    version, where, size, total = np.frombuffer(data, "<u4", 1, 8)[0], *np.frombuffer(data, "<u8", 3, 16).tolist()
    assert (version, total) == (1, len(data))
    text = data[where : where + size]
    assert hashlib.sha256(text).digest() == data[40:72]
    header = json.loads(text)
    blocks = header["blocks"]
    assert all(block["offset"] % 4096 == 0 for block in blocks.values())
    for block in blocks.values():
        part = data[block["offset"] : block["offset"] + block["bytes"]]
        assert hashlib.sha256(part).hexdigest() == block["sha256"]
    shape = (header["photos"], *header["shape"], 3)
    images = np.memmap(packed, np.uint8, "r", blocks["images"]["offset"], shape)
    assert np.array_equal(images[4], load_image(photos[4].image))
    labels = np.frombuffer(data, "<i8", header["photos"], blocks["labels"]["offset"])
    assert [header["people"][i] for i in labels] == [photo.label for photo in photos]


def test_slices_masks_and_index_arrays(packed: Path) -> None:
    faces = PackedFaces.open(packed)
    for index in (slice(2, 5), np.array([7, 0, 7]), faces.labels == 1, [1, 2], slice(0, 0)):
        images, labels = faces[index]
        assert np.array_equal(images, faces.images[index])
        assert np.array_equal(labels, faces.labels[index])
        images[...] = 0  # a copy: training may change it
    assert faces.images.any()


def test_encoded_photos_stay_as_they_are(tmp_path: Path, photos: list[Photo]) -> None:
    other = Photo("x", png(np.full((20, 30, 3), 7, np.uint8)))
    pack([*photos, other], tmp_path / "e.pack", encoded=True)
    faces = PackedFaces.open(tmp_path / "e.pack")
    assert faces.shape is None
    assert [faces.encoded(i) for i in range(10)] == [photo.image for photo in [*photos, other]]
    assert faces[-1][0].shape == (20, 30, 3)
    assert faces.labels[-1] == -1
    images, labels = faces[:3]
    assert np.array_equal(images, np.stack([load_image(photo.image) for photo in photos[:3]]))
    assert labels.tolist() == [0, 0, 0]
    assert [image.shape for image in faces[8:][0]] == [(250, 250, 3), (20, 30, 3)]
    faces.verify()
    with pytest.raises(InputError, match="encoded"):
        _ = faces.images


@settings(max_examples=25)
@given(
    arrays.arrays(np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 6), st.just(3))),
    st.lists(
        st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]), max_size=8)), min_size=5, max_size=5
    ),
    st.booleans(),
)
def test_a_round_trip(images: np.ndarray, labels: list[str | None], encoded: bool) -> None:
    samples = [
        Photo(f"{i}/{label}", png(image), label) for i, (image, label) in enumerate(zip(images, labels, strict=False))
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.pack"
        made = pack(iter(samples), path, encoded=encoded)
        faces = PackedFaces.open(path)
        assert len(faces) == made.photos == len(images)
        assert path.stat().st_size == made.bytes
        for i, sample in enumerate(samples):
            assert np.array_equal(faces[i][0], images[i])
            assert faces.key(i) == sample.key
            assert (None if faces.labels[i] < 0 else faces.people[faces.labels[i]]) == sample.label
        faces.verify()
        assert list(Path(folder).iterdir()) == [path]
        del faces


def test_it_goes_to_other_processes_by_its_path(packed: Path, photos: list[Photo]) -> None:
    faces = PackedFaces.open(packed)
    sent = pickle.dumps(faces)
    assert len(sent) < 400
    code = (
        "import pickle, sys; faces = pickle.loads(sys.stdin.buffer.read()); print(int(faces[4][0].sum()), faces[4][1])"
    )
    done = subprocess.run([sys.executable, "-c", code], input=sent, capture_output=True, check=True)
    assert done.stdout.split() == [b"%d" % load_image(photos[4].image).sum(), b"1"]


def test_a_file_replaced_since_is_not_taken_for_the_same(tmp_path: Path, photos: list[Photo]) -> None:
    pack(photos[:2], tmp_path / "a.pack")
    sent = pickle.dumps(PackedFaces.open(tmp_path / "a.pack"))
    pack(photos[:3], tmp_path / "a.pack")
    with pytest.raises(InputError, match="replaced"):
        pickle.loads(sent)


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="memory by file is told by Linux alone")
def test_two_processes_share_one_copy(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (400, 64, 64, 3)).astype(np.uint8)
    pack((Photo(str(i), png(image), "a") for i, image in enumerate(noise)), tmp_path / "shared.pack")
    code = """
import sys
from visavis.datasets.packed import PackedFaces
faces = PackedFaces.open(sys.argv[1])
print(int(faces.images.sum()), flush=True)
sys.stdin.readline()
pss, inside = 0, False
for line in open("/proc/self/smaps"):
    if not line.split()[0].endswith(":"):
        inside = "shared.pack" in line
    elif inside and line.startswith("Pss:"):
        pss += int(line.split()[1])
print(pss, flush=True)
sys.stdin.readline()
"""
    command = [sys.executable, "-c", code, str(tmp_path / "shared.pack")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    children = [subprocess.Popen(command, **pipes) for _ in range(2)]  # type: ignore[call-overload]
    sums = [int(child.stdout.readline()) for child in children]
    for child in children:
        print(file=child.stdin, flush=True)
    shares = [int(child.stdout.readline()) for child in children]
    for child in children:
        child.communicate("\n")
    assert sums == [int(noise.sum())] * 2
    whole = noise.nbytes / 1024
    for share in shares:  # each is counted half of the pages that both have
        assert 0.4 * whole < share < 0.7 * whole


def test_killed_half_way_there_is_no_file_and_the_next_run_makes_it(tmp_path: Path, photos: list[Photo]) -> None:
    code = """
import sys, time
from visavis.datasets.packing import Photo, pack
photo = open(sys.argv[2], "rb").read()
def slowly():
    for i in range(1000):
        yield Photo(str(i), photo)
        time.sleep(0.01)
pack(slowly(), sys.argv[1])
"""
    (tmp_path / "photo.jpg").write_bytes(photos[0].image)
    target = tmp_path / "set" / "a.pack"
    target.parent.mkdir()
    child = subprocess.Popen([sys.executable, "-c", code, str(target), str(tmp_path / "photo.jpg")])
    part = target.parent / ".a.pack.part"
    until = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size > 500_000):
        assert time.monotonic() < until
        time.sleep(0.01)
    # While it is written, nobody else writes it.
    with pytest.raises(StorageError, match="another run is writing"):
        pack(photos, target)
    child.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    child.wait()
    assert not target.exists()
    pack(photos, target)
    assert list(target.parent.iterdir()) == [target]
    assert len(PackedFaces.open(target)) == 9


def test_photos_of_several_sizes(tmp_path: Path, photos: list[Photo]) -> None:
    other = Photo("small", png(np.zeros((8, 9, 3), np.uint8)))
    with pytest.raises(InputError, match="small is 9x8 and the first photo 250x250"):
        pack([photos[0], other], tmp_path / "a.pack")
    assert list(tmp_path.iterdir()) == []
    assert pack([photos[0], other], tmp_path / "a.pack", size=(20, 10)).shape == (20, 10)


def test_photos_that_cannot_be_read(tmp_path: Path, photos: list[Photo]) -> None:
    bad = Photo("broken", photos[0].image[:500], "a")
    with pytest.raises(ImageError, match="broken: "):
        pack([*photos, bad], tmp_path / "a.pack")
    left_out = []
    made = pack([bad, *photos], tmp_path / "a.pack", bad=lambda key, error: left_out.append((key, str(error))))
    assert made.photos == 9
    assert [key for key, _ in left_out] == ["broken"]
    with pytest.raises(InputError, match="no photo to pack"):
        pack([], tmp_path / "b.pack")


def test_what_breaks_in_between_leaves_nothing(tmp_path: Path, photos: list[Photo]) -> None:
    (tmp_path / "a.pack").write_bytes(b"before")

    def failing() -> Iterator[Photo]:
        yield from photos
        raise OSError(28, "No space left on device")

    with pytest.raises(StorageError, match="no space left"):
        pack(failing(), tmp_path / "a.pack")
    assert (tmp_path / "a.pack").read_bytes() == b"before"
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(InputError, match="is a folder"):
        pack(photos, tmp_path)
    with pytest.raises(StorageError, match="can't be written"):
        pack(photos, tmp_path / "a.pack" / "b.pack")


def test_a_folder_a_person_and_lfw(packed: Path, tmp_path: Path, photos: list[Photo]) -> None:
    for photo in photos:
        (tmp_path / photo.key).parent.mkdir(exist_ok=True)
        (tmp_path / f"{photo.key}.jpg").write_bytes(photo.image)
    pack(samples_of(open_photos(tmp_path)), tmp_path / "a.pack")
    assert np.array_equal(PackedFaces.open(tmp_path / "a.pack").images, PackedFaces.open(packed).images)


def changed(data: bytes, what: str) -> bytes:
    """Return a packed file with something wrong, the hash of its header made to fit where that is the point."""
    if what in ("empty", "text", "cut", "newer", "old", "longer", "far header", "changed header"):
        start = list(START.unpack(data[: START.size]))
        if what == "newer":
            start[1] = 9
        if what == "old":
            start[1] = 0
        if what == "far header":
            start[3] = 2**60
        new = START.pack(*start) + data[START.size :]
        where = START.unpack(data[: START.size])[3]
        return {
            "empty": b"",
            "text": b"key,label\n" * 500,
            "cut": data[: len(data) // 2],
            "longer": data + b"more",
            "changed header": data[: where + 20] + b"X" + data[where + 21 :],
        }.get(what, new)
    magic, version, zero, where, _, _, _ = START.unpack(data[: START.size])
    header = json.loads(data[where:])
    blocks = header["blocks"]
    if what == "outside":
        blocks["images"]["offset"] = 10**9
    elif what == "negative":
        blocks["keys"]["bytes"] = -5
    elif what == "fraction":
        blocks["labels"]["offset"] = 4096.5
    elif what == "shape":
        header["shape"] = [10**9, 10**9]
    elif what == "many":
        header["photos"] = 10**15
    elif what == "missing block":
        del blocks["labels"]
    elif what == "no people":
        header["people"] = []
    elif what == "numbers for people":
        header["people"] = [1, 2, 3]
    elif what == "no dictionary":
        header = [header]
    elif what == "keys":
        blocks["key_ends"], blocks["labels"] = blocks["labels"], blocks["key_ends"]
    text = b"[" * 100_000 if what == "deep" else json.dumps(header).encode()
    total = where + len(text)
    start = START.pack(magic, version, zero, where, len(text), total, hashlib.sha256(text).digest())
    return start + data[START.size : where] + text


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("empty", "is empty"),
        ("text", "is no packed data set"),
        ("cut", "cut off"),
        ("longer", "cut off or damaged"),
        ("newer", "newer visavis"),
        ("old", "damaged"),
        ("far header", "damaged"),
        ("changed header", "header was changed"),
        *((what, "damaged|can't be read") for what in ("outside", "negative", "fraction", "shape", "many", "deep")),
        *((what, "damaged") for what in ("missing block", "no people", "numbers for people", "no dictionary", "keys")),
    ],
)
def test_files_that_are_none_are_refused(packed: Path, tmp_path: Path, what: str, says: str) -> None:
    path = tmp_path / "bad.pack"
    path.write_bytes(changed(packed.read_bytes(), what))
    with pytest.raises(InputError, match=says) as caught:
        PackedFaces.open(path)
    assert "\n" not in str(caught.value)
    assert "bad.pack" in str(caught.value)


def test_changed_pixels_are_found_when_asked_for(packed: Path, tmp_path: Path) -> None:
    data = bytearray(packed.read_bytes())
    data[5000] ^= 1
    (tmp_path / "bad.pack").write_bytes(data)
    with pytest.raises(InputError, match="its images are not those"):
        PackedFaces.open(tmp_path / "bad.pack").verify()
    with pytest.raises(InputError, match="can't be read: no such file"):
        PackedFaces.open(tmp_path / "missing.pack")
    with pytest.raises(InputError, match="can't be read"):
        PackedFaces.open(tmp_path)


def test_a_lock_left_by_nobody_is_no_hindrance(tmp_path: Path, photos: list[Photo]) -> None:
    with FileLock(tmp_path / ".a.pack.lock"):
        pass
    pack(photos, tmp_path / "a.pack")
    assert (tmp_path / "a.pack").is_file()

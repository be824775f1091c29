"""Lists of IJB-B and IJB-C, of bytes made by hand after their published layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from visavis.datasets import ijb
from visavis.datasets.ijb import Ijb, parse_media, parse_pairs, parse_photos, parse_subjects
from visavis.errors import InputError

POINTS = "30.5 40 60 41 45.25 60 33 80 58 81"
LISTS = {
    "name_5pts_score.txt": f"1.jpg {POINTS} 0.999\n2.jpg {POINTS} 0.5\nframes/3.png {POINTS} 1\n",
    "face_tid_mid.txt": "1.jpg 1 69544\n2.jpg 1 69545\nframes/3.png 7 80000\n",
    "template_pair_label.txt": "1 7 0\n7 7 1\n",
    "1N_gallery_G1.csv": "TEMPLATE_ID,SUBJECT_ID,FILENAME,FACE_X\n1,500,img/1.jpg,3\n1,500,img/2.jpg,4\n",
    "1N_gallery_G2.csv": "TEMPLATE_ID,SUBJECT_ID\n7,501\n",
    "1N_probe_mixed.csv": "TEMPLATE_ID,SUBJECT_ID\n7,501\n1,500\n",
}


def write(folder: Path, prefix: str = "ijbc", **changed: str | bytes | None) -> Path:
    """Write the lists, some of them changed or (None) left out."""
    meta = folder / "meta"
    meta.mkdir(parents=True, exist_ok=True)
    for name, content in LISTS.items():
        new = changed.get(name.partition(".")[0].replace("1N_", ""), content)
        target = name if prefix == "ijbc" else name.replace("_G", "_S")
        if new is not None:
            (meta / f"{prefix}_{target}").write_bytes(new if isinstance(new, bytes) else new.encode())
    return folder


@pytest.mark.parametrize(
    ("prefix", "name", "galleries"), [("ijbc", "IJB-C", ("G1", "G2")), ("ijbb", "IJB-B", ("S1", "S2"))]
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_the_published_layout(tmp_path: Path, prefix: str, name: str, galleries: tuple[str, str], newline: str) -> None:
    changed = {key.partition(".")[0].replace("1N_", ""): text.replace("\n", newline) for key, text in LISTS.items()}
    data = Ijb.open(write(tmp_path, prefix, **changed))
    assert (data.name, data.galleries) == (name, galleries)
    assert data.photos == ("1.jpg", "2.jpg", "frames/3.png")
    assert data.landmarks.shape == (3, 5, 2)
    assert data.landmarks[0].tolist() == [[30.5, 40], [60, 41], [45.25, 60], [33, 80], [58, 81]]
    np.testing.assert_array_equal(data.scores, np.array([0.999, 0.5, 1], np.float32))
    assert data.templates.tolist() == [1, 1, 7]
    assert data.media.tolist() == [69544, 69545, 80000]
    pairs = data.pairs()
    assert pairs.templates.tolist() == [[1, 7], [7, 7]]
    assert pairs.mated.tolist() == [False, True]
    first = data.gallery(galleries[0])
    assert (first.templates.tolist(), first.subjects.tolist()) == ([1], [500]), "a template once, though it has lines"
    assert data.probes().templates.tolist() == [7, 1]
    assert data.has("template_pair_label.txt", "1N_probe_mixed.csv")
    assert not data.has("1N_gallery_S3.csv")


def test_photos_are_read_from_loose_crop(tmp_path: Path) -> None:
    data = Ijb.open(write(tmp_path))
    (tmp_path / "loose_crop" / "frames").mkdir(parents=True)
    (tmp_path / "loose_crop" / "frames" / "3.png").write_bytes(b"picture")
    assert data.read(2) == b"picture"
    with pytest.raises(InputError, match=r"1\.jpg' does not exist"):
        data.read(0)


def test_chunks_make_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(0).integers(1, 10**6, (500, 2))
    text = "".join(f"{a} {b} {(a + b) % 2}\n" for a, b in rows)
    path = tmp_path / "pairs.txt"
    path.write_text(text)
    for size in (1, 7, 100, 10**6):
        monkeypatch.setattr(ijb, "_CHUNK", size)
        found = parse_pairs(path)
        assert (found.templates == rows).all()
        assert (found.mated == (rows.sum(axis=1) % 2 == 1)).all()
    path.write_text(text.rstrip("\n") + "\n5 x 1\n6 6 1\n")
    for size in (1, 100, 10**6):
        monkeypatch.setattr(ijb, "_CHUNK", size)
        with pytest.raises(InputError, match=r"line 501 of .* is not two templates"):
            parse_pairs(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "line 1"),
        (b"1 2\n", "line 1"),
        (b"1 2 1\n1 2 1 1\n", "line 2"),
        (b"1 2 1\n1 2\n3 4 1 1\n", "line 2"),
        (b"1 2 2\n", "line 1"),
        (b"1 2 1\n\n3 4 1\n", "line 2"),
        (b"1 2.5 1\n", "line 1"),
        (b"1 99999999999999999999 1\n", "line 1"),
        (b"\xff\xfe\n", "UTF-8"),
        (b"7" * 70000 + b"\n1 2 1\n", "line 1"),
    ],
)
def test_pairs_that_are_none(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "pairs.txt"
    path.write_bytes(content)
    with pytest.raises(InputError) as raised:
        parse_pairs(path)
    assert said in str(raised.value)
    assert len(str(raised.value)) < 500


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (f"1.jpg {POINTS}\n", "line 1"),
        (f"1.jpg {POINTS} 0.9\n2.jpg {POINTS} x\n", "line 2"),
        (f"1.jpg {POINTS} nan\n", "not finite"),
        (f"1.jpg {POINTS} -0.5\n", "a score < 0"),
        (f"1.jpg {POINTS} 0.9\n1.jpg {POINTS} 0.9\n", "line 2 of"),
        (f"a b.jpg {POINTS} 0.9\n", "line 1"),
        (f"../1.jpg {POINTS} 0.9\n", "outside its folder"),
        (f"/etc/passwd {POINTS} 0.9\n", "outside its folder"),
        (f"C:\\1.jpg {POINTS} 0.9\n", "outside its folder"),
        (f"x\\..\\..\\1.jpg {POINTS} 0.9\n", "outside its folder"),
    ],
)
def test_photos_that_are_none(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "photos.txt"
    path.write_text(content)
    with pytest.raises(InputError) as raised:
        parse_photos(path)
    assert said in str(raised.value)


def test_media_and_subjects_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "list"
    for content in ("1.jpg 1\n", "1.jpg 1 2 3\n", "1.jpg a 2\n", ""):
        path.write_text(content)
        with pytest.raises(InputError, match="line 1 of"):
            parse_media(path)
    for content, said in (
        ("TEMPLATE_ID,SUBJECT_ID\n1,2\n1,3\n", "line 3 of .* a second subject"),
        ("TEMPLATE_ID,SUBJECT_ID\n1\n", "line 2 of"),
        ("TEMPLATE_ID,SUBJECT_ID\n1,x\n", "line 2 of"),
        ("TEMPLATE_ID,SUBJECT_ID\n", "lists no templates"),
    ):
        path.write_text(content)
        with pytest.raises(InputError, match=said):
            parse_subjects(path)


def test_folders_that_do_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="not IJB's layout"):
        Ijb.open(tmp_path)
    cases: list[tuple[dict[str, str | None], str]] = [
        ({"name_5pts_score": None}, "is missing"),
        ({"face_tid_mid": "1.jpg 1 1\n"}, "3 and 1 lines"),
        ({"face_tid_mid": "1.jpg 1 1\n3.jpg 1 1\nframes/3.png 7 1\n"}, "line 2"),
    ]
    for number, (changed, said) in enumerate(cases):
        with pytest.raises(InputError) as raised:
            Ijb.open(write(tmp_path / str(number), **changed))
        assert said in str(raised.value)
    data = Ijb.open(write(tmp_path / "x", template_pair_label="1 9 0\n", gallery_G1="TEMPLATE_ID,SUBJECT_ID\n8,1\n"))
    with pytest.raises(InputError, match="template 9, of which there is no photo"):
        data.pairs()
    with pytest.raises(InputError, match="template 8, of which there is no photo"):
        data.gallery("G1")
    monkeypatch.setattr(ijb, "_MAX_BYTES", 10)
    with pytest.raises(InputError, match="more than 10 bytes"):
        Ijb.open(tmp_path / "x")

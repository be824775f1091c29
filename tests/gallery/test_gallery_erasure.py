"""After an erasure no byte of the subject is in any file: searched for, not assumed."""

from __future__ import annotations

import os
import random
import re
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from visavis.database import erasure
from visavis.errors import GalleryBusy, UnknownSubject
from visavis.gallery import Gallery, open_gallery
from visavis.gallery.crops import Crop
from visavis.gallery.store import NewTemplate, insert_templates, make_collection, require_subject
from visavis.types import Embeddings


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home of this test's own: small enough to be searched whole, and no model is needed here."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


NAME, EXTERNAL, SECRET = "Ermintrude Quux-Zappa", "badge-77120345", "allergic to quokkas"
METADATA = {"note": SECRET, "größe": 183.25}


def windows(data: bytes, count: int = 4, size: int = 10) -> list[bytes]:
    """Return pieces of some bytes, spread over all of them."""
    return [data[i : i + size] for i in np.linspace(0, len(data) - size, count).astype(int)]


def traces(subject: Embeddings, png: bytes = b"") -> list[bytes]:
    """Return what must not be found any more: the texts in part and in whole, and pieces of vectors and picture."""
    texts = [NAME, "Quux-Zappa", EXTERNAL, "77120345", SECRET, "quokkas", "183.25", "Renamed Quux"]
    pieces = [piece for vector in subject.vectors for piece in windows(vector.astype("<f4").tobytes())]
    return [text.encode() for text in texts] + pieces + (windows(png, 40, 12) if png else [])


def found_in(folders: list[Path], wanted: list[bytes]) -> dict[str, list[bytes]]:
    """Return which of the byte strings are in which files, anywhere below the folders."""
    hits: dict[str, list[bytes]] = {}
    for folder in folders:
        for file in folder.rglob("*"):
            if file.is_file():
                data = file.read_bytes()
                if there := [piece for piece in wanted if piece in data]:
                    hits[str(file)] = there
    return hits


def keep_crop(gallery: Gallery, name: str, png: bytes, vector: np.ndarray) -> None:
    """Give a subject a template with a kept crop, as enrolling a photo does."""
    with gallery._database.writing() as connection:
        collection = make_collection(connection, gallery.collection)
        row = require_subject(connection, collection, name)
        template = NewTemplate(vector, {"sharpness": 1.0}, Crop(png, np.zeros((5, 2), np.float32)))
        insert_templates(connection, collection, row.id, "test-model", [template])


def churn(gallery: Gallery, person, chance: random.Random, steps: int) -> None:
    """Enroll, rename, remove and search around the subject, so that pages are split, freed and reused."""
    for _ in range(steps):
        number = chance.randrange(40)
        name = f"bystander {number} {'x' * chance.randrange(1, 60)}"
        action = chance.random()
        if action < 0.6:
            gallery.enroll(name, person(number, chance.randint(1, 30)), metadata={"n": "y" * chance.randrange(3000)})
        elif action < 0.8:
            if name in gallery:
                gallery.rename(name, f"bystander {number} renamed {chance.random()}")
        elif len(gallery):
            other = chance.choice([s.name for s in gallery.list() if s.name not in (NAME, "Renamed Quux")] or [NAME])
            if other not in (NAME, "Renamed Quux"):
                (gallery.erase if chance.random() < 0.2 else gallery.remove)(other)
        gallery.identify(person(number), threshold=0.5)


@pytest.mark.parametrize("seed", range(6))
def test_no_byte_remains_after_random_churn(path, person, seed, home, tmp_path) -> None:
    assert os.environ["VISAVIS_HOME"] == str(home)
    chance = random.Random(seed)
    subject = person(1000 + seed, 25)
    png = b"\x89PNG\r\n\x1a\n" + random.Random(seed).randbytes(30_000)
    wanted = traces(subject, png)
    with open_gallery(path) as gallery:
        churn(gallery, person, chance, 30)
        gallery.enroll(NAME, subject[:10], external_id=EXTERNAL, metadata=METADATA)
        churn(gallery, person, chance, 20)
        gallery.enroll(NAME, subject[10:])
        keep_crop(gallery, NAME, png, subject.vectors[3])
        if seed % 2:
            gallery.rename(NAME, "Renamed Quux")
            churn(gallery, person, chance, 10)
            gallery.rename("Renamed Quux", NAME)
        assert gallery.identify(subject[:3], threshold=0.9).best == (NAME,) * 3
        everywhere = b"".join(file.read_bytes() for file in path.parent.iterdir() if file.is_file())
        assert all(piece in everywhere for piece in wanted if piece != b"Renamed Quux"), "the search itself works"
        if seed % 3 == 0:
            gallery.remove(NAME)  # removed first, erased with the next erasure
            gallery.enroll(NAME, person(5))
        if seed == 5:
            gallery.export(tmp_path / "export.zip")
            (tmp_path / "export.zip").unlink()
        gallery.erase(NAME)
        assert found_in([path.parent, home], wanted) == {}, "while the gallery is open"
        assert not gallery.erasure_pending
        with pytest.raises(UnknownSubject):
            gallery.show(NAME)
        assert NAME not in str(gallery.identify(subject, threshold=0.5).subjects)
        churn(gallery, person, chance, 10)
        assert found_in([path.parent, home], wanted) == {}, "after more changes"
    assert found_in([path.parent, home], wanted) == {}, "after closing"


HOLD = """
    import sqlite3, sys, time
    connection = sqlite3.connect(sys.argv[1], isolation_level=None)
    connection.execute("BEGIN")
    print(connection.execute("SELECT count(*) FROM subjects").fetchone()[0], flush=True)
    if sys.argv[2] == "until told":
        sys.stdin.readline()
    else:
        time.sleep(float(sys.argv[2]))
    connection.close()
"""


def hold(path: Path, how_long: str) -> subprocess.Popen[str]:
    """Start a process that keeps a read transaction open."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLD), str(path), how_long],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert int(process.stdout.readline()) > 0
    return process


@pytest.mark.parametrize("repeat", ["erase", "open", "erase another"])
def test_a_reader_that_stays_makes_it_an_error_never_a_success(path, person, repeat, home) -> None:
    subject = person(1000, 20)
    wanted = traces(subject)
    with open_gallery(path) as gallery:
        gallery.enroll("bob", person(1, 50))
        gallery.enroll("carol", person(2, 50))
        gallery.enroll(NAME, subject, external_id=EXTERNAL, metadata=METADATA)
        reader = hold(path, "until told")
        with pytest.raises(GalleryBusy, match="another process"):
            gallery.erase(NAME, timeout=0.3)
        assert gallery.erasure_pending
        assert NAME not in gallery, "out of search at once, all the same"
        assert found_in([path.parent], wanted), "as long as it reads, bytes remain: that is why it was an error"
        marks = dict(gallery._database.raw.execute("SELECT key, value FROM meta").fetchall())
        assert set(marks) == {"schema_version", "erasure_pending"}
        assert re.fullmatch("[0-9a-f]{16}", marks["erasure_pending"]), "a random word: the mark doesn't say whose"
        with pytest.raises(GalleryBusy):
            gallery.erase(NAME, timeout=0.3)
        reader.communicate("go\n")
        if repeat != "open":
            gallery.erase(NAME if repeat == "erase" else "carol")
            assert found_in([path.parent, home], wanted) == {}
            assert not gallery.erasure_pending
            with pytest.raises(UnknownSubject):
                gallery.erase(NAME)
    if repeat == "open":
        with open_gallery(path) as gallery:
            assert not gallery.erasure_pending
    assert found_in([path.parent, home], wanted) == {}


def test_a_reader_that_goes_is_waited_for(path, person, home) -> None:
    subject = person(1000, 20)
    with open_gallery(path) as gallery:
        gallery.enroll("bob", person(1, 50))
        gallery.enroll(NAME, subject, external_id=EXTERNAL, metadata=METADATA)
        reader = hold(path, "0.5")
        gallery.erase(NAME, timeout=60)
        assert found_in([path.parent, home], traces(subject)) == {}
    reader.communicate()


def test_opening_while_a_reader_stays_works_and_says_that_an_erasure_is_left(path, person) -> None:
    with open_gallery(path) as gallery:
        gallery.enroll("bob", person(1))
        gallery.enroll(NAME, person(1000))
        reader = hold(path, "until told")
        with pytest.raises(GalleryBusy):
            gallery.erase(NAME, timeout=0.2)
    with open_gallery(path) as gallery:
        assert gallery.erasure_pending
        assert gallery.identify(person(1), threshold=0.5).best == ("bob",)
    reader.communicate("go\n")


@pytest.mark.parametrize("moment", [0.0, 0.002, 0.01, 0.03])
def test_an_erasure_killed_half_way_is_finished_by_the_next_opening(path, person, moment, home) -> None:
    subject = person(1000, 20)
    with open_gallery(path) as gallery:
        gallery.enroll("bob", person(1, 2000))
        gallery.enroll(NAME, subject, external_id=EXTERNAL, metadata=METADATA)
    code = """
        import sys
        from visavis.gallery import open_gallery
        gallery = open_gallery(sys.argv[1])
        print("open", flush=True)
        sys.stdin.readline()
        gallery.erase(sys.argv[2])
        print("erased", flush=True)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(path), NAME],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    process.stdin.write("go\n")
    process.stdin.flush()
    time.sleep(moment)
    process.kill()
    process.communicate()
    with open_gallery(path) as gallery:
        assert not gallery.erasure_pending
        if NAME in gallery:  # killed before the deletion: nothing happened, and the caller was told nothing
            assert gallery.show(NAME).counts == {"test-model": 20}
            gallery.erase(NAME)
        assert found_in([path.parent, home], traces(subject)) == {}


def test_erasing_while_others_enroll_and_search(path, person, home) -> None:
    """A busy gallery: two threads on connections of their own write and search all the time."""
    subject = person(1000, 10)
    stop = threading.Event()
    errors: list[BaseException] = []

    def work(offset: int) -> None:
        try:
            with open_gallery(path) as mine:
                for i in range(10_000):
                    if stop.is_set():
                        return
                    mine.enroll(f"w{offset + i}", person(offset + i))
                    mine.identify(person(offset + i), threshold=0.5)
        except BaseException as error:  # noqa: BLE001 (handed on to the main thread)
            errors.append(error)

    with open_gallery(path) as gallery:
        gallery.enroll("bob", person(1))
        threads = [threading.Thread(target=work, args=(offset,)) for offset in (10_000, 20_000)]
        for thread in threads:
            thread.start()
        for _ in range(3):
            gallery.enroll(NAME, subject, external_id=EXTERNAL, metadata=METADATA)
            gallery.erase(NAME, timeout=60)
            assert found_in([path.parent, home], traces(subject)) == {}
        stop.set()
        for thread in threads:
            thread.join()
    assert errors == []


def test_finishing_an_older_erasure_leaves_a_newer_ones_mark(path, person, monkeypatch) -> None:
    with open_gallery(path) as gallery, open_gallery(path) as other:
        gallery.enroll("bob", person(1))
        gallery.enroll("carol", person(2))
        gallery.enroll(NAME, person(1000))
        true_emptied = erasure._log_emptied

        def meanwhile(raw: sqlite3.Connection) -> bool:
            monkeypatch.setattr(erasure, "_log_emptied", lambda raw: False)
            with pytest.raises(GalleryBusy):
                other.erase(NAME, timeout=0.0)  # deletes, and can't finish
            monkeypatch.setattr(erasure, "_log_emptied", true_emptied)
            return true_emptied(raw)

        monkeypatch.setattr(erasure, "_log_emptied", meanwhile)
        gallery.erase("bob")
        assert gallery.erasure_pending, "the other's erasure is still to be finished"
        gallery.erase(NAME)
        assert not gallery.erasure_pending
        assert found_in([path.parent], [NAME.encode(), b"bob"]) == {}


def test_nothing_is_left_in_the_index_in_memory(gallery, person) -> None:
    subject = person(1000, 5)
    gallery.enroll("bob", person(1, 5))
    gallery.enroll(NAME, subject)
    gallery.identify(subject, threshold=0.5)
    index = gallery._indexes._indexes["test-model"]
    gallery.erase(NAME)
    memory = index._vectors.tobytes()
    assert not [piece for piece in traces(subject) if piece in memory]
    assert len(index) == 5


def test_the_index_and_its_codes_never_touch_the_disk(path, person, home, tmp_path) -> None:
    with open_gallery(path) as gallery:
        gallery.enroll("bob", person(1, 3000))
        gallery.identify(person(1), threshold=0.5)
        before = {file: file.stat().st_mtime_ns for folder in (tmp_path, home) for file in folder.rglob("*")}
        assert gallery._indexes._indexes["test-model"].make_codes()
        gallery.identify(person(1), threshold=0.5)
        after = {file: file.stat().st_mtime_ns for folder in (tmp_path, home) for file in folder.rglob("*")}
    assert after == before


def test_the_settings_that_erasure_rests_on(path, person) -> None:
    with open_gallery(path) as gallery:
        raw = gallery._database.raw
        for pragma, value in {
            "secure_delete": 1,
            "journal_mode": "wal",
            "synchronous": 2,
            "foreign_keys": 1,
            "temp_store": 2,
        }.items():
            assert raw.execute(f"PRAGMA {pragma}").fetchone() == (value,)

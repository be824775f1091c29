"""Several processes on one gallery, some of them killed: nothing acknowledged is lost, nothing is half there."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from visavis.errors import GalleryBusy
from visavis.gallery import open_gallery

PRELUDE = """
    import sys
    import numpy as np
    from visavis.gallery import open_gallery
    from visavis.types import Embeddings

    def person(number, rows=1):
        center = np.random.default_rng([number, 1]).standard_normal(128)
        noise = np.random.default_rng([number, 2, 0]).standard_normal((rows, 128))
        return Embeddings.normalized(center + 0.3 * noise, "test-model")

    path, *arguments = sys.argv[1:]
"""


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Return a function that runs code in another process; what still runs at the end is killed."""
    running: list[subprocess.Popen[str]] = []

    def run(code: str, *arguments: object) -> subprocess.Popen[str]:
        script = textwrap.dedent(PRELUDE) + textwrap.dedent(code)
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", script, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        running.append(process)
        return process

    yield run
    for process in running:
        process.kill()
        process.communicate()


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out


ENROLL_FOR_EVER = """
    start, stop = map(int, arguments)
    with open_gallery(path) as gallery:
        print("open", flush=True)
        for i in range(start, stop):
            gallery.enroll(f"p{i}", person(i, 7), external_id=f"x{i}", metadata={"number": i})
            print(i, flush=True)
"""


def integrity(path: Path) -> None:
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.close()


def test_kill_at_any_moment_loses_nothing_acknowledged(path, start, person) -> None:
    chance = random.Random(4)
    acknowledged: set[int] = set()
    for attempt in range(8):
        process = start(ENROLL_FOR_EVER, path, attempt * 1000, attempt * 1000 + 1000)
        assert process.stdout is not None
        if attempt:  # the first is killed while it makes the file
            assert process.stdout.readline() == "open\n", process.communicate()[1]
        time.sleep(chance.uniform(0.0, 0.4))
        process.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
        acknowledged.update(int(line) for line in process.communicate()[0].split() if line != "open")
        with open_gallery(path) as gallery:
            there = {subject.name: subject for subject in gallery.list()}
            assert {f"p{i}" for i in acknowledged} <= set(there)
            # At most the one enrollment whose acknowledgement was cut off is there besides.
            assert len(there) <= len(acknowledged) + attempt + 1
            for subject in there.values():
                number = int(subject.name[1:])
                assert subject.counts == {"test-model": 7}, "no half subject"
                assert (subject.external_id, subject.metadata) == (f"x{number}", {"number": number})
        integrity(path)
    assert len(acknowledged) > 20
    some = chance.sample(sorted(acknowledged), 5)
    with open_gallery(path) as gallery:
        for i in some:
            assert gallery.identify(person(i), top=1, threshold=0.5).best == (f"p{i}",)


def test_kill_while_removing_renaming_and_erasing(path, start) -> None:
    churn = """
        with open_gallery(path) as gallery:
            print("open", flush=True)
            i = int(arguments[0])
            while True:
                i += 1
                gallery.enroll(f"p{i}", person(i, 7))
                gallery.rename(f"p{i}", f"q{i}")
                (gallery.erase if i % 2 else gallery.remove)(f"q{i}")
                gallery.enroll(f"p{i}", person(i, 7))
    """
    chance = random.Random(5)
    for attempt in range(6):
        process = start(churn, path, attempt * 1000)
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n", process.communicate()[1]
        time.sleep(chance.uniform(0.02, 0.4))
        process.kill()
        process.communicate()
        with open_gallery(path) as gallery:
            assert not gallery.erasure_pending
            assert {tuple(s.counts.items()) for s in gallery.list()} <= {(("test-model", 7),)}
        integrity(path)


def test_several_processes_enroll_at_once(path, start, person) -> None:
    processes = [start(ENROLL_FOR_EVER, path, k * 100, k * 100 + 40) for k in range(4)]  # the file is made by all
    for process in processes:
        finish(process)
    with open_gallery(path) as gallery:
        assert {s.name for s in gallery.list()} == {f"p{k * 100 + i}" for k in range(4) for i in range(40)}
        assert gallery.models == {"test-model": 4 * 40 * 7}
        assert gallery.identify(person(307), top=1, threshold=0.5).best == ("p307",)
    integrity(path)


def test_one_subject_enrolled_by_two_processes_is_one_subject(path, start) -> None:
    code = """
        with open_gallery(path) as gallery:
            for i in range(30):
                gallery.enroll(f"p{i}", person(i), external_id=f"x{i}")
    """
    for process in [start(code, path) for _ in range(3)]:
        finish(process)
    with open_gallery(path) as gallery:
        assert {tuple(s.counts.items()) for s in gallery.list()} == {(("test-model", 3),)}
        assert len(gallery) == 30


def test_what_another_process_writes_is_seen_at_once(path, gallery, start, person) -> None:
    code = """
        with open_gallery(path) as gallery:
            for line in sys.stdin:
                action, *names = line.split()
                if action == "enroll":
                    gallery.enroll(names[0], person(int(names[1])))
                else:
                    getattr(gallery, action)(*names)
                print("done", flush=True)
    """
    process = start(code, path)
    assert process.stdin is not None
    assert process.stdout is not None

    def elsewhere(line: str) -> None:
        process.stdin.write(line + "\n")
        assert process.stdout.readline() == "done\n", process.communicate()[1]

    def best(number: int) -> str | None:
        return gallery.identify(person(number), threshold=0.5).best[0]

    assert best(1) is None
    elsewhere("enroll ada 1")
    assert best(1) == "ada"
    elsewhere("rename ada countess")
    assert best(1) == "countess"
    gallery.enroll("bob", person(2))
    elsewhere("remove countess")
    assert best(1) is None
    assert best(2) == "bob"
    elsewhere("enroll carol 3")  # the highest id was removed: its number must not come back
    assert best(3) == "carol"
    elsewhere("erase carol")
    elsewhere("enroll carol 4")
    assert best(3) is None
    assert best(4) == "carol"
    elsewhere("erase bob")
    elsewhere("erase carol")
    assert gallery.identify(person(2), threshold=0.5).subjects == ((),)
    elsewhere("enroll ada 1")
    assert best(1) == "ada"


def test_a_gallery_that_another_process_keeps_locked(path, gallery, person) -> None:
    gallery.enroll("ada", person(1))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    gallery._database.raw.execute("PRAGMA busy_timeout=100")
    for change in (
        lambda: gallery.enroll("bob", person(2)),
        lambda: gallery.rename("ada", "countess"),
        lambda: gallery.remove("ada"),
        lambda: gallery.erase("ada", timeout=0.1),
    ):
        with pytest.raises(GalleryBusy, match="another process"):
            change()
    assert gallery.identify(person(1), threshold=0.5).best == ("ada",), "reading goes on"
    other.execute("ROLLBACK")
    other.close()
    gallery.enroll("bob", person(2))
    assert [s.name for s in gallery.list()] == ["ada", "bob"]


def test_any_mix_of_writers_leaves_the_same_index_as_a_fresh_one(path, person) -> None:
    """Two connections change the gallery at random; each one's kept index answers as a newly opened gallery."""
    chance = random.Random(6)
    with open_gallery(path) as first, open_gallery(path) as second:
        names: set[str] = set()
        for step in range(120):
            gallery = chance.choice((first, second))
            action = chance.random()
            if action < 0.6 or not names:
                number = chance.randrange(30)
                gallery.enroll(f"p{number}", person(number, chance.randint(1, 3), take=step))
                names.add(f"p{number}")
            else:
                name = chance.choice(sorted(names))
                (gallery.remove if action < 0.9 else gallery.erase)(name)
                names.discard(name)
            if chance.random() < 0.3:
                probe = person(chance.randrange(30))
                with open_gallery(path) as fresh:
                    expected = fresh.identify(probe, threshold=0.5)
                for kept in (first, second):
                    found = kept.identify(probe, threshold=0.5)
                    assert found.subjects == expected.subjects
                    assert found.similarities.tolist() == expected.similarities.tolist()

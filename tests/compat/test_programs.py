"""The two command line programs, and unmodified programs that import face_recognition."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

import visavis.compat.face_recognition as ours
from visavis.compat.face_recognition import api, face_detection_cli, face_recognition_cli
from visavis.compat.face_recognition.programs import images_in
from visavis.errors import InputError
from visavis.image import save_image

PACKAGE = "visavis.compat.face_recognition"
ON_PATH = Path(ours.__file__).with_name("on_path")


@pytest.fixture
def folders(tmp_path, lfw_photo):
    """Return a folder of two known people, and one of four photos."""
    known, unknown = tmp_path / "known people", tmp_path / "unknown"
    known.mkdir()
    unknown.mkdir()
    (known / "Colin Powell.jpg").write_bytes(lfw_photo("Colin_Powell", 2))
    (known / "aaron.jpeg").write_bytes(lfw_photo("Aaron_Pena", 1))
    (known / "notes.txt").write_text("not an image")
    (unknown / "one.jpg").write_bytes(lfw_photo("Colin_Powell", 4))
    (unknown / "two 照片.JPG").write_bytes(lfw_photo("Emma_Watson", 5))
    shutil.copy(known / "aaron.jpeg", unknown / "three.jpeg")
    write_blank(unknown / "blank.png")
    return known, unknown


def write_blank(path):
    save_image(path, np.full((90, 120, 3), 127, np.uint8))


def call(program, *arguments):
    with pytest.raises(SystemExit) as done:
        program([str(argument) for argument in arguments])
    return done.value.code


@pytest.mark.usefixtures("no_dlib")
class TestRecognition:
    main = staticmethod(face_recognition_cli.main)

    def test_a_folder(self, folders, capsys):
        known, unknown = folders
        assert call(self.main, known, unknown) == 0
        lines = capsys.readouterr().out.splitlines()
        assert sorted(lines) == [
            f"{unknown}/blank.png,no_persons_found",
            f"{unknown}/one.jpg,Colin Powell",
            f"{unknown}/three.jpeg,aaron",
            f"{unknown}/two 照片.JPG,unknown_person",
        ]
        assert [line.rpartition(",")[0] for line in lines] == images_in(str(unknown))

    def test_distances(self, folders, capsys):
        known, unknown = folders
        assert call(self.main, known, unknown / "three.jpeg", "--show-distance", "1") == 0
        assert capsys.readouterr().out == f"{unknown}/three.jpeg,aaron,0.0\n"
        assert call(self.main, "--show-distance=true", known, unknown / "two 照片.JPG") == 0
        assert capsys.readouterr().out == f"{unknown}/two 照片.JPG,unknown_person,None\n"
        assert call(self.main, known, unknown / "blank.png", "--show-distance", "no") == 0
        assert capsys.readouterr().out == f"{unknown}/blank.png,no_persons_found\n"

    def test_tolerance(self, folders, capsys):
        known, unknown = folders
        assert call(self.main, known, unknown / "one.jpg", "--tolerance", "0.1") == 0
        assert capsys.readouterr().out == f"{unknown}/one.jpg,unknown_person\n"
        assert call(self.main, known, unknown / "one.jpg", "--tolerance", "2") == 0
        names = [line.rpartition(",")[2] for line in capsys.readouterr().out.splitlines()]
        assert sorted(names) == ["Colin Powell", "aaron"], "a line a match"

    def test_known_people_without_a_face_or_with_several(self, folders, store, capsys):
        known, unknown = folders
        write_blank(known / "nobody.png")
        shutil.copy(store.path("six-people"), known / "six.jpg")
        (known / "text.jpg").write_text("not an image")
        save_image(known / "large.png", np.zeros((9, 9, 3), np.uint8))
        header = bytearray((known / "large.png").read_bytes())
        header[16:29] = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
        header[29:33] = struct.pack(">I", zlib.crc32(header[12:29]))
        (known / "large.png").write_bytes(header)
        assert call(self.main, known, unknown / "one.jpg") == 0
        captured = capsys.readouterr()
        assert f"WARNING: No faces found in {known}/nobody.png. Ignoring file.\n" in captured.out
        assert (
            f"WARNING: More than one face found in {known}/six.jpg. Only considering the first face.\n" in captured.out
        )
        assert captured.out.endswith(f"{unknown}/one.jpg,Colin Powell\n")
        text, large = sorted(captured.err.splitlines(), reverse=True)
        assert text.startswith(f"WARNING: {known}/text.jpg can't be used (cannot identify")
        assert large.startswith(f"WARNING: {known}/large.png can't be used (an image that claims more pixels")

    def test_nobody_is_known(self, folders, tmp_path, capsys):
        (tmp_path / "empty").mkdir()
        assert call(self.main, tmp_path / "empty", folders[1] / "one.jpg") == 0
        assert capsys.readouterr().out.endswith("one.jpg,unknown_person\n")

    def test_what_can_not_be_read(self, folders, capsys):
        known, unknown = folders
        (unknown / "text.jpg").write_text("not an image")
        assert call(self.main, known, unknown) == 1, "the others are done"
        captured = capsys.readouterr()
        assert len(captured.out.splitlines()) == 4
        assert captured.err.count("\n") == 1
        assert "text.jpg can't be used" in captured.err
        for wrong in ([known / "missing", unknown], [known, unknown / "missing.jpg"], [known, unknown / "text.jpg"]):
            assert call(self.main, *wrong) == 1
            captured = capsys.readouterr()
            assert not captured.out
            assert captured.err.startswith("Error: ")
            assert captured.err.count("\n") == 1

    @pytest.mark.parametrize(
        "wrong",
        [
            *("", "a", "a b c", "a b --cpus 0", "a b --cpus many", "a b --tol 1", "a b --tolerance x"),
            *("a b --show-distance perhaps", "a b --show-distance"),
        ],
    )
    def test_usage(self, wrong, capsys):
        assert call(self.main, *wrong.split()) == 2
        assert "usage: face_recognition" in capsys.readouterr().err

    def test_help(self, capsys):
        assert call(self.main, "--help") == 0
        text = capsys.readouterr().out
        for option in ("--cpus", "--tolerance", "--show-distance", "Show this message and exit."):
            assert option in text

    def test_large_images_are_shrunk(self, folders, store, capsys, monkeypatch):
        seen = []
        encode = api.face_encodings
        monkeypatch.setattr(api, "face_encodings", lambda image: seen.append(image.shape) or encode(image))
        assert call(self.main, folders[0], store.path("biden")) == 0
        assert seen[-1] == (1600, 704, 3)


@pytest.mark.usefixtures("no_dlib")
class TestDetection:
    main = staticmethod(face_detection_cli.main)

    def test_an_image_and_a_folder(self, folders, capsys):
        _, unknown = folders
        assert call(self.main, unknown / "one.jpg") == 0
        line = capsys.readouterr().out
        (box,) = api.face_locations(api.load_image_file(unknown / "one.jpg"), 0)
        assert line == f"{unknown}/one.jpg,{box[0]},{box[1]},{box[2]},{box[3]}\n"
        assert call(self.main, unknown, "--model", "yunet", "--upsample", "1") == 0
        lines = capsys.readouterr().out.splitlines()
        assert line.strip() in lines
        assert len(lines) == 3, "no line for an image without a face"
        assert call(self.main, unknown / "one.jpg", "--model", "cnn") == 0
        (box,) = api.face_locations(api.load_image_file(unknown / "one.jpg"), 0, "cnn")
        assert capsys.readouterr().out == f"{unknown}/one.jpg,{box[0]},{box[1]},{box[2]},{box[3]}\n"

    def test_usage_and_help(self, capsys):
        assert call(self.main) == 2
        assert call(self.main, "--help") == 0
        assert "Show this message and exit." in capsys.readouterr().out


def run(*arguments, **environment):
    variables = {**os.environ, "PYTHONWARNINGS": "error", **environment}
    return subprocess.run(
        [sys.executable, *map(str, arguments)], capture_output=True, text=True, env=variables, timeout=300
    )


def test_several_processes_say_the_same_in_the_same_order(folders, tmp_path):
    known, unknown = folders
    outputs = []
    for cpus in ("1", "2", "-1"):
        done = run("-m", f"{PACKAGE}.face_recognition_cli", known, unknown, "--cpus", cpus)
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout)
    assert outputs[0] == outputs[1] == outputs[2]
    assert outputs[0].count("\n") == 4
    done = run("-m", f"{PACKAGE}.face_detection_cli", unknown, "--cpus", "2", "--upsample", "1")
    assert done.stdout.count("\n") == 3, done.stderr


PROGRAM = """
import subprocess, sys
import face_recognition
import face_recognition.api as api
from face_recognition import face_recognition_cli
from face_recognition.api import face_distance
assert face_recognition.api is api
assert api.__name__ == "visavis.compat.face_recognition.api"
if __name__ == "__main__":
    image = face_recognition.load_image_file(sys.argv[1])
    child = "import face_recognition; print(face_recognition.__name__)"
    subprocess.run([sys.executable, "-c", child], check=True)
    from concurrent.futures import ProcessPoolExecutor
    import multiprocessing
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        print(pool.submit(face_recognition.face_locations, image).result() == face_recognition.face_locations(image))
    print(__name__, sys.argv)
"""


class TestPrograms:
    def test_a_program_as_it_is(self, tmp_path, folders):
        program = tmp_path / "program.py"
        program.write_text(PROGRAM)
        expected = f"{PACKAGE}\nTrue\n__main__ {[str(program), str(folders[1] / 'one.jpg')]}\n"
        for done in (
            run("-m", PACKAGE, program, folders[1] / "one.jpg"),
            run(program, folders[1] / "one.jpg", PYTHONPATH=str(ON_PATH)),
        ):
            assert done.returncode == 0, done.stderr
            assert done.stdout == expected

    def test_no_program(self, tmp_path):
        for arguments in ([], [tmp_path / "missing.py"]):
            done = run("-m", PACKAGE, *arguments)
            assert done.returncode == 1
            assert done.stderr.count("\n") == 1
            assert "PROGRAM.py" in done.stderr

    def test_install(self, monkeypatch):
        names = ["face_recognition", *(f"face_recognition.{name}" for name in ("api", "face_recognition_cli"))]
        for name in (*names, "face_recognition.face_detection_cli"):
            monkeypatch.setitem(sys.modules, name, None)
            monkeypatch.delitem(sys.modules, name)
        ours.install()
        ours.install()
        import face_recognition
        from face_recognition import face_detection_cli as program

        assert face_recognition is ours
        assert program is face_detection_cli
        assert sys.modules["face_recognition.api"] is api

    def test_install_comes_first(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "face_recognition", pytest)
        with pytest.raises(InputError, match="ahead of every import"):
            ours.install()
        assert sys.modules["face_recognition"] is pytest

"""Settings files: values of every type, and errors that name the file, the place, the key and its line."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visavis.errors import InputError
from visavis.settings import Location, Seconds, expanded, filled, located, read_toml, seconds

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class Zone:
    name: str
    polygon: tuple[tuple[float, float], ...]
    wait: Seconds = 10.0

    def __post_init__(self) -> None:
        if len(self.polygon) < 3:
            raise InputError("a polygon has three corners or more")


@dataclass(frozen=True, kw_only=True)
class Camera:
    name: str
    source: Location
    rotate: Literal["auto", 0, 90] = 0
    fps: float | None = None
    every: int = 1
    loop: bool = False
    wait: Seconds | None = None
    folder: Path | None = None
    quiet: dt.time | None = None
    who: str | tuple[str, ...] = ()
    zones: tuple[Zone, ...] = field(default=(), metadata={"key": "zone"})
    headers: Mapping[str, str] = field(default_factory=dict)
    rest: Any = None


@dataclass(frozen=True)
class All:
    camera: tuple[Camera, ...] = ()
    best: Camera | None = None
    cameras: Mapping[str, Camera] = field(default_factory=dict)


def read(tmp_path: Path, text: str | bytes) -> All:
    path = tmp_path / "all.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return filled(All, read_toml(path), "all.toml")


def refused(tmp_path: Path, text: str | bytes) -> str:
    with pytest.raises(InputError) as caught:
        read(tmp_path, text)
    return str(caught.value)


CAMERA = '[[camera]]\nname = "door"\nsource = "door.mp4"\n'


def test_every_type_of_value_is_read(tmp_path: Path) -> None:
    [camera] = read(
        tmp_path,
        CAMERA
        + 'rotate = "auto"\nfps = 12\nevery = 2\nloop = true\nwait = "1 min 30 s"\nfolder = "seen"\nquiet = 22:30:00\n'
        + 'who = ["ada", "王芳"]\nheaders = { X-Key = "a" }\nrest = { a = [1, "b"] }\n'
        + '[[camera.zone]]\nname = "till"\npolygon = [[0, 0.5], [1, 0], [1, 1]]\nwait = 3\n',
    ).camera
    zone = Zone("till", ((0.0, 0.5), (1.0, 0.0), (1.0, 1.0)), 3.0)
    assert camera == Camera(
        name="door",
        source=str(tmp_path / "door.mp4"),
        rotate="auto",
        fps=12.0,
        every=2,
        loop=True,
        wait=90.0,
        folder=tmp_path / "seen",
        quiet=dt.time(22, 30),
        who=("ada", "王芳"),
        zones=(zone,),
        headers={"X-Key": "a"},
        rest={"a": [1, "b"]},
    )
    assert isinstance(camera.fps, float)


def test_a_union_takes_any_of_its_types(tmp_path: Path) -> None:
    assert read(tmp_path, CAMERA + 'who = "ada"').camera[0].who == "ada"
    assert "who must be text in quotes or a list, not a whole number" in refused(tmp_path, CAMERA + "who = 3")
    assert "who 2 must be text in quotes, not true or false" in refused(tmp_path, CAMERA + 'who = ["a", true]')


def test_what_is_not_written_keeps_its_default(tmp_path: Path) -> None:
    assert read(tmp_path, "") == All()
    assert read(tmp_path, CAMERA).camera[0].zones == ()


def test_a_mapping_without_a_file_is_taken_too() -> None:
    camera = filled(Camera, {"name": "a", "source": "b", "wait": 3}, "here")
    assert (camera.source, camera.wait) == ("b", 3.0)
    with pytest.raises(InputError, match=r"^here: unknown key 'nam'; did you mean 'name'\?$"):
        filled(Camera, {"nam": "a"}, "here")
    with pytest.raises(InputError, match=r"^here: must be a table, not a list$"):
        filled(Camera, [], "here")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("camra = 1", "all.toml: unknown key 'camra'; did you mean 'camera'? (line 1)"),
        ("zzz = 1", "all.toml: unknown key 'zzz'; there are camera, best, cameras (line 1)"),
        (
            CAMERA + "\n" + CAMERA + "sorce = 1",
            "all.toml: camera 2 (door): unknown key 'sorce'; did you mean 'source'?",
        ),
        (CAMERA + "FPS = 2", "unknown key 'FPS'; did you mean 'fps'? (line 4)"),
        (CAMERA + "every = 1.5", "camera 1 (door): every must be a whole number, not a number (line 4)"),
        (CAMERA + "every = true", "every must be a whole number, not true or false (line 4)"),
        (CAMERA + "fps = nan", "fps must be a finite number (line 4)"),
        (CAMERA + "fps = true", "fps must be a number, not true or false (line 4)"),
        (CAMERA + "loop = 1", "loop must be true or false, not a whole number (line 4)"),
        (CAMERA + "rotate = 91", "rotate must be 'auto', 0 or 90, not 91 (line 4)"),
        (CAMERA + "rotate = false", "rotate must be 'auto', 0 or 90, not false (line 4)"),
        (CAMERA + 'rotate = "atuo"', "rotate must be 'auto', 0 or 90, not 'atuo'; did you mean 'auto'? (line 4)"),
        (CAMERA + 'wait = "10 mints"', "wait must be a duration such as 30, '30 s', '10 min' or '1 h 30 min', not '10"),
        (CAMERA + "wait = -1", "wait must be a duration"),
        (CAMERA + "quiet = 2026-01-01", "quiet must be a time, not a date (line 4)"),
        (CAMERA + "zone = 3", "zone must be a list, not a whole number (line 4)"),
        (CAMERA + "headers = 3", "headers must be a table, not a whole number (line 4)"),
        (
            CAMERA + "headers = {a = 3}",
            "camera 1 (door): headers.a must be text in quotes, not a whole number (line 4)",
        ),
        (
            CAMERA + '[[camera.zone]]\nname = "a"\npolygon = [[0, 1, 2]]',
            "polygon 1 must be a list of 2, not of 3 (line 6)",
        ),
        (
            CAMERA + '[[camera.zone]]\nname = "till"\npolygon = []',
            "all.toml: camera 1 (door): zone 1 (till): a polygon has three corners or more (line 4)",
        ),
        ('[[camera]]\nname = "a"', "all.toml: camera 1 (a): the key 'source' is missing (line 1)"),
        ('[[camera]]\nname = "a"\nsource = ""', "camera 1 (a): source must not be empty (line 3)"),
        ('[camera]\nname = "a"', "all.toml: camera must be a list, not a table; write [[camera]] (line 1)"),
        ("best = 3", "all.toml: best must be a table, not a whole number (line 1)"),
        (
            "[cameras.door]\nname = 3",
            "all.toml: cameras.door: name must be text in quotes, not a whole number (line 2)",
        ),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    assert message in refused(tmp_path, text)


def test_lines_are_right_behind_texts_and_lists_of_several_lines(tmp_path: Path) -> None:
    text = (
        '# note = 1\n[[camera]]\nname = """\nname = 3\n[[camera]]"""\nsource = "a#b"\nrest = [\n  1, # zone = 2\n'
        '  [2],\n]\n[[camera.zone]]\nname = "a"\npolygon = [[0, 0], [0, 1], [1, 1]]\n\n[[camera]]\nname = "b"\n'
        "source = '''\nx'''\n\n[[camera.zone]] # two\npolygon = [[0, 0], [0, 1], [1, 1]]\n\"name\" = 3\n"
    )
    assert tomllib.loads(text)["camera"][1]["zone"][0]["name"] == 3
    assert text.split("\n")[21] == '"name" = 3'
    assert refused(tmp_path, text).endswith(
        "camera 2 (b): zone 1: name must be text in quotes, not a whole number (line 22)"
    )


def test_windows_line_ends_and_a_byte_order_mark_are_taken(tmp_path: Path) -> None:
    text = b"\xef\xbb\xbf" + (CAMERA + "fps = 'x'\n").replace("\n", "\r\n").encode()
    assert refused(tmp_path, text).endswith("fps must be a number, not text in quotes (line 4)")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a = 1\nb = \n", "is no valid TOML: invalid value (at line 2, column 5)"),
        (b"a = 1\nb = [\n", "is no valid TOML: invalid value (at the end, line 2)"),
        (b'a = 1\nb = "\xff"', "is not UTF-8 text (at line 2)"),
        (b"a = " + b"[" * 100_000, "is nested too deeply"),
        (b"#" * (1 << 20) + b"#", "has more than 1048576 bytes"),
        (b"a = 1\na = 2", "is no valid TOML"),
        (b"\0", "is no valid TOML"),
    ],
)
def test_what_is_no_toml_is_refused_with_its_line(tmp_path: Path, text: bytes, message: str) -> None:
    assert message in refused(tmp_path, text)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"does not exist; check the path"):
        read_toml(tmp_path / "none.toml")
    with pytest.raises(InputError, match=r"is no file"):
        read_toml(tmp_path)
    with pytest.raises(InputError, match=r"can't be read"):
        read_toml("a\0b")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match=r"is no file"):
        read_toml(tmp_path / "pipe")


def test_a_variable_is_put_in_and_its_value_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOOR_KEY", "s3cret")
    text = CAMERA.replace("door.mp4", "rtsp://me:${DOOR_KEY}@door/1")
    assert read(tmp_path, text).camera[0].source == "rtsp://me:s3cret@door/1"
    assert read(tmp_path, CAMERA + 'headers = {a = "${DOOR_KEY}"}').camera[0].headers == {"a": "s3cret"}
    assert read(tmp_path, CAMERA + 'rest = ["${DOOR_KEY}"]').camera[0].rest == ["s3cret"]
    assert "s3cret" not in refused(tmp_path, CAMERA + 'rotate = "${DOOR_KEY}"')
    assert "s3cret" not in refused(tmp_path, CAMERA + 'wait = "${DOOR_KEY}"')
    assert "s3cret" not in refused(tmp_path, CAMERA + 'folder = "${DOOR_KEY}"\nfps = "${DOOR_KEY}"')


def test_a_variable_that_is_not_set_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOOR_KEY", raising=False)
    message = refused(tmp_path, CAMERA.replace("door.mp4", "rtsp://me:open-sesame-${DOOR_KEY}@door"))
    assert "source can't be filled in: the environment variable DOOR_KEY is not set; set it" in message
    assert message.endswith("(line 3)")
    assert "sesame" not in message
    assert "no name of an environment variable" in refused(tmp_path, CAMERA + 'who = "${a b}"')


@pytest.mark.parametrize(
    ("text", "value"), [("$$", "$"), ("$x", "$x"), ("$${HOME}", "${HOME}"), ("a${X}b${X}", "a1b1")]
)
def test_dollars(text: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("X", "1")
    assert expanded(text) == value


def test_paths_start_from_the_file(tmp_path: Path) -> None:
    assert located("a/b.db", tmp_path) == str(tmp_path / "a" / "b.db")
    assert located("/a/b.db", tmp_path) == "/a/b.db"
    assert located("postgresql://h/d", tmp_path) == "postgresql://h/d"
    assert located("~/b.db", tmp_path) == str(Path.home() / "b.db")


@given(
    st.floats(0, 1e6), st.sampled_from([("s", 1), ("min", 60), ("h", 3600), ("d", 86400), ("MIN", 60), ("ms", 0.001)])
)
def test_a_duration_is_its_number_times_its_unit(number: float, unit: tuple[str, float]) -> None:
    assert seconds(f"{number:.6f} {unit[0]}") == pytest.approx(float(f"{number:.6f}") * unit[1])


@pytest.mark.parametrize("text", ["", "s", "5", "5 s 3", "-5 s", "1e3 s", "5 s, 3 min", "٣ s", "5 fortnights"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="must be a duration"):
        seconds(text)


@given(st.text())
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    with contextlib.suppress(InputError):
        assert seconds(text) >= 0


@given(st.binary(max_size=200))
def test_any_bytes_are_settings_or_refused(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "any.toml"
        path.write_bytes(data)
        with contextlib.suppress(InputError):
            assert isinstance(filled(All, read_toml(path), "all.toml"), All)

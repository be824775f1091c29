"""Settings of a watch: what cameras.toml may say, and what is refused, with its place."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest

from visavis.errors import InputError
from visavis.processes import restored
from visavis.video.cameras import Camera, Models, Settings, View, camera_name, checked_camera_name, read_settings
from visavis.video.places import Line, Zone

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
CAMERA = '[[camera]]\nname = "door"\nsource = "rtsp://me:s3cret@10.0.0.5/live"\n'


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    return tmp_path / "cameras.toml"


def read(path: Path, text: str) -> Settings:
    path.write_text(text, "utf-8")
    return read_settings(path)


def refused(path: Path, text: str) -> str:
    with pytest.raises(InputError) as caught:
        read(path, text)
    assert "s3cret" not in str(caught.value)
    return str(caught.value)


def test_the_example_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOOR_PASSWORD", "s3cret")
    monkeypatch.setenv("NTFY_TOPIC", "visitors")
    settings = read_settings(EXAMPLES / "cameras.toml")
    door, yard = settings.cameras
    assert (settings.gallery, settings.events) == (str(EXAMPLES / "people.db"), str(EXAMPLES / "events.db"))
    assert settings.keep_days == 30
    assert door.source == "rtsp://watch:s3cret@10.0.0.5/live"
    assert (door.fps, door.snapshots, yard.fps, yard.snapshots) == (12.5, True, 12.5, False)
    assert door.lines == (Line("entrance", (0.5, 1.0), (0.5, 0.0)),)
    assert yard.zones[0].seconds == 30
    assert settings.places == ("door", "yard", "entrance", "gate")
    assert list(settings.alerts.targets) == ["phone"]
    assert "s3cret" not in repr(settings)


def test_every_key_of_a_camera_reaches_its_source(settings: Path, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"0")
    [camera] = read(
        settings,
        '[[camera]]\nname = "a"\nsource = "a.mp4"\nrotate = 90\nlongest = 640\nhardware = "none"\ntimeout = "5 s"\n'
        'transport = "udp"\nsize = "640x480"\nloop = true\n',
    ).cameras
    source = camera.parsed()
    assert (source.kind, source.address) == ("file", str(tmp_path / "a.mp4"))
    assert (source.rotate, source.longest, source.hardware, source.timeout) == (90, 640, "none", 5.0)
    assert (source.transport, source.size, source.loop, source.pace) == ("udp", "640x480", True, True)


def test_sources_are_files_beside_the_settings_or_addresses(settings: Path, tmp_path: Path) -> None:
    text = "".join(
        f'[[camera]]\nname = "{i}"\nsource = {source}\n'
        for i, source in enumerate(['"a/b.mp4"', "1", '"camera:0"', '"-"', '"/dev/video0"', '"rtsp://h/x"'])
    )
    found = [camera.source for camera in read(settings, text).cameras]
    assert found == [str(tmp_path / "a/b.mp4"), "camera:1", "camera:0", "-", "/dev/video0", "rtsp://h/x"]


def test_a_camera_says_otherwise_than_the_defaults(settings: Path) -> None:
    cameras = read(
        settings,
        "[defaults]\nfps = 5\ndetect_every = 3\n"
        '[[defaults.line]]\nname = "in"\na = [0, 0]\nb = [1, 1]\n'
        + CAMERA
        + 'fps = 25\n[[camera]]\nname = "yard"\nsource = "rtsp://h"\nline = []\n',
    ).cameras
    assert [(camera.fps, camera.detect_every, len(camera.lines)) for camera in cameras] == [(25, 3, 1), (5, 3, 0)]


def test_staying_in_view_is_a_zone_of_all_of_it() -> None:
    camera = Camera(name="a", source="rtsp://h", dwell=30)
    assert camera.all_zones == (Zone("view", ((0, 0), (1, 0), (1, 1), (0, 1)), 30),)
    assert View().all_zones == ()


def test_a_camera_goes_to_another_process_as_json(settings: Path) -> None:
    camera = Camera(name="王", source="rtsp://h", rotate=90, lines=(Line("a", (0, 0), (1, 1)),), dwell=3.0)
    for value in (camera, Models(settings={"factor": 0.8})):
        assert restored(type(value), json.loads(json.dumps(dataclasses.asdict(value)))) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gallry = 'x'", "cameras.toml: unknown key 'gallry'; did you mean 'gallery'? (line 1)"),
        (CAMERA + "sorce = 1", "cameras.toml: camera 1 (door): unknown key 'sorce'; did you mean 'source'? (line 4)"),
        (CAMERA + "rotate = 45", "camera 1 (door): rotate must be 0, 90, 180 or 270, not 45 (line 4)"),
        (CAMERA + "fps = 0", "camera 1 (door): fps must be from 0.01 to 1000, not 0 (line 1)"),
        (CAMERA + "detect_every = 0", "detect_every must be from 1 to 1000, not 0"),
        (CAMERA + "min_face = -3", "min_face must be from 1"),
        (CAMERA + "longest = 1", "longest must be from 32"),
        (CAMERA + 'dwell = "1 week"', "dwell must be a duration"),
        (CAMERA + 'transport = "tpc"', "transport must be 'tcp' or 'udp', not 'tpc'; did you mean 'tcp'? (line 4)"),
        (CAMERA + CAMERA, "cameras 1 and 2 are both named 'door'; each needs its own name"),
        (CAMERA + CAMERA.replace("door", "Door"), "cameras 1 and 2 are both named 'Door'"),
        (CAMERA.replace("door", "front/door"), "camera 1: a camera's name must not hold any of / \\ : * ? \" < > |"),
        (
            CAMERA.replace("door", "nul"),
            "must be one that a file may have, of at most 64 characters, not 'nul' (line 2)",
        ),
        (CAMERA.replace("door", ".."), "must be one that a file may have"),
        (CAMERA.replace("door", " door"), "must not begin or end with a space"),
        (CAMERA.replace('"rtsp://me:s3cret@10.0.0.5/live"', '""'), "a source must not be empty"),
        ('[[camera]]\nname = "a"\n', "camera 1 (a): the key 'source' is missing (line 1)"),
        ('[[camera]]\nsource = "a"\n', "camera 1: the key 'name' is missing (line 1)"),
        ("[camera]\nname = 'a'", "camera must be a list, not a table; write [[camera]] (line 1)"),
        ("camera = [3]", "camera 1 must be a table, not a whole number (line 1)"),
        (
            CAMERA + '[[camera.line]]\nname = "in"\na = [0.5, 2]\nb = [0.5, 1]',
            "camera 1 (door): line 1 (in): line 'in' needs places of two numbers from 0 to 1",
        ),
        (
            CAMERA + '[[camera.zone]]\nname = "till"\npolygon = [[0, 0], [1, 1]]',
            "camera 1 (door): zone 1 (till): zone 'till' needs 3 to 1000 corners, not 2 (line 4)",
        ),
        (
            CAMERA + 'dwell = 3\n[[camera.line]]\nname = "view"\na = [0, 0]\nb = [1, 1]',
            "camera 1 (door): there are two places named 'view'; events couldn't tell them apart (line 1)",
        ),
        ("[defaults]\nfsp = 3", "cameras.toml: defaults: unknown key 'fsp'; did you mean 'fps'? (line 2)"),
        ("[defaults]\nname = 'x'", "cameras.toml: defaults: unknown key 'name'"),
        ("defaults = 3", "cameras.toml: defaults: must be a table"),
        ("live = 99999", "live must be from 0 to 65535, not 99999"),
        ("live = '8090'", "live must be a whole number, not text in quotes (line 1)"),
        ("keep_days = 0", "keep_days must be from 0.001"),
        ("workers = 0", "workers must be from 1"),
        ("fpir = 2", "fpir must be from 1e-09 to 1, not 2"),
        ("collection = ''", "a collection's name must have 1 to 200 characters"),
        ("[models]\ndetektor = 'x'", "cameras.toml: models: unknown key 'detektor'; did you mean 'detector'? (line 2)"),
        ("[models]\nscore = 2", "models: score must be from 0 to 1, not 2"),
        (CAMERA + '[[rule]]\nname = "a"\nto = "phone"', "cameras.toml: rule 'a': there is no target 'phone'"),
        (CAMERA + '[[rule]]\nnam = "a"\n', "cameras.toml: rule 1: unknown key 'nam'; did you mean 'name'? (line 5)"),
        (CAMERA.replace("s3cret", "${DOOR_KEY}"), "the environment variable DOOR_KEY is not set"),
    ],
)
def test_a_mistake_is_named_with_its_place(settings: Path, text: str, message: str) -> None:
    assert message in refused(settings, text)


def test_every_key_is_documented() -> None:
    text = (EXAMPLES.parent / "docs" / "watch.md").read_text("utf-8")
    known = set(re.findall(r"`(?:\[*(?:camera\.|models\.)?)?([a-z_]+)\]*`", text))
    for kind in (Settings, Camera, Models):
        keys = {one.metadata.get("key", one.name) for one in dataclasses.fields(kind)}
        assert keys - known - {"alerts", "flip", "landmarks", "score", "precision", "engine", "device"} == set()


def test_a_thousand_cameras_are_enough() -> None:
    cameras = tuple(Camera(name=str(i), source="rtsp://h") for i in range(1001))
    with pytest.raises(InputError, match="1001 cameras; one watch takes 1000"):
        Settings(cameras=cameras)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("rtsp://admin:secret@10.0.0.5:554/stream1?token=secret", "10.0.0.5"),
        ("rtsp://[fe80::1]/live", "fe80--1"),
        ("camera:0", "camera-0"),
        ("/dev/video2", "video2"),
        ("-", "stdin"),
        ("http://", "camera"),
        ("rtsp://me:secret@", "camera"),
        ("rtsp://[me:secret@h", "camera"),
    ],
)
def test_a_source_without_a_name_gets_one_without_secrets(source: str, name: str) -> None:
    assert camera_name(source) == name
    assert checked_camera_name(name) == name
    assert camera_name(source, [name.upper()]) == f"{name}-2"

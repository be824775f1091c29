"""Sources: each kind read as it should be, or refused in one line that holds no secret."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from films import film
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

from visavis.errors import InputError, SourceError, SourceRefused, VisavisError
from visavis.image import encode_image, save_image
from visavis.video import devices, hardware
from visavis.video.addresses import redacted, shown
from visavis.video.decoding import Pulse
from visavis.video.frames import frames
from visavis.video.sources import Picture, Source, pictures

from .streaming import Relay, RtspServer, free_port, http_server, motion_jpeg, signed_itself, silent_server
from .test_frames import bad, corner, numbered

PASSWORD = "s3cr3t-W0rd"


def grays(found: Iterator[Picture] | list[Picture]) -> list[int]:
    """Return the gray of each picture of `numbered`, which tells its number."""
    return [round((float(picture.image()[40:56, 20:56].mean()) - 20) / 8) for picture in found]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    film(folder / "a.mp4", numbered(20), rate=20, options={"g": "5", "bf": "0"})
    return folder


# What a person writes


@pytest.mark.parametrize(
    ("text", "kind", "name", "live"),
    [
        ("-", "pipe", "standard input", False),
        ("camera:0", "device", "camera:0", True),
        ("camera:Front door", "device", "camera:Front door", True),
        ("/dev/video3", "device", "/dev/video3", True),
        ("rtsp://10.0.0.7/a", "stream", "rtsp://10.0.0.7/a", True),
        ("RTSPS://u:p@host:322/a?channel=2&x=1", "stream", "RTSPS://host:322/a?channel=2&x=***", True),
        ("https://host/live.m3u8?token=abc", "stream", "https://host/live.m3u8?token=***", True),
        (
            "srt://host:9000?passphrase=abcdefghij&mode=caller",
            "stream",
            "srt://host:9000?passphrase=***&mode=caller",
            True,
        ),
        ("udp://239.0.0.1:1234", "stream", "udp://239.0.0.1:1234", True),
    ],
)
def test_what_a_text_means(text: str, kind: str, name: str, live: bool) -> None:
    source = Source.parse(text)
    assert (source.kind, source.name, source.live) == (kind, name, live)


def test_files_and_folders_are_known_by_what_they_are(folder: Path) -> None:
    assert Source.parse(str(folder)).kind == "images"
    source = Source.parse(str(folder / "a.mp4"), pace=True)
    assert (source.kind, source.live, source.ends) == ("file", True, True)


@pytest.mark.parametrize(
    ("text", "options", "says"),
    [
        ("", {}, "a source is a file"),
        ("a\0b", {}, "a source is a file"),
        ("missing.mp4", {}, "no such video, folder or camera: 'missing.mp4'"),
        ("ada:s3cr3t-W0rd@10.0.0.7/a", {}, "an address begins as rtsp://USER"),
        ("gopher://ada:s3cr3t-W0rd@host/a", {}, "gopher://host/a can't be opened: a stream begins with rtsp"),
        ("file:///etc/passwd", {}, "can't be opened: a stream begins with"),
        ("concat:a.ts|b.ts", {}, "no such video"),
        ("rtsp:/ada:s3cr3t-W0rd@host/a", {}, "with two slashes: rtsp://host/a"),
        ("rtsp://", {}, "names no host"),
        ("camera:", {}, "which camera"),
        ("rtsp://h/a", {"rotate": 45}, "rotate is 0, 90, 180 or 270"),
        ("rtsp://h/a", {"fps": 0}, "fps is a number above 0"),
        ("rtsp://h/a", {"fps": float("nan")}, "fps is a number above 0"),
        ("rtsp://h/a", {"longest": 1.5}, "longest is a whole number"),
        ("rtsp://h/a", {"timeout": -1}, "timeout is a number above 0"),
        ("rtsp://h/a", {"timeout": "5"}, "timeout is a number above 0"),
        ("rtsp://h/a", {"transport": "carrier pigeon"}, "transport is tcp or udp"),
        ("rtsp://h/a", {"hardware": "gpu"}, "hardware is auto, none or one of"),
        ("rtsps://h/a", {"certificates": "missing.pem"}, "no such file of certificates: 'missing.pem'"),
        ("rtsp://h/a", {"size": "big"}, "size is width x height"),
        ("rtsp://h/a", {"loop": True}, "only files and folders loop"),
        ("rtsp://h/a", {"colour": 1}, "no option 'colour'"),
        ("rtsp://h/a", {"address": "x"}, "no option 'address'"),
    ],
)
def test_texts_and_options_that_are_none(text: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError) as caught:
        Source.parse(text, **options)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert PASSWORD not in str(caught.value)


# Secrets


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no address here", "no address here"),
        ("rtsp://10.0.0.7:554/a?channel=1&subtype=0", "rtsp://10.0.0.7:554/a?channel=1&subtype=0"),
        ("rtsp://ada:pw@h/a and http://bob:pw@h/b", "rtsp://***@h/a and http://***@h/b"),
        ("rtsp://ada:p@ss/w#rd?@h/a", "rtsp://***@h/a"),
        ("http://h/a?user=ada&Password=pw;pwd=x&CHANNEL=3", "http://h/a?user=***&Password=***;pwd=***&CHANNEL=3"),
        ("http://h/a?e=x@y&token=pw", "http://***@y&token=***"),
        (
            "rtsp://h/user=ada&password=pw&channel=1&stream=0.sdp",
            "rtsp://h/user=***&password=***&channel=1&stream=0.sdp",
        ),
        ("rtsp://h/user=ada_password=pw_channel=1_stream=0.sdp?real_stream", "rtsp://h/user=***"),
        ("https://h/a.m3u8?pw now", "https://h/a.m3u8?*** now"),
    ],
)
def test_secrets_are_taken_out_of_texts(text: str, expected: str) -> None:
    assert redacted(text) == expected


SECRET = st.text("QXZ019@:/?#&=%;. ", min_size=1)


@given(
    SECRET, SECRET, st.from_regex(r"[QXZ0-9%]+", fullmatch=True), st.sampled_from(["token", "password", "auth", "k"])
)
def test_no_letter_of_a_secret_is_shown(user: str, password: str, token: str, key: str) -> None:
    address = f"rtsp://{user}:{password}@camera/live?subtype=main&{key}={token}"
    source = Source.parse(address)
    for text in (shown(address), source.name, repr(source), str(source)):
        assert not set("QXZ") & set(text)
        assert "camera/live?subtype=main" in text
    assert pickle.loads(pickle.dumps(source)) == source  # which is how another process learns of it
    assert source.address == address


# Files


def test_a_file_gives_what_frames_gives(folder: Path) -> None:
    expected = list(frames(folder / "a.mp4"))
    before = time.time()
    found = list(pictures(Source.parse(str(folder / "a.mp4"))))
    assert [(one.number, one.time) for one in found] == [(one.number, one.time) for one in expected]
    assert all(np.array_equal(a.image(), b.image) for a, b in zip(found, expected, strict=True))
    assert all(before <= one.at <= time.time() for one in found)
    into = np.zeros((64, 96, 3), np.uint8)
    found[3].draw(into)  # long after the next ones came
    assert np.array_equal(into, expected[3].image)


def test_turned_shrunk_and_thinned(folder: Path) -> None:
    found = list(pictures(Source.parse(str(folder / "a.mp4"), rotate=90, longest=48, fps=5)))
    assert [one.number for one in found] == [0, 4, 8, 12, 16]
    assert {(one.width, one.height) for one in found} == {(32, 48)}
    image = found[0].image()
    assert image[:6, -6:].min() > 200  # the white corner, once at the top left


def test_phone_video_in_portrait_is_upright_and_may_be_turned_on(tmp_path: Path) -> None:
    path = str(film(tmp_path / "phone.mp4", numbered(3), rotation=270))
    plain, on = (next(pictures(Source.parse(path, rotate=turn))) for turn in (0, 180))
    assert (plain.width, plain.height, corner(plain.image())) == (64, 96, "top right")
    assert (on.width, on.height, corner(on.image())) == (64, 96, "bottom left")


@pytest.mark.parametrize(
    "into",
    [
        np.zeros((64, 96), np.uint8),
        np.zeros((64, 96, 3)),
        np.zeros((65, 96, 3), np.uint8),
        np.zeros((64, 192, 3), np.uint8)[:, ::2],
    ],
)
def test_arrays_that_no_picture_fits_into(folder: Path, into: Any) -> None:
    with pytest.raises(InputError, match="drawn into a contiguous uint8 array of shape"):
        next(pictures(Source.parse(str(folder / "a.mp4")))).draw(into)


def test_a_resolution_that_changes_midway_is_fitted_into_the_first(tmp_path: Path) -> None:
    parts = [
        film(tmp_path / f"{i}.ts", numbered(8, *size), codec="mpeg2video", rate=25).read_bytes()
        for i, size in enumerate([(96, 64), (192, 128), (64, 96)])
    ]
    (tmp_path / "joined.ts").write_bytes(b"".join(parts))
    found = list(pictures(Source.parse(str(tmp_path / "joined.ts"))))
    assert {(one.width, one.height) for one in found} == {(96, 64)}
    assert len(found) >= 20  # FFmpeg holds one back, and drops it where the size changes
    first, same, high = found[2].image(), found[9].image(), found[18].image()
    assert np.abs(first.astype(int) - same)[30:].max() < 6
    assert high[:, :20].max() < 24  # black beside what is higher than wide
    assert high[30:, 40:56].min() > 24


def test_one_pixel_and_8k(tmp_path: Path) -> None:
    tiny = film(tmp_path / "tiny.avi", [np.full((1, 1, 3), 200, np.uint8)] * 3, codec="mjpeg", pixels="yuvj444p")
    assert [one.image().shape for one in pictures(Source.parse(str(tiny), longest=640))] == [(1, 1, 3)] * 3
    large = film(tmp_path / "8k.avi", [np.full((4320, 7680, 3), 90, np.uint8)] * 2, codec="mjpeg", pixels="yuvj420p")
    small = [one.image() for one in pictures(Source.parse(str(large), longest=960))]
    assert [one.shape for one in small] == [(540, 960, 3)] * 2
    assert abs(float(small[0].mean()) - 90) < 2
    with pytest.raises(InputError, match="7680x4320 and the limit is 1000000 pixels"):
        next(pictures(Source.parse(str(large), max_pixels=1_000_000)))


@pytest.mark.parametrize(
    "kind", ["zero", "text", "playlist", "concat", "jpg", "sound", "headless", "zero frames", "pipe"]
)
def test_bad_files_are_refused_in_a_line(tmp_path: Path, kind: str) -> None:
    with pytest.raises(InputError) as caught:
        list(pictures(Source.parse(str(bad(tmp_path, kind)))))
    assert "\n" not in str(caught.value)


def test_what_came_before_a_cut_comes_first(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (64, 96, 3)).astype(np.uint8) for _ in range(40)]
    whole = film(tmp_path / "whole.mp4", noise, options={"g": "5", "bf": "0"}).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    rest = pictures(Source.parse(str(tmp_path / "cut.mp4")))
    assert [next(rest).number for _ in range(10)] == list(range(10))
    with pytest.raises(InputError, match="cut off or damaged"):
        list(rest)


def test_a_loop_goes_on_in_number_and_time(folder: Path) -> None:
    found = list(islice(pictures(Source.parse(str(folder / "a.mp4"), loop=True)), 50))
    assert [one.number for one in found] == list(range(50))
    assert np.allclose([one.time for one in found], np.arange(50) / 20, atol=2e-3)
    assert grays(found[40:44]) == [0, 1, 2, 3]


def test_a_paced_file_plays_in_its_own_time_and_stops_at_once(folder: Path) -> None:
    source = Source.parse(str(folder / "a.mp4"), pace=True, loop=True)
    found = list(islice(pictures(source), 12))
    assert found[-1].at - found[0].at >= 0.54  # it can't be faster
    stop = threading.Event()
    for one in pictures(source, stop):
        if one.number == 3:
            stop.set()
    assert one.number == 3


def test_hardware_that_is_not_there_is_done_without(folder: Path) -> None:
    expected = [one.image() for one in pictures(Source.parse(str(folder / "a.mp4"), hardware="none"))]
    absent = [name for name in hardware.HARDWARE if name not in hardware.hardware_decoders()]
    for name in ("auto", *absent[:4]):
        found = [one.image() for one in pictures(Source.parse(str(folder / "a.mp4"), hardware=name))]
        assert len(found) == len(expected)
        assert max(np.abs(a.astype(int) - b).max() for a, b in zip(found, expected, strict=True)) <= 2


def test_hardware_that_fails_at_work_falls_back(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As if a device were gone since: FFmpeg finds it out.
    monkeypatch.setattr(hardware, "hardware_decoders", lambda: ("cuda",))
    assert len(list(pictures(Source.parse(str(folder / "a.mp4"), hardware="cuda")))) == 20


# Folders of photos


def test_a_folder_of_photos(tmp_path: Path) -> None:
    for i, picture in enumerate(numbered(6)):
        save_image(tmp_path / f"{i:03}.png", picture)
    (tmp_path / "002.png").write_bytes(b"no photo")
    lying = Pillow.fromarray(np.rot90(numbered(6)[4]).copy())
    exif = Pillow.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    lying.save(tmp_path / "004.png", exif=exif)
    (tmp_path / "notes.txt").write_text("not one of them", "utf-8")
    told: list[str] = []
    pulse = Pulse()
    found = list(pictures(Source.parse(str(tmp_path), fps=4), pulse=pulse, warn=told.append))
    assert [(one.number, one.time) for one in found] == [(0, 0.0), (1, 0.25), (3, 0.75), (4, 1.0), (5, 1.25)]
    assert grays(found) == [0, 1, 3, 4, 5]
    assert [corner(one.image()) for one in found] == ["top left"] * 5
    assert len(told) == pulse.damaged == 1
    assert "002.png" in told[0]
    small = next(pictures(Source.parse(str(tmp_path), rotate=90, longest=48)))
    assert (small.width, small.height) == (32, 48)
    assert small.image()[:6, -6:].min() > 200


def test_folders_without_photos(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no photo that can be read"):
        list(pictures(Source.parse(str(tmp_path))))


# Standard input


def piped(data: bytes | None, text: str = "-") -> subprocess.CompletedProcess[bytes]:
    code = (
        "import sys\n"
        "from visavis.errors import VisavisError\n"
        "from visavis.video.sources import Source, pictures\n"
        "try:\n"
        "    for one in pictures(Source.parse('-')): print(one.number, one.image()[40, 40, 0])\n"
        "except VisavisError as error:\n"
        "    print(error)\n"
    )
    how: dict[str, Any] = {"stdin": subprocess.DEVNULL} if data is None else {"input": data}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, **how)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_standard_input(tmp_path: Path, name: str) -> None:
    codec = "mpeg2video" if name.endswith("ts") else "libx264"
    data = film(tmp_path / name, numbered(8), codec=codec, rate=25).read_bytes()
    done = piped(data)
    assert [line.split()[0] for line in done.stdout.decode().splitlines()] == [str(i) for i in range(8)]
    assert done.stderr == b""


@pytest.mark.parametrize(
    ("kind", "says"),
    [("nothing", "is empty"), ("photo", "still picture (JPEG)"), ("text", "no video"), ("mov", "as a file")],
)
def test_standard_input_that_is_no_video(tmp_path: Path, kind: str, says: str) -> None:
    rng = np.random.default_rng(0)
    data = {
        "nothing": None,
        "photo": encode_image(np.full((64, 64, 3), 128, np.uint8)),
        "text": b"this is no video " * 100,
        "mov": film(tmp_path / "a.mov", list(rng.integers(0, 256, (9, 240, 320, 3), np.uint8))).read_bytes(),
    }[kind]
    done = piped(data)
    assert says in done.stdout.decode()
    assert len(done.stdout.decode().splitlines()) == 1
    assert done.stderr == b""


# Streams


def until_lost(source: Source) -> tuple[list[Picture], str]:
    """Return the pictures of a stream, and why there were no more."""
    found: list[Picture] = []
    try:
        found.extend(pictures(source))
    except SourceError as error:
        return found, str(error)
    pytest.fail("a stream has no end")


@pytest.fixture(scope="module")
def rtsp(folder: Path) -> Iterator[RtspServer]:
    with RtspServer(folder) as server:
        yield server


def test_rtsp_over_tcp(rtsp: RtspServer) -> None:
    found, reason = until_lost(Source.parse(rtsp.address("a.mp4"), timeout=5))
    assert reason.endswith("was lost: the stream ended")
    assert grays(found) == list(range(20))
    assert np.diff([one.time for one in found]).min() > 0


def test_rtsp_over_udp() -> None:
    rtsp_rs = pytest.importorskip("rtsp", reason="the package rtsp-rs has no wheel for this machine")
    port = free_port()
    server, done = rtsp_rs.Server(f"127.0.0.1:{port}"), threading.Event()
    coder = av.CodecContext.create("libx264", "w")
    coder.width, coder.height, coder.pix_fmt, coder.time_base = 96, 64, "yuv420p", Fraction(1, 25)
    coder.options = {"tune": "zerolatency", "g": "5"}
    coded = [bytes(packet) for one in numbered(20) for packet in coder.encode(av.VideoFrame.from_ndarray(one))]

    def send() -> None:
        while not done.is_set():
            for data in coded:
                server.send_frame(data, 3600)
                time.sleep(0.01)

    server.start()
    thread = threading.Thread(target=send)
    thread.start()
    try:
        source = Source.parse(f"rtsp://127.0.0.1:{port}/stream", transport="udp", timeout=5)
        found = list(islice(pictures(source), 20))
        with pytest.raises(SourceError, match="can't be reached"):  # this server has no other way
            next(pictures(replace(source, transport="tcp")))
    finally:
        done.set()
        thread.join()
        server.stop()
    assert {(gray + 1) % 20 for gray in grays(found[:-1])} == set(grays(found[1:]))


@pytest.mark.parametrize("scheme", ["rtsps", "https"])
def test_tls_hides_and_checks_certificates_where_it_is_told_to(
    rtsp: RtspServer, folder: Path, tmp_path: Path, scheme: str
) -> None:
    tls, certificate = signed_itself(tmp_path)
    with http_server(folder) as web:
        target = rtsp.port if scheme == "rtsps" else web.server_port
        with Relay(target, tls=tls) as relay:
            source = Source.parse(f"{scheme}://127.0.0.1:{relay.port}/a.mp4", timeout=5)
            for trusted in (None, str(certificate)):
                found = list(islice(pictures(replace(source, certificates=trusted)), 3))
                assert grays(found) == [0, 1, 2]
            with pytest.raises(SourceError, match="can't be reached"):
                next(pictures(replace(source, certificates="system")))


def test_an_rtsp_path_that_is_not_there(rtsp: RtspServer) -> None:
    with pytest.raises(SourceError, match="can't be reached") as caught:
        next(pictures(Source.parse(rtsp.address("nothing.mp4", user=f"ada:{PASSWORD}"), timeout=5)))
    assert PASSWORD not in str(caught.value)


@pytest.fixture(scope="module")
def photos() -> list[bytes]:
    return [encode_image(picture, ".jpg") for picture in numbered(10)]


def test_motion_jpeg_over_http_has_the_clocks_time(tmp_path: Path, photos: list[bytes]) -> None:
    with http_server(tmp_path, {"/live": motion_jpeg(photos, pause=0.1)}) as server:
        source = Source.parse(f"http://ada:{PASSWORD}@127.0.0.1:{server.server_port}/live?token=abc", timeout=5)
        found, reason = until_lost(source)
    assert f"http://127.0.0.1:{server.server_port}/live?token=*** was lost" in reason
    assert 8 <= len(found) <= 10
    assert grays(found)[-3:] == [7, 8, 9]
    # FFmpeg makes up 25 pictures a second; these came at 10.
    assert found[-1].time - found[-4].time > 0.2


def test_files_over_http_play_in_their_time_and_end(folder: Path) -> None:
    with http_server(folder) as server:
        found = list(pictures(Source.parse(f"http://127.0.0.1:{server.server_port}/a.mp4", timeout=5)))
    assert grays(found) == list(range(20))
    assert found[-1].at - found[0].at >= 0.9


def playlist(folder: Path, name: str, *lines: str) -> None:
    (folder / name).write_text(
        "\n".join(["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:2", *lines, ""]), "utf-8"
    )


def test_hls(tmp_path: Path) -> None:
    for i in range(2):
        film(tmp_path / f"{i}.ts", numbered(10)[5 * i : 5 * i + 5] * 2, codec="mpeg2video", rate=25)
    playlist(
        tmp_path, "a.m3u8", "#EXTINF:0.4,", "0.ts", "#EXT-X-DISCONTINUITY", "#EXTINF:0.4,", "1.ts", "#EXT-X-ENDLIST"
    )
    with http_server(tmp_path) as server:
        found = list(pictures(Source.parse(f"http://127.0.0.1:{server.server_port}/a.m3u8", timeout=5)))
    assert len(found) == 20
    assert np.diff([one.time for one in found]).min() > 0


def test_live_hls_plays_in_its_own_time(tmp_path: Path) -> None:
    began: list[float] = []
    for i in range(12):
        times = [0.5 * i + 0.05 * j for j in range(10)]
        film(tmp_path / f"{i}.ts", numbered(10), times=times, rate=20, options={"bf": "0"})

    def growing(handler: Any) -> None:
        began.append(time.monotonic())
        last = min(int((began[-1] - began[0]) / 0.5) + 3, 12)
        first = max(last - 4, 0)
        lines = ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:1", f"#EXT-X-MEDIA-SEQUENCE:{first}"]
        lines += [line for i in range(first, last) for line in ("#EXTINF:0.5,", f"{i}.ts")]
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write("\n".join([*lines, ""]).encode())

    with http_server(tmp_path, {"/live.m3u8": growing}) as server:
        source = Source.parse(f"http://127.0.0.1:{server.server_port}/live.m3u8", timeout=2)
        found = list(islice(pictures(source), 50))
    assert source.patience == 30
    steps = np.diff([one.time for one in found])
    assert steps.min() > 0
    assert float(np.median(steps)) == pytest.approx(0.05, abs=0.01)
    assert found[-1].at - found[0].at >= 0.9 * (found[-1].time - found[0].time)


@pytest.mark.parametrize("way", ["file", "plain", "concat", "redirect", "subfile"])
def test_a_stream_reaches_no_file_of_this_machine(tmp_path: Path, way: str) -> None:
    secret = film(tmp_path / "secret.ts", numbered(10), codec="mpeg2video", rate=25)
    (tmp_path / "web").mkdir()
    item = {"file": f"file://{secret}", "concat": f"concat:{secret}", "subfile": f"subfile,,start,0,end,0,,:{secret}"}
    playlist(tmp_path / "web", "a.m3u8", "#EXTINF:0.4,", item.get(way, str(secret)), "#EXT-X-ENDLIST")

    def elsewhere(handler: Any) -> None:
        handler.send_response(302)
        handler.send_header("Location", f"file://{secret}")
        handler.end_headers()

    with http_server(tmp_path / "web", {"/a.m3u8": elsewhere} if way == "redirect" else {}) as server:
        source = Source.parse(f"http://127.0.0.1:{server.server_port}/a.m3u8", timeout=3)
        with pytest.raises(VisavisError) as caught:
            next(pictures(source))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("status", "kind"), [(401, SourceRefused), (403, SourceRefused), (404, SourceError)])
def test_web_servers_that_refuse(tmp_path: Path, status: int, kind: type[Exception]) -> None:
    with http_server(tmp_path, {"/live": lambda handler: handler.send_error(status)}) as server:
        source = Source.parse(f"http://ada:{PASSWORD}@127.0.0.1:{server.server_port}/live", timeout=5)
        with pytest.raises(kind) as caught:
            next(pictures(source))
    assert PASSWORD not in str(caught.value)


def test_web_pages_and_stills_are_no_streams(tmp_path: Path, photos: list[bytes]) -> None:
    (tmp_path / "page.html").write_text("<html>no video</html>" * 100, "utf-8")
    (tmp_path / "still.jpg").write_bytes(photos[0])
    with http_server(tmp_path) as server:
        for name in ("page.html", "still.jpg"):
            with pytest.raises(SourceError, match="sends no video that can be read"):
                next(pictures(Source.parse(f"http://127.0.0.1:{server.server_port}/{name}", timeout=5)))


def test_a_transport_stream_over_udp() -> None:
    port = free_port()
    done = threading.Event()

    def send() -> None:
        while not done.is_set():
            target = Path(f"udp://127.0.0.1:{port}?pkt_size=1316").as_posix().replace("udp:/", "udp://")
            with av.open(target, "w", format="mpegts") as container:
                stream = container.add_stream("mpeg2video", rate=25)
                stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
                for picture in numbered(10):
                    for packet in stream.encode(av.VideoFrame.from_ndarray(picture)):
                        container.mux(packet)
                    time.sleep(0.02)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        found = list(islice(pictures(Source.parse(f"udp://127.0.0.1:{port}", timeout=8)), 5))
    finally:
        done.set()
        thread.join()
    assert [one.image().shape for one in found] == [(64, 96, 3)] * 5


def test_a_transport_stream_over_tcp(tmp_path: Path) -> None:
    data = film(tmp_path / "a.ts", numbered(10), codec="mpeg2video", rate=25).read_bytes()
    with silent_server(data) as port:
        found, reason = until_lost(Source.parse(f"tcp://127.0.0.1:{port}", timeout=0.5))
    assert len(found) >= 8
    assert reason.endswith("was lost: no data for 0.5 s")


def test_a_stream_whose_sound_goes_on_when_its_pictures_stop(tmp_path: Path) -> None:
    sound = {"codec": "mp2", "rate": 48000}
    path = tmp_path / "sound.ts"
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg2video", rate=25)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        audio = container.add_stream(sound["codec"], rate=sound["rate"])
        for picture in numbered(5):
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(video.encode())
        for i in range(400):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 2 * 1152), np.int16), format="s16", layout="stereo")
            frame.sample_rate, frame.pts = sound["rate"], 1152 * i
            container.mux(audio.encode(frame))
    data = path.read_bytes()

    def trickle(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "video/mp2t")
        handler.end_headers()
        for i in range(0, len(data), 1880):
            handler.wfile.write(data[i : i + 1880])
            time.sleep(0.02)

    with http_server(tmp_path, {"/live": trickle}) as server:
        found, reason = until_lost(Source.parse(f"http://127.0.0.1:{server.server_port}/live", timeout=0.4))
    assert reason.endswith("was lost: no video for 0.4 s")
    assert found


@pytest.mark.parametrize("address", ["rtsp://{user}@127.0.0.1:1/a", "http://{user}@127.0.0.1:1/a?password={user}"])
def test_nothing_that_a_process_says_holds_a_secret(address: str, tmp_path: Path) -> None:
    address = address.format(user=f"ada:{PASSWORD}")
    code = (
        "import json, logging, sys, traceback\n"
        "logging.basicConfig(level=0)\n"
        "from visavis.video.sources import Source, pictures\n"
        "source = Source.parse(json.load(sys.stdin), timeout=2)\n"
        "print(source, repr([source]), source.name, [*open('/proc/self/cmdline')] if sys.platform == 'linux' else '')\n"
        "try:\n"
        "    next(pictures(source))\n"
        "except Exception as error:\n"
        "    print(repr(error)); logging.exception('lost'); traceback.print_exc()\n"
        "next(pictures(source))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(address), capture_output=True, text=True, check=False
    )
    assert "can't be reached: connection refused" in done.stderr
    assert PASSWORD not in done.stdout + done.stderr
    assert "ada" not in done.stdout + done.stderr


# Cameras of this machine


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for its cameras")
def test_cameras_that_are_not_there() -> None:
    with pytest.raises(SourceError, match="camera:97 can't be reached: no such file"):
        next(pictures(Source.parse("camera:97")))
    with pytest.raises(SourceError, match="camera:No such name can't be found; there are"):
        next(pictures(Source.parse("camera:No such name")))


@pytest.mark.parametrize(
    ("system", "address", "expected"),
    [
        ("Linux", "camera:2", "/dev/video2"),
        ("Linux", "/dev/video1", "/dev/video1"),
        ("Linux", "camera:Front door", "/dev/video10"),
        ("Darwin", "camera:0", "0"),
        ("Darwin", "camera:FaceTime HD Camera", "FaceTime HD Camera"),
    ],
)
def test_what_ffmpeg_calls_a_camera(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str, address: str, expected: str
) -> None:
    for name, told in {"video2": "Yard\n", "video10": "Front door\n", "video11": "Front door\n"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "name").write_text(told, "utf-8")
    monkeypatch.setattr(devices, "_LISTED", tmp_path)
    monkeypatch.setattr(devices.platform, "system", lambda: system)
    assert devices.camera_of(address, address) == expected
    if system == "Linux":
        assert devices.camera_names() == {"Yard": "/dev/video2", "Front door": "/dev/video10"}


def test_a_character_device_that_is_no_camera() -> None:
    if not Path("/dev/zero").exists():
        pytest.skip("no devices as files here")
    with pytest.raises(SourceError, match="/dev/zero"):
        next(pictures(Source.parse("/dev/zero", timeout=2)))

"""Frames of videos: every one, upright, at their own times; bad files refused in a line."""

from __future__ import annotations

import os
import subprocess
import sys
import wave
from pathlib import Path

import cv2
import numpy as np
import pytest
from films import film
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from visavis.errors import EngineError, InputError
from visavis.image import save_image
from visavis.models.store import Store
from visavis.video import frames as reading
from visavis.video.frames import find_videos, frames, turned, video


def numbered(count: int, width: int = 96, height: int = 64) -> list[np.ndarray]:
    """Return frames whose gray values tell their number and whose upper left corner is white."""
    pictures = []
    for i in range(count):
        picture = np.full((height, width, 3), 20 + 8 * i, np.uint8)
        picture[:16, :16] = 255
        picture[:16, -32:] = (200, 20, 20)
        pictures.append(picture)
    return pictures


def corner(image: np.ndarray) -> str:
    places = {"top left": image[4:12, 4:12], "top right": image[4:12, -12:-4]}
    places |= {"bottom left": image[-12:-4, 4:12], "bottom right": image[-12:-4, -12:-4]}
    return max(places, key=lambda place: float(places[place].min()))


def test_a_real_video_is_read_frame_by_frame(store: Store) -> None:
    path = store.path("carphone")
    info = video(path)
    assert (info.codec, info.turned, info.mirrored, info.rate) == ("h264", 0, False, pytest.approx(29.97, abs=0.01))
    found = list(frames(path))
    assert [frame.number for frame in found] == list(range(120))
    assert np.allclose([frame.time for frame in found], np.arange(120) * 1001 / 30000, atol=1e-3)
    # OpenCV's own FFmpeg as reference; it doesn't know of pixels that are not square.
    capture = cv2.VideoCapture(str(path))
    for frame in found[:20]:
        _, bgr = capture.read()
        small = cv2.resize(frame.image, bgr.shape[1::-1], interpolation=cv2.INTER_AREA)
        assert np.abs(small[..., ::-1].astype(int) - bgr).mean() < 4
    assert found[0].image.shape == (144, 193, 3)  # 176 pixels of 128:117


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize(
    ("rotation", "place", "clockwise"), [(90, "bottom left", 270), (180, "bottom right", 180), (270, "top right", 90)]
)
def test_the_display_matrix_is_followed(tmp_path: Path, suffix: str, rotation: int, place: str, clockwise: int) -> None:
    path = film(tmp_path / f"turned{suffix}", numbered(5), rotation=rotation)
    first = next(frames(path))
    assert corner(first.image) == place
    info = video(path)
    assert (info.turned, info.mirrored) == (clockwise, False)
    assert first.image.shape[:2] == ((64, 96) if rotation == 180 else (96, 64)) == (info.height, info.width)
    _, bgr = cv2.VideoCapture(str(path)).read()  # turns by the matrix too
    assert np.array_equal(first.image[..., ::-1], bgr)


def test_a_mirrored_display_matrix_is_followed(tmp_path: Path) -> None:
    path = film(tmp_path / "plain.mp4", numbered(3), rotation=180)
    data = path.read_bytes()
    # The matrix of the track header (ISO/IEC 14496-12, 8.3.2): a b u c d v x y w.
    matrix = np.array([-1, 0, 0, 0, -1, 0], ">i4") * 65536
    at = data.index(matrix.tobytes(), data.index(b"tkhd"))
    sideways = np.array([-1, 0, 0, 0, 1, 0], ">i4") * 65536
    (tmp_path / "mirrored.mp4").write_bytes(data[:at] + sideways.tobytes() + data[at + 24 :])
    info = video(tmp_path / "mirrored.mp4")
    assert (info.turned, info.mirrored) == (0, True)
    assert corner(next(frames(tmp_path / "mirrored.mp4")).image) == "top right"


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("a.mp4", "libx264", "yuv420p"),
        ("a.mkv", "libx264", "yuv420p10le"),
        ("a.webm", "libvpx-vp9", "yuv420p"),
        ("a.avi", "mjpeg", "yuvj420p"),
        ("a.mov", "mjpeg", "yuvj420p"),
        ("a.ts", "mpeg2video", "yuv420p"),
        ("a.ivf", "libvpx-vp9", "yuv420p"),
    ],
)
def test_codecs_and_depths(tmp_path: Path, name: str, codec: str, pixels: str) -> None:
    rate = 25 if codec == "mpeg2video" else 10
    pictures = numbered(8)
    path = film(tmp_path / name, pictures, codec=codec, pixels=pixels, rate=rate)
    found = list(frames(path))
    assert len(found) == 8
    for picture, frame in zip(pictures, found, strict=True):
        assert frame.image.shape == picture.shape
        assert abs(float(frame.image[30:60, 20:60].mean()) - float(picture[40, 40, 0])) < 4
    assert np.allclose([frame.time for frame in found], np.arange(8) / rate, atol=2e-3)


def test_times_at_a_variable_rate_are_those_of_the_file(tmp_path: Path) -> None:
    times = [0, 0.04, 0.08, 1.0, 1.04, 3.5, 3.52, 3.9, 4.0, 6.0]
    path = film(tmp_path / "vfr.mkv", numbered(10), times=times)
    assert np.allclose([frame.time for frame in frames(path)], times, atol=2e-3)
    # One a second: the first at or after each second there is a frame in.
    assert [frame.number for frame in frames(path, every=1.0)] == [0, 3, 5, 8, 9]
    assert [frame.number for frame in frames(path, every=1.0, start=3.0)] == [5, 8, 9]


@given(st.integers(1, 6), st.integers(1, 6), st.sampled_from([0, 90, 180, 270]))
def test_turning_is_numpys(height: int, width: int, degrees: int) -> None:
    image = np.arange(height * width * 3, dtype=np.uint8).reshape(height, width, 3)
    expected = image
    for _ in range(degrees // 90):
        expected = cv2.rotate(expected, cv2.ROTATE_90_CLOCKWISE)
    assert np.array_equal(turned(image, degrees), expected.reshape(turned(image, degrees).shape))
    assert np.array_equal(turned(turned(image, degrees), (360 - degrees) % 360), image)


def test_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "b" / "c").mkdir(parents=True)
    for name in ("b/2.MP4", "b/c/1.mkv", "b/notes.txt", "b/.hidden.mp4", "a.bin"):
        (tmp_path / name).write_bytes(b"x")
    found = find_videos([str(tmp_path / "a.bin"), str(tmp_path / "b"), str(tmp_path / "b" / "2.MP4")])
    assert [path.name for path in found] == ["a.bin", "2.MP4", "1.mkv"]
    with pytest.raises(InputError, match="no such video"):
        find_videos([str(tmp_path / "missing.mp4")])


def bad(tmp_path: Path, kind: str) -> Path:
    path = tmp_path / f"{kind}.mp4"
    photo = np.full((64, 64, 3), 128, np.uint8)
    if kind == "zero":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("this is no video " * 1000, encoding="utf-8")
    elif kind == "playlist":
        film(tmp_path / "secret.ts", numbered(5), codec="mpeg2video", rate=25)
        path.write_text(
            f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{tmp_path / 'secret.ts'}\n#EXT-X-ENDLIST\n", "utf-8"
        )
    elif kind == "concat":
        film(tmp_path / "secret.ts", numbered(5), codec="mpeg2video", rate=25)
        path.write_text("ffconcat version 1.0\nfile secret.ts\n", "utf-8")
    elif kind in ("jpg", "png", "webp"):
        save_image(tmp_path / f"p.{kind}", photo)
        (tmp_path / f"p.{kind}").rename(path)
    elif kind == "sound":
        with wave.open(str(tmp_path / "s.wav"), "wb") as sound:
            sound.setnchannels(1)
            sound.setsampwidth(2)
            sound.setframerate(8000)
            sound.writeframes(bytes(16000))
        import av

        with av.open(str(tmp_path / "s.wav")) as source, av.open(str(path), "w") as target:
            stream = target.add_stream("aac", rate=8000)
            for frame in source.decode(audio=0):
                for packet in stream.encode(frame):
                    target.mux(packet)
            for packet in stream.encode():
                target.mux(packet)
    elif kind == "headless":  # an MP4 whose index comes last, cut off: as of a camera that lost power
        whole = film(tmp_path / "whole.mov", numbered(20)).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "zero frames":
        whole = film(tmp_path / "whole.ts", numbered(3), codec="mpeg2video", rate=25).read_bytes()
        path.write_bytes(whole[: 188 * 3])  # tables that announce a video, and nothing of it
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    return path


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("missing", "no such file"),
        ("zero", "is empty"),
        ("text", "no video that can be read"),
        ("playlist", "no video that can be read"),
        ("concat", "no video that can be read"),
        ("jpg", "still picture"),
        ("png", "still picture"),
        ("webp", "still picture"),
        ("sound", "no video but sound"),
        ("headless", "no video that can be read"),
        ("zero frames", "holds no "),
        ("folder", "is no file"),
        ("pipe", "is no file"),
    ],
)
def test_bad_files_are_refused_in_a_line(tmp_path: Path, kind: str, says: str) -> None:
    if kind == "pipe" and not hasattr(os, "mkfifo"):
        pytest.skip("no named pipes here")
    with pytest.raises(InputError, match=says) as caught:
        list(frames(bad(tmp_path, kind)))
    assert "\n" not in str(caught.value)
    assert repr(f"{kind}.mp4")[1:-1] in str(caught.value)


def test_files_of_sound_are_called_so(tmp_path: Path) -> None:
    import av

    for name, codec in (("a.wav", "pcm_s16le"), ("a.flac", "flac"), ("a.mp3", "libmp3lame"), ("a.aac", "aac")):
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream(codec, rate=16000)
            stream.layout = "mono"
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.int16), format="s16", layout="mono")
            frame.sample_rate = 16000
            for encode in (frame, None):
                for packet in stream.encode(encode):
                    container.mux(packet)
        with pytest.raises(InputError, match=f"{name}' holds no video but sound"):
            list(frames(tmp_path / name))


def test_what_came_before_a_cut_is_given(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (64, 96, 3)).astype(np.uint8) for _ in range(40)]
    whole = film(tmp_path / "whole.mp4", noise, options={"g": "5", "bf": "0"}).read_bytes()  # its index comes first
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    rest = frames(tmp_path / "cut.mp4")
    assert [next(rest).number for _ in range(10)] == list(range(10))
    with pytest.raises(InputError, match=r"cut off or damaged: it could be read to [12]\.\d of 4\.0 s"):
        list(rest)


def test_a_cut_is_told_where_sound_goes_along(tmp_path: Path) -> None:
    import av

    rng = np.random.default_rng(0)
    with av.open(str(tmp_path / "whole.mkv"), "w") as container:  # says one length for all
        video_, sound = container.add_stream("libx264", rate=25), container.add_stream("pcm_s16le", rate=8000)
        video_.width = video_.height = 64
        sound.layout = "mono"
        for i in range(100):
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 320), np.int16), format="s16", layout="mono")
            samples.sample_rate, samples.pts = 8000, 320 * i
            container.mux(sound.encode(samples))
            if i < 75:  # the sound is longer
                noise = rng.integers(0, 256, (64, 64, 3)).astype(np.uint8)
                container.mux(video_.encode(av.VideoFrame.from_ndarray(noise)))
        container.mux(video_.encode())
    whole = (tmp_path / "whole.mkv").read_bytes()
    assert len(list(frames(tmp_path / "whole.mkv"))) == 75
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"cut off or damaged: it could be read to 1\.\d of 4\.0 s"):
        list(frames(tmp_path / "cut.mkv"))


@pytest.mark.parametrize("suffix", [".avi", ".asf", ".mkv", ".mp4", ".ts", ".mpg"])
@pytest.mark.parametrize("kept_back", ["0", "3"])
def test_frames_stored_in_another_order_have_their_own_times(tmp_path: Path, suffix: str, kept_back: str) -> None:
    import av

    codec = "mpeg2video" if suffix == ".mpg" else "libx264"
    with av.open(str(tmp_path / f"a{suffix}"), "w") as container:
        stream = container.add_stream(codec, rate=25, options={"bf": kept_back, "g": "12"})
        stream.width, stream.height = 96, 64
        for picture in numbered(28):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode())
    found = list(frames(tmp_path / f"a{suffix}"))
    assert np.diff([frame.image[30:].mean() for frame in found]).min() > -1  # in the order of showing
    assert len(found) == 28
    assert [frame.time for frame in found] == pytest.approx([i / 25 for i in range(28)], abs=0.0401)
    assert found[-1].time - found[3].time == pytest.approx(24 / 25, abs=1e-3)


def test_joined_recordings_go_on_in_time(tmp_path: Path) -> None:
    one = film(tmp_path / "one.ts", numbered(8), codec="mpeg2video", rate=25).read_bytes()
    (tmp_path / "two.ts").write_bytes(one + one)
    found = list(frames(tmp_path / "two.ts"))
    assert len(found) == 16
    assert np.diff([frame.time for frame in found]).min() > 0


def test_names_in_another_encoding_are_no_hindrance(tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "a.avi"), "w") as container:
        container.metadata["title"] = "TITLETITLE"
        stream = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 99, np.uint8))
        for packet in [*stream.encode(frame), *stream.encode()]:
            container.mux(packet)
    data = (tmp_path / "a.avi").read_bytes()
    assert data.count(b"TITLETITLE") == 1
    (tmp_path / "a.avi").write_bytes(data.replace(b"TITLETITLE", "门口的摄像".encode("gbk")))
    assert len(list(frames(tmp_path / "a.avi"))) == 1


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("small")
    made = [film(folder / "a.mp4", numbered(6)), film(folder / "a.mkv", numbered(6))]
    made.append(film(folder / "a.avi", numbered(6), codec="mjpeg", pixels="yuvj420p"))
    return {path.suffix: path.read_bytes() for path in made}


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([".mp4", ".mkv", ".avi"]), st.data())
def test_damaged_files_give_frames_or_a_reason(
    tmp_path: Path, small: dict[str, bytes], suffix: str, data: st.DataObject
) -> None:
    broken = bytearray(small[suffix])
    places = st.tuples(st.integers(0, len(broken) - 1), st.integers(0, 255))
    for place, value in data.draw(st.lists(places, max_size=20)):
        broken[place] = value
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(broken[: data.draw(st.integers(1, len(broken)))])
    try:
        assert all(frame.image.ndim == 3 for frame in frames(path))
    except InputError as error:
        assert "broken" in str(error)  # noqa: PT017 (either is right)


def test_one_pixel_and_8k(tmp_path: Path) -> None:
    tiny = film(tmp_path / "tiny.avi", [np.full((1, 1, 3), 200, np.uint8)] * 3, codec="mjpeg", pixels="yuvj444p")
    assert [frame.image.shape for frame in frames(tiny)] == [(1, 1, 3)] * 3
    large = film(tmp_path / "8k.avi", [np.full((4320, 7680, 3), 90, np.uint8)] * 2, codec="mjpeg", pixels="yuvj420p")
    assert [frame.image.shape for frame in frames(large)] == [(4320, 7680, 3)] * 2
    with pytest.raises(InputError, match="7680x4320 and the limit is 1000000 pixels"):
        next(frames(large, max_pixels=1_000_000))


@pytest.mark.parametrize("given_", [{"every": -1.0}, {"every": float("nan")}, {"start": float("inf")}])
def test_steps_that_are_no_time(tmp_path: Path, given_: dict[str, float]) -> None:
    with pytest.raises(InputError, match="are seconds"):
        next(frames(tmp_path / "any.mp4", **given_))


def test_without_pyav_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(EngineError, match=r"visavis\[video\]"):
        reading.require_library()


def test_importing_it_loads_no_pyav() -> None:
    code = "import sys, visavis.curation.video_faces; sys.exit('av' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""Videos written anew: in time with their source and its sound, upright, in its colors, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from films import film, moving

from visavis.errors import InputError, StorageError
from visavis.gallery import open_gallery
from visavis.image import load_image
from visavis.pipeline import Analyzer
from visavis.types import Image
from visavis.video.frames import Frame, frames
from visavis.video.recording import record
from visavis.video.rendering import annotate_video, render

Photo = Callable[[str, int], bytes]
RATE = 48_000


def clapper(
    path: Path,
    *,
    sound: str,
    size: tuple[int, int] = (96, 128),
    pixels: str = "yuv420p",
    delay: float = 0.0,
    rotation: int | None = None,
) -> list[float]:
    """Write a film at a variable rate that flashes while it beeps, after 1 and 2 s of sound; return its times."""
    rng = np.random.default_rng(0)
    times = [round(t, 3) for t in np.cumsum(rng.uniform(0.02, 0.08, 60)).tolist()]
    wave = np.zeros((1, 3 * RATE), np.float32)
    for second in (1, 2):
        wave[0, second * RATE : second * RATE + 4800] = 0.5 * np.sin(0.2 * np.arange(4800))
    with av.open(str(path), "w") as container:
        container.metadata.update({"title": "a secret title", "location": "+48.8577+002.295/", "comment": "secret"})
        video = container.add_stream("libx264", rate=25)
        video.height, video.width = size
        video.pix_fmt = pixels
        video.time_base = video.codec_context.time_base = Fraction(1, 1000)
        if rotation is not None:
            video.set_display_rotation(rotation)
        audio = container.add_stream(sound, rate=RATE)
        audio.layout = "mono"
        audio.metadata["title"] = "a secret track"
        done = 0
        for time in times:
            flash = any(second <= time + delay < second + 0.1 for second in (1, 2))
            picture = av.VideoFrame.from_ndarray(np.full((*size, 3), 230 if flash else 40, np.uint8))
            picture.pts, picture.time_base = round(1000 * (time + delay)), Fraction(1, 1000)
            container.mux(video.encode(picture))
            while done < wave.shape[1] and done / RATE <= time + delay:
                part = np.ascontiguousarray(wave[:, done : done + 960])
                samples = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
                samples.sample_rate, samples.pts, samples.time_base = RATE, done, Fraction(1, RATE)
                container.mux(audio.encode(samples))
                done += 960
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
    return times


def flashes(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        pictures = [(p.time, p.to_ndarray(format="gray").mean()) for p in container.decode(video=0)]
    return [after[0] for before, after in pairwise(pictures) if before[1] < 130 <= after[1]]


def beeps(path: Path) -> list[float]:
    level: list[tuple[float, float]] = []
    with av.open(str(path)) as container:
        for samples in container.decode(audio=0):
            values = np.abs(samples.to_ndarray().astype(np.float64))
            values = values / 32768 if values.max() > 2 else values
            level += [(samples.time + i / RATE, values[0, i : i + 64].max()) for i in range(0, values.shape[1], 64)]
    loud = [time for time, value in level if value > 0.1]
    return [time for time, before in zip(loud, [-1.0, *loud], strict=False) if time - before > 0.5]


def copied(frame: Frame) -> Image:
    return frame.image


@pytest.mark.parametrize(
    ("source", "sound", "delay", "out", "how"),
    [
        ("a.mp4", "aac", 0.0, "b.mp4", "copied"),
        ("a.mkv", "libopus", 0.75, "b.mp4", "copied"),
        ("a.mov", "pcm_mulaw", 0.25, "b.mov", "copied"),
        ("a.mov", "pcm_mulaw", 0.25, "b.mp4", "encoded"),
        ("a.ts", "mp2", 0.0, "b.mkv", "copied"),
    ],
)
def test_pictures_and_sound_stay_in_time(
    tmp_path: Path, source: str, sound: str, delay: float, out: str, how: str
) -> None:
    clapper(tmp_path / source, sound=sound, delay=delay)
    done = render(tmp_path / source, tmp_path / out, copied)
    assert (done.sound, done.frames, done.problem) == (how, 60, None)
    before = [frame.time for frame in frames(tmp_path / source)]
    after = [frame.time for frame in frames(tmp_path / out)]
    assert np.abs(np.array(before) - after).max() < (0.0011 if out.endswith("mkv") else 1e-6)  # ticks of a millisecond
    apart = {name: np.subtract(flashes(tmp_path / name), beeps(tmp_path / name)) for name in (source, out)}
    assert len(apart[out]) >= 2
    assert np.abs(apart[out] - apart[source]).max() < (0.03 if how == "encoded" else 0.003)
    reader = cv2.VideoCapture(str(tmp_path / out))  # another build of FFmpeg
    assert sum(1 for _ in iter(lambda: reader.read()[0], False)) == 60


def test_nothing_but_pictures_and_sound_is_taken_over(tmp_path: Path) -> None:
    clapper(tmp_path / "a.mp4", sound="aac")
    for out in ("b.mp4", "b.mkv"):
        render(tmp_path / "a.mp4", tmp_path / out, copied)
        assert b"secret" not in (tmp_path / out).read_bytes()
        assert b"48.8577" not in (tmp_path / out).read_bytes()
    render(tmp_path / "a.mp4", tmp_path / "mute.mp4", copied, sound=False)
    with av.open(str(tmp_path / "mute.mp4")) as container:
        assert not container.streams.audio
    data = (tmp_path / "b.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # it plays before it is all there


def test_odd_sizes_and_turned_frames(tmp_path: Path) -> None:
    picture = np.zeros((45, 61, 3), np.uint8)
    picture[:, :20] = (200, 60, 60)
    path = film(tmp_path / "a.mkv", [picture] * 3, pixels="yuv444p")
    done = render(path, tmp_path / "b.mp4", copied, quality=1)
    assert (done.width, done.height) == (62, 46)
    shown = next(frames(tmp_path / "b.mp4")).image
    assert np.abs(shown[:45, :61].astype(int) - picture)[:, 24:].max() < 12
    assert np.abs(shown[45].astype(int) - shown[44])[24:].max() < 12  # the last row again
    turned = film(tmp_path / "t.mp4", [np.ascontiguousarray(picture[:44, :60])] * 3, rotation=90)
    done = render(turned, tmp_path / "c.mp4", copied)
    assert (done.width, done.height) == (44, 60)
    upright = next(frames(turned)).image
    assert np.abs(next(frames(tmp_path / "c.mp4")).image.astype(int) - upright).mean() < 4
    assert render(turned, tmp_path / "d.mp4", copied, rotate=180).height == 60
    flipped = next(frames(tmp_path / "d.mp4")).image
    assert np.abs(flipped[::-1, ::-1].astype(int) - upright).mean() < 4
    tiny = film(tmp_path / "tiny.mkv", [np.zeros((1, 1, 3), np.uint8)] * 2, codec="ffv1", pixels="yuv444p")
    assert render(tiny, tmp_path / "e.mp4", copied).width == 2


@pytest.mark.parametrize(("height", "width", "space"), [(240, 320, 6), (720, 1280, 1)])
@pytest.mark.parametrize("pixels", ["yuv420p", "yuv420p10le"])
def test_colors_are_those_of_the_source(tmp_path: Path, height: int, width: int, space: int, pixels: str) -> None:
    colors = [(200, 40, 40), (40, 200, 40), (40, 40, 200), (128, 128, 128)]
    picture = np.repeat(np.array([colors], np.uint8), width // 4, axis=1).repeat(height, axis=0)
    path = film(tmp_path / "a.mkv", [picture] * 2, codec="ffv1", pixels="bgr0" if pixels == "yuv420p" else "gbrp10le")
    render(path, tmp_path / "b.mp4", copied, quality=4)
    with av.open(str(tmp_path / "b.mp4")) as container:
        shown = next(container.decode(video=0))
        assert (shown.colorspace, shown.color_range) == (space, 1)
    theirs = cv2.cvtColor(cv2.VideoCapture(str(tmp_path / "b.mp4")).read()[1], cv2.COLOR_BGR2RGB)
    for image in (next(frames(tmp_path / "b.mp4")).image, theirs):
        for i, color in enumerate(colors):
            assert np.abs(image[height // 2, width // 8 + i * width // 4].astype(int) - color).max() <= 6


def test_what_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", [np.zeros((64, 64, 3), np.uint8)] * 4)
    (tmp_path / "b.mp4").write_bytes(b"as it was")

    def fails(frame: Frame) -> Image:
        if frame.number == 2:
            raise KeyboardInterrupt
        return frame.image

    with pytest.raises(KeyboardInterrupt):
        render(path, tmp_path / "b.mp4", fails)
    assert (tmp_path / "b.mp4").read_bytes() == b"as it was"
    with pytest.raises(StorageError, match="can't be written"):
        render(path, tmp_path / "missing" / "b.mp4", copied)
    with pytest.raises(InputError, match="quality is from 0"):
        render(path, tmp_path / "c.mp4", copied, quality=52)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.mp4", "b.mp4"]


def test_of_a_file_cut_off_there_is_what_could_be_read(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 64, 64, 3)).astype(np.uint8)
    whole = film(tmp_path / "a.mkv", noise, options={"g": "5"}).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) * 6 // 10])
    done = render(tmp_path / "cut.mkv", tmp_path / "b.mp4", copied)
    assert done.problem is not None
    assert 10 < done.frames < 60
    assert len(list(frames(tmp_path / "b.mp4"))) == done.frames


@pytest.fixture(scope="module")
def analyzer() -> Analyzer:
    return Analyzer(threads=1, precision="f32", min_face=28)


def test_names_stand_at_faces_from_the_first_frame_on(tmp_path: Path, analyzer: Analyzer, lfw_photo: Photo) -> None:
    clean = moving(load_image(lfw_photo("Al_Sharpton", 2)), 8)
    path = film(tmp_path / "a.mp4", clean)
    with open_gallery(tmp_path / "g.db", analyzer=analyzer) as gallery:
        gallery.enroll("Ål 王", lfw_photo("Al_Sharpton", 1))
        named = record(path, analyzer, gallery)
    annotate_video(named, tmp_path / "named.mp4", quality=4)
    annotate_video(record(path, analyzer), tmp_path / "nameless.mp4", quality=4)
    shown, nameless = (list(frames(tmp_path / name)) for name in ("named.mp4", "nameless.mp4"))
    assert len(shown) == len(clean)
    for i, box in enumerate(named.boxes):
        marked = np.abs(shown[i].image.astype(int) - clean[i]).max(axis=2) > 60
        x1, y1, x2, y2 = box.round().astype(int)
        assert marked[y1 - 3 : y2 + 3, x1 - 3 : x1 + 3].any(axis=1).mean() > 0.6  # the left side of the box
        assert not marked[y1 + 8 : y2 - 8, x1 + 8 : x2 - 8].any()  # and not the face
        plate = marked.copy()
        plate[y1 - 4 : y2 + 4, x1 - 4 : x2 + 4] = False
        assert plate.sum() > 200  # in the first frame too
        difference = np.abs(nameless[i].image.astype(int) - clean[i]).max(axis=2) > 60
        difference[y1 - 4 : y2 + 4, x1 - 4 : x2 + 4] = False
        assert not difference.any()

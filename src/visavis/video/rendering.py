"""Videos written anew: each frame drawn on, H.264, in time with the source and its sound; and with names drawn in.

Every frame keeps its time stamp, at a variable frame rate too; frames are upright; sound is copied as it is where the
new container can hold it. Nothing else is taken over: no titles, places, subtitles or chapters.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from visavis.drawing import Lettering, Style, annotate
from visavis.errors import EngineError, InputError, StorageError
from visavis.files import printable_path, reason
from visavis.models.durable import new_path
from visavis.types import Faces, Image
from visavis.video.courses import Places, courses
from visavis.video.decoding import Decoder
from visavis.video.frames import Frame, frames, opened_file, turned, video
from visavis.video.identity import UNSEEN
from visavis.video.preview import label_of
from visavis.video.recording import Progress, Recording

__all__ = ["OUTPUT_SUFFIXES", "Rendered", "annotate_video", "render"]

OUTPUT_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv")
"""Kinds of containers that are written."""

_CODEC = "libx264"
_PRESET = "veryfast"  # half the time of the encoder's own choice, for files a tenth larger
_BT709, _BT601, _LIMITED = 1, 6, 1  # ITU-T H.273, as codecs have it
_SWS_BT709, _SWS_BT601 = 1, 5  # and as swscale has it
_TICKS = 90_000  # a second, where the source's own are unfit
_LEAD = 0.05  # seconds of sound before the first picture that are kept: coders begin with some
_GAP = 0.5  # seconds without the face after which its box is not drawn


@dataclass(frozen=True)
class Rendered:
    """What came of writing a video.

    Attributes
    ----------
    frames, seconds
        Written.
    width, height
        Of the new frames: even, with a row or column repeated where the source's were odd.
    sound
        ``"copied"``, ``"encoded"`` (as AAC, where the container can't hold it as it was) or ``"none"``.
    problem
        What kept the source from being read to its end.
    """

    frames: int
    seconds: float
    width: int
    height: int
    sound: str
    problem: str | None = None


def render(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    draw: Callable[[Frame], Image],
    *,
    rotate: int = 0,
    quality: int = 20,
    sound: bool = True,
    threads: int = 1,
    progress: Progress | None = None,
) -> Rendered:
    """Write a video anew, each frame as ``draw`` returns it. The file appears when it is whole.

    Parameters
    ----------
    draw
        Called with every frame in order; returns a picture of the same size.
    rotate
        Degrees clockwise to turn frames beyond what the container says, before they are drawn on.
    quality
        The encoder's rate factor: 0 (without loss) to 51; lower is better and larger. 18 is hard to tell from the
        source, 28 is small.
    sound
        Take the sound over.
    threads
        To encode with.

    Raises
    ------
    InputError
        As `visavis.video.frames.frames`, if not one frame can be read; of a file that was cut off, what there is is
        written, and `Rendered.problem` says so. Or if ``quality`` is not within its bounds.
    EngineError
        If this FFmpeg can't encode H.264.
    StorageError
        If it can't be written; what was there before stays.
    """
    import av

    if not 0 <= quality <= 51:
        raise InputError(f"quality is from 0, best, to 51, not {quality}")
    if _CODEC not in av.codecs_available:
        raise EngineError(f"this FFmpeg can't encode H.264 ({_CODEC} is missing); use PyAV's own wheel")
    info = video(source)
    target = Path(out)
    writer = None
    problem = None
    try:
        with new_path(target) as temporary, opened_file(source) as container:
            begin, ticks = _clock(source)
            sounds = _Sound(container, container.streams.audio if sound else (), begin)
            writer = _Writer(temporary, info.rate, ticks, quality, threads, sounds)
            with writer:
                try:
                    for frame in frames(source, threads=threads):
                        upright = replace(frame, image=turned(frame.image, rotate)) if rotate else frame
                        writer.add(frame.time, draw(upright))
                        if progress is not None:
                            progress(frame.time, info.seconds)
                except InputError as error:
                    if not writer.frames:
                        raise
                    problem = str(error)
    except (OSError, av.error.FFmpegError) as error:
        raise StorageError(f"{printable_path(target)} can't be written: {reason(error)}") from None
    assert writer is not None
    return Rendered(writer.frames, writer.last, *writer.size, writer.sound.how, problem)


def annotate_video(
    recording: Recording,
    out: str | os.PathLike[str],
    *,
    quality: int = 20,
    sound: bool = True,
    scale: float = 1.0,
    unknown: str = "unknown",
    threads: int = 1,
    progress: Progress | None = None,
) -> Rendered:
    """Write a recording's video with each face's box and name drawn in, the name from a track's first frame on.

    Parameters
    ----------
    scale
        Of lettering and lines.
    unknown
        What a face is called that is nobody enrolled.

    Raises
    ------
    InputError, EngineError, StorageError
        As `render`.
    """
    style, lettering = Style(landmarks=False, scale=scale), Lettering()
    followed = [course for course in courses(recording, gap=max(_GAP, 2.5 * recording.every)) if course.track]
    there = Places(followed)

    def draw(frame: Frame) -> Image:
        shown = there.at(frame.time)
        labels = [label_of(recording.people.get(place.track, UNSEEN), unknown) for place in shown]
        boxes = np.array([place.box for place in shown], np.float32).reshape(-1, 4)
        faces = Faces(boxes, np.ones(len(shown), np.float32))
        return annotate(frame.image, faces, labels, style=style, lettering=lettering)

    return render(
        recording.path,
        out,
        draw,
        rotate=recording.rotate,
        quality=quality,
        sound=sound,
        threads=threads,
        progress=progress,
    )


class _Writer:
    """One file being written: pictures in, packets out, those of the sound between them."""

    def __init__(
        self, path: Path, rate: float | None, ticks: Fraction, quality: int, threads: int, sound: _Sound
    ) -> None:
        import av
        from av.video.reformatter import VideoReformatter

        self._scaler = VideoReformatter()  # one for all frames: making it takes longer than its work
        options = {"movflags": "+faststart"} if path.suffix.lower() != ".mkv" else {}
        self._container = av.open(str(path), "w", options=options)
        self._rate = Fraction(rate or 25.0).limit_denominator(1001)
        self._ticks, self._quality, self._threads = ticks, quality, threads
        self._stream: Any = None
        self.sound = sound
        self._pts = -1
        self.frames = 0
        self.last = 0.0
        self.size = (0, 0)

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None and self._stream is not None:
                self._mux(None)
                self.sound.until(None)
        finally:
            self._container.close()

    def add(self, time: float, image: Image) -> None:
        import av

        if self._stream is None:
            self._begin(image)
        width, height = self.size
        if image.shape[:2] != (height, width):
            down, right = height - image.shape[0], width - image.shape[1]
            image = np.asarray(cv2.copyMakeBorder(image, 0, down, 0, right, cv2.BORDER_REPLICATE), np.uint8)
        colors = _SWS_BT709 if _high_definition(width, height) else _SWS_BT601
        picture = self._scaler.reformat(
            av.VideoFrame.from_ndarray(image, format="rgb24"),
            format="yuv420p",
            dst_colorspace=colors,
            dst_color_range=_LIMITED,
        )
        self._pts = max(round(time / self._ticks), self._pts + 1)  # two frames of one time come one after the other
        picture.pts, picture.time_base = self._pts, self._ticks
        self.sound.until(time)
        self._mux(picture)
        self.frames, self.last = self.frames + 1, time

    def _begin(self, image: Image) -> None:
        height, width = (side + side % 2 for side in image.shape[:2])
        self.size = (width, height)
        options = {"crf": str(self._quality), "preset": _PRESET}
        self._stream = stream = self._container.add_stream(_CODEC, rate=self._rate, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        context = stream.codec_context
        stream.time_base = context.time_base = self._ticks
        context.thread_count = self._threads
        colors = _BT709 if _high_definition(width, height) else _BT601
        context.colorspace = context.color_primaries = context.color_trc = colors
        context.color_range = _LIMITED
        self.sound.open(self._container)

    def _mux(self, picture: Any) -> None:
        for packet in self._stream.encode(picture):
            self._container.mux(packet)


class _Sound:
    """The first sound track of a source on its way into another file."""

    def __init__(self, container: Any, streams: Any, begin: float) -> None:
        self._stream = streams[0] if streams else None
        self._packets = iter(container.demux(self._stream)) if streams else iter(())
        self._begin = begin
        self._held: Any = None
        self._out: Any = None
        self._into: Any = None
        self.how = "none"

    def open(self, into: Any) -> None:
        """Add the track to the new file."""
        import av

        if self._stream is None or self._stream.codec_context is None:
            return
        self._into = into
        if self._stream.codec_context.name in into.supported_codecs:
            with contextlib.suppress(ValueError, av.error.FFmpegError):  # the container has no way to mark it
                self._out, self.how = into.add_stream_from_template(self._stream), "copied"
                self._out.metadata.clear()
        if self._out is None:
            self._out, self.how = into.add_stream("aac", rate=self._stream.rate), "encoded"
            self._out.layout = "mono" if self._stream.channels == 1 else "stereo"

    def until(self, time: float | None) -> None:
        """Hand on what sounds until a time of the new file; None: all."""
        while self._out is not None:
            packet = self._held or self._next()
            if packet is None:
                if self.how == "encoded":
                    self._mux(self._out.encode(None))
                self._out = None
                return
            stamp = packet.pts if packet.pts is not None else packet.dts
            at = None if stamp is None else float(stamp * packet.time_base) - self._begin
            if time is not None and at is not None and at > time:
                self._held = packet
                return
            self._held = None
            if at is None or at < -_LEAD:
                continue  # it sounded before the first picture
            self._hand_on(packet)

    def _next(self) -> Any:
        import av

        try:
            return next((packet for packet in self._packets if packet.size), None)
        except (av.error.FFmpegError, OSError):  # cut off
            return None

    def _hand_on(self, packet: Any) -> None:
        import av

        shift = round(self._begin / packet.time_base)
        if self.how == "copied":
            packet.pts = None if packet.pts is None else packet.pts - shift
            packet.dts = None if packet.dts is None else packet.dts - shift
            packet.stream = self._out
            self._mux([packet])
            return
        with contextlib.suppress(av.error.FFmpegError, ValueError):  # a damaged packet is a moment of silence
            for samples in packet.decode():
                samples.pts = None if samples.pts is None else samples.pts - shift
                self._mux(self._out.encode(samples))

    def _mux(self, packets: Any) -> None:
        for packet in packets:
            self._into.mux(packet)


def _high_definition(width: int, height: int) -> bool:
    """Return whether colors are BT.709, and not BT.601: as readers take them where a file says nothing."""
    return width >= 1280 or height > 576


def _clock(source: str | os.PathLike[str]) -> tuple[float, Fraction]:
    """Return where the first frame stands on the source's clock, and a tick of it, where a file can have it so."""
    with opened_file(source) as container:
        decoder = Decoder(container, printable_path(source))
        next(decoder.pictures(), None)
        own = Fraction(decoder.tick or 1)
    fit = own.numerator == 1 and 10 <= own.denominator <= 1_000_000
    return decoder.begin or 0.0, own if fit else Fraction(1, _TICKS)

"""What the commands on video files share: options, following a file with progress, and where output may go."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from visavis.cli.options import Detection, Fpir, GalleryFile, Machine, Recognition
from visavis.cli.report import Report
from visavis.errors import InputError, StorageError

if TYPE_CHECKING:
    from datetime import datetime

    from visavis.gallery import Gallery
    from visavis.pipeline import Analyzer
    from visavis.video.recording import Progress, Recording

__all__ = [
    "Encoding",
    "Film",
    "Force",
    "Watching",
    "cores",
    "film_file",
    "free_file",
    "people_of",
    "problem_of",
    "progress",
]

Film = Annotated[str, typer.Argument(metavar="VIDEO", help="A video file.")]
Force = Annotated[bool, typer.Option("--force", help="Write over a file that is there already.")]


@dataclass(frozen=True)
class Encoding:
    """How a video is written."""

    quality: Annotated[
        int, typer.Option(metavar="0..51", help="The encoder's rate factor: lower is better and larger.", min=0, max=51)
    ] = 20
    mute: Annotated[bool, typer.Option("--mute", help="Leave the sound out.")] = False


@dataclass(frozen=True)
class Watching:
    """How a file is followed, and who its people are."""

    gallery: Annotated[
        str | None, typer.Option("--gallery", "-g", metavar="FILE", help="Name the people of this gallery.")
    ] = None
    collection: Annotated[str, typer.Option(metavar="NAME", help="Of the gallery.")] = "default"
    fpir: Fpir = None
    rotate: Annotated[
        str,
        typer.Option(
            metavar="0|90|180|270|auto",
            help="Degrees clockwise to turn frames beyond what the file says; auto finds out by the faces.",
        ),
    ] = "0"

    @contextlib.contextmanager
    def opened(self, models: Recognition, machine: Machine, report: Report) -> Iterator[Gallery | None]:
        """Open the gallery, if there is one."""
        if self.gallery is None:
            if self.fpir is not None:
                raise InputError("--fpir goes with --gallery")
            yield None
            return
        with GalleryFile(self.gallery, self.collection).open(models.analyzer(machine)) as people:
            if not len(people):
                report.warn(f"{self.gallery} holds nobody, so every face is unknown")
            yield people

    def record(
        self,
        path: str | Path,
        models: Detection,
        machine: Machine,
        people: Gallery | None,
        report: Report,
        *,
        every: float,
        share: float | None = None,
        looks: bool = False,
        start: datetime | None = None,
        label: str = "looking",
    ) -> Recording:
        """Follow a file with a progress bar.

        Parameters
        ----------
        share
            Faces are looked for from this share of the frame's shorter side on, where --min-face says nothing; None: as
            `visavis.video.following.smallest_face` has it.
        """
        from visavis.video.following import Following, smallest_face
        from visavis.video.frames import video
        from visavis.video.identity import Naming
        from visavis.video.recording import record

        info = video(path)
        if models.min_face is None:
            size = info.width, info.height
            models = replace(models, min_face=smallest_face(*size) if share is None else smallest_face(*size, share))
        analyzer = models.analyzer(machine)
        how = Following(naming=Naming(fpir=self.fpir) if self.fpir is not None else Naming())
        rotate = self._turn(path, analyzer)
        with progress(label, report) as say:
            return record(
                path, analyzer, people, how, every=every, rotate=rotate, start=start, looks=looks, progress=say
            )

    def _turn(self, path: str | Path, analyzer: Analyzer) -> int:
        if self.rotate == "auto":
            from visavis.video.orientation import orientation

            return orientation(path, analyzer).turned
        if self.rotate not in ("0", "90", "180", "270"):
            raise InputError(f"--rotate is 0, 90, 180, 270 or auto, not {self.rotate!r}")
        return int(self.rotate)


@contextlib.contextmanager
def progress(what: str, report: Report) -> Iterator[Progress | None]:
    """Show on stderr, where that is a terminal, how much of a video is done and how long the rest will take."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich import progress as bars
    from rich.console import Console

    bar = bars.Progress(
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.TextColumn("{task.fields[at]}"),
        bars.TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,  # it would move the results to stderr
    )
    with bar, report.beside(bar.console):
        from visavis.video.sheet import clock

        task = bar.add_task(what, total=None, at="")

        def say(done: float, length: float | None) -> None:
            whole = "" if length is None else f" of {clock(length)}"
            bar.update(task, completed=done, total=length, at=f"{clock(done)}{whole}")

        yield say


def cores(machine: Machine) -> int:
    """Return how many cores to encode with."""
    from visavis.models.session import EngineOptions

    return EngineOptions.choose(threads=machine.threads).threads


def film_file(given: str) -> Path:
    """Return the path of a video; PyAV missing, or nothing there, is told before anything is loaded."""
    from visavis.video.frames import find_videos, require_library

    require_library()
    path = Path(given).expanduser()
    if path.is_dir():
        raise InputError(f"{given} is a folder; give one video file")
    return find_videos([given])[0]


def free_file(path: Path, kind: str, force: bool, given: Sequence[Path] = (), suffixes: Sequence[str] = ()) -> Path:
    """Return where a file may be written, made sure of before the work.

    Raises
    ------
    InputError
        If it is one of the files given, has none of the suffixes, or is there already and ``force`` is not given.
    StorageError
        If its folder is missing or can't be written.
    """
    from visavis.cli.pictures import writable_folder

    path = path.expanduser()
    if any(path.exists() and one.exists() and path.samefile(one) for one in given):
        raise InputError(f"{kind} {path} is the video itself; choose another name")
    if path.is_dir():
        raise StorageError(f"{kind} {path} is a folder; give a file")
    if suffixes and path.suffix.lower() not in suffixes:
        raise InputError(f"{kind} {path} must end in {', '.join(suffixes)}, which says its kind")
    if path.exists() and not force:
        raise InputError(f"{kind} {path} is there already; give --force to write over it")
    if not path.parent.is_dir():
        raise StorageError(f"{kind} {path} can't be written: its folder is missing; make it first")
    writable_folder(path.parent)
    return path


def people_of(recording: Recording) -> list[dict[str, Any]]:
    """Return for programs who is in a recording: a person once, and each track without a name."""
    from visavis.video.sheet import appearances

    return [
        {
            "subject": one.subject,
            "known": one.known,
            "tracks": list(one.tracks),
            "first_s": round(one.first, 3),
            "last_s": round(one.last, 3),
        }
        for one in appearances(recording)
    ]


def problem_of(recording: Recording, report: Report) -> int:
    """Say what kept a file from being read to its end; return the exit code."""
    if recording.problem is None:
        return 0
    report.say(f"cut short: {recording.problem}")
    return 1

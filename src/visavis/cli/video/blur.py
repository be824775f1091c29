"""``visavis video blur``: faces covered, for publishing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from visavis.cli.faces import counted
from visavis.cli.options import Detection, Json, Machine, Recognition, unpacked
from visavis.cli.report import Report
from visavis.cli.video.reading import Encoding, Film, Force, Watching, cores, film_file, free_file, problem_of, progress
from visavis.errors import InputError

if TYPE_CHECKING:
    from visavis.gallery import Gallery
    from visavis.video.blurring import Whom

__all__ = ["blur"]

_SHARE = 48.0  # of the frame's height: smaller faces than for naming
_SCORE = 0.4  # lower than for naming: rather a wall covered than a face shown


@unpacked
def blur(
    file: Film,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The new video: .mp4, .mov or .mkv.")],
    everybody: Annotated[bool, typer.Option("--all", help="Cover every face; so without an option.")] = False,
    unknown: Annotated[bool, typer.Option("--unknown", help="Cover who is nobody of --gallery.")] = False,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="NAME", help="Cover this person alone; repeatable.")
    ] = None,
    all_but: Annotated[
        list[str] | None, typer.Option("--all-but", metavar="NAME", help="Cover all but this person; repeatable.")
    ] = None,
    method: Annotated[
        str, typer.Option(metavar="NAME", help="pixelate, blur or solid: gray, which leaves nothing.")
    ] = "pixelate",
    force: Force = False,
    as_json: Json = False,
    *,
    watching: Watching,
    encoding: Encoding,
    models: Recognition,
    machine: Machine,
) -> None:
    """Cover the faces in a video, for publishing.

    Every frame is looked at. A face is covered where it is found, on its way between two sightings, and half a second
    before the first and after the last. Titles, places and other notes in the file are left behind. No detector finds
    every face: watch the video before you publish it.

    Needs the package av: pip install 'visavis[video]'.

    Exit code: 0 all fine, 1 the video was cut off, 2 error.

    \b
    Examples:
      visavis video blur a.mp4 --out b.mp4
      visavis video blur a.mp4 --out b.mp4 --method solid
      visavis video blur a.mp4 --out b.mp4 -g people.db \\
        --all-but ada --all-but bob --mute
    """
    from visavis.video.blurring import METHODS, blur_video
    from visavis.video.rendering import OUTPUT_SUFFIXES

    with Report("video blur", as_json=as_json) as report:
        if method not in METHODS:
            raise InputError(f"--method is one of {', '.join(METHODS)}, not {method!r}")
        whom = _whom(everybody, unknown, only or (), all_but or (), watching.gallery)
        path = film_file(file)
        target = free_file(out, "--out", force, [path], OUTPUT_SUFFIXES)
        models = replace(models, score=_SCORE) if models.score is None else models
        finding: Detection = models
        if whom.kind == "all" and watching.gallery is None:  # nobody needs to be told from anybody
            finding = Detection(**{field.name: getattr(models, field.name) for field in fields(Detection)})
        with watching.opened(models, machine, report) as people:
            _require_enrolled(whom, people)
            recording = watching.record(
                path, finding, machine, people, report, every=0.0, share=_SHARE, label="looking for faces"
            )
        with progress("writing", report) as say:
            made = blur_video(
                recording,
                target,
                whom,
                method=method,
                quality=encoding.quality,
                sound=not encoding.mute,
                threads=cores(machine),
                progress=say,
            )
        for name in sorted(set(whom.names) - set(recording.subjects)):
            report.warn(f"{name!r} was not recognized in {path.name}; look whether the right faces are covered")
        report.fields(
            video=str(path),
            out=str(target),
            whom=whom.kind,
            names=list(whom.names),
            method=method,
            frames=made.rendered.frames,
            covered_frames=made.frames,
            bridged_frames=made.bridged,
            tracks=made.tracks,
            single=made.single,
            shown=list(made.shown),
            sound=made.rendered.sound,
            problem=recording.problem,
        )
        report.line(
            f"{target}: {counted(made.tracks, 'track')} and {counted(made.single, 'single sighting')} covered in "
            f"{made.frames:,} of {counted(made.rendered.frames, 'frame')}; in {made.bridged:,} a face was covered "
            "that was found only before or after"
        )
        if not len(recording):
            report.warn(f"no face was found in {path.name}: it was written as it is")
        code = problem_of(recording, report)
    raise typer.Exit(code)


def _whom(everybody: bool, unknown: bool, only: Sequence[str], all_but: Sequence[str], gallery: str | None) -> Whom:
    from visavis.video.blurring import Whom

    if everybody + unknown + bool(only) + bool(all_but) > 1:
        raise InputError("--all, --unknown, --only and --all-but exclude each other: give one")
    if (unknown or only or all_but) and gallery is None:
        raise InputError("--unknown, --only and --all-but need to know who is who: give --gallery")
    if unknown:
        return Whom("unknown")
    if only or all_but:
        return Whom("only" if only else "all_but", tuple(dict.fromkeys([*only, *all_but])))
    return Whom()


def _require_enrolled(whom: Whom, people: Gallery | None) -> None:
    for name in whom.names:
        if people is not None and name not in people:
            import difflib

            near = difflib.get_close_matches(name, [subject.name for subject in people.list()], 1)
            raise InputError(f"nobody is enrolled as {name!r}{f'; did you mean {near[0]!r}?' if near else ''}")

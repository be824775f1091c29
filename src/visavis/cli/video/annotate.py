"""``visavis video annotate``: boxes and names drawn into a video."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visavis.cli.faces import counted
from visavis.cli.options import Json, Machine, Recognition, unpacked
from visavis.cli.report import Report
from visavis.cli.video.reading import (
    Encoding,
    Film,
    Force,
    Watching,
    cores,
    film_file,
    free_file,
    people_of,
    problem_of,
    progress,
)

__all__ = ["annotate"]


@unpacked
def annotate(
    file: Film,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The new video: .mp4, .mov or .mkv.")],
    every: Annotated[
        float, typer.Option(metavar="SECONDS", help="Look for faces so often; 0: in each frame.", min=0)
    ] = 0.0,
    scale: Annotated[float, typer.Option(metavar="X", help="Of lettering and lines.", min=0.25, max=8)] = 1.0,
    force: Force = False,
    as_json: Json = False,
    *,
    watching: Watching,
    encoding: Encoding,
    models: Recognition,
    machine: Machine,
) -> None:
    """Draw boxes and names into a video.

    The video is gone through twice, so that a name stands at a face from the first frame of its track on. The new one
    is H.264 with the time stamps of the old one, upright, with its sound; it appears under its name when it is whole.

    Needs the package av: pip install 'visavis[video]'.

    Exit code: 0 all fine, 1 the video was cut off, 2 error.

    \b
    Examples:
      visavis video annotate a.mp4 --out b.mp4
      visavis video annotate a.mp4 --out b.mp4 -g people.db
    """
    from visavis.video.rendering import OUTPUT_SUFFIXES, annotate_video

    with Report("video annotate", as_json=as_json, items="people") as report:
        path = film_file(file)
        target = free_file(out, "--out", force, [path], OUTPUT_SUFFIXES)
        with watching.opened(models, machine, report) as people:
            recording = watching.record(path, models, machine, people, report, every=every, label="looking for faces")
        with progress("writing", report) as say:
            made = annotate_video(
                recording,
                target,
                quality=encoding.quality,
                sound=not encoding.mute,
                scale=scale,
                threads=cores(machine),
                progress=say,
            )
        report.fields(
            video=str(path),
            out=str(target),
            frames=made.frames,
            seconds=round(made.seconds, 3),
            width=made.width,
            height=made.height,
            sound=made.sound,
            problem=recording.problem,
        )
        for item in people_of(recording):
            report.item(item)
        named = ", ".join(recording.subjects)
        report.line(
            f"{target}: {counted(made.frames, 'frame')}, {counted(len(recording.people), 'track')}"
            f"{f', {named}' if named else ''}"
        )
        code = problem_of(recording, report)
    raise typer.Exit(code)

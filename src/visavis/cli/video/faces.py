"""``visavis video faces``: the people of a video on one picture, and a picture of each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visavis.cli.faces import counted
from visavis.cli.options import Json, Machine, Recognition, unpacked
from visavis.cli.report import Column, Report
from visavis.cli.video.reading import Film, Force, Watching, film_file, free_file, problem_of
from visavis.errors import InputError

__all__ = ["faces"]

_SHEETS = (".png", ".jpg", ".jpeg", ".webp")


@unpacked
def faces(
    file: Film,
    out: Annotated[
        Path,
        typer.Option(
            "--out", metavar="FILE|DIR", help="The sheet, as people.png; or a folder for it and a picture of each."
        ),
    ],
    every: Annotated[
        float, typer.Option(metavar="SECONDS", help="Look for faces so often; 0: in each frame.", min=0)
    ] = 0.1,
    per_track: Annotated[
        bool, typer.Option("--per-track", help="Show each track of a person, not the best alone.")
    ] = False,
    side: Annotated[int, typer.Option(metavar="PIXELS", help="Of a picture on the sheet.", min=32, max=256)] = 200,
    force: Force = False,
    as_json: Json = False,
    *,
    watching: Watching,
    models: Recognition,
    machine: Machine,
) -> None:
    """Show the people of a video on one picture.

    The best picture of each person, and of each track without a name, with when it was first and last seen. With a
    folder as --out each picture is also written on its own.

    Needs the package av: pip install 'visavis[video]'.

    Exit code: 0 all fine, 1 the video was cut off, 2 error.

    \b
    Examples:
      visavis video faces a.mp4 --out people.png
      visavis video faces a.mp4 --out people/ -g people.db
    """
    from visavis.cli.pictures import writable_folder

    columns = [Column("who"), Column("from", 8, right=True), Column("to", 8, right=True)]
    columns += [Column("tracks", 6, right=True), Column("picture", keep="end")]
    with Report("video faces", as_json=as_json, columns=columns, items="people") as report:
        path = film_file(file)
        alone = out.suffix.lower() in _SHEETS and not out.is_dir()
        sheet = free_file(out, "--out", force, [path]) if alone else writable_folder(out) / "people.png"
        if not alone:
            free_file(sheet, "--out", force, [path])
        with watching.opened(models, machine, report) as people:
            recording = watching.record(path, models, machine, people, report, every=every, looks=True)
        from visavis.image import save_image
        from visavis.models.durable import write_whole
        from visavis.video.sheet import appearances, clock, contact_sheet, names_of

        found = appearances(recording, per_track=per_track)
        if not found:
            raise InputError(
                f"no face was followed in {path.name}; look more often with --every 0, or for smaller ones"
            )
        title = f"{path.name}: {counted(len(found), 'face')}, {clock(recording.seconds)}"
        save_image(sheet, contact_sheet(found, title=title, side=side))
        report.fields(video=str(path), out=str(out), sheet=str(sheet), problem=recording.problem)
        for number, (one, who) in enumerate(zip(found, names_of(found), strict=True), 1):
            picture = None
            if one.look is not None and not alone:
                picture = out / f"{number:04d}.jpg"
                write_whole(picture, one.look.jpeg)
            item = {
                "subject": one.subject,
                "known": one.known,
                "tracks": list(one.tracks),
                "first_s": round(one.first, 3),
                "last_s": round(one.last, 3),
                "picture": None if picture is None else str(picture),
                "picture_s": None if one.look is None else round(one.look.time, 3),
            }
            tracks = str(len(one.tracks))
            report.row(who, clock(one.first), clock(one.last), tracks, picture.name if picture else "", item=item)
        report.note(f"{sheet} shows them")
        code = problem_of(recording, report)
    raise typer.Exit(code)

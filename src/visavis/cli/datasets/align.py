"""``visavis datasets align``: raw photos to aligned crops."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from visavis.cli.faces import counted
from visavis.cli.options import Json, Machine, unpacked
from visavis.cli.report import Column, Report
from visavis.errors import ImageError
from visavis.files import find_images

__all__ = ["align"]


@unpacked
def align(
    photos: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of photos, with or without sub-folders.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the crops go.")],
    size: Annotated[str, typer.Option(metavar="HxW", help="Height and width of the crops, as 112x96.")] = "112x112",
    way: Annotated[
        str, typer.Option(metavar="WAY", help="points: turned upright by five landmarks; box: as FaceNet.")
    ] = "points",
    margin: Annotated[
        str, typer.Option(metavar="SHARE|PX", help="Shown around the face: 0.2 or 20% of it, or 32px of the crop.")
    ] = "0",
    face: Annotated[
        str, typer.Option(metavar="WHICH", help="largest, central, only, all, or person: the one a folder shares.")
    ] = "largest",
    min_face: Annotated[float, typer.Option(metavar="PIXELS", help="Least height of a face.", min=0)] = 0,
    min_sharpness: Annotated[float, typer.Option(metavar="0..1", help="Least sharpness.", min=0, max=1)] = 0,
    max_yaw: Annotated[float, typer.Option(metavar="DEGREES", help="Most turn to a side.", min=0, max=90)] = 90,
    max_pitch: Annotated[float, typer.Option(metavar="DEGREES", help="Most nod.", min=0, max=90)] = 90,
    written_as: Annotated[str, typer.Option("--format", metavar="NAME", help="jpg or png.")] = "jpg",
    quality: Annotated[int, typer.Option(metavar="1..100", help="Of JPEG files.", min=1, max=100)] = 95,
    detector: Annotated[str, typer.Option(metavar="MODEL", help="Model that finds faces.")] = "yunet",
    score: Annotated[
        float | None, typer.Option(metavar="0..1", help="Least detector score of a face.", min=0, max=1)
    ] = None,
    recognizer: Annotated[
        str, typer.Option(metavar="MODEL", help="Model that tells the person, for --face person.")
    ] = "sface",
    as_json: Json = False,
    *,
    machine: Machine,
) -> None:
    """Cut aligned faces out of photos, on all cores.

    The crops lie as the photos do, and manifest.jsonl beside them says what became of each photo and why. Run it again
    after it was ended, in whatever way: it goes on where it was. Photos are never changed.

    Exit code: 0 all fine, 1 some photos could not be read, 2 error.

    \b
    Examples:
      visavis datasets align photos/ --out crops/
      visavis datasets align photos/ --out crops/ \\
        --size 112x96 --face central
      visavis datasets align photos/ --out crops/ --size 160 \\
        --way box --margin 32px
      visavis datasets align photos/ --out crops/ \\
        --min-face 60 --min-sharpness 0.33 --max-yaw 45
    """
    from visavis.analysis.quality import QualityGate
    from visavis.curation.alignment import MANIFEST, Recipe, align_folder
    from visavis.curation.crops import CropShape
    from visavis.models.session import EngineOptions

    recipe = Recipe(
        shape=CropShape.of(size, way, margin),
        face=face,  # type: ignore[arg-type]
        min_face=min_face,
        gate=QualityGate(0, min_sharpness, max_yaw, max_pitch),
        suffix=f".{written_as.lower().removeprefix('.').replace('jpeg', 'jpg')}",
        quality=quality,
        detector=detector,
        score=score,
        recognizer=recognizer,
    )
    options = EngineOptions.choose(
        engine=machine.engine, device=machine.device, precision=machine.precision, threads=machine.threads
    )
    columns = [Column("left out because", keep="start"), Column("photos", 8, right=True)]
    with Report("datasets align", as_json=as_json, columns=columns, items="unreadable") as report:
        crops = kept = 0
        why: Counter[str] = Counter()
        work = align_folder(photos, out, recipe, options=options)
        for row, fresh in report.track(work, lambda: sum(1 for _ in find_images([photos])), "aligning"):
            kept += not fresh
            if row["error"] is not None:
                report.skip(row["source"], ImageError(row["error"]))
                continue
            made = sum(bool(found.get("crop")) for found in row["faces"])
            crops += made
            if not made:
                why[_why(row)] += 1
        report.fields(
            out=str(out),
            manifest=str(out / MANIFEST),
            photos=report.done,
            crops=crops,
            kept=kept,
            left_out=dict(why.most_common()),
        )
        for reason, number in why.most_common():
            report.row(reason, f"{number:,}")
        again = f", {kept:,} of them by an earlier run" if kept else ""
        report.note(f"{counted(crops, 'crop')} of {counted(report.done, 'photo')}{again}: {out}")
        code = report.end()
    raise typer.Exit(code)


def _why(row: dict[str, Any]) -> str:
    """Return why a photo gave no crop, without its own numbers."""
    reasons = [found["left_out"] for found in row["faces"] if found.get("left_out")]
    told = [reason for reason in reasons if reason != "another face was taken"] or reasons
    return told[0].partition(":")[0] if told else "no face was found"

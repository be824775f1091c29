"""``visavis datasets split``: training, validation and test by person."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from visavis.cli.faces import counted
from visavis.cli.labeled import opened
from visavis.cli.options import Json
from visavis.cli.report import Column, Report
from visavis.errors import InputError

if TYPE_CHECKING:
    from visavis.datasets.photos import PhotoSet
    from visavis.datasets.placing import Source

__all__ = ["split"]


def split(
    data: Annotated[str, typer.Argument(metavar="DIR", help="A folder a person, or a data set in LFW's layout.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="A new folder, with a sub-folder a part.")],
    parts: Annotated[
        str, typer.Option(metavar="NAME=SHARE,...", help="The parts and their shares of the people.")
    ] = "train=0.8,validation=0.1,test=0.1",
    lists: Annotated[bool, typer.Option("--lists", help="Write a list of paths a part instead of photos.")] = False,
    copies: Annotated[bool, typer.Option("--copy", help="Copy photos instead of hard links.")] = False,
    at_least: Annotated[int, typer.Option(metavar="N", help="Leave out people with fewer photos.", min=1)] = 1,
    at_most: Annotated[int | None, typer.Option(metavar="N", help="Draw so many of people with more.", min=1)] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Decides what is drawn.", min=0)] = 0,
    faces: Annotated[
        float | None,
        typer.Option(
            "--same-face", metavar="FMR", help="Also keep together people whose photos match at this rate, as 1e-6."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Split a data set by person: nobody is in two parts.

    Kept together are also names that are spellings of one (case, accents, word order), and people with the same file.
    Each part gets its share of people with few photos and with many. The same seed gives the same split.

    Exit code: 0 all fine, 2 error.

    \b
    Examples:
      visavis datasets split crops/ --out split/
      visavis datasets split crops/ --out lists/ --lists \\
        --parts train=0.7,test=0.3
      visavis datasets split crops/ --out split/ \\
        --at-least 5 --at-most 50 --seed 7
    """
    from visavis.datasets.placing import photo_files, place_files
    from visavis.datasets.splits import same_files, same_people, split_people

    shares = _shares(parts)
    columns = [Column("part"), Column("people", 8, right=True), Column("photos", 9, right=True)]
    with Report("datasets split", as_json=as_json, columns=columns, items="parts") as report:
        photos = opened(report, data)
        people = photos.people
        same = [*same_people(people), *same_files(photos)]
        if faces is not None:
            same += _same_faces(photos, faces)
        made = split_people(
            people, shares, seed=seed, at_least=at_least, at_most=at_most, same=same, photos=photos.photos
        )
        files = photo_files(photos)
        settings = {"seed": seed, "shares": shares, "at_least": at_least, "at_most": at_most, "same_face_fmr": faces}
        texts = {"split.json": json.dumps({**settings, "together": made.together}, indent=1) + "\n"}
        placed: list[tuple[Source, str]] = []
        for part, rows in made.parts.items():
            if lists:
                texts[f"{part}.txt"] = "".join(f"{files[i][1]}\n" for i in rows.tolist())
            else:
                placed += [(files[i][0], f"{part}/{files[i][1]}") for i in rows.tolist()]
        copied = place_files(placed, out, link=not copies, texts=texts)
        for part, rows in made.parts.items():
            inside = len({people[i] for i in rows.tolist()})
            item = {"part": part, "people": inside, "photos": len(rows)}
            report.row(part, f"{inside:,}", f"{len(rows):,}", item=item)
        for names in made.together:
            report.warn(f"kept together, as they may be one person: {', '.join(names)}")
        left_out = len(made.left_out)
        report.fields(**settings, out=str(out), left_out=left_out, copied_bytes=copied, together=made.together)
        if left_out:
            report.note(f"{counted(left_out, 'photo')} left out by --at-least and --at-most")
        code = report.end()
    raise typer.Exit(code)


def _shares(text: str) -> dict[str, float]:
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, equals, share = part.strip().partition("=")
        try:
            value = float(share)
        except ValueError:
            equals = ""
            value = 0.0
        if not equals or not name or name in shares or not name.replace("-", "").replace("_", "").isalnum():
            raise InputError(f"--parts are NAME=SHARE with commas between, as train=0.8,test=0.2, not {text!r}")
        shares[name] = value
    return shares


def _same_faces(photos: PhotoSet, fmr: float) -> list[tuple[str, str]]:
    """Return pairs of people whose photos reach the threshold of an FMR, at the mean over their photos."""
    from visavis.cli.models import under_way
    from visavis.curation.cleaning import alike_people
    from visavis.pipeline import Analyzer
    from visavis.protocols.embedding import embed_photos
    from visavis.recognition.compare import operating_point

    analyzer = Analyzer()
    threshold = operating_point(analyzer.calibration, fmr=fmr, model=analyzer.calibrated_as).threshold
    with under_way() as say:
        made = embed_photos(photos, analyzer, say=say)
    return [(a, b) for a, b, _ in alike_people(photos.people, made.vectors, made.found, threshold)]

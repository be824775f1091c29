"""``visavis datasets pairs``: pairs of photos to compare, as LFW's pairs.txt."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visavis.cli.labeled import opened
from visavis.cli.options import Json
from visavis.cli.report import Report
from visavis.errors import InputError, StorageError
from visavis.files import reason

__all__ = ["pairs"]


def pairs(
    data: Annotated[str, typer.Argument(metavar="DIR", help="A folder a person, or a data set in LFW's layout.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The list, as pairs.txt.")],
    folds: Annotated[int, typer.Option(metavar="N", help="How many folds.", min=1)] = 10,
    each: Annotated[int, typer.Option(metavar="N", help="Mated pairs, and non-mated ones, in a fold.", min=1)] = 300,
    seed: Annotated[int, typer.Option(metavar="N", help="Decides what is drawn.", min=0)] = 0,
    shared: Annotated[bool, typer.Option("--shared", help="Let people be in several folds.")] = False,
    layout: Annotated[
        str, typer.Option(metavar="NAME", help="lfw, list (PHOTO PHOTO 0|1 FOLD), or auto: lfw where names allow.")
    ] = "auto",
    as_json: Json = False,
) -> None:
    """Draw mated and non-mated pairs, in person-disjoint folds.

    Written as LFW's pairs.txt where photos are named NAME/NAME_0001.jpg, else as a list of paths. The same seed gives
    the same pairs. Where there are too few people or photos, the error says how many pairs there can be.

    Exit code: 0 all fine, 2 error.

    \b
    Examples:
      visavis datasets pairs lfw/ --out pairs.txt
      visavis datasets pairs crops/ --out pairs.txt \\
        --folds 5 --each 100 --seed 7
    """
    from visavis.datasets.pairs import fits_lfw, lfw_text, list_text, make_pairs
    from visavis.datasets.photos import PeopleFolder
    from visavis.models.durable import write_whole

    if layout not in ("auto", "lfw", "list"):
        raise InputError(f"--layout is auto, lfw or list, not {layout!r}")
    with Report("datasets pairs", as_json=as_json) as report:
        photos = opened(report, data)
        made = make_pairs(photos.people, folds=folds, each=each, seed=seed, disjoint=not shared)
        fits = fits_lfw(photos.photos, photos.people) and not isinstance(photos, PeopleFolder)
        as_lfw = layout == "lfw" or (layout == "auto" and fits)
        text = lfw_text(made, photos.photos, photos.people) if as_lfw else list_text(made, photos.photos)
        try:
            write_whole(out, text.encode("utf-8", "surrogateescape"))
        except OSError as error:
            raise StorageError(f"{out} can't be written: {reason(error)}; choose another --out") from None
        used = {photos.people[i] for i in made.photos.ravel().tolist()}
        report.fields(
            out=str(out),
            layout="lfw" if as_lfw else "list",
            folds=folds,
            each=each,
            seed=seed,
            disjoint=not shared,
            pairs=len(made),
            people=len(used),
        )
        report.facts(
            [
                ("pairs", f"{len(made):,}: {folds} x {each:,} mated and as many non-mated"),
                ("people", f"{len(used):,}"),
                ("layout", "LFW's pairs.txt" if as_lfw else "a plain list of paths"),
                ("written", str(out)),
            ]
        )

"""``visavis datasets clean``: label noise found, listed, and left out of a copy."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from visavis.cli.faces import counted
from visavis.cli.labeled import opened
from visavis.cli.models import under_way
from visavis.cli.options import Json, Machine, Recognition, ReportFile, unpacked
from visavis.cli.report import Column, Report
from visavis.errors import InputError

if TYPE_CHECKING:
    from visavis.curation.cleaning import Suspect
    from visavis.curation.inspection import Inspected
    from visavis.datasets.photos import PhotoSet
    from visavis.pipeline import Analyzer

__all__ = ["clean"]


@unpacked
def clean(
    data: Annotated[str, typer.Argument(metavar="DIR", help="A folder a person, or a data set in LFW's layout.")],
    listing: Annotated[Path | None, typer.Option("--list", metavar="FILE.csv", help="Write the list here.")] = None,
    apply: Annotated[
        Path | None, typer.Option("--apply", metavar="FILE.csv", help="Make a cleaned copy by this list; needs --out.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="A new folder for the copy.")] = None,
    copies: Annotated[bool, typer.Option("--copy", help="With --apply: copy photos instead of hard links.")] = False,
    face: Annotated[
        str, typer.Option(metavar="WHICH", help="largest or central; aligned: photos are aligned crops.")
    ] = "largest",
    apart: Annotated[
        float | None, typer.Option(metavar="SIMILARITY", help="To the folder, below which a photo is suspect.")
    ] = None,
    same: Annotated[
        float | None, typer.Option(metavar="SIMILARITY", help="Of two folders from which they are one person.")
    ] = None,
    no_duplicates: Annotated[bool, typer.Option("--no-duplicates", help="Don't look for duplicate photos.")] = False,
    report_file: ReportFile = None,
    as_json: Json = False,
    *,
    models: Recognition,
    machine: Machine,
) -> None:
    """Find wrong labels, duplicates and photos without a face.

    Photos in the wrong folder, people in two folders, duplicates, and photos without one clear face.

    Nothing is changed. The list says of each suspect why, how sure, and what to do: remove, move to another folder,
    merge two folders, or look. Delete the lines you don't agree with, then --apply makes a cleaned copy.

    Needs for duplicates: pip install 'visavis[datasets]'; for --report: pip install 'visavis[evaluate]'.

    Exit code: 0 all fine (whether or not any were found), 2 error.

    \b
    Examples:
      visavis datasets clean photos/ --list suspects.csv \\
        --report suspects.html
      visavis datasets clean crops/ --face aligned \\
        --list suspects.csv
      visavis datasets clean photos/ --apply suspects.csv \\
        --out cleaned/
    """
    if (apply is None) != (out is None):
        raise InputError("--apply and --out go together: a list, and the new folder it makes")
    if apply is not None and (listing is not None or report_file is not None):
        raise InputError("--apply makes a copy; --list and --report belong to a run before it")
    if face not in ("largest", "central", "aligned"):
        raise InputError(f"--face is largest, central or aligned, not {face!r}")
    if apply is not None and out is not None:
        _copy(data, apply, out, link=not copies, as_json=as_json)
        return
    columns = [
        Column("suggestion", 10),
        Column("photo or person", keep="end"),
        Column("reason", 17),
        Column("similarity", 10, right=True),
        Column("target", keep="end"),
    ]
    with Report("datasets clean", as_json=as_json, columns=columns, items="suspects") as report:
        if report_file is not None:
            from visavis.reporting.page import require_target

            require_target(report_file)
        photos = opened(report, data)
        found = _Search(photos, models.analyzer(machine), face, apart, same, duplicates=not no_duplicates)
        suspects = found.suspects
        for suspect in suspects:
            similarity = "" if suspect.similarity is None else f"{suspect.similarity:.3f}"
            name = suspect.photo or suspect.person
            report.row(suspect.suggestion, name, suspect.reason, similarity, suspect.target, item=asdict(suspect))
        report.fields(**found.settings, photos=len(photos.photos), counts=dict(Counter(s.reason for s in suspects)))
        if listing is not None:
            from visavis.curation.suspects import write_suspects

            write_suspects(listing, suspects)
            report.fields(list=str(listing))
        if report_file is not None:
            from visavis.curation.cleaning_page import cleaning_document
            from visavis.reporting import page

            facts = [(name, str(value)) for name, value in found.settings.items()]
            page.write(cleaning_document(Path(data).name, found.seen, suspects, found.known, facts), report_file)
            report.fields(report=str(report_file))
        report.note(f"{counted(len(suspects), 'suspect')} among {counted(len(photos.photos), 'photo')}")


class _Search:
    """The suspects of a data set, by every way of finding them."""

    def __init__(
        self,
        photos: PhotoSet,
        analyzer: Analyzer,
        face: Any,
        apart: float | None,
        same: float | None,
        *,
        duplicates: bool,
    ) -> None:
        from visavis.curation.cleaning import APART_FMR, SAME_FMR, find_suspects
        from visavis.curation.duplicates import duplicate_suspects, require_library, unclear_suspects
        from visavis.curation.inspection import inspect_photos
        from visavis.recognition.compare import DEFAULT_FMR, operating_point

        def level(fmr: float, given: float | None) -> float:
            rate = fmr if given is None else None
            model = analyzer.calibrated_as
            return operating_point(analyzer.calibration, fmr=rate, threshold=given, model=model).threshold

        levels = {
            "apart": level(APART_FMR, apart),
            "same": level(SAME_FMR, same),
            "match": level(DEFAULT_FMR, None if apart is None or same is None else (apart + same) / 2),
        }
        if duplicates:
            require_library()
        with under_way() as say:
            self.seen: Inspected = inspect_photos(photos, analyzer, face=face, say=say)
            seen = self.seen
            by_face, self.known = find_suspects(
                photos.photos, photos.people, seen.vectors, seen.found, say=say, **levels
            )
            unclear = unclear_suspects(seen, self.known, levels["apart"])
            self.suspects: list[Suspect] = [*by_face, *unclear]
            if duplicates:
                self.suspects += duplicate_suspects(self.seen, self.known, say=say)
        self.settings: dict[str, Any] = {"model": analyzer.calibrated_as, "face": face, **levels}


def _copy(data: str, listing: Path, out: Path, *, link: bool, as_json: bool) -> None:
    from visavis.curation.suspects import apply_suspects, read_suspects

    with Report("datasets clean", as_json=as_json) as report:
        done = apply_suspects(opened(report, data), read_suspects(listing), out, link=link)
        report.fields(out=str(out), **done)
        report.facts([(name.replace("_", " "), f"{number:,}") for name, number in done.items()])

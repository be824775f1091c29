"""``visavis datasets statistics``: what a data set holds, in numbers and on a page with pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visavis.cli.labeled import opened
from visavis.cli.models import under_way
from visavis.cli.options import Detection, Json, Machine, ReportFile, unpacked
from visavis.cli.report import Report
from visavis.errors import InputError

__all__ = ["statistics"]


@unpacked
def statistics(
    data: Annotated[str, typer.Argument(metavar="DIR", help="A folder a person, or a data set in LFW's layout.")],
    face: Annotated[
        str, typer.Option(metavar="WHICH", help="largest or central; aligned: photos are aligned crops.")
    ] = "largest",
    no_duplicates: Annotated[bool, typer.Option("--no-duplicates", help="Don't look for duplicate photos.")] = False,
    report_file: ReportFile = None,
    as_json: Json = False,
    *,
    models: Detection,
    machine: Machine,
) -> None:
    """Count photos and people, and measure their faces.

    How many photos of how many people there are, how large and sharp the faces are, and how turned.

    With --report, a page with distributions, examples at both ends and the average face.

    Needs for duplicates: pip install 'visavis[datasets]'; for --report: pip install 'visavis[evaluate]'.

    Exit code: 0 all fine, 2 error.

    \b
    Examples:
      visavis datasets statistics photos/
      visavis datasets statistics crops/ --face aligned \\
        --report statistics.html
    """
    from visavis.curation.inspection import inspect_photos
    from visavis.curation.statistics import MEASURES, statistics_document, statistics_of

    if face not in ("largest", "central", "aligned"):
        raise InputError(f"--face is largest, central or aligned, not {face!r}")
    with Report("datasets statistics", as_json=as_json) as report:
        if report_file is not None:
            from visavis.reporting.page import require_target

            require_target(report_file)
        photos = opened(report, data)
        analyzer = models.analyzer(machine)
        if not no_duplicates:
            from visavis.curation.duplicates import count_duplicates, require_library

            require_library()
        with under_way() as say:
            seen = inspect_photos(photos, analyzer, face=face, say=say)  # type: ignore[arg-type]
            spare = None if no_duplicates else count_duplicates(seen, say=say)
        found = statistics_of(seen, spare)
        report.fields(**found.to_dict())
        several = int((found.per_person > 1).sum())
        report.facts(
            [
                ("photos", f"{found.photos:,}"),
                ("people", f"{found.people:,}, {several:,} of them with two photos or more"),
                ("can't be read", f"{found.unreadable:,}"),
                ("without a face", f"{found.without_face:,}"),
                ("several faces", f"{found.several_faces:,}"),
                ("duplicates", "not looked" if spare is None else f"{spare:,}"),
            ]
        )
        told = found.to_dict()["measures"]
        report.facts(
            [
                (measure.title.lower(), f"{marks['p50']:.3g} ({marks['p5']:.3g} to {marks['p95']:.3g}) {measure.unit}")
                for measure in MEASURES
                if (marks := told[measure.name])["measured"]
            ]
        )
        if report_file is not None:
            from visavis.reporting import page

            facts = [("detector", models.detector), ("face", face)]
            page.write(statistics_document(Path(data).name, seen, found, facts), report_file)
            report.fields(report=str(report_file))

"""``visavis evaluate identification``: is a probe's subject found among those enrolled, and are strangers refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from visavis.cli.faces import counted
from visavis.cli.facts import provenance
from visavis.cli.models import under_way
from visavis.cli.options import Json, Machine, Recognition, ReportFile, unpacked
from visavis.cli.report import Column, Report, rate
from visavis.errors import InputError

if TYPE_CHECKING:
    from visavis.evaluation.identification import OpenSet
    from visavis.evaluation.intervals import Estimate
    from visavis.protocols.embedding import Choice, Embedded
    from visavis.protocols.identification import Identification

__all__ = ["COLUMNS", "EmbeddingsFile", "brought", "identification", "shown", "warn_of_few"]

EmbeddingsFile = Annotated[
    Path | None,
    typer.Option("--embeddings", metavar="FILE.npz", help="Take embeddings from here (names, vectors); run no model."),
]
COLUMNS = (
    Column("what", 22),
    Column("at", 12),
    Column("threshold", 9, right=True),
    Column("share", 8, right=True),
    Column("95 % interval", 18, right=True),
)


@unpacked
def identification(
    data: Annotated[
        str,
        typer.Argument(metavar="DATA", help="LFW's layout (zip, folder, name in VISAVIS_DATA) or a folder a person."),
    ] = "lfw-dev",
    enroll: Annotated[int, typer.Option(metavar="N", help="Photos of a subject that are enrolled.", min=1)] = 1,
    strangers: Annotated[
        float,
        typer.Option(metavar="SHARE", help="People kept out of the gallery; 0: closed set only.", min=0, max=0.99),
    ] = 0.5,
    probes: Annotated[
        int | None, typer.Option(metavar="N", help="At most so many probes a person; 1: exact intervals.", min=1)
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Of the draw of people and photos.", min=0)] = 0,
    fusion: Annotated[Literal["max", "mean"], typer.Option(help="What counts of a subject's templates.")] = "max",
    fpir: Annotated[
        list[float] | None,
        typer.Option("--fpir", metavar="RATE", help="FPIR to look at; repeatable.", min=0, max=0.99),
    ] = None,
    embeddings: EmbeddingsFile = None,
    distractors: Annotated[
        Path | None,
        typer.Option("--distractors", metavar="FILE.npy", help="Vectors of other people, (n, d): read in blocks."),
    ] = None,
    page: ReportFile = None,
    as_json: Json = False,
    *,
    how: Recognition,
    machine: Machine,
) -> None:
    """Measure how well enrolled people are identified.

    Some people are enrolled, others kept out.

    People are dealt at random, the same way for the same seed. Photos of those enrolled that are not in the gallery
    are mated probes: at what rank does the right subject come (CMC), and does it reach a threshold (TPIR)? All photos
    of those kept out are non-mated probes: how many reach anybody (FPIR)? With --distractors the own subject is also
    ranked among 1, 10, 100, ... vectors of other people.

    Models run in f32 unless --precision says otherwise.

    Intervals are exact where every probe is of another person (--probes 1), else a bootstrap over people. They need
    the package scipy: pip install 'visavis[evaluate]'.

    Exit code: 0 all fine, 2 error.

    \b
    Examples:
      visavis evaluate identification lfw-dev
      visavis evaluate identification photos/ --enroll 3 \\
        --strangers 0.3 --report id.html
      visavis evaluate identification lfw-dev \\
        --embeddings mine.npz --distractors others.npy
    """
    from visavis.datasets.lfw import Lfw, data_path
    from visavis.datasets.photos import open_photos
    from visavis.evaluation.identification import FPIRS
    from visavis.evaluation.intervals import exact_binomial
    from visavis.protocols import identification as protocol
    from visavis.protocols.embedding import embed_photos

    with Report("evaluate identification", as_json=as_json, columns=COLUMNS) as report:
        if page is not None:
            from visavis.reporting.page import require_target

            require_target(page)
        exact_binomial(0, 1)  # where scipy is missing this says so before the long work
        photos = open_photos(data)
        split = protocol.split_people(photos.people, enrolled=enroll, strangers=strangers, probes=probes, seed=seed)
        others = None if distractors is None else protocol.open_vectors(distractors)
        with under_way() as say:
            if embeddings is None:
                used = sorted({*split.gallery.tolist(), *split.probes.tolist()})
                choose: Choice = "central" if isinstance(photos, Lfw) else "largest"
                embedded = embed_photos(photos, how.analyzer(machine.exact), choose=choose, rows=used, say=say)
                embedded = embedded.at(photos.photos)
            else:
                embedded = brought(report, embeddings, photos.photos)
            found = protocol.identification(
                embedded, photos.people, split, fusion=fusion, fpirs=fpir or FPIRS, distractors=others, say=say
            )
        settings: dict[str, Any] = {
            "enroll": enroll,
            "strangers": strangers,
            "probes": probes,
            "seed": seed,
            "fusion": fusion,
        }
        report.fields(data=data, **settings, **found.to_dict())
        _show(report, found)
        if page is not None:
            from visavis.protocols.identification_report import identification_document
            from visavis.reporting.page import write

            settings["probes"] = probes or "all"
            facts = [("data", data), ("model", found.model), *((name, str(value)) for name, value in settings.items())]
            models = [how] if embeddings is None else []
            facts = provenance(facts, [data_path(data), embeddings, distractors], models, machine.exact)
            write(identification_document(found, data, facts), page)


def brought(report: Report, file: Path, photos: Sequence[str]) -> Embedded:
    """Return the embeddings of a file for these photos; say how many photos it lacks."""
    from visavis.protocols.embedding import Embedded

    given = Embedded.load(file)
    known = set(given.names)
    missing = [name for name in photos if name not in known]
    if len(missing) == len(photos):
        have, want = (repr(next(iter(names), "")) for names in (given.names, photos))
        raise InputError(f"{file} has none of the photos: its names are as {have}, where {want} is needed")
    if missing:
        report.warn(f"{counted(len(missing), 'photo')} not in {file}, as {missing[0]}: counted as without embedding")
    return given.at(photos)


def shown(report: Report, what: str, at: str, share: Estimate | None, threshold: float | None = None) -> None:
    """Give a rate with its interval as a row; None of one that so few probes can't show."""
    if share is None:
        report.row(what, at, "", "", "not measurable")
        return
    similarity = "" if threshold is None else f"{threshold:.4f}"
    report.row(what, at, similarity, f"{share.value:.2%}", f"{share.low:.2%} .. {share.high:.2%}")


def warn_of_few(report: Report, found: OpenSet, where: str = "") -> None:
    """Warn of FPIRs that so few non-mated probes can't show."""
    from visavis.evaluation.intervals import trials_needed

    lost = [point.wanted for point in found.points if not point.supported]
    if lost:
        needed = "" if min(lost) <= 0 else f": it takes {trials_needed(min(lost)):,}"
        report.warn(f"{found.nonmated:,} non-mated probes{where} can't show FPIR {', '.join(map(rate, lost))}{needed}")


def _show(report: Report, found: Identification) -> None:
    closed = found.closed
    for k in (1, 5):
        shown(report, "rank", str(k), closed.rank(k))
    for point in found.open.points if found.open is not None else ():
        at = f"FPIR {rate(point.wanted)}"
        shown(report, "TPIR", at, point.tpir if point.supported else None, point.threshold)
        shown(report, "DIR, rank 1", at, point.dir if point.supported else None, point.threshold)
    for one in found.distractors:
        shown(report, "rank 1 of distractors", f"{one.size:,}", one.rates.rank(1))
    if found.open is not None:
        warn_of_few(report, found.open)
    gallery, probes = found.without
    if gallery or probes:
        report.warn(
            f"no embedding of {counted(gallery, 'photo')} enrolled and {counted(probes, 'probe')}: counted as missed"
        )
    opened = "" if found.open is None else f", {found.open.nonmated:,} of strangers"
    report.note(f"{closed.gallery:,} enrolled, {closed.probes:,} mated probes{opened}; model {found.model}")

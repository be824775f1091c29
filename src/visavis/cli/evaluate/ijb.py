"""``visavis evaluate ijb``: the protocols of IJB-B and IJB-C."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import typer

from visavis.cli.evaluate.identification import COLUMNS, shown, warn_of_few
from visavis.cli.faces import counted
from visavis.cli.facts import provenance
from visavis.cli.models import under_way
from visavis.cli.options import Json, Machine, Recognition, ReportFile, unpacked
from visavis.cli.report import Report, rate
from visavis.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from visavis.datasets.ijb import Ijb
    from visavis.protocols.ijb import IjbResult

    _Vectors: TypeAlias = tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None, str]

__all__ = ["ijb"]


@unpacked
def ijb(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="IJBB or IJBC with the folders meta and (for a model) loose_crop.")
    ],
    weights: Annotated[
        Literal["none", "score", "norm", "score+norm"],
        typer.Option(help="What a photo counts by in its template: detector's score, length of its vector."),
    ] = "score",
    embeddings: Annotated[
        Path | None,
        typer.Option(
            "--embeddings",
            metavar="FILE",
            help="Take embeddings from here and run no model: .npz (names, vectors), or .npy in the lists' order.",
        ),
    ] = None,
    page: ReportFile = None,
    as_json: Json = False,
    *,
    how: Recognition,
    machine: Machine,
) -> None:
    """Run the 1:1 and 1:N protocols of IJB-B or IJB-C.

    In the layout that InsightFace distributes.

    Photos are aligned by the landmarks that the lists give; no detector is run. A template's vector is the mean over
    its media of the mean within each. 1:1 gives TAR at FARs of 1e-1 to 1e-6; 1:N gives ranks and TPIR at FPIRs of 0.1
    and 0.01 for each gallery, and the means that papers print. A protocol whose lists are missing is left out. Models
    run in f32 unless --precision says otherwise.

    The package scipy is needed for intervals: pip install 'visavis[evaluate]'.

    Exit code: 0 all fine, 2 error.

    \b
    Examples:
      visavis evaluate ijb IJBC --recognizer sface \\
        --report ijbc.html
      visavis evaluate ijb IJBC --embeddings features.npy \\
        --weights score+norm
    """
    from visavis.datasets.ijb import Ijb
    from visavis.evaluation.intervals import exact_binomial
    from visavis.protocols.ijb import embed_ijb, evaluate_ijb

    with Report("evaluate ijb", as_json=as_json, columns=COLUMNS) as report:
        if page is not None:
            from visavis.reporting.page import require_target

            require_target(page)
        exact_binomial(0, 1)  # where scipy is missing this says so before the long work
        if "norm" in weights and (embeddings is None or embeddings.suffix.lower() != ".npy"):
            raise InputError("--weights norm needs vectors of their own lengths: give them with --embeddings FILE.npy")
        data = Ijb.open(folder)
        with under_way() as say:
            if embeddings is None:
                made = embed_ijb(data, how.analyzer(machine.exact), say)
                given: _Vectors = made.vectors, made.found, made.model
            else:
                given = _brought(report, embeddings, data)
            vectors, found, model = given
            result = evaluate_ijb(data, vectors, model, found=found, weighting=weights, say=say)
        report.fields(folder=str(folder), **result.to_dict())
        _show(report, result)
        if page is not None:
            from visavis.protocols.ijb_report import ijb_document
            from visavis.reporting.page import write

            facts = [("folder", folder.name), ("model", result.model), ("weights", weights)]
            files = [embeddings, *sorted((folder / "meta").glob("*"))]
            facts = provenance(facts, files, [how] if embeddings is None else [], machine.exact, crops=True)
            write(ijb_document(result, facts), page)


def _brought(report: Report, file: Path, data: Ijb) -> _Vectors:
    """Return vectors in the order of the photos, which are there (None: all), and the model's name."""
    from visavis.cli.evaluate.identification import brought
    from visavis.protocols.identification import open_vectors

    if file.suffix.lower() != ".npy":
        given = brought(report, file, data.photos)
        return given.vectors, given.found, given.model
    vectors = open_vectors(file)
    if len(vectors) != len(data.photos):
        raise InputError(f"{file} has {len(vectors)} rows, and {data.name} lists {len(data.photos)} photos")
    return vectors, None, file.stem


def _show(report: Report, found: IjbResult) -> None:
    if found.verification is not None:
        for one in found.verification.rates:
            shown(report, "1:1 TAR", f"FAR {rate(one.far)}", one.tar, one.threshold)
    for gallery in found.galleries:
        for k in (1, 5, 10):
            shown(report, f"1:N {gallery.name} rank", str(k), gallery.closed.rank(k))
        for point in gallery.open.points:
            tpir = point.tpir if point.supported else None
            shown(report, f"1:N {gallery.name} TPIR", f"FPIR {rate(point.wanted)}", tpir, point.threshold)
    for name, value in found.means().items():
        if name in found.unsupported:
            shown(report, "1:N mean", name, None)
        else:
            report.row("1:N mean", name, "", f"{value:.2%}", "")
    if found.joined is not None:
        shown(report, "1:N joined rank", "1", found.joined.rank(1))
    if found.verification is not None:
        lost = [rate(one.far) for one in found.verification.rates if not one.supported]
        if lost:
            report.warn(f"{found.verification.nonmated:,} non-mated pairs can't show FAR {', '.join(lost)}")
    for gallery in found.galleries:
        warn_of_few(report, gallery.open, f" of gallery {gallery.name}")
    if found.verification is None or not found.galleries:
        report.warn(f"the lists of {'1:1' if found.verification is None else '1:N'} are not there: left out")
    if found.without:
        report.warn(f"{counted(found.without, 'template')} of {found.templates:,} without an embedding: never accepted")
    report.note(f"{found.data}, {found.templates:,} templates; model {found.model}, weights {found.weighting}")

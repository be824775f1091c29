"""``visavis evaluate landmarks``: how far landmarks lie from where they were marked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from visavis.cli.evaluate.detection import From, GroundTruth, Images, SkipMissing, read_truth
from visavis.cli.facts import provenance
from visavis.cli.models import under_way
from visavis.cli.options import Detection, Json, Machine, ReportFile, unpacked
from visavis.cli.report import Report
from visavis.errors import InputError

if TYPE_CHECKING:
    from visavis.evaluation.landmarks import LandmarkErrors
    from visavis.reporting.document import Document

__all__ = ["landmarks"]


@unpacked
def landmarks(
    ground_truth: GroundTruth,
    images: Images = None,
    predictions: Annotated[
        Path | None,
        typer.Option("--predictions", metavar="PATH", help="Take landmarks from here, in any format; run no model."),
    ] = None,
    by: Annotated[
        str, typer.Option("--by", metavar="NAME", help="What errors are divided by: inter-ocular, box or diagonal.")
    ] = "inter-ocular",
    limit: Annotated[
        float, typer.Option("--limit", metavar="ERROR", help="Error from which a face is a failure.", min=1e-6, max=1e3)
    ] = 0.1,
    source: From = None,
    skip_missing: SkipMissing = False,
    page: ReportFile = None,
    as_json: Json = False,
    *,
    models: Detection,
    machine: Machine,
) -> None:
    """Measure landmarks on annotated pictures.

    Normalized mean error, failure rate, area under the error curve.

    Faces are found by the detector and matched to the marked ones at IoU 0.5; a face that is not found counts as a
    failure. Five points come from the detector, others from --landmarks MODEL. Models run in
    f32 unless --precision says otherwise.

    Exit code: 0 all fine, 2 error.

    \b
    Examples:
      visavis evaluate landmarks keypoints.json photos/
      visavis evaluate landmarks keypoints.json photos/ \\
        --landmarks dlib-68 --by box
    """
    from visavis.protocols.landmarks import find_landmarks, measure_landmarks

    if by not in ("inter-ocular", "box", "diagonal"):
        raise InputError(f"--by is inter-ocular, box or diagonal, not {by!r}")
    if images is None and predictions is None:
        raise InputError("give IMAGES, the folder of the pictures to find landmarks on, or --predictions")
    with Report("evaluate landmarks", as_json=as_json) as report:
        if page is not None:
            from visavis.reporting.page import require_target

            require_target(page)
        model = predictions.name if predictions is not None else models.landmarks or models.detector
        report.fields(ground_truth=str(ground_truth), model=model, by=by)
        truth = list(read_truth(ground_truth, source, images, skip_missing=skip_missing))
        if predictions is not None:
            found = list(read_truth(predictions, None, None, truth=ground_truth))
        else:
            assert images is not None
            number = next((item.landmarks.shape[1] for item in truth if item.landmarks is not None), 0)
            trait = f"landmarks_{number}" if models.landmarks and number != 5 else None
            with under_way() as say:
                truth, found = find_landmarks(truth, images, models.analyzer(machine.exact), trait=trait, say=say)
        errors = measure_landmarks(truth, found, by)  # type: ignore[arg-type]
        result = errors.to_dict(limit)
        report.fields(**result)
        report.facts(
            [
                ("model", model),
                ("faces", f"{result['faces']:,}"),
                ("without landmarks", f"{result['without_landmarks']:,}"),
                (f"mean error by {by}", "none" if errors.nme is None else f"{errors.nme:.4f}"),
                (f"failures above {limit:g}", f"{result['failure_rate']:.2%}"),
                (f"area under the curve to {limit:g}", f"{result['auc']:.4f}"),
            ]
        )
        if page is not None:
            from visavis.reporting.page import write

            run = [models] if predictions is None else []
            facts = provenance([("ground truth", str(ground_truth))], [ground_truth, predictions], run, machine.exact)
            write(_document(errors, model, by, limit, facts), page)


def _document(errors: LandmarkErrors, model: str, by: str, limit: float, facts: list[tuple[str, str]]) -> Document:
    from visavis.reporting.document import Curve, Document, Figure, Part, Section, Table

    result = errors.to_dict(limit)
    nme = "none" if errors.nme is None else f"{errors.nme:.4f}"
    rows = [
        ("faces", f"{result['faces']:,}"),
        ("without landmarks", f"{result['without_landmarks']:,}"),
        (f"mean error by {by}", nme),
        (f"failures above {limit:g}", f"{result['failure_rate']:.2%}"),
        (f"area under the curve to {limit:g}", f"{result['auc']:.4f}"),
    ]
    curve = Curve(model, *errors.ced(limit))
    figure = Figure("Cumulative errors", f"error, divided by {by}", "share of the faces", [curve], steps=True)
    points = [(str(k), "–" if v is None else f"{v:.4f}") for k, v in enumerate(result["by_point"])]
    parts: list[Part] = [
        Table("Figures", ("figure", "value"), rows),
        figure,
        Table("By point", ("point", "mean error"), points),
    ]
    summary = f"{model}: mean error {nme} over {result['faces']:,} faces, divided by {by}."
    return Document("Landmarks", summary, [Section("Errors", parts)], facts, {"model": model, "by": by, **result})

"""``visavis evaluate detection``: are the faces of annotated pictures found, and what else is taken for one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from visavis.cli.facts import provenance
from visavis.cli.models import under_way
from visavis.cli.options import Detection, Json, Machine, ReportFile, unpacked
from visavis.cli.report import Column, Report
from visavis.errors import InputError

if TYPE_CHECKING:
    from visavis.datasets.annotations import Annotation
    from visavis.protocols.detection import Detections, Measured

__all__ = ["From", "GroundTruth", "Images", "SkipMissing", "detection", "labeled", "read_truth"]

GroundTruth = Annotated[
    Path, typer.Argument(metavar="GROUND_TRUTH", help="Annotations in any format: see docs/annotations.md.")
]
Images = Annotated[
    Path | None, typer.Argument(metavar="IMAGES", help="The folder of the pictures; not needed with --predictions.")
]
From = Annotated[
    str | None, typer.Option("--from", metavar="FORMAT", help="Format of the ground truth, where it can't be told.")
]
Label = Annotated[
    str | None, typer.Option("--label", metavar="NAME", help="Which label is a face, where there are several.")
]
Predictions = Annotated[
    Path | None,
    typer.Option("--predictions", metavar="PATH", help="Take boxes from here, in any format; run no model."),
]
SkipMissing = Annotated[
    bool, typer.Option("--skip-missing", help="Leave out pictures that are not there instead of refusing.")
]


@unpacked
def detection(
    ground_truth: GroundTruth,
    images: Images = None,
    predictions: Predictions = None,
    protocol: Annotated[
        str | None, typer.Option(metavar="NAME", help="coco, wider or fddb; the format's own without it.")
    ] = None,
    source: From = None,
    label: Label = None,
    at: Annotated[
        float | None, typer.Option("--at", metavar="SCORE", help="Score from which slices count a box; all without it.")
    ] = None,
    skip_missing: SkipMissing = False,
    page: ReportFile = None,
    as_json: Json = False,
    *,
    models: Detection,
    machine: Machine,
) -> None:
    """Measure a detector on annotated pictures.

    One of visavis', or any whose boxes are brought as a file.

    Protocols: COCO's average precision; WIDER FACE's for easy, medium and hard faces; FDDB's discrete and continuous
    ROC. Beside them, for every protocol, recall and average precision by height and by overlap with other faces.
    Average precision wants all boxes, also those of low scores: give --score 0.05. Models run in f32 unless
    --precision says otherwise.

    Exit code: 0 all fine, 2 error.

    \b
    Examples:
      visavis evaluate detection instances.json photos/ \\
        --detector mtcnn --score 0.05
      visavis evaluate detection wider_face_split/ \\
        --predictions out/ --protocol wider
      visavis evaluate detection labels/ photos/ --from yolo \\
        --report detector.html
    """
    from visavis.datasets.annotations import recognize
    from visavis.protocols.detection import PROTOCOLS, detect_pictures, measure, paired

    if protocol not in (None, "coco", "wider", "fddb"):
        raise InputError(f"--protocol is coco, wider or fddb, not {protocol!r}")
    if images is None and predictions is None:
        raise InputError("give IMAGES, the folder of the pictures to run a detector on, or --predictions")
    columns = [Column("slice", 24), Column("faces", 7, right=True), Column("recall", 22), Column("AP", 6, right=True)]
    with Report("evaluate detection", as_json=as_json, columns=columns) as report:
        if page is not None:
            from visavis.reporting.page import require_target

            require_target(page)
        form = source or recognize(ground_truth)
        chosen = protocol or PROTOCOLS.get(form, "coco")
        detector = models.detector if predictions is None else predictions.name
        report.fields(ground_truth=str(ground_truth), format=form, detector=detector)
        truth = labeled(read_truth(ground_truth, form, images, skip_missing=skip_missing), label)
        with under_way() as say:
            if predictions is None:
                assert images is not None
                detections = detect_pictures(truth, images, models.analyzer(machine.exact), say=say)
            else:
                kind = recognize(predictions)
                found = list(read_truth(predictions, kind, images if kind == "yolo" else None, truth=ground_truth))
                several = len({name for item in found for name in item.labels}) > 1
                detections = paired(truth, labeled(found, label if several else None))
        _warn_of_outside(report, detections)
        measured = measure(detections, chosen, score=at)  # type: ignore[arg-type]
        for note in measured.notes:
            report.warn(note)
        _show(report, measured, detector)
        if page is not None:
            from visavis.protocols.detection_report import detection_document
            from visavis.reporting.page import write

            settings = {"ground truth": ground_truth, "format": form, "detector": detector, "label": label, "at": at}
            facts = [(name, str(value)) for name, value in settings.items() if value is not None]
            run = [models] if predictions is None else []
            facts = provenance(facts, [ground_truth, predictions], run, machine.exact)
            write(detection_document(measured, detector, images, facts), page)


def read_truth(
    path: Path, form: str | None, images: Path | None, *, skip_missing: bool = False, truth: Path | None = None
) -> Iterator[Annotation]:
    """Read annotations, with the sizes of their pictures where there is a folder of those."""
    from visavis.datasets.annotations import read_annotations

    return read_annotations(path, form, images=images, skip_missing=skip_missing, truth=truth)


def labeled(items: Iterable[Annotation], label: str | None) -> list[Annotation]:
    """Return the boxes of one label; where there are several and none was named, refuse."""
    found = list(items)
    names = sorted({name for item in found for name in item.labels})
    if label is None:
        if len(names) > 1:
            raise InputError(f"there are several labels ({', '.join(names[:8])}); say which is a face with --label")
        return found
    if label not in names and any(map(len, found)):
        raise InputError(f"no box has the label {label!r}; there are {', '.join(names[:8])}")
    return [item.take([i for i, name in enumerate(item.labels) if name == label]) for item in found]


def _warn_of_outside(report: Report, detections: Detections) -> None:
    outside = sum(int(item.outside.sum()) for item in detections.truth)
    if outside:
        report.warn(f"boxes of the ground truth that reach out of their picture: {outside:,}")


def _show(report: Report, measured: Measured, detector: str) -> None:
    result = measured.to_dict()
    report.fields(**result)
    report.facts(
        [
            ("detector", detector),
            ("protocol", measured.protocol),
            ("pictures", f"{result['pictures']:,}"),
            ("faces", f"{result['faces']:,}"),
            ("boxes", f"{result['detections']:,}"),
            *((name, "none" if value is None else f"{value:.4f}") for name, value in measured.figures.items()),
        ]
    )
    for rows in measured.slices.values():
        for row in rows:
            if row.recall is None:
                continue
            share = f"{row.recall.value:.3f} ({row.recall.low:.3f} to {row.recall.high:.3f})"
            report.row(
                row.name,
                f"{row.faces:,}",
                share,
                "" if row.average_precision is None else f"{row.average_precision:.3f}",
            )

"""``visavis datasets annotations``: boxes from one format to another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from visavis.cli.options import Json
from visavis.cli.report import Report
from visavis.errors import InputError

if TYPE_CHECKING:
    from visavis.datasets.annotations import Annotation

__all__ = ["convert_annotations"]


def convert_annotations(
    source: Annotated[Path, typer.Argument(metavar="FROM", help="A file or folder of annotations.")],
    target: Annotated[Path, typer.Argument(metavar="TO", help="The file or folder to write.")],
    to: Annotated[
        str,
        typer.Option("--to", metavar="FORMAT", help="wider, fddb, yolo, coco, voc, label-studio, wider-predictions."),
    ],
    form: Annotated[
        str | None, typer.Option("--from", metavar="FORMAT", help="Format of FROM, where it can't be told.")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option("--images", metavar="DIR", help="The pictures: each must be there, and sizes are looked up."),
    ] = None,
    label: Annotated[
        str | None, typer.Option("--label", metavar="NAME", help="Take only the boxes with this label.")
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Cut boxes to the picture, and leave out those without area.")
    ] = False,
    skip_missing: Annotated[
        bool, typer.Option("--skip-missing", help="Leave out pictures that are not there instead of refusing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Convert boxes on pictures from one format to another.

    The pictures stay where they are.

    Formats: WIDER FACE (.txt, .mat, predictions), FDDB, YOLO, COCO, Pascal VOC, Label Studio. What a format has no
    place for is left out: see docs/annotations.md.

    Exit code: 0 all fine, 2 error.

    \b
    Examples:
      visavis datasets annotations wider_face_val_bbx_gt.txt \\
        set/ --to yolo --images WIDER_val/images
      visavis datasets annotations Annotations/ \\
        instances.json --to coco
    """
    from visavis.datasets.annotations import ANNOTATION_FORMATS, read_annotations, recognize, write_annotations

    with Report("datasets annotations", as_json=as_json) as report:
        name = form or recognize(source)
        if to not in ANNOTATION_FORMATS:
            raise InputError(f"--to is {', '.join(ANNOTATION_FORMATS)}, not {to!r}")
        counts = {"pictures": 0, "boxes": 0, "empty": 0, "outside": 0, "left_out": 0}

        def passed() -> Iterator[Annotation]:
            for item in read_annotations(source, name, images=images, skip_missing=skip_missing):
                kept = item
                if label is not None:
                    kept = item.take([i for i, word in enumerate(item.labels) if word == label])
                counts["empty"] += int(kept.empty.sum())
                counts["outside"] += int(kept.outside.sum())
                if repair:
                    kept = kept.repaired()
                counts["pictures"] += 1
                counts["boxes"] += len(kept)
                counts["left_out"] += len(item) - len(kept)
                yield kept

        write_annotations(target, passed(), to)
        if not repair:
            for kind, words in (("empty", "boxes without area"), ("outside", "boxes that reach out of their picture")):
                if counts[kind]:
                    report.warn(f"{words}: {counts[kind]:,}; --repair cuts and leaves out")
        report.fields(**{"from": name, "to": to, "out": str(target), **counts})
        report.facts(
            [
                ("from", name),
                ("to", to),
                ("pictures", f"{counts['pictures']:,}"),
                ("boxes", f"{counts['boxes']:,}"),
                ("left out", f"{counts['left_out']:,}"),
            ]
        )

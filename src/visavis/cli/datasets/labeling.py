"""``visavis datasets label`` and ``corrections``: boxes out to a labeling tool, and back corrected."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from visavis.cli.faces import counted
from visavis.cli.options import Detection, Json, Machine, unpacked
from visavis.cli.pictures import writable_folder
from visavis.cli.report import Column, Report
from visavis.errors import InputError, VisavisError
from visavis.files import find_images

if TYPE_CHECKING:
    from visavis.datasets.annotations import Annotation

__all__ = ["corrections", "label"]

FIRST = "first.json"
"""What the detector found, kept beside what goes out to be corrected."""


@unpacked
def label(
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGE", help="Files, folders (with all below them) or patterns.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the annotations.")],
    to: Annotated[str, typer.Option("--to", metavar="FORMAT", help="coco, yolo, label-studio or voc.")] = "coco",
    points: Annotated[bool, typer.Option("--points", help="Write the five landmarks too.")] = False,
    prefix: Annotated[
        str, typer.Option("--prefix", metavar="PATH", help="Label Studio: where its local storage has the pictures.")
    ] = "",
    as_json: Json = False,
    *,
    models: Detection,
    machine: Machine,
) -> None:
    """Find faces and write boxes to correct in a labeling tool.

    Made for screenshots of monitors as for any pictures. DIR gets the annotations (annotations.json, tasks.json with
    labeling.xml, or a folder a format) and first.json, which keeps what the detector found: when the corrections are
    back, visavis datasets corrections compares the two. The pictures stay where they are.

    Exit code: 0 all fine, 1 some files were skipped, 2 error.

    \b
    Examples:
      visavis datasets label screens/ --to label-studio \\
        --out labels/
      visavis datasets label screens/ --to coco \\
        --out labels/ --min-face 12 --score 0.3
    """
    from visavis.curation.labeling import common_folder, label_pictures
    from visavis.datasets.annotations import write_annotations
    from visavis.datasets.annotations.label_studio import LABELING

    places = {"coco": "annotations.json", "label-studio": "tasks.json", "yolo": "yolo", "voc": "voc"}
    if to not in places:
        raise InputError(f"--to is {', '.join(places)}, not {to!r}")
    columns = [Column("photo", keep="end"), Column("faces", 5, right=True), Column("size", 11, right=True)]
    with Report("datasets label", as_json=as_json, columns=columns, items="images") as report:
        paths = list(find_images(images))
        if not paths:
            raise InputError(f"no image in {', '.join(images[:5])}; images are known by suffixes such as .jpg and .png")
        folder = Path(images[0]) if len(images) == 1 and Path(images[0]).is_dir() else common_folder(paths)
        target = writable_folder(out) / places[to]
        analyzer = models.analyzer(machine)
        total = 0

        def found() -> Iterator[Annotation]:
            nonlocal total
            stream = label_pictures(paths, folder, analyzer, points=points)
            for path, item in report.track(stream, lambda: len(paths), "detecting"):
                if isinstance(item, VisavisError):
                    report.skip(path, item)
                    continue
                if isinstance(item, Exception):
                    raise item
                total += len(item)
                shown = {"image": item.image, "faces": len(item), "width": item.width, "height": item.height}
                report.row(item.image, str(len(item)), f"{item.width} x {item.height}", item=shown)
                yield item

        write_annotations(out / FIRST, found(), "coco")
        if report.skipped == len(paths):
            raise InputError("not one picture could be read")
        _hand_out(out / FIRST, target, to, f"visavis {models.detector}", prefix)
        if to == "label-studio":
            (out / "labeling.xml").write_text(LABELING, encoding="utf-8")
        about = {"detector": models.detector, "score": models.score, "min_face": models.min_face}
        (out / "about.json").write_text(json.dumps({**about, "pictures": str(folder)}) + "\n", encoding="utf-8")
        report.fields(format=to, annotations=str(target), first=str(out / FIRST), pictures=str(folder), boxes=total)
        report.note(
            f"{counted(total, 'face')} in {counted(report.done - report.skipped, 'photo')}; boxes are in {target}"
        )
        code = report.end()
    raise typer.Exit(code)


def _hand_out(first: Path, target: Path, to: str, model: str, prefix: str) -> None:
    """Write what was found in the format asked for, from what was kept."""
    from visavis.datasets.annotations import read_annotations, write_annotations

    items = read_annotations(first, "coco")
    if to == "yolo":  # labeling tools take rows of five numbers
        items = (item.replace(scores=None, landmarks=None) for item in items)
    # People draw within the picture, and their tools refuse what reaches out of it.
    items = (item.repaired() for item in items)
    write_annotations(target, items, to, **({"model": model, "prefix": prefix} if to == "label-studio" else {}))


def corrections(
    corrected: Annotated[
        Path, typer.Argument(metavar="CORRECTED", help="What the labeling tool exported, in any format.")
    ],
    against: Annotated[
        Path, typer.Option("--against", metavar="FIRST", help="The folder that visavis datasets label wrote.")
    ],
    source: Annotated[
        str | None, typer.Option("--from", metavar="FORMAT", help="Format of CORRECTED, where it can't be told.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option("--images", metavar="DIR", help="The pictures; needed for YOLO and --crops.")
    ] = None,
    to: Annotated[str | None, typer.Option("--to", metavar="FORMAT", help="Write the corrected set so.")] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="PATH", help="Where to write it.")] = None,
    crops: Annotated[
        Path | None, typer.Option("--crops", metavar="DIR", help="Cut the corrected faces out into this folder.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Read corrected boxes back and say what was changed.

    Which boxes were kept, moved, added and removed.

    That is also how good the detector was on these pictures: its precision is the share of its boxes that were kept
    or moved, its recall the share of the faces that it had found. Pictures that nobody has worked on count for nothing.

    Exit code: 0 all fine, 2 error.

    \b
    Examples:
      visavis datasets corrections project-1-export.json \\
        --against labels/
      visavis datasets corrections cvat.json \\
        --against labels/ --to yolo --out set/ \\
        --images screens/
    """
    from visavis.curation.labeling import compare, cut_faces
    from visavis.datasets.annotations import label_studio, read_annotations, recognize, write_annotations

    if (to is None) != (out is None):
        raise InputError("--to and --out go together: the format and the place of the corrected set")
    if crops is not None and images is None:
        raise InputError("--crops needs --images, the folder of the pictures")
    columns = [Column("photo", keep="end"), *(Column(n, 7, right=True) for n in ("kept", "moved", "added", "removed"))]
    columns.append(Column("IoU", 5, right=True))
    with Report("datasets corrections", as_json=as_json, columns=columns, items="images") as report:
        before = against / FIRST if against.is_dir() and (against / FIRST).is_file() else against
        form = source or recognize(corrected)
        if form == "label-studio":
            after = label_studio.read(corrected, drawn_only=True)
        else:
            after = read_annotations(corrected, form, images=images if form == "yolo" else None)
        result = compare(read_annotations(before), after)
        for picture in result.pictures:
            row = picture.to_dict()
            iou = "" if row["iou"] is None else f"{row['iou']:.3f}"
            report.row(*(str(row[name]) for name in ("image", "kept", "moved", "added", "removed")), iou, item=row)
        sums = result.to_dict()
        report.fields(first=str(before), format=form, pictures=len(result.pictures), **sums)
        if result.untouched:
            report.warn(f"pictures that the corrections lack, and that count for nothing: {len(result.untouched):,}")
        if result.new:
            report.warn(f"pictures that were not among the first: {len(result.new):,}, as {result.new[0]}")
        shares = [(name, getattr(result, name)) for name in ("precision", "recall")]
        report.facts(
            [
                *((name, str(sums[name])) for name in ("kept", "moved", "added", "removed")),
                *((n, "none" if s is None else f"{s.value:.3f} ({s.low:.3f} to {s.high:.3f})") for n, s in shares),
            ]
        )
        if to is not None and out is not None:
            write_annotations(out, result.corrected, to)
            report.fields(out=str(out))
        if crops is not None and images is not None:
            number = sum(count for _, count in cut_faces(result.corrected, images, writable_folder(crops)))
            report.fields(crops=number)
            report.note(f"{counted(number, 'crop')} in {crops}")

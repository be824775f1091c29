"""``visavis datasets duplicates``: photos that are there more than once."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from visavis.cli.faces import counted
from visavis.cli.models import under_way
from visavis.cli.options import Json
from visavis.cli.report import Column, Report
from visavis.errors import InputError, VisavisError
from visavis.files import find_images

if TYPE_CHECKING:
    from visavis.datasets.duplicates import Duplicate, Fingerprint, Group

__all__ = ["duplicates"]


def duplicates(
    images: Annotated[
        list[str], typer.Argument(metavar="DIR", help="Folders (with all below them), photos or patterns.")
    ],
    threshold: Annotated[
        float | None, typer.Option(metavar="0..1", help="Structural similarity from which two photos are one.")
    ] = None,
    mirrored: Annotated[bool, typer.Option("--mirrored", help="Find mirrored photos too.")] = False,
    listing: Annotated[
        bool, typer.Option("--list", help="Print only the paths that could go, one a line, for other programs.")
    ] = False,
    null: Annotated[bool, typer.Option("--null", "-0", help="With --list: end paths by a zero byte.")] = False,
    threads: Annotated[int | None, typer.Option(metavar="N", help="Photos to read at once.", min=1)] = None,
    as_json: Json = False,
) -> None:
    """Find photos that are there more than once.

    Found are copies, the same pixels in another file, and the same picture encoded again, resized, cropped by up to
    a tenth, brightened, darkened or made gray; with --mirrored also mirrored. Of each group one is suggested to
    keep: the largest, then the sharpest. Nothing is deleted or changed.

    Needs the packages ImageHash and scikit-image: pip install 'visavis[datasets]'.

    Exit code: 0 all fine (whether or not any were found), 1 some files could not be read, 2 error.

    \b
    Examples:
      visavis datasets duplicates photos/
      visavis datasets duplicates photos/ --list --null
    """
    from visavis.datasets import duplicates as finding
    from visavis.models.session import usable_cores

    if as_json and listing:
        raise InputError("--list and --json are two ways to print: give one")
    if null and not listing:
        raise InputError("--null goes with --list")
    if threshold is not None and not 0 < threshold <= 1:
        raise InputError(f"--threshold is a structural similarity above 0, at most 1, not {threshold}")
    level = finding.THRESHOLD if threshold is None else threshold
    columns = [
        Column("group", 5, right=True),
        Column("photo", keep="end"),
        Column("size", 11, right=True),
        Column("what", 10),
        Column("alike", 5, right=True),
    ]
    with Report("datasets duplicates", as_json=as_json, columns=columns, items="groups") as report:
        report.fields(threshold=level, mirrored=mirrored)
        finding.require_library()
        photos: list[Fingerprint] = []
        unreadable: list[dict[str, Any]] = []
        read = finding.fingerprints(find_images(images), mirrored=mirrored, threads=threads or usable_cores())
        for path, found in report.track(read, lambda: sum(1 for _ in find_images(images)), "reading"):
            if isinstance(found, VisavisError):
                unreadable.append({"image": str(path), "error": {"type": type(found).__name__, "message": str(found)}})
                report.skipped += 1
                report.say(f"skipped: {found}")
            else:
                photos.append(found)
        if not report.done:
            raise InputError(f"no image in {', '.join(images[:5])}; images are known by suffixes such as .jpg and .png")
        with under_way() as say:
            groups = finding.group(photos, threshold=level, say=say)
        spare = sum(len(group.others) for group in groups)
        for number, group in enumerate(groups, 1):
            if listing:
                for other in group.others:
                    _list(other.photo.path, "\0" if null else "\n")
            else:
                _show(report, number, group)
        size = sum(other.photo.size for group in groups for other in group.others)
        report.fields(photos=len(photos), duplicates=spare, duplicate_bytes=size, unreadable=unreadable)
        if not listing:
            many = f"{counted(spare, 'photo')} of {len(photos):,} could go, {size / 1e6:,.1f} MB"
            report.note(f"{counted(len(groups), 'group')}: {many}" if groups else f"no duplicates in {len(photos):,}")
        code = report.end()
    raise typer.Exit(code)


def _list(path: Path, end: str) -> None:
    """Print a path as the system has it, though its bytes be no text: other programs have to find the file."""
    if os.name == "nt":
        sys.stdout.write(f"{path}{end}")
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(os.fsencode(path) + end.encode())


def _show(report: Report, number: int, group: Group) -> None:
    report.item({"keep": _item(group.keep), "others": [_other(other) for other in group.others]})
    report.row(str(number), str(group.keep.path), _size(group.keep), "keep", "")
    for other in group.others:
        report.row(str(number), str(other.photo.path), _size(other.photo), other.kind, f"{other.similarity:.2f}")


def _size(photo: Fingerprint) -> str:
    return f"{photo.width} x {photo.height}"


def _item(photo: Fingerprint) -> dict[str, Any]:
    return {
        "image": str(photo.path),
        "width": photo.width,
        "height": photo.height,
        "bytes": photo.size,
        "sharpness": round(photo.sharpness, 3),
    }


def _other(other: Duplicate) -> dict[str, Any]:
    return {**_item(other.photo), "kind": other.kind, "similarity": round(other.similarity, 4)}

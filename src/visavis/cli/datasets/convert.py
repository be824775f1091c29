"""``visavis datasets convert`` and ``show``: data sets from one format to another, and what one holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visavis.cli.faces import counted
from visavis.cli.models import under_way
from visavis.cli.options import Json
from visavis.cli.report import Report
from visavis.errors import InputError

__all__ = ["convert", "show"]

_SHOWN = 5  # reasons told one by one; the rest are counted


def convert(
    source: Annotated[str, typer.Argument(metavar="FROM", help="File, folder, or pattern of shards to read.")],
    target: Annotated[str, typer.Argument(metavar="TO", help="File, folder or pattern to write; must not be there.")],
    source_format: Annotated[
        str | None, typer.Option("--from", metavar="FORMAT", help="What FROM is; without it its contents tell.")
    ] = None,
    target_format: Annotated[
        str | None, typer.Option("--to", metavar="FORMAT", help="What to write; without it the name of TO tells.")
    ] = None,
    shard_size: Annotated[
        int | None, typer.Option(metavar="N", help="Photos a file, for tfrecord and webdataset.", min=1)
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out what can't be read or written instead of stopping.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Convert a data set from one format to another.

    Formats: folders (a folder a class), flat (one folder), lfw (NAME/NAME_0001.jpg; also a zip), bin (InsightFace's
    verification pairs), rec (MXNet RecordIO), tfrecord, webdataset (tar shards). See docs/formats.md.

    Photos are copied as they are encoded, with their keys and labels. Where a format keeps class ids, the names of the
    classes stand in TO.labels.txt beside it. From lfw to bin the pairs of pairs.txt are written. TO appears when it
    is whole; FROM is never changed.

    Exit code: 0 all fine, 1 some photos were left out (--skip-bad), 2 error.

    \b
    Examples:
      visavis datasets convert train.rec photos/
      visavis datasets convert photos/ shards/train-%06d.tar \\
        --shard-size 10000
      visavis datasets convert lfw.zip lfw.bin
      visavis datasets convert damaged.tfrecord rescued/ \\
        --skip-bad
    """
    from visavis.datasets.containers.conversion import convert as converted

    with Report("datasets convert", as_json=as_json) as report:
        bad = _LeftOut(report) if skip_bad else None
        with under_way() as say:
            done = converted(
                Path(source).expanduser(),
                Path(target).expanduser(),
                source_format=source_format,
                target_format=target_format,
                shard_size=shard_size,
                bad=bad,
                say=say,
            )
        left_out = 0 if bad is None else bad.count
        report.fields(
            source=source,
            target=target,
            source_format=done.source,
            target_format=done.target,
            samples=done.samples,
            classes=done.classes,
            bytes=done.bytes,
            files=[str(file) for file in done.files],
            left_out=left_out,
        )
        facts = [
            ("from", done.source),
            ("to", done.target),
            ("photos", f"{done.samples:,}"),
            ("classes", f"{done.classes:,}"),
            ("size", f"{done.bytes / 1e6:,.1f} MB"),
            ("files", _few([str(file) for file in done.files])),
        ]
        report.facts([*facts, ("left out", f"{left_out:,}")] if left_out else facts)
    raise typer.Exit(1 if left_out else 0)


def show(
    path: Annotated[str, typer.Argument(metavar="PATH", help="File, folder, or pattern of shards.")],
    format: Annotated[
        str | None, typer.Option("--from", metavar="FORMAT", help="What it is; without it its contents tell.")
    ] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Count what can be read instead of stopping.")] = False,
    as_json: Json = False,
) -> None:
    """Say what a data set holds, and whether it is sound.

    Its format, photos, classes, sizes and first keys. All of it is read and checked.

    Exit code: 0 all fine, 1 some photos can't be read (--skip-bad), 2 error.

    Example: visavis datasets show train.rec
    """
    from visavis.datasets.containers.conversion import contents

    with Report("datasets show", as_json=as_json) as report:
        bad = _LeftOut(report) if skip_bad else None
        with under_way() as say:
            found = contents(Path(path).expanduser(), format=format, bad=bad, say=say)
        left_out = 0 if bad is None else bad.count
        most = found.labels.most_common(1)
        report.fields(
            path=path,
            format=found.format,
            samples=found.samples,
            classes=len(found.labels),
            unlabeled=found.unlabeled,
            bytes=found.bytes,
            smallest=found.smallest,
            largest=found.largest,
            kinds=dict(found.kinds),
            keys=found.keys,
            left_out=left_out,
        )
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in found.kinds.most_common())
        facts: list[tuple[str, str]] = [
            ("format", found.format),
            ("photos", f"{found.samples:,} ({kinds})" if kinds else "0"),
            ("size", f"{found.bytes / 1e6:,.1f} MB, {found.smallest:,} to {found.largest:,} bytes a photo"),
        ]
        if most:
            facts.append(("classes", f"{len(found.labels):,}, at most {counted(most[0][1], 'photo')} of one"))
        if found.unlabeled:
            facts.append(("no label", f"{found.unlabeled:,}"))
        facts.append(("first keys", _few(found.keys)))
        report.facts([*facts, ("left out", f"{left_out:,}")] if left_out else facts)
    raise typer.Exit(1 if left_out else 0)


class _LeftOut:
    """Counts what is left out; tells the first few reasons."""

    def __init__(self, report: Report) -> None:
        self.count = 0
        self._report = report

    def __call__(self, error: InputError) -> None:
        self.count += 1
        if self.count <= _SHOWN:
            self._report.warn(f"left out: {error}")
        elif self.count == _SHOWN + 1:
            self._report.warn("left out: more, which are only counted")


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")

"""``visavis datasets pack``: a data set as one file that training processes share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from visavis.cli.faces import counted
from visavis.cli.options import Json
from visavis.cli.report import Report
from visavis.errors import VisavisError

__all__ = ["pack"]


def pack(
    data: Annotated[
        Path,
        typer.Argument(metavar="DATA", help="A data set as convert reads it: a folder, .rec, .tfrecord, .tar, ..."),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The file, as train.pack.")],
    encoded: Annotated[
        bool, typer.Option("--encoded", help="Keep photos encoded: less room, decoded whenever they are taken.")
    ] = False,
    size: Annotated[
        str | None, typer.Option(metavar="H[xW]", help="Resize to this; without it all must be of one size.")
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out photos that can't be read instead of stopping.")
    ] = False,
    threads: Annotated[int | None, typer.Option(metavar="N", help="CPU cores to use; all without it.", min=1)] = None,
    as_json: Json = False,
) -> None:
    """Pack a data set into one file that processes share.

    Several training processes map it into memory: it is there once.

    It holds the decoded pixels of all photos, or with --encoded the photos as they are, with their names, people and
    hashes. Read it with visavis.datasets.packed.PackedFaces, or with numpy (docs/preload.md). The file appears when it
    is whole.

    Exit code: 0 all fine, 1 some photos were left out, 2 error.

    \b
    Examples:
      visavis datasets pack aligned/ --out train.pack
      visavis datasets pack photos/ --out train.pack --encoded
      visavis datasets pack train.rec --out train.pack
    """
    from visavis.curation.crops import parse_size
    from visavis.datasets.containers import recognized
    from visavis.datasets.packing import pack as write
    from visavis.files import find_images
    from visavis.models.session import usable_cores

    with Report("datasets pack", as_json=as_json) as report:
        sides = None if size is None else parse_size(size)
        kind, source = recognized(data)
        left_out: list[dict[str, Any]] = []

        def bad(error: VisavisError) -> None:
            report.skipped += 1
            report.say(f"skipped: {error}")
            left_out.append({"type": type(error).__name__, "message": str(error)})

        samples = kind.read(source, bad=bad if skip_bad else None)
        work = report.track(samples, lambda: sum(1 for _ in find_images([source])) if source.is_dir() else 0, "packing")
        made = write(
            work,
            out,
            encoded=encoded,
            size=sides,
            threads=threads or usable_cores(),
            bad=(lambda _, error: bad(error)) if skip_bad else None,
        )
        shape = None if made.shape is None else list(made.shape)
        report.fields(
            file=str(out),
            images=made.photos,
            people=made.people,
            encoded=encoded,
            size=shape,
            bytes=made.bytes,
            sha256=made.sha256,
            left_out=left_out,
        )
        pixels = "encoded" if made.shape is None else f"{made.shape[1]} x {made.shape[0]} pixels each"
        report.facts(
            [
                ("file", str(out)),
                ("photos", f"{made.photos:,} of {counted(made.people, 'name')}, {pixels}"),
                ("size", f"{made.bytes / 1e6:,.1f} MB"),
                ("sha256", made.sha256),
            ]
        )
        code = report.end()
    raise typer.Exit(code)

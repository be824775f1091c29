"""``visavis datasets mesh``: photos under printed meshes (网纹), for training their removal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast

import typer

from visavis.cli.faces import counted
from visavis.cli.options import Json
from visavis.cli.pictures import writable_folder
from visavis.cli.report import Column, Report
from visavis.errors import ImageError

__all__ = ["mesh"]


def mesh(
    photos: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of faces, best aligned; with all below it.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the pairs.")],
    per_image: Annotated[int, typer.Option(metavar="N", help="Meshes for each photo.", min=1, max=1000)] = 1,
    seed: Annotated[int, typer.Option(metavar="N", help="Another seed gives other meshes.", min=0)] = 0,
    kinds: Annotated[
        list[str] | None, typer.Option("--kind", metavar="NAME", help="line, wave or guilloche; repeatable.")
    ] = None,
    threads: Annotated[int | None, typer.Option(metavar="N", help="CPU cores to use; all without it.", min=1)] = None,
    as_json: Json = False,
) -> None:
    """Lay meshes (网纹) over faces, as on identity photos.

    Writes pairs: clean/NAME.png, and mesh/NAME-1.png with the same pixels under lines, waves or guilloches of random
    geometry, thickness, color and opacity; manifest.jsonl says of what, preview.png shows the first few. The same seed
    gives the same files.

    Exit code: 0 all fine, 1 some photos could not be read, 2 error.

    \b
    Examples:
      visavis datasets mesh aligned/ --out pairs/
      visavis datasets mesh aligned/ --out out/ --kind wave
    """
    from visavis.curation.mesh_pairs import mesh_folder
    from visavis.datasets.mesh import KINDS, Kind
    from visavis.files import find_images

    columns = [Column("photo", keep="end"), Column("meshes", 6, right=True), Column("kinds", 30)]
    with Report("datasets mesh", as_json=as_json, columns=columns, items="photos") as report:
        chosen = cast("list[Kind]", kinds) or KINDS
        work = mesh_folder(photos, out, per_image=per_image, seed=seed, kinds=chosen, workers=threads)
        writable_folder(out)
        report.fields(out=str(out), seed=seed, per_image=per_image, kinds=list(chosen))
        pairs = 0
        for row in report.track(work, lambda: sum(1 for _ in find_images([photos])), "meshes"):
            if row["error"] is not None:
                report.skip(row["source"], ImageError(row["error"]))
                continue
            pairs += len(row["pairs"])
            made = [pair["kind"] for pair in row["pairs"]]
            item = {"image": row["source"], "clean": row["clean"], "meshes": [pair["mesh"] for pair in row["pairs"]]}
            report.row(row["source"], str(len(made)), ", ".join(made), item=item)
        report.fields(pairs=pairs)
        report.note(f"{counted(pairs, 'pair')} in {out}; {out / 'preview.png'} shows some")
        code = report.end()
    raise typer.Exit(code)

"""``visavis datasets``: make, convert and look after data sets. One file a command or a few that belong together."""

from __future__ import annotations

import typer

from visavis.cli.datasets.align import align
from visavis.cli.datasets.annotations import convert_annotations
from visavis.cli.datasets.clean import clean
from visavis.cli.datasets.convert import convert, show
from visavis.cli.datasets.duplicates import duplicates
from visavis.cli.datasets.labeling import corrections, label
from visavis.cli.datasets.mesh import mesh
from visavis.cli.datasets.pack import pack
from visavis.cli.datasets.pairs import pairs
from visavis.cli.datasets.split import split
from visavis.cli.datasets.statistics import statistics
from visavis.cli.datasets.videos import videos

__all__ = ["app"]

app = typer.Typer(help="Make, convert and look after data sets.", no_args_is_help=True)


@app.callback()
def _root() -> None:
    """Make, convert and look after data sets."""


for _command in (
    duplicates,
    convert,
    show,
    align,
    clean,
    split,
    pairs,
    statistics,
    videos,
    mesh,
    pack,
    label,
    corrections,
):
    app.command()(_command)
app.command("annotations")(convert_annotations)

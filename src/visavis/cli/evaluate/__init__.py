"""``visavis evaluate``: error rates by the protocols of the field. One file a protocol."""

from __future__ import annotations

import typer

from visavis.cli.evaluate.attacks import attacks
from visavis.cli.evaluate.detection import detection
from visavis.cli.evaluate.groups import groups
from visavis.cli.evaluate.identification import identification
from visavis.cli.evaluate.ijb import ijb
from visavis.cli.evaluate.landmarks import landmarks
from visavis.cli.evaluate.traits import traits
from visavis.cli.evaluate.verification import verification

__all__ = ["app"]

app = typer.Typer(help="Measure error rates by the protocols of the field.", no_args_is_help=True)


@app.callback()
def _root() -> None:
    """Measure error rates by the protocols of the field, of visavis' models or of any other's output."""


for _command in (attacks, detection, groups, identification, ijb, landmarks, traits, verification):
    app.command()(_command)

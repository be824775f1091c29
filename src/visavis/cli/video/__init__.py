"""``visavis video``: what a video file shows, written as a video, a table or a picture. One file a command."""

from __future__ import annotations

import typer

from visavis.cli.video.annotate import annotate
from visavis.cli.video.blur import blur
from visavis.cli.video.faces import faces
from visavis.cli.video.timeline import timeline

__all__ = ["app"]

app = typer.Typer(help="Say who is in videos; draw names into them; cover faces.", no_args_is_help=True)


@app.callback()
def _root() -> None:
    """Say who is in videos; draw names into them; cover faces."""


for _command in (annotate, timeline, faces, blur):
    app.command()(_command)

"""``visavis watch``: cameras, streams and files, followed live."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from visavis.cli.options import Fpir, Machine, Recognition, unpacked

__all__ = ["Keep", "Look", "watch"]


@dataclass(frozen=True)
class Look:
    """How cameras are looked at; each is also a key of a camera in the settings."""

    line: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=X1,Y1,X2,Y2", help="Tell who crosses this line; shares 0..1 of the picture's sides."
        ),
    ] = None
    zone: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=X1,Y1,X2,Y2,X3,Y3,...", help="Tell who stays in this zone for --dwell seconds."),
    ] = None
    dwell: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Tell who stays so long: in zones, else in view.", min=0.1)
    ] = None
    gap: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Somebody not seen for so long has left.", min=0.05)
    ] = None
    rotate: Annotated[
        int,
        typer.Option(metavar="0|90|180|270", help="Degrees clockwise to turn pictures beyond what the source says."),
    ] = 0
    fps: Annotated[
        float | None, typer.Option(metavar="N", help="Look at no more frames a second than this.", min=0.01)
    ] = None
    detect_every: Annotated[int, typer.Option(metavar="N", help="Look for faces in every Nth frame.", min=1)] = 1
    longest: Annotated[
        int | None, typer.Option(metavar="PIXELS", help="Shrink pictures to this longer side.", min=32)
    ] = None
    hardware: Annotated[
        str, typer.Option(metavar="NAME", help="What decodes: auto, none, or a name of FFmpeg's such as vaapi.")
    ] = "auto"
    snapshots: Annotated[bool, typer.Option("--snapshots", help="Keep a picture of the face with each event.")] = False
    as_camera: Annotated[
        bool,
        typer.Option("--as-camera", help="Play files at their own speed, as cameras would; frames may be dropped."),
    ] = False
    loop: Annotated[bool, typer.Option("--loop", help="Play files as cameras, over and over.")] = False


@dataclass(frozen=True)
class Keep:
    """Where events go."""

    events: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            envvar="VISAVIS_EVENTS",
            help="Keep events in this store; or postgresql://...",
        ),
    ] = None
    pictures: Annotated[
        str | None, typer.Option(metavar="DIR", help="Folder of snapshots; else beside the store's file.")
    ] = None
    jsonl: Annotated[str | None, typer.Option(metavar="FILE", help="Append events to a file of JSON lines.")] = None
    csv: Annotated[str | None, typer.Option(metavar="FILE", help="Append events to a CSV file.")] = None
    keep: Annotated[
        float | None, typer.Option(metavar="DAYS", help="Delete older events, snapshots and deliveries.", min=0.001)
    ] = None
    webhook: Annotated[str | None, typer.Option(metavar="URL", help="Send every event to a web address.")] = None
    mqtt: Annotated[
        str | None, typer.Option(metavar="URL", help="Send every event to an MQTT broker: mqtt://HOST/TOPIC.")
    ] = None
    notify: Annotated[
        str | None, typer.Option(metavar="FILE", help="Tell people of what the rules in this file say.")
    ] = None
    test_notify: Annotated[
        bool, typer.Option("--test-notify", help="Send a test to every target of the rules, and end.")
    ] = False


@unpacked
def watch(
    context: typer.Context,
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME=]SOURCE", help="camera:0, rtsp://..., http://..., a video, a folder, or -."),
    ] = None,
    gallery: Annotated[
        str | None,
        typer.Option("--gallery", "-g", metavar="FILE", envvar="VISAVIS_GALLERY", help="Who is enrolled."),
    ] = None,
    collection: Annotated[str, typer.Option(metavar="NAME", help="Of the gallery.")] = "default",
    fpir: Fpir = None,
    config: Annotated[
        str | None, typer.Option(metavar="FILE", help="Settings with many cameras, as cameras.toml.")
    ] = None,
    live: Annotated[
        int | None, typer.Option(metavar="PORT", help="Show the cameras in a browser on this machine.", min=0)
    ] = None,
    workers: Annotated[
        int | None, typer.Option(metavar="N", help="Processes that look for faces; as many as cores.", min=1)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON an event (see docs/cli.md).")] = False,
    *,
    look: Look,
    keep: Keep,
    models: Recognition,
    machine: Machine,
) -> None:
    """Watch cameras, streams and files: who comes, who it is, who leaves.

    Each event is a line: somebody appeared, was identified or is unknown, crossed a line, stayed, left. Without a
    gallery nobody gets a name. Cameras and streams are watched until Ctrl-C, and a camera that is lost is tried again.
    Files, folders of photos and - (standard input) are gone through whole, and then the command ends.

    Needs the package av: pip install 'visavis[video]'.

    Exit code: 0 all fine, also after Ctrl-C with cameras; 1 some files could not be read; 2 error; 130 files were
    interrupted.

    \b
    Examples:
      visavis watch camera:0 -g people.db
      visavis watch party.mp4 -g people.db
      visavis watch door=rtsp://10.0.0.5/live -g people.db \\
        --events events.db --keep 30 --snapshots
      visavis watch --config cameras.toml
      visavis watch party.mp4 --loop --live 8090
    """
    from visavis.cli.report import Report
    from visavis.cli.watch_session import run, tried
    from visavis.cli.watch_settings import composed
    from visavis.cli.watch_table import columns

    with Report("watch", as_json=as_json, columns=columns(), endless=True) as report:
        given = {name for name in context.params if context.get_parameter_source(name).name != "DEFAULT"}  # type: ignore[union-attr]
        values = {"gallery": gallery, "collection": collection, "fpir": fpir, "live": live, "workers": workers}
        values |= {
            "pictures": keep.pictures,
            "events": keep.events,
            "jsonl": keep.jsonl,
            "csv": keep.csv,
            "keep_days": keep.keep,
        }
        settings = composed(
            config,
            sources or (),
            {name: value for name, value in values.items() if name in given or (name == "keep_days" and value)},
            {name: value for name, value in vars(look).items() if name in given},
            {name: value for name, value in (vars(models) | vars(machine)).items() if name in given},
            keep.notify,
            {"webhook": keep.webhook, "mqtt": keep.mqtt},
            trying=keep.test_notify,
        )
        code = tried(report, settings) if keep.test_notify else run(report, settings, machine)
    raise typer.Exit(code)

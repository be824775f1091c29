"""``visavis datasets videos``: the best faces out of videos, into a folder a person."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from visavis.cli.faces import counted
from visavis.cli.models import under_way
from visavis.cli.options import Fpir, GalleryFile, Json, Machine, Recognition, unpacked
from visavis.cli.pictures import writable_folder
from visavis.cli.report import Column, Report
from visavis.errors import InputError

if TYPE_CHECKING:
    from visavis.curation.video_faces import Rotate
    from visavis.curation.video_folder import VideoResult
    from visavis.gallery import Gallery

__all__ = ["videos"]


@unpacked
def videos(
    files: Annotated[list[str], typer.Argument(metavar="VIDEO", help="Videos, or folders with all below them.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the faces and their manifest.")],
    every: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Look at a frame so often; 0: at each. [default: 0.5]", min=0),
    ] = None,
    fps: Annotated[float | None, typer.Option(metavar="N", help="The same as frames a second.", min=0)] = None,
    rotate: Annotated[
        str,
        typer.Option(
            metavar="auto|0|90|180|270",
            help="Degrees clockwise to turn frames beyond what the file says; auto finds out by the faces.",
        ),
    ] = "auto",
    per_track: Annotated[int, typer.Option(metavar="N", help="Faces to keep of each track, at most.", min=1)] = 1,
    size: Annotated[int, typer.Option(metavar="PIXELS", help="Side of the aligned crops.", min=16, max=1024)] = 112,
    min_worth: Annotated[
        float, typer.Option(metavar="0..1", help="Least sharpness x size x frontal of a face.", min=0, max=1)
    ] = 0.0,
    gallery: Annotated[
        str | None, typer.Option("--gallery", "-g", metavar="FILE", help="Sort by the people of this gallery.")
    ] = None,
    collection: Annotated[str, typer.Option(metavar="NAME", help="Of the gallery.")] = "default",
    fpir: Fpir = None,
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Without a gallery: join the tracks of a video that show one person.")
    ] = False,
    whole: Annotated[bool, typer.Option("--frames", help="Keep the whole frames too.")] = False,
    png: Annotated[bool, typer.Option("--png", help="Write crops as PNG, not JPEG.")] = False,
    as_json: Json = False,
    *,
    models: Recognition,
    machine: Machine,
) -> None:
    """Take the best faces out of videos.

    Faces are followed from frame to frame; of each track the sharpest, largest, most frontal is kept, and none that
    looks like one kept already. A video that lies on its side or head is turned upright, even where its file does not
    say so. The faces go into a folder a person of --gallery, else a folder a track. manifest.csv and manifest.jsonl say
    of each where and when it was. A second run goes on where the first one ended, video by video.

    Needs the package av: pip install 'visavis[video]'.

    Exit code: 0 all fine, 1 some videos could not be read or not to their end, 2 error.

    \b
    Examples:
      visavis datasets videos party.mp4 --out faces/
      visavis datasets videos films/ --out faces/ -g people.db
      visavis datasets videos a.mkv --out a/ --per-track 5
    """
    from visavis.curation.video_folder import Recipe, videos_to_folder
    from visavis.video.frames import find_videos, require_library

    columns = [Column("video", keep="end"), Column("faces", 5, right=True), Column("tracks", 6, right=True)]
    columns += [Column("turned", 6, right=True), Column("what", 24)]
    if gallery is not None and cluster:
        raise InputError("--cluster goes without --gallery, which says who the faces are")
    if gallery is None and fpir is not None:
        raise InputError("--fpir goes with --gallery")
    with Report("datasets videos", as_json=as_json, columns=columns, items="videos") as report:
        require_library()
        paths = find_videos(files)
        if not paths:
            raise InputError(f"no video in {', '.join(files[:5])}; videos are known by suffixes such as .mp4")
        analyzer = models.analyzer(machine)
        threshold = _threshold(analyzer) if cluster else None
        recipe = Recipe(_step(every, fps), _turn(rotate), per_track, size, min_worth, whole, cluster=threshold)
        recipe = Recipe(**{**recipe.__dict__, "suffix": ".png" if png else ".jpg"})
        writable_folder(out)
        made_with = {
            "detector": models.detector,
            "detector_set": models.detector_set,
            "landmarks": models.landmarks,
            "min_face": models.min_face,
            "score": models.score,
            "model": analyzer.model,
            "gallery": gallery,
            "collection": collection,
            "fpir": fpir,
        }
        report.fields(out=str(out), model=analyzer.model, every=recipe.every)
        faces = 0
        with contextlib.ExitStack() as stack:
            people = stack.enter_context(GalleryFile(gallery, collection).open(analyzer)) if gallery else None
            if people is not None:
                made_with["enrolled"] = _enrolled(people)
                if not len(people):
                    report.warn(f"{gallery} holds nobody, so every face is unknown")
            say = stack.enter_context(under_way()) if len(paths) == 1 else None
            work = videos_to_folder(
                paths, out, analyzer, recipe, gallery=people, fpir=fpir, made_with=made_with, say=say
            )
            for result in report.track(work, lambda: len(paths), "videos"):
                faces += len(result.faces)
                _show(report, result)
        report.fields(faces=faces)
        report.note(f"{counted(faces, 'face')} in {out}; {out / 'manifest.csv'} lists them")
        code = report.end()
    raise typer.Exit(code)


def _step(every: float | None, fps: float | None) -> float:
    if every is not None and fps is not None:
        raise InputError("--every and --fps say the same: give one")
    if fps is not None:
        if not fps > 0:
            raise InputError(f"--fps is above 0, not {fps}; --every 0 looks at each frame")
        return 1 / fps
    return 0.5 if every is None else every


def _turn(text: str) -> Rotate:
    if text == "auto":
        return "auto"
    if text not in ("0", "90", "180", "270"):
        raise InputError(f"--rotate is auto, 0, 90, 180 or 270, not {text!r}")
    return cast("Rotate", int(text))


def _threshold(analyzer: Any) -> float:
    from visavis.recognition.compare import operating_point

    return operating_point(analyzer.calibration, fmr=1e-4, model=analyzer.calibrated_as).threshold


def _enrolled(gallery: Gallery) -> str:
    """Return a hash of who is enrolled: with others, a video is done again."""
    digest = hashlib.sha256()
    for subject in gallery.list():
        digest.update(repr((subject.name, sorted(subject.counts.items()))).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]


def _show(report: Report, result: VideoResult) -> None:
    people = {row["person"] for row in result.faces if row["person"]}
    what = result.problem or (
        "done before" if result.done_before else f"{counted(len(people), 'name')}" if people else ""
    )
    if result.problem:
        report.skipped += 1
        report.say(f"{'cut short' if result.faces else 'skipped'}: {result.problem}")
    tracks = len({row["track"] for row in result.faces})
    turned = result.turned
    item = {
        "video": result.source,
        "faces": len(result.faces),
        "tracks": tracks,
        "people": sorted(people),
        "turned": turned,
        "votes": result.votes,
        "container": result.container,
        "done_before": result.done_before,
        **({"problem": result.problem} if result.problem else {}),
    }
    report.row(result.source, str(len(result.faces)), str(tracks), f"{turned}°" if turned else "", what, item=item)

"""``visavis detect``, ``verify`` and ``find``: photos alone, without a gallery."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from visavis.cli.options import (
    Detection,
    Json,
    Largest,
    Machine,
    MatchRate,
    Out,
    Paths,
    Recognition,
    Threshold,
    unpacked,
)
from visavis.cli.pictures import PictureFolder
from visavis.cli.report import Column, Report, measured, rate, rate_at
from visavis.errors import InputError
from visavis.files import find_images

if TYPE_CHECKING:
    from visavis.drawing import Label
    from visavis.models.cards import Calibration
    from visavis.pipeline import Analysis, Analyzer
    from visavis.types import Faces

__all__ = ["analyses", "counted", "detect", "find", "say_where", "spelled", "verify", "write_picture"]


def analyses(
    report: Report, analyzer: Analyzer, images: list[str], *, keep_images: bool, what: str
) -> Iterator[Analysis]:
    """Analyze all images that ``images`` stand for; what can't be read is reported as skipped."""
    found = find_images(images)
    stream = analyzer.stream(found, keep_images=keep_images)
    for analysis in report.track(stream, lambda: sum(1 for _ in find_images(images)), what):
        if analysis.error is not None:
            report.skip(analysis.source, analysis.error)
        else:
            yield analysis
    if not report.done:
        raise InputError(f"no image in {', '.join(images[:5])}; images are known by suffixes such as .jpg and .png")


def write_picture(
    pictures: PictureFolder | None, analysis: Analysis, faces: Faces, labels: Sequence[Label] | None = None
) -> dict[str, str]:
    """Write an annotated picture where that was asked for; return what a document says of it."""
    if pictures is None or analysis.image is None:
        return {}
    source = analysis.source
    assert isinstance(source, Path)  # find_images gives paths
    return {"picture": pictures.write(source, analysis.image, faces, labels)}


@unpacked
def detect(images: Paths, out: Out = None, as_json: Json = False, *, models: Detection, machine: Machine) -> None:
    """Find the faces in photos.

    Exit code: 0 all fine, 1 some files were skipped, 2 error.

    \b
    Examples:
      visavis detect group.jpg
      visavis detect photos/ --out annotated/
      visavis detect 'photos/**/*.png' --json
    """
    columns = [
        Column("photo", keep="end"),
        Column("face", 5, right=True),
        Column("score", 5, right=True),
        Column("size", 11, right=True),
        Column("x1", piped=True),
        Column("y1", piped=True),
        Column("x2", piped=True),
        Column("y2", piped=True),
    ]
    with Report("detect", as_json=as_json, columns=columns, items="images") as report:
        pictures = PictureFolder(out, images) if out else None
        analyzer = models.analyzer(machine)
        report.fields(detector=models.detector)
        total = with_faces = 0
        for analysis in analyses(report, analyzer, images, keep_images=bool(out), what="detecting"):
            faces = analysis.faces
            total, with_faces = total + len(faces), with_faces + bool(len(faces))
            picture = write_picture(pictures, analysis, faces)
            report.item({"image": str(analysis.source), "faces": faces.to_dict(), **picture})
            for i, face in enumerate(faces, 1):
                corners = [f"{value:.1f}" for value in face.box]
                size = f"{face.width:.0f} x {face.height:.0f}"
                report.row(str(analysis.source), str(i), f"{face.score:.2f}", size, *corners)
        read = report.done - report.skipped
        report.fields(read=read, faces=total)
        report.note(f"{counted(total, 'face')} in {with_faces} of {counted(read, 'photo')}")
        say_where(report, out)
        code = report.end()
    raise typer.Exit(code)


@unpacked
def verify(
    a: Annotated[Path, typer.Argument(metavar="A", help="A photo with one face.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another.")],
    fmr: MatchRate = None,
    threshold: Threshold = None,
    largest: Largest = False,
    as_json: Json = False,
    *,
    models: Recognition,
    machine: Machine,
) -> None:
    """Decide whether two photos show the same person.

    Without --fmr or --threshold, the threshold is the one that 1 pair of different people in 10,000 reaches
    (--fmr 1e-4), as measured on the data set that the model's card names.

    Exit code: 0 match, 1 no match, 2 error.

    \b
    Examples:
      visavis verify a.jpg b.jpg
      visavis verify passport.jpg door.jpg --fmr 1e-5
    """
    with Report("verify", as_json=as_json) as report:
        analyzer = models.analyzer(machine)
        result = analyzer.verify(a, b, fmr=fmr, threshold=threshold, largest=largest)
        calibration = analyzer.calibration
        report.fields(
            images=[str(a), str(b)],
            **result.to_dict(),
            fmr_measured=measured(calibration),
        )
        report.line("match: the same person" if result.match else "no match: different people")
        report.facts(
            [
                ("similarity", f"{result.similarity:.3f}"),
                ("threshold", f"{result.threshold:.3f}"),
                ("FMR of threshold", spelled(result.fmr, calibration)),
                ("FMR at similarity", rate_at(result.fmr_at_similarity, calibration)),
                ("model", result.model),
            ]
        )
    raise typer.Exit(0 if result.match else 1)


@unpacked
def find(
    probe: Annotated[Path, typer.Argument(metavar="PROBE", help="A photo of the person, with one face.")],
    images: Paths,
    fmr: MatchRate = None,
    threshold: Threshold = None,
    largest: Largest = False,
    out: Out = None,
    as_json: Json = False,
    *,
    models: Recognition,
    machine: Machine,
) -> None:
    """Find one person in a folder of photos, without a gallery.

    Prints the photos that show the person. With --json, every photo with the similarity of each face in it.

    Exit code: 0 all fine (found or not), 1 some files were skipped, 2 error.

    \b
    Examples:
      visavis find ada.jpg photos/
      visavis find ada.jpg photos/ --fmr 1e-5 --out found/
    """
    from visavis.drawing import Label
    from visavis.pipeline import only_face
    from visavis.recognition.compare import DEFAULT_FMR, fmr_at, operating_point, similarity

    columns = [
        Column("photo", keep="end"),
        Column("face", 5, right=True),
        Column("similarity", 10, right=True),
        Column("FMR", 8, right=True),
        Column("threshold", piped=True),
        Column("threshold FMR", piped=True),
        Column("model", piped=True),
    ]
    with Report("find", as_json=as_json, columns=columns, items="images") as report:
        pictures = PictureFolder(out, [*images, str(probe)]) if out else None
        analyzer = models.analyzer(machine)
        calibration = analyzer.calibration
        wanted = fmr if fmr is not None or threshold is not None else DEFAULT_FMR
        point = operating_point(calibration, fmr=wanted, threshold=threshold, model=analyzer.calibrated_as)
        person = only_face(analyzer.analyze(probe), probe, largest=largest).embeddings
        assert person is not None
        report.fields(
            probe=str(probe),
            model=analyzer.model,
            threshold=point.threshold,
            fmr=point.fmr,
            fmr_measured=measured(calibration),
        )
        compared = hits = 0
        for analysis in analyses(report, analyzer, images, keep_images=bool(out), what="searching"):
            faces, rows, matches = analysis.faces, analysis.faces.to_dict(), []
            scores = [] if faces.embeddings is None else similarity(person, faces.embeddings)[0].tolist()
            for i, score in enumerate(scores):
                at = None if calibration is None else float(fmr_at(calibration, score))
                match = score >= point.threshold
                rows[i] |= {"similarity": round(score, 4), "match": match, "fmr_at_similarity": at}
                if match:
                    matches.append(i)
                    shown = (str(i + 1), f"{score:.3f}", rate_at(at, calibration))
                    told = (f"{point.threshold:.4f}", rate(point.fmr), analyzer.model)
                    report.row(str(analysis.source), *shown, *told)
            compared, hits = compared + len(faces), hits + bool(matches)
            item: dict[str, Any] = {"image": str(analysis.source), "match": bool(matches), "faces": rows}
            if matches:
                labels = [Label(probe.stem, f"{scores[i]:.2f}") for i in matches]
                item |= write_picture(pictures, analysis, faces[matches], labels)
            report.item(item)
        read = report.done - report.skipped
        report.fields(read=read, faces=compared, found=hits)
        report.note(
            f"found in {hits} of {counted(read, 'photo')}, {counted(compared, 'face')} compared\n"
            f"threshold {point.threshold:.3f}, model {analyzer.model}, FMR {spelled(point.fmr, calibration)}"
        )
        if point.fmr is not None and point.fmr * compared > 1:
            report.warn(
                f"at FMR {rate(point.fmr)}, about {point.fmr * compared:.0f} of {compared} faces of other people "
                "match by chance; give a smaller --fmr"
            )
        say_where(report, out)
        code = report.end()
    raise typer.Exit(code)


def counted(number: int, what: str) -> str:
    """Return a count in words: ``"1 face"``, ``"1,234 faces"``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def spelled(value: float | None, calibration: Calibration | None) -> str:
    """Return an error rate of a threshold with what it means and where it was measured."""
    if value is None or calibration is None:
        return "unknown (this model was not calibrated)"
    measured_on = f"measured on {calibration.data}" if calibration.measured else f"on {calibration.data}"
    return f"{rate(value)}: 1 in {1 / value:,.0f} pairs of different people, {measured_on}"


def say_where(report: Report, out: Path | None) -> None:
    """Say where pictures went."""
    if out:
        report.note(f"pictures are in {out}")

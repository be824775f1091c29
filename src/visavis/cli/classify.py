"""``visavis classify``: train a classifier on a folder of people, and let it name faces."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from visavis.cli.faces import analyses, counted, say_where, write_picture
from visavis.cli.labeled import embedded, labeled, warn_of_lookalikes, without_doubles
from visavis.cli.options import Detection, Fpir, Json, Machine, Out, Paths, Recognition, Threshold, unpacked
from visavis.cli.pictures import PictureFolder
from visavis.cli.report import Column, Report, rate
from visavis.errors import InputError

if TYPE_CHECKING:
    from visavis.classification import Classifier, Evaluation, Predictions
    from visavis.pipeline import Analyzer

__all__ = ["app"]

app = typer.Typer(
    help="Name faces by a classifier trained on a folder of people.\n\n"
    "Example: visavis classify train people/ --out people.vvc",
    no_args_is_help=True,
)

_SHOWN = 5  # of a list that may be long

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A folder with a sub-folder a person, named after them.")]
File = Annotated[Path, typer.Option("--classifier", "-c", metavar="FILE", help="The classifier, as people.vvc.")]
Given = Annotated[Path, typer.Argument(metavar="FILE", help="The classifier, as people.vvc.")]
LargestFace = Annotated[bool, typer.Option("--largest", help="Take the largest of several faces, not skip the photo.")]


@app.command()
@unpacked
def train(
    folder: Folder,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Write the classifier here.")],
    method: Annotated[str, typer.Option(metavar="NAME", help="knn, svm (linear) or rbf.")] = "knn",
    fpir: Fpir = None,
    threshold: Threshold = None,
    reject: Annotated[
        str, typer.Option(metavar="RULE", help="What the threshold is learnt from: people, calibration or auto.")
    ] = "auto",
    neighbors: Annotated[int, typer.Option(metavar="K", min=1, help="Of knn: how many templates vote.")] = 5,
    c: Annotated[float, typer.Option("--c", metavar="C", help="Of svm and rbf: the cost of a training error.")] = 1.0,
    gamma: Annotated[float, typer.Option(metavar="G", help="Of rbf: how near a support vector counts.")] = 1.0,
    largest: LargestFace = False,
    as_json: Json = False,
    *,
    models: Recognition,
    machine: Machine,
) -> None:
    """Train a classifier on a folder of people.

    A photo without a face, with several of similar size, or that can't be read is reported and skipped. The file holds
    templates of everybody's face: keep it as you keep a gallery.

    Exit code: 0 all fine, 1 some photos were skipped, 2 error.

    \b
    Examples:
      visavis classify train people/ --out people.vvc
      visavis classify train people/ -o svm.vvc --method svm
    """
    from visavis.classification import Classifier, require

    with Report("classify train", as_json=as_json, items="images") as report:
        _refuse_other_files(out)
        work = labeled(report, folder)
        require(method, len({name for name, _ in work}))
        analyzer = models.analyzer(machine)
        calibration = analyzer.calibration
        report.fields(file=str(out), method=method, model=analyzer.model)
        names, paths, embeddings = embedded(report, analyzer, work, largest, "embedding")
        names, embeddings = without_doubles(report, names, paths, embeddings)
        warn_of_lookalikes(report, names, embeddings, None if calibration is None else calibration.similarities[-1])
        for name in sorted({name for name, _ in work} - set(names)):
            report.warn(f"{name!r} is left out: no photo could be used")
        classifier = Classifier.train(
            embeddings,
            names,
            method=method,
            threshold=threshold,
            reject=reject,
            neighbors=neighbors,
            c=c,
            gamma=gamma,
            calibration=calibration,
            **({} if fpir is None else {"fpir": fpir}),
        )
        classifier.save(out)
        described = _described(classifier)
        report.fields(**described)
        report.facts([("classifier", str(out)), *_facts(classifier)])
        code = report.end()
    raise typer.Exit(code)


@app.command()
@unpacked
def predict(
    images: Paths,
    classifier: File,
    top: Annotated[int, typer.Option(metavar="K", min=1, help="How many people to name for each face.")] = 1,
    out: Out = None,
    as_json: Json = False,
    *,
    models: Detection,
    machine: Machine,
) -> None:
    """Say who is in photos.

    The recognizer is the one that the classifier was trained with.

    Exit code: 0 all fine, 1 some files were skipped, 2 error.

    \b
    Examples:
      visavis classify predict party.jpg -c people.vvc
      visavis classify predict photos/ -c people.vvc --out out
    """
    from visavis.classification import Classifier

    said = [Column(name, piped=True) for name in ("threshold", "FPIR", "method", "model")]
    ranked = [Column("rank", 4, right=True), Column("candidate")] if top > 1 else []
    columns = [
        *(Column("photo", keep="end"), Column("face", 4, right=True), Column("who"), *ranked),
        *(Column("probability", 11, right=True), Column("similarity", 10, right=True), *said),
    ]
    with Report("classify predict", as_json=as_json, columns=columns, items="images") as report:
        trained = Classifier.load(classifier)
        pictures = PictureFolder(out, images) if out else None
        analyzer = _analyzer(trained, models, machine)
        _warn_of_other_crops(report, trained, analyzer)
        report.fields(
            classifier=str(classifier),
            method=trained.method,
            model=analyzer.model,
            people=len(trained.people),
            threshold=trained.reject.threshold,
            fpir=trained.reject.fpir,
            rule=trained.reject.rule,
        )
        told = (f"{trained.reject.threshold:.4f}", rate(trained.reject.fpir), trained.method, analyzer.model)
        named = total = 0
        for analysis in analyses(report, analyzer, images, keep_images=bool(out), what="classifying"):
            assert analysis.faces.embeddings is not None
            found = trained.predict(analysis.faces.embeddings)
            rows = analysis.faces.to_dict()
            for row, who in zip(rows, found.to_dict(top), strict=True):
                row |= who
            total, named = total + len(rows), named + int(found.known.sum())
            picture = write_picture(pictures, analysis, analysis.faces, _labels(found) if pictures else None)
            report.item({"image": str(analysis.source), "faces": rows, **picture})
            for cells in _cells(rows, top):
                report.row(str(analysis.source), *cells, *told)
        read = report.done - report.skipped
        report.fields(read=read, faces=total, named=named)
        report.note(
            f"{named} of {counted(total, 'face')} named, in {counted(read, 'photo')}\n"
            f"threshold {told[0]}: expected FPIR {told[1]}; {told[2]} on {told[3]}, {len(trained.people)} people"
        )
        say_where(report, out)
        code = report.end()
    raise typer.Exit(code)


@app.command()
@unpacked
def evaluate(
    folder: Folder,
    classifier: File,
    largest: LargestFace = False,
    as_json: Json = False,
    *,
    models: Detection,
    machine: Machine,
) -> None:
    """Measure a classifier on labeled photos it was not trained on.

    People it doesn't know count as strangers: the right answer is "unknown".

    Exit code: 0 all fine, 1 some photos were skipped, 2 error.

    \b
    Example:
      visavis classify evaluate probes/ -c people.vvc
    """
    from visavis.classification import Classifier
    from visavis.classification import evaluate as measure

    columns = [
        Column("person"),
        Column("known", 5),
        Column("faces", 6, right=True),
        Column("right", 6, right=True),
        Column("wrong", 6, right=True),
        Column("unknown", 7, right=True),
    ]
    with Report("classify evaluate", as_json=as_json, columns=columns, items="images") as report:
        trained = Classifier.load(classifier)
        work = labeled(report, folder)
        analyzer = _analyzer(trained, models, machine)
        _warn_of_other_crops(report, trained, analyzer)
        report.fields(classifier=str(classifier), method=trained.method, model=analyzer.model)
        names, paths, embeddings = embedded(report, analyzer, work, largest, "evaluating")
        found = trained.predict(embeddings)
        seen = int((found.similarities > 1 - 1e-6).sum())
        if seen:
            report.warn(f"{counted(seen, 'photo')} of these were trained on, which flatters the figures")
        for path, name, row in zip(paths, names, found.to_dict(), strict=True):
            report.item({"image": str(path), "person": name, **row})
        result = measure(found, names)
        report.fields(threshold=found.threshold, expected_fpir=found.fpir, **result.to_dict())
        for one in result.people:
            counts = (str(number) for number in (one.faces, one.right, one.wrong, one.unknown))
            report.row(one.subject, "yes" if one.enrolled else "no", *counts)
        report.note(_measured(result, found.fpir))
        code = report.end()
    raise typer.Exit(code)


@app.command()
@unpacked
def show(file: Given, as_json: Json = False) -> None:
    """Show what a classifier file holds: whose faces, and how it decides.

    \b
    Example:
      visavis classify show people.vvc
    """
    from visavis.classification import Classifier

    columns = [Column("person"), Column("templates", 9, right=True)]
    with Report("classify show", as_json=as_json, columns=columns, items="subjects") as report:
        classifier = Classifier.load(file)
        report.fields(file=str(file), method=classifier.method, model=classifier.templates.model)
        for name, count in classifier.counts.items():
            report.row(name, str(count), item={"subject": name, "templates": count})
        report.fields(
            **_described(classifier), settings=dict(classifier.settings), made_with=dict(classifier.made_with)
        )
        report.note("\n".join(f"{label}: {text}" for label, text in _facts(classifier)))


@app.command()
@unpacked
def forget(
    file: Given,
    subject: Annotated[str, typer.Argument(metavar="NAME", help="The person to forget.")],
    as_json: Json = False,
) -> None:
    """Take a person out of a classifier, as if it had never seen them.

    It is trained anew on everybody else's templates, which the file holds, and replaces the file. SVMs need
    scikit-learn for that.

    \b
    Example:
      visavis classify forget people.vvc ada
    """
    from visavis.classification import Classifier

    with Report("classify forget", as_json=as_json) as report:
        left = Classifier.load(file).forget(subject)
        left.save(file)
        report.fields(file=str(file), forgotten=subject, **_described(left))
        report.line(
            f"forgot {subject}; {file} was trained anew on {counted(len(left.templates), 'template')} of others"
        )


def _refuse_other_files(out: Path) -> None:
    """Refuse to write where that can't work, or over a file that is no classifier, before the photos are read."""
    from visavis.classification import Classifier

    if not out.expanduser().parent.is_dir():
        raise InputError(f"--out {out}: there is no folder {out.parent}")
    if out.expanduser().exists():
        try:
            Classifier.load(out)
        except InputError:
            raise InputError(f"--out {out} exists and is no classifier that can be read; choose another name") from None


def _analyzer(classifier: Classifier, models: Detection, machine: Machine) -> Analyzer:
    recognizer, _, variant = classifier.templates.model.partition("+")
    return Recognition(**vars(models), recognizer=recognizer, flip=variant == "flip").analyzer(machine)


def _warn_of_other_crops(report: Report, classifier: Classifier, analyzer: Analyzer) -> None:
    trained = classifier.made_with.get("calibrated_as", analyzer.calibrated_as)
    if trained != analyzer.calibrated_as:
        report.warn(
            f"it was trained as {trained} and is used as {analyzer.calibrated_as}: rates stated hold for the former; "
            "give the --detector it was trained with"
        )


def _described(classifier: Classifier) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "people": len(classifier.people),
        "templates": len(classifier.templates),
        **classifier.reject.to_dict(),
        "confidence": None if classifier.confidence is None else classifier.confidence.to_dict(),
        "validation": None if classifier.validation is None else asdict(classifier.validation),
    }


def _facts(classifier: Classifier) -> Iterator[tuple[str, str]]:
    rejecting, checked = classifier.reject, classifier.validation
    yield "method", f"{classifier.method} on {classifier.templates.model}"
    yield "trained on", f"{counted(len(classifier.templates), 'photo')} of {counted_people(len(classifier.people))}"
    if checked is None:
        yield "accuracy", "unknown: it takes two photos of a person to measure it"
    else:
        yield "right name", f"{checked.right:.1%} of {counted(checked.photos, 'held-out photo')} (cross-validated)"
        yield "and not rejected", f"{checked.named:.1%}"
    yield "threshold", f"similarity {rejecting.threshold:.3f}"
    if rejecting.rule == "people":
        learnt = f"learnt from {counted(rejecting.photos, 'photo')} of left-out people"
        yield "expected FPIR", f"{rate(rejecting.fpir)}, {learnt}"
    elif rejecting.fpir is None:
        yield "expected FPIR", "unknown: this recognizer was not calibrated"
    else:
        yield "expected FPIR", f"at most {rate(rejecting.fpir)}, by the recognizer's calibration"
    if classifier.confidence is None:
        yield "probabilities", "none: they take people with two photos, and other people"
    yield "privacy", "the file holds templates of these people's faces, unencrypted"


def counted_people(number: int) -> str:
    """Return a number of people in words."""
    return f"{number:,} {'person' if number == 1 else 'people'}"


def _labels(found: Predictions) -> list[Any]:
    from visavis.drawing import Label

    labels = []
    for row in found.to_dict():
        probability = row["candidates"][0]["probability"]
        detail = f"{row['similarity']:.2f}" if probability is None else f"{probability:.1%}"
        labels.append(Label("unknown", known=False) if row["subject"] is None else Label(row["subject"], detail))
    return labels


def _cells(rows: list[dict[str, Any]], top: int) -> Iterator[tuple[str, ...]]:
    for i, row in enumerate(rows, 1):
        for rank, candidate in enumerate(row["candidates"], 1):
            value = candidate["probability"]
            ranked = (str(rank), candidate["subject"]) if top > 1 else ()
            probability = "" if value is None else f"{value:.4f}"
            similarity = f"{row['similarity']:.3f}" if rank == 1 else ""
            yield str(i), row["subject"] or "unknown", *ranked, probability, similarity


def _measured(result: Evaluation, expected: float | None) -> str:
    lines = [f"accuracy {_rate(result.accuracy)}, balanced over people {result.balanced_accuracy:.1%}"]
    if result.rank1 is not None:
        lines.append(f"known people: right name {_rate(result.rank1)}; FNIR {_rate(result.fnir)}")
    if result.fpir is not None:
        lines.append(f"strangers: FPIR {_rate(result.fpir)}, expected {rate(expected)}")
    most = [
        f"{counted(one.faces, 'face')} of {one.subject} taken for {one.taken_for or 'unknown'}"
        for one in result.confusions[:_SHOWN]
    ]
    return "\n".join([*lines, *most])


def _rate(estimate: Any) -> str:
    return f"{estimate.value:.1%} ({estimate.low:.1%} to {estimate.high:.1%})"

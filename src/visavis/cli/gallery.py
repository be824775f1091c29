"""``visavis gallery``: look at who is enrolled, change it, move it, and forget people."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from visavis.cli.events import elsewhere, told
from visavis.cli.options import GalleryFile, Json, Machine, Recognition, unpacked
from visavis.cli.report import Column, Report
from visavis.errors import InputError

__all__ = ["app"]

app = typer.Typer(
    help="List, rename, export or erase who is enrolled.\n\nExample: visavis gallery ls -g people.db",
    no_args_is_help=True,
)

Subject = Annotated[str, typer.Argument(metavar="SUBJECT", help="The person's name.")]
Subjects = Annotated[list[str], typer.Argument(metavar="SUBJECT", help="Names of people.")]


@app.command()
@unpacked
def ls(where: GalleryFile, as_json: Json = False) -> None:
    """List who is enrolled.

    \b
    Example:
      visavis gallery ls -g people.db
    """
    columns = [Column("subject"), Column("templates", 9, right=True), Column("enrolled", 10), Column("models", 10)]
    with Report("gallery ls", as_json=as_json, columns=columns, items="subjects") as report, where.open() as gallery:
        people = gallery.list()
        columns.append(Column("external id", piped=not any(one.external_id for one in people)))
        others = [name for name in gallery.collections if name != where.collection]
        report.fields(gallery=where.gallery, collection=where.collection, collections=list(gallery.collections))
        for one in people:
            counts = sum(one.counts.values())
            cells = (one.name, str(counts), one.created.date().isoformat(), " ".join(sorted(one.counts)))
            report.row(*cells, one.external_id or "", item=one.to_dict())
        count = "1 person" if len(people) == 1 else f"{len(people):,} people"
        report.note(f"{count} in {where.gallery}" + (f"; other collections: {', '.join(others)}" if others else ""))
        if gallery.erasure_pending:
            report.warn("an erasure is not finished, as another process was reading; run it again")


@app.command()
@unpacked
def show(where: GalleryFile, subject: Subject, as_json: Json = False) -> None:
    """Show what is stored of a person.

    \b
    Example:
      visavis gallery show ada -g people.db
    """
    with Report("gallery show", as_json=as_json) as report, where.open() as gallery:
        one = gallery.show(subject)
        report.fields(gallery=where.gallery, collection=where.collection, **one.to_dict())
        report.facts(
            [
                ("subject", one.name),
                ("external id", one.external_id or "none"),
                ("enrolled", _time(one.created)),
                *((f"metadata {name}", str(value)) for name, value in one.metadata.items()),
                *((f"template {template.id}", _template(template)) for template in one.templates),
            ]
        )


def _template(template: Any) -> str:
    quality = "".join(f", {name} {value:g}" for name, value in template.quality.items())
    return f"{template.model}, {_time(template.created)}{', crop kept' if template.has_crop else ''}{quality}"


def _time(moment: Any) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


@app.command()
@unpacked
def rename(
    where: GalleryFile,
    subject: Subject,
    to: Annotated[str, typer.Argument(metavar="NEW", help="The new name.")],
    as_json: Json = False,
) -> None:
    """Give a person another name.

    \b
    Example:
      visavis gallery rename ada "Ada Lovelace" -g people.db
    """
    with Report("gallery rename", as_json=as_json) as report, where.open() as gallery:
        gallery.rename(subject, to)
        report.fields(subject=subject, renamed_to=to)
        report.line(f"{subject} is now {to}")


@app.command()
@unpacked
def rm(
    where: GalleryFile,
    subjects: Subjects,
    template: Annotated[
        int | None, typer.Option(metavar="ID", help="Remove only this template (see gallery show).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Remove people; traces stay in the file.

    Quick; they are found no more. Use `visavis gallery erase` where somebody must be forgotten.

    \b
    Examples:
      visavis gallery rm ada -g people.db
      visavis gallery rm ada --template 7 -g people.db
    """
    with Report("gallery rm", as_json=as_json, items="removed") as report, where.open() as gallery:
        if template is not None and len(subjects) > 1:
            raise InputError("--template goes with one person")
        for name in subjects:
            gallery.remove(name, template=template)
            report.item({"subject": name, "template": template})
            report.line(f"removed {name}" if template is None else f"removed template {template} of {name}")


@app.command()
@unpacked
def erase(where: GalleryFile, subjects: Subjects, as_json: Json = False) -> None:
    """Forget people; no trace stays in the file.

    What cameras watched with this gallery said of them goes too: events, undelivered notices, snapshots, and lines of
    JSON lines and CSV files. Copies elsewhere (exports, backups, snapshots of the file system) are out of its reach. If
    another process keeps reading the gallery, this fails rather than leave traces; run it again then.

    \b
    Example:
      visavis gallery erase ada -g people.db
    """
    with Report("gallery erase", as_json=as_json, items="erased") as report, where.open() as gallery:
        for name in subjects:
            done = gallery.erase(name)
            report.item({"subject": name, **done.to_dict()})
            report.line(f"erased {name}" + (f", and {told(done.total)}" if done.total else ""))
            elsewhere(report, done.total)
            for store in done.missing:
                report.warn(f"the store of events {store} is gone; if it was moved, run visavis events erase there")


@app.command()
@unpacked
def export(
    where: GalleryFile,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File to write.")],
    as_json: Json = False,
) -> None:
    """Write everyone to a portable file.

    The file is described in docs/gallery.md. It holds biometric data: keep it safe.

    \b
    Example:
      visavis gallery export people.zip -g people.db
    """
    with Report("gallery export", as_json=as_json) as report, where.open() as gallery:
        done = gallery.export(file)
        report.fields(file=str(file), subjects=done.subjects, templates=done.templates, crops=done.crops)
        report.line(f"{file}: {_moved(done)}")


@app.command("import")
@unpacked
def import_(
    where: GalleryFile,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that gallery export wrote.")],
    existing: Annotated[
        str, typer.Option(metavar="WHAT", help="People enrolled already: refuse the file, merge or skip them.")
    ] = "refuse",
    as_json: Json = False,
) -> None:
    """Add everyone of a portable file.

    All or nothing. The gallery is made where there is none.

    \b
    Example:
      visavis gallery import people.zip -g new.db
    """
    with Report("gallery import", as_json=as_json) as report:
        if existing not in ("refuse", "merge", "skip"):
            raise InputError(f"--existing is refuse, merge or skip, not {existing!r}")
        if not file.is_file():
            raise InputError(f"there is no file {file}")
        with where.open(create=True) as gallery:
            done = gallery.import_from(file, existing=existing)  # type: ignore[arg-type]  # checked above
        skipped = list(done.skipped)
        report.fields(
            file=str(file), subjects=done.subjects, templates=done.templates, crops=done.crops, skipped_subjects=skipped
        )
        report.line(f"{where.gallery}: added {_moved(done)}")
        if skipped:
            report.say(f"left as they are: {', '.join(skipped[:10])}{' ...' if len(skipped) > 10 else ''}")


@app.command()
@unpacked
def remake(
    where: GalleryFile,
    replace: Annotated[
        bool, typer.Option("--replace", help="Then remove the other models' templates of those people.")
    ] = False,
    as_json: Json = False,
    *,
    models: Recognition,
    machine: Machine,
) -> None:
    """Make templates of another model.

    They are made from the crops that were kept at enrollment (visavis enroll --keep-crops).

    \b
    Example:
      visavis gallery remake --recognizer r50 -g people.db
    """
    with Report("gallery remake", as_json=as_json) as report:
        analyzer = models.analyzer(machine)
        with where.open(analyzer) as gallery:
            done = gallery.remake(replace=replace)
        report.fields(model=done.model, templates=done.templates, without=list(done.without))
        report.line(f"{done.templates} templates of {done.model} made")
        if done.without:
            report.say(f"no crop was kept of {', '.join(done.without[:10])}{' ...' if len(done.without) > 10 else ''}")


def _moved(done: Any) -> str:
    crops = f", {done.crops:,} crops" if done.crops else ""
    return f"{done.subjects:,} people, {done.templates:,} templates{crops}"

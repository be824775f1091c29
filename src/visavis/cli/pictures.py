"""Where annotated pictures go: names that never collide, and never on top of a picture that was given."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from visavis.errors import InputError, StorageError
from visavis.files import reason

if TYPE_CHECKING:
    from visavis.drawing import Label, Lettering
    from visavis.types import Faces, Image

__all__ = ["PictureFolder", "writable_folder"]

_MARK = ".faces"  # group.jpg becomes group.faces.jpg
_WRITABLE = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}


def writable_folder(path: Path) -> Path:
    """Make a folder and try to write into it, so that a mistake is told before the work and not after.

    Raises
    ------
    StorageError
        If it can't be made or written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except FileExistsError:
        raise StorageError(f"--out {path} is a file; give a folder") from None
    except OSError as error:
        raise StorageError(f"--out {path} can't be written: {reason(error)}; choose another folder") from None
    return path


class PictureFolder:
    """Names a picture for each source: the tree below a folder given is kept, files given stand at the top.

    Parameters
    ----------
    folder
        Where pictures are written.
    given
        The files, folders and patterns of the command line.

    Raises
    ------
    InputError
        If the folder lies in one that is searched: its pictures would be searched too.
    StorageError
        If it can't be written.
    """

    def __init__(self, folder: Path, given: Sequence[str]) -> None:
        self._roots: list[Path] = []
        self._taken: set[str] = set()
        target = folder.resolve()
        for path in map(Path, given):
            if path.is_file():
                self._taken.add(_key(path.resolve()))  # never overwrite what was given
                continue
            root = path if path.is_dir() else _fixed_part(path)
            if _searched(target, root.resolve(), path.parts[len(root.parts) :]):
                raise InputError(f"--out {folder} lies in {path}, which is searched; choose a folder outside of it")
            self._roots.append(root)
        self.folder = writable_folder(folder)
        self._target = target
        self._lettering: Lettering | None = None

    def write(
        self, source: str | os.PathLike[str], image: Image, faces: Faces, labels: Sequence[Label] | None = None
    ) -> str:
        """Write an image with its faces drawn on it, and return its path."""
        from visavis.drawing import Lettering, annotate
        from visavis.image import save_image

        if self._lettering is None:
            self._lettering = Lettering()  # one for all pictures: it loads fonts
        path = self.path_for(source)
        save_image(path, annotate(image, faces, labels, lettering=self._lettering))
        return str(path)

    def path_for(self, source: str | os.PathLike[str]) -> Path:
        """Return where the picture of ``source`` goes, and make its folder."""
        source = Path(source)
        root = next((root for root in self._roots if root in source.parents), source.parent)
        below = source.relative_to(root)
        suffix = source.suffix if source.suffix.lower() in _WRITABLE else ".jpg"
        path, number = self._named(below, suffix, 1), 1
        while _key(self._target / path) in self._taken:
            number += 1
            path = self._named(below, suffix, number)
        self._taken.add(_key(self._target / path))
        target = self.folder / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{target.parent} can't be made: {reason(error)}") from None
        return target

    @staticmethod
    def _named(below: PurePath, suffix: str, number: int) -> PurePath:
        count = f"-{number}" if number > 1 else ""
        return below.with_name(f"{below.stem}{count}{_MARK}{suffix}")


def _fixed_part(pattern: Path) -> Path:
    """Return the folder that a pattern searches: ``photos/*.jpg`` searches ``photos``."""
    parts = []
    for part in pattern.parts[:-1]:
        if any(sign in part for sign in "*?["):
            break
        parts.append(part)
    return Path(*parts)


def _searched(folder: Path, root: Path, pattern: Sequence[str]) -> bool:
    """Whether files in ``folder`` are found by searching ``root``: a pattern reaches as deep as it has parts."""
    if folder != root and root not in folder.parents:
        return False
    depth = len(folder.parts) - len(root.parts) + 1
    return not pattern or "**" in pattern or depth <= len(pattern)


def _key(path: Path) -> str:
    return str(path).casefold()  # some file systems take X.jpg and x.jpg for one name

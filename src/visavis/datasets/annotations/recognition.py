"""Which format a file or folder is in, told by what it holds."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from visavis.datasets.annotations.text import lines_of, open_text
from visavis.errors import InputError
from visavis.files import printable_path

__all__ = ["recognize"]


def recognize(path: Path) -> str:
    """Return the name of a file's or folder's format.

    Raises
    ------
    InputError
        If there is nothing of the name, or what is there fits no format or several.
    """
    if not path.exists():
        raise InputError(f"there is no {printable_path(path)}; check the path")
    found = _of_folder(path) if path.is_dir() else _of_file(path)
    if found is None:
        raise InputError(f"{printable_path(path)} is in no format that can be told; name it with --from")
    return found


def _of_folder(path: Path) -> str | None:
    if next(path.glob("wider_*_val.mat"), None):
        return "wider"
    if next(path.glob("*[eE]llipse*.txt"), None):
        return "fddb"
    if (path / "data.yaml").is_file() or (path / "labels").is_dir() or (path / "classes.txt").is_file():
        return "yolo"
    if (path / "Annotations").is_dir() or next(path.rglob("*.xml"), None):
        return "voc"
    inner = next(path.glob("*/*.txt"), None)
    if inner is not None:
        head = [text for text, _ in islice(lines_of(inner), 2)]
        if len(head) == 2 and head[1].isdigit():
            return "wider-predictions"
    return "yolo" if next(path.rglob("*.txt"), None) else None


def _of_file(path: Path) -> str | None:
    suffix = path.suffix.lower()
    known = {".mat": "wider", ".xml": "voc", ".yaml": "yolo", ".yml": "yolo"}
    if suffix in known:
        return known[suffix]
    if suffix == ".json":
        with open_text(path) as file:
            head = file.read(2**16).lstrip()
        if head.startswith("{"):
            return "coco"
        return "coco-results" if '"image_id"' in head else "label-studio" if head.startswith("[") else None
    if suffix != ".txt":
        return None
    first = [text.split() for text, _ in islice(lines_of(path), 3)]
    if len(first) < 2 or len(first[1]) != 1 or not first[1][0].isdigit():
        return None
    columns = len(first[2]) if len(first) > 2 and first[1] != ["0"] else 0
    if columns in (5, 6):
        return "fddb"
    named = "." in first[0][-1].rsplit("/", 1)[-1]
    return "wider" if columns in (4, 10) or named else "fddb"

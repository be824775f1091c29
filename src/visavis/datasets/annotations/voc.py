"""Pascal VOC: an XML file a picture (Everingham et al., "The PASCAL Visual Object Classes Challenge", 2010).

Pixels are counted from 1 and both ends belong to the box: ``xmin`` 1 and ``xmax`` 10 are the ten leftmost columns,
which here are 0 to 10. Written are whole pixels, as the format has them. A document with a DTD is refused: entities
that unpack to gigabytes and files that are read from elsewhere need one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from visavis.datasets.annotations.annotation import FACE, Annotation
from visavis.datasets.annotations.text import MAX_BOXES, Folder, checked_name, number, short
from visavis.errors import InputError
from visavis.files import IMAGE_SUFFIXES, printable_path, read_file, reason

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

__all__ = ["read", "write"]

_MAX_XML = 32 * 2**20
_SIDES = ("xmin", "ymin", "xmax", "ymax")
_FLAGS = ("difficult", "truncated", "occluded")


def read(path: Path) -> Iterator[Annotation]:
    """Read one XML file, or all of a folder (``Annotations/`` in it, if there is one) and below.

    A picture's name is its ``filename``, below the folder that the XML lies in.

    Raises
    ------
    InputError
        If a file is no XML, has a DTD, or a box in it can't be used; the message names the file and the box.
    """
    if not path.is_dir():
        yield _annotation(path, "")
        return
    folder = path / "Annotations" if (path / "Annotations").is_dir() else path
    files = sorted(folder.rglob("*.xml"))
    if not files:
        raise InputError(f"{printable_path(path)} holds no XML files")
    for file in files:
        below = file.parent.relative_to(folder).as_posix()
        yield _annotation(file, "" if below == "." else below + "/")


class _NoDtd:
    """Builds the tree, and refuses a document type as soon as it begins."""

    def __init__(self) -> None:
        from xml.etree.ElementTree import TreeBuilder

        self._builder = TreeBuilder()
        self._depth = 0
        self._count = 0

    def start(self, tag: str, attributes: dict[str, str]) -> Any:
        self._depth, self._count = self._depth + 1, self._count + 1
        if self._depth > 64 or self._count > 32 * MAX_BOXES:
            raise InputError("it nests too deep or has too many elements")
        return self._builder.start(tag, attributes)

    def end(self, tag: str) -> Any:
        self._depth -= 1
        return self._builder.end(tag)

    def data(self, text: str) -> None:
        self._builder.data(text)

    def doctype(self, *_: Any) -> None:
        raise InputError("it has a DTD, which no VOC annotation needs and an XML bomb does")

    def close(self) -> Any:
        return self._builder.close()


def _annotation(path: Path, below: str) -> Annotation:
    from xml.etree.ElementTree import ParseError, XMLParser

    try:
        parser = XMLParser(target=_NoDtd())  # noqa: S314 (its target refuses what makes XML dangerous)
        parser.feed(read_file(path, _MAX_XML))
        root: Element = parser.close()
    except (ParseError, ValueError, LookupError) as error:
        detail = str(error) if isinstance(error, (InputError, ParseError)) else reason(error)
        raise InputError(f"{printable_path(path)} is no VOC annotation: {detail}") from None
    if root.tag != "annotation":
        raise InputError(f"{printable_path(path)} is no VOC annotation: it begins with <{root.tag[:40]}>")
    named = _text(root, "filename") or path.stem + ".jpg"
    if PurePosixPath(named).suffix.lower() not in IMAGE_SUFFIXES:
        named += ".jpg"  # as VOC's own of 2007 have it in some mirrors
    image = checked_name(below + checked_name(named, path.name), path.name)
    width, height = (_whole(root.find("size"), side, path.name) for side in ("width", "height"))
    boxes, labels, flags = [], [], []
    for i, item in enumerate(root.findall("object")):
        at = f"{path.name}, object {i + 1}"
        frame = item.find("bndbox")
        if frame is None:
            raise InputError(f"{at}: it has no bndbox")
        x1, y1, x2, y2 = (number(_text(frame, side), at, f"the number {side}") for side in _SIDES)
        if x2 < x1 - 1 or y2 < y1 - 1:
            raise InputError(f"{at}: a box of negative size: {x1:g} {y1:g} {x2:g} {y2:g}")
        boxes.append([x1 - 1, y1 - 1, x2, y2])
        labels.append((_text(item, "name") or FACE)[:200])
        flags.append([_text(item, flag) in ("1", "true", "True") for flag in _FLAGS])
    table = np.array(flags, np.int16).reshape(-1, len(_FLAGS))
    traits = {flag: table[:, k] for k, flag in enumerate(_FLAGS)}
    known = bool(width and height)
    return Annotation(
        image,
        np.array(boxes, np.float32).reshape(-1, 4),
        width if known else None,
        height if known else None,
        labels=tuple(labels),
        traits=traits,
    )


def _text(element: Element, name: str) -> str:
    return (element.findtext(name) or "").strip()


def _whole(element: Element | None, name: str, at: str) -> int | None:
    text = "" if element is None else _text(element, name)
    if not text:
        return None
    value = number(text, at, f"the picture's {name}")
    if value != int(value) or value < 0:
        raise InputError(f"{at}: {short(text)} where the picture's {name} is needed")
    return int(value)


def write(path: Path, items: Iterable[Annotation]) -> None:
    """Write an XML file a picture into a folder, below it as the pictures lie; boxes in whole pixels."""
    from xml.etree.ElementTree import Element, SubElement, indent, tostring

    folder = Folder(path)
    for item in items:
        root = Element("annotation")
        name = PurePosixPath(item.image)
        SubElement(root, "folder").text = "" if str(name.parent) == "." else name.parent.name
        SubElement(root, "filename").text = name.name
        if item.width is not None:
            size = SubElement(root, "size")
            for side, value in (("width", item.width), ("height", item.height), ("depth", 3)):
                SubElement(size, side).text = str(value)
        SubElement(root, "segmented").text = "0"
        flags = {flag: item.trait(flag) for flag in _FLAGS}
        for i, box in enumerate(np.rint(item.boxes).astype(np.int64).tolist()):
            element = SubElement(root, "object")
            SubElement(element, "name").text = item.labels[i]
            SubElement(element, "pose").text = "Unspecified"
            for flag, column in flags.items():
                SubElement(element, flag).text = str(int(bool(column[i])))
            frame = SubElement(element, "bndbox")
            corners = [box[0] + 1, box[1] + 1, max(box[2], box[0] + 1), max(box[3], box[1] + 1)]
            for side, value in zip(_SIDES, corners, strict=True):
                SubElement(frame, side).text = str(value)
        indent(root)
        with folder.file(str(name.with_suffix(".xml")), item.image) as file:
            file.write(tostring(root, encoding="unicode") + "\n")

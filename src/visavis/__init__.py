"""visavis ("face to face"): face recognition that says how sure it is.

>>> import visavis as vv
>>> faces = vv.analyze("group.jpg")                # doctest: +SKIP
>>> vv.verify("a.jpg", "b.jpg").match              # doctest: +SKIP
True

Names are loaded when first used; importing this package loads not even numpy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from visavis import errors as _errors
from visavis.errors import *  # noqa: F403  (the error classes are public, and cost nothing)

if TYPE_CHECKING:
    from visavis.gallery import Gallery, open_gallery
    from visavis.pipeline import Analysis, Analyzer, analyze, verify
    from visavis.types import Candidates, Embeddings, Face, Faces, Verification

__version__ = "0.1.0"

_LATE = {
    "Analysis": "visavis.pipeline",
    "Analyzer": "visavis.pipeline",
    "Candidates": "visavis.types",
    "Embeddings": "visavis.types",
    "Face": "visavis.types",
    "Faces": "visavis.types",
    "Gallery": "visavis.gallery",
    "Verification": "visavis.types",
    "analyze": "visavis.pipeline",
    "open_gallery": "visavis.gallery",
    "verify": "visavis.pipeline",
}

__all__ = [
    *(name for name in _errors.__all__ if name[0].isupper()),
    "Analysis",
    "Analyzer",
    "Candidates",
    "Embeddings",
    "Face",
    "Faces",
    "Gallery",
    "Verification",
    "analyze",
    "open_gallery",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name in _LATE:
        return getattr(import_module(_LATE[name]), name)
    raise AttributeError(f"module 'visavis' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATE})

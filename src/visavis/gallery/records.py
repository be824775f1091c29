"""What a gallery tells about its subjects, and what it accepts as names, ids and metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any

from visavis.errors import InputError

__all__ = [
    "MAX_METADATA",
    "Enrollment",
    "Subject",
    "Template",
    "checked_metadata",
]

MAX_METADATA = 64 * 1024
"""Bytes metadata may have as JSON."""


@dataclass(frozen=True)
class Template:
    """One stored reference of a subject.

    Attributes
    ----------
    id
        Its number in the gallery; never used twice.
    model
        Card id and variant of the recognizer it came from.
    created
        When it was stored, UTC.
    quality
        What was measured of the face at enrollment, by name with its unit (``eye_distance_px``); empty where the
        template came as an embedding.
    has_crop
        Whether the aligned crop was kept.
    """

    id: int
    model: str
    created: datetime
    quality: Mapping[str, float] = field(default_factory=dict)
    has_crop: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, JSON-ready."""
        return {
            "id": self.id,
            "model": self.model,
            "created": self.created.isoformat(),
            "quality": dict(self.quality),
            "has_crop": self.has_crop,
        }


@dataclass(frozen=True)
class Subject:
    """A person enrolled in a gallery.

    Attributes
    ----------
    name
        Unique in the collection.
    external_id
        The caller's own id of the person, unique in the collection, or None.
    metadata
        The caller's own JSON object.
    created
        When the subject was first enrolled, UTC.
    counts
        How many templates of each model there are.
    templates
        The templates, oldest first: from `Gallery.show`; `Gallery.list` leaves them out.
    """

    name: str
    external_id: str | None
    metadata: Mapping[str, Any]
    created: datetime
    counts: Mapping[str, int]
    templates: tuple[Template, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, JSON-ready."""
        row: dict[str, Any] = {
            "subject": self.name,
            "external_id": self.external_id,
            "metadata": dict(self.metadata),
            "created": self.created.isoformat(),
            "counts": dict(self.counts),
        }
        if self.templates:
            row["templates"] = [template.to_dict() for template in self.templates]
        return row


@dataclass(frozen=True)
class Enrollment:
    """What an enrollment did.

    Attributes
    ----------
    subject
        The subject's name, as stored.
    created
        Whether the subject was not enrolled before.
    templates
        How many templates were added.
    model
        Card id and variant of the recognizer.
    warnings
        What deserves a look: the face resembles another subject, or a check was overridden.
    quality
        What was measured of each new template's face; empty mappings for embeddings.
    """

    subject: str
    created: bool
    templates: int
    model: str
    warnings: tuple[str, ...] = ()
    quality: tuple[Mapping[str, float], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, JSON-ready."""
        return {
            "subject": self.subject,
            "created": self.created,
            "templates": self.templates,
            "model": self.model,
            "warnings": list(self.warnings),
            "quality": [dict(row) for row in self.quality],
        }


def checked_metadata(value: Mapping[str, Any] | None) -> str:
    """Return metadata as compact JSON.

    Raises
    ------
    InputError
        If it is no JSON object (a mapping of text to null, booleans, finite numbers, text, lists and such mappings)
        or larger than `MAX_METADATA`.
    """
    if value is None:
        value = {}
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise InputError(f"metadata must be a mapping of text to JSON values, not {type(value).__name__}")
    try:
        text = json.dumps(dict(value), ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
        size = len(text.encode("utf-8"))
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"metadata can't be written as JSON: {error}") from None
    if size > MAX_METADATA:
        raise InputError(f"metadata may have {MAX_METADATA} bytes as JSON, not {size}")
    return text


EMPTY: Mapping[str, float] = MappingProxyType({})

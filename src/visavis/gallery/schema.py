"""The tables of a gallery, as SQLAlchemy Core: the same on SQLite and PostgreSQL.

::

    meta         key, value                               schema_version; a pending erasure
    collections  id, name, removals                       removals counts the transactions that removed
    templates subjects     id, collection, name, external_id, metadata, created crops        id, subject, png,
    landmarks              pieces of photos, only where the user chose to keep them templates    id,
    collection, subject, crop, model, vector, quality, created

Ids are never used twice, so an id seen once is a name for one row for ever: that is what lets an index in
memory be brought up to date by asking for the ids above the last one it saw. Times are microseconds since
1970 in UTC. A vector is little-endian float32. Crops lie in a table of their own so that reading a million
vectors doesn't step over them.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from visavis.database.contents import Contents, meta_table
from visavis.errors import GalleryBusy, GalleryError, GalleryTooNew, NotAGallery

__all__ = ["CONTENTS", "collections", "crops", "meta", "subjects", "tables", "templates"]

_Id = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by itself only for INTEGER

tables = MetaData()

meta = meta_table(tables)

CONTENTS = Contents(
    noun="gallery",
    example="people.db",
    application_id=0x76697376,  # "visv"
    schema_version=1,
    tables=tables,
    error=GalleryError,
    foreign=NotAGallery,
    too_new=GalleryTooNew,
    busy=GalleryBusy,
    if_missing="enroll someone to make it, or check the path",
)

collections = Table(
    "collections",
    tables,
    Column("id", _Id, primary_key=True),
    Column("name", String(200), nullable=False, unique=True),
    Column("removals", BigInteger, nullable=False, default=0),
    sqlite_autoincrement=True,
)

subjects = Table(
    "subjects",
    tables,
    Column("id", _Id, primary_key=True),
    Column("collection", _Id, ForeignKey(collections.c.id), nullable=False),
    Column("name", String(200), nullable=False),
    Column("external_id", String(200)),
    Column("metadata", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    UniqueConstraint("collection", "name"),
    UniqueConstraint("collection", "external_id"),
    sqlite_autoincrement=True,
)

crops = Table(
    "crops",
    tables,
    Column("id", _Id, primary_key=True),
    Column("subject", _Id, ForeignKey(subjects.c.id), nullable=False, index=True),
    Column("png", LargeBinary, nullable=False),
    Column("landmarks", Text, nullable=False),
    sqlite_autoincrement=True,
)

templates = Table(
    "templates",
    tables,
    Column("id", _Id, primary_key=True),
    Column("collection", _Id, ForeignKey(collections.c.id), nullable=False),
    Column("subject", _Id, ForeignKey(subjects.c.id), nullable=False, index=True),
    Column("crop", _Id, ForeignKey(crops.c.id), index=True),
    Column("model", String(200), nullable=False),
    Column("vector", LargeBinary, nullable=False),
    Column("quality", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    Index("templates_by_model", "collection", "model"),
    sqlite_autoincrement=True,
)

"""What a database of ours holds: how it is marked, its tables, and the words and errors in which it is spoken of."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Column, Connection, MetaData, String, Table, Text, insert, select

from visavis.errors import VisavisError

__all__ = ["Contents", "meta_table"]


def meta_table(tables: MetaData) -> Table:
    """Return the table of single values that every database has: its schema's version, an erasure left to finish."""
    return Table("meta", tables, Column("key", String(64), primary_key=True), Column("value", Text, nullable=False))


@dataclass(frozen=True)
class Contents:
    """One kind of database.

    Attributes
    ----------
    noun, example
        What it is called, and a file's name to give as an example: ``"gallery"``, ``"people.db"``.
    application_id
        Marks an SQLite file as of this kind; file(1) shows it.
    schema_version
        A file or server with a higher one is left alone.
    tables
        With the table `meta_table` among them.
    error, foreign, too_new, busy
        What is raised: anything else; where it is something else; where it is of a newer visavis; where another
        process holds it.
    if_missing
        What to do where there is none.
    """

    noun: str
    example: str
    application_id: int
    schema_version: int
    tables: MetaData
    error: type[VisavisError]
    foreign: type[VisavisError]
    too_new: type[VisavisError]
    busy: type[VisavisError]
    if_missing: str

    @property
    def a_noun(self) -> str:
        """Its noun with the article."""
        return f"{'an' if self.noun[0] in 'aeiou' else 'a'} {self.noun}"

    @property
    def meta(self) -> Table:
        """The table of single values."""
        return self.tables.tables["meta"]

    def make(self, connection: Connection) -> None:
        """Make the tables in an empty database."""
        self.tables.create_all(connection)
        connection.execute(insert(self.meta).values(key="schema_version", value=str(self.schema_version)))

    def value(self, connection: Connection, key: str) -> str | None:
        """Return an entry of the meta table."""
        found: str | None = connection.execute(select(self.meta.c.value).where(self.meta.c.key == key)).scalar()
        return found

    def check_version(self, version: str | None, where: str) -> None:
        """Refuse a database whose schema is unknown or newer."""
        if version is None or not version.isdigit():
            raise self.foreign(f"{where} doesn't say its schema: it is damaged; restore it from an export or a backup")
        if int(version) > self.schema_version:
            raise self.too_new(
                f"{where} was written by a newer visavis (schema {version}, this one knows {self.schema_version}); "
                "update visavis. It was left as it is"
            )

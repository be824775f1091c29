"""The gallery: enroll people, ask who a face is, forget them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from sqlalchemy import func, select, update

from visavis.analysis.quality import QualityGate
from visavis.database import erasure
from visavis.database.file import DatabaseFile
from visavis.database.times import micros_now
from visavis.errors import GalleryError, InputError, SubjectExists, VisavisError
from visavis.gallery import fed, identification, portable, remaking, store
from visavis.gallery.enrollment import FaceAnalyzer, probe_of, samples_of
from visavis.gallery.records import Enrollment, Subject, checked_metadata
from visavis.gallery.schema import CONTENTS, collections, subjects
from visavis.models.cards import Calibration
from visavis.models.store import calibration_of
from visavis.names import checked_name
from visavis.recognition.compare import DEFAULT_FPIR, operating_point
from visavis.types import Candidates, Embeddings

__all__ = ["Gallery", "open_gallery"]

_ERASE_SECONDS = 10.0


class Gallery:
    """People enrolled in one collection of one file. Made by `open_gallery`; safe to share among threads.

    Attributes
    ----------
    collection
        The collection's name.
    gate
        What a photo's face must reach to be enrolled.
    """

    def __init__(
        self, database: DatabaseFile, collection: str, analyzer: FaceAnalyzer | None, gate: QualityGate | None
    ) -> None:
        self.collection = collection
        self.gate = gate or QualityGate()
        self._database = database
        self._analyzer = analyzer
        self._indexes = store.LiveIndexes(database, collection)
        self._calibrations: dict[str, Calibration | None] = {}
        self._opening = database.openings
        self._followed: tuple[int, ...] = ()

    # ---- enrolling
    # -------------------------------------------------------------------------------------------

    def enroll(
        self,
        subject: str,
        sources: Any,
        *,
        external_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        keep_crops: bool = False,
        force: bool = False,
    ) -> Enrollment:
        """Store templates of a person, new or enrolled already: all of them, or none if one is refused.

        When this returns, the templates are on disk and survive a crash or a power cut.

        Parameters
        ----------
        subject
            The person's name in this collection.
        sources
            A photo (path, encoded bytes or RGB array ``(h, w, 3)``), a list of photos, one image's `Faces`,
            or `Embeddings`, each row of which becomes a template.
        external_id
            Your own id of the person, unique in the collection.
        metadata
            A JSON object of your own, at most 64 KiB. For an enrolled subject it replaces what was there.
        keep_crops
            Also keep each face's surroundings as a picture, so that `remake` can make templates of another
            model.
        force
            Enroll a face that the quality gate refuses, and the largest of several.

        Returns
        -------
        What was added, with warnings: that the face looks like another subject's, or what ``force`` overrode.

        Raises
        ------
        NoFaceFound, SeveralFacesFound, QualityRefused
            If a photo doesn't show exactly one usable face; the message says which check and by how much.
        SubjectExists
            If the external id is another subject's, or this subject has another one.
        InputError
            If a name, id or metadata is malformed.
        StorageError, GalleryBusy
            If the disk is full or read-only, or another process holds the gallery; nothing was changed.
        """
        name = checked_name(subject)
        external_id = None if external_id is None else checked_name(external_id, "an external id")
        described = checked_metadata(metadata)
        samples = samples_of(sources, self._need_analyzer, self.gate, keep_crops=keep_crops, force=force)
        model = samples.embeddings.model
        warnings = samples.warnings + self._resemblances(name, samples.embeddings)
        now = micros_now()
        with self._database.writing() as connection:
            collection = store.make_collection(connection, self.collection)
            row = store.find_subject(connection, collection, name)
            if row is None:
                owner = store.insert_subject(connection, collection, name, external_id, described, now)
            else:
                owner = int(row.id)
                changes: dict[str, Any] = {} if metadata is None else {"metadata": described}
                if external_id is not None and external_id != row.external_id:
                    if row.external_id is not None:
                        raise SubjectExists(f"{name!r} has the external id {row.external_id!r}, not {external_id!r}")
                    store.refuse_taken_id(connection, collection, external_id)
                    changes["external_id"] = external_id
                if changes:
                    connection.execute(update(subjects).where(subjects.c.id == owner).values(**changes))
            store.insert_templates(connection, collection, owner, model, samples.templates)
        quality = tuple(template.quality for template in samples.templates)
        return Enrollment(name, row is None, len(samples.templates), model, warnings, quality)

    def _resemblances(self, name: str, embeddings: Embeddings) -> tuple[str, ...]:
        calibration = self._calibration(embeddings.model)
        if calibration is None:
            return ()
        with self._database.reading() as connection:
            index = self._indexes.get(connection, embeddings.model)
            if index is None or not len(index):
                return ()
            return identification.resemblances(connection, index, name, embeddings, calibration)

    # ---- identifying
    # -----------------------------------------------------------------------------------------

    def identify(
        self,
        probe: Any,
        *,
        top: int = 5,
        fpir: float | None = None,
        fmr: float | None = None,
        threshold: float | None = None,
    ) -> Candidates:
        """Say who faces may be: the most similar subjects of each, found exactly.

        What other processes enrolled or removed a moment ago is taken into account.

        Parameters
        ----------
        probe
            An image (every face in it is a probe), `Faces` with embeddings, or `Embeddings`.
        top
            How many subjects to name for each face; templates of one subject count once, by the most similar.
        fpir, fmr, threshold
            What decides whether a candidate counts, one of them: the false positive identification rate to
            accept over this gallery (the default, 0.01), the false match rate of one comparison, or a
            similarity.

        Returns
        -------
        `Candidates`, a row a face in the order of the faces; none where there are no faces.

        Raises
        ------
        ModelMismatch
            If the gallery holds templates of other models only.
        CalibrationError
            If no error rates were measured for the model and no ``threshold`` is given.
        """
        if isinstance(top, bool) or not isinstance(top, int) or top < 1:
            raise InputError(f"top must be a whole number above 0, not {top!r}")
        if fpir is None and fmr is None and threshold is None:
            fpir = DEFAULT_FPIR
        embeddings, faces = probe_of(probe, self._need_analyzer)
        calibration = self._calibration(embeddings.model)
        with self._database.reading() as connection:
            index = self._indexes.get(connection, embeddings.model)
            if index is None or not len(index):
                collection = store.collection_id(connection, self.collection)
                identification.refuse_other_models(embeddings.model, store.model_counts(connection, collection))
            searched = 0 if index is None else len(index)
            named = self._calibrated_as(embeddings.model)
            point = operating_point(
                calibration, fmr=fmr, fpir=fpir, threshold=threshold, templates=searched, model=named
            )
            return identification.candidates(connection, index, embeddings, faces, top, point, calibration)

    # ---- looking and changing
    # --------------------------------------------------------------------------------

    def list(self) -> tuple[Subject, ...]:
        """Return every subject, by name, with the number of templates of each model."""
        with self._database.reading() as connection:
            return store.read_subjects(connection, store.collection_id(connection, self.collection))

    def show(self, subject: str) -> Subject:
        """Return one subject with its templates; `UnknownSubject` where there is none."""
        name = checked_name(subject)
        with self._database.reading() as connection:
            collection = store.collection_id(connection, self.collection)
            return store.read_subject(connection, store.require_subject(connection, collection, name))

    def rename(self, subject: str, to: str) -> None:
        """Give a subject another name, also in the events of cameras (see `remember_events`).

        Raises
        ------
        UnknownSubject, SubjectExists
            If there is no such subject, or another one has the new name.
        EventsOutOfReach and other errors of stores of events
            If a store of events can't be opened: nothing was changed.
        """
        name, new = checked_name(subject), checked_name(to)
        with fed.opened(self.event_stores) as stores:
            with self._database.writing() as connection:
                collection = store.collection_id(connection, self.collection)
                row = store.require_subject(connection, collection, name)
                taken = store.find_subject(connection, collection, new)
                if taken is not None and taken.id != row.id:
                    raise SubjectExists(f"a subject {new!r} is enrolled already; {name!r} keeps its name")
                connection.execute(update(subjects).where(subjects.c.id == row.id).values(name=new))
            fed.rename_events(stores, name, new)

    def remove(self, subject: str, *, template: int | None = None) -> None:
        """Take a subject, or one of its templates, out of the gallery at once.

        This is quick and hides it from every search, but the file may still hold traces until SQLite reuses
        their place. Use `erase` where somebody must be forgotten.

        Parameters
        ----------
        subject
            The name.
        template
            Id of the one template to remove (see `show`); a subject's last one goes only with the subject.

        Raises
        ------
        UnknownSubject
            If there is no such subject.
        """
        name = checked_name(subject)
        with self._database.writing() as connection:
            collection = store.collection_id(connection, self.collection)
            row = store.require_subject(connection, collection, name)
            assert collection is not None
            if template is None:
                store.delete_subject(connection, collection, row.id)
                return
            held = [t.id for t in store.read_subject(connection, row).templates]
            if template not in held:
                raise InputError(f"{name!r} has no template {template}; it has {', '.join(map(str, held))}")
            if len(held) == 1:
                raise InputError(f"template {template} is the only one of {name!r}; remove the subject instead")
            store.delete_templates(connection, collection, [template])

    def erase(self, subject: str, *, timeout: float = _ERASE_SECONDS) -> fed.Erased:
        """Forget a subject: afterwards no byte of it is in the gallery's files or this process's index.

        What cameras said of it is erased too, from the stores of events that `remember_events` was told of.

        Takes a time proportional to the gallery (about a second for 200,000 templates) and, while it runs, as
        much free disk space and memory as the gallery takes. It can't reach copies: exports, backups, snapshots of the
        file system.

        Parameters
        ----------
        subject
            The name.
        timeout
            Seconds to wait for other processes that are reading.

        Raises
        ------
        UnknownSubject
            If there is no such subject (and no erasure left to finish, and no event of it).
        EventsOutOfReach
            If a store of events can't be reached, or not be rid of it. The gallery's own part is done; the message says
            where events are left, and which command finishes it.
        GalleryBusy
            If others kept reading. The subject is deleted but its bytes may remain; the gallery knows, without
            knowing whose, and the next `erase` (of the same name, too) or opening for writing finishes it.
        """
        name = checked_name(subject)
        # Events first: who is killed in between has the subject enrolled still, and erases it again.
        stores = self.event_stores
        done, failed = fed.erase_events(stores, name, timeout)
        with self._database.writing() as connection:
            collection = store.collection_id(connection, self.collection)
            row = store.find_subject(connection, collection, name)
            if row is not None and collection is not None:
                store.delete_subject(connection, collection, row.id)
                erasure.mark(CONTENTS, connection)
            elif not (erasure.is_pending(CONTENTS, connection) or done.total or failed):
                store.require_subject(connection, collection, name)
        with self._database.reading() as connection:
            self._indexes.refresh(connection)
            pending = erasure.is_pending(CONTENTS, connection)
        if pending:
            erasure.finish(self._database, timeout)
        # And again: until just now cameras may have recognized the subject.
        late, failed_late = fed.erase_events(list(done.stores), name, timeout, late=True)
        if failed or failed_late:
            raise fed.out_of_reach(name, {**failed, **failed_late})
        return done + late

    def remake(self, analyzer: FaceAnalyzer | None = None, *, replace: bool = False) -> remaking.Remade:
        """Make templates of another model from the kept crops; see `visavis.gallery.remaking.remake`."""
        return remaking.remake(self._database, self.collection, analyzer or self._need_analyzer(), replace=replace)

    # ---- files
    # -----------------------------------------------------------------------------------------------

    def export(self, path: str | os.PathLike[str]) -> portable.Transfer:
        """Write the collection to a portable file (docs/gallery.md); see `visavis.gallery.portable.export`."""
        return portable.export(self._database, self.collection, path)

    def import_from(self, path: str | os.PathLike[str], *, existing: portable.Existing = "refuse") -> portable.Transfer:
        """Add what a portable file holds, all or nothing; see `visavis.gallery.portable.import_from`."""
        return portable.import_from(self._database, self.collection, path, existing=existing)

    # ---- events of cameras
    # ------------------------------------------------------------------------------------

    def remember_events(self, where: str | os.PathLike[str]) -> None:
        """Say that people of this collection are named in a store of events: `erase` and `rename` reach it from now on.

        Parameters
        ----------
        where
            A file, or a server's address, of which the password is not kept: give it again by ``VISAVIS_EVENTS``, or
            in libpq's own places (``PGPASSWORD``, ``~/.pgpass``).

        Raises
        ------
        InputError
            If the address is malformed.
        StorageError
            If the gallery can't be written.
        """
        place = fed.place_of(where)
        if place not in self.event_stores:
            with self._database.writing() as connection:
                known = fed.listed(connection, self.collection)
                fed.write_list(connection, self.collection, [*(one for one in known if one != place), place])

    def disregard_events(self, where: str | os.PathLike[str]) -> None:
        """Take back `remember_events`, as where the store is gone for good."""
        place = fed.place_of(where)
        with self._database.writing() as connection:
            known = fed.listed(connection, self.collection)
            fed.write_list(connection, self.collection, [one for one in known if one != place])

    @property
    def event_stores(self) -> tuple[str, ...]:
        """Stores of events that people of this collection are named in."""
        with self._database.reading() as connection:
            return fed.listed(connection, self.collection)

    # ---- state
    # -----------------------------------------------------------------------------------------------

    @property
    def models(self) -> dict[str, int]:
        """How many templates of each model the collection holds."""
        with self._database.reading() as connection:
            return store.model_counts(connection, store.collection_id(connection, self.collection))

    @property
    def collections(self) -> tuple[str, ...]:
        """Names of the file's collections that hold subjects."""
        with self._database.reading() as connection:
            used = select(collections.c.name).where(collections.c.id.in_(select(subjects.c.collection)))
            return tuple(connection.execute(used.order_by(collections.c.name)).scalars())

    def version(self) -> tuple[int, ...]:
        """Return a value that is another after every change of the file, by this process or another; it costs little.

        Where another file was put in place of the one that was opened, that one is opened. For programs that run for
        long: whoever keeps an answer asks again when the version changed.

        Raises
        ------
        GalleryError
            If the file is gone; the next call looks again.
        GalleryBusy
            At once, if another process keeps it from being read.
        """
        version = self._database.follow()
        if version[0] != self._opening:
            self._opening = version[0]
            self._indexes = store.LiveIndexes(self._database, self.collection)
        if version != self._followed:
            with self._database.reading() as connection:
                self._indexes.refresh(connection)  # what another process erased must not stay in this one's memory
            self._followed = version
        return version

    @property
    def erasure_pending(self) -> bool:
        """Whether an erasure was begun that other readers have kept from being finished."""
        with self._database.reading() as connection:
            return erasure.is_pending(CONTENTS, connection)

    def __len__(self) -> int:
        """Return the number of subjects."""
        with self._database.reading() as connection:
            mine = subjects.c.collection == store.collection_id(connection, self.collection)
            return int(connection.execute(select(func.count()).select_from(subjects).where(mine)).scalar() or 0)

    def __contains__(self, subject: object) -> bool:
        name = checked_name(subject)
        with self._database.reading() as connection:
            collection = store.collection_id(connection, self.collection)
            return store.find_subject(connection, collection, name) is not None

    def __bool__(self) -> bool:
        return True  # an empty gallery is a gallery all the same

    def close(self) -> None:
        """Close the file and forget the index. Closing twice is fine."""
        self._indexes = store.LiveIndexes(self._database, self.collection)
        self._database.close()

    def __enter__(self) -> Gallery:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _need_analyzer(self) -> FaceAnalyzer:
        if self._analyzer is None:
            from visavis.pipeline import Analyzer

            self._analyzer = Analyzer()
        return self._analyzer

    def _calibrated_as(self, model: str) -> str:
        if self._analyzer is not None and self._analyzer.model == model:
            return self._analyzer.calibrated_as
        return model

    def _calibration(self, model: str) -> Calibration | None:
        if self._analyzer is not None and self._analyzer.model == model:
            return self._analyzer.calibration
        if model not in self._calibrations:
            self._calibrations[model] = calibration_of(model)
        return self._calibrations[model]


def open_gallery(
    path: str | os.PathLike[str],
    *,
    collection: str = "default",
    analyzer: FaceAnalyzer | None = None,
    gate: QualityGate | None = None,
    create: bool = True,
) -> Gallery:
    """Open a gallery file, making it where there is none.

    Parameters
    ----------
    path
        The file, such as ``"people.db"``. ("postgresql://..." comes with the service.) One that can't be
        written is opened for reading.
    collection
        Which of the file's separate groups of subjects to work with.
    analyzer
        A `visavis.Analyzer` for photos; None makes the default one when the first photo comes. Embeddings need none.
    gate
        What a photo's face must reach to be enrolled; None takes `visavis.analysis.quality.QualityGate`'s defaults.
    create
        Make the file where it is missing or empty.

    Raises
    ------
    NotAGallery
        If the file is something else; it is left as it is.
    GalleryTooNew
        If a newer visavis wrote it; likewise.
    GalleryError
        If there is no such file and ``create`` is false.
    StorageError
        If the file or its folder can't be read, or made.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> from visavis.types import Embeddings
    >>> people = Embeddings(np.eye(2), model="toy")
    >>> with tempfile.TemporaryDirectory() as folder, open_gallery(f"{folder}/people.db") as gallery:
    ...     _ = gallery.enroll("ada", people[0])
    ...     _ = gallery.enroll("bob", people[1])
    ...     gallery.identify(people[1], threshold=0.5).best
    ('bob',)
    """
    if "://" in os.fspath(path):
        raise GalleryError("a gallery on a database server comes with the service; give a file, such as people.db")
    name = checked_name(collection, "a collection's name")
    database = DatabaseFile(path, CONTENTS, create=create)
    try:
        _finish_erasure(database)
        return Gallery(database, name, analyzer, gate)
    except BaseException:
        database.close()
        raise


def _finish_erasure(database: DatabaseFile) -> None:
    with database.reading() as connection:
        pending = database.writable and erasure.is_pending(CONTENTS, connection)
    if pending:
        try:
            erasure.finish(database, timeout=1.0)
        except VisavisError:
            return  # the mark stays; Gallery.erasure_pending tells, and the next opening or erasure tries again

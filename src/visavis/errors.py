"""Every error visavis raises on purpose, and the one place that maps them to exit codes and HTTP statuses.

::

    VisavisError
    ├── InputError                  what was given can't be used
    │   ├── ImageError              an image can't be read: missing, empty, truncated, not an image
    │   │   └── ImageTooLarge       its header claims more pixels than the limit
    │   ├── NoFaceFound             a face was needed and none was found
    │   ├── SeveralFacesFound       one face was needed and several were found
    │   └── QualityRefused          enrollment refused: too small, too blurred, too turned
    ├── ModelError                  a model can't be had or used
    │   ├── UnknownModel            no card of that name
    │   ├── ModelMismatch           embeddings of different models or variants were mixed
    │   ├── CalibrationError        no measured error rate for what was asked
    │   ├── FetchError              a package could not be fetched
    │   ├── HashMismatch            a file is not the pinned one
    │   └── EngineError             the inference engine is missing or refused the model
    ├── SourceError                 a camera or stream can't be reached, or was lost
    │   └── SourceRefused           it asks for another user or password
    ├── StorageError                the disk or a folder: full, read-only, corrupt cache
    ├── DeliveryError               somebody could not be told of an event
    ├── GalleryError                the gallery can't do that
    │   ├── UnknownSubject          no such subject
    │   ├── SubjectExists           that name is taken
    │   ├── NotAGallery             the file is not a gallery
    │   ├── GalleryTooNew           written by a newer visavis
    │   └── GalleryBusy             another process holds the gallery
    └── EventError                  the store of events can't do that
        ├── NotAnEventStore         the file or schema is not a store of events
        ├── EventStoreTooNew        written by a newer visavis
        ├── EventStoreBusy          another process holds the store
        └── EventsOutOfReach        a server that doesn't answer, or events that stay where they can't be erased

A match that was not reached and a picture without faces are results, not errors.
"""

from __future__ import annotations

__all__ = [
    "CalibrationError",
    "DeliveryError",
    "EngineError",
    "EventError",
    "EventStoreBusy",
    "EventStoreTooNew",
    "EventsOutOfReach",
    "FetchError",
    "GalleryBusy",
    "GalleryError",
    "GalleryTooNew",
    "HashMismatch",
    "ImageError",
    "ImageTooLarge",
    "InputError",
    "ModelError",
    "ModelMismatch",
    "NoFaceFound",
    "NotAGallery",
    "NotAnEventStore",
    "QualityRefused",
    "SeveralFacesFound",
    "SourceError",
    "SourceRefused",
    "StorageError",
    "SubjectExists",
    "UnknownModel",
    "UnknownSubject",
    "VisavisError",
    "exit_code",
    "http_status",
]


class VisavisError(Exception):
    """Base of every error visavis raises on purpose; its text is one line a user can act on."""


class InputError(VisavisError, ValueError):
    """What was given can't be used: a wrong shape, type, range or file."""


class ImageError(InputError):
    """An image can't be read: missing, empty, truncated or not an image."""


class ImageTooLarge(ImageError):
    """The image's header claims more pixels than the limit allows; nothing was decoded."""


class NoFaceFound(InputError):
    """A face was needed (to verify or enroll) and none was found."""


class SeveralFacesFound(InputError):
    """Exactly one face was needed and several were found."""


class QualityRefused(InputError):
    """Enrollment was refused because the face is too small, too blurred or too turned."""


class ModelError(VisavisError):
    """A model can't be had or used."""


class UnknownModel(ModelError, KeyError):
    """There is no card of that name."""

    def __str__(self) -> str:
        return Exception.__str__(self)  # KeyError would quote the message


class ModelMismatch(ModelError, ValueError):
    """Embeddings of different models or variants can't be compared."""


class CalibrationError(ModelError, ValueError):
    """No error rate was measured for what was asked."""


class FetchError(ModelError):
    """A package could not be fetched through the user's package index."""


class HashMismatch(ModelError):
    """A file is not the one its card pins; it was not used."""


class EngineError(ModelError):
    """An inference engine is missing, or refused the model or device."""


class SourceError(VisavisError):
    """A camera or stream can't be reached, or was lost."""


class SourceRefused(SourceError):
    """A camera or stream asks for another user or password."""


class StorageError(VisavisError):
    """A folder or disk failed: full, read-only or unreadable."""


class DeliveryError(VisavisError):
    """Somebody could not be told of an event.

    Attributes
    ----------
    final
        Whether the receiver refused it, so that trying again for days is no use.
    retry_after
        Seconds that the receiver asked to wait, or None.
    """

    def __init__(self, message: str, *, final: bool = False, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.final = final
        self.retry_after = retry_after


class GalleryError(VisavisError):
    """The gallery can't do that."""


class UnknownSubject(GalleryError, KeyError):
    """There is no such subject in the gallery."""

    def __str__(self) -> str:
        return Exception.__str__(self)


class SubjectExists(GalleryError):
    """A subject of that name is enrolled already."""


class NotAGallery(GalleryError):
    """The file is not a visavis gallery."""


class GalleryTooNew(GalleryError):
    """The gallery was written by a newer visavis; this one leaves it alone."""


class GalleryBusy(GalleryError):
    """Another process holds the gallery, so the request was not carried out."""


class EventError(VisavisError):
    """The store of events can't do that."""


class NotAnEventStore(EventError):
    """The file, or the schema on the server, is not a store of events."""


class EventStoreTooNew(EventError):
    """The store of events was written by a newer visavis; this one leaves it alone."""


class EventStoreBusy(EventError):
    """Another process holds the store of events, so the request was not carried out, or not to its end."""


class EventsOutOfReach(EventError):
    """A store of events can't be reached: its server is down, refuses the login, or is another machine."""


# Most specific first: the first class that fits an error decides. Exit code 1 is not an error: `verify`
# returns it for "no match", and a batch for "some files were skipped".
_MAP: tuple[tuple[type[VisavisError], int, int], ...] = (
    (UnknownSubject, 2, 404),
    (SubjectExists, 2, 409),
    (GalleryBusy, 2, 503),
    (GalleryError, 2, 500),
    (EventStoreBusy, 2, 503),
    (EventsOutOfReach, 2, 503),
    (EventError, 2, 500),
    (ImageTooLarge, 2, 413),
    (InputError, 2, 422),
    (UnknownModel, 2, 404),
    (ModelMismatch, 2, 409),
    (CalibrationError, 2, 422),
    (ModelError, 2, 503),
    (SourceError, 2, 503),
    (StorageError, 2, 507),
    (DeliveryError, 2, 502),
    (VisavisError, 2, 500),
)


def exit_code(error: VisavisError) -> int:
    """Return the exit code of a command that ends with ``error``.

    Examples
    --------
    >>> exit_code(NoFaceFound("no face in a.jpg"))
    2
    """
    return next(code for kind, code, _ in _MAP if isinstance(error, kind))


def http_status(error: VisavisError) -> int:
    """Return the HTTP status of a request that ends with ``error``.

    Examples
    --------
    >>> http_status(UnknownSubject("no subject 'ada'"))
    404
    """
    return next(status for kind, _, status in _MAP if isinstance(error, kind))

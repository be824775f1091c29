"""Errors: one tree, one line each, one map to exit codes and HTTP statuses."""

from __future__ import annotations

import pickle

import pytest

from visavis import errors

CLASSES = [getattr(errors, name) for name in errors.__all__ if isinstance(getattr(errors, name), type)]


def test_all_descend_from_visavis_error():
    assert errors.VisavisError in CLASSES
    assert all(issubclass(kind, errors.VisavisError) for kind in CLASSES)
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    assert {kind for kind in classes if kind.__module__ == errors.__name__} == set(CLASSES)


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_has_a_code_a_status_and_its_text(kind):
    error = kind("one line that helps")
    assert str(error) == "one line that helps"
    assert errors.exit_code(error) == 2
    assert 400 <= errors.http_status(error) < 600
    assert kind.__doc__


@pytest.mark.parametrize("kind", CLASSES)
def test_errors_cross_process_borders(kind):
    again = pickle.loads(pickle.dumps(kind("text")))
    assert type(again) is kind
    assert str(again) == "text"


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (errors.ImageTooLarge, 413),
        (errors.ImageError, 422),
        (errors.NoFaceFound, 422),
        (errors.UnknownSubject, 404),
        (errors.SubjectExists, 409),
        (errors.GalleryBusy, 503),
        (errors.UnknownModel, 404),
        (errors.ModelMismatch, 409),
        (errors.HashMismatch, 503),
        (errors.StorageError, 507),
        (errors.NotAGallery, 500),
        (errors.EventStoreBusy, 503),
        (errors.EventsOutOfReach, 503),
        (errors.NotAnEventStore, 500),
    ],
)
def test_the_most_specific_class_decides_the_status(kind, status):
    assert errors.http_status(kind("x")) == status


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.InputError, ValueError),
        (errors.ModelMismatch, ValueError),
        (errors.CalibrationError, ValueError),
        (errors.UnknownModel, KeyError),
        (errors.UnknownSubject, KeyError),
    ],
)
def test_callers_may_catch_the_builtin_kin(kind, builtin):
    assert issubclass(kind, builtin)

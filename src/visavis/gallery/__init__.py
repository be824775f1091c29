"""Galleries: people enrolled in a file, found again exactly, and forgotten on request."""

from visavis.gallery.gallery import Gallery, open_gallery
from visavis.gallery.records import Enrollment, Subject, Template

__all__ = ["Enrollment", "Gallery", "Subject", "Template", "open_gallery"]

"""Data sets on disk, and the duplicate photos in any folder."""

"""Error rates with intervals, as functions on arrays."""

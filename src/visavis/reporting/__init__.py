"""Documents that a person opens: one self-contained page of curves, tables and pictures, and the same as JSON."""

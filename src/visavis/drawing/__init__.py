"""Pictures to show: faces with names drawn on them, and composed group pictures."""

from visavis.drawing.annotation import Label, Style, annotate, labels_for
from visavis.drawing.group import compose_group
from visavis.drawing.lettering import FontWarning, Lettering

__all__ = ["FontWarning", "Label", "Lettering", "Style", "annotate", "compose_group", "labels_for"]

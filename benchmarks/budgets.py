"""What was promised, as data, and the table that says what a run measured of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["BUDGETS", "Budget", "table"]


@dataclass(frozen=True)
class Budget:
    """A promise about one figure: at least or at most so much."""

    figure: str
    title: str
    limit: float
    unit: str
    at_least: bool

    def met(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value < self.limit


BUDGETS = (
    Budget("opencv bf16", "photo to embeddings against OpenCV, same weights, bf16, one thread", 4, "times", True),
    Budget("opencv f32", "the same, f32", 2.5, "times", True),
    Budget("peer bf16", "photo to embeddings against face_recognition, bf16, one thread", 10, "times", True),
    Budget("peer f32", "the same, f32", 10, "times", True),
    Budget("threads bf16", "two threads against one, bf16", 1.7, "times", True),
    Budget("threads f32", "the same, f32", 1.7, "times", True),
    Budget("import", "`import visavis`, over python alone", 0.1, "s", False),
    Budget("help", "`visavis --help`", 0.4, "s", False),
    Budget("verify", "second `visavis verify`", 1.5, "s", False),
    Budget("memory bf16", "most resident memory at a mark, bf16", 400, "MB", False),
    Budget("memory f32", "the same, f32", 400, "MB", False),
    Budget("growth bf16", "resident memory gained from 2,500 to 10,000 photos, bf16", 20, "MB", False),
    Budget("growth f32", "the same, f32", 20, "MB", False),
    Budget("opening", "opening a gallery of 1,000,000 templates", 5, "s", False),
    Budget("flat search", "exact search of 1,000,000 against a FAISS flat scan", 1, "times", True),
    Budget("8-bit search", "the same with the 8-bit first pass", 3, "times", True),
)


def table(figures: Mapping[str, float]) -> str:
    """Return a row a budget; what a machine or a quick run can't measure says so."""
    lines = ["| budget | promised | measured | met |", "|---|--:|--:|:-:|"]
    for budget in BUDGETS:
        value = figures.get(budget.figure)
        promised = f"{'at least' if budget.at_least else 'under'} {budget.limit:g} {budget.unit}"
        measured = "not measured" if value is None else f"{value:.3g} {budget.unit}"
        met = "" if value is None else "yes" if budget.met(value) else "**no**"
        lines.append(f"| {budget.title} | {promised} | {measured} | {met} |")
    return "\n".join(lines)

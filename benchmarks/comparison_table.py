"""Put what `visavis models compare --json` printed into docs/models.md.

    visavis models compare --data lfw-dev --threads 1 --json > comparison.json
    python benchmarks/comparison_table.py comparison.json

Several files, as of runs with one detector each, are joined.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs" / "models.md"
BEGIN, END = "<!-- comparison: begin -->", "<!-- comparison: end -->"
USE = {True: "yes", False: "no", None: "unknown"}


def share(estimate: dict[str, float]) -> str:
    return f"{100 * estimate['value']:.2f} ({100 * estimate['low']:.2f}-{100 * estimate['high']:.2f})"


def table(documents: list[dict]) -> str:
    lines = [
        "| detector | recognizer | photos | acc, % | TAR, % | found, % | ms | MB | commercial use |",
        "|---|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    rows = [row for document in documents for row in document["rows"]]
    for row in sorted(rows, key=lambda row: (-row["accuracy"]["value"], -row["tar"]["value"], row["ms"] or 0)):
        ms, peak = (
            "" if row[name] is None else format(row[name], how) for name, how in (("ms", ".1f"), ("peak_mb", ".0f"))
        )
        lines.append(
            f"| `{row['detector']}` | `{row['recognizer']}` | {row['photos']:,} | {share(row['accuracy'])} "
            f"| {share(row['tar'])} | {100 * row['found']:.2f} | {ms} | {peak} | {USE[row['commercial_use']]} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    documents = [json.loads(file.read_text("utf-8")) for file in parser.parse_args().files]
    text = DOCS.read_text("utf-8")
    middle = f"{BEGIN}\n\n{table(documents)}\n\n{END}"
    changed, number = re.subn(f"{BEGIN}.*?{END}", lambda _: middle, text, flags=re.DOTALL)
    if number != 1:
        raise SystemExit(f"{DOCS} has no place for the table: {BEGIN} ... {END}")
    DOCS.write_text(changed, "utf-8")
    print(middle)


if __name__ == "__main__":
    main()

"""The results as a page, and as JSON with every round."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.figures import Outcome, Row, number
from podium.files import write_text

HEAD = ("what", "images", "target", "podium", "best peer or bound", "ratio (min–max)", "met")
INTRODUCTION = """\
# How fast podium is

Written by `make bench`; [results.json](results.json) has every round. Each measurement runs in its own process,
the candidates alternate, and a figure is the median of {rounds} rounds (minimum–maximum in brackets). A ratio is
podium's figure divided by the other's in the same round (for the frozen stage the other's seconds divided by podium's);
the table has the median of the rounds. All image files are in the page cache; podium's own cache is empty before each
measurement.

The augmentation is that of `configs/members/xception.yaml`, at {size} px in batches of {batch}, for all candidates; the
frozen stage uses that of Keras's guide. The candidates are in `benchmarks/peers/` and `benchmarks/bounds/`, the rows of
the table in `benchmarks/measures/`.
"""


def table(rows: list[Row]) -> list[str]:
    lines = [f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|"]
    for row in rows:
        ratio = "–"
        if row.ratio is not None and row.spread is not None:
            ratio = f"{number(row.ratio)} ({number(row.spread[0])}–{number(row.spread[1])})"
        cells = (row.what, row.images, row.target, row.podium, row.other, ratio, row.verdict)
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def page(outcomes: Mapping[str, Outcome], machine: Mapping[str, str], introduction: str) -> str:
    rows = [row for outcome in outcomes.values() for row in outcome.rows]
    lines = [introduction, *table(rows), "", "## Machine", ""]
    lines += [f"- {name}: {value}" for name, value in machine.items()]
    lines += ["", "## All figures", ""]
    lines += [line for outcome in outcomes.values() for line in outcome.details]
    return "\n".join(lines).rstrip() + "\n"


def content(outcomes: Mapping[str, Outcome], machine: Mapping[str, str]) -> dict[str, Any]:
    rows = [vars(row) for outcome in outcomes.values() for row in outcome.rows]
    return {"machine": machine, "rows": rows, "rounds": {name: outcome.raw for name, outcome in outcomes.items()}}


def write(folder: Path, page_text: str, figures: dict[str, Any]) -> None:
    """Both files, each written completely or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "results.json", json.dumps(figures, indent=1, ensure_ascii=False) + "\n")
    write_text(folder / "results.md", page_text)


def write_between(page: Path, start: str, end: str, text: str) -> None:
    """Replace what is between two marks of a page."""
    before, _, rest = page.read_text(encoding="utf-8").partition(start)
    write_text(page, f"{before}{start}\n{text}\n{end}{rest.partition(end)[2]}")

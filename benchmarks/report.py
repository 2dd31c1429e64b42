"""What was measured, as a page for people and as JSON with every single turn."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.figures import Outcome, Row, number
from podium.files import write_text

HEAD = ("what", "images", "target", "podium", "best peer or bound", "ratio (least–most)", "met")
INTRODUCTION = """\
# How fast podium is

Written by `make bench`; [results.json](results.json) has every single turn. All stand side by side in one run: each
measurement is a process of its own, they take turns, and a figure is the median of {turns} (least–most in brackets). A
ratio is podium's figure to the other's in the same turn, of a frozen stage the other's seconds to podium's; it is the
median of the turns. Files lie in the system's page cache for everyone; podium's own cache is empty before each.

The augmentation is that of `configs/members/xception.yaml`, at {size} px in batches of {batch}, the same for everyone;
a frozen stage has that of Keras's guide. What each of them is stands in `benchmarks/peers/` and
`benchmarks/bounds/`, what a row measures in `benchmarks/measures/`.
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
    lines = [introduction, *table(rows), "", "## The machine", ""]
    lines += [f"- {name}: {value}" for name, value in machine.items()]
    lines += ["", "## All figures", ""]
    lines += [line for outcome in outcomes.values() for line in outcome.details]
    return "\n".join(lines).rstrip() + "\n"


def content(outcomes: Mapping[str, Outcome], machine: Mapping[str, str]) -> dict[str, Any]:
    rows = [vars(row) for outcome in outcomes.values() for row in outcome.rows]
    return {"machine": machine, "rows": rows, "turns": {name: outcome.raw for name, outcome in outcomes.items()}}


def write(folder: Path, page_text: str, figures: dict[str, Any]) -> None:
    """Both files, each whole or as it was."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "results.json", json.dumps(figures, indent=1, ensure_ascii=False) + "\n")
    write_text(folder / "results.md", page_text)

"""From a thousand rows to a million: tables, folds and plans, then a submission of as many rows written and checked.

The images are links to a few small drawn ones; none is decoded.
"""

from benchmarks.figures import Figure, Outcome, Row, column, details, number, ratios
from benchmarks.images import linked_many
from benchmarks.plan import Bench
from benchmarks.rounds import Contender, Machine

TARGET_TIME, TARGET_WRITING = "linear: a row at most 1.5 times as long", "at most 10 s a million"
TARGET_MEMORY = "flat: a row at most 1.25 times as much"
STEPS = {"reading": "reading, s", "folds": "folds, s", "plan": "plan, s", "rows of a fold": "a fold's rows, s"}
STEPS |= {"writing": "writing, s", "checking": "checking, s", "bytes_a_row": "bytes a row"}


def measure(bench: Bench, machine: Machine) -> Outcome:
    counts = bench.plan.rows
    contenders = [
        Contender(
            f"{count:,}",
            "benchmarks.podium_rows:rows",
            {"folder": str(linked_many(bench.root, count)), "count": count},
        )
        for count in counts
    ]
    results = machine.in_turns(contenders, bench.plan.turns, "rows")
    many, fewer = counts[-1], counts[-2]
    most, less = results[f"{many:,}"], results[f"{fewer:,}"]
    both = [1e6 / many * (turn["writing"] + turn["checking"]) for turn in most]
    writing = Figure.of([seconds / 10 for seconds in both])
    rows = [
        _per_row("rows: time", TARGET_TIME, column(most, "seconds"), column(less, "seconds"), many, fewer, 1.5, 1e6),
        Row(
            "rows: writing and checking a submission",
            "–",
            TARGET_WRITING,
            Figure.of(both).spelled(" s a million"),
            "10 s",
            writing.median,
            (writing.least, writing.most),
            writing.median <= 1,
        ),
        _per_row(
            "rows: memory",
            TARGET_MEMORY,
            [turn["bytes_a_row"] * many for turn in most],
            [turn["bytes_a_row"] * fewer for turn in less],
            many,
            fewer,
            1.25,
            1.0,
        ),
    ]
    return Outcome(rows, details("Rows, by their number", results, STEPS), results)


def _per_row(
    what: str, target: str, most: list[float], less: list[float], many: int, fewer: int, bound: float, scale: float
) -> Row:
    """Of the most rows and of fewer, what one row takes."""
    unit = " µs a row" if scale > 1 else " bytes a row"
    mine, other = [value * scale / many for value in most], [value * scale / fewer for value in less]
    ratio = ratios(mine, other)
    return Row(
        f"{what}, {many:,} against {fewer:,}",
        "–",
        target,
        Figure.of(mine).spelled(unit),
        f"at {number(fewer)} rows: {Figure.of(other).spelled(unit)}",
        ratio.median,
        (ratio.least, ratio.most),
        ratio.median <= bound,
    )

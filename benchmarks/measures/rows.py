"""From a thousand rows to a million: tables, folds and runs, then a submission of that size written and checked.

The images are links to a few small drawn ones; none is decoded.
"""

from benchmarks.figures import Figure, Outcome, Row, column, details, number, ratios
from benchmarks.images import link_many
from benchmarks.plan import Bench
from benchmarks.rounds import Candidate, Machine

TARGET_TIME, TARGET_WRITING = "linear: at most 1.5 times the time per row", "at most 10 s per million"
TARGET_MEMORY = "linear: at most 1.25 times the memory per row"
STEPS = {"reading": "reading, s", "folds": "folds, s", "plan": "runs, s", "rows of a fold": "rows of a fold, s"}
STEPS |= {"writing": "writing, s", "checking": "checking, s", "bytes_per_row": "bytes per row"}


def measure(bench: Bench, machine: Machine) -> Outcome:
    counts = bench.plan.rows
    candidates = [
        Candidate(
            f"{count:,}",
            "benchmarks.podium_rows:rows",
            {"folder": str(link_many(bench.root, count)), "count": count},
        )
        for count in counts
    ]
    results = machine.run_rounds(candidates, bench.plan.rounds, "rows")
    many, fewer = counts[-1], counts[-2]
    most, less = results[f"{many:,}"], results[f"{fewer:,}"]
    both = [1e6 / many * (result["writing"] + result["checking"]) for result in most]
    writing = Figure.of([seconds / 10 for seconds in both])
    rows = [
        _per_row("rows: time", TARGET_TIME, column(most, "seconds"), column(less, "seconds"), many, fewer, 1.5, 1e6),
        Row(
            "rows: writing and checking a submission",
            "–",
            TARGET_WRITING,
            Figure.of(both).format(" s per million"),
            "10 s",
            writing.median,
            (writing.least, writing.most),
            writing.median <= 1,
        ),
        _per_row(
            "rows: memory",
            TARGET_MEMORY,
            [result["bytes_per_row"] * many for result in most],
            [result["bytes_per_row"] * fewer for result in less],
            many,
            fewer,
            1.25,
            1.0,
        ),
    ]
    return Outcome(rows, details("Rows", results, STEPS), results)


def _per_row(
    what: str, target: str, most: list[float], less: list[float], many: int, fewer: int, bound: float, scale: float
) -> Row:
    """The cost of one row, for the largest number of rows compared with a smaller one."""
    unit = " µs per row" if scale > 1 else " bytes per row"
    mine, other = [value * scale / many for value in most], [value * scale / fewer for value in less]
    ratio = ratios(mine, other)
    return Row(
        f"{what}, {many:,} compared with {fewer:,}",
        "–",
        target,
        Figure.of(mine).format(unit),
        f"at {number(fewer)} rows: {Figure.of(other).format(unit)}",
        ratio.median,
        (ratio.least, ratio.most),
        ratio.median <= bound,
    )

"""The memory of a training per image: the difference of the maximum memory at two numbers of rows."""

from benchmarks.figures import Figure, Outcome, Row, column, details, number
from benchmarks.images import link_many
from benchmarks.plan import Bench
from benchmarks.rounds import Candidate, Machine

TARGET, BYTES = "at most 200 bytes per row", 200


def measure(bench: Bench, machine: Machine) -> Outcome:
    few, many = bench.plan.memory
    candidates = [
        Candidate(
            f"{count:,} images",
            "benchmarks.podium_rows:training_memory",
            {"folder": str(link_many(bench.root, count))},
        )
        for count in bench.plan.memory
    ]
    results = machine.run_rounds(candidates, bench.plan.rounds, "training memory")
    less, most = results.values()
    pairs = list(zip(column(most, "most"), column(less, "most"), strict=True))
    per_row_bytes = Figure.of([(above - below) / (many - few) for above, below in pairs])
    row = Row(
        f"training memory, {few:,} to {many:,} images",
        "–",
        TARGET,
        per_row_bytes.format(" bytes per row"),
        f"{BYTES} bytes per row",
        per_row_bytes.median / BYTES,
        (per_row_bytes.least / BYTES, per_row_bytes.most / BYTES),
        per_row_bytes.median <= BYTES,
    )
    shown = {
        name: [
            {key: result[key] / 1e6 for key in ("most", "kept")} | {"seconds": result["seconds"]} for result in rounds
        ]
        for name, rounds in results.items()
    }
    lines = details(
        f"Training memory, {number(few)} and {number(many)} images of 32 px",
        shown,
        {"most": "maximum memory, MB", "kept": "at the end, without mapped files, MB", "seconds": "seconds"},
    )
    return Outcome([row], lines, results)

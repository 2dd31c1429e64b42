"""What a training's memory grows by with every image: the most that its process ever held, at two numbers of rows."""

from benchmarks.figures import Figure, Outcome, Row, column, details, number
from benchmarks.images import linked_many
from benchmarks.plan import Bench
from benchmarks.rounds import Contender, Machine

TARGET, BYTES = "flat, beyond 200 bytes a row", 200


def measure(bench: Bench, machine: Machine) -> Outcome:
    few, many = bench.plan.memory
    contenders = [
        Contender(
            f"{count:,} images",
            "benchmarks.podium_rows:training_memory",
            {"folder": str(linked_many(bench.root, count))},
        )
        for count in bench.plan.memory
    ]
    results = machine.in_turns(contenders, bench.plan.turns, "training memory")
    less, most = results.values()
    pairs = list(zip(column(most, "most"), column(less, "most"), strict=True))
    a_row = Figure.of([(above - below) / (many - few) for above, below in pairs])
    row = Row(
        f"training memory, {few:,} to {many:,} images",
        "–",
        TARGET,
        a_row.spelled(" bytes a row"),
        f"{BYTES} bytes a row",
        a_row.median / BYTES,
        (a_row.least / BYTES, a_row.most / BYTES),
        a_row.median <= BYTES,
    )
    shown = {
        name: [{key: turn[key] / 1e6 for key in ("most", "kept")} | {"seconds": turn["seconds"]} for turn in turns]
        for name, turns in results.items()
    }
    lines = details(
        f"Training memory, {number(few)} and {number(many)} images of 32 px",
        shown,
        {"most": "most ever held, MB", "kept": "held at the end without mapped files, MB", "seconds": "seconds"},
    )
    return Outcome([row], lines, results)

"""python -m benchmarks [--data DIR] [--weights FILE] [--torch DIR] [--only NAME] [--short] [--out DIR]

Measures podium beside its peers and writes results.md and results.json; Ctrl-C leaves those of the last run.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks import report
from benchmarks.figures import Outcome, not_measured
from benchmarks.machine import facts
from benchmarks.measures import decoding, frozen_stage, full_stage, input_rates, memory, rows, start_up, views
from benchmarks.plan import FULL, SHORT, Bench, Plan
from benchmarks.recipe import BATCH_SIZE, IMAGE_SIZE
from benchmarks.rounds import ROOT, Machine, MeasuringFailedError

MEASURES = {
    "input": input_rates.measure,
    "decoding": decoding.measure,
    "frozen": frozen_stage.measure,
    "full": full_stage.measure,
    "views": views.measure,
    "start": start_up.measure,
    "rows": rows.measure,
    "memory": memory.measure,
}
COMPETITION = ROOT / "configs" / "competitions" / "sf-dl-car-classification.yaml"


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="podium measured beside its peers.")
    parser.add_argument("--data", type=Path, help="a competition's data: photographs to measure on as well")
    parser.add_argument("--competition", type=Path, default=COMPETITION, help="the competition file of --data")
    parser.add_argument("--weights", type=Path, help="weights of MobileNetV2 without its top; random ones if left out")
    parser.add_argument("--torch", type=Path, help="a folder that pip installed torch into, where it is not installed")
    parser.add_argument(
        "--only", action="append", choices=MEASURES, metavar="NAME", help=f"{', '.join(MEASURES)}; again for more"
    )
    parser.add_argument("--short", action="store_true", help="a minute, of everything a little: it shows that all runs")
    parser.add_argument("--turns", type=int, help=f"how often each is measured, {FULL.turns} if left out")
    parser.add_argument("--keep", type=Path, default=ROOT / "data" / "benchmarks", help="where images are kept")
    parser.add_argument(
        "--out",
        type=Path,
        help="where the results go; if left out into benchmarks, of --only and --short into a new folder",
    )
    asked = parser.parse_args()
    for name in ("data", "competition", "weights", "torch"):
        path = getattr(asked, name)
        if path is not None and not path.exists():
            parser.error(f"--{name} names {path}, which is not there")
    if (asked.short or asked.only) and asked.out is None:
        asked.out = Path(tempfile.mkdtemp(prefix="podium-bench-"))  # never a part over the whole
    return asked


def has_torch(folder: Path | None) -> bool:
    from importlib.util import find_spec

    return bool(folder and (folder / "torch").is_dir()) or find_spec("torch") is not None


def measured(asked: argparse.Namespace, plan: Plan) -> dict[str, Outcome]:
    torch = not asked.short and has_torch(asked.torch)
    print("drawing images, where they are not there from an earlier run", flush=True)
    bench = Bench.prepare(plan, asked.keep, asked.data, asked.competition, asked.weights, torch)
    machine = Machine(asked.torch and asked.torch.resolve(), tell=lambda line: print(line, flush=True))
    return {name: outcome_of(name, bench, machine) for name in MEASURES if name in (asked.only or MEASURES)}


def outcome_of(name: str, bench: Bench, machine: Machine) -> Outcome:
    """One that fails does not take the others with it."""
    try:
        return MEASURES[name](bench, machine)
    except MeasuringFailedError as error:
        print(f"{name}: {error}", file=sys.stderr, flush=True)
        reason = str(error).splitlines()[-1].replace("|", "/")
        return Outcome([not_measured(name, "–", "–", f"failed: {reason}")], [], {"failed": reason})


def main() -> int:
    asked = parsed()
    plan = SHORT if asked.short else FULL
    if asked.turns:
        plan = Plan(**{**vars(plan), "turns": asked.turns})
    described = facts(asked.torch)
    try:
        outcomes = measured(asked, plan)
    except KeyboardInterrupt:
        print("stopped; the results of the last whole run are left as they were", file=sys.stderr)
        return 130
    folder = asked.out or ROOT / "benchmarks"
    introduction = report.INTRODUCTION.format(turns=plan.turns, size=IMAGE_SIZE, batch=BATCH_SIZE)
    report.write(folder, report.page(outcomes, described, introduction), report.content(outcomes, described))
    print("\n".join(report.table([row for outcome in outcomes.values() for row in outcome.rows])))
    print(f"written: {folder}/results.md and results.json")
    return 1 if any("failed" in outcome.raw for outcome in outcomes.values()) else 0


if __name__ == "__main__":
    sys.exit(main())

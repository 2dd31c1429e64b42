"""python -m benchmarks [--data DIR] [--weights FILE] [--torch DIR] [--only NAME] [--short] [--out DIR]

Compares podium with other tools and writes results.md and results.json. Ctrl-C keeps the results of the last run.
"""

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks import report
from benchmarks.figures import Outcome, not_measured
from benchmarks.machine import describe_environment
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


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Compare podium with other tools.")
    parser.add_argument("--data", type=Path, help="data of a competition, to measure on photographs too")
    parser.add_argument("--competition", type=Path, default=COMPETITION, help="the competition file of --data")
    parser.add_argument("--weights", type=Path, help="weights of MobileNetV2 without its top; random by default")
    parser.add_argument("--torch", type=Path, help="a folder with torch (pip install --target), if it is not installed")
    parser.add_argument(
        "--only", action="append", choices=MEASURES, metavar="NAME", help=f"{', '.join(MEASURES)}; may be repeated"
    )
    parser.add_argument("--short", action="store_true", help="a quick test of about a minute, with few images")
    parser.add_argument("--rounds", type=int, help=f"how often each candidate is measured, {FULL.rounds} by default")
    parser.add_argument("--keep", type=Path, default=ROOT / "data" / "benchmarks", help="folder for the images")
    parser.add_argument(
        "--out",
        type=Path,
        help="folder for the results; by default benchmarks, or a new folder with --only and --short",
    )
    arguments = parser.parse_args()
    for name in ("data", "competition", "weights", "torch"):
        path = getattr(arguments, name)
        if path is not None and not path.exists():
            parser.error(f"--{name}: {path} does not exist")
    if (arguments.short or arguments.only) and arguments.out is None:
        arguments.out = Path(tempfile.mkdtemp(prefix="podium-bench-"))  # not over complete results
    return arguments


def has_torch(folder: Path | None) -> bool:
    from importlib.util import find_spec

    return bool(folder and (folder / "torch").is_dir()) or find_spec("torch") is not None


def run_measures(arguments: argparse.Namespace, plan: Plan) -> dict[str, Outcome]:
    torch = not arguments.short and has_torch(arguments.torch)
    print("drawing the images, if they do not exist yet", flush=True)
    bench = Bench.prepare(plan, arguments.keep, arguments.data, arguments.competition, arguments.weights, torch)
    machine = Machine(arguments.torch and arguments.torch.resolve(), report=lambda line: print(line, flush=True))
    return {name: run_measure(name, bench, machine) for name in MEASURES if name in (arguments.only or MEASURES)}


def run_measure(name: str, bench: Bench, machine: Machine) -> Outcome:
    """The other measures run even if this one fails."""
    try:
        return MEASURES[name](bench, machine)
    except MeasuringFailedError as error:
        print(f"{name}: {error}", file=sys.stderr, flush=True)
        reason = str(error).splitlines()[-1].replace("|", "/")
        return Outcome([not_measured(name, "–", "–", f"failed: {reason}")], [], {"failed": reason})


def main() -> int:
    arguments = parse_arguments()
    plan = SHORT if arguments.short else FULL
    if arguments.rounds:
        plan = replace(plan, rounds=arguments.rounds)
    environment = describe_environment(arguments.torch)
    try:
        outcomes = run_measures(arguments, plan)
    except KeyboardInterrupt:
        print("stopped; the results of the last complete run were kept", file=sys.stderr)
        return 130
    folder = arguments.out or ROOT / "benchmarks"
    introduction = report.INTRODUCTION.format(rounds=plan.rounds, size=IMAGE_SIZE, batch=BATCH_SIZE)
    report.write(folder, report.page(outcomes, environment, introduction), report.content(outcomes, environment))
    print("\n".join(report.table([row for outcome in outcomes.values() for row in outcome.rows])))
    print(f"written: {folder}/results.md and results.json")
    return 1 if any("failed" in outcome.raw for outcome in outcomes.values()) else 0


if __name__ == "__main__":
    sys.exit(main())

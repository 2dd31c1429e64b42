"""python -m benchmarks.cluster [--data DIR] [--folds N] [--rounds N]

What a Ray cluster costs and brings: the ensemble of the demo by `podium run`, on a cluster of one machine with all
cores, and on clusters of one and of two machines with a core each. All are processes of this machine, bound to their
cores. Each starts without runs and with empty caches: each machine has one, and the command runs on the first. Writes
the table of docs/scale.md.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from benchmarks.report import write_between
from benchmarks.rounds import ROOT, MeasuringFailedError
from podium.demo.competition import draw_competition

ENSEMBLE = ROOT / "configs" / "ensembles" / "demo.yaml"
START, END = "<!-- make cluster -->\n", "<!-- end of make cluster -->"
ALONE, ONE, ONE_CORE, TWO_CORES = (
    "`podium run`",
    "one machine, all cores",
    "one machine, one core",
    "two, one core each",
)


@contextmanager
def cluster_of(*machines: set[int]) -> Iterator[str]:
    """The address of a cluster whose machines have these cores; in the block, the cache is that of the first."""
    from ray.cluster_utils import Cluster

    cores = os.sched_getaffinity(0)
    with tempfile.TemporaryDirectory() as caches, patched(PODIUM_CACHE=caches), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        try:
            for number, own in enumerate(machines):
                os.environ["PODIUM_CACHE"] = f"{caches}/{number}"
                os.sched_setaffinity(0, own)  # its processes inherit both
                cluster.add_node(num_cpus=len(own))
            os.sched_setaffinity(0, cores)
            os.environ["PODIUM_CACHE"] = f"{caches}/0"
            yield cluster.address
        finally:
            os.sched_setaffinity(0, cores)
            cluster.shutdown()


@contextmanager
def patched(**variables: str) -> Iterator[None]:
    """Environment variables within this block, for processes that are started in it."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def seconds_of(data: Path, folds: int, address: str | None = None, cores: int | None = None) -> float:
    """Of the whole command, in an empty folder."""
    words = [sys.executable, "-m", "podium", "run", str(ENSEMBLE), "--data", str(data)]
    words += [word for fold in range(folds) for word in ("--fold", str(fold))]
    if address:
        words += ["--on", "ray", "--cpus-per-run", str(cores)]
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
        environment |= {"RAY_ADDRESS": address} if address else {"PODIUM_CACHE": f"{folder}/cache"}
        start = time.perf_counter()
        done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - start
    if done.returncode:
        raise MeasuringFailedError(f"{' '.join(words)} failed:\n{done.stderr[-4000:]}")
    return seconds


def measure(data: Path, folds: int) -> dict[str, float]:
    """The seconds of each way to run."""
    cores = sorted(os.sched_getaffinity(0))
    found = {ALONE: seconds_of(data, folds)}
    print(f"{ALONE}: {found[ALONE]:.1f} s", flush=True)
    ways: dict[str, list[set[int]]] = {
        ONE: [set(cores)],
        ONE_CORE: [{cores[0]}],
        TWO_CORES: [{cores[0]}, {cores[1]}],
    }
    for name, machines in ways.items():
        with cluster_of(*machines) as address:
            found[name] = seconds_of(data, folds, address, len(machines[0]))
        print(f"{name}: {found[name]:.1f} s", flush=True)
    return found


def table(rounds: Sequence[dict[str, float]], runs: int) -> str:
    """The median of the rounds, and their ratios in the same round."""
    seconds = {name: median(each[name] for each in rounds) for name in rounds[0]}
    beyond = median(each[ONE] - each[ALONE] for each in rounds)
    lines = [f"| {runs} runs of the demo | seconds | compared with |", "|---|---:|---|"]
    notes = {
        ALONE: "",
        ONE: f"{beyond:+.1f} s, {median(each[ONE] / each[ALONE] for each in rounds):.2f} times `podium run`",
        ONE_CORE: "",
        TWO_CORES: f"{median(each[ONE_CORE] / each[TWO_CORES] for each in rounds):.2f} times as fast as one",
    }
    return "\n".join([*lines, *(f"| {name} | {seconds[name]:.0f} | {notes[name]} |" for name in seconds)]) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description="Costs of a Ray cluster.")
    parser.add_argument("--data", type=Path, default=ROOT / "data" / "podium-demo-cars")
    parser.add_argument("--folds", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "scale.md", help="the page with the table")
    options = parser.parse_args(arguments)
    if len(os.sched_getaffinity(0)) < 2:
        parser.error("two cores are needed")
    draw_competition(options.data)
    rounds = [measure(options.data.resolve(), options.folds) for _ in range(options.rounds)]
    text = table(rounds, 2 * options.folds)
    write_between(options.out, START, END, text)
    print(text)


if __name__ == "__main__":
    try:
        main()
    except MeasuringFailedError as error:
        raise SystemExit(str(error)) from None

"""python -m benchmarks.estimates [--seeds N] [--train N] [--test N] [--runs DIR] [--out FILE]

How honest estimates are, and what ways to blend bring: for each seed another competition is drawn, the ensemble of the
demo is trained on one fold of it and blended in several ways, and the nested estimates are compared with the scores on
the hidden test images. Writes benchmarks/estimates.md. Finished runs are not trained again.
"""

import argparse
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import podium
from benchmarks.rounds import ROOT
from podium.cli.demo import hidden_scores
from podium.demo.competition import draw_competition
from podium.files import write_text

FITTED = "weights"
"""The way to blend whose estimates are listed."""
BLENDS: dict[str, dict[str, Any]] = {
    "mean": {"method": "mean"},
    "mean, calibrated": {"method": "mean", "calibrate": True},
    "mean, members selected": {"method": "mean", "select": "auto"},
    "geometric mean": {"method": "geometric"},
    "mean of ranks": {"method": "rank_mean"},
    FITTED: {"method": "weights"},
    "weights, calibrated": {"method": "weights", "calibrate": True},
    "hill climbing": {"method": "hill_climb"},
    "stacking, regression": {"method": "stacking"},
    "stacking, boosting": {"method": {"method": "stacking", "model": "boosting"}},
}


@dataclass(frozen=True)
class Comparison:
    seed: int
    nested: float
    standard_error: float
    hidden: float
    test_rows: int

    @property
    def distance(self) -> float:
        """In standard errors of the difference: both scores are measured on samples of rows."""
        of_hidden = self.hidden * (1 - self.hidden) / self.test_rows
        return (self.nested - self.hidden) / math.sqrt(self.standard_error**2 + of_hidden)


def compare(seed: int, train: int, test: int, runs: Path) -> dict[str, Comparison]:
    """Of each way to blend the same predictions."""
    folder = runs / f"data-{seed}"
    draw_competition(folder, train=train, test=test, seed=seed)
    members = podium.load_ensemble(ROOT / "configs" / "ensembles" / "demo.yaml", seed=seed).members
    trained = [podium.train(member, 0, data=folder, runs=runs / f"runs-{seed}") for member in members]
    predictions, found = [podium.predict(run) for run in trained], {}
    for name, keys in BLENDS.items():
        blend = podium.blend(predictions, name="blend", seed=seed, **keys)
        hidden = hidden_scores(blend, folder)["blend"]
        found[name] = Comparison(seed, blend.score, blend.facts["standard_error"], hidden, test)
    return found


def table(comparisons: Sequence[Comparison]) -> str:
    lines = ["| seed | nested estimate | hidden score | difference in standard errors |", "|---:|---:|---:|---:|"]
    for one in comparisons:
        lines.append(
            f"| {one.seed} | {one.nested:.4f} ± {one.standard_error:.4f} | {one.hidden:.4f} | {one.distance:+.1f} |"
        )
    near = sum(abs(one.distance) <= 2 for one in comparisons)
    mean = sum(one.nested - one.hidden for one in comparisons) / len(comparisons)
    summary = f"{near} of {len(comparisons)} within two standard errors; the mean difference is {mean:+.4f}."
    return "\n".join([*lines, "", summary])


def table_of_blends(seeds: Sequence[Mapping[str, Comparison]]) -> str:
    """The means of all seeds, and how far each way is above the mean of the members, with its standard error."""
    lines = ["| blend | nested estimate | hidden score | above the mean, in points |", "|---|---:|---:|---:|"]
    for name in seeds[0]:
        nested = statistics.mean(each[name].nested for each in seeds)
        hidden = statistics.mean(each[name].hidden for each in seeds)
        above = [100 * (each[name].hidden - each["mean"].hidden) for each in seeds]
        error = statistics.stdev(above) / math.sqrt(len(above)) if len(above) > 1 else math.nan
        last = "" if name == "mean" else f"{statistics.mean(above):+.2f} ± {error:.2f}"
        lines.append(f"| {name} | {nested:.4f} | {hidden:.4f} | {last} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.estimates", description="Nested and hidden scores.")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--train", type=int, default=1200, help="images to train and validate on, half of them each")
    parser.add_argument("--test", type=int, default=1000)
    parser.add_argument("--runs", type=Path, default=Path("runs/estimates"), help="for the images and run folders")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "estimates.md")
    options = parser.parse_args(arguments)
    seeds = range(1, options.seeds + 1)
    comparisons = [compare(seed, options.train, options.test, options.runs) for seed in seeds]
    text = f"{table([each[FITTED] for each in comparisons])}\n\n## Blends\n\n{table_of_blends(comparisons)}"
    write_text(
        options.out,
        "# Estimated and hidden scores\n\nOf the demo's ensemble on competitions drawn with different seeds, one fold"
        f" of {options.train:,} images, blend: {FITTED} (`make estimates`).\n\n{text}\n",
    )
    print(text)


if __name__ == "__main__":
    try:
        main()
    except podium.PodiumError as error:
        raise SystemExit(str(error)) from None

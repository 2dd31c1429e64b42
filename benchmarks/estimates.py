"""python -m benchmarks.estimates [--seeds N] [--train N] [--test N] [--runs DIR] [--out FILE]

How honest estimates are: for each seed another competition is drawn, the ensemble of the demo is trained on one fold of
it and blended with fitted weights, and the nested estimate is compared with the score on the hidden test images.
Writes benchmarks/estimates.md. Finished runs are not trained again.
"""

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import podium
from podium.cli.demo import hidden_scores
from podium.demo.competition import draw_competition
from podium.files import write_text

ROOT = Path(__file__).resolve().parents[1]


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


def compare(seed: int, train: int, test: int, runs: Path) -> Comparison:
    folder = runs / f"data-{seed}"
    draw_competition(folder, train=train, test=test, seed=seed)
    ensemble = podium.load_ensemble(ROOT / "configs" / "ensembles" / "demo.yaml", {"blend": "weights"}, seed)
    blend = podium.run(ensemble, folds=[0], data=folder, runs=runs / f"runs-{seed}")
    facts, hidden = blend.facts, hidden_scores(blend, folder)["blend"]
    return Comparison(seed, facts["score"], facts["standard_error"], hidden, test)


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
    text = table(comparisons)
    write_text(
        options.out,
        "# Estimated and hidden scores\n\nOf the demo's ensemble on competitions drawn with different seeds, one fold"
        f" of {options.train:,} images, blend: weights (`make estimates`).\n\n{text}\n",
    )
    print(text)


if __name__ == "__main__":
    try:
        main()
    except podium.PodiumError as error:
        raise SystemExit(str(error)) from None

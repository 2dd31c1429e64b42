"""`podium demo`: the whole way, on a competition that podium draws itself."""

from pathlib import Path
from typing import Annotated

import typer

from podium.cli.options import Debug, DryRun, Runs, Seed, make_console
from podium.config.loading import load_ensemble
from podium.options import RunOptions
from podium.paths import configs_folder
from podium.workflows.ensembles import Blended, run_ensemble


def demo(
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where the images are drawn. Else data/<slug>.", show_default=False),
    ] = None,
    runs: Runs = Path("runs"),
    dry_run: DryRun = False,
    seed: Seed = None,
    debug: Debug = False,
) -> None:
    """Draw a car competition, train a small ensemble on it, and write a checked submission, on two laptop cores.

    The competition's answers are known, so the table also tells what the leaderboard would have said.
    """
    from podium.data.augmentation import transform_problems
    from podium.demo.competition import draw_competition

    console = make_console()
    ensemble = load_ensemble(configs_folder() / "ensembles" / "demo.yaml", (), seed, check=transform_problems)
    competition = ensemble.competition
    folder = data or Path("data") / (competition.slug + ("-dry-run" if dry_run else ""))
    drawn = draw_competition(folder, train=160, test=80) if dry_run else draw_competition(folder)
    console.print(f"{drawn.folder}: {drawn.train + drawn.test:,} cars drawn, {len(drawn.classes)} body types")
    options = RunOptions(data=folder, runs=runs, dry_run=dry_run)
    run_ensemble(ensemble, options, console, hidden=lambda blended: hidden_scores(blended, folder, competition.metric))


def hidden_scores(blended: Blended, folder: Path, metric: str) -> dict[str, float]:
    """Each member's and the blend's score on the answers that lie apart."""
    from podium.data.table import numbered, read_table
    from podium.evaluation.metrics import METRICS
    from podium.predictions import Predictions, align, read_predictions

    answers = read_table(folder / "hidden-answers.csv", ["Id", "Category"])

    def score(predictions: Predictions) -> float:
        labels = numbered(answers["Category"], predictions.classes)
        return METRICS[metric](labels, align(predictions, list(answers["Id"])).probs)

    scores = {member.name: score(member.test) for member in blended.members}
    return {**scores, "blend": score(read_predictions(blended.folder / "test.csv"))}

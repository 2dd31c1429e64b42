"""`podium demo`: the whole way, on a competition that podium draws itself."""

from pathlib import Path
from typing import Annotated

import typer

from podium.cli.ensembles import members_table, report_faults, tell_blend
from podium.cli.options import Debug, Runs, Seed, make_console
from podium.config.loading import load_ensemble
from podium.paths import configs_folder
from podium.steps import ensemble as steps
from podium.steps.ensemble import Blended
from podium.steps.member import Choices, prepare


def demo(
    folder: Annotated[Path, typer.Option("--data", metavar="DIR", help="Where the pictures are drawn.")] = Path(
        "data/podium-demo-cars"
    ),
    runs: Runs = Path("runs"),
    seed: Seed = None,
    debug: Debug = False,
) -> None:
    """Draw a car competition, train a small ensemble on it, and write a checked submission, on two laptop cores.

    The competition's answers are known, so the table also tells what the leaderboard would have said.
    """
    from podium.data.augmentation import transform_faults
    from podium.data.sample import draw_competition

    console = make_console()
    drawn = draw_competition(folder)
    console.print(f"{drawn.folder}: {drawn.train + drawn.test:,} cars drawn, {len(drawn.classes)} body types")
    ensemble = load_ensemble(configs_folder() / "ensembles" / "demo.yaml", (), seed, check=transform_faults)
    choices = Choices(data=folder, runs=runs)
    prepared = prepare(ensemble.competition, choices, console)
    fold_runs = steps.ensemble_runs(ensemble, prepared, choices)
    steps.train_and_predict(fold_runs, console)
    blended = steps.blend(ensemble, fold_runs, choices, console)
    console.print(members_table(blended, hidden_scores(blended, folder, ensemble.competition.metric)))
    tell_blend(blended, console)
    faults = steps.submission_faults(blended.submission, ensemble.competition, folder / "sample-submission.csv")
    report_faults(blended.submission, faults, console)


def hidden_scores(blended: Blended, folder: Path, metric: str) -> dict[str, float]:
    """Each member's and the blend's score on the answers that lie apart."""
    from podium.data.pictures import numbered
    from podium.data.rows import read_table
    from podium.ensemble.predictions import Predictions, align, read_predictions
    from podium.metrics import METRICS

    answers = read_table(folder / "hidden-answers.csv", ["Id", "Category"])

    def score(predictions: Predictions) -> float:
        labels = numbered(answers["Category"], predictions.classes)
        return METRICS[metric](labels, align(predictions, list(answers["Id"])).probs)

    scores = {member.name: score(member.test) for member in blended.members}
    return {**scores, "blend": score(read_predictions(blended.folder / "test.csv"))}

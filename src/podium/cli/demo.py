"""`podium demo`: from images to a submission, on a competition that podium draws."""

from pathlib import Path
from typing import Annotated

import typer

from podium.cli.options import Debug, DryRun, Runs, Seed, make_console, resume_command
from podium.options import RunOptions
from podium.paths import configs_folder
from podium.workflows.blend import Blend, print_blend, write_checked_submission
from podium.workflows.configs import load_ensemble
from podium.workflows.run import run_ensemble


def demo(
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where to draw the images.", show_default="data/<slug>"),
    ] = None,
    runs: Runs = Path("runs"),
    dry_run: DryRun = False,
    seed: Seed = None,
    debug: Debug = False,
) -> None:
    """Draw a car competition, train a small ensemble on it, and write a checked submission, on two laptop cores.

    The true classes of the test images are known, so the table of scores also has a column for the hidden test.
    """
    from podium.demo.competition import draw_competition

    console = make_console()
    ensemble = load_ensemble(configs_folder() / "ensembles" / "demo.yaml", seed=seed)
    competition = ensemble.competition
    folder = data or Path("data") / (competition.slug + ("-dry-run" if dry_run else ""))
    drawn = draw_competition(folder, train=160, test=80) if dry_run else draw_competition(folder)
    console.print(f"{drawn.folder}: {drawn.train + drawn.test:,} cars drawn, {len(drawn.classes)} body types")
    run_options = RunOptions(data=folder, runs=runs, dry_run=dry_run, command=resume_command())
    blend = run_ensemble(ensemble, run_options, console)
    scores = blend.scores
    scores["hidden test"] = hidden_scores(blend, folder)
    print_blend(blend, console, scores)
    write_checked_submission(blend, console)


def hidden_scores(blend: Blend, folder: Path) -> dict[str, float]:
    """The scores of the members and of the blend on the test images."""
    from podium.data.table import read_table
    from podium.data.target import LABEL
    from podium.data.targets import target_of
    from podium.evaluation.metrics import metric_of
    from podium.predictions import Predictions, align, read_predictions

    answers = read_table(folder / "hidden-answers.csv", ["Id", "Category"])
    metric = metric_of(blend.competition)
    truth = target_of(blend.competition).truth(answers.rename(columns={"Category": LABEL}))

    def score(predictions: Predictions) -> float:
        return metric(truth, align(predictions, list(answers["Id"])).values)

    scores = {member.name: score(member.test) for member in blend.members}
    return {**scores, "blend": score(read_predictions(blend.path / "test.csv"))}

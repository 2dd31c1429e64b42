"""The job of a kernel for a member or an ensemble: `podium run`, on the mounted inputs."""

import shutil
from pathlib import Path
from typing import Any

from rich.console import Console

from podium.config.loading import Ensemble
from podium.data.augmentation import transform_problems
from podium.detection.loading import Detector
from podium.errors import StoppedError, SubmissionError
from podium.kernel.job import Job, load_config
from podium.kernel.report import CODE_SUBMISSION, SAMPLE, run_entry
from podium.options import RunOptions
from podium.workflows.blend import blend_as, print_blend, write_checked_submission
from podium.workflows.fold_runs import FoldRun, fold_runs
from podium.workflows.predict import all_predictions
from podium.workflows.prepare import prepare
from podium.workflows.run import train_and_predict


def run(job: Job, configs: Path, options: RunOptions, console: Console) -> dict[str, Any]:
    """Train and predict the job's folds; an ensemble with all its members is also blended. Return the report."""
    loaded = load_config(configs / job.config, job.overrides_in(configs), job.seed, check=transform_problems)
    assert not isinstance(loaded, Detector)
    members = job.members_of(loaded)
    prepared = prepare(loaded.competition, options, console, members)
    runs = [fold_run for member in members for fold_run in fold_runs(member, prepared, options)]
    shutil.copyfile(prepared.sample, SAMPLE)
    try:
        train_and_predict(runs, console)
    except StoppedError as stopped:
        console.print(str(stopped))
        return {"status": "stopped", "reason": str(stopped), "runs": _entries(runs)}
    report: dict[str, Any] = {"status": "done", "runs": _entries(runs)}
    if isinstance(loaded, Ensemble) and job.blends:
        blend = blend_as(loaded.settings, all_predictions(runs), loaded.name)
        print_blend(blend, console)
        report["blend"] = blend.path.as_posix()
        try:
            submission = write_checked_submission(blend, console)
        except SubmissionError as error:  # the runs are worth more
            console.print(str(error))
            return report
        shutil.copyfile(submission, CODE_SUBMISSION)
        report["submission"] = submission.as_posix()
    return report


def _entries(runs: list[FoldRun]) -> list[dict[str, Any]]:
    return [
        run_entry(
            fold_run.member.name,
            fold_run.fold,
            fold_run.run,
            fold_run.predictions if fold_run.is_predicted else None,
        )
        for fold_run in runs
    ]

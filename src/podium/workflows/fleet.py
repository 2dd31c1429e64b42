"""Fleets from start to finish: push all kernels of an ensemble, download their outputs, blend."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from podium.config.loading import Ensemble
from podium.config.resolved import resolved_competition
from podium.errors import DataError, KaggleError, RateLimitedError, RunError, StoppedError
from podium.jobs.queue import OnRound, follow
from podium.kaggle.client import Kaggle, sign_in
from podium.kaggle.fleet import Fleet, FleetJob, advance, check_members, claim_jobs, open_fleet, read_fleets
from podium.kaggle.records import local_path
from podium.kernel.job import Job, load_config
from podium.kernel.metadata import Machine
from podium.kernel.report import SAMPLE, read_report
from podium.kernel.script import READABLE, Packing
from podium.locks import locked
from podium.paths import data_folder, sample_file
from podium.retries import pause
from podium.runs import Run
from podium.workflows.blend import Blend, blend_as
from podium.workflows.predict import FoldPredictions

POLL_SECONDS = 30.0
Result = TypeVar("Result")


def run_fleet(
    config: Path,
    job: Job,
    machine: Machine,
    *,
    packing: Packing = READABLE,
    data: Path | None = None,
    runs: Path = Path("runs"),
    on_round: OnRound = lambda fleet: None,
) -> tuple[Fleet, Blend | None]:
    """Run the jobs of an ensemble or a detector on Kaggle until all are done; the predictions of an ensemble are
    blended.

    After an interruption, call it again: no kernel is pushed twice. `on_round` is called after each round.
    """
    loaded = load_config(config, job.overrides, job.seed)
    fleet = open_fleet(config, job, machine, runs, packing)
    kaggle = None if fleet.is_done else _despite_rate_limit(sign_in)
    if kaggle:
        _despite_rate_limit(partial(check_members, fleet, kaggle, runs))
    with locked(fleet.folder):
        fleet = open_fleet(config, job, machine, runs, packing)  # another process may have pushed some meanwhile
        claim_jobs(fleet, runs)
        fleet.start()
        if kaggle:
            finish_jobs(fleet, kaggle, runs, on_round)
        if not isinstance(loaded, Ensemble):
            return fleet, None
        sample = sample_submission(fleet, loaded, data, runs)
        predictions = collect_predictions(fleet, loaded, sample, runs, is_partial=job.limit_test is not None)
        return fleet, blend_as(loaded.settings, predictions, loaded.name)


def _despite_rate_limit(action: Callable[[], Result]) -> Result:
    """Repeat it until Kaggle's rate limit allows it, however long that takes."""
    while True:
        try:
            return action()
        except RateLimitedError as error:
            pause(error.seconds)


def finish_jobs(fleet: Fleet, kaggle: Kaggle, runs: Path, on_round: OnRound) -> None:
    """Advance the fleet until every job is done; raises if one has failed or the fleet was stopped."""

    def advance_fleet() -> float:
        try:
            advance(fleet, kaggle, runs)
        except RateLimitedError as error:
            return max(POLL_SECONDS, error.seconds)
        return POLL_SECONDS

    follow(fleet, advance_fleet, on_round)
    if not fleet.is_finished:
        raise StoppedError("stopped by podium fleet down; resume with podium fleet up and the same options")
    if fleet.failures:
        raise KaggleError(
            f"{fleet.failures}; podium kernel logs REF shows why; fix it and run the same command to try them again"
        )


def collect_predictions(
    fleet: Fleet, ensemble: Ensemble, sample: Path, runs: Path, *, is_partial: bool
) -> list[FoldPredictions]:
    """Each fold's predictions, from the run folders, or from a kernel's output if the local run is a different one."""
    found = []
    for job in fleet.jobs:
        output = job.output(runs)
        for entry in read_report(output).runs:
            if entry.predictions is None:
                raise RunError(f"{job.ref} has no predictions of {entry.member} fold {entry.fold}; see its log")
            run, path = Run(local_path(runs, entry.run)), local_path(runs, entry.predictions)
            if not (path.is_dir() and run.state.get("best") == entry.state.get("best")):
                run, path = Run(output / entry.run), output / entry.predictions
            best, competition = run.state.get("best"), ensemble.competition
            if best is None or not path.is_dir():
                raise RunError(f"{output} is incomplete; download it again with podium kernel pull {job.ref}")
            if not competition.has_classes:
                competition = competition.model_copy(update={"classes": resolved_competition(run).classes})
            found.append(FoldPredictions(entry.member, entry.fold, path, best, competition, sample, runs, is_partial))
    return found


def sample_submission(fleet: Fleet, ensemble: Ensemble, data: Path | None, runs: Path) -> Path:
    """The file of the local competition data, else the copy in a kernel's output."""
    competition = ensemble.competition
    try:
        sample = sample_file(data_folder(competition.slug, data), competition.submission.sample)
        if sample.is_file():
            return sample
    except DataError:
        if data:
            raise
    return fleet.jobs[0].output(runs) / SAMPLE


def stop_fleets(ensemble: Path, runs: Path) -> dict[Path, list[FleetJob]]:
    """Push no more kernels of an ensemble's fleets; returns the jobs that are still running, by the fleet's config."""
    fleets, _ = read_fleets(runs)
    own = [fleet for fleet in fleets if fleet.config.stem == ensemble.stem and not fleet.is_done]
    if not own:
        raise RunError(
            f"no unfinished fleet of {ensemble.stem} in {runs / 'fleets'}; podium fleet status lists all fleets"
        )
    for fleet in own:
        fleet.stop()
    return {fleet.config: [job for job in fleet.jobs if job.state in ("pushing", "running")] for fleet in own}

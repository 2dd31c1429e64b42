"""Search for settings on a Ray cluster: each fold of a trial is a task, and this process chooses the values."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from rich.console import Console

from podium.cluster.ray_cluster import Jobs, JobState, Resources, most_at_once, resources_per_task
from podium.cluster.storage import Storage
from podium.config.loading import Member
from podium.errors import RunError, StoppedError
from podium.jobs.queue import OnRound, follow
from podium.locks import locked
from podium.options import RunOptions
from podium.signals import Interrupted
from podium.workflows.cluster import (
    POLL_SECONDS,
    STOPPED_BY,
    Cluster,
    ClusterJob,
    ClusterQueue,
    check_member,
    fetch,
    inputs_of,
    work_of,
)
from podium.workflows.cluster_task import run_work
from podium.workflows.fold_runs import FoldRun
from podium.workflows.search import UNUSABLE, Search, SearchResult, Trials, search_member

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import Trial

PRUNED_BY = {error.__name__ for error in UNUSABLE}


def search_on_cluster(
    search: Search, options: RunOptions, cluster: Cluster, console: Console, on_round: OnRound, write: Path | None
) -> SearchResult:
    """As `podium search`, with as many trials at the same time as the cluster has room for.

    If this process is stopped or killed, the same command continues its trials with their values and checkpoints.
    """
    check_member(search.member())
    run = partial(_run, search.file, options.runs, cluster, on_round)
    return search_member(search, options, console, write, run)


def _run(config: Path, top: Path, cluster: Cluster, on_round: OnRound, study: "Study", trials: Trials) -> None:
    from podium.workflows.study import ON_CLUSTER, give_up

    folder = trials.options.runs
    storage = Storage(f"{cluster.storage_in(top).url}/{folder.name}")
    queue = ClusterQueue(top / "clusters" / folder.name, config, [], cluster.address, storage.url)
    with locked(folder / ON_CLUSTER), cluster.connected():
        resources = resources_per_task(cluster.resources)
        inputs = tuple(name for name in inputs_of([trials.member], top) if storage.push(top / name, name))
        rounds = SearchRounds(study, trials, queue, Jobs.start(queue.coordinator), storage, resources, inputs)
        queue.start()
        try:
            rounds.start_trials()
            follow(queue, rounds, on_round)
        except (Interrupted, KeyboardInterrupt):
            raise StoppedError(f"stopped; resume with: {trials.options.command}") from None
        finally:
            rounds.stop()
            give_up(study, [running.trial.number for running in rounds.running])
    if queue.is_stopped:
        raise StoppedError(f"stopped by podium jobs --stop; resume with: {trials.options.command}")


@dataclass
class RunningTrial:
    trial: "Trial"
    member: Member
    run: FoldRun
    job: ClusterJob
    scores: list[float] = field(default_factory=list)
    """Of its finished folds."""
    reported: int = 0
    """Epochs of the fold that is trained now."""


@dataclass
class SearchRounds:
    """One round: report the epochs of all trials, end those that are finished or pruned, and start others."""

    study: "Study"
    trials: Trials
    queue: ClusterQueue
    tasks: Jobs
    storage: Storage
    resources: Resources
    inputs: tuple[str, ...]
    running: list[RunningTrial] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    """Jobs whose stored run folders are not needed."""

    def __call__(self) -> float:
        states = self.tasks.states()
        for running in list(self.running):
            self._advance(running, states.get(running.job.run))
        self.start_trials()
        self.queue.save()
        return POLL_SECONDS

    def start_trials(self) -> None:
        """As many as the machines run at the same time, and are left to do."""
        from optuna.trial import TrialState

        from podium.workflows.study import ask

        counted = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
        seed, folder = self.trials.member.settings.seed, self.trials.options.runs
        while len(self.running) < most_at_once(self.resources):
            if len(self.study.get_trials(deepcopy=False, states=counted)) >= self.trials.search.trials:
                return
            trial = ask(self.study, folder, seed)
            try:
                member = self.trials.member_of(trial)
                self._start(RunningTrial(trial, member, *self._fold(trial, member, 0)))
            except UNUSABLE as error:
                self._prune(trial, str(error))

    def _fold(self, trial: "Trial", member: Member, position: int) -> tuple[FoldRun, ClusterJob]:
        run = self.trials.fold_run(trial, member, position)
        name = run.run.path.relative_to(self.trials.options.runs).as_posix()
        return run, ClusterJob(run=name, label=f"trial {trial.number} fold {run.fold}")

    def _start(self, running: RunningTrial) -> None:
        """A fold that was trained here before, for the same values, needs no task."""
        if running not in self.running:
            self.running.append(running)
        self.queue.jobs.append(running.job)
        if not running.run.run.is_trained:
            work = work_of(running.run, running.job.run, self.inputs, self.storage.url, predicts=False)
            self.tasks.submit(running.job.run, run_work, work, self.resources)

    def _advance(self, running: RunningTrial, now: JobState | None) -> None:
        run, job, trial = running.run, running.job, running.trial
        is_lost = now is None or now.error in STOPPED_BY
        if is_lost and not run.run.is_trained:
            self.queue.jobs.remove(job)
            self._start(running)
            return
        now = now or JobState("done")
        job.machine = now.place or job.machine
        job.set(now.state, now.message)
        if now.state == "failed":
            if now.error not in PRUNED_BY:
                raise RunError(f"trial {trial.number} failed on the cluster: {now.message}")
            self._end(running)
            self._prune(trial, now.message)
        elif now.state == "done":
            if not run.run.is_trained:
                fetch(self.storage, job.run, run.run.path)
            self._finish_fold(running)
        else:
            epochs = sum(stage.epochs for stage in running.member.settings.stages)
            running.reported = self.trials.report(trial, len(running.scores), now.history, running.reported)
            if 0 < running.reported < epochs and trial.should_prune():
                job.set("done", "pruned")
                self._end(running)
                if not any(other.job.run == job.run for other in self.running):
                    self.tasks.cancel([job.run])
                self._prune(trial, "pruned")

    def _finish_fold(self, running: RunningTrial) -> None:
        trial = running.trial
        self.trials.report(
            trial, len(running.scores), running.run.run.read_epochs(self.trials.monitor), running.reported
        )
        running.scores.append(running.run.score)
        running.job.set("done", f"{self.trials.monitor} {running.scores[-1]:.4f}")
        if len(running.scores) < len(self.trials.options.folds):
            running.run, running.job = self._fold(trial, running.member, len(running.scores))
            running.reported = 0
            self._start(running)
            return
        self._end(running)
        score = fmean(running.scores)
        self.study.tell(trial, score)
        self.trials.print_score(trial, score)

    def _end(self, running: RunningTrial) -> None:
        self.running.remove(running)
        self.ended.append(running.job.run)

    def _prune(self, trial: "Trial", why: str) -> None:
        from optuna.trial import TrialState

        self.study.tell(trial, state=TrialState.PRUNED)
        self.trials.console.print(f"trial {trial.number}: {why}", highlight=False)

    def stop(self) -> None:
        """Stop what runs, after it has stored a checkpoint, and remove what is not needed."""
        self.tasks.stop([job.run for job in self.queue.jobs])
        for name in {*self.ended}.difference(running.job.run for running in self.running):
            self.storage.remove(name)

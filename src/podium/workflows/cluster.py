"""Train and predict on a Ray cluster: each member on each fold, and each detector, is a task of its own.

This is the command's side; `cluster_task.py` is what a machine of the cluster does. The run folder of a finished task
is fetched, and from then on it is like any other on this machine.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from rich.console import Console

from podium.cluster.ray_cluster import (
    Jobs,
    JobState,
    Resources,
    Task,
    connected,
    most_at_once,
    resources_per_task,
    warm_up,
)
from podium.cluster.storage import Storage
from podium.config.loading import Ensemble, Member
from podium.detection.detector_run import DetectorRun, dataset_folder, detector_run
from podium.detection.loading import Detector
from podium.errors import ConfigError, RunError, StoppedError
from podium.files import digest_of, parse_json
from podium.jobs.queue import OnRound, Queue, QueuedJob, follow
from podium.locks import lock_holder, locked, wait_for_lock
from podium.options import RunOptions
from podium.paths import labels_folder
from podium.runs import Run
from podium.signals import Interrupted
from podium.training.run_training import import_libraries
from podium.workflows.blend import Blend, blend_as
from podium.workflows.cluster_task import Work, compared_versions, run_work
from podium.workflows.detect import train_detector
from podium.workflows.fold_runs import FoldRun
from podium.workflows.predict import all_predictions
from podium.workflows.prepare import prepare
from podium.workflows.run import ensemble_runs, train_and_predict

POLL_SECONDS = 1.0
STOPPED_BY = {"StoppedError", "TaskCancelledError"}
"""Errors of a task that was stopped, by another command or because its trial was pruned, and is needed here. It is
started again, as those that a new coordinator does not know."""


@dataclass(frozen=True)
class Cluster:
    """Where tasks run, and what each of them gets."""

    address: str
    """`ray`, or `ray://HOST:PORT`."""
    storage: str | None = None
    """A folder or an address that all machines reach; by default a folder of this machine."""
    resources: Resources = field(default_factory=Resources)
    detach: bool = False
    """Return as soon as the jobs are submitted."""

    def storage_in(self, runs: Path) -> Storage:
        if self.storage is None and self.address != "ray":
            raise ConfigError(
                f"--on {self.address} needs --storage, which all its machines reach: a shared folder, or an address"
                " such as s3://bucket/folder"
            )
        url = self.storage or str(runs / "clusters" / "storage")
        return Storage(url if "://" in url else str(Path(url).absolute()))

    def connected(self) -> AbstractContextManager[None]:
        return connected(self.address, may_start=not self.detach)


class ClusterJob(QueuedJob):
    run: str
    label: str
    """Such as `xception fold 0`."""
    machine: str = ""

    @property
    def name(self) -> str:
        return self.label

    @property
    def place(self) -> str:
        return self.machine


@dataclass
class ClusterQueue(Queue[ClusterJob]):
    address: str
    storage: str
    place_heading: ClassVar[str] = "machine"

    def shared(self) -> dict[str, Any]:
        return {"address": self.address, "storage": self.storage}

    @property
    def coordinator(self) -> str:
        return f"podium-{digest_of(self.storage)}"


Trainable = FoldRun | DetectorRun


def read_queues(runs: Path) -> list[ClusterQueue]:
    return [read_queue(path.parent) for path in sorted((runs / "clusters").glob("*/queue.json"))]


def read_queue(folder: Path) -> ClusterQueue:
    file = folder / "queue.json"
    try:
        content = parse_json(file.read_text(encoding="utf-8"))
        jobs = [ClusterJob.model_validate(job) for job in content["jobs"]]
        config, address, storage = (str(content[key]) for key in ("config", "address", "storage"))
        return ClusterQueue(folder, Path(config), jobs, address, storage)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{file} cannot be read ({type(error).__name__}): delete it, and run its command again"
        ) from None


def refresh(queue: ClusterQueue) -> None:
    """Ask the cluster for the states of its unfinished jobs, unless a command follows them."""
    if lock_holder(queue.folder):
        return
    with connected(queue.address):
        tasks = Jobs.find(queue.coordinator)
        states = tasks.states() if tasks else {}
    for job in queue.jobs:
        if job.state not in ("done", "failed"):
            now = states.get(job.run, JobState("failed", "the cluster does not know it: run the same command again"))
            job.machine = now.place
            job.set(now.state, now.message)
    queue.save()


def stop_jobs(queue: ClusterQueue) -> None:
    """Stop the unfinished jobs of a queue, as soon as they have saved a checkpoint."""
    queue.stop()
    with connected(queue.address):
        if tasks := Jobs.find(queue.coordinator):
            tasks.stop([job.run for job in queue.jobs if job.state not in ("done", "failed")])


def run_on_cluster(
    ensemble: Ensemble,
    options: RunOptions,
    cluster: Cluster,
    console: Console,
    on_round: OnRound = lambda queue: None,
    config: Path = Path(),
) -> Blend | None:
    """As `podium run`, with the missing folds on a cluster; None if it is detached before all are finished.

    After an interruption, call it again: finished folds are fetched, and those that still run are followed.
    """
    for member in ensemble.members:
        check_member(member)
    storage = cluster.storage_in(options.runs)
    prepared = prepare(ensemble.competition, options, console, ensemble.members)
    runs = ensemble_runs(ensemble, prepared, options)
    _ = prepared.test  # checked before anything trains
    trained = [run for run in runs if not run.settings.soup]
    is_done = _finish(trained, inputs_of(ensemble.members, options.runs), options, cluster, storage, on_round, config)
    if not is_done:
        return None
    train_and_predict(runs, console)  # only soups are left
    return blend_as(ensemble.settings, all_predictions(runs), ensemble.name)


def train_detector_on_cluster(
    detector: Detector, options: RunOptions, cluster: Cluster, console: Console, on_round: OnRound, config: Path
) -> DetectorRun | None:
    """As `podium detect train`, on a cluster; None if it is detached before it is finished."""
    storage = cluster.storage_in(options.runs)
    run = detector_run(detector, options, console)
    inputs = (dataset_folder(detector, options).relative_to(options.runs).as_posix(),)
    if not _finish([run], inputs, options, cluster, storage, on_round, config):
        return None
    return train_detector(detector, options, console)


def check_member(member: Member) -> None:
    """Raise an error for files that only this machine has."""
    places = [place for place in member.settings.places if Path(place).is_absolute()]
    if places:
        raise ConfigError(f"{member.name}: {places[0]} of its extra rows is outside the data folder: move it there")


def inputs_of(members: Sequence[Member], top: Path) -> tuple[str, ...]:
    """The tables of folds, and labels by ensembles."""
    labels = {labels_folder(top, name) for member in members for name in member.settings.labels}
    return tuple(path.relative_to(top).as_posix() for path in [top / "folds", *sorted(labels)])


def _finish(
    runs: Sequence[Trainable],
    inputs: tuple[str, ...],
    options: RunOptions,
    cluster: Cluster,
    storage: Storage,
    on_round: OnRound,
    config: Path,
) -> bool:
    """Run the missing ones of these on the cluster and fetch them; False if it is detached before."""
    top = options.runs
    named = {run.run.path.relative_to(top).as_posix(): run for run in runs}
    folder = top / "clusters" / f"{config.stem}-{digest_of([cluster.address, storage.url, sorted(named)])}"
    missing = {name: run for name, run in named.items() if not _is_finished(run)}
    if not missing:
        return True
    jobs = [ClusterJob(run=name, label=run.name) for name, run in missing.items()]
    queue = ClusterQueue(folder, config, jobs, cluster.address, storage.url)
    with locked(folder), cluster.connected():
        resources = resources_per_task(cluster.resources)
        if Jobs.find(queue.coordinator) is None:
            warm_up(import_libraries, min(len(missing), most_at_once(resources)), resources)
        inputs = tuple(name for name in inputs if storage.push(top / name, name))
        for name, run in missing.items():
            is_newer = run.run.is_resumable and storage.last_checkpoint(name) < _last_checkpoint(run.run)
            if is_newer or run.run.is_trained:
                storage.push(run.run.path, name)
        works = {name: work_of(run, name, inputs, storage.url) for name, run in missing.items()}
        tasks = Jobs.start(queue.coordinator)
        rounds = Rounds(
            queue,
            tasks,
            run_work,
            works,
            resources,
            on_done=lambda name: fetch(storage, name, top / name),
            is_here=lambda name: _is_finished(missing[name]),
        )
        follow_jobs(rounds, list(named), on_round, options.command, detach=cluster.detach)
    return queue.is_done


def follow_jobs(
    rounds: "Rounds", names: Sequence[str], on_round: OnRound, command: str, *, detach: bool = False
) -> None:
    """Run the jobs of a queue, or with `detach` only submit them. An interrupt stops the jobs of these names."""
    queue = rounds.queue
    queue.start()
    try:
        if detach:
            rounds()
            on_round(queue)
        else:
            follow(queue, rounds, on_round)
    except (Interrupted, KeyboardInterrupt):
        rounds.tasks.stop(names)
        raise
    if queue.is_finished:
        rounds.tasks.forget(names)
    if queue.is_stopped:
        raise StoppedError(f"stopped by podium jobs --stop; resume with: {command}")
    if queue.failures:
        raise RunError(f"{queue.failures}; fix it and run the same command to try them again")


def _is_finished(run: Trainable) -> bool:
    return run.run.is_trained and (isinstance(run, DetectorRun) or run.is_predicted)


def _last_checkpoint(run: Run) -> int:
    return max((int(path.name.split("-")[1]) for path in run.checkpoints), default=0)


def work_of(run: Trainable, name: str, inputs: tuple[str, ...], url: str, *, predicts: bool = True) -> Work:
    options = run.options
    kept = {key: getattr(options, key) for key in ("limit", "limit_test", "dry_run")}
    fold = {"folds": (run.fold,)} if isinstance(run, FoldRun) else {}
    data = {"data": run.data.absolute() if isinstance(run, DetectorRun) else run.prepared.rows.folder.absolute()}
    model = run.member if isinstance(run, FoldRun) else run.detector
    return Work(model, name, inputs, {**kept, **fold, **data}, url, compared_versions(), predicts)


@dataclass
class Rounds:
    """One round: submit what the cluster does not know, and take what is finished."""

    queue: ClusterQueue
    tasks: Jobs
    task: Task
    works: Mapping[str, Any]
    resources: Resources
    on_done: Callable[[str], None] = lambda name: None
    """Called with the name of a finished job, before the queue has it as done."""
    is_here: Callable[[str], bool] = lambda name: False
    """Whether another command has fetched what a job makes."""

    def __call__(self) -> float:
        states = self.tasks.states()
        for job in self.queue.jobs:
            if job.state in ("done", "failed"):
                continue
            now = states.get(job.run)
            if now is None and self.is_here(job.run):
                job.set("done")
                continue
            is_of_before = now is not None and now.state == "failed" and job.state == "queued" and not job.message
            if now is None or is_of_before or (now.error in STOPPED_BY and not self.queue.is_stopped):
                self.tasks.submit(job.run, self.task, self.works[job.run], self.resources)
                now = JobState(message="submitted")
            if now.state == "done":
                self.on_done(job.run)
            job.machine = now.place or job.machine
            job.set(now.state, now.message)
        self.queue.save()
        return POLL_SECONDS


def fetch(storage: Storage, name: str, target: Path) -> None:
    """Replace a local run folder by the stored one, which is not needed any more."""
    with wait_for_lock(target):  # another command may fetch it, too
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetching-", dir=target.parent) as temporary:
            fetched = Path(temporary) / target.name
            if not storage.pull(name, fetched):
                if Run(target).is_trained:
                    return  # fetched before this process began
                raise RunError(f"{storage.url} has no {name}, which is finished: was it deleted?")
            if not Run(fetched).is_trained:
                raise RunError(f"{storage.url} has no complete {name}: delete it there, and run the same command again")
            Run(fetched).check_best_weights()
            if target.exists():
                target.rename(Path(temporary) / "before")
            fetched.rename(target)
        storage.remove(name)

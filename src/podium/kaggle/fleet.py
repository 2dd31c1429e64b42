"""A fleet: one kernel per member and fold, driven by a queue on disk.

runs/fleets/<ensemble>-<digest>/
  queue.json                  every job: its state, attempt and version
  <kernel>-<attempt>.py       the script of a push, written before it is sent
  down                        exists after `podium fleet down`: no more kernels are pushed

Each step is saved before it is executed, so a kill at any moment loses nothing: a push that may have reached Kaggle is
looked up there before it is repeated.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from rich.console import Console

from podium.config.kaggle_names import KernelRef
from podium.errors import KaggleError, NotFoundError, RunError, UnreachableError
from podium.files import digest_of, write_json, write_text
from podium.kaggle.client import Kaggle
from podium.kaggle.outputs import last_lines, pull
from podium.kaggle.pushing import facts_of, newest_version, preflight, session_seconds, version_with
from podium.kaggle.records import Record, import_runs, read_record, record_push
from podium.kaggle.responses import page_of
from podium.kernel.building import assemble, jobs_of_folds
from podium.kernel.job import SPARE_MINUTES, Job, digest_of_job, load_config
from podium.kernel.metadata import Machine
from podium.kernel.report import REPORT, Report, read_report
from podium.locks import lock_holder

State = Literal["queued", "pushing", "running", "done", "failed"]
SESSIONS = 2
"""GPU sessions that Kaggle allows a user at a time."""
MIN_HOURS = 0.5
"""With fewer GPU hours left this week, nothing is pushed."""
MAX_FAILURES = 2
"""Of a job. A kernel that runs out of time has not failed as long as each version makes progress."""
CHECKS = 2
"""Number of rounds in which an interrupted push is looked up before it is repeated: Kaggle may be slow."""
_LAST_LINES = 5


class FleetJob(BaseModel):
    """A member on one fold, or a detector, with all versions of its kernel."""

    model_config = ConfigDict(extra="forbid")

    spec: Job
    """The job of its kernel."""
    config_digest: str = ""
    """Of everything that determines the training."""
    state: State = "queued"
    failures: int = 0
    version_before: int = 0
    """The newest version before the push in progress."""
    checks: int = 0
    push_facts: dict[str, Any] = {}
    """What the record of the push in progress, or of the last one, contains."""
    ref: str | None = None
    """The pushed version."""
    progress: list[Any] = []
    """The progress of the previous version."""
    message: str = ""

    @property
    def name(self) -> str:
        folds = [f"fold {fold}" for fold in self.spec.folds]
        return " ".join([*(self.spec.members or [Path(self.spec.config).stem]), *folds])

    @property
    def page(self) -> str:
        return page_of(KernelRef.parse(self.push_facts["metadata"]["id"]))

    def output(self, runs: Path) -> Path:
        """The folder with the downloaded output of its kernel."""
        assert self.ref
        return read_record(runs, KernelRef.parse(self.ref)).output

    def fail(self, reason: str) -> None:
        self.failures += 1
        self.state = "queued" if self.failures < MAX_FAILURES else "failed"
        self.message = f"failed: {reason}; retrying once" if self.state == "queued" else reason
        self.spec = self.spec.model_copy(update={"attempt": self.spec.attempt + 1})


@dataclass
class Fleet:
    folder: Path
    config: Path
    machine: Machine
    jobs: list[FleetJob]

    @property
    def is_finished(self) -> bool:
        return all(job.state in ("done", "failed") for job in self.jobs)

    @property
    def is_done(self) -> bool:
        return all(job.state == "done" for job in self.jobs)

    @property
    def is_stopped(self) -> bool:
        return self._stop_mark.exists()

    @property
    def _stop_mark(self) -> Path:
        return self.folder / "down"

    def stop(self) -> None:
        """Push no more kernels; a process that runs the fleet notices it in the next round."""
        self._stop_mark.touch()

    def start(self) -> None:
        """Continue, including jobs that failed before."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._stop_mark.unlink(missing_ok=True)
        for job in self.jobs:
            if job.state == "failed":
                job.state, job.failures = "queued", 0
        self.save()

    def save(self) -> None:
        jobs = [job.model_dump(mode="json") for job in self.jobs]
        machine = {"gpu": self.machine.gpu, "internet": self.machine.internet}
        write_json(self.folder / "queue.json", {"config": str(self.config), "machine": machine, "jobs": jobs})


def open_fleet(config: Path, job: Job, machine: Machine, runs: Path) -> Fleet:
    """The fleet of an ensemble or a detector with these options: the existing one, or a new one.

    Another machine or time limit does not create a new fleet; it applies from the next push. Jobs of other fleets whose
    member has not changed become part of this fleet.
    """
    loaded = load_config(config, job.overrides, job.seed)
    jobs = [
        FleetJob(spec=spec, config_digest=digest_of_job(spec, spec.models_of(loaded), None))
        for spec in jobs_of_folds(config, job)
    ]
    digest = digest_of([loaded.settings.model_dump(mode="json"), [fleet_job.config_digest for fleet_job in jobs]])
    fleet = Fleet(runs / "fleets" / f"{config.stem}-{digest}", config, machine, jobs)
    others, _ = read_fleets(runs)
    known = {
        fleet_job.config_digest: fleet_job
        for other in others
        for fleet_job in other.jobs
        if fleet_job.state != "queued"
    }
    known |= {
        fleet_job.config_digest: fleet_job
        for other in others
        if other.folder == fleet.folder
        for fleet_job in other.jobs
    }
    fleet.jobs = [known.get(fleet_job.config_digest, fleet_job) for fleet_job in jobs]
    for fleet_job in fleet.jobs:
        fleet_job.spec = fleet_job.spec.model_copy(update={"time_limit": job.time_limit})
    return fleet


def claim_jobs(fleet: Fleet, runs: Path) -> None:
    """Save the fleet, then remove its jobs from other fleets: only one fleet may push versions of a kernel."""
    others = [other for other in read_fleets(runs)[0] if other.folder != fleet.folder]
    own = {job.config_digest for job in fleet.jobs}
    for other in others:
        holder = lock_holder(other.folder)
        if holder and own & {job.config_digest for job in other.jobs}:
            raise RunError(
                f"{other.folder} is another fleet with the same jobs, and in use ({holder}); stop it first: its kernels"
                " keep running and become part of this fleet"
            )
    fleet.save()
    for other in others:
        remaining = [job for job in other.jobs if job.config_digest not in own]
        if len(remaining) < len(other.jobs):
            other.jobs = remaining
            other.save()


def read_fleet(folder: Path) -> Fleet:
    try:
        content = json.loads((folder / "queue.json").read_text(encoding="utf-8"))
        jobs = [FleetJob.model_validate_json(json.dumps(job)) for job in content["jobs"]]
        return Fleet(folder, Path(content["config"]), Machine(**content["machine"]), jobs)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{folder / 'queue.json'} cannot be read ({type(error).__name__}): restore a copy of it; without it podium"
            " would push all its kernels again (podium kernel status lists what was pushed)"
        ) from None


def read_fleets(runs: Path) -> tuple[list[Fleet], list[str]]:
    """All fleets in `runs`, and the problems of queues that cannot be read."""
    found, problems = list[Fleet](), list[str]()
    for path in sorted((runs / "fleets").glob("*/queue.json")):
        try:
            found.append(read_fleet(path.parent))
        except RunError as error:
            problems.append(str(error))
    return found, problems


# One round


def advance(fleet: Fleet, kaggle: Kaggle, runs: Path) -> None:
    """One round: look for interrupted pushes, check the running kernels, push the next ones."""
    for job in fleet.jobs:
        try:
            if job.state == "pushing":
                find_push(job, fleet, kaggle, runs)
            elif job.state == "running":
                check_running(job, kaggle, runs)
        except NotFoundError as error:  # deleted on Kaggle; the other jobs are not affected
            job.fail(str(error))
        except UnreachableError as error:
            job.message = f"Kaggle is unreachable; retrying soon: {error}"
        fleet.save()
    push_queued(fleet, kaggle, runs)


def find_push(job: FleetJob, fleet: Fleet, kaggle: Kaggle, runs: Path) -> None:
    """Whether an interrupted push reached Kaggle."""
    ref = KernelRef.parse(job.push_facts["metadata"]["id"])
    script = _script(job, fleet).read_text(encoding="utf-8")
    version = version_with(kaggle, ref, script, after=job.version_before)
    job.checks += 1
    if version is not None:
        _set_running(job, fleet, runs, ref.at(version), page_of(ref))
    elif job.checks >= CHECKS:
        job.state, job.message = "queued", "the interrupted push never reached Kaggle"


def check_running(job: FleetJob, kaggle: Kaggle, runs: Path) -> None:
    """Update the state of a pushed version; if it is finished, download its output."""
    assert job.ref
    record = read_record(runs, KernelRef.parse(job.ref))
    status = kaggle.kernel_status(record.ref)
    if not status.is_over:
        job.message = status.state
        return
    if status.state != "complete":
        last = last_lines(kaggle, record.ref, _LAST_LINES)
        job.fail(status.failure or (last[-1].strip() if last else status.state))
        return
    report = _fetch_report(kaggle, record)
    if report is None:
        job.fail(f"{record.ref} has no {REPORT} in its output")
    elif report.status == "stopped":
        _continue_in_next_version(job, report, record.ref)
    else:
        pull(kaggle, record.ref, record.output, Console(quiet=True))
        import_runs(record, runs)
        job.state, job.message = "done", ", ".join(entry.score for entry in report.runs)


def _fetch_report(kaggle: Kaggle, record: Record) -> Report | None:
    """Download only the report, which determines whether the other files are needed."""
    listed = next((file for file in kaggle.output_files(record.ref) if file.name == REPORT), None)
    if listed is None:
        return None
    kaggle.fetch(listed, record.folder / REPORT)
    return read_report(record.folder)


def _continue_in_next_version(job: FleetJob, report: Report, ref: KernelRef) -> None:
    """The version ran out of time, with its checkpoints in its output: the next version attaches that output."""
    progress = [[entry.state.get(key) for key in ("status", "stage", "epoch", "step")] for entry in report.runs]
    if progress == job.progress:
        job.fail(f"no progress since the previous version: {report.reason}")
        return
    job.spec = job.spec.model_copy(update={"attempt": job.spec.attempt + 1, "resume_from": ref.name})
    job.progress, job.state = progress, "queued"
    _, stage, epoch, step = progress[0]
    position = "the beginning" if stage is None else f"stage {stage}, epoch {(epoch or 0) + 1}, step {step or 0}"
    job.message = f"out of time at {position}; continues in the next version"


def push_queued(fleet: Fleet, kaggle: Kaggle, runs: Path) -> None:
    """Push queued jobs as long as a session and GPU hours are free."""
    for job in fleet.jobs:
        active = sum(other.state in ("pushing", "running") for other in fleet.jobs)
        if active >= SESSIONS or fleet.is_stopped:
            return
        if job.state != "queued":
            continue
        try:
            hours = hours_left(kaggle) if fleet.machine.gpu != "none" else None
            if hours is not None and hours < MIN_HOURS:
                job.message = f"waiting for GPU hours: {hours:.1f} left this week"
                return
            push_next(job, fleet, kaggle, runs, hours)
        except UnreachableError as error:
            job.message = f"Kaggle is unreachable; retrying soon: {error}"
            return
        finally:
            fleet.save()
        if job.state == "queued":  # no free session
            return


def hours_left(kaggle: Kaggle) -> float | None:
    """This week's GPU hours that running sessions have not reserved."""
    quota = kaggle.gpu_quota()
    return None if quota is None else quota.hours_left - quota.hours_reserved


def push_next(job: FleetJob, fleet: Fleet, kaggle: Kaggle, runs: Path, hours: float | None) -> None:
    """Push the job's next version. Everything needed to find it again is saved before."""
    spec = job.spec
    if hours is not None:
        spec = spec.model_copy(update={"time_limit": min(spec.time_limit, hours * 3600 - SPARE_MINUTES * 60)})
    built = assemble([fleet.config], spec, fleet.machine, runs, kaggle.user)
    if job.ref is None:
        preflight(kaggle, built, Console(quiet=True))
    job.version_before, job.checks = newest_version(kaggle, built.ref), 0
    job.push_facts = facts_of(built)
    write_text(_script(job, fleet), built.bundle.text)
    job.state = "pushing"
    fleet.save()
    try:
        pushed = kaggle.push(built.metadata, built.bundle.text, session_seconds(spec))
    except UnreachableError:
        raise
    except KaggleError as error:
        job.state = "queued"
        if "session count" not in str(error).lower():
            raise
        job.message = "waiting for a free GPU session"
        return
    _set_running(job, fleet, runs, pushed.ref, pushed.url)


def _script(job: FleetJob, fleet: Fleet) -> Path:
    return fleet.folder / f"{job.spec.title}-{job.spec.attempt}.py"


def _set_running(job: FleetJob, fleet: Fleet, runs: Path, ref: KernelRef, url: str) -> None:
    record_push(runs, job.push_facts, _script(job, fleet).read_text(encoding="utf-8"), ref, url)
    job.state, job.ref = "running", str(ref)
    job.message = "; ".join(filter(None, [job.message, "pushed"]))  # after the reason for the new version
